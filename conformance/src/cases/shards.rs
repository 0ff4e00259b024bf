//! SPEC 22: the store is a Redis Cluster, of which a primary fails, or a slot moves.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::kit::{
    control::body_for,
    numbers::{in_order, receives, up_to},
    outage::{AGAIN, SOON, emit_until_accepted},
    queue::finds,
    server::readiness,
};
use crate::{
    bench::{Bench, User, no_redis},
    case::{Case, Need},
    client::Client,
    expect::{self, Fault, Outcome, inconclusive, mismatch},
    redis::RedisServer,
};

/// How long an event may take of a user whom nothing has happened to.
const UNDISTURBED: Duration = Duration::from_secs(1);
/// How long the last event may take after something has.
const ARRIVES: Duration = Duration::from_secs(5);
/// How often users are tried until each primary has one.
const TRIES: usize = 100;

const NODES: &[Need] = &[Need::OwnServer, Need::Capability("control"), Need::Capability("config")];

pub(super) const CASES: &[Case] = &[
    case!("FAILOVER-08/spread", "a Redis Cluster carries users on each of its primaries, for all nodes", spread)
        .needs(NODES),
    case!("FAILOVER-09/killed", "a primary that is killed concerns its own users alone", failed_over(true))
        .needs(NODES)
        .also(&["FAILOVER-02"]),
    case!("FAILOVER-09/handed-over", "so does one that its replica takes over from", failed_over(false))
        .needs(NODES)
        .also(&["FAILOVER-02"]),
    case!("FAILOVER-10/moves", "while a slot moves nothing is lost, doubled or reordered", moved(false)).needs(NODES),
    case!("FAILOVER-11/moves", "nor refused, where its keys move quickly", moved(true)).needs(NODES),
];

/// A user whose slot one of the primaries has.
struct Placed {
    user: User,
    /// One of the user's keys.
    key: String,
    /// On the second node.
    device: Client,
}

/// A cluster, two nodes on it, and a user of each primary.
struct Sharded {
    redis: Arc<RedisServer>,
    a: Bench,
    b: Bench,
    /// By the number of the primary.
    users: BTreeMap<usize, Placed>,
}

impl Sharded {
    async fn prepare(t: &Bench) -> Outcome<Self> {
        let redis = t.own_shards().await?;
        let a = t.own_server_on(&redis).await?;
        let b = a.node_beside().await?;
        let mut view = a.database()?.view().await.map_err(unseen)?;
        let mut users = BTreeMap::new();
        for _ in 0..TRIES {
            let user = a.user().await?;
            let event = a.numbered(&user, 1);
            a.emit(&event).await?;
            // Not by the user: there is a session, too, which may lie elsewhere.
            let found = view.holding(&event.resource_id).await.map_err(unseen)?;
            let Some(key) = found.into_keys().next() else {
                return Err(mismatch("a key of the cluster that holds the event", "none"));
            };
            let primary = redis.owner(&key).await.map_err(|error| no_redis(&error))?;
            if let Entry::Vacant(place) = users.entry(primary) {
                let device = finds(&b, &user, [1]).await?;
                place.insert(Placed { user, key, device });
            }
            if users.len() == 3 {
                return Ok(Self { redis, a, b, users });
            }
        }
        Err(mismatch(
            format!("{TRIES} users on three primaries"),
            format!("on those of the numbers {:?}", users.keys()),
        ))
    }

    /// The first of the users, with the number of their primary.
    fn take_one(&mut self) -> (usize, Placed) {
        self.users.pop_first().expect("there is one of each primary")
    }
}

fn unseen(error: redis::RedisError) -> Fault {
    inconclusive(format!("looking into the cluster: {error}"))
}

async fn spread(t: Bench) -> Outcome {
    let Sharded { a, b, users, .. } = Sharded::prepare(&t).await?;
    for Placed { user, mut device, .. } in users.into_values() {
        a.emit_numbered(&user, 2, 2).await?;
        b.emit_numbered(&user, 3, 3).await?;
        receives(&mut device, [2, 3]).await?;
        a.revoke_session(&user.session).await?;
        device.expect_closed(ARRIVES).await?;
    }
    Ok(())
}

