//! The rust_socketio client behind the suite's face.
//!
//! Its `connect` returns before the namespace has answered, refusals arrive as error texts, acknowledgements come nested:
//! all of that is put straight here, and nowhere else.

use std::time::Duration;

use futures_util::FutureExt;
use rust_socketio::{
    Event, Payload, TransportType,
    asynchronous::{Client as Socket, ClientBuilder},
};
use serde_json::Value;
use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::timeout,
};

use super::{
    face::{Arrival, Client, NAMESPACE, Refusal},
    wire::{OPEN_LIMIT, Opening, Transport},
};
use crate::{
    expect::{Outcome, inconclusive, mismatch},
    tls,
    transcript::Transcript,
};

/// What rust_socketio puts before a refusal's data.
const REFUSAL: &str = "Received an ConnectError frame: ";

/// A connected library client.
pub(super) struct Library {
    socket: Connected,
    inbox: UnboundedReceiver<Arrival>,
    feed: UnboundedSender<Arrival>,
    transcript: Transcript,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").finish_non_exhaustive()
    }
}

impl Client {
    /// Connects with rust_socketio; the namespace's answer is yet to be expected.
    ///
    /// # Errors
    /// Where the transport cannot be opened.
    pub async fn with_library(opening: Opening, auth: Option<Value>, transcript: Transcript) -> Outcome<Self> {
        let (feed, inbox) = mpsc::unbounded_channel();
        transcript.sent("lib", format!("connect {} auth {}", opening.base, auth.clone().unwrap_or(Value::Null)));
        let tls = tls::connector().map_err(|error| inconclusive(format!("the system's certificates: {error}")))?;
        let builder = builder(&opening, auth, &feed, &transcript).tls_config(tls);
        let socket = timeout(OPEN_LIMIT, builder.connect())
            .await
            .map_err(|_| inconclusive(format!("rust_socketio did not connect within {OPEN_LIMIT:?}")))?
            .map_err(|error| mismatch("a transport that opens", transcript.redact(&error.to_string())))?;
        Ok(Self::over_library(Library { socket: Connected(socket), inbox, feed, transcript }))
    }
}

impl Library {
    pub(super) async fn receive(&mut self, within: Duration) -> Option<Arrival> {
        match timeout(within, self.inbox.recv()).await {
            Ok(Some(arrival)) => Some(arrival),
            Ok(None) => Some(Arrival::Closed("the client has ended".to_owned())),
            Err(_) => None,
        }
    }

    pub(super) async fn emit(&self, name: &str, args: Vec<Value>) -> Result<(), rust_socketio::Error> {
        self.transcript.sent("lib", format!("{name} {}", Value::from(args.clone())));
        self.socket.0.emit(name, Payload::Text(args)).await
    }

    pub(super) async fn call(
        &self,
        name: &str,
        args: Vec<Value>,
        id: u64,
        within: Duration,
    ) -> Result<(), rust_socketio::Error> {
        self.transcript.sent("lib", format!("{name} {} with acknowledgement", Value::from(args.clone())));
        let (feed, transcript) = (self.feed.clone(), self.transcript.clone());
        let answer = move |payload: Payload, _: Socket| {
            let (feed, transcript) = (feed.clone(), transcript.clone());
            async move {
                let args = unnest(payload);
                transcript.received("lib", format!("acknowledgement {}", Value::from(args.clone())));
                let _ = feed.send(Arrival::Ack { id, args });
            }
            .boxed()
        };
        self.socket.0.emit_with_ack(name, Payload::Text(args), within, answer).await
    }

    /// Leaves, and waits until the server has closed the connection: what is emitted then finds the user offline.
    pub(super) async fn disconnect(self) {
        let Self { socket, mut inbox, feed, transcript } = self;
        transcript.sent("lib", "disconnect");
        let gone = async {
            let _ = socket.0.disconnect().await;
            // The library's reader holds the last senders; it ends when the connection does.
            drop((socket, feed));
            while inbox.recv().await.is_some() {}
        };
        let _ = timeout(OPEN_LIMIT, gone).await;
    }
}

/// Disconnects when dropped: the library's reader is a detached task that would stay connected for good.
struct Connected(Socket);

impl Drop for Connected {
    fn drop(&mut self) {
        let socket = self.0.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { timeout(OPEN_LIMIT, socket.disconnect()).await });
        }
    }
}

fn builder(
    opening: &Opening,
    auth: Option<Value>,
    feed: &UnboundedSender<Arrival>,
    transcript: &Transcript,
) -> ClientBuilder {
    let transport = match opening.transport {
        Transport::Polling => TransportType::Polling,
        Transport::WebSocket => TransportType::Websocket,
        Transport::Upgraded => TransportType::WebsocketUpgrade,
    };
    let mut builder = ClientBuilder::new(&opening.base)
        .namespace(NAMESPACE)
        .transport_type(transport)
        .reconnect(false)
        .on(Event::Connect, forward(feed, transcript, |_| Arrival::Accepted))
        .on(
            Event::Close,
            forward(feed, transcript, |_| Arrival::Closed("closed, by rust_socketio's account".to_owned())),
        )
        .on(Event::Error, forward(feed, transcript, error))
        .on_any({
            let (feed, transcript) = (feed.clone(), transcript.clone());
            move |event: Event, payload, _| {
                let name = String::from(event);
                let args = texts(payload);
                transcript.received("lib", format!("{name} {}", Value::from(args.clone())));
                let _ = feed.send(Arrival::Event { name, args, ack: None });
                async {}.boxed()
            }
        });
    for (name, value) in &opening.headers {
        builder = builder.opening_header(name.as_str(), value.as_str());
    }
    match auth {
        Some(auth) => builder.auth(auth),
        None => builder,
    }
}

type Callback = Box<dyn FnMut(Payload, Socket) -> futures_util::future::BoxFuture<'static, ()> + Send + Sync>;

fn forward(feed: &UnboundedSender<Arrival>, transcript: &Transcript, translate: fn(Payload) -> Arrival) -> Callback {
    let (feed, transcript) = (feed.clone(), transcript.clone());
    Box::new(move |payload, _| {
        let arrival = translate(payload);
        transcript.received("lib", format!("{arrival:?}"));
        let _ = feed.send(arrival);
        async {}.boxed()
    })
}

fn error(payload: Payload) -> Arrival {
    let text = texts(payload).into_iter().next().map_or_else(String::new, plain);
    match text.strip_prefix(REFUSAL) {
        Some(data) => {
            Arrival::Refused(Refusal { data: serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)) })
        }
        None => Arrival::Closed(text),
    }
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The arguments, whichever of its three forms the library chose.
fn texts(payload: Payload) -> Vec<Value> {
    #[expect(deprecated, reason = "the library still hands error texts over in this form")]
    match payload {
        Payload::Text(values) => values,
        Payload::String(text) => vec![serde_json::from_str(&text).unwrap_or(Value::String(text))],
        Payload::Binary(bytes) => vec![Value::from(format!("{} binary bytes", bytes.len()))],
    }
}

/// Acknowledgements come as `[[arg, …]]`.
fn unnest(payload: Payload) -> Vec<Value> {
    let mut values = texts(payload);
    match values.as_mut_slice() {
        [Value::Array(args)] => std::mem::take(args),
        _ => values,
    }
}
