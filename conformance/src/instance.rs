//! One running server under test: started from the target file, or somebody's own by URL.

mod started;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use thiserror::Error;
use tokio::{sync::Mutex, time::interval_at};

use self::started::Started;
use crate::{
    hook::HookError,
    ports::free_port,
    process::{Launch, Output, Process, ProcessError},
    proxies,
    proxy::Proxy,
    ready::Check,
    redis::{Database, RedisError, RedisServer, tap::Tap},
    target::{ProcessTarget, Ready, Start, Target},
    template::{UnknownPlaceholder, Values},
    text::chain,
    tls,
};

/// How long a server may take to become ready.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// How long a build may take.
const BUILD_LIMIT: Duration = Duration::from_secs(1_800);
/// When a build that goes on is first spoken of, and how often from then on.
const FIRST_WORD: Duration = Duration::from_secs(1);
const NEXT_WORD: Duration = Duration::from_secs(10);
/// The lines that are quoted of a build that fails.
const QUOTED_LINES: usize = 60;

/// A server that answers at `base`.
#[derive(Debug)]
pub struct Instance {
    /// Its URL without a path.
    pub base: String,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    start: Launch,
    /// Ends a server that `start` only sets on its way.
    stop: Option<Launch>,
    /// What the two are told.
    facts: Value,
    ready: Check,
    started: Mutex<Option<Started>>,
    output: std::sync::Mutex<Vec<Output>>,
    lent: Option<Arc<Lent>>,
    proxy: Option<Proxy>,
    tap: Tap,
    _data: DataFolder,
}

/// The database that a server has, for itself or with further nodes.
#[derive(Debug)]
struct Lent {
    redis: Arc<RedisServer>,
    database: Database,
}

/// A folder for the server's own files; it goes with the server.
#[derive(Debug)]
struct DataFolder(PathBuf);

