//! The end of a server, wanted and unwanted: the binary itself, started and stopped from outside.

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use notify_server::model::EntryId;
use serde_json::json;
use support::{
    PATIENCE, Scratch,
    client::Client,
    doubles::{Fragile, Outage},
    http::{self, Polling},
    server::{INGEST_TOKEN, JWT_SECRET, LIVE, Server},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The binary, killed when it is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

fn command(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_notify-server"));
    command.env_clear().envs(settings.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Process {
    fn start(scratch: &Scratch) -> Self {
        let directory = scratch.path().to_string_lossy().into_owned();
        let settings =
            [("JWT_SECRET", JWT_SECRET), ("INGEST_TOKEN", INGEST_TOKEN), ("PORT", "0"), ("DATA_DIR", &directory)];
        let mut child = command(&settings).spawn().expect("the binary was built");
        let log = BufReader::new(child.stderr.take().expect("the log is piped"));
        let mut lines = log.lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("listening on")).expect("the server says where it listens");
        let address = line.rsplit_once("http://").and_then(|(_, address)| address.parse().ok());
        // The rest is read so that the server never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("the line ends with the address") }
    }

    /// A request, answered with the status and the body.
    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).expect("the server listens");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {INGEST_TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the server answers");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), answer)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Waits for the end; the exit status, where there is one.
    fn end(&mut self) -> Option<i32> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(15) {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server did not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn event(n: u64) -> String {
    json!({"eventType": "record.accessed", "actorId": "a", "resourceId": "alice", "metadata": {"n": n}}).to_string()
}

/// What is queued for alice, read by a server in this process.
async fn queued(scratch: &Scratch) -> Vec<u64> {
    use notify_server::{
        model::Queue,
        store::{Limits, embedded::EmbeddedStore},
    };
    let limits = Limits { max_events: 50, ttl: Duration::from_secs(86_400) };
    let store = EmbeddedStore::open(scratch.path(), limits).expect("nobody else has it open");
    let entries = store.read("alice").await.expect("the store answers");
    let number = |payload: &str| {
        let payload: serde_json::Value = serde_json::from_str(payload).expect("JSON");
        payload["metadata"]["n"].as_u64().expect("a number")
    };
    entries.iter().map(|entry| number(&entry.payload)).collect()
}

#[tokio::test]
async fn what_was_answered_with_202_survives_a_kill() {
    let scratch = Scratch::new();
    let mut process = Process::start(&scratch);
    for n in 1..=5 {
        assert_eq!(process.request("POST", "/events", &event(n)).0, 202);
    }
    process.signal("KILL");
    assert_eq!(process.end(), None);
    assert_eq!(queued(&scratch).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn on_sigterm_and_sigint_the_binary_ends_with_status_0_and_keeps_its_queues() {
    for signal in ["TERM", "INT"] {
        let scratch = Scratch::new();
        let mut process = Process::start(&scratch);
        assert_eq!(process.request("POST", "/events", &event(7)).0, 202);
        process.signal(signal);
        assert_eq!(process.end(), Some(0));
        assert_eq!(queued(&scratch).await, [7]);
    }
}

#[test]
fn a_wrong_configuration_ends_with_status_2_and_names_every_variable() {
    let output = command(&[("PORT", "x"), ("JWT_SECRET", "s3cr3t"), ("JWT_ALGORITHM", "none")]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(["PORT", "INGEST_TOKEN", "JWT_ALGORITHM"].iter().all(|name| text.contains(name)), "{text}");
    assert!(!text.contains("s3cr3t"));
    let usage = command(&[]).arg("--what").output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn a_store_that_another_server_has_open_ends_with_status_1() {
    let scratch = Scratch::new();
    let _first = Process::start(&scratch);
    let directory = scratch.path().to_string_lossy().into_owned();
    let settings = [
        ("JWT_SECRET", "a-secret-for-tests-only-of-no-worth-at-all"),
        ("INGEST_TOKEN", "x"),
        ("PORT", "0"),
        ("DATA_DIR", &directory),
    ];
    assert_eq!(command(&settings).output().unwrap().status.code(), Some(1));
}

#[test]
fn dev_needs_no_settings_and_shows_how_to_try_it() {
    let mut child = command(&[("PORT", "0")]).arg("--dev").spawn().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    for part in
        ["made up for this run", "eyJ", "socket.io-client", "io(\"http://127.0.0.1:", "curl -i http://127.0.0.1:"]
    {
        assert!(shown.any(|line| line.contains(part)), "{part}");
    }
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_server_that_stops_closes_its_sockets_and_lets_requests_end() {
    let server = Server::start().await;
    let mut alice = Client::connect(&server, "alice").await;
    let mut silent = Client::open(&server).await;
    let polling = Polling::open(&server).await;
    polling.send(format!("40/notifications,{}", json!({"token": server.token("bob").await}))).await;
    polling.poll().await.unwrap();
    assert_eq!(server.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(alice.live().await, 1);
    let began = Instant::now();
    let waiting = http::get(&server, &polling.path);
    tokio::join!(async { assert_eq!(waiting.await.status, 200) }, async {
        // The poll has to be waiting before the end begins.
        alice.quiet().await;
        server.begin_to_stop();
        alice.closed().await;
    });
    // Nobody answers any more. A connect may still find the listener where another test is just starting a process, which has a
    // copy of it until it runs; then it ends with that.
    let nobody_answers = async {
        while let Ok(mut stream) = tokio::net::TcpStream::connect(server.address).await {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").await.ok();
            assert_eq!(stream.read(&mut [0; 64]).await.unwrap_or(0), 0, "it accepts");
        }
    };
    tokio::time::timeout(PATIENCE, nobody_answers).await.expect("the listener is closed");
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10));
    silent.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_sent_when_a_server_stops_is_queued() {
    let server = Server::start().await;
    let session = Polling::open(&server).await;
    session.send(format!("40/notifications,{}", json!({"token": server.token("alice").await}))).await;
    session.poll().await.unwrap();
    for n in 1..=3 {
        assert_eq!(server.emit("alice", n).await.delivery, LIVE);
    }
    let mut stalled = Client::connect(&server, "bob").await;
    for n in 0..1_000 {
        let draft = support::server::numbered_of("bob", n, 900);
        server.service.emit(draft).await.unwrap();
    }
    let began = Instant::now();
    // The library does not let go of sockets that it has closed, so the store cannot be opened again in this process.
    let store = server.queue.clone();
    let _scratch = server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(store.backlog("alice", EntryId::default(), false).await.unwrap().entries.len(), 3);
    let newest = store.backlog("bob", EntryId::default(), false).await.unwrap().entries.pop().unwrap();
    assert!(newest.payload.contains("\"n\":999"));
    stalled.closed().await;
}

#[tokio::test]
async fn what_was_accepted_is_sent_before_the_end_though_no_store_could_take_it() {
    let outage = Outage::default();
    let server = Server::with(|with| with.queue = Fragile::wrap(&with.queue, &outage)).await;
    let mut alice = Client::connect(&server, "alice").await;
    outage.begin();
    // More than the system takes for a client that does not read yet.
    for n in 1..=180 {
        let draft = support::server::numbered_of("alice", n, 1_500);
        assert_eq!(server.service.emit(draft).await.unwrap().delivery, LIVE);
    }
    server.begin_to_stop();
    for n in 1..=180 {
        assert_eq!(alice.live().await, n);
    }
    alice.closed().await;
    server.stop().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_survives_a_kill() {
    let scratch = Scratch::new();
    let mut process = Process::start(&scratch);
    let session = process.request("PUT", "/sessions/s", &json!({"userId": "alice"}).to_string());
    assert_eq!(session.0, 204);
    let token =
        support::server::token(json!({"userId": "alice", "sessionId": "s", "exp": support::server::from_now(900)}));
    let mut client = Client::open_at(process.address).await;
    client.send(&format!("40/notifications,{}", json!({"token": token, "ack": true}))).await;
    assert!(client.message().await.unwrap().starts_with("40/"));
    for n in 1..=3 {
        let (status, answer) = process.request("POST", "/events", &event(n));
        assert!(status == 202 && answer.contains("live"), "{answer}");
        assert_eq!(client.asking_live().await.1, n);
    }
    process.signal("KILL");
    assert_eq!(process.end(), None);
    assert_eq!(queued(&scratch).await, [1, 2, 3]);
}
