//! Lends the databases of one Redis, each to one server under test at a time. What holds somebody's data is never lent, and
//! only what was lent is emptied.
//!
//! In somebody's Redis another run may lend as well. There a lent database carries a claim, a key with the run's name that
//! expires unless it is renewed: what another run has claimed is waited for, and never emptied.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncCommands, ExistenceCheck, RedisResult, SetExpiry, SetOptions, aio::MultiplexedConnection};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, interval_at, sleep, timeout},
};

use super::{RedisAddress, RedisError, connect, inspect::View};

/// How long to wait for a database while all are lent: less than a case may take, which can then say why it was not run.
const LEND_LIMIT: Duration = Duration::from_secs(45);
/// How long to wait at the end for databases that are about to be given back.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(2);

/// The key that claims a database of somebody's Redis.
pub(super) const CLAIM: &str = "notify-conformance:claim";
/// How long a claim holds that is not renewed: a run that was killed keeps nobody waiting for longer than [`LEND_LIMIT`].
const LEASE: Duration = Duration::from_secs(30);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(10);
/// How often to look again at databases that another run has claimed: Redis does not tell when it gives them back.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Which databases are free and which are lent.
#[derive(Debug)]
pub(super) struct Lending {
    address: RedisAddress,
    /// Whether the suite has started this Redis, so that nothing in it can be anybody else's.
    our_own: bool,
    /// Where its servers are, where it is a Redis Cluster. That has one database, which all share: their users, sessions and keys have
    /// names of their own, and nothing is emptied.
    shards: Vec<RedisAddress>,
    /// This run's name in its claims.
    name: String,
    books: Mutex<Books>,
    /// One place for each database that is free; closed when there is none left to wait for.
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Books {
    /// The one that has rested longest comes first.
    free: VecDeque<u32>,
    /// Those that were found empty, and so may be emptied.
    lent: BTreeSet<u32>,
    /// All that are not retired: free, lent or being looked at.
    count: usize,
}

/// What a look at a database showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It is empty, and claimed.
    Ours,
    /// Another run has claimed it.
    AnotherRuns,
    /// It holds data, or is not there.
    Useless,
}

/// A database that is being looked at. It is free again where the look is given up: nothing in it was touched.
struct Candidate<'a> {
    lender: &'a Lending,
    index: u32,
    stays: bool,
}

/// A database that is lent to one server under test.
#[derive(Debug)]
pub struct Database {
    /// Where the Redis listens.
    pub address: RedisAddress,
    /// The number of the database.
    pub index: u32,
    /// Where its parts are, where it is that of a Redis Cluster.
    shards: Vec<RedisAddress>,
    /// `None` once it was given back.
    debt: Option<Debt>,
}

#[derive(Debug)]
struct Debt {
    lender: Arc<Lending>,
    /// Which of the lender's it is.
    place_of: u32,
    /// Renews the claim, and ends with it.
    renewal: JoinSet<()>,
    place: OwnedSemaphorePermit,
}

impl Lending {
    /// All databases of a Redis that the suite has started.
    pub(super) fn of_our_own(address: RedisAddress, count: u32) -> Self {
        Self::new(address, true, 0..count)
    }

    /// The one database of a Redis Cluster that the suite has started, for so many at a time.
    pub(super) fn of_shards(shards: Vec<RedisAddress>, count: u32) -> Self {
        Self { shards: shards.clone(), ..Self::new(shards[0].clone(), true, 0..count) }
    }

    /// Those databases of somebody's Redis that turn out to be empty.
    pub(super) fn of_somebody(address: RedisAddress, databases: Range<u32>) -> Self {
        Self::new(address, false, databases)
    }

    pub(super) fn address(&self) -> &RedisAddress {
        &self.address
    }

    pub(super) async fn lend(self: &Arc<Self>) -> Result<Database, RedisError> {
        self.lend_within(LEND_LIMIT).await
    }

    async fn lend_within(self: &Arc<Self>, limit: Duration) -> Result<Database, RedisError> {
        timeout(limit, self.lend_some_time()).await.unwrap_or_else(|_| {
            Err(RedisError::AllLent { address: self.address.clone(), count: self.books().count, limit })
        })
    }

