//! Recipient, room, payload and `ping` with one thing wrong.

use notify_server::{
    event::{Draft, EventType, Payload},
    rules::{Rules, Standard},
};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What is wrong with the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    AnybodyRefreshes,
    OneRoomForAll,
    RoomByPrefix,
    RoomByFoldedId,
    RoomByTrimmedId,
    ResourceIsRecipient,
    EmptyTargetIsRecipient,
    NonTextTargetIsRecipient,
    TypeChanged,
    ActorAndResourceSwapped,
    TimestampWithoutMilliseconds,
    TimestampWithOffset,
    TimestampFixed,
    MetadataDropped,
    MetadataNeverEmpty,
    MembersSorted,
    NullsLost,
    IntegersAsFloats,
    TextsTrimmed,
    EventIdOfAnotherVersion,
    EventIdFixed,
    PongChanged,
}

/// The rules with a fault.
pub(crate) struct Faulty(pub(crate) Fault);

impl Rules for Faulty {
    fn room(&self, user_id: &str) -> String {
        match self.0 {
            Fault::OneRoomForAll => Standard.room("everybody"),
            Fault::RoomByPrefix => Standard.room(user_id.trim_end_matches(|c: char| c.is_ascii_digit())),
            Fault::RoomByFoldedId => Standard.room(&user_id.to_lowercase()),
            Fault::RoomByTrimmedId => Standard.room(user_id.trim()),
            _ => Standard.room(user_id),
        }
    }

    fn may_refresh(&self, owner: &str, user_id: &str) -> bool {
        self.0 == Fault::AnybodyRefreshes || Standard.may_refresh(owner, user_id)
    }

    fn recipient<'a>(&self, draft: &'a Draft) -> &'a str {
        match (self.0, draft.metadata.get("targetUserId")) {
            (Fault::ResourceIsRecipient, _) => &draft.resource_id,
            (Fault::EmptyTargetIsRecipient, Some(Value::String(user))) => user,
            (Fault::NonTextTargetIsRecipient, Some(target)) if !target.is_string() => "not-a-text",
            _ => Standard.recipient(draft),
        }
    }

    fn payload(&self, draft: Draft) -> Payload {
        let mut payload = Standard.payload(draft);
        match self.0 {
            Fault::TypeChanged if payload.event_type == EventType::AccessRevoked => {
                payload.event_type = EventType::AccessGranted;
            }
            Fault::ActorAndResourceSwapped => std::mem::swap(&mut payload.actor_id, &mut payload.resource_id),
            Fault::TimestampWithoutMilliseconds => payload.timestamp.replace_range(19..23, ""),
            Fault::TimestampWithOffset => payload.timestamp.replace_range(23.., "+00:00"),
            Fault::TimestampFixed => payload.timestamp = "2026-01-01T00:00:00.000Z".to_owned(),
            Fault::MetadataDropped => payload.metadata.clear(),
            Fault::MetadataNeverEmpty if payload.metadata.is_empty() => {
                payload.metadata.insert("source".to_owned(), Value::Null);
            }
            Fault::MembersSorted => payload.metadata.sort_keys(),
            Fault::NullsLost => payload.metadata.retain(|_, value| !value.is_null()),
            Fault::IntegersAsFloats => payload.metadata = each(payload.metadata, as_float),
            Fault::TextsTrimmed => payload.metadata = each(payload.metadata, trimmed),
            Fault::EventIdOfAnotherVersion => payload.event_id = Uuid::new_v4(),
            Fault::EventIdFixed => payload.event_id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000),
            _ => {}
        }
        payload
    }

    fn pong(&self) -> &'static str {
        if self.0 == Fault::PongChanged { "PONG" } else { Standard.pong() }
    }
}

fn each(metadata: Map<String, Value>, change: fn(Value) -> Value) -> Map<String, Value> {
    metadata.into_iter().map(|(name, value)| (name, change(value))).collect()
}

fn as_float(value: Value) -> Value {
    match value.as_i64() {
        #[expect(clippy::cast_precision_loss, reason = "that is the fault")]
        Some(integer) => Value::from(integer as f64),
        None => value,
    }
}

fn trimmed(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.trim().to_owned()),
        other => other,
    }
}
