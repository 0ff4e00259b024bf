//! SPEC 16: a process that is told to end, and the next one.

use std::{process::ExitStatus, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, interval, timeout},
};

use super::kit::{
    acks,
    control::body_for,
    numbers::{exactly, numbered, read_until, receives},
    queue::finds,
    slow,
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Arrival, Transport},
    expect::{self, Fault, Outcome, inconclusive, mismatch},
};

/// How long a process may take to end.
const END: Duration = Duration::from_secs(10);
/// How soon a server that was told to end accepts nothing more.
const REFUSES_BY: Duration = Duration::from_secs(1);
/// How often to look.
const POLL: Duration = Duration::from_millis(20);
/// How long an answer may take.
const DUE: Duration = Duration::from_secs(5);

const OWN: &[Need] = &[Need::OwnServer];
const POLLING: &[Need] = &[Need::OwnServer, Need::Capability("polling")];

pub(super) const CASES: &[Case] = &[
    case!("TERM-01/under-way", "nothing new is accepted while a request that was under way is answered", under_way)
        .needs(&[Need::OwnServer, Need::Capability("control")])
        .also(&["TERM-02", "TERM-05"]),
    over!(
        WebSocket,
        "TERM-03/plain",
        "what was confirmed to a plain client's emitter arrives, before the end or after",
        confirmed(false)
    )
    .needs(OWN)
    .also(&["TERM-06"]),
    over!(Polling, "TERM-03/polling", "so it does over polling", confirmed(false)).needs(POLLING).also(&["TERM-06"]),
    over!(WebSocket, "TERM-03/acknowledging", "so it does with acknowledgements", confirmed(true))
        .needs(&[Need::OwnServer, Need::Capability("ack")])
        .also(&["TERM-06"]),
    case!("TERM-03/store-away", "so it does to a slow client while the store is away", unsent)
        .needs(&[Need::OwnServer, Need::Capability("redis")])
        .also(&["TERM-06"]),
    over!(WebSocket, "TERM-04/websocket", "WebSocket connections are closed, and nobody is sent away for good", closed)
        .needs(OWN)
        .also(&["TERM-05"]),
    over!(Polling, "TERM-04/polling", "so are polling ones", closed).needs(POLLING).also(&["TERM-05"]),
    case!("TERM-05/not-reading", "clients that do not read do not hold up the end", not_reading).needs(OWN),
    case!("TERM-05/half-a-request", "nor does one that never finishes its request", half_a_request).needs(OWN),
    case!("TERM-05/store-away", "nor does a store that is away", store_away)
        .needs(&[Need::OwnServer, Need::Capability("redis")]),
    case!("TERM-06/next-process", "rust_socketio finds what it has missed at the next process", next_process)
        .needs(OWN),
];

fn in_order(ended: ExitStatus) -> Outcome {
    expect::that(ended.success(), "the exit status 0", ended.to_string())
}

async fn dial(t: &Bench) -> std::io::Result<TcpStream> {
    TcpStream::connect(t.base().trim_start_matches("http://")).await
}

/// A request whose body is yet to come. The server has it in hand: it has asked for the body, or had the time to.
async fn begun(t: &Bench, user: &User) -> Outcome<(TcpStream, String)> {
    let credential = t.target().credential().and_then(Result::ok).unwrap_or_default();
    let body = body_for(user, 1).to_string();
    let head = format!(
        "POST /events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {credential}\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let failed = |error: std::io::Error| mismatch("a connection", error.to_string());
    let mut stream = dial(t).await.map_err(failed)?;
    stream.write_all(head.as_bytes()).await.map_err(failed)?;
    let mut asked = [0; 64];
    let _ = timeout(REFUSES_BY, stream.read(&mut asked)).await;
    Ok((stream, body))
}

async fn under_way(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let (mut stream, body) = begun(&t, &alice).await?;
    let meanwhile = async {
        refuses(&t).await?;
        let failed = |error: std::io::Error| mismatch("the request answered", error.to_string());
        stream.write_all(body.as_bytes()).await.map_err(failed)?;
        let mut answer = vec![0; 4_096];
        let length = timeout(DUE, stream.read(&mut answer)).await;
        let length = length.map_err(|_| mismatch("the request answered", "nothing in time"))?.map_err(failed)?;
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        expect::that(answer.starts_with("HTTP/1.1 202"), "HTTP/1.1 202", answer)
    };
    let (ended, answered) = tokio::join!(t.terminate(END), meanwhile);
    answered?;
    in_order(ended?)?;
    t.boot().await?;
    finds(&t, &alice, [1]).await.map(drop)
}

async fn refuses(t: &Bench) -> Outcome {
    let deadline = Instant::now() + REFUSES_BY;
    let mut poll = interval(POLL);
    while dial(t).await.is_ok() {
        if Instant::now() > deadline {
            return Err(mismatch("no new connection accepted after SIGTERM", "one was"));
        }
        poll.tick().await;
    }
    Ok(())
}

/// Emits until nobody listens any more; returns what was confirmed.
async fn emit_until_refused(t: &Bench, user: &User) -> Outcome<Vec<u64>> {
    let mut confirmed = Vec::new();
    for n in 1.. {
        match t.emit(&t.numbered(user, n)).await {
            Ok(()) => confirmed.push(n as u64),
            Err(Fault::Mismatch { .. }) => break,
            Err(other) => return Err(other),
        }
    }
    Ok(confirmed)
}

async fn confirmed(t: Bench, transport: Transport, acknowledging: bool) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let mut device = acks::connect(&t, &alice, t.opening(transport), acknowledging).await?;
    let some_have_come = async {
        let seen = read_until(&mut device, 5).await?;
        let (ended, rest) = tokio::join!(t.terminate(END), read_until(&mut device, u64::MAX));
        in_order(ended?)?;
        Ok::<_, Fault>([seen, rest?].concat())
    };
    let (seen, confirmed) = tokio::join!(some_have_come, emit_until_refused(&t, &alice));
    let (mut seen, confirmed) = (seen?, confirmed?);
    t.boot().await?;
    let last = confirmed.len() as u64 + 1_000;
    t.emit_numbered(&alice, last as usize, last as usize).await?;
    let mut device = acks::connect(&t, &alice, t.opening(transport), acknowledging).await?;
    seen.extend(read_until(&mut device, last).await?);
    if acknowledging {
        // What was not acknowledged comes again.
        seen.sort_unstable();
        seen.dedup();
    }
    let lost: Vec<_> = confirmed.iter().filter(|n| !seen.contains(n)).collect();
    expect::that(lost.is_empty(), "every event that was confirmed", format!("{lost:?} missing in {seen:?}"))?;
    expect::that(seen.is_sorted_by(|a, b| a < b), "in order, and nothing twice", format!("{seen:?}"))
}

