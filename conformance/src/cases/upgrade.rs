//! SPEC 1: upgrades that come to nothing, and those that come twice.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::kit::{QUIET, numbers::receives};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Client, Heard, Seen, Side, Transport, WireError},
    expect::{self, Outcome, inconclusive, mismatch},
};

/// How long the server may take to answer a probe, or to close.
const PROMPTLY: Duration = Duration::from_secs(5);
/// How long to watch a session after an upgrade that came to nothing: longer than servers wait for the rest of one.
const AFTERWARDS: Duration = Duration::from_secs(6);
/// TRANS-12.
const POLLS_A_SECOND: u64 = 15;
/// How long the server may take to see that a WebSocket is gone.
const SEES_THE_END: Duration = Duration::from_secs(5);

const POLLING: &[Need] = &[Need::Capability("polling")];

pub(super) const CASES: &[Case] = &[
    case!(
        "TRANS-12/closed",
        "a WebSocket that is closed before it was probed leaves the polling session as it was",
        comes_to_nothing(Step::Closed)
    )
    .needs(POLLING),
    case!("TRANS-12/silent", "so does one that says nothing", comes_to_nothing(Step::Silent)).needs(POLLING),
    case!(
        "TRANS-12/garbage",
        "so does one that begins with something else than a probe",
        comes_to_nothing(Step::Garbage)
    )
    .needs(POLLING),
    case!(
        "TRANS-12/probed-gone",
        "so does one that breaks as soon as it has probed",
        comes_to_nothing(Step::ProbedAndGone)
    )
    .needs(POLLING),
    case!(
        "TRANS-12/probed-silent",
        "so does one that says nothing after the probe was answered",
        comes_to_nothing(Step::ProbedAndSilent)
    )
    .needs(POLLING),
    case!(
        "TRANS-12/probed-garbage",
        "so does one that goes on with something else than the upgrade",
        comes_to_nothing(Step::ProbedAndGarbage)
    )
    .needs(POLLING),
    case!(
        "TRANS-13/upgraded",
        "a second WebSocket for a session that was upgraded is refused, and harms nothing",
        second_after_the_first
    )
    .needs(POLLING),
    case!(
        "TRANS-13/under-way",
        "a second WebSocket while the first is being probed is refused, and harms nothing",
        second_beside_the_first
    )
    .needs(POLLING),
];

/// How far the upgrade gets.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// 101, and the WebSocket is closed.
    Closed,
    /// 101, and nothing more.
    Silent,
    /// 101, and something else than `2probe`.
    Garbage,
    /// `2probe`, and the line breaks.
    ProbedAndGone,
    /// `2probe`, `3probe`, and nothing more.
    ProbedAndSilent,
    /// `2probe`, `3probe`, and something else than `5`.
    ProbedAndGarbage,
}

impl Step {
    /// Goes so far; returns what is open still, if anything is.
    async fn take(self, mut side: Side) -> Outcome<Option<Side>> {
        match self {
            Self::Closed => {
                side.close().await;
                return Ok(None);
            }
            Self::Silent => {}
            Self::Garbage => says(&mut side, "4hello").await?,
            Self::ProbedAndGone => {
                says(&mut side, "2probe").await?;
                return Ok(None);
            }
            Self::ProbedAndSilent => probe(&mut side).await?,
            Self::ProbedAndGarbage => {
                probe(&mut side).await?;
                says(&mut side, r#"42/notifications,["x"]"#).await?;
            }
        }
        Ok(Some(side))
    }
}

async fn comes_to_nothing(t: Bench, step: Step) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    let side = step.take(beside(&mut device).await?).await?;
    t.emit_numbered(&alice, 1, 3).await?;
    receives(&mut device, 1..=3).await?;
    device.call("ping", vec![]).await?;
    does_not_spin(&mut device).await?;
    t.emit_numbered(&alice, 4, 5).await?;
    receives(&mut device, 4..=5).await?;
    drop(side);
    upgrades_at_last(&mut device).await?;
    t.emit_numbered(&alice, 6, 7).await?;
    receives(&mut device, 6..=7).await?;
    device.expect_silence(QUIET).await
}

