//! An Engine.IO connection that hides nothing: opened over either transport, upgraded on demand, fed raw text.
//!
//! Answers the server's pings by itself, where it was not told to leave them; everything else is the caller's. Knows nothing of
//! Socket.IO.

use std::time::Duration;

use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    engine::{EnginePacket, Handshake},
    polling,
    websocket::{self, Side},
};
use crate::transcript::Transcript;

/// How long opening a connection or one request may take.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// The way that packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// WebSocket from the first byte.
    WebSocket,
    /// HTTP long-polling for the open packet, and WebSocket from then on.
    Upgraded,
}

/// How to open a connection.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The server, such as `http://127.0.0.1:3000`.
    pub base: String,
    /// Over what.
    pub transport: Transport,
    /// Headers of the handshake request, such as `Authorization` or `Origin`.
    pub headers: Vec<(String, String)>,
    /// Further query parameters, already encoded.
    pub query: Vec<(String, String)>,
    /// Whether the server's pings are answered.
    pub answers_pings: bool,
}

impl Opening {
    /// A connection to `base` over `transport`, with nothing special about it.
    pub fn new(base: &str, transport: Transport) -> Self {
        Self { base: base.to_owned(), transport, headers: Vec::new(), query: Vec::new(), answers_pings: true }
    }

    /// Leaves the server's pings without an answer, and reads on.
    #[must_use]
    pub fn mute(mut self) -> Self {
        self.answers_pings = false;
        self
    }

    /// Adds a header to the handshake request.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a query parameter to the handshake request.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn url(&self, transport: &str, sid: Option<&str>) -> String {
        let mut url = format!("{}/socket.io/?EIO=4&transport={transport}", self.base);
        for (name, value) in &self.query {
            url.push_str(&format!("&{name}={value}"));
        }
        if let Some(sid) = sid {
            url.push_str(&format!("&sid={sid}"));
        }
        url
    }
}

/// What arrives on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// An Engine.IO message's text: a Socket.IO packet.
    Message(String),
    /// Something that a client of this system never expects: binary, or an unknown packet.
    Strange(String),
    /// The connection is gone; nothing follows.
    Closed(String),
}

/// Why a connection could not be opened or used.
#[derive(Debug, Error)]
pub enum WireError {
    /// The server answered with an HTTP error.
    #[error("the server answered HTTP {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(String),
    /// The server answered something that is not Engine.IO 4.
    #[error("not Engine.IO 4: {0}")]
    Protocol(String),
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// An open Engine.IO connection.
#[derive(Debug)]
pub struct Wire {
    /// What the server said when it opened the session.
    pub handshake: Handshake,
    opening: Opening,
    link: Link,
    inbox: mpsc::UnboundedReceiver<Incoming>,
    telling: Telling,
    transcript: Transcript,
}

/// What passed on a connection without being told as an arrival.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The server's pings.
    pub pings: u64,
    /// The polls that were answered, whatever with.
    pub polls: u64,
}

/// Where the tasks of a connection tell what they have seen.
#[derive(Debug, Clone)]
pub(super) struct Telling {
    feed: mpsc::UnboundedSender<Incoming>,
    seen: watch::Sender<Seen>,
}

impl Telling {
    pub(super) fn arrived(&self, incoming: Incoming) {
        // Nobody listens to a connection that was dropped.
        let _ = self.feed.send(incoming);
    }

    pub(super) fn pinged(&self) {
        self.seen.send_modify(|seen| seen.pings += 1);
    }

    pub(super) fn polled(&self) {
        self.seen.send_modify(|seen| seen.polls += 1);
    }
}

#[derive(Debug)]
enum Link {
    Polling(polling::Poller),
    WebSocket(websocket::Sender),
}

/// A background task that ends with its owner.
#[derive(Debug)]
pub(super) struct Background(JoinHandle<()>);

impl Background {
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Wire {
    /// Opens a connection.
    ///
    /// # Errors
    /// Where the server cannot be reached, refuses, or answers something other than an `open` packet.
    pub async fn open(opening: Opening, transcript: Transcript) -> Result<Self, WireError> {
        let (feed, inbox) = mpsc::unbounded_channel();
        let telling = Telling { feed, seen: watch::Sender::default() };
        let upgrades = opening.transport == Transport::Upgraded;
        let (handshake, link) = match opening.transport {
            Transport::Polling | Transport::Upgraded => {
                // A ping may come before the upgrade, which is not what a mute client on a WebSocket is about.
                let polled = Opening { answers_pings: opening.answers_pings || upgrades, ..opening.clone() };
                let (handshake, poller) = limited(polling::open(&polled, telling.clone(), &transcript)).await?;
                (handshake, Link::Polling(poller))
            }
            Transport::WebSocket => {
                let (handshake, sender) = limited(websocket::open(&opening, telling.clone(), &transcript)).await?;
                (handshake, Link::WebSocket(sender))
            }
        };
        let mut wire = Self { handshake, opening, link, inbox, telling, transcript };
        if upgrades {
            wire.upgrade().await?;
        }
        Ok(wire)
    }

    /// What has passed so far, and a way to wait for more.
    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.telling.seen.subscribe()
    }

    /// A further WebSocket with this session's id, on which nothing has been said: the beginning of an upgrade, and of what comes
    /// of it is the caller's.
    ///
    /// # Errors
    /// Where the server refuses it.
    pub async fn beside(&self) -> Result<Side, WireError> {
        self.beside_by(&self.opening).await
    }

