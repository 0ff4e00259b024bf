//! `selftest`: proves that the cases can fail. Runs them against a sound server and against its mutants, and holds what fails
//! against what each mutant's entry says must fail. Knows a mutant by its name only.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryFutureExt, stream};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{process::Command, sync::mpsc};

use crate::{
    baseline::Baseline,
    bench::Suite,
    case::{Case, Need},
    event::{RunEvent, Verdict},
    instance::{Changes, Instance, InstanceError, fill_command},
    runner::{self, Plan},
    select::{beyond_this_machine, matches},
    spec::{Level, Profile},
    target::{ProcessTarget, Target},
    text::chain,
};

/// A broken version of the server, as its list describes it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Mutant {
    /// Its name.
    pub name: String,
    /// What it does wrong.
    pub breaks: String,
    /// The cases that have to fail.
    #[serde(default)]
    pub killed_by: Vec<String>,
    /// Patterns of the cases that may fail as well, since they cannot but run into the fault.
    #[serde(default)]
    pub also: Vec<String>,
    /// It is no broken server, but a right one that does something in another way: the cases that this once made fail. No case may.
    #[serde(default)]
    pub passes: Vec<String>,
}

/// What became of one mutant.
#[derive(Debug, Clone, Serialize)]
pub struct Fate {
    /// The mutant.
    #[serde(flatten)]
    pub mutant: Mutant,
    /// The cases that failed.
    pub failed: BTreeSet<String>,
    /// The cases that could not be run.
    pub not_run: BTreeSet<String>,
    /// What was seen in the cases that are red though the mutant's entry does not say so.
    pub unexplained: BTreeMap<String, String>,
    /// The profiles whose cases it faced: those of the cases that its entry names, and `core` where one of them is `strict`.
    pub profiles: BTreeSet<Profile>,
    /// How long it took, in seconds.
    pub took_s: f64,
}

/// The whole matrix.
#[derive(Debug, Clone, Serialize)]
pub struct Matrix {
    /// Every case, by id.
    pub cases: Vec<String>,
    /// Cases that did not pass on the sound server, and what was seen in them; there must be none.
    pub red_without_mutant: BTreeMap<String, String>,
    /// Every mutant's fate.
    pub fates: Vec<Fate>,
    /// Cases about MUST sentences that no mutant has made fail.
    pub idle: BTreeSet<String>,
}

/// Why there is no matrix.
#[derive(Debug, Error)]
pub enum SelftestError {
    /// The target file has none.
    #[error("the target file has no [process.mutants]")]
    NoMutants,
    /// They cannot be listed.
    #[error("the mutants cannot be listed: {0}")]
    List(String),
    /// An entry names a case that does not exist, or has a pattern that matches none.
    #[error("the mutant {mutant} names {case}, and there is no such case")]
    UnknownCase {
        /// The mutant.
        mutant: String,
        /// The case or the pattern.
        case: String,
    },
    /// An entry names no case that has to fail, and none that has to pass.
    #[error("the mutant {0} names no case")]
    NamesNone(String),
    /// An entry explains whatever fails, and so nothing.
    #[error("the mutant {0} may fail by any case: name the areas")]
    ExplainsAll(String),
    /// The command line chooses none.
    #[error("no mutant is chosen")]
    NoneChosen,
    /// A mutant does not start.
    #[error("the mutant {0} does not start: {1}")]
    Start(String, String),
}

impl Fate {
    fn of(mutant: Mutant, red: Red, cases: &[Case], profiles: BTreeSet<Profile>, took: Duration) -> Self {
        let Red { failed, not_run, mut seen } = red;
        // Either the case tests more than its sentences, or the entry is wrong.
        seen.retain(|case, _| !mutant.explains(case, cases));
        Self { mutant, failed, not_run, unexplained: seen, profiles, took_s: took.as_secs_f64() }
    }

