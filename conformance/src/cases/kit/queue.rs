//! What is queued for a user, and for how long.

use std::time::Duration;

use serde_json::{Value, json};

use super::numbers::numbered;
use crate::{
    bench::{Bench, User},
    client::{Client, Transport},
    expect::{self, Fault, Outcome, inconclusive},
    redis::inspect::Damage,
};

/// The TTL of the contract, in milliseconds.
pub(crate) const DAY_MS: u64 = 86_400_000;
/// How much of the TTL may have passed, or be added by rounding, when a case looks.
pub(crate) const SLACK_MS: u64 = 60_000;

/// The TTL that the cases with a short one ask for.
pub(crate) const SHORT_TTL: Duration = Duration::from_secs(3);

/// Connects, and what is queued is numbered like this.
pub(crate) async fn finds(t: &Bench, user: &User, expected: impl IntoIterator<Item = usize>) -> Outcome<Client> {
    finds_over(t, user, Transport::WebSocket, expected).await
}

/// As [`finds`], over this transport.
pub(crate) async fn finds_over(
    t: &Bench,
    user: &User,
    transport: Transport,
    expected: impl IntoIterator<Item = usize>,
) -> Outcome<Client> {
    let mut device = t.connect_raw(user, transport).await?;
    numbered(&device.expect_queued().await?, expected)?;
    Ok(device)
}

/// Connects, and nothing is queued: the first thing to arrive is what is emitted now.
pub(crate) async fn finds_nothing(t: &Bench, user: &User) -> Outcome<Client> {
    let mut device = t.connect_raw(user, Transport::WebSocket).await?;
    let sentinel = t.event_for(user);
    t.emit(&sentinel).await?;
    let payload = device.expect_event("record.accessed").await?;
    expect::member(&payload, "resourceId", &sentinel.resource_id)?;
    Ok(device)
}

/// Whether one entry could be damaged so, of a queue whose events all have this text.
pub(crate) async fn damages_one(t: &Bench, text: &str, damage: Damage) -> Outcome<bool> {
    let mut redis = t.database()?.view().await.map_err(harness)?;
    // One collection alone: where the events' bodies stand beside a list of their ids, that they are damaged together is no damage of one.
    for (name, key) in redis.holding(text).await.map_err(harness)? {
        if let Some(how) = redis.corrupt_one_entry(&name, &key.kind, damage).await.map_err(harness)? {
            t.transcript().remark("redis", format!("{name}: {how}, with {damage:?}"));
            return Ok(true);
        }
    }
    t.transcript().note(format!("no entry could be damaged with {damage:?}"));
    Ok(false)
}

/// Queues five events for the user, and damages one of them so, where that can be done.
pub(crate) async fn damages_one_of_five(t: &Bench, user: &User, damage: Damage) -> Outcome<bool> {
    let mark = t.random(16);
    for n in 1..=5 {
        let metadata = json!({"targetUserId": user.id, "n": n, "mark": mark});
        t.emit(&t.event_for(user).metadata(metadata)).await?;
    }
    damages_one(t, &mark, damage).await
}

/// Where none could be damaged in any way, as in a store that keeps each event under a key of its own.
pub(crate) fn none_was_damaged() -> Fault {
    inconclusive("no key with the events is a list, stream, sorted set or hash that could be damaged")
}

/// Which of the five was damaged depends on the structure that the target chose; the rest is complete and in order. What is still an object
/// with most of an event in it may be delivered.
pub(crate) fn all_but_one(payloads: &[Value], damage: Damage) -> Outcome {
    let numbers: Vec<_> = payloads.iter().filter_map(|payload| payload["metadata"]["n"].as_u64()).collect();
    let without = |gone: u64| numbers.iter().copied().filter(|n| *n != gone).eq((1..=5).filter(|n| *n != gone));
    let most = if damage.leaves_most() { 5 } else { 4 };
    let right = (1..=5).any(without) && payloads.len() <= most;
    expect::that(right, "four of the five events, in order", format!("{numbers:?} in {} payloads", payloads.len()))
}

/// Redis, and not the server, has failed.
pub(crate) fn harness(error: redis::RedisError) -> Fault {
    inconclusive(format!("looking into Redis: {error}"))
}

/// The user has received nothing so far: the first thing to find on connect is what is emitted now.
pub(crate) async fn received_nothing(t: &Bench, user: &User) -> Outcome {
    t.emit(&t.numbered(user, 4_711)).await?;
    let mut device = t.connect_raw(user, Transport::WebSocket).await?;
    let queued = device.expect_queued().await?;
    let numbers: Vec<_> = queued.iter().map(|payload| payload["metadata"]["n"].clone()).collect();
    expect::equal("nothing queued but the sentinel", &json!([4_711]), &Value::Array(numbers))
}

/// Runs a case on a server with a short TTL, and again with a longer one where it says, by `None`, that the machine was
/// too slow to tell.
pub(crate) async fn with_growing_ttl(
    t: Bench,
    case: impl AsyncFn(Bench, Duration) -> Outcome<Option<Outcome>>,
) -> Outcome {
    for factor in [1, 3, 7] {
        let ttl = SHORT_TTL * factor;
        let server = t.own_server(&[("queue_ttl_seconds", &ttl.as_secs().to_string())]).await?;
        if let Some(outcome) = case(server, ttl).await? {
            return outcome;
        }
        t.transcript().note(format!("the machine was too slow for a TTL of {ttl:?}"));
    }
    Err(inconclusive("the machine was too slow: the TTL had passed before the client was served"))
}
