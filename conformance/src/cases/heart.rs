//! SPEC 17 and 21: the heartbeat, and lines that are dead for a while or for good.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::kit::{
    QUIET,
    acks::connect,
    numbers::{Came, in_order, numbered, receives, up_to},
    server::gives_up,
    slow,
};
use crate::{
    bench::{Bench, Heart, User},
    case::{Case, Need},
    client::{Arrival, Client, Opening, Transport},
    expect::{self, Outcome, inconclusive, mismatch},
    instance::Changes,
    netns::Namespace,
    proxy::Proxy,
};

/// The heartbeat of the cases that watch it, in seconds.
const INTERVAL: u64 = 1;
const TIMEOUT: u64 = 2;
/// What the sentences allow beyond the announced times.
const PING_TOLERANCE: Duration = Duration::from_secs(1);
const CLOSE_TOLERANCE: Duration = Duration::from_secs(2);
/// How much sooner than announced something may seem to happen.
const EARLY: Duration = Duration::from_millis(300);
/// How long a line is dead, where the server waits for longer than that.
const DEAD: Duration = Duration::from_secs(8);
/// How long an HTTP connection rests, of which balancers think that it is open for as long.
const RESTS: Duration = Duration::from_secs(61);
/// How long what is due may take once a line works again.
const DUE: Duration = Duration::from_secs(15);

/// The slowest line that counts as one that takes something (SLOW-06).
const LEAST_BYTES_PER_MS: u64 = 16;

/// What a client that says much needs beyond the time of a case where the heartbeat is the usual one.
const PATIENCE: Duration = Duration::from_secs(20);

const CONTROL: &[Need] = &[Need::Capability("control")];
const CONTROL_AND_POLLING: &[Need] = &[Need::Capability("control"), Need::Capability("polling")];

pub(super) const CASES: &[Case] = &[
    over!(WebSocket, "HEART-01/websocket", "a WebSocket client is pinged, again and again, whatever it says", pinged),
    over!(Polling, "HEART-01/polling", "so is a polling client", pinged),
    over!(Upgraded, "HEART-01/upgraded", "so is one that has upgraded", pinged),
    over!(
        WebSocket,
        "HEART-02/websocket",
        "a WebSocket client that answers no ping is closed, whatever else it says",
        mute
    )
    .waits(PATIENCE),
    over!(Polling, "HEART-02/polling", "so is a polling client that polls on", mute).waits(PATIENCE),
    over!(Upgraded, "HEART-02/upgraded", "so is one that has upgraded", mute).waits(PATIENCE),
    over!(
        WebSocket,
        "HEART-02/later",
        "so is one that has answered some, and one more answer late is no end",
        later_mute
    )
    .also(&["HEART-03"])
    .waits(PATIENCE),
    over!(Polling, "HEART-02/later-polling", "so it is over polling", later_mute).also(&["HEART-03"]).waits(PATIENCE),
    case!("HEART-02/large-answer", "so is one that has had a large answer and polls no more", large_answer)
        .needs(CONTROL_AND_POLLING)
        .also(&["SLOW-01"]),
    over!(WebSocket, "HEART-02/dead-line", "a WebSocket client whose line is dead for good is away in time", dead)
        .needs(CONTROL),
    over!(Polling, "HEART-02/dead-line-polling", "so is a polling client", dead).needs(CONTROL_AND_POLLING),
    over!(WebSocket, "HEART-03/websocket", "a WebSocket client that answers stays, though nothing else passes", stays),
    over!(Polling, "HEART-03/polling", "so does a polling client", stays),
    case!("HEART-03/library", "so does rust_socketio", library_stays),
    case!("HEART-03/minute", "so do clients on both transports for more than a minute, whatever is announced", minute)
        .waits(Duration::from_secs(60)),
    case!("HEART-04/settings", "the settings are what is announced, and what happens", settings)
        .needs(&[Need::Setting("ping_interval_seconds"), Need::Setting("ping_timeout_seconds")]),
    case!("HEART-04/wrong", "what is no whole second from 1 on is an error of the configuration", wrong)
        .needs(&[Need::OwnServer]),
    over!(WebSocket, "HEART-05/websocket", "a WebSocket line that is dead for a while costs nothing", dead_for_a_while),
    over!(Polling, "HEART-05/polling", "nor does a polling client's", dead_for_a_while),
    over!(WebSocket, "HEART-05/full", "nor does a WebSocket line on which much waits", dead_and_full),
    over!(Polling, "HEART-05/full-polling", "nor does a polling client's", dead_and_full),
    case!("HEART-05/link", "nor does one whose link goes down for real", link_down).needs(&[
        Need::OwnServer,
        Need::Capability("config"),
        Need::Namespaces,
    ]),
    case!("HEART-06/idle", "an HTTP connection that rests for a minute serves another request", rests)
        .needs(CONTROL)
        .waits(RESTS),
];

