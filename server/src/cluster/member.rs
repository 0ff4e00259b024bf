//! Membership: a lease that is renewed, a subscription that is listened to, and what is done when either had a gap.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use redis::{Msg, aio::PubSubStream};
use tokio::time::{MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::{
    claims::LATELY,
    message::BEAT,
    node::{Membership, NOT_JOINED, Node},
};
use crate::store::StoreError;

/// How often the lease is renewed, and how long to wait before joining is tried again.
const HEARTBEAT: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(500);

/// How long this node may not hear its own heartbeats before its subscription counts as broken. The store may be silent then as
/// well, and nothing be missed; to join anew does no harm.
const UNHEARD: Duration = Duration::from_millis(2_500);

/// How long everything that was said may take to come in, and then to be done.
const FINISH: Duration = Duration::from_secs(1);

/// How many users are seen to at once after a gap.
const AT_ONCE: usize = 64;

/// After how many heartbeats everybody's presence is told again: eight hours, a third of how long it is kept.
const RENEW_AFTER: u64 = 8 * 60 * 60;

/// Why a membership has ended.
#[derive(Debug, thiserror::Error)]
enum Gap {
    #[error("the subscription has ended")]
    Ended,
    #[error("the subscription is silent")]
    Silent,
    #[error("the subscription is at another server than the store")]
    Elsewhere,
    #[error("the lease has ended")]
    Lapsed,
}

/// Joins, and joins again whenever there was a gap.
pub(super) async fn run(node: Arc<Node>) {
    let (mut number, mut epoch, mut told) = (0, None, None);
    let mut former = None;
    loop {
        let id = Uuid::new_v4();
        let (mut heard, now) = match join(&node, id).await {
            Ok(joined) => joined,
            Err(error) => {
                node.answers.store(false, Ordering::SeqCst);
                // Once for each reason: it may last.
                let reason = error.to_string();
                if told.as_ref() != Some(&reason) {
                    tracing::warn!(%error, "this node cannot join the others");
                }
                told = Some(reason);
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        told = None;
        number += 1;
        let lost = epoch.replace(now.clone()).is_some_and(|before| before != now);
        node.settled.store(false, Ordering::SeqCst);
        node.answers.store(true, Ordering::SeqCst);
        if former.is_some() {
            // What had a gap here may have had one elsewhere, too.
            node.claims.share(None);
            node.users.doubt_until(Instant::now() + LATELY);
        }
        node.membership.send_replace(Membership { number, id });
        tracing::info!(node = %id, "joined");
        let gap = tokio::select! {
            gap = listen(&node, &mut heard) => gap,
            gap = renew(&node, id) => gap,
            gap = silence(&node) => gap,
            never = settle(&node, number, lost, former) => never,
        };
        former = Some(id);
        finish(&node, id, &mut heard).await;
        node.membership.send_replace(NOT_JOINED);
        tracing::warn!(node = %id, %gap, "out of touch with the others");
    }
}

/// Listens first, so that nothing is missed once the lease says that this node lives.
async fn join(node: &Node, id: Uuid) -> Result<(PubSubStream, String), StoreError> {
    let heard = node.link.listen(id).await?;
    let lease = node.link.begin(id).await?;
    if !lease.is_heard {
        node.link.connect_anew();
        return Err(StoreError::Unheard);
    }
    Ok((heard, lease.epoch))
}

async fn listen(node: &Arc<Node>, heard: &mut PubSubStream) -> Gap {
    while let Some(message) = heard.next().await {
        take_in(node, &message);
    }
    Gap::Ended
}

fn take_in(node: &Arc<Node>, message: &Msg) {
    match message.get_payload::<String>() {
        Ok(text) => node.take_in(&text),
        Err(error) => tracing::warn!(%error, "another node has said what is no text"),
    }
}

/// A process that stood still finds what was said to it meanwhile, and that its time is over. The first comes first: it is older than
/// whatever was missed, and may have gone from the store.
async fn finish(node: &Arc<Node>, id: Uuid, heard: &mut PubSubStream) {
    // Redis hands over in order: when this comes back, so has all that was said before.
    let last = format!("{BEAT}{}", Uuid::new_v4());
    let said = async {
        if let Err(error) = node.link.tell(id, &last).await {
            tracing::debug!(%error, "this node cannot reach itself");
        }
    };
    let come_in = async {
        while let Some(message) = heard.next().await {
            take_in(node, &message);
            if message.get_payload_bytes() == last.as_bytes() {
                break;
            }
        }
    };
    let come_in = timeout(FINISH, async { tokio::join!(said, come_in) }).await;
    if come_in.and(timeout(FINISH, node.is_done()).await).is_err() {
        tracing::debug!("what had come in was not done in time");
    }
}

async fn renew(node: &Arc<Node>, id: Uuid) -> Gap {
    let mut ticks = interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    loop {
        ticks.tick().await;
        let renewed = node.link.renew(id).await;
        if let (Err(error), true) = (&renewed, node.answers.load(Ordering::SeqCst)) {
            tracing::warn!(%error, "the lease could not be renewed");
        }
        node.answers.store(renewed.is_ok(), Ordering::SeqCst);
        match renewed {
            Ok(None) => return Gap::Lapsed,
            Ok(Some(lease)) if !lease.is_heard => return Gap::Elsewhere,
            _ => {}
        }
        sent += 1;
        if sent % RENEW_AFTER == 0 {
            tokio::spawn(tell_again(node.clone()));
        }
    }
}

async fn silence(node: &Node) -> Gap {
    while timeout(UNHEARD, node.inbox.beats.notified()).await.is_ok() {}
    Gap::Silent
}

async fn tell_again(node: Arc<Node>) {
    let told = stream::iter(node.users.all()).map(|user_id| {
        let node = node.clone();
        async move { node.tell_of(&user_id, true).await }
    });
    let outcomes: Vec<_> = told.buffer_unordered(AT_ONCE).collect().await;
    if let Some(error) = outcomes.into_iter().find_map(Result::err) {
        tracing::warn!(%error, "the presence of some users could not be told again");
    }
}

/// Makes good for what was missed: looks whether the sessions still hold, tells where everybody is, and hands over what was stored
/// meanwhile. Never completes.
async fn settle(node: &Arc<Node>, number: u64, lost: bool, former: Option<Uuid>) -> Gap {
    if lost {
        // What is not there was lost, not revoked.
        tracing::warn!("redis has lost its data; connections stay, though their sessions are gone");
    } else if let Some(local) = node.local() {
        while let Err(error) = local.verify_sessions().await {
            tracing::warn!(%error, "sessions could not be verified again yet");
            tokio::time::sleep(RETRY).await;
        }
    }
    let mut left = node.users.all();
    while !left.is_empty() {
        let seen_to = stream::iter(left).map(|user_id| see_to(node, user_id, number)).buffer_unordered(AT_ONCE);
        left = seen_to.collect::<Vec<_>>().await.into_iter().flatten().collect();
        if !left.is_empty() {
            tokio::time::sleep(RETRY).await;
        }
    }
    // Until here the former lease has told the others that somebody has to find in the store what could not be said.
    if let Some(id) = former
        && let Err(error) = node.link.end(id).await
    {
        tracing::debug!(%error, "a lease could not be ended");
    }
    node.settled.store(true, Ordering::SeqCst);
    std::future::pending().await
}

/// The user again where the store could not be asked.
async fn see_to(node: &Arc<Node>, user_id: String, number: u64) -> Option<String> {
    let outcome = async {
        node.tell_of(&user_id, true).await?;
        if let (true, Some(local)) = (node.users.is_behind(&user_id, number), node.local()) {
            local.catch_up(&user_id).await?;
            node.users.caught_up(&user_id, number);
        }
        Ok::<_, StoreError>(())
    };
    match outcome.await {
        Ok(()) => None,
        Err(error) => {
            tracing::warn!(%error, "a user has to wait for what was missed");
            Some(user_id)
        }
    }
}
