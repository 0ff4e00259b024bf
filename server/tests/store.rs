//! One set of tests for both stores (SPEC.md, 5), on a Redis of its own or that of `NOTIFY_TEST_REDIS_URL`.
#![expect(clippy::unwrap_used, reason = "the cases are tests, though not by the attribute that clippy looks for")]

mod support;

use std::{sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};
use notify_server::{
    model::{AT_A_TIME_BYTES, Claim, EntryId, KEPT_AT_MOST, Outcome, Queue, Reinserted, Session, may_have_more},
    store::{
        Limits,
        embedded::EmbeddedStore,
        redis::{RedisConfig, RedisStore},
    },
};
use proptest::test_runner::{Config, TestRunner};
use support::{
    Scratch,
    course::{self, FIRST_NUMBER, Store},
    prefixed::Prefixed,
    redis::LocalRedis,
    server::from_now,
};
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(86_400);

/// Opens the same store as often as it is asked.
type Open<'a> = &'a dyn Fn(Limits) -> Arc<dyn Store>;
type Case = fn(Open<'_>) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        const CASES: &[(&str, Case)] = &[$((stringify!($name), |open| Box::pin($name(open)))),*];
    };
}

cases![
    what_was_appended_is_read_in_its_order,
    reading_does_not_remove,
    only_what_was_handed_over_is_removed,
    a_queue_holds_no_more_than_its_cap,
    the_cap_holds_for_many_at_once,
    the_cap_is_per_user,
    users_are_told_apart_exactly,
    the_cap_holds_under_concurrent_emitters,
    what_is_too_old_is_not_read,
    a_large_queue_is_read_a_part_at_a_time,
    nothing_is_dropped_before_its_time,
    a_queue_of_old_events_takes_new_ones,
    payloads_come_back_as_they_were,
    everything_survives_being_opened_again,
    what_is_kept_stays_until_it_is_confirmed,
    what_is_kept_may_be_more_than_the_cap_until_the_queue_is_trimmed,
    what_the_cap_has_cost_is_counted_until_it_was_told,
    what_became_too_old_is_counted,
    a_delivery_that_nobody_confirms_leaves_the_count,
    names_are_not_given_twice,
    what_goes_back_where_something_was_has_a_name_of_its_own,
    what_goes_back_goes_before_what_is_newer,
    what_was_handed_over_earlier_goes_before_what_came_back_earlier,
    by_chance_the_queue_is_in_the_order_of_acceptance,
    what_goes_back_twice_is_there_once,
    what_goes_back_is_evicted_by_nothing_but_what_is_queued_later,
    what_goes_back_is_bounded_all_the_same,
    what_was_lost_is_remembered_when_the_store_is_opened_again,
    sessions_are_kept_replaced_and_revoked,
    an_ended_session_is_none,
    answers_are_kept,
    what_was_done_in_part_is_kept_and_anybody_may_do_the_rest,
    a_claim_is_given_up_or_ends_by_itself,
    the_store_answers_a_probe,
];

fn limits(max_events: usize, ttl: Duration) -> Limits {
    Limits { max_events, ttl }
}

async fn append(store: &dyn Store, user: &str, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        store.append(user, &[&number.to_string()]).await.expect("the store answers");
    }
}

async fn read(store: &dyn Store, user: &str) -> Vec<u64> {
    let entries = store.read(user).await.expect("the store answers");
    entries.iter().map(|entry| entry.payload.parse().expect("a number")).collect()
}

async fn what_was_appended_is_read_in_its_order(open: Open<'_>) {
    let store = open(limits(50, DAY));
    assert!(store.read("alice").await.unwrap().is_empty());
    append(&*store, "alice", 0..10).await;
    store.append("alice", &["10", "11", "12"]).await.unwrap();
    assert_eq!(read(&*store, "alice").await, (0..13).collect::<Vec<_>>());
}

async fn reading_does_not_remove(open: Open<'_>) {
    let store = open(limits(50, DAY));
    append(&*store, "alice", 0..3).await;
    assert_eq!(read(&*store, "alice").await, read(&*store, "alice").await);
}

