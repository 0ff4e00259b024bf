//! The TCP connection beneath HTTP requests. An answer to a poll was handed to the HTTP server long before the system
//! has all of it; so its session is told here when the last byte was written, and its events count as sent then. Where
//! the connection breaks before, the session is closed: nobody knows how much of the answer the client has.

use std::{
    io::{self, Write},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::connection::Connection;
use crate::{
    gate::{InHand, Seat},
    mutex::Mutex,
};

/// Up to how many bytes pieces are copied together: one piece goes by `send`, which takes the kernel less than `writev`.
const LITTLE: usize = 1_024;

/// Goes with each request of the connection.
pub(crate) struct Carrier {
    seat: Arc<Seat>,
    /// The session of the answer that ends with the next bytes.
    answered: Mutex<Option<Weak<Connection>>>,
}

impl Carrier {
    pub(crate) fn new(seat: Arc<Seat>) -> Arc<Self> {
        Arc::new(Self { seat, answered: Mutex::default() })
    }

    /// Where its requests are counted.
    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// Whether nothing is lost where it is closed.
    pub(crate) fn may_go(&self) -> bool {
        self.seat.may_go() && self.answered.lock().is_none()
    }

    /// The HTTP server was handed the last of an answer to this session.
    pub(super) fn carries(&self, session: &Arc<Connection>) {
        *self.answered.lock() = Some(Arc::downgrade(session));
    }

    /// Writes all of this many bytes, or some; where an answer ends with them, its session is told.
    fn write(&self, bytes: usize, write: impl FnOnce() -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let Some(session) = self.answered.lock().clone() else { return write() };
        // Where the session is gone, what the answer carries was taken back.
        let Some(session) = session.upgrade() else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        let written = session.end_answer(bytes, write);
        if matches!(written, Poll::Ready(Ok(length)) if length == bytes) {
            *self.answered.lock() = None;
        }
        written
    }

    /// The connection has ended with an error.
    pub(crate) fn broke(&self) {
        let session = self.answered.lock().as_ref().and_then(Weak::upgrade);
        if let Some(session) = session {
            session.close();
        }
    }
}

/// The stream of a connection. Its carrier learns when the system has all of an answer.
pub(crate) struct Carried {
    stream: TcpStream,
    carrier: Arc<Carrier>,
    /// It is a WebSocket by now.
    upgraded: Option<InHand>,
}

impl Carried {
    pub(crate) fn new(stream: TcpStream, carrier: Arc<Carrier>) -> Self {
        Self { stream, carrier, upgraded: None }
    }

    /// The stream for something else than HTTP.
    pub(super) fn upgraded(self) -> Self {
        let in_hand = self.carrier.seat.begin();
        Self { upgraded: Some(in_hand), ..self }
    }

    fn write(
        &mut self,
        bytes: usize,
        write: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        match self.upgraded {
            Some(_) => write(stream),
            None => self.carrier.write(bytes, || write(stream)),
        }
    }
}

impl AsyncRead for Carried {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.upgraded.is_none() && buf.filled().len() > before {
            self.carrier.seat.read();
        }
        read
    }
}

impl AsyncWrite for Carried {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write(buf.len(), |stream| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        if let [one] = bufs {
            return self.poll_write(cx, one);
        }
        if bytes <= LITTLE {
            let mut together = [0; LITTLE];
            let mut rest = &mut together[..];
            for buf in bufs {
                rest.write_all(buf)?;
            }
            return self.poll_write(cx, &together[..bytes]);
        }
        self.get_mut().write(bytes, |stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::IoSlice, net::Ipv4Addr, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        gate::{Bounds, Gate},
        proxies::TrustedProxies,
    };

    /// A stream and its other end.
    async fn carried() -> (Carried, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (here, peer) = listener.accept().await.unwrap();
        let gate = Gate::new(Bounds::default(), TrustedProxies::default());
        let seat = gate.seat(peer.ip(), Duration::from_secs(1)).await.unwrap();
        (Carried::new(here, Carrier::new(seat)), there)
    }

    #[tokio::test]
    async fn pieces_arrive_whole_and_in_order_however_many_and_large_they_are() {
        let sizes: [&[usize]; 7] =
            [&[5], &[LITTLE + 1], &[0, 3, 0, 4], &[1, LITTLE - 1], &[1, LITTLE], &[300; 64], &[70_000, 1, 2_000_000]];
        for (pieces, upgraded) in sizes.iter().flat_map(|pieces| [(pieces, false), (pieces, true)]) {
            let (carried, mut there) = carried().await;
            let mut carried = if upgraded { carried.upgraded() } else { carried };
            let bytes: Vec<u8> = (0..pieces.iter().sum::<usize>()).map(|place| (place % 251) as u8).collect();
            let expected = bytes.clone();
            let received = tokio::spawn(async move {
                let mut received = Vec::new();
                there.read_to_end(&mut received).await.unwrap();
                received
            });
            let mut rest = &bytes[..];
            let mut slices: Vec<_> = pieces.iter().map(|size| IoSlice::new(rest.split_off(..*size).unwrap())).collect();
            let mut left = &mut slices[..];
            while !left.is_empty() {
                let written = carried.write_vectored(left).await.unwrap();
                IoSlice::advance_slices(&mut left, written);
            }
            carried.shutdown().await.unwrap();
            assert_eq!(received.await.unwrap(), expected, "{pieces:?}");
        }
    }
}
