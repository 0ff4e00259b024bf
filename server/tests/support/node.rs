//! A server with a runtime of its own, so that it can die without taking leave.

use std::{
    ops::Deref,
    time::{Duration, Instant},
};

use notify_server::{Collaborators, store::redis::RedisConfig};
use tokio::runtime::{Builder, Runtime};

use super::{
    PATIENCE,
    client::Client,
    http,
    server::{LIVE, QUEUED, Server},
};

pub(crate) struct Node {
    runtime: Option<Runtime>,
    server: Option<Server>,
}

impl Node {
    /// A node that has joined.
    pub(crate) async fn start(config: &RedisConfig) -> Self {
        Self::start_with(config, |_| {}).await
    }

    /// The same with some other collaborators.
    pub(crate) async fn start_with(
        config: &RedisConfig,
        change: impl FnOnce(&mut Collaborators) + Send + 'static,
    ) -> Self {
        let node = Self::begin(config, change).await;
        node.until_ready().await;
        node
    }

    /// One that has perhaps not joined yet.
    pub(crate) async fn begin(config: &RedisConfig, change: impl FnOnce(&mut Collaborators) + Send + 'static) -> Self {
        let runtime =
            Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be built");
        let config = config.clone();
        let server = runtime.spawn(async move { Server::on_redis(&config, change).await });
        let server = server.await.expect("the server starts");
        Self { runtime: Some(runtime), server: Some(server) }
    }

    pub(crate) async fn is_ready(&self) -> bool {
        http::get(self, "/readyz").await.status == 200
    }

    pub(crate) async fn until_ready(&self) {
        self.until_readiness(true, PATIENCE).await;
    }

    /// Waits until it says that it is ready, or that it is not.
    pub(crate) async fn until_readiness(&self, ready: bool, within: Duration) {
        let began = Instant::now();
        while self.is_ready().await != ready {
            assert!(began.elapsed() < within, "readiness does not become {ready}");
            // It tells nobody.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Dies at once; its connections break, and it takes leave of nobody.
    pub(crate) fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Is told to stop, and does.
    pub(crate) async fn stop(mut self) {
        self.server.take().expect("it is there until the end").stop().await;
    }
}

impl Deref for Node {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.server.as_ref().expect("it is there until the end")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime cannot be waited for within another.
            runtime.shutdown_background();
        }
    }
}

/// An event waits for the user's client at another node, and the next one finds it there.
pub(crate) async fn served_across(from: &Node, at: &Node, user: &str) -> Client {
    assert_eq!(from.emit(user, 1).await.delivery, QUEUED);
    let mut client = Client::connect(at, user).await;
    assert_eq!(client.queued().await, [1]);
    assert_eq!(from.emit(user, 2).await.delivery, LIVE);
    assert_eq!(client.live().await, 2);
    client
}
