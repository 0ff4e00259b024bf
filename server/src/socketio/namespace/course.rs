//! Whatever happens to the connections of a user, by chance: nothing that was accepted is lost, nothing comes twice to a client that
//! does not acknowledge, and as long as there is one device at a time, everything comes in the order of its acceptance. The service, the
//! devices and their outboxes are the real ones; the lines are not, nor is the store, and in place of the library there are two tasks
//! that read and write as it does.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::Cursor,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use futures_util::future::join_all;
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

use super::{
    super::{
        acks::Acknowledging,
        connection::Lines,
        flusher::Flusher,
        follower::{Follower, PING},
        stream::ClientStream,
    },
    *,
};
use crate::{
    gate::{Bounds, Gate},
    model::{Backlog, Draft, EntryId, EventType, Queue, Queued, Reinserted, StoreError},
    notifications::Delivery,
    proxies::TrustedProxies,
    rules::Standard,
};

const ALICE: &str = "alice";
const ANSWER: &[u8] = b"\x81\x1c40/notifications,{\"sid\":\"x\"}";
const CLOSE: &[u8] = b"\x88\x00";

/// Long enough for anything that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many events wait for a client that is behind.
const MISSED_AT_MOST: usize = 50;

/// How long a course that fails is made shorter, in milliseconds: each attempt may take the whole patience.
const MAX_SHRINK_MS: u32 = 60_000;

/// How many courses are followed at a time: they wait for most of it.
const SIDE_BY_SIDE: usize = 100;

/// What may happen next; a client is chosen among all that there are.
#[derive(Debug, Clone)]
enum Step {
    /// So many events are emitted, one after the other, whatever else happens meanwhile.
    Emit(u8),
    /// A client comes, whose line takes so many bytes at first.
    Connect { acknowledges: bool, takes: u16 },
    /// A line takes so many bytes more.
    Takes { who: u8, bytes: u16 },
    /// A line ends.
    Break { who: u8 },
    /// The server closes a connection.
    Close { who: u8 },
    /// A client acknowledges what it has read, or a part of it.
    Acknowledge { who: u8, which: u16 },
    /// The library says something of its own.
    Ping { who: u8 },
    /// The store fails from now on, or answers again.
    Store { answers: bool },
    /// So many milliseconds go by.
    Sleep(u16),
}

/// Where there is one device at a time, it ends before the next one comes.
fn courses() -> impl Strategy<Value = (bool, Vec<Step>)> {
    let step = prop_oneof![
        6 => (1..4_u8).prop_map(Step::Emit),
        4 => (any::<bool>(), 0..1_000_u16).prop_map(|(acknowledges, takes)| Step::Connect { acknowledges, takes }),
        6 => (any::<u8>(), 0..1_500_u16).prop_map(|(who, bytes)| Step::Takes { who, bytes }),
        3 => any::<u8>().prop_map(|who| Step::Break { who }),
        1 => any::<u8>().prop_map(|who| Step::Close { who }),
        3 => (any::<u8>(), any::<u16>()).prop_map(|(who, which)| Step::Acknowledge { who, which }),
        1 => any::<u8>().prop_map(|who| Step::Ping { who }),
        1 => any::<bool>().prop_map(|answers| Step::Store { answers }),
        4 => (0..300_u16).prop_map(Step::Sleep),
    ];
    (any::<bool>(), vec(step, 1..40))
}

/// A line that takes as many bytes as it is told to.
#[derive(Clone, Default)]
struct Line(Arc<Mutex<Wire>>);

