//! SPEC 15: a store that is away in each of the ways in which it can be, and what one node does meanwhile and after.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::kit::{
    QUIET, acks,
    control::body_for,
    numbers::{numbered, numbers, payloads, receives},
    outage::{Away, Outage, SOON, answered, in_time},
    server::readiness,
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::Transport,
    expect::{self, Outcome},
};

const ALL: &[&str] = &["FAIL-02", "FAIL-03", "FAIL-04", "FAIL-05", "FAIL-06", "FAIL-07", "FAIL-08"];
const NEEDS: &[Need] = &[Need::OwnServer, Need::Capability("control"), Need::Capability("config")];
const ACK: &[Need] = &[Need::OwnServer, Need::Capability("ack")];

pub(super) const CASES: &[Case] = &[
    case!("FAIL-01/ended", "the server outlives a store that ends and starts again", outlived(Away::Ended))
        .needs(NEEDS)
        .also(ALL),
    case!("FAIL-01/standing-still", "… one that stands still", outlived(Away::StandingStill)).needs(NEEDS).also(ALL),
    case!("FAIL-01/cut-off", "… one that cannot be reached", outlived(Away::CutOff)).needs(NEEDS).also(ALL),
    case!("FAIL-01/silent", "… one of which nothing is heard", outlived(Away::Silent)).needs(NEEDS).also(ALL),
    case!("FAIL-01/replica", "… one that has become a replica", outlived(Away::Replica)).needs(NEEDS).also(ALL),
    case!("FAIL-01/full", "… one that is full", outlived(Away::Full)).needs(NEEDS).also(ALL),
    case!(
        "FAIL-17/evicting",
        "… one that would make room by throwing away what it was given",
        outlived(Away::Evicting)
    )
    .needs(NEEDS)
    .also(ALL),
    case!(
        "FAIL-03/ended",
        "what a client that acknowledges cannot be promised is not delivered to it",
        not_half_done(Away::Ended)
    )
    .needs(ACK),
    case!("FAIL-03/standing-still", "nor when a store that stood still goes on", not_half_done(Away::StandingStill))
        .needs(ACK),
    case!("FAIL-03/replica", "nor where the store has become a replica", not_half_done(Away::Replica)).needs(ACK),
    case!("FAIL-11/cut-off", "acknowledgements that cannot be stored cost nothing", acknowledging(Away::CutOff))
        .needs(OWN),
    case!("FAIL-11/replica", "nor do those that the store refuses", acknowledging(Away::Replica)).needs(OWN),
];

const OWN: &[Need] = &[Need::OwnServer];

/// How long the store stays away once the server has noticed.
const LASTS: Duration = Duration::from_secs(3);

/// Whether the event was stored: a full store may have found a place for it.
async fn refused_or_stored(t: &Bench, user: &User, n: usize, away: Away) -> Outcome<bool> {
    let answer = in_time(t.control("POST", "/events", &body_for(user, n))).await?;
    if away == Away::Full && answer.status == 202 {
        return Ok(true);
    }
    answer.expect_status(503)?;
    Ok(false)
}

async fn outlived(t: Bench, away: Away) -> Outcome {
    let outage = Outage::prepare(&t, away).await?;
    let t = &outage.server;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    t.emit_numbered(&bob, 1, 2).await?;
    receives(&mut device, [1]).await?;
    outage.begins().await?;
    let began = Instant::now();
    for n in 2..=4 {
        answered(t, &alice, n, 202).await?;
        receives(&mut device, [n]).await?;
    }
    readiness(t, 503, began + SOON).await?;
    // Who sends its clients away may do so only when it has looked again, or when something of its own has run out.
    device.expect_silence(LASTS).await?;
    let stored = refused_or_stored(t, &bob, 3, away).await?;
    t.http("GET", "/healthz", &[], None::<String>).await?.expect_status(200)?;
    answered(t, &alice, 5, 202).await?;
    receives(&mut device, [5]).await?;
    expect::equal("the answer to ping:", &json!(["pong"]), &Value::Array(device.call("ping", vec![]).await?))?;
    outage.ends().await?;
    readiness(t, 200, Instant::now() + SOON).await?;
    answered(t, &bob, 4, 202).await?;
    answered(t, &alice, 6, 202).await?;
    receives(&mut device, [6]).await?;
    let queued = t.connect_raw(&bob, Transport::WebSocket).await?.expect_queued().await?;
    match stored {
        true => numbered(&queued, 1..=4)?,
        false => numbered(&queued, [1, 2, 4])?,
    }
    // The same connection all the time, and to it nothing comes twice.
    device.expect_silence(QUIET).await
}

async fn not_half_done(t: Bench, away: Away) -> Outcome {
    let outage = Outage::prepare(&t, away).await?;
    let t = &outage.server;
    let alice = t.user().await?;
    let mut device = acks::join(t, &alice).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    acks::live_event(&mut device, 1).await?;
    outage.begins().await?;
    for n in 2..=3 {
        answered(t, &alice, n, 503).await?;
    }
    device.expect_silence(QUIET).await?;
    outage.ends().await?;
    readiness(t, 200, Instant::now() + SOON).await?;
    t.emit_numbered(&alice, 4, 4).await?;
    acks::live_event(&mut device, 4).await?;
    device.disconnect().await;
    acks::queue(&mut acks::join(t, &alice).await?, [1, 4]).await.map(drop)
}

async fn acknowledging(t: Bench, away: Away) -> Outcome {
    let outage = Outage::prepare(&t, away).await?;
    let t = &outage.server;
    let alice = t.user().await?;
    let mut device = acks::join(t, &alice).await?;
    t.emit_numbered(&alice, 1, 3).await?;
    let mut events = Vec::new();
    for n in 1..=3 {
        events.push(acks::live_event(&mut device, n).await?);
    }
    outage.begins().await?;
    for event in &events[..2] {
        device.acknowledge(event, vec![]).await?;
    }
    acks::settle(&mut device).await?;
    device.expect_silence(QUIET).await?;
    outage.ends().await?;
    readiness(t, 200, Instant::now() + SOON).await?;
    t.emit_numbered(&alice, 4, 4).await?;
    acks::live_event(&mut device, 4).await?;
    device.disconnect().await;
    let again = acks::join(t, &alice).await?.expect_delivery("queued.events").await?;
    let found = numbers(payloads("queued.events", &again.args));
    let told = "3 and 4 at the end, in order, and nothing twice";
    expect::that(found.ends_with(&[3, 4]) && found.is_sorted_by(|a, b| a < b), told, format!("{found:?}"))
}
