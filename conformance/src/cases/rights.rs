//! SPEC 12 and 13: the end of a token and the end of a session end the connections that rest on them.

use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::sleep;

use super::kit::{
    QUIET, acks,
    again::{attempt, come_in, leave},
    numbers::{receives, up_to},
    people::FIXTURES,
    polling_path,
    queue::finds,
    slow::{stalled_narrowly, until_one_waits},
    upgrade::in_and_upgraded,
};
use crate::{
    bench::{Bench, User, signing},
    case::{Case, Need},
    client::{Arrival, Client, Transport},
    expect::{self, Outcome, inconclusive},
    token::{self, People},
};

/// From when on to count: a token of the cases expires so many seconds after it was made.
const LIFE_S: i64 = 2;
/// How long after `exp` a connection may live, and how long after a revocation.
const AFTER_EXPIRY: Duration = Duration::from_secs(5);
const AFTER_REVOCATION: Duration = Duration::from_secs(2);
/// By then a connection would be closed that should not be, for some servers wait a moment.
const A_WHILE: Duration = Duration::from_secs(2);

pub(super) const CASES: &[Case] = &[
    over!(WebSocket, "EXPIRY-01/websocket", "a WebSocket connection ends with its token", expires).also(&[
        "AUTH-08",
        "EXPIRY-02",
        "EXPIRY-08",
    ]),
    over!(Polling, "EXPIRY-01/polling", "a polling session ends with its token", expires).also(&[
        "AUTH-08",
        "EXPIRY-02",
        "EXPIRY-08",
    ]),
    over!(Upgraded, "EXPIRY-01/upgraded", "so does one that was upgraded", expires),
    case!("EXPIRY-01/waiting", "what a polling session has not fetched by then does not keep it", ends_with_what_waits)
        .needs(&[Need::Capability("polling")])
        .also(&["SLOW-10"]),
    case!("EXPIRY-03/refresh", "auth.refresh takes a fresh token in every form", refresh).also(&["EXPIRY-04"]),
    case!("EXPIRY-05/refused", "auth.refresh refuses what a CONNECT would, with the same code", refused)
        .also(&["EXPIRY-07"]),
    case!("EXPIRY-05/fixtures", "auth.refresh refuses every token that a CONNECT would", refused_fixtures),
    case!(
        "EXPIRY-05/store-away",
        "auth.refresh is refused where the session store cannot be asked",
        refused_for_the_store
    )
    .needs(&[Need::OwnServer, Need::Capability("redis"), Need::Capability("sessions")])
    .also(&["EXPIRY-07"]),
    case!("EXPIRY-07/no-callback", "one that wants no answer and is refused changes nothing", refused_unasked),
    case!("EXPIRY-06/another-user", "auth.refresh takes no token of another user", another_user),
    over!(WebSocket, "REVOKE-01/websocket", "a revocation closes every connection of the session", revoked)
        .also(&["REVOKE-02"]),
    over!(Polling, "REVOKE-01/polling", "so it does over polling", revoked).also(&["REVOKE-02"]),
    over!(Upgraded, "REVOKE-01/upgraded", "so it does to one that was upgraded", revoked),
    case!(
        "REVOKE-01/waiting",
        "what a polling session has not fetched by then is not to be had any more",
        revoked_with_what_waits
    )
    .needs(&[Need::Capability("polling")])
    .also(&["SLOW-10"]),
    case!("REVOKE-01/not-reading", "nor does what a client that does not read has not taken keep it", revoked_unread)
        .needs(&[Need::Capability("control"), Need::Capability("backpressure")])
        .also(&["SLOW-10"]),
    case!("REVOKE-01/made-again", "a session that was made again can be revoked again", revoked_again),
    case!(
        "REVOKE-03/refreshed",
        "a refreshed connection ends with the session of its new token",
        revoked_after_refresh
    )
    .needs(&[Need::Capability("refresh")]),
    case!(
        "EXPIRY-07/revoked",
        "whatever a connection has asked in vain, it ends with its session, and with no other",
        revoked_after_refusals
    )
    .needs(&[Need::Capability("sessions")])
    .also(&["REVOKE-03"]),
    case!("REVOKE-04/queued", "what comes after a revocation waits for the user", queued_after),
    case!("REVOKE-05/while-connecting", "a CONNECT that a revocation overtakes does not stay", while_connecting),
    over!(WebSocket, "REVOKE-06/websocket", "a WebSocket connection ends with its session", session_ends),
    over!(Polling, "REVOKE-06/polling", "a polling session of Engine.IO ends with its session", session_ends),
    over!(Upgraded, "REVOKE-06/upgraded", "so does one that was upgraded", session_ends),
    over!(WebSocket, "REVOKE-07/replaced", "a session that is replaced ends when it is said then", replaced),
    over!(Polling, "REVOKE-07/polling", "so it does over polling", replaced),
    over!(Upgraded, "REVOKE-07/upgraded", "so it does for one that was upgraded", replaced),
    over!(WebSocket, "REVOKE-08/websocket", "a session that is given to another user ends for the first", given_away),
    over!(Polling, "REVOKE-08/polling", "so it does over polling", given_away),
    over!(Upgraded, "REVOKE-08/upgraded", "so it does for one that was upgraded", given_away),
];

