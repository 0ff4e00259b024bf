//! The clients of a room as the service sees them: [`Deliver`] over its devices. Also closes all clients of this process in the
//! end. Knows nothing of transports.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use futures_util::future::join_all;
use socketioxide::SocketIo;
use tokio::time::timeout;

use super::{
    connection::Offer,
    device::Device,
    outbox::Shared,
    roster::{Room, Roster},
};
use crate::{
    model::{Backlog, EntryId, Outgoing, Queued, Sent},
    notifications::{Deliver, Haste, NotificationsService, Unsent, User},
};

/// Among how many devices an event is written by whoever emits it. Where there are more, the flusher does it, and whatever else
/// is emitted meanwhile goes with it.
const FEW: usize = 4;

impl Room {
    /// An event that these are about to be handed, which no store has. Only under the user's lock: nobody is given anything else
    /// meanwhile.
    fn shared(&self, event: &Outgoing, here: &[Arc<Device>]) -> Arc<Shared> {
        // Whatever these were given of it: the queue may be on its way to another, and come back. All are the same user's.
        let after = here.first().map(|device| device.user.newest()).unwrap_or_default();
        let now = UNIX_EPOCH.elapsed().map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        Shared::new(event.clone(), self.number_from(now), after)
    }
}

fn haste(haste: Haste, here: &[Arc<Device>]) -> Haste {
    if here.len() > FEW { Haste::Soon } else { haste }
}

/// How long a client may take, when all are closed, to be sent what it was handed before.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Closes all connections once they have sent what they were handed, and queues what they have not sent in time; false where that
/// took longer than it may.
pub(crate) async fn close(io: &SocketIo, roster: &Roster, service: &NotificationsService, within: Duration) -> bool {
    let here = roster.all();
    // First what was handed over is sent, for the store may be away and could not take it back. The devices stay in the
    // roster until the rest is queued, so that what is emitted meanwhile is queued behind it.
    join_all(here.iter().map(async |device| device.connection.close_when_sent(FLUSH_TIMEOUT).await)).await;
    let users: HashMap<&str, &Arc<User>> = here.iter().map(|device| (&*device.user.id, &device.user)).collect();
    let queued = users.into_values().map(async |user| service.reinsert_unsent(user).await);
    let queued = timeout(within, join_all(queued)).await.is_ok();
    // Then those that were not handed their queue yet.
    timeout(within, io.close()).await.is_ok() && queued
}

fn in_order(mut events: Vec<Arc<Shared>>) -> Vec<Unsent> {
    events.sort_by_key(|event| event.number);
    events
        .into_iter()
        .map(|shared| Unsent { event: shared.event.clone(), after: shared.after, number: shared.number })
        .collect()
}

/// One by one rather than by a room of the library's, which would not tell who has taken it.
#[async_trait]
impl Deliver for Room {
    fn deliver(&self, event: &Outgoing, how: Haste) -> bool {
        let here = self.devices();
        if here.is_empty() {
            return false;
        }
        let (event, how) = (self.shared(event, &here), haste(how, &here));
        let (mut taken, mut behind) = (false, Vec::new());
        for device in here.iter() {
            match device.offer(&event, how) {
                Offer::Taken => taken = true,
                Offer::Behind => behind.push(device),
                Offer::Gone => {}
            }
        }
        // Where nobody has, the service stores it, and offers it again by `deliver_stored`.
        if taken {
            behind.into_iter().for_each(|device| device.miss(&event));
        }
        taken
    }

    async fn waits_for_room(&self) -> bool {
        poll_fn(|cx| {
            let mut outcome = Poll::Ready(false);
            for device in self.devices().iter() {
                match device.poll_room(cx) {
                    Poll::Ready(true) => return Poll::Ready(true),
                    Poll::Ready(false) => {}
                    Poll::Pending => outcome = Poll::Pending,
                }
            }
            outcome
        })
        .await
    }

    fn acknowledged(&self) -> bool {
        let acknowledges = |device: &Device| device.acknowledges() && !device.has_gone();
        self.somebody_acknowledges() && self.devices().iter().any(|device| acknowledges(device))
    }

    fn deliver_stored(&self, event: &Outgoing, entry: EntryId, sent: Option<Sent>, how: Haste) -> bool {
        let here = self.devices();
        let how = haste(how, &here);
        // All of them are offered it, whoever takes it first.
        here.iter().filter(|device| device.offer_stored(event, entry, sent.as_ref(), how)).count() > 0
    }

    fn take_unsent(&self) -> Vec<Unsent> {
        let here = self.devices();
        let gone = here.iter().filter(|device| device.has_gone());
        in_order(gone.flat_map(|device| device.take_unsent()).collect())
    }

    fn came_back(&self, events: &[Unsent]) {
        self.devices().iter().filter(|device| !device.has_gone()).for_each(|device| device.came_back(events));
    }

    fn owed_is_free(&self, is_free: bool) {
        self.devices().iter().for_each(|device| device.owed_is_free(is_free));
    }

    fn asks_store(&self) -> Option<EntryId> {
        self.devices().iter().filter(|device| device.asks_store()).map(|device| device.behind()).min()
    }

    fn give_kept(&self, backlog: &Backlog, behind: EntryId) {
        let here = self.devices();
        // Somebody may have begun to ask meanwhile, and for more.
        let asking = here.iter().filter(|device| device.asks_store() && device.behind() >= behind);
        asking.for_each(|device| device.give(backlog));
    }

    fn give_queue(&self, entries: &[Queued], more: bool, sent: Sent) {
        let here = self.devices();
        let asking = here.iter().filter(|device| device.asks_store() && !device.acknowledges());
        // Who has had the beginning is given the rest.
        if let Some(device) = asking.max_by_key(|device| device.is_behind()) {
            device.give_queue(entries, more, sent);
        }
    }
}
