//! Clients that do not read, or go without a word: they cost nobody else anything, and themselves no event.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use notify_server::{Collaborators, socketio::Heartbeat, store::Limits};
use serde_json::Value;
use support::{
    PATIENCE,
    client::{Client, number, parse_asking},
    http::Polling,
    server::{LIVE, QUEUED, Server, numbered_of},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

const DAY: Duration = Duration::from_secs(86_400);

/// Queues that hold whatever these tests emit, and a server that gives a client up after a second in which it takes nothing.
async fn roomy() -> Server {
    Server::with_limits(Limits { max_events: 100_000, ttl: DAY }, impatient).await
}

fn impatient(with: &mut Collaborators) {
    with.heartbeat = Heartbeat { timeout: Duration::from_secs(1), ..Heartbeat::default() };
    with.patience = with.heartbeat.timeout;
}

/// Events of some size, until one is queued; how many were accepted.
async fn emit_until_queued(server: &Server, user: &str) -> u64 {
    for n in 1..100_000 {
        let draft = numbered_of(user, n, 1_000);
        if server.service.emit(draft).await.expect("the store answers").delivery == QUEUED {
            return n;
        }
    }
    panic!("a client that does not read takes everything");
}

/// Waits until what was handed to a client goes back to the queue.
async fn until_given_up(server: &Server, user: &str) {
    let began = Instant::now();
    while server.stored(user).await.0.len() < 100 {
        assert!(began.elapsed() < PATIENCE, "{user} is not given up");
        // The store tells nobody of its changes.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The numbers of everything that comes until the connection ends.
async fn drain(client: &mut Client) -> Vec<u64> {
    drain_until(client, u64::MAX).await
}

/// The same until this one has come.
async fn drain_until(client: &mut Client, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last)
        && let Some(packet) = client.message().await
    {
        if let Some(event) = packet.strip_prefix("42/notifications,") {
            let arguments = event.find('[').expect("an event is an array");
            let event: Value = serde_json::from_str(&event[arguments..]).expect("JSON");
            match &event[1] {
                Value::Array(queued) => numbers.extend(queued.iter().map(number)),
                live => numbers.push(number(live)),
            }
        }
    }
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_client_that_stops_reading_is_closed_and_misses_and_doubles_nothing() {
    let server = roomy().await;
    let mut bystander = Client::connect(&server, "bystander").await;
    let mut stalled = Client::connect(&server, "alice").await;
    let accepted = emit_until_queued(&server, "alice").await;
    assert_eq!(server.emit("bystander", 1).await.delivery, LIVE);
    assert_eq!(bystander.live().await, 1);
    until_given_up(&server, "alice").await;
    // Nothing but the end of the connection follows what the system had taken.
    let read = drain(&mut stalled).await;
    let mut second = Client::connect(&server, "alice").await;
    let queued = second.queued().await;
    assert!(read.len() > 100 && queued.len() > 100, "{} {}", read.len(), queued.len());
    let all: Vec<_> = read.into_iter().chain(queued).collect();
    assert!(all.iter().copied().eq(1..=accepted), "{all:?}");
    server.until_stored("alice", 0).await;
}

#[tokio::test]
async fn a_polling_client_that_stops_polling_is_closed_and_misses_and_doubles_nothing() {
    let server = roomy().await;
    let session = Polling::open(&server).await;
    session.send(format!("40/notifications,{}", serde_json::json!({"token": server.token("alice").await}))).await;
    session.poll().await.unwrap();
    server.emit("alice", 0).await;
    let packets = session.poll().await.unwrap();
    assert_eq!(packets.len(), 1);
    let accepted = emit_until_queued(&server, "alice").await;
    until_given_up(&server, "alice").await;
    session.closed().await;
    let queued = Client::connect(&server, "alice").await.queued().await;
    assert!(queued.iter().copied().eq(1..=accepted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_has_brought_nothing_and_one_that_was_read_all_of_it() {
    let server = roomy().await;
    let session = Polling::open(&server).await;
    session.send(format!("40/notifications,{}", serde_json::json!({"token": server.token("alice").await}))).await;
    session.poll().await.unwrap();
    for n in 1..=250 {
        assert_eq!(server.service.emit(numbered_of("alice", n, 1_000)).await.unwrap().delivery, LIVE);
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", session.path).as_bytes()).await.unwrap();
    let mut some = vec![0; 10_000];
    stream.read_exact(&mut some).await.unwrap();
    drop(stream);
    session.closed().await;
    let mut second = Client::connect(&server, "alice").await;
    assert!(second.queued().await.iter().copied().eq(1..=250));
    // The client leaves as soon as it has read, ahead of all that the server still does.
    for round in 0..50 {
        let user = format!("user-{round}");
        let session = Polling::open(&server).await;
        session.send(format!("40/notifications,{}", serde_json::json!({"token": server.token(&user).await}))).await;
        session.poll().await.unwrap();
        server.emit(&user, 1).await;
        assert_eq!(session.poll().await.unwrap().len(), 1);
        session.send("41/notifications,\u{1e}1").await;
        session.closed().await;
        assert_eq!(server.stored(&user).await.0.len(), 0, "{user}");
        Client::connect(&server, &user).await.quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_and_closes_while_the_user_is_busy_is_owed_what_was_not_sent() {
    let server = roomy().await;
    let session = Polling::open(&server).await;
    session.send(format!("40/notifications,{}", serde_json::json!({"token": server.token("alice").await}))).await;
    session.poll().await.unwrap();
    for n in 1..=3 {
        assert_eq!(server.emit("alice", n).await.delivery, LIVE);
    }
    // Whoever is being let in holds the user's lock; until then the three cannot go back.
    let busy = server.service.admit("alice").await.expect("the store answers");
    session.send("41/notifications,\u{1e}1".to_owned()).await;
    session.closed().await;
    drop(busy);
    server.until_stored("alice", 3).await;
    assert_eq!(Client::connect(&server, "alice").await.queued().await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_devices_the_one_that_reads_is_not_kept_waiting_and_nothing_is_queued_for_the_other() {
    // The one that does not read is not given up meanwhile: whoever waited for it would wait in vain.
    let limits = Limits { max_events: 100_000, ttl: DAY };
    let server = Server::with_limits(limits, |with| with.patience = 3 * PATIENCE).await;
    let mut stalled = Client::connect(&server, "alice").await;
    let mut healthy = Client::connect(&server, "alice").await;
    const EVENTS: u64 = 8_000;
    /// So far the emitter is ahead of the one that reads, which always has room then, however busy this machine is.
    const AHEAD: usize = 100;
    let room = Arc::new(Semaphore::new(AHEAD));
    let read = room.clone();
    let reading = tokio::spawn(async move {
        for n in 1..=EVENTS {
            assert_eq!(healthy.live().await, n);
            read.add_permits(1);
        }
    });
    for n in 1..=EVENTS {
        timeout(PATIENCE, room.acquire()).await.expect("the other is kept waiting").unwrap().forget();
        let draft = numbered_of("alice", n, 1_000);
        assert_eq!(server.service.emit(draft).await.unwrap().delivery, LIVE);
    }
    reading.await.unwrap();
    let read = drain_until(&mut stalled, EVENTS).await;
    assert!(read.is_sorted_by(|one, next| one < next), "{read:?}");
    assert!(server.stored("alice").await.0.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledging_client_that_stops_reading_is_closed_and_gets_the_newest_of_what_it_missed() {
    let server = Server::with(impatient).await;
    let mut stalled = Client::connect_acknowledging(&server, "alice").await;
    let mut accepted = 0;
    while server.emit("alice", accepted + 1).await.delivery == LIVE {
        accepted += 1;
        assert!(accepted < 10_000, "a client that acknowledges nothing takes everything");
    }
    for n in accepted + 2..=accepted + 100 {
        assert_eq!(server.emit("alice", n).await.delivery, QUEUED);
    }
    drain(&mut stalled).await;
    let mut second = Client::connect_acknowledging(&server, "alice").await;
    let (_, queued, dropped) = second.asking_queued().await;
    assert!(queued.iter().copied().eq(accepted + 51..=accepted + 100), "{queued:?} of {accepted}");
    assert_eq!(dropped, accepted + 50);
}

#[tokio::test]
async fn what_was_queued_stays_queued_where_the_client_goes_before_it_was_sent() {
    let server = Server::with(impatient).await;
    for n in 1..=3 {
        server.emit("alice", n).await;
    }
    // A polling client that is let in and never asks for what it is let in for.
    let session = Polling::open(&server).await;
    session.send(format!("40/notifications,{}", serde_json::json!({"token": server.token("alice").await}))).await;
    let began = Instant::now();
    let mut second = Client::connect(&server, "alice").await;
    assert_eq!(second.queued().await, [1, 2, 3]);
    assert!(began.elapsed() < Duration::from_secs(5));
    session.closed().await;
}

#[tokio::test]
async fn what_a_client_was_not_sent_when_its_connection_broke_comes_first_on_the_next() {
    let server = roomy().await;
    for round in 0..20 {
        let user = format!("user-{round}");
        let mut first = Client::connect(&server, &user).await;
        server.emit(&user, 1).await;
        assert_eq!(first.live().await, 1);
        // Reset rather than closed: the server may learn of it at any point from here.
        reset(first.stream.get_ref());
        drop(first);
        let mut emitted = Vec::new();
        for n in 2..=30 {
            emitted.push(server.emit(&user, n).await.delivery);
        }
        let mut second = Client::connect(&server, &user).await;
        let queued = second.queued().await;
        // Lost is at most what the system had taken, so what comes is the end, without a gap.
        assert!(queued.iter().copied().eq(31 - queued.len() as u64..=30), "{queued:?} {emitted:?}");
        second.quiet().await;
    }
}

fn reset(stream: &TcpStream) {
    stream.set_zero_linger().expect("the socket is open");
}

/// The ways in which a client can go.
#[derive(Debug, Clone, Copy)]
enum Going<'a> {
    Reset,
    HalfClosed,
    Says(&'a str),
    CloseFrame,
    Binary,
}

/// An event that breaks no rule of the protocol's, and with which the library closes the connection.
fn too_many_attachments() -> String {
    format!("4511-/notifications,[\"x\"{}]", r#",{"_placeholder":true,"num":0}"#.repeat(11))
}

#[tokio::test]
async fn a_queue_that_is_on_its_way_is_another_devices_as_soon_as_the_first_goes_however_it_does() {
    /// With what each has, more than the system takes on its way.
    const QUEUE: u64 = 60;
    let limits = Limits { max_events: 100, ttl: DAY };
    let server = Server::with_limits(limits, |with| {
        // Longer than this test waits for anything: nothing here is to come of it.
        with.patience = 3 * PATIENCE;
        with.heartbeat = Heartbeat { interval: Duration::from_millis(250), timeout: 3 * PATIENCE };
    })
    .await;
    let too_many = too_many_attachments();
    let says = ["41/notifications,", "1", "no packet", "2probe", "5", "42[", "b", &too_many].map(Going::Says);
    // Of a reset either who reads or who writes learns first.
    let ways = [Going::Reset; 8].into_iter().chain([Going::HalfClosed, Going::CloseFrame, Going::Binary]).chain(says);
    for (round, way) in ways.enumerate() {
        println!("{way:?}");
        let user = format!("user-{round}");
        for n in 1..=QUEUE {
            server.service.emit(numbered_of(&user, n, 60_000)).await.expect("the store answers");
        }
        // It does not read, and has the beginning of its queue.
        let mut first = Client::connect(&server, &user).await;
        let mut second = Client::connect(&server, &user).await;
        server.emit(&user, QUEUE + 1).await;
        assert_eq!(second.live().await, QUEUE + 1);
        // The first has been due one, too, behind what it does not read.
        second.pinged().await;
        second.pinged().await;
        match way {
            Going::Reset => reset(first.stream.get_ref()),
            Going::HalfClosed => first.stream.get_mut().shutdown().await.unwrap(),
            Going::Says(packet) => first.send(packet).await,
            Going::CloseFrame => first.send_message(Message::Close(None)).await,
            Going::Binary => first.send_message(Message::binary(&b"for nobody"[..])).await,
        }
        let kept = (!matches!(way, Going::Reset)).then_some(first);
        let queued = timeout(PATIENCE, second.queued()).await.unwrap_or_else(|_| panic!("{way:?}: nothing comes"));
        // What was live for the first as well was not sent to it.
        assert!(queued.iter().copied().filter(|n| *n <= QUEUE).eq(1..=QUEUE), "{way:?}: {queued:?}");
        drop(kept);
    }
}

/// Polls until an answer is longer than this, and reads no more of it: the queue may come with the answer to the CONNECT, or behind it.
async fn poll_into(stream: &mut BufReader<TcpStream>, path: &str, read: usize) {
    loop {
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
            .expect("it takes a request");
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            assert!(stream.read_line(&mut line).await.expect("the line holds") > 0, "an answer was due");
            if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = told.trim().parse().expect("a number");
            }
        }
        stream.read_exact(&mut vec![0; read.min(length)]).await.expect("as much as was told");
        if length > read {
            return;
        }
    }
}

#[tokio::test]
async fn so_is_one_in_the_answer_to_a_poll() {
    const QUEUE: u64 = 60;
    let limits = Limits { max_events: 100, ttl: DAY };
    let server = Server::with_limits(limits, |with| with.patience = 3 * PATIENCE).await;
    let too_many = too_many_attachments();
    let says = ["41/notifications,", "1", "no packet", "2probe", "5", "42[", "bAAAA", &too_many].map(Some);
    // `None`: it breaks off.
    for (round, says) in says.into_iter().chain([None]).enumerate() {
        println!("{says:?}");
        let user = format!("user-{round}");
        for n in 1..=QUEUE {
            server.service.emit(numbered_of(&user, n, 60_000)).await.expect("the store answers");
        }
        let first = Polling::open(&server).await;
        first.send(format!("40/notifications,{}", serde_json::json!({"token": server.token(&user).await}))).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut stream = BufReader::new(socket.connect(server.address).await.unwrap());
        poll_into(&mut stream, &first.path, 10_000).await;
        let mut second = Client::connect(&server, &user).await;
        server.emit(&user, QUEUE + 1).await;
        assert_eq!(second.live().await, QUEUE + 1);
        match says {
            Some(packet) => drop(first.send(packet.to_owned()).await),
            None => reset(stream.get_ref()),
        }
        let kept = says.is_some().then_some(stream);
        let queued = timeout(PATIENCE, second.queued()).await.unwrap_or_else(|_| panic!("{says:?}: nothing comes"));
        assert!(queued.iter().copied().filter(|n| *n <= QUEUE).eq(1..=QUEUE), "{says:?}: {queued:?}");
        drop(kept);
    }
}

#[tokio::test]
async fn a_client_that_leaves_the_namespace_with_events_unsent_finds_them_in_the_queue() {
    let server = Arc::new(roomy().await);
    let session = Polling::open(&server).await;
    session.send(format!("40/notifications,{}", serde_json::json!({"token": server.token("alice").await}))).await;
    session.poll().await.unwrap();
    for n in 1..=3 {
        assert_eq!(server.emit("alice", n).await.delivery, LIVE);
    }
    session.send("41/notifications,").await;
    server.until_stored("alice", 3).await;
    session.closed().await;
    let mut second = Client::connect_acknowledging(&server, "alice").await;
    let (_, name, arguments) = parse_asking(&second.message().await.unwrap());
    assert_eq!((name.as_str(), arguments[0].as_array().unwrap().len()), ("queued.events", 3));
}
