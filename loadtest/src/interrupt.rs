//! SIGINT and SIGTERM: servers and containers end with the run.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};

/// How often goose is asked.
const POLL: Duration = Duration::from_millis(200);

/// Listens from its creation on.
#[derive(Debug)]
pub struct Interrupt {
    terminate: Signal,
    interrupt: Signal,
}

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when either has come. Goose takes SIGINT for itself from its first attack on, and is asked for it.
    pub async fn came(&mut self) {
        let mut poll = interval(POLL);
        while !goose::is_killswitch_triggered() {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = poll.tick() => {}
            }
        }
    }
}
