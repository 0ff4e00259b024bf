//! SPEC 3: who receives an event, and that no client can change it.

use serde_json::{Value, json};

use super::QUIET;
use crate::{
    bench::{Bench, Emission, User},
    case::Case,
    client::{Client, Transport},
    expect::{self, Outcome},
    fixtures,
};

pub(super) const CASES: &[Case] = &[
    Case::new("ROOM-01/isolation", "each of several users receives their own events and no others", |t| {
        Box::pin(isolation(t))
    })
    .also(&["EVENT-09"]),
    Case::new("ROOM-02/join-events", "events that ask to join a room change nothing", |t| Box::pin(join_events(t))),
    Case::new("ROOM-03/forged-identity", "an id in the CONNECT payload or the URL is ignored", |t| {
        Box::pin(forged_identity(t))
    }),
    Case::new("ROOM-04/server-events", "what a client sends reaches no other client", |t| Box::pin(server_events(t))),
    Case::new("ROOM-05/look-alikes", "users whose ids look alike never meet, live", |t| Box::pin(look_alikes(t))),
    Case::new("ROOM-05/look-alikes-queued", "users whose ids look alike never meet in the queue", |t| {
        Box::pin(look_alikes_queued(t))
    }),
    Case::new("ROOM-06/all-devices", "all devices of a user receive each event, on both transports", |t| {
        Box::pin(all_devices(t))
    }),
];

async fn isolation(t: Bench) -> Outcome {
    let mut users = Vec::new();
    for _ in 0..5 {
        let user = t.user().await?;
        let device = t.connect(&user).await?;
        users.push((user, device));
    }
    for (user, _) in &users {
        t.emit_numbered(user, 1, 2).await?;
    }
    for (user, device) in &mut users {
        for n in 1..=2 {
            let payload = device.expect_event("record.accessed").await?;
            let expected = json!({"targetUserId": user.id, "n": n});
            expect::equal("metadata", &expected, &payload["metadata"])?;
        }
    }
    for (_, device) in &mut users {
        device.expect_silence(QUIET).await?;
    }
    Ok(())
}

async fn join_events(t: Bench) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let mut alices = t.connect_raw(&alice, Transport::WebSocket).await?;
    let mut device = t.connect_raw(&mallory, Transport::WebSocket).await?;
    for name in ["join", "joinRoom", "join-room", "subscribe", "room", "leave", "authenticate", "auth", "auth.refresh"]
    {
        for argument in [json!(alice.id), json!({"userId": alice.id, "room": alice.id}), json!([alice.id])] {
            device.emit(name, vec![argument]).await?;
        }
    }
    // An answered ping shows that all of them have been read.
    let answer = device.call("ping", vec![]).await?;
    expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))?;
    t.emit(&t.event_for(&alice)).await?;
    alices.expect_event("record.accessed").await?;
    only_own(&t, &mallory, &mut device).await
}

async fn forged_identity(t: Bench) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let mut alices = t.connect_raw(&alice, Transport::WebSocket).await?;
    let opening = t.opening(Transport::WebSocket).query("userId", &*alice.id).query("room", &*alice.id);
    let auth = json!({"token": t.token(&mallory).await?, "userId": alice.id, "sub": alice.id, "room": alice.id,
        "sessionId": alice.session, "user": {"id": alice.id}});
    let mut device = t.attempt_raw(opening, Some(auth)).await?;
    device.expect_accepted().await?;
    t.emit(&t.event_for(&alice)).await?;
    alices.expect_event("record.accessed").await?;
    only_own(&t, &mallory, &mut device).await
}

