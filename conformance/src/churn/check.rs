//! Holds a history against the contract: lost, duplicated, reordered, leaked, late, cut. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    ops::Range,
    time::Duration,
};

use serde::Serialize;

use super::{
    faults::FaultKind,
    history::{Connection, HALF_OPEN, Record, What},
    pace::{self, Carried},
    way::Way,
};

/// How long after a cut the server may still believe in the connection.
const UNNOTICED_US: u64 = 2_000_000;
/// How long it may where nobody tells it: until the heartbeat of SPEC 1 fails.
pub(super) const HALF_OPEN_FOR: Duration = Duration::from_secs(60);
/// How long before a primary's end, or after it was decided on, what it has accepted may be lost with it.
const LAST_MOMENTS_US: u64 = 1_000_000;

/// What is promised.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// Clients acknowledge: nothing is lost, and what was not acknowledged comes again (SPEC 9). Otherwise what was on its way
    /// to a connection that broke is lost, and nothing comes twice (SPEC 10).
    pub acknowledging: bool,
    /// There is one node: it does one thing after the other (CLUSTER-17).
    pub one_node: bool,
    /// What is accepted has reached a replica (FAILOVER-06). Otherwise the last of it may be lost with a primary.
    pub replicated: bool,
    /// How long an event may take to a user who is connected, while nothing fails.
    pub within: Duration,
}

/// How a promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An accepted event never arrived.
    Lost,
    /// An event came twice where it may not.
    Duplicated,
    /// An event came after one that was accepted later.
    Reordered,
    /// A user was sent what was not emitted for that user.
    Leaked,
    /// A device that was connected did not get an event, though it got later ones, or left after that.
    Skipped,
    /// An event lay there while its user was connected.
    Late,
    /// An event came with other contents than it was emitted with, with another `eventId` than it was accepted with, or with
    /// another `eventId` or `timestamp` than it had before.
    Altered,
    /// `queued.events` told of a loss, and there was none to be.
    Dropped,
    /// A connection ended that its device wished to keep, and nothing had failed.
    Cut,
    /// An accepted event was lost with the primary that had it, where no replica need have had it: no violation, but to be counted.
    Forgotten,
}

impl Kind {
    /// All that are violations.
    pub const ALL: [Self; 9] = [
        Self::Lost,
        Self::Duplicated,
        Self::Reordered,
        Self::Leaked,
        Self::Skipped,
        Self::Late,
        Self::Altered,
        Self::Dropped,
        Self::Cut,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Leaked => "leaked",
            Self::Skipped => "skipped",
            Self::Late => "late",
            Self::Altered => "altered",
            Self::Dropped => "dropped",
            Self::Cut => "cut",
            Self::Forgotten => "forgotten",
        })
    }
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// When it was seen, in microseconds; of a lost event, when it was accepted.
    pub at_us: u64,
    /// The user, by number.
    pub user: usize,
    /// The event, where it has a number.
    pub n: Option<u64>,
    /// How.
    pub kind: Kind,
    /// In words.
    pub says: String,
}

/// All violations, by time.
pub fn check(records: &[Record], promise: Promise) -> Vec<Violation> {
    let faults = faults(records);
    let mut of_users: BTreeMap<usize, Vec<&Record>> = BTreeMap::new();
    for record in records {
        if let Some(user) = record.user {
            of_users.entry(user).or_default().push(record);
        }
    }
    let mut found: Vec<Violation> = of_users
        .into_iter()
        .flat_map(|(user, records)| Line::of(user, &records, promise, &faults).violations())
        .collect();
    found.sort_by_key(|violation| violation.at_us);
    found
}

/// A fault of a node, or of all.
struct Fault {
    from_us: u64,
    to_us: u64,
    /// The node that could not reach the store while others could.
    cut_off: Option<usize>,
    /// A primary was killed.
    of_primary: bool,
}

fn faults(records: &[Record]) -> Vec<Fault> {
    let fault = |record: &Record| match &record.what {
        What::Fault { name, until_us } => {
            let cut_off = record.node.filter(|_| name == FaultKind::RedisCut.name());
            let of_primary = name == FaultKind::Primary.name();
            Some(Fault { from_us: record.at_us, to_us: *until_us, cut_off, of_primary })
        }
        _ => None,
    };
    records.iter().filter_map(fault).collect()
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The time line of one user.
struct Line<'a> {
    user: usize,
    promise: Promise,
    faults: &'a [Fault],
    emitted: BTreeMap<u64, Emitted>,
    accepted: BTreeMap<u64, Accepted<'a>>,
    arrivals: Vec<Arrival<'a>>,
    /// When devices began to connect.
    began_us: BTreeMap<Connection, u64>,
    connections: BTreeMap<Connection, Span>,
    found: Vec<Violation>,
}

#[derive(Clone, Copy)]
struct Emitted {
    at_us: u64,
    bytes: u64,
}

struct Accepted<'a> {
    at_us: u64,
    node: Option<usize>,
    id: Option<&'a str>,
    live: bool,
}

#[derive(Clone, Copy)]
struct Arrival<'a> {
    at_us: u64,
    on: Connection,
    n: u64,
    id: Option<&'a str>,
    timestamp: Option<&'a str>,
    differs: Option<&'a str>,
    queued: bool,
    /// Whether it came in a `queued.events` that something came before: what was queued for a connection that is there.
    further: bool,
}

#[derive(Clone, Copy)]
struct Span {
    from_us: u64,
    way: Way,
    bytes_a_second: Option<u64>,
    /// Since when its device was about to go; what was handed over before has to be read.
    leaving_us: Option<u64>,
    /// The end, where it has one.
    to_us: u64,
    /// Until when the server may believe in it, where it broke.
    believed_us: Option<u64>,
}

/// Events of which the live ones must have come to a connection, or to its device before, by a moment.
struct Gap {
    on: Connection,
    numbers: Range<u64>,
    until_us: u64,
    /// What happened then.
    did: &'static str,
}

