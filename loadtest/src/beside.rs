//! What goes on beside the traffic that is measured: events for receivers that may not take them, and one user's clients that
//! misbehave. It has books of its own, so that nothing of it counts among what is measured.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval_at},
};

use crate::{
    attack::Deed,
    emit::{Emitting, Letters},
    fault::Fault,
    ground::Ground,
    http::{self, Address, Http},
    pace::Pace,
    people::People,
    pick::Pick,
    receivers::Post,
};

/// Requests that are under way at most: a server may keep those waiting that are for somebody who does not read.
const EMITTERS: usize = 64;
/// How often each misbehaving client comes.
const EVERY: Duration = Duration::from_millis(250);
/// Longer than any run.
const FOR_LONG: Duration = Duration::from_secs(24 * 3_600);

/// Events that are emitted beside the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    /// To whom, in turn.
    pub users: Range<usize>,
    /// How many a second in all.
    pub per_s: f64,
    /// Bytes of each payload, about.
    pub payload_bytes: usize,
}

/// Clients of one user that connect by polling, never poll, close and come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misbehaving {
    /// Whose they are.
    pub user: u32,
    /// How many.
    pub clients: usize,
}

/// What is to go on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beside {
    /// Events beside the others.
    pub streams: Vec<Stream>,
    /// Clients beside the others.
    pub misbehaving: Option<Misbehaving>,
}

/// It goes on; it ends with this.
#[derive(Debug)]
pub struct GoingOn {
    tasks: JoinSet<()>,
    post: Arc<Post>,
    visits: Arc<Visits>,
    clients: usize,
}

/// What has become of the misbehaving clients' visits.
#[derive(Debug, Default)]
struct Visits {
    made: AtomicU64,
    failed: AtomicU64,
}

impl Beside {
    /// How many connections it takes.
    pub fn connections(&self) -> usize {
        self.streams.len() * EMITTERS + self.misbehaving.map_or(0, |it| it.clients)
    }

    /// Begins.
    ///
    /// # Errors
    /// Where the target file does not say how to emit.
    pub fn begin(&self, ground: &Ground, people: &Arc<People>) -> Result<GoingOn, Fault> {
        let mut going_on = GoingOn {
            tasks: JoinSet::new(),
            post: Post::new(people.count()),
            visits: Arc::default(),
            clients: self.misbehaving.map_or(0, |it| it.clients),
        };
        for stream in &self.streams {
            let letters = Letters::new(ground, Arc::clone(people), stream.payload_bytes, 1)?;
            let pick = Pick::in_turn_among(stream.users.clone());
            let emitting = Emitting::new(letters, Arc::clone(&going_on.post), pick, 1);
            let pace = Pace::start(Instant::now(), stream.per_s, FOR_LONG);
            for _ in 0..EMITTERS {
                let (mut hand, pace) = (Arc::clone(&emitting).hand(), pace.clone());
                going_on.tasks.spawn(async move {
                    while let Some(intended) = pace.next().await {
                        hand.act(intended).await;
                    }
                });
            }
        }
        if let Some(Misbehaving { user, clients }) = self.misbehaving {
            for client in 0..clients {
                let (http, visits) = (Http::new(ground.door.clone()), Arc::clone(&going_on.visits));
                let (address, token) = (ground.door.clone(), people.token(user).to_owned());
                // Not all in the same moment.
                let first = EVERY.mul_f64(client as f64 / clients as f64);
                going_on.tasks.spawn(misbehave(http, address, token, first, visits));
            }
        }
        Ok(going_on)
    }
}

impl GoingOn {
    /// Ends it; what there is to tell.
    pub fn end(self) -> Vec<String> {
        let counts = self.post.ledger.close(&[]);
        let mut told = Vec::new();
        if counts.sent > 0 {
            let lost =
                if counts.unanswered > 0 { format!(", {} not answered", counts.unanswered) } else { String::new() };
            told.push(format!("emitted to them: {} accepted, {} refused{lost}", counts.accepted, counts.refused));
        }
        if self.clients > 0 {
            let (made, failed) = (self.visits.made.load(Relaxed), self.visits.failed.load(Relaxed));
            told.push(format!("{made} visits of {} misbehaving clients, {failed} more failed", self.clients));
        }
        told
    }
}

async fn misbehave(mut http: Http, address: Address, token: String, first: Duration, visits: Arc<Visits>) {
    let mut times = interval_at((Instant::now() + first).into(), EVERY);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let count = if visit(&mut http, &address, &token).await.is_some() { &visits.made } else { &visits.failed };
        count.fetch_add(1, Relaxed);
    }
}

/// Opens a session by polling, connects, never polls, closes. `None` where the server did not play along.
async fn visit(http: &mut Http, address: &Address, token: &str) -> Option<()> {
    const PATH: &str = "/socket.io/?EIO=4&transport=polling";
    let open = http.exchange(&http::request("GET", PATH, address, [], &[])).await.ok()?;
    let open: serde_json::Value = serde_json::from_slice(open.body.strip_prefix(b"0")?).ok()?;
    let path = format!("{PATH}&sid={}", open.get("sid")?.as_str()?);
    for packet in [format!("40/notifications,{}", json!({"token": token})), "1".to_owned()] {
        let headers = [("content-type", "text/plain;charset=UTF-8")];
        let answer = http.exchange(&http::request("POST", &path, address, headers, packet.as_bytes())).await.ok()?;
        if answer.status != 200 {
            return None;
        }
    }
    Some(())
}
