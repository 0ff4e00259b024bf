//! SPEC 1: transports, the namespace, and what closes a connection.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::kit::{
    QUIET,
    again::{attempt, come_in, leave},
    numbers::receives,
    polling_path,
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Arrival, Client, Handshake, Incoming, Kind, Packet, Transport, Wire, WireError},
    expect::{self, Outcome, mismatch},
    fixtures,
};

/// How long the server may take to close a connection that broke the protocol.
const PROMPTLY: Duration = Duration::from_secs(5);
/// TRANS-09, and a second for the way.
const UNAUTHENTICATED: Duration = Duration::from_secs(11);

const POLLING: &[Need] = &[Need::Capability("polling")];

pub(super) const CASES: &[Case] = &[
    case!("TRANS-01/open-packet", "a session opens with a complete open packet", open_packet),
    case!("TRANS-02/polling", "a client that only polls receives events", polling),
    case!("TRANS-02/polling-library", "rust_socketio receives events by polling", library(Transport::Polling)),
    case!("TRANS-03/websocket", "a client that only speaks WebSocket receives events", websocket),
    over!(WebSocket, "TRANS-03/websocket-library", "rust_socketio receives events by WebSocket", library),
    case!("TRANS-04/upgrade", "an upgrade in the midst of events loses, doubles and reorders none", upgrade),
    case!("TRANS-05/root", "a CONNECT to / is refused", other_namespace("/")),
    over!(WebSocket, "TRANS-05/others", "a CONNECT to any other namespace is refused", other_namespaces),
    over!(Polling, "TRANS-05/others-polled", "so it is over polling", other_namespaces),
    case!("TRANS-05/while-in", "so it is to who is in, and stays so", other_namespaces_while_in),
    over!(WebSocket, "TRANS-06/malformed", "each malformed packet closes its WebSocket and no other", malformed),
    over!(
        Polling,
        "TRANS-06/malformed-polled",
        "each malformed packet closes its polling session and no other",
        malformed
    ),
    over!(Upgraded, "TRANS-06/malformed-upgraded", "so it does to one that was upgraded", malformed),
    case!("TRANS-06/first", "so it does where nobody has come in yet, or was let in", malformed_first),
    case!("TRANS-06/flood", "two thousand garbled frames harm no other connection and not the server", flood),
    over!(WebSocket, "TRANS-07/websocket", "an EVENT before CONNECT closes its WebSocket and no other", event_first),
    over!(Polling, "TRANS-07/polling", "an EVENT before CONNECT closes its polling session and no other", event_first),
    over!(Upgraded, "TRANS-07/upgraded", "so it does to one that was upgraded", event_first),
    over!(WebSocket, "TRANS-08/websocket", "a second CONNECT closes its WebSocket and no other", second_connect),
    over!(Polling, "TRANS-08/polling", "a second CONNECT closes its polling session and no other", second_connect),
    over!(Upgraded, "TRANS-08/upgraded", "so it does to one that was upgraded", second_connect),
    over!(
        WebSocket,
        "TRANS-08/at-once",
        "a second CONNECT closes its WebSocket though the first is not answered yet",
        second_at_once
    ),
    over!(Polling, "TRANS-08/at-once-polling", "so it does over polling", second_at_once),
    over!(WebSocket, "TRANS-09/silent", "a WebSocket that never sends CONNECT is closed within 10 s", silent),
    over!(
        Polling,
        "TRANS-09/silent-polling",
        "a polling session that never sends CONNECT is closed within 10 s",
        silent
    ),
    over!(Upgraded, "TRANS-09/silent-upgraded", "so is one that upgrades and never sends it", silent),
    over!(WebSocket, "TRANS-09/chatty", "so is one that says whatever else instead", chatty),
    over!(Polling, "TRANS-09/chatty-polling", "so is such a polling session", chatty),
    case!("TRANS-08/after-refusal", "a CONNECT that was refused does not count as the first", after_refusal),
    over!(
        WebSocket,
        "TRANS-09/refused",
        "a connection whose CONNECT was refused, there or elsewhere, is closed within 10 s",
        refused_is_closed
    ),
    over!(Polling, "TRANS-09/refused-polling", "so is a polling session", refused_is_closed),
    over!(WebSocket, "TRANS-09/refused-again", "so is one that tries again and again", refused_again),
    over!(Polling, "TRANS-09/refused-again-polling", "so is such a polling session", refused_again),
    case!("TRANS-10/bad-requests", "requests that are not Engine.IO 4 are answered with 400", bad_requests),
    over!(WebSocket, "TRANS-11/websocket", "a message over maxPayload closes its WebSocket and no other", too_large),
    over!(Polling, "TRANS-11/polling", "a message over maxPayload closes its polling session and no other", too_large),
    over!(Upgraded, "TRANS-11/upgraded", "so it does to one that was upgraded", too_large),
    case!("TRANS-11/chunked", "so it does however HTTP delimits it", too_large_chunked).needs(POLLING),
    over!(
        WebSocket,
        "TRANS-14/left",
        "who leaves the namespace is offline, and closed within 10 s unless it comes again",
        left
    )
    .waits(UNAUTHENTICATED),
    over!(Polling, "TRANS-14/left-polling", "so it is over polling", left).waits(UNAUTHENTICATED),
    over!(Upgraded, "TRANS-14/left-upgraded", "so it is on one that was upgraded", left).waits(UNAUTHENTICATED),
    over!(
        WebSocket,
        "TRANS-14/again",
        "who has left the namespace may come in again at once, as somebody else",
        comes_again
    ),
    over!(Polling, "TRANS-14/again-polling", "so it may over polling", comes_again),
    over!(Upgraded, "TRANS-14/again-upgraded", "so it may on one that was upgraded", comes_again),
    over!(
        WebSocket,
        "TRANS-14/refused",
        "who has left and is refused is closed within 10 s all the same",
        left_and_refused
    ),
    over!(Polling, "TRANS-14/refused-polling", "so it is over polling", left_and_refused),
    case!("TRANS-15/many", "each of many packets in one POST counts", many_in_one_post).needs(POLLING),
    case!("TRANS-15/large", "so does each of a few that are as large as maxPayload together", large_in_one_post)
        .needs(POLLING),
    case!("TRANS-15/chunked", "a POST counts however HTTP delimits it", chunked_posts).needs(POLLING),
    over!(WebSocket, "TRANS-16/websocket", "a message of maxPayload bytes is taken", just_not_too_large),
    over!(Polling, "TRANS-16/polling", "so it is over polling", just_not_too_large),
    over!(Upgraded, "TRANS-16/upgraded", "so it is by one that was upgraded", just_not_too_large),
];