async fn only_what_was_handed_over_is_removed(open: Open<'_>) {
    let store = open(limits(50, DAY));
    append(&*store, "alice", 0..3).await;
    append(&*store, "bob", 0..1).await;
    let ids: Vec<EntryId> = store.read("alice").await.unwrap().iter().map(|entry| entry.id).collect();
    append(&*store, "alice", 3..5).await;
    store.remove("alice", &ids, None).await.unwrap();
    assert_eq!(read(&*store, "alice").await, [3, 4]);
    assert_eq!(read(&*store, "bob").await, [0]);
    store.remove("alice", &ids, None).await.unwrap();
    assert_eq!(read(&*store, "alice").await, [3, 4]);
}

async fn a_queue_holds_no_more_than_its_cap(open: Open<'_>) {
    let store = open(limits(50, DAY));
    append(&*store, "alice", 0..51).await;
    assert_eq!(read(&*store, "alice").await, (1..51).collect::<Vec<_>>());
}

async fn the_cap_holds_for_many_at_once(open: Open<'_>) {
    let store = open(limits(3, DAY));
    append(&*store, "alice", 0..2).await;
    store.append("alice", &["2", "3"]).await.unwrap();
    assert_eq!(read(&*store, "alice").await, [1, 2, 3]);
    store.append("alice", &["4", "5", "6", "7", "8"]).await.unwrap();
    assert_eq!(read(&*store, "alice").await, [6, 7, 8]);
}

async fn the_cap_is_per_user(open: Open<'_>) {
    let store = open(limits(2, DAY));
    append(&*store, "bob", 0..2).await;
    append(&*store, "alice", 0..10).await;
    assert_eq!(read(&*store, "bob").await, [0, 1]);
}

async fn users_are_told_apart_exactly(open: Open<'_>) {
    let store = open(limits(50, DAY));
    let users = ["a", "A", "a ", " a", "a:b", "a/b", "*", "a*", "a\0", "\u{e9}", "e\u{301}", "{a}", "\u{1f512}"];
    for (number, user) in (0..).zip(users) {
        append(&*store, user, [number]).await;
    }
    for (number, user) in (0..).zip(users) {
        assert_eq!(read(&*store, user).await, [number], "{user:?}");
    }
}

async fn the_cap_holds_under_concurrent_emitters(open: Open<'_>) {
    let store = open(limits(50, DAY));
    let emitters: Vec<_> = (0..200)
        .map(|number: u64| {
            let store = store.clone();
            tokio::spawn(async move { append(&*store, "alice", [number]).await })
        })
        .collect();
    for emitter in emitters {
        emitter.await.unwrap();
    }
    let mut numbers = read(&*store, "alice").await;
    assert_eq!(numbers.len(), 50);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 50);
}

async fn a_large_queue_is_read_a_part_at_a_time(open: Open<'_>) {
    const LARGE: usize = 1 << 20;
    let store = open(limits(50, DAY));
    let payload = |n: u64| format!("{n}{}", "x".repeat(LARGE - 1));
    for n in 0..9 {
        store.append("alice", &[&payload(n)]).await.unwrap();
    }
    let part = AT_A_TIME_BYTES / LARGE;
    let (mut after, mut seen) = (EntryId::default(), 0);
    loop {
        let entries = store.backlog("alice", after, false).await.unwrap().entries;
        assert_eq!(entries.len(), part.min(9 - seen));
        assert!(entries.iter().zip(seen as u64..).all(|(entry, n)| entry.payload == payload(n)));
        seen += entries.len();
        after = entries.last().unwrap().id;
        if !may_have_more(&entries) {
            break;
        }
    }
    assert_eq!(seen, 9);
    for left in [part, part, 1] {
        let read = store.read("alice").await.unwrap();
        let drained = store.drain("alice", Uuid::max()).await.unwrap().unwrap();
        assert_eq!((read.len(), may_have_more(&read)), (left, left == part));
        assert_eq!(read, drained);
        let ids: Vec<_> = drained.iter().map(|entry| entry.id).collect();
        store.remove("alice", &ids, Some(Uuid::max())).await.unwrap();
    }
    assert!(store.read("alice").await.unwrap().is_empty());
}

