//! What a server tells of itself: whether it is ready, and why it does not start.

use std::{collections::HashSet, path::Path, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    bench::Bench,
    expect::{self, Outcome, mismatch},
    instance::Changes,
};

/// How long a server that cannot start may take to say so.
const GIVES_UP: Duration = Duration::from_secs(10);
/// How often to look.
const POLL: Duration = Duration::from_millis(50);

/// `/readyz` is answered with this status by `deadline`.
pub(crate) async fn readiness(t: &Bench, status: u16, deadline: Instant) -> Outcome {
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        poll.tick().await;
        let answer = t.http("GET", "/readyz", &[], None::<String>).await?;
        let late = Instant::now() > deadline;
        if answer.status == status && !late {
            return Ok(());
        }
        if late {
            return Err(mismatch(format!("/readyz answered with {status} by then"), answer.describe()));
        }
    }
}

/// Whether the target file has this setting.
pub(crate) fn has_setting(t: &Bench, name: &str) -> bool {
    t.target().process.as_ref().is_some_and(|process| process.settings.contains_key(name))
}

/// Where a process listens for TCP connections, as Linux writes it: the address and the port in hexadecimal digits. Nowhere, where that is not told.
pub(crate) fn listens_at(process: u32) -> Vec<String> {
    const LISTENING: &str = "0A";
    let links = std::fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let own: HashSet<_> = links.filter_map(|link| std::fs::read_link(link.path()).ok()).collect();
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/{process}/net/{table}")));
    let tables = tables.into_iter().flatten().collect::<String>();
    let sockets = tables.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = sockets.filter(|it| it.len() > 9 && it[3] == LISTENING);
    let of_this = listening.filter(|it| own.contains(Path::new(&format!("socket:[{}]", it[9]))));
    of_this.map(|it| it[1].to_owned()).collect()
}

/// The server ends by itself, not with 0; returns what it said.
pub(crate) async fn gives_up(t: &Bench, changes: &Changes) -> Outcome<String> {
    let server = t.prepared_server(changes, None).await?;
    let status = server.server().boot_and_end(GIVES_UP).await;
    let status = status.map_err(|error| mismatch("a server that does not start", error.to_string()))?;
    expect::that(!status.success(), "an exit status that is not 0", status.to_string())?;
    // The last lines may still be on their way through the pipe.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    while server.server().output().is_empty() && tokio::time::Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    Ok(server.server().output())
}
