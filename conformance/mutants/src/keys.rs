//! What is remembered of requests with an `Idempotency-Key`, with one thing wrong.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use notify_server::model::{Answers, BoxFuture, Claim, Outcome, StoreError};
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

impl Answers for Faulty {
    fn claim<'a>(&'a self, key: &'a str, by: Uuid, body: &'a str) -> BoxFuture<'a, Result<Claim, StoreError>> {
        Box::pin(async move {
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
        })
    }

    fn renew<'a>(&'a self, key: &'a str, by: Uuid) -> BoxFuture<'a, Result<(), StoreError>> {
        self.answers.renew(key, by)
    }

    fn settle<'a>(
        &'a self,
        key: &'a str,
        by: Uuid,
        body: &'a str,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        match (self.fault, outcome) {
            (Fault::NoMemory, _) => Box::pin(async { Ok(()) }),
            (Fault::PartForgotten, Outcome::Part(_)) => self.answers.settle(key, by, body, &Outcome::Nothing),
            _ => self.answers.settle(key, by, self.digest(body), outcome),
        }
    }
}

/// Answers that only this process remembers.
#[derive(Default)]
pub(crate) struct OwnMemory(Mutex<HashMap<String, (String, Outcome)>>);

impl Answers for OwnMemory {
    fn claim<'a>(&'a self, key: &'a str, _: Uuid, body: &'a str) -> BoxFuture<'a, Result<Claim, StoreError>> {
        let outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = match outcomes.get(key) {
            None | Some((_, Outcome::Nothing)) => Claim::Ours(None),
            Some((known, _)) if known != body => Claim::Another,
            Some((_, Outcome::Done(answer))) => Claim::Answered(answer.clone()),
            Some((_, Outcome::Part(part))) => Claim::Ours(Some(part.clone())),
        };
        Box::pin(async { Ok(claim) })
    }

    fn renew<'a>(&'a self, _: &'a str, _: Uuid) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn settle<'a>(
        &'a self,
        key: &'a str,
        _: Uuid,
        body: &'a str,
        outcome: &'a Outcome,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.insert(key.to_owned(), (body.to_owned(), outcome.clone()));
        Box::pin(async { Ok(()) })
    }
}