/// A token that expires `seconds` from now.
async fn lasting(t: &Bench, user: &User, seconds: i64) -> Outcome<String> {
    let now = token::now();
    t.sign(&json!({"userId": user.id, "sessionId": user.session, "iat": now, "exp": now + seconds})).await
}

async fn connect(t: &Bench, token: &str, transport: Transport) -> Outcome<Client> {
    let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": token}))).await?;
    device.expect_accepted().await?;
    Ok(device)
}

async fn ask(device: &mut Client, token: Value) -> Outcome<Value> {
    let answer = device.call("auth.refresh", vec![token]).await?;
    expect::that(answer.len() == 1, "an acknowledgement with one argument", format!("{answer:?}"))?;
    Ok(answer[0].clone())
}

/// The device's `auth.refresh` with this argument is accepted.
async fn refreshes(device: &mut Client, token: Value) -> Outcome {
    expect::equal("the answer", &json!({"ok": true}), &ask(device, token).await?)
}

fn until_exp(exp: i64) -> Duration {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Duration::from_secs(exp.unsigned_abs()).saturating_sub(now)
}

/// Until it is nearly so late: a server may close at that very moment.
fn until_before(exp: i64) -> Duration {
    until_exp(exp).saturating_sub(Duration::from_millis(200))
}

async fn expires(t: Bench, transport: Transport) -> Outcome {
    let acknowledging =
        async { if t.target().declares("ack") { expires_as(&t, transport, true).await } else { Ok(()) } };
    tokio::try_join!(expires_as(&t, transport, false), acknowledging).map(drop)
}

async fn expires_as(t: &Bench, transport: Transport, ack: bool) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let exp = token::now() + LIFE_S;
    let short = lasting(t, &alice, LIFE_S).await?;
    let auth = json!({"token": short, "ack": ack});
    // By the first CONNECT of a connection, or by a further one.
    let mut devices =
        vec![t.attempt_raw(t.opening(transport), Some(auth.clone())).await?, left(t, &alice, transport).await?];
    attempt(&mut devices[1], auth.clone()).await?;
    for device in &mut devices {
        device.expect_accepted().await?;
    }
    if transport == Transport::Upgraded {
        devices.push(in_and_upgraded(t, auth.clone()).await?);
    }
    // What the connection had before its last CONNECT ends nothing.
    let mut stays = connect(t, &lasting(t, &bob, LIFE_S).await?, transport).await?;
    leave(&mut stays).await?;
    come_in(t, &mut stays, &bob).await?;
    for device in &mut devices {
        device.expect_silence(until_before(exp)).await?;
    }
    for device in &mut devices {
        device.expect_closed(until_exp(exp) + AFTER_EXPIRY).await?;
    }
    // The passing of time is what is tested here: a token that was right is no longer.
    sleep(until_exp(exp + 1) + AFTER_EXPIRY).await;
    t.attempt_raw(t.opening(transport), Some(auth)).await?.expect_refused().await?;
    t.emit_numbered(&bob, 1, 1).await?;
    receives(&mut stays, [1]).await?;
    if t.target().declares("refresh") {
        let mut device = t.connect_raw(&alice, transport).await?;
        let answer = ask(&mut device, json!(short)).await?;
        expect::equal("the answer", &json!({"ok": false, "code": "token_expired"}), &answer)?;
        device.disconnect().await;
    }
    t.emit_numbered(&alice, 1, 1).await?;
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    expect::that(queued.len() == 1, "one event", queued.len().to_string())
}