impl DataFolder {
    fn create() -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("notify-conformance-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Changes to the environment of the target file.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Variables to set.
    pub set: BTreeMap<String, String>,
    /// Variables to leave out.
    pub unset: Vec<String>,
    /// Whether the server reaches its Redis without the proxy that reads along, which costs time.
    pub without_proxy: bool,
    /// How many files it may open, where it is not as many as the suite.
    pub files: Option<u64>,
}

impl Changes {
    /// The same for a server whose Redis is behind sentinels, or a cluster; it asks them, and not the proxy, where what it needs is.
    fn behind(&self, redis: &RedisServer) -> Option<Self> {
        if let Some(servers) = redis.cluster_addresses() {
            let mut changes = Self { without_proxy: true, ..self.clone() };
            changes.unset.extend(["REDIS_HOST", "REDIS_PORT", "REDIS_DB"].map(str::to_owned));
            let seeds: Vec<_> = servers.iter().take(2).map(ToString::to_string).collect();
            changes.set.entry("REDIS_URL".to_owned()).or_insert_with(|| format!("redis://{}", seeds.join(",")));
            changes.set.entry("REDIS_CLUSTER".to_owned()).or_insert_with(|| "true".to_owned());
            return Some(changes);
        }
        let (sentinels, master) = redis.sentinels()?;
        let mut changes = Self { without_proxy: true, ..self.clone() };
        changes.unset.extend(["REDIS_HOST", "REDIS_PORT"].map(str::to_owned));
        let named = [
            ("REDIS_SENTINELS", sentinels.as_str()),
            ("REDIS_SENTINEL_MASTER", master),
            ("REDIS_SENTINEL_PASSWORD", redis.password().unwrap_or_default()),
        ];
        for (name, value) in named {
            changes.set.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        Some(changes)
    }
}

/// Why there is no server to test.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// The build command of the target file failed.
    #[error("the target's build command failed: {0}")]
    Build(String),
    /// The process failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A command that starts or ends it failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// Its Redis failed.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// A placeholder has no value.
    #[error("the target file: {0}")]
    Placeholder(#[from] UnknownPlaceholder),
    /// Something of the machine's.
    #[error("cannot prepare the server: {0}")]
    Io(#[from] std::io::Error),
}

/// Runs the build command of the target file, if it has one. Where that takes longer than a moment, `tell` hears now and then what it
/// is doing.
///
/// # Errors
/// Where the command fails.
pub async fn build(target: &Target, tell: impl Fn(String)) -> Result<(), InstanceError> {
    let Some(process) = target.process.as_ref().filter(|process| !process.build.is_empty()) else { return Ok(()) };
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let mut env: BTreeMap<_, _> = proxies::testers_own().into_iter().filter_map(text).collect();
    env.remove("PATH");
    env.retain(|name, _| !is_cargos_own(name));
    let words = process.build.join(" ");
    let launch = Launch { command: process.build.clone(), env, directory: target.folder.join(&process.directory) };
    let mut running = Process::start(&launch).map_err(|error| InstanceError::Build(chain(&error)))?;
    let output = running.output().clone();
    let began = tokio::time::Instant::now();
    let mut moments = interval_at(began + FIRST_WORD, NEXT_WORD);
    let ended = running.exited(BUILD_LIMIT);
    tokio::pin!(ended);
    let status = loop {
        tokio::select! {
            status = &mut ended => break status.map_err(|error| InstanceError::Build(error.to_string()))?,
            now = moments.tick() => tell(progress(&words, now - began, &output)),
        }
    };
    if status.success() {
        return Ok(());
    }
    let said = output.lines();
    let last: String =
        said[said.len().saturating_sub(QUOTED_LINES)..].iter().map(|(_, line)| format!("  {line}\n")).collect();
    Err(InstanceError::Build(format!("{words} ({status})\n{last}")))
}

/// Whether `cargo run` or `cargo test` has set this for the program that it has started. A build that is one of cargo's takes it for a
/// change, for which it compiles some crates anew, and all that depends on them, each time.
pub fn is_cargos_own(name: &str) -> bool {
    name == "CARGO" || name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_")
}

/// What a build is doing: at first the command, later its last word.
fn progress(words: &str, so_far: Duration, output: &Output) -> String {
    let last = output.lines().last().map(|(_, line)| line.trim().to_owned()).unwrap_or_default();
    match so_far.as_secs() {
        0..3 => format!("{words} (minutes where nothing is built yet, else seconds)"),
        seconds if last.is_empty() => format!("{seconds} s so far"),
        seconds => format!("{seconds} s so far; {last}"),
    }
}

impl Instance {
    /// A server that runs already.
    pub fn at(url: &str) -> Self {
        Self { base: url.trim_end_matches('/').to_owned(), running: None }
    }

    /// Starts a server and waits until it is ready.
    ///
    /// # Errors
    /// Where anything that it needs is not to be had, or it does not become ready.
    pub async fn start(
        target: &Target,
        process: &ProcessTarget,
        redis: Option<Arc<RedisServer>>,
        changes: &Changes,
    ) -> Result<Self, InstanceError> {
        let instance = Self::prepare(target, process, redis, changes).await?;
        instance.boot().await?;
        Ok(instance)
    }

    /// Gets everything ready for a start without starting.
    ///
    /// # Errors
    /// Where anything that it needs is not to be had.
    pub async fn prepare(
        target: &Target,
        process: &ProcessTarget,
        redis: Option<Arc<RedisServer>>,
        changes: &Changes,
    ) -> Result<Self, InstanceError> {
        let lent = match redis {
            Some(redis) => Some(Arc::new(Lent { database: redis.lend().await?, redis })),
            None => None,
        };
        Self::with(target, process, lent, changes).await
    }

    /// As [`Self::prepare`], on the database of this one: a further node.
    ///
    /// # Errors
    /// Where anything that it needs is not to be had.
    pub async fn prepare_beside(
        &self,
        target: &Target,
        process: &ProcessTarget,
        changes: &Changes,
    ) -> Result<Self, InstanceError> {
        let lent = self.running.as_ref().and_then(|running| running.lent.clone());
        Self::with(target, process, lent, changes).await
    }

    async fn with(
        target: &Target,
        process: &ProcessTarget,
        lent: Option<Arc<Lent>>,
        changes: &Changes,
    ) -> Result<Self, InstanceError> {
        let port = free_port()?;
        let data = DataFolder::create()?;
        let mut values = target.values();
        values.set("port", port.to_string());
        values.set("data_dir", data.0.display().to_string());
        values.set("cargo_target_dir", cargo_target_dir());
        let (mut proxy, tap) = (None, Tap::default());
        let behind = lent.as_deref().and_then(|lent| changes.behind(&lent.redis));
        let changes = behind.as_ref().unwrap_or(changes);
        if let Some(Lent { database: lent, .. }) = lent.as_deref() {
            let (mut host, mut port) = (lent.address.host.clone(), lent.address.port);
            if !changes.without_proxy {
                let reader = tap.clone();
                let before = Proxy::read_along(lent.address.to_string(), move || reader.connection()).await?;
                (host, port) = (before.address().ip().to_string(), before.address().port());
                proxy = Some(before);
            }
            values.set("redis_host", host);
            values.set("redis_port", port.to_string());
            values.set("redis_password", lent.address.password.clone().unwrap_or_default());
            values.set("redis_db", lent.index.to_string());
        }
        let base = format!("http://127.0.0.1:{port}");
        let mut facts = json!({"port": port, "url": base, "data_dir": data.0.display().to_string()});
        if let Some(Lent { database, .. }) = lent.as_deref() {
            facts["redis_host"] = values.text("{redis_host}")?.into();
            facts["redis_port"] = values.text("{redis_port}")?.into();
            facts["redis_db"] = database.index.into();
        }
        let launch = |words: &[String]| launch(target, process, changes, words, &values);
        let (start, stop) = match &process.start {
            Start::Command(words) => (launch(words)?, None),
            Start::Hooks { start, stop } => (launch(start)?, Some(launch(stop)?)),
        };
        let ready = match &process.ready {
            Ready::Path(path) => Check::Url { http: tls::http()?, url: format!("{base}{path}") },
            Ready::Command(words) => {
                let Launch { command, directory, .. } = launch(words)?;
                Check::Command { words: command, directory, input: started::named(&facts, "ready") }
            }
        };
        let running = Running {
            start,
            stop,
            facts,
            ready,
            started: Mutex::new(None),
            output: std::sync::Mutex::default(),
            lent,
            proxy,
            tap,
            _data: data,
        };
        Ok(Self { base, running: Some(running) })
    }

    /// Starts the prepared process and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become ready.
    pub async fn boot(&self) -> Result<(), InstanceError> {
        let Some(running) = &self.running else { return Ok(()) };
        let mut started = running.launch().await?;
        started.ready(&running.ready, READY_LIMIT).await?;
        *running.started.lock().await = Some(started);
        Ok(())
    }

    /// Starts the prepared process, which is expected to end by itself, and waits until it does.
    ///
    /// # Errors
    /// Where it does not end in time.
    pub async fn boot_and_end(&self, within: Duration) -> Result<std::process::ExitStatus, InstanceError> {
        let Some(running) = self.running.as_ref().filter(|running| running.stop.is_none()) else {
            return Err(std::io::Error::other("the server is no process of the suite's").into());
        };
        Ok(running.spawn()?.exited(within).await?)
    }

    /// SIGTERM, and a new process with the same store.
    ///
    /// # Errors
    /// Where the process does not end, or the new one does not become ready.
    pub async fn restart(&self) -> Result<(), InstanceError> {
        if let Some(started) = self.take().await {
            started.terminate().await?;
        }
        self.boot().await
    }

    /// SIGKILL, and a new process with the same store.
    ///
    /// # Errors
    /// Where the new process does not become ready, or the target's own command cannot kill.
    pub async fn kill_and_restart(&self) -> Result<(), InstanceError> {
        if let Some(started) = self.take().await {
            started.kill().await?;
        }
        self.boot().await
    }

    /// SIGKILL; the process is not started again.
    ///
    /// # Errors
    /// Where the target's own command cannot kill.
    pub async fn kill(&self) -> Result<(), InstanceError> {
        match self.take().await {
            Some(started) => started.kill().await,
            None => Ok(()),
        }
    }

    /// SIGTERM; waits until the process has ended, and tells how.
    ///
    /// # Errors
    /// Where it does not end within `within`, or is no process of the suite's.
    pub async fn terminate(&self, within: Duration) -> Result<std::process::ExitStatus, InstanceError> {
        match self.take().await {
            Some(Started::Process(mut process)) => Ok(process.terminate(within).await?),
            _ => Err(std::io::Error::other("the server is no process of the suite's that runs").into()),
        }
    }

    /// SIGSTOP: the process stands still where it is, and its connections stay open.
    ///
    /// # Errors
    /// Where it is no process of the suite's.
    pub async fn pause(&self) -> Result<(), InstanceError> {
        self.with_process(Process::pause).await
    }

    /// SIGCONT: a paused process goes on.
    ///
    /// # Errors
    /// Where it is no process of the suite's.
    pub async fn resume(&self) -> Result<(), InstanceError> {
        self.with_process(Process::resume).await
    }

    async fn with_process(&self, what: impl FnOnce(&Process)) -> Result<(), InstanceError> {
        let none = || InstanceError::from(std::io::Error::other("the server is no process of the suite's that runs"));
        let started = self.running.as_ref().ok_or_else(none)?.started.lock().await;
        let Some(Started::Process(process)) = started.as_ref() else { return Err(none()) };
        what(process);
        Ok(())
    }

    /// Whether the process, if it is the suite's, still runs.
    pub async fn still_runs(&self) -> bool {
        let Some(running) = &self.running else { return true };
        match running.started.lock().await.as_mut() {
            Some(started) => started.still_runs(&running.ready).await,
            None => false,
        }
    }

    /// Whether it is told by others than the suite where its Redis is.
    pub fn asks_where_its_redis_is(&self) -> bool {
        let lent = self.running.as_ref().and_then(|running| running.lent.as_ref());
        lent.is_some_and(|lent| lent.redis.sentinels().is_some() || lent.redis.cluster_addresses().is_some())
    }

    /// How much memory the server's process has in RAM, in KiB, where that is known.
    pub async fn resident_kib(&self) -> Option<u64> {
        self.running.as_ref()?.started.lock().await.as_ref()?.resident_kib()
    }

    /// The id of the server's process, where it is the suite's own and runs.
    pub async fn process_id(&self) -> Option<u32> {
        self.running.as_ref()?.started.lock().await.as_ref()?.process_id()
    }

    /// Whether the suite hears what the server says: its process is the suite's own.
    pub fn is_heard(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.stop.is_none())
    }

    /// The database that the server was given, if any.
    pub fn database(&self) -> Option<&Database> {
        Some(&self.running.as_ref()?.lent.as_ref()?.database)
    }

    /// The proxy before the server's Redis, if any.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.running.as_ref()?.proxy.as_ref()
    }

