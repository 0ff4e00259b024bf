//! A server that was started: the suite's own process, or one that commands of the target file start and end.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::time::timeout;

use super::InstanceError;
use crate::{
    hook::{self, Call},
    process::{Launch, Process, ProcessError},
    ready::Check,
};

/// How long the command that starts a server may take, and the one that ends it.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How long a process may take to end.
const END_LIMIT: Duration = Duration::from_secs(15);

/// A running server.
#[derive(Debug)]
pub(super) enum Started {
    /// A process of the suite's.
    Process(Box<Process>),
    /// Somebody else's.
    Hooked(Hooked),
}

/// A server that a command has started. Where it was not ended when this is dropped, the command that ends it is started
/// then, and not waited for.
#[derive(Debug)]
pub(super) struct Hooked {
    stop: Launch,
    input: Value,
    runs: bool,
}

impl Started {
    /// Starts a server by a command that returns once the server is on its way.
    pub(super) async fn by_hook(start: &Launch, stop: &Launch, facts: &Value) -> Result<Self, InstanceError> {
        // Also where the start fails: it may have got half-way.
        let hooked = Hooked { stop: stop.clone(), input: facts.clone(), runs: true };
        call(start, &named(facts, "start")).await?;
        Ok(Self::Hooked(hooked))
    }

    pub(super) async fn ready(&mut self, check: &Check, within: Duration) -> Result<(), ProcessError> {
        match self {
            Self::Process(process) => process.ready(check, within).await,
            Self::Hooked(hooked) => {
                let mut last = "nothing answered".to_owned();
                timeout(within, check.passes(&mut last)).await.map_err(|_| ProcessError::TooSlow {
                    program: hooked.stop.command.first().cloned().unwrap_or_default(),
                    what: format!("was not ready ({check}: {last})"),
                    within,
                    output: String::new(),
                })
            }
        }
    }

    /// How much memory it has in RAM, in KiB, where it is the suite's process.
    pub(super) fn resident_kib(&self) -> Option<u64> {
        match self {
            Self::Process(process) => process.resident_kib(),
            Self::Hooked(_) => None,
        }
    }

    pub(super) fn process_id(&self) -> Option<u32> {
        match self {
            Self::Process(process) => process.id(),
            Self::Hooked(_) => None,
        }
    }

    /// Ends it as an operator would.
    pub(super) async fn terminate(self) -> Result<(), InstanceError> {
        match self {
            Self::Process(mut process) => Ok(process.terminate(END_LIMIT).await.map(drop)?),
            Self::Hooked(hooked) => hooked.stop(false).await,
        }
    }

    /// Ends it without a warning.
    pub(super) async fn kill(self) -> Result<(), InstanceError> {
        match self {
            Self::Process(mut process) => {
                process.kill().await;
                Ok(())
            }
            Self::Hooked(hooked) => hooked.stop(true).await,
        }
    }

    pub(super) async fn still_runs(&mut self, check: &Check) -> bool {
        match self {
            Self::Process(process) => process.exited(Duration::ZERO).await.is_err(),
            Self::Hooked(_) => check.once().await.is_ok(),
        }
    }
}

impl Hooked {
    async fn stop(mut self, kill: bool) -> Result<(), InstanceError> {
        let mut input = named(&self.input, "stop");
        input["kill"] = kill.into();
        call(&self.stop, &input).await?;
        self.runs = false;
        Ok(())
    }
}

impl Drop for Hooked {
    fn drop(&mut self) {
        let Some((program, arguments)) = self.stop.command.split_first().filter(|_| self.runs) else { return };
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.stop.directory).envs(&self.stop.env);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Ok(mut child) = command.spawn()
            && let Some(mut stdin) = child.stdin.take()
        {
            let _ = writeln!(stdin, "{}", named(&self.input, "stop"));
        }
    }
}

/// What a command of this name reads.
pub(super) fn named(facts: &Value, hook: &str) -> Value {
    let mut input = facts.clone();
    input["hook"] = hook.into();
    input
}

async fn call(launch: &Launch, input: &Value) -> Result<(), InstanceError> {
    let Launch { command, env, directory } = launch;
    hook::run(Call { command, directory, env, input, within: COMMAND_LIMIT }).await?;
    Ok(())
}
