//! The checker of `churn` against histories that are drawn at random: a right one breaks no promise, and one that is wrong in a single
//! place breaks the promise that this place is about.

use std::time::Duration;

use notify_conformance::churn::{
    check::{Kind, Promise, check},
    history::{Connection, Record, What},
    way::Way,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const HISTORIES: u64 = 400;
const DEVICES: usize = 3;
const STEPS: usize = 60;
const WITHIN: Duration = Duration::from_secs(2);
/// More than any promise allows an event to take.
const TOO_LONG_US: u64 = 30_000_000;

/// One user, some devices that come and go, and a server that does everything right.
struct Right {
    dice: StdRng,
    now_us: u64,
    records: Vec<Record>,
    queue: Vec<u64>,
    /// The connection of each device that is here, and how many it has had.
    here: [(Option<Connection>, usize); DEVICES],
}

impl Right {
    fn history(seed: u64) -> Vec<Record> {
        let dice = StdRng::seed_from_u64(seed);
        let mut right = Self { dice, now_us: 0, records: Vec::new(), queue: Vec::new(), here: [(None, 0); DEVICES] };
        let mut emitted = 0;
        for _ in 0..STEPS {
            let device = right.dice.random_range(0..DEVICES);
            match (right.dice.random_range(0..4), right.here[device].0) {
                (0, Some(on)) => right.leave(on),
                (0 | 1, None) => right.connect(device),
                _ => {
                    emitted += 1;
                    right.emit(emitted);
                }
            }
        }
        for device in 0..DEVICES {
            if right.here[device].0.is_none() {
                right.connect(device);
            }
        }
        for (on, _) in right.here {
            on.into_iter().for_each(|on| right.leave(on));
        }
        right.records
    }

    fn note(&mut self, what: What) {
        self.now_us += self.dice.random_range(1_000..200_000);
        self.records.push(Record { at_us: self.now_us, user: Some(0), node: Some(0), what });
    }

    fn connect(&mut self, device: usize) {
        let connection = self.here[device].1 + 1;
        let on = Connection { device, connection };
        self.here[device] = (Some(on), connection);
        self.note(What::Connecting(on));
        let way = if self.dice.random_bool(0.5) { Way::WebSocket } else { Way::Polling };
        self.note(What::Connected { on, way, bytes_a_second: None });
        for n in std::mem::take(&mut self.queue) {
            self.note(received(on, n, Some(1)));
        }
    }

    fn leave(&mut self, on: Connection) {
        self.here[on.device].0 = None;
        self.note(What::Leaving(on));
        self.note(What::Left(on));
    }

    fn emit(&mut self, n: u64) {
        self.note(What::Emitting { n, bytes: 300 });
        let here: Vec<_> = self.here.iter().filter_map(|(on, _)| *on).collect();
        let delivery = if here.is_empty() { "queued" } else { "live" };
        self.note(What::Accepted { n, event_id: Some(format!("id-{n}")), delivery: Some(delivery.into()) });
        if here.is_empty() {
            self.queue.push(n);
        }
        for on in here {
            self.note(received(on, n, None));
        }
    }
}

fn received(on: Connection, n: u64, queued: Option<usize>) -> What {
    let (event_id, timestamp) = (Some(format!("id-{n}")), Some(format!("time-{n}")));
    What::Received { on, n, event_id, timestamp, differs: None, queued }
}

fn kinds(records: &[Record], acknowledging: bool) -> Vec<Kind> {
    let promise = Promise { acknowledging, one_node: true, replicated: true, within: WITHIN };
    check(records, promise).into_iter().map(|violation| violation.kind).collect()
}

/// What arrived: at which place of the history, where, what, and whether by the queue.
fn arrivals(records: &[Record]) -> Vec<(usize, Connection, u64, bool)> {
    let arrival = |(at, record): (usize, &Record)| match &record.what {
        What::Received { on, n, queued, .. } => Some((at, *on, *n, queued.is_some())),
        _ => None,
    };
    records.iter().enumerate().filter_map(arrival).collect()
}

/// Each right history, made wrong by `wrong`, which is given the dice and returns nothing where the history has no place for it.
fn always_found(kind: Kind, wrong: impl Fn(&mut StdRng, Vec<Record>) -> Option<Vec<Record>>) {
    let mut tried = 0;
    for seed in 0..HISTORIES {
        let right = Right::history(seed);
        let mut dice = StdRng::seed_from_u64(seed);
        let Some(wronged) = wrong(&mut dice, right) else { continue };
        tried += 1;
        for acknowledging in [false, true] {
            let found = kinds(&wronged, acknowledging);
            assert!(
                found.contains(&kind),
                "seed {seed}, acknowledging {acknowledging}: {kind:?} was not found, but {found:?}"
            );
        }
    }
    assert!(tried > HISTORIES / 4, "only {tried} histories had a place for {kind:?}");
}

fn any<T: Copy>(dice: &mut StdRng, of: &[T]) -> Option<T> {
    if of.is_empty() { None } else { Some(of[dice.random_range(0..of.len())]) }
}

#[test]
fn a_right_history_breaks_no_promise() {
    for seed in 0..HISTORIES {
        for acknowledging in [false, true] {
            let found = kinds(&Right::history(seed), acknowledging);
            assert!(found.is_empty(), "seed {seed}, acknowledging {acknowledging}: {found:?}");
        }
    }
}

#[test]
fn an_event_that_arrives_nowhere_is_lost() {
    always_found(Kind::Lost, |dice, mut records| {
        let (_, _, lost, _) = any(dice, &arrivals(&records))?;
        records.retain(|record| !matches!(&record.what, What::Received { n, .. } if *n == lost));
        Some(records)
    });
}

#[test]
fn a_live_event_that_one_device_of_several_does_not_get_is_skipped() {
    always_found(Kind::Skipped, |dice, mut records| {
        let all = arrivals(&records);
        // And that gets a later one: what a polling device had not fetched when it left is none.
        let goes_on = |it: &(usize, Connection, u64, bool)| all.iter().any(|later| later.1 == it.1 && later.0 > it.0);
        let several: Vec<_> = all
            .iter()
            .filter(|(_, on, n, queued)| {
                !queued && all.iter().any(|(_, other, m, _)| m == n && other.device != on.device)
            })
            .filter(|it| goes_on(it))
            .copied()
            .collect();
        let (at, ..) = any(dice, &several)?;
        records.remove(at);
        Some(records)
    });
}

#[test]
fn an_event_that_comes_twice_on_a_connection_is_duplicated() {
    always_found(Kind::Duplicated, |dice, mut records| {
        let (at, ..) = any(dice, &arrivals(&records))?;
        records.insert(at + 1, records[at].clone());
        Some(records)
    });
}

#[test]
fn two_events_that_change_places_on_a_connection_are_reordered() {
    always_found(Kind::Reordered, |dice, mut records| {
        let all = arrivals(&records);
        let pairs: Vec<_> = all
            .iter()
            .flat_map(|first| all.iter().map(move |second| (*first, *second)))
            .filter(|(first, second)| first.1 == second.1 && first.0 < second.0 && first.3 == second.3)
            .filter(|(first, second)| !all.iter().any(|it| it.1 == first.1 && it.0 > first.0 && it.0 < second.0))
            .collect();
        let (first, second) = any(dice, &pairs)?;
        let (a, b) = (records[first.0].what.clone(), records[second.0].what.clone());
        // Neither before it was accepted: both arrive where the later one did.
        records[second.0].what = a;
        let at_us = records[second.0].at_us;
        let record = Record { what: b, at_us, ..records[second.0].clone() };
        records.insert(second.0, record);
        records.remove(first.0);
        Some(records)
    });
}

#[test]
fn other_contents_and_ids_are_altered() {
    always_found(Kind::Altered, |dice, mut records| {
        let (at, ..) = any(dice, &arrivals(&records))?;
        if let What::Received { event_id, differs, .. } = &mut records[at].what {
            if dice.random_bool(0.5) {
                *event_id = Some("another".into());
            } else {
                *differs = Some("/actorId".into());
            }
        }
        Some(records)
    });
}

#[test]
fn a_stranger_is_leaked_and_a_told_loss_is_a_loss() {
    for (kind, what) in [
        (Kind::Leaked, (|on| What::Stray { on, payload: "x".into() }) as fn(Connection) -> What),
        (Kind::Dropped, |on| What::Missed { on, dropped: 1 }),
    ] {
        always_found(kind, |dice, mut records| {
            let (at, on, ..) = any(dice, &arrivals(&records))?;
            let record = Record { what: what(on), ..records[at].clone() };
            records.insert(at + 1, record);
            Some(records)
        });
    }
}

#[test]
fn a_connection_that_ends_for_nothing_is_cut() {
    always_found(Kind::Cut, |dice, mut records| {
        let leaving = |(at, record): (usize, &Record)| match record.what {
            What::Leaving(on) => Some((at, on)),
            _ => None,
        };
        let all: Vec<_> = records.iter().enumerate().filter_map(leaving).collect();
        let (at, on) = any(dice, &all)?;
        records.remove(at);
        records[at].what = What::Closed { on, why: "FIN".into() };
        Some(records)
    });
}

#[test]
fn an_event_that_lies_there_while_its_user_is_connected_is_late() {
    always_found(Kind::Late, |dice, mut records| {
        let all = arrivals(&records);
        // The first to get it: whoever gets it later has it in time by another.
        let first = |it: &&(usize, Connection, u64, bool)| {
            let is_first = all.iter().find(|other| other.2 == it.2).is_some_and(|first| first.0 == it.0);
            !it.3 && is_first
        };
        let live: Vec<_> = all.iter().filter(first).copied().collect();
        let (at, ..) = any(dice, &live)?;
        records[at..].iter_mut().for_each(|record| record.at_us += TOO_LONG_US);
        Some(records)
    });
}
