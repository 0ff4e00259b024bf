//! Redis in a container, by testcontainers: published on loopback alone, removed at the end of the run.
//!
//! A run that was killed cannot remove its container; the next run does, by the label that names the dead process.

use std::{collections::HashMap, path::Path, time::Duration};

use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    bollard::{
        Docker,
        query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder},
    },
    core::{IntoContainerPort, WaitFor},
    runners::AsyncRunner,
};
use tokio::{sync::Mutex, time::timeout};

use super::{RedisAddress, free_port};

/// Names the process that a container belongs to.
const OWNER: &str = "notify-conformance.owner-pid";
/// How long the Docker daemon may take to answer a ping.
const PING_LIMIT: Duration = Duration::from_secs(3);
/// How long a container may take to start, its image being pulled included.
const START_LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(super) struct Container {
    pub(super) image: String,
    running: Mutex<Option<ContainerAsync<GenericImage>>>,
}

pub(super) async fn start(image: &str, password: &str, databases: u32) -> Result<(Container, RedisAddress), String> {
    let docker = daemon().await?;
    remove_orphans(&docker).await;
    let port = free_port().map_err(|error| error.to_string())?;
    let (name, tag) = split_tag(image);
    let databases = databases.to_string();
    let command =
        ["redis-server", "--requirepass", password, "--databases", &databases, "--save", "", "--appendonly", "no"];
    let request = GenericImage::new(name, tag)
        .with_wait_for(WaitFor::Nothing)
        .with_cmd(command)
        .with_label(OWNER, std::process::id().to_string())
        .with_mapped_port(port, 6379.tcp())
        .with_host_config_modifier(|config| {
            let bindings = config.port_bindings.iter_mut().flat_map(HashMap::values_mut);
            for binding in bindings.flatten().flatten() {
                binding.host_ip = Some("127.0.0.1".to_owned());
            }
        });
    let running = timeout(START_LIMIT, request.start())
        .await
        .map_err(|_| format!("the image {image} did not start within {START_LIMIT:?}"))?
        .map_err(|error| format!("the image {image}: {error}"))?;
    let container = Container { image: image.to_owned(), running: Mutex::new(Some(running)) };
    Ok((container, RedisAddress { host: "127.0.0.1".to_owned(), port, password: Some(password.to_owned()) }))
}

impl Container {
    pub(super) async fn stop(&self) {
        if let Some(running) = self.running.lock().await.take() {
            let _ = running.rm().await;
        }
    }
}

async fn daemon() -> Result<Docker, String> {
    let unreachable = |why: String| format!("no Docker daemon answers: {why}");
    let docker = Docker::connect_with_defaults().map_err(|error| unreachable(error.to_string()))?;
    match timeout(PING_LIMIT, docker.ping()).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!("nothing within {PING_LIMIT:?}"))),
    }
}

/// Removes what runs that no longer live have left behind.
async fn remove_orphans(docker: &Docker) {
    let filters = HashMap::from([("label", vec![OWNER])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    for container in docker.list_containers(Some(options)).await.unwrap_or_default() {
        let owner = container.labels.as_ref().and_then(|labels| labels.get(OWNER));
        let orphaned = owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        if let (true, Some(id)) = (orphaned, container.id) {
            let force = RemoveContainerOptionsBuilder::new().force(true).build();
            let _ = docker.remove_container(&id, Some(force)).await;
        }
    }
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
    use super::*;

    #[test]
    fn a_registry_port_is_not_a_tag() {
        assert_eq!(split_tag("redis:7"), ("redis", "7"));
        assert_eq!(split_tag("localhost:5000/redis"), ("localhost:5000/redis", "latest"));
    }
}
