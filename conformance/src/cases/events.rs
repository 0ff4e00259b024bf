//! SPEC 4: the four events, their payload, their recipient, and ping.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::kit::{
    QUIET, again,
    numbers::{numbers, receives},
    texts::ODD,
};
use crate::{
    bench::{Bench, Emission},
    case::{Case, Need},
    client::{Arrival, Client, Incoming, Transport},
    expect::{self, Fault, Outcome, inconclusive, mismatch},
    fixtures, token,
};

/// How far the time of an eventId may be off, in milliseconds: some makers of UUIDs run ahead of the clock where they make many.
const UUIDS_MS: i64 = 60_000;
/// How far the clocks of suite and target may be apart, in milliseconds.
const CLOCKS_MS: i64 = 5_000;

macro_rules! of_type {
    ($id:literal, $event:literal) => {
        case!($id, concat!($event, " arrives under its name, with its payload"), typed($event))
            .also(&["EVENT-01", "EVENT-03"])
    };
}

pub(super) const CASES: &[Case] = &[
    over!(
        WebSocket,
        "EVENT-01/one-argument",
        "an event is one EVENT packet with its type and one payload",
        one_argument
    ),
    over!(Polling, "EVENT-01/one-argument-polled", "and by polling", one_argument),
    of_type!("EVENT-02/record-accessed", "record.accessed"),
    of_type!("EVENT-02/access-granted", "access.granted"),
    of_type!("EVENT-02/access-revoked", "access.revoked"),
    of_type!("EVENT-02/record-uploaded", "record.uploaded"),
    case!("EVENT-03/members", "eventType, actorId and resourceId arrive as emitted, awkward ones too", members),
    case!("EVENT-04/timestamp", "the timestamp is written as JavaScript writes it and tells the emission", timestamp),
    case!("EVENT-05/no-metadata", "without metadata the payload has an empty object", no_metadata),
    case!("EVENT-07/order", "the members of metadata arrive in order, live and queued", order),
    case!("EVENT-08/event-id", "each event has its UUIDv7, the same on every device and delivery", event_id),
    case!("EVENT-08/batch", "each event of a batch has an eventId of its own, live and queued", batch_ids)
        .needs(&[Need::Capability("control")]),
    case!("EVENT-09/target", "metadata.targetUserId is the recipient", recipients("EVENT-09")),
    case!("EVENT-09/blank", "a targetUserId of white space alone names somebody, too", blank_target),
    case!("EVENT-10/resource", "resourceId is the recipient where nobody is named", recipients("EVENT-10")),
    case!("EVENT-10/batch", "recipients are the same in a batch", recipients_of_a_batch)
        .also(&["EVENT-09"])
        .needs(&[Need::Capability("control")]),
    case!("EVENT-11/ping", "ping is answered with pong, by the raw wire on both transports", ping),
    case!("EVENT-11/at-once", "ping is answered however soon it follows the CONNECT", ping_at_once),
    case!("EVENT-11/ping-library", "ping is answered with pong, by rust_socketio", ping_library),
    over!(WebSocket, "EVENT-32/no-callback", "what asks for no answer gets none, and does no harm", no_callback),
    over!(Polling, "EVENT-32/no-callback-polled", "and by polling", no_callback),
    case!(
        "EVENT-12/half",
        "half an emoji in metadata arrives, live and queued, alone and in a batch",
        verbatim("EVENT-12")
    ),
    case!(
        "EVENT-13/verbatim",
        "metadata arrives letter by letter, live and queued, alone and in a batch",
        verbatim("EVENT-13")
    ),
    case!("EVENT-14/escaped", "names count without their escapes, and unknown ones are ignored", names),
    over!(WebSocket, "EVENT-14/reserved", "names that a library keeps for itself do nothing", reserved),
    over!(Polling, "EVENT-14/reserved-polled", "nor do they by polling", reserved),
];

async fn one_argument(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    let event = t.event_for(&alice);
    t.emit(&event).await?;
    match device.next(std::time::Duration::from_secs(5)).await {
        Some(Arrival::Event { name, args, .. }) if name == event.event_type && args.len() == 1 => {
            expect::that(args[0].is_object(), "an object as the payload", args[0].to_string())
        }
        other => Err(mismatch(format!("the EVENT {} with one argument", event.event_type), format!("{other:?}"))),
    }
}