async fn open_packet(t: Bench) -> Outcome {
    let websocket = t.open(t.opening(Transport::WebSocket)).await?;
    sound(&websocket.handshake)?;
    if !t.target().declares("polling") {
        return Ok(());
    }
    let polling = t.open(t.opening(Transport::Polling)).await?;
    sound(&polling.handshake)?;
    let offers = polling.handshake.upgrades.iter().any(|name| name == "websocket");
    expect::that(offers, "upgrades with websocket", format!("{:?}", polling.handshake.upgrades))?;
    expect::that(polling.handshake.sid != websocket.handshake.sid, "a sid for each session", "the same sid twice")
}

fn sound(handshake: &Handshake) -> Outcome {
    expect::that(!handshake.sid.is_empty(), "a sid", "an empty one")?;
    let positive = handshake.ping_interval > 0 && handshake.ping_timeout > 0 && handshake.max_payload > 0;
    expect::that(positive, "pingInterval, pingTimeout and maxPayload above 0", format!("{handshake:?}"))
}

async fn polling(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    receives_both_ways(&t, &alice, &mut device).await
}

async fn websocket(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    receives_both_ways(&t, &alice, &mut device).await
}

/// Events go from server to client, and `ping` from client to server.
async fn receives_both_ways(t: &Bench, alice: &User, device: &mut Client) -> Outcome {
    t.emit_numbered(alice, 1, 3).await?;
    for n in 1..=3 {
        let payload = device.expect_event("record.accessed").await?;
        expect::equal("metadata.n", &json!(n), &payload["metadata"]["n"])?;
    }
    let answer = device.call("ping", vec![]).await?;
    expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))
}

async fn library(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let token = t.token(&alice).await?;
    let mut device = t.attempt_over(t.opening(transport), Some(json!({"token": token}))).await?;
    device.expect_accepted().await?;
    let event = t.event_for(&alice);
    t.emit(&event).await?;
    let payload = device.expect_event("record.accessed").await?;
    expect::member(&payload, "resourceId", &event.resource_id)
}

