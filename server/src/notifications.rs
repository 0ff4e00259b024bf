//! The injectable service: emits events to whoever is connected, and queues them for whoever is not. Knows nothing of
//! HTTP or Socket.IO.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    admission::Admission,
    event::{Draft, EventType, Outgoing},
    queue::OfflineQueue,
    rules::Rules,
    store::{BoxFuture, StoreError},
    turns::Turns,
};

/// Hands an event to the connected clients of a room.
pub trait Deliver: Send + Sync + 'static {
    /// True where at least one client of the room has taken the event (ROOM-06: each of them is offered it).
    fn deliver<'a>(&'a self, room: &'a str, event: &'a Outgoing) -> BoxFuture<'a, bool>;
}

/// How an accepted event reached its recipient (EMIT-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// It was handed to a connected client.
    Live,
    /// It is in the queue.
    Queued,
}

/// The answer to an event that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The id in the payload.
    pub event_id: Uuid,
    /// How it went.
    pub delivery: Delivery,
}

/// An event could be neither delivered nor queued (EMIT-07).
#[derive(Debug, thiserror::Error)]
#[error("the event could be neither delivered nor queued")]
pub struct EmitError(#[from] pub StoreError);

/// Some of a batch could be neither delivered nor queued.
#[derive(Debug, thiserror::Error)]
#[error("part of the batch could be neither delivered nor queued")]
pub struct BatchError {
    /// What was accepted all the same, by its place in the batch.
    pub accepted: Vec<(usize, Receipt)>,
    /// Why the rest was not.
    #[source]
    pub source: StoreError,
}

/// Emits notifications. Cheap to clone; take it as axum `State` or `Extension`.
#[derive(Clone)]
pub struct NotificationsService(Arc<Inner>);

struct Inner {
    rules: Arc<dyn Rules>,
    queue: Arc<dyn OfflineQueue>,
    deliver: Arc<dyn Deliver>,
    turns: Turns,
}

impl NotificationsService {
    /// A service that delivers and queues by these.
    pub fn new(rules: Arc<dyn Rules>, queue: Arc<dyn OfflineQueue>, deliver: Arc<dyn Deliver>) -> Self {
        Self(Arc::new(Inner { rules, queue, deliver, turns: Turns::new() }))
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
    #[expect(clippy::missing_panics_doc, reason = "one event has one outcome")]
    pub async fn emit(&self, draft: Draft) -> Result<Receipt, EmitError> {
        let (recipient, event) = self.prepare(draft);
        let mut outcomes = self.hand_over(&recipient, vec![(0, event)]).await;
        let (_, outcome) = outcomes.pop().expect("there is one outcome for one event");
        Ok(outcome?)
    }

    /// Emits many events: in their order for each recipient, side by side for different ones (EMIT-03).
    ///
    /// # Errors
    /// Where some could be neither delivered nor queued; the error tells which were.
    pub async fn emit_batch(&self, drafts: Vec<Draft>) -> Result<Vec<Receipt>, BatchError> {
        let mut by_recipient: HashMap<String, Vec<(usize, Outgoing)>> = HashMap::new();
        for (place, draft) in drafts.into_iter().enumerate() {
            let (recipient, event) = self.prepare(draft);
            by_recipient.entry(recipient).or_default().push((place, event));
        }
        let handed =
            by_recipient.into_iter().map(|(recipient, events)| async move { self.hand_over(&recipient, events).await });
        let mut accepted = Vec::new();
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

    /// Lets a verified user in: from here until [`Admission::welcome`] nothing else happens to the user, so that whatever
    /// is emitted meanwhile comes after what was queued (QUEUE-11) and is neither lost nor doubled.
    ///
    /// # Errors
    /// Where the queue cannot be read. The client has to be refused then: were it let in, what is queued would lie there
    /// until the next connect, and could grow too old.
    pub async fn admit(&self, user_id: &str) -> Result<Admission, StoreError> {
        let turn = self.0.turns.take(user_id).await;
        let queued = self.0.queue.read(user_id).await?;
        let room = self.0.rules.room(user_id);
        Ok(Admission::new(room, user_id, queued, self.0.queue.clone(), turn))
    }

    fn prepare(&self, draft: Draft) -> (String, Outgoing) {
        let recipient = self.0.rules.recipient(&draft).to_owned();
        (recipient, self.0.rules.payload(draft).into())
    }

    async fn hand_over(
        &self,
        recipient: &str,
        events: Vec<(usize, Outgoing)>,
    ) -> Vec<(usize, Result<Receipt, StoreError>)> {
        let _turn = self.0.turns.take(recipient).await;
        let room = self.0.rules.room(recipient);
        let (mut outcomes, mut left) = (Vec::with_capacity(events.len()), Vec::new());
        for (place, event) in events {
            // Once one had to be queued, those after it follow it there, or they would overtake it.
            if left.is_empty() && self.0.deliver.deliver(&room, &event).await {
                outcomes.push((place, Ok(receipt(&event, Delivery::Live))));
            } else {
                left.push((place, event));
            }
        }
        if !left.is_empty() {
            let payloads: Vec<&str> = left.iter().map(|(_, event)| event.json.get()).collect();
            match self.0.queue.append(recipient, &payloads).await {
                Ok(()) => {
                    outcomes.extend(left.iter().map(|(place, event)| (*place, Ok(receipt(event, Delivery::Queued)))))
                }
                Err(error) => {
                    tracing::warn!(%error, events = left.len(), "events could not be queued");
                    outcomes.push((left[0].0, Err(error)));
                }
            }
        }
        outcomes
    }
}

fn receipt(event: &Outgoing, delivery: Delivery) -> Receipt {
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
        metadata: metadata.into().unwrap_or_default(),
    }
}
