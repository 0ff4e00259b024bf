//! Emits the events of one user, one after the other, so that their numbers are the order in which they were accepted.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};
use tokio::time::sleep;

use super::{
    history::{History, What},
    phase::{Phase, Phases},
    unseen::Unseen,
};
use crate::{
    bench::{Bench, User},
    expect::Outcome,
};

/// How many events of a user may be unseen before the next is emitted: below any queue's cap, so that none is dropped.
const UNSEEN_AT_MOST: usize = 30;

pub(super) struct Emitter {
    pub(super) bench: Bench,
    pub(super) user: User,
    /// The user's number.
    pub(super) number: usize,
    /// The mean pause between two events.
    pub(super) pause: Duration,
    pub(super) dice: StdRng,
    pub(super) history: History,
    pub(super) unseen: Unseen,
    pub(super) phases: Phases,
}

impl Emitter {
    /// While the workload is busy.
    pub(super) async fn emit(mut self) {
        while self.phases.now() == Phase::Busy {
            tokio::select! {
                () = self.unseen.at_most(UNSEEN_AT_MOST) => {}
                () = self.phases.settling() => return,
            }
            let n = self.unseen.next();
            self.history.note(self.number, What::Emitting { n });
            let outcome = self.one(n).await.unwrap_or_else(|fault| What::Unanswered { n, why: fault.to_string() });
            if !matches!(outcome, What::Accepted { .. }) {
                self.unseen.seen(n);
            }
            self.history.note(self.number, outcome);
            sleep(self.pause.mul_f64(self.dice.random_range(0.0..2.0))).await;
        }
    }

    async fn one(&self, n: u64) -> Outcome<What> {
        let event = self.bench.numbered(&self.user, usize::try_from(n).unwrap_or(usize::MAX));
        if !self.bench.target().declares("control") {
            self.bench.emit(&event).await?;
            return Ok(What::Accepted { n, event_id: None, delivery: None });
        }
        let answer = self.bench.control("POST", "/events", &event.body()).await?;
        if answer.status != 202 {
            return Ok(What::Refused { n, why: answer.describe() });
        }
        let receipt = answer.json();
        let text = |name: &str| receipt[name].as_str().map(str::to_owned);
        Ok(What::Accepted { n, event_id: text("eventId"), delivery: text("delivery") })
    }
}
