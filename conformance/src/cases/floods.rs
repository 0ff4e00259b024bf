//! SPEC 18: what is taken from those who were not let in, and how much of it. SPEC 19: what nobody may read.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::kit::polling_path;
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Client, Incoming, Transport, Wire},
    expect::{self, Outcome, inconclusive, mismatch},
    instance::Changes,
};

/// How many files the server of a flood may open, and how many connections are made to it that say nothing.
const FILES: u64 = 256;
const SILENT: usize = 2 * FILES as usize;
const HALF_HEADS: usize = 1_000;
const HALF_MESSAGES: usize = 1_000;
const POLLING_OPENS: usize = 10_000;
/// What the suite itself has open meanwhile.
const OWN_FILES: u64 = 2_000;

/// How much memory a flood may cost.
const LIMIT_KIB: u64 = 64 * 1024;
const HEALTH_WITHIN: Duration = Duration::from_secs(2);
const IN_WITHIN: Duration = Duration::from_secs(5);
/// LIMIT-02, and the time that it takes to see it.
const HEAD_WITHIN: Duration = Duration::from_secs(14);
/// TRANS-09, and the same.
const AUTHENTICATED_WITHIN: Duration = Duration::from_secs(11);
const REFUSED: usize = 5;

const UPGRADE: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// A masked text of 60,000 bytes, of which half follows.
const HALF_FRAME: [u8; 8] = [0x81, 0xfe, 0xea, 0x60, 0, 0, 0, 0];

const FLOOD: &[Need] = &[Need::OwnServer, Need::Capability("config"), Need::Processor];

pub(super) const CASES: &[Case] = &[
    case!("LIMIT-01/silent", "connections that say nothing keep nobody out", flood(Flood::Silent)).needs(FLOOD),
    case!("LIMIT-01/half-heads", "halves of request heads keep nobody out", flood(Flood::HalfHeads)).needs(FLOOD),
    case!("LIMIT-01/half-messages", "halves of messages keep nobody out", flood(Flood::HalfMessages)).needs(FLOOD),
    case!("LIMIT-01/polling-opens", "sessions that were opened and left keep nobody out", flood(Flood::PollingOpens))
        .needs(&[Need::OwnServer, Need::Capability("config"), Need::Capability("polling"), Need::Processor]),
    case!("LIMIT-02/slow", "a request head that does not come is given up", slow_head),
    case!("LIMIT-02/large", "a request head that is too large is refused", large_head),
    over!(
        WebSocket,
        "LIMIT-03/refused",
        "200 CONNECTs on one connection: few are refused, then it is closed",
        refused_often
    ),
    over!(Polling, "LIMIT-03/refused-polling", "the same over polling", refused_often),
    case!("LIMIT-03/no-more-time", "refused CONNECTs do not extend the time of a connection", refused_slowly),
    case!("LIMIT-04/devices", "a user has so many devices, and those go on", devices)
        .needs(&[Need::OwnServer, Need::Setting("max_devices_per_user")]),
    case!("LIMIT-05/events", "who sends too many events is closed, and nobody else", hasty)
        .needs(&[Need::OwnServer, Need::Setting("max_events_per_second")]),
    case!("PRIV-01/log", "no line of the output tells of a user or an event", private_log).needs(&[Need::OwnServer]),
];

#[derive(Debug, Clone, Copy)]
enum Flood {
    Silent,
    HalfHeads,
    HalfMessages,
    PollingOpens,
}

