//! The end of a token or of a session ends the connections that rest on it.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{body::Body, http::Method};
use notify_server::auth::session::{SessionError, StoredSessions, VerifySession};
use serde_json::{Value, json};
use support::{
    client::Client,
    doubles::{Fragile, Outage},
    http::{self, Polling},
    server::{LIVE, QUEUED, Server, from_now, numbered_of, token},
};
use tokio::sync::Notify;

const SESSION: &str = "session-of-alice";

/// A token of alice's, whose session is there, that is accepted for so many seconds.
async fn short(server: &Server, seconds: f64) -> String {
    server.put_session(SESSION, "alice", None).await;
    alice(json!(seconds_from_now(seconds)), SESSION)
}

fn seconds_from_now(seconds: f64) -> f64 {
    // The server is 3 s more lenient than the token.
    std::time::UNIX_EPOCH.elapsed().expect("the clock is right").as_secs_f64() + seconds - 3.0
}

fn alice(exp: Value, session: &str) -> String {
    token(json!({"userId": "alice", "sessionId": session, "exp": exp}))
}

async fn joined(server: &Server, token: &str) -> Client {
    let mut client = Client::open(server).await;
    client.join(token).await;
    client
}

async fn polling<'a>(server: &'a Server, token: &str) -> Polling<'a> {
    let session = Polling::open(server).await;
    session.send(format!("40/notifications,{}", json!({"token": token}))).await;
    session.poll().await.expect("the session is open");
    session
}

async fn revoke(server: &Server, session: &str) -> u16 {
    let request = http::request(Method::DELETE, &format!("/sessions/{session}"), Body::empty());
    http::send(server, request).await.status.as_u16()
}

/// Sends `auth.refresh` and returns the answer.
async fn refresh(client: &mut Client, argument: Value) -> Value {
    client.send(&format!("42/notifications,5{}", json!(["auth.refresh", argument]))).await;
    let answer = client.message().await.expect("the refresh is answered");
    let answer: Value =
        serde_json::from_str(answer.strip_prefix("43/notifications,5").expect("an answer")).expect("JSON");
    answer[0].clone()
}

