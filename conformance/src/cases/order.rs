//! SPEC 10: once, and in the order of acceptance, whatever happens at the same time.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::kit::{
    acks,
    numbers::{exactly, numbered, numbers, read_until},
    slow::{fetches_one, sized},
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Arrival, Transport},
    expect::{self, Outcome, mismatch},
};

/// How often the cases try to hit the moment.
const ROUNDS: usize = 25;
/// How long one arrival may take.
const DUE: Duration = Duration::from_secs(5);

pub(super) const CASES: &[Case] = &[
    case!("ORDER-01/plain", "queued events come before live ones, on a plain device", queued_then_live(false)),
    case!(
        "ORDER-01/acknowledging",
        "queued events come before live ones, on one that acknowledges",
        queued_then_live(true)
    )
    .needs(&[Need::Capability("ack")]),
    case!(
        "ORDER-01/not-fetched",
        "what a plain device did not fetch comes before what was accepted for another since",
        not_fetched
    )
    .needs(&[Need::Capability("ack"), Need::Capability("polling")]),
    case!("ORDER-01/sizes-and-types", "large and small events of all types keep their order, live", sizes_and_types),
    case!("ORDER-02/connect", "an event that races with a connect arrives exactly once", racing_connect),
    case!("ORDER-03/disconnect", "an event that races with a disconnect arrives exactly once", racing_disconnect),
    case!("ORDER-04/cut", "a connection that breaks costs no event but what was on its way, and doubles none", cut)
        .needs(&[Need::Capability("control")]),
    case!("ORDER-05/two-emitters", "all devices see one order, and each emitter's own", two_emitters),
    case!(
        "ORDER-06/reconnecting",
        "with acknowledgements nothing is lost to a client that keeps going away",
        reconnecting
    )
    .needs(&[Need::Capability("ack")]),
];

async fn queued_then_live(t: Bench, acknowledging: bool) -> Outcome {
    for _ in 0..ROUNDS / 3 {
        let alice = t.user().await?;
        t.emit_numbered(&alice, 1, 5).await?;
        let connect = acks::connect(&t, &alice, t.opening(Transport::WebSocket), acknowledging);
        let (device, emitted) = tokio::join!(connect, t.emit_numbered(&alice, 6, 20));
        emitted?;
        exactly(&read_until(&mut device?, 20).await?, 1..=20)?;
    }
    Ok(())
}

async fn not_fetched(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut plain = fetches_one(&t, &alice).await?;
    t.emit_numbered(&alice, 2, 3).await?;
    let mut device = acks::join(&t, &alice).await?;
    t.emit_numbered(&alice, 4, 5).await?;
    exactly(&read_until(&mut device, 5).await?, 4..=5)?;
    plain.leave().await?;
    device.disconnect().await;
    let mut next = acks::join(&t, &alice).await?;
    exactly(&read_until(&mut next, 5).await?, 2..=5)
}

/// On several devices, and on the only one of a user.
async fn sizes_and_types(t: Bench) -> Outcome {
    const EVENTS: usize = 12;
    const TYPES: [&str; 4] = ["record.accessed", "access.granted", "access.revoked", "record.uploaded"];
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut devices = Vec::new();
    for transport in t.transports() {
        devices.push(t.connect_raw(&alice, transport).await?);
    }
    devices.push(t.connect_raw(&bob, Transport::WebSocket).await?);
    for n in 1..=EVENTS {
        // Each size comes with each type.
        let text = [10, 40_000, 2_000][n % 3];
        for user in [&alice, &bob] {
            t.emit(&sized(&t, user, n, text).of(TYPES[n % TYPES.len()])).await?;
        }
    }
    for device in &mut devices {
        exactly(&read_until(device, EVENTS as u64).await?, 1..=EVENTS as u64)?;
    }
    Ok(())
}

async fn racing_connect(t: Bench) -> Outcome {
    for _ in 0..ROUNDS {
        let alice = t.user().await?;
        let (device, emitted) =
            tokio::join!(t.connect_raw(&alice, Transport::WebSocket), t.emit_numbered(&alice, 1, 2));
        emitted?;
        let mut device = device?;
        t.emit_numbered(&alice, 3, 3).await?;
        exactly(&read_until(&mut device, 3).await?, 1..=3)?;
    }
    Ok(())
}

