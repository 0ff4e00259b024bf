//! The options that every scenario takes.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use notify_conformance::redis::{DEFAULT_IMAGE, RedisChoice};

use crate::{assert::Expectation, ground::Wanted, report::choice::Choice, scenarios::Kind, settings::Settings};

/// A scenario's options. What is left out is the scenario's default.
#[derive(Debug, Args, Clone)]
pub(super) struct RunArgs {
    /// A target file, or the URL of a server that runs [default: loadtest/targets/reference-embedded.toml].
    #[arg(long, value_name = "FILE|URL")]
    pub(super) target: Option<String>,
    #[command(flatten)]
    pub(super) redis: RedisArgs,
    #[command(flatten)]
    pub(super) load: LoadArgs,
    /// Run it once for each of these numbers of connections, on a server of its own each; shows how the costs grow.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', value_parser = positive, conflicts_with = "connections")]
    pub(super) growth: Vec<usize>,
    /// Write a report: json=FILE, html=FILE, markdown=FILE. May be repeated.
    #[arg(long, value_name = "KIND=FILE", value_delimiter = ',', value_parser = Choice::from_str)]
    pub(super) report: Vec<Choice>,
    /// Write goose's own report; the end of the name says which: .html, .json or .md. May be repeated.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub(super) goose_report: Vec<PathBuf>,
    /// What must hold, such as 'p99<20ms' or 'missing==0'; 1 where it does not. May be repeated.
    #[arg(long = "assert", value_name = "EXPR", num_args = 1.., value_parser = expectation)]
    pub(super) expectations: Vec<Expectation>,
}

/// Where Redis comes from.
#[derive(Debug, Args, Clone)]
pub(super) struct RedisArgs {
    /// Where Redis comes from, where the target wants one: auto, container, local or redis://HOST:PORT/DB.
    #[arg(long, value_name = "WAY", default_value = "auto", value_parser = RedisChoice::from_str)]
    pub(super) redis: RedisChoice,
    /// The image of the Redis container.
    #[arg(long, env = "NOTIFY_REDIS_IMAGE", default_value = DEFAULT_IMAGE, value_name = "IMAGE")]
    pub(super) redis_image: String,
    /// Start two nodes on one Redis; emit at the one, and let clients connect to the other.
    #[arg(long)]
    pub(super) across: bool,
}

/// How much load.
#[derive(Debug, Args, Clone, Default)]
pub(super) struct LoadArgs {
    /// Receivers at a time.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(super) connections: Option<usize>,
    /// Different users, where the scenario leaves a choice.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(super) users: Option<usize>,
    /// Events (or connects) a second, sent when they are due: open loop. Without it as fast as they are answered.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// Requests (or connects) that are under way at most.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(super) emitters: Option<usize>,
    /// Events in one request, by POST /events/batch.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) batch: Option<u16>,
    /// Bytes of a delivered payload, about.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(super) payload_bytes: Option<usize>,
    /// For how long it is measured, such as 30s or 10m.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) duration: Option<Duration>,
    /// For how long before that it is not; 0s for not at all.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) warmup: Option<Duration>,
    /// In slow: the slow receivers read so much a second, such as 16kB; 0B leaves them stalled only, as without this option.
    #[arg(long, value_name = "RATE", value_parser = bytes_per_s)]
    pub(super) slow_rate: Option<u64>,
    /// In slow: so many clients of one user connect by polling, never poll, close and come again, every 250 ms.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(super) misbehaving: Option<usize>,
    /// The bound on p99 that ramp keeps to.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) bound: Option<Duration>,
    /// Repeats the random choices of another run.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
}

/// With many events in a request, fewer requests: the reference refuses more than 1,024 events' worth at a time.
const BATCH_EMITTERS: usize = 8;

impl LoadArgs {
    /// Refuses an option that the scenario would pass over.
    ///
    /// # Errors
    /// With words for the user.
    pub(super) fn check(&self, kind: Kind) -> Result<(), String> {
        let of_slow = [("--slow-rate", self.slow_rate.is_some()), ("--misbehaving", self.misbehaving.is_some())];
        if let Some((option, _)) = of_slow.into_iter().find(|(_, is_given)| *is_given && kind != Kind::Slow) {
            return Err(format!("{option} is for the scenario slow, and this is {}", kind.name()));
        }
        let of_events = [
            ("--users", self.users.is_some()),
            ("--rate", self.rate.is_some()),
            ("--emitters", self.emitters.is_some()),
            ("--batch", self.batch.is_some()),
            ("--payload-bytes", self.payload_bytes.is_some()),
        ];
        match of_events.into_iter().find(|(_, is_given)| *is_given && kind == Kind::Idle) {
            Some((option, _)) => Err(format!("{option} is for scenarios that emit, and in idle nothing happens")),
            None => Ok(()),
        }
    }