    /// What passes between the server and its Redis, where the suite gave it one.
    pub fn tap(&self) -> Option<&Tap> {
        self.running.as_ref().map(|running| &running.tap)
    }

    /// All that the server's processes have said.
    pub fn output(&self) -> String {
        self.outputs().iter().map(Output::text).collect()
    }

    /// Every line that the server's processes have said, with the time of its arrival.
    pub fn said(&self) -> Vec<(Instant, String)> {
        self.outputs().iter().flat_map(Output::lines).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        let Some(running) = &self.running else { return Vec::new() };
        running.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Ends the process, whoever else still holds the server.
    pub async fn end(&self) {
        match self.take().await {
            // What it says at its end nobody asks for, and a kill is quicker.
            Some(started @ Started::Process(_)) => drop(started.kill().await),
            Some(started @ Started::Hooked(_)) => drop(started.terminate().await),
            None => {}
        }
    }

    /// Ends the process and gives back what it was lent.
    pub async fn stop(self) {
        self.end().await;
        let Some(running) = self.running else { return };
        // The last node of a database gives it back.
        if let Some(Lent { redis, database }) = running.lent.and_then(Arc::into_inner) {
            // A database that cannot be emptied is not lent again; nothing else depends on it.
            let _ = redis.take_back(database).await;
        }
    }

    async fn take(&self) -> Option<Started> {
        self.running.as_ref()?.started.lock().await.take()
    }
}

impl Running {
    async fn launch(&self) -> Result<Started, InstanceError> {
        match &self.stop {
            None => Ok(Started::Process(Box::new(self.spawn()?))),
            Some(stop) => Started::by_hook(&self.start, stop, &self.facts).await,
        }
    }