impl<'a> Line<'a> {
    fn of(user: usize, records: &[&'a Record], promise: Promise, faults: &'a [Fault]) -> Self {
        let mut line = Self {
            user,
            promise,
            faults,
            emitted: BTreeMap::new(),
            accepted: BTreeMap::new(),
            arrivals: Vec::new(),
            began_us: BTreeMap::new(),
            connections: BTreeMap::new(),
            found: Vec::new(),
        };
        records.iter().for_each(|record| line.read(record));
        line
    }

    fn read(&mut self, record: &'a Record) {
        let (at_us, node) = (record.at_us, record.node);
        match &record.what {
            What::Emitting { n, bytes } => {
                self.emitted.insert(*n, Emitted { at_us, bytes: *bytes as u64 });
            }
            What::Accepted { n, event_id, delivery } => {
                let live = delivery.as_deref() != Some("queued");
                self.accepted.insert(*n, Accepted { at_us, node, id: event_id.as_deref(), live });
            }
            What::Connecting(on) => {
                self.began_us.insert(*on, at_us);
            }
            What::Connected { on, way, bytes_a_second } => {
                let span = Span {
                    from_us: at_us,
                    way: *way,
                    bytes_a_second: *bytes_a_second,
                    leaving_us: None,
                    to_us: u64::MAX,
                    believed_us: None,
                };
                self.connections.insert(*on, span);
            }
            What::Received { on, n, event_id, timestamp, differs, queued } => self.arrivals.push(Arrival {
                at_us,
                on: *on,
                n: *n,
                id: event_id.as_deref(),
                timestamp: timestamp.as_deref(),
                differs: differs.as_deref(),
                queued: queued.is_some(),
                further: queued
                    .is_some_and(|batch| batch > 1 || self.arrivals.iter().any(|it| it.on == *on && !it.queued)),
            }),
            What::Stray { payload, .. } => {
                self.tell(at_us, None, Kind::Leaked, format!("{payload} was never emitted for this user"));
            }
            What::Missed { dropped, .. } => {
                let says = format!("{dropped} events dropped, though the queue was never full and none was too old");
                self.tell(at_us, None, Kind::Dropped, says);
            }
            What::Leaving(on) => {
                if let Some(span) = self.connections.get_mut(on) {
                    span.leaving_us = Some(at_us);
                }
            }
            What::Left(on) => self.end(*on, at_us, None),
            What::Closed { on, why } => {
                // What it had on the way when a server ended it for nothing is lost by the server.
                let cut = self.cut(*on, at_us, why);
                self.end(*on, at_us, (!cut).then_some(at_us + UNNOTICED_US));
            }
            What::Broken { on, how } => {
                // Between two polls, a line that is cut looks like one that is silent.
                let polls = self.connections.get(on).is_some_and(|span| span.way.goes_on_polling());
                let unnoticed_us = if how == HALF_OPEN || polls { micros(HALF_OPEN_FOR) } else { UNNOTICED_US };
                self.end(*on, at_us, Some(at_us + unnoticed_us));
            }
            What::Refused { .. }
            | What::Unanswered { .. }
            | What::NotConnected { .. }
            | What::Upgraded(_)
            | What::UpgradeFailed { .. }
            | What::NotUpgraded { .. }
            | What::OwnFault { .. }
            | What::Fault { .. } => {}
        }
    }

    fn end(&mut self, on: Connection, at_us: u64, believed_us: Option<u64>) {
        if let Some(span) = self.connections.get_mut(&on) {
            (span.to_us, span.believed_us) = (at_us, believed_us);
        }
    }

    /// Only what fails, and a device that goes, end a connection; a slow reader may learn late of what failed. Tells whether neither
    /// did.
    fn cut(&mut self, on: Connection, at_us: u64, why: &str) -> bool {
        let Some(span) = self.connections.get(&on).copied() else { return false };
        let since_us = if span.bytes_a_second.is_some() { span.from_us } else { at_us };
        let cut = self.calm(since_us, at_us);
        if cut {
            let slow = span.bytes_a_second.map(|rate| format!(", reading {rate} bytes a second")).unwrap_or_default();
            self.tell(at_us, None, Kind::Cut, format!("{on:?} ended, over {}{slow}: {why}", span.way));
        }
        cut
    }

    fn tell(&mut self, at_us: u64, n: Option<u64>, kind: Kind, says: String) {
        self.found.push(Violation { at_us, user: self.user, n, kind, says });
    }

    fn violations(mut self) -> Vec<Violation> {
        self.contents();
        self.duplicates();
        self.order();
        self.losses();
        self.skips();
        self.found
    }

    /// Every delivery of an event says what was emitted, with one id and one time.
    fn contents(&mut self) {
        let mut ids: BTreeMap<u64, &str> = self.accepted.iter().filter_map(|(n, it)| Some((*n, it.id?))).collect();
        let mut times: BTreeMap<u64, &str> = BTreeMap::new();
        for it in self.arrivals.clone() {
            let mut tell = |says: String| self.tell(it.at_us, Some(it.n), Kind::Altered, says);
            if let Some(place) = it.differs {
                tell(format!("event {} came with other contents than it was emitted with: {place}", it.n));
            }
            for (name, all, came) in [("eventId", &mut ids, it.id), ("timestamp", &mut times, it.timestamp)] {
                if let Some(came) = came
                    && *all.entry(it.n).or_insert(came) != came
                {
                    tell(format!("event {} came with the {name} {came}, and has {}", it.n, all[&it.n]));
                }
            }
        }
    }

    /// What comes again.
    fn duplicates(&mut self) {
        let (mut on_connection, mut on_device) = (HashSet::new(), HashSet::new());
        let mut came: BTreeMap<u64, Vec<Arrival<'_>>> = BTreeMap::new();
        for it in self.arrivals.clone() {
            let again_here = !on_connection.insert((it.on, it.n));
            let again_on_device = !on_device.insert((it.on.device, it.n));
            let before = came.entry(it.n).or_default();
            let from_queue = |it: &Arrival<'_>| it.queued && !self.in_its_turn(it);
            let twice =
                before.iter().find(|first| (from_queue(first) || from_queue(&it)) && !self.side_by_side(first, &it));
            // A replica that takes over may not know yet that it was delivered.
            let may_again = before.iter().any(|first| self.is_with_a_primary(first.at_us));
            let says = match (self.promise.acknowledging, twice) {
                _ if again_here => Some("twice on one connection"),
                (true, _) => None,
                (false, _) if may_again => None,
                (false, _) if again_on_device => Some("twice to one device"),
                (false, Some(first)) if first.queued && it.queued => Some("in two queued.events"),
                (false, Some(_)) => Some("live and in queued.events"),
                (false, None) => None,
            };
            before.push(it);
            if let Some(says) = says {
                self.tell(it.at_us, Some(it.n), Kind::Duplicated, format!("event {} came {says}", it.n));
            }
        }
    }

    fn is_slow(&self, on: Connection) -> bool {
        self.connections.get(&on).is_some_and(|span| span.bytes_a_second.is_some())
    }

    /// When a connection began, at the earliest.
    fn began(&self, on: Connection) -> u64 {
        let connected_us = self.connections.get(&on).map(|span| span.from_us);
        self.began_us.get(&on).copied().or(connected_us).unwrap_or(u64::MAX)
    }

    /// Whether a device got what is live to others in a further `queued.events`, because it was behind.
    fn in_its_turn(&self, it: &Arrival<'_>) -> bool {
        let accepted = self.accepted.get(&it.n).filter(|accepted| accepted.live);
        it.further && accepted.is_some_and(|accepted| self.began(it.on) <= accepted.at_us)
    }

    /// Whether two devices got an event because one of them was connecting while the event was under way to the other; or because
    /// one was leaving, and finds it in the queue (ORDER-03).
    fn side_by_side(&self, first: &Arrival<'_>, second: &Arrival<'_>) -> bool {
        let accepted = self.accepted.get(&first.n);
        let began_us = |it: &Arrival<'_>| self.began_us.get(&it.on).copied().unwrap_or(u64::MAX);
        let accepted_us = accepted.map_or(0, |accepted| accepted.at_us);
        let was_connecting = match (first.queued, second.queued) {
            // One after the other is given a queue, at whichever nodes (CLUSTER-03).
            (true, true) => false,
            (_, true) => began_us(second) <= accepted_us.max(first.at_us),
            // To a slow reader it is under way until it has it (CLUSTER-17).
            (_, false) => began_us(first) <= accepted_us || self.is_slow(second.on),
        };
        let queued = if second.queued { second } else { first };
        !self.promise.one_node && (was_connecting || self.was_leaving(queued.on, first.n, accepted_us))
    }

    /// Whether the device had a connection that ended when the event was under way, or later.
    fn was_leaving(&self, on: Connection, n: u64, accepted_us: u64) -> bool {
        let emitted_us = self.emitted.get(&n).map_or(u64::MAX, |emitted| emitted.at_us);
        let before = Connection { connection: 0, ..on }..on;
        self.connections.range(before).any(|(_, span)| span.from_us <= accepted_us && emitted_us <= span.to_us)
    }

    /// What a device sees for the first time is later than all that it has seen. Events of which nobody knows when they
    /// were accepted, if at all, have no place.
    fn order(&mut self) {
        let mut seen: BTreeMap<usize, BTreeMap<u64, u64>> = BTreeMap::new();
        for it in self.arrivals.clone() {
            let Some(accepted) = self.accepted.get(&it.n) else { continue };
            let all = seen.entry(it.on.device).or_default();
            if all.contains_key(&it.n) {
                continue;
            }
            all.insert(it.n, it.at_us);
            let overtook = |(later, later_us): &(&u64, &u64)| {
                !self.cut_off(accepted, &self.accepted[*later]) && !self.came_back(&it, accepted, **later_us)
            };
            if let Some((later, _)) = all.range(it.n + 1..).find(overtook) {
                let says = format!("event {} came to device {} after event {later}", it.n, it.on.device);
                self.tell(it.at_us, Some(it.n), Kind::Reordered, says);
            }
        }
    }

    /// Whether an event was on its way on another connection when a later one came on this, and came back because that one ended: a
    /// queue that is on its way to one plain client is not given to another, which gets it next where that one breaks (SLOW-08). The
    /// other may be a former one of the same device, and its server may learn of its end late: until then it is given events.
    fn came_back(&self, it: &Arrival<'_>, accepted: &Accepted<'_>, later_us: u64) -> bool {
        let mut others = self.connections.iter().filter(|(on, _)| **on != it.on);
        !self.promise.acknowledging
            && it.queued
            && others.any(|(on, span)| {
                let ended_us = span.leaving_us.unwrap_or(span.to_us).min(span.to_us);
                span.may_hold()
                    && self.began(*on) <= later_us
                    && ended_us <= it.at_us
                    && accepted.at_us <= span.believed_us.unwrap_or(ended_us)
                    && !self.arrivals.iter().any(|other| other.on == *on && other.n == it.n)
            })
    }

    /// Whether an event was overtaken by a live one of a node that could not reach the store meanwhile (FAIL-16).
    fn cut_off(&self, overtaken: &Accepted<'_>, by: &Accepted<'_>) -> bool {
        let within = micros(self.promise.within);
        let meanwhile =
            |fault: &Fault, it: &Accepted<'_>| (fault.from_us..fault.to_us.saturating_add(within)).contains(&it.at_us);
        let cuts = || self.faults.iter().filter(|fault| fault.cut_off.is_some() && fault.cut_off == by.node);
        !self.promise.acknowledging
            && by.live
            && overtaken.node != by.node
            && cuts().any(|fault| meanwhile(fault, overtaken) && meanwhile(fault, by))
    }

    fn losses(&mut self) {
        let mut first: BTreeMap<u64, u64> = BTreeMap::new();
        let mut last_on: BTreeMap<Connection, u64> = BTreeMap::new();
        for it in &self.arrivals {
            first.entry(it.n).or_insert(it.at_us);
            last_on.entry(it.on).and_modify(|last| *last = it.n.max(*last)).or_insert(it.n);
        }
        let (mut found, pace) = (Vec::new(), self.pace());
        for (n, it) in &self.accepted {
            match first.get(n) {
                None if !self.promise.acknowledging && self.excused(*n, it, &last_on) => {}
                None => {
                    let may_be = !self.promise.replicated && self.is_with_a_primary(it.at_us);
                    let kind = if may_be { Kind::Forgotten } else { Kind::Lost };
                    found.push((it.at_us, *n, kind, format!("event {n} was accepted and never came")));
                }
                Some(came_us) => {
                    if let Some((on, due_us)) = self.overdue(*n, it.at_us, *came_us, &pace) {
                        let late = Duration::from_micros(came_us - due_us) + self.promise.within;
                        let says = format!("event {n} came after {late:?}, while {on:?} was connected");
                        found.push((*came_us, *n, Kind::Late, says));
                    }
                }
            }
        }
        for (at_us, n, kind, says) in found {
            self.tell(at_us, Some(n), kind, says);
        }
    }

    /// Whether a primary that was killed may have been the only one to know of it: it is, as soon as the fault begins.
    fn is_with_a_primary(&self, at_us: u64) -> bool {
        self.faults.iter().any(|fault| fault.of_primary && fault.from_us.abs_diff(at_us) <= LAST_MOMENTS_US)
    }

    /// Every connected device receives every live event that was emitted after it had connected: before any that was accepted
    /// later, and before it has gone.
    fn skips(&mut self) {
        let got: HashSet<(usize, u64)> = self.arrivals.iter().map(|it| (it.on.device, it.n)).collect();
        let mut found = BTreeMap::new();
        for gap in self.gaps() {
            let Some(span) = self.connections.get(&gap.on) else { continue };
            for (n, it) in self.accepted.range(gap.numbers).filter(|(_, it)| it.live && it.at_us < gap.until_us) {
                let was_here = self.emitted.get(n).is_some_and(|emitted| span.from_us < emitted.at_us);
                if was_here && !got.contains(&(gap.on.device, *n)) && self.calm(it.at_us, gap.until_us) {
                    let says =
                        || format!("event {n} did not come to {:?}, which {} after it was accepted", gap.on, gap.did);
                    found.entry((gap.on, *n)).or_insert_with(|| (gap.until_us, says()));
                }
            }
        }
        for ((_, n), (at_us, says)) in found {
            self.tell(at_us, Some(n), Kind::Skipped, says);
        }
    }

    fn gaps(&self) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut latest: BTreeMap<Connection, u64> = BTreeMap::new();
        for it in self.arrivals.iter().filter(|it| self.accepted.contains_key(&it.n)) {
            let before = latest.entry(it.on).or_insert(0);
            // What comes again is older than what came before.
            if it.n > *before {
                gaps.push(Gap { on: it.on, numbers: *before + 1..it.n, until_us: it.at_us, did: "got a later one" });
                *before = it.n;
            }
        }
        for (on, span) in &self.connections {
            // Of a connection that broke nobody knows what was on its way. What a slow reader was not sent yet when it left, and what a
            // polling one had not fetched, goes back to the queue.
            let knows = span.believed_us.is_none() && span.bytes_a_second.is_none() && !span.way.goes_on_polling();
            let Some(leaving_us) = span.leaving_us.filter(|_| knows) else { continue };
            let first = latest.get(on).map_or(0, |latest| latest + 1);
            let end = self.accepted.range(first..).find(|(_, it)| it.at_us >= leaving_us).map_or(u64::MAX, |(n, _)| *n);
            gaps.push(Gap { on: *on, numbers: first..end, until_us: leaving_us, did: "left" });
        }
        gaps
    }

