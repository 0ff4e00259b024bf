//! When a line that carries so many bytes a second can have brought what came over it. Pure.

use std::time::Duration;

/// What stands around the contents of an event on the wire, in bytes: its envelope, and what HTTP adds where it is polled.
const AROUND: u64 = 700;
/// A busy machine makes a line slower than it is meant to be: by a quarter at the most.
const SLOWER: f64 = 1.25;
/// What comes within so short a time of one another may have come in one piece, which is there when its last byte is.
const TOGETHER_US: u64 = 100_000;

/// One thing that came over a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carried {
    /// When it came, in microseconds.
    pub(super) at_us: u64,
    /// Since when it could be sent.
    pub(super) ready_us: u64,
    /// How long its contents are.
    pub(super) bytes: u64,
}

/// Until when each thing may have been on the line, in microseconds. `carried` is all that came over it, in order.
pub(super) fn until_us(carried: &[Carried], bytes_a_second: u64) -> Vec<u64> {
    let takes = |bytes: u64| {
        let seconds = (bytes + AROUND) as f64 * SLOWER / bytes_a_second as f64;
        u64::try_from(Duration::from_secs_f64(seconds).as_micros()).unwrap_or(u64::MAX)
    };
    let mut free_us = 0;
    let mut until: Vec<_> = carried
        .iter()
        .map(|it| {
            free_us = u64::max(free_us, it.ready_us) + takes(it.bytes);
            free_us
        })
        .collect();
    for at in (1..carried.len()).rev() {
        if carried[at].at_us.saturating_sub(carried[at - 1].at_us) <= TOGETHER_US {
            until[at - 1] = until[at];
        }
    }
    until
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(at_us: u64, ready_us: u64, bytes: u64) -> Carried {
        Carried { at_us, ready_us, bytes: bytes - AROUND }
    }

    #[test]
    fn one_thing_waits_for_another_and_a_line_that_is_free_for_none() {
        let first = carried(1_000_000, 0, 8_000);
        let second = carried(2_000_000, 500_000, 8_000);
        let much_later = carried(11_000_000, 10_000_000, 8_000);
        assert_eq!(until_us(&[first, second, much_later], 10_000), [1_000_000, 2_000_000, 11_000_000]);
    }

    #[test]
    fn what_comes_in_one_piece_is_there_when_its_last_byte_is() {
        let piece = [carried(3_000_000, 0, 8_000), carried(3_000_100, 0, 16_000)];
        assert_eq!(until_us(&piece, 10_000), [3_000_000, 3_000_000]);
    }
}
