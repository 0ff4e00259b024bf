//! An event as it goes over the line: a Socket.IO packet, written once as a whole WebSocket frame. Pure; knows nothing of
//! connections, and of events only that they have a name and arguments that are JSON.

use std::io::Write;

use axum::body::Bytes;

/// The namespace, and the only one (TRANS-05).
pub(crate) const NAMESPACE: &str = "/notifications";

/// How a packet of an event begins, for Engine.IO and Socket.IO, before the id of its acknowledgement.
pub(crate) const EVENT: &str = "42/notifications,";

/// The longest header of a frame that a server sends.
const MAX_HEADER: usize = 10;

/// Frames longer than these have longer headers (RFC 6455, 5.2).
const SHORT: usize = 125;
const MEDIUM: usize = u16::MAX as usize;

/// A text frame. Cheap to clone: the bytes are shared.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The header of the frame and the beginning of the packet; all of it, where nobody has to acknowledge.
    head: Bytes,
    header: u8,
    /// The rest of the packet.
    tail: Bytes,
}

impl Frame {
    /// The same event with the request to be acknowledged under this id. The arguments stay where they are.
    pub(crate) fn asking(&self, id: u64) -> Self {
        let arguments = self.head.slice(usize::from(self.header) + EVENT.len()..);
        let mut buffer = Buffer::new(EVENT.len() + 20);
        write!(buffer.0, "{EVENT}{id}").expect("memory can be written to");
        let length = buffer.0.len() - MAX_HEADER + arguments.len();
        let (start, header) = buffer.begin(length);
        Self { head: Bytes::copy_from_slice(&buffer.0[start..]), header, tail: arguments }
    }

    /// How many bytes the frame has.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// The frame, for a WebSocket.
    pub(crate) fn parts(&self) -> [&Bytes; 2] {
        [&self.head, &self.tail]
    }

    /// The packet without the header of the frame, for polling.
    pub(crate) fn packet(&self) -> [Bytes; 2] {
        [self.head.slice(usize::from(self.header)..), self.tail.clone()]
    }

    /// How many bytes the packet has.
    pub(crate) fn packet_len(&self) -> usize {
        self.len() - usize::from(self.header)
    }

    /// The text of the packet from `start` to `end`; only of a frame that is in one piece.
    pub(crate) fn text(&self, start: usize, end: usize) -> &str {
        let header = usize::from(self.header);
        std::str::from_utf8(&self.head[header + start..header + end]).expect("a packet is text")
    }
}

/// Writes an event: its name and its one argument, as `argument` writes it. Tells where in the packet the argument stands.
pub(crate) fn event(name: &str, size_hint: usize, argument: impl FnOnce(&mut Vec<u8>)) -> (Frame, (usize, usize)) {
    let mut buffer = Buffer::new(EVENT.len() + name.len() + 5 + size_hint);
    write!(buffer.0, "{EVENT}[\"{name}\",").expect("memory can be written to");
    let start = buffer.0.len() - MAX_HEADER;
    argument(&mut buffer.0);
    let end = buffer.0.len() - MAX_HEADER;
    buffer.0.push(b']');
    (buffer.finish(), (start, end))
}

/// Writes `queued.events` with these payloads, and what follows them.
pub(crate) fn queued_events<'a>(payloads: impl Iterator<Item = &'a str> + Clone, rest: &str) -> Frame {
    let size = payloads.clone().map(|payload| payload.len() + 1).sum::<usize>();
    let mut buffer = Buffer::new(EVENT.len() + size + rest.len() + 24);
    write!(buffer.0, "{EVENT}[\"queued.events\",[").expect("memory can be written to");
    for (place, payload) in payloads.enumerate() {
        if place > 0 {
            buffer.0.push(b',');
        }
        buffer.0.extend_from_slice(payload.as_bytes());
    }
    buffer.0.push(b']');
    buffer.0.extend_from_slice(rest.as_bytes());
    buffer.0.push(b']');
    buffer.finish()
}

/// A packet with room before it for the header of the frame, whose length is known in the end.
struct Buffer(Vec<u8>);

impl Buffer {
    fn new(packet: usize) -> Self {
        let mut bytes = Vec::with_capacity(MAX_HEADER + packet);
        bytes.extend_from_slice(&[0; MAX_HEADER]);
        Self(bytes)
    }

    /// Writes the header for a payload of this length; where it begins, and its length.
    fn begin(&mut self, payload: usize) -> (usize, u8) {
        let header: &mut [u8] = &mut self.0[..MAX_HEADER];
        let start = match payload {
            0..=SHORT => {
                header[9] = payload as u8;
                8
            }
            126..=MEDIUM => {
                header[7] = 126;
                header[8..].copy_from_slice(&(payload as u16).to_be_bytes());
                6
            }
            _ => {
                header[1] = 127;
                header[2..].copy_from_slice(&(payload as u64).to_be_bytes());
                0
            }
        };
        // A text that ends with this frame.
        header[start] = 0x81;
        (start, (MAX_HEADER - start) as u8)
    }

    fn finish(mut self) -> Frame {
        let (start, header) = self.begin(self.0.len() - MAX_HEADER);
        // As long as it is and no longer, for many may wait.
        Frame { head: Bytes::copy_from_slice(&self.0[start..]), header, tail: Bytes::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

    use super::*;

    fn read(frame: &Frame) -> String {
        let bytes = frame.parts().map(|part| part.to_vec()).concat();
        let mut cursor = Cursor::new(&bytes[..]);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        assert!(header.is_final && header.mask.is_none());
        let payload = &bytes[usize::try_from(cursor.position()).unwrap()..];
        assert_eq!(payload.len() as u64, length);
        assert_eq!(
            (frame.packet().map(|part| part.to_vec()).concat(), frame.packet_len()),
            (payload.to_vec(), payload.len())
        );
        String::from_utf8(payload.to_vec()).unwrap()
    }

    #[test]
    fn an_event_of_any_length_is_a_frame() {
        for length in [1, 60, 90, 91, 92, 100, 125, 126, 1_000, 65_000, 65_500, 65_536, 70_000] {
            let json = format!("\"{}\"", "x".repeat(length));
            let (frame, (start, end)) = event("a.b", json.len(), |buffer| buffer.extend_from_slice(json.as_bytes()));
            assert_eq!(read(&frame), format!("42/notifications,[\"a.b\",{json}]"));
            assert_eq!(frame.text(start, end), json);
            assert_eq!(read(&frame.asking(u64::MAX)), format!("42/notifications,{}[\"a.b\",{json}]", u64::MAX));
        }
    }

    #[test]
    fn a_queue_is_one_event() {
        assert_eq!(read(&queued_events(["1", "{}"].into_iter(), "")), r#"42/notifications,["queued.events",[1,{}]]"#);
        let told = queued_events(std::iter::empty(), ",{\"dropped\":1}");
        assert_eq!(read(&told.asking(7)), r#"42/notifications,7["queued.events",[],{"dropped":1}]"#);
    }
}