    /// Whether no fault happened between the two, nor so shortly before that it was not over.
    fn calm(&self, from_us: u64, to_us: u64) -> bool {
        let within = micros(self.promise.within);
        !self.faults.iter().any(|fault| fault.from_us < to_us && from_us < fault.to_us.saturating_add(within))
    }

    /// Without acknowledgements, what was on its way to a connection that broke is lost, be it live or the queue that it was given;
    /// what came after it on the same connection proves that it was not. What is queued while it is there was not on its way,
    /// unless it is slow and was behind.
    fn excused(&self, n: u64, accepted: &Accepted<'_>, last_on: &BTreeMap<Connection, u64>) -> bool {
        self.connections.iter().any(|(on, span)| {
            let given = accepted.live || span.bytes_a_second.is_some() || accepted.at_us <= span.from_us;
            given
                && span.believed_us.is_some_and(|until| accepted.at_us <= until)
                && last_on.get(on).is_none_or(|last| *last < n)
        })
    }

    /// Until when each event that came over a slow line may have been on it.
    fn pace(&self) -> BTreeMap<(Connection, u64), u64> {
        let mut until = BTreeMap::new();
        let slow = self.connections.iter().filter_map(|(on, span)| Some((on, span, span.bytes_a_second?)));
        for (on, span, bytes_a_second) in slow {
            let came: Vec<_> = self.arrivals.iter().filter(|it| it.on == *on).collect();
            let carried = came.iter().map(|it| {
                let emitted = self.emitted.get(&it.n).copied().unwrap_or(Emitted { at_us: it.at_us, bytes: 0 });
                let accepted_us = self.accepted.get(&it.n).map_or(emitted.at_us, |accepted| accepted.at_us);
                Carried { at_us: it.at_us, ready_us: accepted_us.max(span.from_us), bytes: emitted.bytes }
            });
            let times = pace::until_us(&carried.collect::<Vec<_>>(), bytes_a_second);
            for (it, until_us) in came.iter().zip(times) {
                until.entry((*on, it.n)).or_insert(until_us);
            }
        }
        until
    }