async fn failed_over(t: Bench, killed: bool) -> Outcome {
    let mut store = Sharded::prepare(&t).await?;
    let (gone, mut concerned) = store.take_one();
    let Sharded { redis, a, b, mut users } = store;
    a.emit_numbered(&concerned.user, 2, 2).await?;
    receives(&mut concerned.device, [2]).await?;
    a.transcript().note(format!("a primary {}", if killed { "is killed" } else { "hands over to its replica" }));
    let done = if killed { redis.kill_one(gone).await } else { redis.hand_over(gone).await };
    done.map_err(|error| no_redis(&error))?;
    let (watched, key) = (Arc::clone(&redis), concerned.key.clone());
    let over = tokio::spawn(async move { watched.until_another_has(&key, gone).await });
    let mut n = 1;
    while !over.is_finished() {
        n += 1;
        undisturbed(&a, &mut users, n).await?;
        sleep(AGAIN).await;
    }
    over.await.map_err(|error| inconclusive(error.to_string()))?.map_err(|error| no_redis(&error))?;
    let deadline = Instant::now() + SOON;
    let accepted = emit_until_accepted(&a, &concerned.user, 3, deadline).await?;
    for node in [&a, &b] {
        readiness(node, 200, deadline).await?;
        n += 1;
        undisturbed(node, &mut users, n).await?;
    }
    let last = accepted + 5;
    b.emit_numbered(&concerned.user, accepted + 1, last).await?;
    let came = up_to(&mut concerned.device, last as u64, ARRIVES).await?;
    in_order(&came)?;
    let found: Vec<_> = came.iter().map(|came| came.n).collect();
    let all = (accepted as u64..=last as u64).all(|n| found.contains(&n));
    expect::that(all, format!("{accepted} and all after it"), format!("{found:?}"))
}

/// An event for each of them is accepted and arrives at once.
async fn undisturbed(t: &Bench, users: &mut BTreeMap<usize, Placed>, n: usize) -> Outcome {
    for Placed { user, device, .. } in users.values_mut() {
        let began = Instant::now();
        t.emit_numbered(user, n, n).await?;
        receives(device, [n]).await?;
        let took = began.elapsed();
        expect::that(took < UNDISTURBED, format!("an event within {UNDISTURBED:?}"), format!("one after {took:?}"))?;
    }
    Ok(())
}

async fn moved(t: Bench, none_refused: bool) -> Outcome {
    let mut store = Sharded::prepare(&t).await?;
    let (_, mut concerned) = store.take_one();
    let Sharded { redis, a, b, mut users } = store;
    let (mover, key) = (Arc::clone(&redis), concerned.key.clone());
    a.transcript().note("a slot moves to another primary, and on to the next");
    let moves = tokio::spawn(async move {
        for _ in 0..2 {
            sleep(Duration::from_millis(500)).await;
            mover.move_slot(&key).await?;
        }
        sleep(Duration::from_millis(500)).await;
        Ok(())
    });
    let (mut n, mut accepted) = (1, Vec::new());
    while !moves.is_finished() {
        n += 1;
        let node = if n % 2 == 0 { &a } else { &b };
        let answer = node.control("POST", "/events", &body_for(&concerned.user, n)).await?;
        match answer.status {
            202 => accepted.push(n as u64),
            503 if !none_refused => {}
            _ => return Err(mismatch("an event that is accepted", answer.describe())),
        }
        if n % 10 == 0 {
            undisturbed(node, &mut users, n).await?;
        }
    }
    let moved: Result<(), crate::redis::RedisError> = moves.await.map_err(|error| inconclusive(error.to_string()))?;
    moved.map_err(|error| no_redis(&error))?;
    let last = emit_until_accepted(&a, &concerned.user, n + 1, Instant::now() + SOON).await?;
    accepted.push(last as u64);
    let came = up_to(&mut concerned.device, last as u64, ARRIVES).await?;
    let came: Vec<_> = came.iter().map(|came| came.n).collect();
    if came == accepted {
        return Ok(());
    }
    let lost: Vec<_> = accepted.iter().filter(|n| !came.contains(n)).collect();
    let told = format!("{} events, {lost:?} not among them: {came:?}", came.len());
    Err(mismatch(format!("the {} events that were accepted, once and in order", accepted.len()), told))
}
