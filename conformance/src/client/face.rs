//! A Socket.IO client on the namespace, as the cases see it: the same face over the raw wire and over rust_socketio.
//!
//! Arrivals come in the order in which the server sent them, and each `expect_*` takes the next one: what a case does not
//! expect cannot pass by unseen.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    library::Library,
    packet::{Kind, Packet},
    wire::{Incoming, Wire},
};
use crate::expect::{self, Fault, Outcome, inconclusive, mismatch};

/// The namespace of the contract (TRANS-05).
pub(super) const NAMESPACE: &str = "/notifications";
/// The events of the contract.
const CONTRACT: [&str; 5] = ["record.accessed", "access.granted", "access.revoked", "record.uploaded", "queued.events"];
/// How long an answer that is due may take before it counts as missing.
const DUE: Duration = Duration::from_secs(5);

/// What a client can see.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// The CONNECT was accepted.
    Accepted,
    /// The CONNECT was refused.
    Refused(Refusal),
    /// An event with its arguments.
    Event {
        /// Its name.
        name: String,
        /// Its arguments.
        args: Vec<Value>,
        /// The id of the acknowledgement that it asks for; rust_socketio does not tell it.
        ack: Option<u64>,
    },
    /// An acknowledgement's arguments.
    Ack {
        /// The id that the client gave.
        id: u64,
        /// The arguments.
        args: Vec<Value>,
    },
    /// The server took the client out of the namespace.
    Disconnected,
    /// Something that is none of these.
    Strange(String),
    /// The connection is gone.
    Closed(String),
}

/// A CONNECT_ERROR.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// What it carried.
    pub data: Value,
}

impl Refusal {
    /// The refusal's `message`, if it has one.
    pub fn message(&self) -> Option<&str> {
        self.data.get("message")?.as_str()
    }
}

/// An event as it came, to be acknowledged or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its arguments.
    pub args: Vec<Value>,
    /// The id of the acknowledgement that it asks for.
    pub ack: Option<u64>,
}

/// One device.
#[derive(Debug)]
pub struct Client {
    link: Link,
    next_ack: u64,
    greeting: Greeting,
}

/// Whether a server greets its clients with an event that no contract knows is judged by the case that is about that, and not by all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Greeting {
    /// It comes next, if it comes.
    LetPass,
    /// Whatever comes is told.
    Told,
}

#[derive(Debug)]
enum Link {
    Wire(Box<Wire>),
    Library(Library),
}

impl Client {
    /// Sends a CONNECT with `auth` over a raw connection; the answer is yet to be expected.
    ///
    /// # Errors
    /// Where the connection does not take the packet.
    pub async fn over_wire(wire: Wire, auth: Option<Value>) -> Outcome<Self> {
        let connect = Packet::new(Kind::Connect, NAMESPACE, auth);
        Self::over_wire_by(wire, &connect.encode()).await
    }

    /// As [`Client::over_wire`], by a CONNECT packet that was written by hand.
    ///
    /// # Errors
    /// Where the connection does not take the packet.
    pub async fn over_wire_by(wire: Wire, connect: &str) -> Outcome<Self> {
        wire.send(&format!("4{connect}"))
            .await
            .map_err(|error| mismatch("a connection that takes a CONNECT", error.to_string()))?;
        Ok(Self { link: Link::Wire(Box::new(wire)), next_ack: 0, greeting: Greeting::Told })
    }

    pub(super) fn over_library(library: Library) -> Self {
        Self { link: Link::Library(library), next_ack: 0, greeting: Greeting::Told }
    }

    /// The raw connection, where there is one.
    pub fn wire(&mut self) -> Option<&mut Wire> {
        match &mut self.link {
            Link::Wire(wire) => Some(wire),
            Link::Library(_) => None,
        }
    }

