//! SPEC 6: what an Idempotency-Key covers, and batches of which the store takes a part.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    QUIET,
    emit::{body_for, problem},
    numbers::{numbered, receives},
    queue::finds,
};
use crate::{
    bench::{Answer, Bench, User},
    case::{Case, Need},
    client::{Client, Transport},
    expect::{self, Outcome, mismatch},
    proxy::Proxy,
};

/// How often a request is repeated, and for how long: a server comes back to its store by itself, in its own time.
const POLL: Duration = Duration::from_millis(100);
const RECOVERY: Duration = Duration::from_secs(20);

pub(super) const CASES: &[Case] = &[
    Case::new("EMIT-21/routes", "an Idempotency-Key of one route is free at the other", |t| Box::pin(routes(t))),
    Case::new("EMIT-22/in-part", "503 tells which events of a batch were accepted, and no other was", |t| {
        Box::pin(in_part(t))
    })
    .needs(&[Need::OwnServer])
    .also(&["EMIT-10"]),
    Case::new("EMIT-23/rest", "a batch that was accepted in part is completed by its repetition", |t| {
        Box::pin(completed(t, |t, bob| t.redis_line().map(|line| line.cut_at(&bob.id))))
    })
    .needs(&[Need::OwnServer]),
    Case::new("EMIT-23/away", "so is one that found no store at all", |t| {
        Box::pin(completed(t, |t, _| t.redis_line().map(Proxy::cut)))
    })
    .needs(&[Need::OwnServer]),
];

async fn routes(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let key = t.random(24);
    let headers = [("idempotency-key", &*key)];
    let one = t.control_text("POST", "/events", &headers, body_for(&alice, 1).to_string()).await?;
    one.expect_status(202)?;
    let batch = json!([body_for(&alice, 2)]).to_string();
    let several = t.control_text("POST", "/events/batch", &headers, batch).await?;
    several.expect_status(202)?;
    expect::that(several.json().is_array(), "an answer for each event of the batch", several.describe())?;
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    numbered(&queued, [1, 2])
}

/// Events in turn for somebody who is connected and somebody who is not.
pub(super) fn mixed(alice: &User, bob: &User) -> Value {
    json!([body_for(alice, 1), body_for(bob, 1), body_for(alice, 2), body_for(bob, 2)])
}

/// What a 503 tells as accepted: the places in the batch, with the ids that the events were given.
pub(super) fn accepted(answer: &Answer) -> Outcome<Vec<(u64, Value)>> {
    problem(answer, 503, None)?;
    let told = answer.json()["accepted"].as_array().cloned().unwrap_or_default();
    let place = |it: &Value| Some((it["index"].as_u64()?, it.get("eventId")?.clone()));
    let places: Option<Vec<_>> = told.iter().map(place).collect();
    places.ok_or_else(|| mismatch("accepted events, each with index and eventId", answer.describe()))
}

/// The device was given the events of these places, under these ids.
async fn given(device: &mut Client, accepted: &[(u64, Value)]) -> Outcome {
    for (place, id) in accepted {
        let payload = device.expect_event("record.accessed").await?;
        numbered(std::slice::from_ref(&payload), [usize::try_from(*place).unwrap_or(0) / 2 + 1])?;
        expect::equal("eventId", id, &payload["eventId"])?;
    }
    Ok(())
}

async fn in_part(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.redis_line()?.cut();
    let answer = t.control("POST", "/events/batch", &mixed(&alice, &bob)).await?;
    let told = accepted(&answer)?;
    let places: Vec<_> = told.iter().map(|(place, _)| *place).collect();
    expect::equal("the places of what was accepted", &json!([0, 2]), &json!(places))?;
    for it in answer.json()["accepted"].as_array().into_iter().flatten() {
        expect::member(it, "delivery", "live")?;
    }
    given(&mut device, &told).await?;
    t.redis_line()?.restore();
    t.emit_until_accepted(&bob, 3).await?;
    finds(&t, &bob, [3]).await?;
    t.emit_numbered(&alice, 3, 3).await?;
    receives(&mut device, [3]).await?;
    device.expect_silence(QUIET).await
}

/// The store goes away by `fails`, in the middle of the batch or before it.
async fn completed(t: Bench, fails: fn(&Bench, &User) -> Outcome) -> Outcome {
    let t = t.own_server(&[]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let key = t.random(24);
    let headers = [("idempotency-key", &*key)];
    let batch = mixed(&alice, &bob).to_string();
    fails(&t, &bob)?;
    let told = accepted(&t.control_text("POST", "/events/batch", &headers, batch.clone()).await?)?;
    given(&mut device, &told).await?;
    t.redis_line()?.restore();
    let done = until_accepted(&t, &key, &batch).await?;
    let ids = || done.json().as_array().into_iter().flatten().map(|it| it["eventId"].clone()).collect::<Vec<_>>();
    expect::that(ids().len() == 4, "an answer for each event of the batch", done.describe())?;
    for (place, id) in &told {
        let again = ids().get(usize::try_from(*place).unwrap_or(usize::MAX)).cloned().unwrap_or_default();
        expect::equal("the eventId of what was accepted before", id, &again)?;
    }
    let left: Vec<_> = [0, 2].into_iter().filter(|place| told.iter().all(|(known, _)| known != place)).collect();
    receives(&mut device, left.into_iter().map(|place| place / 2 + 1).map(|n: u64| n as usize)).await?;
    let again = t.control_text("POST", "/events/batch", &headers, batch).await?;
    again.expect_status(202)?;
    expect::equal("the same answers", &done.json(), &again.json())?;
    finds(&t, &bob, 1..=2).await?;
    device.expect_silence(QUIET).await
}

/// Repeats a batch with a key until it is accepted; meanwhile the server may be without its store, or at work on it.
pub(super) async fn until_accepted(t: &Bench, key: &str, batch: &str) -> Outcome<Answer> {
    let deadline = Instant::now() + RECOVERY;
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        let answer = t.control_text("POST", "/events/batch", &[("idempotency-key", key)], batch.to_owned()).await?;
        match answer.status {
            202 => return Ok(answer),
            409 | 503 if Instant::now() < deadline => {}
            _ => return Err(mismatch(format!("202 within {RECOVERY:?}"), answer.describe())),
        }
    }
}
