//! What is taken on, and who goes where it is too much.

mod support;

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Method, header},
};
use notify_server::{
    auth::{Claims, TokenError, VerifyToken},
    gate::Bounds,
};
use serde_json::json;
use support::{
    PATIENCE,
    client::{Client, upgrade},
    http::{self, Polling},
    server::{LIVE, QUEUED, Server},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

async fn bounded(bounds: Bounds) -> Server {
    Server::with(|collaborators| collaborators.bounds = bounds).await
}

async fn stream(server: &Server, says: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    stream.write_all(says).await.expect("it takes a little");
    stream
}

/// A connection that has had an answer.
async fn answered(server: &Server) -> TcpStream {
    let mut stream = stream(server, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(stream.read_buf(&mut answer).await.expect("it can be read") > 0, "it is answered first");
    }
    stream
}

/// Waits until all but so many of these were closed.
async fn until_closed_but(streams: &mut Vec<TcpStream>, left: usize) {
    let began = Instant::now();
    while streams.len() > left {
        assert!(began.elapsed() < PATIENCE, "{} are still open", streams.len());
        let mut open = Vec::new();
        for stream in streams.drain(..) {
            let mut byte = [0];
            match stream.try_read(&mut byte) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => open.push(stream),
                _ => {}
            }
        }
        *streams = open;
        // Nobody tells of many at once.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn connections_that_say_nothing_make_room() {
    let server = bounded(Bounds { connections: Some(8), ..Bounds::default() }).await;
    let mut alice = Client::connect(&server, "alice").await;
    for says in [&b""[..], b"GET /healthz HTTP/1.1\r\nX-Half: "] {
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.push(stream(&server, says).await);
        }
        assert_eq!(http::get(&server, "/healthz").await.status, 200);
        Client::connect(&server, "bob").await.quiet().await;
        until_closed_but(&mut silent, 7).await;
    }
    alice.quiet().await;
    // Those that rest between two requests go, too.
    let mut resting = Vec::new();
    for _ in 0..40 {
        resting.push(answered(&server).await);
    }
    Client::connect(&server, "carol").await.quiet().await;
    until_closed_but(&mut resting, 7).await;
    alice.quiet().await;
}

