//! What one case did and saw, on one clock; secrets are taken out as it is read.
//!
//! Every client, proxy and HTTP call of a case writes here; a failure prints it. Knows nothing of what the lines mean.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    redact::Secrets,
    text::{cut, shorten},
};

/// The longest text of one line that is kept, in bytes; what exceeds it is counted.
const LINE_LIMIT: usize = 4_096;
/// The most lines that one case keeps; the middle of a longer transcript is of no use to a reader.
const LINES_LIMIT: usize = 5_000;

/// One line of a transcript.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Time since the case began, in microseconds.
    pub at_us: u64,
    /// Who spoke: `http`, `ws`, `poll`, `lib`, `redis`, `hook`, `proc` or `note`.
    pub channel: &'static str,
    /// `→` to the target, `←` from the target, `·` a remark. Redis's answers go to the target, its commands come from it.
    pub direction: &'static str,
    /// What was said, redacted.
    pub text: String,
}

/// A transcript that may be shared between the clients of a case.
#[derive(Debug, Clone)]
pub struct Transcript {
    began: Instant,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    said: Vec<Said>,
    dropped: usize,
    secrets: Secrets,
}

/// A line before it is read: most cases pass and nobody reads theirs, and to search text for secrets is dear.
#[derive(Debug)]
struct Said {
    at_us: u64,
    channel: &'static str,
    direction: &'static str,
    /// Cut already, for it may be megabytes, though with room for what the search shortens.
    text: String,
    /// The length of the whole text, in bytes.
    length: usize,
}

impl Default for Transcript {
    fn default() -> Self {
        Self { began: Instant::now(), shared: Arc::default() }
    }
}

impl Transcript {
    /// Takes `secrets` out wherever they appear.
    pub fn hide(&self, secrets: Secrets) {
        self.lock().secrets = secrets;
    }

    /// Takes a token out of what is written, also where it comes in pieces.
    pub fn hide_token(&self, text: &str) {
        self.lock().secrets.hide_token(text);
    }

    /// Something that the suite sent.
    pub fn sent(&self, channel: &'static str, text: impl AsRef<str>) {
        self.push(channel, "→", text.as_ref());
    }

    /// Something that the target sent.
    pub fn received(&self, channel: &'static str, text: impl AsRef<str>) {
        self.push(channel, "←", text.as_ref());
    }

    /// A remark about what the suite has seen or done beside the target.
    pub fn remark(&self, channel: &'static str, text: impl AsRef<str>) {
        self.push(channel, "·", text.as_ref());
    }

    /// A remark of the suite's own.
    pub fn note(&self, text: impl AsRef<str>) {
        self.push("note", "·", text.as_ref());
    }

    /// Something that the target said at a time that has passed, such as a line of its log.
    pub fn received_at(&self, when: Instant, channel: &'static str, text: impl AsRef<str>) {
        self.push_at(when, channel, "←", text.as_ref());
    }

    /// The lines so far, by time and redacted.
    pub fn lines(&self) -> Vec<Line> {
        let shared = self.lock();
        let mut lines: Vec<_> = shared.said.iter().map(|said| said.line(&shared.secrets)).collect();
        lines.sort_by_key(|line| line.at_us);
        if shared.dropped > 0 {
            let text = format!("{} further lines were not kept", shared.dropped);
            let at_us = lines.last().map_or(0, |line| line.at_us);
            lines.push(Line { at_us, channel: "note", direction: "·", text });
        }
        lines
    }

    /// `text` without the secrets that this transcript knows, and without anything that looks like a token.
    pub fn redact(&self, text: &str) -> String {
        self.lock().secrets.redact(text)
    }

    fn push(&self, channel: &'static str, direction: &'static str, text: &str) {
        self.push_at(Instant::now(), channel, direction, text);
    }

    fn push_at(&self, when: Instant, channel: &'static str, direction: &'static str, text: &str) {
        let at_us = micros(when.saturating_duration_since(self.began));
        let mut shared = self.lock();
        if shared.said.len() >= LINES_LIMIT {
            shared.dropped += 1;
            return;
        }
        let kept = shorten(text, 2 * LINE_LIMIT);
        shared.said.push(Said { at_us, channel, direction, text: kept, length: text.len() });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn line(&self, secrets: &Secrets) -> Line {
        let text = cut(&secrets.redact(&self.text), LINE_LIMIT, self.length);
        Line { at_us: self.at_us, channel: self.channel, direction: self.direction, text }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_secret_and_a_token_never_appear() {
        let transcript = Transcript::default();
        let mut secrets = Secrets::default();
        secrets.hide("hunter22");
        transcript.hide(secrets);
        transcript.sent("ws", r#"40/notifications,{"token":"eyJhbGciOi.eyJ1c2Vy.c2ln"} hunter22"#);
        let text = &transcript.lines()[0].text;
        assert_eq!(text, r#"40/notifications,{"token":"[token]"} [redacted]"#);
    }

    #[test]
    fn a_line_of_megabytes_is_cut_and_counted_once() {
        let transcript = Transcript::default();
        transcript.sent("ws", "x".repeat(3_000_000));
        let text = &transcript.lines()[0].text;
        assert!(text.ends_with(&format!("x… ({} more bytes)", 3_000_000 - LINE_LIMIT)), "{}", &text[LINE_LIMIT..]);
    }

    #[test]
    fn what_was_said_earlier_stands_earlier() {
        let transcript = Transcript::default();
        let now = Instant::now();
        transcript.received_at(now + Duration::from_millis(1), "proc", "second");
        transcript.received_at(now, "proc", "first");
        assert_eq!(transcript.lines()[0].text, "first");
    }

    #[test]
    fn lines_carry_the_time_since_the_case_began() {
        let transcript = Transcript::default();
        transcript.note("first");
        transcript.note("second");
        let lines = transcript.lines();
        assert!(lines[0].at_us <= lines[1].at_us);
    }
}
