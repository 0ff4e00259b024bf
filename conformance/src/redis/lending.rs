//! Lends the databases of one Redis, each to one server under test at a time. What holds somebody's data is never lent, and
//! only what was lent is emptied.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{RedisResult, aio::MultiplexedConnection};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{RedisAddress, RedisError, connect};

/// How long to wait for a database while all are lent: less than a case may take, which can then say why it was not run.
const LEND_LIMIT: Duration = Duration::from_secs(45);
/// How long to wait at the end for databases that are about to be given back.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(2);

/// Which databases are free and which are lent.
#[derive(Debug)]
pub(super) struct Lending {
    address: RedisAddress,
    /// Whether the suite has started this Redis, so that nothing in it can be anybody else's.
    our_own: bool,
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
    /// `None` once it was given back.
    debt: Option<Debt>,
}

#[derive(Debug)]
struct Debt {
    lender: Arc<Lending>,
    place: OwnedSemaphorePermit,
}

impl Lending {
    /// All databases of a Redis that the suite has started.
    pub(super) fn of_our_own(address: RedisAddress, count: u32) -> Self {
        Self::new(address, true, 0..count)
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
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| none())?;
            let candidate = self.candidate().ok_or_else(none)?;
            if self.prepare(candidate.index).await? {
                let index = candidate.leaves();
                self.books().lent.insert(index);
                let debt = Some(Debt { lender: Arc::clone(self), place });
                return Ok(Database { address: self.address.clone(), index, debt });
            }
            self.retire(candidate.leaves(), place);
        }
    }

    /// Waits a moment for what is being given back, and empties what is not.
    pub(super) async fn close_the_books(&self) {
        let count = u32::try_from(self.books().count).unwrap_or(u32::MAX);
        let _ = timeout(GIVE_BACK_LIMIT, self.places.acquire_many(count)).await;
        let lent = self.books().lent.clone();
        for index in lent {
            // The last thing that the run does with this Redis: there is nobody left to tell.
            let _ = self.flush(index).await;
        }
    }

    fn new(address: RedisAddress, our_own: bool, databases: Range<u32>) -> Self {
        let places = Arc::new(Semaphore::new(databases.len()));
        let count = databases.len();
        let books = Mutex::new(Books { free: databases.collect(), lent: BTreeSet::new(), count });
        Self { address, our_own, books, places }
    }

    fn candidate(&self) -> Option<Candidate<'_>> {
        let index = self.books().free.pop_front()?;
        Some(Candidate { lender: self, index, stays: true })
    }

    /// Whether the database is empty now.
    async fn prepare(&self, index: u32) -> RedisResult<bool> {
        let mut redis = match connect(&self.address, index).await {
            Ok(redis) => redis,
            // It answers, but has fewer databases than was assumed.
            Err(error) if !error.is_io_error() && !error.is_timeout() => return Ok(false),
            Err(error) => return Err(error),
        };
        let size: u64 = redis::cmd("DBSIZE").query_async(&mut redis).await?;
        if size > 0 && self.our_own {
            // The last words of the server that had it before.
            redis::cmd("FLUSHDB").query_async::<()>(&mut redis).await?;
        }
        Ok(size == 0 || self.our_own)
    }

    async fn flush(&self, index: u32) -> RedisResult<()> {
        redis::cmd("FLUSHDB").query_async(&mut connect(&self.address, index).await?).await
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

    /// Empties the database for the next server.
    pub(super) async fn give_back(mut self) -> RedisResult<()> {
        let Some(debt) = self.debt.take() else { return Ok(()) };
        // A task of its own, for a case may be given up at any point, and the books must be right all the same.
        let settled = tokio::spawn(debt.settle(self.index)).await;
        settled.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(debt) = self.debt.take() else { return };
        let index = self.index;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { debt.settle(index).await })),
            Err(_) => debt.lender.retire(index, debt.place),
        }
    }
}

impl Debt {
    async fn settle(self, index: u32) -> RedisResult<()> {
        let flushed = self.lender.flush(index).await;
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

    use redis::AsyncCommands;
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

    async fn size(redis: &mut MultiplexedConnection) -> u64 {
        redis::cmd("DBSIZE").query_async(redis).await.expect("it answers")
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

    #[tokio::test]
    async fn a_redis_that_has_gone_is_an_error_and_not_a_wait() {
        let Some((server, lending)) = somebody(0..1).await else { return };
        let database = lending.lend().await.expect("one");
        server.stop().await;
        assert!(timeout(SOON, database.give_back()).await.expect("in time").is_err());
        assert!(timeout(SOON, lending.lend()).await.expect("in time").is_err());
    }
}