/// A connection of which this user has left the namespace.
async fn left(t: &Bench, user: &User, transport: Transport) -> Outcome<Client> {
    let mut device = t.connect_raw(user, transport).await?;
    leave(&mut device).await?;
    Ok(device)
}

async fn refresh(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let fresh = t.token(&alice).await?;
    let forms = [
        json!(fresh),
        json!(format!("Bearer {fresh}")),
        json!({"token": fresh}),
        json!({"token": format!("Bearer {fresh}")}),
    ];
    let mut devices = Vec::new();
    for transport in t.transports() {
        for form in &forms {
            let mut device = connect(&t, &lasting(&t, &alice, LIFE_S).await?, transport).await?;
            refreshes(&mut device, form.clone()).await?;
            devices.push(device);
        }
    }
    // One that does not refresh shows when the others would have been closed.
    let exp = token::now() + LIFE_S;
    let mut witness = connect(&t, &lasting(&t, &alice, LIFE_S).await?, Transport::WebSocket).await?;
    witness.expect_closed(until_exp(exp) + AFTER_EXPIRY + Duration::from_secs(1)).await?;
    t.emit(&t.event_for(&alice)).await?;
    for device in &mut devices {
        device.expect_event("record.accessed").await?;
    }
    // And the fresh token's end counts from then on.
    let exp = token::now() + LIFE_S;
    let short = lasting(&t, &alice, LIFE_S).await?;
    for device in devices.iter_mut().step_by(forms.len()) {
        refreshes(device, json!(short)).await?;
    }
    for device in devices.iter_mut().step_by(forms.len()) {
        device.expect_closed(until_exp(exp) + AFTER_EXPIRY).await?;
    }
    Ok(())
}

async fn refused(t: Bench) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let right = t.token(&alice).await?;
    let mut wrong = vec![
        (json!(lasting(&t, &alice, -60).await?), "token_expired"),
        (json!("a.b.c"), "token_invalid"),
        (json!(17), "token_invalid"),
        (json!(format!("{right}x")), "token_invalid"),
        (json!(format!("Token {right}")), "token_invalid"),
        (json!({"token": format!("JWT {right}")}), "token_invalid"),
        (json!(t.token(&mallory).await?), "token_invalid"),
        (json!({"__proto__": {"token": right}}), "token_missing"),
        (json!(""), "token_missing"),
        (json!(null), "token_missing"),
        (json!({}), "token_missing"),
    ];
    if t.target().declares("sessions") {
        let unknown = User { session: t.session_id(), ..alice.clone() };
        wrong.push((json!(t.token(&unknown).await?), "session_invalid"));
    }
    let over = async |transport| {
        let exp = token::now() + LIFE_S;
        let mut ends = connect(&t, &lasting(&t, &alice, LIFE_S).await?, transport).await?;
        let mut stays = connect(&t, &right, transport).await?;
        for device in [&mut ends, &mut stays] {
            for (argument, code) in &wrong {
                let answer = ask(device, argument.clone()).await?;
                expect::equal(&format!("the answer to {argument}:"), &json!({"ok": false, "code": code}), &answer)?;
            }
        }
        ends.expect_closed(until_exp(exp) + AFTER_EXPIRY).await?;
        Ok(stays)
    };
    let mut stay = try_join_all(t.transports().map(over)).await?;
    for device in &mut stay {
        device.expect_silence(A_WHILE).await?;
    }
    t.emit(&t.event_for(&alice)).await?;
    for device in &mut stay {
        device.expect_event("record.accessed").await?;
    }
    Ok(())
}

