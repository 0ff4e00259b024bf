//! Which server is the primary, as sentinels tell. Knows nothing of what the primary is for.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{Stream, StreamExt, future, stream, stream::FuturesUnordered};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::{
    Address, Sentinels, Tls,
    about::Kind,
    connect::{Connector, Locate},
    line::Line,
};
use crate::model::StoreError;

/// How long is waited for those who have not told yet: the server that they tell of has to be reached in time as well.
const TELL_WITHIN: Duration = Duration::from_millis(400);

/// How often they are asked while nothing happens.
const LOOK: Duration = Duration::from_secs(1);

/// What they say when another server has become the primary.
const SWITCH: &str = "+switch-master";

/// The sentinels, and what they call the primary.
pub(super) struct Watchers {
    lines: Vec<Line>,
    addresses: Vec<Address>,
    master: String,
}

impl Watchers {
    pub(super) fn new(sentinels: &Sentinels, tls: Option<&Tls>) -> Self {
        let line = |at: &Address| {
            let (username, password) = (sentinels.username.as_deref(), sentinels.password.as_ref());
            let connector = Connector::new(Arc::new(at.clone()), Kind::Sentinel, username, password);
            Line::new(connector.with_tls(tls.cloned()))
        };
        Self {
            lines: sentinels.addresses.iter().map(line).collect(),
            addresses: sentinels.addresses.clone(),
            master: sentinels.master.clone(),
        }
    }

    /// What most of them say, and as soon as that is sure: one that was cut off with the old primary believes in that one.
    ///
    /// # Errors
    /// Where none says anything.
    async fn primary(&self) -> Result<Address, StoreError> {
        let ends = Instant::now() + TELL_WITHIN;
        let mut asked: FuturesUnordered<_> = self.lines.iter().map(|line| self.ask(line)).collect();
        let (mut told, mut failed) = (HashMap::<Address, usize>::new(), StoreError::TimedOut(TELL_WITHIN));
        while let Ok(Some(answer)) = timeout_at(ends, asked.next()).await {
            match answer {
                Ok(address) => {
                    let votes = told.entry(address.clone()).or_default();
                    *votes += 1;
                    if 2 * *votes > self.lines.len() {
                        return Ok(address);
                    }
                }
                Err(error) => failed = error,
            }
        }
        told.into_iter().max_by_key(|(_, votes)| *votes).map(|(address, _)| address).ok_or(failed)
    }

    async fn ask(&self, line: &Line) -> Result<Address, StoreError> {
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let told: Option<(String, u16)> = line.ask(&ask).await?;
        let (host, port) = told.ok_or_else(|| StoreError::UnknownMaster(self.master.clone()))?;
        Ok(Address { host, port })
    }

    /// What the first of them that can be listened to says of switches; silence where there is none.
    async fn switches(&self) -> impl Stream<Item = ()> + Unpin {
        for (line, address) in self.lines.iter().zip(&self.addresses) {
            if let Ok(listening) = line.connector().subscribe(address, &[SWITCH.to_owned()]).await {
                return listening.map(drop).left_stream();
            }
        }
        stream::pending().right_stream()
    }
}

#[async_trait]
impl Locate for Watchers {
    async fn locate(&self) -> Result<Address, StoreError> {
        self.primary().await
    }
}

/// Keeps lines at the primary: by what sentinels say, and by asking, for what they say can be lost. Never completes.
pub(super) async fn follow(watchers: Arc<Watchers>, lines: [Line; 2]) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // With more patience than who waits for the primary; a connection is given up that brings no answer.
        let answers = future::join_all(watchers.lines.iter().map(|line| watchers.ask(line))).await;
        for (line, answer) in watchers.lines.iter().zip(answers) {
            if matches!(answer, Err(StoreError::TimedOut(_))) {
                line.give_up();
            }
        }
        let mut switches = watchers.switches().await;
        // Those who say something are chosen anew after a while: they may have been deaf for as long.
        for _ in 0..30 {
            let heard = tokio::select! {
                switch = switches.next() => switch.is_some(),
                _ = looks.tick() => true,
            };
            if let Ok(primary) = watchers.primary().await {
                lines.iter().for_each(|line| line.keep_to(&primary));
            }
            if !heard {
                break;
            }
        }
    }
}
