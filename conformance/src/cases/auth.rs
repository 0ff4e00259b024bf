//! SPEC 2: the handshake's token and session, and what a refusal is.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::kit::{
    QUIET,
    again::attempt,
    numbers::{numbered, receives},
    people::{FIXTURES, group},
    texts::TRACES,
};
use crate::{
    bench::{Bench, User, signing},
    case::{Case, Need},
    client::{Arrival, Client, Opening, Refusal, Transport},
    expect::{self, Outcome, mismatch},
    fixtures,
    instance::Changes,
    proxy::Proxy,
    token::{self, Fixture, KEY_PAIRS, People, Signer},
};

const CODES: [&str; 5] = ["token_missing", "token_invalid", "token_expired", "session_invalid", "unavailable"];
const OWN_SERVER: &[Need] = &[Need::OwnServer];

/// The tokens of the fixtures that a sentence decides about, each with its verdict.
macro_rules! by_fixtures {
    ($id:literal, $sentence:literal, $title:literal) => {
        over!(WebSocket, $id, $title, fixtures_of($sentence))
    };
}

pub(super) const CASES: &[Case] = &[
    by_fixtures!("AUTH-01/accepted", "AUTH-01", "right tokens in the CONNECT payload are accepted"),
    case!("AUTH-01/library", "rust_socketio is accepted with a right token", accepted_by_library),
    case!("AUTH-02/header", "a token in the Authorization header is accepted", header),
    case!("AUTH-02/payload-first", "the payload's token decides where both are given", payload_first),
    by_fixtures!("AUTH-03/prefix", "AUTH-03", "the prefix Bearer is taken off, and nothing else is"),
    over!(
        WebSocket,
        "AUTH-03/both-places",
        "a token counts with and without Bearer, in payload and header, and with nothing else before it",
        both_places
    ),
    over!(Polling, "AUTH-03/both-places-polled", "and by polling", both_places),
    over!(WebSocket, "AUTH-04/url", "a token in the URL is not a token", in_url),
    over!(Polling, "AUTH-04/url-polled", "nor by polling", in_url),
    case!("AUTH-05/polled", "every token of the fixtures has its verdict by polling, too", fixtures_polled)
        .needs(&[Need::Capability("polling")])
        .also(&FIXTURES),
    by_fixtures!("AUTH-05/signature", "AUTH-05", "tokens whose signature does not verify are refused"),
    over!(WebSocket, "AUTH-05/lent", "a token that was accepted lends its signature to no other", lent_signature),
    over!(Polling, "AUTH-05/lent-polled", "nor by polling", lent_signature),
    by_fixtures!("AUTH-06/algorithm", "AUTH-06", "tokens that name another algorithm are refused"),
    case!("AUTH-06/key-confusion", "no public key serves as the secret of an HMAC", key_confusion)
        .needs(&[Need::OwnServer, Need::Capability("config")]),
    by_fixtures!("AUTH-07/exp", "AUTH-07", "tokens without a sound exp are refused"),
    by_fixtures!("AUTH-08/expired", "AUTH-08", "expired tokens are refused"),
    by_fixtures!("AUTH-09/nbf", "AUTH-09", "tokens are refused before their nbf"),
    by_fixtures!("AUTH-10/user-id", "AUTH-10", "a userId that is no non-empty string is refused"),
    case!("AUTH-10/number", "a userId that is a number is not the user of that name", number_as_user),
    by_fixtures!("AUTH-11/sub", "AUTH-11", "sub stands in for an absent userId only"),
    by_fixtures!("AUTH-12/session-id", "AUTH-12", "a sessionId that is no non-empty string is refused"),
    case!("AUTH-12/number", "a sessionId that is a number is not the session of that name", number_as_session),
    by_fixtures!("AUTH-13/type", "AUTH-13", "refresh tokens are refused, access tokens are not"),
    over!(WebSocket, "AUTH-14/unknown", "a session that never was is refused", unknown_session),
    over!(Polling, "AUTH-14/unknown-polled", "and by polling", unknown_session),
    over!(WebSocket, "AUTH-15/revoked", "a revoked session is refused", revoked_session),
    over!(Polling, "AUTH-15/revoked-polled", "and by polling", revoked_session),
    over!(WebSocket, "AUTH-16/expired", "an expired session is refused", expired_session),
    over!(Polling, "AUTH-16/expired-polled", "and by polling", expired_session),
    over!(WebSocket, "AUTH-17/owner", "another user's session is refused", foreign_session),
    over!(Polling, "AUTH-17/owner-polled", "and by polling", foreign_session),
    case!("AUTH-17/look-alikes", "a session is no user's whose id looks like its owner's", session_of_a_look_alike),
    case!("AUTH-18/connect-error", "a refusal is a CONNECT_ERROR with a message, on both transports", connect_error),
    case!("AUTH-18/library", "rust_socketio sees a refusal as an error", refused_by_library),
    case!("AUTH-19/no-event", "a refused client receives no event", no_event),
    case!("AUTH-20/no-drain", "a refused client drains no queue", no_drain),
    case!("AUTH-21/codes", "every refusal carries the code that fits", codes),
    case!("AUTH-21/session-codes", "a refused session is told as session_invalid", session_codes)
        .needs(&[Need::Capability("sessions")]),
    case!(
        "AUTH-21/one-by-one",
        "so it does over both transports, and on one connection one after the other",
        codes_in_turn
    )
    .needs(&[Need::Capability("sessions")])
    .also(&["AUTH-18", "AUTH-24"]),
    case!("AUTH-22/fail-closed", "nobody is let in while the session store is away", store_away(false))
        .needs(&[Need::OwnServer, Need::Capability("sessions")])
        .also(&["AUTH-24"]),
    case!("AUTH-23/unavailable", "a session store that is away is told as unavailable", store_away(true))
        .needs(&[Need::OwnServer, Need::Capability("sessions")]),
    case!("AUTH-24/refusals", "no refusal carries a token, a stack trace or an address", discreet_refusals),
    case!("AUTH-24/log", "no line of the server's output carries a token or a secret", discreet_log).needs(OWN_SERVER),
    case!("AUTH-25/wrong-types", "tokens of the wrong type or size are refused cleanly", wrong_types),
    by_fixtures!("AUTH-42/foreign", "AUTH-42", "what nothing is configured about changes nothing"),
    by_fixtures!("AUTH-26/crit", "AUTH-26", "tokens with critical extensions are refused"),
    case!("AUTH-27/long", "a token of 60 KiB is read, over both transports", long),
    case!("AUTH-28/null", "where the payload's token is null, the header's counts", null_token),
    case!("AUTH-29/beside", "whatever stands beside the token, the token is taken, over both transports", beside),
];

