//! What nodes say to each other: one line of what only the store's script knows, then JSON. Pure.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Arrived;
use crate::{model::Channel, store::redis::entry_id};

/// A message that has come in.
#[derive(Debug)]
pub(super) enum Message {
    /// Events for a user; `nodes` is on how many nodes the user is.
    Events { from: Uuid, n: u64, user: String, nodes: usize, events: Vec<Arrived> },
    /// A user is on another node, too; about to be, where there is somebody who waits for an answer.
    Shared { waits: Option<(Uuid, u64)>, user: String },
    /// The answer to number `n` of this node's questions.
    Took { n: u64, taken: Vec<bool> },
    /// A session has ended.
    Ended { session: String, but_for: Option<String> },
    /// A sign of life: this node's own, or anybody's to all.
    Beat(Channel),
}

#[derive(Serialize, Deserialize)]
struct Shared {
    waits: Option<(Uuid, u64)>,
    user: String,
}

#[derive(Deserialize)]
struct Events {
    from: Uuid,
    n: u64,
    user: String,
    payloads: Vec<Box<RawValue>>,
}

#[derive(Serialize, Deserialize)]
struct Took {
    n: u64,
    taken: Vec<bool>,
}

#[derive(Serialize, Deserialize)]
struct Ended {
    session: String,
    but_for: Option<String>,
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text and numbers are JSON")
}

/// The JSON of [`Message::Events`]; the script puts the first line before it. The payloads are JSON.
pub(super) fn events(from: Uuid, n: u64, user: &str, payloads: &[&str]) -> String {
    let (user, payloads) = (json(&user), payloads.join(","));
    format!(r#"{{"from":"{from}","n":{n},"user":{user},"payloads":[{payloads}]}}"#)
}

/// The text of [`Message::Shared`].
pub(super) fn shared(waits: Option<(Uuid, u64)>, user: &str) -> String {
    format!("shared\n{}", json(&Shared { waits, user: user.to_owned() }))
}

/// The text of [`Message::Took`].
pub(super) fn took(n: u64, taken: Vec<bool>) -> String {
    format!("took\n{}", json(&Took { n, taken }))
}

/// The text of [`Message::Ended`].
pub(super) fn ended(session: &str, but_for: Option<&str>) -> String {
    format!("ended\n{}", json(&Ended { session: session.to_owned(), but_for: but_for.map(str::to_owned) }))
}

/// `None` where nobody could have meant it, as where a node of another version speaks.
pub(super) fn parse(text: &str) -> Option<Message> {
    let (head, body) = text.split_once('\n')?;
    let mut words = head.split(' ');
    match words.next()? {
        "events" => {
            let (acknowledged, nodes) = (words.next()? == "1", words.next()?.parse().ok()?);
            let entries = words.next()?.split(',').map(entry_id).collect::<Option<Vec<_>>>()?;
            let Events { from, n, user, payloads } = serde_json::from_str(body).ok()?;
            let events = entries.into_iter().zip(payloads);
            let events = events.map(|(entry, payload)| Arrived { entry, payload, acknowledged }).collect();
            Some(Message::Events { from, n, user, nodes, events })
        }
        "shared" => serde_json::from_str(body).ok().map(|Shared { waits, user }| Message::Shared { waits, user }),
        "took" => serde_json::from_str(body).ok().map(|Took { n, taken }| Message::Took { n, taken }),
        "ended" => {
            serde_json::from_str(body).ok().map(|Ended { session, but_for }| Message::Ended { session, but_for })
        }
        "beat" => Some(Message::Beat(if words.next().is_some() { Channel::All } else { Channel::One })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fragments::text,
        model::EntryId,
        store::redis::peers::{BEAT, BEAT_OF_ALL},
    };

    #[test]
    fn what_was_said_is_understood() {
        let from = Uuid::new_v4();
        let user = "al\"ice\n\u{1f512}";
        let body = events(from, 7, user, &[r#"{"a":1}"#, "[2]"]);
        let Some(Message::Events { n: 7, user: said, nodes: 2, events, .. }) =
            parse(&format!("events 1 2 5-0,5-1\n{body}"))
        else {
            panic!("{body}")
        };
        assert_eq!((said.as_str(), events.len()), (user, 2));
        assert_eq!((events[1].entry, events[1].payload.get(), events[1].acknowledged), (EntryId(5, 1), "[2]", true));
        let waits = Some((from, 8));
        let Some(Message::Shared { waits: said_waits, user: said }) = parse(&shared(waits, user)) else { panic!() };
        assert_eq!((said_waits, said.as_str()), (waits, user));
        let Some(Message::Took { n: 9, taken }) = parse(&took(9, vec![true, false])) else { panic!() };
        assert_eq!(taken, [true, false]);
        assert!(
            matches!(parse(&ended("s", Some(user))), Some(Message::Ended { but_for: Some(owner), .. }) if owner == user)
        );
        assert!(matches!(parse(BEAT), Some(Message::Beat(Channel::One))));
        assert!(matches!(parse(&format!("{BEAT}1")), Some(Message::Beat(Channel::One))));
        assert!(matches!(parse(BEAT_OF_ALL), Some(Message::Beat(Channel::All))));
    }

    #[test]
    fn by_chance_whatever_is_said_comes_through_or_is_passed_over() {
        const SAID: &[&str] = &[
            "events ",
            "shared",
            "took",
            "ended",
            "beat",
            "\n",
            " ",
            "1",
            "0-0",
            ",",
            "-",
            "{\"n\":1,\"taken\":[true]}",
            "{\"waits\":null,\"user\":\"a\"}",
            "{\"from\":\"67e55044-10b1-426f-9247-bb680e5fe0c8\",\"n\":1,\"user\":\"a\",\"payloads\":[{},{}]}",
            "{\"session\":\"s\"}",
        ];
        bolero::check!().with_max_len(12).for_each(|bytes: &[u8]| {
            let said = text(bytes, SAID);
            parse(&said);
            let Some(Message::Shared { user, .. }) = parse(&shared(None, &said)) else { panic!("{said:?}") };
            assert_eq!(user, said);
            let Some(Message::Ended { session, but_for }) = parse(&ended(&said, Some(&said))) else {
                panic!("{said:?}")
            };
            assert_eq!((session.as_str(), but_for.as_deref()), (&*said, Some(&*said)));
            let body = events(Uuid::nil(), 3, &said, &[&json(&said)]);
            let Some(Message::Events { user, events, .. }) = parse(&format!("events 0 1 7-8\n{body}")) else {
                panic!("{said:?}")
            };
            assert_eq!((user.as_str(), events[0].payload.get()), (&*said, &*json(&said)));
        });
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        for text in ["", "events", "events 1 2\n{}", "events 1 2 x\n{}", "took\n[]", "took", "nonsense\n{}"] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }
}
