//! The stream of a WebSocket, watched in both directions: what the client sends is judged, what it is sent is counted.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Session, gauge::Gauge, tap::Tap};

/// A stream that ends with an error where the client breaks the protocol or the session is closed; the library closes the
/// connection then.
pub(crate) struct Watched<S> {
    stream: S,
    tap: Tap,
    gauge: Gauge,
    session: Arc<Session>,
    /// What to do where the upgrade of a polling session has failed.
    abandon: Option<Box<dyn FnOnce() + Send>>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S, session: Arc<Session>, abandon: Option<Box<dyn FnOnce() + Send>>) -> Self {
        Self { stream, tap: Tap::default(), gauge: Gauge::default(), session, abandon }
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        self.session.depart();
        // The library pauses the session for an upgrade and, on this path, never takes it up again: without this a client
        // that goes away in the middle would leave a session that lives for ever and swallows events.
        if !self.tap.upgraded()
            && let Some(abandon) = self.abandon.take()
        {
            abandon();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.session.check_reading(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, gauge, session, .. } = &mut *self;
        session.write(cx, |cx| Pin::new(stream).poll_write(cx, buf), |written| gauge.feed(&buf[..written]))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
