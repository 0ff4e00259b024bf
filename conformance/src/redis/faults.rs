//! What can happen to a whole Redis. For one of a case's own ([`RedisServer::another`]) alone: everybody who uses it suffers.

use std::{collections::BTreeSet, time::Duration};

use redis::{AsyncCommands, RedisResult};
use tokio::time::{Instant, sleep};

use super::{POLL, RedisError, RedisServer, START_LIMIT, Source, connect, first_answer, shards::Shards};

impl RedisServer {
    /// Stops it where it stands: its connections stay open and nothing is answered.
    ///
    /// # Errors
    /// Where it cannot be done to this Redis.
    pub async fn pause(&self) -> Result<(), RedisError> {
        match &self.source {
            Source::Container(container) => told(container.pause().await),
            Source::Local(local) => {
                local.pause().await;
                Ok(())
            }
            Source::Fleet(fleet) => {
                fleet.first().0.pause().await;
                Ok(())
            }
            Source::Shards(_) => Err(which()),
            Source::Url(_) => Err(somebodys()),
        }
    }

    /// Lets a paused one go on.
    ///
    /// # Errors
    /// Where it cannot be done to this Redis.
    pub async fn resume(&self) -> Result<(), RedisError> {
        match &self.source {
            Source::Container(container) => told(container.resume().await),
            Source::Local(local) => {
                local.resume().await;
                Ok(())
            }
            Source::Fleet(fleet) => {
                fleet.first().0.resume().await;
                Ok(())
            }
            Source::Shards(_) => Err(which()),
            Source::Url(_) => Err(somebodys()),
        }
    }

    /// Ends it as an operator would.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn halt(&self) -> Result<(), RedisError> {
        match &self.source {
            Source::Container(container) => told(container.halt().await),
            Source::Local(local) => told(local.halt().await),
            Source::Fleet(fleet) => told(fleet.first().0.halt().await),
            Source::Shards(_) => Err(which()),
            Source::Url(_) => Err(somebodys()),
        }
    }

    /// Starts it again where it was, with what it has kept; returns once it answers.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn begin(&self) -> Result<(), RedisError> {
        match &self.source {
            Source::Container(container) => told(container.begin().await)?,
            Source::Local(local) => told(local.begin().await)?,
            Source::Fleet(fleet) => told(fleet.first().0.begin().await)?,
            Source::Shards(_) => return Err(which()),
            Source::Url(_) => return Err(somebodys()),
        }
        first_answer(&self.address, &self.source).await.map(drop).map_err(RedisError::Fault)
    }

    /// Kills it, or the primary where it has replicas: nothing more is written to them.
    ///
    /// # Errors
    /// Where it cannot be done to this Redis.
    pub async fn kill(&self) -> Result<(), RedisError> {
        match &self.source {
            Source::Local(local) => local.stop().await,
            Source::Fleet(fleet) => fleet.first().0.stop().await,
            Source::Shards(_) => return Err(which()),
            Source::Container(_) | Source::Url(_) => return Err(somebodys()),
        }
        Ok(())
    }

    /// Stops the replicas where they stand, or lets them go on. To one that stands nothing is sent, either: the system would hold it.
    ///
    /// # Errors
    /// Where there are none.
    pub async fn pause_replicas(&self, paused: bool) -> Result<(), RedisError> {
        let Source::Fleet(fleet) = &self.source else { return Err(RedisError::Fault("it has no replicas".to_owned())) };
        for (replica, _) in fleet.others() {
            if paused {
                replica.pause().await;
            } else {
                replica.resume().await;
            }
        }
        if paused {
            self.command(&["CLIENT", "KILL", "TYPE", "replica"]).await?;
        }
        Ok(())
    }

    /// Waits until its sentinels say that another is the primary.
    ///
    /// # Errors
    /// Where they do not in time.
    pub async fn until_failed_over(&self) -> Result<(), RedisError> {
        let Source::Fleet(fleet) = &self.source else {
            return Err(RedisError::Fault("it has no sentinels".to_owned()));
        };
        told(fleet.until_failed_over().await)
    }

    /// Which server of the cluster has the slot of a key.
    ///
    /// # Errors
    /// Where it is no cluster, or none has it.
    pub async fn owner(&self, key: &str) -> Result<usize, RedisError> {
        self.shards()?.owner(key).await.map_err(RedisError::Fault)
    }

    /// Kills that server.
    ///
    /// # Errors
    /// Where it is no cluster.
    pub async fn kill_one(&self, index: usize) -> Result<(), RedisError> {
        self.shards()?.kill(index).await;
        Ok(())
    }

    /// Has the replica of that server take over from it.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn hand_over(&self, index: usize) -> Result<(), RedisError> {
        told(self.shards()?.hand_over(index).await)
    }

    /// Waits until another than that server has the slot of a key.
    ///
    /// # Errors
    /// Where none has it in time.
    pub async fn until_another_has(&self, key: &str, than: usize) -> Result<(), RedisError> {
        told(self.shards()?.until_another_has(key, than).await)
    }

    /// Moves the slot of a key to another primary.
    ///
    /// # Errors
    /// Where it does not move.
    pub async fn move_slot(&self, key: &str) -> Result<(), RedisError> {
        told(self.shards()?.move_slot(key).await)
    }

    /// Kills the primary, or one of the cluster; once it has a successor, and `rests` later, it comes back as a replica.
    ///
    /// # Errors
    /// Where it has no successor in time, or does not come back.
    pub async fn fail_over(&self, rests: Duration) -> Result<(), RedisError> {
        match &self.source {
            Source::Fleet(fleet) => told(fleet.fail_over(rests).await),
            _ => told(self.shards()?.fail_over(rests).await),
        }
    }

    /// Moves a slot that holds something to another primary.
    ///
    /// # Errors
    /// Where it does not move.
    pub async fn move_some_slot(&self) -> Result<(), RedisError> {
        told(self.shards()?.move_some_slot().await)
    }

    fn shards(&self) -> Result<&Shards, RedisError> {
        match &self.source {
            Source::Shards(shards) => Ok(shards),
            _ => Err(RedisError::Fault("it is no cluster".to_owned())),
        }
    }

    /// Makes it refuse what is written, as a replica does: of a master that nobody can reach, so that it keeps its data.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn refuse_writes(&self) -> Result<(), RedisError> {
        self.command(&["REPLICAOF", "127.0.0.1", "1"]).await
    }

    /// Takes writes again after [`Self::refuse_writes`].
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn take_writes(&self) -> Result<(), RedisError> {
        self.command(&["REPLICAOF", "NO", "ONE"]).await
    }

    /// Makes it a replica of another one with the same password.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn follow(&self, primary: &Self) -> Result<(), RedisError> {
        let address = &primary.address;
        self.set("masterauth", address.password.as_deref().unwrap_or_default()).await?;
        self.command(&["REPLICAOF", &address.host, &address.port.to_string()]).await
    }

    /// Waits until so many replicas have whatever was written here so far.
    ///
    /// # Errors
    /// Where they do not have it in time.
    pub async fn until_copied(&self, replicas: u64) -> Result<(), RedisError> {
        let deadline = Instant::now() + START_LIMIT;
        let mut redis = connect(&self.address, 0).await?;
        // Only what this connection has written is waited for, so it writes something.
        let mut written = redis::pipe();
        written.cmd("PUBLISH").arg("notify-conformance").arg("").ignore().cmd("WAIT").arg(replicas).arg(1_000);
        while written.query_async::<(u64,)>(&mut redis).await?.0 < replicas {
            if Instant::now() > deadline {
                return Err(RedisError::Fault(format!("fewer than {replicas} replicas have what was written")));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// The ports of the connections that have subscribed to something.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn listeners(&self) -> Result<BTreeSet<u16>, RedisError> {
        let mut redis = connect(&self.address, 0).await?;
        let list: String = redis::cmd("CLIENT").arg("LIST").arg("TYPE").arg("PUBSUB").query_async(&mut redis).await?;
        let address = |line: &str| line.split(' ').find_map(|field| field.strip_prefix("addr=")).map(str::to_owned);
        Ok(list.lines().filter_map(address).filter_map(|it| it.rsplit(':').next()?.parse().ok()).collect())
    }

    /// Changes a setting of the running Redis.
    ///
    /// # Errors
    /// Where it does not answer, or has no such setting.
    pub async fn set(&self, setting: &str, value: &str) -> Result<(), RedisError> {
        self.command(&["CONFIG", "SET", setting, value]).await
    }

    /// Makes it one that would throw away what it holds to make room, though it has plenty. Without a bound again, by
    /// [`Self::set`], it keeps everything.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn evict(&self) -> Result<(), RedisError> {
        self.command(&["CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru"]).await
    }

    /// Closes every connection that others have to it.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn drop_clients(&self) -> Result<(), RedisError> {
        for kind in ["normal", "pubsub"] {
            self.command(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await?;
        }
        Ok(())
    }

    /// Forgets everything, as one does that is replaced by a new one.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn forget(&self) -> Result<(), RedisError> {
        let mut redis = connect(&self.address, 0).await?;
        Ok(redis.flushall::<()>().await?)
    }

    async fn command(&self, words: &[&str]) -> Result<(), RedisError> {
        let mut redis = connect(&self.address, 0).await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        let done: RedisResult<redis::Value> = command.query_async(&mut redis).await;
        Ok(done.map(drop)?)
    }
}

