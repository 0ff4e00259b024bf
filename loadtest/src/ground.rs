//! What a run stands on: target file, Redis, the server, and what signs tokens. Knows nothing of scenarios.

use std::{io, sync::Arc};

use notify_conformance::{
    ground::{self, GroundError},
    instance::{self, Changes, Instance, InstanceError},
    redis::{RedisChoice, RedisError, RedisServer},
    target::{Hook, Request, Target, TargetError},
    template::UnknownPlaceholder,
    text::chain,
    token::{SignError, Signer},
};
use thiserror::Error;

use crate::http::{Address, HttpError};

/// The target where none is named.
pub const DEFAULT: &str = "loadtest/targets/reference-embedded.toml";

/// What the ground is made from.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// A target file, or the URL of a server that runs; `None` for [`DEFAULT`].
    pub target: Option<String>,
    /// Where Redis comes from.
    pub redis: RedisChoice,
    /// The image of its container.
    pub image: String,
    /// Two nodes on one Redis: events are emitted at the one, and clients connect to the other.
    pub across: bool,
}

/// A server that runs.
#[derive(Debug)]
pub struct Ground {
    /// The target file.
    pub target: Target,
    /// Where events are emitted.
    pub address: Address,
    /// Where clients connect: the same, but for two nodes.
    pub door: Address,
    /// The request that emits an event.
    pub emit: Request,
    /// The request that makes a session, where the target has sessions.
    pub create_session: Option<Request>,
    /// Signs tokens with the target's key.
    pub signer: Signer,
    /// The processes of its nodes, where the harness has started them.
    pub processes: Vec<u32>,
    /// `embedded`, or which Redis.
    pub store: String,
    nodes: Vec<Instance>,
    redis: Option<Arc<RedisServer>>,
}

