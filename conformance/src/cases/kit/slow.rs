//! Devices that stop reading, and events that fill what is before them or a queue.

use serde_json::json;

use super::{acks::connect, numbers::receives};
use crate::{
    bench::{Bench, Emission, User},
    client::{Client, Transport},
    expect::{Outcome, mismatch},
    proxy::Proxy,
};

/// The most events of [`big`] until one has to wait: a server that holds more for one connection has no bound to speak of.
const BOUND: usize = 500;

/// An event with a text of so many bytes.
pub(crate) fn sized(t: &Bench, user: &User, n: usize, text: usize) -> Emission {
    t.event_for(user).metadata(json!({"targetUserId": user.id, "n": n, "text": "x".repeat(text)}))
}

/// A user who is away, with so many events queued, each with a text of so many bytes.
pub(crate) async fn user_with_queue(t: &Bench, events: usize, text: usize) -> Outcome<User> {
    let user = t.user().await?;
    for n in 1..=events {
        t.emit(&sized(t, &user, n, text)).await?;
    }
    Ok(user)
}

/// An event of almost the size that is allowed, so that buffers fill in reasonable time.
pub(crate) fn big(t: &Bench, user: &User, n: usize) -> Emission {
    sized(t, user, n, 48 * 1024)
}

/// A client over a line of its own, which then carries nothing any more.
pub(crate) async fn stalled(t: &Bench, user: &User, transport: Transport) -> Outcome<(Client, Proxy)> {
    let line = t.line().await?;
    let device = connect(t, user, t.opening_over(&line, transport), false).await?;
    line.black_hole();
    Ok((device, line))
}

/// A client over a line with little room, which then carries nothing any more.
pub(crate) async fn stalled_narrowly(
    t: &Bench,
    user: &User,
    transport: Transport,
    ack: bool,
) -> Outcome<(Client, Proxy)> {
    let line = t.slow_line(0).await?;
    let device = connect(t, user, t.opening_over(&line, transport), ack).await?;
    line.black_hole();
    Ok((device, line))
}

/// A plain device that fetches the first event, and none of those that are emitted from then on.
pub(crate) async fn fetches_one(t: &Bench, user: &User) -> Outcome<Client> {
    let mut device = t.connect_raw(user, Transport::Polling).await?;
    device.rest()?;
    t.emit_numbered(user, 1, 1).await?;
    receives(&mut device, [1]).await?;
    Ok(device)
}

/// Emits big events until one has to wait, and on to `least`, if that is more; returns how many.
pub(crate) async fn until_one_waits(t: &Bench, user: &User, least: usize) -> Outcome<usize> {
    let mut waiting = false;
    for n in 1..=BOUND {
        let answer = t.control("POST", "/events", &big(t, user, n).body()).await?;
        answer.expect_status(202)?;
        waiting = waiting || answer.json()["delivery"] == "queued";
        if waiting && n >= least {
            return Ok(n);
        }
    }
    Err(mismatch("a bound of what waits for one client", format!("{BOUND} events of 48 KiB told as live")))
}
