//! Asks a server that was started whether it is ready.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde_json::Value;
use tokio::time::{interval, timeout};

use crate::hook::{self, Call};

/// How often it is asked.
const POLL: Duration = Duration::from_millis(20);
/// How long one answer by HTTP may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a command may take: it has a program to start, which takes some seconds, and all on a busy machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// How a server is asked.
#[derive(Debug)]
pub enum Check {
    /// By GET, which is answered with 2xx.
    Url {
        /// Asks.
        http: reqwest::Client,
        /// Whom.
        url: String,
    },
    /// By a command, which ends with 0.
    Command {
        /// The program and its arguments.
        words: Vec<String>,
        /// The folder that it runs in.
        directory: PathBuf,
        /// What it reads.
        input: Value,
    },
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, .. } => write!(f, "GET {url}"),
            Self::Command { words, .. } => write!(f, "{}", words.first().map_or("the command", String::as_str)),
        }
    }
}

impl Check {
    /// Returns when the server is ready; leaves in `last` how it was answered before.
    pub async fn passes(&self, last: &mut String) {
        let mut poll = interval(POLL);
        loop {
            poll.tick().await;
            match self.once().await {
                Ok(()) => return,
                Err(why) => *last = why,
            }
        }
    }

    /// Asks once.
    ///
    /// # Errors
    /// How it was answered instead.
    pub async fn once(&self) -> Result<(), String> {
        match self {
            Self::Url { http, url } => match timeout(ANSWER_LIMIT, http.get(url).send()).await {
                Ok(Ok(response)) if response.status().is_success() => Ok(()),
                Ok(Ok(response)) => Err(response.status().to_string()),
                Ok(Err(_)) => Err("no connection".to_owned()),
                Err(_) => Err(format!("no answer within {ANSWER_LIMIT:?}")),
            },
            Self::Command { words, directory, input } => {
                let call = Call { command: words, directory, env: &BTreeMap::new(), input, within: COMMAND_LIMIT };
                hook::run(call).await.map(drop).map_err(|error| error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn a_command_that_takes_its_time_to_start_is_waited_for() {
        let words = ["sh", "-c", "sleep 2.5"].map(str::to_owned).to_vec();
        let check = Check::Command { words, directory: Path::new(".").to_owned(), input: Value::Null };
        assert_eq!(check.once().await, Ok(()));
    }
}
