//! How stores fail.

use std::{borrow::Cow, sync::Arc, time::Duration};

/// The store could not do what it was asked. Whatever was being done has to be refused, never half promised.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It gave no answer in time.
    #[error("the store did not answer within {0:?}")]
    TimedOut(Duration),
    /// Redis refused, or the connection to it is broken.
    #[error("redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// Redis is not reached by TLS; which setting that is about is told.
    #[error("redis over TLS: {0}")]
    Tls(String),
    /// The database file could not be read or written.
    #[error("database: {0}")]
    Database(Arc<redb::Error>),
    /// It has answered something that it should never answer.
    #[error("the store gave an answer that makes no sense")]
    Senseless,
    /// It is of another kind than the settings say: it spreads its keys, or only points at others.
    #[error(
        "redis runs in {0} mode, and none of the settings says so: REDIS_CLUSTER=true is for a cluster, REDIS_SENTINELS for sentinels"
    )]
    Unsupported(String),
    /// It is a copy of another, which takes no writes.
    #[error("redis is a replica, which takes no writes; this server needs the primary")]
    Replica,
    /// What was to be a sentinel is something else.
    #[error("REDIS_SENTINELS names a server that is no sentinel")]
    NotSentinel,
    /// What was to be a cluster is something else.
    #[error("redis is no server of a Redis Cluster, and REDIS_CLUSTER, or REDIS_URL with several hosts, says so")]
    NotCluster,
    /// The sentinels watch over something else.
    #[error("the sentinels know no primary by the name {0:?}, which is that of REDIS_SENTINEL_MASTER")]
    UnknownMaster(String),
    /// What was written is not where it has to be.
    #[error("fewer replicas than REDIS_MIN_REPLICAS have taken what was written")]
    NotCopied,
    /// It lacks what is needed; its version is told.
    #[error("redis is version {0}; this server needs version 7 or later")]
    TooOld(String),
    /// It may throw away what it is given.
    #[error("redis makes room by throwing away what it was given; set its maxmemory-policy to noeviction")]
    Evicts,
    /// This node is out of touch with the others.
    #[error("this node has not joined the others")]
    NotJoined,
    /// This node is out of touch with the others in some of the partitions over which users are spread.
    #[error("in {} of {all} partitions ({which:?}): {first}", .which.len())]
    Partitions {
        /// Their numbers.
        which: Vec<usize>,
        /// How many there are.
        all: usize,
        /// What is wrong in the first of them.
        first: Box<Self>,
    },
    /// A subscription brings nothing of what is said.
    #[error("this node does not hear what is said to {}", match .0 { Channel::One => "it", Channel::All => "all" })]
    Deaf(Channel),
    /// The thread that writes is gone, as while the process ends.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// What anybody may be told of it: which kind of failure it is, without an address or a path (AUTH-24).
    #[must_use]
    pub fn kind(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Partitions { which, all, first } => {
                return format!("in {} of {all} partitions of users ({which:?}), {}", which.len(), first.kind()).into();
            }
            Self::NotCopied => "the store could not copy what was written to where it has to be",
            Self::TimedOut(_)
            | Self::Redis(_)
            | Self::Tls(_)
            | Self::Database(_)
            | Self::Replica
            | Self::NotSentinel
            | Self::NotCluster
            | Self::UnknownMaster(_) => "the store does not answer, or refuses",
            Self::Senseless => "the store gave an answer that makes no sense",
            Self::Unsupported(_) | Self::TooOld(_) => "the store is of a kind that this server cannot use",
            Self::Evicts => "the store would throw away what it is given",
            Self::NotJoined => "this server cannot write to the store, or has not caught up yet",
            Self::Deaf(Channel::One) => "this server does not hear what the others tell it",
            Self::Deaf(Channel::All) => "this server does not hear what the others tell all",
            Self::Closed => "the store is closed",
        })
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// What a node listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// What is said to it.
    One,
    /// What is said to all.
    All,
}
