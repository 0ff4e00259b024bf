//! SPEC 14: a node that is killed, stands still or ends, and what the other one makes of it.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::kit::{
    QUIET, acks,
    control::body_for,
    numbers::{exactly, read_until, receives},
    queue::{finds, finds_nothing},
    server::readiness,
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::Transport,
    expect::{self, Outcome, inconclusive, mismatch},
};

/// How long a killed node's clients may count as connected.
const FALSE_PRESENCE: Duration = Duration::from_secs(15);
/// How long a node that does not answer may hold up another.
const HELD_UP: Duration = Duration::from_secs(5);
/// A short time to stand still, and one after which nobody waits for the node any more.
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(16);
/// How long a key may be held that a killed node was at work on.
const LET_GO: Duration = Duration::from_secs(20);
/// How long a process may take to end.
const END: Duration = Duration::from_secs(10);

const OWN: &[Need] = &[Need::OwnServer];
const READY: &[Need] = &[Need::OwnServer, Need::Capability("control"), Need::Capability("config")];
const CONTROL: &[Need] = &[Need::OwnServer, Need::Capability("control")];

pub(super) const CASES: &[Case] = &[
    case!("CLUSTER-11/killed", "a killed node's clients count as away in time, and nothing is lost", killed)
        .needs(OWN)
        .also(&["CLUSTER-12"]),
    case!("CLUSTER-12/at-once", "who goes to the other node at once has everything, in order", moves_at_once(false))
        .needs(OWN),
    case!(
        "CLUSTER-12/acknowledging",
        "so has a client that acknowledges, what it had not acknowledged included",
        moves_at_once(true)
    )
    .needs(&[Need::OwnServer, Need::Capability("ack")]),
    case!("CLUSTER-12/comes-back", "a killed node that is started again serves its users as before", comes_back)
        .needs(OWN),
    case!("CLUSTER-13/short", "a node that stands still for a moment loses and doubles nothing", stands_still(SHORT))
        .needs(READY),
    case!("CLUSTER-13/long", "nor does one that stood still until nobody counted on it", stands_still(LONG))
        .needs(READY),
    case!("CLUSTER-13/moved-away", "who left a node that stands still finds everything at the other", moved_away)
        .needs(OWN),
    case!("CLUSTER-19/killed", "a key that a node died with is free for the other in time", killed_at_work)
        .needs(CONTROL),
    case!("CLUSTER-14/others", "a node that stands still holds up nobody at the other", others).needs(CONTROL),
    case!("CLUSTER-15/ended", "an ended node leaves no presence, and nothing is lost", ended).needs(OWN),
];

async fn killed(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut device = b.connect_raw(&alice, Transport::WebSocket).await?;
    a.emit_numbered(&alice, 1, 1).await?;
    receives(&mut device, [1]).await?;
    noted(&a, &alice).await?;
    b.kill().await?;
    let when = Instant::now();
    a.emit_numbered(&alice, 2, 4).await?;
    // The passing of time is what is tested here.
    sleep_until(when + FALSE_PRESENCE).await;
    let began = Instant::now();
    let answer = a.control("POST", "/events", &body_for(&alice, 5)).await?;
    answer.expect_status(202)?;
    expect::equal("the delivery", &json!("queued"), &answer.json()["delivery"])?;
    // Nobody is waited for any more.
    expect::that(began.elapsed() < HELD_UP / 5, "an answer at once", format!("{:?}", began.elapsed()))?;
    finds(&a, &alice, 2..=5).await.map(drop)
}

/// Completes when what a plain client has received at one node counts as delivered: one that connects to another is not given it.
/// A node that is killed before cannot have told.
async fn noted(t: &Bench, user: &User) -> Outcome {
    finds_nothing(t, user).await?.disconnect().await;
    Ok(())
}