async fn server_events(t: Bench) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let mut alices = t.connect_raw(&alice, Transport::WebSocket).await?;
    let mut mallorys_other = t.connect_raw(&mallory, Transport::WebSocket).await?;
    let mut device = t.connect_raw(&mallory, Transport::WebSocket).await?;
    let forged = json!({"eventType": "record.accessed", "actorId": "x", "resourceId": alice.id,
        "timestamp": "2026-01-01T00:00:00.000Z", "metadata": {"targetUserId": alice.id}});
    for name in [
        "record.accessed",
        "access.granted",
        "access.revoked",
        "record.uploaded",
        "queued.events",
        "message",
        "broadcast",
    ] {
        device.emit(name, vec![forged.clone()]).await?;
    }
    let answer = device.call("ping", vec![]).await?;
    expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))?;
    only_own(&t, &alice, &mut alices).await?;
    mallorys_other.expect_silence(QUIET).await
}

/// The device receives the user's next event, and nothing before or soon after it.
async fn only_own(t: &Bench, user: &User, device: &mut Client) -> Outcome {
    let sentinel = t.event_for(user);
    t.emit(&sentinel).await?;
    let payload = device.expect_event("record.accessed").await?;
    expect::member(&payload, "resourceId", &sentinel.resource_id)?;
    device.expect_silence(QUIET).await
}

/// The users of one group of `fixtures/users.json`.
async fn group(t: &Bench, group: &Value) -> Outcome<Vec<User>> {
    let n = format!("u{}", t.random(11).to_lowercase());
    let mut users = Vec::new();
    for id in group["ids"].as_array().into_iter().flatten() {
        let id = fixtures::fill(id, &[("n", &n)]);
        users.push(t.user_named(id.as_str().unwrap_or_default()).await?);
    }
    t.transcript().note(format!("users {}: {}", group["name"], group["why"]));
    Ok(users)
}

/// The recipient by `resourceId`, for which the metadata has no say.
fn for_resource(t: &Bench, user: &User) -> Emission {
    Emission { resource_id: user.id.clone(), ..t.event_for(user) }
}

async fn look_alikes(t: Bench) -> Outcome {
    for entry in fixtures::list(fixtures::USERS, "groups") {
        let users = group(&t, &entry).await?;
        let mut devices = Vec::new();
        for user in &users {
            devices.push(t.connect_raw(user, Transport::WebSocket).await?);
        }
        for user in &users {
            t.emit(&for_resource(&t, user)).await?;
        }
        for (user, device) in users.iter().zip(&mut devices) {
            let payload = device.expect_event("record.accessed").await?;
            expect::equal("metadata.targetUserId", &json!(user.id), &payload["metadata"]["targetUserId"])?;
        }
        // Each has had one event; a second one, even late, would stand before this.
        for user in &users {
            t.emit(&for_resource(&t, user).of("access.granted")).await?;
        }
        for device in &mut devices {
            device.expect_event("access.granted").await?;
        }
    }
    Ok(())
}

async fn look_alikes_queued(t: Bench) -> Outcome {
    for entry in fixtures::list(fixtures::USERS, "groups") {
        let users = group(&t, &entry).await?;
        for user in &users {
            t.emit(&for_resource(&t, user)).await?;
        }
        for user in &users {
            let mut device = t.connect_raw(user, Transport::WebSocket).await?;
            let queued = device.expect_queued().await?;
            let recipients: Vec<_> = queued.iter().map(|it| it["metadata"]["targetUserId"].clone()).collect();
            expect::equal("the recipients of what is queued", &json!([user.id]), &Value::Array(recipients))?;
        }
    }
    Ok(())
}

async fn all_devices(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut devices = vec![t.connect(&alice).await?, t.connect(&alice).await?];
    devices.push(t.connect_raw(&alice, Transport::WebSocket).await?);
    if t.target().declares("polling") {
        devices.push(t.connect_raw(&alice, Transport::Polling).await?);
    }
    t.emit_numbered(&alice, 1, 5).await?;
    for device in &mut devices {
        for n in 1..=5 {
            let payload = device.expect_event("record.accessed").await?;
            expect::equal("metadata.n", &json!(n), &payload["metadata"]["n"])?;
        }
        device.expect_silence(QUIET / 3).await?;
    }
    Ok(())
}
