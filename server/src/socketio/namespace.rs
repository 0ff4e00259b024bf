//! The namespace `/notifications`, by the library's handlers. [`admit`] says who is let in, before the CONNECT is
//! answered; [`on_connected`] hands over the queue, after that; [`Here`] sees to what is left when the client goes. Answers
//! `ping` and `auth.refresh`. Knows nothing of transports.

#[cfg(test)]
mod course;

use std::{fmt, sync::Arc, time::Duration};

use axum::{Router, http::HeaderMap};
use serde_json::{json, value::RawValue};
use socketioxide::{
    ParserConfig, SocketIo,
    extract::{AckSender, SocketRef, TryData},
    handler::ConnectHandler,
    service::SocketIoService,
};
use tokio::runtime::Handle;

use super::{
    Connection, LEAVING, MAX_PAYLOAD_BYTES,
    acks::AckSetup,
    device::Device,
    membership::Connect,
    roster::{Room, Roster},
};
use crate::{
    auth::{
        Claims, Presented, TokenError, VerifyToken, find_token,
        session::{SessionError, VerifySession},
    },
    counts::COUNTS,
    frame::NAMESPACE,
    gate::Reason,
    grants::{Grant, Grants},
    mutex::Mutex,
    notifications::{Admission, NotificationsService},
    rules::Rules,
};

/// How long a connection may take to authenticate: below the 10 s of TRANS-09.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(7);

/// How many packets of its own the library keeps for a client. Events are not among them.
const BUFFERED_PACKETS: usize = 64;

/// How often a client is pinged, and how long it may take to answer, or to take something of what waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// `pingInterval`.
    pub interval: Duration,
    /// `pingTimeout`.
    pub timeout: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) }
    }
}

/// Why a client was not let in; goes to the client as it is written here (AUTH-21), and is counted in this order.
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
            TokenError::Invalid | TokenError::UnknownKey => Self::TokenInvalid,
            TokenError::Unavailable => Self::Unavailable,
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

/// All that it takes to say who is let in, and to let them in.
pub(crate) struct Door {
    pub(crate) tokens: Arc<dyn VerifyToken>,
    pub(crate) sessions: Arc<dyn VerifySession>,
    pub(crate) service: NotificationsService,
    pub(crate) rules: Arc<dyn Rules>,
    pub(crate) acks: AckSetup,
    pub(crate) grants: Grants,
    pub(crate) roster: Roster,
    pub(crate) devices_per_user: usize,
}

/// A client between `admit` and `on_connected`; the library's socket holds it.
type Pending = Arc<Mutex<Option<Guest>>>;

struct Guest {
    device: Arc<Device>,
    admission: Admission,
}

/// The Engine.IO service and the handle to its sockets. Nobody is let in before [`open`].
pub(crate) fn build(connect_timeout: Duration, heartbeat: Heartbeat) -> (SocketIoService<Router>, SocketIo) {
    let attachments = ParserConfig::common().max_incoming_binaries(10).max_incoming_binary_buf_size(MAX_PAYLOAD_BYTES);
    SocketIo::builder()
        .with_parser(attachments)
        .connect_timeout(connect_timeout)
        .ping_interval(heartbeat.interval)
        .ping_timeout(heartbeat.timeout)
        .max_buffer_size(BUFFERED_PACKETS)
        .max_payload(MAX_PAYLOAD_BYTES as u64)
        .ws_max_message_size(MAX_PAYLOAD_BYTES)
        .ws_max_frame_size(MAX_PAYLOAD_BYTES)
        .ws_read_buffer_size(512)
        .build_with_inner_svc(Router::new())
}

/// Opens the namespace (TRANS-05).
pub(crate) fn open(io: &SocketIo, door: Arc<Door>) {
    let host = door.clone();
    let on_connected = move |socket: SocketRef| {
        let door = host.clone();
        async move { on_connected(door, socket).await }
    };
    let admit = move |socket: SocketRef| {
        let door = door.clone();
        async move { admit(&door, &socket).await }
    };
    io.ns(NAMESPACE, on_connected.with(admit));
    let may_leave = async |socket: SocketRef| match connection_of(&socket) {
        Some(connection) if connection.was_evicted() => Ok(()),
        // What the library says of namespaces that do not exist.
        _ => Err("Invalid namespace"),
    };
    let leave = async |socket: SocketRef| connection_of(&socket).into_iter().for_each(|connection| connection.close());
    io.ns(LEAVING, leave.with(may_leave));
}

/// Before the CONNECT is answered: verifies, and only then touches the user's queue (AUTH-18 to AUTH-20).
async fn admit(door: &Arc<Door>, socket: &SocketRef) -> Result<(), Refusal> {
    // Every request comes by way of `transport`.
    let connection = connection_of(socket).ok_or(Refusal::Unavailable)?;
    let Connect { membership, payload } = connection.next_connect().await.ok_or(Refusal::Unavailable)?;
    let admitted = verify(door, socket, connection, membership, &Presented::read(&payload)).await;
    if let Err(refusal) = &admitted {
        tracing::debug!(%refusal, "a connection is refused");
        COUNTS.refused_connects[*refusal as usize].add(1);
        connection.leave(membership);
    }
    let guest = admitted?;
    COUNTS.accepted_connects.add(1);
    listen(door, socket, &guest.device);
    socket.extensions.insert::<Pending>(Arc::new(Mutex::new(Some(guest))));
    Ok(())
}

