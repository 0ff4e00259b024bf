//! Where a workload is: busy, settling or over.

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Events are emitted, devices come and go, faults happen.
    Busy,
    /// No more of that: devices stay, and read what is left.
    Settling,
    /// Everyone goes home.
    Over,
}

/// What tells all parts of a workload.
#[derive(Debug)]
pub(super) struct Conductor(watch::Sender<Phase>);

/// What a part of it hears.
#[derive(Debug, Clone)]
pub(super) struct Phases(watch::Receiver<Phase>);

impl Conductor {
    pub(super) fn begin() -> (Self, Phases) {
        let (sender, receiver) = watch::channel(Phase::Busy);
        (Self(sender), Phases(receiver))
    }

    pub(super) fn announce(&self, phase: Phase) {
        self.0.send_replace(phase);
    }
}

impl Phases {
    pub(super) fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Returns when it is settling or over.
    pub(super) async fn settling(&mut self) {
        self.reach(Phase::Settling).await;
    }

    /// Returns when it is over.
    pub(super) async fn over(&mut self) {
        self.reach(Phase::Over).await;
    }

    async fn reach(&mut self, phase: Phase) {
        // A conductor that is gone announces nothing more: that is the end as well.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}
