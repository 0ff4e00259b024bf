//! `churn` on the command line: the workload's flags, and its end for people.

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use tokio::sync::mpsc;

use super::{GroundArgs, interrupt::Interrupt, no_verdict};
use crate::{
    churn::{
        self, Report, Workload,
        check::{Kind, Violation},
        faults::{FaultKind, Faults},
        history::{Record, What},
        way::Way,
    },
    exit, ground,
    redis::RedisChoice,
    target::Target,
};

/// How much of a user's time line is shown around a violation.
const SHOWN: usize = 40;
/// How many violations of one kind are told, a line each.
const TOLD: usize = 10;

#[derive(Debug, Args, Clone)]
pub(super) struct ChurnArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// Repeats the workload and the faults of another run.
    #[arg(long, value_name = "HEX", value_parser = |text: &str| u64::from_str_radix(text, 16))]
    seed: Option<u64>,
    /// How long events are emitted, such as 60s or 10m.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = time)]
    duration: Duration,
    /// Whether devices acknowledge. With acknowledgements nothing may be lost.
    #[arg(long, default_value = "ack", value_name = "MODE")]
    mode: Mode,
    /// How many servers, on one Redis; devices and emitters are spread over them.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: u8,
    /// How many users.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    users: u16,
    /// How many devices each user has.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    devices: u16,
    /// How many events a second are emitted for each user.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rate: u16,
    /// How devices' packets travel, each stay in one of these ways: websocket, polling, upgrade (polling first, then
    /// WebSocket), failed-upgrade (polling, with an upgrade that is closed or falls silent, before or after its probe) [default:
    /// all, or websocket where the target does not declare polling].
    #[arg(long, value_name = "WAY", value_delimiter = ',', value_parser = Way::from_str)]
    ways: Vec<Way>,
    /// Of a hundred stays of devices, how many read slowly, at 16 to 400 kB/s.
    #[arg(long, default_value_t = 12, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    slow: u8,
    /// What fails: cut, half-open, kill, redis-pause, redis-cut, redis-restart, all or none; with --redis sentinel or cluster primary
    /// in place of redis-restart, with --redis cluster also migrate; a fault of the servers or of Redis may have a mean time of
    /// its own, as in kill=30s [default: all with acknowledgements, else none].
    #[arg(long, value_name = "KIND[=TIME]", value_delimiter = ',')]
    faults: Vec<String>,
    /// Where primaries fail: how many replicas must have an event before it is accepted (REDIS_MIN_REPLICAS). With 0, what was
    /// accepted within a second of a primary's end may be lost, and is counted.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=2))]
    min_replicas: u8,
    /// The mean time between two faults of the servers or of Redis that have none of their own.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = time)]
    fault_every: Duration,
    /// Write all that has happened, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Ack,
    Plain,
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time such as 90s, 10m or 1h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(wrong()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(0) | None => Err(wrong()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

/// Whether it can happen to such a Redis.
fn happens_to(kind: FaultKind, redis: Option<&RedisChoice>) -> bool {
    let has_replicas = matches!(redis, Some(RedisChoice::Sentinel | RedisChoice::Cluster));
    match kind {
        FaultKind::RedisRestart => !has_replicas,
        FaultKind::Primary => has_replicas,
        FaultKind::Migrate => redis == Some(&RedisChoice::Cluster),
        _ => true,
    }
}

fn faults(names: &[String], redis: Option<&RedisChoice>) -> Result<Faults, String> {
    let mut faults = Faults::new();
    for name in names {
        let (name, own) = match name.split_once('=') {
            Some((name, every)) => (name, Some(time(every)?)),
            None => (name.as_str(), None),
        };
        match name {
            "all" if own.is_none() => {
                for kind in FaultKind::ALL.into_iter().filter(|kind| happens_to(*kind, redis)) {
                    // What has a time of its own keeps it.
                    faults.entry(kind).or_insert(None);
                }
            }
            "none" if own.is_none() => {}
            name => {
                let kind = FaultKind::from_str(name).map_err(|why| format!("{why}, all, none"))?;
                if own.is_some() && kind.is_of_devices() {
                    return Err(format!("{kind} happens to each device by itself, and has no time"));
                }
                if !happens_to(kind, redis) {
                    let redis = redis.unwrap_or(&RedisChoice::Auto);
                    return Err(format!("{kind} cannot happen to the Redis of --redis {redis}"));
                }
                faults.insert(kind, own);
            }
        }
    }
    Ok(faults)
}

impl ChurnArgs {
    /// The ways of the workload for a target that does or does not declare polling.
    fn ways(&self, target: &Target) -> Result<BTreeSet<Way>, String> {
        let polls = target.declares("polling");
        match self.ways.iter().find(|way| **way != Way::WebSocket) {
            Some(way) if !polls => Err(format!("--ways {way}: the target does not declare polling")),
            _ if !self.ways.is_empty() => Ok(self.ways.iter().copied().collect()),
            _ if polls => Ok(Way::ALL.into()),
            _ => Ok([Way::WebSocket].into()),
        }
    }

    fn workload(&self) -> Result<Workload, String> {
        let acknowledging = self.mode == Mode::Ack;
        let names = if self.faults.is_empty() && acknowledging { &["all".to_owned()] } else { &*self.faults };
        let faults = faults(names, self.ground.redis.as_ref()).map_err(|why| format!("--faults: {why}"))?;
        Ok(Workload {
            seed: self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
            duration: self.duration,
            nodes: usize::from(self.nodes),
            users: usize::from(self.users),
            devices: usize::from(self.devices),
            pause: Duration::from_secs(1) / u32::from(self.rate),
            ways: self.ways.iter().copied().collect(),
            slow_percent: u32::from(self.slow),
            acknowledging,
            faults,
            min_replicas: self.min_replicas,
            fault_every: self.fault_every,
        })
    }
}

/// Lets the workload happen, and tells what was wrong; returns the exit code.
pub(super) async fn happen(args: &ChurnArgs) -> u8 {
    let mut workload = match args.workload() {
        Ok(workload) => workload,
        Err(why) => return super::usage(&why),
    };
    let mut interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return no_verdict(&error),
    };
    let (events, _inbox) = mpsc::unbounded_channel();
    let suite = match ground::prepare(&args.ground.options(workload.seed), &events).await {
        Ok(suite) => suite,
        Err(error) => return no_verdict(&error),
    };
    match args.ways(&suite.target) {
        Ok(ways) => workload.ways = ways,
        Err(why) => {
            ground::clear(suite).await;
            return super::usage(&why);
        }
    }
    println!("  churn     {}", describe(&workload));
    let reported = tokio::select! {
        report = churn::run(&suite, &workload) => report.map_err(|fault| fault.to_string()),
        () = interrupt.came() => Err("interrupted".to_owned()),
    };
    ground::clear(suite).await;
    match reported {
        Ok(report) => conclude(args, &workload, &report),
        Err(why) => no_verdict(&format!("{why}\nthe same again: --seed {:x}", workload.seed)),
    }
}

fn describe(workload: &Workload) -> String {
    let faults: Vec<_> = workload.faults.iter().map(fault).collect();
    format!(
        "seed {:x} · {:?} · {} node{} · {} users with {} devices each, {}, over {}, {} % slow · faults: {}",
        workload.seed,
        workload.duration,
        workload.nodes,
        if workload.nodes == 1 { "" } else { "s" },
        workload.users,
        workload.devices,
        if workload.acknowledging { "which acknowledge" } else { "which acknowledge nothing" },
        workload.ways.iter().map(Way::to_string).collect::<Vec<_>>().join(", "),
        workload.slow_percent,
        if faults.is_empty() { "none".to_owned() } else { faults.join(", ") },
    )
}

fn fault((kind, own): (&FaultKind, &Option<Duration>)) -> String {
    own.map_or_else(|| kind.to_string(), |every| format!("{kind} every {every:?}"))
}

fn conclude(args: &ChurnArgs, workload: &Workload, report: &Report) -> u8 {
    if let Some(path) = &args.history
        && let Err(error) = std::fs::write(path, lines(&report.records))
    {
        return no_verdict(&format!("the history could not be written: {}: {error}", path.display()));
    }
    let tally = &report.tally;
    println!(
        "  events    {} emitted · {} accepted · {} refused · {} unanswered · {} arrivals",
        tally.emitted, tally.accepted, tally.refused, tally.unanswered, tally.arrivals
    );
    println!(
        "  devices   {} connections, {} of them broken · {} only polled · {} upgraded · {} with an upgrade that failed · {} slow · {} \
         faults",
        tally.connections, tally.broken, tally.polling, tally.upgraded, tally.upgrades_failed, tally.slow, tally.faults
    );
    if report.forgotten > 0 {
        println!(
            "  forgotten {} accepted events with a primary, of which no replica need have had them",
            report.forgotten
        );
    }
    if let Some(why) = &report.own_fault {
        return no_verdict(&format!("the suite itself failed, and so the history says nothing: {why}"));
    }
    if let Some(first) = report.violations.first() {
        print!("{}", time_line(first, &report.records));
        print!("{}", further(&report.violations));
    }
    let counts: Vec<_> = Kind::ALL.into_iter().map(|kind| format!("{kind} {}", count(report, kind))).collect();
    let counts = counts.join(" · ");
    if tally.arrivals == 0 {
        return no_verdict(&"no event arrived at all, so nothing is shown");
    }
    if report.violations.is_empty() {
        println!("  {counts}   → CONSISTENT");
        return exit::CONFORMANT;
    }
    println!("  {counts}   → NOT CONSISTENT");
    println!("  the same workload and faults again: --seed {:x}", workload.seed);
    exit::NOT_CONFORMANT
}

fn count(report: &Report, kind: Kind) -> usize {
    report.violations.iter().filter(|violation| violation.kind == kind).count()
}

fn lines(records: &[Record]) -> String {
    records.iter().filter_map(|record| serde_json::to_string(record).ok()).map(|line| line + "\n").collect()
}

/// What happened to the user around the violation: everything about the event, and what stands nearest to it.
fn time_line(violation: &Violation, records: &[Record]) -> String {
    let concerns = |record: &&Record| record.user.is_none_or(|user| user == violation.user);
    let all: Vec<_> = records.iter().filter(concerns).collect();
    let about = |record: &Record| violation.n.is_some() && number(&record.what) == violation.n;
    let centre = all.iter().position(|record| about(record) || record.at_us >= violation.at_us).unwrap_or(0);
    let mut text = String::new();
    let _ = writeln!(text, "  first violation, of user {}: {}: {}", violation.user, violation.kind, violation.says);
    for (place, record) in all.iter().enumerate() {
        if place.abs_diff(centre) <= SHOWN / 2 || about(record) {
            let mark = if about(record) { '>' } else { ' ' };
            let what = serde_json::to_string(&record.what).unwrap_or_default();
            let seconds = Duration::from_micros(record.at_us).as_secs_f64();
            let node = record.node.map_or_else(|| "every node".to_owned(), |node| format!("node {node}"));
            let _ = writeln!(text, "   {mark} {seconds:>10.6} {node:<10} {what}");
        }
    }
    text
}

/// The violations after the first, a line each; of each kind the first few.
fn further(violations: &[Violation]) -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        let of_kind: Vec<_> = violations.iter().skip(1).filter(|violation| violation.kind == kind).collect();
        for violation in of_kind.iter().take(TOLD) {
            let seconds = Duration::from_micros(violation.at_us).as_secs_f64();
            let _ = writeln!(text, "  {seconds:>10.6}  user {}: {kind}: {}", violation.user, violation.says);
        }
        if of_kind.len() > TOLD {
            let _ = writeln!(text, "              and {} more: {kind}", of_kind.len() - TOLD);
        }
    }
    text
}

