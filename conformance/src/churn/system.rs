//! What a workload happens to: the nodes, and their Redis where it is the workload's own. Knows nothing of the workload.

use std::sync::Arc;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{
    bench::Bench,
    expect::{Fault, Outcome, inconclusive},
    instance::Changes,
    redis::RedisServer,
};

/// The errors of a system that has given the suite all that it gives: too many open files, here and on the whole machine,
/// and no local port left.
const EXHAUSTED: [&str; 3] = ["(os error 24)", "(os error 23)", "(os error 99)"];

/// The nodes under test. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct System {
    pub(super) nodes: Vec<Bench>,
    redis: Option<Arc<RedisServer>>,
}

impl System {
    /// Starts `nodes` servers with these settings on one database; with `own_redis` on a Redis that nobody else uses and that keeps its
    /// data, or with replicas where the run's has some.
    ///
    /// # Errors
    /// Where anything of it cannot be started.
    pub(super) async fn start(bench: &Bench, nodes: usize, own_redis: bool, changes: &Changes) -> Outcome<Self> {
        let redis = match own_redis {
            true if bench.is_on_shards() => Some(bench.own_shards().await?),
            true if bench.is_behind_sentinels() => Some(bench.own_fleet().await?),
            true => Some(bench.own_redis(true).await?),
            false => None,
        };
        let first = match &redis {
            Some(redis) => bench.own_server_on_with(redis, changes).await?,
            None => bench.own_server_with(changes, None).await?,
        };
        let mut all = vec![first];
        for _ in 1..nodes {
            all[0].database()?;
            all.push(all[0].node_beside_with(changes).await?);
        }
        Ok(Self { nodes: all, redis })
    }

    /// The server that is there already.
    pub(super) fn shared(bench: &Bench) -> Self {
        Self { nodes: vec![bench.clone()], redis: None }
    }

    /// The Redis that nobody else uses.
    pub(super) fn redis(&self) -> Outcome<&RedisServer> {
        self.redis.as_deref().ok_or_else(|| inconclusive("the Redis is not the workload's own"))
    }
}

/// Allows this process, and the servers that it starts, as many open files as the system lets it: each device has a line of
/// its own, and a line that has fallen silent stays open on every side.
pub(super) fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where this is not allowed, what cannot be opened then is told as the suite's own fault.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Why a fault is the suite's own, and says nothing of the servers.
pub(super) fn own_fault(fault: &Fault) -> Option<String> {
    let text = fault.to_string();
    let own = !matches!(fault, Fault::Mismatch { .. }) || EXHAUSTED.iter().any(|error| text.contains(error));
    own.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expect::mismatch;

    #[test]
    fn what_the_machine_has_no_more_of_is_no_fault_of_the_servers() {
        let of = |actual: &str| own_fault(&mismatch("an Engine.IO session", actual));
        assert!(of("Too many open files (os error 24)").is_some_and(|why| why.contains("open files")));
        assert_eq!(of("Connection refused (os error 111)"), None);
        assert!(own_fault(&inconclusive("a proxy before the server")).is_some());
    }

    #[test]
    fn as_many_files_may_be_open_as_the_system_lets_us() {
        allow_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
