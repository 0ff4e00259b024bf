//! A Redis Cluster of a test's own: three primaries, and a replica of each where it is to fail over.

use std::time::{Duration, Instant};

use notify_server::store::redis::{Address, RedisConfig};

use super::{
    PATIENCE, free_port,
    redis::{LocalRedis, at},
};

/// How many primaries there are.
pub(crate) const PRIMARIES: usize = 3;
const SLOTS: u64 = 16_384;

/// Everything ends when it is dropped.
pub(crate) struct Shards {
    /// The primaries, and then the replica of each.
    pub(crate) servers: Vec<LocalRedis>,
    /// Where they are for others.
    ports: Vec<u16>,
}

impl Shards {
    /// Three primaries.
    pub(crate) async fn start() -> Self {
        Self::of(PRIMARIES, None).await
    }

    /// Three primaries, which the others reach by TLS, with these further settings.
    pub(crate) async fn start_over_tls(settings: &[String]) -> Self {
        Self::of(PRIMARIES, Some(settings)).await
    }

    /// Three primaries, and three replicas.
    pub(crate) async fn with_replicas() -> Self {
        Self::of(2 * PRIMARIES, None).await
    }

    async fn of(servers: usize, over_tls: Option<&[String]>) -> Self {
        let buses: Vec<_> = (0..servers).map(|_| free_port().to_string()).collect();
        let ports: Vec<_> = buses.iter().map(|_| over_tls.map(|_| free_port())).collect();
        let start = |(bus, port): (&String, &Option<u16>)| {
            let port = port.map(|port| port.to_string());
            let mut settings = Vec::new();
            if let (Some(port), Some(over_tls)) = (&port, over_tls) {
                settings.extend(["--tls-cluster", "yes", "--tls-port", port]);
                settings.extend(over_tls.iter().map(String::as_str));
            }
            start(bus, &settings)
        };
        let servers: Vec<_> = buses.iter().zip(&ports).map(start).collect();
        let ports = servers.iter().zip(ports).map(|(server, port)| port.unwrap_or(server.port())).collect();
        let fleet = Self { servers, ports };
        for (index, (server, bus)) in fleet.servers.iter().zip(&buses).enumerate() {
            server.connection().await;
            server.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
            let port = fleet.ports[index].to_string();
            fleet.servers[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]).await;
        }
        let share = SLOTS / PRIMARIES as u64;
        for (index, server) in (0_u64..).zip(&fleet.servers[..PRIMARIES]) {
            let last = if index + 1 == PRIMARIES as u64 { SLOTS } else { (index + 1) * share } - 1;
            let first = (index * share).to_string();
            server.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last.to_string()]).await;
        }
        fleet.until_all_are_known().await;
        for (replica, primary) in fleet.servers[PRIMARIES..].iter().zip(&fleet.servers) {
            let id: String = primary.ask(&["CLUSTER", "MYID"]).await;
            replica.ask::<()>(&["CLUSTER", "REPLICATE", &id]).await;
            replica.until_linked().await;
        }
        fleet.until_all_are_well().await;
        fleet
    }

    /// One more server, which has no slots yet; its place among the others.
    pub(crate) async fn join(&mut self) -> usize {
        let bus = free_port().to_string();
        let server = start(&bus, &[]);
        server.connection().await;
        self.servers[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &server.port().to_string(), &bus]).await;
        self.ports.push(server.port());
        self.servers.push(server);
        self.until_all_are_known().await;
        self.until_all_are_well().await;
        self.servers.len() - 1
    }

    /// Sends a server away that has no slots any more.
    pub(crate) async fn leave(&mut self, index: usize) {
        let left = self.servers.remove(index);
        self.ports.remove(index);
        let id: String = left.ask(&["CLUSTER", "MYID"]).await;
        for server in &self.servers {
            server.ask::<()>(&["CLUSTER", "FORGET", &id]).await;
        }
    }

    /// The first and the second: they tell of the others.
    pub(crate) fn config(&self) -> RedisConfig {
        let address = |port: &u16| Address { host: "127.0.0.1".into(), port: *port };
        RedisConfig { cluster: self.ports[..2].iter().map(address).collect(), ..at(0) }
    }

    /// Which primary has a key that matches, and the key.
    pub(crate) async fn find(&self, pattern: &str) -> Option<(usize, String)> {
        for (index, server) in self.servers[..PRIMARIES].iter().enumerate() {
            if let Some(key) = server.ask::<Vec<String>>(&["KEYS", pattern]).await.pop() {
                return Some((index, key));
            }
        }
        None
    }

    /// Moves the slot of a key to another primary, as `redis-cli --cluster reshard` does: key by key.
    pub(crate) async fn migrate(&self, key: &str, from: usize, to: usize) {
        let (source, target) = (&self.servers[from], &self.servers[to]);
        let slot = source.ask::<u64>(&["CLUSTER", "KEYSLOT", key]).await.to_string();
        let (source_id, target_id): (String, String) =
            (source.ask(&["CLUSTER", "MYID"]).await, target.ask(&["CLUSTER", "MYID"]).await);
        target.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source_id]).await;
        source.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target_id]).await;
        let port = target.port().to_string();
        loop {
            let keys: Vec<String> = source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]).await;
            if keys.is_empty() {
                break;
            }
            let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "1000", "KEYS"];
            migrate.extend(keys.iter().map(String::as_str));
            source.ask::<String>(&migrate).await;
        }
        for server in [target, source].into_iter().chain(&self.servers) {
            server.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &target_id]).await;
        }
    }

    /// Waits until the replica of this primary is one itself; how long that took.
    pub(crate) async fn until_promoted(&self, primary: usize) -> Duration {
        let began = Instant::now();
        let replica = &self.servers[PRIMARIES + primary];
        while !replica.ask::<String>(&["INFO", "replication"]).await.contains("role:master") {
            assert!(began.elapsed() < PATIENCE, "no failover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        began.elapsed()
    }

    async fn until_all_are_known(&self) {
        let known = format!("cluster_known_nodes:{}", self.servers.len());
        self.until_all("CLUSTER", "INFO", |about| about.contains(&known)).await;
    }

    async fn until_all_are_well(&self) {
        self.until_all("CLUSTER", "INFO", |about| about.contains("cluster_state:ok")).await;
    }

    async fn until_all(&self, command: &str, about: &str, is_so: impl Fn(&str) -> bool) {
        let began = Instant::now();
        for server in &self.servers {
            while !is_so(&server.ask::<String>(&[command, about]).await) {
                assert!(began.elapsed() < PATIENCE, "the servers of the cluster do not find each other");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

fn start(bus: &str, settings: &[&str]) -> LocalRedis {
    // By themselves they would add to their ports, and there may be no such ports; refuse whatever they are asked while one of them is
    // missed; and become the replica of whoever has got their last slot.
    let own = "--cluster-enabled yes --cluster-node-timeout 1500 --cluster-require-full-coverage no \
               --cluster-allow-replica-migration no --cluster-port";
    let settings: Vec<_> = own.split_whitespace().chain([bus]).chain(settings.iter().copied()).collect();
    LocalRedis::start_with(&settings).expect("redis-server is installed")
}
