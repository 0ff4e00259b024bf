//! Starts, watches and ends a server process. Knows nothing of what the server does.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
    time::{interval, timeout},
};

use crate::ready::Check;

/// The most lines of output that are kept; older ones are dropped.
const LOG_LINES: usize = 2_000;
/// A longer line is kept in pieces.
const LINE_BYTES: u64 = 16 * 1024;
/// The lines of output that an error quotes.
const LAST_WORDS: usize = 20;
/// How often a group that is ending is asked.
const POLL: Duration = Duration::from_millis(20);
/// How long the rest of the output may take after the end of a process.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);
/// Kills the group that it is given when its standard input ends, which it does whichever way the suite ends.
const GUARD: &str = r#"read -r _ || kill -9 "-$1""#;

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

/// A process, alone in its group with what it starts itself. The group is killed when this is dropped, and also when the
/// suite is killed.
#[derive(Debug)]
pub struct Process {
    program: String,
    child: Child,
    group: Pid,
    output: Output,
    collectors: JoinSet<()>,
    guard: Option<Child>,
}

/// The last lines of a process's output, standard output and error together.
#[derive(Debug, Clone, Default)]
pub struct Output(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<(Instant, String)>,
    total: usize,
}

/// Why a process did not do as it should.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start {program:?} in {directory}; is it installed, on PATH or built, and is the folder there?")]
    Start {
        /// The program.
        program: String,
        /// The folder that it should run in.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The system does not say whether it has ended.
    #[error("cannot wait for {program}")]
    Wait {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
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
        what: String,
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
        let directory = launch.directory.clone();
        let failed = |source| ProcessError::Start { program: program.clone(), directory: directory.clone(), source };
        let mut command = Command::new(&program);
        command.args(launch.command.iter().skip(1)).current_dir(&launch.directory).env_clear();
        for inherited in ["PATH", "HOME"] {
            command.envs(std::env::var_os(inherited).map(|value| (inherited, value)));
        }
        command.envs(&launch.env).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let group = group.ok_or_else(|| failed(io::Error::other("the process has no id")))?;
        let output = Output::default();
        let mut collectors = JoinSet::new();
        if let Some(stream) = child.stdout.take() {
            collectors.spawn(output.clone().collect(stream));
        }
        if let Some(stream) = child.stderr.take() {
            collectors.spawn(output.clone().collect(stream));
        }
        Ok(Self { program, child, group, output, collectors, guard: guard(group) })
    }

    /// The process's id, which is also that of its group; `None` once it has ended and was waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the check passes.
    ///
    /// # Errors
    /// Where the process ends first, or time is up.
    pub async fn ready(&mut self, check: &Check, within: Duration) -> Result<(), ProcessError> {
        let mut last = "nothing answered".to_owned();
        let status = tokio::select! {
            // First, because somebody else's server may be what answers in the place of one that could not bind.
            biased;
            status = self.child.wait() => status,
            answer = timeout(within, check.passes(&mut last)) => {
                return answer.map_err(|_| self.too_slow(format!("was not ready ({check}: {last})"), within));
            }
        };
        let status = status.map_err(|source| ProcessError::Wait { program: self.program.clone(), source })?;
        self.sweep().await;
        Err(ProcessError::Ended { program: self.program.clone(), status, output: self.output.last(LAST_WORDS) })
    }

    /// Waits until the process ends by itself. What it has left behind in its group ends with it.
    ///
    /// # Errors
    /// Where it does not in time.
    pub async fn exited(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        let status = self.leader_exited(within).await?;
        self.sweep().await;
        Ok(status)
    }

    /// Sends SIGTERM to the whole group and waits.
    ///
    /// # Errors
    /// Where the process does not end in time.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        let deadline = Instant::now() + within;
        self.signal(Signal::TERM);
        let status = self.leader_exited(within).await?;
        // A wrapper (npm, a shell) may end before the server that it has started: that one has the rest of the time.
        let mut poll = interval(POLL);
        while test_kill_process_group(self.group).is_ok() && Instant::now() < deadline {
            poll.tick().await;
        }
        self.sweep().await;
        Ok(status)
    }

    /// Sends SIGKILL to the whole group and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
        self.sweep().await;
    }

    /// Stops the whole group where it stands, its connections being kept (SIGSTOP). Only [`Self::kill`] and
    /// [`Self::resume`] reach it then.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused group go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// What the process has said.
    pub fn output(&self) -> &Output {
        &self.output
    }

    async fn leader_exited(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        match timeout(within, self.child.wait()).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(source)) => Err(ProcessError::Wait { program: self.program.clone(), source }),
            Err(_) => Err(self.too_slow("did not end".to_owned(), within)),
        }
    }

    /// Ends what the process has left in its group, and takes in the rest of its output.
    async fn sweep(&mut self) {
        // Once only, right after the process has ended: later the number might be that of another group.
        if let Some(mut guard) = self.guard.take() {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = guard.kill().await;
        }
        let collectors = &mut self.collectors;
        let _ = timeout(OUTPUT_LIMIT, async { while collectors.join_next().await.is_some() {} }).await;
    }

    /// How much memory the process has in RAM, in KiB; `None` where the system does not tell.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.trim().parse().ok()
    }

    /// Does nothing once the process was waited for: its number may be another's by then.
    fn signal(&self, signal: Signal) {
        if self.child.id().is_some() {
            let _ = kill_process_group(self.group, signal);
        }
    }

    fn too_slow(&self, what: String, within: Duration) -> ProcessError {
        ProcessError::TooSlow { program: self.program.clone(), what, within, output: self.output.last(LAST_WORDS) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl Output {
    /// Every line that is kept, each indented and ended.
    pub fn text(&self) -> String {
        self.last(LOG_LINES)
    }

    /// Every line that is kept, with the time of its arrival.
    pub fn lines(&self) -> Vec<(Instant, String)> {
        self.kept().lines.iter().cloned().collect()
    }

    /// How many lines there were, those included that are no longer kept.
    pub fn total(&self) -> usize {
        self.kept().total
    }

    fn last(&self, count: usize) -> String {
        let kept = self.kept();
        let skipped = kept.lines.len().saturating_sub(count);
        kept.lines.iter().skip(skipped).map(|(_, line)| format!("  {line}\n")).collect()
    }

    fn push(&self, line: String) {
        let line = without_colours(&line);
        let mut kept = self.kept();
        if kept.lines.len() == LOG_LINES {
            kept.lines.pop_front();
        }
        kept.lines.push_back((Instant::now(), line));
        kept.total += 1;
    }

    /// Reads whatever comes, text or not: a process whose output nobody reads stands still, or dies of it.
    async fn collect(self, stream: impl AsyncRead + Unpin) {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!((&mut stream).take(LINE_BYTES).read_until(b'\n', &mut line).await, Ok(1..)) {
            self.push(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            line.clear();
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log that is made for a terminal is quoted in files and pages, too.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, sequence)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        // Parameters, then one letter that says what to do with them.
        let end = sequence.find(|c: char| ('@'..='~').contains(&c)).map_or(sequence.len(), |at| at + 1);
        rest = &sequence[end..];
    }
    plain.push_str(rest);
    plain
}

/// Dropping a [`Process`] kills its group, but a suite that is killed itself drops nothing: then this does. Without a
/// shell there is none.
fn guard(group: Pid) -> Option<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "guard", &group.as_raw_nonzero().to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // In a group of its own, or Ctrl-C at the terminal would end it with the suite.
    command.process_group(0).kill_on_drop(true).spawn().ok()
}

#[cfg(test)]
mod tests {
    use rustix::process::test_kill_process;
    use tokio::io::AsyncWriteExt;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Launch {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Launch { command, env: BTreeMap::new(), directory: PathBuf::from("/") }
    }

    fn start(script: &str) -> Process {
        Process::start(&shell(script)).expect("sh starts")
    }

    async fn first_line(process: &Process) -> String {
        until(|| process.output().total() > 0).await;
        process.output().lines()[0].1.clone()
    }

    async fn until(happened: impl Fn() -> bool) {
        let mut poll = interval(Duration::from_millis(2));
        let waiting = async {
            while !happened() {
                poll.tick().await;
            }
        };
        timeout(SOON, waiting).await.expect("it happens soon");
    }

    /// A zombie counts as gone: who reaps it depends on the machine.
    fn lives(pid: &str) -> bool {
        let id = Pid::from_raw(pid.parse().expect("a process id")).expect("not zero");
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        test_kill_process(id).is_ok() && !state.contains(") Z ")
    }

    /// Answers every request with this status.
    async fn server(status: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("its address"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
            }
        });
        url
    }

    fn at(url: &str) -> Check {
        let http = crate::tls::http().expect("a client");
        Check::Url { http, url: url.to_owned() }
    }

    #[test]
    fn colours_are_left_out_of_what_is_kept() {
        assert_eq!(
            without_colours("\u{1b}[2mtime\u{1b}[0m \u{1b}[1;31mERROR\u{1b}[0m: [x] \u{1b}["),
            "time ERROR: [x] "
        );
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_reported_with_its_last_words() {
        let error = start("echo no secret; exit 3").ready(&at("http://127.0.0.1:9/"), SOON).await;
        let error = error.expect_err("it ended");
        assert!(matches!(&error, ProcessError::Ended { status, .. } if status.code() == Some(3)), "{error}");
        assert!(error.to_string().contains("no secret"), "{error}");
    }

    #[tokio::test]
    async fn a_process_is_ready_when_its_url_is_answered_with_2xx() {
        start("sleep 600").ready(&at(&server("204 No Content").await), SOON).await.expect("it answers");
    }

    #[tokio::test]
    async fn a_process_that_does_not_become_ready_is_reported_with_the_last_answer() {
        let url = server("503 Service Unavailable").await;
        let error = start("sleep 600").ready(&at(&url), Duration::from_millis(200)).await.expect_err("never ready");
        assert!(matches!(&error, ProcessError::TooSlow { what, .. } if what.contains("503")), "{error}");
    }

    #[tokio::test]
    async fn the_environment_is_the_given_one() {
        let mut launch = shell("echo $GIVEN $CARGO_MANIFEST_DIR; test -n \"$PATH\"");
        launch.env.insert("GIVEN".into(), "yes".into());
        let mut process = Process::start(&launch).expect("sh starts");
        assert!(process.exited(SOON).await.expect("it ends").success());
        assert_eq!(process.output().text(), "  yes\n");
    }

    #[tokio::test]
    async fn a_stubborn_process_is_killed_with_its_children() {
        let mut process = start("trap '' TERM; sleep 600 & echo $!; wait; wait");
        let child = first_line(&process).await;
        let late = process.terminate(Duration::from_millis(200)).await.expect_err("it ignores SIGTERM");
        assert!(matches!(late, ProcessError::TooSlow { what, .. } if what == "did not end"));
        process.kill().await;
        until(|| !lives(&child)).await;
        assert!(process.id().is_none());
        process.kill().await;
    }

    #[tokio::test]
    async fn a_dropped_process_ends_with_its_children() {
        let process = start("sleep 600 & echo $!; wait");
        let child = first_line(&process).await;
        drop(process);
        until(|| !lives(&child)).await;
    }

    #[tokio::test]
    async fn what_a_process_leaves_behind_ends_with_it() {
        let mut process = start("sleep 600 & echo $!");
        assert!(process.exited(SOON).await.expect("it ends").success());
        let child = first_line(&process).await;
        until(|| !lives(&child)).await;
    }

    #[tokio::test]
    async fn a_server_behind_a_wrapper_may_finish() {
        let server = "trap 'sleep 0.2; echo finished; exit' TERM; echo up; while :; do sleep 0.01; done";
        let mut process = start(&format!("sh -c \"{server}\" & sleep 600"));
        first_line(&process).await;
        process.terminate(SOON).await.expect("the wrapper ends at once");
        assert!(process.output().text().contains("finished"));
    }

    #[tokio::test]
    async fn a_paused_process_says_nothing_until_it_is_resumed() {
        // Without a child: a shell that is just starting one waits for it in a state of its own, and does not stop before it.
        let process = start("while :; do echo x; done");
        first_line(&process).await;
        process.pause();
        let stat = format!("/proc/{}/stat", process.id().expect("it runs"));
        until(|| std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))).await;
        process.resume();
        let before = process.output().total();
        until(|| process.output().total() > before + 2).await;
    }

    #[tokio::test]
    async fn output_is_bounded_counted_and_need_not_be_text() {
        let mut process = start(r"printf '\377\n'; head -c 20000 /dev/zero; echo; seq 3000 >&2; echo end");
        process.exited(SOON).await.expect("it ends");
        let lines = process.output().lines();
        assert_eq!(lines.len(), LOG_LINES);
        assert_eq!(process.output().total(), 1 + 2 + 3000 + 1);
    }

    #[tokio::test]
    async fn the_guard_kills_the_group_when_the_suite_is_gone() {
        let mut process = start("sleep 600 & echo $!; wait");
        let child = first_line(&process).await;
        // What the system does to the files of a process that is killed.
        drop(process.guard.as_mut().expect("there is a shell").stdin.take());
        until(|| !lives(&child)).await;
        process.exited(SOON).await.expect("it was killed");
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_is_named() {
        let mut launch = shell("");
        launch.command = vec!["no-such-program".into()];
        assert!(Process::start(&launch).expect_err("there is none").to_string().contains("no-such-program"));
    }
}
