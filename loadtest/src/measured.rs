//! What a scenario hands back, before it is put in order as `Results`. Knows nothing of reports.

use std::time::Duration;

use crate::{
    machine,
    results::{Counts, Growth, Latency, Rates, Resources, Second},
    watch::Sight,
};

/// A harness that uses more than this share of all cores has none left to measure with.
const CLIENT_MOST: f64 = 0.7;
/// A machine that is used more than this has nothing left.
const MACHINE_FULL: f64 = 0.85;

/// The figures of one course of a scenario.
#[derive(Debug, Default)]
pub struct Measured {
    /// Where every event has gone.
    pub counts: Counts,
    /// How long the clock ran, until the last delivery.
    pub elapsed: Duration,
    /// How long the deliveries took, where that is another time than the emitting took.
    pub delivering: Option<Duration>,
    /// The latency that the scenario is about.
    pub latency: Latency,
    /// Further ones.
    pub further: Vec<Latency>,
    /// Second by second.
    pub series: Vec<Second>,
    /// Processor time of the server.
    pub server_cpu_s: Option<f64>,
    /// Processor time of the harness.
    pub client_cpu_s: f64,
    /// How long both were looked at, in seconds.
    pub watched_s: f64,
    /// Receivers that were connected.
    pub connections: usize,
    /// Users that there were.
    pub users: usize,
    /// Memory of the server before they were, in bytes.
    pub rss_before: Option<u64>,
    /// With them.
    pub rss_connected: Option<u64>,
    /// At the end.
    pub rss_end: Option<u64>,
    /// Memory of the kernel before they were, in bytes, where the scenario looks at it.
    pub kernel_before: Option<u64>,
    /// With them.
    pub kernel_connected: Option<u64>,
    /// The rate that was found, where the scenario looks for one.
    pub rate: Option<f64>,
    /// Steps, where there are several.
    pub growth: Vec<Growth>,
    /// What only this scenario tells.
    pub notes: Vec<(String, String)>,
    /// What went on beside it, where anything did.
    pub beside: Vec<String>,
    /// What a reader has to know.
    pub warnings: Vec<String>,
    /// Why the run has failed, apart from missing events.
    pub failures: Vec<String>,
}

impl Measured {
    /// With what a watch has seen.
    pub fn of(sight: Sight, elapsed: Duration) -> Self {
        Self {
            elapsed,
            series: sight.series,
            server_cpu_s: sight.server_cpu_s,
            client_cpu_s: sight.client_cpu_s,
            watched_s: sight.elapsed_s,
            rss_end: sight.server_rss_bytes,
            ..Self::default()
        }
    }

    /// Adds what was measured next, on the same server with as many connections. Latencies are not put together.
    pub fn append(&mut self, next: Self) {
        self.counts = self.counts.plus(next.counts);
        let before = self.watched_s;
        let later = |second: Second| Second { at_s: before + second.at_s, ..second };
        self.series.extend(next.series.into_iter().map(later));
        self.elapsed += next.elapsed;
        self.server_cpu_s = self.server_cpu_s.zip(next.server_cpu_s).map(|(one, other)| one + other);
        self.client_cpu_s += next.client_cpu_s;
        self.watched_s += next.watched_s;
        self.rss_end = next.rss_end;
        self.further.extend(next.further);
        self.notes.extend(next.notes);
        self.warnings.extend(next.warnings);
        self.failures.extend(next.failures);
    }

    /// What the scenario is about: deliveries, or connects where it makes those.
    pub fn done(&self) -> u64 {
        if self.counts.expected > 0 { self.counts.delivered } else { self.counts.handshakes }
    }

    /// How many a second.
    pub fn rates(&self) -> Rates {
        let per_s = |count: u64, time: Duration| count as f64 / time.as_secs_f64().max(1e-6);
        Rates {
            accepted_per_s: per_s(self.counts.accepted, self.elapsed),
            delivered_per_s: per_s(self.counts.delivered, self.delivering.unwrap_or(self.elapsed)),
            handshakes_per_s: per_s(self.counts.handshakes, self.elapsed),
        }
    }

