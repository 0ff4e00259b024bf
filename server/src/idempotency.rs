//! Requests that are repeated under the same `Idempotency-Key` (EMIT-06). Knows nothing of HTTP.

use std::{future::Future, sync::Arc, time::Duration};

use crate::{
    store::{BoxFuture, StoreError},
    turns::Turns,
};

/// How long an answer is kept (EMIT-06).
pub const ANSWER_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Where answers are kept.
pub trait Answers: Send + Sync + 'static {
    /// The answer that was given under this key, if it is not older than [`ANSWER_TTL`].
    ///
    /// # Errors
    /// Where the store cannot be asked.
    fn answer<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>>;

    /// Keeps an answer for [`ANSWER_TTL`].
    ///
    /// # Errors
    /// Where the store cannot be asked.
    fn keep_answer<'a>(&'a self, key: &'a str, answer: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// Does a piece of work once for each key.
#[derive(Clone)]
pub(crate) struct Idempotency {
    answers: Arc<dyn Answers>,
    turns: Turns,
}

impl Idempotency {
    pub(crate) fn new(answers: Arc<dyn Answers>) -> Self {
        Self { answers, turns: Turns::new() }
    }

    /// The answer of the first time, or that of the work, which is then kept. Whoever comes with the same key meanwhile
    /// waits. A failure is not kept, so that it can be tried again.
    pub(crate) async fn once<E: From<StoreError>>(
        &self,
        key: &str,
        work: impl Future<Output = Result<String, E>>,
    ) -> Result<String, E> {
        let _turn = self.turns.take(key).await;
        if let Some(answer) = self.answers.answer(key).await? {
            return Ok(answer);
        }
        let answer = work.await?;
        // What was emitted was emitted: to refuse now would invite the repetition that the key is to prevent.
        if let Err(error) = self.answers.keep_answer(key, &answer).await {
            tracing::error!(%error, "an answer could not be kept for its idempotency key");
        }
        Ok(answer)
    }
}