/// Others of the profile last nearly as long, so it costs a run little time.
async fn rests(t: Bench) -> Outcome {
    let address = t.base().trim_start_matches("http://");
    let connected = TcpStream::connect(address).await;
    let mut connection = connected.map_err(|error| inconclusive(format!("no connection to {address}: {error}")))?;
    for rest in [Duration::ZERO, RESTS] {
        let closed = timeout(rest, connection.read(&mut [0; 1])).await;
        if let Ok(read) = closed {
            return Err(mismatch(format!("a connection that is open for {RESTS:?}"), format!("{read:?}")));
        }
        t.transcript().sent("http", "GET /events on a connection of its own");
        let request = format!("GET /events HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let answer = async {
            connection.write_all(request.as_bytes()).await?;
            whole_answer(&mut connection).await
        };
        let answer = timeout(DUE, answer).await.map_err(|_| mismatch("an answer", "none"))?;
        let answer = answer.map_err(|error| mismatch("an answer", error.to_string()))?;
        t.transcript().received("http", &answer);
        expect::that(answer.starts_with("HTTP/1.1 405"), "HTTP/1.1 405", answer)?;
    }
    Ok(())
}

/// An answer whose length is told by its head.
async fn whole_answer(connection: &mut TcpStream) -> io::Result<String> {
    let (mut answer, mut byte) = (Vec::new(), [0; 1]);
    while !answer.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).await?;
        answer.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.ok_or_else(|| io::Error::other("an answer without a length"))?];
    connection.read_exact(&mut body).await?;
    answer.extend_from_slice(&body);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What happens beside a client's pongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Nothing.
    Quiet,
    /// An event that nobody knows, several times in a second: whoever takes it for a pong, or as a reason not to ping, hears no heart.
    Chatty,
    /// It is told something as often, and so polls again and again, which is no pong either.
    Told,
}

impl Manner {
    const EVERY: Duration = Duration::from_millis(300);

    async fn behave(self, t: &Bench, user: &User, device: &mut Client) -> Outcome {
        match self {
            Self::Quiet => Ok(()),
            Self::Chatty => device.emit("hello", vec![]).await,
            Self::Told => t.emit_numbered(user, 0, 0).await,
        }
    }
}

async fn pinged(t: Bench, transport: Transport) -> Outcome {
    let (t, heart) = t.with_heart(INTERVAL, TIMEOUT).await?;
    let chatty = async {
        let pinged = pinged_in_time(&t, heart, transport, Manner::Chatty).await;
        pinged.map_err(|fault| fault.of("for a client that says much"))
    };
    tokio::try_join!(pinged_in_time(&t, heart, transport, Manner::Quiet), chatty).map(drop)
}

