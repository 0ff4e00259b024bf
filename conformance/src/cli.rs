//! The command line: what may be said, and what is done about it. Returns exit codes and never exits by itself.

mod churn;
mod compare;
mod doctor;
mod init;
mod interrupt;
mod selftest;
mod site;
mod trial;

use std::{collections::BTreeSet, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use self::interrupt::Interrupt;
use crate::{
    baseline::Baseline,
    cases,
    event::RunEvent,
    exit::{self, no_verdict, usage},
    ground::{self, Options},
    redis::{DEFAULT_IMAGE, RedisChoice},
    report::{
        choice::{self, Choice, Form},
        reports::Reports,
    },
    runner::{self, Plan},
    select::Selection,
    selftest::{Any, Chosen},
    spec::{self, Level, Profile, Sentence},
};

/// A black-box conformance suite for real-time notification servers.
///
/// Exit codes: 0 conformant, but for what the baseline knows; 1 not conformant: a case failed, if only in one repetition, or a
/// baseline entry passes or is out of date; 2 the command line or the baseline is wrong, or no case matches; 3 no verdict.
#[derive(Debug, Parser)]
#[command(name = "notify-conformance", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the cases and give a verdict (the default).
    Run(Box<RunArgs>),
    /// List the cases.
    List(SelectArgs),
    /// Show a sentence of SPEC.md and its cases, or a case and its sentences.
    Explain {
        /// Such as QUEUE-03, or QUEUE-03/oldest-evicted.
        id: String,
    },
    /// Show what changed from one JSON report to another; 0 where nothing got worse, 1 where something did.
    Compare {
        /// The earlier report.
        a: PathBuf,
        /// The later one.
        b: PathBuf,
        /// Write the comparison: json=FILE.
        #[arg(long, value_name = "KIND=FILE", value_parser = comparison_report)]
        report: Option<PathBuf>,
    },
    /// Write a folder for any web server: several implementations side by side, by the JSON reports of their runs.
    Site {
        /// The folder; what it has by the same names is overwritten.
        folder: PathBuf,
        /// The reports. A page of the same name beside one, `a.html` beside `a.json`, is shown with it.
        #[arg(required = true)]
        reports: Vec<PathBuf>,
    },
    /// Prove that the cases can fail: run them against broken versions of the reference.
    Selftest {
        #[command(flatten)]
        ground: GroundArgs,
        /// How many mutants to face at a time.
        #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        at_once: u16,
        /// Only the mutants whose names match; `*` stands for anything. May be repeated.
        #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
        mutant: Vec<String>,
        /// Only the cases of these profiles, and the mutants that are there for them [default: all].
        #[arg(long, value_name = "PROFILE", value_delimiter = ',', value_parser = Profile::from_str)]
        profile: Vec<Profile>,
        /// Let each mutant face only the cases that its entry names.
        #[arg(long)]
        named: bool,
        /// Let each mutant face case after case until one catches it, whatever its entry names; no further one is begun after this time.
        #[arg(long, value_name = "TIME", value_parser = churn::time, conflicts_with = "named")]
        any_within: Option<Duration>,
        /// Chooses the order in which they come then.
        #[arg(long, value_name = "HEX", value_parser = |text: &str| u64::from_str_radix(text, 16), requires = "any_within")]
        seed: Option<u64>,
        /// A matrix (JSON) of other mutants: the cases that have caught one of those are not idle.
        #[arg(long, value_name = "FILE", value_parser = proven_by)]
        proven: Option<BTreeSet<String>>,
        /// Write the matrix: json=FILE, html=FILE. May be repeated.
        #[arg(long, value_name = "KIND=FILE", value_delimiter = ',', value_parser = matrix_report)]
        report: Vec<Choice>,
    },
    /// Let devices come and go while events are emitted and things fail, and check that nothing was lost, doubled, reordered,
    /// leaked or late; 0 where that is so.
    Churn(Box<churn::ChurnArgs>),
    /// Check the target file and everything that a run needs, step by step.
    Doctor(GroundArgs),
    /// Write a target file that explains itself.
    Init(init::InitArgs),
}

#[derive(Debug, Args, Clone, Default)]
struct GroundArgs {
    /// A target file, or the URL of a server that runs [default: fixtures/targets/reference.toml].
    #[arg(long, value_name = "FILE|URL")]
    target: Option<String>,
    /// Where Redis comes from: auto, container, local, sentinel, cluster or redis://HOST:PORT/DB [default: auto].
    #[arg(long, value_name = "WAY", value_parser = RedisChoice::from_str)]
    redis: Option<RedisChoice>,
    /// The image of the Redis container.
    #[arg(long, env = "NOTIFY_REDIS_IMAGE", default_value = DEFAULT_IMAGE, value_name = "IMAGE")]
    redis_image: String,
}

