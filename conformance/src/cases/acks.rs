//! SPEC 9: delivery that is acknowledged.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::kit::{
    QUIET,
    acks::{connect, in_the_end, join, live_event, queue, settle},
    again::{attempt, come_in, leave},
    control::body_for,
    numbers::{numbered, numbers, payloads, receives},
    queue::{all_but_one, damages_one_of_five, finds, none_was_damaged, with_growing_ttl},
    upgrade::upgrade,
};
use crate::{
    bench::{Bench, User},
    case::{Case, Need},
    client::{Arrival, Client, Delivery, Opening, Transport},
    expect::{self, Outcome},
    redis::inspect::Damage,
};

/// The time limit for an acknowledgement that the cases with a short one ask for, and how long a close may take after it.
const SHORT: &str = "1";
const CLOSED_BY: Duration = Duration::from_secs(6);

const TIMEOUT: &[Need] = &[Need::Setting("ack_timeout_seconds")];
const TIMEOUT_AND_POLLING: &[Need] = &[Need::Setting("ack_timeout_seconds"), Need::Capability("polling")];
const OWN: &[Need] = &[Need::OwnServer];

pub(super) const CASES: &[Case] = &[
    case!("ACK-01/live", "live events ask for an acknowledgement", live),
    case!("ACK-01/polling", "so they do over polling", polled).needs(&[Need::Capability("polling")]).also(&["ACK-05"]),
    case!("ACK-02/queued", "queued.events asks for an acknowledgement", queued),
    case!("ACK-03/plain", "nothing asks a client for one that did not say ack: true", plain),
    over!(WebSocket, "ACK-03/again", "the last CONNECT of a connection says whether it acknowledges", says_again),
    over!(Polling, "ACK-03/again-polling", "so it does over polling", says_again),
    case!("ACK-04/live", "live events that were not acknowledged come again", again),
    case!("ACK-04/queued", "queued events that were not acknowledged come again, and again", queued_again),
    case!("ACK-04/second-device", "what one device has not acknowledged is in the queue of the next", second_device),
    over!(
        WebSocket,
        "ACK-04/same-connection",
        "so it is in that of a further CONNECT on its connection",
        comes_in_again
    )
    .also(&["ACK-05"]),
    over!(Polling, "ACK-04/same-connection-polling", "so it is over polling", comes_in_again).also(&["ACK-05"]),
    case!("ACK-05/acknowledged", "what was acknowledged does not come again", acknowledged),
    case!("ACK-06/same-payload", "what comes again is what came before", same_payload),
    case!("ACK-07/order", "what comes again comes in order, older ones first", order),
    case!("ACK-08/only-that", "an acknowledgement is for that event alone", only_that),
    case!(
        "ACK-08/of-a-batch",
        "so is that of an event of a batch, whose events are as old as each other",
        only_that_of_a_batch
    )
    .needs(&[Need::Capability("control")]),
    case!("ACK-08/not-the-queue", "so is that of a live event, which is none of the queue before it", not_the_queue),
    over!(WebSocket, "ACK-09/timeout", "a client that acknowledges nothing is closed, and served again", timeout)
        .needs(TIMEOUT),
    over!(Polling, "ACK-09/timeout-polling", "so is a polling client", timeout).needs(TIMEOUT_AND_POLLING),
    over!(Upgraded, "ACK-09/timeout-upgraded", "so is one that has upgraded", timeout).needs(TIMEOUT_AND_POLLING),
    case!("ACK-09/queue", "so is one that does not acknowledge its queue", queue_unacknowledged).needs(TIMEOUT),
    case!("ACK-09/but-one", "so is one that acknowledges all but one", leaves_one).needs(TIMEOUT),
    case!("ACK-09/then-upgraded", "so is one that upgrades with something to acknowledge", then_upgraded)
        .needs(TIMEOUT_AND_POLLING)
        .also(&["ACK-05"]),
    case!("ACK-09/in-time", "one that acknowledges within the time stays", in_time).needs(TIMEOUT),
    case!("ACK-09/default", "where nothing is configured, the time is 10 s", by_default)
        .needs(&[Need::OwnServer, Need::Setting("ack_timeout_seconds")])
        .waits(Duration::from_secs(15)),
    over!(WebSocket, "ACK-09/left", "who has left owes nothing on the connection any more", left_owing).needs(TIMEOUT),
    over!(Polling, "ACK-09/left-polling", "nor does who has left over polling", left_owing).needs(TIMEOUT_AND_POLLING),
    case!("ACK-09/half-open", "a client that is not heard of any more is closed, and served again", half_open)
        .needs(&[Need::Setting("ack_timeout_seconds"), Need::Capability("control")]),
    case!("ACK-10/kill", "what was not acknowledged survives a kill -9", kill).needs(OWN),
    case!("ACK-11/complete", "queued.events says that nothing was lost", complete),
    case!("ACK-11/damaged", "damage counts as a loss", damaged).needs(&[Need::OwnServer, Need::Capability("redis")]),
    case!("ACK-11/dropped", "queued.events says how many events the cap has cost", dropped),
    case!("ACK-11/aged", "age counts as a loss where something younger is queued", aged)
        .needs(&[Need::Setting("queue_ttl_seconds")]),
    case!("ACK-11/taken-by-plain", "a loss is told though a plain client has taken the rest", taken_by_plain)
        .also(&["ACK-12"]),
    case!("ACK-11/restart", "so it is after a restart", told_after_a_restart)
        .needs(&[Need::OwnServer, Need::Capability("restart")]),
    case!("ACK-12/told-again", "a loss is told until that is acknowledged", told_again),
    case!("ACK-12/two-devices", "a loss that two devices acknowledge is taken off once", told_to_two),
    case!("ACK-13/all-expired", "a loss is told though nothing is queued, until that is acknowledged", all_expired)
        .needs(&[Need::Setting("queue_ttl_seconds"), Need::Setting("ack_timeout_seconds")])
        .also(&["ACK-09", "ACK-12"]),
    case!("ACK-14/no-store", "an event that cannot be stored is refused and not delivered", no_store).needs(OWN),
    case!("ACK-15/any-form", "an acknowledgement may carry anything, bytes among it, or nothing", any_form),
    case!("ACK-15/any-device", "one device's acknowledgement is enough", any_device),
    case!("ACK-16/mixed", "beside a plain device nothing is lost to one that acknowledges", mixed),
    case!("ACK-17/batch", "a batch beyond the cap reaches a client that is there, whole", batch)
        .needs(&[Need::Capability("control")]),
];

