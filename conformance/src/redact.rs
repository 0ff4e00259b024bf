//! Takes secrets out of text: those that are known, whole, in pieces and in other notations, and whatever looks like a token.
//!
//! Knows nothing of reports; every line of a transcript and every message that quotes a server comes through here.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::Value;

use crate::text::CUT;

/// What stands in a secret's place.
const HIDDEN: &str = "[redacted]";
/// What stands in a token's place.
const TOKEN: &str = "[token]";
/// The shortest text that is taken for a secret: less would tear holes into ordinary words.
const SHORTEST: usize = 4;
/// How many bytes of a longer secret give it away: a piece of this length is taken out as well.
const PIECE: usize = 16;

/// The secrets of a run. Clones share the tokens that any of them has come to know: a target may repeat in one case what it
/// heard in another.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The longest first, for one may contain another.
    whole: Vec<String>,
    pieces: Pieces,
}

type Pieces = Arc<RwLock<HashSet<[u8; PIECE]>>>;

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.whole.len())
    }
}

impl Secrets {
    /// Takes `secret` out from now on, also as it looks inside JSON, a URL or base64.
    pub fn hide(&mut self, secret: &str) {
        let json = Value::from(secret).to_string();
        self.add(secret);
        self.add(json.trim_matches('"'));
        self.add(&percent_encoded(secret));
        for base64 in [BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD] {
            self.add(&base64.encode(secret));
        }
    }

    /// Takes a token out from now on, whole and in pieces. What is too short for a token, or has no parts, is a word that a
    /// case sends in a token's place, and stays.
    pub fn hide_token(&self, text: &str) {
        let token = without_scheme(text);
        if token.contains('.') {
            self.add_pieces(token);
        }
    }

    /// The same secrets, for another server: its cases will bring tokens of their own.
    #[must_use]
    pub fn apart(&self) -> Self {
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner).clone();
        Self { whole: self.whole.clone(), pieces: Arc::new(RwLock::new(pieces)) }
    }

    /// `text` without secrets.
    pub fn redact(&self, text: &str) -> String {
        let mut clean = hide_user_info(&hide_tokens(text));
        for secret in &self.whole {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), HIDDEN);
            }
        }
        self.hide_cut_ends(&self.hide_pieces(clean))
    }

    fn add(&mut self, form: &str) {
        if form.len() < SHORTEST || self.whole.iter().any(|known| known == form) {
            return;
        }
        let at = self.whole.partition_point(|known| known.len() > form.len());
        self.whole.insert(at, form.to_owned());
        self.add_pieces(form);
    }

    fn add_pieces(&self, text: &str) {
        let pieces = text.as_bytes().windows(PIECE).filter_map(|piece| <[u8; PIECE]>::try_from(piece).ok());
        self.pieces.write().unwrap_or_else(PoisonError::into_inner).extend(pieces);
    }

    /// A secret that was cut, or that came in two frames, is still one.
    fn hide_pieces(&self, text: String) -> String {
        let known = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        let is_piece = |piece: &[u8]| <[u8; PIECE]>::try_from(piece).is_ok_and(|piece| known.contains(&piece));
        let mut clean = String::new();
        let mut shown = 0;
        let mut hidden = 0..0;
        for (at, piece) in text.as_bytes().windows(PIECE).enumerate() {
            if !is_piece(piece) {
                continue;
            }
            if at > hidden.end || hidden.is_empty() {
                leave_out(&text, &mut clean, &mut shown, &hidden);
                hidden.start = at;
            }
            hidden.end = at + PIECE;
        }
        if shown == 0 && hidden.is_empty() {
            return text;
        }
        leave_out(&text, &mut clean, &mut shown, &hidden);
        clean.push_str(&text[shown..]);
        clean
    }

    /// What a cut left of a secret may be shorter than a piece.
    fn hide_cut_ends(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut parts = text.split(CUT).peekable();
        while let Some(part) = parts.next() {
            let cut = parts.peek().is_some();
            match self.whole.iter().filter_map(|secret| common(part, secret)).max().filter(|_| cut) {
                Some(left) => {
                    clean.push_str(&part[..part.len() - left]);
                    clean.push_str(HIDDEN);
                }
                None => clean.push_str(part),
            }
            if cut {
                clean.push_str(CUT);
            }
        }
        clean
    }
}

/// Copies what stands before `hidden`, which may begin and end inside a character.
fn leave_out(text: &str, clean: &mut String, shown: &mut usize, hidden: &std::ops::Range<usize>) {
    if hidden.is_empty() {
        return;
    }
    clean.push_str(&text[*shown..text.floor_char_boundary(hidden.start).max(*shown)]);
    clean.push_str(HIDDEN);
    *shown = text.ceil_char_boundary(hidden.end);
}

