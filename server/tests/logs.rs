//! What the binary logs, and what nobody may read there.

mod support;

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

use serde_json::{Value, json};
use support::{
    Scratch,
    client::Client,
    server::{INGEST_TOKEN, JWT_SECRET, from_now, token},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

struct Logged {
    child: Child,
    address: SocketAddr,
    so_far: String,
    /// Reads on, for a process whose pipe is full stands still.
    rest: JoinHandle<String>,
}

impl Logged {
    fn start(scratch: &Scratch, level: &str) -> Self {
        Self::start_with(scratch, level, &[])
    }

    fn start_with(scratch: &Scratch, level: &str, more: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_notify-server"))
            .env_clear()
            .envs([("JWT_SECRET", JWT_SECRET), ("INGEST_TOKEN", INGEST_TOKEN), ("PORT", "0"), ("RUST_LOG", level)])
            .env("DATA_DIR", scratch.path())
            .envs(more.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut so_far = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("text") > 0, "it ended: {so_far}");
            so_far += &line;
            if let Some((_, address)) = line.trim_end().rsplit_once("listening on http://") {
                break address.split('"').next().expect("a part").parse().expect("an address");
            }
        };
        let rest = std::thread::spawn(move || {
            let mut rest = String::new();
            log.read_to_string(&mut rest).expect("text");
            rest
        });
        Self { child, address, so_far, rest }
    }

    async fn request(&self, method: &str, path: &str, body: &str) -> String {
        self.request_with(method, path, body, "").await
    }

    /// The same with further headers, each with its line break.
    async fn request_with(&self, method: &str, path: &str, body: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("the server listens");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {INGEST_TOKEN}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the server answers");
        answer
    }

    /// Everything that was logged, up to the end.
    fn end(mut self) -> String {
        Command::new("kill").arg(self.child.id().to_string()).status().expect("kill is there");
        self.child.wait().expect("it is our child");
        self.so_far + &self.rest.join().expect("the reader does not panic")
    }
}

#[tokio::test]
async fn no_log_line_tells_what_nobody_may_know_whatever_the_level() {
    for level in ["info", "debug", "trace"] {
        let scratch = Scratch::new();
        let server = Logged::start(&scratch, level);
        let session = json!({"userId": "user-of-mine"}).to_string();
        assert!(server.request("PUT", "/sessions/session-of-mine", &session).await.contains(" 204 "));
        let claims = json!({"userId": "user-of-mine", "sessionId": "session-of-mine", "exp": from_now(900)});
        let token = token(claims);
        let event = json!({"eventType": "record.accessed", "actorId": "actor-of-mine", "resourceId": "user-of-mine",
            "metadata": {"note": "text-of-mine"}})
        .to_string();
        assert!(server.request("POST", "/events", &event).await.contains("queued"));
        assert!(server.request("POST", "/events", &event.replace("actorId", "text-of-mine")).await.contains(" 400 "));
        let opened = server.request("GET", "/socket.io/?EIO=4&transport=polling", "").await;
        let open = opened.rsplit_once("\r\n0").expect("an open packet").1;
        let open: Value = serde_json::from_str(open).expect("JSON");
        let polling = open["sid"].as_str().expect("an id").to_owned();
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={polling}");
        server.request("POST", &path, &format!("40/notifications,{}", json!({"token": token}))).await;
        // The library's first ping may come before it.
        while !server.request("GET", &path, "").await.contains("40/notifications") {}
        server.request("POST", &path, "1").await;
        let mut client = Client::open_at(server.address).await;
        let refused = client.refused(&json!({"token": format!("{token}x")})).await;
        assert_eq!(refused, "token_invalid");
        client.join(&token).await;
        assert!(server.request("POST", "/events", &event).await.contains("live"));
        // The queue comes before it, unless the first session has taken that.
        while client.event().await.0 != "record.accessed" {}
        client.send(r#"42/notifications,["text-of-mine","text-of-mine"]"#).await;
        client.send("42/notifications,{").await;
        client.closed().await;
        let sid = client.sid.clone();
        let log = server.end();
        assert!(log.contains("closing"), "{log}");
        let signature = token.rsplit('.').next().expect("a token has parts");
        for secret in [
            &*polling,
            &*sid,
            signature,
            "user-of-mine",
            "session-of-mine",
            "actor-of-mine",
            "text-of-mine",
            INGEST_TOKEN,
        ] {
            assert!(!log.contains(secret), "{secret} is in the log at {level}:\n{log}");
        }
    }
}

#[tokio::test]
async fn what_is_no_setting_of_the_log_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_notify-server")).env("RUST_LOG", "a=b=c").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("RUST_LOG"));
}

#[tokio::test]
async fn a_request_can_be_found_in_the_log_by_its_names_and_its_event_with_it() {
    let scratch = Scratch::new();
    let server = Logged::start_with(&scratch, "info,notify_server=debug", &[("LOG_FORMAT", "json")]);
    let event = json!({"eventType": "record.accessed", "actorId": "a", "resourceId": "u"}).to_string();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let headers = format!("X-Request-Id: from-the-caller.1\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let answer = server.request_with("POST", "/events", &event, &headers).await.to_lowercase();
    assert!(answer.contains("x-request-id: from-the-caller.1\r\n"), "{answer}");
    assert!(answer.contains(&format!("traceresponse: 00-{trace}-")), "{answer}");
    let id = answer.split("\"eventid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id").to_owned();
    // Whoever asks for what there is not may look for it, too.
    for path in ["/healthz", "/nowhere"] {
        let answer = server.request_with("GET", path, "", "X-Request-Id: another\r\n").await.to_lowercase();
        assert!(answer.contains("x-request-id: another\r\n"), "{answer}");
    }
    // An id that would not fit into a line is replaced, and so is none.
    for headers in ["x-request-id: a b\r\n", &format!("x-request-id: {}\r\n", "x".repeat(129)), ""] {
        let answer = server.request_with("POST", "/events", "{", headers).await.to_lowercase();
        let given = answer.split("x-request-id: ").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("an id");
        assert_eq!(given.len(), 36, "{answer}");
        assert!(!answer.contains("traceresponse"), "{answer}");
    }
    let log = server.end();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let of_request = |line: &&Value| line["span"]["request_id"] == "from-the-caller.1";
    let ours: Vec<_> = lines.iter().filter(of_request).collect();
    assert!(
        ours.iter().all(|line| line["span"]["trace_id"] == trace && line["span"]["route"] == "/events"),
        "{ours:?}"
    );
    assert!(ours.iter().any(|line| line["fields"]["event_id"] == *id), "{ours:?}");
    assert!(ours.iter().any(|line| line["fields"]["status"] == 202), "{ours:?}");
}

#[tokio::test]
async fn an_unknown_form_of_the_log_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_notify-server")).env("LOG_FORMAT", "xml").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("LOG_FORMAT"));
}