async fn moves_at_once(t: Bench, acknowledging: bool) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut device = acks::connect(&b, &alice, b.opening(Transport::WebSocket), acknowledging).await?;
    a.emit_numbered(&alice, 1, 2).await?;
    exactly(&read_until(&mut device, 2).await?, 1..=2)?;
    if !acknowledging {
        noted(&a, &alice).await?;
    }
    b.kill().await?;
    a.emit_numbered(&alice, 3, 6).await?;
    let mut device = acks::connect(&a, &alice, a.opening(Transport::WebSocket), acknowledging).await?;
    a.emit_numbered(&alice, 7, 9).await?;
    // What was not acknowledged comes again; what a plain client was handed does not.
    let first = if acknowledging { 1 } else { 3 };
    exactly(&read_until(&mut device, 9).await?, first..=9)?;
    device.expect_silence(QUIET).await
}

async fn comes_back(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let device = b.connect_raw(&alice, Transport::WebSocket).await?;
    b.kill().await?;
    drop(device);
    a.emit_numbered(&alice, 1, 3).await?;
    b.boot().await?;
    let mut device = b.connect_raw(&alice, Transport::WebSocket).await?;
    a.emit_numbered(&alice, 4, 5).await?;
    b.emit_numbered(&alice, 6, 6).await?;
    exactly(&read_until(&mut device, 6).await?, 1..=6)?;
    device.expect_silence(QUIET).await
}

async fn stands_still(t: Bench, how_long: Duration) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let (alice, bob) = (a.user().await?, a.user().await?);
    let mut at_b = b.connect_raw(&alice, Transport::WebSocket).await?;
    let (mut bob_at_a, mut bob_at_b) =
        (a.connect_raw(&bob, Transport::WebSocket).await?, b.connect_raw(&bob, Transport::WebSocket).await?);
    // One that stands still in the middle of letting somebody in may find the time for that gone by.
    a.emit_numbered(&alice, 1, 1).await?;
    a.emit_numbered(&bob, 1, 1).await?;
    receives(&mut at_b, [1]).await?;
    receives(&mut bob_at_a, [1]).await?;
    receives(&mut bob_at_b, [1]).await?;
    b.pause().await?;
    let began = Instant::now();
    a.emit_numbered(&alice, 2, 4).await?;
    a.emit_numbered(&bob, 2, 3).await?;
    receives(&mut bob_at_a, 2..=3).await?;
    // The passing of time is what is tested here.
    sleep_until(began + how_long).await;
    b.resume().await?;
    exactly(&read_until(&mut at_b, 4).await?, 2..=4)?;
    exactly(&read_until(&mut bob_at_b, 3).await?, 2..=3)?;
    // It is a node like any other again, once the other counts on it and it says that it has caught up.
    let last = emit_until_live(&a, &alice, 5).await?;
    receives(&mut at_b, 5..=last).await?;
    readiness(&b, 200, Instant::now() + HELD_UP).await?;
    b.emit_numbered(&bob, 4, 5).await?;
    receives(&mut bob_at_b, 4..=5).await?;
    receives(&mut bob_at_a, 4..=5).await?;
    at_b.expect_silence(QUIET).await?;
    bob_at_b.expect_silence(QUIET).await
}

/// Emits events, numbered from `first` on, until one is answered with the delivery `live`; returns the number of that one.
async fn emit_until_live(t: &Bench, user: &User, first: usize) -> Outcome<usize> {
    let deadline = Instant::now() + HELD_UP;
    let mut n = first;
    // Not more than a queue holds.
    let mut pace = interval(HELD_UP / 25);
    loop {
        pace.tick().await;
        let answer = t.control("POST", "/events", &body_for(user, n)).await?;
        answer.expect_status(202)?;
        if answer.json()["delivery"] == "live" {
            return Ok(n);
        }
        expect::that(Instant::now() < deadline, "the user connected by then", answer.describe())?;
        n += 1;
    }
}