async fn fixtures_polled(t: Bench) -> Outcome {
    for sentence in
        FIXTURES.iter().chain(&["AUTH-05"]).filter(|it| **it != "AUTH-12" || t.target().declares("sessions"))
    {
        fixtures_of(t.clone(), Transport::Polling, sentence).await?;
    }
    Ok(())
}

async fn fixtures_of(t: Bench, transport: Transport, sentence: &str) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let mut fixtures = token::fixtures(sentence);
    fixtures.retain(|fixture| t.signer().suits(fixture));
    if fixtures.is_empty() {
        return Err(expect::inconclusive(format!("no fixture of {sentence} suits the target's key")));
    }
    for fixture in &fixtures {
        let mut device = present(&t, transport, fixture, &alice, &mallory).await?;
        let told = named(
            fixture,
            if fixture.verdict == "accepted" {
                is_in(&t, &alice, &mut device).await
            } else {
                device.expect_refused().await.map(drop)
            },
        );
        told?;
    }
    Ok(())
}

/// Sends a fixture's token as `auth.token`.
async fn present(t: &Bench, transport: Transport, fixture: &Fixture, alice: &User, mallory: &User) -> Outcome<Client> {
    t.transcript().note(format!("token {}: {}", fixture.name, fixture.why));
    let people = People { user: &alice.id, session: &alice.session, other: &mallory.id };
    let token = signing(t.signer().fixture(fixture, &people).await)?;
    t.attempt_raw(t.opening(transport), Some(json!({"token": token}))).await
}

fn named<T>(fixture: &Fixture, outcome: Outcome<T>) -> Outcome<T> {
    outcome.map_err(|fault| fault.of(format!("for the token {} ({})", fixture.name, fixture.why)))
}

