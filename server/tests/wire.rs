//! The protocol below the events, and what becomes of those who break it (SPEC.md, 1).

mod support;

use std::{sync::Arc, time::Instant};

use axum::{body::Body, http::Method};
use futures_util::future::join_all;
use serde_json::json;
use support::{
    PATIENCE,
    client::{Client, upgrade},
    fixture,
    http::{self, Polling},
    server::{LIVE, QUEUED, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

const WEBSOCKET: &str = "EIO=4&transport=websocket";

#[tokio::test]
async fn other_namespaces_are_refused() {
    let server = Server::start().await;
    let mut client = Client::open(&server).await;
    for (packet, answer) in [
        ("40", "44{"),
        ("40/other,", "44/other,{"),
        ("40/leaving,", "44/leaving,{"),
        ("40/notifications/x,{}", "44/notifications/x,{"),
    ] {
        client.send(packet).await;
        assert!(client.message().await.unwrap().starts_with(answer), "{packet}");
    }
}

#[tokio::test]
async fn a_malformed_packet_closes_the_connection_that_sent_it_and_no_other() {
    let server = Server::start().await;
    let mut bystander = Client::connect(&server, "bystander").await;
    let packets = fixture("packets/malformed.json");
    for packet in packets["malformed"].as_array().unwrap() {
        let wire = packet["wire"].as_str().unwrap();
        let mut client = Client::connect(&server, "mallory").await;
        client.send(wire).await;
        client.closed().await;
        let session = joined(&server, "mallory").await;
        session.send(wire.to_owned()).await;
        session.closed().await;
        assert_eq!(server.emit("mallory", 0).await.delivery, QUEUED, "{wire}");
    }
    for packet in packets["doubtful"].as_array().unwrap() {
        let mut client = Client::connect(&server, "mallory").await;
        client.send(packet["wire"].as_str().unwrap()).await;
        if let Some(then) = packet["then"].as_str() {
            client.send(then).await;
        }
    }
    bystander.quiet().await;
}

async fn joined<'a>(server: &'a Server, user: &str) -> Polling<'a> {
    let session = Polling::open(server).await;
    session.send(format!("40/notifications,{}", json!({"token": server.token(user).await}))).await;
    let answer = session.poll().await.expect("the session is open");
    assert!(answer[0].starts_with("40/notifications,{\"sid\""));
    session
}

#[tokio::test]
async fn what_is_malformed_below_socket_io_closes_the_connection_too() {
    let server = Server::start().await;
    for message in [Message::binary(vec![1, 2, 3]), Message::text("6"), Message::text("5")] {
        let mut client = Client::connect(&server, "mallory").await;
        client.send_message(message).await;
        client.closed().await;
    }
    for packets in [b"\xff\xfe".to_vec(), b"0{}".to_vec(), b"5".to_vec(), b"2probe".to_vec(), b"3\x1e".to_vec()] {
        let session = joined(&server, "mallory").await;
        assert_eq!(session.send(packets).await, 400);
        assert_eq!(session.poll().await, Err(axum::http::StatusCode::BAD_REQUEST));
    }
}

#[tokio::test]
async fn an_event_before_the_connect_closes_the_connection() {
    let server = Server::start().await;
    for packet in [r#"42/notifications,["ping"]"#, r#"42["ping"]"#, r#"42/other,["ping"]"#] {
        let mut client = Client::open(&server).await;
        client.send(packet).await;
        client.closed().await;
        let session = Polling::open(&server).await;
        session.send(packet).await;
        session.closed().await;
    }
}

#[tokio::test]
async fn a_second_connect_closes_the_connection_and_the_user_is_away() {
    let server = Server::start().await;
    let mut bystander = Client::connect(&server, "bystander").await;
    let token = server.token("alice").await;
    let connect = format!("40/notifications,{}", json!({"token": token}));
    let mut client = Client::connect(&server, "alice").await;
    client.send(&connect).await;
    client.closed().await;
    assert_eq!(server.emit("alice", 1).await.delivery, QUEUED);
    let session = Polling::open(&server).await;
    assert_eq!(session.send(format!("{connect}\u{1e}{connect}")).await, 400);
    session.closed().await;
    bystander.quiet().await;
}

