//! SPEC 14: two nodes that both go on. What happens when one does not is in [`super::nodes`].

use std::time::Duration;

use serde_json::json;

use super::kit::{
    QUIET, acks,
    control::{accepted, body_for, mixed, one_answer, until_accepted},
    numbers::{exactly, numbered, numbers, read_until, receives},
    queue::{finds, finds_nothing},
    slow::{self, fetches_one},
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Client, Transport},
    expect::{self, Outcome},
};

/// How often the cases try to hit the moment.
const ROUNDS: usize = 15;
/// How long a connection may live after its revocation.
const AFTER_REVOCATION: Duration = Duration::from_secs(2);
/// How soon somebody who left counts as away.
const AWAY_BY: Duration = Duration::from_secs(5);

const OWN: &[Need] = &[Need::OwnServer];
const POLLING: &[Need] = &[Need::OwnServer, Need::Capability("polling")];
const CONTROL: &[Need] = &[Need::OwnServer, Need::Capability("control")];

pub(super) const CASES: &[Case] = &[
    over!(WebSocket, "CLUSTER-01/other-node", "an event reaches a device at another node", other_node).needs(OWN),
    over!(Polling, "CLUSTER-01/polling", "so it does over polling", other_node).needs(POLLING),
    case!("CLUSTER-01/every-device", "every device of the user, at both nodes, receives every event", every_device)
        .needs(OWN),
    case!(
        "CLUSTER-02/delivered-elsewhere",
        "what was delivered at one node is not queued at the other",
        delivered_elsewhere
    )
    .needs(OWN),
    case!(
        "CLUSTER-02/last-one-leaves",
        "where the last device leaves, at whichever node, events are queued",
        last_one_leaves
    )
    .needs(CONTROL),
    case!("CLUSTER-03/drains", "what was queued at one node drains at the other, once", drains).needs(OWN),
    case!(
        "CLUSTER-03/at-once",
        "of two devices that connect to both nodes at once, one is handed the queue",
        drains_at_once
    )
    .needs(OWN),
    case!("CLUSTER-04/one-cap", "the newest 50 of both nodes' events are kept, in order", one_cap).needs(OWN),
    case!("CLUSTER-05/in-turn", "events of both nodes in turn arrive in order on devices at both", in_turn).needs(OWN),
    case!("CLUSTER-05/at-once", "of emitters at both nodes all devices see one order, and each one's own", at_once)
        .needs(OWN),
    case!("CLUSTER-05/queued-first", "what was queued comes before what the other node emits meanwhile", queued_first)
        .needs(OWN),
    case!(
        "CLUSTER-05/not-fetched",
        "what a client did not fetch at one node comes before what the other has accepted since",
        not_fetched
    )
    .needs(&[Need::OwnServer, Need::Capability("control"), Need::Capability("polling")]),
    case!("CLUSTER-06/connects", "an event that races with a connect to the other node arrives once", connects)
        .needs(OWN),
    case!("CLUSTER-06/joins", "so it does where the user has a device at the emitting node already", joins).needs(OWN),
    case!("CLUSTER-06/leaves", "an event that races with a leave from the other node arrives once", leaves).needs(OWN),
    case!("CLUSTER-06/moves", "to a client that goes to and fro everything arrives once and in order", moves)
        .needs(OWN),
    case!("CLUSTER-07/comes-again", "what was not acknowledged at one node comes again at the other", comes_again)
        .needs(OWN),
    case!("CLUSTER-07/beside-plain", "a plain device at the other node ends the keeping of nothing", beside_plain)
        .needs(OWN),
    case!("CLUSTER-08/acknowledged", "what was acknowledged at one node comes at none again", acknowledged).needs(OWN),
    over!(WebSocket, "CLUSTER-09/websocket", "a revocation closes WebSocket connections at the other node", revoked)
        .needs(OWN),
    over!(Polling, "CLUSTER-09/polling", "and polling ones", revoked).needs(POLLING),
    case!("CLUSTER-09/not-reading", "and those of a client that does not read", revoked_though_not_reading)
        .needs(CONTROL),
    case!("CLUSTER-10/repeated", "an Idempotency-Key is known at both nodes", repeated).needs(OWN),
    case!("CLUSTER-18/at-once", "an Idempotency-Key that comes to both nodes at once emits once", repeated_at_once)
        .needs(OWN),
    case!("CLUSTER-18/rest", "a batch that one node has accepted in part is completed by the other", completed)
        .needs(OWN),
    case!("CLUSTER-16/live", "an event that the other node delivers is answered as live", live).needs(OWN),
];

