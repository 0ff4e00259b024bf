//! Clients that leave the namespace and come in again on the same connection (TRANS-14).

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    bench::{Bench, User},
    client::{Client, Incoming, Kind, Packet, Wire},
    expect::{self, Outcome, inconclusive, mismatch},
};

/// How long an answer may take.
const DUE: Duration = Duration::from_secs(5);

/// Leaves the namespace, and waits until the server has read it.
pub(crate) async fn leave(device: &mut Client) -> Outcome {
    let wire = wire_of(device)?;
    send(wire, "41/notifications,").await?;
    // The answer shows that the server has read what was before.
    send(wire, "40/elsewhere,").await?;
    let answer = wire.receive(DUE).await;
    let read = matches!(&answer, Some(Incoming::Message(text)) if text.starts_with("4/elsewhere,"));
    expect::that(read, "a CONNECT_ERROR for /elsewhere", format!("{answer:?}"))
}

/// Sends a CONNECT on a connection that there is; the answer is yet to be expected.
pub(crate) async fn attempt(device: &mut Client, auth: Value) -> Outcome {
    let connect = Packet::new(Kind::Connect, "/notifications", Some(auth));
    send(wire_of(device)?, &format!("4{}", connect.encode())).await
}

/// Sends a CONNECT on a connection that there is, and is let in.
pub(crate) async fn come_in(t: &Bench, device: &mut Client, user: &User) -> Outcome {
    attempt(device, json!({"token": t.token(user).await?})).await?;
    device.expect_accepted().await
}

fn wire_of(device: &mut Client) -> Outcome<&mut Wire> {
    device.wire().ok_or_else(|| inconclusive("a client without a wire"))
}

async fn send(wire: &Wire, packet: &str) -> Outcome {
    wire.send(packet).await.map_err(|error| mismatch("a connection that takes a packet", error.to_string()))
}
