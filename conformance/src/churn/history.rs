//! What happened to the events of each user, seen from both sides, on one clock. Knows nothing of what is right.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::way::{Failing, Way};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Time since the workload began, in microseconds.
    pub at_us: u64,
    /// The user, by number; `None` where it concerns all.
    pub user: Option<usize>,
    /// The node, by number; `None` where it concerns all.
    pub node: Option<usize>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// How a connection broke that has fallen silent, so that nobody told the server.
pub const HALF_OPEN: &str = "half-open";

/// A connection of a user: the device, and which of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Connection {
    /// The device, by number.
    pub device: usize,
    /// Counts from 1.
    pub connection: usize,
}

/// What can happen. Events are named by the number that they carry, which counts up for each user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A request with the event is on its way.
    Emitting {
        /// The event.
        n: u64,
        /// How long the request's body is, in bytes.
        bytes: usize,
    },
    /// It was accepted.
    Accepted {
        /// The event.
        n: u64,
        /// Its `eventId`, where the answer tells.
        event_id: Option<String>,
        /// `live` or `queued`, where the answer tells.
        delivery: Option<String>,
    },
    /// It was refused. It may have been stored all the same, where the store answered too late.
    Refused {
        /// The event.
        n: u64,
        /// The answer.
        why: String,
    },
    /// Nobody knows whether it was accepted.
    Unanswered {
        /// The event.
        n: u64,
        /// What there was in an answer's place.
        why: String,
    },
    /// A device begins to connect.
    Connecting(Connection),
    /// A CONNECT was accepted.
    Connected {
        /// Which.
        #[serde(flatten)]
        on: Connection,
        /// How its packets are to travel.
        way: Way,
        /// What its device reads in a second, in bytes, where it reads slowly.
        bytes_a_second: Option<u64>,
    },
    /// A polling connection goes on over WebSocket.
    Upgraded(Connection),
    /// An upgrade has come to nothing, as its device wished.
    UpgradeFailed {
        /// Which.
        #[serde(flatten)]
        on: Connection,
        /// How.
        failing: Failing,
    },
    /// An upgrade came less far than its device wished.
    NotUpgraded {
        /// Which.
        #[serde(flatten)]
        on: Connection,
        /// Why.
        why: String,
    },
    /// A CONNECT was not accepted.
    NotConnected {
        /// Which.
        #[serde(flatten)]
        on: Connection,
        /// Why not.
        why: String,
    },
    /// An event arrived.
    Received {
        /// Where.
        #[serde(flatten)]
        on: Connection,
        /// The event.
        n: u64,
        /// Its `eventId`.
        event_id: Option<String>,
        /// Its `timestamp`.
        timestamp: Option<String>,
        /// The first place where it says something else than was emitted.
        differs: Option<String>,
        /// In which `queued.events` of the connection it came, from 1; `None` where it came alone.
        queued: Option<usize>,
    },
    /// A payload arrived that was never emitted for this user.
    Stray {
        /// Where.
        #[serde(flatten)]
        on: Connection,
        /// Its `eventId` and its addressee.
        payload: String,
    },
    /// `queued.events` told of lost events.
    Missed {
        /// Where.
        #[serde(flatten)]
        on: Connection,
        /// How many.
        dropped: u64,
    },
    /// A device is about to say that it goes.
    Leaving(Connection),
    /// A connection ended as its device wished, and everything that the server had sent was read.
    Left(Connection),
    /// A connection ended that its device wished to keep.
    Closed {
        /// Which.
        #[serde(flatten)]
        on: Connection,
        /// How.
        why: String,
    },
    /// Its device broke a connection, or left it and was not let go.
    Broken {
        /// Which.
        #[serde(flatten)]
        on: Connection,
        /// How.
        how: String,
    },
    /// The suite itself could not do something: no verdict.
    OwnFault {
        /// What.
        why: String,
    },
    /// Something was done to a node, or to the store or lines of some.
    Fault {
        /// What.
        name: String,
        /// When it was over, in microseconds.
        until_us: u64,
    },
}

/// What has happened so far. Clones share it.
#[derive(Debug, Clone)]
pub struct History {
    began: Instant,
    records: Arc<Mutex<Vec<Record>>>,
}

impl History {
    /// Begins now.
    pub fn begin() -> Self {
        Self { began: Instant::now(), records: Arc::default() }
    }

    /// Time since the beginning, in microseconds.
    pub fn now_us(&self) -> u64 {
        micros(self.began.elapsed())
    }

    /// Notes what has just happened to a user at a node.
    pub fn note(&self, user: usize, node: usize, what: What) {
        // The time is read under the lock, so that records are in the order of their times.
        let mut records = self.lock();
        let at_us = self.now_us();
        records.push(Record { at_us, user: Some(user), node: Some(node), what });
    }

    /// Notes a fault of a node, or of all, that began at `at_us` and is over.
    pub fn note_fault(&self, at_us: u64, node: Option<usize>, name: &str) {
        let mut records = self.lock();
        let until_us = self.now_us();
        let at = records.partition_point(|record| record.at_us <= at_us);
        let what = What::Fault { name: name.to_owned(), until_us };
        records.insert(at, Record { at_us, user: None, node, what });
    }

    /// Everything so far, by time.
    pub fn records(&self) -> Vec<Record> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