#[derive(Debug, Args, Clone, Default)]
struct SelectArgs {
    /// Only cases whose id, sentence or area matches; `*` stands for anything. May be repeated.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave out the cases that match. May be repeated.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    skip: Vec<String>,
    /// Leave out the cases about sentences that bind less.
    #[arg(long, value_name = "LEVEL")]
    level: Option<LevelArg>,
    /// Only the cases of these profiles: core, strict, cluster, resilience, failover [default: core to run, all to list].
    #[arg(long, value_name = "PROFILE", value_delimiter = ',', value_parser = Profile::from_str)]
    profile: Vec<Profile>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LevelArg {
    Must,
    Should,
}

#[derive(Debug, Args, Clone, Default)]
struct RunArgs {
    #[command(flatten)]
    ground: GroundArgs,
    #[command(flatten)]
    select: SelectArgs,
    /// Repeats the random choices of another run.
    #[arg(long, value_name = "HEX", value_parser = |text: &str| u64::from_str_radix(text, 16))]
    seed: Option<u64>,
    /// How often to run each case.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// How many cases to run at a time.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// The cases that are known to fail (TOML), each with a reason, an owner and a last day; they do not count as failures.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write reports: json=FILE, junit=FILE, html=FILE, badge=FILE, github. May be repeated.
    #[arg(long, value_name = "KIND=FILE", value_delimiter = ',', value_parser = Choice::from_str)]
    report: Vec<Choice>,
}

/// The report of `compare`.
fn comparison_report(text: &str) -> Result<PathBuf, String> {
    match text.parse()? {
        Choice::File(Form::Json, path) => Ok(path),
        _ => Err(format!("a comparison can be written as json=FILE, not as {text:?}")),
    }
}

/// The cases that a written matrix has proven.
fn proven_by(path: &str) -> Result<BTreeSet<String>, String> {
    let json = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    crate::selftest::proven_by(&json).map_err(|error| format!("not a matrix of selftest: {error}"))
}

/// A report of `selftest`.
fn matrix_report(text: &str) -> Result<Choice, String> {
    match text.parse()? {
        matrix @ Choice::File(Form::Json | Form::Html, _) => Ok(matrix),
        _ => Err(format!("the matrix can be written as json=FILE and html=FILE, not as {text:?}")),
    }
}

/// Does what the command line says; returns the exit code.
pub async fn run(cli: Cli) -> u8 {
    let bare = || Command::Run(Box::new(RunArgs::parse_bare()));
    match cli.command.unwrap_or_else(bare) {
        Command::Run(args) => run_cases(*args).await,
        Command::List(select) => list(&select),
        Command::Explain { id } => explain(&id),
        Command::Compare { a, b, report } => compare::tell(&a, &b, report.as_ref()),
        Command::Site { folder, reports } => site::write(&folder, &reports),
        Command::Selftest { ground, at_once, mutant, profile, named, any_within, seed, proven, report } => {
            let seed = seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
            let any = any_within.map(|within| Any { seed, within });
            let proven = proven.unwrap_or_default();
            let chosen = Chosen { mutants: mutant, profiles: profile, named, any, proven };
            let target = ground.target.clone().unwrap_or_else(|| selftest::MUTANTS.to_owned());
            let ground = GroundArgs { target: Some(target), ..ground };
            selftest::prove(&ground.options(0), usize::from(at_once), &chosen, &report).await
        }
        Command::Churn(args) => churn::happen(&args).await,
        Command::Doctor(args) => doctor::examine(&args.options(0)).await,
        Command::Init(args) => init::write(&args),
    }
}

impl RunArgs {
    /// The defaults of `run`, which only the parser knows.
    fn parse_bare() -> Self {
        match Cli::parse_from(["notify-conformance", "run"]).command {
            Some(Command::Run(args)) => *args,
            _ => Self::default(),
        }
    }
}

impl GroundArgs {
    /// Only the bare `run` of a new user makes do without Redis; whoever named a target or a Redis, and CI, gets that
    /// or an error.
    fn options(&self, seed: u64) -> Options {
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        Options {
            target: self.target.clone(),
            redis: self.redis.clone(),
            image: self.redis_image.clone(),
            may_fall_back: self.target.is_none() && self.redis.is_none() && !in_ci,
            seed,
        }
    }
}

impl SelectArgs {
    fn selection(&self) -> Selection {
        let level = self.level.map(|level| match level {
            LevelArg::Must => Level::Must,
            LevelArg::Should => Level::Should,
        });
        let mut profiles = self.profile.clone();
        profiles.sort();
        profiles.dedup();
        Selection { only: self.only.clone(), skip: self.skip.clone(), level, profiles }
    }
}

async fn run_cases(args: RunArgs) -> u8 {
    let all = cases::all();
    let mut selection = args.select.selection();
    if selection.profiles.is_empty() {
        selection.profiles.push(Profile::default());
    }
    let chosen = match selection.choose(&all) {
        Ok(chosen) => chosen,
        Err(why) => return usage(&why),
    };
    if let Some(path) = choice::shared_file(&args.report) {
        return usage(&format!("two reports cannot share the file {}", path.display()));
    }
    let baseline = match &args.baseline {
        Some(path) => Baseline::read(path, &all, OffsetDateTime::now_utc().date()),
        None => Ok(Baseline::default()),
    };
    let baseline = match baseline {
        Ok(baseline) => baseline,
        Err(error) => return usage(&error),
    };
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let target = ground::read_target(args.ground.target.as_deref());
    let name = target.as_ref().map_or("the target", |target| &target.name);
    let job_summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from);
    let mut reports = Reports::new(name, seed, args.report.clone(), job_summary);
    let (events, mut inbox) = mpsc::unbounded_channel();
    let reporter = tokio::spawn(async move {
        while let Some(event) = inbox.recv().await {
            reports.show(&event);
        }
        reports.write()
    });
    for case in selection.beyond_this_machine(&all) {
        let remark = format!("{} is not run and counts as left out: this machine has not what it needs", case.id);
        // The reporter lives as long as the run.
        let _ = events.send(RunEvent::Remark(remark));
    }
    let plan = Plan {
        deselected: selection.of_profiles(&all).len() - chosen.len(),
        profiles: selection.profiles,
        jobs: usize::from(args.jobs),
        repeat: usize::from(args.repeat),
        cases: chosen,
        baseline,
        show_passed: args.report.iter().any(|choice| matches!(choice, Choice::File(Form::Html, _))),
    };
    let code = match target {
        Ok(_) => run_plan(&args.ground.options(seed), plan, &events).await,
        Err(error) => give_up(&error, &events),
    };
    drop(events);
    match reporter.await {
        Ok(Ok(())) => code,
        Ok(Err(why)) => no_verdict(&format!("a report could not be written: {why}")),
        Err(error) => no_verdict(&error),
    }
}