async fn typed(t: Bench, event_type: &str) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let event = t.event_for(&alice).of(event_type);
    t.emit(&event).await?;
    let payload = device.expect_event(event_type).await?;
    as_emitted(&event, &payload)?;
    device.expect_silence(QUIET).await
}

fn as_emitted(event: &Emission, payload: &Value) -> Outcome {
    expect::member(payload, "eventType", &event.event_type)?;
    expect::member(payload, "actorId", &event.actor_id)?;
    expect::member(payload, "resourceId", &event.resource_id)?;
    expect::equal("metadata", event.metadata.as_ref().unwrap_or(&json!({})), &payload["metadata"])
}

async fn members(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    for odd in ODD.iter().copied().chain(["x".repeat(500).as_str()]) {
        let event = Emission { actor_id: odd.to_owned(), resource_id: format!("r {odd}"), ..t.event_for(&alice) };
        t.emit(&event).await?;
        as_emitted(&event, &device.expect_event("record.accessed").await?)?;
    }
    for entry in fixtures::list(fixtures::PLAIN, "events") {
        let event =
            Emission::of_fixture(&entry, &[("user", &alice.id), ("n", &t.random(8)), ("other", "someone-else")]);
        t.emit(&event).await?;
        as_emitted(&event, &device.expect_event(&event.event_type).await?)?;
    }
    Ok(())
}

async fn timestamp(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let before = token::now() * 1_000;
    let named_alike = json!({"targetUserId": alice.id, "timestamp": "2020-01-01T00:00:00.000Z"});
    for event in [t.event_for(&alice), t.event_for(&alice).metadata(named_alike)] {
        t.emit(&event).await?;
        let payload = device.expect_event("record.accessed").await?;
        let after = (token::now() + 1) * 1_000;
        let Some(text) = payload["timestamp"].as_str() else {
            return Err(mismatch("a timestamp", payload["timestamp"].to_string()));
        };
        let time = expect::iso_timestamp(text)?;
        let near = (before - CLOCKS_MS..=after + CLOCKS_MS).contains(&time);
        expect::that(near, "the time of the emission", format!("{text}, {} ms off", time - before))?;
    }
    Ok(())
}

async fn no_metadata(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let event = Emission { resource_id: alice.id.clone(), metadata: None, ..t.event_for(&alice) };
    t.emit(&event).await?;
    let payload = device.expect_event("record.accessed").await?;
    expect::equal("metadata", &json!({}), &payload["metadata"])
}

async fn order(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let ordered = json!({"targetUserId": alice.id, "zebra": 1, "apple": {"z": 1, "a": 2, "m": 3}, "Mango": [{"y": 1, "b": 2}], "beta": 2});
    let event = t.event_for(&alice).metadata(ordered.clone());
    t.emit(&event).await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let queued = device.expect_queued().await?;
    t.emit(&event).await?;
    let live = device.expect_event("record.accessed").await?;
    for payload in queued.iter().chain([&live]) {
        // Equal texts are equal orders: this build of the JSON library keeps members as they came.
        let (expected, actual) = (ordered.to_string(), payload["metadata"].to_string());
        expect::that(expected == actual, expected, actual)?;
    }
    Ok(())
}

async fn event_id(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 5).await?;
    let mut devices = vec![t.connect_raw(&alice, Transport::WebSocket).await?];
    let mut ids: Vec<Value> = devices[0].expect_queued().await?.iter().map(|it| it["eventId"].clone()).collect();
    devices.push(t.connect_raw(&alice, Transport::WebSocket).await?);
    for n in 6..=10 {
        t.emit(&t.numbered(&alice, n)).await?;
        let first = devices[0].expect_event("record.accessed").await?["eventId"].clone();
        let second = devices[1].expect_event("record.accessed").await?["eventId"].clone();
        expect::equal("one eventId on both devices", &first, &second)?;
        ids.push(first);
    }
    distinct(&ids)
}

