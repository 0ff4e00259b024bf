//! SPEC 5: what happens to events for users who are not there.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::kit::{
    QUIET, acks, again,
    numbers::{exactly, numbered, numbers, receives, up_to},
    queue::{
        DAY_MS, SHORT_TTL, SLACK_MS, all_but_one, damages_one_of_five, finds, finds_nothing, finds_over, harness,
        none_was_damaged, with_growing_ttl,
    },
    slow::user_with_queue,
    upgrade::upgrade,
};
use crate::{
    bench::{Bench, Emission, User},
    case::{Case, Need},
    client::{Client, Transport},
    expect::{self, Outcome, inconclusive, mismatch},
    redis::inspect::Damage,
};

/// The cap of the contract.
const CAP: usize = 50;

/// What becomes of an entry. The first is possible in whatever form a server keeps its events.
const DAMAGES: [Damage; 10] = [
    Damage::Garbage,
    Damage::Cut,
    Damage::Json("null"),
    Damage::Json("{}"),
    Damage::Json("[]"),
    Damage::Json("7"),
    Damage::Without("metadata"),
    Damage::Without("eventType"),
    Damage::Number("metadata"),
    Damage::Number("eventType"),
];

/// How long a large queue may take, on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(20);

const TTL: &[Need] = &[Need::Setting("queue_ttl_seconds")];
const RESTART: &[Need] = &[Need::OwnServer];

/// The text of an event of nearly the size that is allowed, in bytes.
const LARGE_TEXT: usize = 65_000;

pub(super) const CASES: &[Case] = &[
    case!("QUEUE-01/offline", "a user who was never connected receives what was emitted before", offline),
    case!("QUEUE-01/reconnect", "rust_socketio receives on reconnect what it missed, then live events", reconnect)
        .also(&["QUEUE-09", "QUEUE-10"]),
    case!("QUEUE-01/polling", "a polling client receives on reconnect what it missed", polled)
        .needs(&[Need::Capability("polling")]),
    case!("QUEUE-01/left-early", "a client that leaves before its CONNECT is answered costs no event", left_early)
        .needs(&[Need::OwnServer, Need::Capability("redis")]),
    case!("QUEUE-02/live-only", "what was delivered live does not come again", live_only),
    case!("QUEUE-03/exactly-50", "fifty events are all kept", cap(CAP)),
    case!("QUEUE-03/oldest-evicted", "the 51st event evicts the oldest", cap(CAP + 1)),
    case!("QUEUE-03/far-over", "of 120 events the newest 50 are kept", cap(120)),
    case!("QUEUE-03/again", "and so of each queue of a user, whatever was delivered before", cap_again),
    case!("QUEUE-03/batch", "of a batch of 120 events the newest 50 are kept", cap_of_a_batch)
        .needs(&[Need::Capability("control")]),
    case!("QUEUE-03/types", "the cap is one for all types of events", cap_of_types),
    case!("QUEUE-04/per-user", "a full queue costs another user nothing", cap_per_user),
    case!("QUEUE-05/concurrent", "concurrent emitters do not exceed the cap", cap_concurrent),
    case!("QUEUE-06/expires", "a queue is gone once its TTL has passed", expires).needs(TTL),
    case!("QUEUE-06/default-ttl", "where what is queued expires in Redis, it does so after 24 h", default_ttl)
        .needs(&[Need::OwnServer, Need::Capability("redis")])
        .also(&["QUEUE-08"]),
    case!("QUEUE-31/gone", "of an event that is too old nothing stays in Redis", gone)
        .needs(&[Need::Setting("queue_ttl_seconds")])
        .waits(Duration::from_secs(30)),
    case!("QUEUE-07/each-by-itself", "an old event expires though newer ones were queued", each_by_itself).needs(TTL),
    case!("QUEUE-08/not-before", "no event expires before its time", not_before).needs(TTL),
    case!("QUEUE-09/one-array", "everything queued comes in one event with one array", one_array),
    case!("QUEUE-09/of-large-events", "50 events of nearly 64 KiB come in one event, too", of_large_events),
    case!("QUEUE-09/large", "a queue of 9 MB comes whole and in order, and what is newer behind it", large)
        .needs(&[Need::Setting("queue_max_events")]),
    over!(Upgraded, "QUEUE-09/upgraded", "so it does to a client that has upgraded, once", to_an_upgraded_one)
        .also(&["QUEUE-13"]),
    case!("QUEUE-10/oldest-first", "the array is ordered oldest first", oldest_first),
    case!("QUEUE-10/restarted", "what was queued before a restart comes before what was queued after", restarted)
        .needs(&[Need::OwnServer, Need::Capability("restart")])
        .also(&["QUEUE-14"]),
    over!(
        WebSocket,
        "QUEUE-11/before-live",
        "queued.events comes before what is emitted during the connect",
        before_live
    ),
    over!(Polling, "QUEUE-11/before-live-polled", "and by polling", before_live),
    over!(WebSocket, "QUEUE-12/nothing", "an empty queue sends nothing", nothing),
    over!(Polling, "QUEUE-12/nothing-polled", "nor by polling", nothing),
    case!("QUEUE-13/once", "what was delivered comes neither again nor to another device", once),
    case!("QUEUE-13/upgraded", "nor does it where its client upgrades before it polls again", then_upgraded)
        .needs(&[Need::Capability("polling")]),
    over!(WebSocket, "QUEUE-13/broken", "nor does it where the line breaks once its client has it", taken_and_broken),
    over!(Polling, "QUEUE-13/broken-polling", "nor does it where a polling client's does", taken_and_broken),
    over!(Upgraded, "QUEUE-13/broken-upgraded", "nor where that of one that has upgraded does", taken_and_broken),
    case!("QUEUE-13/restart", "nor does it after a restart", not_after_a_restart).needs(RESTART).also(&["ACK-05"]),
    case!("QUEUE-13/two-at-once", "two devices that connect at once share the queue without doubles", two_at_once),
    case!("QUEUE-14/restart", "the queue survives a restart", survives(false)).needs(RESTART),
    case!("QUEUE-15/corrupt", "a corrupt entry costs that entry alone", corrupt).needs(RESTART),
    case!("QUEUE-16/same-payload", "a queued payload is complete and tells when it was emitted", same_payload),
    case!("QUEUE-16/batch", "so is each of a batch", same_payload_in_a_batch)
        .needs(&[Need::Capability("control")])
        .also(&["EVENT-04"]),
    case!("QUEUE-17/kill", "what was confirmed survives a kill -9", survives(true)).needs(RESTART),
];

