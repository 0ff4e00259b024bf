//! Redis in a container, by testcontainers: published on loopback alone where the daemon is on this machine, and removed at the end
//! of the run.
//!
//! A run that was killed cannot remove its container; the next run does, by the labels that name the dead process.

use std::{collections::HashMap, future::Future, time::Duration};

use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
    system::uname,
};
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    bollard::{
        Docker,
        query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptions, RemoveContainerOptionsBuilder},
    },
    core::{IntoContainerPort, WaitFor, client::docker_client_instance},
    runners::AsyncRunner,
};
use tokio::{sync::Mutex, time::timeout};

use super::RedisAddress;
use crate::ports::free_port;

/// Names the process that a container belongs to.
const OWNER: &str = "notify-conformance.owner-pid";
/// Names the host that this process runs on: process ids mean nothing elsewhere, and a daemon may serve many hosts.
const HOST: &str = "notify-conformance.owner-host";
/// Where ports are published by a daemon on this machine.
const LOOPBACK: &str = "127.0.0.1";
/// How long the Docker daemon may take to answer a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a container may take to start, its image being pulled included.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a container may take to appear whose start was given up: the daemon finishes what it has begun.
const APPEAR_LIMIT: Duration = Duration::from_secs(5);
/// How often to look for it.
const POLL: Duration = Duration::from_millis(50);
/// How long removing one may take.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);

/// A Redis container; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) image: String,
    running: Mutex<Option<ContainerAsync<GenericImage>>>,
}

/// One that `keeps` has what was written when it starts again.
pub(super) async fn start(
    image: &str,
    password: &str,
    databases: u32,
    keeps: bool,
) -> Result<(Container, RedisAddress), String> {
    let docker = daemon().await?;
    remove_orphans(&docker).await;
    let port = free_port().map_err(|error| error.to_string())?;
    let (name, tag) = split_tag(image);
    let databases = databases.to_string();
    let kept = if keeps { "yes" } else { "no" };
    let command =
        ["redis-server", "--requirepass", password, "--databases", &databases, "--save", "", "--appendonly", kept];
    let published = published_at(std::env::var("DOCKER_HOST").ok().as_deref());
    // Said even where it is for all: a daemon may have been told to publish on its loopback unless it is asked otherwise.
    let published_for = if published == LOOPBACK { LOOPBACK } else { "0.0.0.0" };
    let leftover = Leftover::new(docker);
    let request = GenericImage::new(name, tag)
        .with_wait_for(WaitFor::Nothing)
        .with_cmd(command)
        .with_container_name(&leftover.name)
        .with_label(OWNER, std::process::id().to_string())
        .with_label(HOST, host())
        .with_mapped_port(port, 6379.tcp())
        .with_host_config_modifier(move |config| {
            let bindings = config.port_bindings.iter_mut().flat_map(HashMap::values_mut);
            for binding in bindings.flatten().flatten() {
                binding.host_ip = Some(published_for.to_owned());
            }
        });
    let running = match timeout(START_LIMIT, request.start()).await {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => {
            leftover.remove().await;
            return Err(format!("the image {image}: {error}"));
        }
        Err(_) => return Err(format!("the image {image} did not start within {START_LIMIT:?}")),
    };
    leftover.forget();
    let container = Container { image: image.to_owned(), running: Mutex::new(Some(running)) };
    Ok((container, RedisAddress { host: published, port, password: Some(password.to_owned()) }))
}

impl Container {
    /// # Errors
    /// Where its Redis has ended, with its last words.
    pub(super) async fn still_runs(&self) -> Result<(), String> {
        let running = self.running.lock().await;
        let Some(container) = running.as_ref() else { return Err("the container was removed".to_owned()) };
        if container.is_running().await.unwrap_or(true) {
            return Ok(());
        }
        let mut words = container.stdout_to_vec().await.unwrap_or_default();
        words.extend(container.stderr_to_vec().await.unwrap_or_default());
        Err(format!("the container of {} ended:\n{}", self.image, String::from_utf8_lossy(&words)))
    }

    pub(super) async fn pause(&self) -> Result<(), String> {
        self.ask(async |container| container.pause().await).await
    }

    pub(super) async fn resume(&self) -> Result<(), String> {
        self.ask(async |container| container.unpause().await).await
    }