/// By several devices, for a server may bound how often one may ask.
async fn refused_fixtures(t: Bench) -> Outcome {
    const EACH: usize = 12;
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let people = People { user: &alice.id, session: &alice.session, other: &mallory.id };
    let sentences = FIXTURES.iter().chain(&["AUTH-05"]);
    let mut fixtures: Vec<_> = sentences.flat_map(|sentence| token::fixtures(sentence)).collect();
    fixtures.retain(|fixture| {
        let is_bound = fixture.sentence != "AUTH-12" || t.target().declares("sessions");
        is_bound && fixture.verdict != "accepted" && t.signer().suits(fixture)
    });
    for fixtures in fixtures.chunks(EACH) {
        let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
        for fixture in fixtures {
            let token = signing(t.signer().fixture(fixture, &people).await)?;
            let answer = ask(&mut device, token).await?;
            let told = format!("the answer to the token {} ({}):", fixture.name, fixture.why);
            expect::equal(&told, &json!({"ok": false, "code": fixture.verdict}), &answer)?;
        }
        device.disconnect().await;
    }
    Ok(())
}

async fn refused_for_the_store(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let fresh = json!(t.token(&t.user_named(&alice.id).await?).await?);
    let mut devices = Vec::new();
    for transport in t.transports() {
        devices.push(t.connect_raw(&alice, transport).await?);
    }
    t.redis_line()?.cut();
    for device in &mut devices {
        let answer = ask(device, fresh.clone()).await?;
        expect::equal("the answer", &json!({"ok": false, "code": "unavailable"}), &answer)?;
    }
    t.redis_line()?.restore();
    t.emit_until_accepted(&bob, 1).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    for device in &mut devices {
        receives(device, [1]).await?;
    }
    t.revoke_session(&alice.session).await?;
    try_join_all(devices.iter_mut().map(|device| device.expect_closed(AFTER_REVOCATION))).await.map(drop)
}

/// Its refusal is told to nobody, and ends nothing.
async fn refused_unasked(t: Bench) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let wrong = [json!(lasting(&t, &alice, -60).await?), json!(t.token(&mallory).await?), json!("a.b.c"), json!(null)];
    for transport in t.transports() {
        let mut device = t.connect_raw(&alice, transport).await?;
        for argument in &wrong {
            device.emit("auth.refresh", vec![argument.clone()]).await?;
        }
        device.emit("auth.refresh", vec![]).await?;
        acks::settle(&mut device).await?;
        device.expect_silence(QUIET).await?;
        t.emit(&t.event_for(&alice)).await?;
        device.expect_event("record.accessed").await?;
        device.disconnect().await;
    }
    Ok(())
}

async fn another_user(t: Bench) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let mut device = connect(&t, &t.token(&mallory).await?, Transport::WebSocket).await?;
    let answer = ask(&mut device, json!(t.token(&alice).await?)).await?;
    expect::equal("the answer", &json!({"ok": false, "code": "token_invalid"}), &answer)?;
    t.emit(&t.event_for(&alice)).await?;
    t.emit_numbered(&mallory, 1, 1).await?;
    let payload = device.expect_event("record.accessed").await?;
    expect::equal("the event of its own user:", &json!(1), &payload["metadata"]["n"])?;
    device.expect_silence(QUIET).await
}

async fn revoked(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let other = t.user_named(&alice.id).await?;
    let mut devices = vec![t.connect_raw(&alice, transport).await?, t.connect_raw(&alice, transport).await?];
    if t.target().declares("ack") {
        devices.push(acks::connect(&t, &alice, t.opening(transport), true).await?);
    }
    if transport == Transport::Upgraded {
        devices.push(in_and_upgraded(&t, json!({"token": t.token(&alice).await?})).await?);
    }
    // On a connection the session of the last CONNECT counts.
    let mut back = left(&t, &other, transport).await?;
    come_in(&t, &mut back, &alice).await?;
    devices.push(back);
    // The id of this one's session begins like that of the other.
    let alike = User { session: format!("{}-2", alice.session), ..alice.clone() };
    t.open_session(&alike, None).await?;
    let mut stay = [
        t.connect_raw(&other, transport).await?,
        left(&t, &alice, transport).await?,
        t.connect_raw(&alike, transport).await?,
    ];
    come_in(&t, &mut stay[1], &other).await?;
    t.revoke_session(&alice.session).await?;
    for device in &mut devices {
        device.expect_closed(AFTER_REVOCATION).await?;
    }
    t.emit(&t.event_for(&alice)).await?;
    for device in &mut stay {
        device.expect_event("record.accessed").await?;
    }
    Ok(())
}