async fn offline(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let event = t.event_for(&alice);
    t.emit(&event).await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let queued = device.expect_queued().await?;
    expect::that(queued.len() == 1, "one event", queued.len().to_string())?;
    expect::member(&queued[0], "resourceId", &event.resource_id)
}

async fn reconnect(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_by_library(&alice).await?;
    t.emit_numbered(&alice, 1, 2).await?;
    device.expect_event("record.accessed").await?;
    device.expect_event("record.accessed").await?;
    device.disconnect().await;
    t.emit_numbered(&alice, 3, 5).await?;
    let mut device = t.connect_by_library(&alice).await?;
    numbered(&device.expect_queued().await?, 3..=5)?;
    t.emit_numbered(&alice, 6, 6).await?;
    numbered(&[device.expect_event("record.accessed").await?], [6])
}

async fn polled(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    device.expect_event("record.accessed").await?;
    device.disconnect().await;
    t.emit_numbered(&alice, 2, 4).await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    numbered(&device.expect_queued().await?, 2..=4)
}

/// Slow stores make the time in which a client may leave long enough to hit it.
async fn left_early(t: Bench) -> Outcome {
    const SLOW: Duration = Duration::from_millis(200);
    let t = t.own_server(&[]).await?;
    let proxy = t.redis_line()?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    t.emit_numbered(&alice, 1, 3).await?;
    t.emit_numbered(&bob, 1, 1).await?;
    proxy.delay(SLOW);
    let device = t.attempt_raw(t.opening(Transport::WebSocket), Some(json!({"token": t.token(&alice).await?}))).await?;
    drop(device);
    // Bob's connect goes the same slow way after hers: once he is in, hers has been judged, too.
    drop(finds(&t, &bob, 1..=1).await?);
    finds(&t, &alice, 1..=3).await.map(drop)
}

