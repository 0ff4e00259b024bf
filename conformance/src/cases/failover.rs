//! SPEC 22: a store that fails over, and nodes that do not hear.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::kit::{
    QUIET, acks,
    control::body_for,
    numbers::{in_order, numbers, receives, up_to},
    outage::{AGAIN, SOON, answered, emit_until_accepted, nodes_on},
    queue::finds,
    server::readiness,
};
use crate::{
    bench::{Bench, no_redis},
    case::{Case, Need},
    client::{Client, Transport},
    expect::{self, Outcome},
    instance::Changes,
    redis::RedisServer,
};

/// How long an event may take that was accepted.
const ARRIVES: Duration = Duration::from_secs(2);

const NODES: &[Need] =
    &[Need::OwnServer, Need::Capability("control"), Need::Capability("config"), Need::Capability("ack")];

pub(super) const CASES: &[Case] = &[
    case!(
        "FAILOVER-01/replica",
        "a failover is followed where the old primary serves on as a replica",
        failed_over(Old::Replica)
    )
    .needs(NODES)
    .also(&["FAILOVER-02"]),
    case!("FAILOVER-01/masterless", "… where it reaches no primary", failed_over(Old::Masterless))
        .needs(NODES)
        .also(&["FAILOVER-02"]),
    case!("FAILOVER-01/silent", "… where it is silent", failed_over(Old::Silent)).needs(NODES).also(&["FAILOVER-02"]),
    case!("FAILOVER-01/gone", "… where it is gone", failed_over(Old::Gone)).needs(NODES).also(&["FAILOVER-02"]),
    case!("FAILOVER-03/deaf", "a node that does not hear says so", deaf).needs(NODES),
    case!("FAILOVER-04/deaf", "what was said to a node that did not hear is made good for", made_good_for).needs(NODES),
    case!(
        "FAILOVER-05/killed",
        "sentinels are followed to another primary where the old one is killed",
        followed(true)
    )
    .needs(NODES)
    .also(&["FAILOVER-02"]),
    case!("FAILOVER-05/silent", "… and where it is silent, and not back when it is heard again", followed(false))
        .needs(NODES)
        .also(&["FAILOVER-02"]),
    case!("FAILOVER-06/killed", "what was accepted outlives the primary", outlives).needs(OWN),
    case!("FAILOVER-07/no-replica", "what no replica takes is refused, and not there later", taken_back).needs(OWN),
];

const OWN: &[Need] = &[Need::OwnServer];

/// A Redis behind sentinels, and two nodes on it with this setting.
async fn behind_sentinels(t: &Bench, min_replicas: &str) -> Outcome<(Arc<RedisServer>, Bench, Bench)> {
    let redis = t.own_fleet().await?;
    let mut changes = Changes::default();
    changes.set.insert("REDIS_MIN_REPLICAS".to_owned(), min_replicas.to_owned());
    let a = t.own_server_on_with(&redis, &changes).await?;
    let b = a.node_beside_with(&changes).await?;
    Ok((redis, a, b))
}

async fn followed(t: Bench, killed: bool) -> Outcome {
    let (redis, a, b) = behind_sentinels(&t, "0").await?;
    let (alice, bob) = (a.user().await?, a.user().await?);
    let mut devices =
        [a.connect_raw(&alice, Transport::WebSocket).await?, b.connect_raw(&alice, Transport::WebSocket).await?];
    a.emit_numbered(&alice, 1, 1).await?;
    a.emit_numbered(&bob, 1, 1).await?;
    for device in &mut devices {
        receives(device, [1]).await?;
    }
    a.transcript().note(format!("the primary is {}", if killed { "killed" } else { "silent" }));
    let gone = async {
        redis.until_copied(2).await?;
        if killed {
            redis.kill().await?
        } else {
            redis.pause().await?
        }
        redis.until_failed_over().await
    };
    gone.await.map_err(|error| no_redis(&error))?;
    let deadline = Instant::now() + SOON;
    let accepted = emit_until_accepted(&a, &alice, 2, deadline).await?;
    readiness(&a, 200, deadline).await?;
    readiness(&b, 200, deadline).await?;
    if !killed {
        redis.resume().await.map_err(|error| no_redis(&error))?;
    }
    for n in accepted + 1..=accepted + 10 {
        b.emit_numbered(&alice, n, n).await?;
        sleep(AGAIN).await;
    }
    for device in &mut devices {
        let came = up_to(device, accepted as u64 + 10, ARRIVES).await?;
        in_order(&came)?;
        let last: Vec<_> = came.iter().rev().take(11).map(|came| came.n).collect();
        expect::that(last.contains(&(accepted as u64)), format!("{accepted} and all after it"), format!("{last:?}"))?;
    }
    b.emit_numbered(&bob, 2, 2).await?;
    finds(&b, &bob, [1, 2]).await.map(drop)
}

