//! Reads of JSON what is needed and passes over the rest, be it such that no reader of values takes: half an emoji, `1e400`, a thousand
//! arrays in each other. Pure.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of these names, in their order; of one that is there twice the last. `None` where the text is no object.
pub(crate) fn members<'a, const N: usize>(json: &'a str, names: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    let mut reader = serde_json::Deserializer::from_str(json);
    Members(names).deserialize(&mut reader).ok()
}

/// Whether arrays and objects are nested no deeper than this. Of text that is JSON.
pub(crate) fn is_within_depth(json: &str, most: usize) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    json.bytes().all(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth <= most
    })
}

struct Members<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Members<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(Name(name)) = map.next_key()? {
            match self.0.iter().position(|wanted| wanted.as_bytes() == &*name) {
                Some(place) => found[place] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// The name of a member, read as bytes: what is no text is some other name.
struct Name<'a>(Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Bytes<'a>(PhantomData<&'a [u8]>);
        impl<'de: 'a, 'a> Visitor<'de> for Bytes<'a> {
            type Value = Name<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_bytes<E: Error>(self, name: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Name(name.into()))
            }

            fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
                Ok(Name(name.to_vec().into()))
            }
        }
        reader.deserialize_bytes(Bytes(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::fragments::{JSON, text};

    fn found(json: &str) -> Option<[Option<String>; 2]> {
        members(json, ["a", "b"]).map(|found| found.map(|value| value.map(|it| it.get().to_owned())))
    }

    #[test]
    fn what_is_asked_for_is_found_whatever_stands_beside_it() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let all = [
            r#"{"a":"x"}"#.to_owned(),
            r#"{"half":"\ud83d","a":"x","n":1e400}"#.to_owned(),
            r#"{"\ud83d":0,"\u0061":"x","d":"\udc00\ud83d"}"#.to_owned(),
            r#"{"c":1,"c":2,"a":1,"c":3,"a":"x"}"#.to_owned(),
            format!(r#"{{"deep":{deep},"a":"x","n":-123456789012345678901234567890.0001e-99999}}"#),
        ];
        for json in all {
            assert_eq!(found(&json), Some([Some(r#""x""#.to_owned()), None]), "{json:.80}");
        }
        assert_eq!(found(r#"{"b":1e400}"#), Some([None, Some("1e400".into())]));
        for json in ["null", "[]", "1", r#""a""#, "{", r#"{"a":}"#] {
            assert_eq!(found(json), None, "{json}");
        }
    }

    #[test]
    fn by_chance_what_is_found_is_what_a_reader_of_values_finds() {
        bolero::check!().with_max_len(12).for_each(|bytes: &[u8]| {
            let json = text(bytes, JSON);
            for json in [format!("{{{json}}}"), json] {
                let Ok(Value::Object(all)) = serde_json::from_str(&json) else { continue };
                let found = found(&json).expect("it is an object");
                for (name, found) in ["a", "b"].into_iter().zip(found) {
                    let found: Option<Value> = found.map(|json| serde_json::from_str(&json).expect("it is JSON"));
                    assert_eq!(found.as_ref(), all.get(name), "{name} in {json}");
                }
                let depth = depth(&Value::Object(all));
                assert!(is_within_depth(&json, depth) && !is_within_depth(&json, depth - 1), "{json}");
            }
        });
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(all) => 1 + all.iter().map(depth).max().unwrap_or_default(),
            Value::Object(all) => 1 + all.values().map(depth).max().unwrap_or_default(),
            _ => 0,
        }
    }

    #[test]
    fn depth_is_counted_outside_of_texts() {
        for (json, depth) in [("1", 0), ("{}", 1), (r#"{"a":[1,{"b":2}],"c":[]}"#, 3), (r#"["[[\"[[", "\\", [2]]"#, 2)]
        {
            assert!(is_within_depth(json, depth), "{json}");
            assert!(depth == 0 || !is_within_depth(json, depth - 1), "{json}");
        }
    }
}