async fn upgrade(t: Bench) -> Outcome {
    const EVENTS: usize = 30;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    let (emitted, upgraded) = tokio::join!(t.emit_numbered(&alice, 1, EVENTS), async {
        match device.wire() {
            Some(wire) => wire.upgrade().await.map_err(|error| mismatch("an upgrade", error.to_string())),
            None => Ok(()),
        }
    });
    emitted?;
    upgraded?;
    t.emit_numbered(&alice, EVENTS + 1, EVENTS + 3).await?;
    for n in 1..=EVENTS + 3 {
        let payload = device.expect_event("record.accessed").await?;
        expect::equal("metadata.n", &json!(n), &payload["metadata"]["n"])?;
    }
    device.expect_silence(QUIET).await
}

/// Among them some that a pattern lets in which is meant for the one.
const OTHER_NAMESPACES: [&str; 8] = [
    "/admin",
    "/notifications2",
    "/Notifications",
    "/NOTIFICATIONS",
    "/notifications/",
    "/notifications/x",
    "//notifications",
    "/notification",
];

async fn other_namespaces(t: Bench, transport: Transport) -> Outcome {
    for namespace in OTHER_NAMESPACES {
        refused_at(&t, transport, namespace).await?;
    }
    Ok(())
}

async fn other_namespace(t: Bench, namespace: &str) -> Outcome {
    refused_at(&t, Transport::WebSocket, namespace).await.map(drop)
}

async fn other_namespaces_while_in(t: Bench) -> Outcome {
    for transport in t.transports() {
        for namespace in ["/", "/admin", "/notifications/x"] {
            let alice = t.user().await?;
            let mut device = t.connect_raw(&alice, transport).await?;
            if let Some(wire) = device.wire() {
                is_refused_at(&t, wire, &alice, namespace).await?;
            }
            t.emit_numbered(&alice, 1, 1).await?;
            receives(&mut device, [1]).await?;
            device.disconnect().await;
        }
    }
    Ok(())
}

/// A connection whose only CONNECT was for this namespace.
async fn refused_at(t: &Bench, transport: Transport, namespace: &str) -> Outcome<Wire> {
    let alice = t.user().await?;
    let mut wire = t.open(t.opening(transport)).await?;
    is_refused_at(t, &mut wire, &alice, namespace).await?;
    Ok(wire)
}

async fn is_refused_at(t: &Bench, wire: &mut Wire, user: &User, namespace: &str) -> Outcome {
    let connect = Packet::new(Kind::Connect, namespace, Some(json!({"token": t.token(user).await?})));
    send(wire, &format!("4{}", connect.encode())).await?;
    let answer = wire.receive(PROMPTLY).await;
    let Some(Incoming::Message(text)) = &answer else {
        return Err(mismatch(format!("a CONNECT_ERROR for {namespace}"), format!("{answer:?}")));
    };
    let answer = Packet::decode(text);
    let refused = answer.as_ref().is_ok_and(|it| it.kind == Kind::ConnectError && it.namespace == namespace);
    let accepted = answer.is_ok_and(|it| it.kind == Kind::Connect);
    let said = if accepted { format!("the CONNECT was accepted: {text}") } else { text.clone() };
    expect::that(refused, format!("a CONNECT_ERROR for {namespace}"), said)
}

async fn malformed(t: Bench, transport: Transport) -> Outcome {
    let (alice, mut bystander) = bystander(&t).await?;
    for packet in malformed_over(transport) {
        t.transcript().note(format!("malformed packet {}", fixtures::text(&packet, "name")));
        let mut device = t.connect_raw(&alice, transport).await?;
        if let Some(wire) = device.wire() {
            closed_by(wire, &packet).await?;
        }
    }
    unharmed(&t, &alice, &mut bystander).await
}

/// On connections on which there was no CONNECT, and on those whose CONNECT was refused.
async fn malformed_first(t: Bench) -> Outcome {
    let (alice, mut bystander) = bystander(&t).await?;
    for transport in t.transports() {
        for packet in malformed_over(transport) {
            t.transcript().note(format!("malformed packet {}", fixtures::text(&packet, "name")));
            closed_by(&mut t.open(t.opening(transport)).await?, &packet).await?;
        }
        for packet in malformed_over(transport).iter().step_by(5) {
            let mut wire = refused_at(&t, transport, "/elsewhere").await?;
            closed_by(&mut wire, packet).await?;
        }
    }
    unharmed(&t, &alice, &mut bystander).await
}

