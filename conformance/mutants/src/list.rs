//! Every mutant: its name, what it breaks, and the cases of which each one must catch it.

use std::{sync::Arc, time::Duration};

use notify_server::{Collaborators, Config, config::StoreConfig, origins::Origins};
use serde_json::{Value, json};

use crate::{
    acks, boot, delivery, door, keys, nodes, process, queue, relay, routes, rules, sessions, storeless, tokens,
    upstream,
};

/// A broken server.
pub(crate) struct Mutant {
    name: &'static str,
    /// What it does wrong, as a sentence.
    breaks_what: &'static str,
    /// The cases that have to fail.
    killed_by: &'static [&'static str],
    /// Patterns of the cases that may fail as well, because they cannot but run into the fault.
    also: &'static [&'static str],
    /// The one place that is broken.
    pub(crate) place: Place,
}

/// Where a mutant is broken.
pub(crate) enum Place {
    /// The reading of the settings.
    Boot(boot::Fault),
    /// A setting.
    Setting(fn(&mut Config)),
    /// A collaborator.
    Part(fn(Collaborators, &Config) -> Collaborators),
    /// The door of the namespace.
    Door(door::Fault),
    /// A namespace that should not be there.
    Namespace(&'static str),
    /// The HTTP answers.
    Routes(routes::Fault),
    /// The watch over transports, which is left out.
    Watch,
    /// The line that clients are reached by.
    Line(relay::Fault),
    /// How the process ends, and what it does beside serving.
    Process(process::Fault),
    /// What keeps keys and credentials up to date, which is left out.
    Frozen,
}

impl Mutant {
    const fn new(
        name: &'static str,
        breaks_what: &'static str,
        killed_by: &'static [&'static str],
        place: Place,
    ) -> Self {
        Self { name, breaks_what, killed_by, also: &[], place }
    }

    /// The cases that may fail as well.
    const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }
}

impl Mutant {
    /// Whether it is there for several nodes, or for a store or a process that fails. Any other is one node by itself, as with the
    /// embedded store: what passes through other nodes would go around the part that is broken.
    pub(crate) fn is_among_nodes(&self) -> bool {
        let areas = ["CLUSTER-", "FAIL-", "FAILOVER-", "TERM-"];
        self.killed_by.iter().any(|case| areas.iter().any(|area| case.starts_with(area)))
    }
}

pub(crate) fn find(name: &str) -> Option<&'static Mutant> {
    MUTANTS.iter().find(|mutant| mutant.name == name)
}

pub(crate) fn as_json() -> Value {
    let entry =
        |it: &Mutant| json!({"name": it.name, "breaks": it.breaks_what, "killed_by": it.killed_by, "also": it.also});
    MUTANTS.iter().map(entry).collect()
}

const fn setting(
    name: &'static str,
    breaks_what: &'static str,
    killed_by: &'static [&'static str],
    settings: fn(&mut Config),
) -> Mutant {
    Mutant::new(name, breaks_what, killed_by, Place::Setting(settings))
}

const fn part(
    name: &'static str,
    breaks_what: &'static str,
    killed_by: &'static [&'static str],
    breaks: fn(Collaborators, &Config) -> Collaborators,
) -> Mutant {
    Mutant::new(name, breaks_what, killed_by, Place::Part(breaks))
}

const fn door(
    name: &'static str,
    breaks_what: &'static str,
    killed_by: &'static [&'static str],
    fault: door::Fault,
) -> Mutant {
    Mutant::new(name, breaks_what, killed_by, Place::Door(fault))
}

const fn routes(
    name: &'static str,
    breaks_what: &'static str,
    killed_by: &'static [&'static str],
    fault: routes::Fault,
) -> Mutant {
    Mutant::new(name, breaks_what, killed_by, Place::Routes(fault))
}

const fn boot(
    name: &'static str,
    breaks_what: &'static str,
    killed_by: &'static [&'static str],
    fault: boot::Fault,
) -> Mutant {
    Mutant::new(name, breaks_what, killed_by, Place::Boot(fault))
}

const fn process(
    name: &'static str,
    breaks_what: &'static str,
    killed_by: &'static [&'static str],
    fault: process::Fault,
) -> Mutant {
    Mutant::new(name, breaks_what, killed_by, Place::Process(fault))
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

macro_rules! acks {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, _| Collaborators {
            queue: Arc::new(acks::Faulty::new(sound.queue.clone(), acks::Fault::$fault)),
            ..sound
        })
    };
}

macro_rules! keys {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, _| Collaborators {
            answers: Arc::new(keys::Faulty::new(sound.answers.clone(), keys::Fault::$fault)),
            ..sound
        })
    };
}

macro_rules! ends {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, _| Collaborators {
            tokens: Arc::new(tokens::Ends::new(sound.tokens.clone(), tokens::End::$fault)),
            ..sound
        })
    };
}

macro_rules! delivery {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, _| Collaborators {
            wrap_rooms: Box::new(|rooms| delivery::faulty(rooms, delivery::Fault::$fault)),
            ..sound
        })
    };
}

macro_rules! node {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, _| nodes::breaks(sound, nodes::Fault::$fault))
    };
}

macro_rules! storeless {
    ($name:literal, $what:literal, $killed_by:expr, $fault:ident) => {
        part($name, $what, &$killed_by, |sound, _| storeless::breaks(sound, storeless::Fault::$fault))
    };
}

fn forgetful(sound: Collaborators, revocations: bool) -> Collaborators {
    let store = Arc::new(sessions::Forgetful { store: sound.session_store.clone(), revocations });
    Collaborators { session_store: store, ..sound }
}

