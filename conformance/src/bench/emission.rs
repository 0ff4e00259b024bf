//! Events as the target file says that they are emitted, and sessions likewise.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Bench, User};
use crate::{
    expect::{Outcome, inconclusive},
    fixtures,
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
    /// The event of a fixture, with its placeholders filled.
    pub fn of_fixture(entry: &Value, names: &[(&str, &str)]) -> Self {
        let entry = fixtures::fill(entry, names);
        Self {
            event_type: fixtures::text(&entry, "eventType").to_owned(),
            actor_id: fixtures::text(&entry, "actorId").to_owned(),
            resource_id: fixtures::text(&entry, "resourceId").to_owned(),
            metadata: entry.get("metadata").cloned(),
        }
    }

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

    /// The body of `POST /events` (SPEC 6).
    pub fn body(&self) -> Value {
        let mut body = json!({"eventType": self.event_type, "actorId": self.actor_id, "resourceId": self.resource_id});
        if let Some(metadata) = &self.metadata {
            body["metadata"] = metadata.clone();
        }
        body
    }

    /// What a target is told of it.
    pub(super) fn facts(&self) -> Value {
        let mut facts = json!({
            "event_type": self.event_type,
            "actor_id": self.actor_id,
            "resource_id": self.resource_id,
        });
        if let Some(metadata) = &self.metadata {
            facts["metadata"] = metadata.clone();
        }
        facts
    }
}

/// What a target is told of a new session.
pub(super) fn session_facts(user: &User, expires_at: Option<&str>) -> Value {
    let mut facts = json!({"session_id": user.session, "user_id": user.id});
    if let Some(time) = expires_at {
        facts["expires_at"] = time.into();
    }
    facts
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
    pub async fn emit(&self, event: &Emission) -> Outcome {
        self.hook("emit", &self.target().emit, event.facts()).await
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
        join_all(events.iter().map(|event| self.emit(event))).await.into_iter().collect()
    }

    /// Makes the user's session at the target; does nothing where the target has no sessions.
    ///
    /// # Errors
    /// Where the target does not confirm it.
    pub async fn open_session(&self, user: &User, expires_at: Option<&str>) -> Outcome {
        let Some(sessions) = self.target().sessions.clone() else { return Ok(()) };
        self.hook("sessions.create", &sessions.create, session_facts(user, expires_at)).await
    }

    /// Ends a session at the target.
    ///
    /// # Errors
    /// Where the target does not confirm it, or has no sessions.
    pub async fn revoke_session(&self, session: &str) -> Outcome {
        let Some(sessions) = self.target().sessions.clone() else {
            return Err(inconclusive("the target file says nothing of sessions"));
        };
        self.hook("sessions.revoke", &sessions.revoke, json!({"session_id": session})).await
    }
}
