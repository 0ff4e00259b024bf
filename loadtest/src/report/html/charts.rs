//! Which charts a run has, and what is in them.

use super::{
    scale::Scale,
    svg::{Axis, Chart, Line},
};
use crate::{
    figure::{is_idle, only_connects},
    report::summary::{at_rates, latencies},
    results::{Growth, Latency, Results, Second},
    units::{bytes, count, latency, percent, rate, seconds},
};

/// As many places along the axis of time are drawn; of a longer run several seconds share one.
const PLACES: usize = 200;
/// As many points of a distribution.
const STEPS: f64 = 160.0;

/// The distribution of each latency.
pub(super) fn percentiles(results: &Results) -> Option<Chart> {
    let of: Vec<_> = latencies(results).collect();
    let most = of.iter().map(|latency| latency.count).max()?;
    let nines = (most as f64).log10().clamp(1.0, 6.0);
    let lines: Vec<_> =
        of.iter().map(|latency| Line { name: name(latency), points: distribution(latency, nines) }).collect();
    let x = Axis { scale: Scale::Percentile { nines }, show: share };
    Some(chart("Latency by percentile", "share of what was measured that is at most as long", x, latency, lines, true))
}

/// A name that lives as long as the program, as those of all other lines do.
fn name(latency: &Latency) -> &'static str {
    match latency.of.as_str() {
        "delivery" => "delivery",
        "emit" => "emit",
        "handshake" => "handshake",
        "append" => "append",
        "drain" => "drain",
        _ => "latency",
    }
}

