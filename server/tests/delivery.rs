//! What reaches whom, and in which order (SPEC.md, 3 to 5).

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use notify_server::{
    cluster::{Destination, Local, Peers, Presence, Taken},
    model::{Backlog, EntryId, Outgoing, Queue, Queued, Reinserted, Sent, StoreError},
    notifications::{Deliver, Haste, Unsent},
};
use serde_json::{Map, Value, json};
use support::{
    client::Client,
    doubles::{Fragile, Outage},
    fixture,
    http::{self, Polling},
    server::{LIVE, QUEUED, Server, numbered},
};
use tokio::sync::Notify;
use uuid::Uuid;

#[tokio::test]
async fn the_four_methods_emit_the_four_events() {
    let server = Server::start().await;
    let mut alice = Client::connect(&server, "alice").await;
    let service = server.service.clone();
    service.emit_record_accessed("dr", "alice", None).await.unwrap();
    service.emit_access_granted("dr", "alice", Map::new()).await.unwrap();
    service.emit_access_revoked("dr", "alice", None).await.unwrap();
    let receipt = service.emit_record_uploaded("dr", "alice", None).await.unwrap();
    for name in ["record.accessed", "access.granted", "access.revoked", "record.uploaded"] {
        let (event, arguments) = alice.event().await;
        assert_eq!((event.as_str(), arguments.len()), (name, 1));
        let payload = &arguments[0];
        assert_eq!(payload["eventType"], name);
        assert_eq!((&payload["actorId"], &payload["resourceId"]), (&json!("dr"), &json!("alice")));
        assert_eq!(payload["metadata"], json!({}));
        let id = payload["eventId"].as_str().unwrap();
        assert_eq!(name == "record.uploaded", id == receipt.event_id.to_string());
    }
}

#[tokio::test]
async fn every_event_of_the_fixtures_arrives_as_it_was_emitted_live_and_queued() {
    let server = Server::start().await;
    let mut online = Client::connect(&server, "user").await;
    for file in ["events/plain.json", "events/metadata.json"] {
        for event in fixture(file)["events"].as_array().unwrap() {
            let emitted = filled(event);
            for (user, delivery) in [("user", "live"), ("offline", "queued")] {
                let text = emitted.to_string().replace("{user}", user);
                let answer =
                    http::send(&server, http::request(axum::http::Method::POST, "/events", text.clone())).await;
                assert_eq!(answer.json()["delivery"], delivery, "{}", event["name"]);
                let received = match user {
                    "user" => online.event().await.1.remove(0),
                    user => {
                        let mut later = Client::connect(&server, user).await;
                        let (name, mut arguments) = later.event().await;
                        later.leave().await;
                        assert_eq!(name, "queued.events");
                        arguments.remove(0)[0].take()
                    }
                };
                let expected: Value = serde_json::from_str(&text).unwrap();
                let expected = expected.get("metadata").cloned().unwrap_or_else(|| json!({}));
                assert_eq!(received["metadata"].to_string(), expected.to_string(), "{}", event["name"]);
            }
        }
    }
}

/// An event of the fixtures without what only describes it.
fn filled(event: &Value) -> Value {
    let mut event = event.clone();
    for name in ["name", "why", "sentence"] {
        event.as_object_mut().expect("an event is an object").shift_remove(name);
    }
    let text = repeated(event).to_string().replace("{n}", "n1").replace("{other}", "other");
    serde_json::from_str(&text).expect("it was JSON before")
}

fn repeated(value: Value) -> Value {
    match value {
        Value::Object(object) if object.len() == 1 && object.contains_key("repeat") => {
            let (text, times) = (&object["repeat"][0], object["repeat"][1].as_u64().unwrap_or(0));
            text.as_str().unwrap_or_default().repeat(usize::try_from(times).unwrap_or(0)).into()
        }
        Value::Object(object) => object.into_iter().map(|(name, value)| (name, repeated(value))).collect(),
        Value::Array(list) => list.into_iter().map(repeated).collect(),
        other => other,
    }
}

#[tokio::test]
async fn every_device_of_the_recipient_receives_the_event_and_nobody_else_does() {
    let server = Server::start().await;
    let mut phone = Client::connect(&server, "alice").await;
    let mut laptop = Client::connect(&server, "alice").await;
    let mut others = Vec::new();
    for user in ["Alice", "alice ", "alic", "alice:", "user:alice", "*"] {
        others.push(Client::connect(&server, user).await);
    }
    assert_eq!(server.emit("alice", 1).await.delivery, LIVE);
    assert_eq!((phone.live().await, laptop.live().await), (1, 1));
    for other in &mut others {
        other.quiet().await;
    }
}

