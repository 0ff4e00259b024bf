//! SPEC 4 and 5 by every way that an event can take: live or by the queue, alone or in a batch, over both transports.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::kit::{
    QUIET, acks,
    control::{EVENT_LIMIT, body_for},
    numbers::{numbered, numbers, receives},
    queue::{finds, finds_nothing, finds_over},
    texts::ODD,
};
use crate::{
    bench::{Bench, Emission, User},
    case::{Case, Need},
    client::{Client, Transport},
    expect::{self, Outcome, mismatch},
    fixtures,
};

const CONTROL: &[Need] = &[Need::Capability("control")];
const CONTROL_AND_POLLING: &[Need] = &[Need::Capability("control"), Need::Capability("polling")];
/// What a queue holds, and some room.
const AT_A_TIME: usize = 45;
/// How far the clocks of suite and target may be apart, and how long an event may have been on its way.
const FRESH: Duration = Duration::from_secs(15);

/// How an event comes to its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Live,
    Queued,
    LiveBatch,
    QueuedBatch,
}

pub(super) const CASES: &[Case] = &[
    over!(WebSocket, "EVENT-06/live", "awkward events arrive as emitted, live", as_emitted(Way::Live))
        .also(&["EVENT-02", "EVENT-03", "EVENT-04", "EVENT-05"]),
    over!(Polling, "EVENT-06/live-polled", "and by polling", as_emitted(Way::Live))
        .also(&["EVENT-02", "EVENT-03", "EVENT-04", "EVENT-05"]),
    over!(WebSocket, "EVENT-06/queued", "awkward events arrive as emitted, by the queue", as_emitted(Way::Queued))
        .also(&["EVENT-03", "EVENT-04", "EVENT-05", "QUEUE-16"]),
    over!(Polling, "EVENT-06/queued-polled", "and by polling", as_emitted(Way::Queued))
        .also(&["EVENT-03", "EVENT-04", "EVENT-05", "QUEUE-16"]),
    over!(WebSocket, "EVENT-06/live-batch", "awkward events arrive as emitted, in a batch", as_emitted(Way::LiveBatch))
        .also(&["EVENT-03", "EVENT-05"])
        .needs(CONTROL),
    over!(Polling, "EVENT-06/live-batch-polled", "and by polling", as_emitted(Way::LiveBatch))
        .also(&["EVENT-03", "EVENT-05"])
        .needs(CONTROL_AND_POLLING),
    over!(
        WebSocket,
        "EVENT-06/queued-batch",
        "awkward events arrive, by batch and queue",
        as_emitted(Way::QueuedBatch)
    )
    .also(&["EVENT-03", "EVENT-05", "QUEUE-16"])
    .needs(CONTROL),
    over!(Polling, "EVENT-06/queued-batch-polled", "and by polling", as_emitted(Way::QueuedBatch))
        .also(&["EVENT-03", "EVENT-05", "QUEUE-16"])
        .needs(CONTROL_AND_POLLING),
    over!(WebSocket, "EVENT-33/large", "events of up to 62 kB arrive live, in a batch and by the queue", large)
        .needs(CONTROL),
    over!(Polling, "EVENT-33/large-polled", "and by polling", large).needs(CONTROL_AND_POLLING),
    over!(WebSocket, "EVENT-33/full", "events of just the size that is allowed arrive, live and by the queue", full)
        .needs(CONTROL),
    over!(Polling, "EVENT-33/full-polled", "and by polling", full).needs(CONTROL_AND_POLLING),
    over!(WebSocket, "EVENT-33/large-queue", "a queue of fifty events of 60 kB arrives whole", large_queue)
        .needs(CONTROL),
    over!(Polling, "EVENT-33/large-queue-polled", "and by polling", large_queue).needs(CONTROL_AND_POLLING),
    over!(WebSocket, "EVENT-33/burst", "of 200 events that are emitted at once all arrive, once", burst),
    over!(Polling, "EVENT-33/burst-polled", "and by polling", burst),
    case!("EVENT-30/once", "nothing that was sent is sent again within 12 s", once),
    over!(WebSocket, "EVENT-31/soon", "a live event arrives within a second", soon),
    over!(Polling, "EVENT-31/soon-polled", "and by polling", soon),
    over!(Upgraded, "EVENT-31/soon-upgraded", "and on a connection that was upgraded", soon),
    case!("EVENT-04/goes-on", "timestamps go on with time, by the millisecond", time_goes_on),
    over!(WebSocket, "QUEUE-01/closed", "who closes without a DISCONNECT is away", closed),
    over!(Polling, "QUEUE-01/closed-polled", "and by polling", closed),
    over!(Upgraded, "QUEUE-01/closed-upgraded", "and on a connection that was upgraded", closed),
    over!(Polling, "QUEUE-02/live-polled", "what was delivered live by polling does not come again", live_only),
    over!(Upgraded, "QUEUE-02/live-upgraded", "nor on a connection that was upgraded", live_only),
    over!(WebSocket, "QUEUE-02/live-batch", "a batch that was delivered live does not come again", live_batch)
        .needs(CONTROL),
    over!(Polling, "QUEUE-02/live-batch-polled", "and by polling", live_batch).needs(CONTROL_AND_POLLING),
    over!(Polling, "QUEUE-13/once-polled", "a queue that was delivered by polling is not delivered again", queue_once),
    over!(Upgraded, "QUEUE-13/once-upgraded", "nor one on a connection that was upgraded", queue_once),
];

