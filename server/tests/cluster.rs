//! Several nodes on one Redis (SPEC.md: emit here, receive there; offline means offline everywhere).
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod support;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use axum::http::Method;
use notify_server::{
    model::Queue,
    store::{Limits, redis::RedisStore},
};
use serde_json::{Value, json};
use support::{
    PATIENCE,
    client::{Client, number},
    http::{self, Polling},
    node::Node,
    redis::LocalRedis,
    server::{INGEST_TOKEN, JWT_SECRET, LIVE, QUEUED, from_now, numbered, token},
};

/// How soon a node notices that the store has gone, or is there.
const WELL_AGAIN: Duration = Duration::from_secs(5);

async fn two_nodes() -> (LocalRedis, Node, Node) {
    let redis = LocalRedis::start().expect("redis-server is installed");
    redis.connection().await;
    let config = redis.config();
    let (a, b) = tokio::join!(Node::start(&config), Node::start(&config));
    (redis, a, b)
}

/// Waits until no node is noted as having the user.
async fn until_gone(redis: &LocalRedis, user: &str) {
    let began = Instant::now();
    while redis.ask::<u64>(&["HLEN", &format!("notify:{{u:{user}}}:present")]).await > 0 {
        assert!(began.elapsed() < PATIENCE, "{user} is still present");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Commands that Redis was sent so far, those of this call not included.
async fn commands(redis: &LocalRedis) -> u64 {
    let stats: String = redis.ask(&["INFO", "stats"]).await;
    let line = stats.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.expect("Redis counts them").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_emitted_on_one_node_reaches_devices_on_both() {
    let (_redis, a, b) = two_nodes().await;
    let mut on_b = Client::connect(&b, "alice").await;
    assert_eq!(a.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(on_b.live().await, 1);
    let mut on_a = Client::connect(&a, "alice").await;
    for (n, node) in (2..).zip([&a, &b, &b, &a]) {
        assert_eq!(node.emit("alice", n).await.delivery, LIVE);
        assert_eq!((on_a.live().await, on_b.live().await), (n, n));
    }
    assert_eq!(a.emit("bob", 1).await.delivery, QUEUED);
    on_a.quiet().await;
    on_b.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_what_was_delivered_across_nodes() {
    let (redis, a, b) = two_nodes().await;
    let (mut on_a, mut on_b) = (Client::connect(&a, "alice").await, Client::connect(&b, "alice").await);
    for n in 1..=20 {
        a.emit("alice", n).await;
        assert_eq!((on_a.live().await, on_b.live().await), (n, n));
    }
    on_a.leave().await;
    on_b.leave().await;
    until_gone(&redis, "alice").await;
    let mut again = Client::connect(&a, "alice").await;
    again.quiet().await;
    again.leave().await;
    until_gone(&redis, "alice").await;
    // But for what a node that was out of touch could look for, and not for long.
    let mut keys: Vec<String> = redis.ask(&["KEYS", "notify:{*"]).await;
    keys.sort();
    assert_eq!(keys, ["notify:{u:alice}:queue", "notify:{u:alice}:taken"]);
    for key in &keys {
        let left = redis.ask::<i64>(&["PTTL", key]).await;
        assert!((1..=10_000).contains(&left), "{key} stays for {left} ms");
    }
    assert_eq!(redis.ask::<u64>(&["XLEN", &keys[0]]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_one_node_has_filled_is_drained_on_another_once() {
    let (redis, a, b) = two_nodes().await;
    for n in 1..=3 {
        assert_eq!(a.emit("alice", n).await.delivery, QUEUED);
    }
    let mut device = Client::connect(&b, "alice").await;
    assert_eq!(device.queued().await, [1, 2, 3]);
    device.quiet().await;
    device.leave().await;
    until_gone(&redis, "alice").await;
    assert_eq!(b.emit("alice", 4).await.delivery, QUEUED);
    assert_eq!(Client::connect(&a, "alice").await.queued().await, [4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_devices_that_connect_to_two_nodes_at_once_one_is_handed_the_queue() {
    let (redis, a, b) = two_nodes().await;
    for round in 0..40 {
        let user = format!("user-{round}");
        for n in 1..=3 {
            a.emit(&user, n).await;
        }
        let (mut one, mut other) = tokio::join!(Client::connect(&a, &user), Client::connect(&b, &user));
        b.emit(&user, 4).await;
        let mut seen = Vec::new();
        for device in [&mut one, &mut other] {
            while seen.last() != Some(&4) {
                seen.extend(numbers(&device.message().await.expect("the connection holds")));
            }
            seen.push(0);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 0, 1, 2, 3, 4, 4], "round {round}");
        // What was taken is removed a moment later, and the note with it.
        let (draining, began) = (format!("notify:{{u:{user}}}:draining"), Instant::now());
        while redis.ask::<u64>(&["EXISTS", &draining]).await != 0 {
            assert!(began.elapsed() < PATIENCE, "round {round}: it is still on its way");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_take_the_queue_keeps_it_from_nobody() {
    let (_redis, a, b) = two_nodes().await;
    a.emit("alice", 1).await;
    // It is let in at one node, and never asks for what it is let in for.
    let session = Polling::open(&a).await;
    session.send(format!("40/notifications,{}", json!({"token": a.token("alice").await}))).await;
    session.send("1").await;
    let began = Instant::now();
    assert_eq!(Client::connect(&b, "alice").await.queued().await, [1]);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

/// The numbers of the events in a packet, live or queued.
fn numbers(packet: &str) -> Vec<u64> {
    let Some(event) = packet.strip_prefix("42/notifications,") else { return Vec::new() };
    let event: Value = serde_json::from_str(event).unwrap();
    match event[1].as_array() {
        Some(queued) => queued.iter().map(number).collect(),
        None => vec![number(&event[1])],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_from_node_to_node_receives_everything_once_and_in_order() {
    let (_redis, a, b) = two_nodes().await;
    let newest = AtomicU64::new(0);
    let emitting = async {
        for n in 1..=400 {
            // Never more unseen than a queue holds.
            while newest.load(Ordering::SeqCst) + 40 < n {
                tokio::task::yield_now().await;
            }
            let node = if n % 3 == 0 { &b } else { &a };
            node.emit("alice", n).await;
        }
    };
    let moving = async {
        let mut seen = Vec::new();
        let mut turn = 0;
        while seen.last() != Some(&400) {
            turn += 1;
            let mut device = Client::connect(if turn % 2 == 0 { &a } else { &b }, "alice").await;
            for _ in 0..5 {
                // A sentinel tells that nothing more is on its way right now.
                device.send(r#"42/notifications,7["ping"]"#).await;
                loop {
                    let packet = device.message().await.expect("the connection holds");
                    if packet.starts_with("43") {
                        break;
                    }
                    seen.extend(numbers(&packet));
                    newest.store(*seen.last().unwrap_or(&0), Ordering::SeqCst);
                }
            }
            // Whatever is on its way still counts.
            device.send("41/notifications,").await;
            device.send("1").await;
            while let Some(packet) = device.message().await {
                seen.extend(numbers(&packet));
            }
            newest.store(*seen.last().unwrap_or(&0), Ordering::SeqCst);
        }
        seen
    };
    let ((), seen) = tokio::join!(emitting, moving);
    assert_eq!(seen, (1..=400).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_on_all_nodes_see_the_events_of_many_emitters_in_one_order() {
    let (_redis, a, b) = two_nodes().await;
    let (mut on_a, mut on_b) = (Client::connect(&a, "alice").await, Client::connect(&b, "alice").await);
    let emit = async |node: &Node, numbers: std::ops::Range<u64>| {
        for n in numbers {
            node.emit("alice", n).await;
        }
    };
    let read = async |device: &mut Client| {
        let mut seen = Vec::new();
        for _ in 0..300 {
            seen.push(device.live().await);
        }
        seen
    };
    let (.., one, other) =
        tokio::join!(emit(&a, 0..100), emit(&b, 100..200), emit(&a, 200..300), read(&mut on_a), read(&mut on_b));
    assert_eq!(one, other);
    for emitter in [0..100, 100..200, 200..300] {
        let own: Vec<_> = one.iter().copied().filter(|n| emitter.contains(n)).collect();
        assert_eq!(own, emitter.collect::<Vec<_>>());
    }
}

/// A polling client that was let in and fetches nothing any more.
async fn polling<'a>(node: &'a Node, user: &str) -> Polling<'a> {
    let session = Polling::open(node).await;
    session.send(format!("40/notifications,{}", json!({"token": node.token(user).await}))).await;
    session.poll().await.unwrap();
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_goes_back_before_what_another_node_has_stored_meanwhile() {
    let (redis, a, b) = two_nodes().await;
    let session = polling(&b, "alice").await;
    for (n, node) in (1..).zip([&b, &b, &a, &b, &a, &a, &b]) {
        assert_eq!(node.emit("alice", n).await.delivery, LIVE);
    }
    session.send("1").await;
    until_gone(&redis, "alice").await;
    let mut again = Client::connect(&a, "alice").await;
    assert_eq!(again.queued().await, (1..=7).collect::<Vec<_>>());
    again.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_back_from_one_device_after_another_stays_in_order() {
    let (redis, a, b) = two_nodes().await;
    let first = polling(&b, "alice").await;
    b.emit("alice", 1).await;
    let second = polling(&b, "alice").await;
    b.emit("alice", 2).await;
    a.emit("alice", 3).await;
    first.send("1").await;
    // The first has what the second was not handed.
    a.until_stored("alice", 2).await;
    second.send("1").await;
    until_gone(&redis, "alice").await;
    assert_eq!(Client::connect(&a, "alice").await.queued().await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledging_device_may_be_on_any_node() {
    let (redis, a, b) = two_nodes().await;
    let mut plain = Client::connect(&a, "alice").await;
    let mut device = Client::connect_acknowledging(&b, "alice").await;
    assert_eq!(a.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(a.emit("alice", 2).await.delivery, LIVE);
    assert_eq!((plain.live().await, plain.live().await), (1, 2));
    let (ack, n) = device.asking_live().await;
    assert_eq!((n, device.asking_live().await.1), (1, 2));
    device.acknowledge(ack).await;
    a.until_stored("alice", 1).await;
    // Not acknowledged, so it comes again, wherever the client comes next.
    device.leave().await;
    plain.leave().await;
    until_gone(&redis, "alice").await;
    let mut again = Client::connect_acknowledging(&a, "alice").await;
    let (ack, numbers, dropped) = again.asking_queued().await;
    assert_eq!((numbers, dropped), (vec![2], 0));
    again.acknowledge(ack).await;
    b.until_stored("alice", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_drain_removes_nothing_that_is_to_be_acknowledged_elsewhere() {
    let (redis, a, b) = two_nodes().await;
    let mut device = Client::connect_acknowledging(&b, "alice").await;
    a.emit("alice", 1).await;
    let (ack, _) = device.asking_live().await;
    let mut plain = Client::connect(&a, "alice").await;
    assert_eq!(plain.queued().await, [1]);
    plain.quiet().await;
    assert_eq!(a.stored("alice").await.0, [1]);
    device.acknowledge(ack).await;
    a.until_stored("alice", 0).await;
    drop(redis);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_closes_connections_on_every_node_and_no_others() {
    let (_redis, a, b) = two_nodes().await;
    for session in ["one", "other"] {
        a.put_session(session, "alice", None).await;
    }
    let token = |session: &str| token(json!({"userId": "alice", "sessionId": session, "exp": from_now(900)}));
    let (mut ended, mut stays) = (Client::open(&b).await, Client::open(&b).await);
    ended.join(&token("one")).await;
    stays.join(&token("other")).await;
    let began = Instant::now();
    let revoked = http::send(&a, http::request(Method::DELETE, "/sessions/one", "")).await;
    assert_eq!(revoked.status, 204);
    ended.closed().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    stays.quiet().await;
    // Another owner is as good as an end.
    let given_away = http::request(Method::PUT, "/sessions/other", json!({"userId": "bob"}).to_string());
    assert_eq!(http::send(&a, given_away).await.status, 204);
    stays.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_loses_nothing_and_is_forgotten() {
    let (redis, a, b) = two_nodes().await;
    let mut on_b = Client::connect(&b, "alice").await;
    assert_eq!(a.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(on_b.live().await, 1);
    a.until_stored("alice", 0).await;
    b.kill();
    let began = Instant::now();
    for n in 2..=4 {
        assert_eq!(a.emit("alice", n).await.delivery, QUEUED);
    }
    let mut again = Client::connect(&a, "alice").await;
    assert_eq!(again.queued().await, [2, 3, 4]);
    assert!(began.elapsed() < Duration::from_secs(5), "the dead one was waited for: {:?}", began.elapsed());
    assert_eq!(a.emit("alice", 5).await.delivery, LIVE);
    assert_eq!(again.live().await, 5);
    // Once its lease has ended, nobody looks for it any more.
    while redis.ask::<Vec<String>>(&["KEYS", "notify:node:*"]).await.len() > 1 {
        assert!(began.elapsed() < Duration::from_secs(15), "false presence");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    a.emit("alice", 6).await;
    assert_eq!(again.live().await, 6);
    assert_eq!(redis.ask::<u64>(&["HLEN", "notify:{u:alice}:present"]).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_takes_leave() {
    let (redis, a, b) = two_nodes().await;
    let _on_b = Client::connect(&b, "alice").await;
    b.stop().await;
    assert_eq!(redis.ask::<Vec<String>>(&["KEYS", "notify:node:*"]).await.len(), 1);
    assert_eq!(a.emit("alice", 1).await.delivery, QUEUED);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_alone_on_a_node_costs_the_store_nothing() {
    let (redis, a, b) = two_nodes().await;
    let mut device = Client::connect(&a, "alice").await;
    assert_eq!(a.emit("alice", 0).await.delivery, LIVE);
    device.live().await;
    let (before, began) = (commands(&redis).await, Instant::now());
    for n in 1..=300 {
        assert_eq!(a.emit("alice", n).await.delivery, LIVE);
        assert_eq!(device.live().await, n);
    }
    let (after, seconds) = (commands(&redis).await, began.elapsed().as_secs() + 1);
    // The heartbeats of both nodes go on, and this test looks.
    assert!(after - before < 40 * seconds, "{} commands in {seconds} s", after - before);
    // The same after another node had the user for a while: the next event finds out.
    let mut on_b = Client::connect(&b, "alice").await;
    a.emit("alice", 301).await;
    assert_eq!((device.live().await, on_b.live().await), (301, 301));
    on_b.leave().await;
    until_one(&redis, "alice").await;
    a.emit("alice", 302).await;
    assert_eq!(device.live().await, 302);
    let (before, began) = (commands(&redis).await, Instant::now());
    for n in 303..=600 {
        a.emit("alice", n).await;
        assert_eq!(device.live().await, n);
    }
    let (after, seconds) = (commands(&redis).await, began.elapsed().as_secs() + 1);
    assert!(after - before < 40 * seconds, "{} commands in {seconds} s", after - before);
}

async fn until_one(redis: &LocalRedis, user: &str) {
    let began = Instant::now();
    while redis.ask::<u64>(&["HLEN", &format!("notify:{{u:{user}}}:present")]).await > 1 {
        assert!(began.elapsed() < PATIENCE, "{user} is still present twice");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_did_not_hear_it_makes_good_for() {
    let (redis, a, b) = two_nodes().await;
    let (mut on_a, mut on_b) = (Client::connect(&a, "alice").await, Client::connect(&b, "alice").await);
    let mut acknowledging = Client::connect_acknowledging(&b, "bob").await;
    a.put_session("ended", "carol", None).await;
    let mut ended = Client::open(&b).await;
    ended.join(&token(json!({"userId": "carol", "sessionId": "ended", "exp": from_now(900)}))).await;
    for round in 0..3 {
        redis.ask::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        for n in 1..=5 {
            a.emit("alice", round * 10 + n).await;
            a.emit("bob", round * 10 + n).await;
        }
        if round == 0 {
            // Not announced at all.
            redis.ask::<u64>(&["DEL", "notify:session:ended"]).await;
        }
        let began = Instant::now();
        for n in 1..=5 {
            let n = round * 10 + n;
            assert_eq!((on_a.live().await, on_b.live().await), (n, n));
            let (ack, said) = acknowledging.asking_live().await;
            assert_eq!(said, n);
            acknowledging.acknowledge(ack).await;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    ended.closed().await;
    a.until_stored("bob", 0).await;
    a.until_stored("alice", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_comes_to_nobody_again_though_a_node_dies_and_can_still_be_missed() {
    let (redis, a, b) = two_nodes().await;
    let (mut on_a, mut on_b) = (Client::connect(&a, "alice").await, Client::connect(&b, "alice").await);
    for n in 1..=5 {
        a.emit("alice", n).await;
        assert_eq!((on_a.live().await, on_b.live().await), (n, n));
    }
    b.until_stored("alice", 0).await;
    a.kill();
    let mut again = Client::connect(&b, "alice").await;
    b.emit("alice", 6).await;
    assert_eq!((again.live().await, on_b.live().await), (6, 6));
    // A node that is out of touch looks here.
    let taken = redis.ask::<u64>(&["XLEN", "notify:{u:alice}:taken"]).await;
    assert!(taken >= 5, "{taken} of 5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_empty_finds_everybody_where_they_were() {
    let (mut redis, a, b) = two_nodes().await;
    let (mut on_a, mut on_b) = (Client::connect(&a, "alice").await, Client::connect(&b, "bob").await);
    redis.stop();
    // Whoever is alone is handed what comes in all the same; the rest is refused.
    assert_eq!(a.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(on_a.live().await, 1);
    a.service.emit(numbered("nobody", 1)).await.unwrap_err();
    a.service.emit(numbered("bob", 1)).await.unwrap_err();
    for node in [&a, &b] {
        node.until_readiness(false, WELL_AGAIN).await;
    }
    redis.start_again();
    redis.connection().await;
    let began = Instant::now();
    a.until_ready().await;
    b.until_ready().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(a.emit("bob", 2).await.delivery, LIVE);
    assert_eq!(b.emit("alice", 2).await.delivery, LIVE);
    assert_eq!((on_a.live().await, on_b.live().await), (2, 2));
    on_a.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_longer_than_the_lease_nothing_is_missing() {
    let (redis, a, b) = two_nodes().await;
    let (mut on_a, mut on_b) = (Client::connect(&a, "alice").await, Client::connect(&b, "alice").await);
    a.emit("alice", 1).await;
    assert_eq!((on_a.live().await, on_b.live().await), (1, 1));
    redis.pause();
    // Time is what is waited for here: the lease is one of 10 s.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(!a.is_ready().await);
    redis.resume();
    let began = Instant::now();
    while a.service.emit(numbered("alice", 2)).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(5), "nothing is accepted");
    }
    assert_eq!((on_a.live().await, on_b.live().await), (2, 2));
    a.until_ready().await;
    b.until_ready().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(b.emit("alice", 3).await.delivery, LIVE);
    assert_eq!((on_a.live().await, on_b.live().await), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_about_writing() {
    let (redis, a, _b) = two_nodes().await;
    let until = async |ready: bool| a.until_readiness(ready, WELL_AGAIN).await;
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    until(false).await;
    a.service.emit(numbered("nobody", 1)).await.unwrap_err();
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until(true).await;
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "volatile-lru"]).await;
    until(false).await;
    let told = http::get(&a, "/readyz").await.problem(503);
    assert_eq!(told["detail"], "the store would throw away what it is given");
    a.service.emit(numbered("nobody", 1)).await.unwrap_err();
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until(true).await;
    redis.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    until(false).await;
    redis.ask::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    until(true).await;
    assert_eq!(a.emit("nobody", 1).await.delivery, QUEUED);
}

/// The server itself, told to use this Redis, which it must not; its exit status, and what it says.
fn refused(redis: &LocalRedis) -> (Option<i32>, String) {
    let port = redis.config().port.to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_notify-server"))
        .env_clear()
        .envs([("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &*port), ("PORT", "0")])
        .envs([("JWT_SECRET", JWT_SECRET), ("INGEST_TOKEN", INGEST_TOKEN)])
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_in_cluster_mode_is_refused_where_no_setting_says_so() {
    let redis = LocalRedis::start_with(&["--cluster-enabled", "yes"]).unwrap();
    redis.connection().await;
    let (status, said) = refused(&redis);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("redis runs in cluster mode, and none of the settings says so"), "{said}");
    // One that becomes such later is told by readiness.
    let node = Node::begin(&redis.config(), |_| {}).await;
    assert!(!node.is_ready().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_is_refused() {
    let redis = LocalRedis::start_sentinel().unwrap();
    redis.connection().await;
    let (status, said) = refused(&redis);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("redis runs in sentinel mode, and none of the settings says so"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_device_was_given_is_in_nobodys_queue() {
    let (redis, a, b) = two_nodes().await;
    let mut stays = Client::connect(&a, "alice").await;
    for round in 0..30 {
        let mut moves = Client::connect(&b, "alice").await;
        b.emit("alice", 3 * round).await;
        assert_eq!((stays.live().await, moves.live().await), (3 * round, 3 * round));
        moves.leave().await;
        until_one(&redis, "alice").await;
        b.emit("alice", 3 * round + 1).await;
        assert_eq!(stays.live().await, 3 * round + 1);
        let mut moved = Client::connect(&a, "alice").await;
        moved.quiet().await;
        a.emit("alice", 3 * round + 2).await;
        assert_eq!((stays.live().await, moved.live().await), (3 * round + 2, 3 * round + 2));
        moved.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_do_nothing_dangerous_is_enough() {
    let redis = LocalRedis::start().unwrap();
    redis.ask::<()>(&["ACL", "SETUSER", "app", "on", ">word", "~notify:*", "&notify:*", "+@all", "-@dangerous"]).await;
    let mut config = redis.config();
    (config.username, config.password) = (Some("app".into()), Some("word".to_owned().into()));
    let (a, b) = tokio::join!(Node::start(&config), Node::start(&config));
    let mut on_b = Client::connect(&b, "alice").await;
    assert_eq!(a.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(on_b.live().await, 1);
    assert_eq!(a.emit("bob", 1).await.delivery, QUEUED);
    assert_eq!(Client::connect(&b, "bob").await.queued().await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_goes_though_nothing_else_is_done_for_its_user() {
    let redis = LocalRedis::start().unwrap();
    redis.connection().await;
    let ttl = Duration::from_secs(4);
    let store = RedisStore::new(&redis.config(), Limits { max_events: 50, ttl });
    let length = async || redis.ask::<u64>(&["XLEN", "notify:{u:alice}:queue"]).await;
    store.append("alice", &["\"old\""]).await.unwrap();
    tokio::time::sleep(ttl * 3 / 4).await;
    store.append("alice", &["\"young\""]).await.unwrap();
    assert_eq!(length().await, 2);
    let began = Instant::now();
    while length().await == 2 {
        assert!(began.elapsed() < ttl, "it stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let left: Vec<_> = store.read("alice").await.unwrap().into_iter().map(|entry| entry.payload).collect();
    assert_eq!(left, ["\"young\""]);
    // Whoever has nothing queued any more is noted no longer, either.
    while redis.ask::<u64>(&["ZCARD", "notify:ages"]).await > 0 {
        assert!(began.elapsed() < PATIENCE, "the user stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