    /// The connection on which an event should have come before it did, and by when. To a slow reader it may be late by what the
    /// line needs; what never came to one may have been on its way to it all the time.
    fn overdue(
        &self,
        n: u64,
        accepted_us: u64,
        came_us: u64,
        pace: &BTreeMap<(Connection, u64), u64>,
    ) -> Option<(Connection, u64)> {
        let within = micros(self.promise.within);
        self.connections.iter().find_map(|(on, span)| {
            let from = accepted_us.max(span.from_us);
            let sent = if span.bytes_a_second.is_some() { *pace.get(&(*on, n))? } else { from };
            let due = sent.saturating_add(within);
            let late = due < span.to_us && due < came_us && self.calm(from, due) && !self.held(*on, from, due);
            late.then_some((*on, due))
        })
    }

    /// Whether an event may have been on its way to another plain device between the two: meanwhile it is not given to this one.
    fn held(&self, on: Connection, from_us: u64, due_us: u64) -> bool {
        !self.promise.acknowledging
            && self.connections.iter().any(|(other, span)| {
                let until_us = span.believed_us.unwrap_or(span.to_us);
                let holds = span.bytes_a_second.is_some() || span.believed_us.is_some();
                *other != on && holds && self.began(*other) <= due_us && from_us <= until_us
            })
    }
}