fn number(what: &What) -> Option<u64> {
    match what {
        What::Emitting { n, .. }
        | What::Accepted { n, .. }
        | What::Refused { n, .. }
        | What::Unanswered { n, .. }
        | What::Received { n, .. } => Some(*n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["", "s", "0s", "10", "1.5m", "-1s", "10ms", "99999999999999999999h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fault_may_have_a_time_of_its_own() {
        let on = |text: &str, redis| faults(&text.split(',').map(str::to_owned).collect::<Vec<_>>(), redis);
        let read = |text| on(text, None);
        let own = read("kill=30s,redis-restart=2m,cut").expect("right");
        assert_eq!(own[&FaultKind::Kill], Some(Duration::from_secs(30)));
        assert_eq!((own[&FaultKind::Cut], own.len()), (None, 3));
        let all = read("kill=30s,all").expect("right");
        assert_eq!((all[&FaultKind::Kill], all.len()), (Some(Duration::from_secs(30)), 6));
        let cluster = on("all", Some(&RedisChoice::Cluster)).expect("right");
        assert!(cluster.contains_key(&FaultKind::Migrate) && !cluster.contains_key(&FaultKind::RedisRestart));
        let sentinel = on("all", Some(&RedisChoice::Sentinel)).expect("right");
        assert!(sentinel.contains_key(&FaultKind::Primary) && !sentinel.contains_key(&FaultKind::Migrate));
        assert!(on("primary=3s", Some(&RedisChoice::Local)).is_err_and(|why| why.contains("--redis local")));
        assert!(read("none").expect("right").is_empty());
        for wrong in ["flood", "cut=3s", "kill=", "kill=often", "all=3s"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_each_kind_the_first_few_violations_are_told() {
        let violation = |kind, user| Violation { at_us: 0, user, n: None, kind, says: "x".into() };
        let mut all: Vec<_> = (0..TOLD + 3).map(|user| violation(Kind::Cut, user)).collect();
        all.push(violation(Kind::Late, 99));
        let text = further(&all);
        assert_eq!(text.lines().count(), TOLD + 2, "{text}");
        assert!(text.contains("user 99: late: x") && text.contains("and 2 more: cut"), "{text}");
        assert!(!text.contains("user 0:"), "the first has its time line: {text}");
    }

    #[test]
    fn a_time_line_shows_what_concerns_the_user_and_marks_the_event() {
        let record = |user, n| Record { at_us: 1_500_000, user, node: Some(1), what: What::Emitting { n, bytes: 300 } };
        let violation = Violation { at_us: 0, user: 1, n: Some(7), kind: Kind::Lost, says: "gone".into() };
        let text = time_line(&violation, &[record(Some(1), 7), record(Some(2), 7), record(Some(1), 8)]);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains(">   1.500000 node 1     {\"what\":\"emitting\",\"n\":7,\"bytes\":300}"), "{text}");
    }
}
