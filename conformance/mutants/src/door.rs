//! The namespace's door with one thing wrong: who is let in, when the room is joined, and what the client may ask for.
//!
//! Put over the server's own door, which is sound; all that this one leans on is the server's public interface.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::HeaderMap;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use notify_server::{
    Collaborators, NotificationsService,
    auth::{
        Claims, Presented, TokenError, VerifyToken, find_token,
        session::{SessionError, VerifySession},
    },
    model::Queue,
    notifications::Admission,
    rules::Rules,
};
use serde_json::{Value, value::RawValue};
use socketioxide::{
    SocketIo,
    extract::{AckSender, Data, Event, SocketRef, TryData},
    handler::ConnectHandler,
};

/// The namespace of TRANS-05.
const NAMESPACE: &str = "/notifications";

/// Long enough for an event to be emitted meanwhile.
const DAWDLE: Duration = Duration::from_millis(150);

/// What is wrong with the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: another part has the fault.
    None,
    /// The `Authorization` header is not looked at.
    HeaderIgnored,
    /// The header counts for more than the payload.
    HeaderFirst,
    /// A token in the URL will do.
    TokenFromUrl,
    /// The payload is read as values, or not at all.
    PayloadReadWhole,
    /// A `userId` in the payload counts for more than the token's.
    PayloadIdentity,
    /// A refusal repeats the token.
    RefusalTellsToken,
    /// Everybody is accepted; who should have been refused is disconnected.
    AcceptedFirst,
    /// Joined, drained, and only then verified.
    JoinedFirst,
    /// The queue is drained even where the client is refused.
    DrainedThoughRefused,
    /// What is queued is sent after a while, and live events do not wait for it.
    LiveOvertakes,
    /// The queue is cleared before the client is in.
    ClearedBeforeSent,
    /// `queued.events` is sent where nothing was queued.
    EmptySent,
    /// Each queued event comes in an array of its own.
    OneByOne,
    /// A second device does not join.
    FirstDeviceOnly,
    /// The room is joined a while after the CONNECT was answered and the queue handed over.
    JoinsLate,
    /// Everybody is asked to acknowledge.
    AsksEverybody,
    /// `ping` is not answered.
    PingUnanswered,
    /// What a client asks for is heard a while after its CONNECT was answered.
    ListensLate,
    /// A client may ask for a room.
    JoinsOnRequest,
    /// What a client sends is passed on to everybody.
    PassesOn,
}

/// What the door works with.
pub(crate) struct Door {
    fault: Fault,
    tokens: Arc<dyn VerifyToken>,
    sessions: Arc<dyn VerifySession>,
    queue: Arc<dyn Queue>,
    rules: Arc<dyn Rules>,
    devices_per_user: usize,
}

/// The payload of a CONNECT: what counts of it, and all of it where that can be read.
#[derive(Default)]
struct Auth {
    presented: Presented,
    all: Value,
}

impl Auth {
    fn of(payload: Result<Box<RawValue>, impl Sized>, fault: Fault) -> Self {
        let Ok(payload) = payload else { return Self::default() };
        match serde_json::from_str(payload.get()) {
            Err(_) if fault == Fault::PayloadReadWhole => Self::default(),
            all => Self { presented: Presented::read(payload.get()), all: all.unwrap_or_default() },
        }
    }
}

/// An admission on its way into the namespace.
type Pending = Arc<Mutex<Option<Admission>>>;

impl Door {
    pub(crate) fn new(fault: Fault, with: &Collaborators) -> Self {
        Self {
            fault,
            tokens: with.tokens.clone(),
            sessions: with.sessions.clone(),
            queue: with.queue.clone(),
            rules: with.rules.clone(),
            devices_per_user: with.bounds.devices_per_user,
        }
    }