async fn revoked_with_what_waits(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let sid = leaves_one(&t, &alice, &t.token(&alice).await?).await?;
    t.revoke_session(&alice.session).await?;
    // The passing of time is what is tested here.
    sleep(AFTER_REVOCATION).await;
    is_unknown(&t, &sid).await?;
    let other = t.user_named(&alice.id).await?;
    finds(&t, &other, [2]).await.map(drop)
}

async fn revoked_unread(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let (_device, _line) = stalled_narrowly(&t, &alice, Transport::WebSocket, false).await?;
    let last = until_one_waits(&t, &alice, 0).await? as u64;
    t.revoke_session(&alice.session).await?;
    // The passing of time is what is tested here.
    sleep(AFTER_REVOCATION).await;
    let mut other = t.connect_raw(&t.user_named(&alice.id).await?, Transport::WebSocket).await?;
    up_to(&mut other, last, AFTER_EXPIRY).await.map(drop)
}

async fn revoked_again(t: Bench) -> Outcome {
    let alice = t.user().await?;
    for transport in t.transports().chain(t.transports()) {
        t.open_session(&alice, None).await?;
        let mut device = t.connect_raw(&alice, transport).await?;
        t.revoke_session(&alice.session).await?;
        device.expect_closed(AFTER_REVOCATION).await?;
    }
    Ok(())
}

async fn ends_with_what_waits(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let exp = token::now() + LIFE_S;
    let sid = leaves_one(&t, &alice, &lasting(&t, &alice, LIFE_S).await?).await?;
    // The passing of time is what is tested here.
    sleep(until_exp(exp) + AFTER_EXPIRY).await;
    is_unknown(&t, &sid).await?;
    finds(&t, &alice, [2]).await.map(drop)
}

/// A polling session that has fetched one event and not the next.
async fn leaves_one(t: &Bench, user: &User, token: &str) -> Outcome<String> {
    let mut device = connect(t, token, Transport::Polling).await?;
    device.rest()?;
    t.emit_numbered(user, 1, 1).await?;
    receives(&mut device, [1]).await?;
    t.emit_numbered(user, 2, 2).await?;
    let wire = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?;
    Ok(wire.handshake.sid.clone())
}

async fn is_unknown(t: &Bench, sid: &str) -> Outcome {
    let answer = t.http("GET", &polling_path(sid), &[], None::<String>).await?;
    expect::that(answer.status >= 400, "an error for a session that was closed", answer.describe())
}

async fn revoked_after_refresh(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let other = t.user_named(&alice.id).await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    refreshes(&mut device, json!(t.token(&other).await?)).await?;
    t.revoke_session(&alice.session).await?;
    t.emit(&t.event_for(&alice)).await?;
    device.expect_event("record.accessed").await?;
    device.expect_silence(QUIET).await?;
    t.revoke_session(&other.session).await?;
    device.expect_closed(AFTER_REVOCATION).await
}

/// Shows a server that leaves one session before it has entered the next, or that enters one before it has looked.
async fn revoked_after_refusals(t: Bench) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let (second, gone) = (t.user_named(&alice.id).await?, t.user_named(&alice.id).await?);
    t.revoke_session(&gone.session).await?;
    let unknown = User { session: t.session_id(), ..alice.clone() };
    let refusals = [
        (t.token(&unknown).await?, "session_invalid"),
        (t.token(&gone).await?, "session_invalid"),
        (t.token(&mallory).await?, "token_invalid"),
        (lasting(&t, &second, -60).await?, "token_expired"),
        ("a.b.c".to_owned(), "token_invalid"),
    ];
    // By the session of its CONNECT, by the same one refreshed, and by another that it was refreshed with.
    let refreshed = [None, Some(&alice), Some(&second)];
    let mut devices = Vec::new();
    for transport in t.transports() {
        for (token, code) in &refusals {
            for before in refreshed {
                let mut device = t.connect_raw(&alice, transport).await?;
                if let Some(user) = before {
                    refreshes(&mut device, json!(t.token(user).await?)).await?;
                }
                let answer = ask(&mut device, json!(token)).await?;
                expect::equal("the answer", &json!({"ok": false, "code": code}), &answer)?;
                let session = &before.unwrap_or(&alice).session;
                devices.push((session, device));
            }
        }
    }
    // What was named in vain may come and go.
    t.open_session(&unknown, None).await?;
    for user in [&unknown, &mallory] {
        t.revoke_session(&user.session).await?;
    }
    try_join_all(devices.iter_mut().map(|(_, device)| device.expect_silence(A_WHILE))).await?;
    t.revoke_session(&alice.session).await?;
    let (mut of_first, mut of_second): (Vec<_>, Vec<_>) =
        devices.into_iter().partition(|(session, _)| *session == &alice.session);
    try_join_all(of_first.iter_mut().map(|(_, device)| device.expect_closed(AFTER_REVOCATION))).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    for (_, device) in &mut of_second {
        receives(device, [1]).await?;
    }
    t.revoke_session(&second.session).await?;
    try_join_all(of_second.iter_mut().map(|(_, device)| device.expect_closed(AFTER_REVOCATION))).await.map(drop)
}