async fn run_plan(options: &Options, plan: Plan, events: &mpsc::UnboundedSender<RunEvent>) -> u8 {
    let mut interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return give_up(&error, events),
    };
    let suite = tokio::select! {
        ready = ground::prepare(options, events) => match ready {
            Ok(suite) => suite,
            Err(error) => return give_up(&error, events),
        },
        () = interrupt.came() => return give_up(&"interrupted", events),
    };
    let judged = async {
        if let Err(why) = trial::look(&suite, events).await {
            return give_up(&why, events);
        }
        let _ = events.send(RunEvent::Planned(plan.cases.len() * plan.repeat));
        exit::code(runner::run(Arc::clone(&suite), plan, events).await.conformance)
    };
    let code = tokio::select! {
        code = judged => code,
        () = interrupt.came() => give_up(&"interrupted", events),
    };
    ground::clear(suite).await;
    code
}

/// The reports tell it, the terminal's first.
fn give_up(why: &dyn std::fmt::Display, events: &mpsc::UnboundedSender<RunEvent>) -> u8 {
    let _ = events.send(RunEvent::GivenUp(why.to_string()));
    exit::NO_VERDICT
}

fn list(select: &SelectArgs) -> u8 {
    match select.selection().choose(&cases::all()) {
        Err(why) => usage(&why),
        Ok(chosen) => {
            for case in &chosen {
                println!("{:<40} {:<6} {:<10} {}", case.id, case.level(), case.profile(), case.title);
            }
            println!("{} cases", chosen.len());
            exit::CONFORMANT
        }
    }
}

fn explain(id: &str) -> u8 {
    let all = cases::all();
    let named: Vec<_> = all.iter().filter(|case| case.id == id).collect();
    let ids: Vec<&str> = match named.first() {
        Some(case) => case.sentences().collect(),
        None => vec![id],
    };
    let sentences: Vec<_> = ids.iter().filter_map(|id| spec::sentence(id)).collect();
    if sentences.is_empty() {
        return usage(&format!("SPEC.md has no {id:?}, and there is no such case; `list` shows them all"));
    }
    for case in named {
        println!("{}\n  {}\n", case.id, case.title);
    }
    for sentence in sentences {
        let Sentence { id, level, section, profile, text, .. } = sentence;
        println!("{id} {level} (SPEC {section}, profile {profile})\n  {text}");
        if !sentence.capabilities.is_empty() {
            println!("  binds targets that declare: {}", sentence.capabilities.join(", "));
        }
        for case in all.iter().filter(|case| case.sentences().any(|id| id == sentence.id)) {
            println!("  checked by {:<40} {}", case.id, case.title);
        }
    }
    exit::CONFORMANT
}