async fn racing_disconnect(t: Bench) -> Outcome {
    for _ in 0..ROUNDS {
        let alice = t.user().await?;
        let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
        // The server has just seen that somebody is there.
        t.emit_numbered(&alice, 1, 1).await?;
        let mut seen = read_until(&mut device, 1).await?;
        let (left, emitted) = tokio::join!(device.leave(), t.emit_numbered(&alice, 2, 3));
        left?;
        emitted?;
        // It reads what came before the close; the sentinel never comes to it.
        seen.extend(read_until(&mut device, u64::MAX).await?);
        t.emit_numbered(&alice, 4, 4).await?;
        let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
        seen.extend(read_until(&mut device, 4).await?);
        exactly(&seen, 1..=4)?;
    }
    Ok(())
}

async fn cut(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let line = t.line().await?;
    let auth = json!({"token": t.token(&alice).await?});
    let mut device = t.attempt_raw(t.opening_over(&line, Transport::WebSocket), Some(auth)).await?;
    device.expect_accepted().await?;
    let cut = async {
        let read = read_until(&mut device, 10).await;
        line.cut();
        read
    };
    let (read, emitted) = tokio::join!(cut, t.emit_numbered(&alice, 1, 30));
    emitted?;
    let read = read?;
    exactly(&read, 1..=10)?;
    let last = t.emit_until_away(&alice, 31, DUE).await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let last = last as u64;
    let queued = read_until(&mut device, last).await?;
    let contiguous = queued.windows(2).all(|pair| pair[1] == pair[0] + 1);
    let after = queued.first().is_some_and(|first| *first > 10) && queued.last() == Some(&last);
    expect::that(
        contiguous && after,
        format!("all from some event after 10 to {last}, in order"),
        format!("{queued:?}"),
    )
}

async fn two_emitters(t: Bench) -> Outcome {
    const EACH: usize = 20;
    let alice = t.user().await?;
    let mut one = t.connect_raw(&alice, Transport::WebSocket).await?;
    let mut other = t.connect_raw(&alice, Transport::WebSocket).await?;
    let (left, right) = tokio::join!(t.emit_numbered(&alice, 1, EACH), t.emit_numbered(&alice, 101, 100 + EACH));
    left?;
    right?;
    t.emit_numbered(&alice, 999, 999).await?;
    let (one, other) = (read_until(&mut one, 999).await?, read_until(&mut other, 999).await?);
    expect::equal("the same order as on the first device", &json!(one), &json!(other))?;
    let of = |range: std::ops::RangeInclusive<u64>| {
        one.iter().copied().filter(move |n| range.contains(n)).collect::<Vec<_>>()
    };
    exactly(&of(1..=100), 1..=EACH as u64)?;
    exactly(&of(101..=200), 101..=100 + EACH as u64)
}

/// Takes a few events at a time, acknowledges them, and is gone without a word.
async fn reconnecting(t: Bench) -> Outcome {
    const ALL: usize = 40;
    let alice = t.user().await?;
    let (taken, emitted) = tokio::join!(take(&t, &alice, ALL), t.emit_numbered(&alice, 1, ALL));
    emitted?;
    let mut ids = std::collections::BTreeMap::new();
    let mut first_seen = Vec::new();
    for payload in taken? {
        let n = numbers(std::slice::from_ref(&payload))[0];
        let id = payload["eventId"].clone();
        match ids.get(&n) {
            None => first_seen.push(json!(n)),
            Some(first) => expect::equal(&format!("the eventId of the duplicate of {n}:"), first, &id)?,
        }
        ids.insert(n, id);
    }
    let first_seen: Vec<_> = first_seen.into_iter().map(|n| json!({"metadata": {"n": n}})).collect();
    numbered(&first_seen, 1..=ALL)
}

async fn take(t: &Bench, user: &User, all: usize) -> Outcome<Vec<Value>> {
    let mut taken: Vec<Value> = Vec::new();
    let deadline = Instant::now() + 6 * DUE;
    while !taken.iter().any(|payload| payload["metadata"]["n"] == all) {
        let mut device = acks::join(t, user).await?;
        for _ in 0..3 {
            let Ok(Some(arrival)) = timeout(DUE, device.next(Duration::from_millis(300))).await else { break };
            let Arrival::Event { name, args, ack } = arrival else {
                return Err(mismatch("an event", format!("{arrival:?}")));
            };
            taken.extend(match name.as_str() {
                "queued.events" => args[0].as_array().cloned().unwrap_or_default(),
                _ => args.clone(),
            });
            device.acknowledge(&crate::client::Delivery { args, ack }, vec![]).await?;
        }
        if Instant::now() > deadline {
            return Err(mismatch(format!("all {all} events in time"), format!("{:?}", numbers(&taken))));
        }
    }
    Ok(taken)
}
