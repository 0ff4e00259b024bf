//! The mark that each event carries in its metadata, by which its deliveries are recognised and timed. Knows nothing of sockets.

use std::collections::VecDeque;

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

    fn read(text: &str) -> Option<Self> {
        let number = u128::from_str_radix(text, 16).ok()?;
        let at_us = number as u64;
        Some(Self { user: (number >> 96) as u32, n: (number >> 64) as u32, at_us })
    }
}

/// The marks in the text of a packet, in their order. JSON is not parsed: a receiver has microseconds for each packet.
pub fn marks(text: &str) -> impl Iterator<Item = Mark> {
    text.split(MEMBER).skip(1).filter_map(|after| {
        let value = after.strip_prefix('"')?.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
        Mark::read(value.get(..LENGTH)?)
    })
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

    #[test]
    fn marks_are_found_in_a_packet_in_their_order() {
        let (one, two) = (Mark { user: 7, n: 4_000_000_000, at_us: 1 << 50 }, Mark { user: u32::MAX, n: 0, at_us: 3 });
        let mut text = br#"42/notifications,["queued.events",[{"metadata":{"loadId":""#.to_vec();
        one.write(&mut text);
        text.extend_from_slice(br#""}},{"metadata":{"loadId" : ""#);
        two.write(&mut text);
        text.extend_from_slice(br#""}},{"loadId":"short"},{"loadId":7}]]"#);
        let text = String::from_utf8(text).expect("text");
        assert_eq!(marks(&text).collect::<Vec<_>>(), [one, two]);
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
