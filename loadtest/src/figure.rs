//! The figures of a run that can be asserted, compared and set against a base, by one name each.

use std::fmt;

use crate::{results::Results, units};

/// One figure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Deliveries (in a scenario that only connects: connects) a second.
    Rate,
    /// Events that the server accepted a second.
    AcceptedRate,
    /// The median of the scenario's latency.
    P50,
    /// 90 in 100 are at most this.
    P90,
    /// 99 in 100.
    P99,
    /// 999 in 1,000.
    P999,
    /// The worst.
    Max,
    /// Deliveries that did not come.
    Missing,
    /// Deliveries that came again.
    Duplicated,
    /// Events that the server refused.
    Refused,
    /// The server's CPU seconds for 100,000 deliveries.
    CpuPer100k,
    /// The server's memory for each connection.
    RssPerConnection,
    /// The server's CPU seconds in a second for each connection that does nothing.
    IdleCpu,
    /// The kernel's memory for each connection.
    KernelPerConnection,
}

/// What a figure counts; decides its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Microseconds.
    Latency,
    /// Processor time in seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A number of events.
    Count,
    /// So many a second.
    Rate,
}

impl Figure {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 14] = [
        Self::Rate,
        Self::AcceptedRate,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::P999,
        Self::Max,
        Self::Missing,
        Self::Duplicated,
        Self::Refused,
        Self::CpuPer100k,
        Self::RssPerConnection,
        Self::IdleCpu,
        Self::KernelPerConnection,
    ];

    /// Its name in an assertion.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::AcceptedRate => "accepted_rate",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p999",
            Self::Max => "max",
            Self::Missing => "missing",
            Self::Duplicated => "duplicated",
            Self::Refused => "refused",
            Self::CpuPer100k => "cpu_per_100k",
            Self::RssPerConnection => "rss_per_connection",
            Self::IdleCpu => "idle_cpu",
            Self::KernelPerConnection => "kernel_per_connection",
        }
    }

    /// The figure of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|figure| figure.name() == name)
    }

    /// What it counts.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Rate | Self::AcceptedRate => Kind::Rate,
            Self::P50 | Self::P90 | Self::P99 | Self::P999 | Self::Max => Kind::Latency,
            Self::Missing | Self::Duplicated | Self::Refused => Kind::Count,
            Self::CpuPer100k | Self::IdleCpu => Kind::Seconds,
            Self::RssPerConnection | Self::KernelPerConnection => Kind::Bytes,
        }
    }

    /// Whether more of it is better; of all others less is.
    pub const fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::AcceptedRate)
    }

    /// Its value in the unit of its kind; `None` where it was not measured, as the latency of a run in which nothing arrived.
    pub fn of(self, results: &Results) -> Option<f64> {
        let (latency, counts, resources) = (&results.latency, &results.counts, &results.resources);
        let of_latency = |us: u64| (latency.count > 0).then_some(us as f64);
        match self {
            Self::Rate | Self::Missing | Self::Duplicated | Self::Refused if is_idle(results) => None,
            Self::Rate => Some(rate(results)),
            Self::AcceptedRate => Some(results.rates.accepted_per_s).filter(|per_s| *per_s > 0.0),
            Self::P50 => of_latency(latency.p50_us),
            Self::P90 => of_latency(latency.p90_us),
            Self::P99 => of_latency(latency.p99_us),
            Self::P999 => of_latency(latency.p999_us),
            Self::Max => of_latency(latency.max_us),
            Self::Missing => Some(counts.missing as f64),
            Self::Duplicated => Some(counts.duplicated as f64),
            Self::Refused => Some(counts.refused as f64),
            Self::CpuPer100k => resources.server_cpu_s_per_100k,
            Self::RssPerConnection => resources.server_rss_per_connection_bytes,
            Self::IdleCpu => resources.server_idle_cpu_s,
            Self::KernelPerConnection => resources.kernel_per_connection_bytes,
        }
    }

    /// Whether it says anything that another does not: where each event has one receiver, as many are accepted as delivered.
    pub fn tells_more(self, results: &Results) -> bool {
        let rates = &results.rates;
        self != Self::AcceptedRate || (rates.accepted_per_s / rates.delivered_per_s - 1.0).abs() > 0.01
    }

    /// A value of it, for people.
    pub fn show(self, value: f64) -> String {
        match self.kind() {
            Kind::Latency => units::latency(value),
            Kind::Seconds => units::seconds(value),
            Kind::Bytes => units::bytes(value),
            Kind::Count => units::count(value.round() as u64),
            Kind::Rate => units::rate(value),
        }
    }

    /// Its name in a table.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::AcceptedRate => "events accepted",
            Self::P50 => "latency p50",
            Self::P90 => "latency p90",
            Self::P99 => "latency p99",
            Self::P999 => "latency p99.9",
            Self::Max => "latency max",
            Self::Missing => "missing",
            Self::Duplicated => "duplicated",
            Self::Refused => "refused",
            Self::CpuPer100k => "server CPU per 100,000",
            Self::RssPerConnection => "server memory per connection",
            Self::IdleCpu => "server CPU per idle connection and second",
            Self::KernelPerConnection => "kernel memory per connection",
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether the scenario only connects, so that its rate is one of connects.
pub fn only_connects(results: &Results) -> bool {
    results.counts.expected == 0 && results.counts.delivered == 0 && results.counts.handshakes > 0
}