/// Where a replica has to have what is written, it is refused while the replica takes long to, as on a disk that is busy.
async fn until_copied<T, F: Future<Output = Outcome<T>>>(written: impl Fn() -> F) -> Outcome<T> {
    let deadline = Instant::now() + SOON;
    loop {
        match written().await {
            Err(_) if Instant::now() < deadline => sleep(AGAIN).await,
            outcome => return outcome,
        }
    }
}

async fn outlives(t: Bench) -> Outcome {
    let (redis, a, b) = behind_sentinels(&t, "1").await?;
    let alice = until_copied(|| a.user()).await?;
    for n in 1..=5 {
        until_copied(|| a.emit_numbered(&alice, n, n)).await?;
    }
    redis.pause_replicas(true).await.map_err(|error| no_redis(&error))?;
    let mut accepted: Vec<u64> = (1..=5).collect();
    for n in 6..=7 {
        let answer = a.control("POST", "/events", &body_for(&alice, n)).await?;
        if answer.status == 202 {
            accepted.push(n as u64);
        }
    }
    let gone = async {
        redis.kill().await?;
        redis.pause_replicas(false).await?;
        redis.until_failed_over().await
    };
    gone.await.map_err(|error| no_redis(&error))?;
    readiness(&b, 200, Instant::now() + SOON).await?;
    let queued = b.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    let found = numbers(&queued);
    let lost: Vec<_> = accepted.iter().filter(|n| !found.contains(n)).collect();
    expect::that(lost.is_empty(), format!("all that was accepted: {accepted:?}"), format!("{found:?}"))
}

async fn taken_back(t: Bench) -> Outcome {
    let (redis, a, b) = behind_sentinels(&t, "1").await?;
    let alice = until_copied(|| a.user()).await?;
    until_copied(|| a.emit_numbered(&alice, 1, 1)).await?;
    redis.pause_replicas(true).await.map_err(|error| no_redis(&error))?;
    answered(&a, &alice, 2, 503).await?;
    redis.pause_replicas(false).await.map_err(|error| no_redis(&error))?;
    emit_until_accepted(&a, &alice, 3, Instant::now() + SOON).await?;
    let queued = b.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    let found = numbers(&queued);
    let right = found.first() == Some(&1) && !found.contains(&2) && found.len() >= 2;
    expect::that(right, "the events that were accepted alone", format!("{found:?}"))
}

/// What becomes of the old primary.
#[derive(Debug, Clone, Copy)]
enum Old {
    Replica,
    Masterless,
    Silent,
    Gone,
}

/// Two nodes on a Redis with a replica.
struct Replicated {
    primary: Arc<RedisServer>,
    replica: Arc<RedisServer>,
    a: Bench,
    b: Bench,
}

impl Replicated {
    async fn prepare(t: &Bench) -> Outcome<Self> {
        let primary = t.own_redis(false).await?;
        let replica = t.own_replica(&primary).await?;
        let a = t.own_server_on(&primary).await?;
        let b = a.node_beside().await?;
        Ok(Self { primary, replica, a, b })
    }

    /// The replica has whatever was written until now, takes over, and has the name.
    async fn fails_over(&self, old: Old) -> Outcome {
        self.a.transcript().note(format!("the store fails over; the old primary: {old:?}"));
        let done = async {
            self.primary.until_copied(1).await?;
            match old {
                Old::Silent => self.primary.pause().await?,
                Old::Gone => self.primary.halt().await?,
                Old::Replica | Old::Masterless => {}
            }
            self.replica.take_writes().await?;
            match old {
                Old::Replica => self.primary.follow(&self.replica).await,
                Old::Masterless => {
                    self.primary.set("replica-serve-stale-data", "no").await?;
                    self.primary.refuse_writes().await
                }
                Old::Silent | Old::Gone => Ok(()),
            }
        };
        done.await.map_err(|error| no_redis(&error))?;
        for node in [&self.a, &self.b] {
            node.redis_line()?.lead_to(self.replica.address().to_string());
        }
        Ok(())
    }
}