async fn pinged_in_time(t: &Bench, heart: Heart, transport: Transport, manner: Manner) -> Outcome {
    let alice = t.user().await?;
    let (mut device, mut before) = opened_and_connected(t, &alice, t.opening(transport)).await?;
    let mut seen = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?.seen();
    // As many as fit into a reasonable time where the server's heartbeat is the usual one.
    let rounds = if heart.interval > Duration::from_secs(2) { 1 } else { 5 };
    for n in 1..=rounds {
        let due = before + heart.interval + PING_TOLERANCE;
        let told = || format!("the ping {n} within {:?} of the one before", heart.interval + PING_TOLERANCE);
        loop {
            let step = due.saturating_duration_since(Instant::now()).min(Manner::EVERY);
            let is_pinged = matches!(timeout(step, seen.wait_for(|seen| seen.pings >= n)).await, Ok(Ok(_)));
            if is_pinged {
                break;
            }
            expect::that(Instant::now() < due, told(), "none")?;
            manner.behave(t, &alice, &mut device).await?;
        }
        before = Instant::now();
    }
    serves(t, &alice, &mut device, 1).await
}

async fn mute(t: Bench, transport: Transport) -> Outcome {
    let (t, heart) = t.with_heart(INTERVAL, TIMEOUT).await?;
    tokio::try_join!(
        closed_in_time(&t, heart, transport, Manner::Quiet),
        closed_in_time(&t, heart, transport, Manner::Chatty),
        closed_in_time(&t, heart, transport, Manner::Told)
    )
    .map(drop)
}

async fn closed_in_time(t: &Bench, heart: Heart, transport: Transport, manner: Manner) -> Outcome {
    let alice = t.user().await?;
    let (mut device, opened) = opened_and_connected(t, &alice, t.opening(transport).mute()).await?;
    // What else a client says may count once (HEART-02).
    let further = if manner == Manner::Quiet { Duration::ZERO } else { heart.timeout };
    let limit = heart.whole() + further + CLOSE_TOLERANCE;
    loop {
        match device.next(limit.saturating_sub(opened.elapsed()).min(Manner::EVERY)).await {
            Some(Arrival::Closed(_)) => break,
            _ if opened.elapsed() < limit => {}
            _ => return Err(mismatch(format!("a {manner:?} client closed within {limit:?}"), "it is still open")),
        }
        // It may be closed by now, which the next look tells.
        let _ = manner.behave(t, &alice, &mut device).await;
    }
    t.emit_numbered(&alice, 1, 1).await?;
    let mut next = t.connect_raw(&alice, Transport::WebSocket).await?;
    let mut queued = next.expect_queued().await?;
    // The client may have been closed some moments before it was seen.
    queued.retain(|payload| payload["metadata"]["n"] != 0);
    numbered(&queued, [1])
}

/// Answers the first pings when three quarters of the time for that have passed, and the next one not at all.
async fn later_mute(t: Bench, transport: Transport) -> Outcome {
    let (t, heart) = t.with_heart(INTERVAL, TIMEOUT).await?;
    let alice = t.user().await?;
    let (mut device, mut before) = opened_and_connected(&t, &alice, t.opening(transport).mute()).await?;
    let mut seen = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?.seen();
    let rounds = if heart.interval > Duration::from_secs(2) { 1 } else { 3 };
    for n in 1..=rounds {
        let within = before + heart.interval + PING_TOLERANCE;
        let left = within.saturating_duration_since(Instant::now());
        let is_pinged = matches!(timeout(left, seen.wait_for(|seen| seen.pings >= n)).await, Ok(Ok(_)));
        expect::that(is_pinged, format!("the ping {n}"), "none")?;
        device.expect_silence(heart.timeout * 3 / 4).await?;
        let wire = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?;
        wire.send("3").await.map_err(|error| mismatch("a connection that takes a late pong", error.to_string()))?;
        before = Instant::now();
    }
    t.emit_numbered(&alice, 1, 1).await?;
    receives(&mut device, [1]).await?;
    let limit = heart.whole() + CLOSE_TOLERANCE;
    device.expect_closed(limit.saturating_sub(before.elapsed())).await
}

/// A client, accepted, and when its open packet came.
async fn opened_and_connected(t: &Bench, user: &User, opening: Opening) -> Outcome<(Client, Instant)> {
    let auth = json!({"token": t.token(user).await?});
    let wire = t.open(opening).await?;
    let opened = Instant::now();
    let mut device = Client::over_wire(wire, Some(auth)).await?;
    device.expect_accepted().await?;
    Ok((device, opened))
}