    /// Ends its Redis as an operator would; the container stays.
    pub(super) async fn halt(&self) -> Result<(), String> {
        self.ask(async |container| container.stop_with_timeout(Some(10)).await).await
    }

    /// Starts it again on the same port, with what it has kept.
    pub(super) async fn begin(&self) -> Result<(), String> {
        self.ask(async |container| container.start().await).await
    }

    async fn ask(
        &self,
        what: impl AsyncFnOnce(&ContainerAsync<GenericImage>) -> testcontainers::core::error::Result<()>,
    ) -> Result<(), String> {
        let running = self.running.lock().await;
        let Some(container) = running.as_ref() else { return Err("the container was removed".to_owned()) };
        what(container).await.map_err(|error| error.to_string())
    }

    pub(super) async fn stop(&self) {
        if let Some(running) = self.running.lock().await.take() {
            // What cannot be removed now is an orphan to the next run.
            let _ = timeout(REMOVE_LIMIT, running.rm()).await;
        }
    }
}

/// What a start that fails, or is given up, may leave behind: testcontainers removes only what has started.
struct Leftover {
    docker: Docker,
    name: String,
    settled: bool,
}

impl Leftover {
    fn new(docker: Docker) -> Self {
        Self { docker, name: format!("notify-conformance-{:016x}", rand::random::<u64>()), settled: false }
    }

    /// The container has started: from here on somebody else looks after it.
    fn forget(mut self) {
        self.settled = true;
    }

    /// The start has failed: the container is there, or will never be.
    async fn remove(mut self) {
        let _ = timeout(REMOVE_LIMIT, self.docker.remove_container(&self.name, Some(by_force()))).await;
        self.settled = true;
    }
}

impl Drop for Leftover {
    /// The start was given up: the container may appear yet.
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let (docker, name) = (self.docker.clone(), self.name.clone());
        finish(async move {
            let mut poll = tokio::time::interval(POLL);
            while docker.remove_container(&name, Some(by_force())).await.is_err() {
                poll.tick().await;
            }
        });
    }
}

/// Waits for a few last words with the daemon where nothing can be awaited. On a thread of its own, for the runtime may be
/// about to end.
fn finish(last: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            let _ = runtime.block_on(async { timeout(APPEAR_LIMIT, last).await });
        }
    });
    let _ = thread.join();
}

/// Where the ports are that the daemon publishes: on the machine that it runs on, which `DOCKER_HOST` names where it is another one
/// (Docker in Docker: `tcp://docker:2375`). There they can only be published for all; a password stands before what is there.
fn published_at(docker_host: Option<&str>) -> String {
    let url = docker_host.and_then(|host| reqwest::Url::parse(host).ok());
    let url = url.filter(|url| matches!(url.scheme(), "tcp" | "http" | "https"));
    match url.as_ref().and_then(reqwest::Url::host_str) {
        None | Some("localhost" | "[::1]") => LOOPBACK.to_owned(),
        Some(host) if host.starts_with("127.") => LOOPBACK.to_owned(),
        Some(host) => host.trim_matches(['[', ']']).to_owned(),
    }
}

/// The daemon that testcontainers will speak to, which looks in more places than Docker's own client.
async fn daemon() -> Result<Docker, String> {
    let unreachable = |why: String| format!("no Docker daemon answers: {why}");
    let docker = docker_client_instance().await.map_err(|error| unreachable(error.to_string()))?;
    match timeout(ANSWER_LIMIT, docker.ping()).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!("nothing within {ANSWER_LIMIT:?}"))),
    }
}

/// Removes what runs on this host that no longer live have left behind.
async fn remove_orphans(docker: &Docker) {
    let filters = HashMap::from([("label", vec![OWNER.to_owned(), format!("{HOST}={}", host())])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let listed = timeout(ANSWER_LIMIT, docker.list_containers(Some(options))).await;
    for container in listed.ok().and_then(Result::ok).unwrap_or_default() {
        let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER));
        let orphaned = owner.is_some_and(|pid| !lives(pid));
        if let (true, Some(id)) = (orphaned, container.id) {
            let _ = timeout(REMOVE_LIMIT, docker.remove_container(&id, Some(by_force()))).await;
        }
    }
}

