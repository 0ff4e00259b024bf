//! SPEC 11: clients that do not read. Those that read slowly are in `pace`.
//!
//! Such a client stands behind a line that carries nothing: the kernel takes what it takes on its behalf, and then the server has to do
//! something.

use std::time::Duration;

use serde_json::json;

use super::kit::{
    acks,
    control::body_for,
    numbers::{numbers, payloads},
    slow::{big, stalled, stalled_narrowly, until_one_waits},
};
use crate::{
    bench::{Bench, Heart, User},
    case::{Case, Need},
    client::{Arrival, Client, Transport},
    expect::{self, Outcome, mismatch},
};

/// The heartbeat of the cases that wait for a close, in seconds.
const INTERVAL: u64 = 2;
const TIMEOUT: u64 = 3;
/// What SLOW-01 allows beyond the announced times.
const TOLERANCE: Duration = Duration::from_secs(2);
/// What takes longer than this is held up.
const HELD_UP: Duration = Duration::from_secs(5);
/// The cap of the contract.
const CAP: u64 = 50;

const CONTROL: &[Need] = &[Need::Capability("control")];

pub(super) const CASES: &[Case] = &[
    over!(
        WebSocket,
        "SLOW-01/websocket",
        "a WebSocket client that does not read is closed, and its events are kept",
        closed
    )
    .needs(CONTROL)
    .also(&["SLOW-02"]),
    over!(Polling, "SLOW-01/polling", "a polling client that does not poll is closed, and its events are kept", closed)
        .needs(&[Need::Capability("control"), Need::Capability("polling")])
        .also(&["SLOW-02"]),
    case!("SLOW-03/acknowledging", "one that acknowledges is told what it has missed for good", acknowledging)
        .needs(&[Need::Capability("control"), Need::Capability("ack")]),
    case!("SLOW-04/others", "a client that does not read holds up nobody else", others).needs(CONTROL),
    case!("SLOW-05/memory", "10,000 events for a client that does not read cost little memory", memory)
        .needs(&[Need::OwnServer, Need::Capability("control")]),
];

/// The numbers of what a client still reads once its line works again, up to the close.
async fn rest(mut device: Client) -> Outcome<Vec<u64>> {
    let mut seen = Vec::new();
    loop {
        match device.next(Duration::from_secs(10)).await {
            Some(Arrival::Event { args, .. }) => seen.extend(numbers(&args)),
            Some(Arrival::Closed(_)) => return Ok(seen),
            Some(_) => {}
            None => return Err(mismatch("the connection closed", format!("it is open, after {} events", seen.len()))),
        }
    }
}

/// The time is over by which a client that takes nothing is closed. There is nothing to be seen of the close: the line is dead.
async fn closed_by_now(heart: Heart) {
    tokio::time::sleep(heart.whole() + TOLERANCE).await;
}

async fn closed(t: Bench, transport: Transport) -> Outcome {
    let (t, heart) = t.with_heart(INTERVAL, TIMEOUT).await?;
    let alice = t.user().await?;
    let (device, line) = stalled_narrowly(&t, &alice, transport, false).await?;
    let waits = until_one_waits(&t, &alice, 0).await?;
    // Small ones, that more than one waits whatever the bound.
    t.emit_numbered(&alice, waits + 1, waits + 2).await?;
    let last = waits as u64 + 2;
    closed_by_now(heart).await;
    line.restore();
    let read = rest(device).await?;
    let mut next = t.connect_raw(&alice, Transport::WebSocket).await?;
    let queued = numbers(&next.expect_queued().await?);
    let newest = queued.windows(2).all(|pair| pair[1] == pair[0] + 1) && queued.last() == Some(&last);
    let told = format!("the newest events, three or more, in order, up to {last}");
    expect::that(newest && queued.len() >= 3, told, format!("{queued:?}"))?;
    let doubled = read.iter().any(|n| queued.contains(n));
    expect::that(!doubled, "nothing twice", format!("{read:?} on the old connection and {queued:?} on the new"))
}