async fn other_node(t: Bench, transport: Transport) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let (alice, bob) = (a.user().await?, a.user().await?);
    let mut device = b.connect_raw(&alice, transport).await?;
    let mut bobs = b.connect_raw(&bob, transport).await?;
    a.emit_numbered(&alice, 1, 5).await?;
    receives(&mut device, 1..=5).await?;
    a.emit_numbered(&bob, 6, 6).await?;
    receives(&mut bobs, [6]).await?;
    device.expect_silence(QUIET).await
}

async fn every_device(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut devices = Vec::new();
    for node in [&a, &b, &a, &b] {
        devices.push(node.connect_raw(&alice, Transport::WebSocket).await?);
    }
    a.emit_numbered(&alice, 1, 2).await?;
    b.emit_numbered(&alice, 3, 4).await?;
    for device in &mut devices {
        receives(device, 1..=4).await?;
    }
    for device in &mut devices {
        device.expect_silence(QUIET / 4).await?;
    }
    Ok(())
}

async fn delivered_elsewhere(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut device = b.connect_raw(&alice, Transport::WebSocket).await?;
    a.emit_numbered(&alice, 1, 3).await?;
    receives(&mut device, 1..=3).await?;
    device.disconnect().await;
    finds_nothing(&a, &alice).await?.disconnect().await;
    finds_nothing(&b, &alice).await.map(drop)
}

async fn last_one_leaves(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let at_a = a.connect_raw(&alice, Transport::WebSocket).await?;
    let mut at_b = b.connect_raw(&alice, Transport::WebSocket).await?;
    at_a.disconnect().await;
    a.emit_numbered(&alice, 1, 2).await?;
    receives(&mut at_b, 1..=2).await?;
    at_b.disconnect().await;
    let last = a.emit_until_away(&alice, 3, AWAY_BY).await?;
    // What found the user still there reached nobody else: it has to be in the queue as well.
    finds(&a, &alice, 3..=last).await.map(drop)
}

async fn drains(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    a.emit_numbered(&alice, 1, 3).await?;
    b.emit_numbered(&alice, 4, 5).await?;
    let device = finds(&b, &alice, 1..=5).await?;
    // Also while the first device is there, another at the other node has nothing to drain.
    let other = finds_nothing(&a, &alice).await?;
    device.disconnect().await;
    other.disconnect().await;
    finds_nothing(&a, &alice).await.map(drop)
}

/// Each event is handed over once, be it to the one or to the other.
async fn drains_at_once(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    for _ in 0..ROUNDS {
        let alice = a.user().await?;
        a.emit_at_once(&alice, 1, 30).await?;
        // Nothing but the CONNECTs is left to be done.
        let auth = json!({"token": a.token(&alice).await?});
        let (one, other) = (a.opening(Transport::WebSocket), b.opening(Transport::WebSocket));
        let (one, other) = (a.open(one).await?, b.open(other).await?);
        let (one, other) =
            tokio::join!(Client::over_wire(one, Some(auth.clone())), Client::over_wire(other, Some(auth.clone())));
        let (mut one, mut other) = (one?, other?);
        one.expect_accepted().await?;
        other.expect_accepted().await?;
        // Both are let in, so what they are given of the queue comes before this.
        a.emit_numbered(&alice, 31, 31).await?;
        let mut seen = read_until(&mut one, 31).await?;
        seen.extend(read_until(&mut other, 31).await?);
        seen.sort_unstable();
        exactly(&seen, (1..=31).chain([31]))?;
    }
    Ok(())
}