// With more threads than processors, so that whoever has answered is now and then held up right after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn who_was_refused_may_try_again_at_once() {
    // However busy this machine is, nobody is closed here for the time that it takes.
    let server = Arc::new(Server::with(|with| with.connect_timeout = 3 * PATIENCE).await);
    let tries = (0..32).map(|n| {
        let server = server.clone();
        tokio::spawn(async move {
            let token = server.token(&format!("user-{n}")).await;
            for _ in 0..30 {
                let mut client = Client::open(&server).await;
                for _ in 0..3 {
                    assert_eq!(client.refused(&json!({"token": "none"})).await, "token_invalid");
                }
                client.join(&token).await;
                let session = Polling::open(&server).await;
                session.send("40/notifications,{}").await;
                let answer = session.poll().await.expect("the session is open");
                assert!(answer[0].starts_with("44/notifications,"), "{answer:?}");
                session.send(format!("40/notifications,{}", json!({"token": token}))).await;
                let answer = session.poll().await.expect("the session is open");
                assert!(answer[0].starts_with("40/notifications,{\"sid\""), "{answer:?}");
            }
        })
    });
    for tried in join_all(tries).await {
        tried.expect("each is answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_namespace_may_come_in_again_at_once_as_somebody_else() {
    let server = Server::start().await;
    for n in 0..30 {
        let (alice, bob) = (format!("alice-{n}"), format!("bob-{n}"));
        let mut client = Client::connect(&server, &alice).await;
        client.send("41/notifications,").await;
        client.join(&server.token(&bob).await).await;
        assert_eq!(server.emit(&alice, 1).await.delivery, QUEUED);
        assert_eq!(server.emit(&bob, 2).await.delivery, LIVE);
        assert_eq!(client.live().await, 2);

        let session = joined(&server, &bob).await;
        let again = format!("40/notifications,{}", json!({"token": server.token(&alice).await}));
        assert_eq!(session.send(format!("41/notifications,\u{1e}{again}")).await, 200);
        let mut packets = session.poll().await.expect("the session is open");
        while packets.len() < 2 {
            packets.extend(session.poll().await.expect("the session is open"));
        }
        assert!(packets[0].starts_with("40/notifications,{\"sid\""), "{packets:?}");
        assert!(packets[1].starts_with("42/notifications,[\"queued.events\""), "{packets:?}");
        client.quiet().await;
    }
}

#[tokio::test]
async fn a_message_above_the_announced_limit_closes_the_connection() {
    let server = Server::start().await;
    let event = |bytes: usize| format!(r#"42/notifications,["x","{}"]"#, "x".repeat(bytes));
    let mut client = Client::connect(&server, "alice").await;
    client.send(&event(200_000)).await;
    client.quiet().await;
    client.send(&event(262_144)).await;
    client.closed().await;
    let session = joined(&server, "alice").await;
    assert_eq!(session.send(event(200_000)).await, 200);
    assert_eq!(session.send(event(262_144)).await, 413);
    assert!(session.poll().await.is_err());
}

#[tokio::test]
async fn a_connection_that_never_authenticates_is_closed_within_ten_seconds() {
    let server = Server::start().await;
    let began = Instant::now();
    let (mut silent, mut refused) = (Client::open(&server).await, Client::open(&server).await);
    let polling = Polling::open(&server).await;
    refused.refused(&json!({})).await;
    tokio::join!(silent.closed(), refused.closed(), polling.closed());
    assert!(began.elapsed().as_secs() < 10);
}

#[tokio::test]
async fn a_polling_session_is_upgraded_and_loses_nothing() {
    let server = Server::start().await;
    let session = joined(&server, "alice").await;
    let query = format!("{WEBSOCKET}&sid={}", session.sid);
    let mut client = Client { stream: upgrade(&server, &query, &[]).await.unwrap(), sid: session.sid.clone() };
    client.send("2probe").await;
    assert_eq!(client.message().await.as_deref(), Some("3probe"));
    assert_eq!(server.emit("alice", 1).await.delivery, LIVE);
    client.send("5").await;
    assert_eq!(server.emit("alice", 2).await.delivery, LIVE);
    // What was sent before the upgrade has to come by one of the two, and before what came after it.
    assert_eq!((client.live().await, client.live().await), (1, 2));
    client.send("40/notifications,").await;
    client.closed().await;
}

#[tokio::test]
async fn an_upgrade_that_comes_to_nothing_leaves_polling_as_it_was_at_whatever_step_and_another_may_follow() {
    let server = Server::start().await;
    for steps in [vec![], vec!["nonsense"], vec!["5"], vec!["2probe"], vec!["2probe", "2probe"], vec!["2probe", "4"]] {
        let user = format!("alice-{}", steps.join("-"));
        let session = joined(&server, &user).await;
        let query = format!("{WEBSOCKET}&sid={}", session.sid);
        let mut client = Client { stream: upgrade(&server, &query, &[]).await.unwrap(), sid: String::new() };
        for step in &steps {
            client.send(step).await;
        }
        if steps.first() == Some(&"2probe") {
            assert_eq!(client.message().await.as_deref(), Some("3probe"));
        }
        // A second one is refused while this one is there; not where it has come to nothing already.
        if steps.len() < 2 && !matches!(steps.first(), Some(&("nonsense" | "5"))) {
            assert_eq!(upgrade(&server, &query, &[]).await.err(), Some(400));
        }
        for n in 1..=3 {
            assert_eq!(server.emit(&user, n).await.delivery, LIVE);
            let packets = session.events().await;
            assert_eq!(packets.len(), 1, "{packets:?}");
        }
        drop(client);
        assert_eq!(server.emit(&user, 4).await.delivery, LIVE);
        assert_eq!(session.events().await.len(), 1);
        let mut upgraded = until_upgraded(&server, &query).await;
        assert_eq!(server.emit(&user, 5).await.delivery, LIVE);
        assert_eq!(upgraded.live().await, 5);
        assert_eq!(upgrade(&server, &query, &[]).await.err(), Some(400), "it is upgraded already");
        assert_eq!(server.emit(&user, 6).await.delivery, LIVE);
        assert_eq!(upgraded.live().await, 6);
    }
}

/// A completed upgrade; the server needs a moment to see that the one before it has come to nothing.
async fn until_upgraded(server: &Server, query: &str) -> Client {
    let began = std::time::Instant::now();
    let stream = loop {
        match upgrade(server, query, &[]).await {
            Ok(stream) => break stream,
            Err(status) => assert!(status == 400 && began.elapsed() < PATIENCE, "{status}"),
        }
        tokio::task::yield_now().await;
    };
    let mut client = Client { stream, sid: String::new() };
    client.send("2probe").await;
    assert_eq!(client.message().await.as_deref(), Some("3probe"));
    client.send("5").await;
    client
}

#[tokio::test]
async fn a_poll_that_waits_is_answered_once_when_the_upgrade_is_probed() {
    let server = Server::start().await;
    let session = joined(&server, "alice").await;
    let query = format!("{WEBSOCKET}&sid={}", session.sid);
    let mut client = Client { stream: upgrade(&server, &query, &[]).await.unwrap(), sid: String::new() };
    let probed = async {
        client.send("2probe").await;
        assert_eq!(client.message().await.as_deref(), Some("3probe"));
    };
    let (polled, ()) = tokio::join!(session.poll(), probed);
    assert_eq!(polled.unwrap(), ["6"]);
    // The next waits as ever.
    let (polled, receipt) = tokio::join!(session.poll(), server.emit("alice", 1));
    assert_eq!(receipt.delivery, LIVE);
    assert!(polled.unwrap()[0].starts_with("42/notifications,"));
    client.send("5").await;
    server.emit("alice", 2).await;
    assert_eq!(client.live().await, 2);
}

#[tokio::test]
async fn what_is_no_request_of_engine_io_is_answered_with_400() {
    let server = Server::start().await;
    let queries = [
        "",
        "EIO=4",
        "transport=polling",
        "EIO=3&transport=polling",
        "EIO=3&transport=websocket",
        "EIO=4&transport=grpc",
        "EIO=4&transport=polling&sid=unknown",
        "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA",
        "EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAA",
        "EIO=4&transport=websocket",
    ];
    for query in queries {
        let path = format!("/socket.io/?{query}");
        assert_eq!(http::get(&server, &path).await.status, 400, "{query}");
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = http::send(&server, http::request(method, &path, Body::empty())).await;
            assert_eq!(answer.status, 400, "{query}");
        }
        let upgraded = upgrade(&server, query, &[]).await.map(drop);
        assert_eq!(upgraded, if query == WEBSOCKET { Ok(()) } else { Err(400) }, "{query}");
    }
}

#[tokio::test]
async fn two_polls_at_once_end_the_session() {
    let server = Server::start().await;
    let session = joined(&server, "alice").await;
    let (one, other) = tokio::join!(http::get(&server, &session.path), http::get(&server, &session.path));
    assert!([one.status, other.status].contains(&axum::http::StatusCode::BAD_REQUEST));
    session.closed().await;
}

#[tokio::test]
async fn little_is_taken_from_a_client_that_was_not_let_in() {
    let server = Server::start().await;
    // Refused as often as it may be, and then closed.
    let mut client = Client::open(&server).await;
    for _ in 0..5 {
        assert_eq!(client.refused(&json!({"token": "x"})).await, "token_invalid");
    }
    client.send("40/notifications,{}").await;
    client.closed().await;
    let mut chatty = Client::open(&server).await;
    for _ in 0..11 {
        chatty.send("3").await;
    }
    chatty.closed().await;
    let polling = Polling::open(&server).await;
    polling.send(["3"; 11].join("\u{1e}")).await;
    polling.closed().await;
    let mut large = Client::open(&server).await;
    large.send(&format!("40/notifications,{}", json!({"token": "x".repeat(140_000)}))).await;
    large.closed().await;
    // Once it is in, it may send as much as was announced.
    let mut alice = Client::connect(&server, "alice").await;
    for _ in 0..20 {
        alice.send(&format!("42/notifications,{}", json!(["x", "x".repeat(140_000)]))).await;
    }
    alice.quiet().await;
}

#[tokio::test]
async fn a_request_head_above_the_limit_is_refused() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: {}", "x".repeat(20_000));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset may follow, for not all was read.
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed").ok();
    assert!(answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
}
