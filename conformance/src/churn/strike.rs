//! Does to the nodes and their Redis what the schedule says, one fault after the other. Knows nothing of when they are due.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    faults::{Fault, FaultKind},
    history::History,
    phase::Phases,
    system::System,
};
use crate::{
    bench::no_redis,
    expect::Outcome,
    redis::{RedisError, RedisServer},
};

/// How often Redis is told to start again: a container's daemon may still hold its port.
const ATTEMPTS: usize = 10;
/// How long to wait between two attempts.
const PAUSE: Duration = Duration::from_millis(300);

/// Lets the faults happen while the workload is busy; all is well again when this returns. One that is due while another
/// lasts waits for its end.
///
/// # Errors
/// Where a node or Redis does not come back.
pub(super) async fn happen(
    system: &System,
    faults: impl Iterator<Item = Fault>,
    history: &History,
    mut phases: Phases,
) -> Outcome {
    let began = Instant::now();
    for fault in faults {
        tokio::select! {
            () = sleep_until(began + fault.at) => {}
            () = phases.settling() => break,
        }
        let at_us = history.now_us();
        strike(system, fault).await?;
        history.note_fault(at_us, fault.kind.is_of_a_node().then_some(fault.node), fault.kind.name());
    }
    Ok(())
}

async fn strike(system: &System, fault: Fault) -> Outcome {
    let node = &system.nodes[fault.node];
    match fault.kind {
        FaultKind::Kill => {
            node.kill().await?;
            sleep(fault.lasts).await;
            node.boot().await?;
        }
        FaultKind::RedisCut => {
            node.redis_line()?.cut();
            sleep(fault.lasts).await;
            node.redis_line()?.restore();
        }
        FaultKind::RedisPause => {
            for node in &system.nodes {
                node.redis_line()?.black_hole();
            }
            sleep(fault.lasts).await;
            for node in &system.nodes {
                node.redis_line()?.restore();
            }
        }
        FaultKind::RedisRestart => {
            let redis = system.redis()?;
            redis.halt().await.map_err(|error| no_redis(&error))?;
            sleep(fault.lasts).await;
            begin(redis).await.map_err(|error| no_redis(&error))?;
        }
        FaultKind::Primary => system.redis()?.fail_over(fault.lasts).await.map_err(|error| no_redis(&error))?,
        FaultKind::Migrate => system.redis()?.move_some_slot().await.map_err(|error| no_redis(&error))?,
        // These happen to devices, each by itself.
        FaultKind::Cut | FaultKind::HalfOpen => {}
    }
    Ok(())
}

async fn begin(redis: &RedisServer) -> Result<(), RedisError> {
    for _ in 1..ATTEMPTS {
        if redis.begin().await.is_ok() {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    redis.begin().await
}
