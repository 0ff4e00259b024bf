//! A run in words: what the reports for people have in common.

use crate::{
    figure::{Figure, is_idle, only_connects},
    results::{Growth, Latency, Results},
    table::Table,
    units::{bytes, count, latency, number_of, percent, rate, seconds},
};

/// What was done, in a line.
pub(super) fn load(results: &Results) -> String {
    let scenario = &results.scenario;
    let mut parts = Vec::new();
    if scenario.connections > 0 {
        parts.push(number_of(scenario.connections, "connection"));
    }
    if scenario.users != scenario.connections {
        parts.push(number_of(scenario.users, "user"));
    }
    parts.push(match scenario.rate_per_s {
        _ if is_idle(results) => "nothing but heartbeats".to_owned(),
        Some(per_s) => format!("open loop at {}", rate(per_s)),
        None => format!("closed loop, {}", number_of(scenario.emitters, "emitter")),
    });
    if scenario.batch > 1 {
        parts.push(format!("batches of {}", count(scenario.batch as u64)));
    }
    if !only_connects(results) && !is_idle(results) {
        parts.push(format!("{} bytes", count(scenario.payload_bytes as u64)));
    }
    let warmup =
        if scenario.warmup_s > 0.0 { format!(" after {} of warm-up", time(scenario.warmup_s)) } else { String::new() };
    parts.push(format!("{}{warmup}", time(scenario.duration_s)));
    parts.join(", ")
}

/// Whole seconds where there are any.
fn time(s: f64) -> String {
    if s.fract() == 0.0 && s < 1e9 { format!("{s:.0} s") } else { seconds(s) }
}

/// `PASSED` or `FAILED`.
pub(super) const fn verdict(results: &Results) -> &'static str {
    if results.verdict.passed { "PASSED" } else { "FAILED" }
}

/// Why, in a line.
pub(super) fn reason(results: &Results) -> String {
    if !results.verdict.failures.is_empty() {
        return results.verdict.failures.join("; ");
    }
    let mut parts: Vec<_> = Figure::Rate
        .of(results)
        .map(|rate| format!("{} {}", Figure::Rate.show(rate), things(results)))
        .into_iter()
        .collect();
    parts.extend(Figure::IdleCpu.of(results).map(|cpu| format!("{} a second for each connection", seconds(cpu))));
    parts.extend(
        is_idle(results)
            .then(|| Figure::RssPerConnection.of(results))
            .flatten()
            .map(|each| format!("{} of memory", bytes(each))),
    );
    parts.extend(Figure::P99.of(results).map(|us| format!("p99 {}", latency(us))));
    if Figure::Missing.of(results).is_some() && !only_connects(results) {
        parts.push("nothing missing".to_owned());
    }
    let held = results.verdict.assertions.len();
    if held > 0 {
        parts.push(format!("{held} of {held} assertions hold"));
    }
    parts.join(", ")
}

/// What the rate is one of.
pub(super) fn things(results: &Results) -> &'static str {
    if only_connects(results) { "connects" } else { "deliveries" }
}

/// The figures that are no latencies: name and value.
pub(super) fn rows(results: &Results) -> Vec<(&'static str, String)> {
    let (counts, rates, resources) = (&results.counts, &results.rates, &results.resources);
    let mut rows = Vec::new();
    if counts.sent > 0 {
        rows.push(("events", events(results)));
    }
    if counts.expected > 0 || counts.delivered > 0 {
        rows.push(("deliveries", deliveries(results)));
    }
    if counts.handshakes + counts.failed_handshakes > 0 {
        let (made, failed) = (count(counts.handshakes), count(counts.failed_handshakes));
        rows.push(("handshakes", format!("{made} made, {failed} failed")));
    }
    let mut parts = Vec::new();
    if rates.delivered_per_s > 0.0 {
        parts.push(format!("{} deliveries", rate(rates.delivered_per_s)));
    }
    if rates.accepted_per_s > 0.0 {
        parts.push(format!("{} events accepted", rate(rates.accepted_per_s)));
    }
    if rates.handshakes_per_s > 0.0 {
        parts.push(format!("{} connects", rate(rates.handshakes_per_s)));
    }
    if !is_idle(results) {
        rows.push(("rate", if parts.is_empty() { "nothing came".to_owned() } else { parts.join(", ") }));
    }
    rows.extend(server_cpu(results).map(|cpu| ("server CPU", cpu)));
    rows.extend(server_memory(results).map(|memory| ("server memory", memory)));
    let all = if results.environment.cores == 1 { "core" } else { "cores" };
    let mut client = format!(
        "{} of {} {all}, {}",
        percent(resources.client_cpu_share),
        results.environment.cores,
        seconds(resources.client_cpu_s)
    );
    if resources.client_was_bottleneck {
        client.push_str(": the harness was the bottleneck");
    }
    rows.push(("client CPU", client));
    rows
}

fn events(results: &Results) -> String {
    let counts = &results.counts;
    format!(
        "{} sent, {} accepted, {} refused, {} unanswered",
        count(counts.sent),
        count(counts.accepted),
        count(counts.refused),
        count(counts.unanswered)
    )
}

fn deliveries(results: &Results) -> String {
    let counts = &results.counts;
    format!(
        "{} expected, {} delivered, {} missing, {} duplicated",
        count(counts.expected),
        count(counts.delivered),
        count(counts.missing),
        count(counts.duplicated)
    )
}