async fn what_is_too_old_is_not_read(open: Open<'_>) {
    let ttl = Duration::from_secs(1);
    let store = open(limits(50, ttl));
    append(&*store, "alice", [0]).await;
    // Time is what is waited for here; nothing else tells of it.
    tokio::time::sleep(ttl * 6 / 10).await;
    append(&*store, "alice", [1]).await;
    assert_eq!(read(&*store, "alice").await, [0, 1]);
    tokio::time::sleep(ttl * 6 / 10).await;
    assert_eq!(read(&*store, "alice").await, [1]);
    tokio::time::sleep(ttl * 6 / 10).await;
    assert!(store.read("alice").await.unwrap().is_empty());
}

async fn nothing_is_dropped_before_its_time(open: Open<'_>) {
    let store = open(limits(50, Duration::from_secs(3)));
    append(&*store, "alice", [0]).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(read(&*store, "alice").await, [0]);
}

async fn a_queue_of_old_events_takes_new_ones(open: Open<'_>) {
    let ttl = Duration::from_millis(300);
    let store = open(limits(2, ttl));
    append(&*store, "alice", 0..2).await;
    tokio::time::sleep(ttl * 2).await;
    append(&*store, "alice", 2..4).await;
    assert_eq!(read(&*store, "alice").await, [2, 3]);
}

async fn payloads_come_back_as_they_were(open: Open<'_>) {
    let store = open(limits(50, DAY));
    let payloads = ["", "{\"a\":\"\u{0}\u{1f512}\\n\"}", "not json", &"x".repeat(100_000)];
    store.append("alice", &payloads).await.unwrap();
    let read: Vec<_> = store.read("alice").await.unwrap().into_iter().map(|entry| entry.payload).collect();
    assert_eq!(read, payloads);
}

async fn everything_survives_being_opened_again(open: Open<'_>) {
    let store = open(limits(50, DAY));
    append(&*store, "alice", 0..3).await;
    store.put_session("s", &Session { user_id: "alice".into(), expires_at_ms: None }).await.unwrap();
    store.settle("k", Uuid::max(), "body", &Outcome::Done("answer".into())).await.unwrap();
    drop(store);
    let store = open(limits(50, DAY));
    append(&*store, "alice", 3..4).await;
    assert_eq!(read(&*store, "alice").await, [0, 1, 2, 3]);
    assert_eq!(store.session("s").await.unwrap().unwrap().user_id, "alice");
    assert_eq!(store.claim("k", Uuid::nil(), "body").await.unwrap(), Claim::Answered("answer".into()));
}