/// UUIDs of version 7 (RFC 9562) that tell the time of now, none of them twice.
fn distinct(ids: &[Value]) -> Outcome {
    let mut seen = HashSet::new();
    for id in ids {
        let id = id.as_str().unwrap_or_default();
        let bytes = id.as_bytes();
        let form = bytes.len() == 36
            && bytes.iter().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => *byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
            && bytes[14] == b'7'
            && matches!(bytes[19].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b');
        expect::that(form, "a UUID of version 7 as eventId", format!("{id:?}"))?;
        let time = i64::from_str_radix(&id[..13].replace('-', ""), 16).unwrap_or_default();
        let off = (token::now() * 1_000 - time).abs();
        expect::that(off < UUIDS_MS, "a UUID that tells when it was made", format!("{id}, {off} ms off"))?;
        expect::that(seen.insert(id), "a new eventId for each event", format!("{id} twice"))?;
    }
    Ok(())
}

async fn batch_ids(t: Bench) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut devices =
        [t.connect_raw(&bob, Transport::WebSocket).await?, t.connect_raw(&bob, Transport::WebSocket).await?];
    let batch: Value = (1..=20).map(|n| t.numbered(if n % 2 == 0 { &alice } else { &bob }, n).body()).collect();
    let answer = t.control("POST", "/events/batch", &batch).await?;
    answer.expect_status(202)?;
    let answered: Vec<_> = answer.json().as_array().into_iter().flatten().map(|it| it["eventId"].clone()).collect();
    let mut ids = vec![Value::Null; 20];
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    queued.iter().zip((2..=20).step_by(2)).for_each(|(payload, n)| ids[n - 1] = payload["eventId"].clone());
    for n in (1..=20).step_by(2) {
        let [first, second] = &mut devices;
        let id = first.expect_event("record.accessed").await?["eventId"].clone();
        let other = second.expect_event("record.accessed").await?["eventId"].clone();
        expect::equal("one eventId on both devices", &id, &other)?;
        ids[n - 1] = id;
    }
    expect::equal("the ids that were answered", &json!(answered), &json!(ids))?;
    if t.target().declares("event-id") { distinct(&ids) } else { Ok(()) }
}

async fn recipients(t: Bench, sentence: &str) -> Outcome {
    let mut entries = fixtures::list(fixtures::RECIPIENTS, "events");
    entries.retain(|entry| fixtures::text(entry, "sentence") == sentence);
    expect::that(!entries.is_empty(), "fixtures", "none").map_err(|_| inconclusive(format!("none for {sentence}")))?;
    for entry in &entries {
        t.transcript().note(format!("recipient {}: {}", entry["name"], entry["why"]));
        let (target, resource) = (t.user().await?, t.user().await?);
        let mut at_target = t.connect_raw(&target, Transport::WebSocket).await?;
        let mut at_resource = t.connect_raw(&resource, Transport::WebSocket).await?;
        let names = [
            ("target", &*target.id),
            ("resource", &*resource.id),
            ("n", &*t.random(8)),
            ("user", &*target.id),
            ("other", "someone-else"),
        ];
        let event = Emission::of_fixture(entry, &names);
        let (receives, other, others) = match fixtures::text(entry, "recipient") {
            "target" => (&mut at_target, &resource, &mut at_resource),
            "resource" => (&mut at_resource, &target, &mut at_target),
            unknown => return Err(inconclusive(format!("the fixture names the recipient {unknown:?}"))),
        };
        t.emit(&event).await?;
        let payload = receives.expect_event(&event.event_type).await?;
        expect::member(&payload, "actorId", &event.actor_id)?;
        let sentinel = t.event_for(other);
        t.emit(&sentinel).await?;
        let payload = others.expect_event("record.accessed").await?;
        expect::member(&payload, "resourceId", &sentinel.resource_id)?;
    }
    Ok(())
}

