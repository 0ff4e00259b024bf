//! `doctor`: goes the way of a run step by step and says in words what is wrong and where to look.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::interrupt::Interrupt;
use crate::{
    bench::{Bench, Suite},
    canary,
    client::{Client, Transport},
    event::RunEvent,
    exit,
    expect::{self, Outcome},
    ground::{self, GroundError, Options},
    target::Target,
    text::shorten,
};

/// The longest text of one line of what was said, in bytes.
const LINE: usize = 300;

const CREDENTIAL: &str = "the credential that is sent, by `headers` or by [control], is not the server's: under [secrets], and in the \
                          environment, belongs what the server was started with";

/// Examines target file, Redis, server, the way of one event, and what the target declares.
pub(super) async fn examine(options: &Options) -> u8 {
    let mut interrupt = match Interrupt::listen() {
        Ok(interrupt) => interrupt,
        Err(error) => return gave_up(&error, "the machine does not let the suite hear of signals"),
    };
    let target = match ground::read_target(options.target.as_deref()) {
        Ok(target) => target,
        Err(error) => return gave_up(&error, hint(&error)),
    };
    told("ok", "the target file is right");
    let suite = tokio::select! {
        suite = prepared(options) => suite,
        () = interrupt.came() => return gave_up(&"interrupted", "what was started has been ended again"),
    };
    let suite = match suite {
        Ok(suite) => suite,
        Err(error) => return gave_up(&error, hint(&error)),
    };
    let sound = tokio::select! {
        sound = consult(&suite, &target) => sound,
        () = interrupt.came() => {
            told("BAD", "interrupted");
            false
        }
    };
    ground::clear(suite).await;
    if !sound {
        return exit::NO_VERDICT;
    }
    told("ok", "everything that was started is ended");
    println!("  All is well. Next: notify-conformance run{}", again(options));
    exit::CONFORMANT
}

/// Makes the ground ready, and tells of each part when it is.
async fn prepared(options: &Options) -> Result<Arc<Suite>, GroundError> {
    let (events, mut inbox) = mpsc::unbounded_channel();
    let telling = async {
        while let Some(event) = inbox.recv().await {
            match event {
                RunEvent::Ready(part, what, _) => told("ok", &format!("{part}: {what}")),
                RunEvent::Busy(part, what) => told("…", &format!("{part}: {what}")),
                RunEvent::Remark(remark) => told("note", &remark),
                _ => {}
            }
        }
    };
    let preparing = async move { ground::prepare(options, &events).await };
    tokio::join!(preparing, telling).0
}

async fn consult(suite: &Arc<Suite>, target: &Target) -> bool {
    let bench = Bench::new(Arc::clone(suite), "doctor", 1);
    let sound = match live(&bench).await {
        Some(payload) => queued(&bench).await.is_some() && capabilities(&bench, target, &payload).await,
        None => false,
    };
    if !sound {
        println!("  What was said, on one time line:");
        bench.quote_servers();
        for line in bench.transcript().lines() {
            let (at_ms, text) = (line.at_us / 1_000, shorten(&line.text, LINE));
            println!("        +{}.{:03} {:<5} {} {text}", at_ms / 1_000, at_ms % 1_000, line.channel, line.direction);
        }
    }
    bench.finish().await;
    sound
}

/// An event reaches a user who is there; returns its payload.
async fn live(t: &Bench) -> Option<Value> {
    let made = if t.target().sessions.is_some() { "a session is made" } else { "a user is thought of (no sessions)" };
    let user = t.user().await;
    let unmade = by_credential(&user, "see [sessions.create]: what it sends, and which status confirms it");
    let user = step(t, made, unmade, user)?;
    step(t, "a token is signed", "see [jwt]", t.token(&user).await)?;
    let refused = "does the server verify with the key and the algorithm of [jwt]? Does it serve Socket.IO at /socket.io/, \
                   namespace /notifications? Its log may say more";
    let connected = t.connect_raw(&user, Transport::WebSocket).await;
    let no_session = "the server wants a session for the token: declare \"sessions\", and fill in [sessions.create]";
    let refused = match &connected {
        Err(fault) if fault.to_string().contains("session_invalid") => no_session,
        _ => refused,
    };
    let mut client: Client = step(t, "a client connects with it", refused, connected)?;
    let event = t.event_for(&user);
    let emitted = t.emit(&event).await;
    let unemitted = by_credential(&emitted, "see [emit]: what it sends, and which status confirms it");
    step(t, "an event is emitted", unemitted, emitted)?;
    let lost = "the recipient is metadata.targetUserId; does [emit.body] pass the metadata on? Is a client in its user's room by the \
                time that its CONNECT is answered, and not only once something else was waited for?";
    let arrived = client.expect_event("record.accessed").await;
    let same = arrived.and_then(|payload| {
        expect::equal("resourceId", &json!(event.resource_id), &payload["resourceId"]).map(|()| payload)
    });
    let payload = step(t, "the client receives it", lost, same)?;
    client.disconnect().await;
    Some(payload)
}

