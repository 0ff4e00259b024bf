//! The books of a run: what was sent to whom, what was accepted, what has arrived, and what is missing. Knows nothing of sockets.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::{
    mark::{Mark, Seen},
    results::Counts,
};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The server promised the event.
    Accepted,
    /// It refused.
    Refused,
    /// It did not answer; the event may arrive or not.
    Unanswered,
}

/// The books.
#[derive(Debug)]
pub struct Ledger {
    accounts: Vec<Account>,
    sent: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
    expected: AtomicU64,
    arrived: AtomicU64,
    duplicated: AtomicU64,
    last_arrival_us: AtomicU64,
}

/// What concerns one user.
#[derive(Debug, Default)]
struct Account {
    next: AtomicU32,
    /// The first number that counts; those before it were the warm-up's.
    first: AtomicU32,
    /// Receivers that have to get each event.
    receivers: AtomicU32,
    /// The numbers that were not accepted.
    excused: Mutex<Vec<u32>>,
}

/// What one receiver has got.
#[derive(Debug)]
pub struct Inbox {
    user: u32,
    seen: Mutex<Seen>,
}

impl Ledger {
    /// Books for `users`, none of whom has a receiver.
    pub fn new(users: usize) -> Self {
        Self {
            accounts: (0..users).map(|_| Account::default()).collect(),
            sent: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            duplicated: AtomicU64::new(0),
            last_arrival_us: AtomicU64::new(0),
        }
    }

    /// A receiver of the user's that has to get every event from now on.
    pub fn open_inbox(&self, user: u32) -> Arc<Inbox> {
        self.accounts[user as usize].receivers.fetch_add(1, Relaxed);
        Arc::new(Inbox { user, seen: Mutex::default() })
    }

    /// Begins an event for the user.
    pub fn send(&self, user: u32, at_us: u64) -> Mark {
        self.sent.fetch_add(1, Relaxed);
        Mark { user, n: self.accounts[user as usize].next.fetch_add(1, Relaxed), at_us }
    }

    /// Notes what became of an event.
    pub fn settle(&self, mark: Mark, fate: Fate) {
        let account = &self.accounts[mark.user as usize];
        match fate {
            Fate::Accepted => {
                self.accepted.fetch_add(1, Relaxed);
                self.expected.fetch_add(u64::from(account.receivers.load(Relaxed)), Relaxed);
                return;
            }
            Fate::Refused => self.refused.fetch_add(1, Relaxed),
            Fate::Unanswered => self.unanswered.fetch_add(1, Relaxed),
        };
        account.excused.lock().unwrap_or_else(PoisonError::into_inner).push(mark.n);
    }

    /// Notes what one read has brought to this receiver, and leaves in `marks` those that came to it for the first time. An
    /// event for somebody else never counts.
    pub fn arrive(&self, inbox: &Inbox, marks: &mut Vec<Mark>, now_us: u64) {
        let came = marks.len();
        let mut seen = inbox.seen.lock().unwrap_or_else(PoisonError::into_inner);
        marks.retain(|mark| mark.user == inbox.user && seen.note(mark.n));
        drop(seen);
        // One of the warm-up may still wait in a queue, and makes up for none that is awaited.
        let first = self.accounts[inbox.user as usize].first.load(Relaxed);
        let awaited = marks.iter().filter(|mark| mark.n >= first).count();
        // All receivers share these.
        if awaited > 0 {
            self.arrived.fetch_add(awaited as u64, Relaxed);
        }
        if came > marks.len() {
            self.duplicated.fetch_add((came - marks.len()) as u64, Relaxed);
        }
        self.last_arrival_us.store(now_us, Relaxed);
    }

    /// Expects what waits in the queues of these receivers' users: of each the last `most` events.
    pub fn expect_queued(&self, inboxes: &[Arc<Inbox>], most: u64) {
        let due = inboxes.iter().map(|inbox| self.accounts[inbox.user as usize].due(most)).sum();
        self.expected.fetch_add(due, Relaxed);
    }

    /// Starts counting anew; what was sent before was the warm-up.
    pub fn begin(&self) {
        for account in &self.accounts {
            account.first.store(account.next.load(Relaxed), Relaxed);
        }
        let counters = [&self.sent, &self.accepted, &self.refused, &self.unanswered];
        let more = [&self.expected, &self.arrived, &self.duplicated, &self.last_arrival_us];
        counters.into_iter().chain(more).for_each(|counter| counter.store(0, Relaxed));
    }

    /// Events that were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Deliveries so far.
    pub fn arrived(&self) -> u64 {
        self.arrived.load(Relaxed)
    }

    /// Whether as much has arrived as has to.
    pub fn is_complete(&self) -> bool {
        self.arrived() >= self.expected.load(Relaxed)
    }

    /// When the last delivery came, by the run's clock.
    pub fn last_arrival_us(&self) -> u64 {
        self.last_arrival_us.load(Relaxed)
    }

