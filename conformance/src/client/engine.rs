//! Engine.IO 4 packets and payloads as text. Knows nothing of sockets.

use serde::Deserialize;

/// Separates packets in a polling payload.
const RECORD_SEPARATOR: char = '\u{1e}';

/// The `open` packet's content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    /// The id of the Engine.IO session.
    pub sid: String,
    /// What the session may be upgraded to.
    pub upgrades: Vec<String>,
    /// Milliseconds between two pings of the server.
    pub ping_interval: u64,
    /// Milliseconds that the server waits for the pong.
    pub ping_timeout: u64,
    /// The largest message that the server accepts, in bytes.
    pub max_payload: u64,
}

/// One Engine.IO packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnginePacket {
    /// `0`, with the handshake as JSON.
    Open(String),
    /// `1`
    Close,
    /// `2`, with `probe` during an upgrade.
    Ping(String),
    /// `3`, with `probe` during an upgrade.
    Pong(String),
    /// `4`, with a Socket.IO packet.
    Message(String),
    /// `5`
    Upgrade,
    /// `6`
    Noop,
    /// `b` in a polling payload: base64.
    Binary(String),
    /// Anything else.
    Unknown(String),
}

impl EnginePacket {
    /// Reads one packet.
    pub fn decode(text: &str) -> Self {
        let mut chars = text.chars();
        let kind = chars.next();
        let rest = chars.as_str().to_owned();
        match kind {
            Some('0') => Self::Open(rest),
            Some('1') => Self::Close,
            Some('2') => Self::Ping(rest),
            Some('3') => Self::Pong(rest),
            Some('4') => Self::Message(rest),
            Some('5') => Self::Upgrade,
            Some('6') => Self::Noop,
            Some('b') => Self::Binary(rest),
            _ => Self::Unknown(text.to_owned()),
        }
    }

    /// Writes a polling payload of packets that are text already, right or wrong.
    pub fn encode_payload(packets: &[&str]) -> String {
        packets.join(RECORD_SEPARATOR.encode_utf8(&mut [0; 4]))
    }

    /// Reads the packets of a polling payload.
    pub fn decode_payload(payload: &str) -> Vec<Self> {
        payload.split(RECORD_SEPARATOR).map(Self::decode).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_split_at_record_separators() {
        assert_eq!(EnginePacket::encode_payload(&["40", "2probe", "6"]), "40\u{1e}2probe\u{1e}6");
        let packets = EnginePacket::decode_payload("40\u{1e}2probe\u{1e}6");
        let expected = [EnginePacket::Message("0".into()), EnginePacket::Ping("probe".into()), EnginePacket::Noop];
        assert_eq!(packets, expected);
    }

    #[test]
    fn what_is_not_a_packet_is_kept_as_it_is() {
        assert_eq!(EnginePacket::decode("x"), EnginePacket::Unknown("x".into()));
        assert_eq!(EnginePacket::decode(""), EnginePacket::Unknown(String::new()));
    }
}