async fn dead(t: Bench, transport: Transport) -> Outcome {
    let (t, heart) = t.with_heart(INTERVAL, TIMEOUT).await?;
    let alice = t.user().await?;
    let (mut device, line) = over_a_line(&t, &alice, transport, false).await?;
    serves(&t, &alice, &mut device, 1).await?;
    line.black_hole();
    let last = t.emit_until_away(&alice, 2, heart.whole() + CLOSE_TOLERANCE).await?;
    let mut next = t.connect_raw(&alice, Transport::WebSocket).await?;
    let queued = next.expect_queued().await?;
    let newest = queued.last().map(|payload| payload["metadata"]["n"].clone());
    expect::equal("the newest that is queued", &json!(last), &newest.unwrap_or_default())
}

/// It might be reading yet; not for ever.
async fn large_answer(t: Bench) -> Outcome {
    let (t, heart) = t.with_heart(INTERVAL, TIMEOUT).await?;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    let answer = slow::big(&t, &alice, 1);
    let needs = Duration::from_millis(answer.body().to_string().len() as u64 / LEAST_BYTES_PER_MS);
    device.rest()?;
    t.emit(&answer).await?;
    receives(&mut device, [1]).await?;
    t.emit_until_away(&alice, 2, heart.whole() + needs + CLOSE_TOLERANCE).await.map(drop)
}

async fn stays(t: Bench, transport: Transport) -> Outcome {
    let (t, heart) = t.with_heart(INTERVAL, TIMEOUT).await?;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, transport).await?;
    device.expect_silence(long_enough(heart)).await?;
    serves(&t, &alice, &mut device, 1).await
}

async fn library_stays(t: Bench) -> Outcome {
    let (t, heart) = t.with_heart(INTERVAL, TIMEOUT).await?;
    let alice = t.user().await?;
    let mut device = t.connect_by_library(&alice).await?;
    device.expect_silence(long_enough(heart)).await?;
    serves(&t, &alice, &mut device, 1).await
}

/// One that is quiet, one that is not, and a session that was upgraded, on the server that all share.
async fn minute(t: Bench) -> Outcome {
    const MINUTE: Duration = Duration::from_secs(66);
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut quiet = vec![t.connect_raw(&alice, Transport::WebSocket).await?];
    let mut busy = vec![t.connect_raw(&bob, Transport::WebSocket).await?];
    if t.target().declares("polling") {
        for (user, devices) in [(&alice, &mut quiet), (&bob, &mut busy)] {
            devices.push(t.connect_raw(user, Transport::Polling).await?);
        }
        let mut upgraded = t.connect_raw(&alice, Transport::Polling).await?;
        if let Some(wire) = upgraded.wire() {
            wire.upgrade().await.map_err(|error| expect::mismatch("an upgrade", error.to_string()))?;
        }
        quiet.push(upgraded);
    }
    let until = Instant::now() + MINUTE;
    for n in 1.. {
        // The passing of time is what is tested here.
        sleep(Duration::from_secs(6)).await;
        t.emit_numbered(&bob, n, n).await?;
        for device in &mut busy {
            receives(device, [n]).await?;
        }
        if Instant::now() > until {
            break;
        }
    }
    for device in &mut quiet {
        device.expect_silence(QUIET / 3).await?;
    }
    t.emit_numbered(&alice, 1, 1).await?;
    for device in &mut quiet {
        receives(device, [1]).await?;
        let answer = device.call("ping", vec![]).await?;
        expect::equal("the answer", &json!(["pong"]), &json!(answer))?;
    }
    Ok(())
}

/// Several times as long as a client that answers nothing may stay, or once where that is long already.
fn long_enough(heart: Heart) -> Duration {
    (heart.whole() * 4).min(heart.whole() + CLOSE_TOLERANCE * 2).max(Duration::from_secs(12))
}

async fn settings(t: Bench) -> Outcome {
    tokio::try_join!(heart_as_set(&t, 3, 1), heart_as_set(&t, 1, 5)).map(drop)
}

