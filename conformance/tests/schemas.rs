//! What the schemas of `fixtures/schema/` say of the files that the project ships and writes.

use std::{fs, path::Path, process::Command};

use boon::{Compiler, Schemas};
use notify_conformance::baseline::Baseline;
use serde_json::Value;

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

fn check(schema: &str, instance: &Value) -> Result<(), String> {
    let path = fixtures().join("schema").join(schema);
    let document: Value = serde_json::from_str(&fs::read_to_string(path).expect("the schema")).expect("it is JSON");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource(schema, document).expect("a name for the schema");
    compiler.enable_format_assertions();
    let index = compiler.compile(schema, &mut schemas).expect("the schema is one");
    schemas.validate(instance, index).map_err(|error| error.to_string())
}

#[test]
fn every_shipped_target_file_is_by_its_schema() {
    for entry in fs::read_dir(fixtures().join("targets")).expect("the target files") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|kind| kind == "toml") {
            check("target.schema.json", &toml(&path)).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        }
    }
}

/// TOML as JSON, with dates as texts, as editors that check TOML by a schema take it.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(members) => members.into_iter().map(|(name, value)| (name, json(value))).collect(),
        plain => serde_json::to_value(plain).expect("a plain value"),
    }
}

#[test]
fn a_baseline_that_the_suite_takes_is_by_its_schema_and_one_that_it_refuses_is_not() {
    let right = "id = \"QUEUE-03/exactly-50\"\nreason = \"r\"\nowner = \"o\"\nexpires = 2026-12-31\n";
    let cases = notify_conformance::cases::all();
    for (entry, sound) in [
        (right.to_owned(), true),
        (right.replace("2026-12-31", "\"soon\""), false),
        (right.replace("2026-12-31", "2026-12-31T00:00:00"), false),
        (right.replace("/exactly-50", ""), false),
        (right.replace("\"r\"", "\" \""), false),
        (right.replace("owner = \"o\"\n", ""), false),
        (right.replace("owner", "owned"), false),
        (format!("{right}\nflaky = true"), false),
    ] {
        let text = format!("[[known_failing]]\n{entry}");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("entry.toml");
        fs::write(&path, &text).expect("a file can be written");
        let read = Baseline::read(&path, &cases, time::Date::MIN);
        assert_eq!(read.is_ok(), sound, "{text}: {read:?}");
        let document = toml::from_str(&text).map(json).expect("it is TOML");
        assert_eq!(check("baseline.schema.json", &document).is_ok(), sound, "{text}");
    }
}

#[test]
fn the_broken_target_files_are_not_by_the_schema() {
    // What one part of a file says about another is beyond the schema, and a text that is not TOML has no form at all.
    let beyond = ["capabilities-without-sections.toml", "not-applicable.toml", "not-told.toml", "no-toml.toml"];
    for entry in fs::read_dir(fixtures().join("targets/broken")).expect("the broken files") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".toml") && !beyond.contains(&name.as_str()) {
            assert!(check("target.schema.json", &toml(&path)).is_err(), "{name}");
        }
    }
}

fn toml(path: &Path) -> Value {
    toml::from_str(&fs::read_to_string(path).expect("a file")).expect("it is TOML")
}

#[test]
fn a_report_is_by_its_schema_with_every_kind_of_result_in_it() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = fs::read_to_string(fixtures().join("targets/reference-embedded.toml")).expect("the target file");
    let root = fixtures().join("..");
    let target = target
        .replace("directory = \"../..\"", &format!("directory = {:?}", root.display().to_string()))
        .replace("[process.env]", "[process.env]\nQUEUE_MAX_EVENTS = \"49\"")
        .replace("queue_ttl_seconds = \"QUEUE_TTL_SECONDS\"", "");
    fs::write(folder.join("mixed.toml"), target).expect("a target file can be written");
    let known = ["QUEUE-03/far-over", "QUEUE-12/nothing"]
        .map(|id| format!("[[known_failing]]\nid = {id:?}\nreason = \"r\"\nowner = \"o\"\nexpires = 9999-12-31\n"));
    fs::write(folder.join("mixed-baseline.toml"), known.concat()).expect("a baseline can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_notify-conformance"))
        .args(["run", "--target", "mixed.toml", "--only", "QUEUE-03,QUEUE-06,QUEUE-12,QUEUE-15"])
        .args(["--report", "json=mixed.json", "--baseline", "mixed-baseline.toml", "--repeat", "2"])
        .current_dir(folder)
        .output();
    assert_eq!(output.expect("the suite starts").status.code(), Some(1));
    let text = fs::read_to_string(folder.join("mixed.json")).expect("the report was written");
    for verdict in ["passed", "failed", "known_failing", "not_applicable", "not_run"] {
        assert!(text.contains(&format!("\"verdict\": \"{verdict}\"")), "{verdict} is in the report");
    }
    assert!(
        text.contains("\"fault\": \"passes\"") && text.contains("\"upper_95\""),
        "a stale entry and rates are in it"
    );
    let report: Value = serde_json::from_str(&text).expect("it is JSON");
    check("report.schema.json", &report).unwrap_or_else(|why| panic!("{why}"));
    a_comparison_is_by_its_schema(folder, report);
}

/// Of a report and the same one with changes.
fn a_comparison_is_by_its_schema(folder: &Path, mut report: Value) {
    let cases = report["cases"].as_array_mut().expect("the cases");
    cases.retain(|case| case["id"] != "QUEUE-06/expires");
    for case in cases.iter_mut().filter(|case| case["id"] == "QUEUE-12/nothing") {
        case["result"] = serde_json::json!({"verdict": "failed", "expected": "nothing", "actual": "something"});
    }
    fs::write(folder.join("changed.json"), report.to_string()).expect("a report can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_notify-conformance"))
        .args(["compare", "mixed.json", "changed.json", "--report", "json=comparison.json"])
        .current_dir(folder)
        .output();
    assert_eq!(output.expect("the suite starts").status.code(), Some(1));
    let text = fs::read_to_string(folder.join("comparison.json")).expect("the comparison was written");
    let comparison: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(comparison["counts"]["gone"], 1, "{text}");
    assert_eq!(comparison["counts"]["newly_failing"], 1, "{text}");
    check("comparison.schema.json", &comparison).unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn the_schemas_refuse_what_is_wrong() {
    assert!(check("report.schema.json", &serde_json::json!({"format": 1})).is_err());
    assert!(check("comparison.schema.json", &serde_json::json!({"format": 1, "worse": false})).is_err());
    assert!(check("target.schema.json", &serde_json::json!({"name": "x", "jwt": {}, "emit": {}})).is_err());
}
