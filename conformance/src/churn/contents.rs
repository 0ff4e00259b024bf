//! What the events of a workload say. It is drawn from the seed for each event by itself, so that whoever receives one knows what it
//! has to say, and nothing needs to be kept. Knows nothing of how events travel.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};

use super::dice::{Part, dice};
use crate::{bench::Emission, expect::iso_timestamp};

/// The types of events (EVENT-02).
const TYPES: [&str; 4] = ["record.accessed", "access.granted", "access.revoked", "record.uploaded"];
/// The sizes of the text in the metadata, in bytes of JSON, and of how many events in a hundred each is the most: most are small.
const SIZES: [(u32, usize); 4] = [(70, 100), (90, 1_000), (98, 8_000), (100, TEXT_AT_MOST)];
/// The same for one user in five, of whose events most are large: whoever reads them slowly gets behind.
const LARGE: [(u32, usize); 4] = [(30, 1_000), (60, 8_000), (90, 16_000), (100, TEXT_AT_MOST)];
/// Of how many users one gets large events.
const LARGE_ONE_IN: usize = 5;
/// With what stands beside the text, metadata has 32 kB at most: an event's limit is twice that (EMIT-11).
const TEXT_AT_MOST: usize = 31_000;
/// Of how many texts one is awkward.
const AWKWARD_ONE_IN: u32 = 4;
/// Ordinary pieces of a text; none changes its length in JSON.
const WORDS: [&str; 6] = ["visit ", "report ", "of the ", "ward, ", "a ", "specimen "];
/// What servers, stores and transports stumble over.
const AWKWARD: [&str; 20] = [
    "é",
    "Ω",
    "漢字",
    "😀",
    "\u{1f468}\u{200d}\u{1f469}",
    "e\u{301}",
    "\"",
    "\\",
    "<b>&amp;",
    "</script>",
    "'",
    "\n",
    "\t",
    "\u{0}",
    // What separates the packets of a polling payload.
    "\u{1e}",
    "\u{7f}",
    "\u{2028}",
    "\u{feff}",
    "\\u0041",
    "42/notifications,",
];

/// What all events of one user say.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    pub(super) seed: u64,
    /// The user's number.
    pub(super) number: usize,
    /// The user's id.
    pub(super) user: String,
}

impl Contents {
    /// The event with this number.
    pub(super) fn event(&self, n: u64) -> Emission {
        let mut dice = dice(self.seed, Part::Contents(n), self.number);
        let event_type = TYPES[dice.random_range(0..TYPES.len())];
        let actor_id = format!("actor-{}", text(12, &mut dice));
        let resource_id = format!("record-{}", text(20, &mut dice));
        Emission {
            event_type: event_type.to_owned(),
            actor_id,
            resource_id,
            metadata: Some(self.metadata(n, &mut dice)),
        }
    }

    fn metadata(&self, n: u64, dice: &mut StdRng) -> Value {
        let mut members = Map::new();
        members.insert("targetUserId".to_owned(), self.user.as_str().into());
        members.insert("n".to_owned(), n.into());
        let sizes = if self.number % LARGE_ONE_IN == LARGE_ONE_IN - 1 { LARGE } else { SIZES };
        let drawn = dice.random_range(0..100);
        let class = sizes.iter().position(|(until, _)| drawn < *until).unwrap_or_default();
        let least = class.checked_sub(1).map_or(0, |below| sizes[below].1);
        let bytes = dice.random_range(least..sizes[class].1);
        members.insert("text".to_owned(), text(bytes, dice).into());
        if dice.random_ratio(1, AWKWARD_ONE_IN) {
            members.insert(text(16, dice), json!([null, "", {}, [], false, -1, 9_007_199_254_740_991_i64, 0.5]));
        }
        Value::Object(members)
    }
}

/// A text that takes at most so many bytes of JSON, and hardly fewer.
fn text(bytes: usize, dice: &mut StdRng) -> String {
    let awkward = dice.random_ratio(1, AWKWARD_ONE_IN);
    let (mut text, mut left) = (String::new(), bytes);
    loop {
        let pieces: &[&str] = if awkward && dice.random_ratio(1, 2) { &AWKWARD } else { &WORDS };
        let piece = *pieces.choose(dice).unwrap_or(&"");
        match left.checked_sub(length_in_json(piece)) {
            Some(rest) => left = rest,
            None => return text,
        }
        text.push_str(piece);
    }
}

