//! The sockets of this process, as the service sees them: by room.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use socketioxide::{SocketIo, extract::SocketRef};
use tokio::time::timeout;

use crate::{
    device::Device,
    event::{Outgoing, Sent},
    keeper::Acknowledging,
    notifications::{Deliver, NotificationsService, Unsent},
    queue::EntryId,
    roster::{Entry, Roster},
    store::BoxFuture,
    wire::{NAMESPACE, outbox::Shared},
};

/// Delivers to the sockets of this process, one by one rather than by room: a room would not tell who has taken it.
pub(crate) struct Sockets {
    io: SocketIo,
    roster: Roster,
    acknowledging: Acknowledging,
    /// Counts what is handed over, so that it can be put in order again.
    handed: AtomicU64,
}

impl Sockets {
    pub(crate) fn new(io: SocketIo, roster: Roster, acknowledging: Acknowledging) -> Self {
        Self { io, roster, acknowledging, handed: AtomicU64::new(0) }
    }

    fn sockets(&self, room: &str) -> Vec<SocketRef> {
        // The namespace is gone once the server closes.
        self.io.of(NAMESPACE).map(|namespace| namespace.within(room.to_owned()).sockets()).unwrap_or_default()
    }

    /// An event that these are about to be handed, which no store has. Only within the user's turn: nobody is given anything else
    /// meanwhile.
    fn shared(&self, event: &Outgoing, here: &[Entry]) -> Arc<Shared> {
        let after = here.iter().map(|entry| entry.device.newest()).max().unwrap_or_default();
        Shared::new(event.clone(), self.handed.fetch_add(1, Ordering::Relaxed), after)
    }
}

/// One that another door than ours has let in is handed what its buffer takes.
fn hand(socket: &SocketRef, event: &Outgoing) -> bool {
    socket.emit(event.event_type.name(), &*event.json).is_ok()
}

/// How long a client may take, when all are closed, to be sent what it was handed before.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Closes all sockets once they have sent what they were handed, and queues what they have not sent in time; false where that
/// took longer than it may.
pub(crate) async fn close(io: &SocketIo, roster: &Roster, service: &NotificationsService, within: Duration) -> bool {
    let here = roster.all();
    // While the namespace is still there: whatever is emitted meanwhile finds there what has to be queued before it.
    // The store may be away, and what could have been sent would be lost.
    join_all(here.iter().map(async |entry| entry.device.wire.close_when_sent(FLUSH_TIMEOUT).await)).await;
    let users: HashSet<&str> = here.iter().map(|entry| &*entry.device.user_id).collect();
    let queued = users.into_iter().map(async |user_id| service.take_back(user_id).await);
    let queued = timeout(within, join_all(queued)).await.is_ok();
    // Those that are on their way in; the library calls no handler of those that it closes here.
    timeout(within, io.close()).await.is_ok() && queued
}

fn in_order(mut events: Vec<Arc<Shared>>) -> Vec<Unsent> {
    events.sort_by_key(|event| event.order);
    events.into_iter().map(|shared| Unsent { event: shared.event.clone(), after: shared.after }).collect()
}

impl Deliver for Sockets {
    fn deliver<'a>(&'a self, room: &'a str, event: &'a Outgoing) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let sockets = self.sockets(room);
            if sockets.is_empty() {
                return false;
            }
            let event = self.shared(event, &self.roster.of(room));
            any(sockets.iter().map(async |socket| match socket.extensions.get::<Arc<Device>>() {
                Some(device) => device.offer(socket, &event).await,
                None => hand(socket, &event.event),
            }))
            .await
        })
    }

    fn deliver_at_once(&self, room: &str, event: &Outgoing) -> bool {
        let here = self.roster.of(room);
        // All or nobody: who was left out could be overtaken by the next event.
        if here.is_empty() || !here.iter().all(|entry| entry.device.waits_for_nothing()) {
            return false;
        }
        let event = self.shared(event, &here);
        here.iter().filter(|entry| entry.device.offer_at_once(&entry.socket, &event)).count() > 0
    }

    fn acknowledged(&self, room: &str) -> bool {
        let acknowledges = |device: &Device| device.acknowledges() && !device.wire.has_departed();
        self.acknowledging.any() && self.roster.of(room).iter().any(|entry| acknowledges(&entry.device))
    }

    fn deliver_kept<'a>(&'a self, room: &'a str, event: &'a Outgoing, entry: EntryId) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let sockets = self.sockets(room);
            any(sockets.iter().map(async |socket| match socket.extensions.get::<Arc<Device>>() {
                Some(device) => device.offer_kept(socket, event, entry).await,
                None => hand(socket, event),
            }))
            .await
        })
    }

    fn deliver_stored<'a>(
        &'a self,
        room: &'a str,
        event: &'a Outgoing,
        entry: EntryId,
        sent: Sent,
    ) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let sockets = self.sockets(room);
            any(sockets.iter().map(async |socket| match socket.extensions.get::<Arc<Device>>() {
                Some(device) => device.offer_stored(socket, event, entry, &sent).await,
                None => {
                    let handed = hand(socket, event);
                    if handed {
                        sent();
                    }
                    handed
                }
            }))
            .await
        })
    }

    fn take_unsent(&self, room: &str) -> Vec<Unsent> {
        let here = self.roster.of(room);
        let gone = here.iter().filter(|entry| entry.device.wire.has_departed() || !entry.socket.connected());
        in_order(gone.flat_map(|entry| entry.device.wire.close_and_take_unsent()).collect())
    }
}

/// Side by side, so that one that does not read keeps no other waiting.
async fn any(offers: impl Iterator<Item = impl Future<Output = bool>>) -> bool {
    join_all(offers).await.contains(&true)
}
