//! The injectable service: emits events to whoever is connected, and queues them for whoever is not. Knows nothing of
//! HTTP or Socket.IO: clients are behind [`Deliver`], other nodes behind [`Peers`].
//!
//! An event first tries the fast path (`fast_path`), which waits for nothing. Else `hand_over_locked` takes the user's
//! lock and chooses one of three ways: `deliver_or_queue`, `keep_and_deliver`, and `route` (in `nodes`). A connect is
//! `admit`, which returns an [`Admission`] with the queue and the lock (`admission`); the end of a connection is
//! `reinsert_unsent`. `users` has what is known of each user, `drains` the queues that are on their way to plain clients.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::{
    cluster::{Destination, Peers, Presence},
    counts::{COUNTS, Outcome},
    model::{Backlog, Draft, EntryId, EventType, Outgoing, Queue, Queued, Reinserted, Sent, StoreError, may_have_more},
    rules::Rules,
};

mod admission;
mod drains;
mod fast_path;
mod nodes;
mod users;

use admission::HandingOver;
pub use admission::{Admission, Loss};
use drains::Drains;
pub(crate) use fast_path::Emission;
pub(crate) use users::User;
use users::{UserGuard, Users};

/// Hands events to the connected clients of one room. A client that reads slowly is given later what it has no room for.
#[async_trait]
pub trait Deliver: Send + Sync + 'static {
    /// Offers an event that is in no store to each client of the room (ROOM-06). True where at least one has taken it:
    /// then those that are behind are given it later. Else the event has to be stored, and then offered by
    /// [`Deliver::deliver_stored`].
    fn deliver(&self, event: &Outgoing, haste: Haste) -> bool;

    /// Completes with true when some client of the room has room for an event, and with false where none will soon.
    async fn waits_for_room(&self) -> bool;

    /// Whether some client of the room acknowledges. Then an event is stored before it is handed over.
    fn acknowledged(&self) -> bool;

    /// The same as [`Deliver::deliver`] for an event that is stored, as `entry`. It stays in the store until a client
    /// has acknowledged it; or, where there is `sent`, until a transport has taken it and calls that. Whoever is behind
    /// is given it later.
    fn deliver_stored(&self, event: &Outgoing, entry: EntryId, sent: Option<Sent>, haste: Haste) -> bool;

    /// Takes back what clients of the room that are gone were handed and nobody was sent, in its order.
    fn take_unsent(&self) -> Vec<Unsent>;

    /// Notes that these are in the queue, and that none of the clients who are here was handed them: they ask for them
    /// ([`Deliver::asks_store`]) once they have taken all else.
    fn came_back(&self, events: &[Unsent]);

    /// Notes whether the queue that is owed to plain clients of the room is free, and on its way to nobody any more: then it comes before
    /// what they have missed since.
    fn owed_is_free(&self, is_free: bool);

    /// Whether some clients of the room have taken all that they were handed, while the store has more for them; then
    /// the entry of the queue behind which it has what any of these was not given.
    fn asks_store(&self) -> Option<EntryId>;

    /// Gives the clients that ask for nothing that is not `behind` this entry what they have not been given of what the store has there,
    /// for users of whom somebody acknowledges.
    fn give_kept(&self, backlog: &Backlog, behind: EntryId);

    /// Gives one of the clients that ask what it has not been given of this queue, which may have `more`; `sent` is to be called when its
    /// transport has taken it.
    fn give_queue(&self, entries: &[Queued], more: bool, sent: Sent);
}

/// Gives, for the name of a room, what delivers to its clients: the same for as long as somebody has hold of it.
pub type Rooms = Box<dyn Fn(&str) -> Arc<dyn Deliver> + Send + Sync>;

/// When what was handed over is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// By whoever hands it over, where nobody is about to.
    Now,
    /// Soon after, with whatever else is handed over until then.
    Soon,
}

/// An event that was accepted, and that nobody was sent.
#[derive(Debug, Clone)]
pub struct Unsent {
    /// The event.
    pub event: Outgoing,
    /// The newest entry of the queue when it was handed over.
    pub after: EntryId,
    /// Greater than that of any event that was handed over earlier ([`Reinserted::number`]).
    pub number: u64,
}

/// How long an emitter waits while something else happens to the recipient, and how many do for one user (SLOW-11).
const WAITS_FOR_USER: Duration = Duration::from_secs(15);
const MAX_WAITING_FOR_USER: usize = 512;

/// How long events wait, all together, for room at a client that has none and takes what it was handed. Then they are queued.
const WAITS_FOR_ROOM: Duration = Duration::from_millis(200);

