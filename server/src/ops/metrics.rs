//! `/metrics`, in Prometheus' text format. Without it nobody outside can see how the server does; nothing else is lost. What is told is
//! about the process alone: no label comes from outside.
//!
//! Written by hand, for it is little: the numbers are plain atomics, which a recorder of the usual crates would keep behind look-ups that
//! lock.

use std::{fmt::Write, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};

use crate::{
    counts::{COUNTS, Counter, Histogram, LIMITS, OUTCOMES, REFUSALS},
    gate::Gate,
    http::Health,
    model::EventType,
    socketio::roster::Roster,
};

/// What is looked at when somebody asks.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) roster: Roster,
    pub(crate) gate: Arc<Gate>,
    pub(crate) health: Health,
}

/// The one route.
pub(crate) fn routes(observed: Observed) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(observed)
}

async fn metrics(State(observed): State<Observed>) -> impl IntoResponse {
    let text = written(&observed).await;
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn written(observed: &Observed) -> String {
    let mut text = Text(String::with_capacity(8 * 1024));
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    text.gauge("notify_build_info", "Which version this is.", [(version, 1)]);
    clients(&mut text, observed);
    events(&mut text);
    let refused = REFUSALS.iter().zip(&COUNTS.refused_connects);
    text.counter(
        "notify_connects_refused_total",
        "CONNECTs that were refused, by the code that the client was told.",
        refused.map(|(code, counter)| (label("code", code), counter.get())),
    );
    text.counter("notify_connects_accepted_total", "CONNECTs that were accepted.", one(&COUNTS.accepted_connects));
    text.counter(
        "notify_limit_hits_total",
        "Clients and connections that were turned away or closed, by the limit that was hit.",
        LIMITS.iter().zip(&COUNTS.limits).map(|(limit, counter)| (label("limit", limit), counter.get())),
    );
    text.histogram("notify_store_seconds", "How long calls to the store took.", &COUNTS.store);
    text.counter("notify_store_errors_total", "Calls to the store that failed.", one(&COUNTS.store_errors));
    let ready = observed.health.store().await.is_ok();
    text.gauge("notify_store_ready", "Whether the store answers.", [(String::new(), u64::from(ready))]);
    text.gauge(
        "notify_keys_ready",
        "Whether there is a key to verify tokens with.",
        [(String::new(), u64::from(observed.health.tokens.is_ready()))],
    );
    text.counter(
        "notify_key_lookups_failed_total",
        "Times that keys could not be read, or fetched.",
        one(&COUNTS.key_lookups_failed),
    );
    if let Some(peers) = &observed.health.peers {
        let joined = peers.ready().is_ok();
        text.gauge(
            "notify_cluster_joined",
            "Whether this node hears the others.",
            [(String::new(), u64::from(joined))],
        );
    }
    process(&mut text);
    text.0
}

fn clients(text: &mut Text, observed: &Observed) {
    let (mut by_transport, mut behind, mut events, mut bytes) = ([0; 2], 0, 0, 0);
    for device in observed.roster.all() {
        let waiting = device.connection.waiting();
        by_transport[usize::from(waiting.polls)] += 1;
        behind += u64::from(waiting.behind);
        events += waiting.events as u64;
        bytes += waiting.bytes as u64;
    }
    text.gauge(
        "notify_clients",
        "Clients that are in, by their transport.",
        [(label("transport", "websocket"), by_transport[0]), (label("transport", "polling"), by_transport[1])],
    );
    text.gauge("notify_clients_behind", "Clients that read more slowly than events come.", [(String::new(), behind)]);
    text.gauge("notify_waiting_events", "Events that no transport has taken yet.", [(String::new(), events)]);
    text.gauge("notify_waiting_bytes", "How much they are.", [(String::new(), bytes)]);
    let (connections, pending, most) = observed.gate.numbers();
    text.gauge("notify_connections", "Connections that are open, whatever for.", [(String::new(), connections)]);
    text.gauge("notify_connections_pending", "Clients that were not let in yet.", [(String::new(), pending)]);
    text.gauge("notify_connections_max", "How many connections there may be.", [(String::new(), most)]);
}

fn events(text: &mut Text) {
    let by_type = EventType::ALL.into_iter().zip(&COUNTS.events);
    text.counter(
        "notify_events_total",
        "Events that were emitted here, by type and by what became of them.",
        by_type.flat_map(|(kind, counters)| {
            OUTCOMES.iter().zip(counters).map(move |(outcome, counter)| {
                (format!("{{type=\"{}\",outcome=\"{outcome}\"}}", kind.name()), counter.get())
            })
        }),
    );
    text.histogram(
        "notify_delivery_seconds",
        "From the acceptance of a live event until the last transport has taken it.",
        &COUNTS.handing_over,
    );
    let [plain, acknowledging] = &COUNTS.from_queue;
    text.counter(
        "notify_queued_events_delivered_total",
        "Events that were handed over from queues; to clients that acknowledge, also again.",
        [(label("mode", "plain"), plain.get()), (label("mode", "acknowledging"), acknowledging.get())],
    );
    text.counter(
        "notify_acknowledged_events_total",
        "Events that clients have acknowledged.",
        one(&COUNTS.acknowledged),
    );
    text.counter(
        "notify_unacknowledged_closes_total",
        "Clients that were closed for an acknowledgement that did not come.",
        one(&COUNTS.unacknowledged_closes),
    );
    text.counter(
        "notify_dropped_events_total",
        "Events that the cap of a queue, their age or damage has cost, as clients have acknowledged it.",
        one(&COUNTS.dropped),
    );
    text.counter(
        "notify_returned_events_total",
        "Live events that went back to a queue because their connection broke.",
        one(&COUNTS.reinserted),
    );
}

/// What the usual exporters tell of a process.
fn process(text: &mut Text) {
    #[cfg(target_os = "linux")]
    {
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
        text.gauge("process_open_fds", "Open files.", [(String::new(), files)]);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok());
        let resident: u64 = resident.unwrap_or_default();
        text.gauge("process_resident_memory_bytes", "Memory in use.", [(String::new(), resident * 1_024)]);
    }
}

fn one(counter: &Counter) -> [(String, u64); 1] {
    [(String::new(), counter.get())]
}

fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{value}\"}}")
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a text can be written to");
    }

    fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (String, u64)>) {
        self.head(name, "counter", help);
        samples.into_iter().for_each(|(labels, value)| self.line(format_args!("{name}{labels} {value}")));
    }

    fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (String, u64)>) {
        self.head(name, "gauge", help);
        samples.into_iter().for_each(|(labels, value)| self.line(format_args!("{name}{labels} {value}")));
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let counts = histogram.cumulative();
        let bounds = Histogram::BOUNDS.iter().map(|(bound, _)| *bound).chain(["+Inf"]);
        for (bound, count) in bounds.zip(counts) {
            self.line(format_args!("{name}_bucket{{le=\"{bound}\"}} {count}"));
        }
        self.line(format_args!("{name}_sum {}\n{name}_count {}", histogram.seconds(), counts[counts.len() - 1]));
    }
}
