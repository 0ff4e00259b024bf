//! One HTTP request at a time.

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::server::{INGEST_TOKEN, Server};

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Expects a problem document of that status, and returns it.
    pub(crate) fn problem(&self, status: u16) -> Value {
        let problem = self.json();
        assert_eq!(self.status, status, "{problem}");
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem
    }
}

pub(crate) async fn send(server: &Server, request: Request<Body>) -> Answer {
    let stream = TcpStream::connect(server.address).await.expect("the server listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("the server speaks HTTP");
    tokio::spawn(connection);
    let response = sender.send_request(request).await.expect("the server answers");
    let (parts, body) = response.into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await.expect("the answer is complete");
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(body.to_vec()).expect("answers are text"),
    }
}

/// A request with the service credential.
pub(crate) fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {INGEST_TOKEN}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .expect("this is a request")
}

pub(crate) async fn post(server: &Server, path: &str, body: &Value) -> Answer {
    send(server, request(Method::POST, path, body.to_string())).await
}

pub(crate) async fn get(server: &Server, path: &str) -> Answer {
    send(server, request(Method::GET, path, Body::empty())).await
}

/// A polling session.
pub(crate) struct Polling<'a> {
    server: &'a Server,
    pub(crate) path: String,
    pub(crate) sid: String,
}

impl<'a> Polling<'a> {
    pub(crate) async fn open(server: &'a Server) -> Self {
        let path = "/socket.io/?EIO=4&transport=polling";
        let opened = get(server, path).await;
        let open: Value = serde_json::from_str(opened.text.strip_prefix('0').expect("an open packet")).expect("JSON");
        let sid = open["sid"].as_str().expect("the session has an id").to_owned();
        Self { server, path: format!("{path}&sid={sid}"), sid }
    }

    pub(crate) async fn send(&self, packets: impl Into<Body>) -> StatusCode {
        send(self.server, request(Method::POST, &self.path, packets)).await.status
    }

    /// The packets of the next poll, without pings; those are answered.
    pub(crate) async fn poll(&self) -> Result<Vec<String>, StatusCode> {
        loop {
            let answer = get(self.server, &self.path).await;
            if answer.status != StatusCode::OK {
                return Err(answer.status);
            }
            let packets: Vec<_> = answer.text.split('\u{1e}').filter(|p| *p != "2").map(str::to_owned).collect();
            if answer.text.split('\u{1e}').any(|packet| packet == "2") {
                self.send("3").await;
            }
            if !packets.is_empty() {
                return Ok(packets);
            }
        }
    }

    /// The packets of the next poll that says anything.
    pub(crate) async fn events(&self) -> Vec<String> {
        loop {
            let packets = self.poll().await.expect("the session lives");
            if packets != ["6"] {
                return packets;
            }
        }
    }

    /// Polls until the session is answered with an error.
    pub(crate) async fn closed(&self) {
        while self.poll().await.is_ok() {}
    }
}