/// Polls that have nothing to bring wait, in each second that is watched.
async fn does_not_spin(device: &mut Client) -> Outcome {
    let polls = polls(device)?;
    let until = Instant::now() + AFTERWARDS;
    while Instant::now() < until {
        let before = polls();
        device.expect_silence(Duration::from_secs(1)).await?;
        let answered = polls() - before;
        let bound = format!("at most {POLLS_A_SECOND} answers to polls in a second in which nothing happens");
        expect::that(answered <= POLLS_A_SECOND, bound, format!("{answered}"))?;
    }
    Ok(())
}

fn polls(device: &mut Client) -> Outcome<impl Fn() -> u64 + use<>> {
    let seen = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?.seen();
    Ok(move || {
        let Seen { polls, .. } = *seen.borrow();
        polls
    })
}

/// A further upgrade succeeds, once the server has seen that the first is over.
async fn upgrades_at_last(device: &mut Client) -> Outcome {
    let wire = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?;
    let deadline = Instant::now() + SEES_THE_END;
    loop {
        match wire.upgrade().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(mismatch("an upgrade, now that the first is over", error.to_string()));
            }
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn second_after_the_first(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    let wire = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?;
    wire.upgrade().await.map_err(|error| mismatch("an upgrade", error.to_string()))?;
    goes_on(&t, &alice, &mut device, 1).await?;
    for first in [2, 4] {
        is_refused(&mut device).await?;
        goes_on(&t, &alice, &mut device, first).await?;
    }
    // What was marked as leaving would be closed by now.
    device.expect_silence(AFTERWARDS).await?;
    goes_on(&t, &alice, &mut device, 6).await
}

async fn second_beside_the_first(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    let mut first = beside(&mut device).await?;
    is_refused(&mut device).await?;
    probe(&mut first).await?;
    is_refused(&mut device).await?;
    let wire = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?;
    wire.complete(first).await.map_err(|error| mismatch("the first upgrade completed", error.to_string()))?;
    goes_on(&t, &alice, &mut device, 1).await?;
    device.expect_silence(AFTERWARDS).await?;
    goes_on(&t, &alice, &mut device, 3).await
}

/// A further WebSocket for the session gets an HTTP error, or is closed without an answer to its probe.
async fn is_refused(device: &mut Client) -> Outcome {
    let wire = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?;
    let mut side = match wire.beside().await {
        Err(WireError::Refused { status: 400.., .. }) => return Ok(()),
        Err(error) => return Err(mismatch("a second WebSocket refused by an answer", error.to_string())),
        Ok(side) => side,
    };
    // It may be closed already.
    let _ = side.say("2probe").await;
    match side.hear(PROMPTLY).await {
        Some(Heard::Closed(_)) => Ok(()),
        other => Err(mismatch("a second WebSocket for the session refused or closed", format!("{other:?}"))),
    }
}

/// Events from `n` on arrive, two of them, and an answer between them.
async fn goes_on(t: &Bench, alice: &User, device: &mut Client, n: usize) -> Outcome {
    t.emit_numbered(alice, n, n).await?;
    receives(device, [n]).await?;
    device.call("ping", vec![]).await?;
    t.emit_numbered(alice, n + 1, n + 1).await?;
    receives(device, [n + 1]).await
}

async fn beside(device: &mut Client) -> Outcome<Side> {
    let wire = device.wire().ok_or_else(|| inconclusive("a client without a wire"))?;
    wire.beside().await.map_err(|error| mismatch("a WebSocket for an upgrade", error.to_string()))
}

async fn says(side: &mut Side, packet: &str) -> Outcome {
    side.say(packet).await.map_err(|error| mismatch(format!("a WebSocket that takes {packet}"), error.to_string()))
}

async fn probe(side: &mut Side) -> Outcome {
    says(side, "2probe").await?;
    match side.hear(PROMPTLY).await {
        Some(Heard::Packet(packet)) if packet == "3probe" => Ok(()),
        other => Err(mismatch("3probe", format!("{other:?}"))),
    }
}
