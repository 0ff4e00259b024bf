//! `redis-server` from `PATH`, on a free port of loopback, without persistence.

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::Mutex;

use super::{RedisAddress, free_port};
use crate::process::{Launch, Process};

/// A Redis process; it is killed when this is dropped.
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
    let process = Process::start(&launch).map_err(|error| format!("{error} (is it installed and on PATH?)"))?;
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