    fn spawn(&self) -> Result<Process, ProcessError> {
        let process = Process::start(&self.start)?;
        self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(process.output().clone());
        Ok(process)
    }
}

fn launch(
    target: &Target,
    process: &ProcessTarget,
    changes: &Changes,
    words: &[String],
    values: &Values,
) -> Result<Launch, UnknownPlaceholder> {
    let mut env = BTreeMap::new();
    for (name, value) in &process.env {
        env.insert(name.clone(), values.text(value)?);
    }
    env.extend(changes.set.clone());
    changes.unset.iter().for_each(|name| drop(env.remove(name)));
    let mut command = words.iter().map(|word| values.text(word)).collect::<Result<Vec<_>, _>>()?;
    if let Some(files) = changes.files {
        let limited = ["sh", "-c", r#"ulimit -n "$0" && exec "$@""#].map(str::to_owned);
        command = limited.into_iter().chain([files.to_string()]).chain(command).collect();
    }
    let directory = target.folder.join(&process.directory);
    Ok(Launch { command, env, directory })
}

/// A command of the target file with what is known before any server runs.
///
/// # Errors
/// Where it holds a placeholder of a running server.
pub fn fill_command(target: &Target, command: &[String]) -> Result<Vec<String>, UnknownPlaceholder> {
    let values = target.values().with("cargo_target_dir", cargo_target_dir());
    command.iter().map(|word| values.text(word)).collect()
}

fn cargo_target_dir() -> String {
    std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned())
}