    /// As [`Wire::beside`], by a request with the headers and the query of this opening.
    ///
    /// # Errors
    /// Where the server refuses it.
    pub async fn beside_by(&self, opening: &Opening) -> Result<Side, WireError> {
        limited(Side::open(opening, &self.handshake.sid, &self.transcript)).await
    }

    /// Upgrades a polling session to WebSocket, as the official client does; does nothing on a WebSocket.
    ///
    /// # Errors
    /// Where the WebSocket cannot be opened or the server does not answer the probe.
    pub async fn upgrade(&mut self) -> Result<(), WireError> {
        if let Link::WebSocket(_) = self.link {
            return Ok(());
        }
        let mut side = self.beside().await?;
        limited(side.probe()).await?;
        self.complete(side).await
    }

    /// Ends an upgrade that was probed, with `5`: from then on the WebSocket is the session's transport.
    ///
    /// # Errors
    /// Where the pending poll is not answered, or the WebSocket does not take the packet.
    pub async fn complete(&mut self, side: Side) -> Result<(), WireError> {
        let answers_pings = self.opening.answers_pings;
        let sender = limited(async {
            if let Link::Polling(poller) = &mut self.link {
                poller.finish().await;
            }
            side.take_over(self.telling.clone(), answers_pings).await
        })
        .await?;
        self.link = Link::WebSocket(sender);
        Ok(())
    }

    /// Polls no more once the pending request was answered; `false` on a WebSocket, which reads all the time.
    pub fn rest(&self) -> bool {
        match &self.link {
            Link::Polling(poller) => {
                poller.rest();
                true
            }
            Link::WebSocket(_) => false,
        }
    }

    /// Polls no more once an answer has had this text: whatever a further poll would tell the server, it is not told. Nothing on a WebSocket.
    pub fn rest_after(&self, text: &str) {
        if let Link::Polling(poller) = &self.link {
            poller.rest_after(text);
        }
    }

    /// Sends the text of one Engine.IO packet, right or wrong.
    ///
    /// # Errors
    /// Where the connection is gone, or a polling request is answered with an error.
    pub async fn send(&self, packet: &str) -> Result<(), WireError> {
        match &self.link {
            Link::Polling(poller) => limited(poller.post(packet.to_owned())).await,
            Link::WebSocket(sender) => limited(sender.send_text(packet)).await,
        }
    }

    /// Says something last, and goes: by the close frame of a WebSocket, or by a close packet in the same POST, for a server may close a
    /// session of which no namespace is left. What the server sends before it closes can still be read.
    ///
    /// # Errors
    /// As for [`Wire::send`].
    pub async fn send_and_go(&self, packet: &str) -> Result<(), WireError> {
        match &self.link {
            Link::Polling(poller) => limited(poller.post(EnginePacket::encode_payload(&[packet, "1"]))).await,
            Link::WebSocket(sender) => {
                limited(sender.send_text(packet)).await?;
                sender.close().await;
                Ok(())
            }
        }
    }

    /// Sends bytes: a binary WebSocket frame, or a polling body that need not be UTF-8.
    ///
    /// # Errors
    /// As for [`Wire::send`].
    pub async fn send_bytes(&self, bytes: Vec<u8>) -> Result<(), WireError> {
        match &self.link {
            Link::Polling(poller) => limited(poller.post(bytes)).await,
            Link::WebSocket(sender) => limited(sender.send_binary(bytes)).await,
        }
    }

    /// Sends a packet that announces one attachment, and the attachment: three bytes.
    ///
    /// # Errors
    /// As for [`Wire::send`].
    pub async fn send_with_attachment(&self, packet: &str) -> Result<(), WireError> {
        match &self.link {
            Link::Polling(poller) => limited(poller.post(EnginePacket::encode_payload(&[packet, "bAQID"]))).await,
            Link::WebSocket(sender) => {
                limited(sender.send_text(packet)).await?;
                limited(sender.send_binary(vec![1, 2, 3])).await
            }
        }
    }

    /// The next thing to arrive, or `None` where nothing does in time.
    pub async fn receive(&mut self, within: Duration) -> Option<Incoming> {
        match timeout(within, self.inbox.recv()).await {
            Ok(Some(incoming)) => Some(incoming),
            Ok(None) => Some(Incoming::Closed("the connection's task has ended".to_owned())),
            Err(_) => None,
        }
    }

    /// Closes the connection politely, and waits until the server has closed it, too.
    pub async fn close(mut self, within: Duration) {
        match &self.link {
            Link::Polling(poller) => drop(limited(poller.post("1".to_owned())).await),
            Link::WebSocket(sender) => sender.close().await,
        }
        let deadline = tokio::time::Instant::now() + within;
        while let Some(incoming) = self.receive(deadline.saturating_duration_since(tokio::time::Instant::now())).await {
            if matches!(incoming, Incoming::Closed(_)) {
                return;
            }
        }
    }

    /// The transcript that this connection writes to.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }
}

async fn limited<T>(work: impl Future<Output = Result<T, WireError>>) -> Result<T, WireError> {
    timeout(OPEN_LIMIT, work).await.unwrap_or(Err(WireError::TimedOut(OPEN_LIMIT)))
}
