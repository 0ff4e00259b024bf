//! The HTTP control surface and the origins (SPEC.md, 6 to 8).

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use notify_server::{
    model::{Answers, Queue, SessionStore},
    origins::Origins,
};
use serde_json::{Value, json};
use support::{
    client::Client,
    doubles::{Fragile, Outage},
    fixture,
    http::{Answer, get, post, request, send},
    server::{ORIGIN, Server, from_now, token},
};

fn event(user: &str, n: u64) -> Value {
    json!({"eventType": "record.accessed", "actorId": "a", "resourceId": user, "metadata": {"n": n}})
}

async fn with_header(server: &Server, path: &str, name: &'static str, value: &str, body: &Value) -> Answer {
    let mut request = request(Method::POST, path, body.to_string());
    request.headers_mut().insert(name, value.parse().expect("a header"));
    send(server, request).await
}

#[tokio::test]
async fn an_event_is_accepted_and_the_answer_tells_how_it_went() {
    let server = Server::start().await;
    let mut alice = Client::connect(&server, "alice").await;
    for (user, delivery) in [("alice", "live"), ("bob", "queued")] {
        let answer = post(&server, "/events", &event(user, 1)).await;
        assert_eq!((answer.status, &answer.json()["delivery"]), (StatusCode::ACCEPTED, &json!(delivery)));
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    }
    alice.live().await;
}

#[tokio::test]
async fn without_the_service_credential_nothing_is_accepted() {
    let server = Server::start().await;
    let routes = [
        (Method::POST, "/events"),
        (Method::POST, "/events/batch"),
        (Method::PUT, "/sessions/s"),
        (Method::DELETE, "/sessions/s"),
    ];
    for (method, path) in routes {
        for credential in
            [None, Some("Bearer wrong"), Some("Bearer "), Some("Basic eDp5"), Some(support::server::INGEST_TOKEN)]
        {
            // The body would be refused as well, so 401 shows that nobody looked at it.
            let mut request = request(method.clone(), path, "{");
            request.headers_mut().remove(header::AUTHORIZATION);
            if let Some(credential) = credential {
                request.headers_mut().insert(header::AUTHORIZATION, credential.parse().unwrap());
            }
            let answer = send(&server, request).await;
            answer.problem(401);
            assert_eq!(answer.headers[header::WWW_AUTHENTICATE], "Bearer", "{path} {credential:?}");
        }
    }
}

#[tokio::test]
async fn every_refused_body_of_the_fixtures_is_refused_and_delivers_nothing() {
    let server = Server::start().await;
    let mut alice = Client::connect(&server, "alice").await;
    for entry in fixture("events/refused.json")["bodies"].as_array().unwrap() {
        let body = match entry.get("body") {
            Some(body) => body.to_string(),
            None => text(&entry["text"]),
        };
        let body = body.replace("{user}", "alice").replace("{n}", "1");
        let answer = send(&server, request(Method::POST, "/events", body)).await;
        let problem = answer.problem(u16::try_from(entry["status"].as_u64().unwrap()).unwrap());
        if let Some(member) = entry["names"].as_str() {
            assert_eq!(problem["errors"][0]["pointer"], format!("/{member}"), "{}", entry["name"]);
            assert!(problem["detail"].as_str().unwrap().contains(member), "{problem}");
        }
    }
    alice.quiet().await;
}