/// How long to wait before unsent events are queued again where the store does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// How an accepted event reached its recipient (EMIT-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// It was handed to a connected client.
    Live,
    /// It is in the queue.
    Queued,
}

impl Delivery {
    fn of(is_live: bool) -> Self {
        if is_live { Self::Live } else { Self::Queued }
    }
}

/// The answer to an event that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The id in the payload.
    pub event_id: Uuid,
    /// How it went.
    pub delivery: Delivery,
}

/// An event was neither delivered nor queued (EMIT-07).
#[derive(Debug, Clone, thiserror::Error)]
pub enum EmitError {
    /// The store could not do its part.
    #[error("the event could be neither delivered nor queued")]
    Store(#[from] StoreError),
    /// Too much else is being done for its recipient. It may be tried again.
    #[error("too much is being done for this recipient")]
    Busy,
}

/// Some of a batch were neither delivered nor queued.
#[derive(Debug, thiserror::Error)]
#[error("part of the batch could be neither delivered nor queued")]
pub struct BatchError {
    /// What was accepted all the same, by its place in the batch.
    pub accepted: Vec<(usize, Receipt)>,
    /// Why the rest was not.
    #[source]
    pub source: EmitError,
}

/// Emits notifications. Cheap to clone; take it as axum `State` or `Extension`.
#[derive(Clone)]
pub struct NotificationsService(Arc<Inner>);

struct Inner {
    rules: Arc<dyn Rules>,
    queue: Arc<dyn Queue>,
    /// Where there are other nodes.
    peers: Option<Arc<dyn Peers>>,
    users: Users,
    drains: Drains,
}

impl NotificationsService {
    /// A service that delivers and queues by these.
    pub fn new(rules: Arc<dyn Rules>, queue: Arc<dyn Queue>, rooms: Rooms, peers: Option<Arc<dyn Peers>>) -> Self {
        let (users, drains) = (Users::new(rules.clone(), rooms), Drains::new(queue.clone()));
        let service = Self(Arc::new(Inner { rules, queue, peers, users, drains }));
        let inner = Arc::downgrade(&service.0);
        service.0.drains.on_release(Box::new(move |user| {
            if let Some(inner) = inner.upgrade() {
                user.clients.owed_is_free(true);
                if !user.tell_released() {
                    Self(inner).catch_up_later(user);
                }
            }
        }));
        service
    }

    /// Tells that a record was looked at.
    ///
    /// # Errors
    /// Where the event could be neither delivered nor queued.
    pub async fn emit_record_accessed(
        &self,
        actor_id: impl Into<String>,
        resource_id: impl Into<String>,
        metadata: impl Into<Option<Map<String, Value>>>,
    ) -> Result<Receipt, EmitError> {
        self.emit(draft(EventType::RecordAccessed, actor_id, resource_id, metadata)).await
    }

    /// Tells that access was given.
    ///
    /// # Errors
    /// Where the event could be neither delivered nor queued.
    pub async fn emit_access_granted(
        &self,
        actor_id: impl Into<String>,
        resource_id: impl Into<String>,
        metadata: impl Into<Option<Map<String, Value>>>,
    ) -> Result<Receipt, EmitError> {
        self.emit(draft(EventType::AccessGranted, actor_id, resource_id, metadata)).await
    }

    /// Tells that access was withdrawn.
    ///
    /// # Errors
    /// Where the event could be neither delivered nor queued.
    pub async fn emit_access_revoked(
        &self,
        actor_id: impl Into<String>,
        resource_id: impl Into<String>,
        metadata: impl Into<Option<Map<String, Value>>>,
    ) -> Result<Receipt, EmitError> {
        self.emit(draft(EventType::AccessRevoked, actor_id, resource_id, metadata)).await
    }

    /// Tells that a record was added.
    ///
    /// # Errors
    /// Where the event could be neither delivered nor queued.
    pub async fn emit_record_uploaded(
        &self,
        actor_id: impl Into<String>,
        resource_id: impl Into<String>,
        metadata: impl Into<Option<Map<String, Value>>>,
    ) -> Result<Receipt, EmitError> {
        self.emit(draft(EventType::RecordUploaded, actor_id, resource_id, metadata)).await
    }

    /// Emits one event. `Ok` is a promise: it was handed to a connected client or is in the queue.
    ///
    /// # Errors
    /// Where the event could be neither delivered nor queued.
    pub async fn emit(&self, draft: Draft) -> Result<Receipt, EmitError> {
        match self.try_emit(draft, Haste::Now) {
            Emission::Done(receipt) => Ok(receipt),
            Emission::Waits(prepared) => self.emit_prepared(prepared).await,
        }
    }

