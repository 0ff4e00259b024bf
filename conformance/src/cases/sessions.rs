//! SPEC 2: sessions as time goes on, several of one user, and what is no place for a token.

use std::time::Duration;

use serde_json::{Value, json};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use tokio::time::{Instant, interval, sleep};

use super::kit::{
    QUIET,
    again::{attempt, leave},
    by_hand::ByHand,
    numbers::receives,
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Arrival, Client, Opening, Transport, WireError},
    expect::{self, Outcome, inconclusive, mismatch},
    token,
};

/// What AUTH-16 allows.
const LEEWAY: Duration = Duration::from_secs(5);

pub(super) const CASES: &[Case] = &[
    case!("AUTH-16/later", "a session that has an end is there until then, and no longer", ends_later),
    case!("AUTH-16/offset", "the end of a session counts with its offset", with_offsets),
    case!("AUTH-16/replaced", "where a session is replaced, its new end counts, or none", replaced_end),
    case!("AUTH-14/made-later", "a session that was refused is accepted once it is made, and made again", made_later)
        .also(&["AUTH-15"]),
    case!("AUTH-41/one-alone", "of several sessions of a user one that is made or revoked ends no other", one_alone)
        .also(&["AUTH-15"]),
    case!("AUTH-40/cookie", "a token in a cookie is not a token", in_cookie),
    case!("AUTH-40/headers", "nor is one in another header or as a subprotocol", in_headers),
    case!("AUTH-40/payload", "nor is one in another member of the CONNECT payload", in_payload),
    case!("AUTH-40/later-request", "nor is one in a later request than the handshake", in_later_request)
        .needs(&[Need::Capability("polling")])
        .also(&["AUTH-02"]),
    case!("AUTH-40/upgrade", "nor is one in the request that upgrades a session", in_upgrade)
        .needs(&[Need::Capability("polling")])
        .also(&["AUTH-02", "AUTH-04"]),
    over!(WebSocket, "AUTH-08/again", "whoever has left and comes again is judged anew", judged_anew)
        .needs(&[Need::Capability("sessions")])
        .also(&["AUTH-02", "AUTH-15", "AUTH-40", "TRANS-14"]),
    over!(Polling, "AUTH-08/again-polling", "and by polling", judged_anew)
        .needs(&[Need::Capability("polling"), Need::Capability("sessions")])
        .also(&["AUTH-02", "AUTH-15", "AUTH-40", "TRANS-14"]),
    case!(
        "EMIT-05/replaced",
        "a session that is replaced is its new user's, and no longer the old one's",
        replaced_user
    ),
    case!("EMIT-05/odd-ids", "the id of a session is the decoded one, letter by letter", odd_ids),
    case!(
        "EMIT-32/store-away",
        "a session that cannot be stored or revoked is answered with 503, and stays",
        store_away
    )
    .needs(&[Need::OwnServer]),
];

/// Whether the user is let in now; a refusal is a CONNECT_ERROR.
async fn is_let_in(t: &Bench, user: &User, transport: Transport) -> Outcome<bool> {
    let auth = json!({"token": t.token(user).await?});
    let mut device = t.attempt_raw(t.opening(transport), Some(auth)).await?;
    match device.next(Duration::from_secs(5)).await {
        Some(Arrival::Accepted) => {
            device.disconnect().await;
            Ok(true)
        }
        Some(Arrival::Refused(_)) => Ok(false),
        other => Err(mismatch("the CONNECT accepted or refused", format!("{other:?}"))),
    }
}

async fn let_in(t: &Bench, user: &User, expected: bool, when: &str) -> Outcome {
    for transport in t.transports() {
        let told = |is_in: bool| format!("the CONNECT {} {when}", if is_in { "accepted" } else { "refused" });
        let is_in = is_let_in(t, user, transport).await?;
        expect::that(is_in == expected, told(expected), format!("{} over {transport:?}", told(is_in)))?;
    }
    Ok(())
}

