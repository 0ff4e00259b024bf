//! A raw Socket.IO client on a WebSocket.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

use super::{PATIENCE, server::Server};

pub(crate) struct Client {
    pub(crate) stream: WebSocketStream<TcpStream>,
    pub(crate) sid: String,
}

impl Client {
    /// A connection on which nothing has been said yet.
    pub(crate) async fn open(server: &Server) -> Self {
        Self::open_with(server, "EIO=4&transport=websocket", &[]).await.expect("the server takes WebSockets")
    }

    /// The same at a server that is not in this process.
    pub(crate) async fn open_at(address: SocketAddr) -> Self {
        let stream = upgrade_at(address, "EIO=4&transport=websocket", &[]).await.expect("the server takes WebSockets");
        Self::begin(stream).await
    }

    /// The same with other headers or another query; the status where the server refuses.
    pub(crate) async fn open_with(server: &Server, query: &str, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        Ok(Self::begin(upgrade(server, query, headers).await?).await)
    }

    async fn begin(stream: WebSocketStream<TcpStream>) -> Self {
        let mut client = Self { stream, sid: String::new() };
        let open = client.message().await.expect("the server opens the session");
        let open: Value = serde_json::from_str(open.strip_prefix('0').expect("this is an open packet")).expect("JSON");
        open["sid"].as_str().expect("the session has an id").clone_into(&mut client.sid);
        client
    }

    /// A connection of a user.
    pub(crate) async fn connect(server: &Server, user: &str) -> Self {
        let mut client = Self::open(server).await;
        client.join(&server.token(user).await).await;
        client
    }

    /// The same, if the store and the server have it so.
    pub(crate) async fn try_connect(server: &Server, user: &str) -> Option<Self> {
        let token = server.try_token(user).await.ok()?;
        let mut client = Self::open(server).await;
        client.send(&format!("40/notifications,{}", json!({"token": token}))).await;
        client.message().await.filter(|answer| answer.starts_with("40")).map(|_| client)
    }

    /// Sends a CONNECT and expects it to be accepted.
    pub(crate) async fn join(&mut self, token: &str) {
        self.send(&format!("40/notifications,{}", json!({"token": token}))).await;
        let answer = self.message().await.expect("the CONNECT is answered");
        assert!(answer.starts_with("40/notifications,{\"sid\":"), "{answer}");
    }

    /// A connection of a user who acknowledges.
    pub(crate) async fn connect_acknowledging(server: &Server, user: &str) -> Self {
        let mut client = Self::open(server).await;
        let auth = json!({"token": server.token(user).await, "ack": true});
        client.send(&format!("40/notifications,{auth}")).await;
        let answer = client.message().await.expect("the CONNECT is answered");
        assert!(answer.starts_with("40/notifications,{\"sid\":"), "{answer}");
        client
    }

    /// The next event, which asks for an acknowledgement: the id of that, the name and the arguments.
    pub(crate) async fn asking(&mut self) -> (u64, String, Vec<Value>) {
        let packet = self.message().await.expect("an event was due");
        parse_asking(&packet)
    }

    /// The number of the next live event, and the id of its acknowledgement.
    pub(crate) async fn asking_live(&mut self) -> (u64, u64) {
        let (ack, name, arguments) = self.asking().await;
        assert_eq!((name.as_str(), arguments.len()), ("record.accessed", 1));
        (ack, number(&arguments[0]))
    }

    /// The numbers of the next event, which is `queued.events`, how many were dropped, and the id of its acknowledgement.
    pub(crate) async fn asking_queued(&mut self) -> (u64, Vec<u64>, u64) {
        let (ack, name, arguments) = self.asking().await;
        assert_eq!((name.as_str(), arguments.len()), ("queued.events", 2));
        let dropped = arguments[1]["dropped"].as_u64().expect("a number");
        assert_eq!(arguments[1], json!({"complete": dropped == 0, "dropped": dropped}));
        (ack, arguments[0].as_array().expect("an array of payloads").iter().map(number).collect(), dropped)
    }

    pub(crate) async fn acknowledge(&mut self, ack: u64) {
        self.send(&format!("43/notifications,{ack}[]")).await;
    }