static MUTANTS: &[Mutant] = &[
    token!("signature-unchecked", "the signature is not verified", ["AUTH-05/signature"], SignatureUnchecked)
        .also(&["AUTH-03", "AUTH-06", "AUTH-21", "AUTH-26", "CONF-04", "CONF-11", "PRIV-01"]),
    token!("alg-none", "a token may say that it is not signed", ["AUTH-06/algorithm"], NoneAccepted)
        .also(&["AUTH-06", "AUTH-21"]),
    token!("alg-of-the-token", "the token chooses its algorithm", ["AUTH-06/algorithm"], AlgorithmOfTheToken)
        .also(&["AUTH-21", "CONF-04", "CONF-11"]),
    token!("expiry-unchecked", "exp is not looked at", ["AUTH-08/expired"], ExpiryUnchecked)
        .also(&["AUTH-19", "AUTH-20", "AUTH-21", "AUTH-24"]),
    token!("expiry-optional", "exp may be absent", ["AUTH-07/exp"], ExpiryOptional).also(&["AUTH-21"]),
    token!("leeway-60s", "the leeway is a minute", ["AUTH-08/expired"], LeewayOfAMinute)
        .also(&["AUTH-09", "AUTH-19", "AUTH-20", "AUTH-21", "AUTH-24"]),
    token!("nbf-ignored", "nbf is not looked at", ["AUTH-09/nbf"], NbfIgnored).also(&["AUTH-21"]),
    token!("refresh-accepted", "refresh tokens are accepted", ["AUTH-13/type"], RefreshAccepted).also(&["AUTH-21"]),
    token!("user-id-of-any-type", "userId may be anything", ["AUTH-10/number"], AnyUserId).also(&["AUTH-21"]),
    token!("sub-before-user-id", "sub counts for more than userId", ["AUTH-10/user-id"], SubBeforeUserId)
        .also(&["AUTH-21"]),
    token!("sub-ignored", "sub does not stand in for userId", ["AUTH-11/sub"], SubIgnored).also(&["AUTH-21"]),
    token!("session-id-of-any-type", "sessionId may be anything", ["AUTH-12/number"], AnySessionId).also(&["AUTH-21"]),
    token!("expired-told-as-invalid", "an expired token is told as invalid", ["AUTH-21/codes"], ExpiredToldAsInvalid),
    token!("long-told-as-missing", "a long token is told as missing", ["AUTH-21/codes"], LongToldAsMissing)
        .also(&["AUTH-27"]),
    token!("crit-ignored", "critical extensions are not looked at", ["AUTH-26/crit"], CritIgnored).also(&["AUTH-21"]),
    session!("session-not-looked-up", "sessions are not looked at", ["AUTH-14/unknown"], NotLookedUp)
        .also(&["AUTH-15", "AUTH-16", "AUTH-17", "AUTH-20", "AUTH-21", "EMIT-05"]),
    session!("session-owner-not-compared", "anybody's session will do", ["AUTH-17/owner"], OwnerNotCompared)
        .also(&["AUTH-20", "AUTH-21"]),
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
                queue: Arc::new(queue::InMemory::new(sound.queue.clone())),
                ..sound
            }
        },
    )
    .also(&["AUTH-23", "CONF-05", "EMIT-07", "QUEUE-06", "QUEUE-07", "QUEUE-14", "QUEUE-15", "QUEUE-17"]),
    session!(
        "store-away-told-as-invalid",
        "a store that is away is told as a bad session",
        ["AUTH-23/unavailable"],
        StoreAwayToldAsInvalid
    ),
    part("revocation-forgotten", "revoked sessions go on", &["AUTH-15/revoked"], |sound, _| forgetful(sound, true))
        .also(&["AUTH-21", "EMIT-05"]),
    part("session-end-forgotten", "sessions do not end", &["AUTH-16/expired"], |sound, _| forgetful(sound, false)),
    rule!("broadcast", "events go to everybody", ["ROOM-01/isolation"], OneRoomForAll)
        .also(&["AUTH", "EMIT", "EVENT", "QUEUE", "ROOM", "TRANS"]),
    rule!("room-by-prefix", "rooms are compared without trailing digits", ["ROOM-05/look-alikes"], RoomByPrefix),
    rule!("room-by-folded-id", "rooms are compared without case", ["ROOM-05/look-alikes"], RoomByFoldedId),
    rule!("room-by-trimmed-id", "rooms are compared without outer spaces", ["ROOM-05/look-alikes"], RoomByTrimmedId),
    rule!(
        "resource-is-recipient",
        "targetUserId is ignored",
        ["EVENT-09/target", "EVENT-09/blank"],
        ResourceIsRecipient
    )
    .also(&["AUTH", "CONF-05", "EMIT", "EVENT", "HEART", "LIMIT", "OPS-08", "ORIGIN-04", "QUEUE", "ROOM", "TRANS"]),
    rule!("empty-target", "an empty targetUserId is a recipient", ["EVENT-10/resource"], EmptyTargetIsRecipient),
    rule!(
        "non-text-target",
        "a targetUserId that is no text is a recipient",
        ["EVENT-10/resource"],
        NonTextTargetIsRecipient
    ),
    rule!("type-changed", "access.revoked is told as access.granted", ["EVENT-02/access-revoked"], TypeChanged)
        .also(&["EVENT-03", "EVENT-06", "EVENT-10"]),
    rule!(
        "actor-and-resource-swapped",
        "actor and resource are swapped",
        ["EVENT-03/members"],
        ActorAndResourceSwapped
    )
    .also(&["AUTH", "EMIT-10", "EMIT-16", "EVENT", "LIMIT", "QUEUE", "ROOM", "TRANS"]),
    rule!(
        "timestamp-without-milliseconds",
        "the timestamp has no milliseconds",
        ["EVENT-04/timestamp"],
        TimestampWithoutMilliseconds
    )
    .also(&["QUEUE-16", "EVENT-06", "EVENT-33"]),
    rule!("timestamp-with-offset", "the timestamp ends in +00:00", ["EVENT-04/timestamp"], TimestampWithOffset)
        .also(&["QUEUE-16", "EVENT-06", "EVENT-33"]),
    rule!("timestamp-fixed", "the timestamp does not tell the emission", ["EVENT-04/timestamp"], TimestampFixed)
        .also(&["EVENT-06", "EVENT-33"]),
    rule!("metadata-dropped", "metadata is lost", ["EVENT-06/live", "EVENT-06/queued"], MetadataDropped).also(&[
        "AUTH-20",
        "AUTH-41",
        "CONF-05",
        "EMIT",
        "EVENT",
        "HEART",
        "ORIGIN-04",
        "QUEUE",
        "ROOM",
        "TRANS",
    ]),
    rule!("metadata-never-empty", "absent metadata is made up", ["EVENT-05/no-metadata"], MetadataNeverEmpty)
        .also(&["EVENT-03", "EVENT-13"]),
    rule!("members-sorted", "the members of metadata are sorted", ["EVENT-07/order"], MembersSorted)
        .also(&["EVENT-13"]),
    rule!("nulls-lost", "nulls in metadata are lost", ["EVENT-06/live"], NullsLost).also(&["EVENT-06", "EVENT-13"]),
    rule!("integers-as-floats", "integers in metadata become floats", ["EVENT-06/live"], IntegersAsFloats)
        .also(&["AUTH-20", "CONF-05", "EMIT", "EVENT", "QUEUE", "ROOM-01", "ROOM-06", "TRANS"]),
    rule!("texts-trimmed", "texts in metadata are trimmed", ["EVENT-06/live"], TextsTrimmed)
        .also(&["EVENT-06", "EVENT-13", "ROOM-05"]),
    rule!("event-id-version", "eventId is a UUIDv4", ["EVENT-08/event-id"], EventIdOfAnotherVersion),
    rule!("event-id-fixed", "every event has the same eventId", ["EVENT-08/event-id"], EventIdFixed),
    rule!(
        "pong-changed",
        "ping is answered with something else",
        ["EVENT-11/ping", "EVENT-11/ping-library"],
        PongChanged
    )
    .also(&["EVENT-11", "EVENT-14", "EVENT-32", "HEART", "ROOM-02", "ROOM-04", "TRANS"]),
    queue!("newest-first", "the queue is delivered newest first", ["QUEUE-10/oldest-first"], NewestFirst)
        .also(&["AUTH-20", "CONF-05", "EMIT", "EVENT", "HEART-02", "QUEUE"]),
    queue!("oldest-kept", "a full queue keeps the oldest", ["QUEUE-03/oldest-evicted"], OldestKept)
        .also(&["QUEUE-03", "QUEUE-04", "QUEUE-09"]),
    queue!("cap-over-all-users", "all users share one cap", ["QUEUE-04/per-user"], CapOverAllUsers).also(&[
        "AUTH-20", "EMIT-03", "EMIT-04", "EVENT-06", "QUEUE-03", "QUEUE-05", "QUEUE-09", "QUEUE-10", "QUEUE-11",
        "QUEUE-13", "QUEUE-16", "ROOM-05", "EVENT-13",
    ]),
    queue!("not-cleared", "what was delivered stays queued", ["QUEUE-13/once", "QUEUE-13/upgraded"], NotCleared)
        .also(&["EVENT-08", "QUEUE-13", "QUEUE-15"]),
    queue!("accepted-though-not-stored", "202 though the store failed", ["EMIT-07/no-store"], AcceptedThoughNotStored),
    queue!("nothing-stored", "202 and nothing is stored", ["QUEUE-01/offline", "QUEUE-01/reconnect"], NothingStored)
        .also(&["AUTH-20", "CONF-05", "EMIT", "EVENT", "QUEUE", "ROOM-05", "TRANS-14"]),
    queue!("corrupt-entry-loses-all", "one corrupt entry loses the queue", ["QUEUE-15/corrupt"], CorruptEntryLosesAll),
    queue!("age-refreshed", "each append makes the old ones young", ["QUEUE-07/each-by-itself"], AgeRefreshed),
    queue!(
        "only-the-newest",
        "only the newest of the queue is delivered",
        ["QUEUE-09/one-array"],
        OnlyTheNewestDelivered
    )
    .also(&["AUTH-20", "CONF-05", "EMIT-03", "EMIT-06", "EVENT-06", "EVENT-08", "QUEUE", "EVENT-12", "EVENT-13"]),
    part("in-memory", "the queue is gone with the process", &["QUEUE-14/restart", "QUEUE-17/kill"], |sound, _| {
        Collaborators { queue: Arc::new(queue::InMemory::new(sound.queue.clone())), ..sound }
    })
    .also(&["CONF-05", "EMIT-07", "QUEUE-06", "QUEUE-07", "QUEUE-15"]),
    setting("cap-49", "the cap is 49", &["QUEUE-03/exactly-50"], |config| config.limits.max_events -= 1)
        .also(&["CONF-05", "EMIT-03", "QUEUE-03", "QUEUE-04", "QUEUE-05"]),
    setting("cap-51", "the cap is 51", &["QUEUE-03/oldest-evicted", "QUEUE-05/concurrent"], |config| {
        config.limits.max_events += 1
    })
    .also(&["CONF-05", "EMIT-03", "QUEUE-03", "QUEUE-04"]),
    setting("cap-fixed", "QUEUE_MAX_EVENTS is ignored", &["CONF-05/queue-max"], |config| config.limits.max_events = 50),
    setting("no-ttl", "queues never expire", &["QUEUE-06/expires", "QUEUE-06/default-ttl"], |config| {
        config.limits.ttl *= 1_000
    })
    .also(&["QUEUE-07"]),
    setting("ttl-halved", "queues expire too soon", &["QUEUE-08/not-before"], |config| config.limits.ttl /= 2)
        .also(&["QUEUE-06", "QUEUE-07"]),
    setting("ttl-fixed", "QUEUE_TTL_SECONDS is ignored", &["QUEUE-06/expires"], |config| {
        config.limits.ttl = Duration::from_secs(86_400)
    })
    .also(&["QUEUE-07"]),
    delivery!("queued-as-well", "live events are queued as well", ["QUEUE-02/live-only"], QueuedAsWell).also(&[
        "AUTH-01", "AUTH-02", "AUTH-03", "AUTH-08", "AUTH-10", "AUTH-11", "AUTH-27", "AUTH-28", "EMIT-02", "EMIT-03",
        "QUEUE-01", "QUEUE-13", "QUEUE-15", "AUTH-29", "EVENT-12", "EVENT-13",
    ]),
    delivery!("nobody-is-enough", "an event for nobody counts as delivered", ["QUEUE-01/offline"], NobodyIsEnough)
        .also(&["AUTH-20", "CONF-05", "EMIT", "EVENT", "QUEUE", "ROOM-05", "TRANS-14"]),
    delivery!("never-live", "nothing is delivered live", ["TRANS-03/websocket", "ROOM-06/all-devices"], NeverLive)
        .also(&["AUTH", "EMIT", "EVENT", "QUEUE", "ROOM", "TRANS", "LIMIT-05"]),
    delivery!("delivered-twice", "live events come twice", ["TRANS-04/upgrade", "ROOM-06/all-devices"], Twice)
        .also(&["EMIT-03", "EMIT-10", "EVENT", "QUEUE", "ROOM", "TRANS"]),
    part("origin-unchecked", "any origin may come in", &["ORIGIN-04/polling", "ORIGIN-05/upgrade"], |sound, _| {
        Collaborators { origins: Origins::Any, ..sound }
    })
    .also(&["ORIGIN-01", "ORIGIN-02", "ORIGIN-07", "ORIGIN-09"]),
    keys!(
        "answers-forgotten",
        "a repeated Idempotency-Key emits again",
        ["EMIT-06/repeated", "EMIT-18/at-once"],
        NoMemory
    )
    .also(&["EMIT-06", "EMIT-19", "EMIT-23"]),
    keys!(
        "another-body-answered",
        "a key's second body is answered like its first",
        ["EMIT-19/another-body", "EMIT-19/at-once"],
        AnyBody
    )
    .also(&["EMIT-23"]),
    keys!("part-forgotten", "what of a batch was accepted is emitted again", ["EMIT-23/rest"], PartForgotten)
        .also(&["EMIT-23"]),
    queue!("always-ready", "/readyz never looks", ["CONF-09/store-away"], AlwaysReady),
    part("session-id-optional", "a token needs no sessionId", &["AUTH-12/session-id"], |sound, config| Collaborators {
        tokens: Arc::new(tokens::Faulty::new(config, tokens::Fault::SessionIdOptional)),
        sessions: Arc::new(sessions::Faulty {
            store: sound.session_store.clone(),
            fault: sessions::Fault::EmptyIdLetsIn,
        }),
        ..sound
    })
    .also(&["AUTH-12", "AUTH-21"]),
    token!("token-logged", "tokens are written to the log", ["AUTH-24/log"], Logged).also(&["PRIV-01"]),
    door(
        "header-ignored",
        "the Authorization header is not looked at",
        &["AUTH-02/header"],
        door::Fault::HeaderIgnored,
    )
    .also(&["AUTH-03", "AUTH-28"]),
    door(
        "header-first",
        "the header counts for more than the payload",
        &["AUTH-02/payload-first"],
        door::Fault::HeaderFirst,
    ),
    door("token-from-url", "a token in the URL will do", &["AUTH-04/url"], door::Fault::TokenFromUrl),
    door(
        "payload-identity",
        "a userId in the payload counts for more than the token's",
        &["ROOM-03/forged-identity"],
        door::Fault::PayloadIdentity,
    ),
    door("refusal-tells-token", "a refusal repeats the token", &["AUTH-24/refusals"], door::Fault::RefusalTellsToken)
        .also(&["AUTH-21", "AUTH-23"]),
    door(
        "accepted-first",
        "everybody is accepted, and some are disconnected",
        &["AUTH-18/connect-error", "AUTH-18/library"],
        door::Fault::AcceptedFirst,
    )
    .also(&[
        "AUTH", "CONF-04", "CONF-11", "EMIT", "EVENT", "LIMIT-03", "LIMIT-04", "OPS", "PRIV-01", "QUEUE", "ROOM",
        "TRANS",
    ]),
    door(
        "joined-first",
        "the room is joined before the token is verified",
        &["AUTH-19/no-event", "AUTH-20/no-drain"],
        door::Fault::JoinedFirst,
    )
    .also(&[
        "AUTH", "CONF-04", "CONF-11", "EMIT", "EVENT", "HEART-02", "LIMIT-03", "LIMIT-04", "OPS", "PRIV-01", "QUEUE",
        "ROOM-06", "TRANS",
    ]),
    door(
        "drained-though-refused",
        "a refused client drains the queue",
        &["AUTH-20/no-drain"],
        door::Fault::DrainedThoughRefused,
    )
    .also(&["CONF-05", "EMIT", "EVENT", "QUEUE", "ROOM-05"]),
    door(
        "live-overtakes",
        "live events overtake the queue",
        &["QUEUE-11/before-live", "QUEUE-11/before-live-polled"],
        door::Fault::LiveOvertakes,
    )
    .also(&["EVENT-07", "QUEUE-01", "QUEUE-13", "ROOM-05"]),
    door(
        "cleared-before-sent",
        "the queue is cleared before the client is in",
        &["QUEUE-01/left-early"],
        door::Fault::ClearedBeforeSent,
    ),
    door("empty-sent", "queued.events is sent where nothing was queued", &["QUEUE-12/nothing"], door::Fault::EmptySent)
        .also(&["AUTH", "EMIT", "EVENT", "HEART", "LIMIT", "OPS", "ORIGIN-04", "QUEUE", "ROOM", "TRANS"]),
    door(
        "one-by-one",
        "each queued event comes in an array of its own",
        &["QUEUE-09/one-array"],
        door::Fault::OneByOne,
    )
    .also(&["AUTH-20", "CONF-05", "EMIT-03", "EMIT-06", "EVENT-06", "EVENT-08", "QUEUE", "EVENT-12", "EVENT-13"]),
    door(
        "first-device-only",
        "only the first device of a user receives",
        &["ROOM-06/all-devices"],
        door::Fault::FirstDeviceOnly,
    )
    .also(&["AUTH-03", "EVENT-08", "QUEUE-13"]),
    door(
        "ping-unanswered",
        "ping is not answered",
        &["EVENT-11/ping", "EVENT-11/ping-library"],
        door::Fault::PingUnanswered,
    )
    .also(&["EVENT-11", "EVENT-14", "ROOM-02", "ROOM-04", "TRANS-02", "TRANS-03", "TRANS-12", "TRANS-13", "LIMIT-05"]),
    door(
        "listens-late",
        "what a client asks for right after the answer to its CONNECT is not heard",
        &["EVENT-11/at-once"],
        door::Fault::ListensLate,
    )
    .also(&["EVENT-11", "EVENT-14", "ROOM-02", "ROOM-04", "TRANS-02", "TRANS-03", "TRANS-12", "TRANS-13", "LIMIT-05"]),
    door("joins-on-request", "a client may join any room", &["ROOM-02/join-events"], door::Fault::JoinsOnRequest),
    // It reaches whoever is connected meanwhile, whatever their case is about.
    door("passes-on", "what a client sends reaches others", &["ROOM-04/server-events"], door::Fault::PassesOn)
        .also(&["AUTH", "EMIT", "EVENT", "QUEUE", "ROOM", "TRANS"]),
    process(
        "takes-everybody",
        "connections and request heads have no bounds",
        &["LIMIT-01/silent", "LIMIT-01/half-heads", "LIMIT-02/slow", "LIMIT-02/large"],
        process::Fault::TakesEverybody,
    )
    // Without addresses nobody is bounded by theirs.
    .also(&["LIMIT-01"]),
    setting("devices-unbounded", "a user may have any number of devices", &["LIMIT-04/devices"], |config| {
        config.bounds.devices_per_user = usize::MAX;
    }),
    setting("events-unbounded", "a client may send any number of events", &["LIMIT-05/events"], |config| {
        config.bounds.events_per_second = u32::MAX;
    }),
    setting("pending-unbounded", "any number of sessions may be opened", &["LIMIT-01/polling-opens"], |config| {
        (config.bounds.pending, config.bounds.pending_per_address) = (usize::MAX, usize::MAX);
    }),
    part("tells-users", "the log tells who connects", &["PRIV-01/log", "PRIV-01/trouble"], |sound, _| Collaborators {
        sessions: Arc::new(sessions::Telling(sound.sessions)),
        ..sound
    })
    .also(&["PRIV-01"]),
    Mutant::new("root-open", "the root namespace is open", &["TRANS-05/root"], Place::Namespace("/")),
    Mutant::new("another-namespace", "another namespace is open", &["TRANS-05/others"], Place::Namespace("/admin")),
    Mutant::new(
        "unwatched",
        "socketioxide without a watch over what clients send",
        &[
            "EVENT-14/escaped",
            "TRANS-06/malformed",
            "TRANS-08/websocket",
            "TRANS-08/polling",
            "LIMIT-03/refused",
            "LIMIT-03/refused-polling",
            "LIMIT-01/half-messages",
        ],
        Place::Watch,
    )
    .also(&["LIMIT", "ORIGIN", "TRANS-09", "TRANS-11", "TRANS-12", "TRANS-13", "TRANS-14"]),
    part(
        "unauthenticated-for-long",
        "who does not authenticate may stay",
        &[
            "TRANS-09/silent",
            "TRANS-09/silent-polling",
            "TRANS-09/silent-upgraded",
            "TRANS-09/refused",
            "TRANS-09/refused-polling",
            "TRANS-14/left",
            "TRANS-14/left-polling",
            "LIMIT-03/no-more-time",
        ],
        |sound, _| Collaborators { connect_timeout: Duration::from_secs(45), ..sound },
    ),
    routes(
        "no-upgrade-offered",
        "a polling session is offered no WebSocket",
        &["TRANS-01/open-packet"],
        routes::Fault::NoUpgradeOffered,
    ),
    routes(
        "upgrade-closes",
        "a session whose upgrade has begun is closed a little later",
        &[
            "TRANS-12/closed",
            "TRANS-12/silent",
            "TRANS-12/garbage",
            "TRANS-12/probed-gone",
            "TRANS-12/probed-silent",
            "TRANS-12/probed-garbage",
        ],
        routes::Fault::UpgradeCloses,
    )
    .also(&["TRANS-13"]),
    routes(
        "upgrade-spins",
        "no poll waits while an upgrade is under way, or has just come to nothing",
        &["TRANS-12/closed", "TRANS-12/silent", "TRANS-12/probed-silent"],
        routes::Fault::UpgradeSpins,
    )
    .also(&["TRANS-12"]),
    routes(
        "second-upgrade-ends",
        "a further WebSocket for a session sends its client away",
        &["TRANS-13/upgraded", "TRANS-13/under-way"],
        routes::Fault::SecondUpgradeEnds,
    )
    .also(&["TRANS-12"]),
    routes(
        "origin-reflected",
        "every origin is answered as if it were listed",
        &["ORIGIN-02/unlisted"],
        routes::Fault::OriginReflected,
    )
    .also(&["ORIGIN-03", "ORIGIN-04", "ORIGIN-07"]),
    routes(
        "own-origin-refused",
        "the server's own origin has to be listed",
        &["ORIGIN-07/own", "ORIGIN-01/control"],
        routes::Fault::OwnOriginRefused,
    ),
    routes(
        "preflight-fixed",
        "a preflight is allowed what the server has use for, and no header that it asks for",
        &["ORIGIN-08/headers"],
        routes::Fault::PreflightFixed,
    ),
    routes(
        "body-read-as-values",
        "half an emoji in metadata is refused",
        &["EVENT-12/half"],
        routes::Fault::BodyReadAsValues,
    )
    .also(&["EVENT-13"]),
    door(
        "payload-read-whole",
        "a CONNECT payload counts only where all of it can be read as values",
        &["AUTH-29/beside"],
        door::Fault::PayloadReadWhole,
    ),
    rule!("metadata-written-anew", "metadata is read and written anew", ["EVENT-13/verbatim"], MetadataWrittenAnew),
    routes(
        "wildcard-with-credentials",
        "* comes with credentials",
        &["ORIGIN-03/no-wildcard"],
        routes::Fault::WildcardWithCredentials,
    ),
    routes(
        "origin-required",
        "a client without an origin is refused",
        &["ORIGIN-06/none"],
        routes::Fault::OriginRequired,
    )
    .also(&[
        "AUTH",
        "CONF",
        "EMIT",
        "EVENT",
        "HEART",
        "LIMIT",
        "OPS",
        "ORIGIN-04",
        "PRIV-01",
        "QUEUE",
        "ROOM",
        "TRANS",
    ]),
    routes(
        "credential-unchecked",
        "the service credential is not looked at",
        &["EMIT-01/credential"],
        routes::Fault::CredentialUnchecked,
    )
    .also(&["EMIT-09"]),
    routes(
        "content-type-unchecked",
        "the Content-Type is not looked at",
        &["EMIT-12/content-type"],
        routes::Fault::ContentTypeUnchecked,
    ),
    routes(
        "content-encoding-unchecked",
        "the Content-Encoding is not looked at",
        &["EMIT-17/content-encoding"],
        routes::Fault::ContentEncodingUnchecked,
    ),
    routes(
        "refused-emitted",
        "what is refused is emitted all the same",
        &["EMIT-08/refused"],
        routes::Fault::RefusedEmitted,
    )
    .also(&["EMIT-09", "EMIT-15"]),
    routes("plain-errors", "errors are plain text", &["EMIT-09/problems"], routes::Fault::PlainErrors).also(&[
        "EMIT-01",
        "EMIT-04",
        "EMIT-05",
        "EMIT-08",
        "EMIT-11",
        "EMIT-12",
        "EMIT-13",
        "EMIT-15",
        "EMIT-16",
        "EMIT-17",
        "EMIT-19",
        "EMIT-20",
        "EMIT-23",
        "EMIT-30",
        "CONF-09",
        "OPS-09",
        "ORIGIN-01",
    ]),
    routes(
        "too-large-told-as-bad",
        "a body over the limit is answered with 400",
        &["EMIT-11/too-large"],
        routes::Fault::TooLargeToldAsBad,
    )
    .also(&["EMIT-08"]),
    routes(
        "unknown-routes-answered",
        "unknown routes are answered with 200",
        &["EMIT-13/unknown"],
        routes::Fault::UnknownRoutesAnswered,
    ),
    routes(
        "absent-revoked",
        "a session that never was is revoked",
        &["EMIT-05/sessions"],
        routes::Fault::AbsentRevoked,
    )
    .also(&["EMIT-09"]),
    routes("no-health", "there is no /healthz", &["CONF-07/healthz"], routes::Fault::NoHealth)
        .also(&["CONF-09", "EMIT-13"]),
    routes("ready-without-content", "/readyz answers 204", &["CONF-08/readyz"], routes::Fault::ReadyWithoutContent)
        .also(&["CONF-09"]),
    boot(
        "key-made-up",
        "without a key there is one that everybody knows",
        &["CONF-01/no-secret"],
        boot::Fault::KeyMadeUp,
    )
    .also(&["CONF-11"]),
    boot(
        "first-error-only",
        "only the first error of the settings is told",
        &["CONF-02/all-errors"],
        boot::Fault::FirstErrorOnly,
    )
    .also(&["CONF-11"]),
    boot("values-shown", "errors of the settings show secrets", &["CONF-03/no-value"], boot::Fault::ValuesShown)
        .also(&["CONF-10", "CONF-13"]),
    boot("short-secret-taken", "a secret may be short", &["CONF-10/weak-keys"], boot::Fault::ShortSecretTaken),
    boot("secret-files-ignored", "no secret is read from a file", &["CONF-11/files"], boot::Fault::FilesIgnored)
        .also(&["CONF-11"]),
    boot(
        "wrong-secret-files-taken",
        "a secret's file that is no good is passed over",
        &["CONF-11/wrong-files"],
        boot::Fault::WrongFilesTaken,
    ),
    boot("redis-url-ignored", "REDIS_URL is ignored", &["CONF-12/redis-url"], boot::Fault::UrlIgnored)
        .also(&["CONF-13"]),
    boot(
        "wrong-redis-url-taken",
        "a REDIS_URL that cannot be followed is passed over",
        &["CONF-13/wrong-urls"],
        boot::Fault::WrongUrlTaken,
    )
    .also(&["CONF-12"]),
    setting("host-fixed", "HOST is ignored", &["CONF-14/host"], |config| "0.0.0.0".clone_into(&mut config.host)),
    setting("redis-db-fixed", "REDIS_DB is ignored", &["CONF-06/redis"], |config| {
        if let StoreConfig::Redis(redis) = &mut config.store {
            redis.db = 0;
        }
    })
    .also(&["CONF-12", "EMIT-06", "EMIT-15", "QUEUE-06", "QUEUE-15"]),
    routes(
        "refused-key-used-up",
        "an Idempotency-Key that came with something bad is good for nothing else",
        &["EMIT-20/refused"],
        routes::Fault::RefusedKeyUsedUp,
    ),
    routes(
        "keys-of-all-routes",
        "an Idempotency-Key that was used for one route is used up for the other",
        &["EMIT-21/routes"],
        routes::Fault::KeysOfAllRoutes,
    )
    .also(&["EMIT-20"]),
    routes(
        "accepted-untold",
        "503 does not tell what of a batch was accepted",
        &["EMIT-22/in-part"],
        routes::Fault::AcceptedUntold,
    )
    .also(&["EMIT-23"]),
    routes("key-unchecked", "an Idempotency-Key may be anything", &["EMIT-15/key"], routes::Fault::KeyUnchecked),
    routes(
        "depth-told-as-failure",
        "a body that is too deep is told as a failure of the server",
        &["EMIT-16/deep"],
        routes::Fault::DepthToldAsFailure,
    ),
    // The profile `strict`.
    acks!("confirm-ignored", "what was acknowledged comes again", ["ACK-05/acknowledged"], ConfirmIgnored)
        .also(&["ACK-01", "ACK-08", "ACK-09", "ACK-12", "ACK-15", "ACK-17"]),
    acks!("confirms-all", "one acknowledgement counts for everything", ["ACK-08/only-that"], ConfirmsAll)
        .also(&["ACK-01", "ACK-09", "ACK-15", "ORDER-06"]),
    acks!(
        "confirms-first-only",
        "of a queue that is acknowledged only the first event is removed",
        ["ACK-05/acknowledged"],
        ConfirmsFirstOnly
    )
    .also(&["ACK-08", "ACK-12", "ACK-17"]),
    acks!(
        "handed-is-confirmed",
        "what is handed over counts as acknowledged",
        ["ACK-04/live", "ACK-04/second-device"],
        HandedIsConfirmed
    )
    .also(&["ACK-01", "ACK-06", "ACK-07", "ACK-08", "ACK-09", "ACK-10", "ACK-15", "ACK-16", "ORDER", "SLOW-03"]),
    acks!("loss-untold", "nothing is said of what was lost", ["ACK-11/dropped"], LossUntold)
        .also(&["ACK-12", "ACK-13"]),
    acks!("loss-told-once", "a loss is told once, heard or not", ["ACK-12/told-again"], LossToldOnce),
    acks!("again-newest-first", "what comes again comes newest first", ["ACK-07/order"], NewestFirst)
        .also(&["ACK", "ORDER-01", "ORDER-06", "SLOW-03"]),
    acks!("again-with-another-id", "what comes again has another eventId", ["ACK-06/same-payload"], AnotherId),
    acks!("keep-failure-hidden", "202 though nothing was kept", ["ACK-14/no-store"], FailureHidden),
    acks!("kept-in-memory", "what is not acknowledged is kept in memory only", ["ACK-10/kill"], InMemory)
        .also(&["ACK-02", "ACK-04", "ACK-05", "ACK-07", "ACK-09", "ACK-11", "ACK-12", "ORDER-01", "ORDER-06"]),
    setting(
        "never-impatient",
        "a client may leave acknowledgements out for an hour",
        &["ACK-09/timeout", "ACK-09/timeout-polling", "ACK-09/timeout-upgraded", "ACK-09/queue", "ACK-09/half-open"],
        |config| {
            config.ack_timeout = Duration::from_secs(3_600);
        },
    ),
    queue!("puts-back-last", "what was not sent goes to the end of the queue", ["ORDER-01/not-fetched"], PutsBackLast),
    delivery!("nobody-acknowledges", "ack: true is not heard", ["ACK-01/live"], NobodyAcknowledges)
        .also(&["ACK", "ORDER", "SLOW-03"]),
    delivery!(
        "unsent-forgotten",
        "what a slow client was not sent is lost",
        ["SLOW-10/broken", "SLOW-10/broken-polling", "SLOW-10/broken-answer"],
        UnsentForgotten
    )
    .also(&["HEART", "ORDER-01", "ORDER-03", "SLOW"]),
    delivery!(
        "last-sent-again",
        "what was sent last is queued when the client goes",
        ["ORDER-03/disconnect"],
        LastSentAgain
    )
    .also(&["AUTH", "ORDER-01", "ORDER-03", "ORDER-04", "QUEUE", "SLOW-01"]),
    delivery!("lingers-on", "a user counts as connected for a while after leaving", ["ORDER-03/disconnect"], LingersOn)
        .also(&["ORDER-04", "QUEUE-01", "QUEUE-15"]),
    delivery!(
        "shuffled",
        "every other event is held back a little",
        ["ORDER-01/plain", "ORDER-05/two-emitters"],
        Shuffled
    )
    .also(&[
        "ACK", "AUTH", "CONF", "EMIT", "EVENT", "EXPIRY", "HEART", "ORDER", "QUEUE", "REVOKE", "ROOM", "SLOW", "TRANS",
    ]),
    delivery!("leaks", "events are never freed", ["SLOW-05/memory"], Leaks),
    delivery!("one-holds-up-all", "a client that does not read holds up everybody", ["SLOW-04/others"], OneHoldsUpAll)
        .also(&["ACK", "EMIT", "EXPIRY", "HEART", "LIMIT", "ORDER", "ORIGIN", "QUEUE", "REVOKE", "ROOM", "SLOW"]),
    delivery!(
        "never-catches-up-with-one",
        "a client that was behind is not given what had to wait",
        ["SLOW-09/websocket", "SLOW-09/polling", "SLOW-09/acknowledging", "QUEUE-09/large"],
        NeverCatchesUp
    )
    .also(&["HEART", "ORDER", "SLOW"]),
    queue!(
        "cleared-when-read",
        "a queue is removed as soon as it is read to be handed over",
        [
            "SLOW-07/broken",
            "SLOW-07/broken-polling",
            "SLOW-08/one-device",
            "SLOW-08/one-device-polling",
            "SLOW-08/closed",
            "SLOW-08/closed-polling",
            "SLOW-08/behind",
        ],
        ClearedWhenRead
    )
    .also(&["ORDER", "QUEUE", "SLOW"]),
    part(
        "impatient",
        "a client that takes nothing for a moment is closed",
        &["SLOW-06/websocket", "SLOW-07/websocket", "HEART-05/full"],
        |sound, _| Collaborators { patience: Duration::from_millis(20), ..sound },
    )
    .also(&["ACK", "HEART", "ORDER", "SLOW"]),
    setting(
        "in-haste",
        "an event that is not acknowledged within 2 s closes the connection",
        &["HEART-05/websocket", "HEART-05/polling"],
        |config| config.ack_timeout = Duration::from_secs(2),
    )
    .also(&["ACK", "HEART", "ORDER", "SLOW"]),
    setting("heartbeat-fixed", "PING_INTERVAL_SECONDS is ignored", &["HEART-04/settings"], |config| {
        config.heartbeat.interval = Duration::from_secs(25)
    })
    .also(&["HEART", "SLOW"]),
    boot(
        "heartbeat-forgiven",
        "a heartbeat that is no number of seconds is taken as the usual one",
        &["HEART-04/wrong"],
        boot::Fault::HeartbeatForgiven,
    ),
    Mutant::new(
        "unpinged",
        "WebSocket clients are not pinged",
        &["HEART-01/websocket", "HEART-01/upgraded", "HEART-03/websocket"],
        Place::Line(relay::Fault::NoPings),
    )
    .also(&["ACK", "HEART", "ORDER", "SLOW"]),
    Mutant::new(
        "pongs-made-up",
        "a WebSocket client that is pinged counts as having answered",
        &["HEART-02/websocket", "HEART-02/upgraded", "HEART-02/dead-line"],
        Place::Line(relay::Fault::PongsMadeUp),
    )
    .also(&["ACK", "HEART", "ORDER", "SLOW"]),
    routes(
        "pollers-unpinged",
        "polling clients are not pinged",
        &["HEART-01/polling", "HEART-03/polling"],
        routes::Fault::PollersUnpinged,
    )
    .also(&["HEART", "SLOW"]),
    routes(
        "pollers-never-die",
        "polling clients count as having answered each ping",
        &["HEART-02/polling", "HEART-02/dead-line-polling"],
        routes::Fault::PollersNeverDie,
    )
    .also(&["HEART", "SLOW"]),
    setting("idle-closed", "an HTTP connection rests for 30 s at most", &["HEART-06/idle"], |config| {
        config.keep_alive = Duration::from_secs(30)
    }),
    routes(
        "sent-away-later",
        "whoever is here is sent away after some seconds",
        &["HEART-03/websocket", "HEART-03/polling", "HEART-03/library"],
        routes::Fault::SentAwayLater,
    )
    .also(&["AUTH", "EVENT", "HEART", "TRANS"]),
    routes(
        "connect-holds-up",
        "whatever connects holds up every emitter",
        &["SLOW-11/polling", "SLOW-11/websocket"],
        routes::Fault::ConnectHoldsUp,
    )
    .also(&["ACK", "AUTH", "EVENT", "EXPIRY", "LIMIT", "ORDER", "REVOKE", "SLOW"]),
    ends!(
        "endless",
        "a connection outlives its token",
        ["EXPIRY-01/websocket", "EXPIRY-01/polling", "EXPIRY-01/upgraded"],
        Never
    )
    .also(&["EXPIRY-03", "EXPIRY-05"]),
    ends!("ended-too-early", "a connection ends before its token", ["EXPIRY-01/websocket"], TooEarly).also(&["EXPIRY"]),
    ends!("refresh-without-effect", "auth.refresh changes nothing", ["EXPIRY-03/refresh"], OfTheFirst),
    rule!("anybody-refreshes", "auth.refresh takes another user's token", ["EXPIRY-06/another-user"], AnybodyRefreshes),
    part("once-in", "whoever was let in once needs no session any more", &["EXPIRY-05/refused"], |sound, _| {
        Collaborators {
            sessions: Arc::new(sessions::OnceIn { sessions: sound.sessions.clone(), users: Default::default() }),
            ..sound
        }
    })
    .also(&["AUTH-15", "EMIT-05"]),
    part(
        "session-end-untold",
        "a connection outlives its session",
        &["REVOKE-06/websocket", "REVOKE-06/polling"],
        |sound, _| Collaborators { sessions: Arc::new(sessions::EndUntold(sound.sessions.clone())), ..sound },
    )
    .also(&["REVOKE-07"]),
    routes(
        "revocation-untold",
        "a revocation closes no connection",
        &["REVOKE-01/websocket", "REVOKE-01/polling", "REVOKE-01/upgraded"],
        routes::Fault::RevocationUntold,
    )
    .also(&["EMIT-09", "EMIT-13", "REVOKE-03", "REVOKE-04"]),
    routes(
        "revocation-closes-all",
        "a revocation closes everybody's connections",
        &["REVOKE-01/websocket"],
        routes::Fault::RevocationClosesAll,
    )
    .also(&[
        "ACK",
        "AUTH",
        "EMIT",
        "EVENT",
        "EXPIRY",
        "HEART-03",
        "ORDER",
        "ORIGIN-04",
        "QUEUE-11",
        "QUEUE-16",
        "REVOKE",
        "ROOM",
        "SLOW-06",
        "SLOW-07",
        "TRANS",
    ]),
    routes(
        "revocation-told-too-early",
        "a CONNECT may slip in while its session is revoked",
        &["REVOKE-05/while-connecting"],
        routes::Fault::RevocationToldTooEarly,
    )
    .also(&["EMIT-09", "EMIT-13"]),
    door(
        "joins-late",
        "what is emitted right after the CONNECT has to wait for the next one",
        &["ORDER-02/connect"],
        door::Fault::JoinsLate,
    )
    .also(&[
        "ACK", "AUTH", "EMIT", "EVENT", "EXPIRY", "HEART", "LIMIT", "OPS", "ORDER", "ORIGIN", "QUEUE", "REVOKE",
        "ROOM", "SLOW", "TRANS",
    ]),
    door("asks-everybody", "plain clients are asked to acknowledge", &["ACK-03/plain"], door::Fault::AsksEverybody)
        .also(&["ACK", "EXPIRY", "ORDER-01", "ORDER-06", "REVOKE", "SLOW-01", "SLOW-03"]),
    node!(
        "deaf",
        "what other nodes hand to a node is handed to nobody",
        ["CLUSTER-01/other-node", "CLUSTER-01/polling", "CLUSTER-01/every-device"],
        Deaf
    )
    .also(&["CLUSTER"]),
    node!(
        "unseen",
        "the other nodes do not hear of a node's clients",
        ["CLUSTER-01/other-node", "CLUSTER-05/in-turn", "CLUSTER-12/comes-back"],
        Unseen
    )
    .also(&["CLUSTER"]),
    node!(
        "presence-ignored",
        "a node with a client of the user looks for no other",
        ["CLUSTER-01/every-device", "CLUSTER-06/joins", "FAILOVER-08/spread"],
        PresenceIgnored
    )
    .also(&["CLUSTER", "FAILOVER"]),
    node!(
        "enters-as-plain",
        "clients that acknowledge are told as plain to the other nodes",
        ["CLUSTER-07/beside-plain"],
        EntersAsPlain
    )
    .also(&["CLUSTER-07", "CLUSTER-08", "CLUSTER-12"]),
    node!(
        "removes-nothing",
        "what a client at another node has taken stays in the queue",
        ["CLUSTER-02/delivered-elsewhere"],
        RemovesNothing
    )
    .also(&["CLUSTER"]),
    node!(
        "removes-beforehand",
        "what is handed to a node is taken from the store first",
        ["CLUSTER-07/comes-again", "CLUSTER-12/acknowledging"],
        RemovesBeforehand
    )
    .also(&["CLUSTER"]),
    node!("puts-back", "what nobody at a node has taken is queued again", ["CLUSTER-06/leaves"], PutsBack)
        .also(&["CLUSTER"]),
    node!(
        "holds-back",
        "every other event is handed over late",
        ["CLUSTER-05/in-turn", "CLUSTER-05/at-once"],
        HoldsBack
    )
    .also(&["CLUSTER"]),
    queue!(
        "puts-back-last-among-nodes",
        "what one node's client was not sent goes behind what the other has stored",
        ["CLUSTER-05/not-fetched"],
        PutsBackLast
    )
    .also(&["CLUSTER"]),
    queue!(
        "drains-beside-others",
        "two nodes may hand over a queue at the same time",
        ["CLUSTER-03/at-once", "CLUSTER-03/on-its-way"],
        DrainsBesideOthers
    ),
    node!("waits-for-nobody", "no node is waited for", ["CLUSTER-16/live"], WaitsForNobody).also(&["CLUSTER"]),
    node!("taken-by-all", "every node counts as having taken an event", ["CLUSTER-02/last-one-leaves"], TakenByAll)
        .also(&["CLUSTER"]),
    node!("waits-long", "a node that stands still holds up the others", ["CLUSTER-14/others"], WaitsLong)
        .also(&["CLUSTER"]),
    node!(
        "ends-untold",
        "a revocation is not told to the other nodes",
        ["CLUSTER-09/websocket", "CLUSTER-09/polling", "CLUSTER-09/not-reading"],
        EndsUntold
    ),
    node!(
        "ends-told-late",
        "a revocation is told to the other nodes after a while",
        ["CLUSTER-09/websocket"],
        EndsToldLate
    )
    .also(&["CLUSTER-09"]),
    part("keys-per-node", "an Idempotency-Key is known to one node only", &["CLUSTER-10/repeated"], |sound, _| {
        Collaborators { answers: Arc::<keys::OwnMemory>::default(), ..sound }
    })
    .also(&["CLUSTER-18"]),
    keys!(
        "claims-passed-over",
        "an Idempotency-Key that another node is at work on counts as free",
        ["CLUSTER-18/at-once"],
        PassedOver
    )
    .also(&["CLUSTER-18"]),
    keys!(
        "claims-for-good",
        "an Idempotency-Key that a node died with is free for nobody",
        ["CLUSTER-19/killed"],
        NeverLetGo
    ),
    part(
        "queue-per-node",
        "each node has a queue of its own",
        &["CLUSTER-03/drains", "CLUSTER-04/one-cap"],
        |sound, _| Collaborators { queue: Arc::new(queue::InMemory::new(sound.queue.clone())), ..sound },
    )
    .also(&["CLUSTER"]),
    node!(
        "never-catches-up",
        "what a node has missed is not looked for",
        ["CLUSTER-13/long", "FAIL-14/short", "FAIL-14/long", "FAIL-14/half-open"],
        CatchesUpNever
    )
    .also(&["CLUSTER", "FAIL", "FAILOVER"]),
    node!(
        "catches-up-by-queue",
        "what a node has missed is looked for in the queue alone",
        ["FAIL-14/taken-elsewhere"],
        CatchesUpByQueue
    ),
    node!(
        "lost-is-revoked",
        "sessions that a store has lost count as revoked",
        ["FAIL-09/plain", "FAIL-09/acknowledging", "FAIL-09/prolonged"],
        LostIsRevoked
    )
    .also(&["FAIL"]),
    node!(
        "sessions-not-verified",
        "a node that was cut off does not look whether sessions still hold",
        ["FAIL-15/revoked"],
        VerifiesNothing
    ),
    node!(
        "always-asks",
        "where a user is is asked in the store for every event",
        ["FAIL-01/ended", "FAIL-01/standing-still", "FAIL-01/cut-off", "FAIL-01/silent"],
        AlwaysAsks
    )
    .also(&["FAIL", "TERM"]),
    part(
        "ready-out-of-touch",
        "readiness is told whatever the node can do",
        &["FAIL-01/replica", "FAIL-01/full"],
        |sound, _| Collaborators {
            queue: Arc::new(queue::Faulty::new(sound.queue.clone(), queue::Fault::AlwaysReady)),
            ..nodes::breaks(sound, nodes::Fault::AlwaysReady)
        },
    )
    .also(&["FAIL", "TERM"]),
    node!(
        "never-ready-again",
        "a node that was not ready once is never again",
        ["FAIL-01/ended", "FAIL-08/kept"],
        NeverReadyAgain
    )
    .also(&["FAIL"]),
    setting(
        "stays-with-the-replica",
        "a server that takes no writes is taken for one that merely fails",
        &["FAILOVER-01/replica", "FAILOVER-01/masterless"],
        |config| upstream::before_redis(config, upstream::Fault::KeepsToItself),
    )
    .also(&["FAILOVER"]),
    setting(
        "never-connects-anew",
        "a connection to the store that has ended is not made again",
        &["FAILOVER-01/silent", "FAILOVER-01/gone"],
        |config| upstream::before_redis(config, upstream::Fault::NeverAnew),
    )
    .also(&["FAILOVER"]),
    setting(
        "keeps-to-the-first-primary",
        "what sentinels said first is believed for ever",
        &["FAILOVER-05/killed", "FAILOVER-05/silent"],
        |config| upstream::before_sentinels(config, upstream::Fault::FirstAnswerForEver),
    )
    .also(&["FAILOVER"]),
    node!("all-or-nothing", "a primary that fails keeps everybody waiting", ["FAILOVER-09/killed"], AllOrNothing)
        .also(&["CLUSTER", "FAIL", "FAILOVER"]),
    node!(
        "loses-afterwards",
        "what is accepted at a node that was out of touch is lost",
        ["FAILOVER-10/moves"],
        LosesAfterwards
    )
    .also(&["CLUSTER", "FAIL", "FAILOVER"]),
    node!(
        "refuses-afterwards",
        "a node that was out of touch routes nothing any more",
        ["FAILOVER-11/moves"],
        RefusesAfterwards
    )
    .also(&["CLUSTER", "FAIL", "FAILOVER"]),
    setting(
        "counts-on-the-primary",
        "no replica is waited for",
        &["FAILOVER-06/killed", "FAILOVER-07/no-replica"],
        |config| {
            if let StoreConfig::Redis(redis) = &mut config.store {
                redis.min_replicas = 0;
            }
        },
    ),
    setting(
        "hearing-made-up",
        "a node that hears nothing believes that it does",
        &["FAILOVER-03/deaf", "FAILOVER-04/deaf"],
        |config| upstream::before_redis(config, upstream::Fault::BeatsMadeUp),
    )
    .also(&["FAIL", "FAILOVER"]),
    storeless!("dies-of-it", "the process dies of a store that fails", ["FAIL-11/cut-off", "FAIL-02/batch"], Dies)
        .also(&["FAIL", "TERM"]),
    storeless!(
        "hangs",
        "the answer comes long after the store has failed",
        ["FAIL-01/cut-off", "FAIL-02/batch"],
        Hangs
    )
    .also(&["FAIL", "TERM"]),
    storeless!(
        "accepts-anyway",
        "what could not be stored is accepted",
        ["FAIL-01/ended", "FAIL-08/flapping", "FAIL-17/evicting"],
        Accepts
    )
    .also(&["FAIL"]),
    storeless!(
        "reads-in-haste",
        "a queue that is slow to read counts as empty",
        ["FAIL-10/slow", "FAIL-10/trickling"],
        ReadsInHaste
    )
    .also(&["FAIL"]),
    storeless!("hides-revocations", "a revocation that failed is confirmed", ["FAIL-12/revocation"], HidesRevocations),
    storeless!(
        "hides-keys",
        "a key that cannot be looked up counts as new",
        ["FAIL-13/idempotency", "FAIL-18/connected"],
        HidesKeys
    ),
    process(
        "drops-clients",
        "clients are sent away while the store is",
        &["FAIL-01/cut-off", "FAIL-06/server-pings"],
        process::Fault::DropsClients,
    )
    .also(&["FAIL", "TERM"]),
    process(
        "ends-at-once",
        "SIGTERM ends the process on the spot",
        &["TERM-01/under-way", "TERM-03/store-away"],
        process::Fault::EndsAtOnce,
    )
    .also(&["TERM"]),
    process(
        "ends-with-an-error",
        "the process ends in order and says that it did not",
        &["TERM-04/websocket", "TERM-05/not-reading", "TERM-05/half-a-request", "TERM-05/store-away"],
        process::Fault::EndsWithAnError,
    )
    .also(&["TERM"]),
    process(
        "sends-away",
        "clients are sent away from the namespace before the end",
        &["TERM-04/websocket", "TERM-04/polling"],
        process::Fault::SendsAway,
    )
    .also(&["TERM"]),
    process(
        "accepts-on",
        "new connections are accepted after SIGTERM",
        &["TERM-01/under-way"],
        process::Fault::AcceptsOn,
    )
    .also(&["TERM"]),
    process(
        "waits-for-clients",
        "the end waits until the clients have gone",
        &["TERM-05/not-reading", "TERM-04/polling"],
        process::Fault::WaitsForClients,
    )
    .also(&["TERM"]),
    process(
        "stores-nothing-more",
        "from SIGTERM on nothing is stored",
        &["TERM-03/plain"],
        process::Fault::StoresNothingMore,
    )
    .also(&["TERM"]),
    queue!(
        "takes-evictions-for-granted",
        "a store that throws away what it was given counts as one that keeps it",
        ["FAIL-17/evicting"],
        EvictionsGranted
    ),
    part("queue-of-the-process", "the queue ends with the process", &["TERM-06/next-process"], |sound, _| {
        Collaborators { queue: Arc::new(queue::InMemory::new(sound.queue.clone())), ..sound }
    })
    .also(&["FAIL", "TERM"]),
    setting("issuer-unchecked", "whoever has issued a token is right", &["OPS-01/parties"], |config| {
        config.tokens.parties.issuers.clear();
    }),
    setting("audience-unchecked", "whomever a token is for, it is taken", &["OPS-01/parties"], |config| {
        config.tokens.parties.audiences.clear();
    }),
    part(
        "key-id-ignored",
        "a token is verified with any key, whichever it names",
        &["OPS-02/key-set"],
        |sound, config| Collaborators {
            tokens: Arc::new(tokens::Faulty::new(config, tokens::Fault::KeyIdIgnored)),
            ..sound
        },
    )
    .also(&["OPS-01", "OPS-04", "OPS-05"]),
    setting("first-key-only", "of several public keys the first one counts", &["OPS-03/several"], |config| {
        config.tokens.keys.truncate(1);
    })
    .also(&["OPS-02"]),
    Mutant::new(
        "keys-read-once",
        "keys and credentials are those of the start",
        &["OPS-04/file", "OPS-04/url", "OPS-06/two"],
        Place::Frozen,
    )
    .also(&["OPS-05"]),
    setting("gone-key-forgotten", "a key that has gone counts no more", &["OPS-04/file", "OPS-04/url"], |config| {
        config.tokens.grace = Duration::ZERO;
    }),
    setting("gone-key-kept", "a key that has gone counts for ever", &["OPS-04/file", "OPS-04/url"], |config| {
        config.tokens.grace = Duration::from_secs(86_400);
    }),
    part(
        "outage-forgets-keys",
        "a URL that cannot be had costs the keys that are known",
        &["OPS-05/outage"],
        |sound, _| Collaborators { tokens: Arc::new(tokens::Forgetful::new(sound.tokens)), ..sound },
    ),
    setting("one-credential", "there is one service credential", &["OPS-06/two"], |config| {
        config.ingest_tokens.truncate(1);
    }),
    part("control-everywhere", "the control surface is at each port", &["OPS-07/apart"], |sound, _| Collaborators {
        control_apart: false,
        ..sound
    }),
    part("metrics-everywhere", "the metrics are at each port", &["OPS-08/metrics"], |sound, _| Collaborators {
        metrics_apart: false,
        ..sound
    }),
    routes(
        "request-unnamed",
        "no answer tells the id of its request",
        &["OPS-09/request-id"],
        routes::Fault::RequestUnnamed,
    ),
];