#[derive(Default)]
struct Wire {
    taken: Vec<u8>,
    room: usize,
    is_broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Line {
    fn change(&self, change: impl FnOnce(&mut Wire)) {
        let mut wire = self.0.lock();
        change(&mut wire);
        let wakers = [wire.reader.take(), wire.writer.take()];
        drop(wire);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// The packets that have come to their end.
    fn packets(&self) -> Vec<String> {
        let wire = self.0.lock();
        let (mut packets, mut rest) = (Vec::new(), &wire.taken[..]);
        loop {
            let mut at = Cursor::new(rest);
            let Ok(Some((_, length))) = FrameHeader::parse(&mut at) else { return packets };
            let (begin, length) = (at.position() as usize, length as usize);
            let Some(payload) = rest.get(begin..begin + length) else { return packets };
            packets.push(String::from_utf8_lossy(payload).into_owned());
            rest = &rest[begin + length..];
        }
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let mut wire = self.0.lock();
        if wire.is_broken {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        wire.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let mut wire = self.0.lock();
        if wire.is_broken {
            return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
        }
        let taken = bytes.len().min(wire.room);
        if taken == 0 {
            wire.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        wire.room -= taken;
        wire.taken.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A queue without a cap, in memory, that may fail.
#[derive(Default)]
struct InMemory {
    entries: Mutex<BTreeMap<EntryId, String>>,
    last: Mutex<u64>,
    fails: AtomicBool,
}

impl InMemory {
    fn entries(&self) -> Result<std::sync::MutexGuard<'_, BTreeMap<EntryId, String>>, StoreError> {
        if self.fails.load(Ordering::SeqCst) { Err(StoreError::Closed) } else { Ok(self.entries.lock()) }
    }

    fn behind(&self, after: Option<EntryId>) -> Result<Vec<Queued>, StoreError> {
        let behind = self.entries()?.clone().into_iter().filter(|(id, _)| after.is_none_or(|after| *id > after));
        Ok(behind.map(|(id, payload)| Queued { id, payload }).collect())
    }
}

#[async_trait]
impl Queue for InMemory {
    async fn append(&self, _: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        let (mut entries, mut last) = (self.entries()?, self.last.lock());
        let append = |payload: &&str| {
            *last += 1;
            entries.insert(EntryId(*last, 0), (*payload).to_owned());
            EntryId(*last, 0)
        };
        Ok(payloads.iter().map(append).collect())
    }

    async fn keep(&self, user_id: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.append(user_id, payloads).await
    }

    async fn reinsert(&self, _: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        let back = events.iter().map(|event| (EntryId(event.after.0, event.number), event.payload.to_owned()));
        self.entries()?.extend(back);
        Ok(())
    }

    async fn read(&self, _: &str) -> Result<Vec<Queued>, StoreError> {
        self.behind(None)
    }

    async fn remove(&self, _: &str, ids: &[EntryId], _: Option<uuid::Uuid>) -> Result<(), StoreError> {
        self.entries()?.retain(|id, _| !ids.contains(id));
        Ok(())
    }

    async fn backlog(&self, _: &str, after: EntryId, _: bool) -> Result<Backlog, StoreError> {
        Ok(Backlog { entries: self.behind(Some(after))?, dropped: 0 })
    }

    async fn confirm(&self, user_id: &str, ids: &[EntryId], _: u64) -> Result<(), StoreError> {
        self.remove(user_id, ids, None).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.entries().map(drop)
    }
}

/// Nobody asks.
struct Nobody;

impl VerifyToken for Nobody {
    fn verify(&self, _: &str) -> Result<Claims, TokenError> {
        Err(TokenError::Missing)
    }
}

#[async_trait]
impl VerifySession for Nobody {
    async fn verify(&self, _: &str, _: &str) -> Result<Option<i64>, SessionError> {
        Err(SessionError::Invalid)
    }
}

/// A device and its line.
struct Phone {
    acknowledges: bool,
    connection: Arc<Connection>,
    line: Line,
    /// What the library says by itself.
    says: mpsc::UnboundedSender<&'static [u8]>,
    /// What it has acknowledged.
    acknowledged: HashSet<u64>,
}

impl Phone {
    /// What has arrived: each event with the id to acknowledge it by, if it was asked to.
    fn received(&self) -> Vec<(u64, Option<u64>)> {
        let mut events = Vec::new();
        for packet in self.line.packets() {
            let Some(event) = packet.strip_prefix("42/notifications,") else { continue };
            let (id, data) = event.split_at(event.bytes().take_while(u8::is_ascii_digit).count());
            let data: Vec<Value> = serde_json::from_str(data).expect("an event");
            let number = |event: &Value| event["metadata"]["n"].as_u64().expect("a number");
            let numbers: Vec<_> = match &data[1] {
                Value::Array(queued) => queued.iter().map(number).collect(),
                event => vec![number(event)],
            };
            assert!(numbers.is_sorted(), "in one packet {numbers:?}");
            events.extend(numbers.into_iter().map(|n| (n, id.parse().ok())));
        }
        events
    }

    fn acknowledge(&mut self, which: u16) {
        for (place, (_, id)) in self.received().into_iter().enumerate() {
            if which >> (place % 16) & 1 == 1
                && let Some(id) = id
                && self.acknowledged.insert(id)
            {
                self.connection.acknowledged(id);
            }
        }
    }

    /// What need not come again: it was sent whole to who does not acknowledge, or acknowledged.
    fn has(&self) -> impl Iterator<Item = u64> {
        let is_done = |id: Option<u64>| id.map_or(!self.acknowledges, |id| self.acknowledged.contains(&id));
        self.received().into_iter().filter(move |(_, id)| is_done(*id)).map(|(n, _)| n)
    }
}

struct World {
    door: Arc<Door>,
    lines: Arc<Lines>,
    queue: Arc<InMemory>,
    phones: Vec<Phone>,
    emitter: Option<mpsc::UnboundedSender<u64>>,
    emits: JoinHandle<Vec<u64>>,
    emitted: u64,
}

impl World {
    fn new() -> Self {
        let (acknowledging, queue) = (Acknowledging::default(), Arc::<InMemory>::default());
        let roster = Roster::new(acknowledging.clone());
        let service = NotificationsService::new(Arc::new(Standard), queue.clone(), roster.rooms(), None);
        let (emitter, mut numbers) = mpsc::unbounded_channel();
        let emits = tokio::spawn({
            let service = service.clone();
            async move {
                let mut accepted = Vec::new();
                while let Some(n) = numbers.recv().await {
                    if service.emit(event(n)).await.is_ok() {
                        accepted.push(n);
                    }
                }
                accepted
            }
        });
        let door = Door {
            tokens: Arc::new(Nobody),
            sessions: Arc::new(Nobody),
            service,
            rules: Arc::new(Standard),
            acks: AckSetup { queue: queue.clone(), timeout: Duration::from_secs(10), acknowledging },
            grants: Grants::new(Arc::new(Nobody), None),
            roster,
            devices_per_user: 100,
        };
        let flusher = Flusher::default();
        flusher.begin();
        let lines = Lines {
            flusher,
            patience: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(7),
            missed_at_most: MISSED_AT_MOST,
            gate: Gate::new(Bounds::default(), TrustedProxies::default()),
        };
        Self {
            door: Arc::new(door),
            lines: Arc::new(lines),
            queue,
            phones: Vec::new(),
            emitter: Some(emitter),
            emits,
            emitted: 0,
        }
    }

    async fn connect(&mut self, acknowledges: bool, takes: usize) {
        let (connection, line) = (Connection::new(self.lines.clone()), Line::default());
        line.change(|wire| wire.room = takes);
        assert!(connection.enter(""));
        let Connect { membership, .. } = connection.next_connect().await.expect("it is there");
        let admitted = match acknowledges {
            true => self.door.service.admit_acknowledging(ALICE).await,
            false => self.door.service.admit(ALICE).await,
        };
        // Where the store fails, the client is refused.
        let Ok(admission) = admitted else { return };
        let grant = self.door.grants.grant(ALICE, "session", None, &connection);
        let acks = acknowledges.then_some(&self.door.acks);
        let device = Device::new(connection.clone(), membership, acks, grant, &admission);
        let (service, room) = (self.door.service.clone(), self.door.roster.room(admission.room()));
        let here = Here { service, room: room.clone(), device: device.clone() };
        let says = library(
            ClientStream::new(connection.clone(), Box::new(line.clone()), Follower::default(), Vec::new()),
            here,
        );
        // The first is kept from the client.
        [PING, ANSWER].into_iter().for_each(|packet| says.send(packet).expect("it is there"));
        room.enter(device.clone());
        let (service, user) = (self.door.service.clone(), device.user.clone());
        device.hand_queue(admission, Arc::new(move || service.catch_up_later(&user)));
        self.phones.push(Phone { acknowledges, connection, line, says, acknowledged: HashSet::new() });
    }

    fn phone(&mut self, who: u8) -> Option<&mut Phone> {
        let count = self.phones.len();
        self.phones.get_mut(usize::from(who).checked_rem(count)?)
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Emit(many) => {
                let emitter = self.emitter.as_ref().expect("it goes on");
                for n in self.emitted + 1..=self.emitted + u64::from(many) {
                    emitter.send(n).expect("somebody emits");
                }
                self.emitted += u64::from(many);
            }
            Step::Connect { acknowledges, takes } => self.connect(acknowledges, usize::from(takes)).await,
            Step::Sleep(milliseconds) => sleep(Duration::from_millis(milliseconds.into())).await,
            Step::Store { answers } => self.queue.fails.store(!answers, Ordering::SeqCst),
            Step::Takes { who, bytes } => {
                self.phone(who).into_iter().for_each(|it| it.line.change(|wire| wire.room += usize::from(bytes)));
            }
            Step::Break { who } => {
                self.phone(who).into_iter().for_each(|it| it.line.change(|wire| wire.is_broken = true))
            }
            Step::Close { who } => self.phone(who).into_iter().for_each(|it| it.connection.close()),
            Step::Acknowledge { who, which } => self.phone(who).into_iter().for_each(|it| it.acknowledge(which)),
            // It may have gone.
            Step::Ping { who } => self.phone(who).into_iter().for_each(|it| it.says.send(PING).unwrap_or_default()),
        }
        // Whatever can go on without time going by does, or a part of it.
        tokio::task::yield_now().await;
    }

    /// Ends every connection, and waits until what they were not sent is queued; false where the store does not answer.
    async fn is_nobody_here(&self) -> bool {
        self.phones.iter().for_each(|phone| phone.line.change(|wire| wire.is_broken = true));
        while !self.door.roster.all().is_empty() {
            if self.queue.fails.load(Ordering::SeqCst) {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// What was accepted and nobody has whom it need not come again to, nor these.
    fn lost(&self, accepted: &[u64], others: &[u64]) -> Vec<u64> {
        let had: BTreeSet<u64> = self.phones.iter().flat_map(Phone::has).chain(others.iter().copied()).collect();
        accepted.iter().copied().filter(|n| !had.contains(n)).collect()
    }

    /// Lets every line take all there is, and every client acknowledge: as long as somebody is here, nothing waits in the store for who
    /// comes next.
    async fn let_everything_come(&mut self, accepted: &[u64]) {
        self.phones.iter().for_each(|phone| phone.line.change(|wire| wire.room = usize::MAX / 2));
        let began = Instant::now();
        while self.door.roster.all().iter().any(|device| !device.has_gone()) {
            self.phones.iter_mut().for_each(|phone| phone.acknowledge(u16::MAX));
            let lost = self.lost(accepted, &[]);
            if lost.is_empty() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{lost:?} of {accepted:?} wait in the store, and somebody is here");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends every connection, and gives one more client all that there is; then compares.
    async fn settle(mut self, alone: bool) {
        self.queue.fails.store(false, Ordering::SeqCst);
        self.emitter = None;
        let accepted = (&mut self.emits).await.expect("it ends");
        if accepted.len() <= MISSED_AT_MOST {
            self.let_everything_come(&accepted).await;
        }
        assert!(self.is_nobody_here().await);
        self.connect(false, usize::MAX / 2).await;
        let last = self.phones.pop().expect("the store answers");
        let began = Instant::now();
        let last = loop {
            let got: Vec<_> = last.received().into_iter().map(|(n, _)| n).collect();
            let lost = self.lost(&accepted, &got);
            if lost.is_empty() {
                break got;
            }
            assert!(began.elapsed() < PATIENCE, "{lost:?} of {accepted:?} are lost; the last client got {got:?}");
            sleep(Duration::from_millis(5)).await;
        };
        for phone in self.phones.iter().filter(|phone| !phone.acknowledges) {
            let mut seen = HashSet::new();
            let received = phone.received();
            assert!(received.iter().all(|(n, _)| seen.insert(*n)), "twice: {received:?}");
        }
        if alone {
            let all: Vec<_> =
                self.phones.iter().flat_map(Phone::received).map(|(n, _)| n).chain(last.iter().copied()).collect();
            for phone in &self.phones {
                let received = phone.received();
                assert!(received.is_sorted_by_key(|(n, _)| *n), "out of order: {received:?}");
            }
            if self.phones.iter().all(|phone| !phone.acknowledges) {
                assert!(all.is_sorted_by(|one, next| one < next), "once, and in order: {all:?}");
            }
        }
    }
}

fn event(n: u64) -> Draft {
    Draft {
        event_type: EventType::RecordAccessed,
        actor_id: "doctor".into(),
        resource_id: ALICE.into(),
        metadata: serde_json::Map::from_iter([("n".to_owned(), n.into())]).into(),
    }
}

/// Reads and writes as the library does, in two tasks, and lets go of the socket when both have ended.
fn library(stream: ClientStream, here: Here) -> mpsc::UnboundedSender<&'static [u8]> {
    let (mut reads, mut writes) = tokio::io::split(stream);
    let (library, mut says) = mpsc::unbounded_channel();
    let writer = tokio::spawn(async move {
        while let Some(packet) = says.recv().await {
            if writes.write_all(packet).await.is_err() || packet == CLOSE {
                break;
            }
        }
    });
    let last_word = library.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok(1..) = reads.read(&mut buffer).await {}
        last_word.send(CLOSE).ok();
        writer.await.ok();
        drop((reads, here));
    });
    library
}

async fn follow(alone: bool, steps: Vec<Step>) {
    let mut world = World::new();
    for step in &steps {
        if !alone || !matches!(step, Step::Connect { .. }) || world.is_nobody_here().await {
            world.take(step).await;
        }
    }
    world.settle(alone).await;
}

#[test]
fn by_chance_nothing_is_lost_doubled_or_reordered_whatever_happens_to_the_lines() {
    let config =
        ProptestConfig { failure_persistence: None, max_shrink_time: MAX_SHRINK_MS, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let cases = runner.config().cases as usize;
    for _ in 0..cases.div_ceil(SIDE_BY_SIDE) {
        let trees: Vec<_> = (0..SIDE_BY_SIDE).map(|_| courses().new_tree(&mut runner).expect("a course")).collect();
        let outcomes = runtime.block_on(join_all(trees.iter().map(|tree| {
            let (alone, steps) = tree.current();
            runtime.spawn(follow(alone, steps))
        })));
        for (tree, _) in trees.into_iter().zip(outcomes).filter(|(_, outcome)| outcome.is_err()) {
            // Once more by itself, and then as short as it fails.
            let outcome = runner.run_one(tree, |(alone, steps)| {
                let outcome = runtime.block_on(async { tokio::spawn(follow(alone, steps)).await });
                outcome.map_err(|error| TestCaseError::fail(error.to_string()))
            });
            outcome.unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// A device that acknowledged nothing had come after one that had the queue, was owed it, and was handed an event that was kept for a
/// device that acknowledges, which went. Then it was given the queue, with that event once more.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_for_another_device_is_not_given_again_with_a_queue_that_was_owed() {
    let connect = |acknowledges, takes| Step::Connect { acknowledges, takes };
    let course = vec![
        Step::Emit(2),
        connect(false, 100),
        connect(false, u16::MAX),
        connect(true, u16::MAX),
        Step::Emit(1),
        Step::Sleep(100),
        Step::Break { who: 2 },
        Step::Sleep(100),
        Step::Break { who: 0 },
    ];
    follow(false, course).await;
}

/// A connect takes back what a connection that is gone was not sent, and the store fails: nobody tried again before the next event.
#[tokio::test]
async fn what_somebody_else_took_back_is_queued_once_the_store_answers() {
    let mut world = World::new();
    world.connect(false, ANSWER.len()).await;
    assert_eq!(world.door.service.emit(event(1)).await.expect("it is here").delivery, Delivery::Live);
    world.queue.fails.store(true, Ordering::SeqCst);
    world.phones[0].connection.close();
    // All of this before the library has heard of its end.
    assert!(world.door.service.admit(ALICE).await.is_err());
    while !world.door.roster.all().is_empty() {
        world.queue.fails.store(false, Ordering::SeqCst);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.queue.behind(None).expect("it answers").len(), 1);
}
