//! Where in a queue what comes back goes. Pure.

/// How long before an entry those may be placed that come back before it, in microseconds: their place counts as their age.
const ROOM: u64 = 1_000;

/// An entry that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// Its place: the time of its arrival, in microseconds.
    pub(super) at: u64,
    /// The same; of one that has come back, the place of the newest that it came after.
    pub(super) after: u64,
}

/// The place of each event, by the place of the newest entry that it came after: behind that one, behind what has come back there
/// before, and before anything newer. `None` is the end of the queue, also where there is no room.
pub(super) fn places(held: &[Held], events: &[u64]) -> Vec<Option<u64>> {
    let mut places = Vec::with_capacity(events.len());
    let mut left = held;
    let mut last = 0;
    while places.len() < events.len() {
        let after = events[places.len()];
        while let Some((first, rest)) = left.split_first().filter(|(first, _)| first.after <= after) {
            (last, left) = (first.at, rest);
        }
        let next = left.first();
        let here = events[places.len()..].iter().take_while(|after| next.is_none_or(|next| next.after > **after));
        let many = here.count() as u64;
        match next {
            None => places.extend((0..many).map(|_| None)),
            Some(next) => {
                let low = last.max(next.at.saturating_sub(ROOM));
                let step = (next.at - low) / (many + 1);
                places.extend((1..=many).map(|place| (step > 0).then_some(low + place * step)));
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(entries: &[(u64, u64)]) -> Vec<Held> {
        entries.iter().map(|(at, after)| Held { at: *at, after: *after }).collect()
    }

    #[test]
    fn what_comes_back_goes_between_and_leaves_room() {
        let there = held(&[(10_000, 10_000), (10_400, 10_400), (20_000, 20_000)]);
        assert_eq!(places(&there, &[]), []);
        assert_eq!(places(&there, &[0, 0]), [Some(9_333), Some(9_666)]);
        assert_eq!(places(&there, &[10_000, 10_399, 10_400, 20_000]), [Some(10_133), Some(10_266), Some(19_500), None]);
        assert_eq!(places(&[], &[1, 2]), [None, None]);
    }

    #[test]
    fn what_has_come_back_before_stays_before() {
        let there = held(&[(10, 10), (15, 10), (20, 20)]);
        assert_eq!(places(&there, &[10]), [Some(17)]);
        assert_eq!(places(&there, &[9]), [Some(5)]);
    }

    #[test]
    fn where_there_is_no_room_it_is_the_end() {
        let there = held(&[(10, 10), (11, 11), (13, 13)]);
        assert_eq!(places(&there, &[10, 11]), [None, Some(12)]);
    }
}