/// The client is accepted, and as this user.
async fn is_in(t: &Bench, user: &User, device: &mut Client) -> Outcome {
    device.expect_accepted().await?;
    let event = t.event_for(user);
    t.emit(&event).await?;
    let payload = device.expect_event("record.accessed").await?;
    expect::member(&payload, "resourceId", &event.resource_id)
}

async fn accepted_by_library(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let token = format!("Bearer {}", t.token(&alice).await?);
    let mut device = t.attempt(Some(json!({"token": token}))).await?;
    is_in(&t, &alice, &mut device).await
}

async fn header(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let token = t.token(&alice).await?;
    let over = |transport| t.opening(transport).header("authorization", format!("Bearer {token}"));
    for (transport, auth) in [
        (Transport::WebSocket, None),
        (Transport::WebSocket, Some(json!({}))),
        (Transport::WebSocket, Some(json!({"device": "phone"}))),
        (Transport::Polling, None),
    ] {
        if transport == Transport::WebSocket || t.target().declares("polling") {
            let mut device = t.attempt_raw(over(transport), auth).await?;
            is_in(&t, &alice, &mut device).await?;
            device.disconnect().await;
        }
    }
    let mut device = t.attempt_over(over(Transport::WebSocket), None).await?;
    is_in(&t, &alice, &mut device).await
}

async fn payload_first(t: Bench) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let (alices, bobs) = (t.token(&alice).await?, t.token(&bob).await?);
    let with_bobs = || t.opening(Transport::WebSocket).header("authorization", format!("Bearer {bobs}"));
    let mut device = t.attempt_raw(with_bobs(), Some(json!({"token": alices}))).await?;
    is_in(&t, &alice, &mut device).await?;
    let mut device = t.attempt_raw(with_bobs(), Some(json!({"token": "not-a-token"}))).await?;
    device.expect_refused().await.map(drop)
}

/// What an issuer writes that lists every group of a user.
async fn long(t: Bench) -> Outcome {
    let alice = t.user().await?;
    for transport in t.transports() {
        let pad = "x".repeat(room_for(&t.token(&alice).await?));
        let claims = json!({"userId": alice.id, "sessionId": alice.session, "exp": token::now() + 900, "pad": pad});
        let longest = t.sign(&claims).await?;
        let size = format!("{} bytes", longest.len());
        expect::that((65_000..=65_536).contains(&longest.len()), "a token of nearly 64 KiB", &*size)
            .map_err(|fault| expect::inconclusive(fault.to_string()))?;
        let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": longest}))).await?;
        is_in(&t, &alice, &mut device).await.map_err(|fault| fault.of(format!("for a token of {size}")))?;
        device.disconnect().await;
        for groups in [400, 1_350] {
            let groups: Vec<_> = (0..groups).map(|n| format!("cn=group-{n:04},ou=wards,dc=test")).collect();
            let expiry = token::now() + 900;
            let claims = json!({"userId": alice.id, "sessionId": alice.session, "exp": expiry, "groups": groups});
            let token = t.sign(&claims).await?;
            t.transcript().note(format!("a token of {} bytes", token.len()));
            let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": token}))).await?;
            is_in(&t, &alice, &mut device).await?;
            device.disconnect().await;
        }
    }
    Ok(())
}

/// How many letters a token that is 64 KiB long has more than this one, which is base64 for the most part.
fn room_for(token: &str) -> usize {
    (65_536 - token.len()) / 4 * 3 - 12
}

/// Each payload is accepted, and its client is a plain one.
async fn beside(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let token = t.token(&alice).await?;
    for transport in t.transports() {
        for entry in fixtures::list(fixtures::CONNECT, "payloads") {
            t.transcript().note(format!("payload {}: {}", entry["name"], entry["why"]));
            let payload = fixtures::fill(&entry["text"], &[("token", &token)]);
            let connect = format!("0/notifications,{}", payload.as_str().unwrap_or_default());
            t.emit(&t.event_for(&alice)).await?;
            let told = async {
                let mut device = Client::over_wire_by(t.open(t.opening(transport)).await?, &connect).await?;
                device.expect_accepted().await?;
                let queued = device.expect_queued().await?;
                expect::that(queued.len() == 1, "the event that was queued", format!("{} events", queued.len()))?;
                for of in ["record.accessed", "record.uploaded"] {
                    t.emit(&t.event_for(&alice).of(of)).await?;
                    let delivery = device.expect_delivery(of).await?;
                    let plain = delivery.ack.is_none();
                    expect::that(plain, "an event that asks for nothing", format!("{:?}", delivery.ack))?;
                }
                device.disconnect().await;
                Ok(())
            };
            let which = format!("with the payload {} ({})", entry["name"], entry["why"]);
            told.await.map_err(|fault: expect::Fault| fault.of(which))?;
        }
    }
    Ok(())
}