/// What `queued.events` says of what was lost.
fn told(delivery: &Delivery, dropped: u64) -> Outcome {
    let expected = json!({"complete": dropped == 0, "dropped": dropped});
    expect::equal("the second argument", &expected, delivery.args.get(1).unwrap_or(&Value::Null))
}

async fn live(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = join(&t, &alice).await?;
    t.emit_numbered(&alice, 1, 3).await?;
    let mut ids = Vec::new();
    for n in 1..=3 {
        ids.push(live_event(&mut device, n).await?.ack);
    }
    let distinct = ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2];
    expect::that(distinct, "three different acknowledgement ids", format!("{ids:?}"))
}

async fn polled(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = connect(&t, &alice, t.opening(Transport::Polling), true).await?;
    t.emit_numbered(&alice, 1, 2).await?;
    let first = live_event(&mut device, 1).await?;
    live_event(&mut device, 2).await?;
    device.acknowledge(&first, vec![]).await?;
    settle(&mut device).await?;
    device.disconnect().await;
    in_the_end(&t, &alice, &[2]).await
}

async fn queued(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 3).await?;
    queue(&mut join(&t, &alice).await?, 1..=3).await.map(drop)
}

async fn plain(t: Bench) -> Outcome {
    for transport in t.transports() {
        for said in [json!(false), json!("true"), json!(1), json!(null), json!([true])] {
            is_plain(&t, t.opening(transport), json!({"ack": said})).await?;
        }
        is_plain(&t, t.opening(transport), json!({})).await?;
        is_plain(&t, t.opening(transport), json!({"__proto__": {"ack": true}, "Ack": true, "auth": {"ack": true}}))
            .await?;
        is_plain(&t, t.opening(transport).query("ack", "true").header("ack", "true"), json!({})).await?;
    }
    Ok(())
}

