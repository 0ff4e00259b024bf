//! Turns the JSON of a request into events, naming every member that is wrong (EMIT-08, EMIT-09).

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use super::{
    body,
    problem::{Fault, Problem},
};
use crate::model::{Draft, EventType, Metadata};

/// How many events a batch may have (EMIT-03).
const MAX_BATCH: usize = 1_000;

/// How many faults are reported at most.
const MAX_FAULTS: usize = 20;

/// An event as it usually comes, read in one go. What is wrong with any other, [`Members`] tell, and they have the last word.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Usual<'a> {
    event_type: &'a str,
    actor_id: String,
    resource_id: String,
    #[serde(default)]
    metadata: Metadata,
}

impl Usual<'_> {
    fn draft(self) -> Option<Draft> {
        let Self { event_type, actor_id, resource_id, metadata } = self;
        let event_type = EventType::parse(event_type)?;
        let is_right = !actor_id.is_empty() && !resource_id.is_empty() && names_nobody_odd(&metadata);
        is_right.then_some(Draft { event_type, actor_id, resource_id, metadata })
    }
}

/// A JSON object; what is derived for a struct takes an array, too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Only<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Only<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }
        deserializer.deserialize_map(Only(PhantomData)).map(Self)
    }
}

/// One event.
pub(crate) fn one(body: &[u8]) -> Result<Draft, Problem> {
    let usual = serde_json::from_slice::<Object<Usual<'_>>>(body).ok().and_then(|Object(event)| event.draft());
    match usual {
        Some(draft) => Ok(draft),
        None => one_by_members(body::json(body)?).map_err(Problem::faults),
    }
}

/// A batch, refused whole where one event of it is wrong (EMIT-04).
pub(crate) fn batch(body: &[u8]) -> Result<Vec<Draft>, Problem> {
    let events = serde_json::from_slice::<Vec<Object<Usual<'_>>>>(body).unwrap_or_default();
    let usual: Option<Vec<_>> = events.into_iter().map(|Object(event)| event.draft()).collect();
    match usual {
        Some(drafts) if (1..=MAX_BATCH).contains(&drafts.len()) => Ok(drafts),
        _ => batch_by_members(body::json(body)?).map_err(Problem::faults),
    }
}

fn one_by_members(body: &RawValue) -> Result<Draft, Vec<Fault>> {
    let mut members = Members::of(body, String::new())?;
    let draft = draft(&mut members);
    members.finish(draft)
}

fn batch_by_members(body: &RawValue) -> Result<Vec<Draft>, Vec<Fault>> {
    let Ok(events) = serde_json::from_str::<Vec<&RawValue>>(body.get()) else {
        return Err(vec![Fault::new("", "has to be an array of events")]);
    };
    if events.is_empty() || events.len() > MAX_BATCH {
        return Err(vec![Fault::new("", format!("has to have 1 to {MAX_BATCH} events"))]);
    }
    let (mut drafts, mut faults) = (Vec::with_capacity(events.len()), Vec::new());
    for (place, event) in events.into_iter().enumerate() {
        let parsed = Members::of(event, format!("/{place}")).and_then(|mut members| {
            let draft = draft(&mut members);
            members.finish(draft)
        });
        match parsed {
            Ok(draft) => drafts.push(draft),
            Err(more) => faults.extend(more),
        }
    }
    faults.truncate(MAX_FAULTS);
    if faults.is_empty() { Ok(drafts) } else { Err(faults) }
}

fn draft(members: &mut Members<'_>) -> Option<Draft> {
    let event_type = members.text("eventType").and_then(|name| match EventType::parse(&name) {
        Some(event_type) => Some(event_type),
        None => members.fault("eventType", "is no type of an event"),
    });
    let actor_id = members.text("actorId");
    let resource_id = members.text("resourceId");
    let metadata = match members.take("metadata") {
        None => Some(Metadata::default()),
        Some(json) => match Metadata::new(json.to_owned()) {
            Ok(metadata) if names_nobody_odd(&metadata) => Some(metadata),
            Ok(_) => members.fault("metadata/targetUserId", "has to be Unicode text, where it is a string"),
            Err(error) => members.fault("metadata", &error.to_string()),
        },
    };
    Some(Draft { event_type: event_type?, actor_id: actor_id?, resource_id: resource_id?, metadata: metadata? })
}

/// Whether `targetUserId` names somebody who can exist: half an emoji is in no token, and the event is not for whoever has the id of
/// the resource.
fn names_nobody_odd(metadata: &Metadata) -> bool {
    let target = metadata.get("targetUserId").map(RawValue::get).filter(|target| target.starts_with('"'));
    target.is_none_or(|target| serde_json::from_str::<String>(target).is_ok())
}

/// The members of an object, taken one by one; what is left in the end is unknown.
pub(crate) struct Members<'a> {
    object: BTreeMap<String, &'a RawValue>,
    place: String,
    faults: Vec<Fault>,
}

