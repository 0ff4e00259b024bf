//! One connection: whether it has said anything yet, is busy, or rests, and how long it may. Knows nothing of what it carries.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, Sleep},
};

use super::{Gate, Place};
use crate::mutex::Mutex;

/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Seat {
    gate: Arc<Gate>,
    id: u64,
    is_spare: bool,
    evicted: Arc<Notify>,
    keep_alive: Duration,
    phase: Mutex<Phase>,
}

struct Phase {
    /// Until its first request is there.
    silent: Option<Place>,
    /// How many requests of it are at work or being answered.
    in_hand: usize,
    /// A head has begun.
    reading: bool,
    since: Instant,
}

impl Seat {
    pub(super) fn new(
        gate: Arc<Gate>,
        place: Place,
        is_spare: bool,
        evicted: Arc<Notify>,
        keep_alive: Duration,
    ) -> Arc<Self> {
        let id = place.id;
        let phase = Phase { silent: Some(place), in_hand: 0, reading: false, since: Instant::now() };
        Arc::new(Self { gate, id, is_spare, evicted, keep_alive, phase: Mutex::new(phase) })
    }

    /// Whether it is beyond the bound, for requests that are not of Socket.IO.
    pub(crate) fn is_spare(&self) -> bool {
        self.is_spare
    }

    /// It has something at work until that is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InHand {
        let mut phase = self.phase.lock();
        let silent = phase.silent.take();
        phase.in_hand += 1;
        if phase.in_hand == 1 && silent.is_none() {
            self.gate.lock().idle.remove(&self.id);
        }
        drop((phase, silent));
        InHand(self.clone())
    }

    fn end(&self) {
        let mut phase = self.phase.lock();
        phase.in_hand -= 1;
        if phase.in_hand == 0 {
            (phase.reading, phase.since) = (false, Instant::now());
            self.gate.lock().idle.insert(self.id, self.evicted.clone());
        }
    }

    /// Something was read from it.
    pub(crate) fn read(&self) {
        let mut phase = self.phase.lock();
        if phase.in_hand == 0 && phase.silent.is_none() && !phase.reading {
            (phase.reading, phase.since) = (true, Instant::now());
        }
    }

    /// Completes when it has to make room for another.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Whether nothing is lost with it.
    pub(crate) fn may_go(&self) -> bool {
        self.phase.lock().in_hand == 0
    }

    /// Completes when it has said too little for too long. To be polled whenever something may have changed.
    pub(crate) async fn overdue(&self, mut sleep: Pin<&mut Sleep>) {
        poll_fn(|cx| {
            let Some(until) = self.deadline() else { return Poll::Pending };
            if sleep.deadline() != until {
                sleep.as_mut().reset(until);
            }
            sleep.as_mut().poll(cx)
        })
        .await;
    }

    fn deadline(&self) -> Option<Instant> {
        let phase = self.phase.lock();
        let may_take = if phase.silent.is_some() || phase.reading { HEAD_TIMEOUT } else { self.keep_alive };
        (phase.in_hand == 0).then(|| phase.since + may_take)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.leave_seat(self.id);
    }
}

/// A request that is at work or being answered, or a WebSocket.
pub(crate) struct InHand(Arc<Seat>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.end();
    }
}