async fn says_again(t: Bench, transport: Transport) -> Outcome {
    let mut device = connect(&t, &t.user().await?, t.opening(transport), false).await?;
    for ack in [true, false, true] {
        // Another user each time: what was acknowledged may be removed a moment later, and come again until then.
        let user = t.user().await?;
        leave(&mut device).await?;
        attempt(&mut device, json!({"token": t.token(&user).await?, "ack": ack})).await?;
        device.expect_accepted().await?;
        t.emit_numbered(&user, 1, 1).await?;
        let delivery = device.expect_delivery("record.accessed").await?;
        let told = format!("an event that asks for an acknowledgement: {ack}");
        expect::that(delivery.ack.is_some() == ack, told, format!("{:?}", delivery.ack))?;
        if ack {
            device.acknowledge(&delivery, vec![]).await?;
            settle(&mut device).await?;
        }
    }
    Ok(())
}

/// Who says this beside the token is a plain client.
async fn is_plain(t: &Bench, opening: Opening, mut auth: Value) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 1).await?;
    let said = auth.to_string();
    auth["token"] = json!(t.token(&alice).await?);
    let mut device = t.attempt_raw(opening, Some(auth)).await?;
    device.expect_accepted().await?;
    let queued = device.expect_delivery("queued.events").await?;
    t.emit_numbered(&alice, 2, 2).await?;
    let live = device.expect_delivery("record.accessed").await?;
    for delivery in [queued, live] {
        let plain = delivery.ack.is_none() && delivery.args.len() == 1;
        let told = format!("{said}, the acknowledgement id {:?}, {} arguments", delivery.ack, delivery.args.len());
        expect::that(plain, "one argument, and no acknowledgement asked for", told)?;
    }
    device.disconnect().await;
    Ok(())
}

async fn again(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = join(&t, &alice).await?;
    t.emit_numbered(&alice, 1, 3).await?;
    for n in 1..=3 {
        live_event(&mut device, n).await?;
    }
    device.disconnect().await;
    queue(&mut join(&t, &alice).await?, 1..=3).await.map(drop)
}

async fn queued_again(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 4).await?;
    for _ in 0..3 {
        let mut device = join(&t, &alice).await?;
        queue(&mut device, 1..=4).await?;
        device.disconnect().await;
    }
    Ok(())
}

/// Live or from its queue, the first has it, stays, and says nothing.
async fn second_device(t: Bench) -> Outcome {
    for queued in [false, true] {
        let alice = t.user().await?;
        if queued {
            t.emit_numbered(&alice, 1, 3).await?;
        }
        let mut first = join(&t, &alice).await?;
        if queued {
            queue(&mut first, 1..=3).await?;
        } else {
            t.emit_numbered(&alice, 1, 3).await?;
            for n in 1..=3 {
                live_event(&mut first, n).await?;
            }
        }
        let mut second = join(&t, &alice).await?;
        let missed = queue(&mut second, 1..=3).await?;
        second.acknowledge(&missed, vec![]).await?;
        settle(&mut second).await?;
        first.disconnect().await;
        second.disconnect().await;
        in_the_end(&t, &alice, &[]).await?;
    }
    Ok(())
}

/// It has some live, leaves the namespace and comes back; then what it acknowledges counts as before.
async fn comes_in_again(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let mut device = connect(&t, &alice, t.opening(transport), true).await?;
    t.emit_numbered(&alice, 1, 3).await?;
    for n in 1..=3 {
        live_event(&mut device, n).await?;
    }
    leave(&mut device).await?;
    attempt(&mut device, json!({"token": t.token(&alice).await?, "ack": true})).await?;
    device.expect_accepted().await?;
    let missed = queue(&mut device, 1..=3).await?;
    t.emit_numbered(&alice, 4, 5).await?;
    let live = live_event(&mut device, 4).await?;
    live_event(&mut device, 5).await?;
    for delivery in [missed, live] {
        device.acknowledge(&delivery, vec![]).await?;
    }
    settle(&mut device).await?;
    device.disconnect().await;
    in_the_end(&t, &alice, &[5]).await
}

async fn acknowledged(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 3).await?;
    let mut device = join(&t, &alice).await?;
    let missed = queue(&mut device, 1..=3).await?;
    device.acknowledge(&missed, vec![]).await?;
    t.emit_numbered(&alice, 4, 6).await?;
    for n in 4..=6 {
        let event = live_event(&mut device, n).await?;
        device.acknowledge(&event, vec![]).await?;
    }
    settle(&mut device).await?;
    device.disconnect().await;
    in_the_end(&t, &alice, &[]).await
}