async fn acknowledging(t: Bench) -> Outcome {
    let (t, heart) = t.with_heart(INTERVAL, TIMEOUT).await?;
    let alice = t.user().await?;
    let (_device, _line) = stalled_narrowly(&t, &alice, Transport::WebSocket, true).await?;
    let last = until_one_waits(&t, &alice, usize::try_from(CAP).unwrap_or(0) + 10).await? as u64;
    closed_by_now(heart).await;
    let mut next = acks::join(&t, &alice).await?;
    let delivery = next.expect_delivery("queued.events").await?;
    let queued = numbers(payloads("queued.events", &delivery.args));
    let kept = last.min(CAP);
    expect::equal("the newest events", &json!((last - kept + 1..=last).collect::<Vec<_>>()), &json!(queued))?;
    let told = json!({"complete": last == kept, "dropped": last - kept});
    expect::equal("the second argument", &told, delivery.args.get(1).unwrap_or(&json!(null)))
}

async fn others(t: Bench) -> Outcome {
    let (alice, bob, carol) = (t.user().await?, t.user().await?, t.user().await?);
    let (_device, _line) = stalled(&t, &alice, Transport::WebSocket).await?;
    // Her only device, for which events wait already.
    let (_only, _line) = stalled_narrowly(&t, &carol, Transport::WebSocket, false).await?;
    let waits = until_one_waits(&t, &carol, 0).await?;
    let mut second = t.connect_raw(&alice, Transport::WebSocket).await?;
    let mut bobs = t.connect_raw(&bob, Transport::WebSocket).await?;
    let alices = async {
        for n in 1..=250 {
            in_time("the other device", t.emit(&big(&t, &alice, n)), &mut second, n).await?;
        }
        Ok(())
    };
    let everybody_else = async {
        for n in 1..=250 {
            in_time("the other user", t.emit(&t.numbered(&bob, n)), &mut bobs, n).await?;
        }
        Ok(())
    };
    let carols = async {
        for n in waits + 1.. {
            t.emit(&big(&t, &carol, n)).await?;
        }
        Ok(())
    };
    tokio::select! {
        done = async { tokio::try_join!(alices, everybody_else).map(drop) } => done,
        failed = carols => failed,
    }
}

/// Emitted and received, both within the time.
async fn in_time(who: &str, emit: impl Future<Output = Outcome>, device: &mut Client, n: usize) -> Outcome {
    let round = async {
        emit.await?;
        device.expect_event("record.accessed").await
    };
    let Ok(payload) = tokio::time::timeout(HELD_UP, round).await else {
        return Err(mismatch(format!("the event {n} of {who} within {HELD_UP:?}"), "it was held up"));
    };
    expect::equal(&format!("the event of {who}"), &json!([n]), &json!(numbers(&[payload?])))
}

async fn memory(t: Bench) -> Outcome {
    const LIMIT_KIB: u64 = 4 * 1024;
    let t = t.own_server(&[]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let batch = |user: &User, first: usize| {
        serde_json::Value::Array((first..first + 1_000).map(|n| body_for(user, n)).collect())
    };
    // The same work for a client that reads, so that what the server keeps for any such work is there before.
    let mut reader = t.connect_raw(&bob, Transport::WebSocket).await?;
    for first in (1..=10_000).step_by(1_000) {
        t.control("POST", "/events/batch", &batch(&bob, first)).await?.expect_status(202)?;
        for _ in 0..1_000 {
            reader.expect_event("record.accessed").await?;
        }
    }
    // Narrow, or the system would hold for it what the server would.
    let (_device, _line) = stalled_narrowly(&t, &alice, Transport::WebSocket, false).await?;
    let before = t.resident_kib().await?;
    for first in (1..=10_000).step_by(1_000) {
        t.control("POST", "/events/batch", &batch(&alice, first)).await?.expect_status(202)?;
    }
    // A garbage collector takes its time.
    const SETTLED_WITHIN: Duration = Duration::from_secs(10);
    let deadline = tokio::time::Instant::now() + SETTLED_WITHIN;
    let mut grown = t.resident_kib().await?.saturating_sub(before);
    while grown >= LIMIT_KIB && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(500)).await;
        grown = t.resident_kib().await?.saturating_sub(before).min(grown);
    }
    expect::that(
        grown < LIMIT_KIB,
        format!("less than {LIMIT_KIB} KiB more"),
        format!("{grown} KiB more than {before}"),
    )
}
