//! The decisions that need no collaborator: who receives an event, in which room, and as what.
//!
//! They stand behind a trait so that a test double can get exactly one of them wrong.

use crate::model::{Draft, Payload};

/// Who receives an event, in which room, and as what.
pub trait Rules: Send + Sync + 'static {
    /// The room of a user. Injective, so that two users never meet (ROOM-05), and never the id of a socket, whose alphabet
    /// has no colon.
    fn room(&self, user_id: &str) -> String {
        format!("user:{user_id}")
    }

    /// `metadata.targetUserId` where it is a non-empty string, otherwise `resourceId` (EVENT-09, EVENT-10).
    fn recipient(&self, draft: &Draft) -> String {
        let target = draft.metadata.get("targetUserId").and_then(|target| serde_json::from_str(target.get()).ok());
        target.filter(|user: &String| !user.is_empty()).unwrap_or_else(|| draft.resource_id.clone())
    }

    /// The payload of an event that is emitted now (EVENT-03 to EVENT-08).
    fn payload(&self, draft: Draft) -> Payload {
        Payload::now(draft)
    }

    /// Whether a token of `user_id` may keep a connection of `owner` alive (EXPIRY-06).
    fn may_refresh(&self, owner: &str, user_id: &str) -> bool {
        owner == user_id
    }

    /// The answer to `ping` (EVENT-11).
    fn pong(&self) -> &'static str {
        "pong"
    }
}

/// The rules of SPEC.md, which are the defaults of the trait.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standard;

impl Rules for Standard {}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::EventType;

    fn recipient(metadata: Value) -> String {
        let draft = Draft {
            event_type: EventType::RecordAccessed,
            actor_id: "actor".into(),
            resource_id: "resource".into(),
            metadata: metadata.as_object().cloned().unwrap().into(),
        };
        Standard.recipient(&draft)
    }

    #[test]
    fn the_target_user_receives_the_event() {
        assert_eq!(recipient(json!({"targetUserId": "patient"})), "patient");
        assert_eq!(recipient(json!({"targetUserId": " "})), " ");
    }

    #[test]
    fn without_a_target_user_the_resource_names_the_recipient() {
        let without = [
            json!({}),
            json!({"targetUserId": ""}),
            json!({"targetUserId": null}),
            json!({"targetUserId": 42}),
            json!({"targetUserId": ["patient"]}),
            json!({"targetuserid": "patient"}),
        ];
        for metadata in without {
            assert_eq!(recipient(metadata.clone()), "resource", "{metadata}");
        }
    }

    #[test]
    fn rooms_of_different_users_differ() {
        let users = ["a", "A", "a ", " a", "a:b", "user:a", "*", "a/b", "e\u{301}", "\u{e9}", ""];
        let rooms: std::collections::HashSet<_> = users.iter().map(|user| Standard.room(user)).collect();
        assert_eq!(rooms.len(), users.len());
    }
}
