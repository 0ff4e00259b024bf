//! `redis-server` from `PATH`, on a free port of loopback, without persistence.

use std::{collections::BTreeMap, error::Error, time::Duration};

use tokio::sync::Mutex;

use super::RedisAddress;
use crate::{
    ports::free_port,
    process::{Launch, Process},
};

/// A Redis process; it is killed when this is dropped, and when the suite is killed.
#[derive(Debug)]
pub(super) struct Local(Mutex<Process>);

pub(super) async fn start(password: &str, databases: u32) -> Result<(Local, RedisAddress), String> {
    let port = free_port().map_err(|error| error.to_string())?;
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
        "no",
    ];
    let launch =
        Launch { command: command.map(str::to_owned).to_vec(), env: BTreeMap::new(), directory: std::env::temp_dir() };
    let process = Process::start(&launch).map_err(|error| {
        let cause = error.source().map(|cause| format!(" ({cause})")).unwrap_or_default();
        format!("{error}{cause}")
    })?;
    let address = RedisAddress { host: "127.0.0.1".to_owned(), port, password: Some(password.to_owned()) };
    Ok((Local(Mutex::new(process)), address))
}

impl Local {
    /// # Errors
    /// Where it has ended, with its last words.
    pub(super) async fn still_runs(&self) -> Result<(), String> {
        let mut process = self.0.lock().await;
        match process.exited(Duration::ZERO).await {
            Ok(status) => Err(format!("redis-server ended ({status}):\n{}", process.output().text())),
            Err(_) => Ok(()),
        }
    }

    pub(super) async fn stop(&self) {
        self.0.lock().await.kill().await;
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