async fn flood(t: Bench, flood: Flood) -> Outcome {
    let limit = getrlimit(Resource::Nofile).maximum;
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit });
    if raised.is_err() || limit.is_some_and(|files| files < OWN_FILES) {
        return Err(inconclusive(format!("the suite may open fewer than {OWN_FILES} files")));
    }
    let t = t.own_server_with(&Changes { files: Some(FILES), ..Changes::default() }, None).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut before = t.connect_raw(&alice, Transport::WebSocket).await?;
    let at_rest = t.resident_kib().await?;
    let many = match flood {
        Flood::Silent => SILENT,
        Flood::HalfHeads => HALF_HEADS,
        Flood::HalfMessages => HALF_MESSAGES,
        Flood::PollingOpens => POLLING_OPENS,
    };
    let (mut held, mut peak) = (Vec::new(), at_rest);
    for n in 0..many {
        match flood {
            Flood::PollingOpens => open_and_leave(&t, &mut held).await?,
            _ => held.push(begin(&t, flood).await?),
        }
        // While it goes on, and when it is at its height.
        if n % (many / 5) == 0 || n + 1 == many {
            healthy(&t).await?;
            gets_in(&t, &bob).await?;
            peak = peak.max(t.resident_kib().await?);
        }
    }
    t.transcript().note(format!("{flood:?} × {many}: VmRSS {at_rest} KiB before, {peak} KiB at the most"));
    expect::that(
        peak - at_rest < LIMIT_KIB,
        format!("less than {LIMIT_KIB} KiB more"),
        format!("{} KiB more than {at_rest}", peak - at_rest),
    )?;
    let event = t.event_for(&alice);
    t.emit(&event).await?;
    expect::member(&before.expect_event("record.accessed").await?, "resourceId", &event.resource_id)
}

async fn dial(t: &Bench) -> Outcome<TcpStream> {
    let address = t.base().trim_start_matches("http://").to_owned();
    let connected = timeout(HEALTH_WITHIN, TcpStream::connect(&address)).await;
    let connected = connected.map_err(|_| mismatch(format!("a connection within {HEALTH_WITHIN:?}"), "none"))?;
    connected.map_err(|error| mismatch("a connection that is accepted", error.to_string()))
}

/// A connection with the beginning of something. The server may have closed it by then.
async fn begin(t: &Bench, flood: Flood) -> Outcome<TcpStream> {
    let mut stream = dial(t).await?;
    match flood {
        Flood::HalfHeads => {
            let _ =
                stream.write_all(format!("GET /healthz HTTP/1.1\r\nX-Half: {}", "x".repeat(12_000)).as_bytes()).await;
        }
        Flood::HalfMessages => {
            let _ = stream.write_all(UPGRADE.as_bytes()).await;
            if !read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 101") {
                return Ok(stream);
            }
            let _ = stream.write_all(&[&HALF_FRAME[..], &[b'4'; 30_000]].concat()).await;
        }
        Flood::Silent | Flood::PollingOpens => {}
    }
    Ok(stream)
}

/// A polling session over a connection that others have been opened by.
async fn open_and_leave(t: &Bench, held: &mut Vec<TcpStream>) -> Outcome {
    let mut stream = match held.pop() {
        Some(stream) => stream,
        None => dial(t).await?,
    };
    let open = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n";
    if stream.write_all(open.as_bytes()).await.is_ok() && read_until(&mut stream, "}").await.contains('}') {
        held.push(stream);
    }
    Ok(())
}

/// What comes up to this text, or to the end.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    let all = async {
        while !String::from_utf8_lossy(&read).contains(end)
            && stream.read_buf(&mut read).await.is_ok_and(|bytes| bytes > 0)
        {}
    };
    let _ = timeout(HEALTH_WITHIN, all).await;
    String::from_utf8_lossy(&read).into_owned()
}

async fn healthy(t: &Bench) -> Outcome {
    let began = Instant::now();
    let mut stream = dial(t).await?;
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let answer = read_until(&mut stream, "never").await;
    let elapsed = began.elapsed();
    t.transcript().note(format!("health after {elapsed:?}"));
    expect::that(
        answer.starts_with("HTTP/1.1 200") && elapsed < HEALTH_WITHIN,
        format!("/healthz answered with 200 within {HEALTH_WITHIN:?}"),
        format!("{answer:?} after {elapsed:?}"),
    )
}