    /// The next thing to arrive, or `None` where nothing does in time. An event of another name than those of the contract is let pass where
    /// it is the first thing after the CONNECT was accepted: a greeting.
    pub async fn next(&mut self, within: Duration) -> Option<Arrival> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let arrival = match &mut self.link {
                Link::Wire(wire) => wire.receive(left).await.map(arrival),
                Link::Library(library) => library.receive(left).await,
            };
            let greeted = self.greeting == Greeting::LetPass
                && matches!(&arrival, Some(Arrival::Event { name, ack: None, .. }) if !CONTRACT.contains(&&**name));
            match &arrival {
                Some(Arrival::Accepted) => self.greeting = Greeting::LetPass,
                Some(_) => self.greeting = Greeting::Told,
                None => {}
            }
            if !greeted {
                return arrival;
            }
        }
    }

    /// From now on a greeting is told like anything else.
    pub fn mind_greetings(&mut self) {
        self.greeting = Greeting::Told;
    }

    /// The CONNECT is accepted.
    ///
    /// # Errors
    /// Where anything else comes first, or nothing in time.
    pub async fn expect_accepted(&mut self) -> Outcome {
        self.expect_accepted_within(DUE).await
    }

    /// As [`Client::expect_accepted`], where the answer may take longer: over a slow line it may come with all that follows it.
    ///
    /// # Errors
    /// Where anything else comes first, or nothing in time.
    pub async fn expect_accepted_within(&mut self, within: Duration) -> Outcome {
        match self.next(within).await {
            Some(Arrival::Accepted) => Ok(()),
            other => Err(unexpected("the CONNECT accepted", other)),
        }
    }

    /// The CONNECT is refused.
    ///
    /// # Errors
    /// Where anything else comes first, or nothing in time.
    pub async fn expect_refused(&mut self) -> Outcome<Refusal> {
        match self.next(DUE).await {
            Some(Arrival::Refused(refusal)) => Ok(refusal),
            other => Err(unexpected("a CONNECT_ERROR", other)),
        }
    }

    /// The next arrival is the event `name` with exactly one argument, which is returned.
    ///
    /// # Errors
    /// Where anything else comes first, or nothing in time.
    pub async fn expect_event(&mut self, name: &str) -> Outcome<Value> {
        let mut args = self.expect_delivery(name).await?.args;
        expect::that(args.len() == 1, format!("{name} with one argument"), format!("{} arguments", args.len()))?;
        Ok(args.remove(0))
    }

    /// The next arrival is the event `name`, with whatever arguments.
    ///
    /// # Errors
    /// Where anything else comes first, or nothing in time.
    pub async fn expect_delivery(&mut self, name: &str) -> Outcome<Delivery> {
        match self.next(DUE).await {
            Some(Arrival::Event { name: actual, args, ack }) if actual == name => Ok(Delivery { args, ack }),
            other => Err(unexpected(&format!("the event {name}"), other)),
        }
    }

    /// The next arrival is `queued.events` with one array, which is returned.
    ///
    /// # Errors
    /// Where anything else comes first, or nothing in time, or the argument is no array.
    pub async fn expect_queued(&mut self) -> Outcome<Vec<Value>> {
        match self.expect_event("queued.events").await? {
            Value::Array(payloads) => Ok(payloads),
            other => Err(mismatch("queued.events with an array", other.to_string())),
        }
    }

    /// Nothing arrives for as long as `quiet`. Call it after a sentinel has shown that the path works.
    ///
    /// # Errors
    /// Where something arrives.
    pub async fn expect_silence(&mut self, quiet: Duration) -> Outcome {
        match self.next(quiet).await {
            None => Ok(()),
            some => Err(unexpected("nothing more", some)),
        }
    }

    /// The transport is closed within `within`, by whatever means; packets that arrive before are let pass.
    ///
    /// # Errors
    /// Where it is still open then.
    pub async fn expect_closed(&mut self, within: Duration) -> Outcome {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match self.next(left).await {
                Some(Arrival::Closed(_)) => return Ok(()),
                Some(_) => {}
                None => return Err(mismatch(format!("the connection closed within {within:?}"), "it is still open")),
            }
        }
    }

    /// Sends an event.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn emit(&mut self, name: &str, args: Vec<Value>) -> Outcome {
        match &self.link {
            Link::Wire(wire) => {
                let packet = Packet::new(Kind::Event, NAMESPACE, Some(event_data(name, args)));
                wire.send(&format!("4{}", packet.encode())).await.map_err(|error| gone(name, error))
            }
            Link::Library(library) => library.emit(name, args).await.map_err(|error| gone(name, error)),
        }
    }

    /// Sends an event with an acknowledgement callback and returns the acknowledgement's arguments.
    ///
    /// # Errors
    /// Where anything else comes first, or nothing in time.
    pub async fn call(&mut self, name: &str, args: Vec<Value>) -> Outcome<Vec<Value>> {
        self.next_ack += 1;
        let id = self.next_ack;
        match &self.link {
            Link::Wire(wire) => {
                let mut packet = Packet::new(Kind::Event, NAMESPACE, Some(event_data(name, args)));
                packet.id = Some(id);
                wire.send(&format!("4{}", packet.encode())).await.map_err(|error| gone(name, error))?;
            }
            Link::Library(library) => library.call(name, args, id, DUE).await.map_err(|error| gone(name, error))?,
        }
        match self.next(DUE).await {
            Some(Arrival::Ack { id: actual, args }) if actual == id => Ok(args),
            other => Err(unexpected(&format!("the acknowledgement of {name}"), other)),
        }
    }

    /// Acknowledges what asked for it, over the raw wire.
    ///
    /// # Errors
    /// Where it did not ask, or the connection is gone.
    pub async fn acknowledge(&mut self, delivery: &Delivery, args: Vec<Value>) -> Outcome {
        let mut packet = Packet::new(Kind::Ack, NAMESPACE, Some(Value::Array(args)));
        packet.id =
            Some(delivery.ack.ok_or_else(|| mismatch("an event that asks for an acknowledgement", "it does not"))?);
        match &self.link {
            Link::Wire(wire) => {
                wire.send(&format!("4{}", packet.encode())).await.map_err(|error| gone("an acknowledgement", error))
            }
            Link::Library(_) => Err(inconclusive("rust_socketio acknowledges by itself only")),
        }
    }

    /// As [`Client::acknowledge`], with bytes as the argument, and so with an attachment.
    ///
    /// # Errors
    /// Where it did not ask, or the connection is gone.
    pub async fn acknowledge_with_bytes(&mut self, delivery: &Delivery) -> Outcome {
        let id = delivery.ack.ok_or_else(|| mismatch("an event that asks for an acknowledgement", "it does not"))?;
        self.send_bytes(format!("461-{NAMESPACE},{id}{}", json!([attached()]))).await
    }

    /// Sends an event with bytes as its argument, and so with an attachment, over the raw wire. With an id it asks for an acknowledgement.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn emit_bytes(&mut self, name: &str, id: Option<u64>) -> Outcome {
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        self.send_bytes(format!("451-{NAMESPACE},{id}{}", json!([name, attached()]))).await
    }

    async fn send_bytes(&self, packet: String) -> Outcome {
        match &self.link {
            Link::Wire(wire) => wire.send_with_attachment(&packet).await.map_err(|error| gone("an attachment", error)),
            Link::Library(_) => Err(inconclusive("what rust_socketio sends is its own affair")),
        }
    }

    /// Fetches what comes next, over polling, and nothing after it.
    ///
    /// # Errors
    /// Where the client does not poll.
    pub fn rest(&self) -> Outcome {
        match &self.link {
            Link::Wire(wire) if wire.rest() => Ok(()),
            _ => Err(inconclusive("only a polling client can leave something where it is")),
        }
    }

    /// Says politely that it leaves, over the raw wire; what the server sends before it closes can still be read.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn leave(&mut self) -> Outcome {
        match &self.link {
            Link::Wire(wire) => {
                let leave = Packet::new(Kind::Disconnect, NAMESPACE, None);
                wire.send_and_go(&format!("4{}", leave.encode())).await.map_err(|error| gone("a DISCONNECT", error))
            }
            Link::Library(_) => Err(inconclusive("rust_socketio hears nothing after it has left")),
        }
    }

    /// Closes the connection without leaving the namespace, over the raw wire, and waits until the server has closed it, too.
    ///
    /// # Errors
    /// Where there is no wire.
    pub async fn close(self) -> Outcome {
        match self.link {
            Link::Wire(wire) => {
                wire.close(DUE).await;
                Ok(())
            }
            Link::Library(_) => Err(inconclusive("rust_socketio leaves before it closes")),
        }
    }

    /// Leaves politely, and waits until the server has closed the connection: it reads what came before the close first,
    /// so whatever is emitted from now on finds the device gone.
    pub async fn disconnect(self) {
        match self.link {
            Link::Wire(wire) => {
                let leave = Packet::new(Kind::Disconnect, NAMESPACE, None);
                let _ = wire.send(&format!("4{}", leave.encode())).await;
                wire.close(DUE).await;
            }
            Link::Library(library) => library.disconnect().await,
        }
    }
}