async fn same_payload(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = join(&t, &alice).await?;
    t.emit(&t.numbered(&alice, 1).of("access.revoked")).await?;
    let first = device.expect_delivery("access.revoked").await?;
    device.disconnect().await;
    for _ in 0..2 {
        let mut device = join(&t, &alice).await?;
        let again = queue(&mut device, [1]).await?;
        expect::equal("the payload", &first.args[0], &again.args[0][0])?;
        device.disconnect().await;
    }
    Ok(())
}

async fn order(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 2).await?;
    let mut device = join(&t, &alice).await?;
    queue(&mut device, 1..=2).await?;
    t.emit_numbered(&alice, 3, 5).await?;
    for n in 3..=5 {
        live_event(&mut device, n).await?;
    }
    device.disconnect().await;
    t.emit_numbered(&alice, 6, 8).await?;
    let mut device = join(&t, &alice).await?;
    queue(&mut device, 1..=8).await?;
    t.emit_numbered(&alice, 9, 9).await?;
    live_event(&mut device, 9).await.map(drop)
}

async fn only_that(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let device = join(&t, &alice).await?;
    t.emit_numbered(&alice, 1, 5).await?;
    two_of_five(&t, &alice, device).await
}

async fn only_that_of_a_batch(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let device = join(&t, &alice).await?;
    let events = (1..=5).map(|n| body_for(&alice, n)).collect();
    t.control("POST", "/events/batch", &Value::Array(events)).await?.expect_status(202)?;
    two_of_five(&t, &alice, device).await
}

/// Of five events the second and the fourth are acknowledged, and the others come again.
async fn two_of_five(t: &Bench, user: &User, mut device: Client) -> Outcome {
    for n in 1..=5 {
        let event = live_event(&mut device, n).await?;
        if n == 2 || n == 4 {
            device.acknowledge(&event, vec![]).await?;
        }
    }
    settle(&mut device).await?;
    device.disconnect().await;
    in_the_end(t, user, &[1, 3, 5]).await
}

async fn not_the_queue(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 2).await?;
    let mut device = join(&t, &alice).await?;
    queue(&mut device, 1..=2).await?;
    t.emit_numbered(&alice, 3, 4).await?;
    live_event(&mut device, 3).await?;
    let last = live_event(&mut device, 4).await?;
    device.acknowledge(&last, vec![]).await?;
    settle(&mut device).await?;
    device.disconnect().await;
    in_the_end(&t, &alice, &[1, 2, 3]).await
}

/// Of what came by polling one counts as acknowledged over WebSocket, and the other is waited for.
async fn then_upgraded(t: Bench) -> Outcome {
    let t = t.own_server(&[("ack_timeout_seconds", "3")]).await?;
    let alice = t.user().await?;
    let mut device = connect(&t, &alice, t.opening(Transport::Polling), true).await?;
    t.emit_numbered(&alice, 1, 2).await?;
    let first = live_event(&mut device, 1).await?;
    live_event(&mut device, 2).await?;
    upgrade(&mut device).await?;
    device.acknowledge(&first, vec![]).await?;
    settle(&mut device).await?;
    device.expect_closed(CLOSED_BY).await?;
    in_the_end(&t, &alice, &[2]).await
}

async fn in_time(t: Bench) -> Outcome {
    const WITHIN: Duration = Duration::from_secs(4);
    let t = t.own_server(&[("ack_timeout_seconds", "6")]).await?;
    let alice = t.user().await?;
    let mut device = join(&t, &alice).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    let event = live_event(&mut device, 1).await?;
    device.expect_silence(WITHIN).await?;
    device.acknowledge(&event, vec![]).await?;
    settle(&mut device).await
}

async fn by_default(t: Bench) -> Outcome {
    const BEFORE: Duration = Duration::from_secs(8);
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let mut device = join(&t, &alice).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    live_event(&mut device, 1).await?;
    device.expect_silence(BEFORE).await?;
    device.expect_closed(CLOSED_BY).await
}

