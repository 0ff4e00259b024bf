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
    client_frames::ClientFrames,
    connection::{Connection, Stream},
    follower::Follower,
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
pub(super) struct ClientStream {
    connection: Arc<Connection>,
    frames: ClientFrames,
    /// What was read before the library was asked, and is still to be judged.
    early: Vec<u8>,
    /// What the library is to read.
    judged: Bytes,
    held_bytes: usize,
    /// Of a client that was evicted: whether the library has read, as if the client had said so, that it leaves.
    was_told: bool,
}

impl ClientStream {
    /// Attaches a stream, from which this was read already.
    pub(super) fn new(
        connection: Arc<Connection>,
        stream: Box<dyn Stream>,
        follower: Follower,
        early: Vec<u8>,
    ) -> Self {
        connection.attach(stream, follower);
        let judged = Bytes::new();
        Self { connection, frames: ClientFrames::default(), early, judged, held_bytes: 0, was_told: false }
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
            if early.is_empty() {
                let read = ready!(self.connection.read(cx, buf));
                if let Some(packet) = read.inspect_err(|_| self.connection.end())? {
                    judged = said(&packet);
                    break;
                }
            }
            early.extend_from_slice(&buf.filled()[begin..]);
            buf.set_filled(begin);
            if early.is_empty() {
                self.connection.end();
                return Poll::Ready(Ok(false));
            }
            if let Err(violation) = self.frames.feed(&early, &self.connection, &mut judged) {
                tracing::debug!(%violation, "a connection is closed");
                violation.count(&self.connection);
                self.connection.end();
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
            }
            self.hold();
        }
        self.judged = judged.into();
        Poll::Ready(Ok(true))
    }

    /// Tells how much of a message is held, where that has changed by much.
    fn hold(&mut self) {
        let bytes = self.frames.held_bytes() & !(HELD_STEP - 1);
        if bytes != self.held_bytes {
            self.held_bytes = bytes;
            self.connection.early.holds(bytes);
        }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let may_read_out = self.connection.was_closed() && !self.connection.was_evicted();
        if let (Some(stream), true, Ok(runtime)) = (self.connection.detach(), may_read_out, Handle::try_current()) {
            runtime.spawn(linger(stream));
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.judged.is_empty() && !ready!(self.read(cx, buf))? {
            return Poll::Ready(Ok(()));
        }
        let length = self.judged.len().min(buf.remaining());
        buf.put_slice(&self.judged.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt;

    use super::{
        super::{follower::PING, outbox::Handed},
        *,
    };
    use crate::frame;

    /// A line that takes so many bytes and no more, and has ended in this way as soon as somebody reads.
    struct Stuck {
        takes: usize,
        end: Result<(), io::ErrorKind>,
    }

    impl AsyncRead for Stuck {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(self.end.map_err(io::Error::from))
        }
    }

    impl AsyncWrite for Stuck {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let bytes = buf.len().min(self.takes);
            self.takes -= bytes;
            if bytes == 0 { Poll::Pending } else { Poll::Ready(Ok(bytes)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A client that was let in, on a line that takes the beginning of its queue.
    async fn in_the_midst_of_a_queue(end: Result<(), io::ErrorKind>) -> (Arc<Connection>, ClientStream) {
        let answer = b"\x81\x1c40/notifications,{\"sid\":\"x\"}";
        let connection = Connection::for_tests();
        assert!(connection.enter(""));
        let stuck = Stuck { takes: answer.len() + 10, end };
        let mut stream = ClientStream::new(connection.clone(), Box::new(stuck), Follower::default(), Vec::new());
        // The first is kept from the client.
        stream.write_all(PING).await.unwrap();
        stream.write_all(answer).await.unwrap();
        let queue = frame::queued_events([r#"{"eventId":"1"}"#].into_iter(), "");
        assert!(connection.offer_queue(connection.membership(), queue, Handed::Kept));
        (connection, stream)
    }

    #[tokio::test]
    async fn the_library_need_not_wait_with_what_it_says_and_its_last_word_is_heard_at_once() {
        let (connection, mut stream) = in_the_midst_of_a_queue(Ok(())).await;
        for _ in 0..10 {
            stream.write_all(PING).await.unwrap();
        }
        assert!(!connection.has_left(connection.membership()));
        stream.write_all(b"\x88\x00").await.unwrap_err();
        assert!(connection.has_left(connection.membership()));
    }

    /// The library writes in a task of its own, and lets go of the stream when that is done.
    async fn a_write_ends_with_the_line(end: Result<(), io::ErrorKind>) {
        let (connection, mut stream) = in_the_midst_of_a_queue(end).await;
        let cx = &mut Context::from_waker(Waker::noop());
        while Pin::new(&mut stream).poll_write(cx, PING).is_ready() {}
        let (mut reads, mut writes) = tokio::io::split(stream);
        let writes = tokio::spawn(async move { writes.write_all(PING).await });
        tokio::task::yield_now().await;
        // However it ends.
        reads.read_to_end(&mut Vec::new()).await.ok();
        let written = timeout(Duration::from_secs(5), writes).await.expect("the write ends").unwrap();
        assert!(written.is_err(), "nobody is there to read it");
        assert!(connection.has_left(connection.membership()));
    }

    #[tokio::test]
    async fn what_the_library_writes_to_a_line_that_was_reset_or_closed_fails() {
        a_write_ends_with_the_line(Err(io::ErrorKind::ConnectionReset)).await;
        a_write_ends_with_the_line(Ok(())).await;
    }
}
