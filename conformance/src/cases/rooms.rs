//! SPEC 3: who receives an event, and that no client can change it.

use std::time::Duration;

use serde_json::{Value, json};

use super::kit::{QUIET, numbers::receives, people::group};
use crate::{
    bench::{Bench, Emission, User},
    case::{Case, Need},
    client::{Client, Transport},
    expect::{self, Outcome},
    fixtures,
};

pub(super) const CASES: &[Case] = &[
    case!("ROOM-01/isolation", "each of several users receives their own events and no others", isolation)
        .also(&["EVENT-09"]),
    over!(WebSocket, "ROOM-02/join-events", "events that ask to join a room change nothing", join_events),
    over!(Polling, "ROOM-02/join-events-polled", "nor by polling", join_events),
    over!(WebSocket, "ROOM-02/leave-events", "events that ask to leave change nothing", leave_events),
    over!(Polling, "ROOM-02/leave-events-polled", "nor by polling", leave_events),
    over!(WebSocket, "ROOM-03/forged-identity", "an id in the CONNECT payload or the URL is ignored", forged_identity),
    over!(Polling, "ROOM-03/forged-identity-polled", "and by polling", forged_identity),
    over!(WebSocket, "ROOM-04/server-events", "what a client sends reaches no other client", server_events),
    over!(Polling, "ROOM-04/server-events-polled", "nor by polling", server_events),
    case!("ROOM-05/look-alikes", "users whose ids look alike never meet, live", look_alikes(1, for_resource)),
    case!(
        "ROOM-05/look-alikes-targeted",
        "nor where metadata.targetUserId names them",
        look_alikes(2, Bench::event_for)
    ),
    case!("ROOM-05/look-alikes-queued", "users whose ids look alike never meet in the queue", look_alikes_queued),
    case!(
        "ROOM-05/of-a-language",
        "names that a language gives to everything are users like others",
        names_of_a_language
    )
    .needs(&[Need::OwnServer]),
    case!(
        "ROOM-05/look-alikes-refreshed",
        "no auth.refresh makes one of another whose id looks alike",
        look_alikes_refreshed
    )
    .needs(&[Need::Capability("refresh")])
    .also(&["EXPIRY-06"]),
    case!("REVOKE-08/look-alikes", "a session that is given to such another one ends for the first", look_alikes_given)
        .needs(&[Need::Capability("sessions")])
        .also(&["ROOM-05"]),
    case!("ROOM-06/all-devices", "all devices of a user receive each event, on both transports", all_devices),
    case!("ROOM-06/several-sessions", "so do those of several sessions of a user", several_sessions),
    case!("ROOM-06/many-devices", "so do 60 devices of a user", many_devices),
];

async fn isolation(t: Bench) -> Outcome {
    let mut users = Vec::new();
    for _ in 0..5 {
        let user = t.user().await?;
        let device = t.connect_raw(&user, Transport::WebSocket).await?;
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

/// What a client might send to come into a room, in the words that servers use.
const JOINS: [&str; 34] = [
    "join",
    "joinRoom",
    "join-room",
    "join_room",
    "join:room",
    "join:user",
    "subscribe",
    "subscribe:user",
    "sub",
    "room",
    "enter",
    "watch",
    "follow",
    "listen",
    "register",
    "registerUser",
    "identify",
    "login",
    "setUser",
    "set-user",
    "user",
    "userId",
    "init",
    "hello",
    "connect-user",
    "auth",
    "authenticate",
    "auth.refresh",
    "switch",
    "impersonate",
    "notifications",
    "notifications.subscribe",
    "channel",
    "message",
];

async fn join_events(t: Bench, transport: Transport) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    // Several, for a server may reach a user with one device in another way than by a room.
    let mut alices =
        [t.connect_raw(&alice, Transport::WebSocket).await?, t.connect_raw(&alice, Transport::WebSocket).await?];
    let id = &alice.id;
    let own = t.token(&mallory).await?;
    let rooms = [
        "{id}",
        "user {id}",
        "user:{id}",
        "user-{id}",
        "user_{id}",
        "user/{id}",
        "users:{id}",
        "room:{id}",
        "notifications:{id}",
    ];
    let rooms = rooms.map(|room| room.replace("{id}", id));
    let mut devices = Vec::new();
    // From several devices, for a server may bound what one may send.
    for names in JOINS.chunks(4) {
        let mut device = t.connect_raw(&mallory, transport).await?;
        for name in names {
            for argument in [
                json!({"userId": id, "room": id, "id": id, "user": id, "targetUserId": id, "sub": id}),
                json!({"userId": id, "user": {"id": id, "userId": id}, "room": rooms[1], "rooms": rooms, "channel": rooms[2]}),
                // As somebody who has a right to be here.
                json!({"token": own, "userId": id, "sub": id, "room": rooms[1]}),
                json!(rooms),
            ] {
                device.emit(name, vec![argument]).await?;
            }
            for room in &rooms {
                device.emit(name, vec![json!(room)]).await?;
            }
            device.emit(name, vec![json!("user"), json!(id)]).await?;
        }
        // An answered ping shows that all of them have been read.
        let answer = device.call("ping", vec![]).await?;
        expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))?;
        devices.push(device);
    }
    t.emit(&t.event_for(&alice)).await?;
    for device in &mut alices {
        device.expect_event("record.accessed").await?;
    }
    let sentinel = t.event_for(&mallory);
    t.emit(&sentinel).await?;
    for device in &mut devices {
        let payload = device.expect_event("record.accessed").await?;
        expect::member(&payload, "resourceId", &sentinel.resource_id)?;
    }
    for device in &mut devices {
        device.expect_silence(QUIET / 10).await?;
    }
    Ok(())
}