/// Another user comes in on the connection, which is not closed for what the first has left.
async fn left_owing(t: Bench, transport: Transport) -> Outcome {
    let t = t.own_server(&[("ack_timeout_seconds", SHORT)]).await?;
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut device = connect(&t, &alice, t.opening(transport), true).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    live_event(&mut device, 1).await?;
    leave(&mut device).await?;
    come_in(&t, &mut device, &bob).await?;
    device.expect_silence(CLOSED_BY / 2).await?;
    t.emit_numbered(&bob, 2, 2).await?;
    receives(&mut device, [2]).await?;
    queue(&mut join(&t, &alice).await?, [1]).await.map(drop)
}

/// It has something to acknowledge all the time, and does, but for the first.
async fn leaves_one(t: Bench) -> Outcome {
    const EVERY: Duration = Duration::from_millis(400);
    let t = t.own_server(&[("ack_timeout_seconds", SHORT)]).await?;
    let alice = t.user().await?;
    let mut device = join(&t, &alice).await?;
    let (began, mut pace) = (tokio::time::Instant::now(), tokio::time::interval(EVERY));
    for n in 1.. {
        pace.tick().await;
        expect::that(began.elapsed() < CLOSED_BY, format!("it closed within {CLOSED_BY:?}"), "it is still open")?;
        t.emit_numbered(&alice, n, n).await?;
        match device.next(EVERY).await {
            Some(Arrival::Event { args, ack, .. }) if n > 1 => {
                // It may be closed by now, which the next look tells.
                let _ = device.acknowledge(&Delivery { args, ack }, vec![]).await;
            }
            Some(Arrival::Closed(_)) => break,
            _ => {}
        }
    }
    Ok(())
}

/// Of several events, which go in one packet.
async fn queue_unacknowledged(t: Bench) -> Outcome {
    let t = t.own_server(&[("ack_timeout_seconds", SHORT)]).await?;
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 2).await?;
    let mut device = join(&t, &alice).await?;
    device.expect_delivery("queued.events").await?;
    device.expect_closed(CLOSED_BY).await?;
    in_the_end(&t, &alice, &[1, 2]).await
}

async fn timeout(t: Bench, transport: Transport) -> Outcome {
    let t = t.own_server(&[("ack_timeout_seconds", SHORT)]).await?;
    let alice = t.user().await?;
    let mut device = connect(&t, &alice, t.opening(transport), true).await?;
    t.emit_numbered(&alice, 1, 2).await?;
    let first = live_event(&mut device, 1).await?;
    live_event(&mut device, 2).await?;
    device.acknowledge(&first, vec![]).await?;
    device.expect_closed(CLOSED_BY).await?;
    t.emit_numbered(&alice, 3, 3).await?;
    in_the_end(&t, &alice, &[2, 3]).await
}

async fn half_open(t: Bench) -> Outcome {
    let t = t.own_server(&[("ack_timeout_seconds", SHORT)]).await?;
    let alice = t.user().await?;
    let line = t.line().await?;
    let _device = connect(&t, &alice, t.opening_over(&line, Transport::WebSocket), true).await?;
    line.black_hole();
    t.emit_numbered(&alice, 1, 3).await?;
    let last = t.emit_until_away(&alice, 4, CLOSED_BY).await?;
    queue(&mut join(&t, &alice).await?, 1..=last).await.map(drop)
}

async fn kill(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let mut device = join(&t, &alice).await?;
    t.emit_numbered(&alice, 1, 10).await?;
    for n in 1..=10 {
        let event = live_event(&mut device, n).await?;
        if n <= 4 {
            device.acknowledge(&event, vec![]).await?;
        }
    }
    settle(&mut device).await?;
    t.kill_and_restart().await?;
    let mut device = join(&t, &alice).await?;
    let again = device.expect_delivery("queued.events").await?;
    let found = numbers(payloads("queued.events", &again.args));
    // What was acknowledged just before may come again, as a duplicate; what was not must.
    expect::that(
        found.ends_with(&[5, 6, 7, 8, 9, 10]) && found.is_sorted(),
        "5 … 10 at the end, in order",
        format!("{found:?}"),
    )
}

async fn complete(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 50).await?;
    let mut device = join(&t, &alice).await?;
    told(&queue(&mut device, 1..=50).await?, 0)
}

async fn dropped(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 57).await?;
    let mut device = join(&t, &alice).await?;
    told(&queue(&mut device, 8..=57).await?, 7)?;
    if !t.target().declares("control") {
        return Ok(());
    }
    let bob = t.user().await?;
    let batch: Value = (1..=400).map(|n| body_for(&bob, n)).collect();
    t.control("POST", "/events/batch", &batch).await?.expect_status(202)?;
    told(&queue(&mut join(&t, &bob).await?, 351..=400).await?, 350)
}