/// A raw body of the fixtures.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(object) if object.contains_key("concat") => {
            object["concat"].as_array().into_iter().flatten().map(text).collect()
        }
        value => {
            let times = usize::try_from(value["repeat"][1].as_u64().unwrap_or(0)).unwrap_or(0);
            value["repeat"][0].as_str().unwrap_or_default().repeat(times)
        }
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_order_or_refused_whole() {
    let server = Server::start().await;
    let mut alice = Client::connect(&server, "alice").await;
    let answer = post(&server, "/events/batch", &json!([event("alice", 1), event("bob", 2), event("alice", 3)])).await;
    let deliveries: Vec<_> = answer.json().as_array().unwrap().iter().map(|it| it["delivery"].clone()).collect();
    assert_eq!(
        (answer.status, deliveries),
        (StatusCode::ACCEPTED, vec![json!("live"), json!("queued"), json!("live")])
    );
    assert_eq!((alice.live().await, alice.live().await), (1, 3));
    let mut wrong = vec![event("alice", 4); 4];
    wrong[3]["metadata"] = json!("x");
    let problem = post(&server, "/events/batch", &json!(wrong)).await.problem(400);
    assert_eq!(problem["errors"], json!([{"pointer": "/3/metadata", "detail": "has to be an object"}]));
    for batch in [json!([]), json!(vec![event("alice", 5); 1_001]), event("alice", 6)] {
        post(&server, "/events/batch", &batch).await.problem(400);
    }
    alice.quiet().await;
}

#[tokio::test]
async fn bodies_above_the_limit_are_refused() {
    let server = Server::start().await;
    let padded = |bytes: usize| {
        let mut event = event("alice", 1);
        event["metadata"]["x"] = json!("");
        event["metadata"]["x"] = json!("x".repeat(bytes - event.to_string().len()));
        event
    };
    assert_eq!(post(&server, "/events", &padded(64 * 1024)).await.status, 202);
    post(&server, "/events", &padded(64 * 1024 + 1)).await.problem(413);
    let session = json!({"userId": "x".repeat(64 * 1024)});
    send(&server, request(Method::PUT, "/sessions/s", session.to_string())).await.problem(413);
    let mut batch = vec![padded(60_000); 69];
    assert_eq!(post(&server, "/events/batch", &json!(batch)).await.status, 202);
    batch.push(padded(60_000));
    post(&server, "/events/batch", &json!(batch)).await.problem(413);
    // Without a length in advance, too.
    let chunks = futures_util::stream::iter((0..70).map(|_| Ok::<_, std::io::Error>("x".repeat(1_000))));
    send(&server, request(Method::POST, "/events", Body::from_stream(chunks))).await.problem(413);
}

#[tokio::test]
async fn a_body_that_is_not_json_by_its_type_is_refused() {
    let server = Server::start().await;
    let body = event("alice", 1);
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        with_header(&server, "/events", "content-type", media_type, &body).await.problem(415);
    }
    for encoding in ["gzip", "identity, br"] {
        let answer = with_header(&server, "/events", "content-encoding", encoding, &body).await;
        assert_eq!(answer.headers["accept-encoding"], "identity", "{encoding}");
        answer.problem(415);
    }
    let answer = with_header(&server, "/events", "content-type", "text/plain", &body).await;
    assert!(!answer.headers.contains_key("accept-encoding"), "only where the coding is what is wrong");
    assert_eq!(with_header(&server, "/events", "content-encoding", "Identity", &body).await.status, 202);
    for media_type in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(with_header(&server, "/events", "content-type", media_type, &body).await.status, 202);
    }
}

#[tokio::test]
async fn a_connection_rests_for_as_long_as_is_set_and_no_longer() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rests = Duration::from_secs(1);
    let server = Server::with(|with| with.keep_alive = rests).await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 4_096];
    assert!(stream.read(&mut answer).await.unwrap() > 0);
    let answered = Instant::now();
    let ended = tokio::time::timeout(10 * rests, stream.read(&mut answer)).await.expect("it does not rest for ever");
    assert_eq!(ended.unwrap_or(0), 0);
    assert!(answered.elapsed() > rests - Duration::from_millis(100), "{:?}", answered.elapsed());
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let server = Server::start().await;
    for path in ["/", "/event", "/events/", "/sessions", "/sessions/", "/sessions/a/b", "/socket.io/x"] {
        get(&server, path).await.problem(404);
    }
    for path in ["/events", "/events/batch", "/sessions/s"] {
        let answer = get(&server, path).await;
        answer.problem(405);
        assert!(answer.headers.contains_key(header::ALLOW), "{path}");
    }
    post(&server, "/healthz", &json!({})).await.problem(405);
}