async fn null_token(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let token = format!("Bearer {}", t.token(&alice).await?);
    for transport in t.transports() {
        let over = t.opening(transport).header("authorization", &*token);
        let mut device = t.attempt_raw(over, Some(json!({"token": null}))).await?;
        is_in(&t, &alice, &mut device).await?;
        device.disconnect().await;
        let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": null}))).await?;
        device.expect_refused().await?;
    }
    Ok(())
}

async fn both_places(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let token = t.token(&alice).await?;
    for written in [token.clone(), format!("Bearer {token}")] {
        let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": written}))).await?;
        is_in(&t, &alice, &mut device).await?;
        device.disconnect().await;
        let over = t.opening(transport).header("authorization", written);
        let mut device = t.attempt_raw(over, None).await?;
        is_in(&t, &alice, &mut device).await?;
        device.disconnect().await;
    }
    for scheme in ["Basic", "Token", "JWT", "Digest", "Bearer:"] {
        let written = format!("{scheme} {token}");
        let in_header = t.opening(transport).header("authorization", &*written);
        for (over, auth) in [(t.opening(transport), Some(json!({"token": written}))), (in_header, None)] {
            let refused = t.attempt_raw(over, auth).await?.expect_refused().await;
            refused.map_err(|fault| fault.of(format!("for a right token with {scheme:?} before it")))?;
        }
    }
    // As HTTP's own scheme would write it: the token as somebody's password, or as the name.
    for pair in [format!("user:{token}"), format!("{token}:")] {
        let over = t.opening(transport).header("authorization", format!("Basic {}", STANDARD.encode(pair)));
        t.attempt_raw(over, None).await?.expect_refused().await?;
    }
    Ok(())
}

async fn in_url(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let token = t.token(&alice).await?;
    let further =
        ["accessToken", "authToken", "auth_token", "id_token", "idToken", "bearer", "bearer_token", "jwt_token"];
    let more = ["session", "session_token", "sessionToken", "api_key", "apiKey", "t", "credentials"];
    let all = further.iter().chain(&more).fold(t.opening(transport), |over, name| over.query(name, token.as_str()));
    t.attempt_raw(all, None).await?.expect_refused().await?;
    for name in
        ["token", "access_token", "auth", "authorization", "Authorization", "auth[token]", "auth.token", "jwt", "key"]
    {
        for written in [token.clone(), format!("Bearer%20{token}")] {
            let over = t.opening(transport).query(name, written);
            t.attempt_raw(over, None).await?.expect_refused().await?;
        }
    }
    Ok(())
}

/// Whatever a server remembers of the tokens that it has verified.
async fn lent_signature(t: Bench, transport: Transport) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let claims = json!({"userId": alice.id, "sessionId": alice.session, "exp": token::now() + 1_800});
    let tokens = [t.token(&mallory).await?, t.token(&alice).await?, t.sign(&claims).await?];
    for token in &tokens {
        let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": token}))).await?;
        device.expect_accepted().await?;
        device.disconnect().await;
    }
    for lent in &tokens {
        for of in tokens.iter().filter(|of| *of != lent) {
            let (Some((claims, _)), Some((_, signature))) = (of.rsplit_once('.'), lent.rsplit_once('.')) else {
                return Err(mismatch("a token in three parts", "another one"));
            };
            let forged = json!({"token": format!("{claims}.{signature}")});
            let refused = t.attempt_raw(t.opening(transport), Some(forged)).await?.expect_refused().await;
            refused.map_err(|fault| fault.of("for the claims of one accepted token with the signature of another"))?;
        }
    }
    Ok(())
}

async fn key_confusion(t: Bench) -> Outcome {
    for (algorithm, private, public) in KEY_PAIRS {
        let mut changes = Changes::default();
        changes.set.insert("JWT_ALGORITHM".to_owned(), algorithm.to_owned());
        changes.set.insert("JWT_PUBLIC_KEY".to_owned(), public.to_owned());
        changes.unset.push("JWT_SECRET".to_owned());
        let server = t.own_server_with(&changes, Some(signing(Signer::private_key(algorithm, private))?)).await?;
        fixtures_of(server.clone(), Transport::WebSocket, "AUTH-06").await?;
        fixtures_of(server, Transport::WebSocket, "AUTH-05").await?;
    }
    Ok(())
}

