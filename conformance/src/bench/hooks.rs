//! Does to the target what its file says how to do: by a request, or by a command.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Bench, User, emission::session_facts};
use crate::{
    expect::{Outcome, inconclusive, mismatch},
    hook::{self, Call, HookError},
    target::{Hook, Request},
    template::{UnknownPlaceholder, Values},
    text::chain,
};

/// How long a server may be too busy for a request that is made again and again.
const BUSY_LIMIT: Duration = Duration::from_secs(30);
/// How long a command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(15);

impl Bench {
    /// Does `name`; its placeholders have the values in `facts`, an object.
    ///
    /// # Errors
    /// Where the target does not confirm it, or it cannot be done with this target.
    pub(super) async fn hook(&self, name: &str, hook: &Hook, facts: Value) -> Outcome {
        let values = self.values(&facts);
        match hook {
            Hook::Http(request) => self.confirmed(name, request, &values).await,
            Hook::Command(words) => self.command(name, words, &values, facts).await,
        }
    }

    fn values(&self, facts: &Value) -> Values {
        let mut values = self.target().values();
        for (fact, value) in facts.as_object().into_iter().flatten() {
            values.set(fact, value.clone());
        }
        values
    }

    /// The first hook by HTTP that is answered with 401 or 403, and the status. What it does is done for a user whom nobody has heard of.
    pub async fn refuses_credential(&self) -> Option<(&'static str, u16)> {
        let user = User { id: self.user_id(), session: self.session_id() };
        let target = self.target();
        let session = target.sessions.as_ref().map(|it| ("sessions.create", &it.create, session_facts(&user, None)));
        let event = ("emit", &target.emit, self.event_for(&user).facts());
        for (name, hook, facts) in session.into_iter().chain([event]) {
            let Hook::Http(request) = hook else { continue };
            match self.request(request, &self.values(&facts)).await {
                Ok(answer) if matches!(answer.status, 401 | 403) => return Some((name, answer.status)),
                _ => {}
            }
        }
        None
    }

    async fn confirmed(&self, name: &str, request: &Request, values: &Values) -> Outcome {
        let deadline = Instant::now() + BUSY_LIMIT;
        let answer = loop {
            let answer = self.request(request, values).await?;
            if request.status.contains(&answer.status) {
                return Ok(());
            }
            // EMIT-14.
            match answer.retry_after().filter(|_| answer.status == 429) {
                Some(pause) if Instant::now() + pause < deadline => sleep(pause).await,
                _ => break answer,
            }
        };
        Err(mismatch(format!("{name} confirmed by {:?}", request.status), answer.describe()))
    }

    async fn command(&self, name: &str, words: &[String], values: &Values, facts: Value) -> Outcome {
        let unfilled = |error: UnknownPlaceholder| inconclusive(format!("the target file: {error}"));
        let command: Vec<_> = words.iter().map(|word| values.text(word)).collect::<Result<_, _>>().map_err(unfilled)?;
        let mut input = json!({"hook": name, "url": self.base()});
        for (fact, value) in facts.as_object().into_iter().flatten() {
            input[fact] = value.clone();
        }
        self.transcript().sent("hook", input.to_string());
        let directory = &self.target().folder;
        let call = Call { command: &command, directory, env: &BTreeMap::new(), input: &input, within: COMMAND_LIMIT };
        let Err(error) = hook::run(call).await else {
            self.transcript().received("hook", "exit status: 0");
            return Ok(());
        };
        let what = chain(&error);
        self.transcript().received("hook", &what);
        Err(match error {
            HookError::Failed { .. } => mismatch(format!("{name} confirmed by exit status 0"), what),
            // Not of the target's doing, or not known to be.
            HookError::Start { .. } | HookError::Unsupported { .. } | HookError::TooSlow { .. } => {
                inconclusive(format!("{name}: {what}"))
            }
        })
    }
}
