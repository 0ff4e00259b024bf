//! Starts, watches and ends a server process. Knows nothing of what the server does.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    time::{Instant, interval, timeout},
};

/// The most lines of output that are kept; older ones are dropped.
const LOG_LINES: usize = 2_000;
/// How often a server that is starting is asked whether it is ready.
const READY_POLL: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its whole environment, but for `PATH` and `HOME`, which it inherits.
    pub env: BTreeMap<String, String>,
    /// The folder that it runs in.
    pub directory: PathBuf,
}

/// A process, alone in its group; it is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    program: String,
    child: Child,
    group: Pid,
    output: Output,
}

/// The last lines of a process's output, standard output and error together.
#[derive(Debug, Clone, Default)]
pub struct Output(Arc<Mutex<VecDeque<String>>>);

/// Why a process did not do as it should.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It ended while it should have become ready.
    #[error("{program} ended before it was ready ({status}); its last words:\n{output}")]
    Ended {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        output: String,
    },
    /// It did not become ready, or did not end, in time.
    #[error("{program} {what} within {within:?}; its last words:\n{output}")]
    TooSlow {
        /// The program.
        program: String,
        /// What it did not do.
        what: &'static str,
        /// The limit.
        within: Duration,
        /// Its last lines.
        output: String,
    },
}

impl Process {
    /// Starts a process.
    ///
    /// # Errors
    /// Where the command is empty or cannot be started.
    pub fn start(launch: &Launch) -> Result<Self, ProcessError> {
        let program = launch.command.first().cloned().unwrap_or_default();
        let failed = |source| ProcessError::Start { program: program.clone(), source };
        let mut command = Command::new(&program);
        command.args(launch.command.iter().skip(1)).current_dir(&launch.directory).env_clear();
        for inherited in ["PATH", "HOME"] {
            command.envs(std::env::var_os(inherited).map(|value| (inherited, value)));
        }
        command.envs(&launch.env).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = group.ok_or_else(|| failed(std::io::Error::other("the process has no id")))?;
        let output = Output::default();
        if let Some(stream) = child.stdout.take() {
            tokio::spawn(output.clone().collect(stream));
        }
        if let Some(stream) = child.stderr.take() {
            tokio::spawn(output.clone().collect(stream));
        }
        Ok(Self { program, child, group, output })
    }

    /// Asks `url` until it is answered with 2xx.
    ///
    /// # Errors
    /// Where the process ends first, or time is up.
    pub async fn ready(&mut self, http: &reqwest::Client, url: &str, within: Duration) -> Result<(), ProcessError> {
        let deadline = Instant::now() + within;
        let mut poll = interval(READY_POLL);
        loop {
            poll.tick().await;
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(ProcessError::Ended { program: self.program.clone(), status, output: self.output.tail() });
            }
            let answer = timeout(Duration::from_secs(2), http.get(url).send()).await;
            if matches!(answer, Ok(Ok(response)) if response.status().is_success()) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.too_slow("was not ready", within));
            }
        }
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// Where it does not in time.
    pub async fn exited(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        match timeout(within, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(source)) => Err(ProcessError::Start { program: self.program.clone(), source }),
            Err(_) => Err(self.too_slow("did not end", within)),
        }
    }

    /// Sends SIGTERM and waits.
    ///
    /// # Errors
    /// Where the process does not end in time.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::TERM);
        self.exited(within).await
    }

    /// Sends SIGKILL to the whole group and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
    }

    /// What the process has said.
    pub fn output(&self) -> &Output {
        &self.output
    }

    fn signal(&self, signal: Signal) {
        // A group that is gone already needs no signal.
        let _ = kill_process_group(self.group, signal);
    }

    fn too_slow(&self, what: &'static str, within: Duration) -> ProcessError {
        ProcessError::TooSlow { program: self.program.clone(), what, within, output: self.output.tail() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}

impl Output {
    /// Every line that is kept.
    pub fn text(&self) -> String {
        self.last(LOG_LINES)
    }

    fn tail(&self) -> String {
        self.last(20)
    }

    fn last(&self, count: usize) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = lines.len().saturating_sub(count);
        lines.iter().skip(skipped).map(|line| format!("  {line}\n")).collect()
    }

    async fn collect(self, stream: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == LOG_LINES {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launch {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Launch { command, env: BTreeMap::new(), directory: PathBuf::from("/") }
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_reported_with_its_last_words() {
        let mut process = Process::start(&shell("echo no secret; exit 3")).expect("sh starts");
        let http = reqwest::Client::new();
        let error = process.ready(&http, "http://127.0.0.1:9/", Duration::from_secs(5)).await.expect_err("it ended");
        assert!(matches!(&error, ProcessError::Ended { status, .. } if status.code() == Some(3)), "{error}");
    }

    #[tokio::test]
    async fn the_environment_is_the_given_one() {
        let mut launch = shell("echo $GIVEN $CARGO_MANIFEST_DIR");
        launch.env.insert("GIVEN".into(), "yes".into());
        let mut process = Process::start(&launch).expect("sh starts");
        process.exited(Duration::from_secs(5)).await.expect("it ends");
        while process.output().text().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(process.output().text(), "  yes\n");
    }

    #[tokio::test]
    async fn a_stubborn_process_is_killed_with_its_children() {
        let mut process = Process::start(&shell("trap '' TERM; echo deaf; sleep 600 & wait")).expect("sh starts");
        while process.output().text().is_empty() {
            tokio::task::yield_now().await;
        }
        let late = process.terminate(Duration::from_millis(200)).await.expect_err("it ignores SIGTERM");
        assert!(matches!(late, ProcessError::TooSlow { what: "did not end", .. }));
        process.kill().await;
        assert!(process.child.try_wait().expect("its status is known").is_some());
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let _guard = runtime.enter();
        let mut launch = shell("");
        launch.command = vec!["no-such-program".into()];
        assert!(Process::start(&launch).expect_err("there is none").to_string().contains("no-such-program"));
    }
}
