//! The first look of a `run` at a server that runs already: nobody has given it the secrets of the target file, so whether they are
//! its own is said once, and not by each case. Runs no case, and judges nothing that SPEC.md speaks of.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    bench::{Bench, Suite},
    client::Transport,
    event::RunEvent,
    expect::Outcome,
};

const WHOSE: &str = "under [secrets] of the target file, and in the environment, belongs what the server was started with; for a \
                     server that is named by its URL alone `notify-conformance init --output my.toml` writes a file";

/// Looks whether the server takes the credential and the key of its target file.
///
/// # Errors
/// Where it refuses the credential, without which there is nothing to be seen.
pub(super) async fn look(suite: &Arc<Suite>, events: &UnboundedSender<RunEvent>) -> Result<(), String> {
    if suite.target.process.is_some() {
        return Ok(());
    }
    let bench = Bench::new(Arc::clone(suite), "trial", 1);
    let outcome = knocks(&bench, events).await;
    bench.finish().await;
    outcome
}

async fn knocks(t: &Bench, events: &UnboundedSender<RunEvent>) -> Result<(), String> {
    if let Some((hook, status)) = t.refuses_credential().await {
        return Err(format!("the server answers [{hook}] with {status}: the credential there is not its own; {WHOSE}"));
    }
    // A server that refuses right tokens gets its verdict; whose fault it is, it cannot say.
    if let Err(fault) = connects(t).await {
        let said = t.transcript().redact(&fault.to_string());
        let remark = format!(
            "a client with a token by [jwt] does not get in ({said}); if the key there is not the server's: {WHOSE}"
        );
        let _ = events.send(RunEvent::Remark(remark));
    }
    Ok(())
}

async fn connects(t: &Bench) -> Outcome {
    t.connect_raw(&t.user().await?, Transport::WebSocket).await?.disconnect().await;
    Ok(())
}
