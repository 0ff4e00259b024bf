//! `churn`: a seeded workload of users whose devices come and go while events are emitted and things fail, and a checker that
//! holds the whole history against the contract. Knows the bench; what is right it leaves to [`check`].

pub mod check;
mod contents;
mod device;
mod dice;
mod emitter;
pub mod faults;
pub mod history;
mod pace;
mod phase;
mod plan;
mod strike;
mod system;
mod unseen;
mod upgrade;
pub mod way;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use self::{
    check::{Kind, Promise, Violation},
    contents::Contents,
    device::Device,
    dice::{Part, dice},
    emitter::Emitter,
    faults::{FaultKind, Faults},
    history::{History, Record, What},
    phase::{Conductor, Phase},
    plan::{Choices, Leaving},
    system::System,
    unseen::Unseen,
    way::Way,
};
use crate::{
    bench::{Bench, Suite},
    expect::Outcome,
    instance::Changes,
};

/// How long everything that was accepted may take to arrive once nothing fails any more.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// How long an event may take to a user who is connected, while nothing fails.
const WITHIN: Duration = Duration::from_secs(5);
/// How long everyone may take to go home.
const HOME_LIMIT: Duration = Duration::from_secs(15);

/// What is to happen. The same workload draws the same dice, in every part by itself.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Decides every random choice.
    pub seed: u64,
    /// How long events are emitted.
    pub duration: Duration,
    /// How many servers, on one database.
    pub nodes: usize,
    /// How many users.
    pub users: usize,
    /// How many devices each has.
    pub devices: usize,
    /// The mean pause between two events for one user.
    pub pause: Duration,
    /// How devices' packets travel.
    pub ways: BTreeSet<Way>,
    /// Of a hundred stays of devices, how many read slowly.
    pub slow_percent: u32,
    /// Whether devices acknowledge.
    pub acknowledging: bool,
    /// What fails.
    pub faults: Faults,
    /// Where primaries do: how many replicas must have what is written.
    pub min_replicas: u8,
    /// The mean time between two faults of the servers or of Redis that have none of their own.
    pub fault_every: Duration,
}

/// What has happened, and what was wrong with it.
#[derive(Debug)]
pub struct Report {
    /// Everything, by time.
    pub records: Vec<Record>,
    /// What was wrong, by time.
    pub violations: Vec<Violation>,
    /// How many accepted events were lost with a primary, where that is allowed.
    pub forgotten: usize,
    /// How much of everything there was.
    pub tally: Tally,
    /// The first thing that the suite itself could not do: then there is no verdict.
    pub own_fault: Option<String>,
}

/// How much of everything there was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Events that were emitted.
    pub emitted: usize,
    /// Those that were accepted.
    pub accepted: usize,
    /// Those that were refused.
    pub refused: usize,
    /// Those without an answer.
    pub unanswered: usize,
    /// Events that arrived at devices, duplicates included.
    pub arrivals: usize,
    /// Connections that were accepted.
    pub connections: usize,
    /// Those of them that poll from the first to the last.
    pub polling: usize,
    /// Those that were upgraded.
    pub upgraded: usize,
    /// Those whose upgrade came to nothing as it was to.
    pub upgrades_failed: usize,
    /// Those that read slowly.
    pub slow: usize,
    /// Connections that broke, by whomever.
    pub broken: usize,
    /// Faults of the servers and of Redis.
    pub faults: usize,
}

impl Tally {
    fn of(records: &[Record]) -> Self {
        let mut tally = Self::default();
        for record in records {
            let count = match record.what {
                What::Emitting { .. } => &mut tally.emitted,
                What::Accepted { .. } => &mut tally.accepted,
                What::Refused { .. } => &mut tally.refused,
                What::Unanswered { .. } => &mut tally.unanswered,
                What::Received { .. } => &mut tally.arrivals,
                What::Connected { way, bytes_a_second, .. } => {
                    tally.polling += usize::from(way == Way::Polling);
                    tally.slow += usize::from(bytes_a_second.is_some());
                    &mut tally.connections
                }
                What::Upgraded(_) => &mut tally.upgraded,
                What::UpgradeFailed { .. } => &mut tally.upgrades_failed,
                What::Closed { .. } | What::Broken { .. } => &mut tally.broken,
                What::Fault { .. } => &mut tally.faults,
                What::NotConnected { .. }
                | What::NotUpgraded { .. }
                | What::Stray { .. }
                | What::Missed { .. }
                | What::Connecting(_)
                | What::Leaving(_)
                | What::Left(_)
                | What::OwnFault { .. } => continue,
            };
            *count += 1;
        }
        tally
    }
}