    /// Emits many events: in their order for each recipient, side by side for different ones (EMIT-03).
    ///
    /// # Errors
    /// Where some could be neither delivered nor queued; the error tells which were.
    pub async fn emit_batch(&self, drafts: Vec<Draft>) -> Result<Vec<Receipt>, BatchError> {
        let mut accepted = Vec::with_capacity(drafts.len());
        let mut waiting: HashMap<String, (Vec<usize>, Vec<Outgoing>)> = HashMap::new();
        for (place, draft) in drafts.into_iter().enumerate() {
            let (recipient, event) = self.prepare(draft);
            // Where one has to wait, those after it wait with it, or they would overtake it.
            match !waiting.contains_key(&recipient) && self.0.try_fast_path(&recipient, &event, Haste::Soon) {
                true => accepted.push((place, receipt(&event, Delivery::Live))),
                false => {
                    let (places, events) = waiting.entry(recipient).or_default();
                    places.push(place);
                    events.push(event);
                }
            }
        }
        let handed = waiting.into_iter().map(|(recipient, (places, events))| async move {
            places.into_iter().zip(self.hand_over(&recipient, &events).await)
        });
        let mut failure = None;
        for (place, outcome) in join_all(handed).await.into_iter().flatten() {
            match outcome {
                Ok(receipt) => accepted.push((place, receipt)),
                Err(error) => failure = Some(error),
            }
        }
        accepted.sort_by_key(|(place, _)| *place);
        match failure {
            None => Ok(accepted.into_iter().map(|(_, receipt)| receipt).collect()),
            Some(source) => Err(BatchError { accepted, source }),
        }
    }

    /// Lets a verified user in: from here until the queue was handed over nothing else happens to the user, so that whatever is emitted
    /// meanwhile comes after what was queued (QUEUE-11) and is neither lost nor doubled.
    ///
    /// # Errors
    /// Where the queue cannot be read. The client has to be refused then: were it let in, what is queued would lie there
    /// until the next connect, and could grow too old.
    pub async fn admit(&self, user_id: &str) -> Result<Admission, StoreError> {
        let presence = self.announce(user_id, false).await?;
        let lock = self.enter(user_id).await?;
        self.0.clear(&lock.user).await;
        // While another client acknowledges, handing over is not delivering.
        let (entries, handing_over) = match lock.user.clients.acknowledged() {
            true => (self.0.queue.read(user_id).await?, HandingOver::Keeps),
            false => match self.0.drains.begin(&lock.user).await? {
                Some((entries, drain)) => (entries, HandingOver::Delivers(drain)),
                None => (Vec::new(), HandingOver::IsOwed),
            },
        };
        let backlog = Backlog { entries, dropped: 0 };
        Ok(Admission::new(lock, backlog, handing_over, presence))
    }

    /// The same for a client that acknowledges.
    ///
    /// # Errors
    /// Where the queue cannot be read.
    pub async fn admit_acknowledging(&self, user_id: &str) -> Result<Admission, StoreError> {
        let presence = self.announce(user_id, true).await?;
        let lock = self.enter(user_id).await?;
        self.0.clear(&lock.user).await;
        let elsewhere = presence.as_ref().is_some_and(|presence| presence.acknowledged_elsewhere);
        let trim = !elsewhere && !lock.user.clients.acknowledged();
        let backlog = self.0.queue.backlog(user_id, EntryId::default(), trim).await?;
        Ok(Admission::new(lock, backlog, HandingOver::Keeps, presence))
    }

    /// Tells the other nodes, where there are any. Not under the lock: they wait for theirs.
    async fn announce(&self, user_id: &str, acknowledges: bool) -> Result<Option<Arc<Presence>>, StoreError> {
        match &self.0.peers {
            Some(peers) => Ok(Some(Arc::new(peers.enter(user_id, acknowledges).await?))),
            None => Ok(None),
        }
    }

    /// Takes the lock, and first queues what a connection that has just broken was not sent: this one may be its
    /// successor.
    async fn enter(&self, user_id: &str) -> Result<UserGuard, StoreError> {
        let lock = self.0.users.get(user_id).lock().await;
        self.0.reinsert(&lock.user).await?;
        Ok(lock)
    }

