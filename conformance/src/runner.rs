//! Runs cases, several at a time, and tells what happens. Knows nothing of reports and of what cases do.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, mpsc::UnboundedSender},
    task::{JoinError, JoinSet},
    time::timeout,
};

use crate::{
    baseline::Baseline,
    bench::{Bench, Suite},
    case::{Case, Need, Running},
    event::{CaseResult, Count, RunEvent, Summary, Verdict},
    expect::Fault,
    flake::Flakes,
    select::beyond_this_machine,
    spec::Profile,
    target::Target,
    text::shorten,
};

/// How long one case may take; each of its steps has a limit of its own.
const CASE_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take where every event and every session is a process.
const LIMIT_BY_COMMANDS: Duration = Duration::from_secs(600);
/// How many of a server's last lines are told, and how many bytes of them.
const LAST_WORDS: usize = 8;
const LAST_WORDS_LIMIT: usize = 600;

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cases, in the order in which they are started.
    pub cases: Vec<Case>,
    /// How many at a time.
    pub jobs: usize,
    /// How often each.
    pub repeat: usize,
    /// The profiles that they belong to.
    pub profiles: Vec<Profile>,
    /// Cases of these profiles that the selection left out.
    pub deselected: usize,
    /// The cases that are known to fail.
    pub baseline: Baseline,
    /// Whether cases that pass show their transcripts; others always do.
    pub show_passed: bool,
}

/// Runs the plan; every case's end and the summary go to `events`.
pub async fn run(suite: Arc<Suite>, plan: Plan, events: &UnboundedSender<RunEvent>) -> Summary {
    let began = Instant::now();
    let places = Arc::new(Semaphore::new(plan.jobs.max(1)));
    let mut running = JoinSet::new();
    let mut started = HashMap::new();
    let mut cases = plan.cases.clone();
    // What waits for a minute, or needs a server of its own, takes longest: begun first, it ends with the rest.
    cases.sort_by_key(|case| (case.waits.is_zero(), !wants_own_server(case)));
    for turn in 1..=plan.repeat {
        for case in cases.clone() {
            let (suite, places) = (Arc::clone(&suite), Arc::clone(&places));
            let (unended, show_passed) = ((case, turn), plan.show_passed);
            let task = running.spawn(async move {
                let _place = places.acquire_owned().await;
                one(suite, case, turn, show_passed).await
            });
            started.insert(task.id(), unended);
        }
    }
    let mut summary = Summary {
        profiles: plan.profiles,
        deselected: plan.deselected,
        seed: format!("{:x}", suite.seed),
        repeat: plan.repeat,
        ..Summary::default()
    };
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    let mut told_of_end = false;
    while let Some(ended) = running.join_next().await {
        let ended = ended.or_else(|error| started.remove(&error.id()).map(|it| lost(it, &error)).ok_or(error));
        // No task ends that was not started here.
        let Ok(mut result) = ended else { continue };
        result.verdict = plan.baseline.judge(result.case.id, result.verdict);
        let passed = matches!(result.verdict, Verdict::Passed | Verdict::NotApplicable { .. });
        if !passed && !told_of_end && suite.shared.is_heard() && !suite.shared.still_runs().await {
            told_of_end = true;
            let _ = events.send(RunEvent::Remark(end_of_shared(&suite, &result)));
        }
        summary.count_mut(result.case.level()).add(&result.verdict);
        counts.entry(result.case.id).or_default().add(&result.verdict);
        let _ = events.send(RunEvent::Finished(Box::new(result)));
    }
    let flakes = Flakes::of(counts.iter().map(|(id, count)| (*id, count.red(), count.red() + count.passed)));
    summary.flaky = flakes.flaky().map(|(id, _)| id.to_owned()).collect();
    summary.flakes = (plan.repeat > 1).then_some(flakes);
    summary.stale = plan.baseline.faults(&counts);
    summary.took = began.elapsed();
    summary.decide();
    let _ = events.send(RunEvent::Ended(Box::new(summary.clone())));
    summary
}

/// Told once: whatever shares the server fails from then on, for nothing of its own.
fn end_of_shared(suite: &Suite, result: &CaseResult) -> String {
    let said = suite.shared.said();
    let last: Vec<_> = said.iter().skip(said.len().saturating_sub(LAST_WORDS)).map(|(_, line)| line.trim()).collect();
    let last = shorten(&suite.secrets.redact(&last.join(" | ")), LAST_WORDS_LIMIT);
    let case = result.case.id;
    format!(
        "the server that cases share has ended, at the latest when {case} did: what fails after it fails for that. Its last words: {last}"
    )
}