/// With its anonymous volumes, of which the official image has one.
fn by_force() -> RemoveContainerOptions {
    RemoveContainerOptionsBuilder::new().force(true).v(true).build()
}

/// Whether there is a process of this number; one of another user's counts.
fn lives(pid: &str) -> bool {
    let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else { return false };
    test_kill_process(pid) != Err(Errno::SRCH)
}

fn host() -> String {
    uname().nodename().to_string_lossy().into_owned()
}

/// A colon after the last slash parts name and tag; one before it belongs to a registry's port.
fn split_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use testcontainers::bollard::models::PortSummary;

    use super::*;
    use crate::redis::{RedisChoice, RedisServer, connect};

    #[test]
    fn a_registry_port_is_not_a_tag() {
        assert_eq!(split_tag("redis:7"), ("redis", "7"));
        assert_eq!(split_tag("localhost:5000/redis"), ("localhost:5000/redis", "latest"));
    }

    #[test]
    fn published_ports_are_on_the_machine_of_the_daemon() {
        assert_eq!(published_at(None), LOOPBACK);
        for here in
            ["unix:///run/docker.sock", "tcp://localhost:2375", "tcp://127.0.0.1:2375", "tcp://[::1]:2375", "nonsense"]
        {
            assert_eq!(published_at(Some(here)), LOOPBACK, "{here}");
        }
        assert_eq!(published_at(Some("tcp://docker:2375")), "docker");
        assert_eq!(published_at(Some("https://10.0.0.7:2376")), "10.0.0.7");
        assert_eq!(published_at(Some("tcp://[fd00::7]:2375")), "fd00::7");
    }

    #[test]
    fn this_process_lives_and_nonsense_does_not() {
        assert!(lives(&std::process::id().to_string()));
        assert!(!lives("0") && !lives("many") && !lives(&i32::MAX.to_string()));
    }

    /// Runs where `NOTIFY_REDIS_IMAGE` names an image, as it does in CI: elsewhere one might have to be pulled first.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_container_answers_on_loopback_alone_and_leaves_nothing_behind() {
        let Ok(image) = std::env::var("NOTIFY_REDIS_IMAGE") else { return };
        let docker = daemon().await.expect("a daemon");
        let server = RedisServer::start(&RedisChoice::Container, &image).await.expect("a Redis");
        assert_eq!(server.kind(), "container");
        let published = published(&docker).await;
        assert_eq!(published, [(Some("127.0.0.1".to_owned()), Some(server.address().port))]);
        let mut nobody = server.address().clone();
        nobody.password = None;
        let mut refused = connect(&nobody, 0).await.expect("it listens");
        assert!(redis::cmd("PING").query_async::<()>(&mut refused).await.is_err(), "no password, no answer");
        let database = server.lend().await.expect("a database");
        server.take_back(database).await.expect("it answers");
        server.stop().await;
        server.stop().await;
        assert!(self::published(&docker).await.is_empty());
        let dropped = RedisServer::start(&RedisChoice::Container, &image).await.expect("a Redis");
        drop(dropped);
        assert!(self::published(&docker).await.is_empty());
        let wrong = RedisServer::start(&RedisChoice::Container, "localhost:9/none:1").await.expect_err("no such image");
        assert!(wrong.to_string().contains("localhost:9/none:1"), "{wrong}");
        start_that_is_given_up(&image).await;
        assert!(self::published(&docker).await.is_empty());
    }

    async fn start_that_is_given_up(image: &str) {
        for after in [10, 20, 30, 100, 300] {
            let choice = RedisChoice::Container;
            drop(timeout(Duration::from_millis(after), RedisServer::start(&choice, image)).await);
        }
    }

    /// The address and port of each container of this process's.
    async fn published(docker: &Docker) -> Vec<(Option<String>, Option<u16>)> {
        let filters = HashMap::from([("label", vec![format!("{OWNER}={}", std::process::id())])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let containers = docker.list_containers(Some(options)).await.expect("it lists");
        let of =
            |ports: Vec<PortSummary>| ports.into_iter().next().map_or((None, None), |port| (port.ip, port.public_port));
        containers.into_iter().map(|container| of(container.ports.unwrap_or_default())).collect()
    }
}
