//! SPEC 15: a store that fails in passing, returns with nothing, or fails one node of two.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::kit::{
    QUIET, acks,
    control::body_for,
    numbers::{exactly, numbers, read_until, receives},
    outage::{Away, Outage, SOON, answered, in_time, nodes_on},
    queue::finds,
    server::readiness,
};
use crate::{
    bench::{Bench, User, no_redis},
    case::{Case, Need},
    client::{Client, Transport},
    expect::{self, Fault, Outcome, inconclusive, mismatch},
};

/// How often to look.
const POLL: Duration = Duration::from_millis(50);
/// How long to watch a connection that must not end.
const WATCHED: Duration = Duration::from_secs(2);
/// How long to cut a node off so that nobody counts on it any more.
const LONG: Duration = Duration::from_secs(16);
/// How long a connection may live after its revocation.
const AFTER_REVOCATION: Duration = Duration::from_secs(2);

const OWN: &[Need] = &[Need::OwnServer];
const READY: &[Need] = &[Need::OwnServer, Need::Capability("config"), Need::Capability("control")];
const NODES: &[Need] = &[Need::OwnServer, Need::Capability("cluster"), Need::Capability("config")];

pub(super) const CASES: &[Case] = &[
    case!("FAIL-02/batch", "of a batch that cannot be stored nothing is queued", batch).needs(READY),
    case!("FAIL-06/server-pings", "the server's pings go on while the store is away", server_pings).needs(OWN),
    case!("FAIL-07/half-open", "a connection to the store that died without a word is given up in time", half_open)
        .needs(READY),
    case!(
        "FAIL-07/killed-connections",
        "connections that the store closes are made again, at both nodes",
        both_nodes(false)
    )
    .needs(NODES),
    case!("FAIL-07/both-nodes", "a restart of the store costs no connection at either node", both_nodes(true))
        .needs(NODES),
    case!("FAIL-08/kept", "what the store has kept through its restart is delivered, and more after it", kept)
        .needs(READY),
    case!("FAIL-08/flapping", "a line that breaks again and again costs nothing that was accepted", flapping)
        .needs(OWN),
    case!("FAIL-09/plain", "a store that returns with nothing ends no connection", with_nothing(false)).needs(READY),
    case!("FAIL-09/acknowledging", "nor one of a client that acknowledges", with_nothing(true)).needs(&[
        Need::OwnServer,
        Need::Capability("config"),
        Need::Capability("ack"),
    ]),
    case!("FAIL-09/prolonged", "nor one whose session was given more time until then", prolonged).needs(&[
        Need::OwnServer,
        Need::Capability("config"),
        Need::Capability("sessions"),
    ]),
    case!(
        "FAIL-10/slow",
        "with 100 ms a step nothing is lost, doubled or reordered",
        slow(|line| line.delay(Duration::from_millis(100)))
    )
    .needs(OWN),
    case!(
        "FAIL-10/trickling",
        "nor over a line that trickles",
        slow(|line| line.trickle(64, Duration::from_millis(5)))
    )
    .needs(OWN),
    case!("FAIL-12/revocation", "a revocation that cannot be stored is refused, and holds later", revocation)
        .needs(READY),
    case!(
        "FAIL-13/idempotency",
        "a key whose request was refused while the store was away is not used up",
        idempotency
    )
    .needs(READY),
    case!(
        "FAIL-18/connected",
        "a key that cannot be stored delivers nothing, to whoever is connected",
        keyed_and_connected
    )
    .needs(READY),
    case!("FAIL-14/short", "what a node missed while it was cut off comes when it is back", cut_off(Duration::ZERO))
        .needs(NODES),
    case!("FAIL-14/long", "so it does where nobody counted on the node any more", cut_off(LONG)).needs(NODES),
    case!("FAIL-14/half-open", "so it does where its connections died without a word", half_open_node).needs(NODES),
    case!("FAIL-14/taken-elsewhere", "so does what another device of the user has taken meanwhile", taken_elsewhere)
        .needs(NODES),
    case!(
        "FAIL-15/revoked",
        "a revocation that a node missed ends the connection when the node is back",
        revoked_meanwhile
    )
    .needs(NODES),
];

async fn batch(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    t.redis_line()?.cut();
    let events = json!([body_for(&alice, 1), body_for(&alice, 2), body_for(&bob, 1)]);
    in_time(t.control("POST", "/events/batch", &events)).await?.expect_status(503)?;
    t.redis_line()?.restore();
    readiness(&t, 200, Instant::now() + SOON).await?;
    t.emit_numbered(&alice, 3, 3).await?;
    t.emit_numbered(&bob, 2, 2).await?;
    finds(&t, &alice, [3]).await?;
    finds(&t, &bob, [2]).await.map(drop)
}