fn told(outcome: Result<(), String>) -> Result<(), RedisError> {
    outcome.map_err(RedisError::Fault)
}

fn which() -> RedisError {
    RedisError::Fault("it is a cluster of several servers".to_owned())
}

fn somebodys() -> RedisError {
    RedisError::Fault("it is somebody's own".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::for_a_test;

    async fn write(server: &RedisServer) -> RedisResult<()> {
        connect(&server.address, 0).await?.set("a", 1).await
    }

    async fn read(server: &RedisServer) -> Option<u32> {
        connect(&server.address, 0).await.ok()?.get("a").await.ok()?
    }

    #[tokio::test]
    async fn one_that_keeps_has_its_data_after_a_restart_and_another_has_none() {
        let Some(first) = for_a_test().await else { return };
        for (keeps, found) in [(true, Some(1)), (false, None)] {
            let server = first.another(keeps).await.expect("another");
            write(&server).await.expect("it takes writes");
            server.halt().await.expect("it ends");
            assert!(write(&server).await.is_err(), "it has ended");
            server.begin().await.expect("it starts again");
            assert_eq!(read(&server).await, found);
            server.stop().await;
        }
        first.stop().await;
    }

    #[tokio::test]
    async fn it_pauses_and_refuses_writes_and_keeps_its_data() {
        let Some(server) = for_a_test().await else { return };
        write(&server).await.expect("it takes writes");
        server.refuse_writes().await.expect("it answers");
        assert!(write(&server).await.is_err(), "a replica");
        server.take_writes().await.expect("it answers");
        server.set("maxmemory", "1").await.expect("it answers");
        assert!(write(&server).await.is_err(), "full");
        server.set("maxmemory", "0").await.expect("it answers");
        assert_eq!(read(&server).await, Some(1));
        server.pause().await.expect("a process");
        assert_eq!(read(&server).await, None);
        server.resume().await.expect("a process");
        assert_eq!(read(&server).await, Some(1));
        server.forget().await.expect("it answers");
        assert_eq!(read(&server).await, None);
        server.stop().await;
    }
}