fn server_cpu(results: &Results) -> Option<String> {
    let each =
        results.resources.server_cpu_s_per_100k.map(|s| format!("{} for 100,000 {}", seconds(s), things(results)));
    let idle = results.resources.server_idle_cpu_s.map(|s| format!("{} a second for each connection", seconds(s)));
    let all = results.resources.server_cpu_s.map(|s| format!("{} in all", seconds(s)));
    some([each, idle, all])
}

fn server_memory(results: &Results) -> Option<String> {
    let resources = &results.resources;
    some([
        resources.server_rss_per_connection_bytes.map(|each| format!("{} a connection", bytes(each))),
        resources.server_rss_before_bytes.map(|rss| format!("{} before", bytes(rss as f64))),
        resources.server_rss_connected_bytes.map(|rss| format!("{} connected", bytes(rss as f64))),
        resources.server_rss_end_bytes.map(|rss| format!("{} at the end", bytes(rss as f64))),
        resources.kernel_per_connection_bytes.map(|each| format!("{} a connection in the kernel", bytes(each))),
    ])
}

/// What there is of these, if anything.
fn some(parts: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The latencies that were measured, the scenario's own first.
pub(super) fn latencies(results: &Results) -> impl Iterator<Item = &Latency> {
    std::iter::once(&results.latency).chain(&results.further).filter(|latency| latency.count > 0)
}

/// The percentiles of each latency.
pub(super) fn latency_table(results: &Results) -> Option<Table> {
    let mut table = Table::new(["latency", "p50", "p90", "p99", "p99.9", "max", "mean", "count", "measured from"]);
    let mut any = false;
    for each in latencies(results) {
        any = true;
        let figures = [each.p50_us, each.p90_us, each.p99_us, each.p999_us, each.max_us].map(|us| latency(us as f64));
        let rest = [latency(each.mean_us), count(each.count), each.from.clone()];
        table.row([each.of.clone()].into_iter().chain(figures).chain(rest));
    }
    any.then(|| table.ending_in_words())
}

/// The steps of a run that has several. Those at rates share their connections: memory says nothing of them.
pub(super) fn growth_table(results: &Results) -> Option<Table> {
    let first = results.growth.first()?;
    if is_idle(results) {
        return Some(idle_table(&results.growth));
    }
    let at_rates = at_rates(&results.growth);
    let bounded = results.growth.iter().any(|step| !step.held);
    let of = if at_rates { "asked for" } else { first.of.as_str() };
    let head = [of, "deliveries", "p50", "p99", "missing", "CPU per 100,000"].into_iter();
    let mut table =
        Table::new(head.chain((!at_rates).then_some("memory a connection")).chain(bounded.then_some("bound")));
    for step in &results.growth {
        let figures = [
            steps(step),
            rate(step.delivered_per_s),
            latency(step.p50_us as f64),
            latency(step.p99_us as f64),
            count(step.missing),
            or_none(step.server_cpu_s_per_100k, seconds),
        ];
        let memory = (!at_rates).then(|| or_none(step.server_rss_per_connection_bytes, bytes));
        let held = bounded.then(|| if step.held { "held" } else { "broken" }.to_owned());
        table.row(figures.into_iter().chain(memory).chain(held));
    }
    Some(table)
}

/// What each connection costs that does nothing.
fn idle_table(steps_of: &[Growth]) -> Table {
    let mut table = Table::new(["connections", "CPU a second for each", "memory a connection", "in the kernel"]);
    for step in steps_of {
        table.row([
            steps(step),
            or_none(step.server_idle_cpu_s, seconds),
            or_none(step.server_rss_per_connection_bytes, bytes),
            or_none(step.kernel_per_connection_bytes, bytes),
        ]);
    }
    table
}

fn or_none(value: Option<f64>, show: fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

/// Whether it is the rate that grows.
pub(super) fn at_rates(steps: &[Growth]) -> bool {
    steps.first().is_some_and(|step| step.of == "rate")
}

/// How far a step went.
pub(super) fn steps(step: &Growth) -> String {
    if step.of == "rate" { rate(step.n) } else { count(step.n.round() as u64) }
}

/// Where it was measured, and all that was set.
pub(super) fn facts(results: &Results) -> Vec<(String, String)> {
    let (environment, scenario) = (&results.environment, &results.scenario);
    let named = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    // Nobody needs the nanoseconds.
    let date =
        environment.date.split_once('.').map_or_else(|| environment.date.clone(), |(whole, _)| format!("{whole}Z"));
    let mut facts = vec![named("date", &date), named("target", &environment.target)];
    if !environment.leaves_out.is_empty() {
        facts.push(named("leaves out", &environment.leaves_out.join(", ")));
    }
    facts.push(named("store", &environment.store));
    facts.extend(environment.commit.as_deref().map(|commit| named("commit", commit)));
    facts.push(named("machine", &environment.machine));
    facts.extend(environment.processor.as_deref().map(|processor| named("processor", processor)));
    facts.push(named("cores", &environment.cores.to_string()));
    facts.push(named("harness", if environment.optimised { "optimised" } else { "not optimised" }));
    facts.push(named("load", &load(results)));
    facts.extend(scenario.further.iter().cloned());
    facts.push(named("seed", &scenario.seed.to_string()));
    facts
}
