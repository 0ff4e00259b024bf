//! SPEC 11: clients that read slowly, over lines that carry so many bytes a second.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::kit::{
    QUIET, acks,
    by_hand::ByHand,
    numbers::{Came, in_order, numbered, numbers, receives, up_to},
    polling_path,
    slow::{fetches_one, sized, user_with_queue},
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Arrival, Client, Transport},
    expect::{self, Outcome, inconclusive, mismatch},
    proxy::{Proxy, kernel_takes},
};

/// The cap of the contract.
const CAP: usize = 50;
/// The least that a client takes to count as one that reads (SLOW-06), in bytes a second.
const LEAST: u64 = 16_000;
/// The lines of the other cases, so that they end in reasonable time.
const MODERATE: u64 = 64_000;
const BRISK: u64 = 400_000;
/// A queue that such a line takes some seconds for, and the largest that the contract allows but for what is around the text.
const SMALL_TEXT: usize = 10_000;
const LARGE_TEXT: usize = 64_000;
/// The heartbeat of the case that goes beyond it, in seconds.
const INTERVAL: u64 = 2;
const TIMEOUT: u64 = 3;
/// How long the slowest transfer of a case may take.
const ARRIVES: Duration = Duration::from_secs(45);
/// How long an event may take to be accepted or to reach a device that reads.
const HELD_UP: Duration = Duration::from_secs(5);
/// How long a queue may take to a device that reads.
const A_QUEUE: Duration = Duration::from_secs(1);
/// So much of a large queue has passed: it is on its way, and far from over.
const ON_ITS_WAY: u64 = 50_000;
/// The least that a large queue takes on the wire.
const LARGE_QUEUE: usize = CAP * LARGE_TEXT;

const ACK: &[Need] = &[Need::Capability("ack")];
const ACK_AND_POLLING: &[Need] = &[Need::Capability("ack"), Need::Capability("polling")];
const POLLING: &[Need] = &[Need::Capability("polling")];
const CONTROL: &[Need] = &[Need::Capability("control")];
const CONTROL_AND_POLLING: &[Need] = &[Need::Capability("control"), Need::Capability("polling")];
const CONTROL_AND_ACK: &[Need] = &[Need::Capability("control"), Need::Capability("ack")];

