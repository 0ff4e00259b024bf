//! What a run is asked to do, with the defaults of its scenario filled in. Knows nothing of the command line.

use std::{path::PathBuf, time::Duration};

/// Everything that a scenario may look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Receivers at a time.
    pub connections: usize,
    /// Different users.
    pub users: usize,
    /// Events, or connects, a second; `None` in closed loop.
    pub rate: Option<f64>,
    /// Requests, or connects, that are under way at most.
    pub emitters: usize,
    /// Events in one request.
    pub batch: usize,
    /// Bytes of a delivered payload, about.
    pub payload_bytes: usize,
    /// Not measured, before the clock starts.
    pub warmup: Duration,
    /// For how long it is measured.
    pub duration: Duration,
    /// Decides every random choice.
    pub seed: u64,
    /// The bound on p99 of `ramp`.
    pub bound: Duration,
    /// Bytes a second that the slow receivers of `slow` read; `None` where they only stand still.
    pub slow_rate: Option<u64>,
    /// Misbehaving clients of one user in `slow`.
    pub misbehaving: usize,
    /// Goose's own reports.
    pub goose_reports: Vec<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 1_000,
            users: 1_000,
            rate: None,
            emitters: 32,
            batch: 1,
            payload_bytes: 300,
            warmup: Duration::from_secs(3),
            duration: Duration::from_secs(30),
            seed: 1,
            bound: Duration::from_millis(5),
            slow_rate: None,
            misbehaving: 0,
            goose_reports: Vec::new(),
        }
    }
}
