//! Engine.IO over WebSocket, from the first byte or as an upgrade of a polling session.

use std::{sync::Arc, time::Duration};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{sync::Mutex, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, handshake::client::Request, http},
};

use super::{
    engine::{EnginePacket, Handshake},
    wire::{Background, Incoming, Opening, Telling, WireError},
};
use crate::{
    text::shorten,
    tls::{self, Bytes},
    transcript::Transcript,
};

type Stream = WebSocketStream<Box<dyn Bytes>>;
type Sink = Arc<Mutex<SplitSink<Stream, Message>>>;

/// The sending half, and the task that reads.
#[derive(Debug)]
pub(super) struct Sender {
    sink: Sink,
    transcript: Transcript,
    _reader: Background,
}

/// Opens a session.
pub(super) async fn open(
    opening: &Opening,
    telling: Telling,
    transcript: &Transcript,
) -> Result<(Handshake, Sender), WireError> {
    let mut socket = dial(opening, None, transcript).await?;
    let text = next_text(&mut socket).await?;
    transcript.received("ws", &text);
    let EnginePacket::Open(json) = EnginePacket::decode(&text) else {
        return Err(WireError::Protocol(format!("an open packet was due, not {}", shorten(&text, 200))));
    };
    let handshake =
        serde_json::from_str(&json).map_err(|error| WireError::Protocol(format!("open packet: {error}")))?;
    Ok((handshake, Sender::over(socket, telling, opening.answers_pings, transcript)))
}

/// A WebSocket beside a session that goes by another way: an upgrade that may come to something or to nothing. It is gone, without
/// a word, when this is dropped.
#[derive(Debug)]
pub struct Side {
    socket: Stream,
    transcript: Transcript,
}

/// What comes on a [`Side`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The text of a packet.
    Packet(String),
    /// The server has closed it, and how.
    Closed(String),
}

impl Side {
    /// Opens a WebSocket for the session `sid` and says nothing.
    pub(super) async fn open(opening: &Opening, sid: &str, transcript: &Transcript) -> Result<Self, WireError> {
        Ok(Self { socket: dial(opening, Some(sid), transcript).await?, transcript: transcript.clone() })
    }

    /// Sends the text of one Engine.IO packet, right or wrong.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn say(&mut self, packet: &str) -> Result<(), WireError> {
        self.transcript.sent("side", packet);
        self.socket.send(Message::text(packet)).await.map_err(io)
    }

    /// The next thing to come, or `None` where nothing does in time.
    pub async fn hear(&mut self, within: Duration) -> Option<Heard> {
        let heard = match timeout(within, self.socket.next()).await.ok()? {
            Some(Ok(Message::Text(text))) => Heard::Packet(text.as_str().to_owned()),
            Some(Ok(other)) => Heard::Closed(format!("{other:?}")),
            Some(Err(error)) => Heard::Closed(error.to_string()),
            None => Heard::Closed("FIN".to_owned()),
        };
        self.transcript.received("side", format!("{heard:?}"));
        Some(heard)
    }

    /// Closes it with a close frame.
    pub async fn close(mut self) {
        self.transcript.sent("side", "close frame");
        // The other side may have closed it before.
        let _ = self.socket.close(None).await;
    }

    /// Sends the probe, which the server answers.
    ///
    /// # Errors
    /// Where it is answered with anything else.
    pub async fn probe(&mut self) -> Result<(), WireError> {
        self.say("2probe").await?;
        let answer = next_text(&mut self.socket).await?;
        self.transcript.received("side", &answer);
        if answer == "3probe" {
            return Ok(());
        }
        Err(WireError::Protocol(format!("3probe was due, not {}", shorten(&answer, 200))))
    }

    /// Makes the WebSocket the session's transport.
    pub(super) async fn take_over(mut self, telling: Telling, answers_pings: bool) -> Result<Sender, WireError> {
        self.transcript.sent("ws", "5");
        self.socket.send(Message::text("5")).await.map_err(io)?;
        Ok(Sender::over(self.socket, telling, answers_pings, &self.transcript))
    }
}

impl Sender {
    fn over(socket: Stream, telling: Telling, answers_pings: bool, transcript: &Transcript) -> Self {
        let (sink, stream) = socket.split();
        let sink = Arc::new(Mutex::new(sink));
        let reader = Reader { sink: Arc::clone(&sink), telling, answers_pings, transcript: transcript.clone() };
        let reader = Background::spawn(reader.read(stream));
        Self { sink, transcript: transcript.clone(), _reader: reader }
    }

