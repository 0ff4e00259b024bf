//! The answer to a poll. Its events count as sent when the connection has taken it, and not before.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{Session, gauge::events_in_payload};

pub(super) struct Answer {
    payload: Option<Bytes>,
    events: usize,
    session: Arc<Session>,
}

impl Answer {
    pub(super) fn new(payload: Bytes, session: Arc<Session>) -> Self {
        Self { events: events_in_payload(&payload), payload: Some(payload), session }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let Some(payload) = this.payload.take() else {
            return Poll::Ready(None);
        };
        if this.events == 0 {
            return Poll::Ready(Some(Ok(Frame::data(payload))));
        }
        // The whole of it at once; and nothing of it where the session was closed meanwhile, for then it was taken back.
        let taken = this.session.write(cx, |_| Poll::Ready(Ok(payload.len())), |_| this.events);
        taken.map(|taken| Some(taken.map(|_| Frame::data(payload))))
    }

    fn is_end_stream(&self) -> bool {
        self.payload.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.payload.as_ref().map_or(0, |payload| payload.len() as u64))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // The client went while it was being answered; what it misses cannot be put back in its place.
        if self.payload.is_some() && self.events > 0 {
            self.session.close();
        }
    }
}
