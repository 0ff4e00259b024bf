//! WebSocket frames as bytes (RFC 6455, section 5): found in what a stream brings, and written. Knows nothing of Socket.IO.
//!
//! A library hands out each message as an object of its own, which takes longer than a fast server needs to send it. Here what
//! one read has brought is looked through where it lies; only the beginning of a frame whose rest has not come is kept.

use thiserror::Error;

/// The longest message that is waited for; a queue of 50 events of 64 KiB is 3.2 MB.
const LONGEST_BYTES: usize = 64 * 1024 * 1024;
/// What a buffer may go on holding once the long frame in it was read.
const KEPT_BYTES: usize = 16 * 1024;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The side that frames come from: a client masks its own, a server does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Frames are not masked.
    Server,
    /// Frames are masked.
    Client,
}

/// What a stream has brought. Pongs and binary messages are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole text message; whether it is UTF-8 was not looked at.
    Text(&'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// The other side closes.
    Close,
}

/// Why what came is no WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// A bit that an extension would have to give a meaning.
    #[error("a reserved bit is set, and no extension was agreed on")]
    ReservedBit,
    /// An opcode without a meaning.
    #[error("the opcode {0:#x} has no meaning")]
    Opcode(u8),
    /// A server that masks, or a client that does not.
    #[error("a frame is masked where it must not be, or is not where it must")]
    Mask,
    /// A ping, pong or close that is too long, or in parts.
    #[error("a control frame is longer than 125 bytes, or in parts")]
    Control,
    /// A continuation of nothing, or a message within another.
    #[error("the parts of a message are out of order")]
    Order,
    /// Nobody sends that much.
    #[error("a message is longer than {LONGEST_BYTES} bytes")]
    TooLong,
}

/// The frames of one direction of a connection.
#[derive(Debug)]
pub struct Frames {
    from: From,
    /// The beginning of a frame whose rest has not come.
    kept: Vec<u8>,
    /// A message in several frames, as far as it has come.
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    is_text: bool,
    payload: Vec<u8>,
}

impl Frames {
    /// Those of a connection that has been upgraded just now.
    pub const fn new(from: From) -> Self {
        Self { from, kept: Vec::new(), parts: None }
    }