/// Emits the events in this way, and returns them as they arrived: the name, and the payload. In a queue nothing but the payload has a name.
async fn travels(
    t: &Bench,
    user: &User,
    transport: Transport,
    way: Way,
    events: &[Emission],
) -> Outcome<Vec<(String, Value)>> {
    let mut device = match way {
        Way::Live | Way::LiveBatch => Some(t.connect_raw(user, transport).await?),
        Way::Queued | Way::QueuedBatch => None,
    };
    // A server may reach a user with several devices in another way than one with a single device.
    let _second = match (&device, transport) {
        (Some(_), Transport::Polling) => Some(t.connect_raw(user, Transport::WebSocket).await?),
        _ => None,
    };
    let mut arrived = Vec::new();
    match (way, device.as_mut()) {
        (Way::Live, Some(device)) => {
            for event in events {
                t.emit(event).await?;
                arrived.push((event.event_type.clone(), device.expect_event(&event.event_type).await?));
            }
            return Ok(arrived);
        }
        (Way::Queued, _) => {
            for event in events {
                t.emit(event).await?;
            }
        }
        _ => {
            let bodies: Value = events.iter().map(Emission::body).collect();
            t.control("POST", "/events/batch", &bodies).await?.expect_status(202)?;
        }
    }
    match device {
        Some(mut device) => {
            for event in events {
                arrived.push((event.event_type.clone(), device.expect_event(&event.event_type).await?));
            }
        }
        None => {
            let queued = t.connect_raw(user, transport).await?.expect_queued().await?;
            let name = |payload: &Value| payload["eventType"].as_str().unwrap_or_default().to_owned();
            arrived.extend(queued.into_iter().map(|payload| (name(&payload), payload)));
        }
    }
    Ok(arrived)
}

/// Everything awkward, for this user: metadata, the ids of actors and resources, every type, and no metadata at all.
fn awkward(t: &Bench, user: &User) -> Vec<Emission> {
    let n = t.random(8);
    let names = [("user", &*user.id), ("other", "someone-else"), ("n", &*n)];
    let lists = [fixtures::METADATA, fixtures::PLAIN].map(|file| fixtures::list(file, "events"));
    let mut events: Vec<_> = lists.concat().iter().map(|entry| Emission::of_fixture(entry, &names)).collect();
    let long = "x".repeat(2_000);
    for odd in ODD.iter().copied().chain([&*long]) {
        let event = t.event_for(user);
        events.push(Emission { actor_id: odd.to_owned(), resource_id: format!("r {odd}"), ..event });
    }
    events.push(Emission { resource_id: user.id.clone(), metadata: None, ..t.event_for(user) });
    // Of what users do themselves they hear, too, and of the same thing twice, twice.
    let own = Emission { actor_id: user.id.clone(), ..t.event_for(user) };
    events.extend([own.clone(), own.clone(), own]);
    let members: serde_json::Map<_, _> = (0..300).map(|n| (format!("member-{n}"), json!(n))).collect();
    let wide = json!({"targetUserId": user.id, "wide": members, "long": (0..1_000).collect::<Vec<_>>()});
    events.push(t.event_for(user).metadata(wide));
    events
}

async fn as_emitted(t: Bench, transport: Transport, way: Way) -> Outcome {
    let first = t.user().await?;
    let count = awkward(&t, &first).len();
    expect::that(count > AT_A_TIME / 2, "events to send", count.to_string())?;
    for from in (0..count).step_by(AT_A_TIME) {
        let alice = t.user().await?;
        let all = awkward(&t, &alice);
        let events = &all[from..count.min(from + AT_A_TIME)];
        let arrived = travels(&t, &alice, transport, way, events).await?;
        expect::that(arrived.len() == events.len(), format!("{} events", events.len()), arrived.len().to_string())?;
        for (event, (name, payload)) in events.iter().zip(&arrived) {
            expect::equal("the name", &json!(event.event_type), &json!(name))?;
            whole(event, payload)?;
        }
    }
    Ok(())
}

