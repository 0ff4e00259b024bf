//! `churn`: a seeded workload of users whose devices come and go while events are emitted and things fail, and a checker that
//! holds the whole history against the contract. Knows the bench; what is right it leaves to [`check`].

pub mod check;
mod device;
mod emitter;
pub mod faults;
pub mod history;
mod phase;
mod strike;
mod system;
mod unseen;

use std::{sync::Arc, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use self::{
    check::{Promise, Violation},
    device::{Device, Leaving},
    emitter::Emitter,
    faults::{FaultKind, Faults},
    history::{History, Record, What},
    phase::{Conductor, Phase},
    system::System,
    unseen::Unseen,
};
use crate::{
    bench::{Bench, Suite},
    expect::Outcome,
};

/// How long everything that was accepted may take to arrive once nothing fails any more.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
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
    /// Whether devices acknowledge.
    pub acknowledging: bool,
    /// What fails.
    pub faults: Faults,
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
    /// Connections that broke.
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
                What::Connected(_) => &mut tally.connections,
                What::Broken { .. } => &mut tally.broken,
                What::Fault { .. } => &mut tally.faults,
                What::NotConnected { .. }
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
        true => System::start(bench, workload.nodes, workload.faults.contains_key(&FaultKind::RedisRestart)).await?,
        false => System::shared(bench),
    };
    let history = History::begin();
    let (conductor, phases) = Conductor::begin();
    let (mut devices, mut emitters, mut unseen) = (JoinSet::new(), JoinSet::new(), Vec::new());
    for number in 0..workload.users {
        let user = system.nodes[0].user().await?;
        let of_user = Unseen::default();
        for device in 0..workload.devices {
            let device = Device {
                system: system.clone(),
                user: user.clone(),
                number,
                device,
                acknowledging: workload.acknowledging,
                leavings: workload.leavings(),
                dice: workload.dice(1 + device as u64, number),
                history: history.clone(),
                unseen: of_user.clone(),
                phases: phases.clone(),
            };
            devices.spawn(device.live());
        }
        let emitter = Emitter {
            system: system.clone(),
            user,
            number,
            pause: workload.pause,
            dice: workload.dice(0, number),
            history: history.clone(),
            unseen: of_user.clone(),
            phases: phases.clone(),
        };
        emitters.spawn(emitter.emit());
        unseen.push(of_user);
    }
    let dice = |stream| workload.dice(u64::MAX - stream, 0);
    let schedule = faults::schedule(&workload.faults, workload.fault_every, workload.nodes, dice);
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
    let promise = Promise { acknowledging: workload.acknowledging, one_node: workload.nodes == 1, within: WITHIN };
    let own_fault = records.iter().find_map(|record| match &record.what {
        What::OwnFault { why } => Some(why.clone()),
        _ => None,
    });
    Ok(Report { violations: check::check(&records, promise), tally: Tally::of(&records), own_fault, records })
}

impl Workload {
    fn leavings(&self) -> Vec<Leaving> {
        let mut leavings = vec![Leaving::Politely];
        leavings.extend(self.faults.contains_key(&FaultKind::Cut).then_some(Leaving::Cut));
        leavings.extend(self.faults.contains_key(&FaultKind::HalfOpen).then_some(Leaving::HalfOpen));
        leavings
    }

    /// The dice of one part, for one user.
    fn dice(&self, part: u64, user: usize) -> StdRng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&part.to_le_bytes());
        seed[16..24].copy_from_slice(&(user as u64).to_le_bytes());
        StdRng::from_seed(seed)
    }
}
