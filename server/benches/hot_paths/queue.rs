//! Appending an event to a user's queue, and draining a full one, on both stores.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::Criterion;
use notify_server::{
    model::{EntryId, Outgoing, Queue},
    rules::{Rules, Standard},
    store::{Limits, embedded::EmbeddedStore, redis::RedisStore},
};
use tokio::runtime::Runtime;

use crate::{
    payload::draft,
    runtime,
    support::{Scratch, redis::LocalRedis},
};

const LIMITS: Limits = Limits { max_events: 50, ttl: Duration::from_secs(86_400) };

pub(crate) fn append_and_drain(criterion: &mut Criterion) {
    let runtime = runtime();
    let scratch = Scratch::new();
    let embedded = EmbeddedStore::open(scratch.path(), LIMITS).expect("the directory is new");
    on(criterion, &runtime, "embedded", Arc::new(embedded));
    match LocalRedis::start() {
        Ok(redis) => on(criterion, &runtime, "redis", Arc::new(runtime.block_on(store(&redis)))),
        Err(why) => eprintln!("the queue on Redis is left out: redis-server cannot be started ({why})"),
    }
}

fn on(criterion: &mut Criterion, runtime: &Runtime, name: &str, queue: Arc<dyn Queue>) {
    let payload = Outgoing::from(Standard.payload(draft()));
    let full = vec![payload.json(); LIMITS.max_events];
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
                    queue.remove("bob", &ids, None).await.expect("the store answers");
                    took += began.elapsed();
                    assert_eq!(ids.len(), full.len(), "a full queue was read");
                }
                took
            }
        });
    });
    group.finish();
}

async fn store(redis: &LocalRedis) -> RedisStore {
    let _answers = redis.connection().await;
    RedisStore::new(&redis.config(), LIMITS)
}