async fn keep(store: &dyn Store, user: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<EntryId> {
    let numbers: Vec<_> = numbers.into_iter().map(|number| number.to_string()).collect();
    let payloads: Vec<_> = numbers.iter().map(String::as_str).collect();
    store.keep(user, &payloads).await.expect("the store answers")
}

/// The numbers that wait, and how many were lost.
async fn backlog(store: &dyn Store, user: &str, trim: bool) -> (Vec<u64>, u64) {
    let backlog = store.backlog(user, EntryId::default(), trim).await.expect("the store answers");
    (backlog.entries.iter().map(|entry| entry.payload.parse().expect("a number")).collect(), backlog.dropped)
}

async fn what_is_kept_stays_until_it_is_confirmed(open: Open<'_>) {
    let store = open(limits(50, DAY));
    assert_eq!(backlog(&*store, "alice", true).await, (vec![], 0));
    let ids = keep(&*store, "alice", 0..4).await;
    append(&*store, "alice", [4]).await;
    keep(&*store, "bob", [9]).await;
    let entries = store.backlog("alice", EntryId::default(), true).await.unwrap().entries;
    assert_eq!(ids, entries[..4].iter().map(|entry| entry.id).collect::<Vec<_>>());
    store.confirm("alice", &[ids[2], ids[0]], 0).await.unwrap();
    assert_eq!(backlog(&*store, "alice", true).await, (vec![1, 3, 4], 0));
    // Another client may acknowledge the same.
    store.confirm("alice", &ids[..3], 0).await.unwrap();
    assert_eq!(backlog(&*store, "alice", false).await, (vec![3, 4], 0));
    store.confirm("alice", &[], 0).await.unwrap();
    assert_eq!(read(&*store, "alice").await, [3, 4]);
    assert_eq!(backlog(&*store, "bob", true).await, (vec![9], 0));
}

async fn what_is_kept_may_be_more_than_the_cap_until_the_queue_is_trimmed(open: Open<'_>) {
    let store = open(limits(3, DAY));
    let ids = keep(&*store, "alice", 0..10).await;
    assert_eq!(backlog(&*store, "alice", false).await, ((0..10).collect(), 0));
    store.confirm("alice", &ids[..5], 0).await.unwrap();
    assert_eq!(backlog(&*store, "alice", true).await, (vec![7, 8, 9], 2));
    keep(&*store, "alice", 10..12).await;
    // Nobody who acknowledges is here any more.
    append(&*store, "alice", [12]).await;
    assert_eq!(backlog(&*store, "alice", false).await, (vec![10, 11, 12], 5));
}

async fn what_the_cap_has_cost_is_counted_until_it_was_told(open: Open<'_>) {
    let store = open(limits(2, DAY));
    append(&*store, "alice", 0..5).await;
    assert_eq!(backlog(&*store, "alice", true).await, (vec![3, 4], 3));
    let ids: Vec<_> =
        store.backlog("alice", EntryId::default(), true).await.unwrap().entries.iter().map(|entry| entry.id).collect();
    // One more is lost between the telling and its acknowledgement.
    append(&*store, "alice", [5]).await;
    store.confirm("alice", &ids, 3).await.unwrap();
    assert_eq!(backlog(&*store, "alice", true).await, (vec![5], 1));
    store.confirm("alice", &[], 7).await.unwrap();
    assert_eq!(backlog(&*store, "alice", true).await, (vec![5], 0));
}

async fn what_became_too_old_is_counted(open: Open<'_>) {
    let ttl = Duration::from_secs(3);
    let store = open(limits(50, ttl));
    append(&*store, "alice", 0..2).await;
    append(&*store, "bob", 0..2).await;
    tokio::time::sleep(ttl / 2).await;
    append(&*store, "alice", [2]).await;
    tokio::time::sleep(ttl * 3 / 4).await;
    assert_eq!(backlog(&*store, "alice", true).await, (vec![2], 2));
    // With the whole of the queue, too, and whatever comes next.
    tokio::time::sleep(ttl).await;
    assert_eq!(backlog(&*store, "alice", false).await, (vec![], 3));
    append(&*store, "bob", [2]).await;
    assert_eq!(backlog(&*store, "bob", true).await, (vec![2], 2));
}

async fn a_delivery_that_nobody_confirms_leaves_the_count(open: Open<'_>) {
    let store = open(limits(2, DAY));
    append(&*store, "alice", 0..5).await;
    let ids: Vec<_> = store.read("alice").await.unwrap().iter().map(|entry| entry.id).collect();
    store.remove("alice", &ids, None).await.unwrap();
    assert_eq!(backlog(&*store, "alice", true).await, (vec![], 3));
}

async fn names_are_not_given_twice(open: Open<'_>) {
    let store = open(limits(50, DAY));
    let mut seen = std::collections::HashSet::new();
    for number in 0..100 {
        let ids = keep(&*store, "alice", [number]).await;
        assert!(seen.insert(ids[0]), "{ids:?}");
        store.confirm("alice", &ids, 0).await.unwrap();
    }
}

async fn what_goes_back_where_something_was_has_a_name_of_its_own(open: Open<'_>) {
    let store = open(limits(50, DAY));
    append(&*store, "alice", [9]).await;
    let mut seen = std::collections::HashSet::new();
    for number in 1..=5 {
        reinsert(&*store, "alice", &[(number, EntryId(0, 0))]).await;
        let first = store.read("alice").await.unwrap()[0].id;
        // It may be acknowledged once more, later.
        assert!(seen.insert(first), "{number}: {first:?}");
        store.confirm("alice", &[first], 0).await.unwrap();
    }
}

async fn reinsert(store: &dyn Store, user: &str, events: &[(u64, EntryId)]) {
    let payloads: Vec<_> = events.iter().map(|(number, _)| number.to_string()).collect();
    let returned = payloads.iter().zip(events).map(|(payload, (number, after))| Reinserted {
        payload,
        after: *after,
        number: *FIRST_NUMBER + number,
    });
    store.reinsert(user, &returned.collect::<Vec<_>>()).await.expect("the store answers");
}

async fn what_goes_back_goes_before_what_is_newer(open: Open<'_>) {
    const NOTHING: EntryId = EntryId(0, 0);
    let store = open(limits(50, DAY));
    reinsert(&*store, "alice", &[(1, NOTHING), (2, NOTHING)]).await;
    assert_eq!(read(&*store, "alice").await, [1, 2]);
    let bobs = keep(&*store, "bob", [9]).await;
    let mut kept = Vec::new();
    for number in [5, 6, 9] {
        kept.extend(keep(&*store, "alice", [number]).await);
    }
    let second = store.read("alice").await.unwrap()[1].id;
    reinsert(&*store, "alice", &[(3, second), (4, second), (7, kept[1]), (8, kept[1]), (10, kept[2])]).await;
    assert_eq!(read(&*store, "alice").await, (1..=10).collect::<Vec<_>>());
    // What was there before has kept its name, and what comes next is newer than all.
    store.confirm("alice", &kept, 0).await.unwrap();
    append(&*store, "alice", [11]).await;
    assert_eq!(backlog(&*store, "alice", true).await, (vec![1, 2, 3, 4, 7, 8, 10, 11], 0));
    assert_eq!(store.read("bob").await.unwrap()[0].id, bobs[0]);
}

async fn what_was_handed_over_earlier_goes_before_what_came_back_earlier(open: Open<'_>) {
    let store = open(limits(50, DAY));
    let first = keep(&*store, "alice", [1]).await[0];
    // By one connection after the other, which do not break in the order of what they had.
    reinsert(&*store, "alice", &[(4, first)]).await;
    reinsert(&*store, "alice", &[(2, first)]).await;
    let given = store.read("alice").await.unwrap()[2].id;
    reinsert(&*store, "alice", &[(5, given)]).await;
    reinsert(&*store, "alice", &[(3, first)]).await;
    assert_eq!(read(&*store, "alice").await, [1, 2, 3, 4, 5]);
}

/// Random courses; `PROPTEST_CASES` says how many.
async fn by_chance_the_queue_is_in_the_order_of_acceptance(open: Open<'_>) {
    const CAP: usize = 5;
    let runtime = tokio::runtime::Handle::current();
    let config = Config { failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&course::courses(), |steps| {
        let (user, open) = (Uuid::new_v4().to_string(), || open(limits(CAP, DAY)));
        tokio::task::block_in_place(|| runtime.block_on(course::follow(&open, &user, CAP, &steps)));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

async fn what_goes_back_twice_is_there_once(open: Open<'_>) {
    let store = open(limits(50, DAY));
    let kept = [keep(&*store, "alice", [1]).await[0], keep(&*store, "alice", [4]).await[0]];
    for _ in 0..2 {
        reinsert(&*store, "alice", &[(2, kept[0]), (5, kept[1])]).await;
    }
    reinsert(&*store, "alice", &[(2, kept[0]), (3, kept[0]), (5, kept[1])]).await;
    assert_eq!(backlog(&*store, "alice", true).await, (vec![1, 2, 3, 4, 5], 0));
}

async fn what_goes_back_is_evicted_by_nothing_but_what_is_queued_later(open: Open<'_>) {
    let store = open(limits(3, DAY));
    let kept = [keep(&*store, "alice", [1]).await[0], keep(&*store, "alice", [4]).await[0]];
    reinsert(&*store, "alice", &[(2, kept[0]), (3, kept[0]), (5, kept[1])]).await;
    reinsert(&*store, "alice", &[(6, kept[1])]).await;
    assert_eq!(backlog(&*store, "alice", false).await, (vec![1, 2, 3, 4, 5, 6], 0));
    append(&*store, "alice", [7]).await;
    assert_eq!(backlog(&*store, "alice", false).await, (vec![5, 6, 7], 4));
}

async fn what_goes_back_is_bounded_all_the_same(open: Open<'_>) {
    let store = open(limits(3, DAY));
    let many = KEPT_AT_MOST as u64 + 10;
    let events: Vec<_> = (0..many).map(|number| (number, EntryId(0, 0))).collect();
    reinsert(&*store, "alice", &events).await;
    assert_eq!(backlog(&*store, "alice", false).await, ((10..many).collect(), 10));
}

async fn what_was_lost_is_remembered_when_the_store_is_opened_again(open: Open<'_>) {
    let store = open(limits(1, DAY));
    append(&*store, "alice", 0..3).await;
    drop(store);
    let store = open(limits(1, DAY));
    assert_eq!(backlog(&*store, "alice", true).await, (vec![2], 2));
}

async fn sessions_are_kept_replaced_and_revoked(open: Open<'_>) {
    let store = open(limits(50, DAY));
    assert_eq!(store.session("s").await.unwrap(), None);
    assert!(!store.revoke_session("s").await.unwrap());
    let one = Session { user_id: "alice".into(), expires_at_ms: Some(from_now(60) * 1_000) };
    let other = Session { user_id: "bob".into(), expires_at_ms: None };
    store.put_session("s", &one).await.unwrap();
    assert_eq!(store.session("s").await.unwrap(), Some(one));
    store.put_session("s", &other).await.unwrap();
    assert_eq!(store.session("s").await.unwrap(), Some(other));
    assert_eq!(store.session("S").await.unwrap(), None);
    assert!(store.revoke_session("s").await.unwrap());
    assert!(!store.revoke_session("s").await.unwrap());
    assert_eq!(store.session("s").await.unwrap(), None);
}

async fn an_ended_session_is_none(open: Open<'_>) {
    let store = open(limits(50, DAY));
    for end in [i64::MIN, -1, 0, from_now(-1) * 1_000] {
        let ended = Session { user_id: "alice".into(), expires_at_ms: Some(end) };
        store.put_session("s", &ended).await.unwrap();
        assert_eq!(store.session("s").await.unwrap(), None, "{end}");
        assert!(!store.revoke_session("s").await.unwrap(), "{end}");
    }
}

async fn answers_are_kept(open: Open<'_>) {
    let store = open(limits(50, DAY));
    let (node, other) = (Uuid::max(), Uuid::nil());
    assert_eq!(store.claim("k", node, "body").await.unwrap(), Claim::Ours(None));
    store.settle("k", node, "body", &Outcome::Done("{\"eventId\":\"1\"}".into())).await.unwrap();
    // What comes late changes nothing any more.
    store.settle("k", node, "body", &Outcome::Nothing).await.unwrap();
    store.renew("k", node).await.unwrap();
    for by in [node, other] {
        assert_eq!(store.claim("k", by, "body").await.unwrap(), Claim::Answered("{\"eventId\":\"1\"}".into()));
        assert_eq!(store.claim("k", by, "another").await.unwrap(), Claim::Another);
    }
    assert_eq!(store.claim("K", other, "another").await.unwrap(), Claim::Ours(None));
}

async fn what_was_done_in_part_is_kept_and_anybody_may_do_the_rest(open: Open<'_>) {
    let store = open(limits(50, DAY));
    let (node, other) = (Uuid::max(), Uuid::nil());
    assert_eq!(store.claim("k", node, "body").await.unwrap(), Claim::Ours(None));
    store.settle("k", node, "body", &Outcome::Part("[1]".into())).await.unwrap();
    assert_eq!(store.claim("k", other, "another").await.unwrap(), Claim::Another);
    assert_eq!(store.claim("k", other, "body").await.unwrap(), Claim::Ours(Some("[1]".into())));
    // Nothing more than that was done.
    store.settle("k", other, "body", &Outcome::Nothing).await.unwrap();
    assert_eq!(store.claim("k", node, "body").await.unwrap(), Claim::Ours(Some("[1]".into())));
    store.settle("k", node, "body", &Outcome::Done("[1,2]".into())).await.unwrap();
    assert_eq!(store.claim("k", other, "body").await.unwrap(), Claim::Answered("[1,2]".into()));
}

async fn a_claim_is_given_up_or_ends_by_itself(open: Open<'_>) {
    let store = open(limits(50, DAY));
    let (node, other) = (Uuid::max(), Uuid::nil());
    assert_eq!(store.claim("k", node, "body").await.unwrap(), Claim::Ours(None));
    assert_eq!(store.claim("k", node, "body").await.unwrap(), Claim::Ours(None));
    store.settle("k", node, "body", &Outcome::Nothing).await.unwrap();
    assert_eq!(store.claim("k", other, "another").await.unwrap(), Claim::Ours(None));
    // Nor does it last longer for what was done in part before.
    assert_eq!(store.claim("p", other, "body").await.unwrap(), Claim::Ours(None));
    store.settle("p", other, "body", &Outcome::Part("[1]".into())).await.unwrap();
    assert_eq!(store.claim("p", other, "body").await.unwrap(), Claim::Ours(Some("[1]".into())));
    for (key, body, free) in [("k", "yet another", None), ("p", "body", Some("[1]".to_owned()))] {
        let began = std::time::Instant::now();
        // A store of one node has no other's claims.
        while let found @ Claim::AtWork = store.claim(key, node, body).await.unwrap() {
            assert!(began.elapsed() < Duration::from_secs(20), "{found:?}");
            // It tells nobody when the claim has ended.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(store.claim(key, node, body).await.unwrap(), Claim::Ours(free));
    }
}

async fn the_store_answers_a_probe(open: Open<'_>) {
    until_ready(&*open(limits(50, DAY)), Duration::from_secs(5)).await;
}

/// Where Redis is, and what keeps it running; why there is none otherwise.
fn find_redis() -> Result<(RedisConfig, Option<LocalRedis>), String> {
    if let Ok(url) = std::env::var("NOTIFY_TEST_REDIS_URL") {
        return Ok((from_url(&url).ok_or("NOTIFY_TEST_REDIS_URL is not redis://HOST:PORT[/DB]")?, None));
    }
    let redis = LocalRedis::start()
        .map_err(|error| format!("redis-server cannot be started ({error}), and NOTIFY_TEST_REDIS_URL is not set"))?;
    Ok((redis.config(), Some(redis)))
}

fn from_url(url: &str) -> Option<RedisConfig> {
    let rest = url.strip_prefix("redis://")?;
    let (address, db) = rest.split_once('/').unwrap_or((rest, "0"));
    let (host, port) = address.rsplit_once(':')?;
    Some(RedisConfig { db: db.parse().ok()?, ..RedisConfig::at(host, port.parse().ok()?) })
}

async fn until_ready(store: &(impl Queue + ?Sized), within: Duration) {
    let began = std::time::Instant::now();
    while let Err(error) = store.probe().await {
        assert!(began.elapsed() < within, "{error}");
        // A store tells nobody when it has found out that it answers: it has to be asked again.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn run(case: Case, open: impl Fn(Limits) -> Arc<dyn Store>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(case(&open))));
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default().into()
    })
}

fn embedded(case: Case) -> Result<(), Failed> {
    let scratch = Scratch::new();
    run(case, |limits| Arc::new(EmbeddedStore::open(scratch.path(), limits).expect("the directory is new")))
}

/// Each case has its own keys: users, sessions and answers go by the prefix of its run.
fn redis(case: Case, config: &RedisConfig) -> Result<(), Failed> {
    let prefix = uuid::Uuid::new_v4().simple().to_string();
    run(case, |limits| {
        let store = RedisStore::new(config, limits);
        Arc::new(Prefixed { inner: store, prefix: prefix.clone() })
    })
}

fn main() {
    let arguments = Arguments::from_args();
    let found = find_redis();
    let redis_config = found.as_ref().ok().map(|(config, _)| config.clone());
    if let Err(reason) = &found {
        println!("the Redis trials are ignored: {reason}");
    }
    if let Some(config) = &redis_config {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
        runtime.block_on(async {
            let store = RedisStore::new(config, limits(50, DAY));
            until_ready(&store, Duration::from_secs(10)).await;
        });
    }
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    let mut trials = Vec::new();
    for (name, case) in CASES {
        trials.push(Trial::test(format!("embedded::{name}"), || embedded(*case)));
        let config = redis_config.clone();
        let trial = Trial::test(format!("redis::{name}"), move || match config {
            Some(config) => redis(*case, &config),
            None => Err("CI has to have a Redis".into()),
        });
        trials.push(trial.with_ignored_flag(redis_config.is_none() && !in_ci));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // `exit` would leave the Redis behind.
    drop(found);
    conclusion.exit();
}
