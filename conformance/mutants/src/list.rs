//! Every mutant: its name, what it breaks, and the cases of which each one must catch it.

use std::{sync::Arc, time::Duration};

use notify_server::{Collaborators, Config, origins::Origins};
use serde_json::{Value, json};

use crate::{delivery, queue, rules, sessions, tokens};

/// A broken server.
pub(crate) struct Mutant {
    name: &'static str,
    /// What it does wrong, as a sentence.
    breaks_what: &'static str,
    /// The cases that have to fail.
    killed_by: &'static [&'static str],
    /// Breaks a setting.
    pub(crate) settings: fn(&mut Config),
    /// Breaks a collaborator.
    pub(crate) breaks: fn(Collaborators, &Config) -> Collaborators,
}

pub(crate) fn find(name: &str) -> Option<&'static Mutant> {
    MUTANTS.iter().find(|mutant| mutant.name == name)
}

pub(crate) fn as_json() -> Value {
    MUTANTS
        .iter()
        .map(|mutant| json!({"name": mutant.name, "breaks": mutant.breaks_what, "killed_by": mutant.killed_by}))
        .collect()
}

const fn setting(
    name: &'static str,
    breaks_what: &'static str,
    killed_by: &'static [&'static str],
    settings: fn(&mut Config),
) -> Mutant {
    Mutant { name, breaks_what, killed_by, settings, breaks: |sound, _| sound }
}

const fn part(
    name: &'static str,
    breaks_what: &'static str,
    killed_by: &'static [&'static str],
    breaks: fn(Collaborators, &Config) -> Collaborators,
) -> Mutant {
    Mutant { name, breaks_what, killed_by, settings: |_| {}, breaks }
}

macro_rules! token {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, config| Collaborators {
            tokens: Arc::new(tokens::Faulty::new(config, tokens::Fault::$fault)),
            ..sound
        })
    };
}

macro_rules! session {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, _| Collaborators {
            sessions: Arc::new(sessions::Faulty { store: sound.session_store.clone(), fault: sessions::Fault::$fault }),
            ..sound
        })
    };
}

macro_rules! rule {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, _| Collaborators {
            rules: Arc::new(rules::Faulty(rules::Fault::$fault)),
            ..sound
        })
    };
}

macro_rules! queue {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, _| Collaborators {
            queue: Arc::new(queue::Faulty::new(sound.queue.clone(), queue::Fault::$fault)),
            ..sound
        })
    };
}

macro_rules! delivery {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, _| Collaborators {
            wrap_deliver: Box::new(|deliver| Arc::new(delivery::Faulty { deliver, fault: delivery::Fault::$fault })),
            ..sound
        })
    };
}

fn forgetful(sound: Collaborators, revocations: bool) -> Collaborators {
    let store = Arc::new(sessions::Forgetful { store: sound.session_store.clone(), revocations });
    Collaborators { session_store: store, ..sound }
}

