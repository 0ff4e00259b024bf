//! How many there may be: connections in all, and clients that were not let in yet, in all and from each address. Where there are too
//! many, whoever has kept the server waiting for longest goes, so that a flood makes room for those who know what they want.
//! Knows nothing of what they say.

pub(crate) mod files;
mod rate;
mod refused;
mod seat;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::{mutex::Mutex, proxies::TrustedProxies};

pub(crate) use self::{
    rate::Rate,
    refused::{Reason, Refused},
    seat::{InHand, Seat},
};

/// How many connections there may be beyond the bound, for requests that are not of Socket.IO: health is asked for when it matters.
pub(crate) const SPARE: usize = 16;

/// How much those who were not let in may have begun to say, all together.
pub(crate) const HELD_BYTES: usize = 32 * 1024 * 1024;

/// How long somebody who has to go may take to.
const LEAVES_WITHIN: Duration = Duration::from_millis(100);

/// How much is taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// `MAX_CONNECTIONS`, default: what the limit of open files leaves.
    pub connections: Option<usize>,
    /// `MAX_PENDING_CONNECTIONS`: how many that were not let in yet, default 10,000.
    pub pending: usize,
    /// `MAX_PENDING_PER_ADDRESS`: how many of them from one address, default 1,000.
    pub pending_per_address: usize,
    /// `MAX_DEVICES_PER_USER`, at this node, default 1,000.
    pub devices_per_user: usize,
    /// `MAX_EVENTS_PER_SECOND`: what one client may send, default 100.
    pub events_per_second: u32,
    /// `MAX_REFRESHES_PER_SECOND`: how often one client may show a fresh token, default 20.
    pub refreshes_per_second: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: None,
            pending: 10_000,
            pending_per_address: 1_000,
            devices_per_user: 1_000,
            events_per_second: 100,
            refreshes_per_second: 20,
        }
    }
}

/// Nobody can be sent away for whoever comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are too many who were not let in.
    All,
    /// There are too many from this address.
    Address,
}

/// Sends somebody away. Called without a lock.
pub(crate) type Evict = Box<dyn FnOnce() + Send>;

/// Who is here.
pub(crate) struct Gate {
    pub(crate) bounds: Bounds,
    /// Who speaks for others: what comes from there is not of one address.
    pub(crate) proxies: TrustedProxies,
    pub(crate) refused: Refused,
    /// How many connections there are files for.
    files: AtomicUsize,
    crowd: Mutex<Crowd>,
    /// A connection has ended.
    freed: Notify,
}

#[derive(Default)]
struct Crowd {
    connections: usize,
    /// Names whoever comes, in the order of their coming.
    next: u64,
    pending: HashMap<u64, Pending>,
    /// Those of them who keep the server waiting, and those of these who hold a connection.
    waiting: BTreeSet<u64>,
    connected: BTreeSet<u64>,
    by_address: HashMap<IpAddr, Address>,
    /// Those who have begun to say something, and how much it is.
    talking: BTreeSet<u64>,
    held_bytes: usize,
    /// Connections between two requests.
    idle: BTreeMap<u64, Arc<Notify>>,
}

/// Somebody who was not let in yet.
struct Pending {
    address: Option<IpAddr>,
    holds_connection: bool,
    held_bytes: usize,
    evict: Evict,
}

#[derive(Default)]
struct Address {
    pending: usize,
    waiting: BTreeSet<u64>,
}

/// What becomes of a connection that was made.
enum Seating {
    Taken {
        spare: bool,
    },
    /// Somebody has to leave first.
    After(Evict),
    Full,
}

impl Gate {
    pub(crate) fn new(bounds: Bounds, proxies: TrustedProxies) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            proxies,
            refused: Refused::default(),
            files: AtomicUsize::new(usize::MAX - SPARE),
            crowd: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Notes how many connections the system has files for.
    pub(crate) fn has_files_for(&self, connections: usize) {
        self.files.store(connections, Ordering::Relaxed);
    }

    /// How many connections there may be: what is allowed, and what the store's own leave.
    fn max_connections(&self) -> usize {
        let files = self.files.load(Ordering::Relaxed).saturating_sub(files::beyond());
        self.bounds.connections.map_or(files, |connections| connections.min(files))
    }

