//! The stream of a WebSocket as the library sees it: what the client sends is judged, message by message, before the library reads it,
//! and what it is sent goes out in turns with our own frames.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf, copy_buf, sink},
    runtime::Handle,
    time::timeout,
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

use super::{
    LEAVING_PACKET,
    connection::{Connection, Stream},
    follower::Follower,
    tap::Tap,
};

/// How long a client that was closed may take to read what the system has taken for it.
const LINGER: Duration = Duration::from_secs(3);

/// How much of that is read at a time.
const LINGER_BYTES: usize = 256;

/// What a client has begun to say is told in steps of so many bytes.
const HELD_STEP: usize = 4 * 1024;

/// The end of a connection that was closed from here. Were the stream dropped at once, whatever the client says afterwards, a
/// pong perhaps, would be answered with a reset, and what the system still holds for the client would be gone.
async fn linger(stream: Box<dyn Stream>) {
    // All connections are closed at once where the process ends, so each holds little.
    let mut stream = BufReader::with_capacity(LINGER_BYTES, stream);
    let read_out = async {
        stream.shutdown().await?;
        copy_buf(&mut stream, &mut sink()).await
    };
    timeout(LINGER, read_out).await.ok();
}

/// A packet as a client sends it.
fn said(packet: &str) -> Vec<u8> {
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), mask: Some([0; 4]), ..FrameHeader::default() };
    let mut frame = Vec::new();
    header.format(packet.len() as u64, &mut frame).expect("a vector takes whatever is written to it");
    frame.extend_from_slice(packet.as_bytes());
    frame
}

/// A stream that ends with an error where the client breaks the protocol or the session is closed; the library closes the
/// connection then.
pub(super) struct Watched {
    connection: Arc<Connection>,
    tap: Tap,
    /// What was read before the library was asked, and is still to be judged.
    early: Vec<u8>,
    /// What the library is to read.
    judged: Bytes,
    held_bytes: usize,
    /// Of a client that was evicted: whether the library has read, as if the client had said so, that it leaves.
    was_told: bool,
}

impl Watched {
    /// Attaches a stream, from which this was read already.
    pub(super) fn new(
        connection: Arc<Connection>,
        stream: Box<dyn Stream>,
        follower: Follower,
        early: Vec<u8>,
    ) -> Self {
        connection.attach(stream, follower);
        let judged = Bytes::new();
        Self { connection, tap: Tap::default(), early, judged, held_bytes: 0, was_told: false }
    }

    /// Reads until there is a whole message; false where the client says nothing more.
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let (begin, mut judged) = (buf.filled().len(), Vec::new());
        while judged.is_empty() {
            if self.connection.was_evicted() {
                if std::mem::replace(&mut self.was_told, true) {
                    return self.connection.poll_closed(cx).map_ok(|()| false);
                }
                judged = said(LEAVING_PACKET);
                break;
            }
            let mut early = std::mem::take(&mut self.early);
            if early.is_empty()
                && let Some(packet) = ready!(self.connection.read(cx, buf))?
            {
                judged = said(&packet);
                break;
            }
            early.extend_from_slice(&buf.filled()[begin..]);
            buf.set_filled(begin);
            if early.is_empty() {
                self.connection.depart();
                return Poll::Ready(Ok(false));
            }
            if let Err(violation) = self.tap.feed(&early, &self.connection, &mut judged) {
                tracing::debug!(%violation, "a connection is closed");
                violation.count(&self.connection);
                self.connection.depart();
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
            }
            self.hold();
        }
        self.judged = judged.into();
        Poll::Ready(Ok(true))
    }

    /// Tells how much of a message is held, where that has changed by much.
    fn hold(&mut self) {
        let bytes = self.tap.held_bytes() & !(HELD_STEP - 1);
        if bytes != self.held_bytes {
            self.held_bytes = bytes;
            self.connection.early.holds(bytes);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let may_read_out = self.connection.was_closed() && !self.connection.was_evicted();
        if let (Some(stream), true, Ok(runtime)) = (self.connection.detach(), may_read_out, Handle::try_current()) {
            runtime.spawn(linger(stream));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.judged.is_empty() && !ready!(self.read(cx, buf))? {
            return Poll::Ready(Ok(()));
        }
        let length = self.judged.len().min(buf.remaining());
        buf.put_slice(&self.judged.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.with_stream(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.with_stream(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}