    /// Replaces the door of the namespace.
    pub(crate) fn replace(self, io: &SocketIo, service: NotificationsService) {
        let fault = self.fault;
        let door = Arc::new((self, service));
        let inside = door.clone();
        let admit = move |socket: SocketRef, TryData(auth): TryData<Box<RawValue>>| {
            let (door, auth) = (door.clone(), Auth::of(auth, fault));
            async move { door.0.admit(&door.1, &socket, &auth).await }
        };
        let enter = move |socket: SocketRef, TryData(auth): TryData<Box<RawValue>>| async move {
            inside.0.enter(&inside.1, socket, &Auth::of(auth, fault)).await;
        };
        io.ns(NAMESPACE, enter.with(admit));
    }

    async fn admit(&self, service: &NotificationsService, socket: &SocketRef, auth: &Auth) -> Result<(), String> {
        if matches!(self.fault, Fault::AcceptedFirst | Fault::JoinedFirst) {
            self.listen(socket);
            return Ok(());
        }
        let claims = match (self.verify(socket, auth).await, self.fault) {
            (Ok(claims), _) => claims,
            (Err(code), Fault::RefusalTellsToken) => return Err(format!("{code}: {}", auth.all["token"])),
            (Err(code), Fault::DrainedThoughRefused) => {
                self.drain(service, &auth.all).await;
                return Err(code.to_owned());
            }
            (Err(code), _) => return Err(code.to_owned()),
        };
        let user = match (self.fault, auth.all["userId"].as_str()) {
            (Fault::PayloadIdentity, Some(user)) => user,
            _ => &claims.user_id,
        };
        let admission = service.admit(user).await.map_err(|_| "unavailable".to_owned())?;
        if socket.within(admission.room().to_owned()).sockets().len() >= self.devices_per_user {
            return Err("unavailable".to_owned());
        }
        if self.fault == Fault::ClearedBeforeSent {
            self.clear(user).await;
        }
        let pending: Pending = Arc::new(Mutex::new(Some(admission)));
        socket.extensions.insert(pending);
        socket.extensions.insert(user.to_owned());
        if self.fault != Fault::ListensLate {
            self.listen(socket);
        }
        Ok(())
    }

