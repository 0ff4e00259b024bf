//! A Redis Cluster of local processes with one password: three primaries, and a replica of each.

use std::time::Duration;

use redis::RedisResult;
use tokio::time::sleep;

use super::{
    RedisAddress, START_LIMIT,
    fleet::{Patience, ask, tell, until_copied},
    local::{self, Local},
};
use crate::ports::free_port;

/// How many primaries there are.
const PRIMARIES: usize = 3;
/// How many slots there are in all.
const SLOTS: usize = 16_384;
/// How long servers may take to find each other.
const MEET_LIMIT: Duration = Duration::from_secs(30);
/// How long a failover may take by itself.
const FAILOVER_LIMIT: Duration = Duration::from_secs(20);

/// All of them; they are killed when this is dropped.
#[derive(Debug)]
pub(super) struct Shards {
    /// The primaries to begin with, and then the replica of each.
    servers: Vec<(Local, RedisAddress)>,
}

impl Shards {
    pub(super) async fn start(password: &str) -> Result<Self, String> {
        let mut shards = Self { servers: Vec::new() };
        let mut buses = Vec::new();
        for _ in 0..2 * PRIMARIES {
            // By themselves they would add to their ports, and there may be no such ports. Without the last, all would refuse whatever
            // they are asked while one is missed.
            let bus = free_port().map_err(|error| error.to_string())?.to_string();
            let settings = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1500"];
            let settings =
                [&settings[..], &["--cluster-require-full-coverage", "no", "--masterauth", password]].concat();
            shards.servers.push(local::start(password, 1, false, &settings).await?);
            buses.push(bus);
        }
        for (index, (_, address)) in shards.servers.iter().enumerate() {
            let patience = Patience::new(START_LIMIT, "a redis-server that answers");
            let epoch = (index + 1).to_string();
            while tell(address, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await.is_err() {
                patience.rest().await?;
            }
        }
        shards.meet(&buses).await.map_err(|error| error.to_string())?;
        shards
            .until_all("servers that know each other", |about| {
                about.contains(&format!("cluster_known_nodes:{}", 2 * PRIMARIES))
            })
            .await?;
        for ((_, replica), (_, primary)) in shards.servers[PRIMARIES..].iter().zip(&shards.servers) {
            let id: String = ask(primary, &["CLUSTER", "MYID"]).await.map_err(|error| error.to_string())?;
            let patience = Patience::new(MEET_LIMIT, "a server that knows its primary");
            while tell(replica, &["CLUSTER", "REPLICATE", &id]).await.is_err() {
                patience.rest().await?;
            }
            let has_it = |about: String| about.contains("master_link_status:up");
            let patience = Patience::new(START_LIMIT, "a replica that has what its primary has");
            while !ask(replica, &["INFO", "replication"]).await.is_ok_and(has_it) {
                patience.rest().await?;
            }
        }
        shards.until_all("a cluster that is well", |about| about.contains("cluster_state:ok")).await?;
        Ok(shards)
    }

    async fn meet(&self, buses: &[String]) -> RedisResult<()> {
        let first = &self.servers[0].1;
        for ((_, address), bus) in self.servers.iter().zip(buses) {
            tell(first, &["CLUSTER", "MEET", &address.host, &address.port.to_string(), bus]).await?;
        }
        for (index, (_, address)) in self.primaries().iter().enumerate() {
            let (from, to) = (index * SLOTS / PRIMARIES, (index + 1) * SLOTS / PRIMARIES - 1);
            tell(address, &["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]).await?;
        }
        Ok(())
    }

    /// The first of them.
    pub(super) fn first(&self) -> &(Local, RedisAddress) {
        &self.servers[0]
    }

    /// Where all of them are.
    pub(super) fn addresses(&self) -> Vec<RedisAddress> {
        self.servers.iter().map(|(_, address)| address.clone()).collect()
    }

    /// Those that are primaries to begin with.
    fn primaries(&self) -> &[(Local, RedisAddress)] {
        &self.servers[..PRIMARIES]
    }

    /// Which of them has the slot of this key now.
    pub(super) async fn owner(&self, key: &str) -> Result<usize, String> {
        let patience = Patience::new(START_LIMIT, "a primary that has a slot");
        loop {
            for (index, (_, address)) in self.servers.iter().enumerate() {
                // Whoever has it says nothing of where it lies; a replica of it does.
                if ask::<redis::Value>(address, &["TYPE", key]).await.is_ok() {
                    return Ok(index);
                }
            }
            patience.rest().await?;
        }
    }

    pub(super) async fn kill(&self, index: usize) {
        self.servers[index].0.stop().await;
    }

    /// Waits until another than this one has the slot of a key.
    pub(super) async fn until_another_has(&self, key: &str, than: usize) -> Result<(), String> {
        let patience = Patience::new(FAILOVER_LIMIT, "a failover");
        while self.owner(key).await? == than {
            patience.rest().await?;
        }
        Ok(())
    }

    /// Has the replica of a primary take over from it, as an operator does who has to tend to it.
    pub(super) async fn hand_over(&self, primary: usize) -> Result<(), String> {
        let replica = &self.servers[self.other_of(primary)].1;
        tell(replica, &["CLUSTER", "FAILOVER"]).await.map_err(|error| error.to_string())
    }

    /// Moves the slot of a key to another primary, key by key, as `redis-cli --cluster reshard` does.
    pub(super) async fn move_slot(&self, key: &str) -> Result<(), String> {
        let from = self.owner(key).await?;
        let to = self.serving((from + 1) % PRIMARIES).await?;
        self.migrate(key, &self.servers[from].1, &self.servers[to].1).await.map_err(|error| error.to_string())
    }

    async fn migrate(&self, key: &str, source: &RedisAddress, target: &RedisAddress) -> RedisResult<()> {
        let slot = ask::<u64>(source, &["CLUSTER", "KEYSLOT", key]).await?.to_string();
        let source_id: String = ask(source, &["CLUSTER", "MYID"]).await?;
        let target_id: String = ask(target, &["CLUSTER", "MYID"]).await?;
        tell(target, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]).await?;
        tell(source, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]).await?;
        let (port, password) = (target.port.to_string(), target.password.clone().unwrap_or_default());
        loop {
            let keys: Vec<String> = ask(source, &["CLUSTER", "GETKEYSINSLOT", &slot, "10"]).await?;
            if keys.is_empty() {
                break;
            }
            let mut migrate = vec!["MIGRATE", &target.host, &port, "", "0", "1000", "AUTH", &password, "KEYS"];
            migrate.extend(keys.iter().map(String::as_str));
            tell(source, &migrate).await?;
        }
        for address in [target, source] {
            tell(address, &["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]).await?;
        }
        Ok(())
    }

    /// Moves a slot that holds something, where one does.
    pub(super) async fn move_some_slot(&self) -> Result<(), String> {
        let shard = rand::random_range(0..PRIMARIES);
        let from = &self.servers[self.serving(shard).await?].1;
        let key: Option<String> = ask(from, &["RANDOMKEY"]).await.map_err(|error| error.to_string())?;
        match key {
            Some(key) => self.move_slot(&key).await,
            None => Ok(()),
        }
    }

    /// Kills a primary, and has it come back a while after it has a successor.
    pub(super) async fn fail_over(&self, rests: Duration) -> Result<(), String> {
        let victim = self.serving(rand::random_range(0..PRIMARIES)).await?;
        let (server, address) = &self.servers[victim];
        server.stop().await;
        let patience = Patience::new(FAILOVER_LIMIT, "a failover");
        while !is_primary(&self.servers[self.other_of(victim)].1).await {
            patience.rest().await?;
        }
        sleep(rests).await;
        server.begin().await?;
        until_copied(address).await
    }

    /// The other server of the same part.
    fn other_of(&self, index: usize) -> usize {
        (index + PRIMARIES) % self.servers.len()
    }

    /// Which of the two servers of a part is its primary.
    async fn serving(&self, shard: usize) -> Result<usize, String> {
        let patience = Patience::new(START_LIMIT, "a primary");
        loop {
            for index in [shard, self.other_of(shard)] {
                if is_primary(&self.servers[index].1).await {
                    return Ok(index);
                }
            }
            patience.rest().await?;
        }
    }

    pub(super) async fn stop(&self) {
        for (server, _) in &self.servers {
            server.stop().await;
        }
    }

    async fn until_all(&self, what: &'static str, is_so: impl Fn(String) -> bool) -> Result<(), String> {
        let patience = Patience::new(MEET_LIMIT, what);
        for (_, address) in &self.servers {
            while !ask(address, &["CLUSTER", "INFO"]).await.is_ok_and(&is_so) {
                patience.rest().await?;
            }
        }
        Ok(())
    }
}

async fn is_primary(at: &RedisAddress) -> bool {
    ask::<String>(at, &["INFO", "replication"]).await.is_ok_and(|about| about.contains("role:master"))
}