    /// Takes what came next on the stream, and shows every frame that is whole by now.
    ///
    /// # Errors
    /// Where it is no WebSocket; nothing that follows can be understood then.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame<'_>)) -> Result<(), Malformed> {
        while !self.kept.is_empty() {
            let head = Head::read(&self.kept, self.from)?;
            // Of a head that is not whole it is not known how long it is: byte by byte.
            let whole = head.as_ref().map_or(self.kept.len() + 1, Head::end);
            if let Some(head) = head.filter(|_| self.kept.len() == whole) {
                let mut frame = std::mem::take(&mut self.kept);
                self.show(&head, &frame, &mut each)?;
                frame.clear();
                frame.shrink_to(KEPT_BYTES);
                self.kept = frame;
                break;
            }
            let more = (whole - self.kept.len()).min(bytes.len());
            if more == 0 {
                return Ok(());
            }
            self.kept.extend_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
        }
        while let Some(head) = Head::read(bytes, self.from)? {
            let Some((frame, rest)) = bytes.split_at_checked(head.end()) else { break };
            self.show(&head, frame, &mut each)?;
            bytes = rest;
        }
        self.kept.extend_from_slice(bytes);
        Ok(())
    }

    fn show(&mut self, head: &Head, frame: &[u8], each: &mut impl FnMut(Frame<'_>)) -> Result<(), Malformed> {
        let payload = &frame[head.begin..];
        match self.from {
            From::Server => self.understand(head, payload, each),
            From::Client => {
                let mask = &frame[head.begin - 4..head.begin];
                let clear: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
                self.understand(head, &clear, each)
            }
        }
    }

    fn understand(&mut self, head: &Head, payload: &[u8], each: &mut impl FnMut(Frame<'_>)) -> Result<(), Malformed> {
        match (head.opcode, &mut self.parts) {
            (TEXT, None) if head.is_final => each(Frame::Text(payload)),
            (BINARY, None) if head.is_final => {}
            (TEXT | BINARY, parts @ None) => {
                *parts = Some(Parts { is_text: head.opcode == TEXT, payload: payload.to_vec() });
            }
            (CONTINUATION, Some(parts)) => {
                if parts.payload.len() + payload.len() > LONGEST_BYTES {
                    return Err(Malformed::TooLong);
                }
                parts.payload.extend_from_slice(payload);
                if let Some(whole) = self.parts.take_if(|_| head.is_final).filter(|whole| whole.is_text) {
                    each(Frame::Text(&whole.payload));
                }
            }
            (TEXT | BINARY | CONTINUATION, _) => return Err(Malformed::Order),
            (CLOSE, _) => each(Frame::Close),
            (PING, _) => each(Frame::Ping(payload)),
            (PONG, _) => {}
            (opcode, _) => return Err(Malformed::Opcode(opcode)),
        }
        Ok(())
    }
}

/// What stands before a payload.
#[derive(Debug)]
struct Head {
    opcode: u8,
    is_final: bool,
    /// Where in the frame the payload begins.
    begin: usize,
    /// Its length.
    length: usize,
}

impl Head {
    /// `None` where it is not whole.
    fn read(bytes: &[u8], from: From) -> Result<Option<Self>, Malformed> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Malformed::ReservedBit);
        }
        let is_masked = second & MASKED != 0;
        if is_masked != (from == From::Client) {
            return Err(Malformed::Mask);
        }
        let (length, begin) = match second & !MASKED {
            126 => match rest.first_chunk() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let head = Self {
            opcode: first & 0x0F,
            is_final: first & FINAL != 0,
            begin: begin + if is_masked { 4 } else { 0 },
            length: usize::try_from(length).ok().filter(|it| *it <= LONGEST_BYTES).ok_or(Malformed::TooLong)?,
        };
        if head.opcode >= CLOSE && (!head.is_final || head.length > 125) {
            return Err(Malformed::Control);
        }
        Ok((bytes.len() >= head.begin).then_some(head))
    }

    fn end(&self) -> usize {
        self.begin + self.length
    }
}

/// Appends a text message as one frame; with a mask it is a client's.
pub fn write_text(to: &mut Vec<u8>, text: &[u8], mask: Option<[u8; 4]>) {
    write(to, TEXT, text, mask);
}

/// Appends the answer to a ping.
pub fn write_pong(to: &mut Vec<u8>, payload: &[u8], mask: Option<[u8; 4]>) {
    write(to, PONG, payload, mask);
}

/// Appends a close without a reason.
pub fn write_close(to: &mut Vec<u8>, mask: Option<[u8; 4]>) {
    write(to, CLOSE, &[], mask);
}