async fn heart_as_set(t: &Bench, interval: u64, timeout: u64) -> Outcome {
    let (t, heart) = t.with_heart(interval, timeout).await?;
    let alice = t.user().await?;
    // Two, so that pings can be heard after the mute one has gone.
    let mut answering = t.connect_raw(&alice, Transport::WebSocket).await?;
    let opening = t.opening(Transport::WebSocket).mute();
    let (mut device, opened) = opened_and_connected(&t, &alice, opening).await?;
    let mut seen = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?.seen();
    let first_ping = async {
        let _ = seen.wait_for(|seen| seen.pings >= 1).await;
        Instant::now()
    };
    let limit = (heart.whole() + CLOSE_TOLERANCE).saturating_sub(opened.elapsed());
    let (closed, pinged) = tokio::join!(device.expect_closed(limit), first_ping);
    closed?;
    let waited = pinged.elapsed();
    let told = format!("a pong waited for {:?}", heart.timeout);
    expect::that(
        waited + EARLY >= heart.timeout,
        told,
        format!("the connection closed {waited:?} after its first ping"),
    )?;
    let mut seen = answering.wire().ok_or_else(|| inconclusive("a client without a wire"))?.seen();
    let now = seen.borrow_and_update().pings;
    let mut times = Vec::new();
    for n in now + 1..=now + 3 {
        let within = heart.interval + PING_TOLERANCE;
        let came = tokio::time::timeout(within, seen.wait_for(|seen| seen.pings >= n)).await;
        expect::that(matches!(came, Ok(Ok(_))), format!("a ping within {within:?}"), "none")?;
        times.push(Instant::now());
    }
    let apart = times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or_default();
    let told = format!("pings {:?} apart", heart.interval);
    expect::that(apart + EARLY >= heart.interval, told, format!("two that are {apart:?} apart"))?;
    serves(&t, &alice, &mut answering, 1).await
}

async fn wrong(t: Bench) -> Outcome {
    let names = ["PING_INTERVAL_SECONDS", "PING_TIMEOUT_SECONDS"];
    for value in ["0", "-1", "1.5", "0x10", "1e1", "soon"] {
        let set = names.iter().map(|name| ((*name).to_owned(), value.to_owned())).collect();
        let output = gives_up(&t, &Changes { set, ..Changes::default() }).await?;
        for name in names {
            expect::that(output.contains(name), format!("an error that names {name}, which is {value:?}"), &*output)?;
        }
    }
    Ok(())
}

async fn dead_for_a_while(t: Bench, transport: Transport) -> Outcome {
    let acknowledging =
        async { if t.target().declares("ack") { dead_for_a_while_as(&t, transport, true).await } else { Ok(()) } };
    tokio::try_join!(dead_for_a_while_as(&t, transport, false), acknowledging).map(drop)
}

async fn dead_for_a_while_as(t: &Bench, transport: Transport, ack: bool) -> Outcome {
    let alice = t.user().await?;
    let (mut device, line) = over_a_line(t, &alice, transport, ack).await?;
    let dead_for = while_dead(t, &mut device).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    up_to(&mut device, 1, DUE).await?;
    line.black_hole();
    t.transcript().note(format!("the line is dead for {dead_for:?}"));
    let died = Instant::now();
    t.emit_numbered(&alice, 2, 2).await?;
    sleep((died + dead_for / 2).saturating_duration_since(Instant::now())).await;
    t.emit_numbered(&alice, 3, 3).await?;
    sleep((died + dead_for).saturating_duration_since(Instant::now())).await;
    line.restore();
    t.transcript().note("the line is back");
    arrives(&mut device, 2, 3).await?;
    t.emit_numbered(&alice, 4, 4).await?;
    arrives(&mut device, 4, 4).await?;
    device.expect_silence(QUIET).await
}

