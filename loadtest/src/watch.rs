//! Looks at a run once a second: rates, latencies, processor time and memory; tells the terminal how it goes. Changes nothing.

use std::{
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::interval_at};

use crate::{
    latency::Recorder,
    machine::{self, Usage},
    results::Second,
};

/// Where the figures of a second come from.
pub trait Gauges: Send + Sync {
    /// Events accepted so far.
    fn accepted(&self) -> u64;
    /// Deliveries, or connects, so far.
    fn done(&self) -> u64;
    /// Connections that are open.
    fn open(&self) -> u64;
    /// The latency that the scenario is about.
    fn latency(&self) -> &Recorder;
}

/// A watch that is kept; it ends with this.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    server: Vec<u32>,
    server_before: Option<Usage>,
    client_before: Option<Usage>,
    series: Arc<Mutex<Vec<Second>>>,
    task: JoinHandle<()>,
}

/// What a watch has seen.
#[derive(Debug, Default)]
pub struct Sight {
    /// Second by second.
    pub series: Vec<Second>,
    /// How long it was watched, in seconds.
    pub elapsed_s: f64,
    /// Processor time of the server in that time.
    pub server_cpu_s: Option<f64>,
    /// Of the harness.
    pub client_cpu_s: f64,
    /// Memory of the server at the end.
    pub server_rss_bytes: Option<u64>,
}

impl Watch {
    /// Begins to watch; `title` stands before the progress, and `length` is what it should take, where that is known.
    pub fn begin(gauges: Arc<dyn Gauges>, server: Vec<u32>, title: &str, length: Option<Duration>) -> Self {
        let begun = Instant::now();
        let series = Arc::new(Mutex::new(Vec::new()));
        let (server_before, client_before) = (of_server(&server), machine::usage(None));
        let length = length.map_or_else(String::new, |length| format!(" of {} s", length.as_secs()));
        let title = format!("{title}{length}");
        let eyes = Eyes { gauges, server: server.clone(), title, begun, series: Arc::clone(&series), told: 0 };
        let task = tokio::spawn(eyes.look(server_before, client_before));
        Self { begun, server, server_before, client_before, series, task }
    }

    /// Ends the watch.
    pub fn end(self) -> Sight {
        self.task.abort();
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[2K");
        }
        let (server, client) = (of_server(&self.server), machine::usage(None));
        let used = |before: Option<Usage>, after: Option<Usage>| Some(after?.cpu_s - before?.cpu_s);
        Sight {
            series: std::mem::take(&mut *self.series.lock().unwrap_or_else(PoisonError::into_inner)),
            elapsed_s: self.begun.elapsed().as_secs_f64(),
            server_cpu_s: used(self.server_before, server),
            client_cpu_s: used(self.client_before, client).unwrap_or_default(),
            server_rss_bytes: server.map(|usage| usage.rss_bytes),
        }
    }
}

/// The use of the server's processes together, where there are any here.
pub fn of_server(processes: &[u32]) -> Option<Usage> {
    let usages: Option<Vec<_>> = processes.iter().map(|process| machine::usage(Some(*process))).collect();
    let add =
        |one: Usage, other: Usage| Usage { cpu_s: one.cpu_s + other.cpu_s, rss_bytes: one.rss_bytes + other.rss_bytes };
    usages?.into_iter().reduce(add)
}

struct Eyes {
    gauges: Arc<dyn Gauges>,
    server: Vec<u32>,
    title: String,
    begun: Instant,
    series: Arc<Mutex<Vec<Second>>>,
    told: u64,
}

impl Eyes {
    async fn look(mut self, mut server: Option<Usage>, mut client: Option<Usage>) {
        let second = Duration::from_secs(1);
        let mut seconds = interval_at((self.begun + second).into(), second);
        let (mut last, mut accepted, mut done) = (self.begun, self.gauges.accepted(), self.gauges.done());
        loop {
            seconds.tick().await;
            let now = Instant::now();
            let elapsed = (now - last).as_secs_f64();
            let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / elapsed;
            let cores = |before: Option<Usage>, after: Option<Usage>| Some((after?.cpu_s - before?.cpu_s) / elapsed);
            let (server_now, client_now) = (of_server(&self.server), machine::usage(None));
            let (accepted_now, done_now) = (self.gauges.accepted(), self.gauges.done());
            let latencies = self.gauges.latency().turn();
            let quantile = |q| (!latencies.is_empty()).then(|| latencies.value_at_quantile(q));
            let seen = Second {
                at_s: (now - self.begun).as_secs_f64(),
                accepted_per_s: rate(accepted, accepted_now),
                delivered_per_s: rate(done, done_now),
                p50_us: quantile(0.5),
                p99_us: quantile(0.99),
                server_cpu: cores(server, server_now),
                server_rss_bytes: server_now.map(|usage| usage.rss_bytes),
                client_cpu: cores(client, client_now).unwrap_or_default(),
                connections: self.gauges.open(),
            };
            self.tell(&seen);
            self.series.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
            (last, accepted, done, server, client) = (now, accepted_now, done_now, server_now, client_now);
        }
    }

    /// A terminal sees each second; a log every tenth.
    fn tell(&mut self, seen: &Second) {
        self.told += 1;
        let terminal = std::io::stderr().is_terminal();
        if !terminal && !self.told.is_multiple_of(10) {
            return;
        }
        let p99 = seen.p99_us.map_or_else(|| "-".to_owned(), |p99| format!("{:.1} ms", p99 as f64 / 1_000.0));
        let server = seen.server_cpu.map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}"));
        let line = format!(
            "  {}: {:.0} s  accepted {:.0}/s  done {:.0}/s  p99 {p99}  cores: server {server}, harness {:.2}  connections {}",
            self.title, seen.at_s, seen.accepted_per_s, seen.delivered_per_s, seen.client_cpu, seen.connections
        );
        if terminal {
            eprint!("\r\x1b[2K{line}");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }
}