#[tokio::test]
async fn sessions_are_created_replaced_and_revoked() {
    let server = Server::start().await;
    let put = async |id: &str, body: Value| {
        send(&server, request(Method::PUT, &format!("/sessions/{id}"), body.to_string())).await
    };
    let delete =
        async |id: &str| send(&server, request(Method::DELETE, &format!("/sessions/{id}"), Body::empty())).await;
    let auth = json!({"token": token(json!({"userId": "alice", "sessionId": "a/b \u{e9}", "exp": from_now(60)}))});
    let id = "a%2Fb%20%C3%A9";
    assert_eq!(put(id, json!({"userId": "alice"})).await.status, 204);
    Client::open(&server).await.join(auth["token"].as_str().unwrap()).await;
    assert_eq!(put(id, json!({"userId": "bob"})).await.status, 204);
    assert_eq!(Client::open(&server).await.refused(&auth).await, "session_invalid");
    assert_eq!(put(id, json!({"userId": "alice", "expiresAt": "2001-01-01T00:00:00Z"})).await.status, 204);
    assert_eq!(Client::open(&server).await.refused(&auth).await, "session_invalid");
    assert_eq!(put(id, json!({"userId": "alice", "expiresAt": "2999-01-01T00:00:00.000+02:00"})).await.status, 204);
    Client::open(&server).await.join(auth["token"].as_str().unwrap()).await;
    assert_eq!(delete(id).await.status, 204);
    assert_eq!(Client::open(&server).await.refused(&auth).await, "session_invalid");
    delete(id).await.problem(404);
    delete("%ff").await.problem(400);
    assert_eq!(put("x", json!({"userId": ""})).await.problem(400)["errors"][0]["pointer"], "/userId");
}

#[tokio::test]
async fn a_repeated_idempotency_key_emits_nothing_and_is_answered_as_the_first_time() {
    let server = Arc::new(Server::start().await);
    let mut alice = Client::connect(&server, "alice").await;
    let keyed =
        async |path: &'static str, body: Value| with_header(&server, path, "idempotency-key", "key-1", &body).await;
    let first = keyed("/events", event("alice", 1)).await;
    let second = keyed("/events", event("alice", 1)).await;
    assert_eq!((second.status, &second.text), (StatusCode::ACCEPTED, &first.text));
    let batch = keyed("/events/batch", json!([event("alice", 3)])).await;
    assert_eq!(keyed("/events/batch", json!([event("alice", 3)])).await.text, batch.text);
    let together: Vec<_> = (0..8)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                with_header(&server, "/events", "idempotency-key", "key-2", &event("alice", 10)).await.text
            })
        })
        .collect();
    let mut answers = std::collections::HashSet::new();
    for answer in together {
        answers.insert(answer.await.unwrap());
    }
    assert_eq!(answers.len(), 1);
    assert_eq!((alice.live().await, alice.live().await), (1, 3));
    alice.live().await;
    alice.quiet().await;
}

#[tokio::test]
async fn an_idempotency_key_with_another_body_is_refused_and_named() {
    let server = Server::start().await;
    let keyed =
        async |path: &'static str, body: Value| with_header(&server, path, "idempotency-key", "key", &body).await;
    let first = keyed("/events", event("alice", 1)).await;
    let problem = keyed("/events", event("alice", 2)).await.problem(422);
    assert!(problem["detail"].as_str().unwrap().contains("Idempotency-Key"), "{problem}");
    assert_eq!(keyed("/events/batch", json!([event("alice", 3)])).await.status, 202);
    keyed("/events/batch", json!([event("alice", 4)])).await.problem(422);
    assert_eq!(keyed("/events", event("alice", 1)).await.text, first.text);
    assert_eq!(Client::connect(&server, "alice").await.queued().await, [1, 3]);
}

#[tokio::test]
async fn a_refused_request_leaves_its_idempotency_key_free() {
    let outage = Outage::default();
    let server = Server::with(|with| with.queue = Fragile::wrap(&with.queue, &outage)).await;
    let keyed = async |body: Value| with_header(&server, "/events", "idempotency-key", "key", &body).await;
    keyed(json!({})).await.problem(400);
    outage.begin();
    keyed(event("alice", 1)).await.problem(503);
    outage.end();
    assert_eq!(keyed(event("alice", 2)).await.status, 202);
    assert_eq!(Client::connect(&server, "alice").await.queued().await, [2]);
}

