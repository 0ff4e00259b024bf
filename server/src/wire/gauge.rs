//! Counts the events among what goes out to a client. Pure: bytes in, number out.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

/// How a packet of an event begins, whether or not it asks for an acknowledgement.
const EVENT: &[u8] = b"42/notifications,";

/// How many of the packets in the answer to a poll are events.
pub(super) fn events_in_payload(payload: &[u8]) -> usize {
    payload.split(|byte| *byte == 0x1e).filter(|packet| packet.starts_with(EVENT)).count()
}

/// Follows the frames to one WebSocket client. The library writes each packet as one frame.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// The beginning of a header, until it is complete.
    header: Vec<u8>,
    frame: Option<Frame>,
}

#[derive(Debug)]
struct Frame {
    /// How much of [`EVENT`] it has matched so far; `None` where it is no event.
    matched: Option<usize>,
    left: u64,
}

impl Gauge {
    /// Takes the next bytes; how many events they have completed.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> usize {
        let mut events = 0;
        while !bytes.is_empty() {
            match &mut self.frame {
                None => {
                    self.header.push(bytes[0]);
                    bytes = &bytes[1..];
                    if let Ok(Some((header, left))) = FrameHeader::parse(&mut Cursor::new(&self.header)) {
                        let is_text = header.opcode == OpCode::Data(Data::Text);
                        self.frame = Some(Frame { matched: is_text.then_some(0), left });
                        self.header.clear();
                    }
                }
                Some(frame) => {
                    let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
                    let (payload, rest) = bytes.split_at(length);
                    frame.matched = frame.matched.and_then(|matched| further(matched, payload));
                    frame.left -= length as u64;
                    bytes = rest;
                }
            }
            if let Some(frame) = self.frame.take_if(|frame| frame.left == 0) {
                events += usize::from(frame.matched == Some(EVENT.len()));
            }
        }
        events
    }
}

/// How much of [`EVENT`] is matched after these bytes.
fn further(matched: usize, payload: &[u8]) -> Option<usize> {
    let expected = &EVENT[matched..];
    let length = expected.len().min(payload.len());
    (expected[..length] == payload[..length]).then_some(matched + length)
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
    fn events_are_counted_when_they_are_complete_however_they_are_cut() {
        let long = format!(r#"42/notifications,7["record.accessed","{}"]"#, "x".repeat(500));
        let frames = [
            frame(0x81, b"0{}"),
            frame(0x81, br#"40/notifications,{"sid":"x"}"#),
            frame(0x81, br#"42/notifications,["a"]"#),
            frame(0x81, b"2"),
            frame(0x8a, b"42/notifications,"),
            frame(0x81, br#"43/notifications,7["pong"]"#),
            frame(0x81, b"42/notif"),
            frame(0x81, long.as_bytes()),
            frame(0x88, b""),
        ];
        let all = frames.concat();
        assert_eq!(Gauge::default().feed(&all), 2);
        let mut gauge = Gauge::default();
        assert_eq!(all.iter().map(|byte| gauge.feed(&[*byte])).sum::<usize>(), 2);
        let mut gauge = Gauge::default();
        let event = frame(0x81, long.as_bytes());
        assert_eq!(gauge.feed(&event[..event.len() - 1]), 0);
        assert_eq!(gauge.feed(&event[event.len() - 1..]), 1);
    }

    #[test]
    fn events_in_the_answer_to_a_poll_are_counted() {
        assert_eq!(events_in_payload(b"40/notifications,{}\x1e42/notifications,[1]\x1e2\x1e42/notifications,3[1]"), 2);
        assert_eq!(events_in_payload(b"6"), 0);
        assert_eq!(events_in_payload(b""), 0);
    }
}
