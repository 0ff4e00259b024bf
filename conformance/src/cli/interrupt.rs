//! SIGINT and SIGTERM: containers and processes end with the run.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from its creation on: a signal that comes between two waits, or before the first, is not lost, and does not
/// end the process with its children still running.
pub(super) struct Interrupt {
    terminate: Signal,
    interrupt: Signal,
}

impl Interrupt {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when either has come.
    pub(super) async fn came(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