    /// Of one that does not even start, which is caught by whatever is asked of it.
    fn of_none(mutant: Mutant, error: &InstanceError, took: Duration) -> Self {
        let seen = BTreeMap::from([("its start".to_owned(), chain(error))]);
        let red = Red { failed: seen.keys().cloned().collect(), not_run: BTreeSet::new(), seen };
        Self::of(mutant, red, &[], BTreeSet::new(), took)
    }

    /// What has caught a mutant that may be caught by anything.
    pub fn caught_by(&self) -> Option<&str> {
        self.failed.iter().chain(&self.not_run).next().map(String::as_str)
    }

    /// The named cases that let the mutant live.
    pub fn survived(&self) -> Vec<&str> {
        self.mutant.killed_by.iter().filter(|case| !self.failed.contains(*case)).map(String::as_str).collect()
    }

    /// Whether it went as its entry says.
    pub fn stands(&self) -> bool {
        self.survived().is_empty() && self.unexplained.is_empty()
    }
}

impl Mutant {
    /// The ids of the cases that its entry is about.
    fn names(&self) -> impl Iterator<Item = &String> {
        self.killed_by.iter().chain(&self.passes)
    }

    /// The cases that its entry is about.
    fn named<'a>(&'a self, all: &'a [Case]) -> impl Iterator<Item = &'a Case> {
        all.iter().filter(|case| self.names().any(|id| *id == case.id))
    }

    /// What a mutant of one profile does to the cases of another is no news, and there are many. One that loses what it should
    /// not is a server like those of `core`, though; one that is wrong among nodes or without its store, just there.
    fn profiles(&self, cases: &[Case]) -> BTreeSet<Profile> {
        let own: BTreeSet<_> = self.named(cases).map(Case::profile).collect();
        let like_core = own.contains(&Profile::Strict).then_some(Profile::Core);
        own.into_iter().chain(like_core).collect()
    }

    /// Whether the case says something of it that is worth its cost.
    fn faces(&self, case: &Case, profiles: &BTreeSet<Profile>, named: bool) -> bool {
        if self.names().any(|id| id == case.id) {
            return true;
        }
        let is_costly = case.waits > Duration::ZERO || case.needs.iter().any(|need| matches!(need, Need::Processor));
        !named && profiles.contains(&case.profile()) && (!is_costly || self.explains(case.id, &[]))
    }

    /// Whether the case may fail: the entry names it, or it checks a sentence of which the entry names another case.
    fn explains(&self, case: &str, cases: &[Case]) -> bool {
        let named = self.killed_by.iter().any(|named| named == case);
        if named || self.passes.iter().any(|id| id == case) {
            return named;
        }
        let sentence = |id: &str| id.split('/').next().unwrap_or(id).to_owned();
        let broken: BTreeSet<_> = self.killed_by.iter().map(|id| sentence(id)).collect();
        let checks = cases.iter().find(|it| it.id == case);
        self.also.iter().any(|pattern| matches(pattern, case))
            || checks.is_some_and(|case| case.sentences().any(|it| broken.contains(it)))
    }
}

impl Matrix {
    /// The sound server is green, each mutant is killed by every case that its entry names and by no other than it
    /// explains, and every MUST case has killed at least one.
    pub fn holds(&self) -> bool {
        self.red_without_mutant.is_empty()
            && self.idle.is_empty()
            && !self.fates.is_empty()
            && self.fates.iter().all(Fate::stands)
    }
}

/// What of the matrix is asked for.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// Patterns of names; every mutant where there are none.
    pub mutants: Vec<String>,
    /// The cases of these profiles, and the mutants that are there for them; of all where there are none.
    pub profiles: Vec<Profile>,
    /// Each mutant faces the cases that its entry names, and no others: nothing is said of what else fails, nor of idle cases.
    pub named: bool,
    /// Whatever case catches a mutant first will do, and no entry has to name one; a part of the mutants, by chance.
    pub any: Option<Any>,
    /// Cases that have been seen to fail elsewhere, so that they are not idle though no mutant here makes them fail.
    pub proven: BTreeSet<String>,
}

