//! Emitting to a user whose devices are here, from the call until all of them have the event: over real sockets, in one process
//! with their clients.

use std::sync::Arc;

use criterion::{Criterion, Throughput};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    payload::draft,
    runtime,
    support::{client::Client, server::Server},
};

pub(crate) fn emit(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("emit to a room");
    for devices in [1, 100] {
        let arrived = Arc::new(Semaphore::new(0));
        let (server, clients) = runtime.block_on(connected(devices, &arrived));
        group.throughput(Throughput::Elements(u64::from(devices)));
        group.bench_function(format!("of {devices}"), |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                server.service.emit(draft()).await.expect("somebody is here");
                arrived.acquire_many(devices).await.expect("it is never closed").forget();
            });
        });
        runtime.block_on(async {
            drop(clients);
            server.stop().await;
        });
    }
    group.finish();
}

/// A server with so many devices of one user, each of which gives a permit for an event that has arrived.
async fn connected(devices: u32, arrived: &Arc<Semaphore>) -> (Server, JoinSet<()>) {
    let server = Server::start().await;
    let mut clients = JoinSet::new();
    for _ in 0..devices {
        let mut client = Client::connect(&server, "alice").await;
        let arrived = Arc::clone(arrived);
        clients.spawn(async move {
            while client.message().await.is_some() {
                arrived.add_permits(1);
            }
        });
    }
    (server, clients)
}
