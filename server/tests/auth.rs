//! Who is let in: every branch of the handshake, over a real connection (SPEC.md, 2).

mod support;

use axum::http::Method;
use notify_server::auth::session::StoredSessions;
use serde_json::{Value, json};
use support::{
    client::Client,
    doubles::{Fragile, Outage},
    http::{self, Polling},
    server::{LIVE, QUEUED, Server, from_now, token},
};

async fn refusal(server: &Server, auth: Value) -> String {
    Client::open(server).await.refused(&auth).await
}

#[tokio::test]
async fn a_token_in_the_connect_payload_lets_its_user_in_with_and_without_the_prefix() {
    let server = Server::start().await;
    let token = server.token("alice").await;
    for token in [token.clone(), format!("Bearer {token}"), format!("bearer {token}")] {
        Client::open(&server).await.join(&token).await;
    }
}

#[tokio::test]
async fn a_token_in_the_header_lets_its_user_in_where_the_payload_has_none() {
    let server = Server::start().await;
    let token = server.token("alice").await;
    for header in [token.clone(), format!("Bearer {token}")] {
        let without = ["40/notifications,", "40/notifications,{}", "40/notifications,null"];
        for packet in without.into_iter().chain(["40/notifications,{\"token\":null}"]) {
            let query = "EIO=4&transport=websocket";
            let mut client = Client::open_with(&server, query, &[("authorization", &header)]).await.unwrap();
            client.send(packet).await;
            assert!(client.message().await.unwrap().starts_with("40/notifications,{\"sid\""), "{packet}");
        }
    }
}

#[tokio::test]
async fn a_token_in_the_payload_wins_over_the_header() {
    let server = Server::start().await;
    let token = server.token("alice").await;
    for (auth, code) in [
        (json!({"token": "x"}), "token_invalid"),
        (json!({"token": ""}), "token_missing"),
        (json!({"token": 1}), "token_invalid"),
    ] {
        let query = "EIO=4&transport=websocket";
        let mut client = Client::open_with(&server, query, &[("authorization", &token)]).await.unwrap();
        assert_eq!(client.refused(&auth).await, code, "{auth}");
    }
}

#[tokio::test]
async fn a_token_in_the_url_is_no_token() {
    let server = Server::start().await;
    let query = format!("EIO=4&transport=websocket&token={}", server.token("alice").await);
    let mut client = Client::open_with(&server, &query, &[]).await.unwrap();
    assert_eq!(client.refused(&json!({})).await, "token_missing");
}

#[tokio::test]
async fn what_is_no_token_is_refused_with_the_code_that_fits() {
    let server = Server::start().await;
    for (auth, code) in [
        (json!({}), "token_missing"),
        (json!({"token": "Bearer "}), "token_missing"),
        (json!({"token": 42}), "token_invalid"),
        (json!({"token": {"token": "x"}}), "token_invalid"),
        (json!({"token": ["x"]}), "token_invalid"),
        (json!({"token": "a".repeat(100_000)}), "token_invalid"),
    ] {
        assert_eq!(refusal(&server, auth).await, code);
    }
    Client::connect(&server, "alice").await.quiet().await;
}

#[tokio::test]
async fn an_expired_token_is_told_apart_from_a_wrong_one() {
    let server = Server::start().await;
    let expired = json!({"userId": "alice", "sessionId": "s", "exp": from_now(-60)});
    assert_eq!(refusal(&server, json!({"token": token(expired)})).await, "token_expired");
    let refresh = json!({"userId": "alice", "sessionId": "s", "exp": from_now(60), "type": "refresh"});
    assert_eq!(refusal(&server, json!({"token": token(refresh)})).await, "token_invalid");
}

#[tokio::test]
async fn a_session_that_does_not_hold_is_refused() {
    let server = Server::start().await;
    let auth =
        |session: &str| json!({"token": token(json!({"userId": "alice", "sessionId": session, "exp": from_now(900)}))});
    server.put_session("expired", "alice", Some(from_now(-1) * 1_000)).await;
    server.put_session("bobs", "bob", None).await;
    server.put_session("revoked", "alice", None).await;
    assert!(server.sessions.revoke_session("revoked").await.unwrap());
    for session in ["unknown", "expired", "bobs", "revoked"] {
        assert_eq!(refusal(&server, auth(session)).await, "session_invalid", "{session}");
    }
    server.put_session("hers", "alice", Some(from_now(60) * 1_000)).await;
    Client::open(&server).await.join(auth("hers")["token"].as_str().unwrap()).await;
}