    pub(super) async fn send_text(&self, text: &str) -> Result<(), WireError> {
        self.transcript.sent("ws", text);
        self.sink.lock().await.send(Message::text(text)).await.map_err(io)
    }

    pub(super) async fn send_binary(&self, bytes: Vec<u8>) -> Result<(), WireError> {
        self.transcript.sent("ws", format!("{} binary bytes", bytes.len()));
        self.sink.lock().await.send(Message::binary(bytes)).await.map_err(io)
    }

    pub(super) async fn close(&self) {
        self.transcript.sent("ws", "close frame");
        let _ = self.sink.lock().await.close().await;
    }
}

/// Reads a WebSocket until it ends.
struct Reader {
    sink: Sink,
    telling: Telling,
    answers_pings: bool,
    transcript: Transcript,
}

impl Reader {
    async fn read(self, mut stream: SplitStream<Stream>) {
        let reason = loop {
            match stream.next().await {
                None => break "FIN".to_owned(),
                Some(Err(error)) => break error.to_string(),
                Some(Ok(Message::Close(frame))) => break frame.map_or("close frame".to_owned(), |f| f.to_string()),
                Some(Ok(Message::Text(text))) => {
                    self.transcript.received("ws", text.as_str());
                    if let Err(reason) = self.take(EnginePacket::decode(&text)).await {
                        break reason;
                    }
                }
                Some(Ok(Message::Binary(bytes))) => {
                    self.transcript.received("ws", format!("{} binary bytes", bytes.len()));
                    self.telling.arrived(Incoming::Strange(format!("{} binary bytes", bytes.len())));
                }
                Some(Ok(_)) => {}
            }
        };
        self.transcript.note(format!("ws: closed, {reason}"));
        self.telling.arrived(Incoming::Closed(reason));
        // A close frame is answered by one (RFC 6455, 5.5.1): a server may wait for it before it ends the connection, or itself.
        let _ = self.sink.lock().await.flush().await;
    }

    /// Tells or answers one packet; fails with how the connection ended, where it did.
    async fn take(&self, packet: EnginePacket) -> Result<(), String> {
        match packet {
            EnginePacket::Message(text) => self.telling.arrived(Incoming::Message(text)),
            EnginePacket::Ping(data) => {
                self.telling.pinged();
                if self.answers_pings {
                    let pong = format!("3{data}");
                    self.transcript.sent("ws", &pong);
                    self.sink.lock().await.send(Message::text(pong)).await.map_err(|error| error.to_string())?;
                }
            }
            EnginePacket::Close => return Err("a close packet".to_owned()),
            EnginePacket::Noop => {}
            other => self.telling.arrived(Incoming::Strange(format!("{other:?}"))),
        }
        Ok(())
    }
}

async fn dial(opening: &Opening, sid: Option<&str>, transcript: &Transcript) -> Result<Stream, WireError> {
    let url = opening.url("websocket", sid).replacen("http", "ws", 1);
    transcript.sent("ws", format!("GET {url}"));
    let mut request = url.into_client_request().map_err(io)?;
    for (name, value) in &opening.headers {
        let name = http::HeaderName::try_from(name).map_err(|error| WireError::Io(error.to_string()))?;
        let value = http::HeaderValue::try_from(value).map_err(|error| WireError::Io(error.to_string()))?;
        request.headers_mut().insert(name, value);
    }
    let stream = connect(&request).await?;
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(error) => {
            let error = io(error);
            transcript.received("ws", error.to_string());
            Err(error)
        }
    }
}

async fn connect(request: &Request) -> Result<Box<dyn Bytes>, WireError> {
    let failed = |error: &dyn std::fmt::Display| WireError::Io(error.to_string());
    let uri = request.uri();
    let host = uri.host().ok_or_else(|| failed(&"the URL has no host"))?;
    let secure = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    tls::dial(host, port, secure).await.map_err(|error| failed(&error))
}

async fn next_text(socket: &mut Stream) -> Result<String, WireError> {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => Ok(text.as_str().to_owned()),
        Some(Ok(other)) => Err(WireError::Protocol(format!("a text frame was due, not {other:?}"))),
        Some(Err(error)) => Err(io(error)),
        None => Err(WireError::Io("closed before the first packet".to_owned())),
    }
}

fn io(error: Error) -> WireError {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            WireError::Refused { status: response.status().as_u16(), body: shorten(&body, 200) }
        }
        other => WireError::Io(other.to_string()),
    }
}
