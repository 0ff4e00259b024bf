//! Queues on their way to plain clients: each is given to one device at a time, and leaves the store when that one was
//! sent it (SLOW-07, SLOW-08). Also removes single events that were stored because no device had room for them, and
//! taken later (`deliver_or_queue`). Knows nothing of how a client is reached.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{runtime::Handle, sync::mpsc, task::AbortHandle, time::timeout};
use uuid::Uuid;

use super::users::{Flight, User};
use crate::{
    model::{EntryId, Queue, Queued, Sent, StoreError},
    mutex::Mutex,
};

/// How long to wait before the store is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// How often other nodes are told that a queue is still on its way: several times in the time that they believe it.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// How long a queue that is asked for waits until what clients were sent of it is removed. Then whoever asks has to ask again.
const REMOVED_WITHIN: Duration = Duration::from_millis(500);

/// How many removals are gathered at most.
const AT_ONCE: usize = 1_024;

/// Called with a user whose queue is not on its way any more, be it delivered or not.
pub(crate) type Released = Box<dyn Fn(&Arc<User>) + Send + Sync>;

/// The queues that are on their way from this node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Drains(Arc<Inner>);

struct Inner {
    queue: Arc<dyn Queue>,
    released: OnceLock<Released>,
    removals: OnceLock<mpsc::UnboundedSender<Removal>>,
}

/// Of an event that was sent. It is under way until the flight is dropped.
struct Removal {
    user_id: Arc<str>,
    entry: EntryId,
    flight: Flight,
}

impl Drains {
    pub(crate) fn new(queue: Arc<dyn Queue>) -> Self {
        let (released, removals) = Default::default();
        Self(Arc::new(Inner { queue, released, removals }))
    }

    /// Has this called whenever a queue is on its way no more: another device may be owed it.
    pub(crate) fn on_release(&self, released: Released) {
        self.0.released.set(released).ok();
    }

    /// Reads a queue that nobody else is given meanwhile, on whatever node. `None` where somebody else is, or where it still has what a
    /// client was sent.
    pub(crate) async fn begin(&self, user: &Arc<User>) -> Result<Option<(Vec<Queued>, Drain)>, StoreError> {
        if timeout(REMOVED_WITHIN, user.removed()).await.is_err() {
            return Ok(None);
        }
        if !user.begins_to_drain() {
            return Ok(None);
        }
        // From here on it is released when this is dropped.
        let mut drain = Drain {
            drains: self.clone(),
            user: user.clone(),
            name: Uuid::new_v4(),
            ids: Vec::new(),
            stage: Stage::Asking,
            renewal: None,
        };
        let Some(entries) = self.0.queue.drain(&user.id, drain.name).await? else {
            drain.stage = Stage::Nothing;
            return Ok(None);
        };
        drain.ids = entries.iter().map(|entry| entry.id).collect();
        drain.stage = if entries.is_empty() { Stage::Nothing } else { Stage::UnderWay };
        if !entries.is_empty() {
            let (queue, user, name) = (self.0.queue.clone(), user.clone(), drain.name);
            let renewal = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(RENEW_EVERY).await;
                    queue.renew_drain(&user.id, name).await;
                }
            });
            drain.renewal = Some(renewal.abort_handle());
        }
        Ok(Some((entries, drain)))
    }

    /// What is to be called when a transport has taken an event of a user's that was stored. Where somebody acknowledges by then, it
    /// stays.
    pub(crate) fn removes(&self, user: &Arc<User>, entry: EntryId) -> Sent {
        let (drains, user) = (self.clone(), user.clone());
        Arc::new(move || {
            if !user.clients.acknowledged() {
                drains.remove(&user, entry);
            }
        })
    }

    /// Removes an entry, and does not wait. Many at a time go in one step.
    fn remove(&self, user: &Arc<User>, entry: EntryId) {
        let sender = self.0.removals.get_or_init(|| {
            let (sender, removals) = mpsc::unbounded_channel();
            tokio::spawn(remove_gathered(self.0.queue.clone(), removals));
            sender
        });
        // The task ends with the runtime, and everything else then, too.
        sender.send(Removal { user_id: user.id.clone(), entry, flight: user.removes() }).ok();
    }
}

async fn remove_gathered(queue: Arc<dyn Queue>, mut removals: mpsc::UnboundedReceiver<Removal>) {
    let mut gathered = Vec::new();
    while removals.recv_many(&mut gathered, AT_ONCE).await > 0 {
        let mut by_user: HashMap<Arc<str>, (Vec<EntryId>, Vec<Flight>)> = HashMap::new();
        for Removal { user_id, entry, flight } in gathered.drain(..) {
            let (ids, flights) = by_user.entry(user_id).or_default();
            ids.push(entry);
            flights.push(flight);
        }
        for (user_id, (ids, _flights)) in by_user {
            remove(&*queue, &user_id, &ids, None).await;
        }
    }
}

/// Until the store has done it: what is left in it would be delivered again.
async fn remove(queue: &dyn Queue, user_id: &str, ids: &[EntryId], drain: Option<Uuid>) {
    while let Err(error) = queue.remove(user_id, ids, drain).await {
        tracing::warn!(%error, events = ids.len(), "delivered events could not be removed from a queue yet");
        tokio::time::sleep(RETRY).await;
    }
}

/// A queue that was read to be handed over. Released when it is dropped.
pub(crate) struct Drain {
    drains: Drains,
    user: Arc<User>,
    /// Names it among all drains of all nodes.
    name: Uuid,
    ids: Vec<EntryId>,
    stage: Stage,
    renewal: Option<AbortHandle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The store may have noted it.
    Asking,
    /// There is nothing to be handed over.
    Nothing,
    UnderWay,
    Removed,
}

impl Drain {
    /// It was handed over: removes it. Where somebody acknowledges by now, it was no delivery, and stays (ACK-16).
    pub(crate) async fn complete(mut self) {
        if self.stage != Stage::UnderWay || self.user.clients.acknowledged() {
            return;
        }
        remove(&*self.drains.0.queue, &self.user.id, &self.ids, Some(self.name)).await;
        self.stage = Stage::Removed;
    }

    /// What is to be called when the transport has taken it.
    pub(crate) fn when_sent(self) -> Sent {
        let drain = Mutex::new(Some(self));
        Arc::new(move || {
            let drain = drain.lock().take();
            if let (Some(drain), Ok(runtime)) = (drain, Handle::try_current()) {
                runtime.spawn(drain.complete());
            }
        })
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
        // Without a runtime nobody waits for it.
        let (Stage::Asking | Stage::UnderWay | Stage::Removed, Ok(runtime)) = (self.stage, Handle::try_current())
        else {
            self.user.drains_no_more();
            return;
        };
        let (drains, user, name) = (self.drains.clone(), self.user.clone(), self.name);
        let is_noted = self.stage != Stage::Removed;
        runtime.spawn(async move {
            if is_noted {
                drains.0.queue.release(&user.id, name).await;
            }
            user.drains_no_more();
            if let Some(released) = drains.0.released.get() {
                released(&user);
            }
        });
    }
}