/// A session's end is nothing that a server tells, so its user has to come again and again.
async fn until_refused(t: &Bench, user: &User, deadline: Instant) -> Outcome {
    let mut poll = interval(Duration::from_millis(200));
    loop {
        poll.tick().await;
        if !is_let_in(t, user, Transport::WebSocket).await? {
            return Ok(());
        }
        let told = format!("a CONNECT refused, {LEEWAY:?} after the end of its session at the latest");
        expect::that(Instant::now() < deadline, told, "accepted")?;
    }
}

/// So long from now, as a clock shows it that is so many hours and minutes ahead of UTC.
fn from_now(seconds: i64, offset: (i8, i8)) -> Outcome<String> {
    let offset = UtcOffset::from_hms(offset.0, offset.1, 0).map_err(|error| inconclusive(error.to_string()))?;
    let time = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
    let time = time.replace_nanosecond(u32::from(time.millisecond()) * 1_000_000).unwrap_or(time);
    time.to_offset(offset).format(&Rfc3339).map_err(|error| inconclusive(error.to_string()))
}

async fn ends_later(t: Bench) -> Outcome {
    let base = t.user().await?;
    let [soon, later] = [0, 1].map(|_| User { session: t.session_id(), ..base.clone() });
    // With the fraction that `from_now` gives it, the end is told exactly.
    let ends = Duration::from_secs(3);
    t.open_session(&later, Some(&from_now(30, (0, 0))?)).await?;
    let made = Instant::now();
    t.open_session(&soon, Some(&from_now(3, (0, 0))?)).await?;
    for user in [&soon, &later] {
        let is_in = is_let_in(&t, user, Transport::WebSocket).await?;
        if made.elapsed() < ends {
            expect::that(is_in, "the CONNECT accepted before the session's end", "it was refused")?;
        }
    }
    // The passing of time is what is tested here.
    sleep((made + ends).saturating_duration_since(Instant::now())).await;
    until_refused(&t, &soon, made + ends + LEEWAY).await?;
    let_in(&t, &soon, false, "after the session's end").await?;
    expect::that(made.elapsed() < Duration::from_secs(25), "time", "the machine is too slow for this case")
        .map_err(|fault| inconclusive(fault.to_string()))?;
    let_in(&t, &later, true, "before the session's end").await
}

async fn with_offsets(t: Bench) -> Outcome {
    let base = t.user().await?;
    for offset in [(0, 0), (5, 30), (-8, 0), (14, 0)] {
        for (seconds, is_in) in [(60, true), (-60, false)] {
            let user = User { session: t.session_id(), ..base.clone() };
            let end = from_now(seconds, offset)?;
            t.open_session(&user, Some(&end)).await?;
            let when = format!("{} s from a session's end that is written {end}", -seconds);
            let_in(&t, &user, is_in, &when).await?;
        }
    }
    Ok(())
}

async fn replaced_end(t: Bench) -> Outcome {
    let base = t.user().await?;
    let [unbounded, bounded, extended] = [0; 3].map(|_| User { session: t.session_id(), ..base.clone() });
    t.open_session(&unbounded, Some(&from_now(2, (0, 0))?)).await?;
    t.open_session(&unbounded, None).await?;
    t.open_session(&extended, Some(&from_now(2, (0, 0))?)).await?;
    t.open_session(&extended, Some(&from_now(600, (0, 0))?)).await?;
    t.open_session(&bounded, None).await?;
    t.open_session(&bounded, Some(&from_now(1, (0, 0))?)).await?;
    // The passing of time is what is tested here.
    sleep(Duration::from_secs(3)).await;
    for user in [&unbounded, &extended] {
        let_in(&t, user, true, "after the end that its session no longer has").await?;
    }
    until_refused(&t, &bounded, Instant::now() + LEEWAY).await
}