pub(super) const CASES: &[Case] = &[
    over!(
        WebSocket,
        "SLOW-06/websocket",
        "a WebSocket client that takes 16 kB/s is not closed for what waits",
        takes_its_time
    ),
    over!(Polling, "SLOW-06/polling", "nor is a polling client", takes_its_time),
    case!("SLOW-06/beyond-the-heartbeat", "nor is one that needs longer than a ping may take", beyond_the_heartbeat),
    case!(
        "SLOW-06/long-answer",
        "nor is one that can acknowledge only what it has read to the end of an answer",
        long_answer
    )
    .needs(ACK_AND_POLLING)
    .also(&["ACK-09"]),
    over!(
        WebSocket,
        "SLOW-07/websocket",
        "a queue of any size arrives over a slow line, and live events behind it",
        any_size(false)
    ),
    over!(Polling, "SLOW-07/polling", "so it does by polling", any_size(false)),
    over!(WebSocket, "SLOW-07/acknowledging", "so it does to a client that acknowledges", any_size(true))
        .needs(ACK)
        .also(&["ACK-09"]),
    over!(Polling, "SLOW-07/acknowledging-polling", "so it does to one that acknowledges by polling", any_size(true))
        .needs(ACK_AND_POLLING)
        .also(&["ACK-09"]),
    over!(WebSocket, "SLOW-07/broken", "a queue that did not get through whole stays", stays_queued),
    over!(Polling, "SLOW-07/broken-polling", "so does one whose poll breaks", stays_queued),
    case!(
        "SLOW-07/not-fetched",
        "nor has a queue been handed over by the answer to the CONNECT alone",
        queue_not_fetched
    )
    .needs(POLLING),
    case!("QUEUE-13/left-polling", "who has read the queue and leaves without another poll has had it", left_polling)
        .needs(POLLING),
    over!(
        WebSocket,
        "SLOW-08/one-device",
        "a queue on its way to a device is no other's, until that one breaks",
        at_one_node
    ),
    over!(Polling, "SLOW-08/one-device-polling", "nor is one on its way to a polling device", at_one_node),
    over!(
        WebSocket,
        "SLOW-08/closed",
        "it is another's as well where the first is closed for what it says",
        closed_for_what_it_says
    ),
    over!(Polling, "SLOW-08/closed-polling", "so it is where a polling device is", closed_for_what_it_says),
    over!(
        WebSocket,
        "SLOW-08/kept-meanwhile",
        "what a device had live beside one that acknowledges does not come again with it",
        kept_meanwhile
    )
    .needs(ACK)
    .also(&["ACK-16"]),
    over!(Polling, "SLOW-08/kept-meanwhile-polling", "nor does it to a polling device", kept_meanwhile)
        .needs(ACK_AND_POLLING)
        .also(&["ACK-16"]),
    case!(
        "ACK-16/on-its-way",
        "what is on its way to a plain device is kept for one that acknowledges",
        kept_on_its_way
    )
    .needs(ACK)
    .also(&["ACK-04"]),
    case!("SLOW-08/behind", "one that comes back to a device comes before what waits for that", behind_what_waits)
        .needs(&[Need::Setting("queue_max_events")])
        .also(&["ORDER-01"]),
    case!(
        "CLUSTER-03/on-its-way",
        "nor is one that is on its way to a device handed over at the other node",
        at_two_nodes
    )
    .needs(&[Need::OwnServer]),
    over!(
        WebSocket,
        "SLOW-09/websocket",
        "a WebSocket client that was behind gets what was accepted meanwhile",
        catches_up(false)
    )
    .needs(CONTROL)
    .also(&["SLOW-10"]),
    over!(Polling, "SLOW-09/polling", "so does a polling client", catches_up(false))
        .needs(CONTROL_AND_POLLING)
        .also(&["SLOW-10"]),
    over!(WebSocket, "SLOW-09/acknowledging", "so does a client that acknowledges", catches_up(true))
        .needs(CONTROL_AND_ACK)
        .also(&["SLOW-10"]),
    case!("SLOW-09/cap", "of what waits the newest up to the configured cap comes", newest_of_what_waits).needs(&[
        Need::Capability("backpressure"),
        Need::Capability("control"),
        Need::Setting("queue_max_events"),
    ]),
    over!(WebSocket, "SLOW-10/broken", "what was live and did not get through is queued", live_and_broken)
        .needs(CONTROL),
    over!(Polling, "SLOW-10/broken-polling", "so is what a polling client did not fetch", live_and_broken)
        .needs(CONTROL_AND_POLLING),
    case!("SLOW-10/broken-poll", "a poll that breaks while it waits costs no event", broken_poll).needs(POLLING),
    case!(
        "SLOW-10/closed-polling",
        "what a client has not fetched as it says that it closes is queued",
        closed_unfetched
    )
    .needs(POLLING),
    case!("SLOW-10/broken-answer", "an answer to a poll that breaks has brought none of its events", broken_answer)
        .needs(CONTROL_AND_POLLING),
];

/// A client over a line that carries so many bytes a second; the answer to its CONNECT may come with the queue.
async fn attempt(t: &Bench, user: &User, transport: Transport, ack: bool, rate: u64) -> Outcome<(Client, Proxy)> {
    let line = t.slow_line(rate).await?;
    let auth = json!({"token": t.token(user).await?, "ack": ack});
    Ok((t.attempt_raw(t.opening_over(&line, transport), Some(auth)).await?, line))
}

async fn takes_its_time(t: Bench, transport: Transport) -> Outcome {
    const EVENTS: usize = 25;
    let plain = arrives_whole(&t, transport, false, (EVENTS, 8_000), LEAST);
    let acknowledging = async {
        if t.target().declares("ack") {
            arrives_whole(&t, transport, true, (EVENTS, 8_000), LEAST).await
        } else {
            Ok(())
        }
    };
    tokio::try_join!(plain, acknowledging).map(drop)
}

async fn beyond_the_heartbeat(t: Bench) -> Outcome {
    tokio::try_join!(
        beyond(&t, (INTERVAL, TIMEOUT), (CAP, SMALL_TEXT), MODERATE),
        // The system's own buffers are full for most of the time, which it may take for a line that is dead.
        beyond(&t, (4, 8), (25, 2 * SMALL_TEXT), LEAST),
    )
    .map(drop)
}