static MUTANTS: &[Mutant] = &[
    token!("signature-unchecked", "the signature is not verified", ["AUTH-05/signature"], SignatureUnchecked),
    token!("alg-none", "a token may say that it is not signed", ["AUTH-06/algorithm"], NoneAccepted),
    token!("alg-of-the-token", "the token chooses its algorithm", ["AUTH-06/algorithm"], AlgorithmOfTheToken),
    token!("expiry-unchecked", "exp is not looked at", ["AUTH-08/expired"], ExpiryUnchecked),
    token!("expiry-optional", "exp may be absent", ["AUTH-07/exp"], ExpiryOptional),
    token!("leeway-60s", "the leeway is a minute", ["AUTH-08/expired"], LeewayOfAMinute),
    token!("nbf-ignored", "nbf is not looked at", ["AUTH-09/nbf"], NbfIgnored),
    token!("refresh-accepted", "refresh tokens are accepted", ["AUTH-13/type"], RefreshAccepted),
    token!("user-id-of-any-type", "userId may be anything", ["AUTH-10/number"], AnyUserId),
    token!("sub-before-user-id", "sub counts for more than userId", ["AUTH-10/user-id"], SubBeforeUserId),
    token!("sub-ignored", "sub does not stand in for userId", ["AUTH-11/sub"], SubIgnored),
    token!("session-id-of-any-type", "sessionId may be anything", ["AUTH-12/number"], AnySessionId),
    token!("expired-told-as-invalid", "an expired token is told as invalid", ["AUTH-21/codes"], ExpiredToldAsInvalid),
    token!("long-told-as-missing", "a long token is told as missing", ["AUTH-21/codes"], LongToldAsMissing),
    session!("session-not-looked-up", "sessions are not looked at", ["AUTH-14/unknown"], NotLookedUp),
    session!("session-owner-not-compared", "anybody's session will do", ["AUTH-17/owner"], OwnerNotCompared),
    session!("session-owner-by-prefix", "owners are compared by prefix", ["AUTH-17/owner"], OwnerByPrefix),
    // With the real queue nobody would be let in all the same, for the queue could not be read.
    part(
        "store-away-lets-in",
        "whoever comes while the store is away is let in",
        &["AUTH-22/fail-closed"],
        |sound, _| {
            let fault = sessions::Fault::StoreAwayLetsIn;
            Collaborators {
                sessions: Arc::new(sessions::Faulty { store: sound.session_store.clone(), fault }),
                queue: Arc::<queue::InMemory>::default(),
                ..sound
            }
        },
    ),
    session!(
        "store-away-told-as-invalid",
        "a store that is away is told as a bad session",
        ["AUTH-23/unavailable"],
        StoreAwayToldAsInvalid
    ),
    part("revocation-forgotten", "revoked sessions go on", &["AUTH-15/revoked"], |sound, _| forgetful(sound, true)),
    part("session-end-forgotten", "sessions do not end", &["AUTH-16/expired"], |sound, _| forgetful(sound, false)),
    rule!("broadcast", "events go to everybody", ["ROOM-01/isolation"], OneRoomForAll),
    rule!("room-by-prefix", "rooms are compared without trailing digits", ["ROOM-05/look-alikes"], RoomByPrefix),
    rule!("room-by-folded-id", "rooms are compared without case", ["ROOM-05/look-alikes"], RoomByFoldedId),
    rule!("room-by-trimmed-id", "rooms are compared without outer spaces", ["ROOM-05/look-alikes"], RoomByTrimmedId),
    rule!("resource-is-recipient", "targetUserId is ignored", ["EVENT-09/target"], ResourceIsRecipient),
    rule!("empty-target", "an empty targetUserId is a recipient", ["EVENT-10/resource"], EmptyTargetIsRecipient),
    rule!(
        "non-text-target",
        "a targetUserId that is no text is a recipient",
        ["EVENT-10/resource"],
        NonTextTargetIsRecipient
    ),
    rule!("type-changed", "access.revoked is told as access.granted", ["EVENT-02/access-revoked"], TypeChanged),
    rule!(
        "actor-and-resource-swapped",
        "actor and resource are swapped",
        ["EVENT-03/members"],
        ActorAndResourceSwapped
    ),
    rule!(
        "timestamp-without-milliseconds",
        "the timestamp has no milliseconds",
        ["EVENT-04/timestamp"],
        TimestampWithoutMilliseconds
    ),
    rule!("timestamp-with-offset", "the timestamp ends in +00:00", ["EVENT-04/timestamp"], TimestampWithOffset),
    rule!(
        "timestamp-fixed",
        "the timestamp does not tell the emission",
        ["EVENT-04/timestamp", "QUEUE-16/same-payload"],
        TimestampFixed
    ),
    rule!("metadata-dropped", "metadata is lost", ["EVENT-06/live", "EVENT-06/queued"], MetadataDropped),
    rule!("metadata-never-empty", "absent metadata is made up", ["EVENT-05/no-metadata"], MetadataNeverEmpty),
    rule!("members-sorted", "the members of metadata are sorted", ["EVENT-07/order"], MembersSorted),
    rule!("nulls-lost", "nulls in metadata are lost", ["EVENT-06/live"], NullsLost),
    rule!("integers-as-floats", "integers in metadata become floats", ["EVENT-06/live"], IntegersAsFloats),
    rule!("texts-trimmed", "texts in metadata are trimmed", ["EVENT-06/live"], TextsTrimmed),
    rule!("event-id-version", "eventId is a UUIDv4", ["EVENT-08/event-id"], EventIdOfAnotherVersion),
    rule!("event-id-fixed", "every event has the same eventId", ["EVENT-08/event-id"], EventIdFixed),
    rule!(
        "pong-changed",
        "ping is answered with something else",
        ["EVENT-11/ping", "EVENT-11/ping-library"],
        PongChanged
    ),
    queue!("newest-first", "the queue is delivered newest first", ["QUEUE-10/oldest-first"], NewestFirst),
    queue!("oldest-kept", "a full queue keeps the oldest", ["QUEUE-03/oldest-evicted"], OldestKept),
    queue!("cap-over-all-users", "all users share one cap", ["QUEUE-04/per-user"], CapOverAllUsers),
    queue!("not-cleared", "what was delivered stays queued", ["QUEUE-13/once"], NotCleared),
    queue!("accepted-though-not-stored", "202 though the store failed", ["EMIT-07/no-store"], AcceptedThoughNotStored),
    queue!("nothing-stored", "202 and nothing is stored", ["QUEUE-01/offline", "QUEUE-01/reconnect"], NothingStored),
    queue!("corrupt-entry-loses-all", "one corrupt entry loses the queue", ["QUEUE-15/corrupt"], CorruptEntryLosesAll),
    queue!("age-refreshed", "each append makes the old ones young", ["QUEUE-07/each-by-itself"], AgeRefreshed),
    queue!(
        "only-the-newest",
        "only the newest of the queue is delivered",
        ["QUEUE-09/one-array"],
        OnlyTheNewestDelivered
    ),
    part("in-memory", "the queue is gone with the process", &["QUEUE-14/restart", "QUEUE-17/kill"], |sound, _| {
        Collaborators { queue: Arc::<queue::InMemory>::default(), ..sound }
    }),
    setting("cap-49", "the cap is 49", &["QUEUE-03/exactly-50"], |config| config.limits.max_events -= 1),
    setting("cap-51", "the cap is 51", &["QUEUE-03/oldest-evicted", "QUEUE-05/concurrent"], |config| {
        config.limits.max_events += 1
    }),
    setting("cap-fixed", "QUEUE_MAX_EVENTS is ignored", &["CONF-05/queue-max"], |config| config.limits.max_events = 50),
    setting("no-ttl", "queues never expire", &["QUEUE-06/expires", "QUEUE-06/default-ttl"], |config| {
        config.limits.ttl *= 1_000
    }),
    setting("ttl-halved", "queues expire too soon", &["QUEUE-08/not-before"], |config| config.limits.ttl /= 2),
    setting("ttl-fixed", "QUEUE_TTL_SECONDS is ignored", &["QUEUE-06/expires"], |config| {
        config.limits.ttl = Duration::from_secs(86_400)
    }),
    delivery!("queued-as-well", "live events are queued as well", ["QUEUE-02/live-only"], QueuedAsWell),
    delivery!("nobody-is-enough", "an event for nobody counts as delivered", ["QUEUE-01/offline"], NobodyIsEnough),
    delivery!("never-live", "nothing is delivered live", ["TRANS-03/websocket", "ROOM-06/all-devices"], NeverLive),
    delivery!("delivered-twice", "live events come twice", ["TRANS-04/upgrade", "ROOM-06/all-devices"], Twice),
    part("origin-unchecked", "any origin may come in", &["ORIGIN-04/polling", "ORIGIN-05/upgrade"], |sound, _| {
        Collaborators { origins: Origins::Any, ..sound }
    }),
    part("answers-forgotten", "a repeated Idempotency-Key emits again", &["EMIT-06/repeated"], |sound, _| {
        Collaborators { answers: Arc::new(delivery::NoMemory), ..sound }
    }),
    part("always-ready", "/readyz never looks", &["CONF-09/store-away"], |sound, _| Collaborators {
        probe: Arc::new(delivery::AlwaysReady),
        ..sound
    }),
];
