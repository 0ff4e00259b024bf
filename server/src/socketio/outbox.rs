//! What a connection was handed and its transport has not taken yet, in order. Knows nothing of sockets or stores.
//!
//! It is bounded: a client that is *behind* the bound is not handed more. What was accepted for it meanwhile waits in `missed`, and
//! comes in one `queued.events` once everything before it was taken (SLOW-09).

use std::{
    collections::VecDeque,
    io::IoSlice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::body::Bytes;

use super::acks::AckTracker;
use crate::{
    counts::COUNTS,
    frame::{self, Frame},
    model::{EntryId, Outgoing, Sent},
};

/// How many events may wait for a client that reads slowly or not at all, and how many bytes. A batch of the usual size fits in.
const MAX_WAITING: usize = 1_024;
const MAX_WAITING_BYTES: usize = 320 * 1024;

/// An event on its way to one or several clients that acknowledge nothing, and in no store.
pub(crate) struct Shared {
    pub(crate) event: Outgoing,
    /// Its place among all that was handed over ([`Reinserted::number`](crate::model::Reinserted)).
    pub(crate) number: u64,
    /// The newest entry of the queue that those who are handed it had been given before.
    pub(crate) after: EntryId,
    accepted: Instant,
    /// How many connections still have it to send.
    holders: AtomicUsize,
    sent: AtomicBool,
}

impl Shared {
    pub(crate) fn new(event: Outgoing, number: u64, after: EntryId) -> Arc<Self> {
        let accepted = Instant::now();
        Arc::new(Self { event, number, after, accepted, holders: AtomicUsize::new(0), sent: AtomicBool::new(false) })
    }

    fn hold(&self) {
        self.holders.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets go of it; true where nobody has sent it and nobody else will.
    fn release(&self, sent: bool) -> bool {
        if sent {
            self.sent.store(true, Ordering::SeqCst);
        }
        let is_last = self.holders.fetch_sub(1, Ordering::SeqCst) == 1;
        if is_last && sent {
            COUNTS.handing_over.observe(self.accepted.elapsed());
        }
        is_last && !self.sent.load(Ordering::SeqCst)
    }
}

/// What is to be done about an event when it was sent, and when it never will be.
pub(crate) enum Handed {
    /// It is in no store: where no connection has sent it, it is taken back and queued.
    Event(Arc<Shared>),
    /// It is in the store whatever happens here.
    Kept,
    /// It is in the store until the client acknowledges it, under this number.
    Asking(AckTracker, u64),
    /// It is in the store until a transport has taken it; whoever removes it is told.
    Stored(Sent),
    /// Several in one packet.
    Many(Vec<Self>),
}

impl Handed {
    fn hold(&self) {
        if let Self::Event(shared) = self {
            shared.hold();
        }
    }

    fn sent(self, bytes: usize) {
        match self {
            Self::Event(shared) => drop(shared.release(true)),
            Self::Asking(acks, id) => acks.sent(id, bytes),
            Self::Stored(sent) => sent(),
            Self::Many(all) => all.into_iter().for_each(|handed| handed.sent(0)),
            Self::Kept => {}
        }
    }

    /// Adds the events that nobody has sent and nobody else will.
    fn lost(self, unsent: &mut Vec<Arc<Shared>>) {
        match self {
            Self::Event(shared) => {
                if shared.release(false) {
                    unsent.push(shared);
                }
            }
            Self::Many(all) => all.into_iter().for_each(|handed| handed.lost(unsent)),
            Self::Kept | Self::Asking(..) | Self::Stored(_) => {}
        }
    }
}

/// Small, for many may wait.
struct Waiting {
    what: What,
    /// What it counts in the bound.
    weight: u32,
}

enum What {
    /// As it goes to everybody.
    Event(Arc<Shared>),
    /// As it goes to this client.
    Packet(Box<(Frame, Handed)>),
}

impl Waiting {
    fn new(frame: Frame, handed: Handed, weight: usize) -> Self {
        let what = match handed {
            Handed::Event(shared) if weight > 0 => What::Event(shared),
            handed => What::Packet(Box::new((frame, handed))),
        };
        // One that is larger counts as much as the largest that there can be.
        Self { what, weight: u32::try_from(weight).unwrap_or(u32::MAX) }
    }

    fn frame(&self) -> &Frame {
        match &self.what {
            What::Event(shared) => &shared.event.frame,
            What::Packet(packet) => &packet.0,
        }
    }

    fn into_handed(self) -> Handed {
        match self.what {
            What::Event(shared) => Handed::Event(shared),
            What::Packet(packet) => packet.1,
        }
    }
}

/// An event that a client behind has not been handed.
struct Missed {
    event: Outgoing,
    handed: Handed,
}

/// In the order in which they were handed over.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Waiting>,
    /// What the answer to a poll has taken: the client can read none of it before it has the last of the answer.
    answered: VecDeque<Waiting>,
    /// How much of the first was taken.
    begun: usize,
    /// How many of them count in the bound, and how many bytes they have.
    events: usize,
    bytes: usize,
    missed: VecDeque<Missed>,
    /// Whether the store has more that the client has missed, before anything that is offered now.
    more_stored: bool,
    /// Whether a queue is on its way to another device, and is this one's where that breaks. What is live does not wait for that.
    owed: bool,
    /// Whether that one has broken: then it comes before what was missed and what is live.
    owed_is_free: bool,
    /// Missed events that went for want of room, and that no other device has sent after all. They are queued with the
    /// rest.
    orphans: Vec<Arc<Shared>>,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.answered.is_empty()
    }

    /// Whether there is something for the answer to a poll.
    pub(crate) fn has_packets(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many events wait, and how many bytes they have. Of a queue's events each packet counts as one.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let on_their_way = || self.waiting.iter().chain(&self.answered);
        let bytes = on_their_way().map(|waiting| waiting.frame().len()).sum();
        (on_their_way().count() + self.missed.len(), bytes)
    }

    /// Whether the connection can be handed one more event: there is room, and nothing older is still to come.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_behind() && self.events < MAX_WAITING && self.bytes < MAX_WAITING_BYTES
    }

    /// Whether there is something that was accepted for the client and could not be handed over.
    pub(crate) fn is_behind(&self) -> bool {
        !self.missed.is_empty() || self.more_stored || self.owed_is_free
    }

    /// Hands over an event.
    pub(crate) fn push(&mut self, frame: Frame, handed: Handed) {
        handed.hold();
        let weight = frame.len();
        self.events += 1;
        self.bytes += weight;
        self.waiting.push_back(Waiting::new(frame, handed, weight));
    }

    /// Hands over a queue. It was bounded before, so it counts for nothing here, and what comes behind it has room.
    pub(crate) fn push_queue(&mut self, frame: Frame, handed: Handed) {
        handed.hold();
        self.waiting.push_back(Waiting::new(frame, handed, 0));
    }

    /// Notes an event for which there is no room. Beyond so many the oldest goes, as it does from a queue (QUEUE-03).
    /// False for one that is stored, where older ones that are stored have to come first: it comes with them from the
    /// store.
    pub(crate) fn miss(&mut self, event: &Outgoing, handed: Handed, at_most: usize) -> bool {
        if self.more_stored && matches!(handed, Handed::Kept | Handed::Stored(_)) {
            return false;
        }
        handed.hold();
        self.missed.push_back(Missed { event: event.clone(), handed });
        if self.missed.len() > at_most
            && let Some(Missed { handed: Handed::Event(shared), .. }) = self.missed.pop_front()
            && shared.release(false)
        {
            self.orphans.push(shared);
        }
        true
    }

    /// Notes that the store has something that the client has not been given, before anything that is offered now.
    pub(crate) fn miss_stored(&mut self) {
        self.more_stored = true;
    }

    /// Notes that the queue is owed to the client where another device breaks.
    pub(crate) fn owe(&mut self) {
        self.owed = true;
    }

    /// Notes whether the queue, if it is owed to the client, is on its way to nobody any more: it is older than what was missed.
    pub(crate) fn owed_is_free(&mut self, is_free: bool) {
        self.owed_is_free = is_free && self.owed;
    }

    /// Notes that the client was given what the store has, but for what it has `more`.
    pub(crate) fn told_by_store(&mut self, more: bool) {
        self.more_stored = more;
        self.owed = false;
        self.owed_is_free = false;
    }

    /// Whether everything was taken, and the store has something that the client was not given.
    pub(crate) fn asks_store(&self) -> bool {
        self.is_empty() && (self.more_stored || self.owed)
    }

    /// Once everything was taken, hands over in one packet what was missed. True where the store has to be asked:
    /// before that, where it has what is older (`more_stored`, `owed_is_free`); after that, where the queue is on its way to
    /// another device (`owed`), for it may be so for long.
    pub(crate) fn catch_up(&mut self) -> bool {
        if self.is_empty() && !self.more_stored && !self.owed_is_free && !self.missed.is_empty() {
            self.hand_missed(&[], Handed::Kept);
        }
        self.asks_store()
    }

    /// Hands over what was found in the store, and after it what was missed, unless the store has more that is older.
    pub(crate) fn hand_missed(&mut self, stored: &[&str], handed: Handed) {
        let missed = if self.more_stored { VecDeque::new() } else { std::mem::take(&mut self.missed) };
        if stored.is_empty() && missed.is_empty() {
            // Of what was found nothing is to be sent.
            handed.sent(0);
            return;
        }
        let payloads = stored.iter().copied().chain(missed.iter().map(|missed| missed.event.json()));
        let frame = frame::queued_events(payloads, "");
        let mut all = vec![handed];
        all.extend(missed.into_iter().map(|missed| missed.handed));
        // They are held already.
        self.waiting.push_back(Waiting::new(frame, Handed::Many(all), 0));
    }

    /// What a vectored write can take.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut count, mut skip) = (0, self.begun);
        for part in self.waiting.iter().flat_map(|waiting| waiting.frame().parts()) {
            if count == slices.len() {
                break;
            }
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped < part.len() {
                slices[count] = IoSlice::new(&part[skipped..]);
                count += 1;
            }
        }
        count
    }

    /// Whether a packet was begun and is not complete.
    pub(crate) fn is_within_packet(&self) -> bool {
        self.begun > 0
    }

    /// Notes that a WebSocket has taken so many bytes.
    pub(crate) fn taken(&mut self, mut bytes: usize) {
        while let Some(first) = self.waiting.front() {
            let left = first.frame().len() - self.begun;
            if bytes < left {
                self.begun += bytes;
                break;
            }
            bytes -= left;
            self.begun = 0;
            self.first_sent();
        }
    }

    fn first_sent(&mut self) {
        if let Some(first) = self.pop_first() {
            self.sent(first);
        }
    }

    fn pop_first(&mut self) -> Option<Waiting> {
        let first = self.waiting.pop_front();
        // What a burst took is given back.
        if self.waiting.is_empty() && self.waiting.capacity() > 64 {
            self.waiting = VecDeque::new();
        }
        first
    }

    fn sent(&mut self, packet: Waiting) {
        if packet.weight > 0 {
            self.events -= 1;
            self.bytes -= packet.weight as usize;
        }
        let bytes = packet.frame().len();
        packet.into_handed().sent(bytes);
    }

    /// How many packets wait, and how long they are with what separates them.
    pub(crate) fn packets(&self) -> (usize, usize) {
        let bytes: usize = self.waiting.iter().map(|waiting| waiting.frame().packet_len()).sum();
        (self.waiting.len(), bytes + self.waiting.len().saturating_sub(1))
    }

    /// Takes the next bytes of an answer to a poll that has `left` packets to come: a part of a packet that is long, or several
    /// that are short.
    pub(crate) fn take_packets(&mut self, left: &mut usize, most: usize) -> Bytes {
        let mut several = Vec::new();
        while let (Some(first), true) = (self.waiting.front(), *left > 0) {
            let length = first.frame().packet_len();
            if self.begun == 0 && several.len() + length < most {
                first.frame().packet().iter().for_each(|part| several.extend_from_slice(part));
                self.packet_taken(left, &mut several);
                continue;
            }
            if !several.is_empty() {
                break;
            }
            let [head, tail] = first.frame().packet();
            let part = match self.begun < head.len() {
                true => head.slice(self.begun..head.len().min(self.begun + most)),
                false => tail.slice(self.begun - head.len()..tail.len().min(self.begun - head.len() + most)),
            };
            self.begun += part.len();
            if self.begun < length {
                return part;
            }
            several.extend_from_slice(&part);
            self.begun = 0;
            self.packet_taken(left, &mut several);
            break;
        }
        Bytes::from(several)
    }

    fn packet_taken(&mut self, left: &mut usize, answer: &mut Vec<u8>) {
        *left -= 1;
        if *left > 0 {
            answer.push(SEPARATOR);
        }
        let packet = self.pop_first();
        self.answered.extend(packet);
    }

    /// Whether an answer carries something that does not count as sent yet.
    pub(crate) fn has_answered(&self) -> bool {
        !self.answered.is_empty()
    }

    /// Notes that the last of an answer has gone, and so has all that it carries.
    pub(crate) fn answer_sent(&mut self) {
        for packet in std::mem::take(&mut self.answered) {
            self.sent(packet);
        }
    }

    /// Empties it, and returns the events that nobody has sent and nobody else will.
    pub(crate) fn take_unsent(&mut self) -> Vec<Arc<Shared>> {
        let mut unsent = std::mem::take(&mut self.orphans);
        let answered = std::mem::take(&mut self.answered).into_iter();
        let waiting = answered.chain(std::mem::take(&mut self.waiting)).map(Waiting::into_handed);
        let missed = std::mem::take(&mut self.missed).into_iter().map(|missed| missed.handed);
        waiting.chain(missed).for_each(|handed| handed.lost(&mut unsent));
        *self = Self::default();
        unsent
    }
}

