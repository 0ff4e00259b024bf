//! AUTH-24 and SPEC 19: what errors and the server's output tell.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio::time::timeout;

use super::kit::{
    acks,
    again::{come_in, leave},
    control::{EVENT_LIMIT, body_for},
    queue::damages_one,
    server::has_setting,
    slow::stalled_narrowly,
    texts::TRACES,
};
use crate::{
    bench::{Answer, Bench, Emission, User},
    case::{Case, Need},
    client::Transport,
    expect::{self, Outcome, inconclusive},
    instance::Changes,
    redis::inspect::Damage,
    token,
};

/// What a queue holds.
const QUEUE: usize = 50;
/// How long a server may take to send something.
const SOON: Duration = Duration::from_secs(5);
/// How long a client stays that acknowledges nothing within a second, at the most.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

pub(super) const CASES: &[Case] = &[
    case!("AUTH-24/errors", "no HTTP error tells a secret, a stack trace or an address", errors)
        .needs(&[Need::OwnServer, Need::Capability("control")]),
    case!("AUTH-24/log-of-errors", "no line about a refused request tells a secret or a stack trace", log_of_errors)
        .needs(&[Need::OwnServer, Need::Capability("control")]),
    case!(
        "AUTH-24/log-of-store",
        "nor does one about a store that cannot be had, or wants another password",
        log_of_store
    )
    .needs(&[Need::OwnServer, Need::Capability("config"), Need::Capability("redis")]),
    case!("PRIV-01/refused", "no line about a refused request tells of a user or an event", private_refusals)
        .needs(&[Need::OwnServer, Need::Capability("control")]),
    case!("PRIV-01/ways", "no line about what clients say, and how they come and go, tells of them", private_ways)
        .needs(&[Need::OwnServer])
        .also(&["AUTH-24"]),
    case!("PRIV-01/trouble", "no line about what goes wrong tells of a user or an event", private_trouble)
        .needs(&[Need::OwnServer]),
];

