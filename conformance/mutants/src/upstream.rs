//! A relay between the server and its Redis, which keeps something from the server. Knows as much of Redis's protocol as that takes.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use notify_server::{Config, config::StoreConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, interval_at},
};

/// What is kept from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// That a server is none to write to any more: it only fails.
    KeepsToItself,
    /// That it hears nothing: its own signs of life are made up.
    BeatsMadeUp,
    /// That another server is the primary by now.
    FirstAnswerForEver,
    /// Whatever comes after the first connection that has lasted and ended.
    NeverAnew,
}

const CHUNK_BYTES: usize = 16 * 1024;
const BEAT: Duration = Duration::from_secs(1);
const LASTED: Duration = Duration::from_millis(200);

/// Puts a relay before the Redis of these settings.
pub(crate) fn before_redis(config: &mut Config, fault: Fault) {
    if let StoreConfig::Redis(redis) = &mut config.store {
        (redis.host, redis.port) = before((redis.host.clone(), redis.port), fault);
    }
}

/// Puts one before each of its sentinels.
pub(crate) fn before_sentinels(config: &mut Config, fault: Fault) {
    let StoreConfig::Redis(redis) = &mut config.store else { return };
    for sentinel in redis.sentinels.iter_mut().flat_map(|sentinels| &mut sentinels.addresses) {
        (sentinel.host, sentinel.port) = before((sentinel.host.clone(), sentinel.port), fault);
    }
}

/// Where the relay is.
fn before(name: (String, u16), fault: Fault) -> (String, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = listener.local_addr().expect("its address");
    listener.set_nonblocking(true).expect("a socket");
    tokio::spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a socket");
        let (first, ended) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        while let Ok((server, _)) = listener.accept().await {
            if fault == Fault::NeverAnew && ended.load(Ordering::SeqCst) {
                continue;
            }
            let (name, first, ended) = (name.clone(), Arc::clone(&first), Arc::clone(&ended));
            tokio::spawn(async move {
                let began = Instant::now();
                if let Ok(redis) = TcpStream::connect(name).await {
                    server.set_nodelay(true).ok();
                    redis.set_nodelay(true).ok();
                    relay(server, redis, fault, &first).await.ok();
                }
                // Those that only look what is there end at once.
                ended.fetch_or(began.elapsed() > LASTED, Ordering::SeqCst);
            });
        }
    });
    (address.ip().to_string(), address.port())
}

async fn relay(
    mut server: TcpStream,
    mut redis: TcpStream,
    fault: Fault,
    first: &Mutex<Option<Vec<u8>>>,
) -> std::io::Result<()> {
    let (mut asked, mut answered) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut channels = Vec::new();
    let mut beats = interval_at(Instant::now() + BEAT, BEAT);
    loop {
        tokio::select! {
            read = server.read(&mut asked) => {
                let bytes = &asked[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                if fault == Fault::BeatsMadeUp {
                    channels.extend(subscribed(&String::from_utf8_lossy(bytes)));
                }
                redis.write_all(bytes).await?;
            }
            read = redis.read(&mut answered) => {
                let length = read?;
                if length == 0 {
                    return Ok(());
                }
                if fault == Fault::KeepsToItself {
                    for refusal in ["READONLY", "MASTERDOWN"] {
                        hide(&mut answered[..length], refusal);
                    }
                }
                let mut answer = answered[..length].to_vec();
                if fault == Fault::FirstAnswerForEver && answer.starts_with(b"*2\r\n$9\r\n") {
                    answer = first.lock().expect("no panic").get_or_insert(answer).clone();
                }
                server.write_all(&answer).await?;
            }
            _ = beats.tick(), if !channels.is_empty() => {
                for channel in &channels {
                    let kind = if channel.ends_with("all") { "beat all\n" } else { "beat\n" };
                    let parts = ["message", channel, kind].map(|part| format!("${}\r\n{part}\r\n", part.len()));
                    server.write_all(format!("*3\r\n{}", parts.concat()).as_bytes()).await?;
                }
            }
        }
    }
}

/// The channels of a command that subscribes.
fn subscribed(command: &str) -> Vec<String> {
    let mut words = command.split("\r\n").filter(|word| !word.starts_with(['*', '$']));
    match words.find(|word| *word == "SUBSCRIBE") {
        Some(_) => words.filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        None => Vec::new(),
    }
}

/// An error of this code becomes one of no code in particular.
fn hide(answers: &mut [u8], code: &str) {
    let refusal = format!("-{code} ");
    while let Some(at) = answers.windows(refusal.len()).position(|part| part == refusal.as_bytes()) {
        answers[at + 1..at + refusal.len() - 1].fill(b'E');
    }
}