/// How many bytes at the end of `text` are the beginning of `secret`, where that is enough to matter.
fn common(text: &str, secret: &str) -> Option<usize> {
    (SHORTEST..secret.len().min(PIECE))
        .rev()
        .find(|length| secret.is_char_boundary(*length) && text.as_bytes().ends_with(&secret.as_bytes()[..*length]))
}

/// `Bearer x` is as secret as `x`.
pub(crate) fn without_scheme(text: &str) -> &str {
    match text.split_once(' ') {
        Some((scheme, rest)) if ["bearer", "basic", "token"].contains(&scheme.to_lowercase().as_str()) => rest.trim(),
        _ => text,
    }
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// `scheme://user:password@host` without what stands before the host.
fn hide_user_info(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        clean.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/?#\"'<>\\".contains(c)).unwrap_or(after.len());
        let host = after[..end].rfind('@').unwrap_or(0);
        if host > 0 {
            clean.push_str(HIDDEN);
        }
        rest = &after[host..];
    }
    clean.push_str(rest);
    clean
}

/// Every JWT begins with the base64 of `{"`, which is `eyJ`. Where a text was cut, its dots may be missing.
fn hide_tokens(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("eyJ") {
        let (before, token) = rest.split_at(start);
        let end = token.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.=".contains(c))).unwrap_or(token.len());
        let is_one = token[..end].contains('.') || end >= PIECE;
        clean.push_str(before);
        clean.push_str(if is_one { TOKEN } else { &token[..end] });
        rest = &token[end..];
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::shorten;

    const SECRET: &str = "hunter2-hunter2/hunter2+\"ärger\"";

    fn knowing(secret: &str) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.hide(secret);
        secrets
    }

    #[test]
    fn a_secret_is_taken_out_in_every_notation() {
        let secrets = knowing(SECRET);
        for form in [
            SECRET.to_owned(),
            Value::from(SECRET).to_string(),
            format!("{SECRET:?}"),
            percent_encoded(SECRET),
            BASE64_STANDARD.encode(SECRET),
            BASE64_URL_SAFE_NO_PAD.encode(SECRET),
        ] {
            let clean = secrets.redact(&format!("before {form} after"));
            assert!(clean.starts_with("before ") && clean.ends_with(" after"), "{clean}");
            assert!(!clean.contains("hunter2") && clean.contains(HIDDEN), "{clean}");
        }
    }

    #[test]
    fn a_secret_in_two_frames_is_taken_out_of_both() {
        let secrets = knowing(SECRET);
        for cut in (PIECE..SECRET.len() - PIECE).filter(|at| SECRET.is_char_boundary(*at)) {
            for half in [&SECRET[..cut], &SECRET[cut..]] {
                assert_eq!(secrets.redact(&format!("«{half}»")), format!("«{HIDDEN}»"));
            }
        }
    }

    #[test]
    fn what_a_cut_leaves_of_a_secret_is_taken_out() {
        let secrets = knowing(SECRET);
        let text = format!("answer: {SECRET}");
        for limit in "answer: ".len() + SHORTEST..text.len() {
            let clean = secrets.redact(&shorten(&text, limit));
            assert!(clean.starts_with(&format!("answer: {HIDDEN}… (")), "{limit}: {clean}");
        }
    }

    #[test]
    fn a_token_is_taken_out_whether_it_is_known_or_not() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VySWQiOiJhbGljZSJ9.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw";
        assert_eq!(Secrets::default().redact(&format!("{{\"token\":\"{token}\"}}")), "{\"token\":\"[token]\"}");
        assert_eq!(Secrets::default().redact(&shorten(token, 18)), format!("{TOKEN}… (58 more bytes)"));
        let secrets = Secrets::default();
        secrets.clone().hide_token(&format!("Bearer {token}"));
        assert_eq!(secrets.redact("2nd half: J9.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw"), format!("2nd half: {HIDDEN}"));
    }

    #[test]
    fn words_in_a_tokens_place_and_ordinary_text_stay() {
        let secrets = knowing("conformance-only-jwt-secret");
        secrets.hide_token("Bearer Bearer");
        secrets.hide_token("not-a-token-but-a-long-word");
        let text = "Bearer Bearer not-a-token-but-a-long-word, notify-conformance-1234, eyJust, https://host/a@b … (x)";
        assert_eq!(secrets.redact(text), text);
    }

    #[test]
    fn a_password_in_a_url_is_taken_out() {
        let clean = Secrets::default().redact("redis://:p@ss@h:1/2 and \"http://bob:pw@h\"");
        assert_eq!(clean, "redis://[redacted]@h:1/2 and \"http://[redacted]@h\"");
    }
}