async fn one_cap(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    for n in 1..=60 {
        let node = if n % 2 == 0 { &a } else { &b };
        node.emit_numbered(&alice, n, n).await?;
    }
    finds(&a, &alice, 11..=60).await.map(drop)
}

async fn in_turn(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut at_a = a.connect_raw(&alice, Transport::WebSocket).await?;
    let mut at_b = b.connect_raw(&alice, Transport::WebSocket).await?;
    for n in 1..=40 {
        let node = if n % 2 == 0 { &a } else { &b };
        node.emit_numbered(&alice, n, n).await?;
    }
    receives(&mut at_a, 1..=40).await?;
    receives(&mut at_b, 1..=40).await
}

async fn at_once(t: Bench) -> Outcome {
    const EACH: usize = 30;
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut at_a = a.connect_raw(&alice, Transport::WebSocket).await?;
    let mut at_b = b.connect_raw(&alice, Transport::WebSocket).await?;
    let (left, right) = tokio::join!(a.emit_numbered(&alice, 1, EACH), b.emit_numbered(&alice, 101, 100 + EACH));
    left?;
    right?;
    a.emit_numbered(&alice, 999, 999).await?;
    let (at_a, at_b) = (read_until(&mut at_a, 999).await?, read_until(&mut at_b, 999).await?);
    expect::equal("the same order as at the first node", &json!(at_a), &json!(at_b))?;
    let (left, right): (Vec<u64>, Vec<u64>) = at_a.iter().filter(|n| **n != 999).partition(|n| **n <= 100);
    exactly(&left, 1..=EACH as u64)?;
    exactly(&right, 101..=100 + EACH as u64)
}

async fn queued_first(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    for _ in 0..ROUNDS / 2 {
        let alice = a.user().await?;
        a.emit_numbered(&alice, 1, 5).await?;
        let (device, emitted) =
            tokio::join!(b.connect_raw(&alice, Transport::WebSocket), a.emit_numbered(&alice, 6, 15));
        emitted?;
        exactly(&read_until(&mut device?, 15).await?, 1..=15)?;
    }
    Ok(())
}

async fn not_fetched(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut device = fetches_one(&b, &alice).await?;
    for (n, node) in (2..).zip([&b, &b, &a, &b, &a]) {
        node.emit_numbered(&alice, n, n).await?;
    }
    device.leave().await?;
    let last = a.emit_until_away(&alice, 7, AWAY_BY).await?;
    finds(&a, &alice, 2..=last).await.map(drop)
}

async fn connects(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    for _ in 0..ROUNDS {
        let alice = a.user().await?;
        let (device, emitted) =
            tokio::join!(b.connect_raw(&alice, Transport::WebSocket), a.emit_numbered(&alice, 1, 2));
        emitted?;
        let mut device = device?;
        a.emit_numbered(&alice, 3, 3).await?;
        exactly(&read_until(&mut device, 3).await?, 1..=3)?;
    }
    Ok(())
}

/// The device at the emitting node has everything; the one that joins has what was accepted after it was let in.
async fn joins(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    for _ in 0..ROUNDS {
        let alice = a.user().await?;
        let mut first = a.connect_raw(&alice, Transport::WebSocket).await?;
        let (second, emitted) =
            tokio::join!(b.connect_raw(&alice, Transport::WebSocket), a.emit_numbered(&alice, 1, 6));
        emitted?;
        let mut second = second?;
        a.emit_numbered(&alice, 7, 9).await?;
        receives(&mut first, 1..=9).await?;
        let seen = read_until(&mut second, 9).await?;
        let whole = seen.windows(2).all(|pair| pair[1] == pair[0] + 1) && seen.first().is_some_and(|n| *n <= 7);
        expect::that(whole, "all from some event up to 7 to the last, in order", format!("{seen:?}"))?;
    }
    Ok(())
}

