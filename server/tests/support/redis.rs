//! A `redis-server` of a test's own, which can be paused, stopped and started again.

use std::{
    io,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use notify_server::store::redis::RedisConfig;
use redis::{AsyncConnectionConfig, FromRedisValue, aio::MultiplexedConnection};

use super::{PATIENCE, Scratch, free_port};

/// Stopped when it is dropped. Keeps nothing on the disk.
pub(crate) struct LocalRedis {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    scratch: Scratch,
}

impl LocalRedis {
    pub(crate) fn start() -> io::Result<Self> {
        Self::start_with(&[])
    }

    /// With further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> io::Result<Self> {
        Self::start_in(Scratch::new(), arguments)
    }

    fn start_in(scratch: Scratch, arguments: &[&str]) -> io::Result<Self> {
        let port = free_port();
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        Ok(Self { child: spawn(port, &arguments, &scratch)?, port, arguments, scratch })
    }

    /// One that holds no data and only tells where others are.
    pub(crate) fn start_sentinel() -> io::Result<Self> {
        let scratch = Scratch::new();
        // It wants to write into a file what it finds out.
        let file = scratch.path().join("sentinel.conf");
        std::fs::write(&file, "")?;
        Self::start_in(scratch, &[&file.display().to_string(), "--sentinel"])
    }

    pub(crate) fn config(&self) -> RedisConfig {
        at(self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// A replica of this one, which has what it has.
    pub(crate) async fn replica(&self) -> Self {
        let replica = Self::start().expect("another could be started");
        replica.follow(self.port).await;
        replica.until_linked().await;
        replica
    }

    /// Becomes a replica of whatever is at this port.
    pub(crate) async fn follow(&self, port: u16) {
        self.ask::<()>(&["REPLICAOF", "127.0.0.1", &port.to_string()]).await;
    }

    /// Waits until it has what its primary has.
    pub(crate) async fn until_linked(&self) {
        let began = Instant::now();
        while !self.ask::<String>(&["INFO", "replication"]).await.contains("master_link_status:up") {
            assert!(began.elapsed() < PATIENCE, "the replica does not reach its primary");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Gone as by `kill -9`, with all that it held.
    pub(crate) fn stop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// After [`LocalRedis::stop`].
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.port, &self.arguments, &self.scratch).expect("it could be started before");
    }

    /// Keeps its connections and answers nothing, until [`LocalRedis::resume`].
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("there is a kill").success());
    }

    /// A connection, as soon as it answers.
    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(("127.0.0.1", self.port)).expect("this is an address");
        let began = Instant::now();
        loop {
            // On a busy machine some answers take longer than the library waits for them.
            let patient = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
            match client.get_multiplexed_async_connection_with_config(&patient).await {
                Ok(connection) => return connection,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The answer to a command.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let mut asked = redis::cmd(command[0]);
        asked.arg(&command[1..]).query_async(&mut self.connection().await).await.expect("redis takes the command")
    }
}

impl Drop for LocalRedis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The default user of a Redis on this machine.
pub(crate) fn at(port: u16) -> RedisConfig {
    RedisConfig::at("127.0.0.1", port)
}

fn spawn(port: u16, arguments: &[String], scratch: &Scratch) -> io::Result<Child> {
    Command::new("redis-server")
        // First, since a file of settings has to be.
        .args(arguments)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        // A replica that has to be copied to anew waits for no others, which would take five seconds of each failover.
        .args(["--repl-diskless-sync-delay", "0"])
        .current_dir(scratch.path())
        .stdout(Stdio::null())
        .spawn()
}
