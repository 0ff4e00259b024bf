//! Makes the ground of a run ready: target file, Redis, build, server. Tells what it took; runs no case.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use thiserror::Error;
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    bench::Suite,
    cases,
    event::{Environment, RunEvent},
    instance::{self, Changes, Instance, InstanceError},
    redact::Secrets,
    redis::{RedisChoice, RedisError, RedisServer},
    target::{Target, TargetError},
    text::chain,
    tls,
    token::{SignError, Signer},
};

/// The target of a bare `run`.
pub const REFERENCE: &str = "fixtures/targets/reference.toml";
/// What a bare `run` falls back to where there is no Redis.
pub const EMBEDDED: &str = "fixtures/targets/reference-embedded.toml";

/// What the ground is made from.
#[derive(Debug, Clone)]
pub struct Options {
    /// A target file, or the URL of a server that runs; `None` for a bare `run`.
    pub target: Option<String>,
    /// Where Redis comes from; `None` where nobody said.
    pub redis: Option<RedisChoice>,
    /// The image of the container.
    pub image: String,
    /// Whether a missing Redis may be made up for by the embedded store.
    pub may_fall_back: bool,
    /// The run's seed.
    pub seed: u64,
}

/// Why there is no ground to run on.
#[derive(Debug, Error)]
pub enum GroundError {
    /// The target file.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The key in it.
    #[error("the target file's [jwt]: {0}")]
    Sign(#[from] SignError),
    /// Redis.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// The server; what it said is quoted without secrets.
    #[error("the target does not start: {0}")]
    Instance(String),
    /// The server by URL.
    #[error("no server answers at {url}: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why not.
        why: String,
    },
    /// No target file was named and the shipped one is not here.
    #[error("there is no {REFERENCE} here or above; name a target by --target FILE|URL")]
    NoTarget,
}

/// Makes everything ready; `events` hears of each part.
///
/// # Errors
/// Where any part is not to be had. What was started by then has been stopped again.
pub async fn prepare(options: &Options, events: &UnboundedSender<RunEvent>) -> Result<Arc<Suite>, GroundError> {
    let mut target = read_target(options.target.as_deref())?;
    let mut redis = None;
    if target.wants_redis() {
        match start_redis(options, events).await {
            Ok(server) => redis = Some(Arc::new(server)),
            Err(why) if options.may_fall_back => {
                remark(events, "no Redis was found: this run checks the EMBEDDED store, and nothing about Redis");
                why.to_string().lines().for_each(|line| remark(events, line.trim()));
                target = read_file(&shipped(EMBEDDED)?)?;
            }
            Err(why) => return Err(why.into()),
        }
    }
    match start_target(target, redis.clone(), options.seed, events).await {
        Ok(suite) => Ok(suite),
        Err(error) => {
            if let Some(redis) = redis {
                redis.stop().await;
            }
            Err(error)
        }
    }
}

/// Stops everything that [`prepare`] has started.
pub async fn clear(suite: Arc<Suite>) {
    let redis = suite.redis.clone();
    // Cases that were broken off may not have let go of it yet.
    suite.shared.end().await;
    if let Some(suite) = Arc::into_inner(suite)
        && let Some(shared) = Arc::into_inner(suite.shared)
    {
        shared.stop().await;
    }
    if let Some(redis) = redis {
        redis.stop().await;
    }
}

/// Reads the target file, or takes the reference's for a server by URL.
///
/// # Errors
/// Where it cannot be read or is not right.
pub fn read_target(named: Option<&str>) -> Result<Target, GroundError> {
    let Some(named) = named else { return Ok(read_file(&shipped(REFERENCE)?)?) };
    if !named.starts_with("http://") && !named.starts_with("https://") {
        return Ok(read_file(Path::new(named))?);
    }
    // Of its own: whoever checks a server by URL need not stand in the checkout.
    let text = include_str!("../../fixtures/targets/reference.toml");
    let mut target = Target::parse(text, Path::new(""), &|_| None, &cases::ids())
        .map_err(|problems| TargetError::Wrong { path: PathBuf::from(REFERENCE), problems })?;
    target.name = format!("the server at {}", Secrets::default().redact(named));
    target.url = Some(named.to_owned());
    target.process = None;
    for of_a_process in ["config", "restart", "redis"] {
        target.capabilities.remove(of_a_process);
    }
    Ok(target)
}