async fn leave_events(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    let names = [
        "leave",
        "leaveRoom",
        "leave-room",
        "leave_room",
        "leave:room",
        "unsubscribe",
        "unregister",
        "unwatch",
        "exit",
        "logout",
        "pause",
        "mute",
        "stop",
        "off",
        "quit",
        "bye",
        "close",
        "end",
    ];
    for name in names {
        for args in [vec![], vec![json!(alice.id)], vec![json!({"userId": alice.id, "room": alice.id})]] {
            device.emit(name, args).await?;
        }
    }
    let answer = device.call("ping", vec![]).await?;
    expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))?;
    only_own(&t, &alice, &mut device).await?;
    // A server may reach a user with one device in another way than by what can be left.
    let mut other = t.connect_raw(&alice, transport).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    receives(&mut device, [1]).await?;
    receives(&mut other, [1]).await
}

async fn forged_identity(t: Bench, transport: Transport) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let mut alices =
        [t.connect_raw(&alice, Transport::WebSocket).await?, t.connect_raw(&alice, Transport::WebSocket).await?];
    let names = ["userId", "user", "user_id", "uid", "id", "room", "sub", "targetUserId"];
    let opening = names.iter().fold(t.opening(transport), |opening, name| opening.query(name, &*alice.id));
    let headers = ["x-user-id", "x-user", "x-forwarded-user", "remote-user", "x-remote-user", "x-authenticated-user"];
    let opening = headers.iter().fold(opening, |opening, name| opening.header(name, &*alice.id));
    let opening = opening.header("cookie", format!("userId={}", alice.id));
    let auth = json!({"token": t.token(&mallory).await?, "userId": alice.id, "user_id": alice.id, "uid": alice.id,
        "id": alice.id, "sub": alice.id, "room": alice.id, "rooms": [alice.id], "targetUserId": alice.id,
        "sessionId": alice.session, "user": {"id": alice.id}});
    let mut device = t.attempt_raw(opening, Some(auth)).await?;
    device.expect_accepted().await?;
    t.emit(&t.event_for(&alice)).await?;
    for device in &mut alices {
        device.expect_event("record.accessed").await?;
    }
    only_own(&t, &mallory, &mut device).await
}

/// What a client might send so that others get it, in the words that servers use.
const RELAYED: [&str; 26] = [
    "record.accessed",
    "access.granted",
    "access.revoked",
    "record.uploaded",
    "queued.events",
    "message",
    "broadcast",
    "emit",
    "send",
    "notify",
    "notification",
    "event",
    "relay",
    "chat",
    "publish",
    "post",
    "share",
    "forward",
    "private",
    "direct",
    "whisper",
    "typing",
    "to",
    "room",
    "announce",
    "push",
];