async fn beyond(t: &Bench, (interval, within): (u64, u64), queue: (usize, usize), rate: u64) -> Outcome {
    let (t, _) = t.with_heart(interval, within).await?;
    let polling = async {
        if t.target().declares("polling") {
            arrives_whole(&t, Transport::Polling, false, queue, rate).await
        } else {
            Ok(())
        }
    };
    tokio::try_join!(arrives_whole(&t, Transport::WebSocket, false, queue, rate), polling).map(drop)
}

/// A queue of so many events with texts of such a size arrives whole, on a connection that then serves as ever.
async fn arrives_whole(
    t: &Bench,
    transport: Transport,
    ack: bool,
    (events, text): (usize, usize),
    rate: u64,
) -> Outcome {
    let alice = user_with_queue(t, events, text).await?;
    let (mut device, _line) = attempt(t, &alice, transport, ack, rate).await?;
    device.expect_accepted_within(ARRIVES).await?;
    let came = up_to(&mut device, events as u64, ARRIVES).await?;
    exactly(&came, 1..=events)?;
    device.call("ping", vec![]).await?;
    t.emit_numbered(&alice, events + 1, events + 1).await?;
    exactly(&up_to(&mut device, events as u64 + 1, HELD_UP).await?, [events + 1])
}

/// Live events that come in one answer to a poll, for which a line needs longer than an acknowledgement may take.
async fn long_answer(t: Bench) -> Outcome {
    const EVENTS: usize = 25;
    let alice = t.user().await?;
    let (mut device, _line) = attempt(&t, &alice, Transport::Polling, true, LEAST).await?;
    device.expect_accepted().await?;
    for n in 1..=EVENTS {
        t.emit(&sized(&t, &alice, n, 8_000)).await?;
    }
    exactly(&up_to(&mut device, EVENTS as u64, ARRIVES).await?, 1..=EVENTS)?;
    device.call("ping", vec![]).await?;
    device.expect_silence(QUIET).await
}

fn exactly(came: &[Came], expected: impl IntoIterator<Item = usize>) -> Outcome {
    let expected: Vec<_> = expected.into_iter().collect();
    let came: Vec<_> = came.iter().map(|it| it.n).collect();
    expect::equal("what arrives", &json!(expected), &json!(came))
}

async fn any_size(t: Bench, transport: Transport, ack: bool) -> Outcome {
    tokio::try_join!(
        with_live_ones_meanwhile(&t, transport, ack, SMALL_TEXT, MODERATE),
        with_live_ones_meanwhile(&t, transport, ack, LARGE_TEXT, BRISK),
    )
    .map(drop)
}

async fn with_live_ones_meanwhile(t: &Bench, transport: Transport, ack: bool, text: usize, rate: u64) -> Outcome {
    const LIVE: usize = 5;
    let alice = user_with_queue(t, CAP, text).await?;
    let (mut device, line) = attempt(t, &alice, transport, ack, rate).await?;
    on_its_way(&line, rate).await?;
    for n in CAP + 1..=CAP + LIVE {
        let event = t.numbered(&alice, n);
        let emitted = timeout(HELD_UP, t.emit(&event)).await;
        emitted.unwrap_or_else(|_| Err(mismatch(format!("an event accepted within {HELD_UP:?}"), "it was held up")))?;
    }
    device.expect_accepted_within(ARRIVES).await?;
    let came = up_to(&mut device, (CAP + LIVE) as u64, ARRIVES).await?;
    exactly(&came, 1..=CAP + LIVE)?;
    let of_the_queue = came[..CAP].iter().all(|it| it.queued);
    expect::that(of_the_queue, "the queue in queued.events", "events of it that came live")?;
    device.call("ping", vec![]).await?;
    device.disconnect().await;
    match ack {
        true => acks::in_the_end(t, &alice, &[]).await,
        false => nothing_queued(t, &alice, CAP + LIVE + 1).await,
    }
}

/// Half a second's bytes have passed.
async fn on_its_way(line: &Proxy, rate: u64) -> Outcome {
    let passed = line.has_carried(rate / 2, ARRIVES).await;
    expect::that(passed, format!("{} bytes on their way", rate / 2), format!("{} in {ARRIVES:?}", line.carried()))
}

/// The next device gets a live event, and nothing before and after it.
async fn nothing_queued(t: &Bench, user: &User, n: usize) -> Outcome {
    let mut next = t.connect_raw(user, Transport::WebSocket).await?;
    t.emit_numbered(user, n, n).await?;
    receives(&mut next, [n]).await?;
    next.expect_silence(QUIET).await
}