/// A number that nobody else in this run uses, and that JSON and JavaScript write alike.
fn number(t: &Bench) -> u64 {
    1_000_000_000 + t.random(8).bytes().fold(0, |sum, byte| (sum * 31 + u64::from(byte)) % 8_000_000_000)
}

/// Everything would be right if the number were read as a text: the session is that user's.
async fn number_as_user(t: Bench) -> Outcome {
    let number = number(&t);
    let alike = t.user_named(&number.to_string()).await?;
    let claims = json!({"userId": number, "sessionId": alike.session, "exp": token::now() + 600});
    refused_claims(&t, &claims).await
}

async fn number_as_session(t: Bench) -> Outcome {
    let number = number(&t);
    let alice = User { session: number.to_string(), ..t.user().await? };
    t.open_session(&alice, None).await?;
    refused_claims(&t, &json!({"userId": alice.id, "sessionId": number, "exp": token::now() + 600})).await
}

async fn refused_claims(t: &Bench, claims: &Value) -> Outcome {
    let token = t.sign(claims).await?;
    let mut device = t.attempt_raw(t.opening(Transport::WebSocket), Some(json!({"token": token}))).await?;
    device.expect_refused().await.map(drop)
}

async fn unknown_session(t: Bench, transport: Transport) -> Outcome {
    let user = User { session: t.session_id(), ..t.user().await? };
    refused_over(&t, transport, &user).await.map(drop)
}

async fn revoked_session(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let device = t.connect_raw(&alice, transport).await?;
    device.disconnect().await;
    t.revoke_session(&alice.session).await?;
    refused_over(&t, transport, &alice).await.map(drop)
}

async fn expired_session(t: Bench, transport: Transport) -> Outcome {
    let user = User { session: t.session_id(), ..t.user().await? };
    t.open_session(&user, Some("2020-01-01T00:00:00.000Z")).await?;
    refused_over(&t, transport, &user).await.map(drop)
}

async fn foreign_session(t: Bench, transport: Transport) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    refused_over(&t, transport, &User { id: mallory.id.clone(), session: alice.session.clone() }).await?;
    // Alice's id may begin with Mallory's and the reverse: only equality is ownership.
    for id in [format!("{}x", alice.id), alice.id[..alice.id.len() - 1].to_owned(), alice.id.to_uppercase()] {
        refused_over(&t, transport, &User { id, session: alice.session.clone() }).await?;
    }
    Ok(())
}

async fn session_of_a_look_alike(t: Bench) -> Outcome {
    for entry in fixtures::list(fixtures::USERS, "groups") {
        let users = group(&t, &entry).await?;
        for (one, other) in users.iter().zip(users.iter().skip(1)) {
            let refused = refused(&t, &User { session: other.session.clone(), ..one.clone() }).await;
            refused.map_err(|fault| fault.of(format!("for the user {:?} and a session of {:?}", one.id, other.id)))?;
        }
    }
    Ok(())
}

async fn refused(t: &Bench, user: &User) -> Outcome<Refusal> {
    refused_over(t, Transport::WebSocket, user).await
}

async fn refused_over(t: &Bench, transport: Transport, user: &User) -> Outcome<Refusal> {
    t.attempt_raw(t.opening(transport), Some(json!({"token": t.token(user).await?}))).await?.expect_refused().await
}

async fn connect_error(t: Bench) -> Outcome {
    for transport in t.transports() {
        let mut device = t.attempt_raw(t.opening(transport), Some(json!({"token": "not-a-token"}))).await?;
        let refusal = device.expect_refused().await?;
        expect::that(refusal.message().is_some(), "an object with a string message", refusal.data.to_string())?;
    }
    Ok(())
}

async fn refused_by_library(t: Bench) -> Outcome {
    let mut device = t.attempt(Some(json!({"token": "not-a-token"}))).await?;
    let refusal = device.expect_refused().await?;
    expect::that(refusal.message().is_some(), "an object with a string message", refusal.data.to_string())
}