/// A target that refuses to have such a user has nobody for the event, and certainly not the user whom `resourceId` would name.
async fn blank_target(t: Bench) -> Outcome {
    let blank: String = t.random(24).bytes().map(|byte| [' ', '\t', '\u{a0}'][usize::from(byte) % 3]).collect();
    let resource = t.user().await?;
    let mut at_resource = t.connect_raw(&resource, Transport::WebSocket).await?;
    let mut at_target = match t.user_named(&blank).await {
        Ok(target) => Some(t.connect_raw(&target, Transport::WebSocket).await?),
        Err(Fault::Mismatch { actual, .. }) => {
            t.transcript().note(format!("no session for the user {blank:?}: {actual}"));
            None
        }
        Err(fault) => return Err(fault),
    };
    let event = Emission { resource_id: resource.id.clone(), ..t.event_for(&resource) };
    let event = event.metadata(json!({"targetUserId": blank}));
    t.emit(&event).await?;
    if let Some(device) = &mut at_target {
        expect::member(&device.expect_event("record.accessed").await?, "actorId", &event.actor_id)?;
    }
    t.emit_numbered(&resource, 1, 1).await?;
    receives(&mut at_resource, [1]).await
}

async fn ping(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut devices = Vec::new();
    let upgraded = t.target().declares("polling").then_some(Transport::Upgraded);
    for transport in t.transports().chain(upgraded) {
        devices.push(t.connect_raw(&alice, transport).await?);
    }
    for device in &mut devices {
        for args in [vec![], vec![json!(null)], vec![json!({"at": 1})]] {
            let answer = device.call("ping", args).await?;
            expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))?;
        }
        // The first acknowledgement that an official client asks for.
        if let Some(wire) = device.wire() {
            let sent = wire.send(r#"42/notifications,0["ping"]"#).await;
            sent.map_err(|error| mismatch("a connection that takes a ping", error.to_string()))?;
        }
        let answer = device.next(std::time::Duration::from_secs(5)).await;
        let pong = Arrival::Ack { id: 0, args: vec![json!("pong")] };
        expect::that(answer.as_ref() == Some(&pong), "pong with the id 0", format!("{answer:?}"))?;
        device.emit_bytes("ping", Some(2_000)).await?;
        let answer = device.next(std::time::Duration::from_secs(5)).await;
        let pong = Arrival::Ack { id: 2_000, args: vec![json!("pong")] };
        expect::that(answer.as_ref() == Some(&pong), "pong to a ping with bytes", format!("{answer:?}"))?;
        device.expect_silence(QUIET / 3).await?;
        again::leave(device).await?;
        again::come_in(&t, device, &alice).await?;
        let answer = device.call("ping", vec![]).await?;
        expect::equal("the acknowledgement, to who has come in again", &json!(["pong"]), &json!(answer))?;
    }
    Ok(())
}

/// A server that answers the CONNECT and gets ready afterwards loses what comes in between.
async fn ping_at_once(t: Bench) -> Outcome {
    let alice = t.user().await?;
    for _ in 0..50 {
        let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
        let answer = device.call("ping", vec![]).await?;
        expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))?;
    }
    Ok(())
}

async fn ping_library(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let answer = t.connect_by_library(&alice).await?.call("ping", vec![json!(null)]).await?;
    expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))
}

/// The texts of metadata that a sentence is about, for this user.
fn texts(sentence: &str, user: &str) -> Vec<String> {
    let entries = fixtures::list(fixtures::VERBATIM, "metadata");
    let texts = entries.iter().filter(|entry| fixtures::text(entry, "sentence") == sentence);
    texts.map(|entry| fixtures::text(&fixtures::fill(entry, &[("user", user)]), "text").to_owned()).collect()
}

