//! The events and their payload, as they go over the wire. Knows nothing of sockets, queues or recipients.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value, value::RawValue};
use time::{OffsetDateTime, macros::format_description};
use uuid::Uuid;

use crate::{
    frame::{self, Frame},
    json,
};

/// What most payloads fit into; larger ones take longer to write.
const USUAL_BYTES: usize = 512;

/// How deep metadata may be nested. A client may read no deeper than 128 levels, and `queued.events` adds four.
const MAX_DEPTH: usize = 120;

/// The types of an event (EVENT-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventType {
    /// Somebody looked at a record.
    #[serde(rename = "record.accessed")]
    RecordAccessed,
    /// Somebody was given access.
    #[serde(rename = "access.granted")]
    AccessGranted,
    /// Somebody's access was withdrawn.
    #[serde(rename = "access.revoked")]
    AccessRevoked,
    /// A record was added.
    #[serde(rename = "record.uploaded")]
    RecordUploaded,
}

impl EventType {
    /// All of them, in the order of EVENT-02.
    pub const ALL: [Self; 4] = [Self::RecordAccessed, Self::AccessGranted, Self::AccessRevoked, Self::RecordUploaded];

    /// The name of the Socket.IO event (EVENT-01).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RecordAccessed => "record.accessed",
            Self::AccessGranted => "access.granted",
            Self::AccessRevoked => "access.revoked",
            Self::RecordUploaded => "record.uploaded",
        }
    }

    /// The type of that name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What goes with an event: a JSON object, kept and delivered as it was written (EVENT-12, EVENT-13).
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Metadata(Box<RawValue>);

/// Why something is no metadata; what it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// It is no object.
    #[error("has to be an object")]
    NoObject,
    /// Its arrays and objects are nested deeper than clients may be able to read.
    #[error("has to be nested no deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl Metadata {
    /// Metadata that says this.
    ///
    /// # Errors
    /// Where it is no object, or one that is nested too deep.
    pub fn new(json: Box<RawValue>) -> Result<Self, MetadataError> {
        match json.get() {
            text if !text.starts_with('{') => Err(MetadataError::NoObject),
            text if !json::is_within_depth(text, MAX_DEPTH) => Err(MetadataError::TooDeep),
            _ => Ok(Self(json)),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn json(&self) -> &str {
        self.0.get()
    }

    /// The value of the member of this name; of several the last.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        json::members(self.json(), [name])?[0]
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Map::new().into()
    }
}

impl From<Map<String, Value>> for Metadata {
    fn from(members: Map<String, Value>) -> Self {
        let json = serde_json::value::to_raw_value(&members);
        Self(json.expect("a map has string keys only, so it can be written as JSON"))
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.json() == other.json()
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Deserialize::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// What an emitter asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What happened.
    pub event_type: EventType,
    /// Who did it.
    pub actor_id: String,
    /// To what it was done.
    pub resource_id: String,
    /// Anything else; empty where the emitter gave none (EVENT-05).
    pub metadata: Metadata,
}

/// The one argument of an event (EVENT-03 to EVENT-08).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// A UUID of version 7, the same on every delivery (EVENT-08).
    pub event_id: Uuid,
    /// What happened.
    pub event_type: EventType,
    /// Who did it.
    pub actor_id: String,
    /// To what it was done.
    pub resource_id: String,
    /// When it was emitted (EVENT-04).
    pub timestamp: String,
    /// What the emitter gave (EVENT-06, EVENT-07).
    pub metadata: Metadata,
}

impl Payload {
    /// The payload of a draft that is emitted now.
    #[must_use]
    pub fn now(draft: Draft) -> Self {
        Self {
            event_id: Uuid::now_v7(),
            event_type: draft.event_type,
            actor_id: draft.actor_id,
            resource_id: draft.resource_id,
            timestamp: timestamp(OffsetDateTime::now_utc()),
            metadata: draft.metadata,
        }
    }
}

