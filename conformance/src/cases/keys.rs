//! SPEC 6: what an Idempotency-Key covers, and batches of which the store takes a part.

use serde_json::{Value, json};

use super::kit::{
    QUIET,
    control::{accepted, body_for, mixed, names_the_key, until_accepted, until_settled},
    numbers::{exactly, numbered, numbers, receives},
    queue::{finds, finds_nothing},
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Client, Transport},
    expect::{self, Outcome, inconclusive},
    proxy::Proxy,
};

pub(super) const CASES: &[Case] = &[
    case!("EMIT-21/routes", "an Idempotency-Key of one route is free at the other", routes),
    case!("EMIT-21/at-once", "so it is while that route is at work on it", routes_at_once),
    case!("EMIT-19/byte-by-byte", "a body that means the same and is written otherwise is another", written_otherwise)
        .also(&["EMIT-10"]),
    case!("EMIT-06/delivery", "the first answer tells what became of the event then, and not now", as_it_was),
    case!("EMIT-06/many", "a key is known though hundreds have come since", among_many),
    case!("EMIT-06/thousand", "the answer to a batch of 1,000 is kept, too", of_a_thousand),
    case!("EMIT-22/in-part", "503 tells which events of a batch were accepted, and no other was", in_part)
        .needs(&[Need::OwnServer])
        .also(&["EMIT-10"]),
    case!(
        "EMIT-23/rest",
        "a batch that was accepted in part is completed by its repetition",
        completed(|t, bob| t.redis_line().map(|line| line.cut_at(&bob.id)))
    )
    .needs(&[Need::OwnServer])
    .also(&["EMIT-19"]),
    case!("EMIT-23/away", "so is one that found no store at all", completed(|t, _| t.redis_line().map(Proxy::cut)))
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

/// The rounds are many, for whether one comes in the midst of the other is a matter of luck.
async fn routes_at_once(t: Bench) -> Outcome {
    const ROUNDS: usize = 10;
    for _ in 0..ROUNDS {
        let alice = t.user().await?;
        let key = t.random(24);
        let headers = [("idempotency-key", &*key)];
        let batch = json!([body_for(&alice, 2), body_for(&alice, 3)]).to_string();
        let one = t.control_text("POST", "/events", &headers, body_for(&alice, 1).to_string());
        let (one, several) = tokio::try_join!(one, t.control_text("POST", "/events/batch", &headers, batch))?;
        one.expect_status(202)?;
        several.expect_status(202)?;
        expect::that(one.json()["eventId"].is_string(), "the answer for an event", one.describe())?;
        let answers = several.json().as_array().map(Vec::len);
        expect::that(answers == Some(2), "an answer for each event of the batch", several.describe())?;
        let mut came = numbers(&t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?);
        came.sort_unstable();
        exactly(&came, 1..=3)?;
    }
    Ok(())
}

async fn written_otherwise(t: Bench) -> Outcome {
    let alice = t.user().await?;
    for (n, path) in [(1, "/events"), (2, "/events/batch")] {
        let (mut event, shape) = (body_for(&alice, n), |event: &str| match path {
            "/events" => event.to_owned(),
            _ => format!("[{event}]"),
        });
        let first = shape(&event.to_string());
        let escaped = first.replace("actor-1", r"\u0061ctor-1");
        let actor = event.as_object_mut().and_then(|members| members.shift_remove("actorId")).unwrap_or_default();
        event["actorId"] = actor;
        let reordered = shape(&event.to_string());
        let headers = [("idempotency-key", &*t.random(24))];
        let accepted = t.control_text("POST", path, &headers, first.clone()).await?;
        accepted.expect_status(202)?;
        for other in [format!("{first}\n"), format!(" {first}"), first.replacen(':', ": ", 1), reordered, escaped] {
            expect::that(other != first, "another body", "the same")
                .map_err(|_| inconclusive("nothing to tell apart"))?;
            names_the_key(&t.control_text("POST", path, &headers, other).await?)?;
        }
        let again = t.control_text("POST", path, &headers, first).await?;
        again.expect_status(202)?;
        expect::equal("the first answer", &accepted.json(), &again.json())?;
    }
    finds(&t, &alice, 1..=2).await.map(drop)
}

/// Somebody who was away is there when the request is repeated, and then the other way round.
async fn as_it_was(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = None;
    for n in [1, 3] {
        let mut answers = Vec::new();
        for (path, body) in [("/events", body_for(&alice, n)), ("/events/batch", json!([body_for(&alice, n + 1)]))] {
            let (key, body) = (t.random(24), body.to_string());
            let first = t.control_text("POST", path, &[("idempotency-key", &key)], body.clone()).await?;
            first.expect_status(202)?;
            answers.push((path, key, body, first.json()));
        }
        device = match device.take() {
            None => Some(finds(&t, &alice, n..=n + 1).await?),
            Some(mut device) => {
                receives(&mut device, n..=n + 1).await?;
                device.disconnect().await;
                None
            }
        };
        for (path, key, body, first) in answers {
            let again = t.control_text("POST", path, &[("idempotency-key", &key)], body).await?;
            again.expect_status(202)?;
            expect::equal("the same answer", &first, &again.json())?;
        }
        if let Some(device) = &mut device {
            device.expect_silence(QUIET).await?;
        }
    }
    finds_nothing(&t, &alice).await.map(drop)
}

async fn among_many(t: Bench) -> Outcome {
    const OTHERS: usize = 300;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let (key, body) = (t.random(24), body_for(&alice, 1).to_string());
    let first = t.control_text("POST", "/events", &[("idempotency-key", &key)], body.clone()).await?;
    first.expect_status(202)?;
    for n in 1..=OTHERS {
        let another = [("idempotency-key", &*t.random(24))];
        t.control_text("POST", "/events", &another, body_for(&bob, n).to_string()).await?.expect_status(202)?;
    }
    let again = t.control_text("POST", "/events", &[("idempotency-key", &key)], body).await?;
    again.expect_status(202)?;
    expect::equal("the same answer", &first.json(), &again.json())?;
    finds(&t, &alice, [1]).await.map(drop)
}

async fn of_a_thousand(t: Bench) -> Outcome {
    const EVENTS: usize = 1_000;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let key = t.random(24);
    let headers = [("idempotency-key", &*key)];
    let batch = (1..=EVENTS).map(|n| body_for(&alice, n)).collect::<Value>().to_string();
    let first = t.control_text("POST", "/events/batch", &headers, batch.clone()).await?;
    first.expect_status(202)?;
    receives(&mut device, 1..=EVENTS).await?;
    let again = t.control_text("POST", "/events/batch", &headers, batch).await?;
    again.expect_status(202)?;
    expect::equal("the same answers", &first.json(), &again.json())?;
    device.expect_silence(QUIET).await
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
    if !told.is_empty() {
        let another = json!([body_for(&alice, 8), body_for(&bob, 8)]).to_string();
        names_the_key(&until_settled(&t, &key, &another).await?)?;
    }
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
