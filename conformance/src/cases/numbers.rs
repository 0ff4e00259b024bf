//! Numbered events: which came, and in what order.

use serde_json::{Value, json};

use crate::{
    client::Client,
    expect::{Outcome, mismatch},
};

/// The device receives these live events, one by one and nothing between them.
pub(super) async fn receives(device: &mut Client, expected: impl IntoIterator<Item = usize>) -> Outcome {
    for n in expected {
        numbered(&[device.expect_event("record.accessed").await?], [n])?;
    }
    Ok(())
}

/// The numbers of the payloads are exactly these, in this order.
pub(super) fn numbered(payloads: &[Value], expected: impl IntoIterator<Item = usize>) -> Outcome {
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
pub(super) fn numbers(payloads: &[Value]) -> Vec<u64> {
    payloads.iter().map(|payload| payload["metadata"]["n"].as_u64().unwrap_or_default()).collect()
}
