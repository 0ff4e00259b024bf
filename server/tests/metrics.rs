//! What `/metrics` tells (SPEC.md, OPS-08). The numbers are the process's, so the tests here look at what has grown.

mod support;

use std::collections::BTreeMap;

use serde_json::json;
use support::{
    PATIENCE,
    client::Client,
    doubles::{Fragile, Outage},
    http::{self, Polling},
    server::{LIVE, QUEUED, Server, numbered},
};

/// The samples by name and labels; expects the format of Prometheus.
async fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let answer = http::get(server, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let mut family = "";
    let mut samples = BTreeMap::new();
    for line in answer.text.lines() {
        if let Some(name) = line.strip_prefix("# HELP ").and_then(|rest| rest.split(' ').next()) {
            family = name;
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a kind");
            assert_eq!(name, family);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(name.starts_with(family), "{line} in {family}");
        let value = value.parse().expect("a number");
        assert!(samples.insert(name.to_owned(), value).is_none(), "{line} comes twice");
    }
    samples
}

/// Waits until a sample is as it should be: what is counted when something was sent is counted a moment later.
async fn until(server: &Server, name: &str, holds: impl Fn(f64) -> bool) {
    let began = std::time::Instant::now();
    loop {
        let now = scrape(server).await.get(name).copied().unwrap_or_else(|| panic!("no {name}"));
        if holds(now) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{name} is {now}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_happens_to_events_and_clients_is_counted_and_nobody_is_named() {
    let server = Server::start().await;
    let before = scrape(&server).await;
    let grew = async |name: &str, by: f64| until(&server, name, |now| now >= before[name] + by).await;
    assert_eq!(server.emit("user-of-mine", 1).await.delivery, QUEUED);
    let mut client = Client::connect(&server, "user-of-mine").await;
    assert_eq!(client.queued().await, [1]);
    assert_eq!(server.emit("user-of-mine", 2).await.delivery, LIVE);
    assert_eq!(client.live().await, 2);
    let mut acknowledging = Client::connect_acknowledging(&server, "other-of-mine").await;
    server.emit("other-of-mine", 1).await;
    let (ack, _) = acknowledging.asking_live().await;
    acknowledging.acknowledge(ack).await;
    let refused = Client::open(&server).await.refused(&json!({"token": "token-of-mine"})).await;
    assert_eq!(refused, "token_invalid");
    grew(r#"notify_events_total{type="record.accessed",outcome="queued"}"#, 1.0).await;
    grew(r#"notify_events_total{type="record.accessed",outcome="live"}"#, 2.0).await;
    grew(r#"notify_queued_events_delivered_total{mode="plain"}"#, 1.0).await;
    grew("notify_acknowledged_events_total", 1.0).await;
    grew("notify_connects_accepted_total", 2.0).await;
    grew(r#"notify_connects_refused_total{code="token_invalid"}"#, 1.0).await;
    grew("notify_delivery_seconds_count", 2.0).await;
    grew(r#"notify_delivery_seconds_bucket{le="+Inf"}"#, 2.0).await;
    grew("notify_store_seconds_count", 3.0).await;
    until(&server, r#"notify_clients{transport="websocket"}"#, |now| now == 2.0).await;
    let polling = Polling::open(&server).await;
    let auth = json!({"token": server.token("polling-of-mine").await});
    polling.send(format!("40/notifications,{auth}")).await;
    polling.events().await;
    until(&server, r#"notify_clients{transport="polling"}"#, |now| now == 1.0).await;
    let text = http::get(&server, "/metrics").await.text;
    assert!(!text.contains("of-mine") && !text.contains(&client.sid), "{text}");
    assert_eq!(scrape(&server).await["notify_store_ready"], 1.0);
}

#[tokio::test]
async fn what_is_refused_because_the_store_fails_is_counted_event_by_event() {
    let outage = Outage::default();
    let server = Server::with(|with| with.queue = Fragile::wrap(&with.queue, &outage)).await;
    let name = r#"notify_events_total{type="record.accessed",outcome="refused"}"#;
    let before = scrape(&server).await[name];
    outage.begin();
    server.service.emit(numbered("nobody", 1)).await.expect_err("the store is away");
    let batch = (0..5).map(|n| numbered("nobody", n)).collect();
    server.service.emit_batch(batch).await.expect_err("the store is away");
    assert_eq!(scrape(&server).await[name], before + 6.0);
}

#[tokio::test]
async fn limits_that_are_hit_are_counted() {
    let server = Server::with(|with| with.bounds.devices_per_user = 1).await;
    let name = r#"notify_limit_hits_total{limit="devices_per_user"}"#;
    let before = scrape(&server).await[name];
    let _first = Client::connect(&server, "alice").await;
    let token = server.token("alice").await;
    assert_eq!(Client::open(&server).await.refused(&json!({"token": token})).await, "unavailable");
    assert_eq!(scrape(&server).await[name], before + 1.0);
}

#[tokio::test]
async fn where_they_are_apart_they_are_nowhere_else() {
    let server = Server::with(|with| with.metrics_apart = true).await;
    assert_eq!(http::get(&server, "/metrics").await.status, 404);
}