/// A POST of no length has no packet.
fn malformed_over(transport: Transport) -> Vec<Value> {
    let mut packets = fixtures::list(fixtures::MALFORMED, "malformed");
    packets.retain(|packet| transport != Transport::Polling || packet["wire"] != "");
    packets
}

async fn closed_by(wire: &mut Wire, packet: &Value) -> Outcome {
    // The server may refuse the request itself, or close before all is sent.
    let _ = wire.send(fixtures::text(packet, "wire")).await;
    if let Some(then) = packet["then"].as_str() {
        let _ = wire.send(then).await;
    }
    closed(wire, PROMPTLY).await.map_err(|_| {
        let sent = format!("after {} ({})", packet["wire"], fixtures::text(packet, "why"));
        mismatch(format!("the connection closed {sent}"), format!("it is still open after {PROMPTLY:?}"))
    })
}

/// Random texts, cut and changed packets and binary frames, from the run's seed, on many connections. What one of them is
/// answered with is free; the bystander must not notice.
async fn flood(t: Bench) -> Outcome {
    const FRAMES: usize = 2_000;
    let (alice, mut bystander) = bystander(&t).await?;
    let mallory = t.user().await?;
    let mut sent = 0;
    while sent < FRAMES {
        let mut device = t.connect_raw(&mallory, Transport::WebSocket).await?;
        // Until the server closes this connection, which a later frame then finds out.
        while sent < FRAMES && garbled(&t, &mut device, sent).await {
            sent += 1;
        }
    }
    unharmed(&t, &alice, &mut bystander).await?;
    expect::that(t.server().still_runs().await, "a server that still runs", "it has ended")
}

