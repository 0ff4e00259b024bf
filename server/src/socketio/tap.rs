//! Reads along with the frames of a WebSocket client. Pure: bytes in, verdict out.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::{Violation, connection::Connection, packet::judge};

/// The longest header that a frame can have.
const MAX_HEADER_BYTES: usize = 14;

/// Follows the frames of one direction of one connection.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    /// The beginning of a header, until it is complete.
    header: Vec<u8>,
    frame: Option<Frame>,
    /// The text of the message so far, where it is one.
    text: Option<Vec<u8>>,
    /// The last frame of the message is still to come.
    is_fragmented: bool,
}

#[derive(Debug)]
struct Frame {
    header: FrameHeader,
    mask: [u8; 4],
    read: u64,
    length: u64,
}

impl Tap {
    /// Whether another message could begin here.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.header.is_empty() && self.frame.is_none() && !self.is_fragmented
    }

    /// How much is held of a message that has begun.
    pub(crate) fn held_bytes(&self) -> usize {
        self.text.as_ref().map_or(0, Vec::capacity)
    }

    /// Takes the next bytes. After a violation the connection is to be closed and the tap is of no further use.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], session: &Connection) -> Result<(), Violation> {
        while !bytes.is_empty() {
            match &mut self.frame {
                None => {
                    self.header.push(bytes[0]);
                    bytes = &bytes[1..];
                    self.begin(session)?;
                }
                Some(frame) => {
                    let left = usize::try_from(frame.length - frame.read).unwrap_or(usize::MAX);
                    let (payload, rest) = bytes.split_at(left.min(bytes.len()));
                    bytes = rest;
                    if !is_control(&frame.header)
                        && let Some(text) = &mut self.text
                    {
                        frame.unmask(payload, text);
                    }
                    frame.read += payload.len() as u64;
                }
            }
            self.end(session)?;
        }
        Ok(())
    }

    /// Begins a frame once its header is complete.
    fn begin(&mut self, session: &Connection) -> Result<(), Violation> {
        let parsed = FrameHeader::parse(&mut Cursor::new(&self.header)).map_err(|_| Violation::Malformed)?;
        let Some((header, length)) = parsed else {
            return if self.header.len() < MAX_HEADER_BYTES { Ok(()) } else { Err(Violation::Malformed) };
        };
        self.header.clear();
        // A client has to mask (RFC 6455, 5.1).
        let mask = header.mask.ok_or(Violation::Malformed)?;
        match header.opcode {
            OpCode::Data(Data::Text) => self.text = Some(Vec::new()),
            OpCode::Data(Data::Continue) => {}
            OpCode::Data(_) => self.text = None,
            OpCode::Control(Control::Close) => session.depart(),
            OpCode::Control(_) => {}
        }
        let so_far = self.text.as_ref().map_or(0, Vec::len) as u64;
        if length.saturating_add(so_far) > session.early.max_message_bytes() as u64 {
            return Err(Violation::TooLarge);
        }
        self.frame = Some(Frame { header, mask, read: 0, length });
        Ok(())
    }

    /// Ends a frame whose payload is complete, and judges the message that it ends.
    fn end(&mut self, session: &Connection) -> Result<(), Violation> {
        let Some(frame) = self.frame.take_if(|frame| frame.read == frame.length) else {
            return Ok(());
        };
        if is_control(&frame.header) {
            return Ok(());
        }
        self.is_fragmented = !frame.header.is_final;
        if self.is_fragmented {
            return Ok(());
        }
        let Some(text) = self.text.take() else {
            return Ok(());
        };
        let text = std::str::from_utf8(&text).map_err(|_| Violation::Malformed)?;
        judge(text, session)
    }
}

impl Frame {
    fn unmask(&self, payload: &[u8], text: &mut Vec<u8>) {
        // Only the place within the mask matters, so the low bits are enough.
        let start = (self.read & 3) as usize;
        text.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ self.mask[(start + i) & 3]));
    }
}

fn is_control(header: &FrameHeader) -> bool {
    matches!(header.opcode, OpCode::Control(_))
}

#[cfg(test)]
mod tests {
    use super::{super::MAX_PAYLOAD_BYTES, *};

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 11, 13, 17];
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i & 3]));
        bytes
    }

    /// Fed whole, and byte by byte: the verdict must not depend on how the bytes come in.
    fn fate(bytes: &[u8]) -> Result<(), Violation> {
        let whole = Tap::default().feed(bytes, &Connection::for_tests());
        let (mut tap, session) = (Tap::default(), Connection::for_tests());
        let bytewise = bytes.iter().try_for_each(|byte| tap.feed(&[*byte], &session));
        assert_eq!(whole, bytewise);
        whole
    }

    #[test]
    fn a_packet_is_judged_however_its_bytes_come_in() {
        assert_eq!(fate(&frame(0x81, br#"42/notifications,["ping"]"#)), Ok(()));
        assert_eq!(fate(&frame(0x81, b"42[")), Err(Violation::Malformed));
    }

    #[test]
    fn a_fragmented_packet_is_judged_as_one_and_control_frames_may_come_between() {
        let mut bytes = frame(0x01, b"40/notifi");
        bytes.extend(frame(0x89, b"keep-alive"));
        bytes.extend(frame(0x80, b"cations,"));
        assert_eq!(fate(&bytes), Ok(()));
        bytes.extend(frame(0x01, b"40/notifi"));
        bytes.extend(frame(0x00, b""));
        bytes.extend(frame(0x80, b"cations,"));
        assert_eq!(fate(&bytes), Err(Violation::SecondConnect));
    }

    #[test]
    fn binary_messages_are_left_to_the_library() {
        assert_eq!(fate(&frame(0x82, b"42[")), Ok(()));
    }

    #[test]
    fn a_message_above_the_limit_is_a_violation_before_it_has_come() {
        let mut header = vec![0x81, 0x80 | 127];
        header.extend((MAX_PAYLOAD_BYTES as u64 + 1).to_be_bytes());
        header.extend([0; 4]);
        assert_eq!(fate(&header), Err(Violation::TooLarge));
        let mut pieces = Vec::new();
        for i in 0..=4 {
            pieces.extend(frame(if i == 0 { 0x01 } else { 0x00 }, &[b'x'; 65_000]));
        }
        assert_eq!(fate(&pieces), Err(Violation::TooLarge));
    }

    #[test]
    fn frames_that_no_client_may_send_are_violations() {
        assert_eq!(fate(&[0x81, 0x01, b'2']), Err(Violation::Malformed));
        assert_eq!(fate(&frame(0x83, b"")), Err(Violation::Malformed));
        assert_eq!(fate(&frame(0x81, &[0xff, 0xfe])), Err(Violation::Malformed));
    }

    #[test]
    fn a_close_frame_means_that_nothing_more_can_be_handed_over() {
        let session = Connection::for_tests();
        Tap::default().feed(&frame(0x88, b""), &session).unwrap();
        assert!(session.has_left(session.membership()));
    }
}
