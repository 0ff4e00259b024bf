//! What one case did and saw, on one clock, with secrets taken out.
//!
//! Every client, proxy and HTTP call of a case writes here; a failure prints it. Knows nothing of what the lines mean.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

/// The longest text of one line that is kept, in bytes; what exceeds it is counted.
const LINE_LIMIT: usize = 4_096;
/// The most lines that one case keeps; the middle of a longer transcript is of no use to a reader.
const LINES_LIMIT: usize = 5_000;

/// One line of a transcript.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Time since the case began, in microseconds.
    pub at_us: u64,
    /// Who spoke: `http`, `ws`, `poll`, `lib`, `redis`, `proc` or `note`.
    pub channel: &'static str,
    /// `→` from the suite, `←` from the target, `·` a remark.
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
    lines: Vec<Line>,
    dropped: usize,
    secrets: Vec<String>,
}

impl Default for Transcript {
    fn default() -> Self {
        Self { began: Instant::now(), shared: Arc::default() }
    }
}

impl Transcript {
    /// Replaces `secret` by `[redacted]` wherever it would appear from now on.
    pub fn hide(&self, secret: &str) {
        if secret.len() >= 4 {
            self.lock().secrets.push(secret.to_owned());
        }
    }

    /// Something that the suite sent.
    pub fn sent(&self, channel: &'static str, text: impl AsRef<str>) {
        self.push(channel, "→", text.as_ref());
    }

    /// Something that the target sent.
    pub fn received(&self, channel: &'static str, text: impl AsRef<str>) {
        self.push(channel, "←", text.as_ref());
    }

    /// A remark of the suite's own.
    pub fn note(&self, text: impl AsRef<str>) {
        self.push("note", "·", text.as_ref());
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<Line> {
        let shared = self.lock();
        let mut lines = shared.lines.clone();
        if shared.dropped > 0 {
            let text = format!("{} further lines were not kept", shared.dropped);
            let at_us = lines.last().map_or(0, |line| line.at_us);
            lines.push(Line { at_us, channel: "note", direction: "·", text });
        }
        lines
    }

    /// `text` without the secrets that this transcript knows, and without anything that looks like a token.
    pub fn redact(&self, text: &str) -> String {
        redact(text, &self.lock().secrets)
    }

    fn push(&self, channel: &'static str, direction: &'static str, text: &str) {
        let at_us = micros(self.began.elapsed());
        let mut shared = self.lock();
        if shared.lines.len() >= LINES_LIMIT {
            shared.dropped += 1;
            return;
        }
        let text = shorten(&redact(text, &shared.secrets), LINE_LIMIT);
        shared.lines.push(Line { at_us, channel, direction, text });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `text`, cut at `limit` bytes with a count of what is missing.
pub fn shorten(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit);
    let mut short = text[..end].to_owned();
    let _ = write!(short, "… ({} more bytes)", text.len() - end);
    short
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Takes out known secrets, then whatever has the form of a JSON Web Token.
fn redact(text: &str, secrets: &[String]) -> String {
    let mut clean = text.to_owned();
    for secret in secrets {
        if clean.contains(secret.as_str()) {
            clean = clean.replace(secret.as_str(), "[redacted]");
        }
    }
    hide_tokens(&clean)
}

/// Every JWT begins with the base64 of `{"`, which is `eyJ`.
fn hide_tokens(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("eyJ") {
        let (before, token) = rest.split_at(start);
        let end = token.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.=".contains(c))).unwrap_or(token.len());
        clean.push_str(before);
        clean.push_str(if token[..end].contains('.') { "[token]" } else { &token[..end] });
        rest = &token[end..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_secret_and_a_token_never_appear() {
        let transcript = Transcript::default();
        transcript.hide("hunter22");
        transcript.sent("ws", r#"40/notifications,{"token":"eyJhbGciOi.eyJ1c2Vy.c2ln"} hunter22"#);
        let text = &transcript.lines()[0].text;
        assert_eq!(text, r#"40/notifications,{"token":"[token]"} [redacted]"#);
    }

    #[test]
    fn a_long_line_is_cut_at_a_character_boundary() {
        assert_eq!(shorten("ääää", 3), "ä… (6 more bytes)");
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