async fn queued_after(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.revoke_session(&alice.session).await?;
    device.expect_closed(AFTER_REVOCATION).await?;
    t.emit_numbered(&alice, 1, 2).await?;
    let other = t.user_named(&alice.id).await?;
    let queued = t.connect_raw(&other, Transport::WebSocket).await?.expect_queued().await?;
    expect::that(queued.len() == 2, "two events", queued.len().to_string())
}

async fn while_connecting(t: Bench) -> Outcome {
    for _ in 0..20 {
        let alice = t.user().await?;
        let auth = json!({"token": t.token(&alice).await?});
        // Opened before, or the revocation would mostly be through before the CONNECT is sent.
        let wire = t.open(t.opening(Transport::WebSocket)).await?;
        let attempt = Client::over_wire(wire, Some(auth));
        let (device, revoked) = tokio::join!(attempt, t.revoke_session(&alice.session));
        revoked?;
        let mut device = device?;
        // Refused, or accepted and then closed; a polite refusal leaves the connection open for another try.
        match device.next(Duration::from_secs(5)).await {
            Some(Arrival::Refused(_) | Arrival::Closed(_)) => {}
            _ => device.expect_closed(AFTER_REVOCATION).await?,
        }
        t.emit_numbered(&alice, 1, 1).await?;
        let other = t.user_named(&alice.id).await?;
        let queued = t.connect_raw(&other, Transport::WebSocket).await?.expect_queued().await?;
        expect::that(queued.len() == 1, "the event queued", format!("{} events", queued.len()))?;
    }
    Ok(())
}

/// Another session of this user's, which ends so many seconds from now, and when that is.
async fn ending(t: &Bench, user: &User, seconds: i64) -> Outcome<(User, i64)> {
    let user = User { id: user.id.clone(), session: t.session_id() };
    let end = token::now() + seconds;
    ends_at(t, &user, end).await?;
    Ok((user, end))
}

async fn ends_at(t: &Bench, user: &User, end: i64) -> Outcome {
    let time = OffsetDateTime::from_unix_timestamp(end).ok().and_then(|time| time.format(&Rfc3339).ok());
    t.open_session(user, time.as_deref()).await
}

async fn session_ends(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let mut stay = far_ones(&t, &alice, transport).await?;
    // Time enough for all of them to connect, and to refresh, on a machine that has other things to do.
    let (ending, end) = ending(&t, &alice, 2 * LIFE_S + 1).await?;
    // Who has left and come in by another session does not end with the first.
    stay.extend([t.connect_raw(&alice, transport).await?, left(&t, &ending, transport).await?]);
    if let Some(back) = stay.last_mut() {
        come_in(&t, back, &alice).await?;
    }
    let mut devices = vec![t.connect_raw(&ending, transport).await?, t.connect_raw(&ending, transport).await?];
    if t.target().declares("ack") {
        devices.push(acks::connect(&t, &ending, t.opening(transport), true).await?);
    }
    if transport == Transport::Upgraded {
        devices.push(in_and_upgraded(&t, json!({"token": t.token(&ending).await?})).await?);
    }
    if t.target().declares("refresh") {
        // With a token that outlives the session, and the session that the fresh token names.
        for (devices, first, fresh) in [(&mut devices, &alice, &ending), (&mut stay, &ending, &alice)] {
            let mut device = t.connect_raw(first, transport).await?;
            refreshes(&mut device, json!(t.token(fresh).await?)).await?;
            devices.push(device);
        }
    }
    try_join_all(devices.iter_mut().map(|device| device.expect_silence(until_before(end)))).await?;
    for device in &mut devices {
        device.expect_closed(until_exp(end) + AFTER_EXPIRY).await?;
    }
    t.emit(&t.event_for(&alice)).await?;
    for device in &mut stay {
        device.expect_event("record.accessed").await?;
    }
    Ok(())
}

