//! Delivery, remembered answers and health with one thing wrong.

use std::sync::Arc;

use notify_server::{
    event::Outgoing,
    idempotency::Answers,
    notifications::Deliver,
    store::{BoxFuture, Probe, StoreError},
};

/// What is wrong with the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Handed over, and queued as well.
    QueuedAsWell,
    /// Counts as handed over though nobody is there.
    NobodyIsEnough,
    /// Never handed over; the queue has to do.
    NeverLive,
    /// Handed over twice.
    Twice,
}

/// A delivery with a fault.
pub(crate) struct Faulty {
    pub(crate) deliver: Arc<dyn Deliver>,
    pub(crate) fault: Fault,
}

impl Deliver for Faulty {
    fn deliver<'a>(&'a self, room: &'a str, event: &'a Outgoing) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            if self.fault == Fault::NeverLive {
                return false;
            }
            let taken = self.deliver.deliver(room, event).await;
            match self.fault {
                Fault::QueuedAsWell => false,
                Fault::NobodyIsEnough => true,
                Fault::Twice => self.deliver.deliver(room, event).await || taken,
                Fault::NeverLive => taken,
            }
        })
    }
}

/// Remembers no answer, so that a repeated request emits again.
pub(crate) struct NoMemory;

impl Answers for NoMemory {
    fn answer<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn keep_answer<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Says that the store answers, whatever it does.
pub(crate) struct AlwaysReady;

impl Probe for AlwaysReady {
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