/// Requests that are refused for every reason, each with the secret `told` wherever one could be.
async fn refusals(t: &Bench, told: &str) -> Outcome<Vec<Answer>> {
    let bearer = t.credential()?;
    let wrong = format!("{bearer}{told}");
    let alice = t.user().await?;
    let mut event = body_for(&alice, 1);
    event["actorId"] = json!(told);
    event["metadata"]["note"] = json!(told);
    let right = event.to_string();
    let cut = right[..right.len() - 3].to_owned();
    // Some parsers quote some letters around a fault.
    let quotable = format!(r#"{{"{told}":x}}"#);
    let mut unknown = event.clone();
    unknown[told] = json!(told);
    let mut of_no_type = event.clone();
    of_no_type["eventType"] = json!(told);
    let large = right.replace(told, &told.repeat(EVENT_LIMIT / told.len() + 1));
    let json_type = "application/json";
    let key = told.repeat(20);
    let requests: [(&str, &str, &str, &str, String); 15] = [
        ("POST", "/events", &wrong, json_type, right.clone()),
        ("POST", "/events/batch", &wrong, json_type, format!("[{right}]")),
        ("PUT", &format!("/sessions/{told}"), &wrong, json_type, json!({"userId": told}).to_string()),
        ("DELETE", &format!("/sessions/{told}"), &wrong, json_type, String::new()),
        ("POST", "/events", &bearer, json_type, cut.clone()),
        ("POST", "/events/batch", &bearer, json_type, format!("[{cut}]")),
        ("POST", "/events", &bearer, json_type, quotable),
        ("POST", "/events", &bearer, json_type, unknown.to_string()),
        ("POST", "/events", &bearer, json_type, of_no_type.to_string()),
        ("PUT", &format!("/sessions/{told}"), &bearer, json_type, json!({"userId": 7, "note": told}).to_string()),
        ("POST", "/events", &bearer, "text/plain", right.clone()),
        ("POST", "/events", &bearer, json_type, large),
        ("GET", "/no/such/route", &bearer, json_type, String::new()),
        ("PATCH", "/events", &bearer, json_type, right.clone()),
        ("DELETE", &format!("/sessions/{}", t.session_id()), &bearer, json_type, String::new()),
    ];
    let mut answers = Vec::new();
    for (method, path, credential, kind, body) in requests {
        let body = (!body.is_empty()).then_some(body);
        let mut headers = vec![("authorization", credential)];
        if body.is_some() {
            headers.push(("content-type", kind));
        }
        let answer = t.http(method, path, &headers, body).await?;
        expect::that((400..500).contains(&answer.status), format!("{method} {path} refused"), answer.describe())?;
        answers.push(answer);
    }
    let headers = [("idempotency-key", &*key)];
    answers.push(t.control_text("POST", "/events", &headers, right).await?);
    Ok(answers)
}

/// What is answered with 503 while the store is away, to requests that have the secret `told` wherever one could be; nothing where the
/// suite cannot take it away.
async fn store_away(t: &Bench, told: &str) -> Outcome<Vec<Answer>> {
    let Some(proxy) = t.server().proxy() else { return Ok(Vec::new()) };
    let alice = t.user_named(&format!("user-{told}")).await?;
    let event = telling(t, &alice, told).body();
    let session = format!("/sessions/{}", alice.session);
    let token = t.token(&alice).await?;
    proxy.cut();
    let mut answers = Vec::new();
    for (method, path, body) in [
        ("POST", "/events", event.clone()),
        ("POST", "/events/batch", json!([event])),
        ("PUT", &*session, json!({"userId": alice.id})),
        ("DELETE", &*session, json!(null)),
        ("GET", "/readyz", json!(null)),
    ] {
        answers.push(t.control(method, path, &body).await?);
    }
    answers.push(t.control_text("POST", "/events", &[("idempotency-key", told)], event.to_string()).await?);
    // Whoever cannot be let in now may be told so in one way or another.
    drop(t.attempt_raw(t.opening(Transport::WebSocket), Some(json!({"token": token}))).await);
    proxy.restore();
    // So that the server can end as it would. Whether it is back is not the question here.
    t.emit_until_accepted(&alice, 3).await.ok();
    Ok(answers)
}

/// An event that has `told` in all that is private about it.
fn telling(t: &Bench, user: &User, told: &str) -> Emission {
    let metadata = json!({"targetUserId": user.id, "note": told});
    let event = t.event_for(user).metadata(metadata);
    Emission { actor_id: format!("actor-{told}"), resource_id: format!("record-{told}"), ..event }
}

async fn errors(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let credential = t.credential()?;
    let secrets: Vec<_> = t.target().secrets.values().cloned().chain([credential]).collect();
    let told = t.random(16);
    let mut answers = refusals(&t, &told).await?;
    answers.extend(store_away(&t, &told).await?);
    for answer in answers {
        let headers = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}\n")).collect::<String>();
        let all = format!("{headers}{}", answer.body);
        for told in TRACES.iter().copied().chain(["127.0.0.1", "localhost", "redis:", "ECONN"]) {
            expect::that(!all.contains(told), format!("an error without {told:?}"), answer.describe())?;
        }
        let secret = secrets.iter().any(|secret| all.contains(secret.as_str()));
        expect::that(!secret, "an error without a secret", answer.describe())?;
    }
    Ok(())
}

fn heard(t: &Bench) -> Outcome {
    if t.server().is_heard() {
        return Ok(());
    }
    Err(inconclusive("what the server says is not the suite's to hear: commands of the target file start it"))
}

async fn log_of_errors(t: Bench) -> Outcome {
    heard(&t)?;
    let t = t.own_server(&[]).await?;
    let told = t.random(16);
    refusals(&t, &told).await?;
    store_away(&t, &told).await?;
    t.restart().await?;
    let output = t.server().output();
    for (name, secret) in &t.target().secrets {
        expect::that(!output.contains(secret.as_str()), "an output without secrets", format!("{name} stands in it"))?;
    }
    has_no_trace(&output)
}

fn has_no_trace(output: &str) -> Outcome {
    for trace in TRACES {
        let line = output.lines().find(|line| line.contains(trace));
        expect::that(line.is_none(), format!("an output without {trace:?}"), line.unwrap_or_default())?;
    }
    Ok(())
}