/// A payload that is ready to go: written once, then sent or queued as it is (QUEUE-16). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The id of the payload.
    pub event_id: Uuid,
    /// The type of the payload.
    pub event_type: EventType,
    /// The event as it goes to clients, in which the payload stands.
    pub(crate) frame: Frame,
    payload: (usize, usize),
}

/// Called when a transport has taken an event; once for each connection.
pub type Sent = Arc<dyn Fn() + Send + Sync>;

impl Outgoing {
    /// The payload as JSON.
    #[must_use]
    pub fn json(&self) -> &str {
        self.frame.text(self.payload.0, self.payload.1)
    }

    /// Whether this is a payload that was written before, and undamaged (QUEUE-15).
    pub(crate) fn is_payload(json: &str) -> bool {
        serde_json::from_str::<Payload>(json).is_ok()
    }

    /// A payload that was written before; `None` where it is damaged.
    pub(crate) fn read(json: &str) -> Option<Self> {
        let Payload { event_id, event_type, .. } = serde_json::from_str(json).ok()?;
        Some(Self::written(event_id, event_type, json.len(), |buffer| buffer.extend_from_slice(json.as_bytes())))
    }

    fn written(event_id: Uuid, event_type: EventType, size_hint: usize, json: impl FnOnce(&mut Vec<u8>)) -> Self {
        let (frame, payload) = frame::event(event_type.name(), size_hint, json);
        Self { event_id, event_type, frame, payload }
    }
}

impl From<Payload> for Outgoing {
    fn from(payload: Payload) -> Self {
        Self::written(payload.event_id, payload.event_type, USUAL_BYTES, |buffer| {
            serde_json::to_writer(buffer, &payload)
                .expect("a payload has string keys only, so it can be written as JSON");
        })
    }
}

/// RFC 3339 in UTC with milliseconds and `Z`, as `Date.prototype.toISOString` writes it (EVENT-04).
fn timestamp(now: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    now.format(format).expect("a date of this era has every component that the format names")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_timestamp_is_what_javascript_writes() {
        let at = |nanos| timestamp(OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap());
        assert_eq!(at(1_700_000_000_007_999_999), "2023-11-14T22:13:20.007Z");
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn every_type_is_found_by_its_name_and_no_other_is() {
        for kind in EventType::ALL {
            assert_eq!(EventType::parse(kind.name()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.name()));
        }
        assert_eq!(EventType::parse("record.deleted"), None);
        assert_eq!(EventType::parse("Record.Accessed"), None);
    }

    #[test]
    fn metadata_stays_as_it_was_written() {
        let text = r#"{"z":12345678901234567890123,"half":"\ud83d", "a":[null,"",{}],"a":1e400,"m":-1.10E+2}"#;
        let payload = Payload::now(Draft {
            event_type: EventType::RecordAccessed,
            actor_id: "a".into(),
            resource_id: "r".into(),
            metadata: serde_json::from_str(text).unwrap(),
        });
        let event = Outgoing::from(payload);
        assert!(event.json().ends_with(&format!(r#""metadata":{text}}}"#)), "{}", event.json());
        let again = Outgoing::read(event.json()).unwrap();
        assert_eq!((again.event_id, again.json()), (event.event_id, event.json()));
    }

    #[test]
    fn metadata_is_an_object_of_bounded_depth() {
        let metadata = |json: &str| Metadata::new(RawValue::from_string(json.to_owned()).unwrap()).map(drop);
        let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert_eq!(metadata(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(metadata(&nested(MAX_DEPTH + 1)), Err(MetadataError::TooDeep));
        for json in ["[]", "null", "1", r#""{}""#] {
            assert_eq!(metadata(json), Err(MetadataError::NoObject), "{json}");
        }
    }

    #[test]
    fn event_ids_are_of_version_seven_and_differ() {
        let draft = Draft {
            event_type: EventType::AccessGranted,
            actor_id: "a".into(),
            resource_id: "r".into(),
            metadata: Metadata::default(),
        };
        let (one, two) = (Payload::now(draft.clone()), Payload::now(draft));
        assert_eq!(one.event_id.get_version_num(), 7);
        assert_ne!(one.event_id, two.event_id);
    }
}