    async fn lend_some_time(self: &Arc<Self>) -> Result<Database, RedisError> {
        let none = || RedisError::NoEmptyDatabase(self.address.clone());
        let mut others = 0;
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| none())?;
            let candidate = self.candidate().ok_or_else(none)?;
            match self.prepare(candidate.index).await? {
                Look::Ours => {
                    let index = candidate.leaves();
                    self.books().lent.insert(index);
                    let renewal = self.renewal(index);
                    let debt = Some(Debt { lender: Arc::clone(self), place_of: index, renewal, place });
                    let (shards, index) = (self.shards.clone(), if self.shards.is_empty() { index } else { 0 });
                    return Ok(Database { address: self.address.clone(), index, shards, debt });
                }
                Look::AnotherRuns => {
                    candidate.rests();
                    drop(place);
                    others += 1;
                }
                Look::Useless => self.retire(candidate.leaves(), place),
            }
            if others > 0 && others >= self.books().free.len() {
                others = 0;
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Waits a moment for what is being given back, and empties what is not.
    pub(super) async fn close_the_books(&self) {
        let count = u32::try_from(self.books().count).unwrap_or(u32::MAX);
        let _ = timeout(GIVE_BACK_LIMIT, self.places.acquire_many(count)).await;
        let lent = self.books().lent.clone();
        for index in lent {
            // The last thing that the run does with this Redis: there is nobody left to tell.
            let _ = self.empty(index).await;
        }
    }

    fn new(address: RedisAddress, our_own: bool, databases: Range<u32>) -> Self {
        let places = Arc::new(Semaphore::new(databases.len()));
        let count = databases.len();
        let books = Mutex::new(Books { free: databases.collect(), lent: BTreeSet::new(), count });
        let name = format!("run-{:016x}", rand::random::<u64>());
        Self { address, our_own, shards: Vec::new(), name, books, places }
    }

    fn candidate(&self) -> Option<Candidate<'_>> {
        let index = self.books().free.pop_front()?;
        Some(Candidate { lender: self, index, stays: true })
    }

    /// Makes the database ours, if it is empty and nobody else's.
    async fn prepare(&self, index: u32) -> RedisResult<Look> {
        if !self.shards.is_empty() {
            return Ok(Look::Ours);
        }
        let mut redis = match connect(&self.address, index).await {
            Ok(redis) => redis,
            // It answers, but has fewer databases than was assumed.
            Err(error) if !error.is_io_error() && !error.is_timeout() => return Ok(Look::Useless),
            Err(error) => return Err(error),
        };
        if self.our_own {
            // The last words of the server that had it before.
            redis::cmd("FLUSHDB").query_async::<()>(&mut redis).await?;
            return Ok(Look::Ours);
        }
        let claimed: Option<String> = redis.get(CLAIM).await?;
        if claimed.is_none() && size(&mut redis).await? > 0 {
            return Ok(Look::Useless);
        }
        // A claim of ours that nobody holds is left from a look that was given up halfway.
        if !self.hold(&mut redis).await? {
            return Ok(Look::AnotherRuns);
        }
        // Somebody may have come between the look and the claim.
        if size(&mut redis).await? > 1 {
            redis.del::<_, ()>(CLAIM).await?;
            return Ok(Look::Useless);
        }
        Ok(Look::Ours)
    }