async fn made_later(t: Bench) -> Outcome {
    let alice = User { session: t.session_id(), ..t.user().await? };
    let_in(&t, &alice, false, "before its session is made").await?;
    t.open_session(&alice, None).await?;
    let_in(&t, &alice, true, "once its session is made").await?;
    t.revoke_session(&alice.session).await?;
    let_in(&t, &alice, false, "once its session is revoked").await?;
    t.open_session(&alice, None).await?;
    let_in(&t, &alice, true, "once its session is made again").await
}

async fn one_alone(t: Bench) -> Outcome {
    let first = t.user().await?;
    let mut device = t.connect_raw(&first, Transport::WebSocket).await?;
    let second = t.user_named(&first.id).await?;
    let_in(&t, &first, true, "though its user has a newer session").await?;
    let_in(&t, &second, true, "though its user has an older session").await?;
    t.revoke_session(&second.session).await?;
    let_in(&t, &second, false, "once its session is revoked").await?;
    let_in(&t, &first, true, "though another session of its user is revoked").await?;
    t.emit_numbered(&first, 1, 1).await?;
    receives(&mut device, [1]).await
}

/// The connection remembers neither a token nor a verdict.
async fn judged_anew(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let other = t.user_named(&alice.id).await?;
    let exp = token::now() + 2;
    let short = t.sign(&json!({"userId": alice.id, "sessionId": alice.session, "exp": exp})).await?;
    let mut devices = Vec::new();
    for token in [t.token(&alice).await?, t.token(&other).await?, short.clone()] {
        let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": token}))).await?;
        device.expect_accepted().await?;
        devices.push((device, token));
    }
    // Until shortly before the end of the last one's token: nobody who has left stays for long.
    sleep(left_until(exp).saturating_sub(Duration::from_millis(500))).await;
    for (device, _) in &mut devices {
        leave(device).await?;
    }
    t.revoke_session(&other.session).await?;
    let [without, revoked, expired] =
        [(json!({}), 0), (json!({"token": devices[1].1}), 1), (json!({"token": short}), 2)];
    for (auth, at) in [without, revoked] {
        refused_or_closed(&mut devices[at].0, auth).await?;
    }
    // The passing of time is what is tested here.
    sleep(left_until(exp) + LEEWAY).await;
    let (auth, at) = expired;
    refused_or_closed(&mut devices[at].0, auth).await?;
    // And what was right in the header is right again.
    let over = t.opening(transport).header("authorization", t.token(&alice).await?);
    let mut device = t.attempt_raw(over, None).await?;
    for _ in 0..2 {
        device.expect_accepted().await?;
        leave(&mut device).await?;
        attempt(&mut device, json!({})).await?;
    }
    device.expect_accepted().await
}

fn left_until(exp: i64) -> Duration {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Duration::from_secs(exp.unsigned_abs()).saturating_sub(now)
}

/// A connection of which nobody is in any more may be closed by now.
async fn refused_or_closed(device: &mut Client, auth: Value) -> Outcome {
    if attempt(device, auth.clone()).await.is_err() {
        return Ok(());
    }
    match device.next(Duration::from_secs(5)).await {
        Some(Arrival::Refused(_) | Arrival::Closed(_)) => Ok(()),
        other => Err(mismatch(format!("a CONNECT with {auth} refused"), format!("{other:?}"))),
    }
}

/// Neither in its headers nor in its URL; and what the first request had counts, though this one has nothing.
async fn in_upgrade(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let token = t.token(&alice).await?;
    let plain = |transport| t.opening(transport);
    let with = |transport| plain(transport).header("authorization", format!("Bearer {token}")).query("token", &*token);
    for (first, upgrade, is_right) in [
        (plain(Transport::Polling), with(Transport::WebSocket), false),
        (plain(Transport::Polling).header("authorization", &*token), plain(Transport::WebSocket), true),
    ] {
        let mut wire = t.open(first).await?;
        let no_upgrade = |error: WireError| mismatch("an upgrade", error.to_string());
        let mut side = wire.beside_by(&upgrade).await.map_err(no_upgrade)?;
        side.probe().await.map_err(no_upgrade)?;
        wire.complete(side).await.map_err(no_upgrade)?;
        let mut device = Client::over_wire(wire, None).await?;
        if is_right {
            device.expect_accepted().await?;
        } else {
            device
                .expect_refused()
                .await
                .map_err(|fault| fault.of("for a token in the request of the upgrade alone"))?;
        }
    }
    Ok(())
}

