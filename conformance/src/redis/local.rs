//! `redis-server` from `PATH`, on a free port of loopback; with a file of what was written, where it is to keep it.

use std::{collections::BTreeMap, error::Error, path::PathBuf, time::Duration};

use tokio::sync::Mutex;

use super::RedisAddress;
use crate::{
    ports::free_port,
    process::{Launch, Process},
};

/// How long it may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A Redis process; it is killed when this is dropped, and when the suite is killed.
#[derive(Debug)]
pub(super) struct Local {
    launch: Launch,
    process: Mutex<Process>,
    folder: PathBuf,
}

/// With further settings.
pub(super) async fn start(
    password: &str,
    databases: u32,
    keeps: bool,
    more: &[&str],
) -> Result<(Local, RedisAddress), String> {
    let port = free_port().map_err(|error| error.to_string())?;
    let folder = std::env::temp_dir().join(format!("notify-conformance-redis-{:016x}", rand::random::<u64>()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("no folder for redis-server: {error}"))?;
    let command = [
        "redis-server",
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--requirepass",
        password,
        "--databases",
        &databases.to_string(),
        "--save",
        "",
        "--appendonly",
        if keeps { "yes" } else { "no" },
    ];
    let command = command.iter().chain(more).map(|word| (*word).to_owned()).collect();
    let launch = Launch { command, env: BTreeMap::new(), directory: folder.clone() };
    let process = match run(&launch) {
        Ok(process) => process,
        Err(why) => {
            let _ = std::fs::remove_dir_all(&folder);
            return Err(why);
        }
    };
    let address = RedisAddress { host: "127.0.0.1".to_owned(), port, password: Some(password.to_owned()) };
    Ok((Local { launch, process: Mutex::new(process), folder }, address))
}

fn run(launch: &Launch) -> Result<Process, String> {
    Process::start(launch).map_err(|error| {
        let cause = error.source().map(|cause| format!(" ({cause})")).unwrap_or_default();
        format!("{error}{cause}")
    })
}

impl Local {
    /// # Errors
    /// Where it has ended, with its last words.
    pub(super) async fn still_runs(&self) -> Result<(), String> {
        let mut process = self.process.lock().await;
        match process.exited(Duration::ZERO).await {
            Ok(status) => Err(format!("redis-server ended ({status}):\n{}", process.output().text())),
            Err(_) => Ok(()),
        }
    }

    pub(super) async fn stop(&self) {
        self.process.lock().await.kill().await;
    }

    pub(super) async fn pause(&self) {
        self.process.lock().await.pause();
    }

    pub(super) async fn resume(&self) {
        self.process.lock().await.resume();
    }

    /// Ends it as an operator would.
    pub(super) async fn halt(&self) -> Result<(), String> {
        let ended = self.process.lock().await.terminate(END_LIMIT).await;
        ended.map(drop).map_err(|error| error.to_string())
    }

    /// Starts it again on the same port, with what it has kept.
    pub(super) async fn begin(&self) -> Result<(), String> {
        *self.process.lock().await = run(&self.launch)?;
        Ok(())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use crate::redis::{connect, for_a_test};

    #[tokio::test]
    async fn a_local_redis_asks_for_its_password_and_listens_on_loopback_alone() {
        let Some(server) = for_a_test().await else { return };
        assert_eq!(server.kind(), "local");
        assert!(server.describe().contains("redis-server from PATH"), "{}", server.describe());
        let mut nobody = server.address().clone();
        nobody.password = None;
        let mut refused = connect(&nobody, 0).await.expect("it listens");
        assert!(redis::cmd("PING").query_async::<()>(&mut refused).await.is_err(), "no password, no answer");
        let mut redis = connect(server.address(), 0).await.expect("it answers");
        let (_, bind): (String, String) =
            redis::cmd("CONFIG").arg("GET").arg("bind").query_async(&mut redis).await.expect("it answers");
        assert_eq!(bind, "127.0.0.1");
        server.stop().await;
        server.stop().await;
        assert!(connect(server.address(), 0).await.is_err(), "it has ended");
    }
}