#[tokio::test]
async fn where_the_session_store_cannot_be_asked_the_client_is_refused_and_told_so() {
    let outage = Outage::default();
    let server = Server::with(|with| {
        let store = Fragile::wrap(&with.session_store, &outage);
        with.sessions = std::sync::Arc::new(StoredSessions(store));
    })
    .await;
    let token = server.token("alice").await;
    outage.begin();
    assert_eq!(refusal(&server, json!({"token": token})).await, "unavailable");
    outage.end();
    Client::open(&server).await.join(&token).await;
}

#[tokio::test]
async fn where_the_queue_cannot_be_read_the_client_is_refused_and_loses_nothing() {
    let outage = Outage::default();
    let server = Server::with(|with| with.queue = Fragile::wrap(&with.queue, &outage)).await;
    let token = server.token("alice").await;
    assert_eq!(server.emit("alice", 1).await.delivery, QUEUED);
    outage.begin();
    assert_eq!(refusal(&server, json!({"token": token})).await, "unavailable");
    outage.end();
    let mut client = Client::open(&server).await;
    client.join(&token).await;
    assert_eq!(client.queued().await, [1]);
}

#[tokio::test]
async fn a_refused_client_receives_nothing_and_drains_nothing() {
    let server = Server::start().await;
    server.emit("alice", 1).await;
    let stolen = token(json!({"userId": "alice", "sessionId": "unknown", "exp": from_now(900)}));
    let mut refused = Client::open(&server).await;
    assert_eq!(refused.refused(&json!({"token": stolen})).await, "session_invalid");
    assert_eq!(server.emit("alice", 2).await.delivery, QUEUED);
    let mut admitted = Client::connect(&server, "alice").await;
    assert_eq!(admitted.queued().await, [1, 2]);
    assert_eq!(server.emit("alice", 3).await.delivery, LIVE);
    assert_eq!(admitted.live().await, 3);
    // All that it ever hears is the end.
    assert_eq!(refused.message().await.as_deref(), Some("1"));
    refused.closed().await;
}

#[tokio::test]
async fn a_refused_client_may_try_again_on_the_same_connection() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    assert_eq!(client.refused(&json!({"token": "x"})).await, "token_invalid");
    client.join(&server.token("alice").await).await;
    assert_eq!(server.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(client.live().await, 1);
}

#[tokio::test]
async fn polling_clients_are_judged_alike() {
    let server = Server::start().await;
    let token = server.token("alice").await;
    let session = Polling::open(&server).await;
    session.send(r#"40/notifications,{"token":"x"}"#).await;
    assert_eq!(session.poll().await.unwrap(), [r#"44/notifications,{"message":"token_invalid"}"#]);
    session.send(format!("40/notifications,{}", json!({"token": token}))).await;
    assert!(session.poll().await.unwrap()[0].starts_with("40/notifications,{\"sid\""));
    assert_eq!(server.emit("alice", 1).await.delivery, LIVE);
    assert!(session.poll().await.unwrap()[0].starts_with(r#"42/notifications,["record.accessed","#));
}

#[tokio::test]
async fn a_polling_client_may_have_its_token_in_the_header_of_its_first_request() {
    let server = Server::start().await;
    let mut open = http::request(Method::GET, "/socket.io/?EIO=4&transport=polling", axum::body::Body::empty());
    open.headers_mut().insert("authorization", server.token("alice").await.parse().unwrap());
    let opened = http::send(&server, open).await.text;
    let open: Value = serde_json::from_str(&opened[1..]).unwrap();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", open["sid"].as_str().unwrap());
    http::send(&server, http::request(Method::POST, &path, "40/notifications,")).await;
    let mut heard = String::new();
    while !heard.contains("40/notifications,{\"sid\"") {
        heard = http::get(&server, &path).await.text;
        assert!(!heard.contains("44/"), "{heard}");
    }
}
