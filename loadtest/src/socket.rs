//! A light Socket.IO client over WebSocket: it connects, answers pings, acknowledges and shows packets where they lie. Parses
//! nothing that it need not, so that thousands fit into one process and a million packets a second through it.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use notify_conformance::tls::Bytes;
use serde_json::json;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    time::timeout,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{
    http::Address,
    wire::{self, Frame, Frames, Malformed},
};

/// How long a connect may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// As much as one read takes at most.
const READ_BYTES: usize = 64 * 1024;
/// No server answers an upgrade with more.
const HEAD_BYTES: usize = 16 * 1024;
/// What an answered CONNECT begins with.
const CONNECTED: &str = "40/notifications,";
/// What an event begins with.
pub const EVENT: &[u8] = b"42/notifications,";

thread_local! {
    /// Nothing lies in it from one read to the next, so that all connections of a thread share it.
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// A connected client.
#[derive(Debug)]
pub struct Socket {
    stream: Box<dyn Bytes>,
    frames: Frames,
    /// What the server gets next: answers to pings, acknowledgements.
    owed: Vec<u8>,
    /// Packets that came together with one that was waited for.
    waiting: VecDeque<Vec<u8>>,
    acknowledges: bool,
}

/// What a client does as not all do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Habits {
    /// It acknowledges every event that asks for it.
    pub acknowledges: bool,
    /// The kernel takes no more than about so many bytes that it has not read.
    pub receive_buffer: Option<u32>,
}

/// Why there is no connection, or none any more.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The server cannot be reached.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The server answered the upgrade with something else.
    #[error("no WebSocket: {0}")]
    NoUpgrade(String),
    /// What came is none.
    #[error("no WebSocket any more: {0}")]
    Malformed(#[from] Malformed),
    /// The server answered the CONNECT with something else.
    #[error("refused: {0}")]
    Refused(String),
    /// The server has closed the connection.
    #[error("closed by the server")]
    Closed,
    /// Nothing came in time.
    #[error("not connected within {CONNECT_LIMIT:?}")]
    TimedOut,
}

impl Socket {
    /// Connects with a token; returns once the server has answered the CONNECT.
    ///
    /// # Errors
    /// Where it refuses, or cannot be reached.
    pub async fn connect(address: &Address, token: &str, habits: Habits) -> Result<Self, SocketError> {
        timeout(CONNECT_LIMIT, Self::attempt(address, token, habits)).await.unwrap_or(Err(SocketError::TimedOut))
    }

    async fn attempt(address: &Address, token: &str, habits: Habits) -> Result<Self, SocketError> {
        let stream = match habits.receive_buffer {
            Some(bytes) => address.dial_with_buffer(bytes).await?,
            None => address.dial().await?,
        };
        let mut socket = Self {
            stream,
            frames: Frames::new(wire::From::Server),
            owed: Vec::new(),
            waiting: VecDeque::new(),
            acknowledges: habits.acknowledges,
        };
        socket.upgrade(address).await?;
        let open = socket.receive().await?;
        if !open.starts_with(b"0") {
            return Err(SocketError::Refused(beginning(&open)));
        }
        let auth = if habits.acknowledges { json!({"token": token, "ack": true}) } else { json!({"token": token}) };
        socket.owe(format!("{CONNECTED}{auth}").as_bytes());
        socket.pay().await?;
        let answer = socket.receive().await?;
        if answer.starts_with(CONNECTED.as_bytes()) {
            Ok(socket)
        } else {
            Err(SocketError::Refused(beginning(&answer)))
        }
    }