/// Mutants that nobody chose, of which each is as good as the next.
#[derive(Debug, Clone, Copy)]
pub struct Any {
    /// The seed of the order in which they come.
    pub seed: u64,
    /// After this time no further one is begun.
    pub within: Duration,
}

impl Chosen {
    /// Whether every mutant faces every case that it is there for.
    pub fn is_whole(&self) -> bool {
        self.mutants.is_empty() && !self.named && self.any.is_none()
    }

    fn has_profile(&self, profile: Profile) -> bool {
        self.profiles.is_empty() || self.profiles.contains(&profile)
    }

    fn has_mutant(&self, mutant: &Mutant, all: &[Case]) -> bool {
        let named = self.mutants.is_empty() || self.mutants.iter().any(|it| matches(it, &mutant.name));
        named && mutant.named(all).all(|case| self.has_profile(case.profile()))
    }
}

/// The cases that have caught what they were named for, by a matrix that was written as JSON.
///
/// # Errors
/// Where the text is no such matrix.
pub fn proven_by(json: &str) -> Result<BTreeSet<String>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Matrix {
        fates: Vec<Fate>,
    }
    #[derive(Deserialize)]
    struct Fate {
        killed_by: Vec<String>,
        failed: BTreeSet<String>,
    }
    let matrix: Matrix = serde_json::from_str(json)?;
    let caught = matrix
        .fates
        .into_iter()
        .flat_map(|Fate { killed_by, failed }| killed_by.into_iter().filter(move |id| failed.contains(id)));
    Ok(caught.collect())
}

/// Runs the cases against the sound server and each mutant, as far as they are `chosen`, `at_once` mutants at a time; tells
/// each fate as it is known.
///
/// # Errors
/// Where the mutants cannot be listed or started.
pub async fn run(
    suite: &Arc<Suite>,
    cases: &[Case],
    at_once: usize,
    chosen: &Chosen,
    tell: impl Fn(&Fate),
) -> Result<Matrix, SelftestError> {
    let process = suite.target.process.clone().ok_or(SelftestError::NoMutants)?;
    let mutants = list(&suite.target, &process).await?;
    for mutant in &mutants {
        let named = |id: &&String| !cases.iter().any(|case| case.id == **id);
        let pattern = |pattern: &&String| !cases.iter().any(|case| matches(pattern, case.id));
        if let Some(case) = mutant.names().find(named).or_else(|| mutant.also.iter().find(pattern)) {
            return Err(SelftestError::UnknownCase { mutant: mutant.name.clone(), case: case.clone() });
        }
        if mutant.also.iter().any(|pattern| pattern == "*") {
            return Err(SelftestError::ExplainsAll(mutant.name.clone()));
        }
        if chosen.any.is_none() && mutant.names().next().is_none() {
            return Err(SelftestError::NamesNone(mutant.name.clone()));
        }
    }
    let mut mutants: Vec<_> = mutants.into_iter().filter(|mutant| chosen.has_mutant(mutant, cases)).collect();
    if let Some(any) = chosen.any {
        mutants.shuffle(&mut StdRng::seed_from_u64(any.seed));
    }
    if mutants.is_empty() {
        return Err(SelftestError::NoneChosen);
    }
    let here = |case: &&Case| chosen.has_profile(case.profile()) && !beyond_this_machine(case);
    let by_some = |case: &&Case| !chosen.named || mutants.iter().any(|mutant| mutant.names().any(|id| id == case.id));
    let cases: Vec<_> = cases.iter().filter(here).filter(by_some).copied().collect();
    let cases = cases.as_slice();
    let red_without_mutant = red(Arc::clone(suite), cases, false).await.seen;
    // What is red without a mutant catches none.
    let green = |case: &&Case| chosen.any.is_none() || !red_without_mutant.contains_key(case.id);
    let cases: Vec<_> = cases.iter().filter(green).copied().collect();
    let cases = cases.as_slice();
    let mut fates = Vec::new();
    let began = Instant::now();
    let in_time = |_: &_| chosen.any.is_none_or(|any| began.elapsed() < any.within);
    let facing = mutants.into_iter().enumerate().take_while(in_time);
    // As they end, for a slow one must not keep the next from being begun.
    let mut running = stream::iter(facing)
        .map(|(place, mutant)| face(suite, &process, cases, mutant, chosen).map_ok(move |fate| (place, fate)))
        .buffer_unordered(at_once);
    while let Some(fate) = running.next().await {
        let (place, fate) = fate?;
        tell(&fate);
        fates.push((place, fate));
    }
    fates.sort_by_key(|(place, _)| *place);
    let fates: Vec<_> = fates.into_iter().map(|(_, fate)| fate).collect();
    let killers: BTreeSet<_> = fates.iter().flat_map(|fate| &fate.failed).collect();
    // Some of the mutants say nothing of cases that others are there for.
    let musts = cases.iter().filter(|case| chosen.is_whole() && case.level() == Level::Must);
    let idle = musts
        .map(|case| case.id.to_owned())
        .filter(|id| !killers.contains(id) && !chosen.proven.contains(id))
        .collect();
    let mut ids: Vec<_> = cases.iter().map(|case| case.id.to_owned()).collect();
    ids.sort();
    Ok(Matrix { cases: ids, red_without_mutant, fates, idle })
}

