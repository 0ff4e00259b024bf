//! The stream of a WebSocket as the library sees it: what the client sends is judged on its way, and what it is sent goes out in turns
//! with our own frames.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink},
    runtime::Handle,
    time::timeout,
};

use super::{
    LEAVING_PACKET,
    connection::{Connection, Stream},
    follower::Follower,
    tap::Tap,
};

/// How long a client that was closed may take to read what the system has taken for it.
const LINGER: Duration = Duration::from_secs(3);

/// What a client has begun to say is told in steps of so many bytes.
const HELD_STEP: usize = 4 * 1024;

/// The answer to a ping, as a client sends it.
const PONG: &[u8] = b"\x81\x81\0\0\0\x003";

/// The end of a connection that was closed from here. Were the stream dropped at once, whatever the client says afterwards, a
/// pong perhaps, would be answered with a reset, and what the system still holds for the client would be gone.
async fn linger(mut stream: Box<dyn Stream>) {
    let read_out = async {
        stream.shutdown().await?;
        copy(&mut stream, &mut sink()).await
    };
    timeout(LINGER, read_out).await.ok();
}

/// Moves what there is room for; false where there is nothing.
fn give(bytes: &mut Vec<u8>, buf: &mut ReadBuf<'_>) -> bool {
    let length = bytes.len().min(buf.remaining());
    buf.put_slice(&bytes[..length]);
    bytes.drain(..length);
    if bytes.is_empty() {
        *bytes = Vec::new();
    }
    length > 0
}

/// The CONNECT of a client that has to leave.
fn leaving() -> Vec<u8> {
    let length = u8::try_from(LEAVING_PACKET.len()).expect("it is a short packet");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], LEAVING_PACKET.as_bytes()].concat()
}

/// A stream that ends with an error where the client breaks the protocol or the session is closed; the library closes the
/// connection then.
pub(super) struct Watched {
    connection: Arc<Connection>,
    tap: Tap,
    /// What was read before the library was asked.
    replay: Vec<u8>,
    /// Of a client that was not let in: what has come of a message that is not whole, and what was whole. The library is given whole
    /// messages, so that it can be told at any time that the client leaves.
    held: Vec<u8>,
    whole: Vec<u8>,
    held_bytes: usize,
    was_told: bool,
}

impl Watched {
    /// Attaches a stream, from which this was read already.
    pub(super) fn new(
        connection: Arc<Connection>,
        stream: Box<dyn Stream>,
        follower: Follower,
        replay: Vec<u8>,
    ) -> Self {
        connection.attach(stream, follower);
        let (held, whole) = (Vec::new(), Vec::new());
        Self { connection, tap: Tap::default(), replay, held, whole, held_bytes: 0, was_told: false }
    }

    /// Tells how much of a message is held, where that has changed by much.
    fn hold(&mut self) {
        let bytes = (self.tap.held_bytes() + self.held.capacity()) & !(HELD_STEP - 1);
        if bytes != self.held_bytes {
            self.held_bytes = bytes;
            self.connection.early.holds(bytes);
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if give(&mut self.replay, buf) {
            return Poll::Ready(Ok(()));
        }
        let may_pong = self.tap.is_between_messages() && buf.remaining() >= PONG.len();
        if ready!(self.connection.read(cx, buf, may_pong))? {
            buf.put_slice(PONG);
        }
        Poll::Ready(Ok(()))
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
        let this = &mut *self;
        loop {
            if give(&mut this.whole, buf) {
                return Poll::Ready(Ok(()));
            }
            if this.connection.was_evicted() {
                if std::mem::replace(&mut this.was_told, true) {
                    return this.connection.poll_closed(cx);
                }
                this.whole = leaving();
                continue;
            }
            let before = buf.filled().len();
            ready!(this.read(cx, buf))?;
            let fresh = &buf.filled()[before..];
            if fresh.is_empty() {
                this.connection.depart();
                return Poll::Ready(Ok(()));
            }
            if let Err(violation) = this.tap.feed(fresh, &this.connection) {
                tracing::debug!(%violation, "a connection is closed");
                violation.count(&this.connection);
                this.connection.depart();
                buf.set_filled(before);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
            }
            let is_whole = this.connection.early.is_over() || this.tap.is_between_messages();
            if is_whole && this.held.is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.held.extend_from_slice(fresh);
            buf.set_filled(before);
            if is_whole {
                this.whole = std::mem::take(&mut this.held);
            }
            this.hold();
        }
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