#[tokio::test]
async fn a_batch_that_was_accepted_in_part_is_completed_by_its_repetition() {
    let outage = Outage::default();
    let server = Server::with(|with| with.queue = Fragile::wrap(&with.queue, &outage)).await;
    let mut alice = Client::connect(&server, "alice").await;
    let batch = json!([event("bob", 1), event("alice", 2), event("bob", 3), event("alice", 4)]);
    let keyed = async |body: &Value| with_header(&server, "/events/batch", "idempotency-key", "key", body).await;
    outage.begin();
    let first = keyed(&batch).await.problem(503)["accepted"].clone();
    assert_eq!((&first[0]["index"], &first[1]["index"], first.as_array().unwrap().len()), (&json!(1), &json!(3), 2));
    assert_eq!((alice.live().await, alice.live().await), (2, 4));
    // Nothing more than that is accepted, and it is told all the same.
    assert_eq!(keyed(&batch).await.problem(503)["accepted"], first);
    outage.end();
    keyed(&json!([event("bob", 1)])).await.problem(422);
    let done = keyed(&batch).await;
    let ids: Vec<_> = done.json().as_array().unwrap().iter().map(|it| it["eventId"].clone()).collect();
    assert_eq!((done.status, ids.len()), (StatusCode::ACCEPTED, 4));
    assert_eq!((&ids[1], &ids[3]), (&first[0]["eventId"], &first[1]["eventId"]));
    assert_eq!(keyed(&batch).await.text, done.text);
    assert_eq!(Client::connect(&server, "bob").await.queued().await, [1, 3]);
    alice.quiet().await;
}

#[tokio::test]
async fn what_became_of_a_request_is_noted_once_the_store_is_back() {
    let outage = Outage::default();
    let server = Server::with(|with| with.answers = Fragile::<dyn Answers>::wrap(&with.answers, &outage)).await;
    let mut alice = Client::connect(&server, "alice").await;
    let keyed = async |n| with_header(&server, "/events", "idempotency-key", "key", &event("alice", n)).await;
    // The claim is made, and the answer finds no store.
    outage.begin_after(1);
    let first = keyed(1).await;
    assert_eq!((first.status, alice.live().await), (StatusCode::ACCEPTED, 1));
    keyed(1).await.problem(503);
    outage.end();
    assert_eq!(keyed(1).await.text, first.text);
    keyed(2).await.problem(422);
    alice.quiet().await;
}

#[tokio::test]
async fn an_idempotency_key_is_one_of_1_to_255_visible_characters() {
    let server = Server::start().await;
    let longest = "k".repeat(255);
    assert_eq!(with_header(&server, "/events", "idempotency-key", &longest, &event("a", 1)).await.status, 202);
    for key in ["", "with space", &"k".repeat(256)] {
        with_header(&server, "/events", "idempotency-key", key, &event("a", 1)).await.problem(400);
    }
    let mut twice = request(Method::POST, "/events", event("a", 1).to_string());
    twice.headers_mut().append("idempotency-key", "a".parse().unwrap());
    twice.headers_mut().append("idempotency-key", "b".parse().unwrap());
    send(&server, twice).await.problem(400);
}

