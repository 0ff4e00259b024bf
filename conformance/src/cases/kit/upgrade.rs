//! Clients that go on over WebSocket.

use serde_json::Value;

use crate::{
    bench::Bench,
    client::{Client, Transport},
    expect::{Outcome, inconclusive, mismatch},
};

/// Upgrades a polling client.
pub(crate) async fn upgrade(device: &mut Client) -> Outcome {
    let wire = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?;
    wire.upgrade().await.map_err(|error| mismatch("an upgrade", error.to_string()))
}

/// A client that upgrades once it is in, and not before, as [`Transport::Upgraded`] does.
pub(crate) async fn in_and_upgraded(t: &Bench, auth: Value) -> Outcome<Client> {
    let mut device = t.attempt_raw(t.opening(Transport::Polling), Some(auth)).await?;
    device.expect_accepted().await?;
    upgrade(&mut device).await?;
    Ok(device)
}
