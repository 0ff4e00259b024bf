//! Reads the frames of a WebSocket client, and writes them anew for the library, one for each message that was judged. Pure: bytes in,
//! bytes or a verdict out.

use std::{io::Cursor, sync::Arc};

use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::{
    Violation,
    connection::Connection,
    packet::{judge, judge_attachment},
};

/// The longest header that a frame can have.
const MAX_HEADER_BYTES: usize = 14;

/// The longest payload of a control frame (RFC 6455, 5.5).
const MAX_CONTROL_BYTES: u64 = 125;

/// Follows the frames of one direction of one connection.
#[derive(Debug, Default)]
pub(crate) struct ClientFrames {
    /// The beginning of a header, until it is complete.
    header: Vec<u8>,
    frame: Option<Frame>,
    /// The message so far.
    message: Option<Message>,
}

#[derive(Debug)]
struct Frame {
    header: FrameHeader,
    mask: [u8; 4],
    read: u64,
    length: u64,
    /// Of a control frame.
    payload: Vec<u8>,
}

#[derive(Debug)]
struct Message {
    opcode: OpCode,
    payload: Vec<u8>,
}

impl ClientFrames {
    /// How much is held of a message that has begun.
    pub(crate) fn held_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.payload.capacity())
    }

    /// Takes the next bytes, and adds to `judged` the messages that they complete. After a violation the connection is to be closed and
    /// this is of no further use.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        session: &Arc<Connection>,
        judged: &mut Vec<u8>,
    ) -> Result<(), Violation> {
        while !bytes.is_empty() {
            match &mut self.frame {
                None => {
                    self.header.push(bytes[0]);
                    bytes = &bytes[1..];
                    self.begin(session)?;
                }
                Some(frame) => {
                    let left = usize::try_from(frame.length - frame.read).unwrap_or(usize::MAX);
                    let (masked, rest) = bytes.split_at(left.min(bytes.len()));
                    bytes = rest;
                    // Only the place within the mask matters, so the low bits are enough.
                    let (mask, start) = (frame.mask, (frame.read & 3) as usize);
                    frame.read += masked.len() as u64;
                    let payload = match &mut self.message {
                        Some(message) if !is_control(&frame.header) => &mut message.payload,
                        _ => &mut frame.payload,
                    };
                    payload.extend(masked.iter().enumerate().map(|(i, byte)| byte ^ mask[(start + i) & 3]));
                }
            }
            self.end(session, judged)?;
        }
        Ok(())
    }

    /// Begins a frame once its header is complete.
    fn begin(&mut self, session: &Arc<Connection>) -> Result<(), Violation> {
        let parsed = FrameHeader::parse(&mut Cursor::new(&self.header)).map_err(|_| Violation::Malformed)?;
        let Some((header, length)) = parsed else {
            return if self.header.len() < MAX_HEADER_BYTES { Ok(()) } else { Err(Violation::Malformed) };
        };
        self.header.clear();
        // A client has to mask (RFC 6455, 5.1), and no extension was agreed on.
        let mask = header.mask.filter(|_| !header.rsv1 && !header.rsv2 && !header.rsv3).ok_or(Violation::Malformed)?;
        match (header.opcode, &self.message) {
            (OpCode::Control(_), _) if !header.is_final || length > MAX_CONTROL_BYTES => {
                return Err(Violation::Malformed);
            }
            (OpCode::Control(Control::Close), _) => session.end(),
            (OpCode::Control(_), _) | (OpCode::Data(Data::Continue), Some(_)) => {}
            (OpCode::Data(Data::Continue), None) | (OpCode::Data(_), Some(_)) => return Err(Violation::Malformed),
            (opcode, None) => self.message = Some(Message { opcode, payload: Vec::new() }),
        }
        let so_far = self.message.as_ref().map_or(0, |message| message.payload.len()) as u64;
        if length.saturating_add(so_far) > session.early.max_message_bytes() as u64 {
            return Err(Violation::TooLarge);
        }
        self.frame = Some(Frame { header, mask, read: 0, length, payload: Vec::new() });
        Ok(())
    }

    /// Ends a frame whose payload is complete, and judges the message that it ends.
    fn end(&mut self, session: &Arc<Connection>, judged: &mut Vec<u8>) -> Result<(), Violation> {
        let Some(frame) = self.frame.take_if(|frame| frame.read == frame.length) else {
            return Ok(());
        };
        if is_control(&frame.header) {
            write(frame.header.opcode, &frame.payload, judged);
        } else if let Some(Message { opcode, payload }) = self.message.take_if(|_| frame.header.is_final) {
            let other = match opcode {
                OpCode::Data(Data::Text) => {
                    judge(std::str::from_utf8(&payload).map_err(|_| Violation::Malformed)?, session)?
                }
                _ => {
                    judge_attachment(session)?;
                    None
                }
            };
            write(opcode, other.as_ref().map_or(&payload, |other| other.as_bytes()), judged);
        }
        Ok(())
    }
}

