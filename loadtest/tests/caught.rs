//! The harness catches servers that lose events or stand still, and finds nothing wrong with one that does neither.

use std::{str::FromStr, time::Duration};

use notify_conformance::redis::RedisChoice;
use notify_load::{
    assert::Expectation,
    floor::{self, Flaws},
    ground::Wanted,
    results::Results,
    run::{self, Plan},
    scenarios::Kind,
    settings::Settings,
};
use tokio::net::TcpListener;

const CONNECTIONS: usize = 20;

/// A run against a floor with these flaws.
async fn against(flaws: Flaws, kind: Kind, settings: Settings, expectations: &[&str]) -> Results {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let server = tokio::spawn(floor::serve(listener, flaws));
    let expectations = expectations.iter().map(|text| Expectation::from_str(text).expect("an assertion")).collect();
    let wanted = Wanted { target: Some(url), redis: RedisChoice::Local, image: String::new(), across: false };
    let results = run::run(&Plan { wanted, kind, settings, growth: Vec::new(), expectations }).await;
    server.abort();
    results.unwrap_or_else(|fault| panic!("{}", run::told(&fault)))
}

/// Open loop at a rate that an unoptimised build keeps easily.
fn gentle(kind: Kind) -> Settings {
    Settings {
        connections: CONNECTIONS,
        users: CONNECTIONS,
        rate: Some(400.0),
        emitters: 32,
        warmup: Duration::from_millis(200),
        duration: Duration::from_secs(3),
        ..kind.defaults()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_an_honest_server_is_accounted_for() {
    let results = against(Flaws::default(), Kind::Unicast, gentle(Kind::Unicast), &["missing==0"]).await;
    let counts = results.counts;
    assert!(results.verdict.passed, "{:?}", results.verdict);
    assert_eq!((counts.sent, counts.accepted, counts.expected, counts.delivered), (1_200, 1_200, 1_200, 1_200));
    assert_eq!((counts.missing, counts.duplicated, counts.refused, counts.unanswered), (0, 0, 0, 0));
    assert_eq!(results.latency.count, 1_200);
    assert!(results.series.len() >= 2, "{:?}", results.series);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_fanout_every_receiver_counts() {
    let settings = Settings { rate: Some(100.0), ..gentle(Kind::Fanout) };
    let results = against(Flaws::default(), Kind::Fanout, settings, &[]).await;
    assert!(results.verdict.passed, "{:?}", results.verdict);
    assert_eq!((results.counts.accepted, results.counts.delivered), (300, 300 * CONNECTIONS as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lossy_server_fails_the_run() {
    let flaws = Flaws { drop_every: Some(1_000), ..Flaws::default() };
    let results = against(flaws, Kind::Unicast, gentle(Kind::Unicast), &[]).await;
    let counts = results.counts;
    assert_eq!((counts.accepted, counts.missing, counts.delivered), (1_200, 1, 1_199));
    assert!(!results.verdict.passed);
    assert!(results.verdict.failures.iter().any(|failure| failure.contains("did not arrive")), "{:?}", results.verdict);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_twice_is_counted_at_every_receiver_and_makes_up_for_nothing() {
    let flaws = Flaws { drop_every: Some(100), repeat_every: Some(40), ..Flaws::default() };
    let settings = Settings { rate: Some(100.0), ..gentle(Kind::Fanout) };
    let results = against(flaws, Kind::Fanout, settings, &[]).await;
    let counts = results.counts;
    // 20 in the warm-up, then numbers 21 to 320: dropped are 100, 200 and 300; of those doubled 200 was dropped.
    assert_eq!(
        (counts.accepted, counts.missing, counts.duplicated),
        (300, 3 * CONNECTIONS as u64, 7 * CONNECTIONS as u64)
    );
    assert_eq!(counts.delivered, 297 * CONNECTIONS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_read_at_their_rate_and_each_run_is_told_beside_the_undisturbed() {
    let settings = Settings { slow_rate: Some(16_000), misbehaving: 3, ..gentle(Kind::Slow) };
    let results = against(Flaws::default(), Kind::Slow, settings, &[]).await;
    assert!(results.verdict.passed, "{:?}", results.verdict);
    // Four runs of three seconds.
    assert_eq!((results.counts.accepted, results.counts.missing), (4 * 1_200, 0));
    let told = |run: &str| {
        let found = results.scenario.further.iter().find(|(name, _)| name == run);
        found.map(|(_, told)| told.as_str()).unwrap_or_else(|| panic!("{run} in {:?}", results.scenario.further))
    };
    let slow = told("beside 2 reading 16.0 kB/s");
    let rate = slow.split_once("they read ").and_then(|(_, after)| after.split_once(" kB/s")).expect(slow).0;
    // They are sent 32 kB a second each, and take half.
    assert!((8.0..=17.0).contains(&rate.parse::<f64>().expect(slow)), "{slow}");
    assert!(slow.contains("the undisturbed") && told("undisturbed").contains("p99"), "{slow}");
    assert!(told("beside 2 stalled").contains("accepted"));
    // The floor has no polling.
    assert!(
        told("beside 3 misbehaving").contains("0 visits of 3 misbehaving clients"),
        "{:?}",
        told("beside 3 misbehaving")
    );
    let of: Vec<_> = results.further.iter().map(|latency| latency.of.as_str()).collect();
    assert!(of.contains(&"delivery undisturbed") && of.contains(&"delivery beside 2 stalled"), "{of:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_shows_in_the_open_loop() {
    let flaws = Flaws { stall: Some(Duration::from_millis(500)), ..Flaws::default() };
    let results = against(flaws, Kind::Unicast, gentle(Kind::Unicast), &["p99<100ms"]).await;
    // Half of each second it stands still: the events that were due then waited half of that time on average.
    assert!(results.latency.p99_us > 400_000, "{:?}", results.latency.p99_us);
    assert!(results.latency.p90_us > 200_000, "{:?}", results.latency.p90_us);
    assert_eq!(results.counts.missing, 0);
    assert!(!results.verdict.passed, "the assertion must not hold");
}