async fn list(target: &Target, process: &ProcessTarget) -> Result<Vec<Mutant>, SelftestError> {
    let mutants = process.mutants.as_ref().ok_or(SelftestError::NoMutants)?;
    let failed = |why: &dyn std::fmt::Display| SelftestError::List(why.to_string());
    let command = fill_command(target, &mutants.list).map_err(|error| failed(&error))?;
    let [program, arguments @ ..] = command.as_slice() else { return Err(failed(&"the command is empty")) };
    let directory = target.folder.join(&process.directory);
    let output = Command::new(program).args(arguments).current_dir(directory).output().await;
    let output = output.map_err(|error| failed(&error))?;
    serde_json::from_slice(&output.stdout).map_err(|error| failed(&error))
}

/// Lets one mutant face the cases.
async fn face(
    sound: &Arc<Suite>,
    process: &ProcessTarget,
    cases: &[Case],
    mutant: Mutant,
    chosen: &Chosen,
) -> Result<Fate, SelftestError> {
    let began = Instant::now();
    let mut target = sound.target.clone();
    let mut process = process.clone();
    if let Some(mutants) = &process.mutants {
        process.env.insert(mutants.variable.clone(), mutant.name.clone());
    }
    target.process = Some(process.clone());
    let shared = match Instance::start(&target, &process, sound.redis.clone(), &Changes::default()).await {
        Ok(shared) => shared,
        Err(error) if chosen.any.is_some() => return Ok(Fate::of_none(mutant, &error, began.elapsed())),
        Err(error) => return Err(SelftestError::Start(mutant.name, sound.secrets.redact(&chain(&error)))),
    };
    let suite = Arc::new(Suite {
        target,
        redis: sound.redis.clone(),
        shared: Arc::new(shared),
        signer: sound.signer.clone(),
        secrets: sound.secrets.apart(),
        http: sound.http.clone(),
        seed: sound.seed,
        nonce: format!("{:08x}", rand::random::<u32>()),
    });
    let (profiles, cases, red) = if chosen.any.is_some() {
        (cases.iter().map(Case::profile).collect(), cases.to_vec(), first_red(&suite, cases).await)
    } else {
        let profiles = mutant.profiles(cases);
        let cases: Vec<_> = cases.iter().filter(|case| mutant.faces(case, &profiles, chosen.named)).copied().collect();
        let red = red(Arc::clone(&suite), &cases, false).await;
        (profiles, cases, red)
    };
    if let Some(shared) = Arc::into_inner(suite).and_then(|suite| Arc::into_inner(suite.shared)) {
        shared.stop().await;
    }
    Ok(Fate::of(mutant, red, &cases, profiles, began.elapsed()))
}

