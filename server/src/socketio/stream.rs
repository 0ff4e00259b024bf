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
    /// What was read before the library was asked, and is still to be judged.
    early: Vec<u8>,
    /// What the library is to read.
    judged: Bytes,
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
        Self { connection, tap: Tap::default(), early, judged: Bytes::new() }
    }

    /// Reads until there is a whole message; false where the client says nothing more.
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let (begin, mut judged) = (buf.filled().len(), Vec::new());
        while judged.is_empty() {
            let mut early = std::mem::take(&mut self.early);
            if early.is_empty() && ready!(self.connection.read(cx, buf))? {
                judged.extend_from_slice(PONG);
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
                self.connection.depart();
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
            }
        }
        self.judged = judged.into();
        Poll::Ready(Ok(true))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(stream), true, Ok(runtime)) =
            (self.connection.detach(), self.connection.was_closed(), Handle::try_current())
        {
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