/// Nobody listens at port 1.
async fn log_of_store(t: Bench) -> Outcome {
    heard(&t)?;
    let password = format!("a-password-of-this-run-{}", t.random(24));
    for (name, value) in [("REDIS_PORT", "1"), ("REDIS_PASSWORD", &*password)] {
        let set = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let server = t.prepared_server(&Changes { set, ..Changes::default() }, None).await?;
        // It may end, or wait for its store; what it says of that is the question here.
        let _ = timeout(SOON, server.boot()).await;
        let output = server.server().output();
        let secrets = t.target().secrets.values().map(String::as_str).chain([&*password]);
        for secret in secrets {
            expect::that(
                !output.contains(secret),
                "an output without secrets",
                format!("with another {name}, one stands in it"),
            )?;
        }
        has_no_trace(&output)?;
    }
    Ok(())
}

async fn private_refusals(t: Bench) -> Outcome {
    heard(&t)?;
    let t = t.own_server(&[]).await?;
    let told = t.random(16);
    refusals(&t, &told).await?;
    store_away(&t, &told).await?;
    t.restart().await?;
    let its_end = told[told.len() / 2..].to_owned();
    says_nothing_of(&t, &[told, its_end])
}

fn says_nothing_of(t: &Bench, private: &[String]) -> Outcome {
    let output = t.server().output();
    for secret in private.iter().filter(|secret| !secret.is_empty()) {
        let line = output.lines().find(|line| line.contains(secret.as_str()));
        expect::that(line.is_none(), format!("an output without {secret}"), line.unwrap_or_default())?;
    }
    Ok(())
}

/// All that a server might tell whoever operates it. Whether it does the right thing otherwise is not the question here.
async fn private_trouble(t: Bench) -> Outcome {
    heard(&t)?;
    let acknowledges = t.target().declares("ack") && has_setting(&t, "ack_timeout_seconds");
    let settings: &[_] = if acknowledges { &[("ack_timeout_seconds", "1")] } else { &[] };
    let t = t.own_server(settings).await?;
    let told = t.random(16);
    let mut private = vec![told.clone()];
    let alice = t.user_named(&format!("user-{told}")).await?;
    if t.target().declares("sessions") {
        let (strayed, other) = (User { session: t.session_id(), ..alice.clone() }, t.user().await?);
        for user in [strayed, User { session: other.session, ..alice.clone() }] {
            let auth = json!({"token": t.token(&user).await?});
            t.attempt_raw(t.opening(Transport::WebSocket), Some(auth)).await?.next(SOON).await;
        }
    }
    for _ in 0..=QUEUE {
        t.emit(&telling(&t, &alice, &told)).await?;
    }
    if t.target().declares("redis") {
        damages_one(&t, &told, Damage::Cut).await?;
    }
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    device.next(SOON).await;
    private.extend(device.wire().map(|wire| wire.handshake.sid.clone()));
    if t.target().declares("refresh") {
        let another = t.user().await?;
        for token in [json!(told), json!(t.token(&another).await?), json!({"token": {"x": told}})] {
            let _ = device.call("auth.refresh", vec![token]).await;
        }
    }
    device.disconnect().await;
    private.extend(falls_behind(&t, &alice, &told).await?);
    if acknowledges {
        let bob = t.user_named(&format!("other-{told}")).await?;
        let mut device = acks::join(&t, &bob).await?;
        private.extend(device.wire().map(|wire| wire.handshake.sid.clone()));
        t.emit(&telling(&t, &bob, &told)).await?;
        let _ = device.expect_closed(UNACKNOWLEDGED).await;
    }
    t.restart().await?;
    says_nothing_of(&t, &private)
}

