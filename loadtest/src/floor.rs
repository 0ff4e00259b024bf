//! The floor: a server with the reference's HTTP front that writes events to their receivers, and does nothing else. No
//! signatures, no sessions, no queue, no order, no polling. What a real server costs more than this is its own.
//!
//! It writes as seldom as it can: an event is encoded once and appended to what waits for each of its receivers, and one task
//! writes each connection once with all that it has. The kernel takes five microseconds for a write, whatever is in it.
//!
//! It can also lose events or stand still on purpose, so that tests can show that the harness notices.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::ErrorKind,
    mem,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
    upgrade::{self, Upgraded},
};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::yield_now,
    time::{interval, timeout},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::wire::{self, Frame, Frames};

/// Its parameters are those of the reference.
const OPEN: &str = r#"0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
const CONNECTED: &str = r#"40/notifications,{"sid":"floor"}"#;
const ANSWER: &str = r#"{"eventId":"00000000-0000-7000-8000-000000000000","delivery":"live"}"#;
/// What a real server adds to a payload, so that frames are as long.
const ADDED: &str = r#""eventId":"00000000-0000-7000-8000-000000000000","timestamp":"2026-01-01T00:00:00.000Z","#;
/// Clients say little.
const READ_BYTES: usize = 2 * 1024;
/// An emitter waits while more than this waits for one of the receivers: else closed loop would fill the memory.
const WAITING_MOST: usize = 64 * 1024;
/// A receiver that leaves it there for so long is closed.
const PATIENCE: Duration = Duration::from_secs(1);
/// After so many writes others have their turn.
const WRITES_IN_A_ROW: usize = 64;

/// What is wrong with it on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flaws {
    /// Every so many events one is accepted and not delivered.
    pub drop_every: Option<u64>,
    /// Every so many events one is delivered twice.
    pub repeat_every: Option<u64>,
    /// Once a second it stands still for so long.
    pub stall: Option<Duration>,
}

#[derive(Debug, Default)]
struct Floor {
    users: RwLock<HashMap<String, Vec<Arc<Line>>>>,
    /// Connections for which something waits, each once.
    dirty: Mutex<Vec<Arc<Line>>>,
    flush: Notify,
    flaws: Flaws,
    events: AtomicU64,
    /// Held for writing while it stands still.
    moving: tokio::sync::RwLock<()>,
}

/// A connection that was let in.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    outbox: Mutex<Outbox>,
    /// Told when less than [`WAITING_MOST`] waits again.
    room: Notify,
    /// Told when the connection has to end.
    end: Notify,
}

