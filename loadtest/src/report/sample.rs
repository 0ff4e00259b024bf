//! Runs that never were, for the tests of the reports: a good one, a failed one, one in steps, one of a server elsewhere.

use crate::results::{
    Assertion, Bucket, Counts, Environment, Growth, Latency, Rates, Resources, Results, SCHEMA, Scenario, Second,
    Verdict,
};

/// Text that is trouble in HTML and Markdown alike.
pub(crate) const TROUBLE: &str = "<script>alert('x')</script> & \"q\" `code` | *b*\n# head";

/// `unicast` in open loop, with nothing wrong.
pub(crate) fn good() -> Results {
    let holds = |text: &str, actual: &str| Assertion { text: text.into(), holds: true, actual: actual.into() };
    Results {
        schema: SCHEMA,
        environment: Environment {
            target: "reference".into(),
            leaves_out: Vec::new(),
            store: "embedded".into(),
            machine: "linux x86_64".into(),
            processor: Some("Some Processor 3000".into()),
            cores: 2,
            date: "2026-11-25T17:00:00Z".into(),
            commit: Some("24b6fc8".into()),
            optimised: true,
        },
        scenario: Scenario {
            name: "unicast".into(),
            connections: 5_000,
            users: 5_000,
            rate_per_s: Some(20_000.0),
            emitters: 64,
            batch: 1,
            payload_bytes: 300,
            warmup_s: 5.0,
            duration_s: 30.0,
            seed: 7,
            further: vec![("transport".into(), "websocket".into())],
        },
        counts: Counts { sent: 599_610, accepted: 599_610, expected: 599_610, delivered: 599_610, ..Counts::default() },
        rates: Rates { accepted_per_s: 19_987.0, delivered_per_s: 19_987.0, handshakes_per_s: 0.0 },
        latency: latency("delivery", "the intended send time", [610, 1_100, 1_720, 4_100, 8_300]),
        further: vec![latency("emit", "the intended send time", [410, 800, 1_300, 3_000, 6_900])],
        series: (1..=30).map(|at| second(at, 1_720)).collect(),
        resources: Resources {
            server_cpu_s: Some(19.2),
            server_cpu_s_per_100k: Some(3.21),
            server_rss_before_bytes: Some(12_000_000),
            server_rss_connected_bytes: Some(160_480_000),
            server_rss_end_bytes: Some(164_000_000),
            server_rss_per_connection_bytes: Some(29_696.0),
            server_idle_cpu_s: None,
            kernel_per_connection_bytes: None,
            client_cpu_s: 24.6,
            client_cpu_share: 0.41,
            client_was_bottleneck: false,
        },
        growth: Vec::new(),
        warnings: Vec::new(),
        verdict: Verdict {
            passed: true,
            failures: Vec::new(),
            assertions: vec![holds("p99<20ms", "1.72 ms"), holds("missing==0", "0")],
        },
    }
}

/// `fanout`, from which deliveries are missing, after a stall of three seconds.
pub(crate) fn failed() -> Results {
    let mut results = good();
    results.environment.target = format!("lossy {TROUBLE}");
    results.scenario.name = "fanout".into();
    results.scenario.users = 1;
    results.counts.delivered -= 12;
    results.counts.missing = 12;
    results.latency = latency("delivery", "the intended send time", [700, 1_900, 3_100_000, 3_190_000, 3_204_000]);
    for second in &mut results.series[13..16] {
        (second.p50_us, second.p99_us) = (None, None);
        (second.delivered_per_s, second.accepted_per_s, second.server_cpu) = (0.0, 0.0, Some(0.0));
    }
    let after = &mut results.series[16];
    (after.p50_us, after.p99_us, after.delivered_per_s) = (Some(1_400_000), Some(3_190_000), 78_000.0);
    results.resources.client_was_bottleneck = true;
    results.warnings = vec![
        "the harness used 93 % of all cores: it, and not the server, may be what limited the figures".into(),
        format!("trouble {TROUBLE}"),
    ];
    results.verdict.passed = false;
    results.verdict.failures = vec!["12 deliveries are missing".into(), "p99<20ms: 3.10 s".into()];
    results.verdict.failures.push("missing==0: 12".into());
    results.verdict.assertions[1].holds = false;
    results.verdict.assertions[1].actual = "12".into();
    results.verdict.assertions[0].holds = false;
    results.verdict.assertions[0].actual = "3.10 s".into();
    results
}

/// A ramp whose last step broke the bound.
pub(crate) fn growth() -> Results {
    let mut results = good();
    results.scenario.name = "ramp".into();
    results.warnings = vec!["the harness was built without optimisations".into()];
    let steps = [(1_000.0, 900), (5_000.0, 1_100), (10_000.0, 1_500), (20_000.0, 2_900), (40_000.0, 81_000)];
    results.growth = steps
        .into_iter()
        .map(|(n, p99_us)| Growth {
            of: "rate".into(),
            n,
            delivered_per_s: f64::min(n, 37_100.0),
            p50_us: 500 + p99_us / 20,
            p99_us,
            missing: 0,
            server_cpu_s_per_100k: Some(3.2 + 800.0 / n),
            server_rss_per_connection_bytes: Some(29_000.0 + n / 10.0),
            server_idle_cpu_s: None,
            kernel_per_connection_bytes: None,
            held: p99_us < 5_000,
        })
        .collect();
    results
}

/// A run against a server on another machine: nothing is known of its process.
pub(crate) fn elsewhere() -> Results {
    let mut results = good();
    results.environment.store = "unknown".into();
    results.environment.commit = None;
    results.resources = Resources { client_cpu_s: 20.0, client_cpu_share: 0.33, ..Resources::default() };
    for second in &mut results.series {
        (second.server_cpu, second.server_rss_bytes) = (None, None);
    }
    results
}

/// A distribution through these five percentiles.
fn latency(of: &str, from: &str, [p50, p90, p99, p999, max]: [u64; 5]) -> Latency {
    let shares = [(0.05, p50 / 2), (0.5, p50), (0.9, p90), (0.99, p99), (0.999, p999), (1.0, max)];
    let total = 599_610.0;
    let mut before = 0.0;
    let buckets = shares.into_iter().map(|(share, value_us)| {
        let count = ((share - before) * total) as u64;
        before = share;
        Bucket { value_us, count }
    });
    Latency {
        of: of.into(),
        from: from.into(),
        count: total as u64,
        mean_us: p50 as f64 * 1.2,
        p50_us: p50,
        p90_us: p90,
        p99_us: p99,
        p999_us: p999,
        max_us: max,
        buckets: buckets.collect(),
    }
}

fn second(at: u32, p99_us: u64) -> Second {
    let wave = f64::from(at * 7 % 5);
    Second {
        at_s: f64::from(at),
        accepted_per_s: 19_900.0 + 40.0 * wave,
        delivered_per_s: 19_880.0 + 45.0 * wave,
        p50_us: Some(580 + 15 * u64::from(at % 4)),
        p99_us: Some(p99_us + 110 * u64::from(at * 3 % 7)),
        server_cpu: Some(0.62 + wave / 100.0),
        server_rss_bytes: Some(160_480_000 + u64::from(at) * 110_000),
        client_cpu: 0.8 + wave / 50.0,
        connections: 5_000,
    }
}
