//! What a run stands on: target file, Redis, the server, and what signs tokens. Knows nothing of scenarios.

use std::{io, sync::Arc};

use notify_conformance::{
    ground::{self, GroundError},
    instance::{self, Changes, Instance, InstanceError, chain},
    redact::Secrets,
    redis::{RedisChoice, RedisError, RedisServer},
    target::{Hook, Request, Target, TargetError},
    template::UnknownPlaceholder,
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
}

/// A server that runs.
#[derive(Debug)]
pub struct Ground {
    /// The target file.
    pub target: Target,
    /// Where the server is.
    pub address: Address,
    /// The request that emits an event.
    pub emit: Request,
    /// The request that makes a session, where the target has sessions.
    pub create_session: Option<Request>,
    /// Signs tokens with the target's key.
    pub signer: Signer,
    /// Its process, where the harness has started it.
    pub process: Option<u32>,
    /// `embedded`, or which Redis.
    pub store: String,
    instance: Instance,
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
            None => Target::read(&ground::shipped(DEFAULT)?)?,
        };
        // Before anything is started.
        requests(&target)?;
        let signer = Signer::of(&target)?;
        let mut redis = None;
        if target.wants_redis() {
            redis = Some(Arc::new(RedisServer::start(&wanted.redis, &wanted.image).await?));
        }
        match Self::start(target, signer, redis.clone()).await {
            Ok(ready) => Ok(ready),
            Err(why) => {
                if let Some(redis) = redis {
                    redis.stop().await;
                }
                Err(why)
            }
        }
    }

    async fn start(target: Target, signer: Signer, redis: Option<Arc<RedisServer>>) -> Result<Self, Failed> {
        let secrets = Secrets::of(&target, redis.as_deref());
        let told = |error: InstanceError| Failed::Start(secrets.redact(&chain(&error)));
        let instance = match (&target.process, &target.url) {
            (Some(process), _) => {
                instance::build(&target).await.map_err(told)?;
                let changes = Changes { without_proxy: true, ..Changes::default() };
                Instance::start(&target, process, redis.clone(), &changes).await.map_err(told)?
            }
            (None, url) => Instance::at(url.as_deref().unwrap_or_default()),
        };
        let address = Address::parse(&instance.base)?;
        let unreachable = |source| Failed::Unreachable { url: secrets.redact(&instance.base), source };
        address.dial().await.map_err(unreachable)?;
        let process = instance.process_id().await;
        let (emit, create_session) = requests(&target)?;
        let store = match &redis {
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
        Ok(Self { target, address, emit, create_session, signer, process, store, instance, redis })
    }

    /// What the server has said, without secrets.
    pub fn output(&self) -> String {
        Secrets::of(&self.target, self.redis.as_deref()).redact(&self.instance.output())
    }

    /// Whether the server still runs, as far as the harness can tell.
    pub async fn still_runs(&self) -> bool {
        self.instance.still_runs().await
    }

    /// Stops everything that [`Self::prepare`] has started.
    pub async fn clear(self) {
        self.instance.stop().await;
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
