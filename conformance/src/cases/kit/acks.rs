//! Clients that acknowledge what they receive.

use std::{ops::RangeInclusive, time::Duration};

use serde_json::json;
use tokio::time::{Instant, interval};

use super::numbers::{exactly, numbered, numbers, payloads};
use crate::{
    bench::{Bench, User},
    client::{Arrival, Client, Delivery, Opening, Transport},
    expect::{self, Outcome, mismatch},
};

/// How long a server may take to remove what was acknowledged, and how often to look. Each look leaves a sentinel with a server that
/// removes nothing: they must be fewer than a queue holds, or the cap would remove what the server should have.
const IN_THE_END: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(250);

/// Connects as a client that acknowledges, or as one that says that it does not.
pub(crate) async fn connect(t: &Bench, user: &User, opening: Opening, ack: bool) -> Outcome<Client> {
    let auth = json!({"token": t.token(user).await?, "ack": ack});
    let mut device = t.attempt_raw(opening, Some(auth)).await?;
    device.expect_accepted().await?;
    Ok(device)
}

/// Connects as a client that acknowledges.
pub(crate) async fn join(t: &Bench, user: &User) -> Outcome<Client> {
    connect(t, user, t.opening(Transport::WebSocket), true).await
}

/// The next live event, which asks for an acknowledgement and has the number `n`.
pub(crate) async fn live_event(device: &mut Client, n: usize) -> Outcome<Delivery> {
    let delivery = device.expect_delivery("record.accessed").await?;
    numbered(&delivery.args, [n])?;
    expect::that(delivery.ack.is_some(), "an event that asks for an acknowledgement", "it does not")?;
    Ok(delivery)
}

/// The queue, which asks for an acknowledgement and holds these numbers.
pub(crate) async fn queue(device: &mut Client, expected: impl IntoIterator<Item = usize>) -> Outcome<Delivery> {
    let delivery = device.expect_delivery("queued.events").await?;
    numbered(payloads("queued.events", &delivery.args), expected)?;
    expect::that(delivery.ack.is_some(), "queued.events that asks for an acknowledgement", "it does not")?;
    Ok(delivery)
}

/// Takes these, live or queued, and acknowledges what asks for it.
pub(crate) async fn takes(device: &mut Client, expected: RangeInclusive<u64>) -> Outcome {
    let mut seen = Vec::new();
    while !seen.contains(expected.end()) {
        match device.next(IN_THE_END).await {
            Some(Arrival::Event { name, args, ack }) => {
                seen.extend(numbers(payloads(&name, &args)));
                if ack.is_some() {
                    device.acknowledge(&Delivery { args, ack }, vec![]).await?;
                }
            }
            other => return Err(mismatch(format!("the events {expected:?}, after {seen:?}"), format!("{other:?}"))),
        }
    }
    exactly(&seen, expected)
}

/// What is queued for the user is this in the end: a server may take its time to remove what was acknowledged, and until
/// then it may come again.
pub(crate) async fn in_the_end(t: &Bench, user: &User, expected: &[u64]) -> Outcome {
    let deadline = Instant::now() + IN_THE_END;
    let mut poll = interval(POLL);
    loop {
        poll.tick().await;
        let mut device = join(t, user).await?;
        // Of a type of its own, so that it cannot be taken for one that comes again.
        t.emit(&t.event_for(user).of("record.uploaded")).await?;
        let mut queued = Vec::new();
        let live = loop {
            let next = device.next(IN_THE_END).await;
            let Some(Arrival::Event { name, args, ack }) = next else {
                return Err(mismatch("queued.events or the sentinel", format!("{next:?}")));
            };
            match name.as_str() {
                "queued.events" => queued.extend(numbers(payloads(&name, &args))),
                _ => break Delivery { args, ack },
            }
        };
        device.acknowledge(&live, vec![]).await?;
        settle(&mut device).await?;
        device.disconnect().await;
        // Sentinels of earlier rounds have no number.
        queued.retain(|n| *n > 0);
        if queued == expected {
            return Ok(());
        }
        if Instant::now() > deadline {
            return expect::equal("in the end, what is queued", &json!(expected), &json!(queued));
        }
    }
}

/// Waits until the server has read all that the device has sent: a `ping` is answered after that.
pub(crate) async fn settle(device: &mut Client) -> Outcome {
    device.call("ping", vec![]).await.map(drop)
}