/// Both kinds of client and, where there is polling, both transports, over a line of which one end is taken down: what is sent
/// meanwhile is lost on the way, and the server's kernel knows it.
async fn link_down(t: Bench) -> Outcome {
    let no_line = |error: io::Error| inconclusive(format!("a line into a network namespace: {error}"));
    let namespace = Arc::new(blocking(Namespace::create).await.map_err(no_line)?);
    // The namespace reaches this machine by an address that is not loopback.
    let set = BTreeMap::from([("HOST".to_owned(), "0.0.0.0".to_owned())]);
    let t = t.own_server_with(&Changes { set, ..Changes::default() }, None).await?;
    let acks: &[bool] = if t.target().declares("ack") { &[false, true] } else { &[false] };
    let mut devices = Vec::new();
    let mut dead_for = DEAD;
    for transport in t.transports() {
        for ack in acks {
            let alice = t.user().await?;
            let line = t.line_from_within(&namespace).await?;
            let mut device = connect(&t, &alice, t.opening_over(&line, transport), *ack).await?;
            dead_for = while_dead(&t, &mut device).await?;
            t.emit_numbered(&alice, 1, 1).await?;
            up_to(&mut device, 1, DUE).await?;
            devices.push((alice, device, line));
        }
    }
    let line = Arc::clone(&namespace);
    blocking(move || line.down()).await.map_err(no_line)?;
    t.transcript().note(format!("the link is down for {dead_for:?}"));
    let died = Instant::now();
    for n in 2..=3 {
        for (alice, ..) in &devices {
            t.emit_numbered(alice, n, n).await?;
        }
    }
    sleep((died + dead_for).saturating_duration_since(Instant::now())).await;
    blocking(move || namespace.up()).await.map_err(no_line)?;
    t.transcript().note("the link is up");
    for (alice, device, _line) in &mut devices {
        arrives(device, 2, 3).await?;
        t.emit_numbered(alice, 4, 4).await?;
        arrives(device, 4, 4).await?;
        device.expect_silence(QUIET).await?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// As long as a line may be dead in a test, and less than the server waits.
async fn while_dead(t: &Bench, device: &mut Client) -> Outcome<Duration> {
    let wire = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?;
    let heart = Heart::announced(&wire.handshake);
    t.transcript().note(format!("the server announces {heart:?}"));
    Ok(DEAD.min(heart.timeout * 2 / 3))
}

async fn dead_and_full(t: Bench, transport: Transport) -> Outcome {
    const EVENTS: usize = 40;
    let alice = t.user().await?;
    let line = t.slow_line(0).await?;
    let mut device = connect(&t, &alice, t.opening_over(&line, transport), false).await?;
    let dead_for = while_dead(&t, &mut device).await?;
    line.black_hole();
    t.transcript().note(format!("the line is dead for {dead_for:?}"));
    let died = Instant::now();
    for n in 1..=EVENTS {
        t.emit(&slow::big(&t, &alice, n)).await?;
    }
    sleep((died + dead_for).saturating_duration_since(Instant::now())).await;
    line.restore();
    t.transcript().note("the line is back");
    arrives(&mut device, 1, EVENTS as u64).await?;
    t.emit_numbered(&alice, EVENTS + 1, EVENTS + 1).await?;
    arrives(&mut device, EVENTS as u64 + 1, EVENTS as u64 + 1).await?;
    device.expect_silence(QUIET).await
}

/// These events arrive on this connection, one after the other: live, or in `queued.events` where the client was behind.
async fn arrives(device: &mut Client, first: u64, last: u64) -> Outcome {
    let came = up_to(device, last, DUE).await?;
    in_order(&came)?;
    let numbers: Vec<_> = came.iter().map(|Came { n, .. }| *n).collect();
    expect::equal("what arrives", &json!((first..=last).collect::<Vec<_>>()), &json!(numbers))
}

async fn over_a_line(t: &Bench, user: &User, transport: Transport, ack: bool) -> Outcome<(Client, Proxy)> {
    let line = t.line().await?;
    Ok((connect(t, user, t.opening_over(&line, transport), ack).await?, line))
}

/// The device receives events and is answered.
async fn serves(t: &Bench, user: &User, device: &mut Client, n: usize) -> Outcome {
    t.emit_numbered(user, n, n).await?;
    receives(device, [n]).await?;
    let answer = device.call("ping", vec![]).await?;
    expect::equal("the answer", &json!(["pong"]), &json!(answer))
}