async fn live_only(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.emit_numbered(&alice, 1, 3).await?;
    for n in 1..=3 {
        numbered(&[device.expect_event("record.accessed").await?], [n])?;
    }
    device.disconnect().await;
    finds_nothing(&t, &alice).await.map(drop)
}

async fn cap(t: Bench, emitted: usize) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, emitted).await?;
    finds(&t, &alice, emitted.saturating_sub(CAP) + 1..=emitted).await.map(drop)
}

/// What has left the queue counts no more: half a queue, a whole one, and more than that.
async fn cap_again(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut before = 0;
    for emitted in [CAP / 2, CAP, CAP, CAP + 1, CAP / 2 + 1] {
        t.emit_numbered(&alice, before + 1, before + emitted).await?;
        let left = emitted.min(CAP);
        before += emitted;
        let mut device = finds(&t, &alice, before - left + 1..=before).await?;
        again::leave(&mut device).await?;
        device.disconnect().await;
    }
    Ok(())
}

/// Alone, and behind what is there.
async fn cap_of_a_batch(t: Bench) -> Outcome {
    const BATCH: usize = 120;
    for before in [0, 30] {
        let alice = t.user().await?;
        t.emit_numbered(&alice, 1, before).await?;
        let batch: Value = (before + 1..=before + BATCH).map(|n| t.numbered(&alice, n).body()).collect();
        t.control("POST", "/events/batch", &batch).await?.expect_status(202)?;
        finds(&t, &alice, before + BATCH - CAP + 1..=before + BATCH).await?;
    }
    Ok(())
}

async fn cap_per_user(t: Bench) -> Outcome {
    let (alice, bob, carol) = (t.user().await?, t.user().await?, t.user().await?);
    t.emit_numbered(&bob, 1, 3).await?;
    t.emit_numbered(&alice, 1, CAP + 5).await?;
    t.emit_numbered(&carol, 1, 3).await?;
    finds(&t, &bob, 1..=3).await?;
    finds(&t, &carol, 1..=3).await?;
    finds(&t, &alice, 6..=CAP + 5).await.map(drop)
}

async fn cap_concurrent(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_at_once(&alice, 1, 3 * CAP).await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let queued = device.expect_queued().await?;
    expect::that(queued.len() == CAP, format!("{CAP} events"), queued.len().to_string())?;
    let mut numbers: Vec<_> = queued.iter().filter_map(|payload| payload["metadata"]["n"].as_u64()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    expect::that(numbers.len() == CAP, format!("{CAP} different events"), format!("{numbers:?}"))
}

/// A server of the case's own whose queues live for [`SHORT_TTL`].
async fn short_lived(t: &Bench) -> Outcome<Bench> {
    t.own_server(&[("queue_ttl_seconds", &SHORT_TTL.as_secs().to_string())]).await
}

async fn expires(t: Bench) -> Outcome {
    let t = short_lived(&t).await?;
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 3).await?;
    // The passing of time is what is tested here.
    tokio::time::sleep(SHORT_TTL + Duration::from_millis(500)).await;
    finds_nothing(&t, &alice).await.map(drop)
}

async fn each_by_itself(t: Bench) -> Outcome {
    with_growing_ttl(t, async |t, ttl| {
        let alice = t.user().await?;
        t.emit_numbered(&alice, 1, 2).await?;
        let old = Instant::now();
        // The passing of time is what is tested here.
        tokio::time::sleep_until(old + ttl * 2 / 3).await;
        let young = Instant::now();
        t.emit_numbered(&alice, 3, 4).await?;
        tokio::time::sleep_until(old + ttl + Duration::from_millis(500)).await;
        let found = finds(&t, &alice, 3..=4).await.map(drop);
        Ok((young.elapsed() < ttl).then_some(found))
    })
    .await
}