/// Writes a frame as a client would, with a mask that changes nothing.
fn write(opcode: OpCode, payload: &[u8], to: &mut Vec<u8>) {
    let header = FrameHeader { opcode, mask: Some([0; 4]), ..FrameHeader::default() };
    header.format(payload.len() as u64, to).expect("memory can be written to");
    to.extend_from_slice(payload);
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

    /// What the library reads. Fed whole, and byte by byte: nothing must depend on how the bytes come in.
    fn judged(bytes: &[u8]) -> Result<Vec<u8>, Violation> {
        let (mut whole, mut bytewise) = (Vec::new(), Vec::new());
        let fate = ClientFrames::default().feed(bytes, &Connection::for_tests(), &mut whole);
        let (mut frames, session) = (ClientFrames::default(), Connection::for_tests());
        assert_eq!(fate, bytes.iter().try_for_each(|byte| frames.feed(&[*byte], &session, &mut bytewise)));
        assert_eq!(whole, bytewise);
        fate.map(|()| whole)
    }

    fn fate(bytes: &[u8]) -> Result<(), Violation> {
        judged(bytes).map(drop)
    }

    fn written(first: u8, payload: &str) -> Vec<u8> {
        [&[first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload.as_bytes()].concat()
    }

    #[test]
    fn by_chance_whatever_comes_is_judged_alike_however_it_comes() {
        const PACKET: &[&str] = &[
            "2",
            "3",
            "40/notifications,",
            "42/notifications,[\"ping\"]",
            "451-/notifications,[\"x\"]",
            "4",
            "[",
            "\"\\u0061\"",
            "",
        ];
        bolero::check!().with_max_len(64).for_each(|bytes: &[u8]| {
            judged(bytes).ok();
            // Frames, right but for their sequence and what is in them: the first byte says which.
            let mut frames = Vec::new();
            for part in bytes.chunks(4) {
                let first = [0x81, 0x01, 0x00, 0x80, 0x82, 0x89, 0x8a, 0x88, 0xc1][usize::from(part[0]) % 9];
                frames.extend(frame(first, crate::fragments::text(&part[1..], PACKET).as_bytes()));
            }
            if let Ok(read) = judged(&frames) {
                assert_eq!(judged(&read).as_ref(), Ok(&read), "what the library reads is right");
            }
        });
    }

    #[test]
    fn the_library_reads_whole_messages_and_names_without_escapes() {
        let mut bytes = frame(0x01, br#"42/notifications,["pi\u0"#);
        bytes.extend(frame(0x89, b"keep-alive"));
        bytes.extend(frame(0x80, br#"06eg"]"#));
        bytes.extend(frame(0x81, b"42/notifi"));
        let read = [written(0x89, "keep-alive"), written(0x81, r#"42/notifications,["ping"]"#)];
        assert_eq!(judged(&bytes[..bytes.len() - 1]).unwrap(), read.concat());
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
    fn a_binary_message_is_an_attachment_that_was_announced_whatever_is_in_it() {
        let (event, attachment) =
            (frame(0x81, br#"451-/notifications,["x",{"_placeholder":true,"num":0}]"#), frame(0x82, b"42["));
        assert_eq!(fate(&[&event[..], &attachment].concat()), Ok(()));
        assert_eq!(fate(&[&event[..], &attachment, &attachment].concat()), Err(Violation::Malformed));
        assert_eq!(fate(&attachment), Err(Violation::Malformed));
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
        assert_eq!(fate(&frame(0x80, b"x")), Err(Violation::Malformed));
        assert_eq!(fate(&frame(0xc1, b"x")), Err(Violation::Malformed));
        assert_eq!(fate(&frame(0x09, b"")), Err(Violation::Malformed));
        assert_eq!(fate(&frame(0x89, &[0; 126])), Err(Violation::Malformed));
        assert_eq!(fate(&[frame(0x01, b"4"), frame(0x81, b"2")].concat()), Err(Violation::Malformed));
    }

    #[test]
    fn a_close_frame_means_that_nothing_more_can_be_handed_over() {
        let session = Connection::for_tests();
        ClientFrames::default().feed(&frame(0x88, b""), &session, &mut Vec::new()).unwrap();
        assert!(session.has_left(session.membership()));
    }
}