/// What a client may ask for. It may ask as soon as it has the answer to its CONNECT, so `on_connected` is too late for this.
fn listen(door: &Arc<Door>, socket: &SocketRef, device: &Arc<Device>) {
    let pong = door.rules.pong();
    socket.on("ping", async move |ack: AckSender| {
        // A client whose buffer is full will not miss the answer.
        ack.send(pong).ok();
    });
    let (door, device) = (door.clone(), device.clone());
    socket.on("auth.refresh", async move |TryData(event): TryData<Box<RawValue>>, ack: AckSender| {
        if !device.connection.may_refresh() {
            return;
        }
        // The library gives the event whole to whoever wants it as it is: its name, and then the token.
        let event = event.map(|event| {
            serde_json::from_str::<Vec<&RawValue>>(event.get())
                .unwrap_or_default()
                .get(1)
                .map(|token| Presented::read(token.get()))
        });
        let token = event.ok().flatten().unwrap_or_default();
        let answer = match door.refresh(&device, &token).await {
            Ok(()) => json!({"ok": true}),
            Err(refusal) => json!({"ok": false, "code": refusal.to_string()}),
        };
        ack.send(&answer).ok();
    });
}

async fn verify(
    door: &Door,
    socket: &SocketRef,
    connection: &Arc<Connection>,
    membership: u32,
    auth: &Presented,
) -> Result<Guest, Refusal> {
    let token = find_token(auth, &socket.req_parts().headers)?;
    let (user_id, grant) = door.verify(token, connection, |_| true).await?;
    let admitted = match auth.acknowledges {
        true => door.service.admit_acknowledging(&user_id).await,
        false => door.service.admit(&user_id).await,
    };
    let admission = admitted.map_err(|error| {
        tracing::warn!(%error, "a queue could not be read");
        Refusal::Unavailable
    })?;
    // Under the user's lock, so that none who come at once are overlooked.
    if door.roster.room(admission.room()).devices().len() >= door.devices_per_user {
        connection.refused(Reason::Devices);
        return Err(Refusal::Unavailable);
    }
    let acks = auth.acknowledges.then_some(&door.acks);
    Ok(Guest { device: Device::new(connection.clone(), membership, acks, grant, &admission), admission })
}

impl Door {
    /// Who a token speaks for, where that is somebody right, and a grant for what the connection rests on from now on.
    async fn verify(
        &self,
        token: &str,
        connection: &Arc<Connection>,
        right: impl FnOnce(&str) -> bool,
    ) -> Result<(String, Grant), Refusal> {
        let Claims { user_id, session_id } = match self.tokens.verify(token) {
            Err(TokenError::UnknownKey) => {
                self.tokens.look_again().await?;
                self.tokens.verify(token)?
            }
            claims => claims?,
        };
        if !right(&user_id) {
            return Err(Refusal::TokenInvalid);
        }
        // First, so that a revocation while the session is verified is not missed.
        let grant = self.grants.grant(&user_id, &session_id, self.tokens.ends_at_ms(token), connection);
        loop {
            let end = self.sessions.verify(&session_id, &user_id).await?;
            if grant.confirm(end) {
                return Ok((user_id, grant));
            }
        }
    }

    /// Lets a connection rest on a fresh token of the same user; the old one counts until then.
    async fn refresh(&self, device: &Device, token: &Presented) -> Result<(), Refusal> {
        let no_headers = HeaderMap::new();
        let token = find_token(token, &no_headers)?;
        let (_, grant) =
            self.verify(token, &device.connection, |user| self.rules.may_refresh(&device.user.id, user)).await?;
        device.renew(grant);
        Ok(())
    }
}

/// After the CONNECT was answered: joins the one room (ROOM-01), and hands over what was queued (QUEUE-09), while whatever
/// is emitted meanwhile waits for its turn (QUEUE-11). It is sent when the client has the answer.
async fn on_connected(door: Arc<Door>, socket: SocketRef) {
    let pending: Option<Pending> = socket.extensions.remove();
    let guest = pending.and_then(|it| it.lock().take());
    let Some(Guest { device, admission }) = guest else { return };
    let room = door.roster.room(admission.room());
    room.enter(device.clone());
    socket.extensions.insert(Arc::new(Here { service: door.service.clone(), room, device: device.clone() }));
    if !socket.connected() {
        return;
    }
    let (service, user) = (door.service.clone(), device.user.clone());
    let ask_store = Arc::new(move || service.catch_up_later(&user));
    device.hand_queue(admission, ask_store);
}

/// Goes with the library's socket, so that whatever ends that ends the device. A handler for it would not do: the library forgets
/// a socket only when its handler is done, and passes over the CONNECT of a client that has left and comes in again meanwhile.
struct Here {
    service: NotificationsService,
    room: Arc<Room>,
    device: Arc<Device>,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.device.leave();
        let Ok(runtime) = Handle::try_current() else { return };
        let (service, room, device) = (self.service.clone(), self.room.clone(), self.device.clone());
        runtime.spawn(async move {
            // What it was handed and its transport has not taken goes back; it stays in the room until that is done. Somebody else may have
            // taken it back by now, and the store not have it yet.
            service.reinsert_unsent(&device.user).await;
            room.leave(&device);
            device.end();
        });
    }
}

fn connection_of(socket: &SocketRef) -> Option<&Arc<Connection>> {
    socket.req_parts().extensions.get()
}
