//! The words that all rooms share: events, and what a store promises of queues, sessions and answers to repeated requests. Knows none of
//! the rooms, but for how an event is written (`frame`, `json`).

mod answers;
mod event;
mod queue;
mod secret;
mod session;
mod store;

pub use answers::{ANSWER_TTL, Answers, CLAIM_LASTS, Claim, Outcome};
pub use event::{Draft, EventType, Metadata, MetadataError, Outgoing, Payload, Sent};
pub use queue::{AT_A_TIME_BYTES, Backlog, EntryId, KEPT_AT_MOST, Queue, Queued, Reinserted, may_have_more};
pub use secret::Secret;
pub(crate) use session::now_ms;
pub use session::{Session, SessionStore};
pub use store::{Channel, StoreError};