    /// RFC 6455, section 4.1.
    async fn upgrade(&mut self, address: &Address) -> Result<(), SocketError> {
        let key = BASE64_STANDARD.encode(rand::random::<[u8; 16]>());
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: {}:{}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n",
            address.host, address.port
        );
        self.stream.write_all(request.as_bytes()).await?;
        let mut came = Vec::with_capacity(512);
        let end = loop {
            if let Some(end) = memchr::memmem::find(&came, b"\r\n\r\n") {
                break end + 4;
            }
            if came.len() > HEAD_BYTES {
                return Err(SocketError::NoUpgrade("the head of the answer does not end".to_owned()));
            }
            if self.stream.read_buf(&mut came).await? == 0 {
                return Err(SocketError::Closed);
            }
        };
        let head = String::from_utf8_lossy(&came[..end]);
        if !is_upgraded(&head, &derive_accept_key(key.as_bytes())) {
            return Err(SocketError::NoUpgrade(head.lines().next().unwrap_or_default().to_owned()));
        }
        let Self { frames, owed, waiting, .. } = self;
        let is_closed = take(frames, &came[end..], owed, false, |packet| waiting.push_back(packet.to_vec()))?;
        if is_closed { Err(SocketError::Closed) } else { Ok(()) }
    }

    /// The next packet that is no ping; those are answered.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn receive(&mut self) -> Result<Vec<u8>, SocketError> {
        while self.waiting.is_empty() {
            let mut came = Vec::new();
            let read = self.read(READ_BYTES, |packet| came.push(packet.to_vec())).await;
            self.waiting.extend(came);
            if self.waiting.is_empty() {
                read?;
            }
        }
        self.waiting.pop_front().ok_or(SocketError::Closed)
    }

    /// Waits until something comes, takes at most `most` bytes of it, and shows each packet that is whole by now and no ping.
    /// Pings are answered, and events acknowledged that ask for it, all with one write. Returns how many bytes came.
    ///
    /// # Errors
    /// Where the connection is gone. Packets that came before were shown.
    pub async fn read(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> Result<usize, SocketError> {
        if !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            waiting.iter().for_each(|packet| each(packet));
            return Ok(waiting.iter().map(Vec::len).sum());
        }
        let Self { stream, frames, owed, acknowledges, .. } = self;
        let came = poll_fn(|context| {
            READ.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(&mut buffer[..most.clamp(1, READ_BYTES)]);
                ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
                let bytes = buffer.filled();
                let is_closed = take(frames, bytes, owed, *acknowledges, &mut each)?;
                let came = if bytes.is_empty() || is_closed { Err(SocketError::Closed) } else { Ok(bytes.len()) };
                Poll::Ready(came)
            })
        })
        .await?;
        self.pay().await?;
        Ok(came)
    }

    /// Leaves politely; returns once the server has closed the connection, and so has read that.
    pub async fn leave(mut self) {
        let left = async {
            self.owe(b"41/notifications,");
            self.owe(b"1");
            wire::write_close(&mut self.owed, Some(rand::random()));
            self.pay().await?;
            while self.read(READ_BYTES, |_| {}).await.is_ok() {}
            Ok::<_, SocketError>(())
        };
        // A connection that is gone has been left as well.
        let _ = timeout(CONNECT_LIMIT, left).await;
    }

    fn owe(&mut self, packet: &[u8]) {
        wire::write_text(&mut self.owed, packet, Some(rand::random()));
    }

    async fn pay(&mut self) -> Result<(), SocketError> {
        if !self.owed.is_empty() {
            self.stream.write_all(&self.owed).await?;
            self.owed.clear();
        }
        Ok(())
    }
}

/// Looks through what came; notes in `owed` what is to be answered. Returns whether the server has closed.
fn take(
    frames: &mut Frames,
    bytes: &[u8],
    owed: &mut Vec<u8>,
    acknowledges: bool,
    mut each: impl FnMut(&[u8]),
) -> Result<bool, Malformed> {
    let mut is_closed = false;
    frames.feed(bytes, |frame| match frame {
        Frame::Text(b"2") => wire::write_text(owed, b"3", Some(rand::random())),
        Frame::Text(packet) => {
            each(packet);
            if let Some(id) = ack_id(packet).filter(|_| acknowledges) {
                wire::write_text(owed, &[b"43/notifications,", id, b"[]"].concat(), Some(rand::random()));
            }
        }
        Frame::Ping(payload) => wire::write_pong(owed, payload, Some(rand::random())),
        Frame::Close => is_closed = true,
    })?;
    Ok(is_closed)
}