    /// Sends a CONNECT with this payload and returns the code with which it is refused.
    pub(crate) async fn refused(&mut self, auth: &Value) -> String {
        self.send(&format!("40/notifications,{auth}")).await;
        let answer = self.message().await.expect("the CONNECT is answered");
        let error = answer.strip_prefix("44/notifications,").unwrap_or_else(|| panic!("not refused: {answer}"));
        let error: Value = serde_json::from_str(error).expect("JSON");
        error["message"].as_str().expect("a message").to_owned()
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        // A server that has just closed the connection is seen when something is read.
        self.stream.send(message).await.ok();
    }

    /// The next Engine.IO packet, pings answered; `None` where the connection is closed.
    pub(crate) async fn message(&mut self) -> Option<String> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("something was due to happen");
            match next {
                Some(Ok(Message::Text(text))) if text == "2" => self.send("3").await,
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Waits for a ping, before which nothing else is due, and answers it.
    pub(crate) async fn pinged(&mut self) {
        let next = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("a ping was due");
        assert!(matches!(&next, Some(Ok(Message::Text(text))) if text.as_str() == "2"), "{next:?}");
        self.send("3").await;
    }

    /// The next event: its name and its arguments.
    pub(crate) async fn event(&mut self) -> (String, Vec<Value>) {
        let packet = self.message().await.expect("an event was due");
        let event = packet.strip_prefix("42/notifications,").unwrap_or_else(|| panic!("no event: {packet}"));
        let mut event: Vec<Value> = serde_json::from_str(event).expect("an event is an array");
        let name = event.remove(0).as_str().expect("the name is text").to_owned();
        (name, event)
    }

    /// The number of the next live event.
    pub(crate) async fn live(&mut self) -> u64 {
        let (name, arguments) = self.event().await;
        assert_eq!(name, "record.accessed");
        number(&arguments[0])
    }

    /// The numbers of the next event, which is `queued.events`.
    pub(crate) async fn queued(&mut self) -> Vec<u64> {
        let (name, arguments) = self.event().await;
        assert_eq!((name.as_str(), arguments.len()), ("queued.events", 1));
        arguments[0].as_array().expect("an array of payloads").iter().map(number).collect()
    }

    /// Everything that came before the answer to a ping: whatever the server had to say, it has said.
    pub(crate) async fn quiet(&mut self) {
        self.send(r#"42/notifications,77["ping"]"#).await;
        assert_eq!(self.message().await.as_deref(), Some(r#"43/notifications,77["pong"]"#));
    }

    /// Expects the server to close the connection, whatever it says before.
    pub(crate) async fn closed(&mut self) {
        while self.message().await.is_some() {}
    }

    /// Leaves, and waits until the server has noticed.
    pub(crate) async fn leave(mut self) {
        self.stream.close(None).await.ok();
        self.closed().await;
    }
}

/// An event that asks for an acknowledgement.
pub(crate) fn parse_asking(packet: &str) -> (u64, String, Vec<Value>) {
    let event = packet.strip_prefix("42/notifications,").unwrap_or_else(|| panic!("no event: {packet}"));
    let (ack, event) = event.split_at(event.find('[').expect("an event is an array"));
    let mut event: Vec<Value> = serde_json::from_str(event).expect("an event is an array");
    let name = event.remove(0).as_str().expect("the name is text").to_owned();
    (ack.parse().unwrap_or_else(|_| panic!("no acknowledgement is asked for: {packet}")), name, event)
}

pub(crate) fn number(payload: &Value) -> u64 {
    payload["metadata"]["n"].as_u64().expect("events of these tests are numbered")
}

/// A WebSocket; the status where the server refuses.
pub(crate) async fn upgrade(
    server: &Server,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<TcpStream>, u16> {
    upgrade_at(server.address, query, headers).await
}

async fn upgrade_at(
    address: SocketAddr,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Result<WebSocketStream<TcpStream>, u16> {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    let mut request = format!("ws://{address}/socket.io/?{query}").into_client_request().expect("this is an address");
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a header"));
    }
    let answered = tokio::time::timeout(Duration::from_secs(5), client_async(request, stream)).await;
    match answered.expect("the server answers") {
        Ok((stream, _)) => Ok(stream),
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}