async fn not_before(t: Bench) -> Outcome {
    with_growing_ttl(t, async |t, ttl| {
        let alice = t.user().await?;
        let began = Instant::now();
        t.emit_numbered(&alice, 1, 1).await?;
        // The passing of time is what is tested here.
        tokio::time::sleep_until(began + ttl / 2).await;
        t.emit_numbered(&alice, 2, 2).await?;
        tokio::time::sleep_until(began + ttl * 3 / 4).await;
        let found = finds(&t, &alice, 1..=2).await.map(drop);
        Ok((began.elapsed() < ttl).then_some(found))
    })
    .await
}

async fn cap_of_types(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let types = ["access.granted", "record.uploaded", "access.revoked", "record.accessed"];
    // One after the other, and then one of them alone.
    for n in 1..=2 * CAP {
        t.emit(&t.numbered(&alice, n).of(types[if n <= CAP { n % types.len() } else { n / CAP - 1 }])).await?;
    }
    for n in 2 * CAP + 1..=2 * CAP + 7 {
        t.emit(&t.numbered(&alice, n).of(types[n % 3])).await?;
    }
    finds(&t, &alice, CAP + 8..=2 * CAP + 7).await.map(drop)
}

/// A key without a TTL may be of a store that ages what it holds in another way; whatever else is kept beside the events is its own affair.
async fn default_ttl(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let event = t.event_for(&alice);
    t.emit(&event).await?;
    t.emit_numbered(&alice, 1, 3).await?;
    let mut redis = t.database()?.view().await.map_err(harness)?;
    let holding = redis.holding(&event.resource_id).await.map_err(harness)?;
    t.transcript().remark("redis", format!("{holding:?}"));
    expect::that(!holding.is_empty(), "a key that holds the event", "none")?;
    for (name, key) in holding {
        let Some(ttl) = key.ttl_ms else {
            t.transcript().note(format!("{name} has no TTL"));
            continue;
        };
        expect::that(ttl <= DAY_MS + SLACK_MS, "a key that expires within 24 h", format!("{name} in {ttl} ms"))?;
        expect::that(ttl + SLACK_MS >= DAY_MS, "a queue that is kept for 24 h", format!("{name} for {ttl} ms"))?;
    }
    Ok(())
}

async fn gone(t: Bench) -> Outcome {
    const SWEPT_WITHIN: Duration = Duration::from_secs(60);
    let t = short_lived(&t).await?;
    let alice = t.user().await?;
    let mut events = vec![t.event_for(&alice)];
    let began = Instant::now();
    t.emit(&events[0]).await?;
    if t.target().declares("control") {
        events.extend(with_keys(&t, &alice).await?);
    }
    let mut redis = t.database()?.view().await.map_err(harness)?;
    for event in &events {
        let before = redis.holding(&event.resource_id).await.map_err(harness)?;
        if before.is_empty() && began.elapsed() >= SHORT_TTL {
            return Err(inconclusive("the machine was too slow: the TTL had passed before the store was looked into"));
        }
        expect::that(!before.is_empty(), "a key that holds the event", "none")?;
    }
    if t.target().declares("ack") {
        // One that is given the queue, unless it is too late for that, acknowledges nothing of it, and leaves.
        let mut device = acks::join(&t, &alice).await?;
        device.next(SHORT_TTL).await;
        device.disconnect().await;
    }
    let deadline = Instant::now() + SHORT_TTL + SWEPT_WITHIN;
    let mut look = tokio::time::interval(Duration::from_millis(500));
    loop {
        look.tick().await;
        let mut left = BTreeMap::new();
        for event in &events {
            left.extend(redis.holding(&event.resource_id).await.map_err(harness)?);
        }
        if left.is_empty() {
            return Ok(());
        }
        let told = format!("nothing of an event {SWEPT_WITHIN:?} after its TTL");
        expect::that(Instant::now() < deadline, told, format!("{left:?}"))?;
    }
}

/// Events that were emitted with an Idempotency-Key, alone and in a batch: what is kept to answer with is no place for them.
async fn with_keys(t: &Bench, user: &User) -> Outcome<[Emission; 2]> {
    let events = [t.event_for(user), t.event_for(user)];
    for (path, body) in [("/events", events[0].body()), ("/events/batch", json!([events[1].body()]))] {
        let headers = [("idempotency-key", &*t.random(24))];
        t.control_text("POST", path, &headers, body.to_string()).await?.expect_status(202)?;
    }
    Ok(events)
}

