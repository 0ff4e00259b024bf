//! The floor: a server with the reference's HTTP front that writes each event straight to its receivers, and does nothing else.
//! No sessions, no signatures, no queue, no order. What a real server costs more than this is its own.
//!
//! It can also lose events or stand still on purpose, so that tests can show that the harness notices.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
    upgrade,
};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use tokio::{net::TcpListener, sync::mpsc, time::interval};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

/// Its parameters are those of the reference.
const OPEN: &str = r#"0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
const CONNECTED: &str = r#"40/notifications,{"sid":"floor"}"#;
const ANSWER: &str = r#"{"eventId":"00000000-0000-7000-8000-000000000000","delivery":"live"}"#;
/// What a real server adds to a payload, so that frames are as long.
const ADDED: &str = r#""eventId":"00000000-0000-7000-8000-000000000000","timestamp":"2026-01-01T00:00:00.000Z","#;
/// As small as the reference's.
const READ_BUFFER_BYTES: usize = 512;

/// What is wrong with it on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flaws {
    /// Every so many events one is accepted and not delivered.
    pub drop_every: Option<u64>,
    /// Once a second it stands still for so long.
    pub stall: Option<Duration>,
}

type Line = mpsc::UnboundedSender<Utf8Bytes>;

#[derive(Debug, Default)]
struct Floor {
    users: RwLock<HashMap<String, Vec<Line>>>,
    flaws: Flaws,
    events: AtomicU64,
    /// Held for writing while it stands still.
    moving: tokio::sync::RwLock<()>,
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, flaws: Flaws) {
    let floor = Arc::new(Floor { flaws, ..Floor::default() });
    if let Some(stall) = flaws.stall {
        tokio::spawn(stand_still(Arc::clone(&floor), stall));
    }
    while let Ok((stream, _)) = listener.accept().await {
        // Without it small frames wait for others.
        let _ = stream.set_nodelay(true);
        let floor = Arc::clone(&floor);
        let service = service_fn(move |request| answer(Arc::clone(&floor), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
    }
}

async fn stand_still(floor: Arc<Floor>, stall: Duration) {
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let _still = floor.moving.write().await;
        tokio::time::sleep(stall).await;
    }
}

async fn answer(floor: Arc<Floor>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    Ok(match (request.method(), path) {
        (&Method::GET, "/socket.io/") => upgraded(floor, request),
        (&Method::GET, "/readyz") => plain(StatusCode::OK, String::new()),
        (&Method::POST, "/events") => events(&floor, request, false).await,
        (&Method::POST, "/events/batch") => events(&floor, request, true).await,
        (&Method::PUT | &Method::DELETE, _) if path.starts_with("/sessions/") => {
            plain(StatusCode::NO_CONTENT, String::new())
        }
        _ => plain(StatusCode::NOT_FOUND, String::new()),
    })
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

async fn events(floor: &Floor, request: Request<Incoming>, is_batch: bool) -> Response<Full<Bytes>> {
    let Ok(body) = request.into_body().collect().await else { return plain(StatusCode::BAD_REQUEST, String::new()) };
    let body = body.to_bytes();
    let Ok(text) = std::str::from_utf8(&body) else { return plain(StatusCode::BAD_REQUEST, String::new()) };
    let _moving = floor.moving.read().await;
    if !is_batch {
        floor.deliver(text);
        return plain(StatusCode::ACCEPTED, ANSWER.to_owned());
    }
    let Ok(all) = serde_json::from_str::<Vec<&RawValue>>(text) else {
        return plain(StatusCode::BAD_REQUEST, String::new());
    };
    all.iter().for_each(|event| floor.deliver(event.get()));
    plain(StatusCode::ACCEPTED, format!("[{}]", vec![ANSWER; all.len()].join(",")))
}

impl Floor {
    fn deliver(&self, event: &str) {
        let number = self.events.fetch_add(1, Relaxed) + 1;
        if self.flaws.drop_every.is_some_and(|every| number.is_multiple_of(every)) {
            return;
        }
        let user = event.split_once(r#""targetUserId":""#).and_then(|(_, after)| after.split_once('"'));
        let (Some((user, _)), Some(members)) = (user, event.strip_prefix('{')) else { return };
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = users.get(user) else { return };
        // Encoded once, however many there are.
        let frame = Utf8Bytes::from(format!(r#"42/notifications,["record.accessed",{{{ADDED}{members}]"#));
        lines.iter().for_each(|line| drop(line.send(frame.clone())));
    }

    fn join(&self, user: String) -> mpsc::UnboundedReceiver<Utf8Bytes> {
        let (line, frames) = mpsc::unbounded_channel();
        self.users.write().unwrap_or_else(PoisonError::into_inner).entry(user).or_default().push(line);
        frames
    }

    fn leave(&self, user: &str) {
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = users.get_mut(user) {
            lines.retain(|line| !line.is_closed());
            if lines.is_empty() {
                users.remove(user);
            }
        }
    }
}

fn upgraded(floor: Arc<Floor>, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        return plain(StatusCode::BAD_REQUEST, String::new());
    };
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(async move {
        if let Ok(stream) = upgrade::on(&mut request).await {
            let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, Some(config)).await;
            converse(&floor, socket).await;
        }
    });
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS, String::new());
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

type Socket = WebSocketStream<TokioIo<upgrade::Upgraded>>;

/// The life of a connection; how it ends is the client's affair.
async fn converse(floor: &Floor, mut socket: Socket) {
    if socket.send(Message::text(OPEN)).await.is_err() {
        return;
    }
    let Some(Ok(Message::Text(connect))) = socket.next().await else { return };
    let Some(user) = user_of(&connect) else { return };
    let mut frames = floor.join(user.clone());
    if socket.send(Message::text(CONNECTED)).await.is_ok() {
        exchange(&mut socket, &mut frames).await;
    }
    drop(frames);
    floor.leave(&user);
}

async fn exchange(socket: &mut Socket, frames: &mut mpsc::UnboundedReceiver<Utf8Bytes>) {
    let mut pings = interval(Duration::from_secs(25));
    pings.tick().await;
    loop {
        let frame = tokio::select! {
            Some(frame) = frames.recv() => frame,
            packet = socket.next() => match packet {
                Some(Ok(Message::Text(text))) if text.as_str() != "1" => continue,
                _ => return,
            },
            _ = pings.tick() => Utf8Bytes::from_static("2"),
        };
        if socket.feed(Message::Text(frame)).await.is_err() {
            return;
        }
        // What has gathered meanwhile goes with one write.
        while let Ok(frame) = frames.try_recv() {
            if socket.feed(Message::Text(frame)).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

/// The user that the token claims to be; nothing is verified.
fn user_of(connect: &str) -> Option<String> {
    let (_, token) = connect.split_once(r#""token":""#)?;
    let claims = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some(claims.get("userId")?.as_str()?.to_owned())
}
