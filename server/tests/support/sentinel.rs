//! A primary, two replicas and three sentinels of a test's own.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use notify_server::store::redis::{Address, RedisConfig, Sentinels};

use super::{
    PATIENCE, Scratch, free_port,
    redis::{LocalRedis, at},
};

/// What the sentinels call the primary.
const MASTER: &str = "notify";

/// How long a server says nothing that is down. On a busy machine one that is well may say nothing for a second, and there would be
/// another failover.
const DOWN_AFTER_MS: u64 = 3_000;

/// Everything ends when it is dropped.
pub(crate) struct Fleet {
    /// The first is the primary, to begin with.
    pub(crate) servers: Vec<LocalRedis>,
    sentinels: Vec<(Child, u16)>,
    _scratch: Scratch,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        let primary = LocalRedis::start().expect("redis-server is installed");
        primary.connection().await;
        let servers = vec![primary.replica().await, primary.replica().await];
        let scratch = Scratch::new();
        let begin = |n: usize| {
            let port = free_port();
            let file = scratch.path().join(format!("sentinel-{n}.conf"));
            let settings = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\nsentinel failover-timeout {MASTER} 5000\n\
                 sentinel parallel-syncs {MASTER} 2\n",
                primary.port()
            );
            std::fs::write(&file, settings).expect("the folder can be written to");
            let mut command = Command::new("redis-server");
            command.arg(&file).arg("--sentinel").current_dir(scratch.path()).stdout(Stdio::null());
            (command.spawn().expect("redis-server is installed"), port)
        };
        let sentinels: Vec<_> = (0..3).map(begin).collect();
        let servers = std::iter::once(primary).chain(servers).collect();
        let fleet = Self { servers, sentinels, _scratch: scratch };
        fleet.until_watched().await;
        fleet
    }

    pub(crate) fn config(&self) -> RedisConfig {
        let address = |(_, port): &(Child, u16)| Address { host: "127.0.0.1".into(), port: *port };
        let sentinels = Sentinels {
            addresses: self.sentinels.iter().map(address).collect(),
            master: MASTER.into(),
            username: None,
            password: None,
        };
        RedisConfig { sentinels: Some(sentinels), ..at(0) }
    }

    /// The port of the primary, as the sentinels tell.
    pub(crate) async fn primary(&self) -> u16 {
        for (_, port) in &self.sentinels {
            let Ok(client) = redis::Client::open(("127.0.0.1", *port)) else { continue };
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { continue };
            let mut ask = redis::cmd("SENTINEL");
            ask.arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER);
            if let Ok((_, port)) = ask.query_async::<(String, u16)>(&mut connection).await {
                return port;
            }
        }
        0
    }

    /// Waits until the sentinels tell of another primary than this; how long that took.
    pub(crate) async fn until_another(&self, than: u16) -> Duration {
        let began = Instant::now();
        while [0, than].contains(&self.primary().await) {
            assert!(began.elapsed() < PATIENCE, "no failover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        began.elapsed()
    }

    /// Waits until the replica that a failover has left follows the new primary. A sentinel that was out of touch with it for a moment
    /// points it there only when it looks again, seconds later.
    pub(crate) async fn until_over(&self) {
        let began = Instant::now();
        while !self.is_followed().await {
            assert!(began.elapsed() < PATIENCE, "nobody follows the new primary");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_followed(&self) -> bool {
        let primary = self.primary().await;
        let Some(server) = self.servers.iter().find(|server| server.port() == primary) else { return false };
        let mut connection = server.connection().await;
        let about: Result<String, _> = redis::cmd("INFO").arg("replication").query_async(&mut connection).await;
        about.is_ok_and(|about| about.contains("role:master") && about.contains("state=online"))
    }

    /// Waits until both replicas have what the first server has.
    pub(crate) async fn until_copied(&self) {
        let mut connection = self.servers[0].connection().await;
        let mut written = redis::pipe();
        written.cmd("PUBLISH").arg("junk-of-the-test").arg("").ignore().cmd("WAIT").arg(2).arg(300);
        let began = Instant::now();
        while written.query_async::<(u64,)>(&mut connection).await.map_or(0, |(replicas,)| replicas) < 2 {
            assert!(began.elapsed() < PATIENCE, "the replicas do not keep up");
        }
    }

    /// Kills all sentinels.
    pub(crate) fn blind(&mut self) {
        for (child, _) in &mut self.sentinels {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    /// Waits until each sentinel knows the others and both replicas: before, none would decide anything.
    async fn until_watched(&self) {
        let began = Instant::now();
        for (_, port) in &self.sentinels {
            let client = redis::Client::open(("127.0.0.1", *port)).expect("this is an address");
            loop {
                if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                    && let Ok(about) = redis::cmd("INFO").arg("sentinel").query_async::<String>(&mut connection).await
                    && about.contains("status=ok")
                    && about.contains("slaves=2,sentinels=3")
                {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "the sentinels do not find each other");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for (child, _) in &mut self.sentinels {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
