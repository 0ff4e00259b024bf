//! Events as the target file says that they are emitted, and sessions likewise.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Answer, Bench, User};
use crate::{
    expect::{Outcome, inconclusive, mismatch},
    target::Request,
    template::Values,
};

/// An event to emit.
#[derive(Debug, Clone, PartialEq)]
pub struct Emission {
    /// One of the four types.
    pub event_type: String,
    /// Who acted.
    pub actor_id: String,
    /// On what.
    pub resource_id: String,
    /// Further facts; left out of the request where there are none.
    pub metadata: Option<Value>,
}

impl Emission {
    /// The same event of another type.
    #[must_use]
    pub fn of(mut self, event_type: &str) -> Self {
        event_type.clone_into(&mut self.event_type);
        self
    }

    /// The same event with other metadata.
    #[must_use]
    pub fn metadata(mut self, metadata: Value) -> Self {
        self.metadata = Some(metadata);
        self
    }
}

impl Bench {
    /// A `record.accessed` for `user`, by `metadata.targetUserId`.
    pub fn event_for(&self, user: &User) -> Emission {
        Emission {
            event_type: "record.accessed".to_owned(),
            actor_id: format!("actor-{}", self.random(8)),
            resource_id: format!("record-{}", self.random(16)),
            metadata: Some(json!({"targetUserId": user.id})),
        }
    }

    /// As [`Bench::event_for`], with `n` in the metadata.
    pub fn numbered(&self, user: &User, n: usize) -> Emission {
        self.event_for(user).metadata(json!({"targetUserId": user.id, "n": n}))
    }

    /// Emits an event.
    ///
    /// # Errors
    /// Where the target does not confirm it.
    pub async fn emit(&self, event: &Emission) -> Outcome<Answer> {
        let answer = self.try_emit(event).await?;
        if self.target().emit.status.contains(&answer.status) {
            return Ok(answer);
        }
        Err(mismatch(format!("the emission confirmed by {:?}", self.target().emit.status), answer.describe()))
    }

    /// Emits an event and lets the caller look at the answer.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn try_emit(&self, event: &Emission) -> Outcome<Answer> {
        let mut values = self.target().values();
        values.set("event_type", event.event_type.as_str());
        values.set("actor_id", event.actor_id.as_str());
        values.set("resource_id", event.resource_id.as_str());
        if let Some(metadata) = &event.metadata {
            values.set("metadata", metadata.clone());
        }
        self.request(&self.target().emit, &values).await
    }

    /// Emits the events numbered `first..=last` for `user`, one after the other.
    ///
    /// # Errors
    /// Where the target does not confirm one.
    pub async fn emit_numbered(&self, user: &User, first: usize, last: usize) -> Outcome {
        for n in first..=last {
            self.emit(&self.numbered(user, n)).await?;
        }
        Ok(())
    }

    /// As [`Bench::emit_numbered`], all at once.
    ///
    /// # Errors
    /// Where the target does not confirm one.
    pub async fn emit_at_once(&self, user: &User, first: usize, last: usize) -> Outcome {
        let events: Vec<_> = (first..=last).map(|n| self.numbered(user, n)).collect();
        join_all(events.iter().map(|event| self.emit(event))).await.into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// Makes the user's session at the target; does nothing where the target has no sessions.
    ///
    /// # Errors
    /// Where the target does not confirm it.
    pub async fn open_session(&self, user: &User, expires_at: Option<&str>) -> Outcome {
        let Some(sessions) = self.target().sessions.clone() else { return Ok(()) };
        let mut values = session_values(self, &user.session);
        values.set("user_id", user.id.as_str());
        if let Some(time) = expires_at {
            values.set("expires_at", time);
        }
        self.confirmed(&sessions.create, &values, "the session made").await
    }

    /// Ends a session at the target.
    ///
    /// # Errors
    /// Where the target does not confirm it, or has no sessions.
    pub async fn revoke_session(&self, session: &str) -> Outcome {
        let Some(sessions) = self.target().sessions.clone() else {
            return Err(inconclusive("the target file says nothing of sessions"));
        };
        self.confirmed(&sessions.revoke, &session_values(self, session), "the session ended").await
    }

    async fn confirmed(&self, request: &Request, values: &Values, what: &str) -> Outcome {
        let answer = self.request(request, values).await?;
        if request.status.contains(&answer.status) {
            return Ok(());
        }
        Err(mismatch(format!("{what}, confirmed by {:?}", request.status), answer.describe()))
    }
}

fn session_values(bench: &Bench, session: &str) -> Values {
    bench.target().values().with("session_id", session)
}