async fn one_array(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 7).await?;
    let mut device = finds(&t, &alice, 1..=7).await?;
    let sentinel = t.event_for(&alice);
    t.emit(&sentinel).await?;
    let payload = device.expect_event("record.accessed").await?;
    expect::member(&payload, "resourceId", &sentinel.resource_id)?;
    device.expect_silence(QUIET).await
}

async fn of_large_events(t: Bench) -> Outcome {
    let alice = user_with_queue(&t, 50, LARGE_TEXT).await?;
    finds(&t, &alice, 1..=50).await?.expect_silence(QUIET).await
}

async fn large(t: Bench) -> Outcome {
    const EVENTS: usize = 160;
    let t = t.own_server(&[("queue_max_events", "200")]).await?;
    let alice = user_with_queue(&t, EVENTS, LARGE_TEXT).await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.emit_numbered(&alice, EVENTS + 1, EVENTS + 1).await?;
    let came = up_to(&mut device, EVENTS as u64 + 1, SOON).await?;
    let numbers: Vec<_> = came.iter().map(|it| it.n).collect();
    expect::equal("every event once, in order", &json!((1..=EVENTS + 1).collect::<Vec<_>>()), &json!(numbers))?;
    let queued = came.iter().filter(|it| it.queued).count();
    expect::that(queued >= EVENTS, "what was queued in queued.events", format!("{queued} of {EVENTS} events"))?;
    device.expect_silence(QUIET).await
}

async fn oldest_first(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let types = ["record.accessed", "access.granted", "access.revoked", "record.uploaded"];
    for n in 1..=12 {
        t.emit(&t.numbered(&alice, n).of(types[n % types.len()])).await?;
    }
    finds(&t, &alice, 1..=12).await.map(drop)
}

async fn restarted(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 5).await?;
    t.restart().await?;
    t.emit_numbered(&alice, 6, 8).await?;
    t.kill_and_restart().await?;
    t.emit_numbered(&alice, 9, 10).await?;
    finds(&t, &alice, 1..=10).await.map(drop)
}

async fn before_live(t: Bench, transport: Transport) -> Outcome {
    // At each round the CONNECT is sent a little later in the stream of events, which fill the queue and no more. A target that
    // is far away meets fewer rounds.
    const ROUNDS: usize = 30;
    const ENOUGH: Duration = Duration::from_secs(20);
    let began = Instant::now();
    const STORED: usize = 5;
    const EMITTERS: usize = 9;
    const EACH: usize = (CAP - STORED) / EMITTERS;
    for round in (0..ROUNDS).take_while(|_| began.elapsed() < ENOUGH) {
        let before = round % EACH;
        let alice = &t.user().await?;
        t.emit_numbered(alice, 1, STORED).await?;
        let wire = t.open(t.opening(transport)).await?;
        let auth = json!({"token": t.token(alice).await?});
        let first = |emitter| STORED + 1 + emitter * EACH;
        let connect = async {
            t.emit_numbered(alice, first(0), first(0) + before - 1).await?;
            let connecting = async {
                let mut device = Client::over_wire(wire, Some(auth)).await?;
                device.expect_accepted().await.map(|_| device)
            };
            tokio::try_join!(connecting, t.emit_numbered(alice, first(0) + before, first(1) - 1))
        };
        let others = (1..EMITTERS).map(|emitter| t.emit_numbered(alice, first(emitter), first(emitter + 1) - 1));
        let ((mut device, ()), _) = tokio::try_join!(connect, try_join_all(others))?;
        let mut seen = device.expect_queued().await?;
        while seen.len() < STORED + EMITTERS * EACH {
            seen.push(device.expect_event("record.accessed").await?);
        }
        let seen = numbers(&seen);
        for emitter in 0..EMITTERS {
            let of = first(emitter) as u64..first(emitter + 1) as u64;
            let came: Vec<_> = seen.iter().copied().filter(|n| of.contains(n)).collect();
            exactly(&came, of)?;
        }
        exactly(&seen[..STORED], 1..=STORED as u64)?;
    }
    Ok(())
}

