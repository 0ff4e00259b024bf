//! What is remembered of requests with an `Idempotency-Key`, with one thing wrong.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use notify_server::model::{Answers, Claim, Outcome, StoreError};
use uuid::Uuid;

/// What is wrong with the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is remembered, so that a repeated request emits again.
    NoMemory,
    /// A key's second body is taken for its first.
    AnyBody,
    /// What of a batch was accepted is forgotten with its failure.
    PartForgotten,
    /// What another node is at work on is taken for the node's own.
    PassedOver,
    /// What another node was at work on once is never free again.
    NeverLetGo,
}

pub(crate) struct Faulty {
    answers: Arc<dyn Answers>,
    fault: Fault,
    /// The keys that another node was at work on.
    held: Mutex<HashSet<String>>,
}

impl Faulty {
    pub(crate) fn new(answers: Arc<dyn Answers>, fault: Fault) -> Self {
        Self { answers, fault, held: Mutex::default() }
    }

    /// What the fault tells a body by.
    fn digest<'a>(&self, body: &'a str) -> &'a str {
        if self.fault == Fault::AnyBody { "" } else { body }
    }
}

#[async_trait]
impl Answers for Faulty {
    async fn claim(&self, key: &str, by: Uuid, body: &str) -> Result<Claim, StoreError> {
        if self.fault == Fault::NoMemory {
            return Ok(Claim::Ours(None));
        }
        let claim = self.answers.claim(key, by, self.digest(body)).await?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match (claim, self.fault) {
            (Claim::AtWork, Fault::PassedOver) => Claim::Ours(None),
            (Claim::AtWork, Fault::NeverLetGo) => {
                held.insert(key.to_owned());
                Claim::AtWork
            }
            (Claim::Ours(_), Fault::NeverLetGo) if held.contains(key) => Claim::AtWork,
            (claim, _) => claim,
        })
    }

    async fn renew(&self, key: &str, by: Uuid) -> Result<(), StoreError> {
        self.answers.renew(key, by).await
    }

    async fn settle(&self, key: &str, by: Uuid, body: &str, outcome: &Outcome) -> Result<(), StoreError> {
        match (self.fault, outcome) {
            (Fault::NoMemory, _) => Ok(()),
            (Fault::PartForgotten, Outcome::Part(_)) => self.answers.settle(key, by, body, &Outcome::Nothing).await,
            _ => self.answers.settle(key, by, self.digest(body), outcome).await,
        }
    }
}

/// Answers that only this process remembers.
#[derive(Default)]
pub(crate) struct OwnMemory(Mutex<HashMap<String, (String, Outcome)>>);

#[async_trait]
impl Answers for OwnMemory {
    async fn claim(&self, key: &str, _: Uuid, body: &str) -> Result<Claim, StoreError> {
        let outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = match outcomes.get(key) {
            None | Some((_, Outcome::Nothing)) => Claim::Ours(None),
            Some((known, _)) if known != body => Claim::Another,
            Some((_, Outcome::Done(answer))) => Claim::Answered(answer.clone()),
            Some((_, Outcome::Part(part))) => Claim::Ours(Some(part.clone())),
        };
        Ok(claim)
    }

    async fn renew(&self, _: &str, _: Uuid) -> Result<(), StoreError> {
        Ok(())
    }

    async fn settle(&self, key: &str, _: Uuid, body: &str, outcome: &Outcome) -> Result<(), StoreError> {
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.insert(key.to_owned(), (body.to_owned(), outcome.clone()));
        Ok(())
    }
}
