//! A Redis that fails over behind one name: old connections stay with what is a replica now, new ones lead to the new primary.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod support;

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::json;
use support::{
    PATIENCE, STEADY,
    client::Client,
    http,
    node::Node,
    proxy::Proxy,
    redis::LocalRedis,
    server::{LIVE, QUEUED, from_now, numbered, token},
};

/// Within this time everything works again, the failover's own time not counted.
const WELL_AGAIN: Duration = Duration::from_secs(5);

/// What becomes of the old primary.
#[derive(Clone, Copy, PartialEq)]
enum Old {
    /// It serves on as a replica of the new one.
    Replica,
    /// A replica that does not reach its primary, and says so to whatever it is asked.
    Masterless,
    /// A replica that is being filled.
    Loading,
    /// It answers nothing, and ends nothing.
    Silent,
    /// It is gone, and its connections with it.
    Dead,
}

async fn fails_over(old: Old) {
    let mut primary = LocalRedis::start_with(&["--enable-debug-command", "yes"]).unwrap();
    primary.connection().await;
    let replica = primary.replica().await;
    let name = Proxy::to(primary.port()).await;
    let config = name.config();
    let (a, b) = tokio::join!(Node::start(&config), Node::start(&config));
    let (mut on_a, mut on_b) = (Client::connect(&a, "alice").await, Client::connect(&b, "alice").await);
    let mut acknowledging = Client::connect_acknowledging(&b, "bob").await;
    a.put_session("ended", "carol", None).await;
    let mut ended = Client::open(&b).await;
    ended.join(&token(json!({"userId": "carol", "sessionId": "ended", "exp": from_now(900)}))).await;
    assert_eq!(a.emit("alice", 1).await.delivery, LIVE);
    assert_eq!((on_a.live().await, on_b.live().await), (1, 1));
    assert_eq!(a.emit("nobody", 1).await.delivery, QUEUED);
    if old == Old::Loading {
        primary.ask::<()>(&["DEBUG", "POPULATE", "2000", "junk"]).await;
    }
    until_alike(&primary).await;

    match old {
        Old::Silent => primary.pause(),
        Old::Dead => primary.stop(),
        _ => {}
    }
    replica.ask::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    match old {
        Old::Replica => primary.follow(replica.port()).await,
        Old::Masterless => {
            primary.ask::<()>(&["CONFIG", "SET", "replica-serve-stale-data", "no"]).await;
            primary.follow(1).await;
        }
        Old::Loading => {
            // Ten seconds: longer than anybody may need to be well again.
            let slow = ["CONFIG", "SET", "key-load-delay", "5000", "loading-process-events-interval-bytes", "1024"];
            primary.ask::<()>(&slow).await;
            primary.follow(replica.port()).await;
        }
        Old::Silent | Old::Dead => {}
    }
    name.lead_to(replica.port());

    let began = Instant::now();
    // Whatever is accepted meanwhile counts. A node may join anew once more, when it learns that its subscription stayed behind: it
    // is well again when it is for a while.
    let (mut accepted, mut well, mut taken) = (Vec::new(), 0, Duration::ZERO);
    for n in 2..1_000 {
        let emitted = a.service.emit(numbered("alice", n)).await;
        if emitted.is_ok() {
            accepted.push(n);
        }
        let is_live = matches!(&emitted, Ok(receipt) if receipt.delivery == LIVE);
        well = if is_live && a.is_ready().await && b.is_ready().await { well + 1 } else { 0 };
        if well == STEADY {
            break;
        }
        if well <= 1 {
            taken = began.elapsed();
            assert!(taken < WELL_AGAIN, "{emitted:?}, after {taken:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for n in &accepted {
        assert_eq!((on_a.live().await, on_b.live().await), (*n, *n));
    }
    // Each node hears the other: over the new primary, and not by what a replica passes on.
    for (n, node) in (1_001..).zip([&a, &b, &a, &b]) {
        assert_eq!(node.emit("alice", n).await.delivery, LIVE);
        assert_eq!((on_a.live().await, on_b.live().await), (n, n));
    }
    assert_eq!(a.emit("bob", 1).await.delivery, LIVE);
    let (ack, n) = acknowledging.asking_live().await;
    assert_eq!(n, 1);
    acknowledging.acknowledge(ack).await;
    a.until_stored("bob", 0).await;
    assert_eq!(b.emit("nobody", 2).await.delivery, QUEUED);
    assert_eq!(Client::connect(&b, "nobody").await.queued().await, [1, 2]);
    let revoked = http::send(&a, http::request(Method::DELETE, "/sessions/ended", "")).await;
    assert_eq!(revoked.status, 204);
    ended.closed().await;
    if old == Old::Silent {
        primary.resume();
    }
    // It stays so.
    on_a.quiet().await;
    assert!(a.is_ready().await && b.is_ready().await);
    println!("well again after {taken:?}");
}

/// Waits until the replica has whatever the primary has.
async fn until_alike(primary: &LocalRedis) {
    let mut connection = primary.connection().await;
    let mut written = redis::pipe();
    // In shorter waits than the client library's patience.
    written.cmd("SET").arg("junk-of-the-test").arg(1).ignore().cmd("WAIT").arg(1).arg(300);
    let began = Instant::now();
    while written.query_async::<(u64,)>(&mut connection).await.map_or(0, |(replicas,)| replicas) < 1 {
        assert!(began.elapsed() < PATIENCE, "the replica does not keep up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_behind_one_name_is_followed_though_old_connections_stay_with_the_replica() {
    fails_over(Old::Replica).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_where_the_old_primary_reaches_no_primary() {
    fails_over(Old::Masterless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_where_the_old_primary_is_loading() {
    fails_over(Old::Loading).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_where_the_old_primary_is_silent() {
    fails_over(Old::Silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_where_the_old_primary_has_died() {
    fails_over(Old::Dead).await;
}

/// Two nodes whose subscriptions can be made deaf, by a proxy that leads to this Redis.
async fn two_nodes(redis: &LocalRedis) -> (Proxy, Node, Node) {
    redis.connection().await;
    let name = Proxy::to(redis.port()).await;
    let config = name.config();
    let direct = redis.config();
    let (a, b) = tokio::join!(Node::start(&direct), Node::start(&config));
    (name, a, b)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_brings_nothing_is_told_by_readiness_and_made_good_for() {
    let redis = LocalRedis::start().unwrap();
    let (name, a, b) = two_nodes(&redis).await;
    let (mut on_a, mut on_b) = (Client::connect(&a, "alice").await, Client::connect(&b, "alice").await);
    name.swallow(true);
    b.until_readiness(false, WELL_AGAIN).await;
    let told = http::get(&b, "/readyz").await.problem(503);
    let told = told["detail"].as_str().unwrap();
    assert!(told.starts_with("this server does not hear what the others tell"), "{told}");
    a.emit("alice", 1).await;
    assert_eq!(on_a.live().await, 1);
    name.swallow(false);
    b.until_readiness(true, WELL_AGAIN).await;
    assert_eq!(on_b.live().await, 1);
    assert_eq!(a.emit("alice", 2).await.delivery, LIVE);
    assert_eq!((on_a.live().await, on_b.live().await), (2, 2));
}

/// Ends a subscription of one node behind its back, and looks whether it is noticed and made good for.
async fn unsubscribed(channel: impl Fn(&str) -> String) {
    let redis = LocalRedis::start().unwrap();
    let (name, a, b) = two_nodes(&redis).await;
    let (mut on_a, mut on_b) = (Client::connect(&a, "alice").await, Client::connect(&b, "alice").await);
    a.put_session("ended", "carol", None).await;
    let mut ended = Client::open(&b).await;
    ended.join(&token(json!({"userId": "carol", "sessionId": "ended", "exp": from_now(900)}))).await;
    let own: Vec<String> = redis.ask(&["HKEYS", "notify:{u:carol}:present"]).await;
    let channel = channel(&own[0]);
    name.say(&channel, &["UNSUBSCRIBE", &channel]);
    let began = Instant::now();
    while redis.ask::<(String, u64)>(&["PUBSUB", "NUMSUB", &channel]).await.1
        == 2 - u64::from(!channel.ends_with("all"))
    {
        assert!(began.elapsed() < WELL_AGAIN, "nothing was unsubscribed");
    }
    let began = Instant::now();
    a.emit("alice", 1).await;
    let revoked = http::send(&a, http::request(Method::DELETE, "/sessions/ended", "")).await;
    assert_eq!(revoked.status, 204);
    assert_eq!((on_a.live().await, on_b.live().await), (1, 1));
    ended.closed().await;
    assert!(began.elapsed() < WELL_AGAIN, "{:?}", began.elapsed());
    b.until_readiness(true, WELL_AGAIN).await;
    assert_eq!(a.emit("alice", 2).await.delivery, LIVE);
    assert_eq!((on_a.live().await, on_b.live().await), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hears_no_more_what_is_said_to_it_joins_anew() {
    unsubscribed(|node| format!("notify:0:to:{node}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hears_no_more_what_is_said_to_all_joins_anew() {
    unsubscribed(|_| "notify:0:all".into()).await;
}