fn share(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Points of the distribution, as many as can be told apart; the worst is the last.
fn distribution(latency: &Latency, nines: f64) -> Vec<(f64, Option<f64>)> {
    let scale = Scale::Percentile { nines };
    if latency.buckets.is_empty() {
        let known = [(0.5, latency.p50_us), (0.9, latency.p90_us), (0.99, latency.p99_us), (0.999, latency.p999_us)];
        return known.into_iter().map(|(share, us)| (share, Some(us as f64))).collect();
    }
    let total: u64 = latency.buckets.iter().map(|bucket| bucket.count).sum();
    let mut points: Vec<(f64, Option<f64>)> = Vec::new();
    let (mut seen, mut drawn) = (0, -1.0);
    for (at, bucket) in latency.buckets.iter().enumerate() {
        // From how large a share on this is the value, rather than up to which: the worst is no 100 % of anything.
        let from = seen as f64 / total.max(1) as f64;
        seen += bucket.count;
        let place = scale.place(from);
        if place - drawn >= 1.0 / STEPS || at + 1 == latency.buckets.len() {
            points.push((from, Some(bucket.value_us as f64)));
            drawn = place;
        }
    }
    // The worst may be that of many.
    let last = 1.0 - 1.0 / total.max(1) as f64;
    points.extend(points.last().map(|&(_, worst)| (last, worst)).filter(|_| scale.place(last) > drawn));
    points
}

/// The run second by second.
pub(super) fn over_time(results: &Results) -> Vec<Chart> {
    let series = &results.series;
    if series.len() < 2 {
        return Vec::new();
    }
    let things = if only_connects(results) { "connects" } else { "deliveries" };
    let greatest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let line =
        |name, of: fn(&Second) -> Option<f64>, fold: fn(&[f64]) -> f64| Line { name, points: points(series, of, fold) };
    let x = || Axis { scale: Scale::Linear { to: series.last().map_or(1.0, |last| last.at_s) }, show: moment };
    let time = |title, show, lines, log| chart(title, "seconds since the clock started", x(), show, lines, log);
    let mut rates = vec![line(things, |it| Some(it.delivered_per_s), mean)];
    if series.iter().any(|second| second.accepted_per_s > 0.0) {
        rates.push(line("events accepted", |it| Some(it.accepted_per_s), mean));
    }
    let connections = series.iter().map(|second| second.connections);
    let steady = connections.clone().min() == connections.max();
    let mut charts = Vec::new();
    if !is_idle(results) {
        charts.push(time(
            "Latency over time",
            latency as fn(f64) -> String,
            vec![
                line("p99", |it| it.p99_us.map(|us| us as f64), greatest),
                line("p50", |it| it.p50_us.map(|us| us as f64), greatest),
            ],
            true,
        ));
        charts.push(time("Rate over time", rate, rates, false));
    }
    charts.extend([
        time(
            "CPU over time, of one core",
            percent,
            vec![line("server", |it| it.server_cpu, mean), line("harness", |it| Some(it.client_cpu), mean)],
            false,
        ),
        in_bytes(time(
            "Memory of the server over time",
            bytes,
            vec![line("server", |it| it.server_rss_bytes.map(|rss| rss as f64), greatest)],
            false,
        )),
    ]);
    if !steady {
        let open = vec![line("open connections", |it| Some(it.connections as f64), mean)];
        charts.push(time("Connections over time", whole, open, false));
    }
    charts
}

fn moment(s: f64) -> String {
    format!("{} s", format!("{s:.1}").trim_end_matches(".0"))
}

fn whole(number: f64) -> String {
    count(number.round() as u64)
}

/// The series, several seconds folded into one place where it is long; no value only where none of them has one.
fn points(series: &[Second], of: fn(&Second) -> Option<f64>, fold: fn(&[f64]) -> f64) -> Vec<(f64, Option<f64>)> {
    let together = series.len().div_ceil(PLACES).max(1);
    let place = |seconds: &[Second]| {
        let values: Vec<_> = seconds.iter().filter_map(of).collect();
        (seconds.last().map_or(0.0, |last| last.at_s), (!values.is_empty()).then(|| fold(&values)))
    };
    series.chunks(together).map(place).collect()
}

/// A run in steps: each figure against how far the step went.
pub(super) fn growth(results: &Results) -> Vec<Chart> {
    let steps = &results.growth;
    let (Some(first), true) = (steps.first(), steps.len() > 1) else { return Vec::new() };
    let along = if first.of == "rate" { "events a second that were asked for" } else { "connections" };
    let greatest = steps.iter().map(|step| step.n).fold(0.0, f64::max);
    let least = steps.iter().map(|step| step.n).fold(f64::INFINITY, f64::min);
    let wide = greatest / least >= 8.0;
    let x = || {
        let values = steps.iter().map(|step| step.n);
        Axis { scale: if wide { Scale::log(values) } else { Scale::linear(values) }, show: whole }
    };
    let line =
        |name, of: fn(&Growth) -> Option<f64>| Line { name, points: steps.iter().map(|it| (it.n, of(it))).collect() };
    let by = |title, show, lines, log| Chart { marked: true, ..chart(title, along, x(), show, lines, log) };
    let mut charts = match is_idle(results) {
        true => vec![by(
            "Server CPU a second for each connection",
            seconds as fn(f64) -> String,
            vec![line("server", |it| it.server_idle_cpu_s)],
            false,
        )],
        false => vec![
            by(
                "Latency as it grows",
                latency as fn(f64) -> String,
                vec![line("p99", |it| Some(it.p99_us as f64)), line("p50", |it| Some(it.p50_us as f64))],
                true,
            ),
            by("Deliveries as it grows", rate, vec![line("deliveries", |it| Some(it.delivered_per_s))], false),
            by(
                "Server CPU per 100,000 deliveries",
                seconds,
                vec![line("server", |it| it.server_cpu_s_per_100k)],
                false,
            ),
        ],
    };
    if !at_rates(steps) {
        charts.push(in_bytes(by(
            "Server memory per connection",
            bytes,
            vec![
                line("server", |it| it.server_rss_per_connection_bytes),
                line("kernel, both ends", |it| it.kernel_per_connection_bytes),
            ],
            false,
        )));
    }
    charts
}

/// Bytes have an axis of their own.
fn in_bytes(chart: Chart) -> Chart {
    let values = chart.lines.iter().flat_map(|line| line.points.iter().filter_map(|point| point.1));
    let scale = Scale::binary(values);
    Chart { y: Axis { scale, show: bytes }, ..chart }
}

fn chart(
    title: &'static str,
    along: &'static str,
    x: Axis,
    show: fn(f64) -> String,
    lines: Vec<Line>,
    log: bool,
) -> Chart {
    let values = lines.iter().flat_map(|line| line.points.iter().filter_map(|point| point.1));
    let scale = if log { Scale::log(values) } else { Scale::linear(values) };
    Chart { title, along, x, y: Axis { scale, show }, lines, marked: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn titles(charts: &[Chart]) -> Vec<&'static str> {
        charts.iter().map(|chart| chart.title).collect()
    }

    #[test]
    fn a_stall_survives_where_several_seconds_share_a_place() {
        let mut series: Vec<Second> =
            (0..3_600).map(|at| Second { at_s: f64::from(at), p99_us: Some(900), ..Second::default() }).collect();
        series[1_801].p99_us = Some(3_000_000);
        let points =
            points(&series, |it| it.p99_us.map(|us| us as f64), |values| values.iter().copied().fold(0.0, f64::max));
        assert!(points.len() <= PLACES, "{}", points.len());
        assert_eq!(points.iter().filter(|point| point.1 == Some(3_000_000.0)).count(), 1);
        assert_eq!(points.last().map(|point| point.0), Some(3_599.0));
    }

    #[test]
    fn the_distribution_ends_with_the_worst_and_stays_small() {
        let mut latency = sample::good().latency;
        latency.buckets = (1..100_000).map(|value_us| crate::results::Bucket { value_us, count: 3 }).collect();
        let points = distribution(&latency, 5.5);
        assert!(points.len() < 200, "{}", points.len());
        assert_eq!(points.last().and_then(|point| point.1), Some(99_999.0));
        let stalled = Latency { buckets: vec![crate::results::Bucket { value_us: 9, count: 1_000 }], ..latency };
        assert_eq!(distribution(&stalled, 3.0), [(0.0, Some(9.0)), (0.999, Some(9.0))]);
        let median = points.iter().find(|point| point.0 >= 0.5).and_then(|point| point.1).expect("a median");
        assert!((49_000.0..52_000.0).contains(&median), "{median}");
    }

    #[test]
    fn a_run_has_the_charts_of_what_it_has_measured() {
        let all = titles(&over_time(&sample::good()));
        assert_eq!(all.len(), 4, "{all:?}");
        let mut churn = sample::good();
        churn.series[3].connections = 4_000;
        assert!(titles(&over_time(&churn)).contains(&"Connections over time"));
        assert!(growth(&sample::good()).is_empty() && growth(&sample::growth()).len() == 3);
        let mut by_connections = sample::growth();
        by_connections.growth.iter_mut().for_each(|step| step.of = "connections".into());
        assert!(titles(&growth(&by_connections)).contains(&"Server memory per connection"));
        let mut nothing = sample::good();
        (nothing.latency.count, nothing.further) = (0, Vec::new());
        assert!(percentiles(&nothing).is_none());
    }

    #[test]
    fn shares_have_no_idle_zeros() {
        assert_eq!([0.0, 0.5, 0.99, 0.9999].map(share), ["0 %", "50 %", "99 %", "99.99 %"]);
        assert_eq!([0.0, 0.5, 1.002, 30.0].map(moment), ["0 s", "0.5 s", "1 s", "30 s"]);
    }
}