async fn nothing(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    device.mind_greetings();
    t.emit_numbered(&alice, 1, 1).await?;
    numbered(&[device.expect_event("record.accessed").await?], [1])?;
    device.expect_silence(QUIET).await
}

async fn once(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 3).await?;
    let first = finds(&t, &alice, 1..=3).await?;
    let second = finds_nothing(&t, &alice).await?;
    first.disconnect().await;
    second.disconnect().await;
    finds_nothing(&t, &alice).await.map(drop)
}

/// What was polled counts as delivered though no further poll tells that it came: the upgrade does.
async fn then_upgraded(t: Bench) -> Outcome {
    for live in [false, true] {
        let alice = t.user().await?;
        let wire = t.open(t.opening(Transport::Polling)).await?;
        wire.rest_after("record.accessed");
        if !live {
            t.emit_numbered(&alice, 1, 3).await?;
        }
        let mut device = Client::over_wire(wire, Some(json!({"token": t.token(&alice).await?}))).await?;
        device.expect_accepted().await?;
        if live {
            t.emit_numbered(&alice, 1, 1).await?;
            receives(&mut device, [1]).await?;
        } else {
            numbered(&device.expect_queued().await?, 1..=3)?;
        }
        upgrade(&mut device).await?;
        device.close().await?;
        finds_nothing(&t, &alice).await?;
    }
    Ok(())
}

async fn to_an_upgraded_one(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 3).await?;
    let mut device = finds_over(&t, &alice, transport, 1..=3).await?;
    t.emit_numbered(&alice, 4, 4).await?;
    receives(&mut device, [4]).await?;
    device.disconnect().await;
    finds_nothing(&t, &alice).await.map(drop)
}

async fn taken_and_broken(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 3).await?;
    let line = t.line().await?;
    let auth = json!({"token": t.token(&alice).await?});
    let mut device = t.attempt_raw(t.opening_over(&line, transport), Some(auth)).await?;
    device.expect_accepted().await?;
    numbered(&device.expect_queued().await?, 1..=3)?;
    // By polling, the answer to this comes with a further poll.
    acks::settle(&mut device).await?;
    line.cut();
    finds_nothing(&t, &alice).await.map(drop)
}

/// Plain, or acknowledged but for the last.
async fn not_after_a_restart(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    t.emit_numbered(&alice, 1, 3).await?;
    let mut device = finds(&t, &alice, 1..=3).await?;
    acks::settle(&mut device).await?;
    device.disconnect().await;
    if t.target().declares("ack") {
        t.emit_numbered(&bob, 1, 2).await?;
        let mut device = acks::join(&t, &bob).await?;
        let missed = acks::queue(&mut device, 1..=2).await?;
        t.emit_numbered(&bob, 3, 4).await?;
        let live = acks::live_event(&mut device, 3).await?;
        acks::live_event(&mut device, 4).await?;
        for delivery in [missed, live] {
            device.acknowledge(&delivery, vec![]).await?;
        }
        acks::settle(&mut device).await?;
        device.disconnect().await;
        acks::in_the_end(&t, &bob, &[4]).await?;
    }
    t.restart().await?;
    finds_nothing(&t, &alice).await?;
    match t.target().declares("ack") {
        true => acks::in_the_end(&t, &bob, &[4]).await,
        false => Ok(()),
    }
}

async fn two_at_once(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 10).await?;
    let connects = (0..4).map(|_| t.connect_raw(&alice, Transport::WebSocket));
    let mut devices = try_join_all(connects).await?;
    t.emit(&t.numbered(&alice, 99).of("access.granted")).await?;
    let mut seen = Vec::new();
    for device in &mut devices {
        loop {
            // Each device sees the sentinel; what it saw of the queue stands before that.
            match device.next(Duration::from_secs(5)).await {
                Some(crate::client::Arrival::Event { name, .. }) if name == "access.granted" => break,
                Some(crate::client::Arrival::Event { name, args, .. }) if name == "queued.events" => {
                    seen.extend(args[0].as_array().cloned().unwrap_or_default());
                }
                other => return Err(mismatch("queued.events or the sentinel", format!("{other:?}"))),
            }
        }
    }
    numbered(&seen, 1..=10)
}

