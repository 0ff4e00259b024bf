//! `/socket.io/`: passes requests to socketioxide, and sees to it that our own events go with its answers.

use std::{borrow::Cow, future::poll_fn, net::SocketAddr, pin::pin, sync::Arc, task::Poll};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socketioxide::service::SocketIoService;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tower::ServiceExt;

use super::{
    Sessions,
    carrier::{Carried, Carrier},
    connection::{Connection, Lines, PollingSession, Stream},
    follower::Follower,
    packet::judge,
    polling::Answer,
    stream::ClientStream,
    upgrade,
};
use crate::{
    gate::Full,
    http::{body, problem::Problem},
};

/// Separates the packets of a POST.
const SEPARATOR: &str = "\u{1e}";

/// Longer than any answer to a handshake.
const MAX_OPEN_BYTES: usize = 4 * 1024;

/// What the routes of `/socket.io/` need.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) engine: SocketIoService<Router>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) lines: Arc<Lines>,
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
    if request.extensions().get::<Arc<Carrier>>().is_some_and(|carrier| carrier.seat().is_spare()) {
        let full = Problem::unavailable("there are too many connections");
        return ([(header::CONNECTION, HeaderValue::from_static("close"))], full).into_response();
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

    /// A session of a client that was not let in yet, where there is a place for one.
    fn begin(&self, request: &Request, holds_connection: bool) -> Result<Arc<Connection>, Problem> {
        let connection = Connection::new(self.lines.clone());
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let address = peer.map(|ConnectInfo(peer)| self.lines.gate.proxies.client(peer.ip(), request.headers()));
        let weak = Arc::downgrade(&connection);
        let evict = move || {
            if let Some(connection) = weak.upgrade() {
                connection.evict();
            }
        };
        let place = self.lines.gate.enter(address, holds_connection, Box::new(evict)).map_err(|full| match full {
            Full::All => Problem::unavailable("too many clients are about to connect"),
            Full::Address => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many clients from this address are about to connect")
            }
        })?;
        connection.early.has_place(place);
        Ok(connection)
    }

    /// Opens a polling session, and lists it under the id that the library has chosen.
    async fn open(&self, request: Request) -> Response {
        let connection = match self.begin(&request, false) {
            Ok(connection) => connection,
            Err(problem) => return problem.into_response(),
        };
        let request = handshake(request.uri(), request.headers(), connection.clone()).map(|()| Body::empty());
        let (parts, body) = self.pass(request).await.into_parts();
        let Ok(body) = to_bytes(body, MAX_OPEN_BYTES).await else {
            return refuse();
        };
        let opened: Option<serde_json::Value> =
            body.strip_prefix(b"0").and_then(|json| serde_json::from_slice(json).ok());
        if let Some(sid) = opened.as_ref().and_then(|open| open["sid"].as_str()) {
            connection.is_polling(PollingSession {
                say: Box::new(self.says(sid)),
                _listing: self.sessions.list(sid, &connection),
            });
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// Answers a poll with what the library says, and what waits for the client behind that; as soon as there is either.
    async fn poll(&self, sid: &str, request: Request) -> Response {
        let Some(connection) = self.sessions.find(sid) else {
            return refuse();
        };
        if connection.is_answering() {
            // Two polls at a time; the library closes those that it sees itself.
            connection.close();
            return refuse();
        }
        let carrier = request.extensions().get().cloned();
        let said = {
            let mut library = pin!(self.pass(request));
            // The library first: where its answer is ready it is taken, for what is in it would be lost with the
            // future.
            poll_fn(|cx| match library.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending => connection.poll_ready(cx).map(|()| None),
            })
            .await
        };
        let (mut parts, packets) = match said {
            None => (Response::new(()).into_parts().0, Bytes::new()),
            Some(response) => {
                let (parts, body) = response.into_parts();
                match to_bytes(body, usize::MAX).await {
                    Ok(packets) if parts.status == StatusCode::OK => (parts, packets),
                    Ok(packets) => return Response::from_parts(parts, Body::from(packets)),
                    Err(_) => return refuse(),
                }
            }
        };
        let waiting = connection.begin_answer(&packets);
        if connection.was_closed() && packets.is_empty() {
            return refuse();
        }
        let packets = if packets.is_empty() && waiting.0 == 0 { Bytes::from_static(b"6") } else { packets };
        let answer = Answer::new(packets, waiting, connection, carrier);
        parts.headers.insert(header::CONTENT_LENGTH, answer.len().into());
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
        Response::from_parts(parts, Body::new(answer))
    }

    /// Reads a POST first; where a packet breaks the protocol, the session is closed instead.
    async fn post(&self, sid: &str, request: Request) -> Response {
        let Some(connection) = self.sessions.find(sid) else {
            return refuse();
        };
        let (parts, body) = request.into_parts();
        let most = connection.early.max_message_bytes();
        let at_most = most.min(body::announced_bytes(&body));
        let body = match connection.early.read_post(at_most, body::read(body, most)).await {
            Ok(body) => body,
            Err(problem) => {
                connection.close();
                return problem.into_response();
            }
        };
        let Some(body) = judged(&body, &connection) else {
            tracing::debug!("a polling session is closed for what it sent");
            connection.close();
            return refuse();
        };
        self.pass(Request::from_parts(parts, Body::from(body))).await
    }

    /// Says something to the library as the client of a polling session would: there is no other way from here.
    async fn say(&self, sid: &str, packet: Cow<'static, str>) {
        let uri = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        if let Ok(request) = Request::post(uri).body(Body::from(packet.into_owned())) {
            self.pass(request).await;
        }
    }

    /// The same from wherever it is called.
    fn says(&self, sid: &str) -> impl Fn(Cow<'static, str>) + Send + Sync + 'static {
        let (transport, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let sid: Arc<str> = sid.into();
        move |packet| {
            let (transport, sid) = (transport.clone(), sid.clone());
            runtime.spawn(async move { transport.say(&sid, packet).await });
        }
    }

    /// Answers 101 and hands the stream to the library; where it is an upgrade, only once the client has said that it is done.
    fn websocket(&self, sid: Option<&str>, mut request: Request) -> Response {
        let Some(accept) = accept_key(request.headers()) else {
            return refuse();
        };
        let connection = match sid.map(|sid| self.sessions.find(sid)) {
            Some(Some(connection)) => connection,
            Some(None) => return refuse(),
            None => match self.begin(&request, true) {
                Ok(connection) => connection,
                Err(problem) => return problem.into_response(),
            },
        };
        // TRANS-13: the one that there is goes on.
        if sid.is_some() && !connection.begin_upgrade() {
            return refuse();
        }
        self.lines.flusher.begin();
        let is_upgrade = sid.is_some();
        let handshake = handshake(request.uri(), request.headers(), connection.clone());
        let upgrade = hyper::upgrade::on(&mut request);
        let engine = self.engine.clone();
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else {
                connection.abandon_upgrade();
                return;
            };
            let (mut stream, mut read) = stream_of(upgraded);
            let mut follower = Follower::default();
            if is_upgrade {
                let said = tokio::select! {
                    said = upgrade::probe(&mut stream, std::mem::take(&mut read), &connection) => said,
                    () = connection.closed() => None,
                };
                let Some(said) = said else {
                    connection.abandon_upgrade();
                    return;
                };
                (read, follower) = (said, Follower::of_upgrade());
            }
            // Boxed, for the library's tasks have room for several of what they are given.
            let stream = Box::new(ClientStream::new(connection, stream, follower, read));
            engine.oneshot((stream, handshake)).await.ok();
        });
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

/// The packets of a POST as the library is to read them; `None` where one of them breaks the protocol.
fn judged(body: &[u8], connection: &Arc<Connection>) -> Option<String> {
    let packets = std::str::from_utf8(body).ok()?.split(SEPARATOR).map(|packet| {
        // The library answers other types with 400, but leaves the session open.
        let lawful = packet.starts_with(['1', '2', '3', '4', 'b'])
            && !packet.starts_with("2probe")
            && !packet.starts_with("3probe");
        let judged = judge(packet, connection).inspect_err(|violation| violation.count(connection));
        let other = judged.ok().filter(|_| lawful)?;
        Some(other.map_or(Cow::Borrowed(packet), Cow::Owned))
    });
    packets.collect::<Option<Vec<_>>>().map(|packets| packets.join(SEPARATOR))
}

/// The stream beneath an upgraded connection, and what was read from it already. Served by others than [`crate::serve`] it may be of
/// any kind.
fn stream_of(upgraded: Upgraded) -> (Box<dyn Stream>, Vec<u8>) {
    match upgraded.downcast::<TokioIo<Carried>>() {
        Ok(parts) => (Box::new(parts.io.into_inner().upgraded()), parts.read_buf.to_vec()),
        Err(upgraded) => (Box::new(TokioIo::new(upgraded)), Vec::new()),
    }
}

/// The request as the library keeps it for as long as the session lives: only what is needed later on, which is the token
/// (AUTH-02) and the connection. Copies, for a part of the original would keep the whole buffer that it was read into: 8 KiB a connection.
fn handshake(uri: &Uri, headers: &HeaderMap, connection: Arc<Connection>) -> axum::http::Request<()> {
    let mut kept = axum::http::Request::new(());
    if let Ok(uri) = uri.to_string().parse() {
        *kept.uri_mut() = uri;
    }
    let token = headers.get(header::AUTHORIZATION).map(|token| HeaderValue::from_bytes(token.as_bytes()));
    if let Some(Ok(token)) = token {
        kept.headers_mut().insert(header::AUTHORIZATION, token);
    }
    kept.extensions_mut().insert(connection);
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