    /// Claims a database that nobody has claimed: Redis gives it to one run only.
    async fn claim(&self, redis: &mut MultiplexedConnection) -> RedisResult<bool> {
        let only_new = SetOptions::default()
            .conditional_set(ExistenceCheck::NX)
            .with_expiration(SetExpiry::PX(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX)));
        let set: Option<String> = redis.set_options(CLAIM, &self.name, only_new).await?;
        Ok(set.is_some())
    }

    /// Whether the claim is still ours, and if so, for how long from now: as long as a new one.
    async fn hold(&self, redis: &mut MultiplexedConnection) -> RedisResult<bool> {
        match redis.get::<_, Option<String>>(CLAIM).await? {
            Some(name) if name == self.name => {
                redis.pexpire::<_, ()>(CLAIM, i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX)).await?;
                Ok(true)
            }
            Some(_) => Ok(false),
            // It expired, or the server under test emptied its database.
            None => self.claim(redis).await,
        }
    }

    fn renewal(self: &Arc<Self>, index: u32) -> JoinSet<()> {
        let mut renewal = JoinSet::new();
        if self.our_own {
            return renewal;
        }
        let lender = Arc::clone(self);
        renewal.spawn(async move {
            let mut due = interval_at(Instant::now() + RENEWAL, RENEWAL);
            loop {
                due.tick().await;
                // What a Redis that does not answer means for the run is for its cases to say.
                if let Ok(mut redis) = connect(&lender.address, index).await {
                    let _ = lender.hold(&mut redis).await;
                }
            }
        });
        renewal
    }

    /// Empties a lent database, and takes the claim away with all else.
    async fn empty(&self, index: u32) -> RedisResult<()> {
        if !self.shards.is_empty() {
            return Ok(());
        }
        let mut redis = connect(&self.address, index).await?;
        if !self.our_own && !self.hold(&mut redis).await? {
            return Err(io::Error::other(format!("another run has taken database {index}")).into());
        }
        redis::cmd("FLUSHDB").query_async(&mut redis).await
    }

    /// Never lends this database again.
    fn retire(&self, index: u32, place: OwnedSemaphorePermit) {
        place.forget();
        let mut books = self.books();
        books.lent.remove(&index);
        books.count -= 1;
        if books.count == 0 {
            self.places.close();
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn size(redis: &mut MultiplexedConnection) -> RedisResult<u64> {
    redis::cmd("DBSIZE").query_async(redis).await
}

impl Books {
    fn back(&mut self, index: u32) {
        self.lent.remove(&index);
        self.free.push_back(index);
    }
}

impl Candidate<'_> {
    fn leaves(mut self) -> u32 {
        self.stays = false;
        self.index
    }

    /// Free for us, but the last to be looked at again.
    fn rests(self) {
        let lender = self.lender;
        lender.books().free.push_back(self.leaves());
    }
}

impl Drop for Candidate<'_> {
    fn drop(&mut self) {
        if self.stays {
            self.lender.books().free.push_front(self.index);
        }
    }
}

impl Database {
    /// A connection to this very database.
    ///
    /// # Errors
    /// Where Redis does not answer.
    pub async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        connect(&self.address, self.index).await
    }

    /// All that is in it, wherever that is.
    ///
    /// # Errors
    /// Where Redis does not answer.
    pub async fn view(&self) -> RedisResult<View> {
        let mut parts = Vec::new();
        for address in if self.shards.is_empty() { std::slice::from_ref(&self.address) } else { &self.shards } {
            parts.push(connect(address, self.index).await?);
        }
        Ok(View::new(parts))
    }

    /// Empties the database for the next server.
    pub(super) async fn give_back(mut self) -> RedisResult<()> {
        let Some(debt) = self.debt.take() else { return Ok(()) };
        // A task of its own, for a case may be given up at any point, and the books must be right all the same.
        let settled = tokio::spawn(debt.settle()).await;
        settled.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(debt) = self.debt.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(debt.settle())),
            Err(_) => debt.lender.retire(debt.place_of, debt.place),
        }
    }
}

