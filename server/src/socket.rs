//! The Socket.IO side: who is let in, what is delivered to them, and `ping`.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use serde_json::Value;
use socketioxide::{
    ParserConfig, SendError, SocketError, SocketIo,
    extract::{AckSender, SocketRef, TryData},
    handler::ConnectHandler,
    service::SocketIoService,
};

use crate::{
    admission::Admission,
    auth::{TokenError, VerifyToken, find_token},
    event::Outgoing,
    notifications::{Deliver, NotificationsService},
    rules::Rules,
    session::{SessionError, VerifySession},
    store::BoxFuture,
    wire::{MAX_PAYLOAD_BYTES, NAMESPACE, Session},
};

/// How long a connection may take to authenticate: below the 10 s of TRANS-09.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(7);

/// How long an upgrade from polling may take.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many packets wait for a client that does not read. A batch fits in.
const BUFFERED_PACKETS: usize = 1_024;

/// How long an event waits for room in the buffer of a client.
const PATIENCE: Duration = Duration::from_millis(200);

/// Why a client was not let in; goes to the client as it is written here (AUTH-21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    TokenMissing,
    TokenInvalid,
    TokenExpired,
    SessionInvalid,
    Unavailable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::SessionInvalid => "session_invalid",
            Self::Unavailable => "unavailable",
        })
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Missing => Self::TokenMissing,
            TokenError::Invalid => Self::TokenInvalid,
            TokenError::Expired => Self::TokenExpired,
        }
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Invalid => Self::SessionInvalid,
            SessionError::Unavailable(error) => {
                tracing::warn!(%error, "a session could not be verified");
                Self::Unavailable
            }
        }
    }
}

/// What the door needs to know who may pass.
pub(crate) struct Door {
    pub(crate) tokens: Arc<dyn VerifyToken>,
    pub(crate) sessions: Arc<dyn VerifySession>,
    pub(crate) service: NotificationsService,
    pub(crate) rules: Arc<dyn Rules>,
}

/// An admission on its way from the door to the welcome, within the socket.
type Pending = Arc<Mutex<Option<Admission>>>;

/// The Engine.IO service and the handle to its sockets. Nobody is let in before [`open`].
pub(crate) fn build(connect_timeout: Duration) -> (SocketIoService<Router>, SocketIo) {
    let attachments = ParserConfig::common().max_incoming_binaries(10).max_incoming_binary_buf_size(MAX_PAYLOAD_BYTES);
    SocketIo::builder()
        .with_parser(attachments)
        .connect_timeout(connect_timeout)
        .upgrade_timeout(UPGRADE_TIMEOUT)
        .max_buffer_size(BUFFERED_PACKETS)
        .max_payload(MAX_PAYLOAD_BYTES as u64)
        .ws_max_message_size(MAX_PAYLOAD_BYTES)
        .ws_max_frame_size(MAX_PAYLOAD_BYTES)
        .ws_read_buffer_size(1_024)
        .build_with_inner_svc(Router::new())
}

/// Opens the namespace (TRANS-05).
pub(crate) fn open(io: &SocketIo, door: Arc<Door>) {
    let admit = move |socket: SocketRef, TryData(auth): TryData<Value>| {
        let door = door.clone();
        async move { admit(&door, &socket, auth.unwrap_or_default()).await }
    };
    io.ns(NAMESPACE, welcome.with(admit));
}

/// Before the CONNECT is answered: verifies, and only then touches the user's queue (AUTH-18 to AUTH-20).
async fn admit(door: &Door, socket: &SocketRef, auth: Value) -> Result<(), Refusal> {
    let admitted = verify(door, socket, &auth).await;
    if let Err(refusal) = &admitted {
        tracing::debug!(socket = %socket.id, %refusal, "a connection is refused");
        if let Some(session) = session_of(socket) {
            session.leave();
        }
    }
    let pending: Pending = Arc::new(Mutex::new(Some(admitted?)));
    socket.extensions.insert(pending);
    listen(socket, door.rules.pong());
    Ok(())
}

/// What a client may ask for (EVENT-11). It may ask as soon as it has the answer to its CONNECT, so this is too late for
/// the welcome.
fn listen(socket: &SocketRef, pong: &'static str) {
    socket.on("ping", async move |ack: AckSender| {
        // A client whose buffer is full will not miss the answer.
        ack.send(pong).ok();
    });
}

async fn verify(door: &Door, socket: &SocketRef, auth: &Value) -> Result<Admission, Refusal> {
    let token = find_token(auth, &socket.req_parts().headers)?;
    let claims = door.tokens.verify(token)?;
    door.sessions.verify(&claims.session_id, &claims.user_id).await?;
    door.service.admit(&claims.user_id).await.map_err(|error| {
        tracing::warn!(%error, "a queue could not be read");
        Refusal::Unavailable
    })
}

/// After the CONNECT was answered: joins the one room (ROOM-01), then hands over what was queued (QUEUE-09), while whatever
/// is emitted meanwhile waits for its turn (QUEUE-11).
async fn welcome(socket: SocketRef) {
    let pending: Option<Pending> = socket.extensions.remove();
    let admission = pending.and_then(|it| it.lock().unwrap_or_else(PoisonError::into_inner).take());
    let Some(admission) = admission else { return };
    socket.join(admission.room.clone());
    if !socket.connected() {
        // It went while it was let in; the library has cleaned up before there was anything to clean.
        socket.leave_all();
        return;
    }
    admission.welcome(|payloads| socket.emit("queued.events", &[payloads]).is_ok()).await;
}

fn session_of(socket: &SocketRef) -> Option<&Arc<Session>> {
    socket.req_parts().extensions.get()
}

/// Delivers to the sockets of this process.
pub(crate) struct Sockets(pub(crate) SocketIo);

impl Deliver for Sockets {
    fn deliver<'a>(&'a self, room: &'a str, event: &'a Outgoing) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            // The namespace is gone once the server closes.
            let Some(namespace) = self.0.of(NAMESPACE) else {
                return false;
            };
            let mut taken = false;
            for socket in namespace.within(room.to_owned()).sockets() {
                taken |= offer(&socket, event).await;
            }
            taken
        })
    }
}

/// One socket at a time rather than the room at once: the room would not tell how many have taken it.
async fn offer(socket: &SocketRef, event: &Outgoing) -> bool {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if session_of(socket).is_some_and(|session| session.has_departed()) {
            return false;
        }
        match socket.emit(event.event_type.name(), &event.json) {
            Ok(()) => return true,
            Err(SendError::Socket(SocketError::InternalChannelFull)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(error) => {
                tracing::debug!(socket = %socket.id, %error, "an event was not taken");
                return false;
            }
        }
    }
}
