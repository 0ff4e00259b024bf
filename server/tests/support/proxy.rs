//! A name that leads to a Redis, as a TCP proxy: where it leads can change, while old connections stay where they are. And it can
//! make a subscription deaf, whose connection lives.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU16, Ordering},
};

use notify_server::store::redis::RedisConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::{AbortHandle, JoinSet},
};

use super::redis::at;

/// Its connections end when it is dropped.
pub(crate) struct Proxy {
    port: u16,
    leads_to: Arc<AtomicU16>,
    orders: Arc<Orders>,
    task: AbortHandle,
}

/// What happens to the connections that subscribe.
struct Orders {
    swallows: AtomicBool,
    says: broadcast::Sender<String>,
    /// A piece of text by which a connection is known as one that subscribes to it.
    of: Mutex<String>,
}

impl Proxy {
    /// A name that leads to this port.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let bound = listener.local_addr().expect("the listener is bound").port();
        let leads_to = Arc::new(AtomicU16::new(port));
        let orders = Orders {
            swallows: AtomicBool::new(false),
            says: broadcast::Sender::new(16),
            of: Mutex::new("SUBSCRIBE".into()),
        };
        let orders = Arc::new(orders);
        let task = tokio::spawn(accept(listener, leads_to.clone(), orders.clone())).abort_handle();
        Self { port: bound, leads_to, orders, task }
    }

    pub(crate) fn config(&self) -> RedisConfig {
        at(self.port)
    }

    /// Where new connections lead from now on.
    pub(crate) fn lead_to(&self, port: u16) {
        self.leads_to.store(port, Ordering::SeqCst);
    }

    /// Whether what is said to those who subscribe is lost on its way.
    pub(crate) fn swallow(&self, swallows: bool) {
        self.orders.swallows.store(swallows, Ordering::SeqCst);
    }

    /// Says something to Redis in the name of those who have subscribed to a channel.
    pub(crate) fn say(&self, channel: &str, command: &[&str]) {
        channel.clone_into(&mut self.orders.of.lock().expect("nobody has panicked"));
        let parts = command.iter().map(|part| format!("${}\r\n{part}\r\n", part.len())).collect::<String>();
        self.orders.says.send(format!("*{}\r\n{parts}", command.len())).expect("somebody is connected");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, leads_to: Arc<AtomicU16>, orders: Arc<Orders>) {
    // They end with this task.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let port = leads_to.load(Ordering::SeqCst);
        let orders = orders.clone();
        connections.spawn(async move {
            if let Ok(redis) = TcpStream::connect(("127.0.0.1", port)).await {
                carry(client, redis, &orders).await.ok();
            }
        });
    }
}

async fn carry(mut client: TcpStream, mut redis: TcpStream, orders: &Orders) -> std::io::Result<()> {
    let mut says = orders.says.subscribe();
    let (mut asked, mut answered) = ([0; 16_384], [0; 16_384]);
    let mut subscribes = String::new();
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let bytes = &asked[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                let text = String::from_utf8_lossy(bytes);
                if text.contains("SUBSCRIBE") {
                    subscribes = text.into_owned();
                }
                redis.write_all(bytes).await?;
            }
            read = redis.read(&mut answered) => {
                let bytes = &answered[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                // What confirms a subscription still comes.
                let is_lost = orders.swallows.load(Ordering::SeqCst)
                    && bytes.windows(9).any(|part| part == b"\r\nmessage");
                if !is_lost {
                    client.write_all(bytes).await?;
                }
            }
            Ok(command) = says.recv() => {
                let of = orders.of.lock().expect("nobody has panicked").clone();
                if subscribes.contains(&of) {
                    redis.write_all(command.as_bytes()).await?;
                }
            }
        }
    }
}