async fn stays_queued(t: Bench, transport: Transport) -> Outcome {
    let alice = user_with_queue(&t, CAP, LARGE_TEXT).await?;
    if breaks_under_way(&t, &alice, transport).await? {
        // Once more: that it was tried once costs nothing.
        breaks_under_way(&t, &alice, transport).await?;
        numbered(&whole_queue(&t, &alice).await?, 1..=CAP)?;
    }
    nothing_queued(&t, &alice, CAP + 1).await
}

/// A device connects, and its line breaks while the queue is on its way. False where the system may have taken all of it, and it is gone.
async fn breaks_under_way(t: &Bench, user: &User, transport: Transport) -> Outcome<bool> {
    let (device, line) = attempt(t, user, transport, false, BRISK).await?;
    under_way(&line).await?;
    line.cut();
    drop(device);
    if !may_be_over(t, &line, LARGE_QUEUE).await? {
        return Ok(true);
    }
    let mut next = t.connect_raw(user, Transport::WebSocket).await?;
    match next.next(HELD_UP).await {
        None => Ok(false),
        Some(Arrival::Event { name, args, .. }) if name == "queued.events" => {
            numbered(args[0].as_array().map(Vec::as_slice).unwrap_or_default(), 1..=CAP)?;
            Ok(false)
        }
        Some(some) => Err(mismatch("the queue or nothing", format!("{some:?}"))),
    }
}

async fn under_way(line: &Proxy) -> Outcome {
    let passed = line.has_carried(ON_ITS_WAY, HELD_UP).await;
    expect::that(passed, format!("{ON_ITS_WAY} bytes of the queue"), format!("{} bytes", line.carried()))
}

/// Whether the operating system may have taken all of a large queue: it does on machines with large send buffers, where the server sets
/// none.
async fn may_be_over(t: &Bench, line: &Proxy, bytes: usize) -> Outcome<bool> {
    let room = kernel_takes().await.map_err(|error| inconclusive(format!("how much the kernel takes: {error}")))?;
    t.transcript().note(format!("{} bytes have passed, and the kernel takes {room} at the most", line.carried()));
    Ok(line.carried() + room >= bytes as u64)
}

