//! Reads the fixtures that are not tokens. Knows the formats of `fixtures/README.md`.

use serde_json::Value;

/// The awkward and the plain events.
pub const METADATA: &str = include_str!("../../fixtures/events/metadata.json");
/// One event of each type.
pub const PLAIN: &str = include_str!("../../fixtures/events/plain.json");
/// Who receives an event.
pub const RECIPIENTS: &str = include_str!("../../fixtures/events/recipients.json");
/// Bodies that the control surface refuses.
pub const REFUSED: &str = include_str!("../../fixtures/events/refused.json");
/// User ids that must never meet.
pub const USERS: &str = include_str!("../../fixtures/users.json");
/// Metadata that has to arrive as it was written.
pub const VERBATIM: &str = include_str!("../../fixtures/events/verbatim.json");
/// Payloads of a CONNECT, with all kinds of things beside the token.
pub const CONNECT: &str = include_str!("../../fixtures/packets/connect.json");
/// Names of events, as they may be written.
pub const NAMES: &str = include_str!("../../fixtures/packets/names.json");
/// Packets that close the connection.
pub const MALFORMED: &str = include_str!("../../fixtures/packets/malformed.json");

/// The entries of the list `member` in a fixture file.
///
/// # Panics
/// Where a shipped file is broken, which a test rules out.
pub fn list(file: &str, member: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(file).expect("a fixture file is JSON");
    file[member].as_array().cloned().expect("a fixture file has its list")
}

/// The member `name` of an entry, or the empty text.
pub fn text<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry[name].as_str().unwrap_or_default()
}

/// `value` with each `{name}` replaced, in names and texts alike, and each `repeat` and `concat` written out.
pub fn fill(value: &Value, names: &[(&str, &str)]) -> Value {
    match value {
        Value::String(text) => Value::String(fill_text(text, names)),
        Value::Array(items) => items.iter().map(|item| fill(item, names)).collect(),
        Value::Object(members) => match long_text(value) {
            Some(text) => Value::String(fill_text(&text, names)),
            None => members.iter().map(|(name, value)| (fill_text(name, names), fill(value, names))).collect(),
        },
        other => other.clone(),
    }
}

fn fill_text(text: &str, names: &[(&str, &str)]) -> String {
    names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// `{"repeat": ["a", 9]}` and `{"concat": […]}`.
fn long_text(value: &Value) -> Option<String> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    if let Some([Value::String(text), count]) = members.get("repeat").and_then(Value::as_array).map(Vec::as_slice) {
        return Some(text.repeat(usize::try_from(count.as_u64()?).ok()?));
    }
    let parts = members.get("concat")?.as_array()?;
    parts.iter().map(|part| part.as_str().map(str::to_owned).or_else(|| long_text(part))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec;

    #[test]
    fn every_entry_is_named_and_names_a_sentence_that_exists() {
        for (file, member) in [
            (METADATA, "events"),
            (PLAIN, "events"),
            (RECIPIENTS, "events"),
            (REFUSED, "bodies"),
            (USERS, "groups"),
            (MALFORMED, "malformed"),
            (VERBATIM, "metadata"),
            (CONNECT, "payloads"),
            (NAMES, "names"),
        ] {
            for entry in list(file, member) {
                assert!(!text(&entry, "name").is_empty(), "{entry}");
                let sentence = text(&entry, "sentence");
                assert!(sentence.is_empty() || spec::sentence(sentence).is_some(), "{entry}");
            }
        }
    }

    #[test]
    fn placeholders_and_long_texts_are_written_out() {
        let filled = fill(
            &json!({"{n}": ["x{user}", {"repeat": ["ab", 2]}, {"concat": ["{n}", {"repeat": ["c", 2]}]}]}),
            &[("n", "1"), ("user", "u")],
        );
        assert_eq!(filled, json!({"1": ["xu", "abab", "1cc"]}));
    }
}