/// Lets the workload happen to servers of its own, and checks the history.
///
/// # Errors
/// Where a server or its Redis cannot be started, or does not come back after a fault.
pub async fn run(suite: &Arc<Suite>, workload: &Workload) -> Outcome<Report> {
    system::allow_open_files();
    let bench = Bench::new(Arc::clone(suite), "churn", 0);
    let report = on(&bench, workload).await;
    bench.finish().await;
    report
}

async fn on(bench: &Bench, workload: &Workload) -> Outcome<Report> {
    let fails = workload.nodes > 1 || workload.faults.keys().any(|kind| !kind.is_of_devices());
    let system = match fails {
        true => {
            let of_its_own = [FaultKind::RedisRestart, FaultKind::Primary, FaultKind::Migrate];
            let own_redis = of_its_own.iter().any(|kind| workload.faults.contains_key(kind));
            System::start(bench, workload.nodes, own_redis, &workload.changes()).await?
        }
        false => System::shared(bench),
    };
    let history = History::begin();
    let (conductor, phases) = Conductor::begin();
    let (mut devices, mut emitters, mut unseen) = (JoinSet::new(), JoinSet::new(), Vec::new());
    for number in 0..workload.users {
        let user = system.nodes[0].user().await?;
        let of_user = Unseen::default();
        let contents = Contents { seed: workload.seed, number, user: user.id.clone() };
        for device in 0..workload.devices {
            let device = Device {
                system: system.clone(),
                user: user.clone(),
                contents: contents.clone(),
                device,
                acknowledging: workload.acknowledging,
                choices: workload.choices(),
                dice: dice(workload.seed, Part::Device(device), number),
                history: history.clone(),
                unseen: of_user.clone(),
                phases: phases.clone(),
            };
            devices.spawn(device.live());
        }
        let emitter = Emitter {
            system: system.clone(),
            contents,
            pause: workload.pause,
            dice: dice(workload.seed, Part::Emitter, number),
            history: history.clone(),
            unseen: of_user.clone(),
            phases: phases.clone(),
        };
        emitters.spawn(emitter.emit());
        unseen.push(of_user);
    }
    let of_faults = |stream| dice(workload.seed, Part::Faults(stream), 0);
    let schedule = faults::schedule(&workload.faults, workload.fault_every, workload.nodes, of_faults);
    let (failed, ()) = tokio::join!(strike::happen(&system, schedule, &history, phases), async {
        sleep(workload.duration).await;
        conductor.announce(Phase::Settling);
    });
    while emitters.join_next().await.is_some() {}
    // What is missing after that the checker will say.
    let settled = async {
        for of_user in &unseen {
            of_user.at_most(0).await;
        }
    };
    let _ = timeout(SETTLE_LIMIT, settled).await;
    conductor.announce(Phase::Over);
    let _ = timeout(HOME_LIMIT, async { while devices.join_next().await.is_some() {} }).await;
    devices.shutdown().await;
    failed?;
    let records = history.records();
    let promise = Promise {
        acknowledging: workload.acknowledging,
        one_node: workload.nodes == 1,
        replicated: workload.min_replicas > 0,
        within: WITHIN,
    };
    let own_fault = records.iter().find_map(|record| match &record.what {
        What::OwnFault { why } => Some(why.clone()),
        _ => None,
    });
    let (forgotten, violations): (Vec<_>, Vec<_>) =
        check::check(&records, promise).into_iter().partition(|violation| violation.kind == Kind::Forgotten);
    Ok(Report { violations, forgotten: forgotten.len(), tally: Tally::of(&records), own_fault, records })
}

impl Workload {
    /// The settings of the servers.
    fn changes(&self) -> Changes {
        let mut changes = Changes::default();
        if self.faults.contains_key(&FaultKind::Primary) {
            changes.set.insert("REDIS_MIN_REPLICAS".to_owned(), self.min_replicas.to_string());
        }
        changes
    }

    fn choices(&self) -> Choices {
        let often = |way: &Way| if *way == Way::WebSocket { 3 } else { 1 };
        let ways = self.ways.iter().flat_map(|way| std::iter::repeat_n(*way, often(way))).collect();
        let mut leavings = vec![Leaving::Politely];
        leavings.extend(self.faults.contains_key(&FaultKind::Cut).then_some(Leaving::Cut));
        leavings.extend(self.faults.contains_key(&FaultKind::HalfOpen).then_some(Leaving::HalfOpen));
        Choices { nodes: self.nodes, ways, leavings, slow_percent: self.slow_percent }
    }
}
