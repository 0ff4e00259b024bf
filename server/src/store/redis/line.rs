//! The connection that all commands share. Knows nothing of commands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{
    Client, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use super::{CONNECT_TIMEOUT, TIMEOUT};

/// A connection that is made anew when it is gone, and when it is given up. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Line(Arc<Inner>);

struct Inner {
    client: Client,
    current: Mutex<ConnectionManager>,
}

impl Line {
    /// A line that connects with the first command.
    pub(super) fn new(client: Client) -> RedisResult<Self> {
        let current = Mutex::new(manager(&client)?);
        Ok(Self(Arc::new(Inner { client, current })))
    }

    /// The connection of now.
    pub(super) fn connection(&self) -> ConnectionManager {
        self.lock().clone()
    }

    /// Gives the connection up, on which nothing is answered any more: the next command makes another. The library does so only
    /// where the system says that a connection is gone, and of one whose peer has vanished without a word that may take
    /// a quarter of an hour. What was asked on it is waited for no longer than it would have been.
    pub(super) fn give_up(&self) {
        match manager(&self.0.client) {
            Ok(another) => *self.lock() = another,
            Err(error) => tracing::warn!(%error, "no other connection to redis can be made"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionManager> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn manager(client: &Client) -> RedisResult<ConnectionManager> {
    // No retries: each command that finds no connection tries once, so that it fails fast and recovers at once.
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(TIMEOUT));
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}