#[tokio::test]
async fn a_connection_ends_with_its_token_and_the_user_is_away() {
    let server = Server::start().await;
    let began = Instant::now();
    let token = short(&server, 1.0).await;
    let mut client = joined(&server, &token).await;
    let session = polling(&server, &token).await;
    let mut lasting = Client::connect(&server, "alice").await;
    tokio::join!(client.closed(), session.closed());
    assert!((1.0..2.5).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    lasting.quiet().await;
    lasting.leave().await;
    assert_eq!(server.emit("alice", 1).await.delivery, QUEUED);
    assert_eq!(Client::open(&server).await.refused(&json!({"token": token})).await, "token_expired");
}

#[tokio::test]
async fn a_fresh_token_keeps_the_connection() {
    let server = Server::start().await;
    let began = Instant::now();
    let mut client = joined(&server, &short(&server, 1.0).await).await;
    let mut witness = joined(&server, &short(&server, 1.0).await).await;
    let mut other_form = joined(&server, &short(&server, 1.0).await).await;
    assert_eq!(refresh(&mut client, json!(alice(json!(from_now(900)), SESSION))).await, json!({"ok": true}));
    let bearer = format!("Bearer {}", alice(json!(from_now(900)), SESSION));
    assert_eq!(refresh(&mut other_form, json!({"token": bearer})).await, json!({"ok": true}));
    witness.closed().await;
    assert!(began.elapsed() > Duration::from_secs(1));
    server.emit("alice", 1).await;
    assert_eq!((client.live().await, other_form.live().await), (1, 1));
}

#[tokio::test]
async fn a_token_that_is_not_right_is_refused_and_changes_nothing() {
    let outage = Outage::default();
    let server = Server::with(|with| {
        let fragile = Fragile::wrap(&with.session_store, &outage);
        with.sessions = Arc::new(StoredSessions(fragile));
    })
    .await;
    server.put_session("bobs", "bob", None).await;
    let mut client = joined(&server, &short(&server, 2.0).await).await;
    let later = json!(from_now(900));
    let wrong = [
        (json!(alice(json!(from_now(-60)), SESSION)), "token_expired"),
        (json!(token(json!({"userId": "bob", "sessionId": "bobs", "exp": later}))), "token_invalid"),
        (json!(alice(later.clone(), "unknown")), "session_invalid"),
        (json!(alice(later.clone(), "bobs")), "session_invalid"),
        (json!("a.b.c"), "token_invalid"),
        (json!(17), "token_invalid"),
        (json!({"token": ["x"]}), "token_invalid"),
        (json!(""), "token_missing"),
        (json!(null), "token_missing"),
    ];
    for (argument, code) in wrong {
        assert_eq!(refresh(&mut client, argument.clone()).await, json!({"ok": false, "code": code}), "{argument}");
    }
    outage.begin();
    let right = json!(alice(later, SESSION));
    assert_eq!(refresh(&mut client, right).await, json!({"ok": false, "code": "unavailable"}));
    // Without an acknowledgement there is nobody to answer.
    client.send(r#"42/notifications,["auth.refresh","x"]"#).await;
    client.quiet().await;
    server.emit("alice", 1).await;
    assert_eq!(client.live().await, 1);
    client.closed().await;
}

#[tokio::test]
async fn a_revoked_session_closes_its_connections_and_no_other() {
    let server = Server::start().await;
    server.put_session("other", "alice", None).await;
    let token = server.token("alice").await;
    let mut one = joined(&server, &token).await;
    let two = polling(&server, &token).await;
    let mut three = Client::connect_acknowledging(&server, "alice").await;
    let mut other = joined(&server, &alice(json!(from_now(900)), "other")).await;
    let mut bystander = Client::connect(&server, "bob").await;
    let began = Instant::now();
    assert_eq!(revoke(&server, SESSION).await, 204);
    tokio::join!(one.closed(), two.closed(), three.closed());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(server.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(other.live().await, 1);
    bystander.quiet().await;
    assert_eq!(Client::open(&server).await.refused(&json!({"token": token})).await, "session_invalid");
    assert_eq!(revoke(&server, "other").await, 204);
    other.closed().await;
    assert_eq!(server.emit("alice", 2).await.delivery, QUEUED);
}

#[tokio::test]
async fn a_connection_that_was_refreshed_rests_on_the_new_session() {
    let server = Server::start().await;
    server.put_session("new", "alice", None).await;
    let mut client = Client::connect(&server, "alice").await;
    assert_eq!(refresh(&mut client, json!(alice(json!(from_now(900)), "new"))).await, json!({"ok": true}));
    assert_eq!(revoke(&server, SESSION).await, 204);
    client.quiet().await;
    assert_eq!(revoke(&server, "new").await, 204);
    client.closed().await;
}

#[tokio::test]
async fn a_session_that_becomes_another_users_or_ends_closes_the_connections_of_the_first() {
    let server = Server::start().await;
    for body in [json!({"userId": "bob"}), json!({"userId": "alice", "expiresAt": "2020-01-01T00:00:00Z"})] {
        let mut client = Client::connect(&server, "alice").await;
        let put = |body: &Value| http::request(Method::PUT, &format!("/sessions/{SESSION}"), body.to_string());
        assert_eq!(http::send(&server, put(&json!({"userId": "alice"}))).await.status, 204);
        client.quiet().await;
        assert_eq!(http::send(&server, put(&body)).await.status, 204);
        client.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_closes_a_client_that_does_not_read() {
    let server = Server::start().await;
    let mut stalled = Client::connect(&server, "alice").await;
    // As much as the system takes, and some that waits behind it.
    for n in 0..1_000 {
        let draft = numbered_of("alice", n, 800);
        server.service.emit(draft).await.expect("a client or the queue takes it");
    }
    assert_eq!(revoke(&server, SESSION).await, 204);
    assert_eq!(server.emit("alice", 1_000).await.delivery, QUEUED);
    let began = Instant::now();
    stalled.closed().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_revocation_in_the_middle_of_a_connect_is_not_missed() {
    let (verified, mut was_verified) = tokio::sync::mpsc::channel(1);
    let go_on = Arc::new(Notify::new());
    let server = Server::with(|with| {
        with.sessions = Arc::new(Pausing { inner: with.sessions.clone(), verified, go_on: go_on.clone() });
    })
    .await;
    let token = server.token("alice").await;
    let mut client = Client::open(&server).await;
    client.send(&format!("40/notifications,{}", json!({"token": token}))).await;
    was_verified.recv().await.expect("the session is verified");
    assert_eq!(revoke(&server, SESSION).await, 204);
    go_on.notify_one();
    client.closed().await;
    assert_eq!(server.emit("alice", 1).await.delivery, QUEUED);
}

/// Says when it has found a session to be right, and waits before it says so to the server.
struct Pausing {
    inner: Arc<dyn VerifySession>,
    verified: tokio::sync::mpsc::Sender<()>,
    go_on: Arc<Notify>,
}

#[async_trait]
impl VerifySession for Pausing {
    async fn verify(&self, session_id: &str, user_id: &str) -> Result<Option<i64>, SessionError> {
        let end = self.inner.verify(session_id, user_id).await?;
        self.verified.send(()).await.ok();
        self.go_on.notified().await;
        Ok(end)
    }
}