    /// What it cost.
    pub fn resources(&self) -> Resources {
        let cores = machine::cores() as f64;
        let per_connection = |before: Option<u64>, connected: Option<u64>| match (before, connected, self.connections) {
            (Some(before), Some(connected), 1..) => Some((connected as f64 - before as f64) / self.connections as f64),
            _ => None,
        };
        let done = self.done();
        let is_idle = self.counts.are_none() && self.connections > 0;
        Resources {
            server_cpu_s: self.server_cpu_s,
            server_cpu_s_per_100k: self.server_cpu_s.filter(|_| done > 0).map(|cpu| cpu * 100_000.0 / done as f64),
            server_idle_cpu_s: self
                .server_cpu_s
                .filter(|_| is_idle)
                .map(|cpu| cpu / self.watched_s.max(1e-6) / self.connections as f64),
            server_rss_before_bytes: self.rss_before,
            server_rss_connected_bytes: self.rss_connected,
            server_rss_end_bytes: self.rss_end,
            server_rss_per_connection_bytes: per_connection(self.rss_before, self.rss_connected),
            kernel_per_connection_bytes: per_connection(self.kernel_before, self.kernel_connected),
            client_cpu_s: self.client_cpu_s,
            client_cpu_share: self.client_cpu_s / self.watched_s.max(1e-6) / cores,
            client_was_bottleneck: self.client_was_bottleneck(cores),
        }
    }

    /// Whether the harness had no processor time left, or took from the server what it needed more of itself.
    fn client_was_bottleneck(&self, cores: f64) -> bool {
        let share = |cpu_s: f64| cpu_s / self.watched_s.max(1e-6) / cores;
        let client = share(self.client_cpu_s);
        let server = self.server_cpu_s.map_or(0.0, share);
        client > CLIENT_MOST || (client > server && client + server > MACHINE_FULL)
    }

    /// One step of several.
    pub fn step(&self, of: &str, n: f64, held: bool) -> Growth {
        let resources = self.resources();
        let rates = self.rates();
        Growth {
            of: of.to_owned(),
            n,
            delivered_per_s: if self.counts.expected > 0 { rates.delivered_per_s } else { rates.handshakes_per_s },
            p50_us: self.latency.p50_us,
            p99_us: self.latency.p99_us,
            missing: self.counts.missing,
            server_cpu_s_per_100k: resources.server_cpu_s_per_100k,
            server_rss_per_connection_bytes: resources.server_rss_per_connection_bytes,
            server_idle_cpu_s: resources.server_idle_cpu_s,
            kernel_per_connection_bytes: resources.kernel_per_connection_bytes,
            held,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_bottleneck_where_it_has_no_processor_left() {
        let bottleneck = |client, server| {
            let measured =
                Measured { client_cpu_s: client, server_cpu_s: server, watched_s: 10.0, ..Measured::default() };
            measured.client_was_bottleneck(2.0)
        };
        assert!(bottleneck(15.0, None));
        assert!(bottleneck(12.0, Some(8.0)));
        assert!(!bottleneck(6.0, Some(13.0)));
        assert!(!bottleneck(10.0, Some(1.0)));
        assert!(!bottleneck(3.0, None));
    }

    #[test]
    fn costs_are_told_for_each_delivery_and_connection() {
        let counts = Counts { expected: 50_000, delivered: 50_000, ..Counts::default() };
        let measured = Measured {
            counts,
            server_cpu_s: Some(2.0),
            watched_s: 10.0,
            connections: 1_000,
            rss_before: Some(1_000_000),
            rss_connected: Some(21_000_000),
            ..Measured::default()
        };
        let resources = measured.resources();
        assert_eq!(resources.server_cpu_s_per_100k, Some(4.0));
        assert_eq!(resources.server_rss_per_connection_bytes, Some(20_000.0));
        assert_eq!((resources.server_idle_cpu_s, resources.kernel_per_connection_bytes), (None, None));
    }

    #[test]
    fn what_does_nothing_costs_by_the_second() {
        let measured = Measured {
            server_cpu_s: Some(0.12),
            watched_s: 60.0,
            connections: 1_000,
            kernel_before: Some(1_000_000),
            kernel_connected: Some(6_000_000),
            ..Measured::default()
        };
        let resources = measured.resources();
        assert_eq!(resources.server_idle_cpu_s, Some(2e-6));
        assert_eq!(resources.kernel_per_connection_bytes, Some(5_000.0));
    }
}
