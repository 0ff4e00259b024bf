//! What one run has measured: the type at which the harness and its reports meet. Knows nothing of either.
//!
//! Times are in microseconds (`_us`) or seconds (`_s`), memory in bytes; shares are between 0 and 1. What could not be measured
//! is `None`, never 0: a server that runs elsewhere has no CPU seconds here.

use serde::{Deserialize, Serialize};

/// The version of the format; raised by every change that a reader could stumble over.
pub const SCHEMA: u32 = 1;

/// The results of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Where it was measured, and what.
    pub environment: Environment,
    /// What was done.
    pub scenario: Scenario,
    /// Where every event has gone.
    pub counts: Counts,
    /// How many a second.
    pub rates: Rates,
    /// The latency that the scenario is about; in open loop from the intended send time.
    pub latency: Latency,
    /// Further latencies: that of emit requests, of handshakes.
    pub further: Vec<Latency>,
    /// The run second by second, warm-up excluded.
    pub series: Vec<Second>,
    /// What it cost.
    pub resources: Resources,
    /// The steps of a scenario that has several: connections, or the rates of a ramp. Otherwise empty.
    pub growth: Vec<Growth>,
    /// What a reader has to know before believing the figures.
    pub warnings: Vec<String>,
    /// How it ended.
    pub verdict: Verdict,
}

/// Where it was measured, and what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The target file's name for the server.
    pub target: String,
    /// What it does without that a whole server has to do; empty where nothing is said.
    #[serde(default)]
    pub leaves_out: Vec<String>,
    /// `embedded`, `redis 8.0.2 (local)`, or `unknown`.
    pub store: String,
    /// Operating system and architecture.
    pub machine: String,
    /// The processor's name.
    pub processor: Option<String>,
    /// How many cores the harness may use.
    pub cores: usize,
    /// When the run began, RFC 3339 in UTC.
    pub date: String,
    /// The commit that was measured, with `-dirty` where the tree has changes.
    pub commit: Option<String>,
    /// Whether the harness was built with optimisations.
    pub optimised: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Such as `unicast`.
    pub name: String,
    /// Receivers at a time.
    pub connections: usize,
    /// Different users.
    pub users: usize,
    /// Events (or connects) a second in open loop; `None` in closed loop.
    pub rate_per_s: Option<f64>,
    /// How many requests are under way at most.
    pub emitters: usize,
    /// Events in one request.
    pub batch: usize,
    /// Bytes of the payload as it is delivered, about.
    pub payload_bytes: usize,
    /// What was not measured, before the clock started.
    pub warmup_s: f64,
    /// How long events were emitted on the clock.
    pub duration_s: f64,
    /// Repeats the random choices.
    pub seed: u64,
    /// What only this scenario has, name and value, in the order in which they are shown.
    pub further: Vec<(String, String)>,
}

/// Where every event has gone; warm-up excluded. `accepted = sent - refused - unanswered`; `missing = expected - delivered`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Events that were sent to the server.
    pub sent: u64,
    /// Events that it accepted.
    pub accepted: u64,
    /// Events that it refused.
    pub refused: u64,
    /// Events of requests that were not answered; they may arrive or not.
    pub unanswered: u64,
    /// Deliveries that the accepted events must lead to: of one event as many as its user has receivers.
    pub expected: u64,
    /// Deliveries that came, each counted once.
    pub delivered: u64,
    /// Deliveries that had not come at the end of the bounded wait.
    pub missing: u64,
    /// Deliveries that came again.
    pub duplicated: u64,
    /// Connections that were made and measured, where the scenario makes any on the clock.
    pub handshakes: u64,
    /// Connections that could not be made.
    pub failed_handshakes: u64,
}

impl Counts {
    /// Whether nothing was sent, and nobody connected on the clock: the scenario has costs, and no rate.
    pub fn are_none(self) -> bool {
        self == Self::default()
    }

    /// Both together.
    pub const fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            accepted: self.accepted + other.accepted,
            refused: self.refused + other.refused,
            unanswered: self.unanswered + other.unanswered,
            expected: self.expected + other.expected,
            delivered: self.delivered + other.delivered,
            missing: self.missing + other.missing,
            duplicated: self.duplicated + other.duplicated,
            handshakes: self.handshakes + other.handshakes,
            failed_handshakes: self.failed_handshakes + other.failed_handshakes,
        }
    }
}