fn body(metadata: &str) -> String {
    let members = r#""eventType":"record.accessed","actorId":"actor","resourceId":"record""#;
    format!(r#"{{{members},"metadata":{metadata}}}"#)
}

async fn verbatim(t: Bench, sentence: &str) -> Outcome {
    for transport in t.transports() {
        let alice = t.user().await?;
        let texts = texts(sentence, &alice.id);
        let batch = format!("[{}]", texts.iter().map(|text| body(text)).collect::<Vec<_>>().join(","));
        for text in &texts {
            t.control_text("POST", "/events", &[], body(text)).await?.expect_status(202)?;
        }
        t.control_text("POST", "/events/batch", &[], batch.clone()).await?.expect_status(202)?;
        let mut device = t.connect_raw(&alice, transport).await?;
        let queued = next_message(&mut device).await?;
        let twice: Vec<_> = texts.iter().chain(&texts).map(String::as_str).collect();
        holds(sentence, &twice, &queued)?;
        for text in &texts {
            t.control_text("POST", "/events", &[], body(text)).await?.expect_status(202)?;
            holds(sentence, &[text], &next_message(&mut device).await?)?;
        }
        t.control_text("POST", "/events/batch", &[], batch).await?.expect_status(202)?;
        for text in &texts {
            holds(sentence, &[text], &next_message(&mut device).await?)?;
        }
    }
    Ok(())
}

/// The text of the next message, which a reader of values may refuse.
async fn next_message(device: &mut Client) -> Outcome<String> {
    let next = match device.wire() {
        Some(wire) => wire.receive(std::time::Duration::from_secs(5)).await,
        None => None,
    };
    match next {
        Some(Incoming::Message(text)) => Ok(text),
        other => Err(mismatch("an event", format!("{other:?}"))),
    }
}

/// The message has these metadata in their order: by their unpaired surrogates, or letter by letter.
fn holds(sentence: &str, metadata: &[&str], message: &str) -> Outcome {
    if sentence == "EVENT-12" {
        let expected: Vec<_> = metadata.iter().flat_map(|text| surrogates(text)).collect();
        return expect::that(expected == surrogates(message), format!("{expected:?}"), message);
    }
    let mut rest = message;
    for text in metadata {
        let wanted = format!(r#""metadata":{text}"#);
        match rest.split_once(&wanted) {
            Some((_, after)) => rest = after,
            None => return Err(mismatch(wanted, rest)),
        }
    }
    Ok(())
}

/// The escapes of surrogates in a text, in lower case.
fn surrogates(text: &str) -> Vec<String> {
    let pieces = text.split("\\u").skip(1).filter_map(|piece| piece.get(..4));
    pieces.map(str::to_lowercase).filter(|digits| digits.starts_with('d') && digits.as_bytes()[1] >= b'8').collect()
}

async fn names(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut devices = Vec::new();
    for transport in t.transports() {
        devices.push(t.connect_raw(&alice, transport).await?);
    }
    for device in &mut devices {
        for (id, entry) in (1_000..).zip(fixtures::list(fixtures::NAMES, "names")) {
            let (name, wanted) = (fixtures::text(&entry, "text"), fixtures::text(&entry, "is"));
            let told = async {
                if let Some(wire) = device.wire() {
                    let sent = wire.send(&format!("42/notifications,{id}[{name},1]")).await;
                    sent.map_err(|error| mismatch("a connection that goes on", error.to_string()))?;
                }
                if wanted == "ping" {
                    let answer = device.next(std::time::Duration::from_secs(5)).await;
                    let pong = Arrival::Ack { id, args: vec![json!("pong")] };
                    expect::that(answer.as_ref() == Some(&pong), "the acknowledgement pong", format!("{answer:?}"))?;
                }
                // What is ignored is not answered, and nothing else happens.
                let answer = device.call("ping", vec![]).await?;
                expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))
            };
            let which = format!("after the event {name} ({})", entry["why"]);
            told.await.map_err(|fault: expect::Fault| fault.of(which))?;
        }
        device.expect_silence(QUIET).await?;
    }
    Ok(())
}