async fn gets_in(t: &Bench, user: &User) -> Outcome {
    let device = timeout(IN_WITHIN, t.connect_raw(user, Transport::WebSocket)).await;
    let late = || mismatch(format!("a client that is let in within {IN_WITHIN:?}"), "it was not");
    device.map_err(|_| late())??.disconnect().await;
    Ok(())
}

async fn slow_head(t: Bench) -> Outcome {
    let began = Instant::now();
    let mut streams = Vec::new();
    for says in ["", "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Half: "] {
        let mut stream = dial(&t).await?;
        let _ = stream.write_all(says.as_bytes()).await;
        streams.push((says, stream));
    }
    for (says, mut stream) in streams {
        let left = HEAD_WITHIN.saturating_sub(began.elapsed());
        let closed = timeout(left, stream.read_to_end(&mut Vec::new())).await;
        expect::that(closed.is_ok(), format!("closed within {HEAD_WITHIN:?} after {says:?}"), "it is still open")?;
    }
    Ok(())
}

async fn large_head(t: Bench) -> Outcome {
    let mut stream = dial(&t).await?;
    let head = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    let _ = stream.write_all(head.as_bytes()).await;
    let answer = read_until(&mut stream, "never").await;
    let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
    expect::that(refused, "a refusal or the close", answer)
}

/// Sends what may be refused; false where the connection was closed.
async fn is_refused(wire: &mut Wire) -> Outcome<bool> {
    // Over polling a connection that was closed says so to the request.
    if wire.send(r#"40/notifications,{"token":"x"}"#).await.is_err() {
        return Ok(false);
    }
    match wire.receive(HEALTH_WITHIN).await {
        Some(Incoming::Message(text)) if text.starts_with("4/notifications,") => Ok(true),
        Some(Incoming::Closed(_)) => Ok(false),
        other => Err(mismatch("a CONNECT_ERROR, or the close", format!("{other:?}"))),
    }
}

async fn refused_often(t: Bench, transport: Transport) -> Outcome {
    let mut wire = t.open(t.opening(transport)).await?;
    let mut refused = 0;
    while refused < 200 && is_refused(&mut wire).await? {
        refused += 1;
    }
    expect::that(refused <= REFUSED, format!("{REFUSED} refusals at the most"), format!("{refused}"))
}

async fn refused_slowly(t: Bench) -> Outcome {
    let began = Instant::now();
    let mut wire = t.open(t.opening(Transport::WebSocket)).await?;
    for _ in 1..REFUSED {
        if !is_refused(&mut wire).await? {
            return Ok(());
        }
        // Each would begin the time anew.
        if matches!(wire.receive(Duration::from_millis(1_500)).await, Some(Incoming::Closed(_))) {
            return Ok(());
        }
    }
    closes(&mut wire, AUTHENTICATED_WITHIN.saturating_sub(began.elapsed())).await
}

async fn closes(wire: &mut Wire, within: Duration) -> Outcome {
    let until = Instant::now() + within;
    loop {
        match wire.receive(until.saturating_duration_since(Instant::now())).await {
            Some(Incoming::Closed(_)) => return Ok(()),
            Some(_) => {}
            None => return Err(mismatch(format!("the close within {within:?}"), "it is still open")),
        }
    }
}

async fn devices(t: Bench) -> Outcome {
    let t = t.own_server(&[("max_devices_per_user", "2")]).await?;
    let alice = t.user().await?;
    let mut devices =
        [t.connect_raw(&alice, Transport::WebSocket).await?, t.connect_raw(&alice, Transport::WebSocket).await?];
    let auth = json!({"token": t.token(&alice).await?});
    t.attempt_raw(t.opening(Transport::WebSocket), Some(auth)).await?.expect_refused().await?;
    let bob = t.user().await?;
    t.connect_raw(&bob, Transport::WebSocket).await?.disconnect().await;
    receives(&t, &alice, &mut devices).await?;
    let [first, second] = devices;
    first.disconnect().await;
    let third = t.connect_raw(&alice, Transport::WebSocket).await?;
    receives(&t, &alice, &mut [second, third]).await
}