impl Span {
    /// Whether something may have been on its way to it when it ended, and come back.
    fn may_hold(&self) -> bool {
        self.bytes_a_second.is_some() || self.way.goes_on_polling() || self.believed_us.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Connection = Connection { device: 0, connection: 1 };
    const AGAIN: Connection = Connection { device: 0, connection: 2 };
    const OTHER: Connection = Connection { device: 1, connection: 1 };

    fn connected(on: Connection) -> What {
        over(on, Way::WebSocket, None)
    }

    fn over(on: Connection, way: Way, bytes_a_second: Option<u64>) -> What {
        What::Connected { on, way, bytes_a_second }
    }

    fn emitting(n: u64) -> What {
        What::Emitting { n, bytes: 300 }
    }

    fn accepted(n: u64) -> What {
        What::Accepted { n, event_id: Some(format!("id-{n}")), delivery: Some("live".into()) }
    }

    fn queued(n: u64) -> What {
        What::Accepted { n, event_id: Some(format!("id-{n}")), delivery: Some("queued".into()) }
    }

    fn live(on: Connection, n: u64) -> What {
        came(on, n, None)
    }

    fn from_queue(on: Connection, n: u64) -> What {
        came(on, n, Some(1))
    }

    fn came(on: Connection, n: u64, queued: Option<usize>) -> What {
        let (event_id, timestamp) = (Some(format!("id-{n}")), Some(format!("time-{n}")));
        What::Received { on, n, event_id, timestamp, differs: None, queued }
    }

    fn broken(on: Connection) -> What {
        What::Broken { on, how: "cut".into() }
    }

    fn found(acknowledging: bool, line: &[What]) -> Vec<(Kind, Option<u64>)> {
        found_where(acknowledging, true, line)
    }

    /// A second lies between any two.
    fn found_where(acknowledging: bool, replicated: bool, line: &[What]) -> Vec<(Kind, Option<u64>)> {
        let records: Vec<_> = (0..)
            .zip(line)
            .map(|(second, what)| Record {
                at_us: second * 1_000_000,
                user: Some(0),
                node: Some(0),
                what: what.clone(),
            })
            .collect();
        let promise = Promise { acknowledging, one_node: true, replicated, within: Duration::from_millis(2_500) };
        check(&records, promise).into_iter().map(|violation| (violation.kind, violation.n)).collect()
    }

    #[test]
    fn what_came_once_in_order_breaks_nothing() {
        let line = [queued(1), connected(ON), from_queue(ON, 1), accepted(2), live(ON, 2), What::Left(ON)];
        assert_eq!(found(false, &line), []);
        assert_eq!(found(true, &line), []);
    }

    #[test]
    fn an_accepted_event_that_never_came_is_lost() {
        let line = [connected(ON), accepted(1), accepted(2), live(ON, 2), What::Left(ON)];
        assert_eq!(found(false, &line), [(Kind::Lost, Some(1))]);
        assert_eq!(found(true, &line), [(Kind::Lost, Some(1))]);
        assert_eq!(found(false, &[What::Refused { n: 1, why: "503".into() }]), []);
    }

    #[test]
    fn what_was_on_its_way_to_a_connection_that_broke_is_lost_only_without_acknowledgements() {
        let line = [connected(ON), accepted(1), live(ON, 1), accepted(2), broken(ON), accepted(3)];
        assert_eq!(found(false, &line), []);
        assert_eq!(found(true, &line), [(Kind::Lost, Some(2)), (Kind::Lost, Some(3))]);
    }

    #[test]
    fn a_broken_connection_excuses_neither_what_was_overtaken_nor_what_was_queued_nor_what_came_much_later() {
        let overtaken = [connected(ON), accepted(1), accepted(2), live(ON, 2), broken(ON)];
        assert_eq!(found(false, &overtaken), [(Kind::Lost, Some(1))]);
        assert_eq!(found(false, &[connected(ON), queued(1), broken(ON)]), [(Kind::Lost, Some(1))]);
        let idle = What::Refused { n: 0, why: String::new() };
        let later = [connected(ON), broken(ON), idle.clone(), idle.clone(), accepted(1)];
        assert_eq!(found(false, &later), [(Kind::Lost, Some(1))]);
        let half_open = What::Broken { on: ON, how: HALF_OPEN.into() };
        let unnoticed = [connected(ON), half_open, idle.clone(), idle, accepted(1)];
        assert_eq!(found(false, &unnoticed), []);
        assert_eq!(found(true, &unnoticed), [(Kind::Lost, Some(1))]);
    }

    #[test]
    fn nothing_comes_twice_without_acknowledgements_and_with_them_only_on_another_connection() {
        let line = [connected(ON), accepted(1), live(ON, 1), live(ON, 1)];
        assert_eq!(found(false, &line), [(Kind::Duplicated, Some(1))]);
        assert_eq!(found(true, &line), [(Kind::Duplicated, Some(1))]);
        let line = [connected(ON), accepted(1), live(ON, 1), broken(ON), from_queue(AGAIN, 1)];
        assert_eq!(found(false, &line), [(Kind::Duplicated, Some(1))]);
        assert_eq!(found(true, &line), []);
        let line = [queued(1), connected(ON), from_queue(ON, 1), connected(OTHER), from_queue(OTHER, 1)];
        assert_eq!(found(false, &line), [(Kind::Duplicated, Some(1))]);
        let line = [accepted(1), connected(ON), connected(OTHER), live(ON, 1), from_queue(OTHER, 1)];
        assert_eq!(found(false, &line), [(Kind::Duplicated, Some(1))]);
    }

    #[test]
    fn with_a_primary_may_go_what_no_replica_had_and_what_was_known_of_deliveries() {
        let fault = What::Fault { name: FaultKind::Primary.name().into(), until_us: 20_000_000 };
        let line = [queued(1), idle(), queued(2), fault, queued(3), idle(), queued(4)];
        let forgotten = [2, 3].map(|n| (Kind::Forgotten, Some(n)));
        let lost = [1, 4].map(|n| (Kind::Lost, Some(n)));
        assert_eq!(found_where(true, false, &line), [lost[0], forgotten[0], forgotten[1], lost[1]]);
        assert!(found(true, &line).iter().all(|(kind, _)| *kind == Kind::Lost), "a replica had it");
        let fault = || What::Fault { name: FaultKind::Primary.name().into(), until_us: 20_000_000 };
        let again = |between: &[What]| {
            let before = [queued(1), connected(ON), from_queue(ON, 1)];
            found(false, &[&before, between, &[What::Left(ON), connected(AGAIN), from_queue(AGAIN, 1)]].concat())
        };
        assert_eq!(again(&[fault()]), []);
        assert_eq!(again(&[idle(), fault()]), [(Kind::Duplicated, Some(1))], "the replicas knew");
    }

    #[test]
    fn each_device_gets_a_live_event() {
        let line = [connected(ON), connected(OTHER), accepted(1), live(ON, 1), live(OTHER, 1)];
        assert_eq!(found(false, &line), []);
    }

    /// What happens at which node; a second lies between any two.
    fn found_at(line: &[(usize, What)]) -> Vec<(Kind, Option<u64>)> {
        let one_node = line.iter().all(|(node, _)| *node == 0);
        let record = |(second, (node, what)): (u64, &(usize, What))| {
            let user = (!matches!(what, What::Fault { .. })).then_some(0);
            Record { at_us: second * 1_000_000, user, node: Some(*node), what: what.clone() }
        };
        let records: Vec<_> = (0..).zip(line).map(record).collect();
        let promise =
            Promise { acknowledging: false, one_node, replicated: true, within: Duration::from_millis(2_500) };
        check(&records, promise).into_iter().map(|violation| (violation.kind, violation.n)).collect()
    }

    #[test]
    fn who_connects_while_an_event_is_under_way_among_nodes_gets_it_once_whoever_else_does() {
        let while_it_was = [
            (0, connected(ON)),
            (1, What::Connecting(OTHER)),
            (0, accepted(1)),
            (0, live(ON, 1)),
            (1, connected(OTHER)),
            (1, from_queue(OTHER, 1)),
        ];
        assert_eq!(found_at(&while_it_was), []);
        let one_node = while_it_was.clone().map(|(_, what)| (0, what));
        assert_eq!(found_at(&one_node), [(Kind::Duplicated, Some(1))], "one node does one after the other");
        let [first_connected, connecting, accepted, live, connected, queued] = while_it_was;
        let after = [first_connected, accepted, live, connecting, connected, queued];
        assert_eq!(found_at(&after), [(Kind::Duplicated, Some(1))], "it was delivered by then");
    }

    #[test]
    fn of_several_nodes_who_connects_while_an_event_is_on_a_slow_line_may_find_it_in_the_queue() {
        let line = |node, bytes_a_second| {
            found_at(&[
                (node, over(ON, Way::WebSocket, bytes_a_second)),
                (0, accepted(1)),
                (0, What::Connecting(OTHER)),
                (0, from_queue(OTHER, 1)),
                (node, live(ON, 1)),
            ])
        };
        assert_eq!(line(1, SLOW), []);
        assert_eq!(line(1, None), [(Kind::Duplicated, Some(1))], "it is under way for a moment");
        assert_eq!(line(0, SLOW), [(Kind::Duplicated, Some(1))], "one node knows what it has handed over");
    }

    #[test]
    fn of_several_nodes_who_leaves_while_an_event_is_under_way_may_find_it_in_the_queue_whoever_else_gets_it() {
        let leaving = [
            (0, connected(ON)),
            (1, connected(OTHER)),
            (0, emitting(1)),
            (1, live(OTHER, 1)),
            (0, What::Left(ON)),
            (0, accepted(1)),
            (0, What::Connecting(AGAIN)),
            (0, from_queue(AGAIN, 1)),
        ];
        assert_eq!(found_at(&leaving), []);
        let mut gone = leaving;
        gone.swap(2, 4);
        gone.swap(3, 4);
        assert_eq!(found_at(&gone), [(Kind::Duplicated, Some(1))], "it had left before");
    }

    #[test]
    fn of_several_nodes_two_who_connect_at_a_time_are_not_both_given_the_queue() {
        let both = [
            (0, queued(1)),
            (0, What::Connecting(ON)),
            (1, What::Connecting(OTHER)),
            (0, connected(ON)),
            (0, from_queue(ON, 1)),
            (1, connected(OTHER)),
            (1, from_queue(OTHER, 1)),
        ];
        assert_eq!(found_at(&both), [(Kind::Duplicated, Some(1))]);
        assert_eq!(found_at(&both[..6]), []);
    }

    #[test]
    fn what_a_node_delivers_that_is_cut_off_overtakes_what_another_accepts_meanwhile_and_nothing_else() {
        let cut = What::Fault { name: "redis-cut".into(), until_us: 3_000_000 };
        let line = |node: usize, cut: What| {
            [(1, connected(ON)), (1, cut), (node, queued(1)), (1, accepted(2)), (1, live(ON, 2)), (1, live(ON, 1))]
        };
        assert_eq!(found_at(&line(0, cut.clone())), []);
        assert_eq!(found_at(&line(1, cut)), [(Kind::Reordered, Some(1))], "one node has one order");
        let pause = What::Fault { name: "redis-pause".into(), until_us: 3_000_000 };
        assert_eq!(found_at(&line(0, pause)), [(Kind::Reordered, Some(1))], "nobody could accept");
    }

    #[test]
    fn a_device_that_was_connected_is_skipped_by_nothing() {
        let there = [connected(ON), connected(OTHER), emitting(1), accepted(1), live(ON, 1)];
        let next = [emitting(2), accepted(2), live(ON, 2), live(OTHER, 2)];
        let skipped = [there.as_slice(), &next].concat();
        assert_eq!(found(true, &skipped), [(Kind::Skipped, Some(1))]);
        assert_eq!(found(false, &skipped), [(Kind::Skipped, Some(1))]);
        assert_eq!(found(true, &there), [], "it may come yet");
        let leaves = [What::Leaving(OTHER), What::Left(OTHER)];
        assert_eq!(found(false, &[there.as_slice(), &leaves].concat()), [(Kind::Skipped, Some(1))]);
        let breaks = [What::Leaving(OTHER), broken(OTHER)];
        assert_eq!(found(false, &[there.as_slice(), &breaks].concat()), [], "it was on its way");
        let later = [connected(ON), emitting(1), accepted(1), live(ON, 1), connected(OTHER)];
        assert_eq!(found(true, &[later.as_slice(), &next].concat()), [], "it was not there");
        let fault = What::Fault { name: "redis-cut".into(), until_us: 4_000_000 };
        assert_eq!(found(true, &[there.as_slice(), &[fault], &next].concat()), [], "its node was cut off");
    }

    #[test]
    fn what_a_device_sees_first_comes_in_the_order_of_acceptance() {
        let line = [accepted(1), accepted(2), connected(ON), live(ON, 2), live(ON, 1)];
        assert_eq!(found(false, &line), [(Kind::Reordered, Some(1))]);
        assert_eq!(found(true, &line), [(Kind::Reordered, Some(1))]);
        let again = [connected(ON), accepted(1), accepted(2), live(ON, 1), live(ON, 2), from_queue(AGAIN, 1)];
        assert_eq!(found(true, &again), []);
        let unknown = What::Unanswered { n: 1, why: "broken".into() };
        assert_eq!(found(true, &[connected(ON), unknown, accepted(2), live(ON, 2), live(ON, 1)]), []);
    }

    #[test]
    fn what_lies_there_while_the_user_is_connected_is_late() {
        let idle = What::Refused { n: 0, why: String::new() };
        let line = [connected(ON), queued(1), idle.clone(), idle.clone(), idle.clone(), What::Left(ON)];
        let came = [line.as_slice(), &[connected(AGAIN), from_queue(AGAIN, 1)]].concat();
        assert_eq!(found(false, &came), [(Kind::Late, Some(1))]);
        let away = [queued(1), idle.clone(), idle.clone(), idle.clone(), connected(ON), from_queue(ON, 1)];
        assert_eq!(found(false, &away), []);
        let fault = What::Fault { name: "redis-pause".into(), until_us: 3_000_000 };
        let failing = [connected(ON), queued(1), fault, idle.clone(), idle, live(ON, 1)];
        assert_eq!(found(true, &failing), []);
    }

    #[test]
    fn strangers_and_told_losses_are_violations() {
        let stray = What::Stray { on: ON, payload: "x".into() };
        assert_eq!(found(true, &[stray]), [(Kind::Leaked, None)]);
        assert_eq!(found(true, &[What::Missed { on: ON, dropped: 2 }]), [(Kind::Dropped, None)]);
    }

    #[test]
    fn other_contents_ids_and_times_are_alterations() {
        let changed = |at: usize, id: &str, time: &str, differs: Option<&str>| {
            let first = [accepted(1), connected(ON), live(ON, 1), broken(ON)];
            let mut line = [first.as_slice(), &[connected(AGAIN), from_queue(AGAIN, 1)]].concat();
            let (on, queued) = if at < 4 { (ON, None) } else { (AGAIN, Some(1)) };
            let (event_id, timestamp) = (Some(id.to_owned()), Some(time.to_owned()));
            line[at] = What::Received { on, n: 1, event_id, timestamp, differs: differs.map(str::to_owned), queued };
            found(true, &line)
        };
        let altered = [(Kind::Altered, Some(1))];
        for at in [2, 5] {
            assert_eq!(changed(at, "id-1", "time-1", None), []);
            assert_eq!(changed(at, "else", "time-1", None), altered);
            assert_eq!(changed(at, "id-1", "else", None), altered);
            assert_eq!(changed(at, "id-1", "time-1", Some("/actorId")), altered);
        }
    }

    /// A slow reader: one event of 300 bytes needs 125 ms of its line, and one of 9,300 bytes 1.25 s.
    const SLOW: Option<u64> = Some(10_000);

    fn further(on: Connection, n: u64) -> What {
        came(on, n, Some(2))
    }

    fn closed(on: Connection) -> What {
        What::Closed { on, why: "FIN".into() }
    }

    fn idle() -> What {
        What::Refused { n: 0, why: String::new() }
    }

    #[test]
    fn a_connection_that_ends_without_a_fault_is_cut_over_whatever_it_travels() {
        for way in Way::ALL {
            for line in [[over(ON, way, None), closed(ON)], [over(ON, way, SLOW), closed(ON)]] {
                assert_eq!(found(true, &line), [(Kind::Cut, None)], "{way}");
            }
            assert_eq!(found(true, &[over(ON, way, SLOW), broken(ON)]), [], "its device broke it");
            assert_eq!(found(true, &[over(ON, way, SLOW), What::Leaving(ON), What::Left(ON)]), []);
        }
    }

    #[test]
    fn what_was_on_its_way_to_a_connection_that_the_server_cut_is_lost_and_to_one_that_a_fault_ended_is_not() {
        let line = [over(ON, Way::WebSocket, SLOW), accepted(1), closed(ON)];
        assert_eq!(found(false, &line), [(Kind::Lost, Some(1)), (Kind::Cut, None)]);
        let fault = What::Fault { name: "kill".into(), until_us: 2_500_000 };
        let line = [over(ON, Way::WebSocket, SLOW), accepted(1), fault, closed(ON)];
        assert_eq!(found(false, &line), []);
    }

    #[test]
    fn a_connection_that_a_fault_ended_is_not_cut_and_a_slow_reader_may_learn_late_of_it() {
        let fault = |until_us| What::Fault { name: "kill".into(), until_us };
        assert_eq!(found(true, &[connected(ON), fault(1_500_000), closed(ON)]), []);
        let late = |bytes_a_second| {
            let line = [
                over(ON, Way::WebSocket, bytes_a_second),
                fault(1_500_000),
                idle(),
                idle(),
                idle(),
                idle(),
                closed(ON),
            ];
            found(true, &line)
        };
        assert_eq!(late(SLOW), []);
        assert_eq!(late(None), [(Kind::Cut, None)], "it would have learned of it at once");
    }

    #[test]
    fn an_event_may_be_late_by_what_its_line_needs_and_no_more() {
        let emitted = |bytes| What::Emitting { n: 1, bytes };
        // It is due 2.5 s after its line can have brought it, and comes 4 s after it was accepted.
        let line = |bytes, bytes_a_second| {
            let polling = over(ON, Way::Polling, bytes_a_second);
            [polling, emitted(bytes), accepted(1), idle(), idle(), idle(), live(ON, 1), What::Left(ON)]
        };
        assert_eq!(found(true, &line(300, None)), [(Kind::Late, Some(1))]);
        assert_eq!(found(true, &line(300, SLOW)), [(Kind::Late, Some(1))], "so little needs an eighth of a second");
        assert_eq!(found(true, &line(13_300, SLOW)), [], "1.75 s on the line");
    }

    #[test]
    fn a_queue_that_is_on_its_way_to_a_slow_plain_device_is_late_for_no_other() {
        let line = |bytes_a_second| {
            let first =
                [over(ON, Way::WebSocket, bytes_a_second), queued(1), connected(OTHER), idle(), idle(), idle(), idle()];
            let last = [What::Leaving(ON), What::Left(ON), further(OTHER, 1), What::Left(OTHER)];
            [first.as_slice(), &last].concat()
        };
        assert_eq!(found(false, &line(SLOW)), []);
        assert_eq!(found(false, &line(None)), [(Kind::Late, Some(1))]);
        assert_eq!(found(true, &line(SLOW)), [(Kind::Late, Some(1))], "to who acknowledges it is given at once");
    }

    #[test]
    fn what_comes_back_from_a_slow_plain_device_comes_to_another_after_what_that_has_seen_meanwhile() {
        let line = |bytes_a_second, way, last: What| {
            let first = [queued(1), over(ON, way, bytes_a_second), connected(OTHER)];
            let next = [accepted(2), live(OTHER, 2), What::Leaving(ON), What::Left(ON), last];
            [first.as_slice(), &next].concat()
        };
        let (reordered, late) = ((Kind::Reordered, Some(1)), (Kind::Late, Some(1)));
        assert_eq!(found(false, &line(SLOW, Way::WebSocket, further(OTHER, 1))), []);
        assert_eq!(found(false, &line(None, Way::Polling, further(OTHER, 1))), [late], "it had not fetched it");
        assert_eq!(
            found(false, &line(None, Way::WebSocket, further(OTHER, 1))),
            [reordered, late],
            "nothing was on its way"
        );
        assert_eq!(found(false, &line(SLOW, Way::WebSocket, live(OTHER, 1))), [reordered], "it was queued");
        let held = [
            over(ON, Way::WebSocket, SLOW),
            connected(OTHER),
            queued(1),
            accepted(2),
            live(OTHER, 2),
            further(OTHER, 1),
        ];
        assert_eq!(found(false, &held), [reordered], "the slow one is there yet");
    }

    #[test]
    fn what_was_given_to_a_connection_that_is_dead_and_believed_in_comes_back_to_the_next_one_of_any_device() {
        let half_open = || What::Broken { on: ON, how: HALF_OPEN.into() };
        let line = |next: Connection, last: What| {
            let first = [over(ON, Way::WebSocket, SLOW), half_open(), accepted(1)];
            found(false, &[first.as_slice(), &[connected(next), accepted(2), live(next, 2), last]].concat())
        };
        for next in [AGAIN, OTHER] {
            assert_eq!(line(next, further(next, 1)), []);
            assert_eq!(line(next, live(next, 1)), [(Kind::Reordered, Some(1))], "it was queued");
        }
        let cut =
            [over(ON, Way::WebSocket, SLOW), broken(ON), idle(), idle(), accepted(1), connected(AGAIN), accepted(2)];
        let last = [live(AGAIN, 2), further(AGAIN, 1)];
        let noticed = [(Kind::Reordered, Some(1)), (Kind::Late, Some(1))];
        assert_eq!(found(false, &[cut.as_slice(), &last].concat()), noticed, "nobody believed in it any more");
    }

    #[test]
    fn a_device_that_is_behind_gets_what_was_queued_for_it_on_the_same_connection_in_order_and_once() {
        let behind = |rest: &[What]| {
            let first = [over(ON, Way::WebSocket, SLOW), accepted(1), live(ON, 1), queued(2), queued(3)];
            found(false, &[first.as_slice(), rest].concat())
        };
        let caught_up = [came(ON, 2, Some(1)), came(ON, 3, Some(1)), accepted(4), live(ON, 4)];
        assert_eq!(behind(&caught_up), []);
        assert_eq!(behind(&[further(ON, 3), further(ON, 2)]), [(Kind::Reordered, Some(2))]);
        let overtaken = [further(ON, 2), accepted(4), live(ON, 4), further(ON, 3)];
        assert_eq!(behind(&overtaken), [(Kind::Reordered, Some(3))], "before any newer live event");
        let twice = [further(ON, 2), further(ON, 3), came(ON, 3, Some(3))];
        assert_eq!(behind(&twice), [(Kind::Duplicated, Some(3))]);
        assert_eq!(behind(&[further(ON, 2), What::Leaving(ON), What::Left(ON)]), [(Kind::Lost, Some(3))]);
    }

    #[test]
    fn what_is_live_to_one_device_comes_in_a_further_queued_events_to_one_that_is_behind_and_to_no_later_one() {
        let both = [over(ON, Way::WebSocket, SLOW), connected(OTHER), accepted(1), live(ON, 1), live(OTHER, 1)];
        let one_has_it = [accepted(2), live(OTHER, 2)];
        let with = |last: &[What]| found(false, &[both.as_slice(), &one_has_it, last].concat());
        assert_eq!(with(&[further(ON, 2)]), []);
        assert_eq!(with(&[came(ON, 2, Some(1))]), [], "something came before: it is a further one");
        let again = [What::Connecting(AGAIN), connected(AGAIN), from_queue(AGAIN, 2)];
        assert_eq!(with(&again), [(Kind::Duplicated, Some(2))], "what was delivered is not queued");
        let queued_for_it = [queued(2), live(OTHER, 2), further(ON, 2)];
        let line = [both.as_slice(), &queued_for_it].concat();
        assert_eq!(found(false, &line), [(Kind::Duplicated, Some(2))], "queued means that nobody had it");
    }

    #[test]
    fn a_plain_device_may_lose_the_queue_that_was_on_its_way_when_its_line_broke_and_no_other() {
        let lost = [(Kind::Lost, Some(1))];
        assert_eq!(found(false, &[queued(1), connected(ON), broken(ON)]), []);
        assert_eq!(found(true, &[queued(1), connected(ON), broken(ON)]), lost);
        assert_eq!(found(false, &[queued(1), connected(ON), What::Leaving(ON), What::Left(ON)]), lost);
        let overtaken = [queued(1), connected(ON), accepted(2), live(ON, 2), broken(ON)];
        assert_eq!(found(false, &overtaken), lost, "a later one came");
        let behind = |bytes_a_second| found(false, &[over(ON, Way::WebSocket, bytes_a_second), queued(1), broken(ON)]);
        assert_eq!(behind(SLOW), []);
        assert_eq!(behind(None), lost, "nobody was behind");
    }

    #[test]
    fn between_two_polls_a_line_that_is_cut_goes_unnoticed_like_a_silent_one() {
        let line = |way| [over(ON, way, None), broken(ON), idle(), idle(), idle(), accepted(1)];
        assert_eq!(found(false, &line(Way::FailedUpgrade)), []);
        assert_eq!(found(false, &line(Way::Upgrade)), [(Kind::Lost, Some(1))]);
    }

    #[test]
    fn what_a_slow_or_polling_device_had_not_been_sent_when_it_left_is_not_skipped() {
        let line = |way, bytes_a_second| {
            let there = [over(ON, way, bytes_a_second), connected(OTHER), emitting(1), accepted(1), live(OTHER, 1)];
            found(true, &[there.as_slice(), &[What::Leaving(ON), What::Left(ON)]].concat())
        };
        assert_eq!(line(Way::WebSocket, SLOW), []);
        assert_eq!(line(Way::Polling, None), []);
        assert_eq!(line(Way::Upgrade, None), [(Kind::Skipped, Some(1))]);
        let overtaken = [
            over(ON, Way::Polling, SLOW),
            connected(OTHER),
            emitting(1),
            accepted(1),
            live(OTHER, 1),
            emitting(2),
            accepted(2),
            live(OTHER, 2),
            live(ON, 2),
        ];
        assert_eq!(found(true, &overtaken), [(Kind::Skipped, Some(1))], "a later one came");
    }
}
