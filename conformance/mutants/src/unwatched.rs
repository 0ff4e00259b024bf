//! socketioxide as it comes out of the box, with the server's door but without the server's watch over transports.

use std::sync::{Arc, OnceLock};

use axum::Router;
use notify_server::{event::Outgoing, notifications::Deliver, store::BoxFuture};
use socketioxide::SocketIo;

/// Delivers to the sockets of an engine that is made later.
#[derive(Clone, Default)]
pub(crate) struct Late(Arc<OnceLock<SocketIo>>);

impl Late {
    /// Puts a plain engine before the routes, and returns the handle to its sockets.
    pub(crate) fn put_before(&self, router: Router) -> (Router, SocketIo) {
        let (layer, io) = SocketIo::new_layer();
        self.0.set(io.clone()).ok();
        (router.layer(layer), io)
    }
}

impl Deliver for Late {
    fn deliver<'a>(&'a self, room: &'a str, event: &'a Outgoing) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let namespace = self.0.get().and_then(|io| io.of("/notifications"));
            let sockets = namespace.map(|it| it.within(room.to_owned()).sockets()).unwrap_or_default();
            // All of them are offered it, whoever takes it first.
            sockets
                .iter()
                .map(|socket| socket.emit(event.event_type.name(), &*event.json).is_ok())
                .fold(false, |a, b| a | b)
        })
    }
}
