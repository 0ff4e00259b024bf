//! Fills `{placeholders}` in the texts and JSON bodies of a target file. Knows nothing of what they mean.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use thiserror::Error;

/// What placeholders stand for.
#[derive(Debug, Clone, Default)]
pub struct Values(BTreeMap<String, Value>);

/// A placeholder that has no value.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the placeholder {{{0}}} has no value here")]
pub struct UnknownPlaceholder(pub String);

impl Values {
    /// Sets `name`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets `name`.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// `text` with every placeholder replaced.
    ///
    /// # Errors
    /// Where a placeholder has no value.
    pub fn text(&self, text: &str) -> Result<String, UnknownPlaceholder> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, after)) = next_placeholder(rest) {
            filled.push_str(before);
            match self.0.get(name) {
                Some(Value::String(value)) => filled.push_str(value),
                Some(value) => filled.push_str(&value.to_string()),
                None => return Err(UnknownPlaceholder(name.to_owned())),
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// `template` with every placeholder replaced. A string that is one placeholder and nothing else takes the value as
    /// JSON; where that has no value, the member is left out.
    ///
    /// # Errors
    /// Where a placeholder inside a longer text has no value.
    pub fn json(&self, template: &Value) -> Result<Value, UnknownPlaceholder> {
        Ok(match template {
            Value::String(text) => match sole_placeholder(text) {
                Some(name) => self.0.get(name).cloned().ok_or_else(|| UnknownPlaceholder(name.to_owned()))?,
                None => Value::String(self.text(text)?),
            },
            Value::Array(items) => Value::Array(items.iter().map(|item| self.json(item)).collect::<Result<_, _>>()?),
            Value::Object(members) => {
                let mut filled = Map::new();
                for (name, value) in members {
                    let left_out = value.as_str().and_then(sole_placeholder).is_some_and(|it| !self.0.contains_key(it));
                    if !left_out {
                        filled.insert(name.clone(), self.json(value)?);
                    }
                }
                Value::Object(filled)
            }
            other => other.clone(),
        })
    }
}

/// The names of the placeholders in `text`.
pub fn placeholders(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, name, after)) = next_placeholder(rest) {
        names.push(name);
        rest = after;
    }
    names
}

fn sole_placeholder(text: &str) -> Option<&str> {
    match next_placeholder(text) {
        Some(("", name, "")) => Some(name),
        _ => None,
    }
}

/// Splits at the first `{lower_case_name}`; other braces are text.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|at| at + from) {
        let close = text[open..].find('}')? + open;
        let name = &text[open + 1..close];
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return Some((&text[..open], name, &text[close + 1..]));
        }
        from = open + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_and_bodies_are_filled() {
        let values = Values::default().with("port", "8080").with("metadata", json!({"a": 1}));
        assert_eq!(values.text("http://x:{port}/{not a name}"), Ok("http://x:8080/{not a name}".to_owned()));
        let body = values.json(&json!({"metadata": "{metadata}", "at": "port {port}", "gone": "{expires_at}"}));
        assert_eq!(body, Ok(json!({"metadata": {"a": 1}, "at": "port 8080"})));
    }

    #[test]
    fn an_unknown_placeholder_in_a_text_is_named() {
        assert_eq!(Values::default().text("{redis_prot}"), Err(UnknownPlaceholder("redis_prot".to_owned())));
    }
}