#[tokio::test]
async fn where_all_places_are_taken_health_answers_and_clients_are_told() {
    let server = bounded(Bounds { connections: Some(3), ..Bounds::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::connect(&server, "alice").await);
    }
    let _silent = [stream(&server, b"").await, stream(&server, b"").await];
    assert_eq!(http::get(&server, "/healthz").await.status, 200);
    assert_eq!(upgrade(&server, "EIO=4&transport=websocket", &[]).await.err(), Some(503));
    let refused = http::get(&server, "/socket.io/?EIO=4&transport=polling").await;
    refused.problem(503);
    assert_eq!(refused.headers[header::RETRY_AFTER], "1");
    clients.pop().unwrap().leave().await;
    // The place is free when the server has let go of the stream, which is a moment after its end.
    let began = Instant::now();
    while let Err(status) = upgrade(&server, "EIO=4&transport=websocket", &[]).await {
        assert!(status == 503 && began.elapsed() < PATIENCE);
    }
    clients[0].quiet().await;
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_given_up() {
    let server = Server::start().await;
    let began = Instant::now();
    let mut half = stream(&server, b"GET /healthz HTTP/1.1\r\nX-Half: ").await;
    let mut silent = stream(&server, b"").await;
    // One that had a request before.
    let mut second = answered(&server).await;
    second.write_all(b"GET /healthz").await.unwrap();
    for stream in [&mut half, &mut silent, &mut second] {
        let closed = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        closed.expect("it is closed").ok();
        let elapsed = began.elapsed();
        assert!((9..13).contains(&elapsed.as_secs()), "{elapsed:?}");
    }
}

#[tokio::test]
async fn of_those_who_were_not_let_in_the_oldest_makes_room() {
    let server = bounded(Bounds { pending_per_address: 5, ..Bounds::default() }).await;
    let mut alice = Client::connect(&server, "alice").await;
    let (mut polling, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        polling.push(Polling::open(&server).await);
        let mut socket = Client::open(&server).await;
        // Half a message.
        socket.stream.get_mut().write_all(&[0x81, 0xfe, 0xff, 0, 1, 2, 3, 4, b'4']).await.unwrap();
        sockets.push(socket);
    }
    let mut bob = Client::connect(&server, "bob").await;
    for session in &polling[..7] {
        assert_eq!(session.poll().await.err().map(|status| status.as_u16()), Some(400));
    }
    for socket in &mut sockets[..7] {
        socket.closed().await;
    }
    let late = Polling::open(&server).await;
    late.send(format!("40/notifications,{}", json!({"token": server.token("carol").await}))).await;
    assert!(late.events().await[0].starts_with("40/notifications,"));
    for client in [&mut alice, &mut bob] {
        client.quiet().await;
    }
    assert_eq!(server.emit("carol", 1).await.delivery, LIVE);
}

#[tokio::test]
async fn posts_of_a_client_that_was_not_let_in_are_read_one_after_the_other() {
    let server = Server::start().await;
    let session = Polling::open(&server).await;
    let connect = format!("40/notifications,{}", json!({"token": server.token("alice").await}));
    let (half, rest) = connect.split_at(20);
    let head = format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", session.path, connect.len());
    let mut first = stream(&server, format!("{head}{half}").as_bytes()).await;
    // A pong, while the CONNECT is still on its way over a slow line.
    let second = async { session.send("3").await };
    let first = async {
        assert_eq!(server.emit("bob", 1).await.delivery, QUEUED);
        first.write_all(rest.as_bytes()).await.expect("it is read");
    };
    let (status, ()) = tokio::join!(second, first);
    assert_eq!(status, 200);
    assert!(session.events().await[0].starts_with("40/notifications,"));
}

#[tokio::test]
async fn a_user_has_so_many_devices_and_what_there_is_goes_on() {
    let server = bounded(Bounds { devices_per_user: 2, ..Bounds::default() }).await;
    let mut devices = [Client::connect(&server, "alice").await, Client::connect(&server, "alice").await];
    let mut third = Client::open(&server).await;
    let auth = json!({"token": server.token("alice").await});
    assert_eq!(third.refused(&auth).await, "unavailable");
    Client::connect(&server, "bob").await.quiet().await;
    assert_eq!(server.emit("alice", 1).await.delivery, LIVE);
    for device in &mut devices {
        assert_eq!(device.live().await, 1);
    }
    let [first, _second] = devices;
    first.leave().await;
    third.join(&server.token("alice").await).await;
}

#[tokio::test]
async fn who_sends_too_many_events_in_a_second_is_closed_and_nobody_else() {
    let bounds = Bounds { events_per_second: 20, refreshes_per_second: 2, ..Bounds::default() };
    let server = bounded(bounds).await;
    let mut bystander = Client::connect(&server, "alice").await;
    let mut hasty = Client::connect(&server, "alice").await;
    for _ in 0..200 {
        hasty.send(r#"42/notifications,["x"]"#).await;
    }
    hasty.closed().await;
    let mut hasty = Client::connect(&server, "alice").await;
    for _ in 0..10 {
        hasty.send(r#"42/notifications,1["auth.refresh","x"]"#).await;
    }
    hasty.closed().await;
    bystander.quiet().await;
}

/// Panics at one token.
struct Trap(Arc<dyn VerifyToken>);

impl VerifyToken for Trap {
    fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        assert_ne!(token, "trap");
        self.0.verify(token)
    }
}

#[tokio::test]
async fn a_panic_at_one_connection_ends_no_other() {
    let server = Server::with(|with| with.tokens = Arc::new(Trap(with.tokens.clone()))).await;
    let mut alice = Client::connect(&server, "alice").await;
    let mut victim = Client::open(&server).await;
    victim.send(r#"40/notifications,{"token":"trap"}"#).await;
    // It is not answered, and closed like any that was not let in.
    victim.closed().await;
    alice.quiet().await;
    Client::connect(&server, "bob").await.quiet().await;
    assert_eq!(http::send(&server, http::request(Method::GET, "/healthz", Body::empty())).await.status, 200);
}
