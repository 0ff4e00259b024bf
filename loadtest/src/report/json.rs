//! The results as JSON, by `loadtest/schema/results.json`, and read again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use crate::results::{Results, SCHEMA};

/// The whole document.
///
/// # Errors
/// Where it cannot be put into words.
pub fn text(results: &Results) -> io::Result<String> {
    let mut text = serde_json::to_string_pretty(results)?;
    text.push('\n');
    Ok(text)
}

/// Why a file is no file of results.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not JSON, or has not the form of results.
    #[error("{path} is no file of results: {source}")]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error("{path} has schema {found}, and this is written for {SCHEMA}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: Value,
    },
    /// It is a list of no results.
    #[error("{path} holds no results")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The results in a file: one run, or a list of several rounds of the same.
///
/// # Errors
/// Where the file cannot be read, is of another schema, or holds none.
pub fn read(path: &Path) -> Result<Vec<Results>, Unreadable> {
    let path = path.to_path_buf();
    let text = fs::read(&path).map_err(|source| Unreadable::File { path: path.clone(), source })?;
    let form = |source| Unreadable::Form { path: path.clone(), source };
    let value: Value = serde_json::from_slice(&text).map_err(form)?;
    let runs = match value {
        Value::Array(runs) => runs,
        run => vec![run],
    };
    if runs.is_empty() {
        return Err(Unreadable::Empty { path });
    }
    runs.into_iter()
        .map(|run| match run.get("schema") {
            Some(found) if *found != SCHEMA => Err(Unreadable::Schema { path: path.clone(), found: found.clone() }),
            _ => Results::deserialize(run).map_err(form),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn written(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("notify-load-{}-{name}.json", std::process::id()));
        fs::write(&path, text).expect("a file can be written");
        path
    }

    #[test]
    fn what_was_written_is_read_again() {
        for results in [sample::good(), sample::failed(), sample::growth(), sample::elsewhere()] {
            let path = written("same", &text(&results).expect("it is JSON"));
            let again = read(&path).expect("it is right").pop().expect("one run");
            // Not the whole: the last digit of a broken number may differ.
            assert_eq!((&again.environment, &again.counts), (&results.environment, &results.counts));
            assert_eq!((&again.latency, &again.verdict), (&results.latency, &results.verdict));
            assert_eq!((again.series.len(), again.growth.len()), (results.series.len(), results.growth.len()));
        }
        let one = text(&sample::good()).expect("it is JSON");
        assert_eq!(read(&written("rounds", &format!("[{one},{one}]"))).expect("it is right").len(), 2);
    }

    #[test]
    fn what_is_no_file_of_results_is_named() {
        let other = text(&sample::good()).expect("it is JSON").replacen("\"schema\": 1", "\"schema\": 9", 1);
        for (name, text, says) in [
            ("other", other.as_str(), "has schema 9"),
            ("none", "[]", "holds no results"),
            ("foreign", "{\"cases\": []}", "is no file of results"),
            ("broken", "{", "is no file of results"),
        ] {
            let path = written(name, text);
            let error = read(&path).expect_err("it is nonsense").to_string();
            assert!(error.contains(says) && error.contains(&path.display().to_string()), "{error}");
        }
        let error = read(Path::new("/no/such.json")).expect_err("it is not there").to_string();
        assert!(error.contains("/no/such.json"), "{error}");
    }

    /// What the schema says of a document.
    fn checked(document: &Value) -> Result<(), String> {
        let schema = serde_json::from_str(include_str!("../../schema/results.json")).expect("it is JSON");
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("results.json", schema).expect("a name for the schema");
        compiler.enable_format_assertions();
        let index = compiler.compile("results.json", &mut schemas).expect("the schema is one");
        schemas.validate(document, index).map_err(|error| error.to_string())
    }

    #[test]
    fn every_kind_of_result_is_by_the_schema() {
        for results in [sample::good(), sample::failed(), sample::growth(), sample::elsewhere()] {
            let document = serde_json::from_str(&text(&results).expect("it is JSON")).expect("it is JSON");
            checked(&document).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    #[test]
    fn the_schema_refuses_what_is_wrong() {
        let sound = serde_json::to_value(sample::failed()).expect("it is JSON");
        for (pointer, wrong) in [
            ("/schema", serde_json::json!(2)),
            ("/counts/missing", serde_json::json!(-1)),
            ("/counts/missing", Value::Null),
            ("/rates/delivered_per_s", Value::Null),
            ("/environment/date", serde_json::json!("yesterday")),
            ("/latency/buckets/0", serde_json::json!({"value_us": 1})),
            ("/verdict/failures", serde_json::json!([])),
            ("/scenario/further/0", serde_json::json!(["transport"])),
            ("/series/0", serde_json::json!({})),
        ] {
            let mut document = sound.clone();
            *document.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is there")) = wrong;
            assert!(checked(&document).is_err(), "{pointer}");
        }
        let mut more = sound;
        more["counts"]["guessed"] = 1.into();
        assert!(checked(&more).is_err());
    }
}
