//! Recipient, room, payload and `ping` with one thing wrong.

use notify_server::{
    model::{Draft, EventType, Metadata, Payload},
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
    MetadataWrittenAnew,
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

    fn recipient(&self, draft: &Draft) -> String {
        let target = draft.metadata.get("targetUserId").and_then(|target| serde_json::from_str(target.get()).ok());
        match (self.0, target) {
            (Fault::ResourceIsRecipient, _) => draft.resource_id.clone(),
            (Fault::EmptyTargetIsRecipient, Some(Value::String(user))) => user,
            (Fault::NonTextTargetIsRecipient, Some(target)) if !target.is_string() => "not-a-text".to_owned(),
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
            Fault::MetadataDropped => payload.metadata = Metadata::default(),
            Fault::MetadataNeverEmpty => change(&mut payload, |members| {
                if members.is_empty() {
                    members.insert("source".to_owned(), Value::Null);
                }
            }),
            Fault::MembersSorted => change(&mut payload, Map::sort_keys),
            Fault::NullsLost => change(&mut payload, |members| members.retain(|_, value| !value.is_null())),
            Fault::IntegersAsFloats => change(&mut payload, |members| members.values_mut().for_each(as_float)),
            Fault::TextsTrimmed => change(&mut payload, |members| members.values_mut().for_each(trim)),
            Fault::MetadataWrittenAnew => change(&mut payload, |_| ()),
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

/// Changes metadata that can be read as values.
fn change(payload: &mut Payload, change: impl FnOnce(&mut Map<String, Value>)) {
    if let Ok(mut members) = serde_json::from_str(payload.metadata.json()) {
        change(&mut members);
        payload.metadata = members.into();
    }
}

fn as_float(value: &mut Value) {
    if let Some(integer) = value.as_i64() {
        #[expect(clippy::cast_precision_loss, reason = "that is the fault")]
        let float = integer as f64;
        *value = Value::from(float);
    }
}

fn trim(value: &mut Value) {
    if let Value::String(text) = value {
        *text = text.trim().to_owned();
    }
}
