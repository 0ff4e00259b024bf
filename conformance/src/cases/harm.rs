//! SPEC 11: one user's clients, however they behave, harm no other user.

use std::{future::Future, time::Duration};

use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep};

use super::kit::numbers::{numbers, payloads, receives};
use crate::{
    bench::{Answer, Bench, User},
    case::{Case, Need},
    client::{Arrival, Client, Transport},
    expect::{self, Outcome, mismatch},
};

/// How long the clients misbehave.
const FOR: Duration = Duration::from_secs(8);
/// How many of them there are.
const CLIENTS: usize = 20;
/// How many requests at a time are made for the user whose clients misbehave, if they are held up; how often each of them is made again, so
/// that a machine that is busy for a moment does not bring them together; and the numbers that each may give its events.
const LANES: u32 = 24;
const A_LANE_EVERY: Duration = Duration::from_secs(2);
const A_LANE: u32 = 1_000;
/// How long each of them stays.
const STAYS: Duration = Duration::from_millis(250);
/// How often an event is emitted for each of the others.
const EVERY: Duration = Duration::from_millis(100);
/// What an event of another user may take, and one for the user whose clients misbehave; the second is the sentence's, and a second.
const HELD_UP: Duration = Duration::from_secs(5);
const WAITS: Duration = Duration::from_secs(16);

const CONTROL: &[Need] = &[Need::Capability("control")];
const CONTROL_AND_POLLING: &[Need] = &[Need::Capability("control"), Need::Capability("polling")];

pub(super) const CASES: &[Case] = &[
    case!(
        "SLOW-11/polling",
        "clients that connect, never poll and leave hold up nobody else",
        others_are_served(polls_never)
    )
    .needs(CONTROL_AND_POLLING),
    case!(
        "SLOW-11/websocket",
        "clients that connect, never read and are gone hold up nobody else",
        others_are_served(reads_never)
    )
    .needs(CONTROL),
];

/// One that sends a CONNECT by polling, never asks for the answer nor for what was queued, and says that it is gone.
async fn polls_never(t: Bench, mallory: User) {
    const PATH: &str = "/socket.io/?EIO=4&transport=polling";
    let Ok(token) = t.token(&mallory).await else { return };
    let Ok(opened) = t.http("GET", PATH, &[], None::<String>).await else { return };
    let Some(handshake) = opened.body.strip_prefix('0').and_then(|json| serde_json::from_str::<Value>(json).ok())
    else {
        return;
    };
    let path = format!("{PATH}&sid={}", handshake["sid"].as_str().unwrap_or_default());
    let headers = [("content-type", "text/plain")];
    let connect = format!("40/notifications,{}", json!({"token": token}));
    // What comes of it is no matter: this client is not to be relied on.
    let _ = t.http("POST", &path, &headers, Some(connect)).await;
    sleep(STAYS).await;
    let _ = t.http("POST", &path, &headers, Some("1")).await;
}

/// One whose line carries nothing once it is connected, and breaks then.
async fn reads_never(t: Bench, mallory: User) {
    let Ok(line) = t.slow_line(0).await else { return };
    let Ok(token) = t.token(&mallory).await else { return };
    let opening = t.opening_over(&line, Transport::WebSocket);
    let Ok(mut device) = t.attempt_raw(opening, Some(json!({"token": token}))).await else { return };
    if device.expect_accepted().await.is_ok() {
        line.black_hole();
        sleep(STAYS).await;
        line.cut();
    }
}

async fn others_are_served<F>(t: Bench, misbehaves: fn(Bench, User) -> F) -> Outcome
where
    F: Future<Output = ()> + Send,
{
    // A server that is harmed would fail all the cases that share it.
    let t = if t.target().process.is_some() { t.own_server(&[]).await? } else { t };
    let mallory = t.user().await?;
    let others = try_join_all((0..4).map(|_| t.user())).await?;
    let mut devices = try_join_all(others.iter().map(|user| t.connect_raw(user, Transport::WebSocket))).await?;
    let away = try_join_all((0..4).map(|_| t.user())).await?;
    let bystander = t.user().await?;
    // Something that waits for the clients, and comes again with each that leaves it.
    t.emit_numbered(&mallory, 1, 3).await?;
    let until = Instant::now() + FOR;
    let chaos = join_all((0..CLIENTS).map(|_| async {
        while Instant::now() < until {
            misbehaves(t.clone(), mallory.clone()).await;
        }
    }));
    let served = try_join_all(others.iter().zip(&mut devices).map(|(user, device)| is_served(&t, user, device, until)));
    let queued = try_join_all(away.iter().map(|user| is_queued(&t, user, until)));
    let refused = emits_for(&t, &mallory, &bystander, until);
    let (_, served, queued, refused) = tokio::join!(chaos, served, queued, refused);
    served?;
    for (user, last) in away.iter().zip(queued?) {
        let got = numbers(&t.connect_raw(user, Transport::WebSocket).await?.expect_queued().await?);
        let expected: Vec<_> = (last.saturating_sub(49).max(1)..=last).collect();
        expect::equal("what was queued for another user", &json!(expected), &json!(got))?;
    }
    nothing_of(&t, &mallory, &refused?).await
}