/// Sends the `n`th garbled frame; false where the connection takes no more.
async fn garbled(t: &Bench, device: &mut Client, n: usize) -> bool {
    let right = r#"42/notifications,7["ping",{"a":[1,2,3]}]"#;
    let at = n % right.len();
    let Some(wire) = device.wire() else { return false };
    let outcome = match n % 5 {
        0 => wire.send(&t.random(n % 150)).await,
        1 => wire.send(&right[..at]).await,
        2 => wire.send(&format!("{}{}{}", &right[..at], t.random(1), &right[at + 1..])).await,
        3 => wire.send(&format!(r#"45{n}-/notifications,["x",{{"_placeholder":true,"num":{at}}}]"#)).await,
        _ => wire.send_bytes(t.random(n % 150).into_bytes()).await,
    };
    outcome.is_ok()
}

async fn event_first(t: Bench, transport: Transport) -> Outcome {
    const WITH_BYTES: &str = r#"451-/notifications,["ping",{"_placeholder":true,"num":0}]"#;
    let (alice, mut bystander) = bystander(&t).await?;
    let mut wire = t.open(t.opening(transport)).await?;
    // The server may refuse the request itself, or close before all is sent.
    let _ = wire.send(r#"42/notifications,["ping"]"#).await;
    closed(&mut wire, PROMPTLY).await?;
    let mut wire = t.open(t.opening(transport)).await?;
    let _ = wire.send_with_attachment(WITH_BYTES).await;
    closed(&mut wire, PROMPTLY).await.map_err(|fault| fault.of("for an event with bytes"))?;
    // A CONNECT that was refused, there or elsewhere, is as good as none.
    let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": "x"}))).await?;
    device.expect_refused().await?;
    let closes = breaks_protocol(&mut device, r#"42/notifications,["ping"]"#).await;
    closes.map_err(|fault| fault.of("for an event after a refusal"))?;
    let mut wire = refused_at(&t, transport, "/elsewhere").await?;
    let _ = wire.send(r#"42/notifications,["ping"]"#).await;
    closed(&mut wire, PROMPTLY).await?;
    unharmed(&t, &alice, &mut bystander).await
}

/// Whatever is in it, and whatever was on the connection before the client came in.
async fn second_connect(t: Bench, transport: Transport) -> Outcome {
    let (alice, mut bystander) = bystander(&t).await?;
    let token = t.token(&alice).await?;
    let payloads =
        [Some(json!({"token": token})), Some(json!({"token": "x"})), Some(json!({"token": token, "ack": true})), None];
    for before in [Before::Nothing, Before::Refused, Before::Left] {
        for payload in &payloads {
            let Some(mut device) = before.come_in(&t, &alice, transport).await? else { continue };
            let again = Packet::new(Kind::Connect, "/notifications", payload.clone());
            let closes = breaks_protocol(&mut device, &format!("4{}", again.encode())).await;
            let with = payload.as_ref().map_or("nothing".to_owned(), |it| format!("the members {it}"));
            closes.map_err(|fault| fault.of(format!("for a second CONNECT with {with}, {before:?} before")))?;
        }
    }
    unharmed(&t, &alice, &mut bystander).await
}

/// What was on a connection before its user came in.
#[derive(Debug, Clone, Copy)]
enum Before {
    Nothing,
    /// A CONNECT that was refused.
    Refused,
    /// The same user, who has left.
    Left,
}

impl Before {
    /// A device that is in; none where the server closed the connection for the refusal, which it may.
    async fn come_in(self, t: &Bench, user: &User, transport: Transport) -> Outcome<Option<Client>> {
        let mut device = match self {
            Self::Nothing => return t.connect_raw(user, transport).await.map(Some),
            Self::Refused => {
                let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": "x"}))).await?;
                device.expect_refused().await?;
                if let Some(Arrival::Closed(_)) = device.next(QUIET).await {
                    return Ok(None);
                }
                device
            }
            Self::Left => {
                let mut device = t.connect_raw(user, transport).await?;
                leave(&mut device).await?;
                device
            }
        };
        come_in(t, &mut device, user).await?;
        Ok(Some(device))
    }
}

/// A server that asks a store about the first has not let that one in yet when it reads the second.
async fn second_at_once(t: Bench, transport: Transport) -> Outcome {
    let (alice, mut bystander) = bystander(&t).await?;
    let mut wire = t.open(t.opening(transport)).await?;
    let connect = Packet::new(Kind::Connect, "/notifications", Some(json!({"token": t.token(&alice).await?})));
    let connect = format!("4{}", connect.encode());
    match transport {
        Transport::WebSocket | Transport::Upgraded => {
            send(&wire, &connect).await?;
            // The server may have closed by then, which is what it has to do.
            let _ = wire.send(&connect).await;
        }
        Transport::Polling => {
            let _ = wire.send(&format!("{connect}\u{1e}{connect}")).await;
        }
    }
    closed(&mut wire, PROMPTLY).await?;
    unharmed(&t, &alice, &mut bystander).await
}

async fn silent(t: Bench, transport: Transport) -> Outcome {
    let mut wire = t.open(t.opening(transport)).await?;
    closed(&mut wire, UNAUTHENTICATED).await
}

/// Pongs, noops, and CONNECTs elsewhere, which do not come so often that it is closed for those (LIMIT-03).
async fn chatty(t: Bench, transport: Transport) -> Outcome {
    let says = async |packet: &str| {
        const EVERY: Duration = Duration::from_secs(3);
        let mut wire = t.open(t.opening(transport)).await?;
        let until = tokio::time::Instant::now() + UNAUTHENTICATED;
        loop {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            match wire.receive(left.min(EVERY)).await {
                Some(Incoming::Closed(_)) => return Ok(()),
                Some(_) => {}
                None if left > EVERY => drop(wire.send(packet).await),
                None => {
                    let told = format!("the connection that says {packet} closed within {UNAUTHENTICATED:?}");
                    return Err(mismatch(told, "it is still open"));
                }
            }
        }
    };
    tokio::try_join!(says("3"), says("6"), says("40/elsewhere,")).map(drop)
}

async fn refused_is_closed(t: Bench, transport: Transport) -> Outcome {
    let by_its_token = async {
        let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": "x"}))).await?;
        device.expect_refused().await?;
        device.expect_closed(UNAUTHENTICATED).await
    };
    let by_namespace =
        async |namespace| closed(&mut refused_at(&t, transport, namespace).await?, UNAUTHENTICATED).await;
    tokio::try_join!(by_its_token, by_namespace("/"), by_namespace("/elsewhere")).map(drop)
}

/// Not so often that it is closed for that (LIMIT-03).
async fn refused_again(t: Bench, transport: Transport) -> Outcome {
    const EVERY: Duration = Duration::from_secs(3);
    let opened = tokio::time::Instant::now();
    let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": "x"}))).await?;
    device.expect_refused().await?;
    for _ in 0..3 {
        match device.next(EVERY).await {
            Some(Arrival::Closed(_)) => return Ok(()),
            // It may be closed by now, which the next look tells.
            None => drop(attempt(&mut device, json!({"token": "x"})).await),
            Some(_) => {}
        }
        if let Some(Arrival::Closed(_)) = device.next(QUIET).await {
            return Ok(());
        }
    }
    device.expect_closed((opened + UNAUTHENTICATED).saturating_duration_since(tokio::time::Instant::now())).await
}

async fn after_refusal(t: Bench) -> Outcome {
    let alice = t.user().await?;
    for transport in t.transports() {
        let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": "x"}))).await?;
        device.expect_refused().await?;
        // Nobody who was refused need be kept (TRANS-09).
        if let Some(Arrival::Closed(_)) = device.next(QUIET).await {
            continue;
        }
        come_in(&t, &mut device, &alice).await?;
        t.emit_numbered(&alice, 1, 1).await?;
        receives(&mut device, [1]).await?;
        device.disconnect().await;
    }
    Ok(())
}

async fn left(t: Bench, transport: Transport) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut leaves = t.connect_raw(&alice, transport).await?;
    let mut returns = t.connect_raw(&bob, transport).await?;
    for device in [&mut leaves, &mut returns] {
        leave(device).await?;
    }
    let left = tokio::time::Instant::now();
    come_in(&t, &mut returns, &bob).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    if let Some(wire) = leaves.wire() {
        closed_in_silence(wire, UNAUTHENTICATED).await?;
    }
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    expect::that(queued.len() == 1, "the event queued", format!("{} events", queued.len()))?;
    returns.expect_silence((left + UNAUTHENTICATED).saturating_duration_since(tokio::time::Instant::now())).await?;
    t.emit_numbered(&bob, 1, 1).await?;
    returns.expect_event("record.accessed").await?;
    // And the second time, long after the first.
    leave(&mut returns).await?;
    match returns.wire() {
        Some(wire) => closed_in_silence(wire, UNAUTHENTICATED).await,
        None => Ok(()),
    }
}

async fn left_and_refused(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    leave(&mut device).await?;
    attempt(&mut device, json!({"token": "no-token"})).await?;
    device.expect_refused().await?;
    match device.wire() {
        Some(wire) => closed_in_silence(wire, UNAUTHENTICATED).await,
        None => Ok(()),
    }
}

/// Several times, for whoever leaves takes some time to have left.
async fn comes_again(t: Bench, transport: Transport) -> Outcome {
    let (mut alice, mut bob) = (t.user().await?, t.user().await?);
    let mut device = t.connect_raw(&alice, transport).await?;
    for n in 1..=10 {
        leave(&mut device).await?;
        come_in(&t, &mut device, &bob).await?;
        if n > 1 {
            let queued = device.expect_queued().await?;
            expect::that(queued.len() == 1, "the event of when she was away", format!("{} events", queued.len()))?;
        }
        t.emit_numbered(&alice, n, n).await?;
        t.emit_numbered(&bob, n, n).await?;
        device.expect_event("record.accessed").await?;
        std::mem::swap(&mut alice, &mut bob);
    }
    device.expect_silence(QUIET).await
}

/// More pings than some servers take in one POST, and not so many that a second has too many events.
async fn many_in_one_post(t: Bench) -> Outcome {
    // So many may be too many: then the client is closed, and knows that they did not count (LIMIT-05).
    for (packets, may_close) in [(20, false), (500, true)] {
        let alice = t.user().await?;
        let mut device = t.connect_raw(&alice, Transport::Polling).await?;
        let mut due: BTreeSet<u64> = (1_000..1_000 + packets).collect();
        let pings: Vec<_> = due.iter().map(|id| format!("42/notifications,{id}[\"ping\"]")).collect();
        if let Some(wire) = device.wire() {
            match send(wire, &pings.join("\u{1e}")).await {
                Err(_) if may_close => continue,
                sent => sent?,
            }
        }
        // In whatever order: each is an event of its own.
        while !due.is_empty() {
            match device.next(PROMPTLY).await {
                Some(Arrival::Ack { id, args }) if args == [json!("pong")] && due.remove(&id) => {}
                Some(Arrival::Closed(_)) if may_close => break,
                other => {
                    let told =
                        format!("a pong for each of {packets}, of which {} have come", packets - due.len() as u64);
                    return Err(mismatch(told, format!("{other:?}")));
                }
            }
        }
    }
    Ok(())
}

/// Three events that nobody knows, and a question behind them, which is answered if they were taken.
async fn large_in_one_post(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    let limit = limit(&mut device)?;
    let third = padded((limit - 100) / 3);
    if let Some(wire) = device.wire() {
        send(wire, &[&*third, &third, &third, r#"42/notifications,7["ping"]"#].join("\u{1e}")).await?;
    }
    match device.next(PROMPTLY).await {
        Some(Arrival::Ack { id: 7, args }) if args == [json!("pong")] => Ok(()),
        other => Err(mismatch("the pong behind the large packets", format!("{other:?}"))),
    }
}

async fn just_not_too_large(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    let limit = limit(&mut device)?;
    for letter in ["x", "€"] {
        if let Some(wire) = device.wire() {
            send(wire, &padded_with(letter, limit)).await?;
        }
        let answer = device.call("ping", vec![]).await?;
        expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))?;
    }
    Ok(())
}

/// What is announced as `maxPayload`, or as much of it as a case can send in reasonable time.
fn limit(device: &mut Client) -> Outcome<usize> {
    let announced = device.wire().map_or(0, |wire| wire.handshake.max_payload);
    let limit = usize::try_from(announced).unwrap_or(usize::MAX).min(4 << 20);
    expect::that(limit > 1_000, "a maxPayload that an event fits into", announced.to_string())?;
    Ok(limit)
}

/// An event that nobody knows, as a packet of so many bytes.
fn padded(bytes: usize) -> String {
    padded_with("x", bytes)
}

/// As [`padded`], in such letters as far as they fit.
fn padded_with(letter: &str, bytes: usize) -> String {
    let (begin, end) = (r#"42/notifications,["x",""#, r#""]"#);
    let room = bytes - begin.len() - end.len();
    format!("{begin}{}{}{end}", letter.repeat(room / letter.len()), "x".repeat(room % letter.len()))
}

/// A CONNECT and an event, in bodies whose length no header tells.
async fn chunked_posts(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut wire = t.open(t.opening(Transport::Polling)).await?;
    let path = polling_path(&wire.handshake.sid);
    let connect = Packet::new(Kind::Connect, "/notifications", Some(json!({"token": t.token(&alice).await?})));
    let headers = [("transfer-encoding", "chunked"), ("content-type", "text/plain;charset=UTF-8")];
    for (packet, answer) in [
        (format!("4{}", connect.encode()), "0/notifications,"),
        ("42/notifications,7[\"ping\"]".to_owned(), "3/notifications,7[\"pong\"]"),
    ] {
        t.http("POST", &path, &headers, Some(packet)).await?.expect_status(200)?;
        let came = wire.receive(PROMPTLY).await;
        let expected = matches!(&came, Some(Incoming::Message(text)) if text.starts_with(answer));
        expect::that(expected, format!("a message {answer}…"), format!("{came:?}"))?;
    }
    Ok(())
}

/// The connection is closed, and no event comes before.
async fn closed_in_silence(wire: &mut Wire, within: Duration) -> Outcome {
    let actual = match wire.receive(within).await {
        Some(Incoming::Closed(_)) => return Ok(()),
        Some(other) => format!("{other:?}"),
        None => "it is still open".to_owned(),
    };
    Err(mismatch(format!("the connection closed within {within:?}, and nothing before"), actual))
}

async fn bad_requests(t: Bench) -> Outcome {
    for query in [
        "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA",
        "EIO=4&transport=polling&sid=none",
        "EIO=4&transport=carrier-pigeon",
        "EIO=4",
        "EIO=3&transport=polling",
        "EIO=5&transport=polling",
        "EIO=99&transport=polling",
    ] {
        let answer = t.http("GET", &format!("/socket.io/?{query}"), &[], None::<String>).await?;
        expect::that(answer.status == 400, format!("HTTP 400 to {query}"), answer.describe())?;
    }
    let sid = t.random(20);
    unknown_session(&t, &sid).await?;
    unknown_to_websocket(&t, &sid).await?;
    if t.target().declares("polling") {
        // One that was, and is no more.
        let wire = t.open(t.opening(Transport::Polling)).await?;
        let sid = wire.handshake.sid.clone();
        wire.close(PROMPTLY).await;
        unknown_session(&t, &sid).await?;
    }
    Ok(())
}

/// By either request of a polling client.
async fn unknown_session(t: &Bench, sid: &str) -> Outcome {
    let path = polling_path(sid);
    let headers = [("content-type", "text/plain;charset=UTF-8")];
    for (method, body) in [("GET", None), ("POST", Some("40/notifications,".to_owned()))] {
        let answer = t.http(method, &path, &headers, body).await?;
        expect::that(answer.status == 400, format!("HTTP 400 to {method} {path}"), answer.describe())?;
    }
    Ok(())
}

async fn unknown_to_websocket(t: &Bench, sid: &str) -> Outcome {
    match Wire::open(t.opening(Transport::WebSocket).query("sid", sid), t.transcript().clone()).await {
        Err(WireError::Refused { status: 400, .. }) => Ok(()),
        Err(other) => Err(mismatch(format!("HTTP 400 to a WebSocket for the session {sid}"), other.to_string())),
        Ok(_) => Err(mismatch(format!("HTTP 400 to a WebSocket for the session {sid}"), "a session")),
    }
}

/// By much and by a byte, in letters of one byte and of three, from who is in and from who is not.
async fn too_large(t: Bench, transport: Transport) -> Outcome {
    let (alice, mut bystander) = bystander(&t).await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    let limit = announced(&mut device);
    let large = "x".repeat(limit + 1);
    breaks_protocol(&mut device, &format!(r#"42/notifications,["x","{large}"]"#)).await?;
    for letter in ["x", "€"] {
        let mut device = t.connect_raw(&alice, transport).await?;
        let closes = breaks_protocol(&mut device, &padded_with(letter, limit + 1)).await;
        closes.map_err(|fault| fault.of(format!("for one byte more than maxPayload, in letters like {letter}")))?;
    }
    let mut wire = t.open(t.opening(transport)).await?;
    let _ = wire.send(&format!(r#"40/notifications,{{"x":"{large}"}}"#)).await;
    closed(&mut wire, PROMPTLY).await.map_err(|fault| fault.of("for a CONNECT"))?;
    unharmed(&t, &alice, &mut bystander).await
}

async fn too_large_chunked(t: Bench) -> Outcome {
    let (alice, mut bystander) = bystander(&t).await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    let large = padded(announced(&mut device) + 1);
    if let Some(wire) = device.wire() {
        let headers = [("transfer-encoding", "chunked"), ("content-type", "text/plain;charset=UTF-8")];
        // The server may answer, or end the connection.
        let _ = t.http("POST", &polling_path(&wire.handshake.sid), &headers, Some(large)).await;
    }
    device.expect_closed(PROMPTLY).await?;
    unharmed(&t, &alice, &mut bystander).await
}

/// What is announced as `maxPayload`, as far as a case can send more than that.
fn announced(device: &mut Client) -> usize {
    let announced = device.wire().map_or(0, |wire| wire.handshake.max_payload);
    usize::try_from(announced).unwrap_or(0).min(64 << 20)
}

/// A second device of the user that misbehaves: what that one does must not touch it.
async fn bystander(t: &Bench) -> Outcome<(User, Client)> {
    let alice = t.user().await?;
    let device = t.connect_raw(&alice, Transport::WebSocket).await?;
    Ok((alice, device))
}

async fn unharmed(t: &Bench, alice: &User, bystander: &mut Client) -> Outcome {
    let event = t.event_for(alice);
    t.emit(&event).await?;
    let payload = bystander.expect_event("record.accessed").await?;
    expect::member(&payload, "resourceId", &event.resource_id)
}

async fn breaks_protocol(device: &mut Client, packet: &str) -> Outcome {
    if let Some(wire) = device.wire() {
        // The server may refuse the request itself, or close before all is sent.
        let _ = wire.send(packet).await;
    }
    device.expect_closed(PROMPTLY).await
}

async fn send(wire: &Wire, packet: &str) -> Outcome {
    wire.send(packet).await.map_err(|error| mismatch("a connection that takes a packet", error.to_string()))
}

async fn closed(wire: &mut Wire, within: Duration) -> Outcome {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        match wire.receive(left).await {
            Some(Incoming::Closed(_)) => return Ok(()),
            Some(_) => {}
            None => return Err(mismatch(format!("the connection closed within {within:?}"), "it is still open")),
        }
    }
}
