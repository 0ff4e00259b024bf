//! Emits the events of one user, one after the other, so that their numbers are the order in which they were accepted.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};
use tokio::time::sleep;

use super::{
    contents::Contents,
    history::{History, What},
    phase::{Phase, Phases},
    system::{System, own_fault},
    unseen::Unseen,
};
use crate::{
    bench::{Bench, Emission},
    expect::Outcome,
};

/// How many events of a user may be unseen before the next is emitted: below any queue's cap, so that none is dropped.
const UNSEEN_AT_MOST: usize = 30;

pub(super) struct Emitter {
    pub(super) system: System,
    /// What the events say, and of which user they are.
    pub(super) contents: Contents,
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
            // Always as many dice, so that a run repeats another's choices, however it goes.
            let node = self.dice.random_range(0..self.system.nodes.len());
            let pause = self.pause.mul_f64(self.dice.random_range(0.0..2.0));
            let n = self.unseen.next();
            let (event, number) = (self.contents.event(n), self.contents.number);
            self.history.note(number, node, What::Emitting { n, bytes: event.body().to_string().len() });
            let outcome = one(&self.system.nodes[node], n, &event).await.unwrap_or_else(|fault| {
                if let Some(why) = own_fault(&fault) {
                    self.history.note(number, node, What::OwnFault { why });
                }
                What::Unanswered { n, why: fault.to_string() }
            });
            if !matches!(outcome, What::Accepted { .. }) {
                self.unseen.seen(n);
            }
            self.history.note(number, node, outcome);
            sleep(pause).await;
        }
    }
}

async fn one(node: &Bench, n: u64, event: &Emission) -> Outcome<What> {
    if !node.target().declares("control") {
        node.emit(event).await?;
        return Ok(What::Accepted { n, event_id: None, delivery: None });
    }
    let answer = node.control("POST", "/events", &event.body()).await?;
    if answer.status != 202 {
        return Ok(What::Refused { n, why: answer.describe() });
    }
    let receipt = answer.json();
    let text = |name: &str| receipt[name].as_str().map(str::to_owned);
    Ok(What::Accepted { n, event_id: text("eventId"), delivery: text("delivery") })
}