/// Events for this user are accepted and arrive, all the while.
async fn is_served(t: &Bench, user: &User, device: &mut Client, until: Instant) -> Outcome {
    let mut tick = interval(EVERY);
    for n in 1.. {
        tick.tick().await;
        if Instant::now() > until {
            break;
        }
        in_time(t, user, n).await?;
        receives(device, [n]).await?;
    }
    Ok(())
}

/// Events for this user, who is away, are accepted all the while; returns how many.
async fn is_queued(t: &Bench, user: &User, until: Instant) -> Outcome<u64> {
    let mut tick = interval(EVERY);
    let mut last = 0;
    while Instant::now() < until {
        tick.tick().await;
        last += 1;
        in_time(t, user, last).await?;
    }
    Ok(last as u64)
}

async fn in_time(t: &Bench, user: &User, n: usize) -> Outcome {
    let (answer, took) = emit(t, user, n).await?;
    let told = format!("HTTP 202 within {HELD_UP:?} for the event {n} of another user");
    expect::that(answer.status == 202 && took < HELD_UP, told, format!("{} after {took:?}", answer.describe()))
}

async fn emit(t: &Bench, user: &User, n: usize) -> Outcome<(Answer, Duration)> {
    let began = Instant::now();
    let answer = t.control("POST", "/events", &t.numbered(user, n).body()).await?;
    Ok((answer, began.elapsed()))
}

/// Emits for the user whose clients misbehave, in many requests at a time, each beside an event for somebody else; returns what was
/// refused.
async fn emits_for(t: &Bench, mallory: &User, other: &User, until: Instant) -> Outcome<Vec<u64>> {
    let lanes = (1..=LANES).map(|lane| async move {
        let mut refused = Vec::new();
        // One after the other: only requests that are held up are many in hand at once.
        sleep(A_LANE_EVERY / LANES * (lane - 1)).await;
        let mut tick = interval(A_LANE_EVERY);
        for n in (lane * A_LANE) as usize.. {
            tick.tick().await;
            if Instant::now() > until {
                break;
            }
            let batch = json!([t.numbered(mallory, n).body(), t.numbered(other, n).body()]);
            let began = Instant::now();
            let answer = t.control("POST", "/events/batch", &batch).await?;
            let took = began.elapsed();
            let fits = match answer.status {
                202 | 503 => true,
                429 => answer.header("retry-after").is_some(),
                _ => false,
            };
            let told = "HTTP 202, 503, or 429 with Retry-After, within 15 s";
            expect::that(fits && took < WAITS, told, format!("{} after {took:?}", answer.describe()))?;
            if answer.status != 202 {
                refused.push(n as u64);
            }
        }
        Ok(refused)
    });
    Ok(try_join_all(lanes).await?.concat())
}

/// None of the events that were refused is there in the end.
async fn nothing_of(t: &Bench, mallory: &User, refused: &[u64]) -> Outcome {
    const SENTINEL: usize = 1_000_000;
    let deadline = Instant::now() + WAITS;
    let mut device = t.connect_raw(mallory, Transport::WebSocket).await?;
    while emit(t, mallory, SENTINEL).await?.0.status != 202 {
        if Instant::now() > deadline {
            return Err(mismatch("events accepted again, now that the clients are gone", "they are still refused"));
        }
    }
    let mut came: Vec<u64> = Vec::new();
    while came.last() != Some(&(SENTINEL as u64)) {
        match device.next(HELD_UP).await {
            Some(Arrival::Event { name, args, .. }) => came.extend(numbers(payloads(&name, &args))),
            other => return Err(mismatch("the queue and the sentinel", format!("{other:?}"))),
        }
    }
    let done: Vec<_> = refused.iter().filter(|n| came.contains(n)).collect();
    expect::that(done.is_empty(), "nothing of what was refused", format!("{done:?}"))
}
