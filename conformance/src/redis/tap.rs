//! Reads along between a server under test and its Redis, and writes commands and answers to the transcripts of those whom
//! they concern. Knows nothing of what the commands mean.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use memchr::memmem::Finder;

use super::resp::{Decoder, Resp};
use crate::{proxy::ReadAlong, transcript::Transcript};

/// Hears what passes one server's proxy.
#[derive(Debug, Clone, Default)]
pub struct Tap(Arc<Mutex<Vec<Arc<Listener>>>>);

#[derive(Debug)]
struct Listener {
    transcript: Transcript,
    /// `None` where everything is of interest. Each command of a server is searched for the names of all its cases.
    names: Option<Mutex<Vec<Finder<'static>>>>,
}

/// Ends with this.
#[derive(Debug)]
pub struct Listening {
    tap: Tap,
    listener: Arc<Listener>,
}

impl Tap {
    /// Writes everything to `transcript`: for a server that one case has for itself.
    pub fn listen(&self, transcript: &Transcript) -> Listening {
        self.add(Listener { transcript: transcript.clone(), names: None })
    }

    /// Writes to `transcript` what mentions a name of [`Listening::mention`]: for a server that cases share.
    pub fn listen_for_names(&self, transcript: &Transcript) -> Listening {
        self.add(Listener { transcript: transcript.clone(), names: Some(Mutex::default()) })
    }

    /// What the proxy calls for each new connection.
    pub fn connection(&self) -> Box<dyn ReadAlong> {
        Box::new(Connection {
            tap: self.clone(),
            commands: Decoder::default(),
            answers: Decoder::default(),
            asked: VecDeque::new(),
        })
    }

    fn add(&self, listener: Listener) -> Listening {
        let listener = Arc::new(listener);
        lock(&self.0).push(Arc::clone(&listener));
        Listening { tap: self.clone(), listener }
    }

    fn concerned(&self, text: &str) -> Vec<Arc<Listener>> {
        lock(&self.0).iter().filter(|listener| listener.wants(text)).cloned().collect()
    }
}

impl Listener {
    fn wants(&self, text: &str) -> bool {
        self.names.as_ref().is_none_or(|names| lock(names).iter().any(|name| name.find(text.as_bytes()).is_some()))
    }
}

impl Listening {
    /// From now on, what mentions `name` is of interest.
    pub fn mention(&self, name: &str) {
        if let Some(names) = &self.listener.names {
            lock(names).push(Finder::new(name).into_owned());
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        lock(&self.tap.0).retain(|listener| !Arc::ptr_eq(listener, &self.listener));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    tap: Tap,
    commands: Decoder,
    answers: Decoder,
    /// Who heard each command that is yet to be answered: Redis answers in order.
    asked: VecDeque<Vec<Arc<Listener>>>,
}

impl ReadAlong for Connection {
    fn forth(&mut self, bytes: &[u8]) {
        for command in self.commands.feed(bytes) {
            let text = command.as_command();
            let concerned = self.tap.concerned(&text);
            concerned.iter().for_each(|listener| listener.transcript.received("redis", &text));
            self.asked.push_back(concerned);
        }
    }

    fn back(&mut self, bytes: &[u8]) {
        for answer in self.answers.feed(bytes) {
            let text = answer.to_string();
            let concerned = match answer {
                Resp::Push(_) => self.tap.concerned(&text),
                _ => self.asked.pop_front().unwrap_or_default(),
            };
            concerned.iter().for_each(|listener| listener.transcript.sent("redis", &text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(transcript: &Transcript) -> Vec<String> {
        transcript.lines().iter().map(|line| format!("{} {}", line.direction, line.text)).collect()
    }

    #[test]
    fn each_hears_what_mentions_its_names_and_the_answers_to_that() {
        let (alice, bob, all) = (Transcript::default(), Transcript::default(), Transcript::default());
        let tap = Tap::default();
        let of_alice = tap.listen_for_names(&alice);
        let _of_bob = tap.listen_for_names(&bob);
        let _of_all = tap.listen(&all);
        of_alice.mention("alice");
        let mut connection = tap.connection();
        connection.forth(b"*2\r\n$3\r\nGET\r\n$7\r\nq:alice\r\n*1\r\n$4\r\nPING\r\n");
        connection.back(b"$-1\r\n+PONG\r\n");
        assert_eq!(lines(&alice), ["← GET q:alice", "→ nil"]);
        assert!(lines(&bob).is_empty());
        assert_eq!(lines(&all), ["← GET q:alice", "← PING", "→ nil", "→ PONG"]);
    }

    #[test]
    fn who_has_gone_hears_nothing_more() {
        let transcript = Transcript::default();
        let tap = Tap::default();
        drop(tap.listen(&transcript));
        tap.connection().forth(b"*1\r\n$4\r\nPING\r\n");
        assert!(lines(&transcript).is_empty());
    }
}