    async fn verify(&self, socket: &SocketRef, auth: &Auth) -> Result<Claims, &'static str> {
        let (none, nothing) = (HeaderMap::new(), Presented::default());
        let handshake = socket.req_parts();
        let headers = if self.fault == Fault::HeaderIgnored { &none } else { &handshake.headers };
        let query = handshake.uri.query().unwrap_or_default();
        let in_url = query.split('&').find_map(|pair| pair.strip_prefix("token="));
        let code = |error| match error {
            TokenError::Missing => "token_missing",
            TokenError::Invalid | TokenError::UnknownKey => "token_invalid",
            TokenError::Unavailable => "unavailable",
            TokenError::Expired => "token_expired",
        };
        let token = match (self.fault, in_url) {
            (Fault::TokenFromUrl, Some(token)) => Ok(token),
            (Fault::HeaderFirst, _) => {
                find_token(&nothing, headers).or_else(|_: TokenError| find_token(&auth.presented, headers))
            }
            _ => find_token(&auth.presented, headers),
        };
        let claims = token.and_then(|token| self.tokens.verify(token)).map_err(code)?;
        match self.sessions.verify(&claims.session_id, &claims.user_id).await {
            Ok(_) => Ok(claims),
            Err(SessionError::Invalid) => Err("session_invalid"),
            Err(SessionError::Unavailable(_)) => Err("unavailable"),
        }
    }

    async fn enter(&self, service: &NotificationsService, socket: SocketRef, auth: &Auth) {
        if self.fault == Fault::ListensLate {
            let (socket, pong) = (socket.clone(), self.rules.pong());
            tokio::spawn(async move {
                tokio::time::sleep(DAWDLE).await;
                answer_pings(&socket, pong);
            });
        }
        let pending: Option<Pending> = socket.extensions.remove();
        let mut admission = pending.and_then(|it| it.lock().unwrap_or_else(PoisonError::into_inner).take());
        if matches!(self.fault, Fault::AcceptedFirst | Fault::JoinedFirst) {
            let claims = self.verify(&socket, auth).await;
            let user = match (&claims, self.fault) {
                (Ok(claims), _) => Some(claims.user_id.clone()),
                (Err(_), Fault::JoinedFirst) => claimed(&auth.all),
                (Err(_), _) => None,
            };
            if let Some(user) = user {
                admission = service.admit(&user).await.ok();
            }
            if claims.is_err() {
                if let Some(admission) = admission {
                    socket.join(admission.room().to_owned());
                    self.hand_queue(&socket, admission).await;
                    tokio::time::sleep(DAWDLE).await;
                }
                socket.disconnect().ok();
                return;
            }
        }
        let Some(admission) = admission else { return };
        if self.fault == Fault::JoinsLate {
            let room = admission.room().to_owned();
            self.hand_queue(&socket, admission).await;
            tokio::time::sleep(DAWDLE).await;
            socket.join(room);
            return;
        }
        let alone = socket.within(admission.room().to_owned()).sockets().is_empty();
        if alone || self.fault != Fault::FirstDeviceOnly {
            socket.join(admission.room().to_owned());
        }
        if !socket.connected() {
            socket.leave_all();
            return;
        }
        if self.fault != Fault::LiveOvertakes {
            return self.hand_queue(&socket, admission).await;
        }
        drop(admission);
        tokio::time::sleep(DAWDLE).await;
        let user: Option<String> = socket.extensions.get();
        if let Ok(late) = service.admit(&user.unwrap_or_default()).await {
            self.hand_queue(&socket, late).await;
        }
    }

    async fn hand_queue(&self, socket: &SocketRef, admission: Admission) {
        let mut sent = false;
        let give = |payloads: &[Box<serde_json::value::RawValue>]| {
            sent = true;
            if self.fault == Fault::OneByOne {
                return payloads.iter().all(|payload| socket.emit("queued.events", &[[payload]]).is_ok());
            }
            if self.fault == Fault::AsksEverybody {
                return socket.emit_with_ack::<_, Value>("queued.events", &[payloads]).is_ok();
            }
            socket.emit("queued.events", &[payloads]).is_ok()
        };
        admission.hand_queue(give).await;
        if self.fault == Fault::EmptySent && !sent {
            socket.emit("queued.events", &[[(); 0]]).ok();
        }
    }

    fn listen(&self, socket: &SocketRef) {
        if self.fault != Fault::PingUnanswered {
            answer_pings(socket, self.rules.pong());
        }
        match self.fault {
            Fault::JoinsOnRequest => {
                let rules = self.rules.clone();
                socket.on("join", async move |socket: SocketRef, Data(user): Data<String>| {
                    socket.join(rules.room(&user));
                });
            }
            Fault::PassesOn => {
                socket.on_fallback(async |socket: SocketRef, Event(name): Event, Data(data): Data<Value>| {
                    socket.broadcast().emit(name, &data).await.ok();
                })
            }
            _ => {}
        }
    }

    async fn drain(&self, service: &NotificationsService, auth: &Value) {
        let Some(user) = claimed(auth) else { return };
        if let Ok(admission) = service.admit(&user).await {
            admission.hand_queue(|_| true).await;
        }
    }

    async fn clear(&self, user: &str) {
        if let Ok(entries) = self.queue.read(user).await {
            let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
            self.queue.remove(user, &ids, None).await.ok();
        }
    }
}

fn answer_pings(socket: &SocketRef, pong: &'static str) {
    socket.on("ping", async move |ack: AckSender| {
        ack.send(pong).ok();
    });
}

/// Who a token says it speaks for, whether or not that is true.
fn claimed(auth: &Value) -> Option<String> {
    let claims = auth["token"].as_str()?.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    claims["userId"].as_str().map(str::to_owned)
}