/// The queue as the next device gets it, over a good line.
async fn whole_queue(t: &Bench, user: &User) -> Outcome<Vec<Value>> {
    let mut next = t.connect_raw(user, Transport::WebSocket).await?;
    let queued = next.expect_queued().await?;
    next.disconnect().await;
    Ok(queued)
}

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
enum Going {
    /// The line is cut.
    Breaks,
    /// The client says this, behind a question whose answer the server cannot get through.
    Says(&'static str),
}

async fn at_one_node(t: Bench, transport: Transport) -> Outcome {
    one_device(&t, &t, transport, Going::Breaks).await
}

/// It leaves, breaks the protocol (TRANS-06), connects a second time (TRANS-08).
async fn closed_for_what_it_says(t: Bench, transport: Transport) -> Outcome {
    let one = |packet| one_device(&t, &t, transport, Going::Says(packet));
    tokio::try_join!(one("1"), one("42/notifications,{"), one("40/notifications,")).map(drop)
}

async fn at_two_nodes(t: Bench) -> Outcome {
    let (a, b) = t.two_nodes().await?;
    // Several, for of a line that breaks a server may learn where it reads or where it writes.
    let one = || one_device(&a, &b, Transport::WebSocket, Going::Breaks);
    tokio::try_join!(one(), one(), one(), one()).map(drop)
}

/// While the queue is on its way to a device of one node, another comes to the other; or both to the same.
async fn one_device(t: &Bench, elsewhere: &Bench, transport: Transport, going: Going) -> Outcome {
    let alice = user_with_queue(t, CAP, LARGE_TEXT).await?;
    let (mut slow, line) = attempt(t, &alice, transport, false, BRISK / 4).await?;
    under_way(&line).await?;
    let mut other = elsewhere.connect_raw(&alice, Transport::WebSocket).await?;
    t.emit_numbered(&alice, CAP + 1, CAP + 1).await?;
    // Had it been given the queue, that would come first.
    receives(&mut other, [CAP + 1]).await?;
    other.expect_silence(QUIET).await?;
    let still_open = match (going, slow.wire()) {
        (Going::Says(packet), Some(wire)) => {
            let asked = wire.send(r#"42/notifications,7["ping"]"#).await;
            asked.map_err(|error| inconclusive(format!("it cannot ask: {error}")))?;
            // What breaks the protocol may be answered with 400.
            let _ = wire.send(packet).await;
            Some(slow)
        }
        _ => {
            line.cut();
            None
        }
    };
    let queued = match other.next(HELD_UP).await {
        Some(Arrival::Event { name, args, .. }) if name == "queued.events" => {
            args.into_iter().next().and_then(|array| array.as_array().cloned()).unwrap_or_default()
        }
        Some(some) => return Err(mismatch("the queue or nothing", format!("{some:?}"))),
        None if may_be_over(t, &line, LARGE_QUEUE).await? => return Ok(()),
        None => whole_queue(t, &alice).await?,
    };
    drop(still_open);
    other.disconnect().await;
    // What the other device had live may have been on its way to the first as well.
    let old: Vec<_> = numbers(&queued).into_iter().filter(|n| *n <= CAP as u64).collect();
    expect::equal("the queue", &json!((1..=CAP).collect::<Vec<_>>()), &json!(old))?;
    nothing_queued(t, &alice, CAP + 2).await
}

/// The queue is on its way to one device. Another has live what is kept for a third, which goes without acknowledging it; then the first
/// goes, too.
async fn kept_meanwhile(t: Bench, transport: Transport) -> Outcome {
    // With the one that is kept it is the cap.
    const QUEUE: usize = CAP - 1;
    let alice = user_with_queue(&t, QUEUE, LARGE_TEXT).await?;
    let (_slow, line) = attempt(&t, &alice, Transport::WebSocket, false, BRISK / 4).await?;
    under_way(&line).await?;
    let mut other = t.connect_raw(&alice, transport).await?;
    let mut acknowledging = acks::join(&t, &alice).await?;
    // That it is given the queue, which is on its way elsewhere, is allowed (ACK-16); then it has taken that before it is given more.
    let queue = acknowledging.next(A_QUEUE).await;
    let is_queue = matches!(&queue, Some(Arrival::Event { name, .. }) if name == "queued.events");
    expect::that(queue.is_none() || is_queue, "the queue or nothing", format!("{queue:?}"))?;
    acks::settle(&mut acknowledging).await?;
    t.emit_numbered(&alice, QUEUE + 1, QUEUE + 1).await?;
    // It may have been given the queue as well, since somebody acknowledges.
    let mut came: Vec<_> = up_to(&mut other, QUEUE as u64 + 1, HELD_UP).await?.iter().map(|it| it.n).collect();
    let next = acknowledging.next(HELD_UP).await;
    let is_live = matches!(&next, Some(Arrival::Event { name, ack: Some(_), .. }) if name == "record.accessed");
    expect::that(is_live, "a live event that asks for an acknowledgement", format!("{next:?}"))?;
    acknowledging.disconnect().await;
    line.cut();
    while came.len() <= QUEUE {
        match other.next(HELD_UP).await {
            Some(Arrival::Event { args, .. }) => came.extend(live_or_queued(&args)),
            _ if may_be_over(&t, &line, QUEUE * LARGE_TEXT).await? => return Ok(()),
            _ => break,
        }
    }
    came.sort_unstable();
    expect::equal("what one device was given", &json!((1..=QUEUE + 1).collect::<Vec<_>>()), &json!(came))
}

/// The plain device takes all of it, and the other acknowledges nothing.
async fn kept_on_its_way(t: Bench) -> Outcome {
    let alice = user_with_queue(&t, CAP, LARGE_TEXT).await?;
    let (mut slow, line) = attempt(&t, &alice, Transport::WebSocket, false, BRISK).await?;
    under_way(&line).await?;
    let mut acknowledging = acks::join(&t, &alice).await?;
    if may_be_over(&t, &line, LARGE_QUEUE).await? {
        return Ok(());
    }
    acks::queue(&mut acknowledging, 1..=CAP).await?;
    slow.expect_accepted_within(ARRIVES).await?;
    exactly(&up_to(&mut slow, CAP as u64, ARRIVES).await?, 1..=CAP)?;
    acks::settle(&mut slow).await?;
    slow.disconnect().await;
    acknowledging.disconnect().await;
    acks::queue(&mut acks::join(&t, &alice).await?, 1..=CAP).await.map(drop)
}

/// A device takes nothing while events wait for it, and so does another that has the queue and is closed.
async fn behind_what_waits(t: Bench) -> Outcome {
    const QUEUE: usize = 55;
    const LAST: usize = QUEUE + 20;
    let t = t.own_server(&[("queue_max_events", "200")]).await?;
    let alice = user_with_queue(&t, QUEUE, LARGE_TEXT).await?;
    let (mut slow, slow_line) = attempt(&t, &alice, Transport::WebSocket, false, BRISK / 4).await?;
    under_way(&slow_line).await?;
    let (mut other, line) = attempt(&t, &alice, Transport::WebSocket, false, 0).await?;
    other.expect_accepted().await?;
    line.black_hole();
    for n in QUEUE + 1..=LAST {
        t.emit(&sized(&t, &alice, n, LARGE_TEXT)).await?;
    }
    if let Some(wire) = slow.wire() {
        let said = wire.send("42/notifications,{").await;
        said.map_err(|error| inconclusive(format!("it cannot break the protocol: {error}")))?;
    }
    slow.expect_closed(ARRIVES).await?;
    // Not at once, so that the server has seen the end of the one before the other has taken what it was handed.
    line.pace(2 * BRISK);
    line.restore();
    t.emit_numbered(&alice, LAST + 1, LAST + 1).await?;
    let came = up_to(&mut other, LAST as u64 + 1, ARRIVES).await?;
    let (queued, live): (Vec<_>, Vec<_>) = came.iter().copied().partition(|it| it.queued);
    in_order(&live)?;
    in_order(&queued)?;
    let missing = (1..=LAST as u64).find(|n| !came.iter().any(|it| it.n == *n));
    match missing {
        Some(1) if may_be_over(&t, &slow_line, QUEUE * LARGE_TEXT).await? => Ok(()),
        Some(n) => Err(mismatch(format!("the {LAST} events"), format!("{n} is missing"))),
        None => Ok(()),
    }
}

/// How the events of the burst were answered.
#[derive(Debug, Default)]
struct Burst {
    live: Vec<u64>,
    queued: Vec<u64>,
    last: u64,
}

/// Emits batches of 100 events of 1 kB until some had to wait, and one more, of which the cap leaves half.
async fn burst(t: &Bench, user: &User) -> Outcome<Burst> {
    const BATCH: usize = 100;
    const BATCHES: usize = 120;
    let mut burst = Burst::default();
    for first in (1..=BATCH * BATCHES).step_by(BATCH) {
        let events: Vec<_> = (first..first + BATCH).map(|n| sized(t, user, n, 1_000).body()).collect();
        let answer = t.control("POST", "/events/batch", &Value::Array(events)).await?;
        answer.expect_status(202)?;
        let answers = answer.json();
        let is_last = !burst.queued.is_empty();
        for (at, answer) in answers.as_array().into_iter().flatten().enumerate() {
            burst.last = (first + at) as u64;
            if answer["delivery"] == "live" { burst.live.push(burst.last) } else { burst.queued.push(burst.last) }
        }
        if is_last {
            return Ok(burst);
        }
    }
    Err(mismatch("a bound of what waits for one client", format!("{} events of 1 kB told as live", burst.live.len())))
}

async fn catches_up(t: Bench, transport: Transport, ack: bool) -> Outcome {
    let alice = t.user().await?;
    let (mut device, _line) = attempt(&t, &alice, transport, ack, BRISK).await?;
    device.expect_accepted().await?;
    let burst = burst(&t, &alice).await?;
    t.transcript().note(format!("{} were told as live, {} as queued", burst.live.len(), burst.queued.len()));
    let came = up_to(&mut device, burst.last, ARRIVES).await?;
    in_order(&came)?;
    let newest = burst.queued.iter().rev().take(CAP);
    let due: Vec<_> = burst.live.iter().chain(newest).copied().collect();
    let missing: Vec<_> = due.iter().filter(|n| !came.iter().any(|it| it.n == **n)).collect();
    let told = format!("all {} that were live, and the newest of those that had to wait", burst.live.len());
    expect::that(missing.is_empty(), told, format!("{} missing, first {:?}", missing.len(), missing.first()))?;
    let further = came.iter().any(|it| it.queued);
    expect::that(further, "what had to wait in a queued.events on the same connection", "none")?;
    if ack {
        // Of several, one may tell again what the one before has told: its acknowledgement was on its way (ACK-12).
        let lost = burst.last - came.len() as u64;
        let told: Vec<_> = came.iter().filter(|it| it.lost > 0).map(|it| it.lost).collect();
        let adds_up = told.iter().sum::<u64>() >= lost && told.iter().all(|told| *told <= lost);
        expect::that(adds_up, format!("queued.events that tells of {lost} lost events"), format!("{told:?}"))?;
    }
    let next = usize::try_from(burst.last).map_err(|_| inconclusive("too many events"))? + 1;
    t.emit_numbered(&alice, next, next).await?;
    exactly(&up_to(&mut device, next as u64, HELD_UP).await?, [next])?;
    device.expect_silence(QUIET).await
}

/// Emits to a client that stands still, until the first event that has to wait, or for as long as there is no end of what is live; the
/// newest that was live, and the last.
async fn until_one_waits(t: &Bench, user: &User) -> Outcome<(u64, u64)> {
    const EVENTS: u64 = 150;
    for n in 1..=EVENTS {
        let answer = t.control("POST", "/events", &sized(t, user, n as usize, LARGE_TEXT).body()).await?;
        answer.expect_status(202)?;
        if answer.json()["delivery"] != "live" {
            return Ok((n - 1, n));
        }
    }
    Ok((EVENTS, EVENTS))
}

async fn newest_of_what_waits(t: Bench) -> Outcome {
    const CAP: u64 = 3;
    let t = t.own_server(&[("queue_max_events", "3")]).await?;
    let alice = t.user().await?;
    let (mut device, line) = attempt(&t, &alice, Transport::WebSocket, false, 0).await?;
    device.expect_accepted().await?;
    line.black_hole();
    let (newest_live, first_waits) = until_one_waits(&t, &alice).await?;
    let last = first_waits + 3 * CAP;
    t.emit_numbered(&alice, first_waits as usize + 1, last as usize).await?;
    line.restore();
    let came = up_to(&mut device, last, ARRIVES).await?;
    let due = (1..=newest_live).chain(last - CAP + 1..=last).map(|n| n as usize);
    exactly(&came, due.collect::<Vec<_>>())
}

async fn live_and_broken(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let (mut device, line) = attempt(&t, &alice, transport, false, BRISK).await?;
    device.expect_accepted().await?;
    // Were there room again while an event is stored, that event would be live and stored, and say nothing of those before it.
    line.pace(1);
    // Of more that have to wait, the cap would leave none of those that were live.
    let (newest_live, last) = until_one_waits(&t, &alice).await?;
    line.cut();
    let mut read = Vec::new();
    while let Some(Arrival::Event { args, .. }) = device.next(HELD_UP).await {
        read.extend(numbers(&args));
    }
    // A server that learns of the break only now hands on what it takes back then, behind what was queued (SLOW-08).
    let mut next = t.connect_raw(&alice, Transport::WebSocket).await?;
    let (mut queues, mut times): (Vec<Vec<u64>>, BTreeMap<u64, i64>) = Default::default();
    while !queues.concat().contains(&newest_live) {
        match next.next(HELD_UP).await {
            Some(Arrival::Event { name, args, .. }) if name == "queued.events" => {
                let payloads = args.first().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                for (n, payload) in numbers(payloads).into_iter().zip(payloads) {
                    times.insert(n, expect::iso_timestamp(payload["timestamp"].as_str().unwrap_or_default())?);
                }
                queues.push(numbers(payloads));
            }
            _ => break,
        }
    }
    next.disconnect().await;
    let mut queued = queues.concat();
    let in_order = queues.iter().all(|queue| queue.is_sorted());
    queued.sort_unstable();
    let consecutive = queued.windows(2).all(|pair| pair[1] == pair[0] + 1) && queued.last() == Some(&last);
    let told = format!("the newest in order, up to {last}, with {newest_live}, which was live");
    expect::that(in_order && consecutive && queued.contains(&newest_live), told, format!("{queues:?}"))?;
    // The last was stored as it was emitted: what came back and has the time of that would be later (QUEUE-16).
    let told = format!("the times of the emissions, {times:?}");
    expect::that(times.values().is_sorted(), "times that do not go back", told)?;
    let doubled = read.iter().any(|n| queued.contains(n));
    expect::that(!doubled, "nothing twice", format!("{read:?} on the old connection and {queued:?} on the new"))
}

/// The numbers of an event, or of those in `queued.events`.
fn live_or_queued(args: &[Value]) -> Vec<u64> {
    args.first().and_then(Value::as_array).map_or_else(|| numbers(args), |queued| numbers(queued))
}

/// The events go with two answers: the one that was waited for has one of them, or a few, and the other all that came meanwhile.
/// How many of them were live is the server's affair: what it had no room for comes behind them.
async fn broken_answer(t: Bench) -> Outcome {
    const EVENTS: usize = 38;
    let alice = t.user().await?;
    let (mut device, line) = attempt(&t, &alice, Transport::Polling, false, LEAST).await?;
    device.expect_accepted().await?;
    for n in 1..=EVENTS {
        t.emit(&sized(&t, &alice, n, 8_000)).await?;
    }
    let mut came: Vec<_> = up_to(&mut device, 1, ARRIVES).await?.iter().map(|it| it.n).collect();
    let under_way = line.carried() + LEAST;
    expect::that(line.has_carried(under_way, ARRIVES).await, "a further answer on its way", "it is not")?;
    line.cut();
    while let Some(Arrival::Event { args, .. }) = device.next(HELD_UP).await {
        came.extend(live_or_queued(&args));
    }
    let mut next = t.connect_raw(&alice, Transport::WebSocket).await?;
    while came.len() < EVENTS {
        match next.next(HELD_UP).await {
            Some(Arrival::Event { args, .. }) => came.extend(live_or_queued(&args)),
            _ => break,
        }
    }
    expect::equal("what arrives over both connections", &json!((1..=EVENTS).collect::<Vec<_>>()), &json!(came))
}

/// It closes Engine.IO, and has not left the namespace before.
async fn closed_unfetched(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = fetches_one(&t, &alice).await?;
    t.emit_numbered(&alice, 2, 3).await?;
    if let Some(wire) = device.wire() {
        wire.send("1").await.map_err(|error| mismatch("a POST that is taken", error.to_string()))?;
    }
    numbered(&whole_queue(&t, &alice).await?, 2..=3)
}

/// As a phone does that changes its network: its poll ends, and the next one comes over another connection, or there is a new session.
async fn broken_poll(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let line = t.line().await?;
    let auth = json!({"token": t.token(&alice).await?});
    let mut device = t.attempt_raw(t.opening_over(&line, Transport::Polling), Some(auth)).await?;
    device.expect_accepted().await?;
    device.expect_silence(QUIET).await?;
    let sid = device.wire().map(|wire| wire.handshake.sid.clone()).unwrap_or_default();
    line.cut();
    device.expect_closed(HELD_UP).await?;
    // The server has been told as well; nobody sees when it has heard.
    tokio::time::sleep(QUIET).await;
    t.emit_numbered(&alice, 1, 1).await?;
    let path = polling_path(&sid);
    let polled = t.http("GET", &path, &[], None::<String>).await?;
    if polled.status == 200 && polled.body.contains("\"record.accessed\"") {
        return nothing_queued(&t, &alice, 2).await;
    }
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    numbered(&queued, 1..=1)
}

/// A device that is gone when it has its answer, and has asked for nothing more.
async fn queue_not_fetched(t: Bench) -> Outcome {
    let alice = user_with_queue(&t, 3, SMALL_TEXT).await?;
    let session = ByHand::of_user(&t, &alice).await?;
    let answer = session.poll().await?;
    expect::that(answer.contains("40/notifications,"), "the CONNECT accepted", &*answer)?;
    if answer.contains("queued.events") {
        return nothing_queued(&t, &alice, 4).await;
    }
    session.post("41/notifications,\u{1e}1".to_owned()).await?;
    numbered(&whole_queue(&t, &alice).await?, 1..=3)
}

/// It has read the answer to its end, which nobody but itself can know; the server has written it.
async fn left_polling(t: Bench) -> Outcome {
    let alice = user_with_queue(&t, 3, SMALL_TEXT).await?;
    let session = ByHand::of_user(&t, &alice).await?;
    while !session.poll().await?.contains("queued.events") {}
    session.post("41/notifications,".to_owned()).await?;
    nothing_queued(&t, &alice, 4).await
}