#[tokio::test]
async fn where_the_store_fails_the_answer_is_503_and_nothing_is_half_promised() {
    let outage = Outage::default();
    let server = Server::with(|with| {
        with.queue = Fragile::<dyn Queue>::wrap(&with.queue, &outage);
        with.session_store = Fragile::<dyn SessionStore>::wrap(&with.session_store, &outage);
    })
    .await;
    let mut alice = Client::connect(&server, "alice").await;
    assert_eq!(get(&server, "/readyz").await.status, 200);
    outage.begin();
    get(&server, "/readyz").await.problem(503);
    assert_eq!(get(&server, "/healthz").await.status, 200);
    post(&server, "/events", &event("bob", 1)).await.problem(503);
    assert_eq!(post(&server, "/events", &event("alice", 2)).await.json()["delivery"], "live");
    let problem = post(&server, "/events/batch", &json!([event("bob", 3), event("alice", 4)])).await.problem(503);
    assert_eq!((&problem["accepted"][0]["index"], &problem["accepted"][0]["delivery"]), (&json!(1), &json!("live")));
    send(&server, request(Method::PUT, "/sessions/s", r#"{"userId":"u"}"#)).await.problem(503);
    send(&server, request(Method::DELETE, "/sessions/s", "")).await.problem(503);
    assert_eq!((alice.live().await, alice.live().await), (2, 4));
}

#[tokio::test]
async fn too_many_requests_in_hand_are_answered_with_429() {
    let server = Server::start().await;
    // Bodies that do not end keep their requests in hand: 16 batches fill it up.
    let mut held = Vec::new();
    for _ in 0..16 {
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST /events/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n[",
            support::server::INGEST_TOKEN
        );
        let (_, mut writer) = stream.into_split();
        tokio::io::AsyncWriteExt::write_all(&mut writer, head.as_bytes()).await.unwrap();
        held.push(writer);
    }
    let refused = loop {
        let answer = post(&server, "/events", &event("alice", 1)).await;
        if answer.status != StatusCode::ACCEPTED {
            break answer;
        }
    };
    refused.problem(429);
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    drop(held);
    while post(&server, "/events", &event("alice", 1)).await.status != StatusCode::ACCEPTED {}
}

async fn from_origin(server: &Server, method: Method, path: &str, origin: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "x")
        .header(header::ORIGIN, origin)
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
        .body(Body::empty());
    send(server, request.expect("a request")).await
}

const POLL: &str = "/socket.io/?EIO=4&transport=polling";

#[tokio::test]
async fn a_listed_origin_is_let_in_with_credentials() {
    let server = Server::start().await;
    for (method, path) in
        [(Method::GET, POLL), (Method::GET, "/healthz"), (Method::OPTIONS, POLL), (Method::OPTIONS, "/events")]
    {
        let answer = from_origin(&server, method, path, ORIGIN).await;
        assert!(answer.status.is_success(), "{path}");
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], ORIGIN);
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(answer.headers[header::VARY], "Origin");
    }
    Client::open_with(&server, "EIO=4&transport=websocket", &[("origin", ORIGIN)]).await.unwrap();
}

#[tokio::test]
async fn any_other_origin_is_refused_at_the_socket_and_gets_no_headers_anywhere() {
    let server = Server::start().await;
    let others = [
        "http://app.example.test",
        "http://app.example.test:3002",
        "https://app.example.test:3001",
        "http://app.example.test:30011",
        "http://app.example.test:3001.evil.test",
        "http://evil-app.example.test:3001",
        "http://xapp.example.test:3001",
        "http://app.example.test:3001/",
        "null",
        "",
    ];
    for origin in others {
        for path in [POLL, "/socket.io/", "/healthz"] {
            let answer = from_origin(&server, Method::GET, path, origin).await;
            assert_eq!(answer.status, if path == "/healthz" { 200 } else { 403 }, "{origin}");
            assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{origin}");
        }
        let upgraded = Client::open_with(&server, "EIO=4&transport=websocket", &[("origin", origin)]).await;
        assert_eq!(upgraded.map(drop), Err(403), "{origin}");
    }
}

#[tokio::test]
async fn any_origin_never_comes_with_credentials() {
    let server = Server::with(|with| with.origins = Origins::Any).await;
    let answer = from_origin(&server, Method::GET, POLL, "http://anywhere.test").await;
    assert_eq!(
        (answer.status, &answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN]),
        (StatusCode::OK, &"*".parse().unwrap())
    );
    assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
}

#[tokio::test]
async fn a_native_client_without_an_origin_is_let_in() {
    let server = Server::start().await;
    let answer = get(&server, POLL).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}
