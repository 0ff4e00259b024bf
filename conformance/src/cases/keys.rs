//! SPEC 6: what an Idempotency-Key covers, and batches of which the store takes a part.

use serde_json::{Value, json};

use super::kit::{
    QUIET,
    control::{accepted, body_for, mixed, names_the_key, until_accepted, until_settled},
    numbers::{numbered, receives},
    queue::finds,
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Client, Transport},
    expect::{self, Outcome},
    proxy::Proxy,
};

pub(super) const CASES: &[Case] = &[
    case!("EMIT-21/routes", "an Idempotency-Key of one route is free at the other", routes),
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