/// Reads a target file, which may name any case of the suite.
///
/// # Errors
/// Where it cannot be read or is not right.
pub fn read_file(path: &Path) -> Result<Target, TargetError> {
    Target::read(path, &cases::ids())
}

async fn start_redis(options: &Options, events: &UnboundedSender<RunEvent>) -> Result<RedisServer, RedisError> {
    let began = Instant::now();
    let choice = options.redis.clone().unwrap_or(RedisChoice::Auto);
    let server = RedisServer::start(&choice, &options.image).await?;
    let _ = events.send(RunEvent::Ready("redis", server.describe(), began.elapsed()));
    Ok(server)
}

async fn start_target(
    target: Target,
    redis: Option<Arc<RedisServer>>,
    seed: u64,
    events: &UnboundedSender<RunEvent>,
) -> Result<Arc<Suite>, GroundError> {
    let signer = Signer::of(&target)?;
    let secrets = target.hidden(redis.as_deref().and_then(RedisServer::password));
    let told = |error: InstanceError| GroundError::Instance(secrets.redact(&chain(&error)));
    let http = tls::http().map_err(|error| told(error.into()))?;
    let began = Instant::now();
    instance::build(&target, |what| drop(events.send(RunEvent::Busy("build", what)))).await.map_err(told)?;
    let build = began.elapsed();
    let began = Instant::now();
    let shared = match (&target.process, &target.url) {
        (Some(process), _) => {
            Instance::start(&target, process, redis.clone(), &Changes::default()).await.map_err(told)?
        }
        (None, url) => reach(&http, url.as_deref().unwrap_or_default()).await?,
    };
    if target.process.as_ref().is_some_and(|process| !process.build.is_empty()) {
        let _ = events.send(RunEvent::Ready("build", "the target's build command".to_owned(), build));
    }
    let what = secrets.redact(&format!("{} at {}", target.name, shared.base));
    let _ = events.send(RunEvent::Ready("target", what, began.elapsed()));
    let _ = events.send(RunEvent::Environment(Box::new(Environment {
        target: target.name.clone(),
        url: secrets.redact(&shared.base),
        capabilities: target.capabilities.iter().cloned().collect(),
        redis: redis.as_ref().map(|redis| redis.version().to_owned()),
        redis_from: redis.as_ref().map(|redis| redis.kind().to_owned()),
        seed: format!("{seed:x}"),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    })));
    let nonce = format!("{:08x}", rand::random::<u32>());
    Ok(Arc::new(Suite { target, redis, shared: Arc::new(shared), signer, secrets, http, seed, nonce }))
}

async fn reach(http: &reqwest::Client, url: &str) -> Result<Instance, GroundError> {
    let limit = std::time::Duration::from_secs(5);
    match http.get(url).timeout(limit).send().await {
        Ok(_) => Ok(Instance::at(url)),
        Err(error) => {
            let url = Secrets::default().redact(url);
            Err(GroundError::Unreachable { url, why: chain(&error.without_url()) })
        }
    }
}

/// A shipped file, from this folder or one above it: `just` and `cargo` may be called from anywhere in the checkout.
///
/// # Errors
/// Where it is in none of them.
pub fn shipped(file: &str) -> Result<PathBuf, GroundError> {
    let here = std::env::current_dir().map_err(|_| GroundError::NoTarget)?;
    here.ancestors().map(|folder| folder.join(file)).find(|path| path.is_file()).ok_or(GroundError::NoTarget)
}

fn remark(events: &UnboundedSender<RunEvent>, text: &str) {
    let _ = events.send(RunEvent::Remark(text.to_owned()));
}
