//! Socket.IO 5 packets as text. Knows nothing of Engine.IO and of sockets.

use std::fmt::Write as _;

use serde_json::Value;
use thiserror::Error;

/// The type of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `0`
    Connect,
    /// `1`
    Disconnect,
    /// `2`
    Event,
    /// `3`
    Ack,
    /// `4`
    ConnectError,
}

/// A packet without attachments; this system has no binary events.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// The namespace, with its slash.
    pub namespace: String,
    /// The id of the acknowledgement that it asks for or answers.
    pub id: Option<u64>,
    /// The JSON that it carries.
    pub data: Option<Value>,
}

/// Why a text is not a packet.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PacketError {
    /// The first character is no packet type, or one with attachments.
    #[error("unknown packet type {0:?}")]
    Type(Option<char>),
    /// What follows the head is not JSON.
    #[error("invalid JSON in a packet: {0}")]
    Json(String),
}

impl Packet {
    /// A packet of `kind` for `namespace`.
    pub fn new(kind: Kind, namespace: &str, data: Option<Value>) -> Self {
        Self { kind, namespace: namespace.to_owned(), id: None, data }
    }

    /// The text of the packet, without the Engine.IO type before it.
    pub fn encode(&self) -> String {
        let digit = match self.kind {
            Kind::Connect => '0',
            Kind::Disconnect => '1',
            Kind::Event => '2',
            Kind::Ack => '3',
            Kind::ConnectError => '4',
        };
        let mut text = String::from(digit);
        if self.namespace != "/" {
            text.push_str(&self.namespace);
            text.push(',');
        }
        if let Some(id) = self.id {
            let _ = write!(text, "{id}");
        }
        if let Some(data) = &self.data {
            let _ = write!(text, "{data}");
        }
        text
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// Where the text is not a packet without attachments.
    pub fn decode(text: &str) -> Result<Self, PacketError> {
        let mut chars = text.chars();
        let first = chars.next();
        let kind = match first {
            Some('0') => Kind::Connect,
            Some('1') => Kind::Disconnect,
            Some('2') => Kind::Event,
            Some('3') => Kind::Ack,
            Some('4') => Kind::ConnectError,
            _ => return Err(PacketError::Type(first)),
        };
        let (namespace, rest) = split_namespace(chars.as_str());
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let id = rest[..digits].parse().ok();
        let data = match &rest[digits..] {
            "" => None,
            json => Some(serde_json::from_str(json).map_err(|error| PacketError::Json(error.to_string()))?),
        };
        Ok(Self { kind, namespace: namespace.to_owned(), id, data })
    }
}

/// The namespace may be ended by the end of the text: the official server sends `1/notifications,` but `0/x` is legal.
fn split_namespace(rest: &str) -> (&str, &str) {
    if !rest.starts_with('/') {
        return ("/", rest);
    }
    rest.split_once(',').unwrap_or((rest, ""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn packets_survive_encoding_and_decoding() {
        let mut ack = Packet::new(Kind::Ack, "/notifications", Some(json!(["pong"])));
        ack.id = Some(7);
        assert_eq!(ack.encode(), r#"3/notifications,7["pong"]"#);
        assert_eq!(Packet::decode(&ack.encode()), Ok(ack));
        let event = Packet::new(Kind::Event, "/", Some(json!(["a,b", {"c": 1}])));
        assert_eq!(Packet::decode(&event.encode()), Ok(event));
    }

    #[test]
    fn what_is_not_a_packet_says_why() {
        assert_eq!(Packet::decode("9"), Err(PacketError::Type(Some('9'))));
        assert_eq!(Packet::decode(""), Err(PacketError::Type(None)));
        assert!(matches!(Packet::decode("2[nope"), Err(PacketError::Json(_))));
    }
}