impl Debt {
    async fn settle(mut self) -> RedisResult<()> {
        let index = self.place_of;
        // First, or a renewal that is under way could claim the database anew.
        self.renewal.shutdown().await;
        let flushed = self.lender.empty(index).await;
        match flushed {
            // Before the place is free, or who waits for it would find the books empty.
            Ok(()) => self.lender.books().back(index),
            Err(_) => self.lender.retire(index, self.place),
        }
        flushed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::redis::{RedisServer, for_a_test};

    const SOON: Duration = Duration::from_secs(10);
    /// How long to watch for what must not come.
    const QUIET: Duration = Duration::from_millis(150);

    /// A Redis of the test's own, and a view on some of its databases as if it were somebody's.
    async fn somebody(databases: Range<u32>) -> Option<(RedisServer, Arc<Lending>)> {
        let server = for_a_test().await?;
        let lending = Arc::new(Lending::of_somebody(server.address().clone(), databases));
        Some((server, lending))
    }

    async fn fill(server: &RedisServer, index: u32) -> MultiplexedConnection {
        let mut redis = connect(server.address(), index).await.expect("it answers");
        redis.set::<_, _, ()>("somebody's", "data").await.expect("it is set");
        redis
    }

    /// How many keys there are beside the claim.
    async fn size(redis: &mut MultiplexedConnection) -> usize {
        crate::redis::inspect::keys(redis).await.expect("it answers").len()
    }

    #[tokio::test]
    async fn a_lent_database_is_empty_and_nobody_elses() {
        let Some((_server, lending)) = somebody(0..3).await else { return };
        let (one, two) = (lending.lend().await.expect("one"), lending.lend().await.expect("two"));
        assert_ne!(one.index, two.index);
        assert_eq!(size(&mut one.connect().await.expect("it answers")).await, 0);
    }

    #[tokio::test]
    async fn who_finds_all_lent_waits_and_gets_an_emptied_one() {
        let Some((server, lending)) = somebody(5..6).await else { return };
        let database = lending.lend().await.expect("one");
        let mut redis = fill(&server, database.index).await;
        let refusal = lending.lend_within(QUIET).await.expect_err("all are lent");
        assert!(matches!(refusal, RedisError::AllLent { count: 1, .. }), "{refusal}");
        database.give_back().await.expect("it answers");
        assert_eq!(size(&mut redis).await, 0);
        assert_eq!(timeout(SOON, lending.lend()).await.expect("in time").expect("one").index, 5);
    }

    #[tokio::test]
    async fn a_dropped_database_comes_back_by_itself() {
        let Some((_server, lending)) = somebody(0..1).await else { return };
        for _ in 0..3 {
            drop(timeout(SOON, lending.lend()).await.expect("in time").expect("one"));
        }
    }

    #[tokio::test]
    async fn the_books_close_when_the_last_database_is_back() {
        let Some((server, lending)) = somebody(0..2).await else { return };
        let database = lending.lend().await.expect("one");
        let mut redis = fill(&server, database.index).await;
        drop(database);
        lending.close_the_books().await;
        assert_eq!(size(&mut redis).await, 0);
        assert_eq!(lending.books().lent.len(), 0);
    }

    #[tokio::test]
    async fn a_database_that_holds_data_is_neither_lent_nor_touched() {
        let Some((server, lending)) = somebody(0..3).await else { return };
        let mut zero = fill(&server, 0).await;
        fill(&server, 1).await;
        let lent = lending.lend().await.expect("the third is empty");
        assert_eq!(lent.index, 2);
        fill(&server, 2).await;
        lending.close_the_books().await;
        assert_eq!(size(&mut lent.connect().await.expect("it answers")).await, 0);
        assert_eq!(size(&mut zero).await, 1);
    }

    #[tokio::test]
    async fn where_every_database_holds_data_that_is_an_error_for_all_who_ask() {
        let Some((server, lending)) = somebody(0..2).await else { return };
        fill(&server, 0).await;
        fill(&server, 1).await;
        for _ in 0..2 {
            let refusal = timeout(SOON, lending.lend()).await.expect("in time").expect_err("none is empty");
            assert!(matches!(refusal, RedisError::NoEmptyDatabase(_)), "{refusal}");
        }
    }

    #[tokio::test]
    async fn databases_that_do_not_exist_are_passed_over() {
        let Some((_server, lending)) = somebody(63..70).await else { return };
        let _last = lending.lend().await.expect("64 databases end with number 63");
        let refusal = lending.lend_within(QUIET).await.expect_err("the rest do not exist");
        assert!(matches!(refusal, RedisError::AllLent { count: 1, .. }), "{refusal}");
    }

    #[tokio::test]
    async fn who_gives_up_asking_leaves_everything_as_it_was() {
        let Some((server, lending)) = somebody(0..2).await else { return };
        let mut zero = fill(&server, 0).await;
        for _ in 0..20 {
            let _ = timeout(Duration::ZERO, lending.lend()).await;
        }
        lending.close_the_books().await;
        assert_eq!(size(&mut zero).await, 1);
        assert_eq!(timeout(SOON, lending.lend()).await.expect("in time").expect("one").index, 1);
    }

    /// A second run on the same Redis.
    fn another(server: &RedisServer, databases: Range<u32>) -> Arc<Lending> {
        Arc::new(Lending::of_somebody(server.address().clone(), databases))
    }

    #[tokio::test]
    async fn two_runs_never_get_the_same_database() {
        let Some((server, one)) = somebody(0..8).await else { return };
        let two = another(&server, 0..8);
        let all = (0..8).map(|turn| {
            let lending = Arc::clone(if turn % 2 == 0 { &one } else { &two });
            tokio::spawn(async move { timeout(SOON, lending.lend()).await.expect("in time").expect("one") })
        });
        let all: Vec<_> = all.collect();
        let mut held = Vec::new();
        for lent in all {
            held.push(lent.await.expect("it ends"));
        }
        let indices: BTreeSet<_> = held.iter().map(|database| database.index).collect();
        assert_eq!(indices.len(), 8, "{indices:?}");
        assert!(one.lend_within(QUIET).await.is_err() && two.lend_within(QUIET).await.is_err(), "all are lent");
    }

    #[tokio::test]
    async fn a_single_database_goes_from_run_to_run() {
        let Some((server, one)) = somebody(3..4).await else { return };
        let two = another(&server, 3..4);
        let database = one.lend().await.expect("it is empty");
        fill(&server, 3).await;
        let refusal = two.lend_within(QUIET).await.expect_err("the other run has it");
        assert!(matches!(refusal, RedisError::AllLent { count: 1, .. }), "{refusal}");
        assert!(refusal.to_string().contains("A run needs two at least"), "{refusal}");
        let waiting = {
            let two = Arc::clone(&two);
            tokio::spawn(async move { two.lend().await })
        };
        database.give_back().await.expect("it answers");
        let lent = timeout(SOON, waiting).await.expect("in time").expect("it ends").expect("one");
        assert_eq!(size(&mut lent.connect().await.expect("it answers")).await, 0);
    }

    #[tokio::test]
    async fn a_database_that_another_run_took_over_is_not_emptied() {
        let Some((server, one)) = somebody(0..1).await else { return };
        let database = one.lend().await.expect("it is empty");
        // As after a run that stood still for longer than its lease.
        let mut redis = fill(&server, 0).await;
        redis.set::<_, _, ()>(CLAIM, "another run").await.expect("it is set");
        one.close_the_books().await;
        assert!(database.give_back().await.is_err());
        assert_eq!(size(&mut redis).await, 1);
    }

    #[tokio::test]
    async fn a_claim_expires_unless_it_is_renewed() {
        let Some((server, one)) = somebody(0..1).await else { return };
        let database = one.lend().await.expect("it is empty");
        let mut redis = database.connect().await.expect("it answers");
        let left: u64 = redis.pttl(CLAIM).await.expect("it answers");
        assert!((1..=30_000).contains(&left), "{left}");
        redis.pexpire::<_, ()>(CLAIM, 1_000).await.expect("it answers");
        assert!(one.hold(&mut redis).await.expect("it answers"));
        let left: u64 = redis.pttl(CLAIM).await.expect("it answers");
        assert!(left > 1_000, "{left}");
        assert!(!another(&server, 0..1).hold(&mut redis).await.expect("it answers"), "it is ours alone");
    }

    #[tokio::test]
    async fn a_redis_that_has_gone_is_an_error_and_not_a_wait() {
        let Some((server, lending)) = somebody(0..1).await else { return };
        let database = lending.lend().await.expect("one");
        server.stop().await;
        assert!(timeout(SOON, database.give_back()).await.expect("in time").is_err());
        assert!(timeout(SOON, lending.lend()).await.expect("in time").is_err());
    }
}
