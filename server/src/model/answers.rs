//! What is remembered of requests with an `Idempotency-Key` (EMIT-06), and where. Knows nothing of what they ask for.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;

/// How long an answer is kept (EMIT-06).
pub const ANSWER_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a claim holds that nobody renews, as that of a node that has died (CLUSTER-19).
pub const CLAIM_LASTS: Duration = Duration::from_secs(15);

/// What a key is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The work is the claimer's; with what was done of it before, where that was a part.
    Ours(Option<String>),
    /// Another node is at work.
    AtWork,
    /// It was done, with this answer.
    Answered(String),
    /// The key was used with another body.
    Another,
}

/// What became of a request that had claimed its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done, and answered so.
    Done(String),
    /// It was done in part, namely so. The rest is for whoever repeats it.
    Part(String),
    /// Nothing was done, so the key was not used.
    Nothing,
}

/// Where claims and outcomes are kept.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// Claims a key for a body, by its digest, in the name of a node. A node has its own claims for the asking: it orders its requests
    /// itself, so one that is left is of a request that is over.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn claim(&self, key: &str, by: Uuid, body: &str) -> Result<Claim, StoreError>;

    /// Lets a claim hold for [`CLAIM_LASTS`] from now.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn renew(&self, key: &str, by: Uuid) -> Result<(), StoreError>;

    /// Ends a claim, and keeps for [`ANSWER_TTL`] what was done. Where another node has the key by now it changes nothing.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    async fn settle(&self, key: &str, by: Uuid, body: &str, outcome: &Outcome) -> Result<(), StoreError>;
}