async fn damaged(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    if !damages_one_of_five(&t, &alice, Damage::Garbage).await? {
        return Err(none_was_damaged());
    }
    let mut device = join(&t, &alice).await?;
    let missed = device.expect_delivery("queued.events").await?;
    all_but_one(payloads("queued.events", &missed.args), Damage::Garbage)?;
    told(&missed, 1)?;
    device.acknowledge(&missed, vec![]).await?;
    settle(&mut device).await?;
    device.disconnect().await;
    in_the_end(&t, &alice, &[]).await?;
    t.emit_numbered(&alice, 6, 6).await?;
    told(&queue(&mut join(&t, &alice).await?, [6]).await?, 0)
}

async fn aged(t: Bench) -> Outcome {
    with_growing_ttl(t, async |t, ttl| {
        let alice = t.user().await?;
        t.emit_numbered(&alice, 1, 2).await?;
        let old = Instant::now();
        // The passing of time is what is tested here.
        sleep_until(old + ttl * 2 / 3).await;
        let young = Instant::now();
        t.emit_numbered(&alice, 3, 4).await?;
        sleep_until(old + ttl + Duration::from_millis(500)).await;
        let mut device = join(&t, &alice).await?;
        let missed = queue(&mut device, 3..=4).await;
        let told = missed.and_then(|missed| told(&missed, 2));
        Ok((young.elapsed() < ttl).then_some(told))
    })
    .await
}

/// To whom it was never told it is told, and that once.
async fn taken_by_plain(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut last = 0;
    for lost in [5, 0, 2] {
        let emitted = 50 + lost;
        t.emit_numbered(&alice, last + 1, last + emitted).await?;
        last += emitted;
        let mut plain = finds(&t, &alice, last - 49..=last).await?;
        leave(&mut plain).await?;
        plain.disconnect().await;
        last += 1;
        t.emit_numbered(&alice, last, last).await?;
        let mut device = join(&t, &alice).await?;
        let told_now = queue(&mut device, [last]).await?;
        told(&told_now, u64::try_from(lost).unwrap_or_default())?;
        device.acknowledge(&told_now, vec![]).await?;
        settle(&mut device).await?;
        device.disconnect().await;
    }
    Ok(())
}

async fn told_after_a_restart(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 53).await?;
    t.restart().await?;
    t.emit_numbered(&alice, 54, 55).await?;
    told(&queue(&mut join(&t, &alice).await?, 6..=55).await?, 5)
}

async fn told_to_two(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 60).await?;
    let (mut one, mut other) = (join(&t, &alice).await?, join(&t, &alice).await?);
    let mut missed = Vec::new();
    for device in [&mut one, &mut other] {
        missed.push(queue(device, 11..=60).await?);
    }
    // Nobody acknowledges this one, so that something is owed whatever is taken off.
    t.emit_numbered(&alice, 61, 61).await?;
    for (device, missed) in [&mut one, &mut other].into_iter().zip(&missed) {
        told(missed, 10)?;
        live_event(device, 61).await?;
        device.acknowledge(missed, vec![]).await?;
        settle(device).await?;
    }
    one.disconnect().await;
    other.disconnect().await;
    in_the_end(&t, &alice, &[61]).await?;
    t.emit_numbered(&alice, 62, 116).await?;
    told(&queue(&mut join(&t, &alice).await?, 67..=116).await?, 6)
}

async fn told_again(t: Bench) -> Outcome {
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 53).await?;
    let mut device = join(&t, &alice).await?;
    told(&queue(&mut device, 4..=53).await?, 3)?;
    device.disconnect().await;
    t.emit_numbered(&alice, 54, 55).await?;
    let mut device = join(&t, &alice).await?;
    let missed = queue(&mut device, 6..=55).await?;
    told(&missed, 5)?;
    device.acknowledge(&missed, vec![]).await?;
    settle(&mut device).await?;
    device.disconnect().await;
    in_the_end(&t, &alice, &[]).await?;
    t.emit_numbered(&alice, 56, 56).await?;
    let mut device = join(&t, &alice).await?;
    told(&queue(&mut device, [56]).await?, 0)
}

