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

/// A stream that ends with an error where the client breaks the protocol or the session is closed; the library closes the
/// connection then.
pub(super) struct Watched {
    connection: Arc<Connection>,
    tap: Tap,
    /// What was read before the library was asked.
    replay: Vec<u8>,
    held_bytes: usize,
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
        Self { connection, tap: Tap::default(), replay, held_bytes: 0 }
    }

    /// Tells how much of a message is held, where that has changed by much.
    fn hold(&mut self) {
        let bytes = self.tap.held_bytes() & !(HELD_STEP - 1);
        if bytes != self.held_bytes {
            self.held_bytes = bytes;
            // The library holds as much again.
            self.connection.early.holds(2 * bytes);
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.replay.is_empty() {
            let length = self.replay.len().min(buf.remaining());
            buf.put_slice(&self.replay[..length]);
            self.replay.drain(..length);
            return Poll::Ready(Ok(()));
        }
        let may_pong = self.tap.is_between_frames() && buf.remaining() >= PONG.len();
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
        let before = buf.filled().len();
        ready!(this.read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        if fresh.is_empty() {
            this.connection.depart();
        } else if let Err(violation) = this.tap.feed(fresh, &this.connection) {
            tracing::debug!(%violation, "a connection is closed");
            violation.count(&this.connection);
            this.connection.depart();
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
        }
        this.hold();
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
