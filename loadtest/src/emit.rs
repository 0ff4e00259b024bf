//! Events on their way to the server: request bodies written around marks, and what the answers mean. Knows nothing of when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use futures_util::future::BoxFuture;
use notify_conformance::template::{UnknownPlaceholder, Values};
use serde_json::{Value, json};
use thiserror::Error;

use crate::{
    attack::{Act, Deed, Hand},
    ground::Ground,
    http::{self, Address, Answer, Http},
    ledger::{Fate, Ledger},
    mark::{MEMBER, Mark},
    people::People,
    pick::Pick,
    receivers::Post,
};

/// What stands for the user's id, and for the mark, while the body is filled in; neither needs escaping.
const USER: &str = "@user@";
const MARK: &str = "@mark@";
/// Bytes of a delivered payload without the padding and the user's id, as the reference writes it.
const BARE_BYTES: usize = 230;

/// Emitting, as goose's users do it.
#[derive(Debug)]
pub struct Emitting {
    letters: Letters,
    post: Arc<Post>,
    pick: Pick,
    batch: usize,
    turn: AtomicU64,
}

impl Emitting {
    /// Requests with `batch` events each, for those that `pick` names.
    pub fn new(letters: Letters, post: Arc<Post>, pick: Pick, batch: usize) -> Arc<Self> {
        Arc::new(Self { letters, post, pick, batch, turn: AtomicU64::new(0) })
    }

    fn mark(&self, at_us: u64) -> Mark {
        self.post.ledger.send(self.pick.user(self.turn.fetch_add(1, Relaxed)), at_us)
    }
}

impl Deed for Emitting {
    fn name(&self) -> (&str, &str) {
        (&self.letters.method, &self.letters.path)
    }

    fn hand(self: Arc<Self>) -> Box<dyn Hand> {
        Box::new(Emitter { http: Http::new(self.letters.address.clone()), emitting: self, marks: Vec::new() })
    }
}

/// One of goose's users, with a connection of its own.
struct Emitter {
    emitting: Arc<Emitting>,
    http: Http,
    marks: Vec<Mark>,
}

impl Hand for Emitter {
    fn act(&mut self, intended: Instant) -> BoxFuture<'_, Act> {
        Box::pin(async move {
            let Self { emitting, http, marks } = self;
            let at_us = emitting.post.at_us(intended);
            marks.clear();
            marks.extend((0..emitting.batch).map(|_| emitting.mark(at_us)));
            let accepted = emitting.letters.send(http, marks, &emitting.post.ledger).await;
            Act { took: intended.elapsed(), succeeded: accepted == marks.len() }
        })
    }
}

/// Writes requests.
#[derive(Debug)]
pub struct Letters {
    address: Address,
    people: Arc<People>,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    status: Vec<u16>,
    /// The body of one event, cut at the placeholders.
    pieces: Vec<Piece>,
    is_batch: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    User,
    Mark,
}

/// Why no event can be written.
#[derive(Debug, Error)]
pub enum LetterError {
    /// The target file.
    #[error("the target file's [emit]: {0}")]
    Placeholder(#[from] UnknownPlaceholder),
    /// The body does not carry what load needs.
    #[error("the target file's [emit] sends no {{metadata}}; load recognises events by it")]
    NoMetadata,
    /// Batches are the control surface's.
    #[error("--batch needs a target that declares control: its [control] takes POST /events/batch")]
    NoBatch,
}

impl Letters {
    /// Requests with `batch` events each, of about `payload_bytes`.
    ///
    /// # Errors
    /// Where the target file does not say enough.
    pub fn new(ground: &Ground, people: Arc<People>, payload_bytes: usize, batch: usize) -> Result<Self, LetterError> {
        let emit = &ground.emit;
        let padding = payload_bytes.saturating_sub(BARE_BYTES + people.id(0).len());
        let metadata = json!({"targetUserId": USER, MEMBER: MARK, "pad": "x".repeat(padding)});
        let facts = ground.target.values();
        let facts: Values = facts.with("event_type", "record.accessed").with("actor_id", "load");
        let facts = facts.with("resource_id", "load").with("metadata", metadata);
        let is_batch = batch > 1;
        let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let (body, path) = if is_batch {
            let credential = ground.target.credential().ok_or(LetterError::NoBatch)??;
            headers.push(("authorization".to_owned(), format!("Bearer {credential}")));
            let body = json!({
                "eventType": "{event_type}",
                "actorId": "{actor_id}",
                "resourceId": "{resource_id}",
                "metadata": "{metadata}",
            });
            (body, "/events/batch".to_owned())
        } else {
            for (name, value) in &emit.headers {
                headers.push((name.clone(), facts.text(value)?));
            }
            (emit.body.clone().unwrap_or(Value::Null), facts.text(&emit.path)?)
        };
        let pieces = cut(&facts.json(&body)?.to_string());
        if !pieces.contains(&Piece::Mark) {
            return Err(LetterError::NoMetadata);
        }
        let (method, status) =
            if is_batch { ("POST".to_owned(), vec![202]) } else { (emit.method.clone(), emit.status.clone()) };
        Ok(Self { address: ground.address.clone(), people, method, path, headers, status, pieces, is_batch })
    }

    /// Sends an event for each mark in one request, and settles them; returns how many were accepted.
    async fn send(&self, http: &mut Http, marks: &[Mark], ledger: &Ledger) -> usize {
        let request = self.write(marks);
        let mut accepted = 0;
        match http.exchange(&request).await {
            Ok(answer) => {
                for (place, mark) in marks.iter().enumerate() {
                    let fate = self.fate(&answer, place);
                    accepted += usize::from(fate == Fate::Accepted);
                    ledger.settle(*mark, fate);
                }
            }
            Err(_) => marks.iter().for_each(|mark| ledger.settle(*mark, Fate::Unanswered)),
        }
        accepted
    }

    fn write(&self, marks: &[Mark]) -> Vec<u8> {
        let mut body = Vec::with_capacity(marks.len() * 512);
        if self.is_batch {
            body.push(b'[');
        }
        for (place, mark) in marks.iter().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            for piece in &self.pieces {
                match piece {
                    Piece::Text(text) => body.extend_from_slice(text.as_bytes()),
                    Piece::User => body.extend_from_slice(self.people.id(mark.user).as_bytes()),
                    Piece::Mark => mark.write(&mut body),
                }
            }
        }
        if self.is_batch {
            body.push(b']');
        }
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        http::request(&self.method, &self.path, &self.address, headers, &body)
    }

    /// A batch that failed half-way names those that were accepted before (SPEC 6).
    fn fate(&self, answer: &Answer, place: usize) -> Fate {
        if self.status.contains(&answer.status) {
            return Fate::Accepted;
        }
        let named = || {
            let problem: Value = serde_json::from_slice(&answer.body).ok()?;
            Some(problem.get("accepted")?.as_array()?.iter().any(|it| it["index"] == place))
        };
        if self.is_batch && named().unwrap_or(false) { Fate::Accepted } else { Fate::Refused }
    }
}

fn cut(body: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (place, before) in body.split(MARK).enumerate() {
        if place > 0 {
            pieces.push(Piece::Mark);
        }
        for (place, text) in before.split(USER).enumerate() {
            if place > 0 {
                pieces.push(Piece::User);
            }
            pieces.push(Piece::Text(text.to_owned()));
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_at_user_and_mark() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let expected = [text("{\"a\":\""), Piece::User, text("\",\"b\":\""), Piece::Mark, text("\"}")];
        assert_eq!(cut(r#"{"a":"@user@","b":"@mark@"}"#), expected);
    }
}
