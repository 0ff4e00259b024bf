//! `doctor`: goes the way of a run step by step and says in words what is wrong.

use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    bench::Bench,
    event::RunEvent,
    exit,
    expect::Outcome,
    ground::{self, Options},
};

/// Examines target file, Redis, server and the way of one event.
pub(super) async fn examine(options: &Options) -> u8 {
    let (events, mut inbox) = mpsc::unbounded_channel();
    let suite = ground::prepare(options, &events).await;
    drop(events);
    while let Some(event) = inbox.recv().await {
        match event {
            RunEvent::Ready(part, what, _) => println!("  ok    {part}: {what}"),
            RunEvent::Remark(remark) => println!("  note  {remark}"),
            _ => {}
        }
    }
    let suite = match suite {
        Ok(suite) => suite,
        Err(error) => {
            println!("  BAD   {error}");
            return exit::NO_VERDICT;
        }
    };
    let bench = Bench::new(suite.clone(), "doctor", 1);
    let sound = walk(&bench).await;
    bench.finish().await;
    ground::clear(suite).await;
    if sound { exit::CONFORMANT } else { exit::NO_VERDICT }
}

async fn walk(bench: &Bench) -> bool {
    let Some(user) = step("a session is made", "see [sessions.create]", bench.user().await) else { return false };
    if step("a token is signed", "see [jwt]", bench.token(&user).await).is_none() {
        return false;
    }
    let Some(mut client) =
        step("a client connects", "does the server verify with the key of [jwt]?", bench.connect(&user).await)
    else {
        return false;
    };
    let event = bench.event_for(&user);
    if step("an event is emitted", "see [emit]", bench.emit(&event).await).is_none() {
        return false;
    }
    let arrived = client.expect_event("record.accessed").await;
    let Some(payload) = step("it arrives", "is metadata.targetUserId the recipient?", arrived) else { return false };
    let same = payload["resourceId"] == json!(event.resource_id);
    println!("  {}    it is the one that was emitted", if same { "ok " } else { "BAD" });
    client.disconnect().await;
    same
}

fn step<T>(what: &str, hint: &str, outcome: Outcome<T>) -> Option<T> {
    match outcome {
        Ok(value) => {
            println!("  ok    {what}");
            Some(value)
        }
        Err(fault) => {
            println!("  BAD   {what}: {fault}\n        {hint}");
            None
        }
    }
}