/// The suite itself failed about a case: that is no verdict, and no case less.
fn lost((case, turn): (Case, usize), error: &JoinError) -> CaseResult {
    let verdict = Verdict::NotRun { reason: format!("the suite failed about this case: {error}") };
    CaseResult { case, turn, verdict, took: Duration::ZERO, transcript: Vec::new() }
}

fn wants_own_server(case: &Case) -> bool {
    case.needs.iter().any(|need| matches!(need, Need::OwnServer | Need::Setting(_)))
}

async fn one(suite: Arc<Suite>, case: Case, turn: usize, show_passed: bool) -> CaseResult {
    let began = Instant::now();
    let bench = Bench::new(Arc::clone(&suite), case.id, turn);
    let verdict = match obstacle(&suite.target, &case) {
        Some(verdict) => verdict,
        None => run_alone((case.run)(bench.clone()), limit(&suite.target) + case.waits).await,
    };
    if !matches!(verdict, Verdict::Passed | Verdict::NotApplicable { .. }) {
        bench.quote_servers();
    }
    let transcript = bench.transcript().clone();
    bench.finish().await;
    let took = began.elapsed();
    let shown = show_passed || verdict != Verdict::Passed;
    let lines = if shown { transcript.lines() } else { Vec::new() };
    CaseResult { case, turn, verdict: redacted(verdict, &transcript), took, transcript: lines }
}

/// In a task of its own, so that a panic of a case is a verdict on that case alone; the task ends with the set.
async fn run_alone(case: Running, limit: Duration) -> Verdict {
    let mut task = JoinSet::new();
    task.spawn(case);
    match timeout(limit, task.join_next()).await {
        Ok(Some(Ok(outcome))) => verdict(outcome),
        Ok(Some(Err(error))) => Verdict::NotRun { reason: format!("the case itself failed: {error}") },
        Ok(None) | Err(_) => Verdict::NotRun { reason: format!("the case did not end within {limit:?}") },
    }
}

fn limit(target: &Target) -> Duration {
    if target.is_by_command() { LIMIT_BY_COMMANDS } else { CASE_LIMIT }
}

fn verdict(outcome: Result<(), Fault>) -> Verdict {
    match outcome {
        Ok(()) => Verdict::Passed,
        Err(Fault::Mismatch { expected, actual }) => Verdict::Failed { expected, actual },
        Err(Fault::Inconclusive(reason)) => Verdict::NotRun { reason },
        Err(Fault::NotApplicable(reason)) => Verdict::NotApplicable { reason },
    }
}

/// Expected and actual values may quote what the transcript has hidden.
fn redacted(verdict: Verdict, transcript: &crate::transcript::Transcript) -> Verdict {
    match verdict {
        Verdict::Failed { expected, actual } => {
            Verdict::Failed { expected: transcript.redact(&expected), actual: transcript.redact(&actual) }
        }
        Verdict::NotRun { reason } => Verdict::NotRun { reason: transcript.redact(&reason) },
        other => other,
    }
}

/// Why the case cannot be run against this target, if it cannot.
fn obstacle(target: &Target, case: &Case) -> Option<Verdict> {
    let declared = [case.sentence_id(), case.id].into_iter().find_map(|id| target.not_applicable.get(id));
    if let Some(reason) = declared {
        return Some(Verdict::NotApplicable { reason: format!("by the target file: {reason}") });
    }
    if let Some(missing) = case.capabilities().find(|capability| !target.declares(capability)) {
        let reason = format!("the target does not declare the capability {missing:?}");
        return Some(Verdict::NotApplicable { reason });
    }
    let of_a_process = |need: &Need| matches!(need, Need::OwnServer | Need::Setting(_));
    if target.process.is_none() && case.needs.iter().any(of_a_process) {
        let reason = "needs a process: the target is a server that runs already".to_owned();
        return Some(Verdict::NotApplicable { reason });
    }
    for need in case.needs {
        let settings = target.process.as_ref().map(|process| &process.settings);
        let reason = match need {
            Need::Setting(name) if settings.is_none_or(|settings| !settings.contains_key(*name)) => {
                format!("the case needs the setting {name}, which the target file does not map")
            }
            Need::Namespaces if beyond_this_machine(case) => {
                "the case needs network namespaces of this machine: root and iproute2".to_owned()
            }
            _ => continue,
        };
        return Some(Verdict::NotRun { reason });
    }
    None
}
