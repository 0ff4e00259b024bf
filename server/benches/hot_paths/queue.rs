//! Appending an event to a user's queue, and draining a full one, on both stores.

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::Criterion;
use notify_server::{
    event::Outgoing,
    queue::{EntryId, OfflineQueue},
    rules::{Rules, Standard},
    store::{
        Limits, Probe,
        embedded::EmbeddedStore,
        redis::{RedisConfig, RedisStore},
    },
};
use tokio::runtime::Runtime;

use crate::{payload::draft, runtime, support::Scratch};

const LIMITS: Limits = Limits { max_events: 50, ttl: Duration::from_secs(86_400) };
/// How long the Redis may take to answer.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(20);

pub(crate) fn append_and_drain(criterion: &mut Criterion) {
    let runtime = runtime();
    let scratch = Scratch::new();
    let embedded = EmbeddedStore::open(scratch.path(), LIMITS).expect("the directory is new");
    on(criterion, &runtime, "embedded", Arc::new(embedded));
    match LocalRedis::start(&runtime) {
        Ok((_redis, store)) => on(criterion, &runtime, "redis", Arc::new(store)),
        Err(why) => eprintln!("the queue on Redis is left out: {why}"),
    }
}

fn on(criterion: &mut Criterion, runtime: &Runtime, name: &str, queue: Arc<dyn OfflineQueue>) {
    let payload = Outgoing::from(Standard.payload(draft())).json;
    let full = vec![payload.get(); LIMITS.max_events];
    let mut group = criterion.benchmark_group(format!("queue, {name}"));
    group.bench_function("append 1", |bencher| {
        bencher
            .to_async(runtime)
            .iter(|| async { queue.append("alice", &full[..1]).await.expect("the store answers") });
    });
    group.bench_function("drain 50", |bencher| {
        bencher.to_async(runtime).iter_custom(|times| {
            let (queue, full) = (&queue, &full);
            async move {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    queue.append("bob", full).await.expect("the store answers");
                    let began = Instant::now();
                    let entries = queue.read("bob").await.expect("the store answers");
                    let ids: Vec<EntryId> = entries.iter().map(|entry| entry.id).collect();
                    queue.remove("bob", &ids).await.expect("the store answers");
                    took += began.elapsed();
                    assert_eq!(ids.len(), full.len(), "a full queue was read");
                }
                took
            }
        });
    });
    group.finish();
}

/// A `redis-server` of this run, stopped when it is dropped.
struct LocalRedis {
    child: Child,
    _scratch: Scratch,
}

impl LocalRedis {
    fn start(runtime: &Runtime) -> Result<(Self, RedisStore), String> {
        let scratch = Scratch::new();
        // The port is free now, and nobody is likely to take it in between.
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.map_err(|error| error.to_string())?.port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(scratch.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server cannot be started ({error})"))?;
        let redis = Self { child, _scratch: scratch };
        let config = RedisConfig { host: "127.0.0.1".to_owned(), port, password: None, db: 0 };
        let store = runtime.block_on(async { ready(&config).await })?;
        Ok((redis, store))
    }
}

impl Drop for LocalRedis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn ready(config: &RedisConfig) -> Result<RedisStore, String> {
    let store = RedisStore::new(config, LIMITS).map_err(|error| error.to_string())?;
    let began = Instant::now();
    while let Err(error) = store.probe().await {
        if began.elapsed() > START_LIMIT {
            return Err(format!("redis-server does not answer ({error})"));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(store)
}