async fn closed(t: Bench, transport: Transport) -> Outcome {
    let t = t.own_server(&[]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut devices = [t.connect_raw(&alice, transport).await?, t.connect_raw(&bob, transport).await?];
    // One that has not said who it is, and one that has asked for nothing.
    let _undecided = t.open(t.opening(transport)).await?;
    let _idle = dial(&t).await.map_err(|error| mismatch("a connection", error.to_string()))?;
    in_order(t.terminate(END).await?)?;
    for device in &mut devices {
        match device.next(DUE).await {
            Some(Arrival::Closed(_)) => {}
            other => return Err(mismatch("the connection closed, and nothing before that", format!("{other:?}"))),
        }
    }
    Ok(())
}

async fn not_reading(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let mut stalled = Vec::new();
    for transport in t.transports() {
        stalled.push(slow::stalled(&t, &alice, transport).await?);
    }
    // Enough that the server's writers stand, and not so much that it closes them for it.
    for n in 1..=20 {
        t.emit(&slow::big(&t, &alice, n)).await?;
    }
    in_order(t.terminate(END).await?)
}

async fn half_a_request(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let mut halves = Vec::new();
    for half in ["POST /events HTTP/1.1\r\nhost: local", "GET /healthz HTTP/1.1\r\nhost: localhost\r\n"] {
        let failed = |error: std::io::Error| inconclusive(format!("a connection: {error}"));
        let mut stream = dial(&t).await.map_err(failed)?;
        stream.write_all(half.as_bytes()).await.map_err(failed)?;
        halves.push(stream);
    }
    // The next connection is accepted after those.
    let alice = t.user().await?;
    if t.target().declares("control") {
        halves.push(begun(&t, &alice).await?.0);
    }
    t.connect_raw(&alice, Transport::WebSocket).await?.disconnect().await;
    in_order(t.terminate(END).await?)
}

/// The client begins to read when the end begins, and can take everything that no store could.
async fn unsent(t: Bench) -> Outcome {
    // More than the system takes for a client that does not read, and less than a server should keep for one.
    const BIG_ONES: usize = 8;
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let (mut device, line) = slow::stalled(&t, &alice, Transport::WebSocket).await?;
    t.redis_line()?.black_hole();
    for n in 1..=BIG_ONES {
        t.emit(&slow::big(&t, &alice, n)).await?;
    }
    let meanwhile = async {
        refuses(&t).await?;
        line.restore();
        Ok(())
    };
    let (ended, begun) = tokio::join!(t.terminate(END), meanwhile);
    begun?;
    in_order(ended?)?;
    let mut seen = read_until(&mut device, u64::MAX).await?;
    t.redis_line()?.restore();
    t.boot().await?;
    let last = BIG_ONES + 1;
    t.emit_numbered(&alice, last, last).await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    seen.extend(read_until(&mut device, last as u64).await?);
    exactly(&seen, 1..=last as u64)
}

async fn store_away(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.redis_line()?.black_hole();
    t.emit_numbered(&alice, 1, 1).await?;
    in_order(t.terminate(END).await?)?;
    match device.next(DUE).await {
        Some(Arrival::Event { .. }) => device.expect_closed(DUE).await,
        other => Err(mismatch("the event, and then the close", format!("{other:?}"))),
    }
}

async fn next_process(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.emit_numbered(&alice, 1, 2).await?;
    t.emit_numbered(&bob, 1, 2).await?;
    receives(&mut device, 1..=2).await?;
    in_order(t.terminate(END).await?)?;
    // It does not tell that its connection was closed; it is no longer needed.
    drop(device);
    t.boot().await?;
    t.emit_numbered(&alice, 3, 5).await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    numbered(&device.expect_queued().await?, 3..=5)?;
    t.emit_numbered(&alice, 6, 6).await?;
    receives(&mut device, [6]).await?;
    finds(&t, &bob, 1..=2).await.map(drop)
}
