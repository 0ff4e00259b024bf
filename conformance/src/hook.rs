//! Runs a command of a target file: JSON on its standard input, an exit status, and what it says. Knows nothing of what the
//! command is for.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use thiserror::Error;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    sync::Semaphore,
    time::timeout,
};

use crate::proxies;

/// The exit status of a command that does not support what it is asked for.
const UNSUPPORTED: i32 = 127;
/// How much of an output is read.
const OUTPUT_BYTES: u64 = 256 * 1024;
/// The lines of standard error that an error quotes.
const LAST_WORDS: usize = 20;

/// How many commands run at a time; the server under test needs the machine as well.
static PLACES: Semaphore = Semaphore::const_new(4);

/// One call of a command.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The program and its arguments.
    pub command: &'a [String],
    /// The folder that it runs in.
    pub directory: &'a Path,
    /// Added to the environment of the suite, which a command has whole: it is the tester's own.
    pub env: &'a BTreeMap<String, String>,
    /// What it reads.
    pub input: &'a Value,
    /// How long it may take.
    pub within: Duration,
}

/// Why a command did not do what it was asked for.
#[derive(Debug, Error)]
pub enum HookError {
    /// It cannot be started.
    #[error("cannot start {program:?} in {directory}; is it installed, executable, on PATH or named by its path?")]
    Start {
        /// The program.
        program: String,
        /// The folder that it should run in.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It says that this cannot be done with the target.
    #[error(
        "{program} does not support this (exit status 127); what cannot apply to the target belongs into \
         [not_applicable], with the reason{said}"
    )]
    Unsupported {
        /// The program.
        program: String,
        /// Its last lines.
        said: String,
    },
    /// It has failed.
    #[error("{program} failed ({status}){said}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        said: String,
    },
    /// It did not end in time, and was killed.
    #[error("{program} did not end within {within:?}{said}")]
    TooSlow {
        /// The program.
        program: String,
        /// The limit.
        within: Duration,
        /// Its last lines.
        said: String,
    },
}

/// Runs a command; returns what it has written to standard output. What it leaves running in the background goes on.
///
/// # Errors
/// Where it cannot be started, does not end in time, or does not end with 0.
pub async fn run(call: Call<'_>) -> Result<String, HookError> {
    // Held to the end; never closed.
    let _place = PLACES.acquire().await;
    let program = call.command.first().cloned().unwrap_or_default();
    let failed = |source| HookError::Start { program: program.clone(), directory: call.directory.to_owned(), source };
    // Files and no pipes: a server that the command leaves behind would hold a pipe open, and later write to nobody.
    let (mut output, mut errors) = (tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?);
    let mut child = spawn(call, &program, &output, &errors).map_err(failed)?;
    let group = Group::of(&child);
    let ended = timeout(call.within, async {
        if let Some(mut stdin) = child.stdin.take() {
            // A command need not read what it does not want to know.
            let _ = stdin.write_all(format!("{}\n", call.input).as_bytes()).await;
        }
        child.wait().await
    });
    let Ok(status) = ended.await else {
        drop(group);
        let _ = child.wait().await;
        return Err(HookError::TooSlow { program, within: call.within, said: last_words(&mut errors) });
    };
    group.release();
    let status = status.map_err(failed)?;
    if status.success() {
        return Ok(read(&mut output));
    }
    let said = last_words(&mut errors);
    Err(match status.code() {
        Some(UNSUPPORTED) => HookError::Unsupported { program, said },
        _ => HookError::Failed { program, status, said },
    })
}

fn spawn(call: Call<'_>, program: &str, output: &File, errors: &File) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.args(call.command.iter().skip(1)).current_dir(call.directory);
    command.env_clear().envs(proxies::testers_own()).envs(call.env);
    command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(errors.try_clone()?);
    command.process_group(0).kill_on_drop(true).spawn()
}

/// Kills the command with all that it has started, unless it has ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn read(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read was not said.
    let _ = file.rewind().and_then(|()| file.take(OUTPUT_BYTES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn last_words(errors: &mut File) -> String {
    let text = read(errors);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last: String =
        lines.iter().skip(lines.len().saturating_sub(LAST_WORDS)).map(|line| format!("\n  {line}")).collect();
    if last.is_empty() { "; it said nothing on standard error".to_owned() } else { format!("; it said:{last}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn shell(script: &str, within: Duration) -> Result<String, HookError> {
        let command = ["sh", "-c", script].map(str::to_owned);
        let env = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
        let input = json!({"user": "alice"});
        run(Call { command: &command, directory: Path::new("/"), env: &env, input: &input, within }).await
    }

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_command_reads_json_and_answers() {
        assert_eq!(shell("echo $GREETING; cat", SOON).await.expect("it ends with 0"), "hello\n{\"user\":\"alice\"}\n");
    }

    #[tokio::test]
    async fn it_need_not_read_and_may_leave_something_running() {
        let began = std::time::Instant::now();
        shell("sleep 20 & echo started", SOON).await.expect("it ends with 0");
        assert!(began.elapsed() < SOON);
    }

    #[tokio::test]
    async fn its_end_is_told_with_what_it_said() {
        let failed = shell("echo no such user >&2; exit 3", SOON).await.expect_err("it fails").to_string();
        assert_eq!(failed, "sh failed (exit status: 3); it said:\n  no such user");
        let unsupported = shell("exit 127", SOON).await.expect_err("it does not support it");
        assert!(matches!(unsupported, HookError::Unsupported { .. }), "{unsupported}");
        let slow = shell("echo waiting >&2; sleep 20", Duration::from_millis(300)).await.expect_err("it is too slow");
        assert_eq!(slow.to_string(), "sh did not end within 300ms; it said:\n  waiting");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let (command, env) = (["./no-such-program".to_owned()], BTreeMap::new());
        let call = Call { command: &command, directory: Path::new("/"), env: &env, input: &Value::Null, within: SOON };
        let error = run(call).await.expect_err("there is none").to_string();
        assert!(error.starts_with("cannot start \"./no-such-program\" in /;"), "{error}");
    }
}