/// All that a server might tell of those who do nothing wrong, and of what strangers say.
async fn private_ways(t: Bench) -> Outcome {
    heard(&t)?;
    let beats = has_setting(&t, "ping_interval_seconds") && has_setting(&t, "ping_timeout_seconds");
    let settings: &[_] = if beats { &[("ping_interval_seconds", "1"), ("ping_timeout_seconds", "3")] } else { &[] };
    let t = t.own_server(settings).await?;
    let told = t.random(16);
    let mut private = vec![told.clone()];
    let alice = t.user_named(&format!("user-{told}")).await?;
    let token = t.token(&alice).await?;
    for transport in t.transports() {
        let opening = t.opening(transport).query("client", &*told).header("user-agent", format!("agent {told}"));
        let auth = json!({"token": token, "device": told, "name": told, "client": {"id": told}});
        let mut device = t.attempt_raw(opening.clone(), Some(auth)).await?;
        device.expect_accepted().await?;
        private.extend(device.wire().map(|wire| wire.handshake.sid.clone()));
        if t.target().declares("refresh") {
            let _ = device.call("auth.refresh", vec![json!(token)]).await;
        }
        if let Some(wire) = device.wire() {
            let _ = wire.upgrade().await;
            let _ = wire.send(&format!("40/{told},{{\"x\":\"{told}\"}}")).await;
        }
        let _ = device.next(SOON).await;
        leave(&mut device).await?;
        come_in(&t, &mut device, &alice).await?;
        if let Some(wire) = device.wire() {
            let _ = wire.send(&format!("40/notifications,{{\"token\":\"{told}\"}}")).await;
        }
        let _ = device.expect_closed(SOON).await;
        let mut mute = t.attempt_raw(opening.mute(), Some(json!({"token": token}))).await?;
        private.extend(mute.wire().map(|wire| wire.handshake.sid.clone()));
        let _ = mute.expect_closed(UNACKNOWLEDGED).await;
        let mut wordy = t.connect_raw(&alice, transport).await?;
        if let Some(wire) = wordy.wire() {
            private.push(wire.handshake.sid.clone());
            let _ = wire.send(&format!("42/notifications,[\"{}\"]", told.repeat(20_000))).await;
        }
        let _ = wordy.expect_closed(SOON).await;
        t.attempt_raw(t.opening(transport).header("origin", format!("https://{told}.example")), None).await.ok();
    }
    for path in [format!("/{told}"), format!("/socket.io/?EIO=4&transport={told}"), format!("/healthz?{told}")] {
        t.http("GET", &path, &[("x-told", &told)], None::<String>).await?;
    }
    if t.target().declares("control") {
        let batch = json!([telling(&t, &alice, &told).body(), telling(&t, &alice, &told).body()]).to_string();
        for _ in 0..2 {
            t.control_text("POST", "/events/batch", &[("idempotency-key", &told)], batch.clone()).await?;
        }
    }
    if t.target().declares("sessions") {
        let brief = User { session: t.session_id(), ..alice.clone() };
        t.open_session(&brief, None).await?;
        let claims = json!({"userId": brief.id, "sessionId": brief.session, "exp": token::now() + 1});
        let auth = json!({"token": t.sign(&claims).await?});
        let mut ends = t.attempt_raw(t.opening(Transport::WebSocket), Some(auth)).await?;
        let mut revoked = t.connect_raw(&alice, Transport::WebSocket).await?;
        t.revoke_session(&alice.session).await?;
        let _ = revoked.expect_closed(SOON).await;
        let _ = ends.expect_closed(UNACKNOWLEDGED).await;
    }
    t.restart().await?;
    says_nothing_of(&t, &private)?;
    has_no_trace(&t.server().output())
}

/// A client that takes nothing of what is emitted for it, until its line breaks; returns the id of its session.
async fn falls_behind(t: &Bench, user: &User, told: &str) -> Outcome<Option<String>> {
    const EVENTS: usize = 40;
    let (mut device, line) = stalled_narrowly(t, user, Transport::WebSocket, false).await?;
    let sid = device.wire().map(|wire| wire.handshake.sid.clone());
    let metadata = json!({"targetUserId": user.id, "note": told, "text": "x".repeat(48 * 1024)});
    for _ in 0..EVENTS {
        t.emit(&telling(t, user, told).metadata(metadata.clone())).await?;
    }
    line.cut();
    Ok(sid)
}
