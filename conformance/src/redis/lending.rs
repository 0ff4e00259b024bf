//! Lends the databases of one Redis, each to one server under test at a time. What holds somebody's data is never lent, and
//! only what was lent is emptied.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redis::{RedisResult, aio::MultiplexedConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{RedisAddress, RedisError, connect};

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
    lent: BTreeSet<u32>,
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
        let none = || RedisError::NoEmptyDatabase(self.address.clone());
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| none())?;
            let index = self.books().next().ok_or_else(none)?;
            match self.prepare(index).await {
                Ok(true) => {
                    let debt = Some(Debt { lender: Arc::clone(self), place });
                    return Ok(Database { address: self.address.clone(), index, debt });
                }
                Ok(false) => self.retire(index, place),
                Err(error) => {
                    self.books().back(index);
                    return Err(error.into());
                }
            }
        }
    }

    /// Empties what servers that were not stopped still have of somebody's Redis.
    pub(super) async fn empty_what_is_lent(&self) {
        let lent = self.books().lent.clone();
        for index in lent {
            // The last thing that the run does with this Redis: there is nobody left to tell.
            let _ = self.flush(index).await;
        }
    }

    fn new(address: RedisAddress, our_own: bool, databases: Range<u32>) -> Self {
        let places = Arc::new(Semaphore::new(databases.len()));
        let books = Mutex::new(Books { free: databases.collect(), lent: BTreeSet::new() });
        Self { address, our_own, books, places }
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
        if books.free.is_empty() && books.lent.is_empty() {
            self.places.close();
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn next(&mut self) -> Option<u32> {
        let index = self.free.pop_front()?;
        self.lent.insert(index);
        Some(index)
    }

    fn back(&mut self, index: u32) {
        self.lent.remove(&index);
        self.free.push_back(index);
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
        match self.debt.take() {
            Some(debt) => debt.settle(self.index).await,
            None => Ok(()),
        }
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
        assert!(timeout(QUIET, lending.lend()).await.is_err(), "all are lent");
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
    async fn a_database_that_holds_data_is_neither_lent_nor_touched() {
        let Some((server, lending)) = somebody(0..3).await else { return };
        let mut zero = fill(&server, 0).await;
        fill(&server, 1).await;
        let lent = lending.lend().await.expect("the third is empty");
        assert_eq!(lent.index, 2);
        fill(&server, 2).await;
        lending.empty_what_is_lent().await;
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
        assert!(timeout(QUIET, lending.lend()).await.is_err(), "the rest do not exist: the last one is waited for");
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