const NAMES: [&str; 7] = ["token", "access_token", "auth", "authorization", "jwt", "session", "Authorization"];
/// Where else a token might be looked for; a request has all of them at once.
const FURTHER: [&str; 14] = [
    "auth_token",
    "authToken",
    "accessToken",
    "id_token",
    "idToken",
    "jwt_token",
    "session_token",
    "sessionToken",
    "bearer",
    "Bearer",
    "sid",
    "t",
    "apiKey",
    "credentials",
];

async fn in_cookie(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let token = t.token(&alice).await?;
    for transport in t.transports() {
        let alone = NAMES.map(|name| format!("{name}={token}"));
        let all = NAMES.iter().chain(&FURTHER).map(|name| format!("{name}={token}")).collect::<Vec<_>>().join("; ");
        for cookie in alone.into_iter().chain([all, format!("token=Bearer%20{token}")]) {
            t.attempt_raw(t.opening(transport).header("cookie", cookie), None).await?.expect_refused().await?;
        }
    }
    Ok(())
}

async fn in_headers(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let token = t.token(&alice).await?;
    let headers =
        ["x-access-token", "x-auth-token", "token", "x-token", "x-authorization", "proxy-authorization", "auth"];
    for transport in t.transports() {
        for name in headers {
            let over: Opening = t.opening(transport).header(name, token.as_str());
            t.attempt_raw(over, None).await?.expect_refused().await?;
        }
        let others = [
            "x-jwt",
            "x-jwt-token",
            "x-id-token",
            "x-api-key",
            "x-session-token",
            "x-forwarded-access-token",
            "x-forwarded-authorization",
            "x-original-authorization",
            "access-token",
            "authentication",
            "jwt",
        ];
        let over = others.iter().fold(t.opening(transport), |over, name| over.header(name, token.as_str()));
        let over = over.header("referer", format!("https://app.example.test/?token={token}&access_token={token}"));
        t.attempt_raw(over, None).await?.expect_refused().await?;
    }
    for protocols in [
        "notify, {token}",
        "{token}",
        "{token}, notify",
        "bearer, {token}",
        "Bearer.{token}",
        "authorization.bearer.{token}",
    ] {
        let over = t.opening(Transport::WebSocket);
        let over = over.header("sec-websocket-protocol", protocols.replace("{token}", &token));
        // A client may take it amiss that none of its subprotocols was chosen, or one of them.
        if let Ok(mut device) = t.attempt_raw(over, None).await {
            let refused = device.expect_refused().await;
            refused.map_err(|fault| fault.of(format!("for the subprotocols {protocols}")))?;
        }
    }
    Ok(())
}

/// Of a polling client, whose requests are many: the first one's header counts, with the others as without them.
async fn in_later_request(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let bearer = format!("Bearer {}", t.token(&alice).await?);
    let header = [("authorization", bearer.as_str())];
    for (first, later, is_right) in [(&header[..], &[][..], true), (&[], &header, false)] {
        let session = ByHand::open(&t, first, later).await?;
        session.post("40/notifications,".to_owned()).await?;
        let answer = session.poll().await?;
        let (begins, told) = match is_right {
            true => ("40/notifications,", "the CONNECT accepted by the header of the handshake alone"),
            false => ("44/notifications,", "the CONNECT refused, though a later request has a token"),
        };
        expect::that(answer.contains(begins), told, &*answer)?;
    }
    Ok(())
}