async fn server_events(t: Bench, transport: Transport) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let mut alices =
        [t.connect_raw(&alice, Transport::WebSocket).await?, t.connect_raw(&alice, Transport::WebSocket).await?];
    let mut mallorys_other = t.connect_raw(&mallory, Transport::WebSocket).await?;
    let forged = json!({"eventType": "record.accessed", "actorId": "x", "resourceId": alice.id, "to": alice.id,
        "timestamp": "2026-01-01T00:00:00.000Z", "metadata": {"targetUserId": alice.id}});
    let mut devices = Vec::new();
    // From several devices, for a server may bound what one may send.
    for names in RELAYED.chunks(7) {
        let mut device = t.connect_raw(&mallory, transport).await?;
        for name in names {
            device.emit(name, vec![forged.clone()]).await?;
            device.emit(name, vec![json!(alice.id), forged.clone()]).await?;
            let enveloped = json!({"to": alice.id, "room": alice.id, "event": name, "payload": forged});
            device.emit(name, vec![enveloped]).await?;
            device.emit_bytes(name, None).await?;
        }
        let answer = device.call("ping", vec![]).await?;
        expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))?;
        devices.push(device);
    }
    let sentinel = t.event_for(&alice);
    t.emit(&sentinel).await?;
    for device in &mut alices {
        let payload = device.expect_event("record.accessed").await?;
        expect::member(&payload, "resourceId", &sentinel.resource_id)?;
        device.expect_silence(QUIET).await?;
    }
    mallorys_other.expect_silence(QUIET).await?;
    for device in &mut devices {
        device.expect_silence(QUIET / 3).await?;
    }
    Ok(())
}

/// The device receives the user's next event, and nothing before or soon after it.
async fn only_own(t: &Bench, user: &User, device: &mut Client) -> Outcome {
    let sentinel = t.event_for(user);
    t.emit(&sentinel).await?;
    let payload = device.expect_event("record.accessed").await?;
    expect::member(&payload, "resourceId", &sentinel.resource_id)?;
    device.expect_silence(QUIET).await
}

/// The recipient by `resourceId`, for which the metadata has no say.
fn for_resource(t: &Bench, user: &User) -> Emission {
    Emission { resource_id: user.id.clone(), ..t.event_for(user) }
}

async fn look_alikes(t: Bench, devices_each: usize, event_for: fn(&Bench, &User) -> Emission) -> Outcome {
    for entry in fixtures::list(fixtures::USERS, "groups") {
        never_meet(&t, &group(&t, &entry).await?, devices_each, event_for).await?;
    }
    Ok(())
}

async fn never_meet(
    t: &Bench,
    users: &[User],
    devices_each: usize,
    event_for: fn(&Bench, &User) -> Emission,
) -> Outcome {
    // A server may refuse such names, all of a group among them.
    if users.is_empty() {
        return Ok(());
    }
    let mut devices = Vec::new();
    for user in users {
        for _ in 0..devices_each {
            devices.push((user, t.connect_raw(user, Transport::WebSocket).await?));
        }
    }
    for user in users {
        t.emit(&event_for(t, user)).await?;
    }
    for (user, device) in &mut devices {
        let payload = device.expect_event("record.accessed").await?;
        expect::equal("metadata.targetUserId", &json!(user.id), &payload["metadata"]["targetUserId"])?;
    }
    // Each has had one event; a second one, even late, would stand before this. In a batch, where there are batches.
    let next: Vec<_> = users.iter().map(|user| event_for(t, user).of("access.granted")).collect();
    if t.target().declares("control") {
        let batch: Value = next.iter().map(Emission::body).collect();
        t.control("POST", "/events/batch", &batch).await?.expect_status(202)?;
    } else {
        for event in &next {
            t.emit(event).await?;
        }
    }
    for (user, device) in &mut devices {
        let payload = device.expect_event("access.granted").await?;
        expect::equal("metadata.targetUserId", &json!(user.id), &payload["metadata"]["targetUserId"])?;
        device.expect_silence(QUIET / 30).await?;
    }
    Ok(())
}

async fn look_alikes_queued(t: Bench) -> Outcome {
    for entry in fixtures::list(fixtures::USERS, "groups") {
        never_meet_queued(&t, &group(&t, &entry).await?).await?;
    }
    Ok(())
}

async fn never_meet_queued(t: &Bench, users: &[User]) -> Outcome {
    for user in users {
        t.emit(&for_resource(t, user)).await?;
    }
    for user in users {
        let mut device = t.connect_raw(user, Transport::WebSocket).await?;
        let queued = device.expect_queued().await?;
        let recipients: Vec<_> = queued.iter().map(|it| it["metadata"]["targetUserId"].clone()).collect();
        expect::equal("the recipients of what is queued", &json!([user.id]), &Value::Array(recipients))?;
        device.disconnect().await;
    }
    Ok(())
}

