//! Follows what the library sends to one client: where its frames end, and what it says of the namespace. Pure: bytes in,
//! facts out.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

/// How the packets begin that open the way for events, and shut it.
const CONNECTED: &[u8] = b"40/notifications,";
const DISCONNECTED: &[u8] = b"41/notifications,";

/// The library's ping, and its answer to the probe of an upgrade, as frames.
pub(super) const PING: &[u8] = b"\x81\x012";
const PROBE_ANSWER: &[u8] = b"\x81\x063probe";

/// How the frame begins that is its last.
const CLOSE: u8 = 0x88;

/// What a packet of the library's means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// The CONNECT was accepted, and the client knows.
    Connected,
    /// The client was told that it is no longer in the namespace.
    Disconnected,
    /// Anything else.
    Other,
}

impl Passed {
    /// What a packet means, by its beginning.
    pub(super) fn of(packet: &[u8]) -> Self {
        match packet {
            _ if packet.starts_with(CONNECTED) => Self::Connected,
            _ if packet.starts_with(DISCONNECTED) => Self::Disconnected,
            _ => Self::Other,
        }
    }
}

/// What the client need not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Swallowed {
    pub(super) bytes: usize,
    pub(super) is_ping: bool,
}

/// The library writes each packet as one frame.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The beginning of a header, until it is complete.
    header: Vec<u8>,
    frame: Option<Frame>,
    /// The library sends a ping right behind the open packet, where the client is known to be alive. Only that one is kept back.
    first_ping_passed: bool,
    /// The probe of the upgrade was answered before the library was asked.
    answers_probe: bool,
}

#[derive(Debug)]
struct Frame {
    is_text: bool,
    /// Its payload as far as it matters.
    beginning: Vec<u8>,
    left: u64,
}

impl Follower {
    /// Of a stream on which the client has been told already that its probe has arrived.
    pub(super) fn of_upgrade() -> Self {
        Self { answers_probe: true, first_ping_passed: true, ..Self::default() }
    }

    /// Whether something else may be written here.
    pub(super) fn is_between_frames(&self) -> bool {
        self.header.is_empty() && self.frame.is_none()
    }

    /// Whether the library is about to close the connection.
    pub(super) fn says_goodbye(&self, bytes: &[u8]) -> bool {
        self.is_between_frames() && bytes.first() == Some(&CLOSE)
    }

    /// Whether what the library is about to write begins with something that the client need not be sent.
    pub(super) fn swallows(&mut self, bytes: &[u8]) -> Option<Swallowed> {
        if !self.is_between_frames() {
            return None;
        }
        if self.answers_probe && bytes.starts_with(PROBE_ANSWER) {
            self.answers_probe = false;
            return Some(Swallowed { bytes: PROBE_ANSWER.len(), is_ping: false });
        }
        if !self.first_ping_passed && bytes.starts_with(PING) {
            self.first_ping_passed = true;
            return Some(Swallowed { bytes: PING.len(), is_ping: true });
        }
        None
    }

    /// Takes the next bytes; the last thing of note that they have completed.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Passed {
        let mut passed = Passed::Other;
        while !bytes.is_empty() {
            match &mut self.frame {
                None => {
                    self.header.push(bytes[0]);
                    bytes = &bytes[1..];
                    if let Ok(Some((header, left))) = FrameHeader::parse(&mut Cursor::new(&self.header)) {
                        let is_text = header.opcode == OpCode::Data(Data::Text);
                        self.frame = Some(Frame { is_text, beginning: Vec::new(), left });
                        self.header = Vec::new();
                    }
                }
                Some(frame) => {
                    let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
                    let (payload, rest) = bytes.split_at(length);
                    let wanted = CONNECTED.len().saturating_sub(frame.beginning.len()).min(payload.len());
                    if frame.is_text {
                        frame.beginning.extend_from_slice(&payload[..wanted]);
                    }
                    frame.left -= length as u64;
                    bytes = rest;
                }
            }
            if let Some(frame) = self.frame.take_if(|frame| frame.left == 0) {
                match Passed::of(&frame.beginning) {
                    Passed::Other => {}
                    said => passed = said,
                }
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(u8::try_from(short).unwrap()),
            long => {
                bytes.push(126);
                bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn what_is_said_is_noticed_when_it_is_complete_however_it_is_cut() {
        let long = "x".repeat(500);
        let frames = [frame(0x81, b"0{}"), frame(0x81, long.as_bytes()), frame(0x89, CONNECTED)];
        let connected = frame(0x81, br#"40/notifications,{"sid":"x"}"#);
        let mut follower = Follower::default();
        for byte in frames.concat() {
            assert_eq!(follower.feed(&[byte]), Passed::Other);
        }
        assert!(follower.is_between_frames());
        let (last, rest) = connected.split_last().unwrap();
        for byte in rest {
            assert_eq!(follower.feed(&[*byte]), Passed::Other);
            assert!(!follower.is_between_frames());
        }
        assert_eq!(follower.feed(&[*last]), Passed::Connected);
        let both = [connected, frame(0x81, b"41/notifications,"), frame(0x81, b"3")].concat();
        assert_eq!(follower.feed(&both), Passed::Disconnected);
        assert!(follower.is_between_frames());
    }

    #[test]
    fn only_the_first_ping_is_kept_back_and_only_between_frames() {
        let mut follower = Follower::default();
        follower.feed(&[0x81, 5, b'0']);
        assert_eq!(follower.swallows(PING), None);
        follower.feed(b"{}xx");
        assert_eq!(follower.swallows(&[PING, b"more"].concat()), Some(Swallowed { bytes: 3, is_ping: true }));
        assert_eq!(follower.swallows(PING), None);
        let mut upgraded = Follower::of_upgrade();
        assert_eq!(upgraded.swallows(PING), None);
        assert_eq!(upgraded.swallows(PROBE_ANSWER), Some(Swallowed { bytes: 8, is_ping: false }));
        assert_eq!(upgraded.swallows(PROBE_ANSWER), None);
    }
}
