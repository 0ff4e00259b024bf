//! Matchers. They compare and say what differs; they know nothing of cases, servers and clients.

use std::fmt;

use serde_json::Value;
use thiserror::Error;
use time::{PrimitiveDateTime, macros::format_description};

use crate::text::shorten;

/// The longest rendering of an expected or actual value, in bytes.
const VALUE_LIMIT: usize = 1_200;

/// Why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The target did something else than was required.
    #[error("expected {expected}, actual {actual}")]
    Mismatch {
        /// What was required.
        expected: String,
        /// What was seen.
        actual: String,
    },
    /// The suite could not find out; no verdict on the target.
    #[error("{0}")]
    Inconclusive(String),
    /// What the case does is not to be had in this run, whatever the target is.
    #[error("{0}")]
    NotApplicable(String),
}

impl Fault {
    /// The same, where it is told of one of several alike: `expected … for the token x`.
    #[must_use]
    pub fn of(self, which: impl fmt::Display) -> Self {
        match self {
            Self::Mismatch { expected, actual } => mismatch(format!("{expected} {which}"), actual),
            other => other,
        }
    }
}

/// What a matcher, and so a case, returns.
pub type Outcome<T = ()> = Result<T, Fault>;

/// The target did `actual` where `expected` was required.
pub fn mismatch(expected: impl Into<String>, actual: impl Into<String>) -> Fault {
    Fault::Mismatch { expected: shorten(&expected.into(), VALUE_LIMIT), actual: shorten(&actual.into(), VALUE_LIMIT) }
}

/// The suite failed at `what`.
pub fn inconclusive(what: impl Into<String>) -> Fault {
    Fault::Inconclusive(what.into())
}

/// `holds`, or else a mismatch.
///
/// # Errors
/// Where it does not hold.
pub fn that(holds: bool, expected: impl Into<String>, actual: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(mismatch(expected, actual)) }
}

/// Both are equal as JSON: members in any order, numbers equal as numbers of the same kind.
///
/// # Errors
/// Where they differ; the fault names the first place that does.
pub fn equal(what: &str, expected: &Value, actual: &Value) -> Outcome {
    let Some(place) = first_difference(expected, actual, String::new()) else { return Ok(()) };
    let place = if place.is_empty() { String::new() } else { format!(" (differs at {place})") };
    Err(mismatch(format!("{what} {expected}"), format!("{actual}{place}")))
}

/// `value` has the string `expected` as the member `name`.
///
/// # Errors
/// Where the member is absent or another.
pub fn member(value: &Value, name: &str, expected: &str) -> Outcome {
    let actual = value.get(name);
    if actual.and_then(Value::as_str) == Some(expected) {
        return Ok(());
    }
    Err(mismatch(format!("{name} {expected:?}"), actual.map_or("no such member".to_owned(), Value::to_string)))
}

/// `text` is a time as JavaScript's `Date.prototype.toISOString` writes it; returns milliseconds since the epoch.
///
/// # Errors
/// Where the form differs.
pub fn iso_timestamp(text: &str) -> Outcome<i64> {
    const EXAMPLE: &str = "2026-01-31T09:05:07.123Z";
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    // A year might come with a sign.
    let time = PrimitiveDateTime::parse(text, form).ok().filter(|_| text.len() == EXAMPLE.len());
    let time =
        time.ok_or_else(|| mismatch(format!("a timestamp such as {EXAMPLE}"), format!("{text:?}")))?.assume_utc();
    Ok(time.unix_timestamp() * 1_000 + i64::from(time.millisecond()))
}

fn first_difference(expected: &Value, actual: &Value, place: String) -> Option<String> {
    match (expected, actual) {
        (Value::Object(left), Value::Object(right)) => {
            let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
            for name in names {
                let here = format!("{place}/{name}");
                match (left.get(name), right.get(name)) {
                    (Some(a), Some(b)) => {
                        if let Some(found) = first_difference(a, b, here) {
                            return Some(found);
                        }
                    }
                    _ => return Some(here),
                }
            }
            None
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            left.iter().zip(right).enumerate().find_map(|(i, (a, b))| first_difference(a, b, format!("{place}/{i}")))
        }
        _ => (expected != actual).then_some(place),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equality_ignores_the_order_of_members_and_names_the_place() {
        assert!(equal("m", &json!({"a": 1, "b": [1, 2]}), &json!({"b": [1, 2], "a": 1})).is_ok());
        let fault = equal("m", &json!({"a": {"b": [1, 2]}}), &json!({"a": {"b": [1, 3]}})).unwrap_err();
        assert!(fault.to_string().contains("differs at /a/b/1"), "{fault}");
    }

    #[test]
    fn an_integer_that_became_a_float_is_a_difference() {
        assert!(equal("m", &json!(1), &json!(1.0)).is_err());
    }

    #[test]
    fn a_lost_null_and_a_new_member_are_differences() {
        assert!(equal("m", &json!({"a": null}), &json!({})).is_err());
        assert!(equal("m", &json!({}), &json!({"a": null})).is_err());
    }

    #[test]
    fn timestamps_are_read_to_the_millisecond() {
        assert_eq!(iso_timestamp("1970-01-01T00:00:00.001Z"), Ok(1));
        assert_eq!(iso_timestamp("2024-02-29T12:00:00.000Z"), Ok(1_709_208_000_000));
    }

    #[test]
    fn other_ways_to_write_a_time_are_refused() {
        for wrong in [
            "2024-02-29T12:00:00Z",
            "2024-02-29T12:00:00.000+00:00",
            "2024-02-29T12:00:00.0000Z",
            "2024-02-29 12:00:00.000Z",
            "2024-02-29t12:00:00.000z",
            "2024-13-01T00:00:00.000Z",
            "2023-02-29T00:00:00.000Z",
            "+2024-02-29T12:00:00.000Z",
            "+024-02-29T12:00:00.000Z",
            "",
            "now",
        ] {
            assert!(iso_timestamp(wrong).is_err(), "{wrong}");
        }
    }
}