/// A token of Alice's that is right in everything but its age.
async fn expired(t: &Bench, alice: &User) -> Outcome<String> {
    let now = token::now();
    t.sign(&json!({"userId": alice.id, "sessionId": alice.session, "iat": now - 120, "exp": now - 60})).await
}

/// What a user's tokens are refused for.
async fn refusals(t: &Bench, alice: &User) -> Outcome<Vec<String>> {
    let mut tokens = vec![expired(t, alice).await?, "not-a-token".to_owned()];
    if t.target().declares("sessions") {
        let (mallory, gone) = (t.user().await?, t.user_named(&alice.id).await?);
        t.revoke_session(&gone.session).await?;
        for session in [mallory.session, t.session_id(), gone.session] {
            tokens.push(t.token(&User { session, ..alice.clone() }).await?);
        }
    }
    Ok(tokens)
}

/// Neither while somebody of that name is in, nor while nobody is: then it is queued.
async fn no_event(t: Bench) -> Outcome {
    let alice = t.user().await?;
    for transport in t.transports() {
        let mut outsiders = Vec::new();
        for token in refusals(&t, &alice).await? {
            let mut outsider = t.attempt_raw(t.opening(transport), Some(json!({"token": token}))).await?;
            outsider.expect_refused().await?;
            outsiders.push(outsider);
        }
        t.emit_numbered(&alice, 1, 1).await?;
        let mut insider = t.connect_raw(&alice, transport).await?;
        numbered(&insider.expect_queued().await?, [1])?;
        t.emit_numbered(&alice, 2, 2).await?;
        receives(&mut insider, [2]).await?;
        for outsider in &mut outsiders {
            // It may have been closed: nobody who was refused need be kept (TRANS-09).
            match outsider.next(QUIET).await {
                None | Some(Arrival::Closed(_)) => {}
                Some(other) => {
                    return Err(mismatch("nothing for a client that was refused", format!("{other:?}")));
                }
            }
        }
        insider.disconnect().await;
    }
    Ok(())
}

async fn no_drain(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 3).await?;
    for transport in t.transports() {
        for token in refusals(&t, &alice).await? {
            let mut outsider = t.attempt_raw(t.opening(transport), Some(json!({"token": token}))).await?;
            outsider.expect_refused().await?;
            outsider.disconnect().await;
        }
    }
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let queued = device.expect_queued().await?;
    let numbers: Vec<_> = queued.iter().map(|payload| payload["metadata"]["n"].clone()).collect();
    expect::equal("the queue after refusals", &json!([1, 2, 3]), &Value::Array(numbers))
}

async fn codes(t: Bench) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let sentences = (1..=26).map(|number| format!("AUTH-{number:02}"));
    for fixture in sentences.flat_map(|sentence| token::fixtures(&sentence)).filter(|it| t.signer().suits(it)) {
        let needs_sessions = fixture.verdict == "session_invalid" || fixture.sentence == "AUTH-12";
        if fixture.verdict == "accepted" || needs_sessions && !t.target().declares("sessions") {
            continue;
        }
        let mut device = present(&t, Transport::WebSocket, &fixture, &alice, &mallory).await?;
        let refusal = named(&fixture, device.expect_refused().await)?;
        named(&fixture, code(&refusal, &fixture.verdict))?;
    }
    for auth in [None, Some(json!({})), Some(json!({"token": ""}))] {
        let mut device = t.attempt_raw(t.opening(Transport::WebSocket), auth).await?;
        code(&device.expect_refused().await?, "token_missing")?;
    }
    Ok(())
}

