//! Membership: a lease that is renewed, a subscription that is listened to, and what is done when either had a gap.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use redis::Msg;
use tokio::time::{sleep_until, timeout};
use uuid::Uuid;

use super::{
    ear::Ear,
    node::{Membership, NOT_JOINED, Node},
    removals::LATELY,
    word::Word,
};
use crate::{
    model::{Channel, StoreError},
    store::redis::peers::{BEAT, Heard},
};

/// How often the lease is renewed: at the same moments in all partitions, so that what goes to one server goes together.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long to wait before joining is tried again: for the first time, as the slot may just have gone elsewhere, and then.
const SOON: Duration = Duration::from_millis(50);
const RETRY: Duration = Duration::from_millis(500);

/// How long this node may hear no heartbeat on a channel before its subscription counts as broken. The store may be silent then as
/// well, and nothing be missed; to join anew does no harm.
const UNHEARD: Duration = Duration::from_millis(2_500);

/// How soon whoever has subscribed has to hear a heartbeat on each channel: only then it is known that it hears.
const HEARS_WITHIN: Duration = Duration::from_secs(1);

/// How long no heartbeat to all may be heard before this node sends one: less than the time between two, so that whoever comes first
/// spares it the others.
const ALL_SPARED: Duration = Duration::from_millis(900);

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
    #[error("nothing is heard of what is said to this node")]
    Silent,
    #[error("nothing is heard of what is said to all nodes")]
    SilentOfAll,
    #[error("the subscription is at another server than the store")]
    Elsewhere,
    #[error("the lease has ended")]
    Lapsed,
}

impl Gap {
    /// Where nothing was heard.
    const fn unheard(&self) -> Option<Channel> {
        match self {
            Self::Silent | Self::Elsewhere => Some(Channel::One),
            Self::SilentOfAll => Some(Channel::All),
            Self::Ended | Self::Lapsed => None,
        }
    }
}

/// Joins, and joins again whenever there was a gap.
pub(super) async fn run(node: Arc<Node>) {
    let (mut number, mut told, mut former) = (0, None, None);
    loop {
        let id = Uuid::new_v4();
        let (mut heard, epoch) = match join(&node, id).await {
            Ok(joined) => joined,
            Err(error) => {
                node.note_answer(Some(&error));
                node.note_unheard(Some(&error));
                // Once for each reason: it may last.
                let reason = error.to_string();
                if told.as_ref() != Some(&reason) {
                    node.says(Word::CannotJoin, &error);
                }
                let rest = if told.replace(reason).is_some() { RETRY } else { SOON };
                tokio::time::sleep(rest).await;
                continue;
            }
        };
        told = None;
        node.note_unheard(None);
        number += 1;
        let lost = node.note_epoch(epoch);
        node.settled.store(false, Ordering::SeqCst);
        node.note_answer(None);
        if former.is_some() {
            // What had a gap here may have had one elsewhere, too.
            node.removals.share(None);
            node.users.doubt_until(Instant::now() + LATELY);
        }
        node.membership.send_replace(Membership { number, id });
        node.says(Word::Joined, &id);
        let gap = tokio::select! {
            gap = listen(&node, &mut heard) => gap,
            gap = renew(&node, id) => gap,
            () = node.inbox.own.is_silent_for(UNHEARD) => Gap::Silent,
            () = node.inbox.all.is_silent_for(UNHEARD) => Gap::SilentOfAll,
            never = settle(&node, number, lost, former) => never,
        };
        former = Some(id);
        if matches!(gap, Gap::Ended) {
            node.note_ended();
        }
        // A store that does not answer says nothing at all, and there is nothing to hear.
        if node.answers.load(Ordering::SeqCst) {
            node.note_unheard(gap.unheard().map(StoreError::Deaf).as_ref());
        }
        finish(&node, id, &mut heard).await;
        node.membership.send_replace(NOT_JOINED);
        node.says(Word::OutOfTouch, &gap);
    }
}

/// Listens first, so that nothing is missed once the lease says that this node lives; and hears before anybody counts on it.
async fn join(node: &Arc<Node>, id: Uuid) -> Result<(Heard, String), StoreError> {
    let mut heard = node.link.listen(id).await?;
    let began = Instant::now();
    let lease = node.link.begin(id).await?;
    // Where nobody listens there is nothing to wait for.
    let hears = async |ear: &Ear| lease.is_heard && timeout(HEARS_WITHIN, ear.hears_after(began)).await.is_ok();
    let (one, all) = tokio::select! {
        hears = async { tokio::join!(hears(&node.inbox.own), hears(&node.inbox.all)) } => hears,
        _ = listen(node, &mut heard) => (false, false),
    };
    if !one || !all {
        // What this node says and what it hears may be at different servers.
        node.link.connect_anew().await;
        return Err(StoreError::Deaf(if one { Channel::All } else { Channel::One }));
    }
    Ok((heard, lease.epoch))
}

async fn listen(node: &Arc<Node>, heard: &mut Heard) -> Gap {
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

/// Ends a membership, as of a process that stood still: what was said to it is taken in and done before it joins anew.
/// For that is older than whatever it has missed since, and may be in the store no more.
async fn finish(node: &Arc<Node>, id: Uuid, heard: &mut Heard) {
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
    let mut sent = 0;
    loop {
        let renewed = node.link.renew(id, node.inbox.all.unheard_for() > ALL_SPARED).await;
        if let (Err(error), true) = (&renewed, node.answers.load(Ordering::SeqCst)) {
            node.says(Word::NotRenewed, error);
        }
        node.note_answer(renewed.as_ref().err());
        match renewed {
            Ok(None) => return Gap::Lapsed,
            Ok(Some(lease)) if !lease.is_heard => return Gap::Elsewhere,
            _ => {}
        }
        sent += 1;
        if sent % RENEW_AFTER == 0 {
            tokio::spawn(tell_again(node.clone()));
        }
        sleep_until(next_beat(node.began)).await;
    }
}

/// The next of the moments at which all partitions renew.
fn next_beat(began: tokio::time::Instant) -> tokio::time::Instant {
    let since = began.elapsed().as_nanos() % HEARTBEAT.as_nanos();
    tokio::time::Instant::now() + HEARTBEAT - Duration::from_nanos(u64::try_from(since).unwrap_or_default())
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
        node.says(Word::DataLost, &"");
    }
    if let Some(local) = node.local() {
        while let Err(error) = local.verify_sessions(&*node.is_told_of).await {
            node.says(Word::NotVerified, &error);
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
    // The former lease was kept until here: by it the others knew that somebody has to find in the store what could not
    // be said to this node.
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
