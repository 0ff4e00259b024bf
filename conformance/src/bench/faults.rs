//! Lines that fail, and events that are emitted until something is so.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{Bench, Emission, User};
use crate::{
    client::{Opening, Transport},
    expect::{Fault, Outcome, inconclusive, mismatch},
    netns::Namespace,
    proxy::Proxy,
};

/// How often to look again.
const POLL: Duration = Duration::from_millis(50);
/// How long a server may take to come back to its store by itself.
const RECOVERY: Duration = Duration::from_secs(10);

impl Bench {
    /// A line of its own to this server, for one client.
    ///
    /// # Errors
    /// Where no port is to be had.
    pub async fn line(&self) -> Outcome<Proxy> {
        Proxy::start(self.upstream()).await.map_err(|error| inconclusive(format!("a proxy before the server: {error}")))
    }

    /// A line that takes so many bytes a second from this server, with a small receive buffer: whoever is connected over it, by
    /// WebSocket or by polling, reads slowly. [`Proxy::black_hole`] makes it one that does not read at all.
    ///
    /// # Errors
    /// Where no port is to be had.
    pub async fn slow_line(&self, bytes_a_second: u64) -> Outcome<Proxy> {
        let started = Proxy::narrow(self.upstream(), bytes_a_second).await;
        started.map_err(|error| inconclusive(format!("a proxy before the server: {error}")))
    }

    /// A line of which the other end is in a network namespace, to this server, which must listen on all addresses.
    ///
    /// # Errors
    /// Where no port is to be had.
    pub async fn line_from_within(&self, namespace: &Arc<Namespace>) -> Outcome<Proxy> {
        let port = self.upstream().rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| inconclusive(format!("no port in {}", self.base())))?;
        let upstream = (namespace.host(), port).into();
        let started = Proxy::from_within(Arc::clone(namespace), upstream).await;
        started.map_err(|error| inconclusive(format!("a proxy before the server: {error}")))
    }

    fn upstream(&self) -> String {
        self.base().trim_start_matches("http://").to_owned()
    }

    /// How to open a connection to this server over that line.
    pub fn opening_over(&self, line: &Proxy, transport: Transport) -> Opening {
        Opening::new(&format!("http://{}", line.address()), transport)
    }

    /// The line between this server and its Redis.
    ///
    /// # Errors
    /// Where the suite did not give it one, and where the server goes past any such line.
    pub fn redis_line(&self) -> Outcome<&Proxy> {
        if self.server().asks_where_its_redis_is() {
            let reason = "the server asks sentinels or a cluster where its Redis is: no line of the suite's is between";
            return Err(Fault::NotApplicable(reason.to_owned()));
        }
        self.server().proxy().ok_or_else(|| inconclusive("the server has no Redis of the suite's"))
    }

    /// Emits events for `user`, numbered from `first` on, until one is answered with the delivery `queued`; returns the
    /// number of that one.
    ///
    /// # Errors
    /// Where the user counts as connected for longer than `within`.
    pub async fn emit_until_away(&self, user: &User, first: usize, within: Duration) -> Outcome<usize> {
        // So that all of them have room in a queue (QUEUE-03), whenever a right server finds out.
        let pace = POLL.max(within / 40);
        let deadline = Instant::now() + within;
        let mut n = first;
        while !self.found_away(&self.numbered(user, n), deadline).await? {
            n += 1;
            sleep_until((Instant::now() + pace).min(deadline)).await;
        }
        Ok(n)
    }

    async fn found_away(&self, event: &Emission, deadline: Instant) -> Outcome<bool> {
        let answer = self.control("POST", "/events", &event.body()).await?;
        answer.expect_status(202)?;
        let away = answer.json()["delivery"] == "queued";
        if !away && Instant::now() > deadline {
            return Err(mismatch("the user away by then", answer.describe()));
        }
        Ok(away)
    }

    /// Emits the event `n` for `user`, as often as it takes until it is accepted.
    ///
    /// # Errors
    /// Where it is not accepted in time.
    pub async fn emit_until_accepted(&self, user: &User, n: usize) -> Outcome {
        let deadline = Instant::now() + RECOVERY;
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            poll.tick().await;
            match self.emit(&self.numbered(user, n)).await {
                Err(Fault::Mismatch { .. }) if Instant::now() < deadline => {}
                outcome => return outcome,
            }
        }
    }
}
