//! A store that is away in each of the ways in which it can be, and how that shows.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::control::body_for;
use crate::{
    bench::{Answer, Bench, User, no_redis},
    expect::{Outcome, mismatch},
    redis::RedisServer,
};

/// How soon the store's state shows, how soon all works again, and how long an answer may take meanwhile.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// How long to wait before what was refused is tried again.
pub(crate) const AGAIN: Duration = Duration::from_millis(50);

/// How a store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    Ended,
    StandingStill,
    CutOff,
    Silent,
    Replica,
    Full,
    Evicting,
}

/// A server, and a store that can go away.
pub(crate) struct Outage {
    pub(crate) server: Bench,
    redis: Option<Arc<RedisServer>>,
    away: Away,
}

impl Outage {
    pub(crate) async fn prepare(t: &Bench, away: Away) -> Outcome<Self> {
        if matches!(away, Away::CutOff | Away::Silent) {
            return Ok(Self { server: t.own_server(&[]).await?, redis: None, away });
        }
        let redis = t.own_redis(true).await?;
        Ok(Self { server: t.own_server_on(&redis).await?, redis: Some(redis), away })
    }

    pub(crate) async fn begins(&self) -> Outcome {
        self.server.transcript().note(format!("the store goes away: {:?}", self.away));
        let Some(redis) = &self.redis else {
            let line = self.server.redis_line()?;
            if self.away == Away::Silent {
                line.black_hole()
            } else {
                line.cut()
            }
            return Ok(());
        };
        let done = match self.away {
            Away::Ended => redis.halt().await,
            Away::Replica => redis.refuse_writes().await,
            Away::Full => redis.set("maxmemory", "1").await,
            Away::Evicting => redis.evict().await,
            _ => redis.pause().await,
        };
        done.map_err(|error| no_redis(&error))
    }

    pub(crate) async fn ends(&self) -> Outcome {
        let done = match (&self.redis, self.away) {
            (None, _) => {
                self.server.redis_line()?.restore();
                Ok(())
            }
            (Some(redis), Away::Ended) => redis.begin().await,
            (Some(redis), Away::Replica) => redis.take_writes().await,
            (Some(redis), Away::Full | Away::Evicting) => redis.set("maxmemory", "0").await,
            (Some(redis), _) => redis.resume().await,
        };
        self.server.transcript().note("the store returns");
        done.map_err(|error| no_redis(&error))
    }
}

/// Two nodes on a Redis of the case's own.
pub(crate) async fn nodes_on(t: &Bench, keeps: bool) -> Outcome<(Arc<RedisServer>, Bench, Bench)> {
    let redis = t.own_redis(keeps).await?;
    let first = t.own_server_on(&redis).await?;
    let second = first.node_beside().await?;
    Ok((redis, first, second))
}

/// An answer that comes in time.
pub(crate) async fn in_time(answer: impl Future<Output = Outcome<Answer>>) -> Outcome<Answer> {
    timeout(SOON, answer).await.map_err(|_| mismatch(format!("an answer within {SOON:?}"), "none"))?
}

/// An emission is answered with this status, and in time.
pub(crate) async fn answered(t: &Bench, user: &User, n: usize, status: u16) -> Outcome {
    in_time(t.control("POST", "/events", &body_for(user, n))).await?.expect_status(status)
}

/// Emits events from `first` on until one is accepted; returns its number.
pub(crate) async fn emit_until_accepted(t: &Bench, user: &User, first: usize, deadline: Instant) -> Outcome<usize> {
    let mut n = first;
    loop {
        let answer = t.control("POST", "/events", &body_for(user, n)).await?;
        if answer.status == 202 {
            return Ok(n);
        }
        answer.expect_status(503)?;
        if Instant::now() > deadline {
            return Err(mismatch("an event accepted by then", answer.describe()));
        }
        n += 1;
        sleep(AGAIN).await;
    }
}
