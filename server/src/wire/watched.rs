//! The stream of a WebSocket, watched in both directions: what the client sends is judged, what it is sent is counted.

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

use super::{Session, gauge::Gauge, tap::Tap};

/// How long a client that was closed may take to read what the system has taken for it.
const LINGER: Duration = Duration::from_secs(3);

/// The end of a connection that was closed from here. Were the stream dropped at once, whatever the client says afterwards, a
/// pong perhaps, would be answered with a reset, and what the system still holds for the client would be gone.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let read_out = async {
        stream.shutdown().await?;
        copy(&mut stream, &mut sink()).await
    };
    timeout(LINGER, read_out).await.ok();
}

/// A stream that ends with an error where the client breaks the protocol or the session is closed; the library closes the
/// connection then.
pub(crate) struct Watched<S: Stream> {
    /// There until the end.
    stream: Option<S>,
    tap: Tap,
    gauge: Gauge,
    session: Arc<Session>,
    /// What to do where the upgrade of a polling session has failed.
    abandon: Option<Box<dyn FnOnce() + Send>>,
}

/// What can be watched.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

impl<S: Stream> Watched<S> {
    pub(crate) fn new(stream: S, session: Arc<Session>, abandon: Option<Box<dyn FnOnce() + Send>>) -> Self {
        Self { stream: Some(stream), tap: Tap::default(), gauge: Gauge::default(), session, abandon }
    }
}

impl<S: Stream> Drop for Watched<S> {
    fn drop(&mut self) {
        self.session.depart();
        if self.session.was_closed()
            && let (Some(stream), Ok(runtime)) = (self.stream.take(), Handle::try_current())
        {
            runtime.spawn(linger(stream));
        }
        // The library pauses the session for an upgrade and, on this path, never takes it up again: without this a client
        // that goes away in the middle would leave a session that lives for ever and swallows events.
        if !self.tap.upgraded()
            && let Some(abandon) = self.abandon.take()
        {
            abandon();
        }
    }
}

impl<S: Stream> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.session.check_reading(cx)?;
        let before = buf.filled().len();
        ready!(pinned(&mut this.stream)?.poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        if fresh.is_empty() {
            this.session.depart();
        } else if let Err(violation) = this.tap.feed(fresh, &this.session) {
            tracing::debug!(%violation, "a connection is closed");
            this.session.depart();
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, gauge, session, .. } = &mut *self;
        let mut stream = pinned(stream)?;
        session.write(cx, |cx| stream.as_mut().poll_write(cx, buf), |written| gauge.feed(&buf[..written]))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pinned(&mut self.stream)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pinned(&mut self.stream)?.poll_shutdown(cx)
    }
}

fn pinned<S: Stream>(stream: &mut Option<S>) -> io::Result<Pin<&mut S>> {
    stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
}