impl<'a> Members<'a> {
    /// The members of the object at `place`; of one that is there twice the last.
    pub(crate) fn of(json: &'a RawValue, place: String) -> Result<Self, Vec<Fault>> {
        match serde_json::from_str(json.get()) {
            Ok(object) => Ok(Self { object, place, faults: Vec::new() }),
            Err(_) if json.get().starts_with('{') => {
                Err(vec![Fault::new(place, "has members whose names are no Unicode text")])
            }
            Err(_) => Err(vec![Fault::new(place, "has to be an object")]),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        self.object.remove(name)
    }

    /// A member that has to be there and be a non-empty string.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name).map(|json| serde_json::from_str::<String>(json.get())) {
            Some(Ok(text)) if !text.is_empty() => Some(text),
            Some(_) => self.fault(name, "has to be a non-empty string"),
            None => self.fault(name, "is missing"),
        }
    }

    /// Notes what is wrong with a member, named by a pointer into the object.
    pub(crate) fn fault<T>(&mut self, name: &str, detail: &str) -> Option<T> {
        self.faults.push(Fault::new(format!("{}/{name}", self.place), detail));
        None
    }

    /// The result, where nothing was wrong and nothing is left.
    pub(crate) fn finish<T>(mut self, result: Option<T>) -> Result<T, Vec<Fault>> {
        let unknown: Vec<String> = self.object.keys().take(MAX_FAULTS).cloned().collect();
        for name in unknown {
            self.fault::<()>(&pointer_token(&name), "is not known here");
        }
        match result {
            Some(result) if self.faults.is_empty() => Ok(result),
            _ => Err(self.faults),
        }
    }
}