async fn receives(t: &Bench, user: &User, devices: &mut [Client]) -> Outcome {
    let event = t.event_for(user);
    t.emit(&event).await?;
    for device in devices {
        expect::member(&device.expect_event("record.accessed").await?, "resourceId", &event.resource_id)?;
    }
    Ok(())
}

async fn hasty(t: Bench) -> Outcome {
    let t = t.own_server(&[("max_events_per_second", "50")]).await?;
    let alice = t.user().await?;
    let mut bystander = t.connect_raw(&alice, Transport::WebSocket).await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    if let Some(wire) = device.wire() {
        // Two seconds may begin meanwhile.
        for _ in 0..500 {
            if wire.send(r#"42/notifications,["x"]"#).await.is_err() {
                break;
            }
        }
    }
    device.expect_closed(IN_WITHIN).await?;
    bystander.call("ping", vec![]).await?;
    receives(&t, &alice, &mut [bystander]).await
}

/// Asks for sessions that there are not: whoever asks may have mistyped one that there is.
async fn unknown_sessions(t: &Bench) -> Outcome<Vec<String>> {
    let mut sids = Vec::new();
    for method in ["GET", "POST"] {
        let sid = t.random(20);
        let path = polling_path(&sid);
        t.http(method, &path, &[("content-type", "text/plain")], (method == "POST").then(|| "1".to_owned())).await?;
        sids.push(sid);
    }
    let sid = t.random(20);
    // Refused in whatever way.
    let _ = Wire::open(t.opening(Transport::WebSocket).query("sid", &*sid), t.transcript().clone()).await;
    sids.push(sid);
    Ok(sids)
}

async fn private_log(t: Bench) -> Outcome {
    if !t.server().is_heard() {
        return Err(inconclusive(
            "what the server says is not the suite's to hear: commands of the target file start it",
        ));
    }
    let t = t.own_server(&[]).await?;
    let (alice, text) = (t.user().await?, format!("text-{}", t.random(16)));
    // One actor and one resource, so that what is looked for is what was emitted.
    let event = t.event_for(&alice).metadata(json!({"targetUserId": alice.id, "note": text}));
    t.emit(&event).await?;
    let token = t.token(&alice).await?;
    let mut sids = unknown_sessions(&t).await?;
    for transport in t.transports() {
        let mut device = t.connect_raw(&alice, transport).await?;
        if let Some(wire) = device.wire() {
            sids.push(wire.handshake.sid.clone());
        }
        t.emit(&event).await?;
        let _ = device.call("ping", vec![]).await;
        if let Some(wire) = device.wire() {
            let _ = wire.send(&format!("42/notifications,[\"{text}\",\"{text}\"]")).await;
            let _ = wire.send(&format!("42/notifications,{{{text}")).await;
        }
        device.expect_closed(IN_WITHIN).await?;
        t.emit(&event).await?;
        let mut outsider = t.attempt_raw(t.opening(transport), Some(json!({"token": format!("{token}x")}))).await?;
        outsider.expect_refused().await?;
        outsider.disconnect().await;
    }
    if t.target().declares("sessions") {
        t.revoke_session(&alice.session).await?;
    }
    t.restart().await?;
    let output = t.server().output();
    let signature = token.rsplit('.').next().unwrap_or_default().to_owned();
    let private = [alice.id.clone(), text.clone(), signature, event.resource_id, event.actor_id];
    for secret in private.iter().chain(&sids).filter(|secret| !secret.is_empty()) {
        let line = output.lines().find(|line| line.contains(secret.as_str()));
        expect::that(line.is_none(), format!("an output without {secret}"), line.unwrap_or_default())?;
    }
    Ok(())
}