/// Why there is no server.
#[derive(Debug, Error)]
pub enum Failed {
    /// The target file.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is none, or the shipped one is not found.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// The key in it.
    #[error("the target file's [jwt]: {0}")]
    Sign(#[from] SignError),
    /// Redis.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The server; what it said is quoted without secrets.
    #[error("the target does not start: {0}")]
    Start(String),
    /// Where it is.
    #[error(transparent)]
    Address(#[from] HttpError),
    /// It does not answer.
    #[error("no server answers at {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The target file cannot be used for load.
    #[error("the target file's [{0}] is a command; load needs an HTTP request there")]
    Command(&'static str),
    /// Two nodes share nothing.
    #[error("--across needs a target that the harness starts on a Redis: two nodes have to share it")]
    Alone,
    /// A placeholder has no value.
    #[error("the target file: {0}")]
    Placeholder(#[from] UnknownPlaceholder),
}

impl Ground {
    /// Reads the target file, builds and starts the server, with a Redis where it wants one.
    ///
    /// # Errors
    /// Where any part is not to be had. What was started by then has been stopped again.
    pub async fn prepare(wanted: &Wanted) -> Result<Self, Failed> {
        let target = match &wanted.target {
            Some(named) => ground::read_target(Some(named))?,
            None => ground::read_file(&ground::shipped(DEFAULT)?)?,
        };
        // Before anything is started.
        requests(&target)?;
        if wanted.across && !(target.process.is_some() && target.wants_redis()) {
            return Err(Failed::Alone);
        }
        let signer = Signer::of(&target)?;
        let mut redis = None;
        if target.wants_redis() {
            redis = Some(Arc::new(RedisServer::start(&wanted.redis, &wanted.image).await?));
        }
        match Self::start(target, signer, redis.clone(), wanted.across).await {
            Ok(ready) => Ok(ready),
            Err(why) => {
                if let Some(redis) = redis {
                    redis.stop().await;
                }
                Err(why)
            }
        }
    }

    async fn start(
        target: Target,
        signer: Signer,
        redis: Option<Arc<RedisServer>>,
        across: bool,
    ) -> Result<Self, Failed> {
        let secrets = target.hidden(redis.as_deref().and_then(RedisServer::password));
        let told = |error: InstanceError| Failed::Start(secrets.redact(&chain(&error)));
        let nodes = match (&target.process, &target.url) {
            (Some(process), _) => {
                instance::build(&target, |what| eprintln!("  build     {what}")).await.map_err(told)?;
                let changes = Changes { without_proxy: true, ..Changes::default() };
                let mut nodes = vec![Instance::start(&target, process, redis.clone(), &changes).await.map_err(told)?];
                if across {
                    let second = nodes[0].prepare_beside(&target, process, &changes).await.map_err(told)?;
                    second.boot().await.map_err(told)?;
                    nodes.push(second);
                }
                nodes
            }
            (None, url) => vec![Instance::at(url.as_deref().unwrap_or_default())],
        };
        let mut addresses = Vec::with_capacity(nodes.len());
        let mut processes = Vec::with_capacity(nodes.len());
        for node in &nodes {
            let address = Address::parse(&node.base)?;
            let unreachable = |source| Failed::Unreachable { url: secrets.redact(&node.base), source };
            address.dial().await.map_err(unreachable)?;
            addresses.push(address);
            processes.extend(node.process_id().await);
        }
        let (address, door) = (addresses[0].clone(), addresses[addresses.len() - 1].clone());
        let (emit, create_session) = requests(&target)?;
        let store = match &redis {
            Some(redis) if across => format!("{}, from one node to another", redis.describe()),
            Some(redis) => redis.describe(),
            None if target
                .process
                .as_ref()
                .is_some_and(|it| it.env.get("STORE").is_some_and(|it| it == "embedded")) =>
            {
                "embedded".to_owned()
            }
            None => "unknown".to_owned(),
        };
        Ok(Self { target, address, door, emit, create_session, signer, processes, store, nodes, redis })
    }

    /// What the server does without, by the reasons that its target file gives for what does not apply; each once.
    pub fn leaves_out(&self) -> Vec<String> {
        let mut reasons: Vec<String> = Vec::new();
        for reason in self.target.not_applicable.values() {
            if !reasons.contains(reason) {
                reasons.push(reason.clone());
            }
        }
        reasons
    }

    /// What the server has said, without secrets; of several nodes one after the other.
    pub fn output(&self) -> String {
        let said: String = self.nodes.iter().map(Instance::output).collect();
        self.target.hidden(self.redis.as_deref().and_then(RedisServer::password)).redact(&said)
    }

    /// Whether the server still runs, as far as the harness can tell.
    pub async fn still_runs(&self) -> bool {
        for node in &self.nodes {
            if !node.still_runs().await {
                return false;
            }
        }
        true
    }

    /// The processor time that Redis has used so far, in seconds, where there is one and it tells.
    pub async fn redis_cpu_s(&self) -> Option<f64> {
        self.redis.as_ref()?.cpu_s().await.ok()
    }

    /// Stops everything that [`Self::prepare`] has started.
    pub async fn clear(self) {
        for node in self.nodes {
            node.stop().await;
        }
        if let Some(redis) = self.redis {
            redis.stop().await;
        }
    }
}

/// What emits an event, and what makes a session.
fn requests(target: &Target) -> Result<(Request, Option<Request>), Failed> {
    let create = target.sessions.as_ref().map(|sessions| http(&sessions.create, "sessions.create"));
    Ok((http(&target.emit, "emit")?.clone(), create.transpose()?.cloned()))
}

fn http<'a>(hook: &'a Hook, name: &'static str) -> Result<&'a Request, Failed> {
    match hook {
        Hook::Http(request) => Ok(request),
        Hook::Command(_) => Err(Failed::Command(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_nodes_take_a_server_that_is_started_on_a_redis() {
        let alone = [
            "http://127.0.0.1:1".to_owned(),
            ground::shipped(DEFAULT).expect("the shipped target").display().to_string(),
        ];
        for target in alone {
            let wanted = Wanted { target: Some(target), redis: RedisChoice::Local, image: String::new(), across: true };
            let refused = Ground::prepare(&wanted).await.expect_err("they would share nothing");
            assert!(matches!(refused, Failed::Alone), "{refused}");
        }
    }
}