    /// Where every event has gone, one by one: an event that one receiver got twice makes up for none that another lacks.
    pub fn close(&self, inboxes: &[Arc<Inbox>]) -> Counts {
        let (mut expected, mut delivered) = (0, 0);
        for inbox in inboxes {
            let account = &self.accounts[inbox.user as usize];
            let excused = account.excused.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = inbox.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let excused: std::collections::HashSet<_> = excused.iter().collect();
            for n in account.numbers() {
                if !excused.contains(&n) {
                    expected += 1;
                    delivered += u64::from(seen.has(n));
                }
            }
        }
        self.counts(expected, delivered)
    }

    /// As [`Self::close`], where of each user no more than the last `most` must arrive, and it is not known which they are.
    pub fn close_capped(&self, inboxes: &[Arc<Inbox>], most: u64) -> Counts {
        let (mut expected, mut delivered) = (0, 0);
        for inbox in inboxes {
            let account = &self.accounts[inbox.user as usize];
            let seen = inbox.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let due = account.due(most);
            expected += due;
            delivered += (account.numbers().filter(|n| seen.has(*n)).count() as u64).min(due);
        }
        self.counts(expected, delivered)
    }

    fn counts(&self, expected: u64, delivered: u64) -> Counts {
        Counts {
            sent: self.sent.load(Relaxed),
            accepted: self.accepted(),
            refused: self.refused.load(Relaxed),
            unanswered: self.unanswered.load(Relaxed),
            expected,
            delivered,
            missing: expected - delivered,
            duplicated: self.duplicated.load(Relaxed),
            ..Counts::default()
        }
    }
}

impl Account {
    /// The numbers that count.
    fn numbers(&self) -> std::ops::Range<u32> {
        self.first.load(Relaxed)..self.next.load(Relaxed)
    }

    /// How many of the accepted events a queue of `most` still holds.
    fn due(&self, most: u64) -> u64 {
        let numbers = self.numbers();
        let excused = self.excused.lock().unwrap_or_else(PoisonError::into_inner);
        let excused = excused.iter().filter(|n| numbers.contains(n)).count() as u64;
        (u64::from(numbers.end - numbers.start) - excused).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each arrives for the first time.
    fn arrives<const N: usize>(ledger: &Ledger, inbox: &Inbox, marks: [Mark; N]) -> bool {
        let mut fresh = marks.to_vec();
        ledger.arrive(inbox, &mut fresh, 9);
        fresh == marks
    }

    #[test]
    fn every_event_is_accounted_for_at_every_receiver() {
        let ledger = Ledger::new(2);
        let inboxes = [ledger.open_inbox(0), ledger.open_inbox(0), ledger.open_inbox(1)];
        let warm = ledger.send(0, 0);
        ledger.settle(warm, Fate::Accepted);
        ledger.begin();
        let (kept, lost, refused) = (ledger.send(0, 1), ledger.send(0, 2), ledger.send(1, 3));
        ledger.settle(kept, Fate::Accepted);
        ledger.settle(lost, Fate::Accepted);
        ledger.settle(refused, Fate::Refused);
        assert!(arrives(&ledger, &inboxes[0], [kept, lost]) && arrives(&ledger, &inboxes[1], [kept]));
        assert!(!ledger.is_complete());
        // A second copy must not pass for the one that the other receiver lacks.
        assert!(!arrives(&ledger, &inboxes[0], [lost]));
        // Nor what was meant for somebody else.
        assert!(!arrives(&ledger, &inboxes[2], [lost]));
        let counts = ledger.close(&inboxes);
        let expected = Counts {
            sent: 3,
            accepted: 2,
            refused: 1,
            expected: 4,
            delivered: 3,
            missing: 1,
            duplicated: 2,
            ..Counts::default()
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn of_what_comes_twice_in_one_read_one_is_a_duplicate() {
        let ledger = Ledger::new(1);
        let inbox = ledger.open_inbox(0);
        let (one, two) = (ledger.send(0, 1), ledger.send(0, 2));
        let mut marks = vec![one, one, two];
        ledger.arrive(&inbox, &mut marks, 9);
        assert_eq!(marks, [one, two]);
        let counts = ledger.close(&[inbox]);
        assert_eq!((counts.delivered, counts.duplicated, ledger.arrived()), (2, 1, 2));
    }

    #[test]
    fn what_a_queue_holds_of_the_warm_up_makes_up_for_nothing_that_is_awaited() {
        let ledger = Ledger::new(1);
        let before = ledger.send(0, 0);
        ledger.begin();
        let after = ledger.send(0, 1);
        ledger.settle(after, Fate::Accepted);
        let inbox = ledger.open_inbox(0);
        ledger.expect_queued(std::slice::from_ref(&inbox), 50);
        assert!(arrives(&ledger, &inbox, [before]) && !ledger.is_complete());
        assert!(arrives(&ledger, &inbox, [after]) && ledger.is_complete());
    }

    #[test]
    fn of_a_capped_queue_the_last_ones_are_due() {
        let ledger = Ledger::new(1);
        let inbox = ledger.open_inbox(0);
        let marks: Vec<_> = (0..60).map(|at| ledger.send(0, at)).collect();
        marks.iter().for_each(|mark| ledger.settle(*mark, Fate::Accepted));
        assert!(marks[10..].iter().all(|mark| arrives(&ledger, &inbox, [*mark])));
        let counts = ledger.close_capped(&[inbox], 50);
        assert_eq!((counts.expected, counts.delivered, counts.missing), (50, 50, 0));
    }
}