/// By sessions and tokens whose ends are further away than the timers of some systems reach.
async fn far_ones(t: &Bench, user: &User, transport: Transport) -> Outcome<Vec<Client>> {
    const DAY_S: i64 = 86_400;
    let mut devices = Vec::new();
    for days in [30, 60, 36_500] {
        let (far, end) = ending(t, user, days * DAY_S).await?;
        let claims = json!({"userId": far.id, "sessionId": far.session, "exp": end + DAY_S});
        devices.push(connect(t, &t.sign(&claims).await?, transport).await?);
    }
    Ok(devices)
}

/// The session is another user's from now on, who may be let in by it at once.
async fn given_away(t: Bench, transport: Transport) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let other = t.user_named(&alice.id).await?;
    let mut devices = vec![t.connect_raw(&alice, transport).await?, left(&t, &other, transport).await?];
    come_in(&t, &mut devices[1], &alice).await?;
    if t.target().declares("refresh") {
        let mut refreshed = t.connect_raw(&other, transport).await?;
        refreshes(&mut refreshed, json!(t.token(&alice).await?)).await?;
        devices.push(refreshed);
    }
    let mut stays = t.connect_raw(&other, transport).await?;
    let bobs = User { session: alice.session.clone(), ..bob };
    t.open_session(&bobs, None).await?;
    for device in &mut devices {
        device.expect_closed(AFTER_REVOCATION).await?;
    }
    let mut comes = t.connect_raw(&bobs, transport).await?;
    for (user, device) in [(&alice, &mut stays), (&bobs, &mut comes)] {
        t.emit(&t.event_for(user)).await?;
        device.expect_event("record.accessed").await?;
    }
    Ok(())
}

async fn replaced(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    // Time enough for all of them to connect, and to refresh, on a machine that has other things to do.
    let (extended, first) = ending(&t, &alice, 2 * LIFE_S).await?;
    let (unbounded, _) = ending(&t, &alice, 2 * LIFE_S).await?;
    let (shortened, _) = ending(&t, &alice, 900).await?;
    let mut stay = [t.connect_raw(&extended, transport).await?, t.connect_raw(&unbounded, transport).await?];
    let mut ends = vec![t.connect_raw(&shortened, transport).await?];
    if t.target().declares("refresh") {
        let mut refreshed = t.connect_raw(&alice, transport).await?;
        refreshes(&mut refreshed, json!(t.token(&shortened).await?)).await?;
        ends.push(refreshed);
    }
    ends_at(&t, &extended, first + 900).await?;
    t.open_session(&unbounded, None).await?;
    let end = token::now() + LIFE_S;
    ends_at(&t, &shortened, end).await?;
    for device in &mut ends {
        device.expect_closed(until_exp(end) + AFTER_EXPIRY).await?;
    }
    stay[0].expect_silence(until_exp(first) + AFTER_EXPIRY).await?;
    stay[1].expect_silence(QUIET).await?;
    t.emit(&t.event_for(&alice)).await?;
    for device in &mut stay {
        device.expect_event("record.accessed").await?;
    }
    // And then it ends at once.
    let end = token::now() + 1;
    ends_at(&t, &extended, end).await?;
    stay[0].expect_closed(until_exp(end) + AFTER_EXPIRY).await?;
    // Or at that very moment, where it says that the end has passed.
    ends_at(&t, &unbounded, token::now() - 60).await?;
    stay[1].expect_closed(AFTER_EXPIRY).await
}
