//! Clients that acknowledge: nothing is lost, whatever happens to them.

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use notify_server::{
    model::{Backlog, EntryId, Queue},
    store::Limits,
};
use serde_json::Value;
use support::{
    client::{Client, number, parse_asking},
    doubles::{Fragile, Outage},
    server::{LIVE, QUEUED, Server, numbered, numbered_of},
};

const DAY: Duration = Duration::from_secs(86_400);

async fn impatient() -> Server {
    Server::with(|with| with.ack_timeout = Duration::from_millis(300)).await
}

#[tokio::test]
async fn an_accepted_event_is_stored_until_it_is_acknowledged() {
    let server = Server::start().await;
    let mut alice = Client::connect_acknowledging(&server, "alice").await;
    for n in 1..=3 {
        assert_eq!(server.emit("alice", n).await.delivery, LIVE);
    }
    assert_eq!(server.stored("alice").await.0, [1, 2, 3]);
    let mut acks = Vec::new();
    for n in 1..=3 {
        let (ack, live) = alice.asking_live().await;
        assert_eq!(live, n);
        acks.push(ack);
    }
    alice.acknowledge(acks[1]).await;
    server.until_stored("alice", 2).await;
    assert_eq!(server.stored("alice").await.0, [1, 3]);
    // What an acknowledgement carries does not matter.
    alice.send(&format!(r#"43/notifications,{}["ok",{{"a":1}}]"#, acks[0])).await;
    alice.acknowledge(acks[2]).await;
    server.until_stored("alice", 0).await;
    Client::connect_acknowledging(&server, "alice").await.quiet().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_with_its_id_and_in_order() {
    let server = Server::start().await;
    let mut first = Client::connect_acknowledging(&server, "alice").await;
    let mut ids = Vec::new();
    for n in 1..=4 {
        ids.push(server.emit("alice", n).await.event_id.to_string());
    }
    let (ack, _) = first.asking_live().await;
    first.acknowledge(ack).await;
    server.until_stored("alice", 3).await;
    drop(first);
    let mut second = Client::connect_acknowledging(&server, "alice").await;
    assert_eq!(server.emit("alice", 5).await.delivery, LIVE);
    let (_, _, arguments) = second.asking().await;
    let again: Vec<_> = arguments[0].as_array().unwrap().iter().map(|it| it["eventId"].as_str().unwrap()).collect();
    assert_eq!(again, ids[1..]);
    let (live, n) = second.asking_live().await;
    assert_eq!(n, 5);
    // The later one first: what was queued stays until it is acknowledged itself.
    second.acknowledge(live).await;
    server.until_stored("alice", 3).await;
    drop(second);
    let mut third = Client::connect_acknowledging(&server, "alice").await;
    let (ack, queued, dropped) = third.asking_queued().await;
    assert_eq!((queued, dropped), (vec![2, 3, 4], 0));
    third.acknowledge(ack).await;
    server.until_stored("alice", 0).await;
}

#[tokio::test]
async fn a_client_that_does_not_acknowledge_in_time_is_closed_and_served_again() {
    let server = impatient().await;
    let mut first = Client::connect_acknowledging(&server, "alice").await;
    server.emit("alice", 1).await;
    first.closed().await;
    assert_eq!(server.emit("alice", 2).await.delivery, QUEUED);
    let mut second = Client::connect_acknowledging(&server, "alice").await;
    assert_eq!(second.asking_queued().await.1, [1, 2]);
    second.closed().await;
    let mut third = Client::connect_acknowledging(&server, "alice").await;
    let (ack, queued, _) = third.asking_queued().await;
    assert_eq!(queued, [1, 2]);
    third.acknowledge(ack).await;
    server.until_stored("alice", 0).await;
}

#[tokio::test]
async fn a_polling_client_that_does_not_acknowledge_is_closed_as_well() {
    let server = impatient().await;
    let session = support::http::Polling::open(&server).await;
    let auth = serde_json::json!({"token": server.token("alice").await, "ack": true});
    session.send(format!("40/notifications,{auth}")).await;
    session.poll().await.unwrap();
    server.emit("alice", 1).await;
    let (_, name, arguments) = parse_asking(&session.poll().await.unwrap()[0]);
    assert_eq!((name.as_str(), number(&arguments[0])), ("record.accessed", 1));
    session.closed().await;
    assert_eq!(server.emit("alice", 2).await.delivery, QUEUED);
    assert_eq!(server.stored("alice").await.0, [1, 2]);
}

#[tokio::test]
async fn what_the_cap_has_cost_is_told_until_it_is_acknowledged() {
    let server = Server::start().await;
    for n in 1..=60 {
        server.emit("alice", n).await;
    }
    for _ in 0..2 {
        let mut alice = Client::connect_acknowledging(&server, "alice").await;
        let (_, queued, dropped) = alice.asking_queued().await;
        assert_eq!((queued, dropped), ((11..=60).collect(), 10));
        alice.leave().await;
    }
    server.emit("alice", 61).await;
    let mut alice = Client::connect_acknowledging(&server, "alice").await;
    let (ack, queued, dropped) = alice.asking_queued().await;
    assert_eq!((queued, dropped), ((12..=61).collect(), 11));
    alice.acknowledge(ack).await;
    server.until_stored("alice", 0).await;
    alice.leave().await;
    server.emit("alice", 62).await;
    let mut alice = Client::connect_acknowledging(&server, "alice").await;
    let (_, queued, dropped) = alice.asking_queued().await;
    assert_eq!((queued, dropped), (vec![62], 0));
}

#[tokio::test]
async fn what_became_too_old_is_told_even_where_nothing_else_is_queued() {
    let limits = Limits { max_events: 50, ttl: Duration::from_millis(200) };
    let server = Server::with_limits(limits, |_| {}).await;
    server.emit("alice", 1).await;
    server.emit("alice", 2).await;
    // Time is what is waited for here; nothing else tells of it.
    tokio::time::sleep(limits.ttl * 2).await;
    let mut alice = Client::connect_acknowledging(&server, "alice").await;
    let (ack, queued, dropped) = alice.asking_queued().await;
    assert_eq!((queued, dropped), (vec![], 2));
    alice.acknowledge(ack).await;
    alice.quiet().await;
    alice.leave().await;
    while server.stored("alice").await.1 > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Client::connect_acknowledging(&server, "alice").await.quiet().await;
}

#[tokio::test]
async fn a_damaged_entry_counts_as_lost() {
    let server = Server::start().await;
    server.emit("alice", 1).await;
    server.queue.keep("alice", &["garbage"]).await.unwrap();
    server.emit("alice", 2).await;
    let mut alice = Client::connect_acknowledging(&server, "alice").await;
    let (ack, queued, dropped) = alice.asking_queued().await;
    assert_eq!((queued, dropped), (vec![1, 2], 1));
    alice.acknowledge(ack).await;
    server.queue.backlog("alice", EntryId::default(), true).await.unwrap();
    while server.queue.backlog("alice", EntryId::default(), true).await.unwrap() != Backlog::default() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn any_device_may_acknowledge() {
    let server = Server::start().await;
    let mut phone = Client::connect_acknowledging(&server, "alice").await;
    let mut laptop = Client::connect_acknowledging(&server, "alice").await;
    server.emit("alice", 1).await;
    assert_eq!(phone.asking_live().await.1, 1);
    let (ack, n) = laptop.asking_live().await;
    assert_eq!(n, 1);
    // One that connects meanwhile gets what nobody has acknowledged.
    let mut tablet = Client::connect_acknowledging(&server, "alice").await;
    assert_eq!(tablet.asking_queued().await.1, [1]);
    laptop.acknowledge(ack).await;
    server.until_stored("alice", 0).await;
}

#[tokio::test]
async fn a_second_device_costs_nothing_that_the_first_is_still_acknowledging() {
    let server = Server::start().await;
    let mut phone = Client::connect_acknowledging(&server, "alice").await;
    for n in 1..=60 {
        server.emit("alice", n).await;
    }
    let mut laptop = Client::connect_acknowledging(&server, "alice").await;
    let (_, queued, dropped) = laptop.asking_queued().await;
    assert_eq!((queued, dropped), ((1..=60).collect(), 0));
    for n in 1..=60 {
        let (ack, live) = phone.asking_live().await;
        assert_eq!(live, n);
        phone.acknowledge(ack).await;
    }
    server.until_stored("alice", 0).await;
    assert_eq!(server.stored("alice").await.1, 0);
}

#[tokio::test]
async fn a_plain_client_beside_one_that_acknowledges_receives_everything_and_removes_nothing() {
    let server = Server::start().await;
    let mut plain = Client::connect(&server, "alice").await;
    let mut careful = Client::connect_acknowledging(&server, "alice").await;
    assert_eq!(server.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(plain.live().await, 1);
    let (ack, _) = careful.asking_live().await;
    let mut late = Client::connect(&server, "alice").await;
    assert_eq!(late.queued().await, [1]);
    // Once this has had its turn, the late one has been handed its queue.
    assert_eq!(server.emit("alice", 2).await.delivery, LIVE);
    assert_eq!(server.stored("alice").await.0, [1, 2]);
    careful.acknowledge(ack).await;
    let (ack, _) = careful.asking_live().await;
    careful.acknowledge(ack).await;
    server.until_stored("alice", 0).await;
    careful.leave().await;
    // From here on a plain user again: nothing is stored.
    assert_eq!(server.emit("alice", 3).await.delivery, LIVE);
    assert!(server.stored("alice").await.0.is_empty());
    assert_eq!((plain.live().await, plain.live().await), (2, 3));
    assert_eq!((late.live().await, late.live().await), (2, 3));
}

#[tokio::test]
async fn only_true_asks_for_acknowledgements() {
    let server = Server::start().await;
    for ack in [serde_json::json!(false), "true".into(), 1.into(), Value::Null] {
        let mut client = Client::open(&server).await;
        let auth = serde_json::json!({"token": server.token("alice").await, "ack": ack});
        client.send(&format!("40/notifications,{auth}")).await;
        assert!(client.message().await.unwrap().starts_with("40/"));
        server.emit("alice", 1).await;
        assert_eq!(client.live().await, 1);
        client.leave().await;
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_stored_is_refused_and_not_delivered() {
    let outage = Outage::default();
    let server = Server::with(|with| {
        let fragile: Arc<dyn Queue> = Fragile::wrap(&with.queue, &outage);
        with.queue = fragile;
    })
    .await;
    let mut plain = Client::connect(&server, "bob").await;
    let mut alice = Client::connect_acknowledging(&server, "alice").await;
    server.emit("alice", 1).await;
    let (ack, _) = alice.asking_live().await;
    outage.begin();
    assert!(server.service.emit(numbered("alice", 2)).await.is_err());
    alice.acknowledge(ack).await;
    alice.quiet().await;
    // A plain client needs no store.
    assert_eq!(server.emit("bob", 1).await.delivery, LIVE);
    assert_eq!(plain.live().await, 1);
    outage.end();
    // What could not be removed is removed later.
    server.until_stored("alice", 0).await;
    assert_eq!(server.emit("alice", 3).await.delivery, LIVE);
    assert_eq!(alice.asking_live().await.1, 3);
}

#[tokio::test]
async fn a_batch_beyond_the_cap_loses_nothing_while_it_is_acknowledged() {
    let server = Server::start().await;
    let mut alice = Client::connect_acknowledging(&server, "alice").await;
    let batch = (0..1_000).map(|n| numbered("alice", n)).collect();
    let (receipts, ()) = tokio::join!(server.service.emit_batch(batch), async {
        for n in 0..1_000 {
            let (ack, live) = alice.asking_live().await;
            assert_eq!(live, n);
            alice.acknowledge(ack).await;
        }
    });
    assert!(receipts.unwrap().iter().all(|receipt| receipt.delivery == LIVE));
    server.until_stored("alice", 0).await;
    assert_eq!(server.stored("alice").await.1, 0);
}

#[tokio::test]
async fn whatever_is_emitted_while_a_client_comes_and_goes_is_acknowledged_in_the_end_and_in_order() {
    const EVENTS: u64 = 400;
    let server = Arc::new(Server::with_limits(Limits { max_events: 1_000, ttl: DAY }, |_| {}).await);
    let emitting = tokio::spawn({
        let server = server.clone();
        async move {
            for n in 1..=EVENTS {
                server.emit("alice", n).await;
            }
        }
    });
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    for round in 0_usize.. {
        let mut client = Client::connect_acknowledging(&server, "alice").await;
        let mut last = 0;
        // Each connection ends in the middle of something: after some packets, some of them acknowledged.
        for place in 0..=(round % 7) {
            let idle = tokio::time::timeout(Duration::from_millis(50), client.message()).await;
            let Ok(packet) = idle else { break };
            let (ack, name, arguments) = parse_asking(&packet.expect("the server closes nothing"));
            let payloads = match name.as_str() {
                "queued.events" => arguments[0].as_array().unwrap().clone(),
                _ => vec![arguments[0].clone()],
            };
            for payload in &payloads {
                assert!(number(payload) > last, "{payload} after {last}");
                last = number(payload);
            }
            if (round + place) % 3 > 0 {
                client.acknowledge(ack).await;
                for payload in &payloads {
                    let id = payload["eventId"].as_str().unwrap().to_owned();
                    let known = acknowledged.entry(number(payload)).or_insert_with(|| id.clone());
                    assert_eq!(*known, id);
                }
            }
        }
        if acknowledged.len() as u64 == EVENTS {
            break;
        }
        assert!(round < 2_000, "{acknowledged:?}");
    }
    emitting.await.unwrap();
    assert!(acknowledged.keys().copied().eq(1..=EVENTS));
    assert_eq!(server.stored("alice").await.1, 0);
}

/// How long a packet may be that hands over a queue, with the event that crosses the bound.
const AT_MOST_BYTES: usize = (4 << 20) + (80 << 10);

/// Stores 160 events of 60 kB, which are more than go into two packets.
async fn with_a_large_queue() -> Server {
    let server = Server::with_limits(Limits { max_events: 200, ttl: DAY }, |_| {}).await;
    for n in 1..=LARGE {
        server.service.emit(numbered_of("alice", n, 60_000)).await.expect("the store answers");
    }
    server
}

const LARGE: u64 = 160;

/// The numbers of all events up to the one that was emitted behind the queue, each packet of a bounded length.
async fn in_parts(client: &mut Client) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.last() != Some(&(LARGE + 1)) {
        let packet = client.message().await.expect("it is open");
        assert!(packet.len() <= AT_MOST_BYTES, "{} bytes", packet.len());
        let arguments = packet.find('[').expect("an event is an array");
        let event: Vec<Value> = serde_json::from_str(&packet[arguments..]).expect("JSON");
        match event[1].as_array() {
            Some(queued) => seen.extend(queued.iter().map(number)),
            None => seen.push(number(&event[1])),
        }
    }
    seen
}

#[tokio::test]
async fn a_large_queue_is_handed_in_parts_to_clients_that_acknowledge_and_what_is_newer_comes_behind_it() {
    let server = with_a_large_queue().await;
    let mut first = Client::connect_acknowledging(&server, "alice").await;
    let mut second = Client::connect_acknowledging(&server, "alice").await;
    server.emit("alice", LARGE + 1).await;
    for alice in [&mut first, &mut second] {
        assert_eq!(in_parts(alice).await, (1..=LARGE + 1).collect::<Vec<_>>());
    }
    assert_eq!(server.emit("alice", LARGE + 2).await.delivery, LIVE);
    assert_eq!((first.asking_live().await.1, second.asking_live().await.1), (LARGE + 2, LARGE + 2));
}

#[tokio::test]
async fn a_large_queue_is_handed_in_parts_to_a_plain_client_and_leaves_the_store_with_each() {
    let server = with_a_large_queue().await;
    let mut alice = Client::connect(&server, "alice").await;
    server.emit("alice", LARGE + 1).await;
    assert_eq!(in_parts(&mut alice).await, (1..=LARGE + 1).collect::<Vec<_>>());
    server.until_stored("alice", 0).await;
    assert_eq!(server.emit("alice", LARGE + 2).await.delivery, LIVE);
    assert_eq!(alice.live().await, LARGE + 2);
}

#[tokio::test]
async fn a_large_queue_is_handed_in_parts_to_a_plain_client_beside_one_that_acknowledges() {
    let server = with_a_large_queue().await;
    let _other = Client::connect_acknowledging(&server, "alice").await;
    let mut alice = Client::connect(&server, "alice").await;
    server.emit("alice", LARGE + 1).await;
    assert_eq!(in_parts(&mut alice).await, (1..=LARGE + 1).collect::<Vec<_>>());
    assert_eq!(server.emit("alice", LARGE + 2).await.delivery, LIVE);
    assert_eq!(alice.live().await, LARGE + 2);
}
