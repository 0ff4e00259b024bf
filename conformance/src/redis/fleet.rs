//! A primary, two replicas and three sentinels that watch over them, as local processes with one password.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use redis::RedisResult;
use tokio::time::{Instant, sleep};

use super::{POLL, RedisAddress, START_LIMIT, connect, local, local::Local};
use crate::{
    ports::free_port,
    process::{Launch, Process},
};

/// What the sentinels call the primary.
pub(super) const MASTER: &str = "conformance";
/// How long sentinels may take to find each other: they say where they are every two seconds.
const MEET_LIMIT: Duration = Duration::from_secs(30);
/// How long a failover may take by itself.
const FAILOVER_LIMIT: Duration = Duration::from_secs(20);

/// All of them; they are killed when this is dropped.
#[derive(Debug)]
pub(super) struct Fleet {
    /// The first is the primary to begin with.
    servers: Vec<(Local, RedisAddress)>,
    sentinels: Vec<Process>,
    /// Where the sentinels listen.
    ports: Vec<u16>,
    folder: PathBuf,
}

impl Fleet {
    pub(super) async fn start(password: &str, databases: u32) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("notify-conformance-sentinel-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("no folder for sentinels: {error}"))?;
        let mut fleet = Self { servers: Vec::new(), sentinels: Vec::new(), ports: Vec::new(), folder };
        for _ in 0..3 {
            let more = ["--masterauth", password, "--repl-diskless-sync-delay", "0"];
            fleet.servers.push(local::start(password, databases, false, &more).await?);
        }
        let primary = fleet.servers[0].1.clone();
        for (index, (_, address)) in fleet.servers.iter().enumerate() {
            let patience = Patience::new(START_LIMIT, "a redis-server that answers");
            while tell(address, &["PING"]).await.is_err() {
                patience.rest().await?;
            }
            if index > 0 {
                follow(address, &primary).await?;
            }
        }
        for n in 0..3 {
            fleet.watch(n, &primary, password)?;
        }
        for port in &fleet.ports {
            let at = fleet.sentinel(*port);
            let patience = Patience::new(MEET_LIMIT, "sentinels that know each other");
            let know = |about: String| about.contains("status=ok") && about.contains("slaves=2,sentinels=3");
            while !ask(&at, &["INFO", "sentinel"]).await.is_ok_and(know) {
                patience.rest().await?;
            }
        }
        for (_, address) in fleet.others() {
            until_copied(address).await?;
        }
        Ok(fleet)
    }

    fn watch(&mut self, n: usize, primary: &RedisAddress, password: &str) -> Result<(), String> {
        let port = free_port().map_err(|error| error.to_string())?;
        let file = self.folder.join(format!("{n}.conf"));
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nrequirepass {password}\nsentinel sentinel-pass {password}\n\
             sentinel monitor {MASTER} {} {} 2\nsentinel auth-pass {MASTER} {password}\n\
             sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 5000\n\
             sentinel parallel-syncs {MASTER} 2\n",
            primary.host, primary.port
        );
        std::fs::write(&file, settings).map_err(|error| format!("no settings for a sentinel: {error}"))?;
        let command = vec!["redis-server".to_owned(), file.display().to_string(), "--sentinel".to_owned()];
        let launch = Launch { command, env: BTreeMap::new(), directory: self.folder.clone() };
        self.sentinels.push(Process::start(&launch).map_err(|error| error.to_string())?);
        self.ports.push(port);
        Ok(())
    }

    /// The one that was the primary to begin with.
    pub(super) fn first(&self) -> &(Local, RedisAddress) {
        &self.servers[0]
    }

    /// The others.
    pub(super) fn others(&self) -> &[(Local, RedisAddress)] {
        &self.servers[1..]
    }

    /// Where the sentinels are, with commas between.
    pub(super) fn sentinels(&self) -> String {
        let places: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        places.join(",")
    }

    /// Waits until most sentinels say that another than the first is the primary.
    pub(super) async fn until_failed_over(&self) -> Result<(), String> {
        let patience = Patience::new(FAILOVER_LIMIT, "a failover");
        while self.primary().await.is_none_or(|primary| primary == 0) {
            patience.rest().await?;
        }
        Ok(())
    }

    /// Kills the primary, and has it come back as a replica a while after it has a successor.
    pub(super) async fn fail_over(&self, rests: Duration) -> Result<(), String> {
        let patience = Patience::new(START_LIMIT, "sentinels that tell of one primary");
        let victim = loop {
            match self.primary().await {
                Some(primary) => break primary,
                None => patience.rest().await?,
            }
        };
        let (server, address) = &self.servers[victim];
        server.stop().await;
        let patience = Patience::new(FAILOVER_LIMIT, "a failover");
        let successor = loop {
            match self.primary().await.filter(|primary| *primary != victim) {
                Some(primary) => break &self.servers[primary].1,
                None => patience.rest().await?,
            }
        };
        sleep(rests).await;
        server.begin().await?;
        let patience = Patience::new(START_LIMIT, "a redis-server that answers");
        // It is empty. The sentinels would say the same to it some ten seconds later.
        while follow(address, successor).await.is_err() {
            patience.rest().await?;
        }
        until_copied(address).await
    }

    /// Which of the servers is the primary, as most sentinels tell.
    async fn primary(&self) -> Option<usize> {
        let mut told = vec![0; self.servers.len()];
        for port in &self.ports {
            let answer: RedisResult<(String, u16)> =
                ask(&self.sentinel(*port), &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).await;
            if let Ok((_, port)) = answer
                && let Some(of) = self.servers.iter().position(|(_, address)| address.port == port)
            {
                told[of] += 1;
            }
        }
        told.iter().position(|told| 2 * told > self.ports.len())
    }

    pub(super) async fn stop(&self) {
        for (server, _) in &self.servers {
            server.stop().await;
        }
    }

    fn sentinel(&self, port: u16) -> RedisAddress {
        RedisAddress { port, ..self.first().1.clone() }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Makes a server the replica of another.
async fn follow(replica: &RedisAddress, primary: &RedisAddress) -> Result<(), String> {
    let port = primary.port.to_string();
    tell(replica, &["REPLICAOF", &primary.host, &port]).await.map_err(|error| error.to_string())
}

/// Waits until a replica has what its primary has.
pub(super) async fn until_copied(replica: &RedisAddress) -> Result<(), String> {
    let patience = Patience::new(FAILOVER_LIMIT, "a replica that has what its primary has");
    let has_it = |about: String| about.contains("master_link_status:up");
    while !ask(replica, &["INFO", "replication"]).await.is_ok_and(has_it) {
        patience.rest().await?;
    }
    Ok(())
}

/// Something is waited for, and not for ever.
pub(super) struct Patience {
    deadline: Instant,
    limit: Duration,
    what: &'static str,
}

impl Patience {
    pub(super) fn new(limit: Duration, what: &'static str) -> Self {
        Self { deadline: Instant::now() + limit, limit, what }
    }

    /// # Errors
    /// Where it has not come in time.
    pub(super) async fn rest(&self) -> Result<(), String> {
        if Instant::now() > self.deadline {
            return Err(format!("waited {:?} for {}", self.limit, self.what));
        }
        sleep(POLL).await;
        Ok(())
    }
}

pub(super) async fn tell(at: &RedisAddress, words: &[&str]) -> RedisResult<()> {
    ask::<redis::Value>(at, words).await.map(drop)
}

pub(super) async fn ask<T: redis::FromRedisValue>(at: &RedisAddress, words: &[&str]) -> RedisResult<T> {
    redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connect(at, 0).await?).await
}
