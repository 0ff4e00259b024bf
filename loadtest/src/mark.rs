//! The mark that each event carries in its metadata, by which its deliveries are recognised and timed. Knows nothing of sockets.

use std::{collections::VecDeque, sync::LazyLock};

use memchr::{memchr, memmem::Finder};
use serde_json::Value;

/// The member of the metadata that carries the mark.
pub const MEMBER: &str = "loadId";
/// The length of a mark as text.
pub const LENGTH: usize = 32;

/// Whose event it is, which of theirs, and when it was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The index of the user.
    pub user: u32,
    /// The number of the event among the user's, from 0.
    pub n: u32,
    /// The intended send time in microseconds of the run's clock.
    pub at_us: u64,
}

impl Mark {
    /// Appends the mark as 32 hexadecimal digits.
    pub fn write(self, text: &mut Vec<u8>) {
        let number = (u128::from(self.user) << 96) | (u128::from(self.n) << 64) | u128::from(self.at_us);
        for place in (0..LENGTH).rev() {
            let digit = (number >> (4 * place)) as usize & 15;
            text.push(b"0123456789abcdef"[digit]);
        }
    }

    /// Reads 32 hexadecimal digits at the beginning of `text`.
    fn read(text: &[u8]) -> Option<Self> {
        let digits = text.first_chunk::<LENGTH>()?;
        let number = |digits: &[u8]| {
            digits.iter().try_fold(0_u64, |number, digit| Some((number << 4) | u64::from(value(*digit)?)))
        };
        Some(Self {
            user: number(&digits[..8])? as u32,
            n: number(&digits[8..16])? as u32,
            at_us: number(&digits[16..])?,
        })
    }
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Finds the marks in an event, in their order.
///
/// JSON is not parsed, for a receiver has less than a microsecond for each event: without a backslash in it the member's name
/// in quotes stands for nothing else. A server may write any character as an escape, and what has any is parsed.
pub fn find_marks(event: &[u8], mut each: impl FnMut(Mark)) {
    if memchr(b'\\', event).is_some()
        && let Some(begin) = memchr(b'[', event)
        && let Ok(value) = serde_json::from_slice(&event[begin..])
    {
        return walk(&value, &mut each);
    }
    static NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(r#""loadId""#));
    let mut rest = event;
    while let Some(at) = NAME.find(rest) {
        rest = &rest[at + MEMBER.len() + 2..];
        let value = rest.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        if let Some(mark) = value.and_then(|value| Mark::read(value.strip_prefix(b"\"")?)) {
            each(mark);
        }
    }
}

fn walk(value: &Value, each: &mut impl FnMut(Mark)) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| walk(value, each)),
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str().filter(|_| name == MEMBER) {
                    Some(text) => Mark::read(text.as_bytes()).into_iter().for_each(&mut *each),
                    None => walk(value, each),
                }
            }
        }
        _ => {}
    }
}

/// Which of a user's events one receiver has seen. Takes a bit for each number after the first one that is missing.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every number below this was seen.
    below: u32,
    /// The words of 64 numbers each that follow, from `below / 64` on.
    words: VecDeque<u64>,
}

impl Seen {
    /// Notes a number; false where it was seen before.
    pub fn note(&mut self, n: u32) -> bool {
        if n < self.below {
            return false;
        }
        let word = (n / 64 - self.below / 64) as usize;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (n % 64);
        if self.words[word] & bit != 0 {
            return false;
        }
        self.words[word] |= bit;
        while let Some(first) = self.words.front() {
            let run = (first >> (self.below % 64)).trailing_ones();
            let left = 64 - self.below % 64;
            self.below += run.min(left);
            if run < left {
                break;
            }
            self.words.pop_front();
        }
        true
    }

    /// Whether a number was seen.
    pub fn has(&self, n: u32) -> bool {
        let word = || self.words.get((n / 64 - self.below / 64) as usize);
        n < self.below || word().is_some_and(|word| word & (1 << (n % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(event: &str) -> Vec<Mark> {
        let mut found = Vec::new();
        find_marks(event.as_bytes(), |mark| found.push(mark));
        found
    }

    fn written(mark: Mark) -> String {
        let mut text = Vec::new();
        mark.write(&mut text);
        String::from_utf8(text).expect("text")
    }

    const ONE: Mark = Mark { user: 7, n: 4_000_000_000, at_us: 1 << 50 };
    const TWO: Mark = Mark { user: u32::MAX, n: 0, at_us: 3 };

    #[test]
    fn marks_are_found_in_an_event_in_their_order() {
        let (one, two) = (written(ONE), written(TWO));
        let text = format!(
            r#"42/notifications,["queued.events",[{{"metadata":{{"loadId":"{one}"}}}},{{"metadata":{{"loadId" : "{two}"}}}},{{"loadId":"short"}},{{"loadId":7}}]]"#
        );
        assert_eq!(found(&text), [ONE, TWO]);
        let event =
            format!(r#"42/notifications,17["record.accessed",{{"metadata":{{"loadId":"{two}","pad":"xxx"}}}}]"#);
        assert_eq!(found(&event), [TWO]);
        // Cut anywhere, nothing is found that is not there; the mark itself is there from some place on.
        for end in 0..event.len() {
            let cut = found(&event[..end]);
            assert!(cut.is_empty() || cut == [TWO], "{end}");
        }
    }

    #[test]
    fn what_only_looks_like_a_mark_is_none() {
        let one = written(ONE);
        for none in [
            format!(r#"42/notifications,["a",{{"x":"loadId","y":"{one}"}}]"#),
            format!(r#"42/notifications,["a",{{"text":"\"loadId\":\"{one}\""}}]"#),
            format!(r#"42/notifications,["a",{{"\"loadId":"{one}"}}]"#),
            format!(r#"42/notifications,["a",{{"loadId":"{}"}}]"#, one.replace('0', "g")),
            format!(r#"42/notifications,["a",{{"myloadId":"{one}"}}]"#),
        ] {
            assert_eq!(found(&none), [], "{none}");
        }
    }

    #[test]
    fn a_mark_is_found_however_its_event_is_escaped() {
        let one = written(ONE);
        for event in [
            format!(r#"42/notifications,["a",{{"metadata":{{"load\u0049d":"{one}"}}}}]"#),
            format!(r#"42/notifications,["a",{{"actor":"a\/b\n\"","metadata":{{"loadId":"{one}"}}}}]"#),
            // What JSON's reader refuses, a half character, is searched as it is.
            format!(r#"42/notifications,["a",{{"actor":"\ud83d","metadata":{{"loadId":"{one}"}}}}]"#),
        ] {
            assert_eq!(found(&event), [ONE], "{event}");
        }
    }

    #[test]
    fn a_number_is_seen_once_in_whatever_order() {
        let mut seen = Seen::default();
        for n in (0..200).rev().chain(201..500) {
            assert!(!seen.has(n), "{n}");
            assert!(seen.note(n), "{n}");
            assert!(!seen.note(n), "{n}");
        }
        assert!(!seen.has(200) && seen.has(0) && seen.has(499) && !seen.has(500) && !seen.has(100_000));
        assert!(seen.note(200));
        assert_eq!((seen.below, seen.words.len()), (500, 1));
    }

    #[test]
    fn what_was_seen_without_a_gap_takes_no_memory() {
        let mut seen = Seen::default();
        assert!((0..100_000).all(|n| seen.note(n)));
        assert!(seen.words.len() <= 1);
        assert!(seen.has(99_999) && !seen.has(100_000));
    }
}
