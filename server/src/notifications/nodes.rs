//! The service among other nodes: what it routes to them, and what it does for them.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Delivery, Haste, Inner, NotificationsService, Outcomes, Outgoing, WAITS_FOR_ROOM, deliver_some, receipt, refused,
    users::{User, UserGuard},
};
use crate::{
    cluster::{Arrived, Peers},
    model::{EntryId, Sent, StoreError},
};

/// How long a connect waits for other clients of the user to take the stored events that they were handed.
const LANDING: Duration = Duration::from_millis(150);

impl Inner {
    /// Stores events and has every node where the recipient is hand them over, this one included, by
    /// [`NotificationsService::receive`]. Where the store fails and the recipient may be on this node only
    /// (`may_be_alone`), they are handed over here. They are not stored once more: the store may have them.
    pub(super) async fn route(
        &self,
        peers: &dyn Peers,
        lock: UserGuard,
        events: &[Outgoing],
        may_be_alone: bool,
    ) -> Outcomes {
        let payloads: Vec<&str> = events.iter().map(Outgoing::json).collect();
        let user = lock.user.clone();
        let routed = match self.reinsert(&user).await {
            Ok(()) => peers.route(&user.id, &payloads).await,
            Err(error) => Err(error),
        };
        match routed {
            Ok(taken) => {
                // This node hands them over as well, and needs the lock for that. And two nodes with the locks of one
                // user would wait for each other.
                drop(lock);
                let taken = taken.await;
                events.iter().zip(taken).map(|(event, taken)| Ok(receipt(event, Delivery::of(taken)))).collect()
            }
            Err(error) => {
                let has_them = matches!(error, StoreError::NotCopied);
                let (mut outcomes, left) = match may_be_alone && !has_them {
                    true => deliver_some(&*user.clients, events).await,
                    false => (Vec::new(), events),
                };
                if !left.is_empty() {
                    tracing::warn!(%error, events = left.len(), "events could not be routed");
                    outcomes.extend(refused(left, error.into()));
                }
                outcomes
            }
        }
    }

    /// Completes when the stored events that plain clients here have taken are out of the queue, which would be handed
    /// to the next client else; or when a client takes too long. Under the lock, so that nothing is added.
    pub(super) async fn clear(&self, user: &User) {
        if let Some(peers) = &self.peers {
            timeout(LANDING, user.landed()).await.ok();
            peers.flush(&user.id).await;
        }
    }

    /// Offers a stored event to the clients of a room. Where nobody acknowledges, it is removed once one was sent it.
    fn hand_stored(&self, user: &Arc<User>, event: &Outgoing, entry: EntryId, acknowledged: bool) -> bool {
        user.has_queued([entry]);
        let sent = self.peers.as_ref().filter(|_| !acknowledged).map(|peers| -> Sent {
            let (peers, user, flight) = (peers.clone(), user.clone(), user.takes_off());
            Arc::new(move || {
                // Lives as long as this closure, which the last connection lets go of when it has sent the event, or
                // never will.
                let _ = &flight;
                peers.remove(&user.id, entry);
            })
        });
        user.clients.deliver_stored(event, entry, sent, Haste::Now)
    }
}

impl NotificationsService {
    /// Hands over what was stored and handed to this node; for each event, whether a client has it.
    pub(crate) async fn receive(&self, user_id: &str, events: Vec<Arrived>) -> Vec<bool> {
        let lock = self.0.users.get(user_id).lock().await;
        let deadline = Instant::now() + WAITS_FOR_ROOM;
        let mut taken = Vec::with_capacity(events.len());
        for Arrived { entry, payload, acknowledged } in events {
            // Where there is none, it stays in the store; whoever is behind is given it from there.
            timeout_at(deadline, lock.user.clients.waits_for_room()).await.ok();
            taken.push(match Outgoing::read(payload.get()) {
                Some(event) => self.0.hand_stored(&lock.user, &event, entry, acknowledged),
                None => false,
            });
        }
        taken
    }

    /// Completes when whatever was begun for a user is done, and what was not sent to clients that are gone is queued.
    pub(crate) async fn settle(&self, user_id: &str) {
        match self.enter(user_id).await {
            Ok(lock) => self.0.clear(&lock.user).await,
            Err(error) => tracing::warn!(%error, "unsent events could not be queued yet"),
        }
    }

    /// Hands over what was missed, to each client what it was not given yet.
    pub(crate) async fn catch_up(&self, user_id: &str) -> Result<(), StoreError> {
        let Some(peers) = &self.0.peers else { return Ok(()) };
        let lock = self.enter(user_id).await?;
        let acknowledged = lock.user.clients.acknowledged();
        for entry in peers.missed(user_id).await? {
            // Damaged ones are told and removed by the next drain.
            if let Some(event) = Outgoing::read(&entry.payload) {
                self.0.hand_stored(&lock.user, &event, entry.id, acknowledged);
            }
        }
        Ok(())
    }
}