async fn server_pings(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.redis_line()?.cut();
    let every = device.wire().map_or(0, |wire| wire.handshake.ping_interval);
    let pings = || t.transcript().lines().iter().filter(|line| line.channel == "ws" && line.text == "2").count();
    let (before, deadline) = (pings(), Instant::now() + Duration::from_millis(every) + SOON);
    let mut poll = interval(POLL);
    while pings() == before {
        if Instant::now() > deadline {
            return Err(mismatch(format!("a ping of the server, one every {every} ms"), "none"));
        }
        poll.tick().await;
    }
    answered_live(&t, &alice, &mut device, 1).await
}

async fn answered_live(t: &Bench, user: &User, device: &mut Client, n: usize) -> Outcome {
    t.emit_numbered(user, n, n).await?;
    receives(device, [n]).await
}

/// The event is accepted, at one of as many tries as it takes, by `deadline`.
async fn accepted(t: &Bench, user: &User, n: usize, deadline: Instant) -> Outcome {
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        match t.emit(&t.numbered(user, n)).await {
            Err(Fault::Mismatch { .. }) if Instant::now() < deadline => {}
            Ok(()) if Instant::now() > deadline => return Err(mismatch("an event accepted in time", "it was late")),
            outcome => return outcome,
        }
    }
}

async fn half_open(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.emit_numbered(&bob, 1, 1).await?;
    t.redis_line()?.strand();
    let stranded = Instant::now();
    answered_live(&t, &alice, &mut device, 1).await?;
    accepted(&t, &bob, 2, stranded + SOON).await?;
    readiness(&t, 200, stranded + SOON).await?;
    answered_live(&t, &alice, &mut device, 2).await?;
    // What was tried on the dead connection has gone nowhere.
    finds(&t, &bob, 1..=2).await.map(drop)
}

async fn both_nodes(t: Bench, restart: bool) -> Outcome {
    let (redis, a, b) = nodes_on(&t, true).await?;
    let (alice, bob, carol) = (a.user().await?, a.user().await?, a.user().await?);
    let mut alices = a.connect_raw(&alice, Transport::WebSocket).await?;
    let mut bobs = b.connect_raw(&bob, Transport::WebSocket).await?;
    let mut carols =
        [a.connect_raw(&carol, Transport::WebSocket).await?, b.connect_raw(&carol, Transport::WebSocket).await?];
    if restart {
        redis.halt().await.map_err(|error| no_redis(&error))?;
        answered_live(&a, &alice, &mut alices, 1).await?;
        answered_live(&b, &bob, &mut bobs, 1).await?;
        redis.begin().await.map_err(|error| no_redis(&error))?;
    } else {
        redis.drop_clients().await.map_err(|error| no_redis(&error))?;
        answered_live(&a, &alice, &mut alices, 1).await?;
        answered_live(&b, &bob, &mut bobs, 1).await?;
    }
    let deadline = Instant::now() + SOON;
    readiness(&a, 200, deadline).await?;
    readiness(&b, 200, deadline).await?;
    // Across the nodes, both ways, on the connections of before.
    accepted(&b, &alice, 2, deadline).await?;
    accepted(&a, &bob, 2, deadline).await?;
    accepted(&a, &carol, 1, deadline).await?;
    accepted(&b, &carol, 2, deadline).await?;
    receives(&mut alices, [2]).await?;
    receives(&mut bobs, [2]).await?;
    for device in &mut carols {
        receives(device, 1..=2).await?;
        device.expect_silence(QUIET / 2).await?;
    }
    alices.expect_silence(QUIET / 2).await?;
    bobs.expect_silence(QUIET / 2).await
}

async fn kept(t: Bench) -> Outcome {
    let redis = t.own_redis(true).await?;
    let t = t.own_server_on(&redis).await?;
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 3).await?;
    redis.halt().await.map_err(|error| no_redis(&error))?;
    answered(&t, &alice, 100, 503).await?;
    redis.begin().await.map_err(|error| no_redis(&error))?;
    readiness(&t, 200, Instant::now() + SOON).await?;
    t.emit_numbered(&alice, 4, 5).await?;
    let mut device = finds(&t, &alice, 1..=5).await?;
    answered_live(&t, &alice, &mut device, 6).await?;
    device.expect_silence(QUIET).await
}

