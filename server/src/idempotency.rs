//! Requests that are repeated under the same `Idempotency-Key` (EMIT-06, EMIT-18, EMIT-19, CLUSTER-18). Knows nothing of HTTP.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    store::{BoxFuture, StoreError},
    turns::Turns,
};

/// How long an answer is kept (EMIT-06).
pub const ANSWER_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a claim holds that nobody renews, as that of a node that has died.
pub const CLAIM_LASTS: Duration = Duration::from_secs(15);

/// How often a claim is renewed while its request is at work.
const RENEWED_EVERY: Duration = Duration::from_secs(5);

/// How long a request waits for another that is at work under its key.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon another node's claim is looked at again, at first and later.
const LOOKED_AT_AFTER: Duration = Duration::from_millis(10);
const LOOKED_AT_EVERY: Duration = Duration::from_millis(200);

/// What a key is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The work is the claimer's.
    Ours,
    /// Another node is at work.
    AtWork,
    /// It was done, with this answer.
    Answered(String),
    /// The key was used with another body.
    Another,
}

/// Where claims and answers are kept.
pub trait Answers: Send + Sync + 'static {
    /// Claims a key for a body, by its digest, in the name of a node. A node has its own claims for the asking: it orders its requests
    /// itself, so one that is left is of a request that is over.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    fn claim<'a>(&'a self, key: &'a str, by: Uuid, body: &'a str) -> BoxFuture<'a, Result<Claim, StoreError>>;

    /// Lets a claim hold for [`CLAIM_LASTS`] from now.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    fn renew<'a>(&'a self, key: &'a str, by: Uuid) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Keeps an answer for [`ANSWER_TTL`] in the place of the claim.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    fn keep_answer<'a>(
        &'a self,
        key: &'a str,
        by: Uuid,
        body: &'a str,
        answer: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Gives a claim up, so that the key is free.
    ///
    /// # Errors
    /// Where the store cannot be asked.
    fn release<'a>(&'a self, key: &'a str, by: Uuid) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// A key with what it was sent with.
pub(crate) struct Keyed {
    key: String,
    body: String,
}

impl Keyed {
    /// Keeps of both what tells them apart.
    pub(crate) fn new(key: &str, body: &[u8]) -> Self {
        Self { key: digest(key.as_bytes()), body: digest(body) }
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Why a key does not let its request in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Another request is at work under it, and takes its time.
    AtWork,
    /// It was used with another body.
    Another,
}

/// Does a piece of work once for each key.
#[derive(Clone)]
pub(crate) struct Idempotency {
    answers: Arc<dyn Answers>,
    turns: Turns,
    node: Uuid,
}

impl Idempotency {
    pub(crate) fn new(answers: Arc<dyn Answers>) -> Self {
        Self { answers, turns: Turns::new(), node: Uuid::new_v4() }
    }

    /// The answer of the first time, or that of the work, which is then kept. Whoever comes with the same key meanwhile, here or at
    /// another node, waits for a while. A failure is not kept, so that it can be tried again.
    pub(crate) async fn once<E: From<StoreError> + From<Refused>>(
        &self,
        Keyed { key, body }: &Keyed,
        work: impl Future<Output = Result<String, E>>,
    ) -> Result<String, E> {
        let until = Instant::now() + PATIENCE;
        let _turn = self.turns.take_within(key, PATIENCE, usize::MAX).await.ok_or(Refused::AtWork)?;
        let mut pause = LOOKED_AT_AFTER;
        loop {
            match self.answers.claim(key, self.node, body).await? {
                Claim::Ours => break,
                Claim::Answered(answer) => return Ok(answer),
                Claim::Another => return Err(Refused::Another.into()),
                Claim::AtWork if Instant::now() + pause > until => return Err(Refused::AtWork.into()),
                // The other node tells nobody when it is done.
                Claim::AtWork => sleep(pause).await,
            }
            pause = (pause * 2).min(LOOKED_AT_EVERY);
        }
        let outcome = tokio::select! {
            outcome = work => outcome,
            never = self.renew(key) => match never {},
        };
        let noted = match &outcome {
            Ok(answer) => self.answers.keep_answer(key, self.node, body, answer).await,
            Err(_) => self.answers.release(key, self.node).await,
        };
        // What was emitted was emitted: to refuse now would invite the repetition that the key is to prevent.
        if let Err(error) = noted {
            tracing::error!(%error, "what became of a request could not be noted for its idempotency key");
        }
        outcome
    }

    async fn renew(&self, key: &str) -> Infallible {
        loop {
            sleep(RENEWED_EVERY).await;
            if let Err(error) = self.answers.renew(key, self.node).await {
                tracing::debug!(%error, "another node may take an idempotency key for free that is in use");
            }
        }
    }
}