/// Whether nothing happens in the scenario.
pub fn is_idle(results: &Results) -> bool {
    results.counts.are_none()
}

fn rate(results: &Results) -> f64 {
    if only_connects(results) { results.rates.handshakes_per_s } else { results.rates.delivered_per_s }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_figure_is_found_by_its_name_and_by_no_other() {
        for figure in Figure::ALL {
            assert_eq!(Figure::named(figure.name()), Some(figure));
        }
        assert_eq!(Figure::named("p98"), None);
    }

    #[test]
    fn the_latency_of_nothing_is_none_and_not_zero() {
        let mut results = sample::good();
        assert_eq!(Figure::P99.of(&results), Some(1_720.0));
        results.latency.count = 0;
        assert_eq!(Figure::P99.of(&results), None);
    }

    #[test]
    fn where_nothing_happens_there_are_costs_only() {
        let mut results = sample::good();
        results.counts = crate::results::Counts::default();
        (results.latency.count, results.rates, results.resources.server_cpu_s_per_100k) = (0, Default::default(), None);
        results.resources.server_idle_cpu_s = Some(1.52e-6);
        let told: Vec<_> = Figure::ALL.into_iter().filter(|figure| figure.of(&results).is_some()).collect();
        assert_eq!(told, [Figure::RssPerConnection, Figure::IdleCpu]);
        assert_eq!(Figure::IdleCpu.show(1.52e-6), "1.52 µs");
    }

    #[test]
    fn the_rate_of_acceptance_is_told_where_it_is_another_than_that_of_deliveries() {
        let mut results = sample::good();
        assert!(!Figure::AcceptedRate.tells_more(&results) && Figure::P99.tells_more(&results));
        results.rates.accepted_per_s /= 10.0;
        assert!(Figure::AcceptedRate.tells_more(&results));
        results.rates.accepted_per_s = 0.0;
        assert_eq!(Figure::AcceptedRate.of(&results), None);
    }

    #[test]
    fn the_rate_of_a_scenario_that_only_connects_is_that_of_connects() {
        let mut results = sample::good();
        assert_eq!(Figure::Rate.of(&results), Some(results.rates.delivered_per_s));
        results.counts = crate::results::Counts { handshakes: 9, ..Default::default() };
        results.rates.handshakes_per_s = 6_600.0;
        assert_eq!(Figure::Rate.of(&results), Some(6_600.0));
    }
}