async fn look_alikes_refreshed(t: Bench) -> Outcome {
    for entry in fixtures::list(fixtures::USERS, "groups") {
        let users = group(&t, &entry).await?;
        for (one, other) in users.iter().zip(users.iter().skip(1)) {
            let mut device = t.connect_raw(one, Transport::WebSocket).await?;
            let answer = device.call("auth.refresh", vec![json!(t.token(other).await?)]).await?;
            let told = format!("the answer to {:?} with a token of {:?}:", one.id, other.id);
            expect::equal(&told, &json!([{"ok": false, "code": "token_invalid"}]), &json!(answer))?;
            device.disconnect().await;
        }
    }
    Ok(())
}

async fn look_alikes_given(t: Bench) -> Outcome {
    /// As by REVOKE-08, and a moment for the way.
    const CLOSED_WITHIN: Duration = Duration::from_secs(3);
    for entry in fixtures::list(fixtures::USERS, "groups") {
        let users = group(&t, &entry).await?;
        for (one, other) in users.iter().zip(users.iter().skip(1)) {
            let mut device = t.connect_raw(one, Transport::WebSocket).await?;
            t.open_session(&User { session: one.session.clone(), ..other.clone() }, None).await?;
            let closes = device.expect_closed(CLOSED_WITHIN).await;
            closes
                .map_err(|fault| fault.of(format!("for {:?}, whose session is now that of {:?}", one.id, other.id)))?;
        }
    }
    Ok(())
}

/// Nothing of the run's own is in these ids, so they need a server of their own.
async fn names_of_a_language(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let ids = ["__proto__", "constructor", "toString", "hasOwnProperty", "length", "null", "undefined", "0", "true"];
    let users = group(&t, &json!({"name": "of a language", "ids": ids})).await?;
    never_meet_queued(&t, &users).await?;
    never_meet(&t, &users, 1, for_resource).await?;
    never_meet(&t, &users, 2, Bench::event_for).await?;
    if t.target().declares("control") {
        let batch: Value = users.iter().map(|user| for_resource(&t, user).body()).collect();
        t.control("POST", "/events/batch", &batch).await?.expect_status(202)?;
    }
    Ok(())
}

async fn all_devices(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut devices =
        vec![t.connect_raw(&alice, Transport::WebSocket).await?, t.connect_raw(&alice, Transport::WebSocket).await?];
    devices.push(t.connect_raw(&alice, Transport::WebSocket).await?);
    if t.target().declares("polling") {
        devices.push(t.connect_raw(&alice, Transport::Polling).await?);
        devices.push(t.connect_raw(&alice, Transport::Upgraded).await?);
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

async fn several_sessions(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut devices = vec![t.connect_raw(&alice, Transport::WebSocket).await?];
    for n in 1..=4 {
        let other = t.user_named(&alice.id).await?;
        for transport in t.transports() {
            devices.push(t.connect_raw(&other, transport).await?);
        }
        t.emit_numbered(&alice, n, n).await?;
        for device in &mut devices {
            receives(device, [n]).await?;
        }
    }
    // The newest goes, and the older ones go on.
    if let Some(newest) = devices.pop() {
        newest.disconnect().await;
    }
    t.emit_numbered(&alice, 5, 5).await?;
    for device in &mut devices {
        receives(device, [5]).await?;
        device.expect_silence(QUIET / 3).await?;
    }
    Ok(())
}

async fn many_devices(t: Bench) -> Outcome {
    const DEVICES: usize = 60;
    let alice = t.user().await?;
    let mut devices = Vec::new();
    for n in 0..DEVICES {
        let polls = n % 6 == 5 && t.target().declares("polling");
        let transport = if polls { Transport::Polling } else { Transport::WebSocket };
        devices.push(t.connect_raw(&alice, transport).await?);
    }
    t.emit_numbered(&alice, 1, 3).await?;
    for (at, device) in devices.iter_mut().enumerate() {
        let which = format!("at the device {} of {DEVICES}", at + 1);
        receives(device, 1..=3).await.map_err(|fault| fault.of(which))?;
    }
    Ok(())
}