    /// Queues what clients that are gone were handed and nobody was sent. It was accepted, so this is tried until it
    /// succeeds.
    pub(crate) async fn reinsert_unsent(&self, user: &Arc<User>) {
        loop {
            {
                let _lock = user.lock().await;
                match self.0.reinsert(user).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(%error, "unsent events could not be queued yet"),
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// For clients that have taken all that they were handed, while the store holds more for them: has that read and
    /// handed over, by a task. Does not wait, and looks at no connection before it returns: it may be called by one
    /// that holds its own lock.
    pub(crate) fn catch_up_later(&self, user: &Arc<User>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if user.begins_to_catch_up() {
            let (service, user) = (self.clone(), user.clone());
            runtime.spawn(async move {
                loop {
                    service.catch_up_with_store(&user).await;
                    user.has_caught_up();
                    // Somebody may have asked just before.
                    let asks = user.clients.asks_store();
                    if asks.is_none() || !user.begins_to_catch_up() {
                        return;
                    }
                }
            });
        }
    }

    async fn catch_up_with_store(&self, user: &Arc<User>) {
        while user.clients.asks_store().is_some() {
            let outcome = {
                let _lock = user.lock().await;
                self.0.give(user).await
            };
            match outcome {
                Ok(true) => return,
                // It is on its way elsewhere. A node that dies tells nobody.
                Ok(false) => {
                    timeout(RETRY, user.released()).await.ok();
                }
                Err(error) => {
                    tracing::warn!(%error, "a client has to wait for what it has missed");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn prepare(&self, draft: Draft) -> (String, Outgoing) {
        let recipient = self.0.rules.recipient(&draft);
        (recipient, self.0.rules.payload(draft).into())
    }

    async fn hand_over(&self, recipient: &str, events: &[Outgoing]) -> Outcomes {
        let outcomes = self.hand_over_locked(recipient, events).await;
        for (event, _) in events.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_err()) {
            COUNTS.event(event.event_type, Outcome::Refused);
        }
        outcomes
    }

    async fn hand_over_locked(&self, recipient: &str, events: &[Outgoing]) -> Outcomes {
        let user = self.0.users.get(recipient);
        let Some(lock) = user.lock_within(WAITS_FOR_USER, MAX_WAITING_FOR_USER).await else {
            return refused(events, EmitError::Busy);
        };
        let acknowledged = user.clients.acknowledged();
        match self.0.peers.as_ref().map(|peers| (peers, peers.destination(recipient))) {
            None if acknowledged => self.0.keep_and_deliver(&user, events).await,
            None => self.0.deliver_or_queue(&user, events).await,
            Some((_, Destination::Here)) if !acknowledged => self.0.deliver_or_queue(&user, events).await,
            Some((peers, destination)) => {
                let may_be_alone = destination == Destination::Unsure && !acknowledged;
                self.0.route(&**peers, lock, events, may_be_alone).await
            }
        }
    }
}

/// What became of each event, in their order.
type Outcomes = Vec<Result<Receipt, EmitError>>;

/// What is done under the lock of a user.
impl Inner {
    /// For a user of whom nobody acknowledges: no store is asked where a client takes it.
    async fn deliver_or_queue(&self, user: &Arc<User>, events: &[Outgoing]) -> Outcomes {
        let (mut outcomes, left) = deliver_some(&*user.clients, events).await;
        if left.is_empty() {
            return outcomes;
        }
        let haste = haste(events);
        let payloads: Vec<&str> = left.iter().map(Outgoing::json).collect();
        match self.enqueue(user, &payloads).await {
            Ok(ids) => {
                for (event, entry) in left.iter().zip(ids) {
                    // For whoever is behind; and for whoever has caught up while the store was at work.
                    let sent = self.drains.removes(user, entry);
                    let live = user.clients.deliver_stored(event, entry, Some(sent), haste);
                    outcomes.push(Ok(receipt(event, Delivery::of(live))));
                }
            }
            Err(error) => {
                tracing::warn!(%error, events = left.len(), "events could not be queued");
                outcomes.extend(refused(left, error.into()));
            }
        }
        outcomes
    }

    /// For a user of whom somebody acknowledges: stored first, so that it is there until somebody has.
    async fn keep_and_deliver(&self, user: &User, events: &[Outgoing]) -> Outcomes {
        let payloads: Vec<&str> = events.iter().map(Outgoing::json).collect();
        let kept = match self.append(user, &payloads, true).await {
            Ok(ids) => ids,
            Err(error) => {
                tracing::warn!(%error, events = events.len(), "events could not be stored");
                return refused(events, error.into());
            }
        };
        let (haste, deadline) = (haste(events), Instant::now() + WAITS_FOR_ROOM);
        let mut outcomes = Vec::with_capacity(events.len());
        for (event, id) in events.iter().zip(kept) {
            // Whoever is behind is given it from the store.
            timeout_at(deadline, user.clients.waits_for_room()).await.ok();
            let live = user.clients.deliver_stored(event, id, None, haste);
            outcomes.push(Ok(receipt(event, Delivery::of(live))));
        }
        outcomes
    }

    /// Hands over what the store holds to the clients that ask for it. False where the queue is on its way to another device.
    async fn give(&self, user: &Arc<User>) -> Result<bool, StoreError> {
        self.reinsert(user).await?;
        // They may ask for what has just come back, too.
        let Some(behind) = user.clients.asks_store() else { return Ok(true) };
        if user.clients.acknowledged() {
            let backlog = self.queue.backlog(&user.id, behind, false).await?;
            user.has_queued(backlog.entries.last().map(|entry| entry.id));
            user.clients.give_kept(&backlog, behind);
            return Ok(true);
        }
        let begun = self.drains.begin(user).await;
        if !matches!(begun, Ok(Some(_))) {
            // Nothing that is live waits for it then.
            user.clients.owed_is_free(false);
        }
        let Some((entries, drain)) = begun? else { return Ok(false) };
        user.has_queued(entries.last().map(|entry| entry.id));
        user.clients.give_queue(&entries, may_have_more(&entries), drain.when_sent());
        user.clients.owed_is_free(false);
        Ok(true)
    }

    /// Puts back into the queue what was taken back from clients that are gone, then appends these, which are newer.
    async fn enqueue(&self, user: &Arc<User>, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.reinsert(user).await?;
        self.append(user, payloads, user.clients.acknowledged()).await
    }

    /// Appends these to the queue; their names there.
    async fn append(&self, user: &User, payloads: &[&str], acknowledged: bool) -> Result<Vec<EntryId>, StoreError> {
        let ids = match acknowledged {
            true => self.queue.keep(&user.id, payloads).await?,
            false => self.queue.append(&user.id, payloads).await?,
        };
        user.has_queued(ids.last().copied());
        if ids.len() == payloads.len() { Ok(ids) } else { Err(StoreError::Senseless) }
    }

    /// Puts back into the queue what was taken back from clients that are gone. Under the user's lock.
    async fn reinsert(&self, user: &Arc<User>) -> Result<(), StoreError> {
        let unsent = user.keep_unsent(user.clients.take_unsent());
        if unsent.is_empty() {
            return Ok(());
        }
        let events =
            unsent.iter().map(|it| Reinserted { payload: it.event.json(), after: it.after, number: it.number });
        self.queue.reinsert(&user.id, &events.collect::<Vec<_>>()).await?;
        COUNTS.reinserted.add(unsent.len() as u64);
        user.has_stored_unsent();
        // Whoever is here came later, or was handed it as well.
        user.clients.came_back(&unsent);
        Ok(())
    }
}

/// Hands events over for as long as a client takes them: how the first of them went, and what is left. Once one has to be queued,
/// those after it follow it there, or they would overtake it.
async fn deliver_some<'a>(clients: &dyn Deliver, events: &'a [Outgoing]) -> (Outcomes, &'a [Outgoing]) {
    let (haste, deadline) = (haste(events), Instant::now() + WAITS_FOR_ROOM);
    let (mut outcomes, mut left) = (Vec::with_capacity(events.len()), events);
    while let Some((event, behind)) = left.split_first() {
        if clients.deliver(event, haste) {
            outcomes.push(Ok(receipt(event, Delivery::Live)));
            left = behind;
        } else if !timeout_at(deadline, clients.waits_for_room()).await.unwrap_or(false) {
            break;
        }
    }
    (outcomes, left)
}

/// A single event is written at once. Several are written with each other, when all were handed over.
fn haste(events: &[Outgoing]) -> Haste {
    if events.len() == 1 { Haste::Now } else { Haste::Soon }
}

/// None of them was accepted.
fn refused(events: &[Outgoing], why: EmitError) -> Outcomes {
    vec![Err(why); events.len()]
}

fn receipt(event: &Outgoing, delivery: Delivery) -> Receipt {
    let outcome = if delivery == Delivery::Live { Outcome::Live } else { Outcome::Queued };
    COUNTS.event(event.event_type, outcome);
    tracing::debug!(event_id = %event.event_id, ?delivery, "accepted");
    Receipt { event_id: event.event_id, delivery }
}

fn draft(
    event_type: EventType,
    actor_id: impl Into<String>,
    resource_id: impl Into<String>,
    metadata: impl Into<Option<Map<String, Value>>>,
) -> Draft {
    Draft {
        event_type,
        actor_id: actor_id.into(),
        resource_id: resource_id.into(),
        metadata: metadata.into().unwrap_or_default().into(),
    }
}