/// RFC 6901, and no longer than a name has any reason to be.
fn pointer_token(name: &str) -> String {
    let short: String = name.chars().take(100).collect();
    short.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;
    use crate::fragments::text;

    fn event() -> Value {
        json!({"eventType": "record.accessed", "actorId": "a", "resourceId": "r", "metadata": {"k": 1}})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut event = event();
        event[name] = value;
        event
    }

    /// As the routes read it, which has to agree with what the members tell.
    fn one(event: Value) -> Result<Draft, Vec<Fault>> {
        let outcome = one_by_members(&to_raw_value(&event).unwrap());
        assert_eq!(super::one(event.to_string().as_bytes()).ok(), outcome.as_ref().ok().cloned());
        outcome
    }

    fn batch(events: Value) -> Result<Vec<Draft>, Vec<Fault>> {
        let outcome = batch_by_members(&to_raw_value(&events).unwrap());
        assert_eq!(super::batch(events.to_string().as_bytes()).ok(), outcome.as_ref().ok().cloned());
        outcome
    }

    #[test]
    fn by_chance_the_usual_way_reads_nothing_that_the_members_do_not_tell() {
        const EVENT: &[&str] = &[
            r#""metadata":{"targetUserId":"a"}"#,
            r#""metadata":{"targetUserId":"\ud83d"}"#,
            r#""metadata":{"x":[1e400]}"#,
            r#""actorId":"\u00e9""#,
            r#""resourceId":"""#,
            "\"eventType\":",
            "\"actorId\":",
            "\"resourceId\":",
            "\"metadata\":",
            "\"record.accessed\"",
            "\"access\\u002egranted\"",
            "\"a\"",
            "\"targetUserId\":",
            "{",
            "}",
            ",",
            ":",
            "\"\"",
            "null",
            "1",
            "\"\\ud83d\"",
            "\"\u{e9}\"",
            "[",
            "]",
            "\"x\":",
            " ",
        ];
        bolero::check!().with_max_len(12).for_each(|bytes: &[u8]| {
            let event = text(bytes, EVENT);
            // Such that most of it is right, too.
            let right = r#""eventType":"record.accessed","actorId":"a","resourceId":"r""#;
            for body in [format!("{{{right},{event}}}"), format!("{{{event},{right}}}"), format!("{{{event}}}"), event]
            {
                let told = serde_json::from_str::<&RawValue>(&body).ok().and_then(|json| one_by_members(json).ok());
                assert_eq!(super::one(body.as_bytes()).ok(), told, "{body}");
                let batch = format!("[{body},{body}]");
                let told_of_batch =
                    serde_json::from_str::<&RawValue>(&batch).ok().and_then(|it| batch_by_members(it).ok());
                assert_eq!(super::batch(batch.as_bytes()).ok(), told_of_batch, "{batch}");
            }
        });
    }

    fn pointers(outcome: Result<impl Sized, Vec<Fault>>) -> Vec<String> {
        outcome.err().into_iter().flatten().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn an_event_with_and_without_metadata_is_taken() {
        assert_eq!(one(event()).unwrap().metadata.json(), r#"{"k":1}"#);
        let mut without = event();
        without.as_object_mut().unwrap().remove("metadata");
        assert_eq!(one(without).unwrap().metadata, Metadata::default());
    }

    #[test]
    fn each_wrong_member_is_named() {
        let wrong = [
            ("eventType", json!("record.deleted")),
            ("eventType", json!(1)),
            ("eventType", json!({"record.accessed": null})),
            ("actorId", json!("")),
            ("actorId", json!(null)),
            ("resourceId", json!(["r"])),
            ("metadata", json!(null)),
            ("metadata", json!([])),
            ("metadata", json!("{}")),
            ("unknown", json!(1)),
        ];
        for (name, value) in wrong {
            assert_eq!(pointers(one(with(name, value))), [format!("/{name}")]);
        }
        assert_eq!(pointers(one(with("a/b~c", json!(1)))), ["/a~1b~0c"]);
        assert_eq!(pointers(one(json!({}))), ["/eventType", "/actorId", "/resourceId"]);
        assert_eq!(pointers(one(json!([]))), [""]);
        assert_eq!(pointers(one(json!(["record.accessed", "a", "r", {}]))), [""]);
    }

    #[test]
    fn a_body_that_is_none_or_no_batch_is_told_what_it_has_to_be() {
        let told = |problem: Option<Problem>| serde_json::to_value(problem.unwrap()).unwrap()["detail"].clone();
        let many = Value::Array(vec![event(); MAX_BATCH + 1]).to_string();
        for (body, what) in [
            ("[]", "the body has to be an object"),
            ("5", "the body has to be an object"),
            (r#"{"\ud83d":1}"#, "the body has members whose names are no Unicode text"),
        ] {
            assert_eq!(told(super::one(body.as_bytes()).err()), what, "{body}");
        }
        for (body, what) in [
            ("{}", "the body has to be an array of events"),
            ("[]", "the body has to have 1 to 1000 events"),
            (&*many, "the body has to have 1 to 1000 events"),
            ("[5]", "/0 has to be an object"),
        ] {
            assert_eq!(told(super::batch(body.as_bytes()).err()), what, "{body}");
        }
    }

    #[test]
    fn escapes_are_no_other_names() {
        let escaped = br#"{"eventType":"record\u002eaccessed","actorId":"\u0061","resourceId":"r"}"#;
        assert_eq!(
            super::one(escaped).unwrap(),
            one(json!({"eventType": "record.accessed", "actorId": "a", "resourceId": "r"})).unwrap()
        );
    }

    #[test]
    fn of_a_member_that_comes_twice_the_last_counts() {
        let twice = br#"{"eventType":"access.granted","actorId":"a","actorId":"b","resourceId":"r"}"#;
        assert_eq!(super::one(twice).unwrap().actor_id, "b");
    }

    #[test]
    fn metadata_may_say_what_no_reader_of_values_takes() {
        let metadata = r#"{"half":"\ud83d","n":1e400, "n":[12345678901234567890123,1.10],"\udc00":null}"#;
        let event =
            format!(r#"{{"eventType":"record.accessed","actorId":"a","resourceId":"r","metadata":{metadata}}}"#);
        assert_eq!(super::one(event.as_bytes()).unwrap().metadata.json(), metadata);
        let with_fault = event.replace("\"a\"", "1");
        assert!(super::one(with_fault.as_bytes()).is_err());
        let batch = format!("[{event}, {event}]");
        let drafts = super::batch(batch.as_bytes()).unwrap();
        assert!(drafts.iter().all(|draft| draft.metadata.json() == metadata) && drafts.len() == 2);
    }

    #[test]
    fn an_event_for_nobody_who_can_exist_is_refused() {
        let event = |target: &str| {
            let metadata = format!(r#"{{"targetUserId":"a","targetUserId":{target}}}"#);
            format!(r#"[{{"eventType":"record.accessed","actorId":"a","resourceId":"r","metadata":{metadata}}}]"#)
        };
        let faults = |body: String| pointers(batch_by_members(&RawValue::from_string(body).unwrap()));
        assert_eq!(faults(event(r#""a\ud83d""#)), ["/0/metadata/targetUserId"]);
        assert!(super::batch(event(r#""a\ud83d""#).as_bytes()).is_err());
        for target in [r#""\ud83d\ude00""#, r#"["\ud83d"]"#, "1e400", "null"] {
            assert!(faults(event(target)).is_empty(), "{target}");
            assert!(super::batch(event(target).as_bytes()).is_ok(), "{target}");
        }
    }

    #[test]
    fn a_batch_is_refused_whole_and_names_the_place() {
        let wrong = json!([event(), event(), event(), with("metadata", json!(3))]);
        assert_eq!(pointers(batch(wrong)), ["/3/metadata"]);
        assert_eq!(pointers(batch(json!([event(), 5]))), ["/1"]);
    }

    #[test]
    fn a_batch_has_one_to_a_thousand_events() {
        for (count, taken) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
            assert_eq!(batch(vec![event(); count].into()).is_ok(), taken, "{count}");
        }
        assert!(batch(event()).is_err());
    }
}
