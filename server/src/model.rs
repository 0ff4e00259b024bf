//! The words that all rooms share, and what a store promises them: queues, sessions, answers to repeated requests. Knows none of the
//! rooms.

mod answers;
mod queue;
mod secret;
mod session;
mod store;

pub use answers::{ANSWER_TTL, Answers, CLAIM_LASTS, Claim, Outcome};
pub use futures_util::future::BoxFuture;
pub use queue::{
    AT_A_TIME_BYTES, AckQueue, Backlog, EntryId, KEPT_AT_MOST, OfflineQueue, Queued, Returned, may_have_more,
};
pub use secret::Secret;
pub(crate) use session::now_ms;
pub use session::{Session, SessionStore};
pub use store::{Channel, Probe, StoreError};