/// An event waits for a user who is not there.
async fn queued(t: &Bench) -> Option<()> {
    let waits = async {
        let user = t.user().await?;
        t.emit(&t.event_for(&user)).await?;
        let mut client = t.connect_raw(&user, Transport::WebSocket).await?;
        let queued = client.expect_queued().await?;
        client.disconnect().await;
        expect::that(queued.len() == 1, "one queued event", queued.len().to_string())
    };
    let outcome = waits.await;
    let early = says(&outcome, &["the CONNECT accepted, actual the event queued.events"]);
    let hint = if early {
        "`queued.events` came before the answer to the CONNECT: send it once the client is in, and not from what lets it in (QUEUE-11)"
    } else {
        "SPEC.md, section 5: what nobody was there for is kept, and delivered as one `queued.events`"
    };
    step(t, "an event waits for a user who is away", hint, outcome)
}

async fn capabilities(t: &Bench, target: &Target, payload: &Value) -> bool {
    let mut sound = true;
    for capability in &target.capabilities {
        let Some(outcome) = canary::sing(t, capability, payload).await else {
            told("note", &format!("{capability}: declared; only a run can tell"));
            continue;
        };
        let missing = format!("take \"{capability}\" out of `capabilities`, or mend the server");
        let hint = by_credential(&outcome, &missing);
        sound &= step(t, &format!("{capability}: declared, and there"), hint, outcome).is_some();
    }
    // What needs nothing in the file but the word.
    for capability in ["polling", "event-id"].into_iter().filter(|name| !target.declares(name)) {
        if let Some(Ok(())) = canary::sing(t, capability, payload).await {
            told("note", &format!("{capability}: there, but not declared; its cases will not be run"));
        }
    }
    sound
}

/// Where a request was refused for who sent it, what it sends otherwise is not to be looked at.
fn by_credential<'a, T>(outcome: &Outcome<T>, otherwise: &'a str) -> &'a str {
    if says(outcome, &["actual HTTP 401", "actual HTTP 403"]) { CREDENTIAL } else { otherwise }
}

fn says<T>(outcome: &Outcome<T>, words: &[&str]) -> bool {
    let fault = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
    words.iter().any(|words| fault.contains(words))
}

fn step<T>(t: &Bench, what: &str, hint: &str, outcome: Outcome<T>) -> Option<T> {
    match outcome {
        Ok(value) => {
            told("ok", what);
            Some(value)
        }
        Err(fault) => {
            told("BAD", &format!("{what}: {}", t.transcript().redact(&fault.to_string())));
            println!("        {hint}");
            None
        }
    }
}

fn told(verdict: &str, what: &str) {
    println!("  {verdict:<5} {what}");
}

fn gave_up(error: &dyn std::fmt::Display, hint: &str) -> u8 {
    told("BAD", &error.to_string());
    println!("        {hint}");
    exit::NO_VERDICT
}

fn hint(error: &GroundError) -> &'static str {
    match error {
        GroundError::Target(_) => {
            "each line names the line and the key; fixtures/schema/target.schema.json is for editors"
        }
        GroundError::Sign(_) => "a key in a file is in PEM, and its path is relative to the target file",
        GroundError::Redis(_) => "`--redis` says where Redis comes from: container, local, or redis://HOST:PORT/DB",
        GroundError::Instance(_) => "try the commands of [process] by hand, in its `directory` and with its `env`",
        GroundError::Unreachable { .. } => "is the server running, and does it listen at the `url` of the target file?",
        GroundError::NoTarget => "`notify-conformance init --output my.toml` writes a target file to begin with",
    }
}

fn again(options: &Options) -> String {
    options.target.as_ref().map_or_else(String::new, |target| format!(" --target {target}"))
}