/// What a library tells its own application by, said by a client: whoever takes it for that believes that the client has gone, or come.
async fn reserved(t: Bench, transport: Transport) -> Outcome {
    const RESERVED: [&str; 6] =
        ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
    let bob = t.user().await?;
    for name in RESERVED.into_iter().chain(["connection", "error", "message", "*"]) {
        let alice = t.user().await?;
        let mut device = t.connect_raw(&alice, transport).await?;
        let event = json!([name, {"userId": bob.id, "token": t.token(&bob).await?}]);
        if let Some(wire) = device.wire() {
            // The connection may be closed for it by now.
            let _ = wire.send(&format!("42/notifications,{event}")).await;
        }
        t.emit_numbered(&bob, 1, 1).await?;
        let goes_on = device.call("ping", vec![]).await.is_ok();
        expect::that(
            goes_on || RESERVED.contains(&name),
            format!("a connection that goes on after the event {name:?}"),
            "it does not",
        )?;
        t.emit_numbered(&alice, 2, 2).await?;
        let told = async {
            if goes_on {
                return receives(&mut device, [2]).await;
            }
            // It was closed, which whoever has waited for the answer has been told.
            let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
            expect::equal(
                "metadata.n of what is queued",
                &json!([2]),
                &queued.iter().map(|it| it["metadata"]["n"].clone()).collect(),
            )
        };
        told.await.map_err(|fault: expect::Fault| fault.of(format!("after the event {name:?}")))?;
        if goes_on {
            device.disconnect().await;
        }
    }
    Ok(())
}

/// All entries at once, each with users of its own.
async fn recipients_of_a_batch(t: Bench) -> Outcome {
    let mut batch = Vec::new();
    let mut expected = Vec::new();
    for entry in fixtures::list(fixtures::RECIPIENTS, "events") {
        let (target, resource) = (t.user().await?, t.user().await?);
        let n = t.random(8);
        let names = [
            ("target", &*target.id),
            ("resource", &*resource.id),
            ("n", &*n),
            ("user", &*target.id),
            ("other", "someone-else"),
        ];
        let event = Emission::of_fixture(&entry, &names);
        batch.push(event.body());
        let (receives, other) = match fixtures::text(&entry, "recipient") {
            "target" => (target, resource),
            _ => (resource, target),
        };
        batch.push(t.numbered(&other, 1).body());
        expected.push((entry["name"].clone(), receives, event, other));
    }
    t.control("POST", "/events/batch", &Value::Array(batch)).await?.expect_status(202)?;
    for (name, user, event, other) in &expected {
        t.transcript().note(format!("recipient {name}"));
        let queued = t.connect_raw(user, Transport::WebSocket).await?.expect_queued().await?;
        let actors: Vec<_> = queued.iter().map(|payload| payload["actorId"].clone()).collect();
        expect::equal("the actors of what is queued", &json!([event.actor_id]), &json!(actors))?;
        let queued = t.connect_raw(other, Transport::WebSocket).await?.expect_queued().await?;
        expect::equal("what is queued for the other", &json!([1]), &json!(numbers(&queued)))?;
    }
    Ok(())
}

/// `ping` and events that nobody knows, with and without arguments, bytes among them, and callbacks.
async fn no_callback(t: Bench, transport: Transport) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut bystander = t.connect_raw(&bob, Transport::WebSocket).await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    for args in [vec![], vec![json!(null)], vec![json!("x"), json!({"a": [1]})], vec![json!("__proto__"); 40]] {
        for name in [
            "ping",
            "pong",
            "hello",
            "message",
            "toString",
            "__proto__",
            "auth",
            "queued.events",
            "ack",
            "auth.refresh",
        ] {
            device.emit(name, args.clone()).await?;
        }
    }
    for (name, id) in [("ping", None), ("hello", None), ("hello", Some(90)), ("auth", Some(93))] {
        device.emit_bytes(name, id).await?;
    }
    // An unknown event may ask for an answer, too, and waits for it in vain.
    if let Some(wire) = device.wire() {
        for packet in [r#"42/notifications,91["hello"]"#, r#"42/notifications,92["toString",{}]"#] {
            wire.send(packet).await.map_err(|error| mismatch("a connection that takes an event", error.to_string()))?;
        }
    }
    let answer = device.call("ping", vec![]).await?;
    expect::equal("the acknowledgement", &json!(["pong"]), &json!(answer))?;
    for (user, device) in [(&alice, &mut device), (&bob, &mut bystander)] {
        t.emit_numbered(user, 1, 1).await?;
        receives(device, [1]).await?;
        device.expect_silence(QUIET / 3).await?;
    }
    expect::that(t.server().still_runs().await, "a server that still runs", "it has ended")
}