async fn all_expired(t: Bench) -> Outcome {
    let t = t.own_server(&[("queue_ttl_seconds", "1"), ("ack_timeout_seconds", SHORT)]).await?;
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 3).await?;
    // Time itself is what the case waits for.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let mut device = join(&t, &alice).await?;
    told(&queue(&mut device, []).await?, 3)?;
    device.expect_closed(CLOSED_BY).await?;
    let mut device = join(&t, &alice).await?;
    let loss = queue(&mut device, []).await?;
    told(&loss, 3)?;
    device.acknowledge(&loss, vec![]).await?;
    settle(&mut device).await?;
    device.disconnect().await;
    in_the_end(&t, &alice, &[]).await?;
    let mut device = join(&t, &alice).await?;
    t.emit_numbered(&alice, 4, 4).await?;
    live_event(&mut device, 4).await.map(drop)
}

async fn no_store(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let mut plain = t.connect_raw(&alice, Transport::WebSocket).await?;
    let mut device = join(&t, &alice).await?;
    t.redis_line()?.cut();
    t.control("POST", "/events", &body_for(&alice, 1)).await?.expect_status(503)?;
    device.expect_silence(QUIET).await?;
    t.redis_line()?.restore();
    t.emit_until_accepted(&alice, 2).await?;
    live_event(&mut device, 2).await?;
    // Nor has it come to a device that would never have been promised it.
    receives(&mut plain, [2]).await
}

async fn any_form(t: Bench) -> Outcome {
    for transport in t.transports() {
        let alice = t.user().await?;
        let mut device = connect(&t, &alice, t.opening(transport), true).await?;
        let forms = [vec![], vec![json!(null)], vec![json!("ok")], vec![json!({"ok": false}), json!([1, 2])]];
        for (n, form) in (1..).zip(forms) {
            t.emit_numbered(&alice, n, n).await?;
            let event = live_event(&mut device, n).await?;
            device.acknowledge(&event, form).await?;
        }
        t.emit_numbered(&alice, 5, 5).await?;
        let event = live_event(&mut device, 5).await?;
        device.acknowledge_with_bytes(&event).await?;
        settle(&mut device).await?;
        device.disconnect().await;
        in_the_end(&t, &alice, &[]).await?;
    }
    Ok(())
}

async fn any_device(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let (mut one, mut other) = (join(&t, &alice).await?, join(&t, &alice).await?);
    t.emit_numbered(&alice, 1, 3).await?;
    // Each of them acknowledges what the other does not.
    for (device, acknowledges) in [(&mut one, 1), (&mut other, 2)] {
        for n in 1..=3 {
            let event = live_event(device, n).await?;
            if n == acknowledges {
                device.acknowledge(&event, vec![]).await?;
            }
        }
        settle(device).await?;
    }
    one.disconnect().await;
    other.disconnect().await;
    in_the_end(&t, &alice, &[3]).await
}

async fn mixed(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut plain = t.connect_raw(&alice, Transport::WebSocket).await?;
    // What goes to several at once goes to those who do not acknowledge.
    let mut second = t.connect_raw(&alice, Transport::WebSocket).await?;
    let mut device = join(&t, &alice).await?;
    t.emit_numbered(&alice, 1, 3).await?;
    for n in 1..=3 {
        numbered(&[plain.expect_event("record.accessed").await?], [n])?;
        numbered(&[second.expect_event("record.accessed").await?], [n])?;
        live_event(&mut device, n).await?;
    }
    device.expect_silence(QUIET).await?;
    device.disconnect().await;
    let mut device = join(&t, &alice).await?;
    queue(&mut device, 1..=3).await?;
    t.emit_numbered(&alice, 4, 4).await?;
    numbered(&[plain.expect_event("record.accessed").await?], [4])
}

async fn batch(t: Bench) -> Outcome {
    const ALL: usize = 300;
    let alice = t.user().await?;
    let mut device = join(&t, &alice).await?;
    let events = (1..=ALL).map(|n| body_for(&alice, n)).collect();
    t.control("POST", "/events/batch", &Value::Array(events)).await?.expect_status(202)?;
    for n in 1..=ALL {
        let event = live_event(&mut device, n).await?;
        device.acknowledge(&event, vec![]).await?;
    }
    settle(&mut device).await?;
    device.disconnect().await;
    in_the_end(&t, &alice, &[]).await
}