fn whole(event: &Emission, payload: &Value) -> Outcome {
    expect::member(payload, "eventType", &event.event_type)?;
    expect::member(payload, "actorId", &event.actor_id)?;
    expect::member(payload, "resourceId", &event.resource_id)?;
    expect::equal("metadata", event.metadata.as_ref().unwrap_or(&json!({})), &payload["metadata"])?;
    let time = expect::iso_timestamp(payload["timestamp"].as_str().unwrap_or_default())?;
    let off = Duration::from_millis(time.abs_diff(now_ms()));
    expect::that(off < FRESH, "the time of the emission", format!("{off:?} off"))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// An event of which the body has about so many bytes, no two parts of it alike.
fn of_size(t: &Bench, user: &User, n: usize, bytes: usize) -> Emission {
    let padding: String = (0..bytes / 10).map(|at| format!("{at:010}")).collect();
    t.event_for(user).metadata(json!({"targetUserId": user.id, "n": n, "padding": padding}))
}

async fn large(t: Bench, transport: Transport) -> Outcome {
    for way in [Way::Live, Way::Queued, Way::LiveBatch, Way::QueuedBatch] {
        let alice = t.user().await?;
        let events: Vec<_> =
            [5_000, 17_000, 33_000, 62_000].iter().enumerate().map(|(n, size)| of_size(&t, &alice, n, *size)).collect();
        let arrived = travels(&t, &alice, transport, way, &events).await?;
        expect::that(arrived.len() == events.len(), format!("{} events", events.len()), arrived.len().to_string())?;
        events.iter().zip(&arrived).try_for_each(|(event, (_, payload))| whole(event, payload))?;
    }
    // Letters that are half in one piece and half in the next, wherever a server cuts: of four bytes, and of two units of UTF-16.
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    for shift in 0..4 {
        let text = format!("{}{}", "x".repeat(shift), "🩺".repeat(9_000));
        let event = t.event_for(&alice).metadata(json!({"targetUserId": alice.id, "text": text}));
        t.emit(&event).await?;
        whole(&event, &device.expect_event("record.accessed").await?)?;
    }
    Ok(())
}

/// What a server adds to an event counts against no limit. In a batch an event may be refused for its size; where it is not, it arrives.
async fn full(t: Bench, transport: Transport) -> Outcome {
    let bob = t.user().await?;
    let just = |user: &User, size: usize| {
        let event = t.event_for(user).metadata(json!({"targetUserId": user.id, "n": 1, "text": ""}));
        let text = "x".repeat(size - event.body().to_string().len());
        event.metadata(json!({"targetUserId": user.id, "n": 1, "text": text}))
    };
    let mut devices = vec![t.connect_raw(&bob, transport).await?];
    for _ in 0..2 {
        for (path, size) in [("/events", EVENT_LIMIT), ("/events/batch", EVENT_LIMIT), ("/events/batch", 300 << 10)] {
            let alice = t.user().await?;
            for user in [&alice, &bob] {
                let event = just(user, size);
                let body = if path == "/events" { event.body() } else { json!([event.body()]) };
                let answer = t.control("POST", path, &body).await?;
                if size > EVENT_LIMIT && matches!(answer.status, 400 | 413) {
                    continue;
                }
                answer.expect_status(202)?;
                if user.id == alice.id {
                    let queued = t.connect_raw(&alice, transport).await?.expect_queued().await?;
                    numbered(&queued, [1])?;
                    whole(&event, &queued[0])?;
                    continue;
                }
                for device in &mut devices {
                    whole(&event, &device.expect_event("record.accessed").await?)?;
                }
            }
        }
        // A server may reach a user with several devices in another way than one with a single device.
        devices.push(t.connect_raw(&bob, Transport::WebSocket).await?);
    }
    Ok(())
}

async fn large_queue(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let events: Vec<_> = (1..=50).map(|n| of_size(&t, &alice, n, 60_000)).collect();
    for event in &events {
        t.emit(event).await?;
    }
    let queued = t.connect_raw(&alice, transport).await?.expect_queued().await?;
    numbered(&queued, 1..=50)?;
    events.iter().zip(&queued).try_for_each(|(event, payload)| whole(event, payload))
}

async fn burst(t: Bench, transport: Transport) -> Outcome {
    const EVENTS: usize = 200;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    t.emit_at_once(&alice, 1, EVENTS).await?;
    let mut came = Vec::new();
    while came.len() < EVENTS {
        came.push(device.expect_event("record.accessed").await?);
    }
    let mut came = numbers(&came);
    came.sort_unstable();
    expect::equal("what arrives", &json!((1..=EVENTS).collect::<Vec<_>>()), &json!(came))?;
    device.expect_silence(QUIET).await
}

/// One device alone, several of one user, on either transport, live and by the queue.
async fn once(t: Bench) -> Outcome {
    const FOR: Duration = Duration::from_secs(12);
    let polls = t.target().declares("polling");
    let second = if polls { Transport::Polling } else { Transport::WebSocket };
    let mut devices = Vec::new();
    let mut users = Vec::new();
    for transports in [&[Transport::WebSocket][..], &[second], &[Transport::WebSocket, second]] {
        let user = t.user().await?;
        t.emit_numbered(&user, 1, 2).await?;
        devices.push(finds_over(&t, &user, transports[0], 1..=2).await?);
        for transport in &transports[1..] {
            devices.push(t.connect_raw(&user, *transport).await?);
        }
        users.push((user, transports.len()));
    }
    for (user, _) in &users {
        t.emit_numbered(user, 3, 4).await?;
    }
    let quiet = devices.iter_mut().map(|device| async {
        receives(device, 3..=4).await?;
        device.expect_silence(FOR).await
    });
    try_join_all(quiet).await?;
    let mut devices = devices.iter_mut();
    for (user, count) in &users {
        t.emit_numbered(user, 5, 5).await?;
        for device in devices.by_ref().take(*count) {
            receives(device, [5]).await?;
        }
    }
    Ok(())
}

/// One device alone, each of two, and, where that is possible, one that acknowledges.
async fn soon(t: Bench, transport: Transport) -> Outcome {
    let (alice, bob, carol) = (t.user().await?, t.user().await?, t.user().await?);
    let mut alone = [t.connect_raw(&alice, transport).await?];
    let mut both = [t.connect_raw(&bob, transport).await?, t.connect_raw(&bob, Transport::WebSocket).await?];
    are_told_soon(&t, &alice, &mut alone).await?;
    are_told_soon(&t, &bob, &mut both).await?;
    if t.target().declares("ack") {
        let mut acknowledging = [acks::connect(&t, &carol, t.opening(transport), true).await?];
        are_told_soon(&t, &carol, &mut acknowledging).await?;
    }
    Ok(())
}

/// Three of nine are enough: a machine that is busy may keep some of them waiting.
async fn are_told_soon(t: &Bench, user: &User, devices: &mut [Client]) -> Outcome {
    const SOON: Duration = Duration::from_secs(1);
    let mut took = Vec::new();
    for n in 1..=9 {
        let began = Instant::now();
        t.emit_numbered(user, n, n).await?;
        for device in devices.iter_mut() {
            acks::takes(device, n as u64..=n as u64).await?;
        }
        took.push(began.elapsed());
        // Who sends by a clock is in time now and then; who is disturbed is late now and then.
        if took.iter().filter(|it| **it < SOON).count() == 3 {
            return Ok(());
        }
    }
    Err(mismatch(format!("three of nine events within {SOON:?}"), format!("{took:?}")))
}

async fn time_goes_on(t: Bench) -> Outcome {
    const APART: Duration = Duration::from_millis(1_200);
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let mut times = Vec::new();
    let began = Instant::now();
    for n in 1..=12 {
        if n == 12 {
            // The passing of time is what is tested here.
            sleep(APART).await;
        }
        t.emit_numbered(&alice, n, n).await?;
        let payload = device.expect_event("record.accessed").await?;
        times.push(expect::iso_timestamp(payload["timestamp"].as_str().unwrap_or_default())?);
    }
    let told = format!("{times:?}");
    expect::that(times.is_sorted(), "times that do not go back", &*told)?;
    expect::that(times.iter().any(|time| time % 1_000 != 0), "times with milliseconds", &*told)?;
    let passed = Duration::from_millis(u64::try_from(times[11] - times[10]).unwrap_or(0));
    let fits = passed + Duration::from_millis(200) >= APART && passed <= began.elapsed() + Duration::from_millis(200);
    expect::that(fits, format!("{APART:?} between the last two"), format!("{passed:?}: {told}"))
}

async fn closed(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    receives(&mut device, [1]).await?;
    device.close().await?;
    // A server may answer the close before it has taken note of it, and nothing can be seen of that.
    sleep(Duration::from_secs(1)).await;
    t.emit_numbered(&alice, 2, 3).await?;
    finds(&t, &alice, 2..=3).await.map(drop)
}

async fn live_only(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    t.emit_numbered(&alice, 1, 3).await?;
    receives(&mut device, 1..=3).await?;
    device.disconnect().await;
    finds_nothing(&t, &alice).await.map(drop)
}

async fn live_batch(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    let batch: Value = (1..=3).map(|n| body_for(&alice, n)).collect();
    t.control("POST", "/events/batch", &batch).await?.expect_status(202)?;
    receives(&mut device, 1..=3).await?;
    device.disconnect().await;
    finds_nothing(&t, &alice).await.map(drop)
}

async fn queue_once(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 3).await?;
    let first = finds_over(&t, &alice, transport, 1..=3).await?;
    let second = finds_nothing(&t, &alice).await?;
    first.disconnect().await;
    second.disconnect().await;
    finds_nothing(&t, &alice).await.map(drop)
}