#[tokio::test]
async fn nothing_that_a_client_sends_changes_what_it_receives_or_reaches_others() {
    let server = Server::start().await;
    let mut mallory = Client::connect(&server, "mallory").await;
    let mut alice = Client::connect(&server, "alice").await;
    for event in
        [r#"["join","user:alice"]"#, r#"["record.accessed",{"resourceId":"alice"}]"#, r#"["queued.events",[]]"#]
    {
        mallory.send(&format!("42/notifications,{event}")).await;
    }
    mallory.quiet().await;
    assert_eq!(server.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(alice.live().await, 1);
    mallory.quiet().await;
}

#[tokio::test]
async fn a_client_joins_by_its_token_alone() {
    let server = Server::start().await;
    let token = server.token("mallory").await;
    let query = "EIO=4&transport=websocket&userId=alice";
    let mut mallory = Client::open_with(&server, query, &[]).await.unwrap();
    let auth = json!({"token": token, "userId": "alice", "room": "user:alice"});
    mallory.send(&format!("40/notifications,{auth}")).await;
    assert!(mallory.message().await.unwrap().starts_with("40/"));
    assert_eq!(server.emit("alice", 1).await.delivery, QUEUED);
    assert_eq!(server.emit("mallory", 2).await.delivery, LIVE);
    assert_eq!(mallory.live().await, 2);
}

#[tokio::test]
async fn what_was_missed_comes_once_in_order_and_before_anything_newer() {
    let server = Server::start().await;
    for n in 1..=3 {
        assert_eq!(server.emit("alice", n).await.delivery, QUEUED);
    }
    let mut first = Client::connect(&server, "alice").await;
    server.emit("alice", 4).await;
    assert_eq!(first.queued().await, [1, 2, 3]);
    assert_eq!(first.live().await, 4);
    let mut second = Client::connect(&server, "alice").await;
    second.quiet().await;
    first.leave().await;
    second.leave().await;
    let mut third = Client::connect(&server, "alice").await;
    third.quiet().await;
}

#[tokio::test]
async fn the_fifty_first_event_evicts_the_oldest_of_its_user_alone() {
    let server = Server::start().await;
    server.emit("bob", 1).await;
    for n in 1..=51 {
        server.emit("alice", n).await;
    }
    assert_eq!(Client::connect(&server, "alice").await.queued().await, (2..=51).collect::<Vec<_>>());
    assert_eq!(Client::connect(&server, "bob").await.queued().await, [1]);
}

#[tokio::test]
async fn an_event_that_races_with_a_connect_arrives_exactly_once_and_in_order() {
    let server = Arc::new(Server::start().await);
    for round in 0..20 {
        let user = format!("user-{round}");
        let token = server.token(&user).await;
        let emitting = tokio::spawn({
            let (server, user) = (server.clone(), user.clone());
            async move {
                for n in 1..=40 {
                    server.emit(&user, n).await;
                }
            }
        });
        let mut client = Client::open(&server).await;
        client.join(&token).await;
        let mut received = Vec::new();
        while received.len() < 40 {
            let (name, mut arguments) = client.event().await;
            let payloads = match (name.as_str(), arguments.remove(0)) {
                ("queued.events", Value::Array(payloads)) => payloads,
                (_, payload) => vec![payload],
            };
            received.extend(payloads.iter().map(|payload| payload["metadata"]["n"].as_u64().unwrap()));
        }
        assert_eq!(received, (1..=40).collect::<Vec<_>>(), "round {round}");
        emitting.await.unwrap();
        client.quiet().await;
    }
}

#[tokio::test]
async fn an_event_after_a_client_has_left_is_queued() {
    let server = Server::start().await;
    for n in 0..20 {
        Client::connect(&server, "alice").await.leave().await;
        assert_eq!(server.emit("alice", n).await.delivery, QUEUED);
        assert_eq!(Client::connect(&server, "alice").await.queued().await, [n]);
    }
}

#[tokio::test]
async fn a_client_that_disconnects_from_the_namespace_is_away_until_it_connects_again() {
    let server = Server::start().await;
    let token = server.token("alice").await;
    let mut client = Client::open(&server).await;
    client.join(&token).await;
    client.send("41/notifications,").await;
    client.send("40/other,").await;
    assert!(client.message().await.unwrap().starts_with("44/other"));
    assert_eq!(server.emit("alice", 1).await.delivery, QUEUED);
    client.join(&token).await;
    assert_eq!(client.queued().await, [1]);
}

#[tokio::test]
async fn a_batch_to_a_connected_client_arrives_whole_and_in_order() {
    let server = Server::start().await;
    let mut alice = Client::connect(&server, "alice").await;
    let polling = Polling::open(&server).await;
    polling.send(format!("40/notifications,{}", json!({"token": server.token("bob").await}))).await;
    polling.poll().await.unwrap();
    let drafts = (0..1_000).flat_map(|n| [numbered("alice", n), numbered("bob", n), numbered("carol", n)]);
    let receipts = server.service.emit_batch(drafts.collect()).await.unwrap();
    for (place, receipt) in receipts.iter().enumerate() {
        assert_eq!(receipt.delivery, if place % 3 == 2 { QUEUED } else { LIVE }, "{place}");
    }
    for n in 0..1_000 {
        assert_eq!(alice.live().await, n);
    }
    let mut packets = Vec::new();
    while packets.len() < 1_000 {
        packets.extend(polling.poll().await.unwrap());
    }
    for (n, packet) in packets.iter().enumerate() {
        assert!(packet.ends_with(&format!("\"n\":{n}}}}}]")), "{packet}");
    }
    assert_eq!(Client::connect(&server, "carol").await.queued().await, (950..1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_that_can_be_neither_delivered_nor_queued_is_an_error_but_live_delivery_goes_on() {
    let outage = Outage::default();
    let server = Server::with(|with| with.queue = Fragile::wrap(&with.queue, &outage)).await;
    let mut alice = Client::connect(&server, "alice").await;
    outage.begin();
    assert!(server.service.emit(numbered("bob", 1)).await.is_err());
    assert_eq!(server.emit("alice", 2).await.delivery, LIVE);
    assert_eq!(alice.live().await, 2);
    let mixed = vec![numbered("bob", 3), numbered("alice", 4), numbered("bob", 5)];
    let failed = server.service.emit_batch(mixed).await.unwrap_err();
    assert_eq!(failed.accepted.iter().map(|(place, it)| (*place, it.delivery)).collect::<Vec<_>>(), [(1, LIVE)]);
    outage.end();
    Client::connect(&server, "bob").await.quiet().await;
}

#[tokio::test]
async fn what_could_not_be_removed_after_its_delivery_is_removed_later_and_given_to_nobody_else() {
    let outage = Outage::default();
    let begun = Arc::new(Notify::new());
    let server = Server::with(|with| {
        let fragile: Arc<dyn Queue> = Fragile::wrap(&with.queue, &outage);
        with.queue = Arc::new(FailsToRemove {
            inner: fragile,
            outage: outage.clone(),
            begun: begun.clone(),
            failed: AtomicBool::new(false),
        });
    })
    .await;
    server.emit("alice", 1).await;
    assert_eq!(Client::connect(&server, "alice").await.queued().await, [1]);
    begun.notified().await;
    outage.end();
    let mut second = Client::connect(&server, "alice").await;
    server.until_stored("alice", 0).await;
    second.quiet().await;
}

/// An outage that begins between the reading and the removal.
struct FailsToRemove {
    inner: Arc<dyn Queue>,
    outage: Outage,
    begun: Arc<Notify>,
    failed: AtomicBool,
}

#[async_trait]
impl Queue for FailsToRemove {
    async fn append(&self, user: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.inner.append(user, payloads).await
    }

    async fn reinsert(&self, user: &str, events: &[Reinserted<'_>]) -> Result<(), StoreError> {
        self.inner.reinsert(user, events).await
    }

    async fn read(&self, user: &str) -> Result<Vec<Queued>, StoreError> {
        self.inner.read(user).await
    }

    async fn remove(&self, user: &str, ids: &[EntryId], drain: Option<Uuid>) -> Result<(), StoreError> {
        if !self.failed.swap(true, Ordering::SeqCst) {
            self.outage.begin();
        }
        let removed = self.inner.remove(user, ids, drain).await;
        self.begun.notify_one();
        removed
    }

    async fn keep(&self, user: &str, payloads: &[&str]) -> Result<Vec<EntryId>, StoreError> {
        self.inner.keep(user, payloads).await
    }

    async fn backlog(&self, user: &str, after: EntryId, trim: bool) -> Result<Backlog, StoreError> {
        self.inner.backlog(user, after, trim).await
    }

    async fn confirm(&self, user: &str, ids: &[EntryId], told: u64) -> Result<(), StoreError> {
        self.inner.confirm(user, ids, told).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
}

#[tokio::test]
async fn a_damaged_entry_costs_itself_and_nothing_else() {
    let queue: Arc<Mutex<Option<Arc<dyn Queue>>>> = Arc::default();
    let server = Server::with(|with| *queue.lock().unwrap() = Some(with.queue.clone())).await;
    let queue = queue.lock().unwrap().take().unwrap();
    server.emit("alice", 1).await;
    queue.append("alice", &["\u{1}not-json{", "", "{}", "[1]", r#"{"eventId":1}"#]).await.unwrap();
    server.emit("alice", 2).await;
    assert_eq!(Client::connect(&server, "alice").await.queued().await, [1, 2]);
    // Whoever comes next is let in when the queue has been cleared.
    Client::connect(&server, "alice").await.quiet().await;
    assert!(queue.read("alice").await.unwrap().is_empty());
    queue.append("bob", &["garbage"]).await.unwrap();
    Client::connect(&server, "bob").await.quiet().await;
    Client::connect(&server, "bob").await.quiet().await;
    assert!(queue.read("bob").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_mutant_of_the_delivery_can_be_put_in() {
    let server = Server::with(|with| with.wrap_rooms = Box::new(|_| Box::new(|_| Arc::new(Nobody)))).await;
    let mut alice = Client::connect(&server, "alice").await;
    assert_eq!(server.emit("alice", 1).await.delivery, QUEUED);
    alice.quiet().await;
}

struct Nobody;

#[async_trait]
impl Deliver for Nobody {
    fn deliver(&self, _: &Outgoing, _: Haste) -> bool {
        false
    }

    async fn waits_for_room(&self) -> bool {
        false
    }

    fn acknowledged(&self) -> bool {
        false
    }

    fn deliver_stored(&self, _: &Outgoing, _: EntryId, _: Option<Sent>, _: Haste) -> bool {
        false
    }

    fn take_unsent(&self) -> Vec<Unsent> {
        Vec::new()
    }

    fn came_back(&self, _: &[Unsent]) {}

    fn owed_is_free(&self, _: bool) {}

    fn asks_store(&self) -> Option<EntryId> {
        None
    }

    fn give_kept(&self, _: &Backlog, _: EntryId) {}

    fn give_queue(&self, _: &[Queued], _: bool, _: Sent) {}
}

/// Other nodes that cannot be reached, for this reason, by one who may be the only one to know the user.
struct Unreachable(StoreError);

#[async_trait]
impl Peers for Unreachable {
    fn join(&self, _: Arc<dyn Local>) {}

    fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn enter(&self, _: &str, _: bool) -> Result<Presence, StoreError> {
        Ok(Presence::new(EntryId::default(), false, || {}))
    }

    fn destination(&self, _: &str) -> Destination {
        Destination::Unsure
    }

    async fn route(&self, _: &str, _: &[&str]) -> Result<Taken, StoreError> {
        Err(self.0.clone())
    }

    async fn missed(&self, _: &str) -> Result<Vec<Queued>, StoreError> {
        Ok(Vec::new())
    }

    fn remove(&self, _: &str, _: EntryId) {}

    async fn flush(&self, _: &str) {}

    async fn end_session(&self, _: &str, _: Option<&str>) -> Result<(), StoreError> {
        Ok(())
    }

    fn epoch(&self, _: &str) -> u64 {
        0
    }

    async fn is_still(&self, _: &str, _: u64) -> Result<bool, StoreError> {
        Err(self.0.clone())
    }

    async fn leave(&self) {}
}

/// Were it stored once more, it would come twice where the store has it and the answer was lost.
#[tokio::test]
async fn what_could_not_be_routed_is_handed_over_here_or_refused_and_not_stored_once_more() {
    for (error, delivers) in [(StoreError::TimedOut(Duration::ZERO), true), (StoreError::NotCopied, false)] {
        let peers = Arc::new(Unreachable(error));
        let server = Server::with(|with| with.peers = Some(peers)).await;
        let emit = |n| server.service.emit(numbered("alice", n));
        emit(1).await.unwrap_err();
        let mut alice = Client::connect(&server, "alice").await;
        match delivers {
            true => assert_eq!((emit(2).await.unwrap().delivery, alice.live().await), (LIVE, 2)),
            false => drop(emit(2).await.unwrap_err()),
        }
        alice.quiet().await;
        assert_eq!(server.stored("alice").await.0, [0; 0]);
    }
}
