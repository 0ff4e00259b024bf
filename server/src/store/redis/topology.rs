//! Which server of a Redis Cluster has which slots, as its servers tell, and the lines to them. Knows nothing of what is kept there.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::Value;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{Address, CONNECT_TIMEOUT, connect::Connector, line::Pair, subscriptions::Subscriptions};
use crate::{model::StoreError, mutex::Mutex};

/// How long is waited for those who have not told yet.
const TELL_WITHIN: Duration = Duration::from_millis(400);
/// How often they are asked while nobody misses anything, and how much time is between two times at least.
const LOOK: Duration = Duration::from_secs(5);
const REST: Duration = Duration::from_millis(50);

/// Ranges of slots with who has them, in order.
type Table = Vec<(u16, u16, Address)>;

/// What is known of a cluster.
pub(super) struct Topology {
    seeds: Vec<Address>,
    /// Goes to whatever server it is sent.
    connector: Connector,
    replicas: u64,
    table: watch::Sender<Table>,
    servers: Mutex<HashMap<Address, Server>>,
    wanted: Notify,
}

/// The ways to one server.
#[derive(Clone)]
struct Server {
    pair: Pair,
    subscriptions: Subscriptions,
}

impl Topology {
    pub(super) fn new(seeds: Vec<Address>, connector: Connector, replicas: u64) -> Self {
        let (table, servers) = (watch::Sender::new(Vec::new()), Mutex::default());
        Self { seeds, connector, replicas, table, servers, wanted: Notify::new() }
    }

    /// The lines to the server that has a slot.
    ///
    /// # Errors
    /// Where that is not known in time.
    pub(super) async fn pair(&self, slot: u16) -> Result<Pair, StoreError> {
        let mut tables = self.table.subscribe();
        let found = timeout(CONNECT_TIMEOUT, tables.wait_for(|table| owner(table, slot).is_some())).await;
        let table = found.map_err(|_| StoreError::TimedOut(CONNECT_TIMEOUT))?.map_err(|_| StoreError::Closed)?;
        let address = owner(&table, slot).ok_or(StoreError::Senseless)?;
        Ok(self.pair_at(address))
    }

    /// The lines to all who have slots; none where nobody tells in time.
    pub(super) async fn pairs(&self) -> Vec<Pair> {
        let mut tables = self.table.subscribe();
        let told = timeout(CONNECT_TIMEOUT, tables.wait_for(|table| !table.is_empty())).await;
        let Ok(Ok(table)) = told else { return Vec::new() };
        let mut addresses: Vec<_> = table.iter().map(|(.., address)| address).collect();
        addresses.sort_unstable_by_key(|it| (&it.host, it.port));
        addresses.dedup();
        addresses.into_iter().map(|address| self.pair_at(address)).collect()
    }

    /// Has it looked again, soon, who has what.
    pub(super) fn look_again(&self) {
        self.wanted.notify_one();
    }

    /// # Errors
    /// Where what answers first is no server of a cluster, or is too old.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        for seed in &self.seeds {
            match self.connector.at(seed).connect().await {
                Err(error @ (StoreError::NotCluster | StoreError::Unsupported(_) | StoreError::TooOld(_))) => {
                    return Err(error);
                }
                Ok(_) => return Ok(()),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether there is a connection to the server that has a slot, on which others listen.
    pub(super) fn is_listened_to(&self, slot: u16) -> bool {
        let owner = owner(&self.table.borrow(), slot).cloned();
        owner.is_some_and(|address| self.subscriptions_at(&address).are_open())
    }

    /// What is listened to at a server.
    pub(super) fn subscriptions_at(&self, address: &Address) -> Subscriptions {
        self.server_at(address).subscriptions
    }

    fn pair_at(&self, address: &Address) -> Pair {
        self.server_at(address).pair
    }

    fn server_at(&self, address: &Address) -> Server {
        let mut servers = self.servers.lock();
        let pair = || Pair::new(self.connector.at(address), self.replicas);
        let new = || Server { pair: pair(), subscriptions: Subscriptions::default() };
        servers.entry(address.clone()).or_insert_with(new).clone()
    }

    /// What most of them say: one that stood still or was cut off believes in what was.
    async fn look(&self) {
        let known = self.table.borrow().iter().map(|(.., address)| address.clone()).collect::<Vec<_>>();
        let mut asked = self.seeds.clone();
        known.into_iter().for_each(|address| {
            if !asked.contains(&address) {
                asked.push(address)
            }
        });
        let ends = Instant::now() + TELL_WITHIN;
        let mut answers: FuturesUnordered<_> = asked.iter().map(|address| self.ask(address)).collect();
        let mut told = HashMap::<Table, usize>::new();
        while let Ok(Some(answer)) = timeout_at(ends, answers.next()).await {
            match answer {
                Ok(table) if !table.is_empty() => *told.entry(table).or_default() += 1,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a server of the redis cluster does not say who has what"),
            }
        }
        drop(answers);
        let Some((table, _)) = told.into_iter().max_by_key(|(_, votes)| *votes) else { return };
        let changed = self.table.send_if_modified(|before| {
            let changed = *before != table;
            *before = table;
            changed
        });
        if changed {
            tracing::info!(ranges = self.table.borrow().len(), "the redis cluster tells who has which slots");
            let table = self.table.borrow();
            let is_known = |it: &Address| self.seeds.contains(it) || table.iter().any(|(.., owner)| owner == it);
            self.servers.lock().retain(|address, _| is_known(address));
        }
    }

    async fn ask(&self, at: &Address) -> Result<Table, StoreError> {
        let ranges: Vec<Vec<Value>> = self.pair_at(at).line.ask(redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let mut table: Table =
            ranges.iter().map(|range| read(range, at)).collect::<Option<_>>().ok_or(StoreError::Senseless)?;
        table.sort_unstable_by_key(|(first, ..)| *first);
        Ok(table)
    }
}

/// The first slot, the last, and who has them; then come the replicas.
fn read(range: &[Value], asked: &Address) -> Option<(u16, u16, Address)> {
    let [first, last, primary, ..] = range else { return None };
    let primary: Vec<Value> = redis::from_redis_value_ref(primary).ok()?;
    let [host, port, ..] = primary.as_slice() else { return None };
    // Who does not know what it is called says nothing, or an empty word.
    let host: Option<String> = redis::from_redis_value_ref(host).ok()?;
    let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| asked.host.clone());
    let number = |value: &Value| redis::from_redis_value_ref::<u16>(value).ok();
    Some((number(first)?, number(last)?, Address { host, port: number(port)? }))
}

fn owner(table: &Table, slot: u16) -> Option<&Address> {
    table.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(.., address)| address)
}

/// Keeps what is known up to date, by asking: at once where somebody has missed something. Never completes.
pub(super) async fn follow(topology: Arc<Topology>) {
    loop {
        topology.look().await;
        sleep(REST).await;
        timeout(LOOK, topology.wanted.notified()).await.ok();
    }
}
