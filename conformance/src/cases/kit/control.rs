//! The control surface: bodies, and what the answers to them are.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    bench::{Answer, Bench, User},
    expect::{self, Outcome, mismatch},
};

/// The largest event of EMIT-11, in bytes.
pub(crate) const EVENT_LIMIT: usize = 64 << 10;
const MEMBERS: [&str; 4] = ["eventType", "actorId", "resourceId", "metadata"];
/// How often a request is repeated, and for how long: a server comes back to its store by itself, in its own time.
const POLL: Duration = Duration::from_millis(100);
const RECOVERY: Duration = Duration::from_secs(20);

/// The body of a numbered event.
pub(crate) fn body_for(user: &User, n: usize) -> Value {
    json!({"eventType": "record.accessed", "actorId": "actor-1", "resourceId": format!("record-{n}"),
        "metadata": {"targetUserId": user.id, "n": n}})
}

/// Events in turn for somebody who is connected and somebody who is not.
pub(crate) fn mixed(alice: &User, bob: &User) -> Value {
    json!([body_for(alice, 1), body_for(bob, 1), body_for(alice, 2), body_for(bob, 2)])
}

/// A problem document of this status that names `member`, if there is one to name.
pub(crate) fn problem(answer: &Answer, status: u16, member: Option<&str>) -> Outcome {
    answer.expect_status(status)?;
    let kind = answer.header("content-type").unwrap_or_default();
    let is_problem = kind.split(';').next() == Some("application/problem+json");
    expect::that(is_problem, "Content-Type: application/problem+json", kind)?;
    let document = answer.json();
    expect::equal("status", &json!(status), &document["status"])?;
    for name in ["title", "detail"] {
        let there = document[name].as_str().is_some_and(|text| !text.is_empty());
        expect::that(there, format!("a problem document with {name}"), answer.describe())?;
    }
    match member {
        Some(member) => {
            expect::that(answer.body.contains(member), format!("an error that names {member}"), answer.describe())?;
            // One that names all of them tells nobody which it was.
            let others = |name: &&str| *name != member && answer.body.contains(*name);
            let vague = MEMBERS.contains(&member) && MEMBERS.iter().any(others);
            expect::that(!vague, format!("an error that names {member} and no other member"), answer.describe())
        }
        None => Ok(()),
    }
}

/// What requests with one key were answered at once: one 202 at least, all 202 alike, and the others told to come again (EMIT-18).
pub(crate) fn one_answer(answers: Vec<Outcome<Answer>>) -> Outcome {
    let mut accepted: Vec<Value> = Vec::new();
    for answer in answers {
        let answer = answer?;
        if !is_put_off(&answer)? {
            answer.expect_status(202)?;
            accepted.push(answer.json());
        }
    }
    accepted.dedup();
    expect::that(accepted.len() == 1, "one answer", format!("{accepted:?}"))
}

/// Whether the request is told to come again, for another one with its key is at work.
pub(crate) fn is_put_off(answer: &Answer) -> Outcome<bool> {
    if answer.status != 409 {
        return Ok(false);
    }
    problem(answer, 409, None)?;
    expect::that(answer.header("retry-after").is_some(), "409 with Retry-After", answer.describe())?;
    Ok(true)
}

/// The key is refused, by its name, for it was used with another body (EMIT-19).
pub(crate) fn names_the_key(answer: &Answer) -> Outcome {
    problem(answer, 422, None)?;
    let detail = answer.json()["detail"].as_str().unwrap_or_default().to_lowercase();
    expect::that(detail.contains("idempotency-key"), "a detail that names Idempotency-Key", detail)
}

/// What a 503 tells as accepted: the places in the batch, with the ids that the events were given.
pub(crate) fn accepted(answer: &Answer) -> Outcome<Vec<(u64, Value)>> {
    problem(answer, 503, None)?;
    let told = answer.json()["accepted"].as_array().cloned().unwrap_or_default();
    let place = |it: &Value| Some((it["index"].as_u64()?, it.get("eventId")?.clone()));
    let places: Option<Vec<_>> = told.iter().map(place).collect();
    places.ok_or_else(|| mismatch("accepted events, each with index and eventId", answer.describe()))
}

/// Repeats a batch with a key until it is accepted.
pub(crate) async fn until_accepted(t: &Bench, key: &str, batch: &str) -> Outcome<Answer> {
    let answer = until_settled(t, key, batch).await?;
    if answer.status == 202 { Ok(answer) } else { Err(mismatch(format!("202 within {RECOVERY:?}"), answer.describe())) }
}

/// Repeats a batch with a key for as long as the server is without its store, or at work on it; returns what it comes to.
pub(crate) async fn until_settled(t: &Bench, key: &str, batch: &str) -> Outcome<Answer> {
    let deadline = Instant::now() + RECOVERY;
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        let answer = t.control_text("POST", "/events/batch", &[("idempotency-key", key)], batch.to_owned()).await?;
        if !matches!(answer.status, 409 | 503) || Instant::now() > deadline {
            return Ok(answer);
        }
    }
}
