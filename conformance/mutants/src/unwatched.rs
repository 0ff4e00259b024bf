//! Delivery by the library's own rooms and buffers: for a door that is not the server's, and for socketioxide as it comes out of the
//! box, without the server's watch over transports.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use axum::Router;
use notify_server::{
    model::{Backlog, EntryId, Outgoing, Queued, Sent},
    notifications::{Deliver, Haste, Rooms, Unsent},
};
use serde_json::value::RawValue;
use socketioxide::SocketIo;

/// Delivers to the sockets of an engine that is made later.
#[derive(Clone, Default)]
pub(crate) struct Late(Arc<OnceLock<SocketIo>>);

impl Late {
    /// Delivers to the sockets of this engine.
    pub(crate) fn on(&self, io: &SocketIo) {
        self.0.set(io.clone()).ok();
    }

    /// Puts a plain engine before the routes, and returns the handle to its sockets.
    pub(crate) fn put_before(&self, router: Router) -> (Router, SocketIo) {
        let (layer, io) = SocketIo::new_layer();
        self.0.set(io.clone()).ok();
        (router.layer(layer), io)
    }

    /// Its rooms.
    pub(crate) fn rooms(self) -> Rooms {
        Box::new(move |name| Arc::new(Room { name: name.to_owned(), sockets: self.clone() }))
    }
}

/// A room of the library's.
struct Room {
    name: String,
    sockets: Late,
}

#[async_trait]
impl Deliver for Room {
    fn deliver(&self, event: &Outgoing, _: Haste) -> bool {
        let namespace = self.sockets.0.get().and_then(|io| io.of("/notifications"));
        let sockets = namespace.map(|it| it.within(self.name.clone()).sockets()).unwrap_or_default();
        let Ok(payload) = serde_json::from_str::<Box<RawValue>>(event.json()) else { return false };
        // All of them are offered it, whoever takes it first.
        sockets.iter().map(|socket| socket.emit(event.event_type.name(), &payload).is_ok()).fold(false, |a, b| a | b)
    }

    async fn waits_for_room(&self) -> bool {
        false
    }

    fn acknowledged(&self) -> bool {
        false
    }

    fn deliver_stored(&self, event: &Outgoing, _: EntryId, sent: Option<Sent>, haste: Haste) -> bool {
        let taken = self.deliver(event, haste);
        if let (true, Some(sent)) = (taken, sent) {
            sent();
        }
        taken
    }

    fn take_unsent(&self) -> Vec<Unsent> {
        Vec::new()
    }

    fn came_back(&self, _: &[Unsent]) {}

    fn owed_is_free(&self, _: bool) {}

    fn asks_store(&self) -> Option<EntryId> {
        None
    }

    fn give_kept(&self, _: &Backlog, _: EntryId) {}

    fn give_queue(&self, _: &[Queued], _: bool, _: Sent) {}
}