/// What was not green.
#[derive(Debug, Default)]
struct Red {
    failed: BTreeSet<String>,
    not_run: BTreeSet<String>,
    /// What was seen in each of them.
    seen: BTreeMap<String, String>,
}

/// The first that is not green, and is not so again alone: on a busy machine a case may fail for want of time. What takes long comes
/// last, for most are caught before.
async fn first_red(suite: &Arc<Suite>, cases: &[Case]) -> Red {
    let is_quick =
        |case: &Case| case.waits.is_zero() && case.profile() == Profile::Core && !case.needs.contains(&Need::OwnServer);
    for quick in [true, false] {
        let mut left: Vec<_> = cases.iter().filter(|case| is_quick(case) == quick).copied().collect();
        loop {
            let found = red(Arc::clone(suite), &left, true).await;
            let Some(at) = left.iter().position(|case| found.seen.contains_key(case.id)) else { break };
            let again = red(Arc::clone(suite), &[left.swap_remove(at)], false).await;
            if !again.seen.is_empty() {
                return again;
            }
        }
    }
    Red::default()
}

/// All that are not green, or the first.
async fn red(suite: Arc<Suite>, cases: &[Case], first: bool) -> Red {
    let (events, mut inbox) = mpsc::unbounded_channel();
    let plan = Plan {
        cases: cases.to_vec(),
        // Cases of several nodes start two or three processes each, and a server that gets no processor time answers too late.
        jobs: if first {
            4
        } else if cases.iter().any(|case| case.profile() == Profile::Core) {
            16
        } else {
            6
        },
        repeat: 1,
        profiles: Vec::new(),
        deselected: 0,
        baseline: Baseline::default(),
        show_passed: false,
    };
    let mut run = pin!(runner::run(suite, plan, &events));
    let mut read = pin!(async {
        let mut red = Red::default();
        while let Some(event) = inbox.recv().await {
            let result = match event {
                RunEvent::Finished(result) => result,
                RunEvent::Ended(_) => break,
                _ => continue,
            };
            let (set, seen) = match result.verdict {
                Verdict::Failed { expected, actual } => (&mut red.failed, format!("expected {expected}, got {actual}")),
                Verdict::NotRun { reason } => (&mut red.not_run, format!("not run: {reason}")),
                _ => continue,
            };
            set.insert(result.case.id.to_owned());
            red.seen.insert(result.case.id.to_owned(), seen);
            if first {
                break;
            }
        }
        red
    });
    tokio::select! {
        red = &mut read => red,
        _ = &mut run => read.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own<T: FromIterator<String>>(ids: &[&str]) -> T {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn fate(killed_by: &[&str], also: &[&str], failed: &[&str]) -> Fate {
        red(killed_by, also, Red { failed: own(failed), seen: seen(failed), ..Red::default() })
    }

    fn red(killed_by: &[&str], also: &[&str], red: Red) -> Fate {
        let (name, breaks) = ("m".into(), "b".into());
        let mutant = Mutant { name, breaks, killed_by: own(killed_by), also: own(also), passes: Vec::new() };
        Fate::of(mutant, red, &[], BTreeSet::new(), Duration::from_secs(1))
    }

    fn seen(ids: &[&str]) -> BTreeMap<String, String> {
        ids.iter().map(|id| ((*id).to_owned(), "seen".to_owned())).collect()
    }

    fn matrix(fates: Vec<Fate>) -> Matrix {
        Matrix { cases: Vec::new(), red_without_mutant: BTreeMap::new(), fates, idle: BTreeSet::new() }
    }

    #[test]
    fn a_mutant_has_to_be_killed_by_every_case_that_its_entry_names() {
        assert!(matrix(vec![fate(&["A-1/x"], &[], &["A-1/x"])]).holds());
        assert!(!matrix(vec![fate(&["A-1/x"], &["B"], &["B-1/x"])]).holds());
        assert!(!matrix(vec![fate(&["A-1/x", "B-1/x"], &[], &["A-1/x"])]).holds());
    }

    #[test]
    fn a_case_that_fails_has_to_be_explained_by_the_entry() {
        assert!(matrix(vec![fate(&["A-1/x"], &["B"], &["A-1/x", "B-1/x"])]).holds());
        assert!(!matrix(vec![fate(&["A-1/x"], &["B"], &["A-1/x", "C-1/x"])]).holds());
        let not_run = Red { failed: own(&["A-1/x"]), not_run: own(&["C-1/x"]), seen: seen(&["A-1/x", "C-1/x"]) };
        let not_run = red(&["A-1/x"], &[], not_run);
        assert_eq!(not_run.unexplained, seen(&["C-1/x"]));
    }

    #[test]
    fn a_case_may_fail_that_checks_a_sentence_of_which_another_is_named() {
        let cases = [Case::new("A-1/y", "y", |_| Box::pin(async { Ok(()) })).also(&["B-1"])];
        let mutant = |killed_by: &[&str]| Mutant {
            name: "m".into(),
            breaks: "b".into(),
            killed_by: own(killed_by),
            also: Vec::new(),
            passes: Vec::new(),
        };
        assert!(mutant(&["A-1/x"]).explains("A-1/y", &cases));
        assert!(mutant(&["B-1/x"]).explains("A-1/y", &cases));
        assert!(!mutant(&["C-1/x"]).explains("A-1/y", &cases));
    }

    #[test]
    fn no_mutants_prove_nothing_and_neither_does_an_idle_case() {
        assert!(!matrix(vec![]).holds());
        let mut idle = matrix(vec![fate(&["A-1/x"], &[], &["A-1/x"])]);
        idle.idle.insert("C-1/x".into());
        assert!(!idle.holds());
    }

    #[test]
    fn a_written_matrix_tells_which_cases_have_caught_what_they_are_named_for() {
        let written = serde_json::to_string(&matrix(vec![fate(&["A-1/x", "B-1/x"], &["C"], &["A-1/x", "C-1/x"])]));
        let proven = proven_by(&written.expect("a matrix is written")).expect("and read");
        assert_eq!(proven, own(&["A-1/x"]));
    }

    #[test]
    fn a_right_server_in_another_way_must_pass() {
        let right = |failed: &[&str]| {
            let red = Red { failed: own(failed), seen: seen(failed), ..Red::default() };
            let passes = own(&["A-1/x"]);
            let mutant =
                Mutant { name: "m".into(), breaks: "b".into(), killed_by: Vec::new(), also: Vec::new(), passes };
            matrix(vec![Fate::of(mutant, red, &[], BTreeSet::new(), Duration::from_secs(1))])
        };
        assert!(right(&[]).holds());
        assert!(!right(&["A-1/x"]).holds());
    }

    #[test]
    fn what_anything_may_catch_is_caught_by_what_failed_or_could_not_be_run() {
        let of = |failed: &[&str], not_run: &[&str]| {
            red(&[], &[], Red { failed: own(failed), not_run: own(not_run), ..Red::default() })
                .caught_by()
                .map(str::to_owned)
        };
        assert_eq!(of(&["A-1/x"], &[]).as_deref(), Some("A-1/x"));
        assert_eq!(of(&[], &["B-1/x"]).as_deref(), Some("B-1/x"));
        assert_eq!(of(&[], &[]), None);
    }

    #[test]
    fn a_red_sound_server_disproves_all() {
        let mut red = matrix(vec![fate(&["A-1/x"], &[], &["A-1/x"])]);
        red.red_without_mutant = seen(&["A-1/x"]);
        assert!(!red.holds());
    }
}
