//! Requests that are repeated under the same `Idempotency-Key` (EMIT-06, EMIT-18 to EMIT-21, EMIT-23, CLUSTER-18, CLUSTER-19). Knows
//! nothing of HTTP.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::{
    locks::KeyedLocks,
    model::{Answers, Claim, Outcome, StoreError},
    sharded::Sharded,
};

/// How often a claim is renewed while its request is at work.
const RENEWED_EVERY: Duration = Duration::from_secs(5);

/// How long a request waits for another that is at work under its key.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon another node's claim is looked at again, at first and later.
const LOOKED_AT_AFTER: Duration = Duration::from_millis(10);
const LOOKED_AT_EVERY: Duration = Duration::from_millis(200);

/// How long to wait before the store is told again what became of a request.
const RETRY: Duration = Duration::from_secs(1);

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

/// Why something was not done, or not all of it.
pub(crate) trait Failure: From<StoreError> + From<Refused> {
    /// What was done all the same, in words that the work understands when it is repeated.
    fn part(&self) -> Option<String>;
}

/// Does a piece of work once for each key.
#[derive(Clone)]
pub(crate) struct Idempotency {
    answers: Arc<dyn Answers>,
    key_locks: KeyedLocks,
    node: Uuid,
    /// What the store could not be told yet, by key, with the body: it waits for the store to answer again.
    untold: Arc<Sharded<(String, Outcome)>>,
}

impl Idempotency {
    pub(crate) fn new(answers: Arc<dyn Answers>) -> Self {
        Self { answers, key_locks: KeyedLocks::default(), node: Uuid::new_v4(), untold: Arc::default() }
    }

    /// The answer of the first time, or that of the work, which is then kept. The work is given what was done of it before, if
    /// anything was. Whoever comes with the same key meanwhile, here or at another node, waits for a while.
    pub(crate) async fn once<E: Failure, F: Future<Output = Result<String, E>>>(
        &self,
        Keyed { key, body }: Keyed,
        work: impl FnOnce(Option<String>) -> F,
    ) -> Result<String, E> {
        let until = Instant::now() + PATIENCE;
        let _lock = timeout(PATIENCE, self.key_locks.lock(&key)).await.map_err(|_| Refused::AtWork)?;
        self.tell(&key).await?;
        let mut pause = LOOKED_AT_AFTER;
        let before = loop {
            match self.answers.claim(&key, self.node, &body).await? {
                Claim::Ours(before) => break before,
                Claim::Answered(answer) => return Ok(answer),
                Claim::Another => return Err(Refused::Another.into()),
                Claim::AtWork if Instant::now() + pause > until => return Err(Refused::AtWork.into()),
                // The other node tells nobody when it is done.
                Claim::AtWork => sleep(pause).await,
            }
            pause = (pause * 2).min(LOOKED_AT_EVERY);
        };
        let result = tokio::select! {
            result = work(before) => result,
            never = self.renew(&key) => match never {},
        };
        let outcome = match &result {
            Ok(answer) => Outcome::Done(answer.clone()),
            Err(failure) => failure.part().map_or(Outcome::Nothing, Outcome::Part),
        };
        self.untold.shard(&key).insert(key.as_str().into(), (body, outcome));
        // What was emitted was emitted: to refuse now would invite the repetition that the key is to prevent.
        if let Err(error) = self.tell(&key).await {
            tracing::warn!(%error, "what became of a request cannot be noted for its idempotency key yet");
            tokio::spawn(self.clone().tell_later(key));
        }
        result
    }

    /// Tells the store what became of the last request with a key, where it does not know. Under the lock of the key.
    async fn tell(&self, key: &str) -> Result<(), StoreError> {
        let Some((body, outcome)) = self.untold.shard(key).get(key).cloned() else { return Ok(()) };
        self.answers.settle(key, self.node, &body, &outcome).await?;
        self.untold.shard(key).remove(key);
        Ok(())
    }

    async fn tell_later(self, key: String) {
        loop {
            sleep(RETRY).await;
            let _lock = self.key_locks.lock(&key).await;
            if self.tell(&key).await.is_ok() {
                return;
            }
        }
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