/// As many as a connection may be refused in a row (LIMIT-03), each after another one.
async fn codes_in_turn(t: Bench) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let foreign = User { session: mallory.session.clone(), ..alice.clone() };
    let mut reasons = [
        (json!({"token": t.token(&foreign).await?}), "session_invalid"),
        (json!({"token": "x"}), "token_invalid"),
        (json!({"token": expired(&t, &alice).await?}), "token_expired"),
        (json!({}), "token_missing"),
    ];
    for transport in t.transports() {
        for _ in 0..reasons.len() {
            reasons.rotate_left(1);
            let mut device = t.attempt_raw(t.opening(transport), Some(reasons[0].0.clone())).await?;
            for (at, (_, expected)) in reasons.iter().enumerate() {
                let refusal = match device.next(Duration::from_secs(5)).await {
                    Some(Arrival::Refused(refusal)) => refusal,
                    // Nobody who was refused need be kept (TRANS-09).
                    Some(Arrival::Closed(_)) if at > 0 => break,
                    other => return Err(mismatch(format!("a refusal with {expected}"), format!("{other:?}"))),
                };
                code(&refusal, expected)?;
                discreet(&refusal)?;
                if let Some((next, _)) = reasons.get(at + 1)
                    && attempt(&mut device, next.clone()).await.is_err()
                {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn discreet(refusal: &Refusal) -> Outcome {
    let told = refusal.data.to_string();
    for trace in TRACES.iter().copied().chain([".js:", "127.0.0.1", "localhost", "ECONN", "redis:"]) {
        expect::that(!told.contains(trace), format!("a refusal without {trace:?}"), &*told)?;
    }
    Ok(())
}

fn code(refusal: &Refusal, expected: &str) -> Outcome {
    expect::that(refusal.message() == Some(expected), format!("the code {expected}"), refusal.data.to_string())
}

async fn session_codes(t: Bench) -> Outcome {
    let (alice, mallory) = (t.user().await?, t.user().await?);
    let unknown = User { session: t.session_id(), ..alice.clone() };
    code(&refused(&t, &unknown).await?, "session_invalid")?;
    code(&refused(&t, &User { session: mallory.session.clone(), ..alice.clone() }).await?, "session_invalid")?;
    t.revoke_session(&alice.session).await?;
    code(&refused(&t, &alice).await?, "session_invalid")
}

/// Cut off, and silent; whether the user has been there, is there, or comes for the first time.
async fn store_away(t: Bench, by_code: bool) -> Outcome {
    /// TRANS-09: nobody who is not let in is kept for longer.
    const REFUSED_WITHIN: Duration = Duration::from_secs(11);
    let t = t.own_server(&[]).await?;
    let (alice, bob, carol) = (t.user().await?, t.user().await?, t.user().await?);
    let mut stays = t.connect_raw(&bob, Transport::WebSocket).await?;
    for (way, takes_away) in [("cut off", Proxy::cut as fn(&Proxy)), ("silent", Proxy::black_hole)] {
        t.connect_raw(&alice, Transport::WebSocket).await?.disconnect().await;
        t.transcript().note(format!("Redis is {way}"));
        takes_away(t.redis_line()?);
        // Each of them once: a server may look into a user's CONNECTs one after the other.
        let over = t.transports().last().unwrap_or(Transport::WebSocket);
        let attempts = [(&alice, Transport::WebSocket), (&bob, over), (&carol, over)];
        let refusals = attempts.map(|(user, transport)| {
            let t = &t;
            async move {
                let auth = json!({"token": t.token(user).await?});
                let mut device = t.attempt_raw(t.opening(transport), Some(auth)).await?;
                match device.next(REFUSED_WITHIN).await {
                    Some(Arrival::Refused(refusal)) => Ok(Some(refusal)),
                    // The store may be waited for until the time is up.
                    Some(Arrival::Closed(_)) if way == "silent" => Ok(None),
                    other => Err(mismatch(format!("a CONNECT_ERROR while Redis is {way}"), format!("{other:?}"))),
                }
            }
        });
        for refusal in try_join_all(refusals).await?.into_iter().flatten() {
            discreet(&refusal)?;
            if by_code {
                code(&refusal, "unavailable")?;
            }
        }
        t.redis_line()?.restore();
        t.emit_until_accepted(&carol, 1).await?;
    }
    t.emit_numbered(&bob, 1, 1).await?;
    receives(&mut stays, [1]).await
}

async fn discreet_refusals(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let token = expired(&t, &alice).await?;
    let over = |opening: Opening| opening.query("token", token.as_str());
    for auth in [
        json!({"token": token}),
        json!({"token": format!("{token}x")}),
        json!({"token": [token]}),
        json!({"token": {"a": token}}),
    ] {
        let mut device = t.attempt_raw(over(t.opening(Transport::WebSocket)), Some(auth)).await?;
        let told = device.expect_refused().await?.data.to_string();
        let parts = token.split('.').filter(|part| told.contains(part)).count();
        expect::that(parts == 0, "a refusal without any part of the token", &*told)?;
        for trace in TRACES.iter().copied().chain([".js:", "127.0.0.1", "localhost"]) {
            expect::that(!told.contains(trace), format!("a refusal without {trace:?}"), &*told)?;
        }
        let known = t.target().declares("control").then(|| CODES.iter().any(|code| told.contains(code)));
        expect::that(known != Some(false), format!("one of {CODES:?}"), told)?;
    }
    Ok(())
}

async fn discreet_log(t: Bench) -> Outcome {
    if !t.server().is_heard() {
        return Err(expect::inconclusive(
            "what the server says is not the suite's to hear: commands of the target file start it",
        ));
    }
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let (good, old) = (t.token(&alice).await?, expired(&t, &alice).await?);
    let mut strayed = Vec::new();
    if t.target().declares("sessions") {
        strayed.push(t.token(&User { session: t.session_id(), ..alice.clone() }).await?);
    }
    for token in [good.clone(), old.clone(), format!("{good}x")].iter().chain(&strayed) {
        for transport in t.transports() {
            let over = t.opening(transport).query("token", token.as_str()).header("authorization", &**token);
            let mut device = t.attempt_raw(over, Some(json!({"token": token}))).await?;
            let accepted = matches!(device.next(Duration::from_secs(5)).await, Some(Arrival::Accepted));
            if accepted && t.target().declares("refresh") {
                for fresh in [&good, &old].into_iter().chain(&strayed) {
                    let _ = device.call("auth.refresh", vec![json!(fresh)]).await;
                }
            }
            // What cannot be read is quoted by some, with where it was read.
            if let Some(wire) = device.wire() {
                let _ = wire.send(&format!("42/notifications,[\"auth.refresh\",{{\"token\":\"{good}\"")).await;
            }
            device.disconnect().await;
        }
    }
    t.emit(&t.event_for(&alice)).await?;
    t.restart().await?;
    let output = t.server().output();
    let mut tokens = [&good, &old].into_iter().chain(&strayed);
    let leaked = tokens.any(|token| output.contains(token.rsplit('.').next().unwrap_or_default()));
    expect::that(!leaked, "an output without tokens", "a token's signature stands in it")?;
    for (name, secret) in &t.target().secrets {
        expect::that(!output.contains(secret.as_str()), "an output without secrets", format!("{name} stands in it"))?;
    }
    for trace in TRACES {
        let line = output.lines().find(|line| line.contains(trace));
        expect::that(line.is_none(), format!("an output without {trace:?}"), line.unwrap_or_default())?;
    }
    Ok(())
}

async fn wrong_types(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut bystander = t.connect_raw(&alice, Transport::WebSocket).await?;
    fixtures_of(t.clone(), Transport::WebSocket, "AUTH-25").await?;
    // Right in everything but where it stands.
    let right = t.token(&alice).await?;
    for wrong in [json!([right]), json!({"token": right}), json!([{"token": right}])] {
        let mut device = t.attempt_raw(t.opening(Transport::WebSocket), Some(json!({"token": wrong}))).await?;
        device.expect_refused().await.map_err(|fault| fault.of("for a right token within an array or an object"))?;
    }
    // Some of them are false in some languages; none is absent, so the header does not decide.
    let long = json!("x".repeat(100_000));
    for transport in t.transports() {
        for present in [json!(false), json!(0), json!({}), json!([]), json!([right]), json!("x"), long.clone()] {
            let over = t.opening(transport).header("authorization", format!("Bearer {right}"));
            let refused = t.attempt_raw(over, Some(json!({"token": present}))).await?.expect_refused().await;
            let told = present.to_string().chars().take(80).collect::<String>();
            refused.map_err(|fault| fault.of(format!("for the token {told} beside a right header")))?;
        }
    }
    // Right in everything but its size.
    let pad = "x".repeat(80_000);
    let claims = json!({"userId": alice.id, "sessionId": alice.session, "exp": token::now() + 600, "pad": pad});
    refused_claims(&t, &claims).await.map_err(|fault| fault.of("for a token of 100 kB that is right in all else"))?;
    t.emit(&t.event_for(&alice)).await?;
    bystander.expect_event("record.accessed").await?;
    let newcomer = t.connect_raw(&alice, Transport::WebSocket).await?;
    newcomer.disconnect().await;
    expect::that(t.server().still_runs().await, "a server that still runs", "it has ended")
}
