//! One run from beginning to end: the ground, the scenario, its results. Knows nothing of the command line.

use notify_conformance::text::chain;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    assert::{self, Expectation},
    fault::Fault,
    ground::{Ground, Wanted},
    machine,
    measured::Measured,
    results::{Environment, Results, SCHEMA, Scenario, Verdict},
    scenarios::Kind,
    settings::Settings,
};

/// The lines of the server's output that are shown where a run could not be carried out.
const LAST_WORDS: usize = 10;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// On what.
    pub wanted: Wanted,
    /// Which scenario.
    pub kind: Kind,
    /// How.
    pub settings: Settings,
    /// Numbers of connections to run it with one after the other, each on a server of its own; the last is the result.
    pub growth: Vec<usize>,
    /// What must hold.
    pub expectations: Vec<Expectation>,
}

/// Carries the plan out.
///
/// # Errors
/// Where nothing can be said about the server. A failed run is a result.
pub async fn run(plan: &Plan) -> Result<Results, Fault> {
    let mut steps = Vec::new();
    let sizes = if plan.growth.is_empty() { vec![plan.settings.connections] } else { plan.growth.clone() };
    let Some((last, earlier)) = sizes.split_last() else {
        return Err(Fault::Nothing("there is no number of connections".to_owned()));
    };
    let mut failures = Vec::new();
    for connections in earlier {
        let (settings, _, measured) = once(plan, *connections).await?;
        failures.extend(
            found(plan.kind, &measured).map(|failure| format!("with {} connections: {failure}", settings.connections)),
        );
        steps.push(measured.step("connections", *connections as f64, measured.failures.is_empty()));
    }
    let (settings, environment, mut measured) = once(plan, *last).await?;
    if !steps.is_empty() {
        steps.push(measured.step("connections", *last as f64, measured.failures.is_empty()));
        measured.growth = steps;
    }
    measured.failures.extend(failures);
    let mut results = put_together(environment, plan.kind, &settings, measured);
    assert::judge_all(&plan.expectations, &mut results);
    Ok(results)
}

async fn once(plan: &Plan, connections: usize) -> Result<(Settings, Environment, Measured), Fault> {
    let mut settings = plan.settings.clone();
    if !plan.growth.is_empty() {
        settings.connections = connections;
    }
    let ground = Ground::prepare(&plan.wanted).await?;
    eprintln!(
        "  {} on {} ({}), {} connections",
        plan.kind.name(),
        ground.target.name,
        ground.store,
        settings.connections
    );
    let environment = environment(&ground);
    let measured = plan.kind.run(&ground, &settings).await;
    if measured.is_err() {
        last_words(&ground);
    }
    ground.clear().await;
    Ok((settings, environment, measured?))
}

/// Why a run could not be carried out is often known to the server only.
fn last_words(ground: &Ground) {
    let output = ground.output();
    let lines: Vec<_> = output.lines().collect();
    for line in &lines[lines.len().saturating_sub(LAST_WORDS)..] {
        eprintln!("  server: {}", line.trim());
    }
}

fn environment(ground: &Ground) -> Environment {
    Environment {
        target: ground.target.name.clone(),
        leaves_out: ground.leaves_out(),
        store: ground.store.clone(),
        machine: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processor: machine::processor(),
        cores: machine::cores(),
        date: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
        commit: machine::commit(),
        optimised: !cfg!(debug_assertions),
    }
}

fn put_together(environment: Environment, kind: Kind, settings: &Settings, mut measured: Measured) -> Results {
    let failures: Vec<_> = found(kind, &measured).collect();
    let resources = measured.resources();
    if resources.client_was_bottleneck {
        let share = resources.client_cpu_share * 100.0;
        measured.warnings.push(format!(
            "the harness used {share:.0} % of the machine and was the bottleneck: throughput and latency are its own, not \
             the server's; the server's CPU for each delivery still holds"
        ));
    }
    let counts = measured.counts;
    for (count, what) in [(counts.refused, "events were refused"), (counts.duplicated, "deliveries came again")] {
        if count > 0 {
            measured.warnings.push(format!("{count} {what}"));
        }
    }
    if !environment.optimised {
        measured
            .warnings
            .push("the harness was built without optimisations: no figure says anything about speed".to_owned());
    }
    let rates = measured.rates();
    // The number of events ends these, and no clock.
    let duration = if matches!(kind, Kind::Offline | Kind::Storm) { measured.elapsed } else { settings.duration };
    Results {
        schema: SCHEMA,
        environment,
        scenario: Scenario {
            name: kind.name().to_owned(),
            connections: measured.connections,
            users: measured.users,
            rate_per_s: measured.rate.or(settings.rate),
            emitters: settings.emitters,
            batch: settings.batch,
            payload_bytes: settings.payload_bytes,
            warmup_s: settings.warmup.as_secs_f64(),
            duration_s: duration.as_secs_f64(),
            seed: settings.seed,
            further: measured.notes,
        },
        counts: measured.counts,
        rates,
        latency: measured.latency,
        further: measured.further,
        series: measured.series,
        resources,
        growth: measured.growth,
        warnings: measured.warnings,
        verdict: Verdict { passed: failures.is_empty(), failures, assertions: Vec::new() },
    }
}

/// Why a run has failed.
fn found(kind: Kind, measured: &Measured) -> impl Iterator<Item = String> {
    let counts = measured.counts;
    let mut failures = measured.failures.clone();
    let mut tell = |count: u64, what: &str| {
        if count > 0 {
            failures.push(format!("{count} {what}"));
        }
    };
    tell(counts.missing, "accepted events did not arrive");
    tell(counts.unanswered, "events were sent and not answered");
    tell(counts.failed_handshakes, "connections could not be made");
    if kind != Kind::Idle && counts.accepted == 0 && counts.handshakes == 0 {
        failures.push("nothing was accepted at all".to_owned());
    }
    failures.into_iter()
}

/// An error with its causes, for people.
pub fn told(fault: &Fault) -> String {
    chain(fault)
}
