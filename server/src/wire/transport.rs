//! `/socket.io/`: passes requests to socketioxide, watching them on the way.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use hyper_util::rt::TokioIo;
use socketioxide::service::SocketIoService;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower::ServiceExt;

use super::{MAX_PAYLOAD_BYTES, Session, Sessions, packet::judge, poll::Answer, watched::Watched};
use crate::http::{body, problem::Problem};

/// Separates the packets of a POST.
const SEPARATOR: char = '\u{1e}';

/// Longer than any answer to a handshake.
const MAX_OPEN_BYTES: usize = 4 * 1024;

/// What the routes of `/socket.io/` need.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) engine: SocketIoService<Router>,
    pub(crate) sessions: Arc<Sessions>,
}

/// What the query says about the session.
struct Query<'a> {
    sid: Option<&'a str>,
    transport: Option<&'a str>,
    version: Option<&'a str>,
}

impl<'a> Query<'a> {
    fn of(uri: &'a Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let find = |name: &str| {
            query.split('&').find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name)).map(|(_, v)| v)
        };
        Self { sid: find("sid"), transport: find("transport"), version: find("EIO") }
    }
}

/// One request of Engine.IO.
pub(crate) async fn handle(State(transport): State<Transport>, request: Request) -> Response {
    let uri = request.uri().clone();
    let query = Query::of(&uri);
    // What the library would refuse anyway, but for WebSockets only after it has said 101 (TRANS-10).
    if query.version != Some("4") || !matches!(query.transport, Some("polling" | "websocket")) {
        return refuse();
    }
    match (query.sid, query.transport, request.method()) {
        (sid, Some("websocket"), &Method::GET) => transport.websocket(sid, request),
        (None, Some("polling"), &Method::GET) => transport.open(request).await,
        (Some(sid), Some("polling"), &Method::POST) => transport.post(sid, request).await,
        (Some(sid), Some("polling"), &Method::GET) => transport.poll(sid, request).await,
        _ => refuse(),
    }
}

fn refuse() -> Response {
    Problem::new(StatusCode::BAD_REQUEST, "this is no request of Engine.IO 4, or its session is unknown")
        .into_response()
}

impl Transport {
    async fn pass(&self, request: Request) -> Response {
        match self.engine.clone().oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }

    /// Opens a polling session, and lists it under the id that the library has chosen.
    async fn open(&self, request: Request) -> Response {
        let session = Arc::new(Session::default());
        let request = handshake(request.uri(), request.headers(), session.clone()).map(|()| Body::empty());
        let (parts, body) = self.pass(request).await.into_parts();
        let Ok(body) = to_bytes(body, MAX_OPEN_BYTES).await else {
            return refuse();
        };
        let opened: Option<serde_json::Value> =
            body.strip_prefix(b"0").and_then(|json| serde_json::from_slice(json).ok());
        if let Some(sid) = opened.as_ref().and_then(|open| open["sid"].as_str()) {
            self.sessions.list(sid.to_owned(), &session);
            let close = self.abandon(sid.to_owned());
            session.on_close(Box::new(close));
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// Answers a poll, and sees what the answer takes with it.
    async fn poll(&self, sid: &str, request: Request) -> Response {
        let Some(session) = self.sessions.find(sid) else {
            return refuse();
        };
        let (parts, body) = self.pass(request).await.into_parts();
        match to_bytes(body, usize::MAX).await {
            Ok(payload) => Response::from_parts(parts, Body::new(Answer::new(payload, session))),
            Err(_) => refuse(),
        }
    }

    /// Reads a POST first; where a packet breaks the protocol, the session is closed instead.
    async fn post(&self, sid: &str, request: Request) -> Response {
        let Some(session) = self.sessions.find(sid) else {
            return refuse();
        };
        let (parts, body) = request.into_parts();
        let body = match body::read(body, MAX_PAYLOAD_BYTES).await {
            Ok(body) => body,
            Err(problem) => {
                session.depart();
                self.close(sid).await;
                return problem.into_response();
            }
        };
        let lawful = std::str::from_utf8(&body).is_ok_and(|text| {
            text.split(SEPARATOR).all(|packet| {
                // The library answers other types with 400, but leaves the session open.
                packet.starts_with(['1', '2', '3', '4', 'b'])
                    && !packet.starts_with("2probe")
                    && !packet.starts_with("3probe")
                    && judge(packet, &session).is_ok()
            })
        });
        if !lawful {
            tracing::debug!("a polling session is closed for what it sent");
            session.depart();
            self.close(sid).await;
            return refuse();
        }
        self.pass(Request::from_parts(parts, Body::from(body))).await
    }

    /// Closes a polling session as its client would: the library offers no other way from here.
    async fn close(&self, sid: &str) {
        let uri = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        if let Ok(request) = Request::post(uri).body(Body::from("1")) {
            self.pass(request).await;
        }
    }

    /// Answers 101 and hands the stream to the library, watched.
    fn websocket(&self, sid: Option<&str>, mut request: Request) -> Response {
        let session = match sid {
            None => Some(Arc::new(Session::default())),
            Some(sid) => self.sessions.find(sid),
        };
        let (Some(session), Some(accept)) = (session, accept_key(request.headers())) else {
            return refuse();
        };
        let abandon = sid.map(|sid| -> Box<dyn FnOnce() + Send> { Box::new(self.abandon(sid.to_owned())) });
        let handshake = handshake(request.uri(), request.headers(), session.clone());
        let upgrade = hyper::upgrade::on(&mut request);
        let engine = self.engine.clone();
        tokio::spawn(async move {
            if let Ok(stream) = upgrade.await {
                // Boxed, for the library's tasks have room for several of what they are given.
                let stream = Box::new(Watched::new(TokioIo::new(stream), session, abandon));
                engine.oneshot((stream, handshake)).await.ok();
            }
        });
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }

    /// Closes a polling session from wherever it is called.
    fn abandon(&self, sid: String) -> impl Fn() + Send + Sync + 'static {
        let (transport, runtime) = (self.clone(), tokio::runtime::Handle::current());
        move || {
            let (transport, sid) = (transport.clone(), sid.clone());
            runtime.spawn(async move { transport.close(&sid).await });
        }
    }
}

/// The request as the library keeps it for as long as the session lives: only what is needed later on, which is the token
/// (AUTH-02) and the session. Copies, for a part of the original would keep the whole buffer that it was read into: 8 KiB a connection.
fn handshake(uri: &Uri, headers: &HeaderMap, session: Arc<Session>) -> axum::http::Request<()> {
    let mut kept = axum::http::Request::new(());
    if let Ok(uri) = uri.to_string().parse() {
        *kept.uri_mut() = uri;
    }
    let token = headers.get(header::AUTHORIZATION).map(|token| HeaderValue::from_bytes(token.as_bytes()));
    if let Some(Ok(token)) = token {
        kept.headers_mut().insert(header::AUTHORIZATION, token);
    }
    kept.extensions_mut().insert(session);
    kept
}

/// The answer to a WebSocket handshake (RFC 6455, 4.2.1), where it is one.
fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name, token: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    let is_upgrade = has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_upgrade)?;
    derive_accept_key(key.as_bytes()).parse().ok()
}
