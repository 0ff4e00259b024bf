//! A light Socket.IO client over WebSocket: it connects, answers pings and hands out the text of packets. Parses nothing that
//! it need not, so that thousands fit into one process.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use notify_conformance::tls::Bytes;
use serde_json::json;
use thiserror::Error;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, Message, Utf8Bytes, protocol::WebSocketConfig},
};

use crate::http::Address;

/// How long a connect may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// The library's default of 128 KiB is allocated for each connection.
const BUFFER_BYTES: usize = 4 * 1024;
/// What an answered CONNECT begins with.
const CONNECTED: &str = "40/notifications,";
/// What an event begins with.
const EVENT: &str = "42/notifications,";

/// A connected client.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<Box<dyn Bytes>>,
}

/// Why there is no connection, or none any more.
#[derive(Debug, Error)]
pub enum SocketError {
    /// The server cannot be reached.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The WebSocket failed.
    #[error("the WebSocket failed: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    /// The server answered the CONNECT with something else.
    #[error("refused: {0}")]
    Refused(String),
    /// The server has closed the connection.
    #[error("closed by the server")]
    Closed,
    /// Nothing came in time.
    #[error("not connected within {CONNECT_LIMIT:?}")]
    TimedOut,
}

impl From<tungstenite::Error> for SocketError {
    fn from(error: tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

impl Socket {
    /// Connects with a token; returns once the server has answered the CONNECT.
    ///
    /// # Errors
    /// Where it refuses, or cannot be reached.
    pub async fn connect(address: &Address, token: &str, ack: bool) -> Result<Self, SocketError> {
        timeout(CONNECT_LIMIT, Self::attempt(address, token, ack)).await.unwrap_or(Err(SocketError::TimedOut))
    }

    async fn attempt(address: &Address, token: &str, ack: bool) -> Result<Self, SocketError> {
        let scheme = if address.secure { "wss" } else { "ws" };
        let url = format!("{scheme}://{}:{}/socket.io/?EIO=4&transport=websocket", address.host, address.port);
        let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(0);
        let stream = address.dial().await?;
        let (stream, _) = client_async_with_config(url, stream, Some(config)).await?;
        let mut socket = Self { stream };
        let open = socket.receive().await?;
        if !open.starts_with('0') {
            return Err(SocketError::Refused(beginning(&open)));
        }
        let auth = if ack { json!({"token": token, "ack": true}) } else { json!({"token": token}) };
        socket.send(format!("{CONNECTED}{auth}")).await?;
        let answer = socket.receive().await?;
        if answer.starts_with(CONNECTED) { Ok(socket) } else { Err(SocketError::Refused(beginning(&answer))) }
    }

    /// The text of the next packet that is no ping; those are answered.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn receive(&mut self) -> Result<Utf8Bytes, SocketError> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => self.send("3".to_owned()).await?,
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(_))) | None => return Err(SocketError::Closed),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// Acknowledges the packet, where it asks for that.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn acknowledge(&mut self, packet: &str) -> Result<(), SocketError> {
        match ack_id(packet) {
            Some(id) => self.send(format!("43/notifications,{id}[]")).await,
            None => Ok(()),
        }
    }

    /// Leaves politely; returns once the server has closed the connection, and so has read that.
    pub async fn leave(mut self) {
        let left = async {
            self.send("41/notifications,".to_owned()).await?;
            self.send("1".to_owned()).await?;
            self.stream.close(None).await?;
            while self.receive().await.is_ok() {}
            Ok::<_, SocketError>(())
        };
        // A connection that is gone has been left as well.
        let _ = timeout(CONNECT_LIMIT, left).await;
    }

    async fn send(&mut self, text: String) -> Result<(), SocketError> {
        Ok(self.stream.send(Message::text(text)).await?)
    }
}

/// The digits between the namespace and the arguments.
fn ack_id(packet: &str) -> Option<&str> {
    let after = packet.strip_prefix(EVENT)?;
    let end = after.find(|c: char| !c.is_ascii_digit())?;
    (end > 0).then(|| &after[..end])
}

fn beginning(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_ask_for_an_acknowledgement() {
        assert_eq!(ack_id(r#"42/notifications,17["a",{"b":1}]"#), Some("17"));
        assert_eq!(ack_id(r#"42/notifications,["a",{"b":1}]"#), None);
        assert_eq!(ack_id("40/notifications,{}"), None);
    }
}