async fn leaves(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    for _ in 0..ROUNDS {
        let alice = a.user().await?;
        let mut device = b.connect_raw(&alice, Transport::WebSocket).await?;
        let (left, emitted) = tokio::join!(device.leave(), a.emit_numbered(&alice, 1, 2));
        left?;
        emitted?;
        // It reads what came before the close; the sentinel never comes to it.
        let mut seen = read_until(&mut device, u64::MAX).await?;
        a.emit_numbered(&alice, 3, 3).await?;
        let mut device = a.connect_raw(&alice, Transport::WebSocket).await?;
        seen.extend(read_until(&mut device, 3).await?);
        exactly(&seen, 1..=3)?;
    }
    Ok(())
}

async fn moves(t: Bench) -> Outcome {
    const ALL: usize = 60;
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let emit = async {
        for n in 1..=ALL {
            let node = if n % 3 == 0 { &a } else { &b };
            node.emit_numbered(&alice, n, n).await?;
        }
        Ok(())
    };
    let (seen, emitted) = tokio::join!(to_and_fro(&a, &b, &alice, ALL as u64), emit);
    emitted?;
    exactly(&seen?, 1..=ALL as u64)
}

/// Reads on one node after the other, until the last event has come.
async fn to_and_fro(a: &Bench, b: &Bench, user: &User, last: u64) -> Outcome<Vec<u64>> {
    let mut seen: Vec<u64> = Vec::new();
    for node in [a, b].into_iter().cycle() {
        let mut device = node.connect_raw(user, Transport::WebSocket).await?;
        let next = seen.last().map_or(1, |n| n + 4).min(last);
        seen.extend(read_until(&mut device, next).await?);
        if seen.contains(&last) {
            break;
        }
        device.leave().await?;
        seen.extend(read_until(&mut device, u64::MAX).await?);
        if seen.contains(&last) {
            break;
        }
    }
    Ok(seen)
}

async fn comes_again(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut device = acks::join(&b, &alice).await?;
    a.emit_numbered(&alice, 1, 3).await?;
    let mut ids = Vec::new();
    for n in 1..=3 {
        ids.push(acks::live_event(&mut device, n).await?.args[0]["eventId"].clone());
    }
    device.disconnect().await;
    let mut device = acks::join(&a, &alice).await?;
    let again = acks::queue(&mut device, 1..=3).await?;
    let ids_again: Vec<_> = again.args[0].as_array().into_iter().flatten().map(|it| it["eventId"].clone()).collect();
    expect::equal("the same eventIds", &json!(ids), &json!(ids_again))
}

async fn beside_plain(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut device = acks::join(&b, &alice).await?;
    a.emit_numbered(&alice, 1, 2).await?;
    for n in 1..=2 {
        acks::live_event(&mut device, n).await?;
    }
    // A plain device that drains, and is there when more comes.
    let mut plain = a.connect_raw(&alice, Transport::WebSocket).await?;
    a.emit_numbered(&alice, 3, 3).await?;
    let seen = read_until(&mut plain, 3).await?;
    exactly(&seen[seen.len() - 1..], [3])?;
    acks::live_event(&mut device, 3).await?;
    device.disconnect().await;
    acks::queue(&mut acks::join(&b, &alice).await?, 1..=3).await.map(drop)
}

async fn acknowledged(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    a.emit_numbered(&alice, 1, 2).await?;
    let mut device = acks::join(&b, &alice).await?;
    let missed = acks::queue(&mut device, 1..=2).await?;
    device.acknowledge(&missed, vec![]).await?;
    a.emit_numbered(&alice, 3, 5).await?;
    for n in 3..=5 {
        let event = acks::live_event(&mut device, n).await?;
        if n != 4 {
            device.acknowledge(&event, vec![]).await?;
        }
    }
    acks::settle(&mut device).await?;
    device.disconnect().await;
    acks::in_the_end(&a, &alice, &[4]).await
}

