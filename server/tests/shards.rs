//! A Redis Cluster: users are spread over its primaries, nodes hear each other wherever a user is, and what happens to one primary or
//! to one slot concerns nobody else.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod support;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use axum::http::Method;
use notify_server::store::redis::{Address, RedisConfig};
use serde_json::json;
use support::{
    PATIENCE,
    client::{Client, number},
    http,
    node::{Node, served_across},
    redis::{LocalRedis, at},
    server::{LIVE, QUEUED, from_now, numbered, token},
    shards::{PRIMARIES, Shards},
};

/// Within this time everything works again, the failover's own time not counted.
const WELL_AGAIN: Duration = Duration::from_secs(5);

async fn two_nodes(config: &RedisConfig) -> (Node, Node) {
    tokio::join!(Node::start(config), Node::start(config))
}

/// A user of each primary, with a key of that user's.
async fn user_of_each(shards: &Shards, node: &Node) -> BTreeMap<usize, (String, String)> {
    let mut users = BTreeMap::new();
    for n in 0.. {
        let user = format!("user-{n}");
        assert_eq!(node.emit_copied(&user, 0).await.delivery, QUEUED);
        let (primary, key) = shards.find(&format!("notify:{{*}}:u:{user}:queue")).await.unwrap();
        users.entry(primary).or_insert((user, key));
        if users.len() == PRIMARIES {
            break;
        }
    }
    users
}

