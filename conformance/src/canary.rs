//! Canaries: for each capability one quick look at whether the target has it at all. A declaration that is wrong is then told as
//! such, and not as a dozen failed cases.

use serde_json::{Value, json};

use crate::{
    bench::{Bench, User},
    client::Transport,
    expect::{self, Outcome},
};

const POLL: &str = "/socket.io/?EIO=4&transport=polling";

/// Looks whether the target has `capability`; `None` where no quick look can tell. `payload` is an event that was delivered.
pub async fn sing(t: &Bench, capability: &str, payload: &Value) -> Option<Outcome> {
    Some(match capability {
        "polling" => polling(t).await,
        "sessions" => sessions(t).await,
        "origins" => origins(t).await,
        "event-id" => {
            let id = &payload["eventId"];
            expect::that(id.is_string(), "an eventId in the payload", id.to_string())
        }
        "control" => control(t).await,
        "redis" => redis(t).await,
        _ => return None,
    })
}

async fn polling(t: &Bench) -> Outcome {
    let answer = t.http("GET", POLL, &[], None::<String>).await?;
    let opens = answer.status == 200 && answer.body.starts_with("0{");
    expect::that(opens, format!("GET {POLL} answered with 200 and an open packet"), answer.describe())
}

async fn sessions(t: &Bench) -> Outcome {
    let user = User { session: t.session_id(), ..t.user().await? };
    let token = t.token(&user).await?;
    let mut client = t.attempt_raw(t.opening(Transport::WebSocket), Some(json!({"token": token}))).await?;
    client.expect_refused().await.map(drop)
}

async fn origins(t: &Bench) -> Outcome {
    let listed = t.target().origins.listed.first().cloned().unwrap_or_default();
    let answer = t.http("GET", POLL, &[("origin", &listed)], None::<String>).await?;
    let allowed = answer.header("access-control-allow-origin");
    let was_told = format!("Access-Control-Allow-Origin: {listed} (was the server told to allow it?)");
    expect::that(allowed == Some(listed.as_str()), was_told, format!("{allowed:?}"))
}

async fn control(t: &Bench) -> Outcome {
    // Refused for its emptiness, and not for the credential.
    let answer = t.control("POST", "/events/batch", &json!([])).await?;
    answer.expect_status(400)
}

async fn redis(t: &Bench) -> Outcome {
    t.emit(&t.event_for(&t.user().await?)).await?;
    let unread = |error: &dyn std::fmt::Display| expect::inconclusive(format!("the database cannot be read: {error}"));
    let mut view = t.database()?.view().await.map_err(|error| unread(&error))?;
    let keys = view.keys().await.map_err(|error| unread(&error))?;
    expect::that(!keys.is_empty(), "keys in the database that the server was given", "none")
}