async fn revoked(t: Bench, transport: Transport) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let other = a.user_named(&alice.id).await?;
    let mut devices = [b.connect_raw(&alice, transport).await?, a.connect_raw(&alice, transport).await?];
    let mut stays = b.connect_raw(&other, transport).await?;
    a.revoke_session(&alice.session).await?;
    for device in &mut devices {
        device.expect_closed(AFTER_REVOCATION).await?;
    }
    a.emit_numbered(&alice, 1, 1).await?;
    receives(&mut stays, [1]).await
}

/// Whether it is closed shows on its line once that works again, so the case looks at whether the user counts as there.
async fn revoked_though_not_reading(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let (mut device, line) = slow::stalled(&b, &alice, Transport::WebSocket).await?;
    a.revoke_session(&alice.session).await?;
    let last = a.emit_until_away(&alice, 1, AFTER_REVOCATION).await?;
    line.restore();
    device.expect_closed(AWAY_BY).await?;
    let other = a.user_named(&alice.id).await?;
    let queued = a.connect_raw(&other, Transport::WebSocket).await?.expect_queued().await?;
    expect::that(numbers(&queued).last() == Some(&(last as u64)), format!("events up to {last}"), format!("{queued:?}"))
}

async fn repeated(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let key = a.random(24);
    let headers = [("idempotency-key", &*key)];
    let body = body_for(&alice, 1).to_string();
    let first = a.control_text("POST", "/events", &headers, body.clone()).await?;
    first.expect_status(202)?;
    let again = b.control_text("POST", "/events", &headers, body).await?;
    again.expect_status(202)?;
    expect::equal("the same answer", &first.json(), &again.json())?;
    let queued = b.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    numbered(&queued, [1])
}

/// Not every time do both come to it at the same moment, so it is tried often.
async fn repeated_at_once(t: Bench) -> Outcome {
    const KEYS: usize = 40;
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    for n in 1..=KEYS {
        let key = a.random(24);
        let headers = [("idempotency-key", &*key)];
        let body = body_for(&alice, n).to_string();
        let at_a = a.control_text("POST", "/events", &headers, body.clone());
        let at_b = b.control_text("POST", "/events", &headers, body);
        let (at_a, at_b) = tokio::join!(at_a, at_b);
        one_answer(vec![at_a, at_b])?;
    }
    let queued = b.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    numbered(&queued, 1..=KEYS)
}

async fn completed(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let (alice, bob) = (a.user().await?, a.user().await?);
    let mut device = a.connect_raw(&alice, Transport::WebSocket).await?;
    let key = a.random(24);
    let batch = mixed(&alice, &bob).to_string();
    a.redis_line()?.cut_at(&bob.id);
    let told = accepted(&a.control_text("POST", "/events/batch", &[("idempotency-key", &key)], batch.clone()).await?)?;
    a.redis_line()?.restore();
    let done = until_accepted(&b, &key, &batch).await?;
    for (place, id) in &told {
        let again = &done.json()[usize::try_from(*place).unwrap_or(usize::MAX)]["eventId"];
        expect::equal("the eventId of what was accepted before", id, again)?;
    }
    receives(&mut device, 1..=2).await?;
    finds(&b, &bob, 1..=2).await?;
    device.expect_silence(QUIET).await
}

async fn live(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    let alice = a.user().await?;
    let mut device = b.connect_raw(&alice, Transport::WebSocket).await?;
    let answer = a.control("POST", "/events", &body_for(&alice, 1)).await?;
    answer.expect_status(202)?;
    expect::equal("the delivery", &json!("live"), &answer.json()["delivery"])?;
    receives(&mut device, [1]).await
}