/// Where other servers look for it, and where a reader of JSON might put it as if it stood in the right place.
async fn in_payload(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let token = t.token(&alice).await?;
    let bearer = format!("Bearer {token}");
    let further: serde_json::Map<_, _> = FURTHER.iter().map(|name| ((*name).to_owned(), json!(token))).collect();
    for transport in t.transports() {
        for payload in [
            Value::Object(further.clone()),
            json!({"user": {"token": token}, "credentials": {"token": token}, "tokens": [token], "session": {"token": token}}),
            json!({"__proto__": {"token": token}}),
            json!({"token": null, "__proto__": {"token": token}}),
            json!({"constructor": {"prototype": {"token": token}}}),
            json!({"auth": {"token": token}, "query": {"token": token}, "data": {"token": token}}),
            json!({"Token": token, "TOKEN": token, "token ": token, "to\u{200b}ken": token}),
            json!({"jwt": token, "access_token": token, "accessToken": token, "authToken": token}),
            json!({"authorization": bearer, "Authorization": bearer, "headers": {"authorization": bearer}}),
        ] {
            let mut device = t.attempt_raw(t.opening(transport), Some(payload.clone())).await?;
            let refused = device.expect_refused().await;
            refused.map_err(|fault| fault.of(format!("for the payload {payload}")))?;
        }
    }
    Ok(())
}

async fn replaced_user(t: Bench) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let bobs = User { session: alice.session.clone(), ..bob };
    t.control("PUT", &format!("/sessions/{}", alice.session), &json!({"userId": bobs.id})).await?.expect_status(204)?;
    let_in(&t, &bobs, true, "by the session that is now this user's").await?;
    let_in(&t, &alice, false, "by the session that is now another user's").await
}

async fn odd_ids(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let n = t.random(12);
    for (id, encoded) in [
        (format!("Session-{n}"), format!("Session-{n}")),
        (format!("s {n}"), format!("s%20{n}")),
        (format!("s:{n}"), format!("s:{n}")),
        (format!("s+{n}"), format!("s%2B{n}")),
        (format!("{n}=="), format!("{n}%3D%3D")),
        (format!("ü{n}"), format!("%C3%BC{n}")),
        (format!("a%b{n}"), format!("a%25b{n}")),
        (format!("a%41{n}"), format!("a%2541{n}")),
        (n.repeat(20), n.repeat(20)),
    ] {
        let user = User { session: id.clone(), ..alice.clone() };
        let path = format!("/sessions/{encoded}");
        t.control("PUT", &path, &json!({"userId": user.id})).await?.expect_status(204)?;
        let_in(&t, &user, true, &format!("by the session {id:?}")).await?;
        for other in [encoded.clone(), id.to_lowercase(), id.to_uppercase(), id.trim_start_matches("s ").to_owned()] {
            if other != id {
                let alike = User { session: other.clone(), ..alice.clone() };
                let_in(&t, &alike, false, &format!("by the session {other:?}, where {id:?} is one")).await?;
            }
        }
        t.control("DELETE", &path, &Value::Null).await?.expect_status(204)?;
        let_in(&t, &user, false, &format!("by the session {id:?} that was revoked")).await?;
    }
    Ok(())
}

async fn store_away(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut devices = Vec::new();
    for transport in t.transports() {
        devices.push(t.connect_raw(&alice, transport).await?);
    }
    let proxy = t.redis_line()?;
    proxy.cut();
    let path = format!("/sessions/{}", alice.session);
    let over = json!({"userId": alice.id, "expiresAt": "2020-01-01T00:00:00Z"});
    for (method, body) in [("PUT", json!({"userId": bob.id})), ("PUT", over), ("DELETE", Value::Null)] {
        t.control(method, &path, &body).await?.expect_status(503)?;
        for device in &mut devices {
            device.expect_silence(QUIET / 3).await?;
        }
    }
    proxy.restore();
    t.emit_until_accepted(&bob, 1).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    for device in &mut devices {
        receives(device, [1]).await?;
    }
    let_in(&t, &alice, true, "by the session that could not be revoked or replaced").await
}
