//! Engine.IO over WebSocket, from the first byte or as an upgrade of a polling session.

use std::sync::Arc;

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::sync::{Mutex, mpsc::UnboundedSender};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, handshake::client::Request, http},
};

use super::{
    engine::{EnginePacket, Handshake},
    wire::{Background, Incoming, Opening, WireError},
};
use crate::{
    tls::{self, Bytes},
    transcript::{Transcript, shorten},
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
    feed: UnboundedSender<Incoming>,
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
    Ok((handshake, Sender::over(socket, feed, transcript)))
}

/// A WebSocket that has been probed for an upgrade and not yet taken over.
pub(super) struct Probed {
    socket: Stream,
    transcript: Transcript,
}

/// Opens a WebSocket for the session `sid` and probes it.
pub(super) async fn probe(opening: &Opening, sid: &str, transcript: &Transcript) -> Result<Probed, WireError> {
    let mut socket = dial(opening, Some(sid), transcript).await?;
    transcript.sent("ws", "2probe");
    socket.send(Message::text("2probe")).await.map_err(io)?;
    let answer = next_text(&mut socket).await?;
    transcript.received("ws", &answer);
    if answer != "3probe" {
        return Err(WireError::Protocol(format!("3probe was due, not {}", shorten(&answer, 200))));
    }
    Ok(Probed { socket, transcript: transcript.clone() })
}

impl Probed {
    /// Makes the WebSocket the session's transport.
    pub(super) async fn take_over(mut self, feed: UnboundedSender<Incoming>) -> Result<Sender, WireError> {
        self.transcript.sent("ws", "5");
        self.socket.send(Message::text("5")).await.map_err(io)?;
        Ok(Sender::over(self.socket, feed, &self.transcript))
    }
}

impl Sender {
    fn over(socket: Stream, feed: UnboundedSender<Incoming>, transcript: &Transcript) -> Self {
        let (sink, stream) = socket.split();
        let sink = Arc::new(Mutex::new(sink));
        let reader = Background::spawn(read(stream, Arc::clone(&sink), feed, transcript.clone()));
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

async fn read(mut stream: SplitStream<Stream>, sink: Sink, feed: UnboundedSender<Incoming>, transcript: Transcript) {
    let reason = loop {
        match stream.next().await {
            None => break "FIN".to_owned(),
            Some(Err(error)) => break error.to_string(),
            Some(Ok(Message::Close(frame))) => break frame.map_or("close frame".to_owned(), |f| f.to_string()),
            Some(Ok(Message::Text(text))) => {
                transcript.received("ws", text.as_str());
                match EnginePacket::decode(&text) {
                    EnginePacket::Message(text) => drop(feed.send(Incoming::Message(text))),
                    EnginePacket::Ping(data) => {
                        let pong = format!("3{data}");
                        transcript.sent("ws", &pong);
                        if let Err(error) = sink.lock().await.send(Message::text(pong)).await {
                            break error.to_string();
                        }
                    }
                    EnginePacket::Close => break "a close packet".to_owned(),
                    EnginePacket::Noop => {}
                    other => drop(feed.send(Incoming::Strange(format!("{other:?}")))),
                }
            }
            Some(Ok(Message::Binary(bytes))) => {
                transcript.received("ws", format!("{} binary bytes", bytes.len()));
                let _ = feed.send(Incoming::Strange(format!("{} binary bytes", bytes.len())));
            }
            Some(Ok(_)) => {}
        }
    };
    transcript.note(format!("ws: closed, {reason}"));
    let _ = feed.send(Incoming::Closed(reason));
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
