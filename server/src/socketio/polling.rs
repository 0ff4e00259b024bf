//! The answer to a poll: what the library has to say, then what waits in the outbox. An event counts as sent when the HTTP
//! connection has taken the last of the answer, and not before: a client reads it whole or not at all.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{carrier::Carrier, connection::Connection};
use crate::gate::InHand;

/// How much is handed to the HTTP connection at a time: it takes more when it has sent that.
const AT_ONCE_BYTES: usize = 16 * 1024;

pub(super) struct Answer {
    /// What the library says, until it was handed on.
    first: Option<Bytes>,
    /// Packets of the outbox that are still to come, and bytes.
    left: usize,
    bytes: usize,
    connection: Arc<Connection>,
    carrier: Option<Arc<Carrier>>,
    /// Until it was handed over.
    _in_hand: Option<InHand>,
}

impl Answer {
    /// An answer that begins with what the library says; so many packets follow, with so many bytes.
    pub(super) fn new(
        library: Bytes,
        (left, bytes): (usize, usize),
        connection: Arc<Connection>,
        carrier: Option<Arc<Carrier>>,
    ) -> Self {
        let first = match (library.is_empty(), left) {
            (true, _) => None,
            (false, 0) => Some(library),
            (false, _) => Some([&library[..], &[super::outbox::SEPARATOR]].concat().into()),
        };
        let in_hand = carrier.as_ref().map(|carrier| carrier.seat().begin());
        Self { first, left, bytes, connection, carrier, _in_hand: in_hand }
    }

    /// How many bytes are still to come.
    pub(super) fn len(&self) -> usize {
        self.first.as_ref().map_or(0, Bytes::len) + self.bytes
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if this.left == 0 {
            return Poll::Ready(None);
        }
        // Nothing of it where the session was closed meanwhile, for then it was taken back.
        let Some(bytes) = this.connection.answer(&mut this.left, AT_ONCE_BYTES) else {
            this.left = 0;
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        };
        this.bytes -= bytes.len();
        match (this.left, &this.carrier) {
            (0, Some(carrier)) => carrier.carries(&this.connection),
            (0, None) => this.connection.answer_sent(),
            _ => {}
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len() as u64)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.left > 0 {
            self.connection.abort_answer();
        }
    }
}
