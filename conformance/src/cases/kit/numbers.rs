//! Numbered events: which came, and in what order.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    client::{Arrival, Client, Delivery},
    expect::{self, Outcome, mismatch},
};

/// How long one arrival may take.
const DUE: Duration = Duration::from_secs(5);

/// The device receives these live events, one by one and nothing between them.
pub(crate) async fn receives(device: &mut Client, expected: impl IntoIterator<Item = usize>) -> Outcome {
    for n in expected {
        numbered(&[device.expect_event("record.accessed").await?], [n])?;
    }
    Ok(())
}

/// The numbers of the payloads are exactly these, in this order.
pub(crate) fn numbered(payloads: &[Value], expected: impl IntoIterator<Item = usize>) -> Outcome {
    let expected: Vec<_> = expected.into_iter().collect();
    let actual: Vec<_> = payloads.iter().map(|payload| payload["metadata"]["n"].clone()).collect();
    if json!(expected) == json!(actual) {
        return Ok(());
    }
    Err(mismatch(summary(&json!(expected)), summary(&json!(actual))))
}

fn summary(numbers: &Value) -> String {
    let all = numbers.as_array().map(Vec::as_slice).unwrap_or_default();
    match all {
        [first, .., last] if all.len() > 8 => format!("{} events, {first} … {last}: {numbers}", all.len()),
        _ => format!("{} events {numbers}", all.len()),
    }
}

/// The numbers of payloads; what has none counts as 0, which no event has.
pub(crate) fn numbers(payloads: &[Value]) -> Vec<u64> {
    payloads.iter().map(|payload| payload["metadata"]["n"].as_u64().unwrap_or_default()).collect()
}

/// The payloads that an event brings: its own, or those in `queued.events`.
pub(crate) fn payloads<'a>(name: &str, args: &'a [Value]) -> &'a [Value] {
    match args {
        [Value::Array(queued), ..] if name == "queued.events" => queued,
        _ => args,
    }
}

/// A numbered event as it reached a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) n: u64,
    /// In `queued.events`, and not live.
    pub(crate) queued: bool,
    /// How many were lost before it, as the `queued.events` tells that it is the first of.
    pub(crate) lost: u64,
}

/// All that reaches the device up to the event `last`, live or in `queued.events`; what asks for an acknowledgement gets one.
pub(crate) async fn up_to(device: &mut Client, last: u64, within: Duration) -> Outcome<Vec<Came>> {
    let deadline = Instant::now() + within;
    let mut came: Vec<Came> = Vec::new();
    while came.last().is_none_or(|newest| newest.n != last) {
        let so_far = || summary(&json!(came.iter().map(|it| it.n).collect::<Vec<_>>()));
        let left = deadline.saturating_duration_since(Instant::now());
        let (name, args, ack) = match device.next(left).await {
            Some(Arrival::Event { name, args, ack }) => (name, args, ack),
            None => return Err(mismatch(format!("the event {last} within {within:?}"), so_far())),
            Some(Arrival::Closed(how)) => {
                return Err(mismatch(format!("the event {last}"), format!("closed ({how}) after {}", so_far())));
            }
            Some(other) => return Err(mismatch(format!("the event {last}"), format!("{other:?} after {}", so_far()))),
        };
        let queued = name == "queued.events";
        let lost = args.get(1).and_then(|loss| loss["dropped"].as_u64()).unwrap_or_default();
        let all = numbers(payloads(&name, &args)).into_iter().enumerate();
        came.extend(all.map(|(at, n)| Came { n, queued, lost: if at == 0 { lost } else { 0 } }));
        if ack.is_some() {
            device.acknowledge(&Delivery { args, ack }, Vec::new()).await?;
        }
    }
    Ok(came)
}

/// They came in the order of their numbers, and none twice.
pub(crate) fn in_order(came: &[Came]) -> Outcome {
    let wrong = came.windows(2).find(|pair| pair[1].n <= pair[0].n);
    wrong.map_or(Ok(()), |pair| {
        Err(mismatch(format!("after the event {} a newer one", pair[0].n), format!("the event {}", pair[1].n)))
    })
}

/// Reads until the event `last` has come or the connection is closed: the numbers in the order in which they came.
pub(crate) async fn read_until(device: &mut Client, last: u64) -> Outcome<Vec<u64>> {
    let mut seen = Vec::new();
    while !seen.contains(&last) {
        match device.next(DUE).await {
            Some(Arrival::Event { name, args, .. }) => seen.extend(numbers(payloads(&name, &args))),
            Some(Arrival::Closed(_)) => return Ok(seen),
            Some(Arrival::Disconnected) => {}
            other => return Err(mismatch(format!("events up to {last}, after {seen:?}"), format!("{other:?}"))),
        }
    }
    Ok(seen)
}

/// What was read is exactly this, in this order.
pub(crate) fn exactly(seen: &[u64], expected: impl IntoIterator<Item = u64>) -> Outcome {
    let expected: Vec<_> = expected.into_iter().collect();
    expect::equal("the events", &json!(expected), &json!(seen))
}