    /// A seat for a connection that was made; `None` where there is none to be had.
    pub(crate) async fn seat(self: &Arc<Self>, peer: IpAddr, keep_alive: Duration) -> Option<Arc<Seat>> {
        let spare = loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.take_seat() {
                Seating::Taken { spare } => break spare,
                Seating::After(evict) => {
                    self.refused.note(Reason::Connections);
                    evict();
                }
                Seating::Full => {
                    self.refused.note(Reason::Connections);
                    return None;
                }
            }
            // Who has begun a request meanwhile stays; then it is the next one's turn.
            timeout(LEAVES_WITHIN, freed).await.ok();
        };
        let address = (!self.proxies.trust(peer.to_canonical())).then_some(peer);
        let evicted = Arc::<Notify>::default();
        let tell = evicted.clone();
        match self.enter(address, true, Box::new(move || tell.notify_one())) {
            Ok(place) => Some(Seat::new(self.clone(), place, spare, evicted, keep_alive)),
            Err(_) => {
                self.lock().connections -= 1;
                None
            }
        }
    }

    fn take_seat(&self) -> Seating {
        let max = self.max_connections();
        let mut crowd = self.lock();
        if crowd.connections < max {
            crowd.connections += 1;
            return Seating::Taken { spare: false };
        }
        if let Some(id) = crowd.connected.first().copied()
            && let Some(pending) = crowd.remove(id)
        {
            return Seating::After(pending.evict);
        }
        if let Some((_, evicted)) = crowd.idle.pop_first() {
            return Seating::After(Box::new(move || evicted.notify_one()));
        }
        if crowd.connections < max + SPARE {
            crowd.connections += 1;
            return Seating::Taken { spare: true };
        }
        Seating::Full
    }

    fn leave_seat(&self, id: u64) {
        let mut crowd = self.lock();
        crowd.connections -= 1;
        crowd.idle.remove(&id);
        drop(crowd);
        self.freed.notify_one();
    }

    /// Notes somebody who was not let in yet, until the place is dropped.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        holds_connection: bool,
        evict: Evict,
    ) -> Result<Place, Full> {
        let address = address.map(network);
        let mut crowd = self.lock();
        let mut goes = Vec::new();
        let full = if let Some(from) = address.and_then(|address| crowd.by_address.get(&address))
            && from.pending >= self.bounds.pending_per_address
        {
            Some((Full::Address, from.waiting.first().copied()))
        } else if crowd.pending.len() >= self.bounds.pending {
            Some((Full::All, crowd.waiting.first().copied()))
        } else {
            None
        };
        if let Some((full, oldest)) = full {
            self.refused.note(Reason::Pending);
            let Some(oldest) = oldest else { return Err(full) };
            goes.extend(crowd.remove(oldest));
        }
        let id = crowd.next;
        crowd.next += 1;
        crowd.pending.insert(id, Pending { address, holds_connection, held_bytes: 0, evict });
        if let Some(address) = address {
            crowd.by_address.entry(address).or_default().pending += 1;
        }
        crowd.waits(id);
        drop(crowd);
        goes.into_iter().for_each(|pending| (pending.evict)());
        Ok(Place { gate: self.clone(), id })
    }

    /// How many connections there are, how many clients that were not let in, and how many connections there may be.
    pub(crate) fn numbers(&self) -> (u64, u64, u64) {
        let crowd = self.lock();
        let most = self.max_connections();
        (crowd.connections as u64, crowd.pending.len() as u64, most as u64)
    }

    fn lock(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.lock()
    }
}

impl Crowd {
    /// Notes that the server waits for this one.
    fn waits(&mut self, id: u64) {
        let Some(pending) = self.pending.get(&id) else { return };
        self.waiting.insert(id);
        if pending.holds_connection {
            self.connected.insert(id);
        }
        if let Some(from) = pending.address.and_then(|address| self.by_address.get_mut(&address)) {
            from.waiting.insert(id);
        }
    }

    /// Notes that this one waits for the server.
    fn works(&mut self, id: u64) {
        self.waiting.remove(&id);
        self.connected.remove(&id);
        let address = self.pending.get(&id).and_then(|pending| pending.address);
        if let Some(from) = address.and_then(|address| self.by_address.get_mut(&address)) {
            from.waiting.remove(&id);
        }
    }

    fn holds(&mut self, id: u64, bytes: usize) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        self.held_bytes = self.held_bytes - pending.held_bytes + bytes;
        pending.held_bytes = bytes;
        if bytes > 0 {
            self.talking.insert(id)
        } else {
            self.talking.remove(&id)
        };
    }

    fn remove(&mut self, id: u64) -> Option<Pending> {
        self.holds(id, 0);
        self.works(id);
        let pending = self.pending.remove(&id)?;
        if let Some(address) = pending.address
            && let Some(from) = self.by_address.get_mut(&address)
        {
            from.pending -= 1;
            if from.pending == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(pending)
    }
}

/// The place of somebody who was not let in yet.
pub(crate) struct Place {
    gate: Arc<Gate>,
    id: u64,
}

impl Place {
    /// It waits for the server, and is not sent away meanwhile.
    pub(crate) fn works(&self) {
        self.gate.lock().works(self.id);
    }

    /// The server waits for it, as before.
    pub(crate) fn waits(&self) {
        self.gate.lock().waits(self.id);
    }