fn write(to: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) {
    to.push(FINAL | opcode);
    let masked = if mask.is_some() { MASKED } else { 0 };
    match payload.len() {
        short @ 0..=125 => to.push(masked | short as u8),
        medium @ 126..=0xFFFF => {
            to.push(masked | 126);
            to.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            to.push(masked | 127);
            to.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    match mask {
        None => to.extend_from_slice(payload),
        Some(mask) => {
            to.extend_from_slice(&mask);
            to.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::{
        Message,
        protocol::{Role, WebSocket},
    };

    use super::*;

    const MASK: Option<[u8; 4]> = Some([7, 0, 255, 19]);

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Seen {
        Text(Vec<u8>),
        Ping(Vec<u8>),
        Close,
    }

    /// What is seen of a stream that comes in these pieces.
    fn seen<'a>(from: From, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Seen>, Malformed> {
        let (mut frames, mut all) = (Frames::new(from), Vec::new());
        for piece in pieces {
            frames.feed(piece, |frame| {
                all.push(match frame {
                    Frame::Text(text) => Seen::Text(text.to_vec()),
                    Frame::Ping(payload) => Seen::Ping(payload.to_vec()),
                    Frame::Close => Seen::Close,
                });
            })?;
        }
        Ok(all)
    }

    /// One message of every length at which the head changes, with control frames and a message in parts between them.
    fn stream(mask: Option<[u8; 4]>) -> (Vec<u8>, Vec<Seen>) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for length in [0, 1, 125, 126, 300, 65_535, 65_536] {
            let text: Vec<u8> = (0..length).map(|at| b'a' + (at % 26) as u8).collect();
            write_text(&mut bytes, &text, mask);
            expected.push(Seen::Text(text));
        }
        write(&mut bytes, BINARY, b"passed over", mask);
        write_pong(&mut bytes, b"passed over", mask);
        let first = bytes.len();
        write_text(&mut bytes, b"in three ", mask);
        bytes[first] &= !FINAL;
        let second = bytes.len();
        write(&mut bytes, CONTINUATION, b"par", mask);
        bytes[second] &= !FINAL;
        write(&mut bytes, PING, b"between", mask);
        write(&mut bytes, CONTINUATION, b"ts", mask);
        expected.extend([Seen::Ping(b"between".to_vec()), Seen::Text(b"in three parts".to_vec())]);
        write_close(&mut bytes, mask);
        expected.push(Seen::Close);
        (bytes, expected)
    }

    #[test]
    fn many_frames_in_one_read_are_all_seen() {
        for (from, mask) in [(From::Server, None), (From::Client, MASK)] {
            let (bytes, expected) = stream(mask);
            assert_eq!(seen(from, [bytes.as_slice()]), Ok(expected), "{from:?}");
        }
    }

    #[test]
    fn a_stream_may_be_cut_at_any_byte() {
        for (from, mask) in [(From::Server, None), (From::Client, MASK)] {
            let (bytes, expected) = stream(mask);
            // Cuts within a long payload are alike.
            let cuts = (0..bytes.len()).filter(|cut| *cut < 1_200 || *cut + 200 > bytes.len() || cut % 997 == 0);
            for cut in cuts {
                let (before, after) = bytes.split_at(cut);
                assert_eq!(seen(from, [before, after]), Ok(expected.clone()), "{from:?} at {cut}");
            }
        }
    }

    #[test]
    fn a_stream_may_come_byte_by_byte_or_in_pieces_of_any_size() {
        let (bytes, expected) = stream(None);
        for size in [1, 2, 3, 7, 1_000, 65_536] {
            assert_eq!(seen(From::Server, bytes.chunks(size)), Ok(expected.clone()), "{size}");
        }
    }

    #[test]
    fn what_is_written_is_what_another_implementation_reads() {
        let (bytes, expected) = stream(MASK);
        let mut other = WebSocket::from_raw_socket(std::io::Cursor::new(bytes), Role::Server, None);
        let texts = expected.into_iter().filter_map(|seen| match seen {
            Seen::Text(text) => Some(text),
            _ => None,
        });
        for text in texts {
            let read = loop {
                match other.read().expect("a frame") {
                    Message::Text(text) => break text,
                    _ => continue,
                }
            };
            assert_eq!(read.as_bytes(), text);
        }
    }

    #[test]
    fn what_is_no_websocket_is_named() {
        for (bytes, why) in [
            (vec![0xC1, 0], Malformed::ReservedBit),
            (vec![0x81, 0x80, 0, 0, 0, 0], Malformed::Mask),
            (vec![0x83, 0], Malformed::Opcode(3)),
            (vec![0x8B, 0], Malformed::Opcode(11)),
            (vec![0x89, 126, 0, 126], Malformed::Control),
            (vec![0x09, 0], Malformed::Control),
            (vec![0x80, 0], Malformed::Order),
            (vec![0x01, 0, 0x81, 0], Malformed::Order),
            (vec![0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0], Malformed::TooLong),
        ] {
            assert_eq!(seen(From::Server, [bytes.as_slice()]), Err(why), "{bytes:?}");
        }
        assert_eq!(seen(From::Client, [[0x81, 0].as_slice()]), Err(Malformed::Mask));
    }

    #[test]
    fn a_long_frame_leaves_no_long_buffer_behind() {
        let mut bytes = Vec::new();
        write_text(&mut bytes, &vec![b'x'; 3_000_000], None);
        let mut frames = Frames::new(From::Server);
        for piece in bytes.chunks(65_536) {
            frames.feed(piece, |_| {}).expect("frames");
        }
        assert!(frames.kept.is_empty() && frames.kept.capacity() <= KEPT_BYTES, "{}", frames.kept.capacity());
    }
}
