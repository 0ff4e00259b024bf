//! What is done to the server and its store while the workload runs, and when: drawn from the seed before it begins.

use std::{fmt, str::FromStr, time::Duration};

use rand::{RngExt, rngs::StdRng};
use tokio::time::sleep;

use super::{history::History, phase::Phases};
use crate::{bench::Bench, expect::Outcome};

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The lines of devices are cut.
    Cut,
    /// The lines of devices fall silent, and nobody tells the server.
    HalfOpen,
    /// The server is killed by SIGKILL and started again.
    Kill,
    /// The server's Redis does not answer for a while.
    RedisPause,
    /// The connections between the server and its Redis are cut.
    RedisCut,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cut, Self::HalfOpen, Self::Kill, Self::RedisPause, Self::RedisCut];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::HalfOpen => "half-open",
            Self::Kill => "kill",
            Self::RedisPause => "redis-pause",
            Self::RedisCut => "redis-cut",
        }
    }

    /// Whether it happens to devices, each by itself, and not to the server.
    pub(super) fn is_of_devices(self) -> bool {
        matches!(self, Self::Cut | Self::HalfOpen)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| format!("{text:?} is none of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// One fault of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    kind: FaultKind,
    /// The pause before it.
    after: Duration,
    lasts: Duration,
}

/// A schedule without end.
pub(super) fn schedule(kinds: Vec<FaultKind>, every: Duration, mut dice: StdRng) -> impl Iterator<Item = Fault> {
    std::iter::from_fn(move || {
        (!kinds.is_empty()).then(|| Fault {
            kind: kinds[dice.random_range(0..kinds.len())],
            after: every.mul_f64(dice.random_range(0.5..1.5)),
            lasts: Duration::from_millis(dice.random_range(200..2_500)),
        })
    })
}

/// Lets them happen while the workload is busy; all is well again when this returns.
///
/// # Errors
/// Where the server does not come back.
pub(super) async fn happen(
    server: &Bench,
    faults: impl Iterator<Item = Fault>,
    history: &History,
    mut phases: Phases,
) -> Outcome<usize> {
    let mut happened = 0;
    for fault in faults {
        tokio::select! {
            () = sleep(fault.after) => {}
            () = phases.settling() => break,
        }
        let began = history.now_us();
        match fault.kind {
            FaultKind::Kill => server.kill_and_restart().await?,
            FaultKind::RedisPause => {
                server.redis_line()?.black_hole();
                sleep(fault.lasts).await;
                server.redis_line()?.restore();
            }
            FaultKind::RedisCut => {
                server.redis_line()?.cut();
                sleep(fault.lasts).await;
                server.redis_line()?.restore();
            }
            FaultKind::Cut | FaultKind::HalfOpen => continue,
        }
        happened += 1;
        history.note_fault(began, fault.kind.name());
    }
    Ok(happened)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_seed_gives_one_schedule() {
        let of = |seed| -> Vec<_> {
            let kinds = vec![FaultKind::Kill, FaultKind::RedisCut];
            schedule(kinds, Duration::from_secs(5), StdRng::seed_from_u64(seed)).take(20).collect()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert_eq!(schedule(Vec::new(), Duration::from_secs(5), StdRng::seed_from_u64(1)).count(), 0);
    }

    #[test]
    fn every_fault_is_known_by_its_name() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("flood".parse::<FaultKind>().unwrap_err().contains("half-open"));
    }
}