    /// The scenario's defaults with what was said in their place.
    pub(super) fn settings(&self, kind: Kind) -> Settings {
        let defaults = kind.defaults();
        let batch = self.batch.map_or(defaults.batch, usize::from);
        let emitters = if batch > 1 { defaults.emitters.min(BATCH_EMITTERS) } else { defaults.emitters };
        let connections = self.connections.unwrap_or(defaults.connections);
        Settings {
            connections,
            users: self.users.unwrap_or(defaults.users),
            rate: self.rate.or(defaults.rate),
            emitters: self.emitters.unwrap_or(emitters),
            batch,
            payload_bytes: self.payload_bytes.unwrap_or(defaults.payload_bytes),
            warmup: self.warmup.unwrap_or(defaults.warmup),
            duration: self.duration.filter(|it| !it.is_zero()).unwrap_or(defaults.duration),
            seed: self.seed.unwrap_or(defaults.seed),
            bound: self.bound.unwrap_or(defaults.bound),
            slow_rate: self.slow_rate.or(defaults.slow_rate),
            misbehaving: self.misbehaving.unwrap_or(defaults.misbehaving),
            goose_reports: Vec::new(),
        }
    }
}

impl RedisArgs {
    /// On this target.
    pub(super) fn wanted(&self, target: Option<String>) -> Wanted {
        Wanted { target, redis: self.redis.clone(), image: self.redis_image.clone(), across: self.across }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| format!("{text:?} is no number above 0"))
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("{text:?} is no rate above 0"))
}

fn expectation(text: &str) -> Result<Expectation, String> {
    Expectation::from_str(text).map_err(|error| error.to_string())
}

fn bytes_per_s(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is no rate such as 16kB: a whole number with the unit B, kB or MB, meant a second");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let bytes = match &text[digits..] {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(bytes).ok_or_else(wrong)
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time such as 500ms, 90s, 10m or 1h");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let milliseconds = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(time("10m"), Ok(Duration::from_secs(600)));
        for wrong in ["", "s", "10", "1.5m", "-1s", "10d", "99999999999999999999h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_of_bytes_is_a_number_with_a_unit() {
        for (text, bytes) in [("16kB", 16_000), ("0B", 0), ("4096B", 4_096), ("2MB", 2_000_000)] {
            assert_eq!(bytes_per_s(text), Ok(bytes));
        }
        for wrong in [
            "",
            "16",
            "kB",
            "16kb",
            "16KB",
            "16 kB",
            "1.5kB",
            "-1B",
            "16kB/s",
            "99999999999999999999B",
            "99999999999999MB",
        ] {
            let said = bytes_per_s(wrong).expect_err(wrong);
            assert!(said.contains(&format!("{wrong:?}")) && said.contains("B, kB or MB"), "{said}");
        }
    }

    #[test]
    fn an_option_for_another_scenario_is_refused() {
        let said = LoadArgs { slow_rate: Some(1), ..LoadArgs::default() };
        assert_eq!(said.check(Kind::Slow), Ok(()));
        let refused = said.check(Kind::Fanout).expect_err("it would be passed over");
        assert!(refused.contains("--slow-rate") && refused.contains("fanout"), "{refused}");
        let said = LoadArgs { rate: Some(1.0), ..LoadArgs::default() };
        assert_eq!(said.check(Kind::Fanout), Ok(()));
        let refused = said.check(Kind::Idle).expect_err("it would be passed over");
        assert!(refused.contains("--rate") && refused.contains("idle"), "{refused}");
    }

    #[test]
    fn what_is_said_takes_the_place_of_the_default() {
        let said = LoadArgs { connections: Some(7), batch: Some(100), ..LoadArgs::default() };
        let settings = said.settings(Kind::Unicast);
        assert_eq!((settings.connections, settings.batch, settings.emitters), (7, 100, BATCH_EMITTERS));
        assert_eq!(settings.payload_bytes, 300);
    }
}