/// What stands for the first attachment among arguments.
fn attached() -> Value {
    json!({"_placeholder": true, "num": 0})
}

fn gone(name: &str, error: impl std::fmt::Display) -> Fault {
    mismatch(format!("a connection that takes {name}"), error.to_string())
}

fn event_data(name: &str, args: Vec<Value>) -> Value {
    let mut data = vec![Value::from(name)];
    data.extend(args);
    Value::Array(data)
}

fn unexpected(expected: &str, actual: Option<Arrival>) -> Fault {
    let actual = match actual {
        None => "nothing in time".to_owned(),
        Some(Arrival::Accepted) => "the CONNECT was accepted".to_owned(),
        Some(Arrival::Refused(refusal)) => format!("a CONNECT_ERROR {}", refusal.data),
        Some(Arrival::Event { name, args, .. }) => format!("the event {name} {}", Value::Array(args)),
        Some(Arrival::Ack { id, args }) => format!("the acknowledgement {id} {}", Value::Array(args)),
        Some(Arrival::Disconnected) => "the server disconnected the client from the namespace".to_owned(),
        Some(Arrival::Strange(what)) => what,
        Some(Arrival::Closed(how)) => format!("the connection was closed: {how}"),
    };
    mismatch(expected, actual)
}

fn arrival(incoming: Incoming) -> Arrival {
    let text = match incoming {
        Incoming::Message(text) => text,
        Incoming::Strange(what) => return Arrival::Strange(what),
        Incoming::Closed(how) => return Arrival::Closed(how),
    };
    match Packet::decode(&text) {
        Ok(packet) if packet.namespace == NAMESPACE => on_namespace(packet),
        Ok(packet) => Arrival::Strange(format!("a packet for the namespace {:?}: {text}", packet.namespace)),
        Err(error) => Arrival::Strange(format!("{error}: {text}")),
    }
}

fn on_namespace(packet: Packet) -> Arrival {
    let data = packet.data;
    match packet.kind {
        Kind::Connect => Arrival::Accepted,
        Kind::ConnectError => Arrival::Refused(Refusal { data: data.unwrap_or(Value::Null) }),
        Kind::Disconnect => Arrival::Disconnected,
        Kind::Ack => match (packet.id, data) {
            (Some(id), Some(Value::Array(args))) => Arrival::Ack { id, args },
            (id, data) => Arrival::Strange(format!("an ACK with id {id:?} and data {data:?}")),
        },
        Kind::Event => event(data, packet.id),
    }
}

fn event(data: Option<Value>, ack: Option<u64>) -> Arrival {
    match data {
        Some(Value::Array(mut args)) if matches!(args.first(), Some(Value::String(_))) => {
            let first = args.remove(0);
            Arrival::Event { name: first.as_str().unwrap_or_default().to_owned(), args, ack }
        }
        other => Arrival::Strange(format!("an EVENT with data {other:?}")),
    }
}