async fn failed_over(t: Bench, old: Old) -> Outcome {
    let store = Replicated::prepare(&t).await?;
    let (a, b) = (&store.a, &store.b);
    let (alice, bob, carol) = (a.user().await?, a.user().await?, a.user().await?);
    let mut plain =
        [a.connect_raw(&alice, Transport::WebSocket).await?, b.connect_raw(&alice, Transport::Polling).await?];
    let mut device = acks::join(b, &carol).await?;
    a.emit_numbered(&alice, 1, 1).await?;
    for device in &mut plain {
        receives(device, [1]).await?;
    }
    a.emit_numbered(&bob, 1, 1).await?;
    store.fails_over(old).await?;
    let deadline = Instant::now() + SOON;
    let accepted = emit_until_accepted(a, &alice, 2, deadline).await?;
    readiness(a, 200, deadline).await?;
    readiness(b, 200, deadline).await?;
    let at_b = emit_until_accepted(b, &alice, accepted + 1, deadline).await?;
    for device in &mut plain {
        let came = up_to(device, at_b as u64, ARRIVES).await?;
        in_order(&came)?;
        let came: Vec<_> = came.iter().map(|came| came.n).collect();
        let both = [accepted as u64, at_b as u64];
        expect::that(both.iter().all(|n| came.contains(n)), format!("{both:?} among them"), format!("{came:?}"))?;
    }
    a.emit_numbered(&carol, 1, 1).await?;
    let event = acks::live_event(&mut device, 1).await?;
    device.acknowledge(&event, vec![]).await?;
    b.emit_numbered(&bob, 2, 2).await?;
    finds(b, &bob, [1, 2]).await?;
    a.revoke_session(&alice.session).await?;
    for device in &mut plain {
        device.expect_closed(ARRIVES).await?;
    }
    expect::that(Instant::now() < deadline, format!("all of it within {SOON:?}"), "it took longer")
}

/// From now on this node does not hear what is said, until its line is restored.
async fn deafen(node: &Bench, redis: &RedisServer) -> Outcome {
    node.transcript().note("one node hears nothing any more");
    node.redis_line()?.hush(redis.listeners().await.map_err(|error| no_redis(&error))?);
    Ok(())
}

async fn deaf(t: Bench) -> Outcome {
    let (redis, a, b) = nodes_on(&t, false).await?;
    deafen(&b, &redis).await?;
    readiness(&b, 503, Instant::now() + SOON).await?;
    readiness(&a, 200, Instant::now() + SOON).await?;
    b.redis_line()?.restore();
    readiness(&b, 200, Instant::now() + SOON).await
}

async fn made_good_for(t: Bench) -> Outcome {
    let (redis, a, b) = nodes_on(&t, false).await?;
    let (alice, bob) = (a.user().await?, a.user().await?);
    let mut device = b.connect_raw(&alice, Transport::WebSocket).await?;
    let mut ends = b.connect_raw(&bob, Transport::WebSocket).await?;
    deafen(&b, &redis).await?;
    a.emit_numbered(&alice, 1, 2).await?;
    a.revoke_session(&bob.session).await?;
    readiness(&b, 503, Instant::now() + SOON).await?;
    a.emit_numbered(&alice, 3, 3).await?;
    b.redis_line()?.restore();
    let deadline = Instant::now() + SOON;
    receives_all(&mut device, 3, deadline).await?;
    ends.expect_closed(deadline - Instant::now()).await?;
    readiness(&b, 200, deadline).await?;
    a.emit_numbered(&alice, 4, 4).await?;
    receives(&mut device, [4]).await?;
    device.expect_silence(QUIET).await
}

/// The events up to `last`, each once and in order, by `deadline`.
async fn receives_all(device: &mut Client, last: u64, deadline: Instant) -> Outcome {
    let came = up_to(device, last, deadline - Instant::now()).await?;
    let came: Vec<_> = came.iter().map(|came| came.n).collect();
    expect::that(came == (1..=last).collect::<Vec<_>>(), format!("the events 1 to {last}"), format!("{came:?}"))
}