    /// It has begun to say something of which so much is held. Where all together is too much, the oldest go.
    pub(crate) fn holds(&self, bytes: usize) {
        let mut crowd = self.gate.lock();
        crowd.holds(self.id, bytes);
        let mut goes = Vec::new();
        while crowd.held_bytes > HELD_BYTES
            && let Some(oldest) = crowd.talking.first().copied()
        {
            self.gate.refused.note(Reason::Pending);
            goes.extend(crowd.remove(oldest));
        }
        drop(crowd);
        goes.into_iter().for_each(|pending| (pending.evict)());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let gone = self.gate.lock().remove(self.id);
        drop(gone);
    }
}

/// What counts as one address: whoever has one of IPv6 has 2^64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const HERE: &str = "192.0.2.1";

    fn bounded(pending: usize, pending_per_address: usize) -> Arc<Gate> {
        let bounds = Bounds { pending, pending_per_address, connections: Some(2), ..Bounds::default() };
        Gate::new(bounds, TrustedProxies::default())
    }

    struct Door {
        gate: Arc<Gate>,
        gone: (mpsc::Sender<u32>, mpsc::Receiver<u32>),
    }

    impl Door {
        fn new(pending: usize, per_address: usize) -> Self {
            Self { gate: bounded(pending, per_address), gone: mpsc::channel() }
        }

        fn enter(&self, name: u32, address: &str) -> Result<Place, Full> {
            let gone = self.gone.0.clone();
            let evict = Box::new(move || gone.send(name).unwrap());
            self.gate.enter(Some(address.parse().unwrap()), false, evict)
        }

        fn gone(&self) -> Vec<u32> {
            self.gone.1.try_iter().collect()
        }
    }

    #[test]
    fn the_oldest_of_an_address_goes_for_the_next_of_it_and_nobody_else() {
        let door = Door::new(10, 2);
        let _others = [door.enter(0, "192.0.2.2"), door.enter(1, "2001:db8::1"), door.enter(2, "2001:db8::2:1")];
        let _ours = [door.enter(3, HERE), door.enter(4, HERE), door.enter(5, HERE)];
        assert_eq!(door.gone(), [3]);
        // One network.
        let _sixth = door.enter(6, "2001:db8::3");
        assert_eq!(door.gone(), [1]);
    }

    #[test]
    fn who_waits_for_the_server_is_not_sent_away() {
        let door = Door::new(2, 2);
        let places = [door.enter(0, HERE), door.enter(1, HERE)].map(|place| place.ok().unwrap());
        places.iter().for_each(Place::works);
        assert_eq!(door.enter(2, HERE).err(), Some(Full::Address));
        assert_eq!(door.enter(2, "192.0.2.2").err(), Some(Full::All));
        places[0].waits();
        let _next = door.enter(3, HERE);
        assert_eq!(door.gone(), [0]);
        drop(places);
        drop(_next);
        assert!(door.gate.lock().by_address.is_empty() && door.gate.lock().pending.is_empty());
    }

    #[test]
    fn what_was_begun_is_bounded_together() {
        let door = Door::new(10, 10);
        let places = [door.enter(0, HERE), door.enter(1, HERE), door.enter(2, HERE)].map(|place| place.ok().unwrap());
        places[1].holds(HELD_BYTES / 2);
        places[0].holds(HELD_BYTES / 2);
        assert!(door.gone().is_empty());
        places[2].holds(1);
        assert_eq!(door.gone(), [0]);
        places[1].holds(0);
        assert_eq!(door.gate.lock().held_bytes, 1);
    }

    #[tokio::test]
    async fn where_connections_are_full_the_silent_go_then_the_idle_then_there_are_spare_ones() {
        let gate = bounded(10, 10);
        let silent = gate.seat(Ipv6Addr::LOCALHOST.into(), Duration::from_secs(1)).await.unwrap();
        let busy = gate.seat(Ipv6Addr::LOCALHOST.into(), Duration::from_secs(1)).await.unwrap();
        let in_hand = busy.begin();
        let leaves = tokio::spawn(async move {
            silent.evicted().await;
            assert!(silent.may_go());
        });
        let idle = gate.seat(Ipv6Addr::LOCALHOST.into(), Duration::from_secs(1)).await.unwrap();
        leaves.await.unwrap();
        drop(idle.begin());
        let leaves = tokio::spawn(async move { idle.evicted().await });
        let third = gate.seat(Ipv6Addr::LOCALHOST.into(), Duration::from_secs(1)).await.unwrap();
        leaves.await.unwrap();
        assert!(!third.is_spare());
        let _third = third.begin();
        let mut spare = Vec::new();
        for _ in 0..SPARE {
            let seat = gate.seat(Ipv6Addr::LOCALHOST.into(), Duration::from_secs(1)).await.unwrap();
            assert!(seat.is_spare());
            spare.push(seat.begin());
        }
        assert!(gate.seat(Ipv6Addr::LOCALHOST.into(), Duration::from_secs(1)).await.is_none());
        drop((in_hand, busy, spare));
        assert!(!gate.seat(Ipv6Addr::LOCALHOST.into(), Duration::from_secs(1)).await.unwrap().is_spare());
    }
}