fn length_in_json(piece: &str) -> usize {
    let escaped = |c: char| match c {
        '"' | '\\' | '\n' | '\t' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    };
    piece.chars().map(escaped).sum()
}

/// The first difference between an event and the payload that came in its place: where, and of what kind. What either says at that
/// place is not told: reports hold no health information. `name` is that of the event as which it came, where it came alone.
pub(super) fn difference(event: &Emission, name: Option<&str>, payload: &Value) -> Option<String> {
    if name.is_some_and(|name| name != event.event_type) {
        return Some("it came as an event of another name than its type".to_owned());
    }
    let timestamp = payload["timestamp"].as_str().map(iso_timestamp);
    if !matches!(timestamp, Some(Ok(_))) {
        return Some("/timestamp is no time".to_owned());
    }
    let texts = [("eventType", &event.event_type), ("actorId", &event.actor_id), ("resourceId", &event.resource_id)];
    let texts = texts.map(|(name, text)| (name, Value::from(text.as_str())));
    let metadata = ("metadata", event.metadata.clone().unwrap_or_else(|| json!({})));
    let mut members = texts.iter().chain([&metadata]);
    members.find_map(|(name, right)| differs(right, payload.get(name), &format!("/{name}")))
}

fn differs(right: &Value, came: Option<&Value>, place: &str) -> Option<String> {
    let Some(came) = came else { return Some(format!("{place} is missing")) };
    match (right, came) {
        (Value::Object(right), Value::Object(came)) => {
            // Members are named by their place: a name may be long, and is drawn like any text.
            let mut members = right.iter().enumerate();
            members.find_map(|(at, (name, right))| differs(right, came.get(name), &format!("{place}/{at}"))).or_else(
                || {
                    (came.len() > right.len())
                        .then(|| format!("{place} has {} members, not {}", came.len(), right.len()))
                },
            )
        }
        (Value::Array(right), Value::Array(came)) if right.len() == came.len() => {
            let mut items = right.iter().zip(came).enumerate();
            items.find_map(|(at, (right, came))| differs(right, Some(came), &format!("{place}/{at}")))
        }
        (Value::Array(right), Value::Array(came)) => {
            Some(format!("{place} has {} items, not {}", came.len(), right.len()))
        }
        (Value::String(right), Value::String(came)) => (right != came).then(|| {
            let same = right.chars().zip(came.chars()).take_while(|(right, came)| right == came).count();
            let length = |text: &str| text.chars().count();
            let (came, right) = (length(came), length(right));
            format!("{place} is a text of {came} characters, not of {right}, of which the first {same} are right")
        }),
        (Value::Number(_), Value::Number(_)) | (Value::Bool(_), Value::Bool(_)) if right != came => {
            Some(format!("{place} has another value"))
        }
        _ => (right != came).then(|| format!("{place} is {}, not {}", kind(came), kind(right))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn contents() -> Contents {
        Contents { seed: 1, number: 0, user: "user-1".to_owned() }
    }

    fn events() -> Vec<Emission> {
        (1..=2_000).map(|n| contents().event(n)).collect()
    }

    fn payload(event: &Emission) -> Value {
        let mut payload = event.body();
        payload["timestamp"] = "2026-11-29T01:02:03.004Z".into();
        payload["eventId"] = "id".into();
        payload
    }

    #[test]
    fn a_seed_gives_each_event_its_contents_again() {
        assert_eq!(contents().event(7), contents().event(7));
        assert_ne!(contents().event(7).body(), contents().event(8).body());
        assert_ne!(contents().event(7).body(), Contents { seed: 2, ..contents() }.event(7).body());
    }

    #[test]
    fn all_types_are_emitted_and_most_events_are_small_and_some_have_up_to_32_kb() {
        let types: BTreeSet<_> = events().into_iter().map(|event| event.event_type).collect();
        assert_eq!(types, TYPES.map(str::to_owned).into());
        let mut sizes: Vec<_> =
            events().iter().filter_map(|event| Some(event.metadata.as_ref()?.to_string().len())).collect();
        sizes.sort_unstable();
        assert!(sizes[1_000] < 300, "{}", sizes[1_000]);
        let largest = sizes[1_999];
        assert!((28_000..=32_768).contains(&largest), "{largest}");
    }

    #[test]
    fn one_user_in_five_gets_large_events_of_no_more_than_32_kb() {
        let large = |number| {
            let contents = Contents { number, ..contents() };
            let sizes = (1..=500).filter_map(|n| Some(contents.event(n).metadata?.to_string().len()));
            let sizes: Vec<_> = sizes.collect();
            assert!(sizes.iter().all(|size| *size <= 32_768), "{sizes:?}");
            sizes.iter().sum::<usize>() / sizes.len() > 5_000
        };
        assert_eq!([0, 1, 4, 9].map(large), [false, false, true, true]);
    }

    #[test]
    fn awkward_text_is_met_now_and_then_and_in_every_place() {
        let events = events();
        let texts = |place: fn(&Emission) -> Option<&str>| events.iter().filter_map(place).collect::<Vec<_>>();
        let in_metadata = texts(|event| event.metadata.as_ref()?["text"].as_str());
        for texts in
            [texts(|event| Some(&event.actor_id)), texts(|event| Some(&event.resource_id)), in_metadata.clone()]
        {
            let awkward = texts.iter().filter(|text| AWKWARD.iter().any(|awkward| text.contains(awkward))).count();
            assert!((200..1_000).contains(&awkward), "{awkward}");
        }
        for awkward in AWKWARD {
            assert!(in_metadata.iter().any(|text| text.contains(awkward)), "{awkward:?}");
        }
    }

    #[test]
    fn the_length_of_a_text_is_that_of_its_json() {
        for piece in AWKWARD.into_iter().chain(WORDS) {
            assert_eq!(length_in_json(piece) + 2, Value::from(piece).to_string().len(), "{piece:?}");
        }
    }

    #[test]
    fn what_came_as_it_was_emitted_has_no_difference() {
        for event in events().iter().take(200) {
            assert_eq!(difference(event, Some(&event.event_type), &payload(event)), None);
            assert_eq!(difference(event, None, &payload(event)), None, "in queued.events");
        }
    }

    #[test]
    fn each_difference_is_told_by_its_place_and_nothing_of_what_stands_there() {
        let text = "a private diagnosis";
        let event = Emission {
            event_type: "record.accessed".to_owned(),
            actor_id: "a".to_owned(),
            resource_id: "r".to_owned(),
            metadata: Some(json!({"targetUserId": "u", "n": 1, "text": text, "list": [1, null, {}], "yes": true})),
        };
        let told = |change: &dyn Fn(&mut Value)| {
            let mut payload = payload(&event);
            change(&mut payload);
            difference(&event, None, &payload).unwrap_or_default()
        };
        let metadata = |name: &'static str, value: Value| told(&|payload| payload["metadata"][name] = value.clone());
        assert_eq!(
            told(&|payload| payload["actorId"] = "b".into()),
            "/actorId is a text of 1 characters, not of 1, of which the first 0 are right"
        );
        assert_eq!(told(&|payload| payload["resourceId"] = 1.into()), "/resourceId is a number, not a text");
        assert_eq!(told(&|payload| payload["eventType"] = Value::Null), "/eventType is null, not a text");
        assert_eq!(told(&|payload| payload["timestamp"] = "now".into()), "/timestamp is no time");
        assert_eq!(told(&|payload| payload["metadata"] = json!([])), "/metadata is an array, not an object");
        assert_eq!(metadata("list", json!([1, null])), "/metadata/3 has 2 items, not 3");
        assert_eq!(metadata("list", json!([1, null, []])), "/metadata/3/2 is an array, not an object");
        assert_eq!(metadata("list", json!([1.0, null, {}])), "/metadata/3/0 has another value");
        assert_eq!(metadata("yes", false.into()), "/metadata/4 has another value");
        assert_eq!(metadata("more", 1.into()), "/metadata has 6 members, not 5");
        let gone = |payload: &mut Value| drop(payload["metadata"].as_object_mut().and_then(|all| all.remove("yes")));
        assert_eq!(told(&gone), "/metadata/4 is missing");
        let said = metadata("text", "a private DIAGNOSIS".into());
        assert_eq!(said, "/metadata/2 is a text of 19 characters, not of 19, of which the first 10 are right");
        let named = difference(&event, Some("record.uploaded"), &payload(&event));
        assert_eq!(named.as_deref(), Some("it came as an event of another name than its type"));
    }
}
