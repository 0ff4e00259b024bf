//! The users of a run: their ids, sessions and tokens. Knows nothing of what is sent to them.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use notify_conformance::template::Values;
use serde_json::{Value, json};
use thiserror::Error;

use crate::{
    ground::Ground,
    http::{self, Http, HttpError},
};

/// How many sessions are made at a time.
const AT_ONCE: usize = 16;
/// How long a token lives; longer than any run but a soak, whose connections the server may then close.
const LIFETIME_S: i64 = 24 * 3_600;

/// Users with a session and a token each.
#[derive(Debug)]
pub struct People {
    nonce: u32,
    tokens: Vec<String>,
}

/// Why there are no users.
#[derive(Debug, Error)]
pub enum PeopleError {
    /// The server does not answer.
    #[error("a session cannot be made: {0}")]
    Http(#[from] HttpError),
    /// The server refuses.
    #[error("a session cannot be made: the server answers {0}")]
    Refused(u16),
    /// The key does not sign.
    #[error(transparent)]
    Sign(#[from] notify_conformance::token::SignError),
    /// The target file.
    #[error("the target file's [sessions]: {0}")]
    Placeholder(#[from] notify_conformance::template::UnknownPlaceholder),
}

impl People {
    /// Makes `count` users; `nonce` keeps them apart from those of other runs.
    ///
    /// # Errors
    /// Where the server makes no session, or the key does not sign.
    pub async fn make(ground: &Ground, count: usize, nonce: u32) -> Result<Arc<Self>, PeopleError> {
        let now = notify_conformance::token::now();
        let mut tokens = Vec::with_capacity(count);
        for index in 0..count {
            let claims = json!({
                "userId": id(nonce, index),
                "sessionId": session(nonce, index),
                "iat": now,
                "exp": now + LIFETIME_S,
            });
            tokens.push(ground.signer.claims(&claims).await?);
        }
        let share = count.div_ceil(AT_ONCE).max(1);
        let shares = (0..count).step_by(share).map(|first| sessions(ground, nonce, first..count.min(first + share)));
        stream::iter(shares).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(Arc::new(Self { nonce, tokens }))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.tokens.len()
    }

    /// The id of a user.
    pub fn id(&self, user: u32) -> String {
        id(self.nonce, user as usize)
    }

    /// The token of a user.
    pub fn token(&self, user: u32) -> &str {
        &self.tokens[user as usize]
    }
}

async fn sessions(ground: &Ground, nonce: u32, indices: std::ops::Range<usize>) -> Result<(), PeopleError> {
    let Some(create) = &ground.create_session else { return Ok(()) };
    let mut http = Http::new(ground.address.clone());
    for index in indices {
        let values = ground.target.values();
        let values: Values = values.with("session_id", session(nonce, index)).with("user_id", id(nonce, index));
        let body = values.json(create.body.as_ref().unwrap_or(&Value::Null))?.to_string();
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        for (name, value) in &create.headers {
            headers.push((name.clone(), values.text(value)?));
        }
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let path = values.text(&create.path)?;
        let request = http::request(&create.method, &path, &ground.address, headers, body.as_bytes());
        let status = http.exchange(&request).await?.status;
        if !create.status.contains(&status) {
            return Err(PeopleError::Refused(status));
        }
    }
    Ok(())
}

fn id(nonce: u32, index: usize) -> String {
    format!("load-{nonce:08x}-{index}")
}

fn session(nonce: u32, index: usize) -> String {
    format!("load-{nonce:08x}-{index}-session")
}