#[derive(Debug, Default)]
struct Outbox {
    waiting: Vec<u8>,
    is_listed: bool,
    /// The kernel takes nothing at present; a task of this connection's waits until it does.
    is_blocked: bool,
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, flaws: Flaws) {
    let floor = Arc::new(Floor { flaws, ..Floor::default() });
    if let Some(stall) = flaws.stall {
        tokio::spawn(stand_still(Arc::clone(&floor), stall));
    }
    tokio::spawn(flush(Arc::clone(&floor)));
    while let Ok((stream, _)) = listener.accept().await {
        // Without it small frames wait for others.
        let _ = stream.set_nodelay(true);
        let floor = Arc::clone(&floor);
        let service = service_fn(move |request| answer(Arc::clone(&floor), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
    }
}

/// Writes each connection once with all that waits for it, over and over.
async fn flush(floor: Arc<Floor>) {
    let mut spare = Vec::new();
    loop {
        let dirty = mem::take(&mut *floor.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        if dirty.is_empty() {
            floor.flush.notified().await;
        }
        for (at, line) in dirty.iter().enumerate() {
            line.write(&mut spare);
            if at % WRITES_IN_A_ROW == WRITES_IN_A_ROW - 1 {
                yield_now().await;
            }
        }
    }
}

impl Line {
    /// With a first frame that goes before everything else.
    fn new(stream: TcpStream, first: &[u8]) -> Arc<Self> {
        let outbox = Outbox { waiting: first.to_vec(), ..Outbox::default() };
        Arc::new(Self { stream, outbox: Mutex::new(outbox), room: Notify::new(), end: Notify::new() })
    }

    fn outbox(&self) -> std::sync::MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a frame; whether the connection has to be listed for that.
    fn append(&self, frame: &[u8]) -> bool {
        let mut outbox = self.outbox();
        outbox.waiting.extend_from_slice(frame);
        !mem::replace(&mut outbox.is_listed, true)
    }

    fn is_full(&self) -> bool {
        self.outbox().waiting.len() > WAITING_MOST
    }

    /// Waits until the receiver has taken enough, or gives it up.
    async fn has_room(&self) {
        loop {
            let room = self.room.notified();
            if !self.is_full() {
                return;
            }
            if timeout(PATIENCE, room).await.is_err() {
                return self.end.notify_one();
            }
        }
    }

    /// Writes all that waits with one call; `spare` is a buffer that goes on from connection to connection.
    fn write(self: &Arc<Self>, spare: &mut Vec<u8>) {
        let mut outbox = self.outbox();
        outbox.is_listed = false;
        if outbox.is_blocked {
            return;
        }
        spare.clear();
        mem::swap(spare, &mut outbox.waiting);
        // An emitter must not wait for the kernel. Nobody but this task writes to a connection that is not blocked.
        drop(outbox);
        let written = match self.stream.try_write(spare) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return self.end.notify_one(),
        };
        if spare.len() > WAITING_MOST {
            self.room.notify_waiters();
        }
        if written < spare.len() {
            let mut outbox = self.outbox();
            spare.drain(..written);
            spare.append(&mut outbox.waiting);
            mem::swap(spare, &mut outbox.waiting);
            outbox.is_blocked = true;
            tokio::spawn(Arc::clone(self).catch_up());
        }
    }

    /// Writes whenever the kernel takes something, until nothing waits any more.
    async fn catch_up(self: Arc<Self>) {
        while self.stream.writable().await.is_ok() {
            let mut outbox = self.outbox();
            match self.stream.try_write(&outbox.waiting) {
                Ok(written) => drop(outbox.waiting.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => return self.end.notify_one(),
            }
            if outbox.waiting.len() <= WAITING_MOST {
                self.room.notify_waiters();
            }
            if outbox.waiting.is_empty() {
                outbox.is_blocked = false;
                return;
            }
        }
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
    let mut full = Vec::new();
    let answer = {
        let _moving = floor.moving.read().await;
        if is_batch {
            let Ok(all) = serde_json::from_str::<Vec<&RawValue>>(text) else {
                return plain(StatusCode::BAD_REQUEST, String::new());
            };
            all.iter().for_each(|event| floor.deliver(event.get(), &mut full));
            format!("[{}]", vec![ANSWER; all.len()].join(","))
        } else {
            floor.deliver(text, &mut full);
            ANSWER.to_owned()
        }
    };
    for line in full {
        line.has_room().await;
    }
    plain(StatusCode::ACCEPTED, answer)
}

impl Floor {
    /// Appends an event to what waits for its receivers; notes in `full` those that have to take something first.
    fn deliver(&self, event: &str, full: &mut Vec<Arc<Line>>) {
        let number = self.events.fetch_add(1, Relaxed) + 1;
        if self.flaws.drop_every.is_some_and(|every| number.is_multiple_of(every)) {
            return;
        }
        let user = event.split_once(r#""targetUserId":""#).and_then(|(_, after)| after.split_once('"'));
        let (Some((user, _)), Some(members)) = (user, event.strip_prefix('{')) else { return };
        let users = self.users.read().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = users.get(user) else { return };
        // Encoded once, however many there are.
        let packet = format!(r#"42/notifications,["record.accessed",{{{ADDED}{members}]"#);
        let mut frame = text(&packet);
        if self.flaws.repeat_every.is_some_and(|every| number.is_multiple_of(every)) {
            frame = frame.repeat(2);
        }
        self.list(lines.iter().filter(|line| line.append(&frame)));
        full.extend(lines.iter().filter(|line| line.is_full()).cloned());
    }

    /// Lets these be flushed.
    fn list<'a>(&self, lines: impl Iterator<Item = &'a Arc<Line>>) {
        let mut lines: Vec<_> = lines.cloned().collect();
        if !lines.is_empty() {
            self.dirty.lock().unwrap_or_else(PoisonError::into_inner).append(&mut lines);
            self.flush.notify_one();
        }
    }

    fn say(&self, line: &Arc<Line>, frame: &[u8]) {
        self.list(Some(line).filter(|line| line.append(frame)).into_iter());
    }

    fn join(&self, user: String, line: &Arc<Line>) {
        self.users.write().unwrap_or_else(PoisonError::into_inner).entry(user).or_default().push(Arc::clone(line));
    }

    fn leave(&self, user: &str, line: &Arc<Line>) {
        let mut users = self.users.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = users.get_mut(user) {
            lines.retain(|other| !Arc::ptr_eq(other, line));
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
            converse(&floor, stream).await;
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

/// The life of a connection; how it ends is the client's affair.
async fn converse(floor: &Floor, upgraded: Upgraded) -> Option<()> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    let stream = parts.io.into_inner();
    let (mut heard, mut frames) = (Heard::default(), Frames::new(wire::From::Client));
    heard.take(&mut frames, &parts.read_buf)?;
    // Of a new connection the kernel takes as much as this.
    stream.writable().await.ok()?;
    stream.try_write(&text(OPEN)).ok()?;
    let user = loop {
        if let Some(connect) = heard.packets.pop() {
            break user_of(&connect)?;
        }
        listen(&stream, &mut frames, &mut heard).await?;
    };
    let line = Line::new(stream, &text(CONNECTED));
    floor.join(user.clone(), &line);
    // What was emitted since has listed it, or this does.
    floor.say(&line, &[]);
    exchange(floor, &line, frames, heard).await;
    floor.leave(&user, &line);
    Some(())
}

/// Answers nothing, and pings; `None` at the end.
async fn exchange(floor: &Floor, line: &Arc<Line>, mut frames: Frames, mut heard: Heard) -> Option<()> {
    let ping = text("2");
    let mut pings = interval(Duration::from_secs(25));
    pings.tick().await;
    loop {
        tokio::select! {
            read = listen(&line.stream, &mut frames, &mut heard) => read?,
            _ = pings.tick() => floor.say(line, &ping),
            () = line.end.notified() => return None,
        }
        if heard.packets.drain(..).any(|packet| packet == b"1") {
            return None;
        }
    }
}

/// What a client has said.
#[derive(Debug, Default)]
struct Heard {
    packets: Vec<Vec<u8>>,
    has_left: bool,
}

impl Heard {
    /// `None` where nothing more will come.
    fn take(&mut self, frames: &mut Frames, bytes: &[u8]) -> Option<()> {
        let understood = frames.feed(bytes, |frame| match frame {
            Frame::Text(packet) => self.packets.push(packet.to_vec()),
            Frame::Ping(_) => {}
            Frame::Close => self.has_left = true,
        });
        understood.ok().filter(|()| !self.has_left)
    }
}

/// Waits until the client says something; `None` where it has left.
async fn listen(stream: &TcpStream, frames: &mut Frames, heard: &mut Heard) -> Option<()> {
    stream.readable().await.ok()?;
    let mut buffer = [0; READ_BYTES];
    match stream.try_read(&mut buffer) {
        Ok(0) => None,
        Ok(read) => heard.take(frames, &buffer[..read]),
        Err(error) => (error.kind() == ErrorKind::WouldBlock).then_some(()),
    }
}

fn text(packet: &str) -> Vec<u8> {
    let mut frame = Vec::with_capacity(packet.len() + 10);
    wire::write_text(&mut frame, packet.as_bytes(), None);
    frame
}

/// The user that the token claims to be; nothing is verified.
fn user_of(connect: &[u8]) -> Option<String> {
    let (_, token) = std::str::from_utf8(connect).ok()?.split_once(r#""token":""#)?;
    let claims = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some(claims.get("userId")?.as_str()?.to_owned())
}