/// Each event is tried once. What was refused may be there all the same, for the line may have broken under the answer.
async fn flapping(t: Bench) -> Outcome {
    const ALL: usize = 45;
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let line = t.redis_line()?;
    let mut accepted = Vec::new();
    for n in 1..=ALL {
        if n % 5 == 0 {
            line.cut();
            line.restore();
        }
        match t.emit(&t.numbered(&alice, n)).await {
            Ok(()) => accepted.push(n as u64),
            Err(Fault::Mismatch { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    if accepted.is_empty() {
        return Err(inconclusive("nothing was accepted between two breaks"));
    }
    self::accepted(&t, &alice, ALL + 1, Instant::now() + SOON).await?;
    let found = numbers(&t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?);
    let lost: Vec<_> = accepted.iter().filter(|n| !found.contains(n)).collect();
    expect::that(lost.is_empty(), "every event that was accepted", format!("{lost:?} missing in {found:?}"))?;
    expect::that(found.is_sorted_by(|a, b| a < b), "in order, and nothing twice", format!("{found:?}"))
}

async fn with_nothing(t: Bench, acknowledging: bool) -> Outcome {
    let redis = t.own_redis(false).await?;
    let t = t.own_server_on(&redis).await?;
    let alice = t.user().await?;
    let mut device = acks::connect(&t, &alice, t.opening(Transport::WebSocket), acknowledging).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    acks::takes(&mut device, 1..=1).await?;
    redis.halt().await.map_err(|error| no_redis(&error))?;
    redis.begin().await.map_err(|error| no_redis(&error))?;
    readiness(&t, 200, Instant::now() + SOON).await?;
    t.emit_numbered(&alice, 2, 3).await?;
    acks::takes(&mut device, 2..=3).await?;
    let bob = t.user().await?;
    t.emit_numbered(&bob, 1, 2).await?;
    match acknowledging {
        true => drop(acks::queue(&mut acks::join(&t, &bob).await?, 1..=2).await?),
        false => drop(finds(&t, &bob, 1..=2).await?),
    }
    device.expect_silence(WATCHED).await?;
    acks::settle(&mut device).await
}

/// A server that was told of a change is about to look at the session, and finds a store that knows of none.
async fn prolonged(t: Bench) -> Outcome {
    let redis = t.own_redis(false).await?;
    let t = t.own_server_on(&redis).await?;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let prolonging = async { while t.open_session(&alice, None).await.is_ok() {} };
    let (halted, ()) = tokio::join!(redis.halt(), prolonging);
    halted.map_err(|error| no_redis(&error))?;
    redis.begin().await.map_err(|error| no_redis(&error))?;
    readiness(&t, 200, Instant::now() + SOON).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    exactly(&read_until(&mut device, 1).await?, [1])?;
    device.expect_silence(WATCHED).await
}

async fn slow(t: Bench, slow_down: fn(&crate::proxy::Proxy)) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    slow_down(t.redis_line()?);
    t.emit_numbered(&alice, 1, 3).await?;
    let (device, emitted) = tokio::join!(t.connect_raw(&alice, Transport::WebSocket), t.emit_numbered(&alice, 4, 8));
    emitted?;
    let mut device = device?;
    exactly(&read_until(&mut device, 8).await?, 1..=8)?;
    let (left, emitted) = tokio::join!(device.leave(), t.emit_numbered(&alice, 9, 10));
    left?;
    emitted?;
    let mut seen = read_until(&mut device, u64::MAX).await?;
    t.emit_numbered(&alice, 11, 11).await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    seen.extend(read_until(&mut device, 11).await?);
    exactly(&seen, 9..=11)
}

async fn revocation(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.redis_line()?.cut();
    let path = format!("/sessions/{}", alice.session);
    t.control("DELETE", &path, &Value::Null).await?.expect_status(503)?;
    t.redis_line()?.restore();
    readiness(&t, 200, Instant::now() + SOON).await?;
    t.revoke_session(&alice.session).await?;
    device.expect_closed(AFTER_REVOCATION).await?;
    let auth = json!({"token": t.token(&alice).await?});
    t.attempt_raw(t.opening(Transport::WebSocket), Some(auth)).await?.expect_refused().await.map(drop)
}

async fn idempotency(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let key = t.random(24);
    let headers = [("idempotency-key", &*key)];
    let body = body_for(&alice, 1).to_string();
    t.redis_line()?.cut();
    t.control_text("POST", "/events", &headers, body.clone()).await?.expect_status(503)?;
    device.expect_silence(QUIET).await?;
    t.redis_line()?.restore();
    readiness(&t, 200, Instant::now() + SOON).await?;
    let first = t.control_text("POST", "/events", &headers, body.clone()).await?;
    first.expect_status(202)?;
    let again = t.control_text("POST", "/events", &headers, body).await?;
    expect::equal("the same answer", &first.json(), &again.json())?;
    receives(&mut device, [1]).await?;
    device.expect_silence(QUIET).await
}

async fn keyed_and_connected(t: Bench) -> Outcome {
    let outage = Outage::prepare(&t, Away::Replica).await?;
    let t = &outage.server;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let keys = [t.random(24), t.random(24)];
    let requests = [
        ("/events", &*keys[0], body_for(&alice, 1).to_string()),
        ("/events/batch", &*keys[1], json!([body_for(&alice, 2), body_for(&alice, 3)]).to_string()),
    ];
    outage.begins().await?;
    for (path, key, body) in &requests {
        in_time(t.control_text("POST", path, &[("idempotency-key", key)], body.clone())).await?.expect_status(503)?;
    }
    // Without a key it is delivered, and nothing was before it.
    answered_live(t, &alice, &mut device, 4).await?;
    outage.ends().await?;
    readiness(t, 200, Instant::now() + SOON).await?;
    for (path, key, body) in &requests {
        for _ in 0..2 {
            let again = t.control_text("POST", path, &[("idempotency-key", key)], body.clone()).await?;
            again.expect_status(202)?;
        }
    }
    receives(&mut device, 1..=3).await?;
    device.expect_silence(QUIET).await
}

async fn cut_off(t: Bench, how_long: Duration) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let (alice, bob) = (a.user().await?, a.user().await?);
    let mut device = b.connect_raw(&alice, Transport::WebSocket).await?;
    b.redis_line()?.cut();
    let began = Instant::now();
    a.emit_numbered(&alice, 1, 3).await?;
    // The node that reaches the store goes on as ever, and only the other says that it cannot.
    a.emit_numbered(&bob, 1, 1).await?;
    readiness(&b, 503, began + 2 * SOON).await?;
    readiness(&a, 200, Instant::now() + SOON).await?;
    // The passing of time is what is tested here.
    sleep_until(began + how_long).await;
    a.emit_numbered(&alice, 4, 4).await?;
    b.redis_line()?.restore();
    caught_up(&a, &b, &alice, &mut device, Instant::now() + SOON).await?;
    finds(&b, &bob, [1]).await.map(drop)
}

/// Four events are there by `deadline`, and from then on it is a node like any other.
async fn caught_up(a: &Bench, b: &Bench, user: &User, device: &mut Client, deadline: Instant) -> Outcome {
    exactly(&read_until(device, 4).await?, 1..=4)?;
    expect::that(Instant::now() < deadline, "all of them in time", "they were late")?;
    readiness(b, 200, deadline).await?;
    a.emit_numbered(user, 5, 5).await?;
    b.emit_numbered(user, 6, 6).await?;
    receives(device, 5..=6).await?;
    device.expect_silence(QUIET).await
}

async fn taken_elsewhere(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut at_b = b.connect_raw(&alice, Transport::WebSocket).await?;
    let mut at_a = a.connect_raw(&alice, Transport::WebSocket).await?;
    b.redis_line()?.cut();
    a.emit_numbered(&alice, 1, 3).await?;
    receives(&mut at_a, 1..=3).await?;
    // For this one, too, they are delivered; but not yet for everybody.
    let mut another = a.connect_raw(&alice, Transport::WebSocket).await?;
    a.emit_numbered(&alice, 4, 4).await?;
    receives(&mut at_a, [4]).await?;
    read_until(&mut another, 4).await?;
    b.redis_line()?.restore();
    caught_up(&a, &b, &alice, &mut at_b, Instant::now() + SOON).await?;
    receives(&mut at_a, 5..=6).await?;
    at_a.expect_silence(QUIET / 2).await
}

async fn half_open_node(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut device = b.connect_raw(&alice, Transport::WebSocket).await?;
    b.redis_line()?.strand();
    let stranded = Instant::now();
    a.emit_numbered(&alice, 1, 4).await?;
    caught_up(&a, &b, &alice, &mut device, stranded + 2 * SOON).await
}

async fn revoked_meanwhile(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let other = a.user_named(&alice.id).await?;
    let mut device = b.connect_raw(&alice, Transport::WebSocket).await?;
    let mut stays = b.connect_raw(&other, Transport::WebSocket).await?;
    b.redis_line()?.cut();
    readiness(&b, 503, Instant::now() + SOON).await?;
    a.revoke_session(&alice.session).await?;
    b.redis_line()?.restore();
    device.expect_closed(SOON).await?;
    readiness(&b, 200, Instant::now() + SOON).await?;
    a.emit_numbered(&alice, 1, 1).await?;
    receives(&mut stays, [1]).await
}
