//! A Redis behind sentinels: nodes find its primary, follow it to another, and say what replicas have to have before it counts.

mod support;

use std::time::{Duration, Instant};

use notify_server::store::redis::RedisConfig;
use support::{
    PATIENCE, STEADY,
    client::Client,
    http,
    node::Node,
    redis::LocalRedis,
    sentinel::Fleet,
    server::{LIVE, QUEUED, Server, numbered},
};

/// Within this time everything works again, the failover's own time not counted.
const WELL_AGAIN: Duration = Duration::from_secs(5);

async fn two_nodes(config: &RedisConfig) -> (Node, Node) {
    tokio::join!(Node::start(config), Node::start(config))
}

/// Waits until both nodes are ready, and what is emitted at one reaches a device at the other, for a while: a node may join anew
/// once more, when it learns that its subscription stayed behind.
async fn until_well(a: &Node, b: &Node, within: Duration) {
    let began = Instant::now();
    let (mut device, mut well) = (None, 0);
    while well < STEADY {
        let now = reaches(a, b, &mut device).await;
        assert!(now.is_ok() || well > 0 || began.elapsed() < within, "not well after {:?}: {now:?}", began.elapsed());
        well = if now.is_ok() { well + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether all is as it should be at this moment, or what is not. A device that was not reached is given up: it is owed what was queued.
async fn reaches(a: &Node, b: &Node, device: &mut Option<Client>) -> Result<(), String> {
    let there = device.take();
    let ready = (a.is_ready().await, b.is_ready().await);
    if ready != (true, true) {
        return Err(format!("ready: {ready:?}"));
    }
    let there = match there {
        Some(there) => Some(there),
        // That a node is ready was true a moment ago: the store need not answer now.
        None => {
            b.try_token("well").await.map_err(|error| format!("no session: {error}"))?;
            Client::try_connect(b, "well").await
        }
    };
    let mut there = there.ok_or("nobody is let in")?;
    match a.service.emit(numbered("well", 1)).await {
        Ok(receipt) if receipt.delivery == LIVE => {}
        otherwise => return Err(format!("{otherwise:?}")),
    }
    // A device that has just come may be given what was queued before.
    while there.event().await.0 == "queued.events" {}
    *device = Some(there);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_is_followed_by_another() {
    let mut fleet = Fleet::start().await;
    let (a, b) = two_nodes(&fleet.config()).await;
    let (mut on_a, mut on_b) = (Client::connect(&a, "alice").await, Client::connect(&b, "alice").await);
    assert_eq!(a.emit("alice", 1).await.delivery, LIVE);
    assert_eq!((on_a.live().await, on_b.live().await), (1, 1));
    assert_eq!(a.emit("bob", 1).await.delivery, QUEUED);
    let old = fleet.primary().await;
    fleet.until_copied().await;
    fleet.servers[0].stop();
    let failover = fleet.until_another(old).await;
    let began = Instant::now();
    until_well(&a, &b, WELL_AGAIN).await;
    println!("failover {failover:?}, well again after {:?}", began.elapsed());
    // The connections are those of before.
    for (n, node) in (2..).zip([&a, &b]) {
        assert_eq!(node.emit("alice", n).await.delivery, LIVE);
        assert_eq!((on_a.live().await, on_b.live().await), (n, n));
    }
    assert_eq!(b.emit("bob", 2).await.delivery, QUEUED);
    assert_eq!(Client::connect(&b, "bob").await.queued().await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_silent_is_followed_by_another_and_not_gone_back_to() {
    let fleet = Fleet::start().await;
    let (a, b) = two_nodes(&fleet.config()).await;
    let mut on_b = Client::connect(&b, "alice").await;
    let old = fleet.primary().await;
    fleet.servers[0].pause();
    fleet.until_another(old).await;
    until_well(&a, &b, WELL_AGAIN).await;
    assert_eq!(a.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(on_b.live().await, 1);
    // It believes that it is the primary until it is told otherwise.
    fleet.servers[0].resume();
    for n in 2..=20 {
        assert_eq!(a.emit("alice", n).await.delivery, LIVE);
        assert_eq!(on_b.live().await, n);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(a.is_ready().await && b.is_ready().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_sentinel_the_primary_of_before_is_used() {
    let mut fleet = Fleet::start().await;
    let (a, b) = two_nodes(&fleet.config()).await;
    fleet.blind();
    for kind in ["normal", "pubsub"] {
        fleet.servers[0].ask::<u64>(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await;
    }
    until_well(&a, &b, WELL_AGAIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sentinel_is_told() {
    let redis = LocalRedis::start().unwrap();
    redis.connection().await;
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_notify-server"))
        .env_clear()
        .envs([("REDIS_SENTINELS", format!("127.0.0.1:{}", redis.port())), ("PORT", "0".to_owned())])
        .envs([("REDIS_SENTINEL_MASTER", "notify"), ("JWT_SECRET", support::server::JWT_SECRET)])
        .env("INGEST_TOKEN", support::server::INGEST_TOKEN)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("REDIS_SENTINELS names a server that is no sentinel"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_had_to_have_outlives_its_primary() {
    let mut fleet = Fleet::start().await;
    let config = RedisConfig { min_replicas: 1, ..fleet.config() };
    let (a, b) = two_nodes(&config).await;
    let old = fleet.primary().await;
    // Many at once, for people who are away, while the primary dies.
    let mut accepted = Vec::new();
    let began = Instant::now();
    let mut killed = None;
    for n in 0.. {
        let emitted = futures_util::future::join_all((0..20).map(|user| {
            let service = &a.service;
            async move { service.emit(numbered(&format!("user-{user}"), n)).await.is_ok().then_some((user, n)) }
        }));
        accepted.extend(emitted.await.into_iter().flatten());
        if killed.is_none() && n == 15 {
            fleet.servers[0].stop();
            killed = Some(Instant::now());
        }
        // One round after it, and a queue holds no more than fifty.
        if n > 40 || (killed.is_some() && a.is_ready().await && fleet.primary().await != old) {
            break;
        }
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fleet.until_another(old).await;
    // Before, nothing can count: no replica could have it.
    fleet.until_over().await;
    until_well(&a, &b, WELL_AGAIN).await;
    assert!(accepted.len() >= 15 * 20, "{} accepted", accepted.len());
    for user in 0..20 {
        let expected: Vec<_> = accepted.iter().filter(|(of, _)| *of == user).map(|(_, n)| *n).collect();
        let queued = Client::connect(&b, &format!("user-{user}")).await.queued().await;
        let lost: Vec<_> = expected.iter().filter(|n| !queued.contains(n)).collect();
        assert!(lost.is_empty(), "{lost:?} of {expected:?}: {queued:?}");
        assert!(queued.is_sorted_by(|one, other| one < other), "{queued:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_replica_has_is_refused_and_taken_back() {
    let fleet = Fleet::start().await;
    let config = RedisConfig { min_replicas: 2, ..fleet.config() };
    let (a, b) = two_nodes(&config).await;
    assert_eq!(a.emit_copied("alice", 1).await.delivery, QUEUED);
    fleet.servers[1].pause();
    let began = Instant::now();
    let refused = emit_over_http(&a, "alice").await;
    assert_eq!(refused, 503);
    assert!(began.elapsed() < WELL_AGAIN, "{:?}", began.elapsed());
    assert!(a.is_ready().await, "reading and presence are not concerned");
    fleet.servers[1].resume();
    let began = Instant::now();
    while a.service.emit(numbered("alice", 3)).await.is_err() {
        assert!(began.elapsed() < WELL_AGAIN, "nothing is accepted");
    }
    assert_eq!(Client::connect(&b, "alice").await.queued().await, [1, 3]);
}

async fn emit_over_http(server: &Server, user: &str) -> u16 {
    let body = serde_json::json!({
        "eventType": "record.accessed", "actorId": "a", "resourceId": user, "metadata": {"n": 2},
    });
    http::send(server, http::request(axum::http::Method::POST, "/events", body.to_string())).await.status.as_u16()
}
