//! Ways to fail, and when each happens: drawn from the seed before the workload begins. Knows nothing of how they are done.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use rand::{RngExt, rngs::StdRng};

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The lines of devices are cut.
    Cut,
    /// The lines of devices fall silent, and nobody tells the server.
    HalfOpen,
    /// A node is killed by SIGKILL and started again.
    Kill,
    /// Redis answers no node for a while.
    RedisPause,
    /// The connections between a node and Redis are cut for a while.
    RedisCut,
    /// Redis ends, and starts again with its data.
    RedisRestart,
    /// A primary is killed, and comes back as a replica once it has a successor.
    Primary,
    /// A slot of a Redis Cluster that holds something moves to another primary.
    Migrate,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Cut,
        Self::HalfOpen,
        Self::Kill,
        Self::RedisPause,
        Self::RedisCut,
        Self::RedisRestart,
        Self::Primary,
        Self::Migrate,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::HalfOpen => "half-open",
            Self::Kill => "kill",
            Self::RedisPause => "redis-pause",
            Self::RedisCut => "redis-cut",
            Self::RedisRestart => "redis-restart",
            Self::Primary => "primary",
            Self::Migrate => "migrate",
        }
    }

    /// Whether it happens to devices, each by itself, and not to the servers.
    pub fn is_of_devices(self) -> bool {
        matches!(self, Self::Cut | Self::HalfOpen)
    }

    /// Whether it happens to one node, and not to all.
    pub(super) fn is_of_a_node(self) -> bool {
        matches!(self, Self::Kill | Self::RedisCut)
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

/// What fails; of a fault of the servers or of Redis, also the mean time between two of its kind, where it has one of its own.
pub type Faults = BTreeMap<FaultKind, Option<Duration>>;

/// One fault of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// When, since the beginning.
    pub(super) at: Duration,
    /// To which node, where it happens to one.
    pub(super) node: usize,
    pub(super) lasts: Duration,
}

/// A schedule without end, by time. Kinds without a mean time of their own take turns, as the dice say, every `every`.
pub(super) fn schedule(
    faults: &Faults,
    every: Duration,
    nodes: usize,
    dice: impl Fn(u64) -> StdRng,
) -> impl Iterator<Item = Fault> {
    let of_servers = || faults.iter().filter(|(kind, _)| !kind.is_of_devices());
    let taking_turns: Vec<_> = of_servers().filter(|(_, own)| own.is_none()).map(|(kind, _)| *kind).collect();
    let alone = of_servers().filter_map(|(kind, own)| Some((vec![*kind], (*own)?)));
    let groups = std::iter::once((taking_turns, every)).filter(|(kinds, _)| !kinds.is_empty()).chain(alone);
    let mut streams: Vec<_> =
        (0..).zip(groups).map(|(number, (kinds, every))| Stream::new(kinds, every, nodes, dice(number))).collect();
    std::iter::from_fn(move || streams.iter_mut().min_by_key(|stream| stream.next.at).map(Stream::advance))
}

/// Faults of some kinds, one after the other.
struct Stream {
    kinds: Vec<FaultKind>,
    every: Duration,
    nodes: usize,
    dice: StdRng,
    next: Fault,
}

impl Stream {
    fn new(kinds: Vec<FaultKind>, every: Duration, nodes: usize, mut dice: StdRng) -> Self {
        let next = draw(&kinds, every, nodes, Duration::ZERO, &mut dice);
        Self { kinds, every, nodes, dice, next }
    }

    fn advance(&mut self) -> Fault {
        let next = draw(&self.kinds, self.every, self.nodes, self.next.at, &mut self.dice);
        std::mem::replace(&mut self.next, next)
    }
}

fn draw(kinds: &[FaultKind], every: Duration, nodes: usize, after: Duration, dice: &mut StdRng) -> Fault {
    Fault {
        kind: kinds[dice.random_range(0..kinds.len())],
        at: after + every.mul_f64(dice.random_range(0.5..1.5)),
        node: dice.random_range(0..nodes),
        lasts: Duration::from_millis(dice.random_range(200..2_500)),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    fn drawn(faults: &[(FaultKind, Option<u64>)], seed: u64) -> Vec<Fault> {
        let faults = faults.iter().map(|(kind, own)| (*kind, own.map(Duration::from_secs))).collect();
        schedule(&faults, EVERY, 3, |stream| StdRng::seed_from_u64(seed + stream)).take(100).collect()
    }

    #[test]
    fn a_seed_gives_one_schedule() {
        let kinds = [(FaultKind::Kill, None), (FaultKind::RedisCut, None)];
        assert_eq!(drawn(&kinds, 1), drawn(&kinds, 1));
        assert_ne!(drawn(&kinds, 1), drawn(&kinds, 2));
        assert_eq!(drawn(&[], 1), []);
        assert_eq!(drawn(&[(FaultKind::Cut, None)], 1), [], "devices have dice of their own");
    }

    #[test]
    fn kinds_take_turns_and_every_node_has_its_share() {
        let drawn = drawn(&[(FaultKind::Kill, None), (FaultKind::RedisRestart, None)], 1);
        for kind in [FaultKind::Kill, FaultKind::RedisRestart] {
            assert!(drawn.iter().filter(|fault| fault.kind == kind).count() > 20, "{kind}");
        }
        for node in 0..3 {
            assert!(drawn.iter().filter(|fault| fault.node == node).count() > 10, "{node}");
        }
        let mean = drawn.last().expect("one").at.as_secs_f64() / 100.0;
        assert!((4.0..6.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_kind_with_a_time_of_its_own_keeps_it_and_all_stand_by_time() {
        let drawn = drawn(&[(FaultKind::Kill, Some(30)), (FaultKind::RedisRestart, Some(120))], 1);
        assert!(drawn.is_sorted_by_key(|fault| fault.at));
        let restarts = drawn.iter().filter(|fault| fault.kind == FaultKind::RedisRestart).count();
        assert!((15..25).contains(&restarts), "one in five: {restarts}");
    }

    #[test]
    fn every_fault_is_known_by_its_name() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert!("flood".parse::<FaultKind>().unwrap_err().contains("half-open"));
    }
}