async fn moved_away(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let device = b.connect_raw(&alice, Transport::WebSocket).await?;
    b.pause().await?;
    drop(device);
    a.emit_numbered(&alice, 1, 3).await?;
    let mut device = a.connect_raw(&alice, Transport::WebSocket).await?;
    a.emit_numbered(&alice, 4, 5).await?;
    exactly(&read_until(&mut device, 5).await?, 1..=5)?;
    b.resume().await?;
    // Once the other has gone on, and has served somebody, nothing of it comes here.
    let bob = b.user().await?;
    b.connect_raw(&bob, Transport::WebSocket).await?;
    a.emit_numbered(&alice, 6, 6).await?;
    receives(&mut device, [6]).await?;
    device.expect_silence(QUIET).await?;
    device.disconnect().await;
    finds_nothing(&a, &alice).await.map(drop)
}

async fn others(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let (alice, bob) = (a.user().await?, a.user().await?);
    let mut alice_at_a = a.connect_raw(&alice, Transport::WebSocket).await?;
    let mut bob_at_a = a.connect_raw(&bob, Transport::WebSocket).await?;
    let _bob_at_b = b.connect_raw(&bob, Transport::WebSocket).await?;
    b.pause().await?;
    for n in 1..=3 {
        let began = Instant::now();
        a.emit_numbered(&alice, n, n).await?;
        receives(&mut alice_at_a, [n]).await?;
        expect::that(began.elapsed() < HELD_UP / 5, "a delivery at once", format!("after {:?}", began.elapsed()))?;
        let (answer, delivered) = tokio::join!(a.emit_numbered(&bob, n, n), async {
            let began = Instant::now();
            receives(&mut bob_at_a, [n]).await?;
            let took = began.elapsed();
            expect::that(
                took < HELD_UP / 5,
                "a delivery at once, though a device stands still",
                format!("after {took:?}"),
            )
        });
        answer?;
        delivered?;
        let took = began.elapsed();
        expect::that(took < HELD_UP, format!("an emission within {HELD_UP:?}"), format!("{took:?}"))?;
    }
    b.resume().await
}

/// What keeps the request at work is a device at a third node that stands still.
async fn killed_at_work(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let c = b.node_beside().await?;
    let alice = b.user().await?;
    let mut at_b = b.connect_raw(&alice, Transport::WebSocket).await?;
    let _at_c = c.connect_raw(&alice, Transport::WebSocket).await?;
    let key = b.random(24);
    let headers = [("idempotency-key", &*key)];
    let body = body_for(&alice, 1).to_string();
    c.pause().await?;
    let first = a.control_text("POST", "/events", &headers, body.clone());
    let killed = async {
        receives(&mut at_b, [1]).await?;
        a.kill().await
    };
    let (first, killed) = tokio::join!(first, killed);
    killed?;
    c.resume().await?;
    if let Ok(answer) = first {
        return Err(inconclusive(format!("the node had answered before it was killed: {}", answer.describe())));
    }
    let began = Instant::now();
    loop {
        let answer = b.control_text("POST", "/events", &headers, body.clone()).await?;
        let took = began.elapsed();
        if answer.status == 202 && took < LET_GO {
            return Ok(());
        }
        if took >= LET_GO {
            return Err(mismatch(format!("202 within {LET_GO:?}"), format!("{} after {took:?}", answer.describe())));
        }
        answer.expect_status(409)?;
        // It says itself when to come again.
        sleep(answer.retry_after().unwrap_or(Duration::from_secs(1))).await;
    }
}

async fn ended(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let (alice, bob) = (a.user().await?, a.user().await?);
    let device = b.connect_raw(&alice, Transport::WebSocket).await?;
    let mut bob_at_a = a.connect_raw(&bob, Transport::WebSocket).await?;
    let _bob_at_b = b.connect_raw(&bob, Transport::WebSocket).await?;
    b.terminate(END).await?;
    drop(device);
    let answer = a.control("POST", "/events", &body_for(&alice, 1)).await?;
    answer.expect_status(202)?;
    expect::equal("the delivery", &json!("queued"), &answer.json()["delivery"])?;
    a.emit_numbered(&bob, 1, 2).await?;
    receives(&mut bob_at_a, 1..=2).await?;
    bob_at_a.disconnect().await;
    finds(&a, &alice, [1]).await?;
    finds_nothing(&a, &bob).await.map(drop)
}