/// Separates the packets of an answer to a poll.
pub(crate) const SEPARATOR: u8 = 0x1e;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Draft, EventType, Metadata, Payload};

    fn event(number: u64) -> Arc<Shared> {
        let (actor_id, resource_id, metadata) = ("doctor".to_owned(), format!("record-{number}"), Metadata::default());
        let draft = Draft { event_type: EventType::RecordAccessed, actor_id, resource_id, metadata };
        Shared::new(Payload::now(draft).into(), number, EntryId::default())
    }

    /// Takes all that waits, as text.
    fn take(outbox: &mut Outbox) -> Vec<String> {
        let mut left = outbox.packets().0;
        let mut all = Vec::new();
        while left > 0 {
            all.extend_from_slice(&outbox.take_packets(&mut left, 1_000));
        }
        outbox.answer_sent();
        let text = String::from_utf8(all).unwrap();
        text.split(char::from(SEPARATOR)).filter(|packet| !packet.is_empty()).map(str::to_owned).collect()
    }

    fn miss(outbox: &mut Outbox, shared: &Arc<Shared>) {
        assert!(outbox.miss(&shared.event, Handed::Event(shared.clone()), 50));
    }

    #[test]
    fn what_was_missed_does_not_wait_for_a_queue_that_is_on_its_way_to_another_device() {
        let mut outbox = Outbox::default();
        outbox.owe();
        miss(&mut outbox, &event(1));
        assert!(!outbox.catch_up(), "the store is asked before what is here was sent");
        assert_eq!(take(&mut outbox).len(), 1);
        assert!(outbox.catch_up() && outbox.has_room(), "the queue is owed no more, or holds up what is live");
    }

    #[test]
    fn a_queue_that_is_on_its_way_no_more_comes_before_what_was_missed() {
        let mut outbox = Outbox::default();
        let missed = event(1);
        outbox.owe();
        miss(&mut outbox, &missed);
        outbox.owed_is_free(true);
        assert!(outbox.catch_up() && outbox.is_empty() && !outbox.has_room());
        outbox.told_by_store(true);
        outbox.hand_missed(&["\"older\""], Handed::Kept);
        assert_eq!(take(&mut outbox).len(), 1);
        outbox.told_by_store(false);
        outbox.hand_missed(&["\"last\""], Handed::Kept);
        let [packet] = &take(&mut outbox)[..] else { panic!("one packet was to be sent") };
        let (last, event) = (packet.find("\"last\""), packet.find(missed.event.json()));
        assert!(last.is_some() && last < event, "{packet}");
    }

    #[test]
    fn what_was_missed_comes_after_what_the_store_has() {
        let mut outbox = Outbox::default();
        outbox.miss_stored();
        let missed = event(1);
        miss(&mut outbox, &missed);
        assert!(outbox.catch_up() && outbox.is_empty());
        outbox.told_by_store(false);
        outbox.hand_missed(&["\"stored\""], Handed::Kept);
        let [packet] = &take(&mut outbox)[..] else { panic!("one packet was to be sent") };
        let (stored, event) = (packet.find("\"stored\""), packet.find(missed.event.json()));
        assert!(stored.is_some() && stored < event, "{packet}");
        assert!(outbox.take_unsent().is_empty());
    }

    #[test]
    fn an_answer_to_a_poll_has_sent_nothing_before_its_end() {
        let mut outbox = Outbox::default();
        let events: Vec<_> = (1..=3).map(event).collect();
        events.iter().for_each(|shared| outbox.push(shared.event.frame.clone(), Handed::Event(shared.clone())));
        let (mut left, _) = outbox.packets();
        outbox.take_packets(&mut left, 100_000);
        assert_eq!((left, outbox.has_packets(), outbox.is_empty()), (0, false, false));
        assert_eq!(outbox.take_unsent().len(), 3, "the answer broke");
        events.iter().for_each(|shared| outbox.push(shared.event.frame.clone(), Handed::Event(shared.clone())));
        let (mut left, _) = outbox.packets();
        outbox.take_packets(&mut left, 100_000);
        outbox.answer_sent();
        assert!(outbox.is_empty() && outbox.take_unsent().is_empty());
    }

    #[test]
    fn a_queue_of_which_nothing_can_be_sent_counts_as_taken() {
        let taken = Arc::new(AtomicBool::new(false));
        let sent = taken.clone();
        let mut outbox = Outbox::default();
        outbox.hand_missed(&[], Handed::Stored(Arc::new(move || sent.store(true, Ordering::SeqCst))));
        assert!(outbox.is_empty() && taken.load(Ordering::SeqCst));
    }
}