async fn survives(t: Bench, killed: bool) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 20).await?;
    t.emit_at_once(&alice, 21, 30).await?;
    if killed {
        t.kill_and_restart().await?
    } else {
        t.restart().await?
    }
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let queued = device.expect_queued().await?;
    numbered(&queued[..queued.len().min(20)], 1..=20)?;
    expect::that(queued.len() == 30, "30 events", queued.len().to_string())
}

async fn corrupt(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let mut any = false;
    for damage in DAMAGES {
        let is_done = costs_one(&t, damage).await.map_err(|fault| fault.of(format!("for an entry with {damage:?}")))?;
        if !is_done && !any {
            return Err(none_was_damaged());
        }
        any = true;
    }
    Ok(())
}

/// Whether one of a user's entries could be damaged so. It is lost then, and nothing else is.
async fn costs_one(t: &Bench, damage: Damage) -> Outcome<bool> {
    let alice = t.user().await?;
    if !damages_one_of_five(t, &alice, damage).await? {
        return Ok(false);
    }
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    all_but_one(&device.expect_queued().await?, damage)?;
    t.emit_numbered(&alice, 6, 6).await?;
    numbered(&[device.expect_event("record.accessed").await?], [6])?;
    device.disconnect().await;
    t.emit_numbered(&alice, 7, 7).await?;
    finds(t, &alice, [7]).await?;
    Ok(true)
}

async fn same_payload(t: Bench) -> Outcome {
    const WAITS: Duration = Duration::from_millis(2_500);
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut witness = t.connect_raw(&bob, Transport::WebSocket).await?;
    let event = t.event_for(&alice).of("record.uploaded");
    let began = Instant::now();
    t.emit(&event).await?;
    t.emit_numbered(&bob, 1, 1).await?;
    let live = witness.expect_event("record.accessed").await?;
    let took = began.elapsed();
    // So that the time of delivery could not be taken for that of the emission.
    tokio::time::sleep(WAITS).await;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let queued = device.expect_queued().await?;
    expect::that(queued.len() == 1, "one event", queued.len().to_string())?;
    expect::member(&queued[0], "eventType", &event.event_type)?;
    expect::member(&queued[0], "actorId", &event.actor_id)?;
    expect::member(&queued[0], "resourceId", &event.resource_id)?;
    emitted_together(&queued[0], &live, took)
}

/// By one clock, the server's: what was emitted live with an event, or `took` later at the most, tells the time.
fn emitted_together(queued: &Value, live: &Value, took: Duration) -> Outcome {
    let time = |payload: &Value| expect::iso_timestamp(payload["timestamp"].as_str().unwrap_or_default());
    let apart = Duration::from_millis(time(queued)?.abs_diff(time(live)?));
    expect::that(
        apart <= took + Duration::from_millis(500),
        "the time of the emission",
        format!("{apart:?} from an event that was emitted {took:?} after it"),
    )
}

/// The rounds begin in all parts of a second, so that a time without its milliseconds shows.
async fn same_payload_in_a_batch(t: Bench) -> Outcome {
    const ROUNDS: usize = 5;
    const APART: Duration = Duration::from_millis(210);
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut witness = t.connect_raw(&bob, Transport::WebSocket).await?;
    let (mut rounds, mut next) = (Vec::new(), tokio::time::interval(APART));
    for n in 1..=ROUNDS {
        next.tick().await;
        let events = [(&alice, 2 * n - 1), (&alice, 2 * n), (&bob, n)].map(|(user, n)| t.numbered(user, n).body());
        let began = Instant::now();
        t.control("POST", "/events/batch", &json!(events)).await?.expect_status(202)?;
        rounds.push((witness.expect_event("record.accessed").await?, began.elapsed()));
    }
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    expect::that(queued.len() == 2 * ROUNDS, "all events of the batches", format!("{} of them", queued.len()))?;
    for (payload, n) in queued.iter().zip(numbers(&queued)) {
        let round = usize::try_from(n).ok().and_then(|n| rounds.get(n.checked_sub(1)? / 2));
        let Some((live, took)) = round else { return Err(mismatch("events of the batches", payload.to_string())) };
        emitted_together(payload, live, *took)?;
    }
    Ok(())
}