/// How many a second, over the measured time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Events that the server accepted.
    pub accepted_per_s: f64,
    /// Deliveries.
    pub delivered_per_s: f64,
    /// Connections made.
    pub handshakes_per_s: f64,
}

/// The distribution of one kind of latency.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// What was measured: `delivery`, `emit`, `handshake`.
    pub of: String,
    /// From which moment to which.
    pub from: String,
    /// How many were measured.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: u64,
    /// Nine in ten are at most this.
    pub p90_us: u64,
    /// 99 in 100.
    pub p99_us: u64,
    /// 999 in 1,000.
    pub p999_us: u64,
    /// The worst.
    pub max_us: u64,
    /// The histogram: values in ascending order, each with how many were as long (three significant digits).
    pub buckets: Vec<Bucket>,
}

/// One bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Microseconds.
    pub value_us: u64,
    /// How many.
    pub count: u64,
}

/// One second of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Second {
    /// Seconds since the clock started, at the end of this one.
    pub at_s: f64,
    /// Events accepted within it.
    pub accepted_per_s: f64,
    /// Deliveries (in `handshake` and `churn`: connects) within it.
    pub delivered_per_s: f64,
    /// The median of what arrived within it; `None` where nothing did.
    pub p50_us: Option<u64>,
    /// 99 in 100 of what arrived within it.
    pub p99_us: Option<u64>,
    /// How much of one core the server used: 1 is a whole core.
    pub server_cpu: Option<f64>,
    /// The server's memory in RAM.
    pub server_rss_bytes: Option<u64>,
    /// How much of one core the harness used.
    pub client_cpu: f64,
    /// Connections that were open at its end.
    pub connections: u64,
}

/// What the run cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// User and system time of the server's process over the measured time.
    pub server_cpu_s: Option<f64>,
    /// The same for 100,000 deliveries (in `handshake` and `churn`: connects).
    pub server_cpu_s_per_100k: Option<f64>,
    /// The server's memory before anybody connected.
    pub server_rss_before_bytes: Option<u64>,
    /// With all receivers connected, before the clock started.
    pub server_rss_connected_bytes: Option<u64>,
    /// At the end of the run.
    pub server_rss_end_bytes: Option<u64>,
    /// (connected − before) ÷ connections.
    pub server_rss_per_connection_bytes: Option<f64>,
    /// The server's CPU seconds in a second, for each connection, where nothing was emitted.
    #[serde(default)]
    pub server_idle_cpu_s: Option<f64>,
    /// The kernel's memory for each connection, both ends of it, where the scenario looks at that.
    #[serde(default)]
    pub kernel_per_connection_bytes: Option<f64>,
    /// User and system time of the harness over the measured time.
    pub client_cpu_s: f64,
    /// How much of all cores the harness used.
    pub client_cpu_share: f64,
    /// Whether the harness, and not the server, is what limited the figures.
    pub client_was_bottleneck: bool,
}

/// One step of a scenario that has several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    /// What grows: `connections` or `rate`.
    pub of: String,
    /// How many.
    pub n: f64,
    /// Deliveries a second.
    pub delivered_per_s: f64,
    /// The median.
    pub p50_us: u64,
    /// 99 in 100.
    pub p99_us: u64,
    /// Deliveries that did not come.
    pub missing: u64,
    /// The server's CPU seconds for 100,000 deliveries.
    pub server_cpu_s_per_100k: Option<f64>,
    /// The server's memory for each connection.
    pub server_rss_per_connection_bytes: Option<f64>,
    /// The server's CPU seconds in a second, for each connection, where nothing was emitted.
    #[serde(default)]
    pub server_idle_cpu_s: Option<f64>,
    /// The kernel's memory for each connection.
    #[serde(default)]
    pub kernel_per_connection_bytes: Option<f64>,
    /// Whether it kept to its bound (`ramp`); true where there is none.
    pub held: bool,
}

/// How the run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Whether nothing was missing and every assertion holds.
    pub passed: bool,
    /// Each reason why not.
    pub failures: Vec<String>,
    /// The assertions that were asked for, and whether each holds.
    pub assertions: Vec<Assertion>,
}

/// One `--assert`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// As it was written.
    pub text: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was measured instead, or why it could not be judged.
    pub actual: String,
}
