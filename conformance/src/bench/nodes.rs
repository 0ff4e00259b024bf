//! Servers that share a database, a Redis of the case's own, and what happens to either.

use std::{
    process::ExitStatus,
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::Bench;
use crate::{
    expect::{Fault, Outcome, inconclusive},
    instance::{Changes, Instance},
    redis::{RedisError, RedisServer},
};

impl Bench {
    /// Two servers of the case's own on one database.
    ///
    /// # Errors
    /// Where they cannot be started.
    pub async fn two_nodes(&self) -> Outcome<(Self, Self)> {
        let first = self.own_server_with(&Changes::default(), None).await?;
        let second = first.node_beside().await?;
        Ok((first, second))
    }

    /// One more server of the case's own, on the database of this one.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn node_beside(&self) -> Outcome<Self> {
        self.node_beside_with(&Changes::default()).await
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn node_beside_with(&self, changes: &Changes) -> Outcome<Self> {
        let prepared = self.instance.prepare_beside(self.target(), self.process()?, changes).await;
        self.take_in(prepared)?.booted().await
    }

    /// A Redis of the case's own; one that `keeps` has its data after a restart.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn own_redis(&self, keeps: bool) -> Outcome<Arc<RedisServer>> {
        let Some(redis) = &self.suite.redis else { return Err(inconclusive("the run has no Redis")) };
        let redis = Arc::new(redis.another(keeps).await.map_err(|error| no_redis(&error))?);
        redis.password().iter().for_each(|password| self.transcript.hide_token(password));
        Ok(self.own(redis))
    }

    /// A Redis of the case's own behind sentinels, with two replicas.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn own_fleet(&self) -> Outcome<Arc<RedisServer>> {
        let redis = RedisServer::behind_sentinels().await.map_err(|error| no_redis(&error))?;
        redis.password().iter().for_each(|password| self.transcript.hide_token(password));
        Ok(self.own(Arc::new(redis)))
    }

    /// Whether the run's Redis is a Redis Cluster.
    pub fn is_on_shards(&self) -> bool {
        self.suite.redis.as_ref().is_some_and(|redis| redis.cluster_addresses().is_some())
    }

    /// Whether the run's Redis is behind sentinels.
    pub fn is_behind_sentinels(&self) -> bool {
        self.suite.redis.as_ref().is_some_and(|redis| redis.sentinels().is_some())
    }

    /// A Redis Cluster of the case's own, with a replica of each primary.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn own_shards(&self) -> Outcome<Arc<RedisServer>> {
        let redis = RedisServer::of_shards().await.map_err(|error| no_redis(&error))?;
        redis.password().iter().for_each(|password| self.transcript.hide_token(password));
        Ok(self.own(Arc::new(redis)))
    }

    /// A replica of a Redis of the case's own.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn own_replica(&self, primary: &RedisServer) -> Outcome<Arc<RedisServer>> {
        Ok(self.own(Arc::new(primary.replica().await.map_err(|error| no_redis(&error))?)))
    }

    fn own(&self, redis: Arc<RedisServer>) -> Arc<RedisServer> {
        self.own_redis.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&redis));
        redis
    }

    /// A server of the case's own on a Redis of its own.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn own_server_on(&self, redis: &Arc<RedisServer>) -> Outcome<Self> {
        self.own_server_on_with(redis, &Changes::default()).await
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn own_server_on_with(&self, redis: &Arc<RedisServer>, changes: &Changes) -> Outcome<Self> {
        let prepared = Instance::prepare(self.target(), self.process()?, Some(Arc::clone(redis)), changes).await;
        self.take_in(prepared)?.booted().await
    }

    /// Kills this server, which must be the case's own (SIGKILL).
    ///
    /// # Errors
    /// Where the target's own command cannot.
    pub async fn kill(&self) -> Outcome {
        self.transcript.note("the server is killed");
        self.instance.kill().await.map_err(|error| self.failed("a server that is killed", &error))
    }

    /// Ends this server, which must be the case's own, as an operator would (SIGTERM), and tells how it ended.
    ///
    /// # Errors
    /// Where it has not ended within `within`.
    pub async fn terminate(&self, within: Duration) -> Outcome<ExitStatus> {
        self.transcript.note("the server is told to end (SIGTERM)");
        let ended = self.instance.terminate(within).await.map_err(|error| self.failed("a server that ends", &error))?;
        self.transcript.note(format!("the server has ended: {ended}"));
        Ok(ended)
    }

    /// Starts this server again.
    ///
    /// # Errors
    /// Where it does not become ready.
    pub async fn boot(&self) -> Outcome {
        self.transcript.note("the server is started again");
        self.instance.boot().await.map_err(|error| self.failed("a server that starts again", &error))
    }

    /// Stops this server, which must be the case's own, where it stands (SIGSTOP).
    ///
    /// # Errors
    /// Where it is no process of the suite's.
    pub async fn pause(&self) -> Outcome {
        self.transcript.note("the server stands still (SIGSTOP)");
        self.instance.pause().await.map_err(|error| inconclusive(error.to_string()))
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// Where it is no process of the suite's.
    pub async fn resume(&self) -> Outcome {
        self.transcript.note("the server goes on (SIGCONT)");
        self.instance.resume().await.map_err(|error| inconclusive(error.to_string()))
    }

    pub(super) async fn booted(self) -> Outcome<Self> {
        self.instance.boot().await.map_err(|error| self.failed("a server of the case's own", &error))?;
        Ok(self)
    }
}

/// What could not be done to a Redis says nothing of the target.
pub fn no_redis(error: &RedisError) -> Fault {
    inconclusive(format!("a Redis of the case's own: {error}"))
}