/// A device that has been given what was queued.
async fn device(node: &Node, user: &str) -> Client {
    let mut device = Client::connect(node, user).await;
    assert_eq!(device.queued().await, [0]);
    device
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_spread_and_nodes_hear_each_other_in_each_partition() {
    let shards = Shards::start().await;
    let (a, b) = two_nodes(&shards.config()).await;
    for n in 0..40 {
        let user = format!("user-{n}");
        let on_b = served_across(&a, &b, &user).await;
        on_b.leave().await;
        b.until_stored(&user, 0).await;
        assert_eq!(a.emit(&user, 3).await.delivery, QUEUED);
    }
    for server in &shards.servers {
        let users = server.ask::<Vec<String>>(&["KEYS", "notify:{*}:u:*:queue"]).await.len();
        assert!(users > 4, "{users} of 40 users");
    }
    let mut acknowledging = Client::connect_acknowledging(&b, "bob").await;
    assert_eq!(a.emit("bob", 1).await.delivery, LIVE);
    let (ack, n) = acknowledging.asking_live().await;
    assert_eq!(n, 1);
    acknowledging.acknowledge(ack).await;
    a.until_stored("bob", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_every_node() {
    let shards = Shards::start().await;
    let (a, b) = two_nodes(&shards.config()).await;
    for n in 0..10 {
        let session = format!("session-{n}");
        a.put_session(&session, "carol", None).await;
        let mut ended = Client::open(&b).await;
        ended.join(&token(json!({"userId": "carol", "sessionId": session, "exp": from_now(900)}))).await;
        let revoked = http::send(&a, http::request(Method::DELETE, &format!("/sessions/{session}"), "")).await;
        assert_eq!(revoked.status, 204);
        ended.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_concerns_its_own_users_alone() {
    let mut shards = Shards::with_replicas().await;
    let (a, b) = two_nodes(&shards.config()).await;
    let users = user_of_each(&shards, &a).await;
    let mut devices = BTreeMap::new();
    for (primary, (user, _)) in &users {
        devices.insert(*primary, device(&b, user).await);
        assert_eq!(a.emit(user, 1).await.delivery, LIVE);
        assert_eq!(devices.get_mut(primary).unwrap().live().await, 1);
    }
    assert_eq!(a.emit("away", 1).await.delivery, QUEUED);
    let gone = 0;
    shards.servers[gone].stop();
    let killed = Instant::now();
    // Those of the others notice nothing, neither before nor after the failover.
    let (mut n, mut promoted, mut unready) = (1, None, false);
    let mut well = None;
    while well.is_none() {
        n += 1;
        for (primary, (user, _)) in users.iter().filter(|(primary, _)| **primary != gone) {
            let began = Instant::now();
            assert_eq!(a.emit(user, n).await.delivery, LIVE, "{n} of {user}, {:?} after the kill", killed.elapsed());
            assert_eq!(devices.get_mut(primary).unwrap().live().await, n);
            assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        }
        if !unready {
            let ready = http::get(&a, "/readyz").await;
            unready = ready.status == 503 && ready.text.contains("partitions of users");
        }
        let replica = &shards.servers[PRIMARIES + gone];
        if promoted.is_none() && replica.ask::<String>(&["INFO", "replication"]).await.contains("role:master") {
            promoted = Some(Instant::now());
            println!("promoted {:?} after the kill", killed.elapsed());
        }
        if promoted.is_some() && a.is_ready().await && b.is_ready().await {
            well = promoted;
        }
        assert!(
            promoted.is_none_or(|at| at.elapsed() < WELL_AGAIN),
            "not well after {:?}",
            promoted.unwrap().elapsed()
        );
        assert!(killed.elapsed() < PATIENCE, "no failover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("well again {:?} after the promotion", well.unwrap().elapsed());
    assert!(unready, "a node that does not hear all partitions says so");
    let (user, _) = &users[&gone];
    assert_eq!(a.emit(user, 2).await.delivery, LIVE);
    assert_eq!(devices.get_mut(&gone).unwrap().live().await, 2, "the connection is that of before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_moves_while_events_flow_and_nothing_is_lost_doubled_or_reordered() {
    let shards = Shards::start().await;
    events_flow_while(&shards, &[(0, 1), (1, 2), (2, 0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_joins_and_leaves_while_events_flow() {
    let mut shards = Shards::start().await;
    let (a, b) = two_nodes(&shards.config()).await;
    let joined = shards.join().await;
    events_flow_while(&shards, &[(0, joined), (joined, 1)]).await;
    shards.leave(joined).await;
    // Whoever knew of it looks elsewhere.
    for n in 0..20 {
        let user = format!("later-{n}");
        let mut receiver = Client::connect(&b, &user).await;
        assert_eq!(a.emit(&user, 1).await.delivery, LIVE);
        assert_eq!(receiver.live().await, 1);
    }
}

/// Moves the slot of one user from primary to primary, while that user is emitted events.
async fn events_flow_while(shards: &Shards, moves: &[(usize, usize)]) {
    let (a, b) = two_nodes(&shards.config()).await;
    let users = user_of_each(shards, &a).await;
    let (user, key) = &users[&0];
    let mut receiver = device(&b, user).await;
    let received = async {
        let mut all = Vec::new();
        while all.last() != Some(&u64::MAX) {
            let (name, arguments) = receiver.event().await;
            match name.as_str() {
                "queued.events" => all.extend(arguments[0].as_array().unwrap().iter().map(number)),
                _ => all.push(number(&arguments[0])),
            }
        }
        all.pop();
        all
    };
    let emitted = async {
        let (mut accepted, mut worst) = (Vec::new(), Duration::ZERO);
        let mut n = 0;
        // Side by side: what waits for the slot must not keep it from moving.
        let moved = AtomicBool::new(false);
        let moves = async {
            for (from, to) in moves {
                tokio::time::sleep(Duration::from_secs(1)).await;
                shards.migrate(key, *from, *to).await;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            moved.store(true, Ordering::SeqCst);
        };
        let emits = async {
            while !moved.load(Ordering::SeqCst) {
                n += 1;
                let node = if n % 2 == 0 { &a } else { &b };
                let began = Instant::now();
                let emitted = node.service.emit(numbered(user, n)).await;
                worst = worst.max(began.elapsed());
                emitted.unwrap_or_else(|error| panic!("{n} was refused after {:?}: {error}", began.elapsed()));
                accepted.push(n);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::join!(moves, emits);
        println!("{} accepted, none refused, the slowest took {worst:?}", accepted.len());
        a.service.emit(numbered(user, u64::MAX)).await.unwrap();
        accepted
    };
    let (accepted, received) = tokio::join!(emitted, received);
    assert_eq!(received, accepted);
    assert!(accepted.len() > 100, "{}", accepted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_had_to_have_outlives_its_primary() {
    let mut shards = Shards::with_replicas().await;
    let config = RedisConfig { min_replicas: 1, ..shards.config() };
    let (a, b) = two_nodes(&config).await;
    let users = user_of_each(&shards, &a).await;
    let gone = 0;
    // Many at once, for people who are away, while the primary dies.
    let mut accepted = BTreeMap::<u64, Vec<u64>>::new();
    let began = Instant::now();
    let mut killed = None;
    for n in 1.. {
        let emitted = futures_util::future::join_all((0..20).map(|user| {
            let service = &a.service;
            async move { service.emit(numbered(&format!("away-{user}"), n)).await.is_ok().then_some(user) }
        }));
        for user in emitted.await.into_iter().flatten() {
            accepted.entry(user).or_default().push(n);
        }
        if killed.is_none() && n == 15 {
            shards.servers[gone].stop();
            killed = Some(Instant::now());
        }
        // A queue holds no more than fifty.
        if n > 40 || killed.is_some_and(|at| at.elapsed() > Duration::from_secs(2)) {
            break;
        }
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shards.until_promoted(gone).await;
    // Nobody copies what the new primary is given, and of the others it is copied.
    let (of_it, of_another) = (&users[&gone].0, &users[&1].0);
    assert!(a.service.emit(numbered(of_it, 1)).await.is_err());
    assert_eq!(a.emit_copied(of_another, 1).await.delivery, QUEUED);
    shards.servers[gone].start_again();
    // The former primary comes back as a replica.
    a.emit_copied(of_it, 2).await;
    let lost = async |user: u64, accepted: &[u64]| {
        let queued = Client::connect(&b, &format!("away-{user}")).await.queued().await;
        assert!(queued.is_sorted_by(|one, other| one < other), "{queued:?}");
        accepted.iter().filter(|n| !queued.contains(n)).count()
    };
    for (user, accepted) in &accepted {
        assert!(accepted.len() >= 15, "{} of {user} accepted", accepted.len());
        assert_eq!(lost(*user, accepted).await, 0, "of {user}");
    }
    assert_eq!(Client::connect(&b, of_it).await.queued().await, [0, 2], "what was refused was taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_concerns_many_partitions_is_logged_once_and_few_connections_are_made() {
    let shards = Shards::start().await;
    let mut server = std::process::Command::new(env!("CARGO_BIN_EXE_notify-server"))
        .env_clear()
        .envs([("REDIS_URL", format!("redis://127.0.0.1:{}", shards.servers[0].port())), ("PORT", "0".to_owned())])
        .envs([("REDIS_CLUSTER", "true"), ("JWT_SECRET", support::server::JWT_SECRET)])
        .env("INGEST_TOKEN", support::server::INGEST_TOKEN)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = std::io::BufRead::lines(std::io::BufReader::new(server.stderr.take().unwrap()));
    let (mut partitions, mut lines) = (0, 0);
    while partitions < 64 {
        let line = log.next().expect("it goes on").unwrap();
        if let Some((_, told)) = line.split_once("joined partitions=") {
            partitions += told.split(' ').next().unwrap().parse::<usize>().unwrap();
            lines += 1;
        }
    }
    assert!(lines < 6, "{lines} lines");
    for redis in &shards.servers {
        let clients = redis.ask::<String>(&["CLIENT", "LIST", "TYPE", "PUBSUB"]).await;
        assert_eq!(clients.lines().count(), 1, "{clients}");
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cluster_is_told() {
    let redis = LocalRedis::start().unwrap();
    redis.connection().await;
    let shards = Shards::start().await;
    for (port, cluster, words) in [
        (redis.port(), "true", "redis is no server of a Redis Cluster"),
        (shards.servers[0].port(), "false", "REDIS_CLUSTER=true is for a cluster"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_notify-server"))
            .env_clear()
            .envs([("REDIS_URL", format!("redis://127.0.0.1:{port}")), ("PORT", "0".to_owned())])
            .envs([("REDIS_CLUSTER", cluster), ("JWT_SECRET", support::server::JWT_SECRET)])
            .env("INGEST_TOKEN", support::server::INGEST_TOKEN)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_found_by_whichever_of_its_servers_answers() {
    let shards = Shards::start().await;
    let seed = |port| Address { host: "127.0.0.1".into(), port };
    let config = RedisConfig { cluster: vec![seed(1), seed(shards.servers[2].port())], ..at(0) };
    let node = Node::start(&config).await;
    assert_eq!(node.emit("alice", 1).await.delivery, QUEUED);
}