/// Whether the head of an answer is that of an upgrade with this `Sec-WebSocket-Accept`.
fn is_upgraded(head: &str, accept: &str) -> bool {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    status.starts_with("HTTP/1.1 101")
        && fields.any(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == accept)
}

/// The digits between the namespace and the arguments.
fn ack_id(packet: &[u8]) -> Option<&[u8]> {
    let after = packet.strip_prefix(EVENT)?;
    let end = after.iter().position(|byte| !byte.is_ascii_digit())?;
    (end > 0).then(|| &after[..end])
}

fn beginning(packet: &[u8]) -> String {
    String::from_utf8_lossy(packet).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_ask_for_an_acknowledgement() {
        assert_eq!(ack_id(br#"42/notifications,17["a",{"b":1}]"#), Some(b"17".as_slice()));
        assert_eq!(ack_id(br#"42/notifications,["a",{"b":1}]"#), None);
        assert_eq!(ack_id(b"40/notifications,{}"), None);
        assert_eq!(ack_id(b"42/notifications,17"), None);
    }

    #[test]
    fn an_upgrade_has_a_status_and_the_right_key() {
        let head = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept:  s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert!(is_upgraded(head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(!is_upgraded(head, "another"));
        assert!(!is_upgraded(&head.replace("101", "200"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(!is_upgraded("HTTP/1.1 101 Switching Protocols\r\n\r\n", ""));
    }

    /// What a client makes of a server that says this, in pieces of any size: the packets, and what it answers.
    fn made_of(said: &[u8], size: usize, acknowledges: bool) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, bool) {
        let (mut frames, mut owed, mut packets) = (Frames::new(wire::From::Server), Vec::new(), Vec::new());
        let mut is_closed = false;
        for piece in said.chunks(size) {
            let closed = take(&mut frames, piece, &mut owed, acknowledges, |packet| packets.push(packet.to_vec()));
            is_closed |= closed.expect("frames");
        }
        let mut answers = Vec::new();
        let read = Frames::new(wire::From::Client).feed(&owed, |frame| match frame {
            Frame::Text(text) => answers.push(text.to_vec()),
            other => panic!("{other:?}"),
        });
        read.expect("a client's frames");
        (packets, answers, is_closed)
    }

    #[test]
    fn pings_are_answered_and_events_shown_and_acknowledged_wherever_the_stream_is_cut() {
        let long = format!(r#"42/notifications,8["queued.events",["{}"]]"#, "x".repeat(70_000));
        let said =
            ["2", r#"42/notifications,7["a",{}]"#, "2", &long, r#"42/notifications,["a",{}]"#, r#"430[{"a":1}]"#];
        let mut bytes = Vec::new();
        said.iter().for_each(|text| wire::write_text(&mut bytes, text.as_bytes(), None));
        wire::write_close(&mut bytes, None);
        let shown: Vec<Vec<u8>> =
            said.iter().filter(|text| **text != "2").map(|text| text.as_bytes().to_vec()).collect();
        for size in [1, 2, 5, 64, 4_096, bytes.len()] {
            let (packets, answers, is_closed) = made_of(&bytes, size, false);
            assert!(packets == shown && is_closed, "{size}");
            assert_eq!(answers, [b"3", b"3"], "{size}");
            let (packets, answers, _) = made_of(&bytes, size, true);
            assert!(packets == shown, "{size}");
            let expected: [&[u8]; 4] = [b"3", b"43/notifications,7[]", b"3", b"43/notifications,8[]"];
            assert_eq!(answers, expected, "{size}");
        }
    }
}
