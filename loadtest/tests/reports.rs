//! What is written of a real run: by its schema, read again, and the same as itself.

use std::{fs, path::Path, str::FromStr, time::Duration};

use boon::{Compiler, Schemas};
use notify_conformance::redis::RedisChoice;
use notify_load::{
    compare::compare,
    floor::{self, Flaws},
    ground::Wanted,
    report::{choice::Choice, json},
    run::{self, Plan},
    scenarios::Kind,
    settings::Settings,
};
use serde_json::Value;
use tokio::net::TcpListener;

/// A second of events, not fast enough to need an optimised build.
fn plan(url: String) -> Plan {
    let settings = Settings {
        connections: 10,
        users: 10,
        rate: Some(200.0),
        emitters: 8,
        warmup: Duration::from_millis(100),
        duration: Duration::from_secs(2),
        ..Kind::Unicast.defaults()
    };
    let wanted = Wanted { target: Some(url), redis: RedisChoice::Local, image: String::new(), across: false };
    Plan { wanted, kind: Kind::Unicast, settings, growth: vec![5, 10], expectations: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_report_of_a_real_run_can_be_written_and_the_json_is_by_its_schema() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let server = tokio::spawn(floor::serve(listener, Flaws::default()));
    let results = run::run(&plan(url)).await.unwrap_or_else(|fault| panic!("{}", run::told(&fault)));
    server.abort();

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reports");
    for (kind, holds) in [("json", "\"schema\": 1"), ("html", "<h1>PASSED</h1>"), ("markdown", "PASSED")] {
        let path = folder.join(kind);
        let choice = Choice::from_str(&format!("{kind}={}", path.display())).expect("a report");
        choice.write(&results).expect("it can be written");
        assert!(fs::read_to_string(&path).expect("it is there").contains(holds), "{kind}");
    }
    let path = folder.join("json");
    let document: Value = serde_json::from_str(&fs::read_to_string(&path).expect("it is there")).expect("it is JSON");
    assert!(document["series"].as_array().is_some_and(|series| !series.is_empty()), "{document}");
    assert_eq!(document["growth"].as_array().map(Vec::len), Some(2));
    check(&document).unwrap_or_else(|why| panic!("{why}"));

    let again = json::read(&path).expect("it is read");
    let comparison = compare(&again, &[results]);
    assert!(!comparison.is_worse() && comparison.remarks.is_empty(), "{}", comparison.text());
}

fn check(document: &Value) -> Result<(), String> {
    let schema = serde_json::from_str(include_str!("../schema/results.json")).expect("it is JSON");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("results.json", schema).expect("a name for the schema");
    compiler.enable_format_assertions();
    let index = compiler.compile("results.json", &mut schemas).expect("the schema is one");
    schemas.validate(document, index).map_err(|error| error.to_string())
}
