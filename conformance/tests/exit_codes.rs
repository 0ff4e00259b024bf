//! The exit codes, from outside: above all, that a run which found nothing out is never 0.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use notify_conformance::instance::is_cargos_own;

const EMBEDDED: &str = "fixtures/targets/reference-embedded.toml";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The suite as CI would call it, but without CI's own demands.
fn suite(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_notify-conformance"));
    command.args(args).current_dir(root()).env_remove("CI").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (i32, String) {
    said(&suite(args).output().expect("the suite starts"))
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    (output.status.code().expect("the suite ends by itself"), text)
}

/// The embedded target with one piece of its file replaced.
fn changed_target(name: &str, from: &str, to: &str) -> String {
    let text = fs::read_to_string(root().join(EMBEDDED)).expect("the target file");
    assert!(text.contains(from), "{from:?} stands in the target file");
    let directory = format!("directory = {:?}", root().display().to_string());
    let text = text.replace("directory = \"../..\"", &directory).replacen(from, to, 1);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("a target file can be written");
    path.display().to_string()
}

/// A folder with every program of `PATH` but those that could provide a Redis.
fn path_without_redis(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    for directory in std::env::split_paths(&std::env::var_os("PATH").expect("PATH is set")) {
        for program in fs::read_dir(directory).into_iter().flatten().flatten() {
            if program.file_name() != "redis-server" {
                // The first of a name wins, as in PATH.
                let _ = std::os::unix::fs::symlink(program.path(), folder.join(program.file_name()));
            }
        }
    }
    folder
}

/// Cases by name, for there may be more of their sentence one day.
const THE_CAP: &str = "QUEUE-03/exactly-50,QUEUE-03/far-over";

fn without_redis(command: &mut Command, name: &str) -> (i32, String) {
    let output = command.env("PATH", path_without_redis(name)).env("DOCKER_HOST", "unix:///nonexistent.sock").output();
    said(&output.expect("the suite starts"))
}

#[test]
fn all_that_applies_having_passed_is_0() {
    let (code, text) = run(&["run", "--target", EMBEDDED, "--only", THE_CAP]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("MUST 2/2") && text.contains("→ CONFORMANT"), "{text}");
    assert!(text.contains("left out by the selection"), "a partial verdict says so: {text}");
}

#[test]
fn a_failure_is_1_and_shows_sentence_expected_actual_transcript_and_how_to_repeat_it() {
    let target = changed_target("cap-49.toml", "[process.env]", "[process.env]\nQUEUE_MAX_EVENTS = \"49\"");
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cap-49.json");
    let report_flag = format!("json={}", report.display());
    let (code, text) =
        run(&["run", "--target", &target, "--only", "QUEUE-03", "--seed", "7f3a", "--report", &report_flag]);
    assert_eq!(code, 1, "{text}");
    for part in [
        "FAIL  QUEUE-03/exactly-50  MUST",
        "SPEC QUEUE-03: \"A queue holds at most 50 events",
        "expected  50 events, 1 … 50",
        "actual    49 events, 2 … 50",
        "http  → POST /events",
        "again: notify-conformance run --only QUEUE-03/exactly-50 --seed 7f3a",
        "→ NOT CONFORMANT",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains("conformance-only"), "no secret of the target file is shown: {text}");
    let report = fs::read_to_string(report).expect("the report was written");
    assert!(!report.contains("conformance-only"), "no secret of the target file is in the report");
    assert!(report.contains("\"not_conformant\"") && report.contains("queued.events"), "{report}");
}

/// A target on which the cases of QUEUE-03 fail.
fn cap_49(name: &str) -> String {
    changed_target(name, "[process.env]", "[process.env]\nQUEUE_MAX_EVENTS = \"49\"")
}

/// A baseline with these cases, each with its last day.
fn baseline(name: &str, entries: &[(&str, &str)]) -> String {
    let entry = |(id, expires): &(&str, &str)| {
        format!(
            "[[known_failing]]\nid = {id:?}\nreason = \"the cap is off by one\"\nowner = \"ann\"\nexpires = {expires}\n"
        )
    };
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, entries.iter().map(entry).collect::<String>()).expect("a baseline can be written");
    path.display().to_string()
}

/// A day that no run of these tests will see.
const FAR: &str = "9999-12-31";
const OVER: &str = "2000-01-01";

#[test]
fn what_the_baseline_knows_to_fail_is_0_and_counted_apart() {
    let known =
        baseline("known.toml", &[("QUEUE-03/exactly-50", FAR), ("QUEUE-15/corrupt", FAR), ("QUEUE-14/restart", FAR)]);
    let target = cap_49("cap-49-known.toml");
    let only = "QUEUE-03/exactly-50,QUEUE-12/nothing,QUEUE-15";
    let (code, text) = run(&["run", "--target", &target, "--baseline", &known, "--only", only]);
    assert_eq!(code, 0, "an entry whose case does not apply, or was not chosen, is neither here nor there: {text}");
    for part in [
        "KNOWN  QUEUE-03/exactly-50",
        "because   the cap is off by one (owner ann, expires after 9999-12-31)",
        "MUST 1/2",
        "known failing 1",
        "→ CONFORMANT BUT FOR WHAT IS KNOWN",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains("FAIL"), "{text}");
}

#[test]
fn a_failure_that_the_baseline_does_not_list_is_1() {
    let known = baseline("one-of-two.toml", &[("QUEUE-03/exactly-50", FAR)]);
    let target = cap_49("cap-49-one-of-two.toml");
    let only = "QUEUE-03/exactly-50,QUEUE-03/far-over";
    let (code, text) = run(&["run", "--target", &target, "--baseline", &known, "--only", only]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("known failing 1") && text.contains("FAIL  QUEUE-03/far-over"), "{text}");
}

#[test]
fn a_baseline_entry_that_passes_is_1() {
    let known = baseline("passes.toml", &[("QUEUE-12/nothing", FAR)]);
    let (code, text) = run(&["run", "--target", EMBEDDED, "--baseline", &known, "--only", "QUEUE-12/nothing"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("QUEUE-12/nothing (owner ann): the case passes: take the entry out"), "{text}");
    assert!(text.contains("MUST 1/1") && text.contains("→ NOT CONFORMANT"), "{text}");
}

#[test]
fn a_baseline_entry_that_is_out_of_date_is_1_and_excuses_nothing() {
    let known = baseline("expired.toml", &[("QUEUE-03/exactly-50", OVER)]);
    let target = cap_49("cap-49-expired.toml");
    let (code, text) = run(&["run", "--target", &target, "--baseline", &known, "--only", "QUEUE-03/exactly-50"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("FAIL  QUEUE-03/exactly-50") && text.contains("expired after 2000-01-01"), "{text}");
    // Whatever was chosen: who runs a part of the cases learns of it, too.
    let (code, text) = run(&["run", "--target", EMBEDDED, "--baseline", &known, "--only", "QUEUE-12/nothing"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("baseline  QUEUE-03/exactly-50 (owner ann): the entry expired after 2000-01-01"), "{text}");
}

#[test]
fn a_baseline_that_is_missing_or_wrong_is_2_with_every_error_by_line_and_key() {
    let wrong =
        baseline("wrong-baseline.toml", &[("QUEUE-99/x", FAR), ("QUEUE-03", FAR), ("QUEUE-03/far-over", "\"soon\"")]);
    let (code, text) = run(&["run", "--target", EMBEDDED, "--baseline", &wrong]);
    assert_eq!(code, 2, "{text}");
    for part in ["line 2: known_failing[0].id", "line 7: known_failing[1].id", "line 15: known_failing[2].expires"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let wrong = scratch("wrong-entries.toml");
    let entries = "[[known_failing]]\nid = \"QUEUE-03/far-over\"\nwhy = \"x\"\n\n\
                   [[known_failing]]\nid = \"QUEUE-03/far-over\"\nreason = \"r\"\nowner = \"o\"\nexpires = 9999-12-31\n";
    fs::write(&wrong, entries).expect("a baseline can be written");
    let (code, text) = run(&["run", "--target", EMBEDDED, "--baseline", &wrong]);
    assert_eq!(code, 2, "{text}");
    for part in [
        "line 1: known_failing[0].reason: is missing",
        "line 1: known_failing[0].owner: is missing",
        "line 1: known_failing[0].expires: is missing",
        "line 3: known_failing[0].why: unknown",
        "line 6: known_failing[1].id: \"QUEUE-03/far-over\" is there already, in line 2",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let (code, text) = run(&["run", "--target", EMBEDDED, "--baseline", "no/such/baseline.toml"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("no/such/baseline.toml"), "{text}");
}

/// A target that says nothing of its errors the first time that it is started with them, so that a case fails once; and the
/// folder of its mark, which has to outlive the run.
///
/// The folder is this call's alone: a mark in a shared place is also made by whoever else runs these tests in this checkout, and
/// then no run fails. The shell makes the mark by itself, or not at all: a program that failed for another reason than the
/// mark's being there would be taken for that.
fn flaky_target(name: &str) -> (String, tempfile::TempDir) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mark = folder.path().join("has-failed");
    let script = format!(
        "if [ \\\"$PORT\\\" = 70000 ] && ( set -C; : > '{mark}' ) 2>/dev/null; then exit 1; fi; \
         [ \\\"$PORT\\\" != 70000 ] || [ -e '{mark}' ] || exit 99; exec \\\"$0\\\"",
        mark = mark.display()
    );
    (changed_target(name, "command = [", &format!("command = [\"sh\", \"-c\", \"{script}\", ")), folder)
}

#[test]
fn a_case_that_passes_and_fails_is_1_with_its_measured_rate() {
    let (target, _mark) = flaky_target("flaky.toml");
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join("flaky.json");
    let report_flag = format!("json={}", report.display());
    let only = "CONF-02/all-errors,QUEUE-12/nothing";
    let args = ["run", "--target", &target, "--only", only, "--repeat", "4", "--report", &report_flag];
    let (code, text) = run(&args);
    assert_eq!(code, 1, "{text}");
    for part in [
        "flaky     CONF-02/all-errors failed 1 of 4 runs (25 %; the true rate may be up to 70 %)",
        "repeat    4 times, 1 flake in 8 runs: 13 %",
        "MUST 7/8",
        "→ NOT CONFORMANT",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(report).expect("the report was written")).expect("it is JSON");
    assert_eq!(report["summary"]["flaky"], serde_json::json!(["CONF-02/all-errors"]));
    assert_eq!(report["summary"]["flakes"]["cases"]["CONF-02/all-errors"]["failed"], 1);
    assert_eq!(report["summary"]["flakes"]["cases"]["QUEUE-12/nothing"]["runs"], 4);

    let steady = scratch("flaky-now-steady.json");
    let (code, text) = run(&["run", "--target", EMBEDDED, "--only", only, "--report", &format!("json={steady}")]);
    assert_eq!(code, 0, "{text}");
    let flaky = scratch("flaky.json");
    let (code, text) = run(&["compare", &steady, &flaky]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("flake rate    CONF-02/all-errors  0 of 1 → 1 of 4"), "{text}");
}

#[test]
fn a_flaky_case_is_not_excused_by_a_baseline() {
    let (target, _mark) = flaky_target("flaky-known.toml");
    let known = baseline("flaky-known-baseline.toml", &[("CONF-02/all-errors", FAR)]);
    let only = "CONF-02/all-errors";
    let (code, text) = run(&["run", "--target", &target, "--only", only, "--repeat", "3", "--baseline", &known]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("the case passes in 2 of 3 runs: it is flaky"), "{text}");
}

#[test]
fn repetitions_without_a_flake_are_0_and_say_how_little_that_proves() {
    let (code, text) = run(&["run", "--target", EMBEDDED, "--only", "QUEUE-12/nothing", "--repeat", "4"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("no flake in 4 runs") && text.contains("below 49 %"), "{text}");
}

/// A path in the folder for the tests' files.
fn scratch(name: &str) -> String {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name).display().to_string()
}

#[test]
fn compare_is_0_where_nothing_got_worse_and_1_where_something_did() {
    let (sound, broken) = (scratch("compare-sound.json"), scratch("compare-broken.json"));
    let only = format!("{THE_CAP},QUEUE-12/nothing");
    let (code, text) = run(&["run", "--target", EMBEDDED, "--only", &only, "--report", &format!("json={sound}")]);
    assert_eq!(code, 0, "{text}");
    let target = cap_49("cap-49-compare.toml");
    let (code, text) = run(&["run", "--target", &target, "--only", THE_CAP, "--report", &format!("json={broken}")]);
    assert_eq!(code, 1, "{text}");

    let (code, text) = run(&["compare", &sound, &broken]);
    assert_eq!(code, 1, "{text}");
    for part in [
        "newly failing QUEUE-03/exactly-50  MUST",
        "passed → failed: worse",
        "B expected  50 events, 1 … 50",
        "B actual    49 events, 2 … 50",
        "gone          QUEUE-12/nothing",
        "newly failing 2 · no longer run 0 · gone 1",
        "→ WORSE",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let (code, text) = run(&["compare", &broken, &sound]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("newly passing 2") && text.contains(" new 1 ") && text.contains("→ NOT WORSE"), "{text}");
    let (code, text) = run(&["compare", &broken, &broken]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("unchanged 2") && text.contains("still failing QUEUE-03/exactly-50"), "{text}");
}

#[test]
fn compare_is_2_where_a_file_is_no_report() {
    let other = scratch("other-form.json");
    fs::write(&other, r#"{"format": 9}"#).expect("a file can be written");
    let (code, text) = run(&["compare", "README.md", &other]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("README.md: is not JSON") && text.contains("has the form 9"), "both are named: {text}");
    let foreign = scratch("foreign-suite.json");
    let text =
        r#"{"format": 1, "suite": {"name": "other", "version": "1"}, "target": "t", "cases": [], "summary": null}"#;
    fs::write(&foreign, text).expect("a file can be written");
    let (code, text) = run(&["compare", &foreign, &foreign]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("is a report of the suite \"other\""), "{text}");
    let (code, text) = run(&["compare", "no/such/report.json", &other]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("no/such/report.json"), "{text}");
}

#[test]
fn a_wrong_command_line_is_2() {
    for (args, named) in [
        (&["run", "--only", "QEUE-03"][..], "QEUE-03"),
        (&["run", "--skip", "*"], "no case is left"),
        (&["run", "--redis", "cupboard"], "cupboard"),
        (&["run", "--jobs", "0"], "--jobs"),
        (&["run", "--repeat", "0"], "--repeat"),
        (&["run", "--seed", "xyz"], "--seed"),
        (&["run", "--report", "cuneiform=x"], "there is no report \"cuneiform\"; there are json=FILE"),
        (&["run", "--report", "json=a,html"], "html takes a file"),
        (&["run", "--report", "json=a", "--report", "github,html=a"], "two reports cannot share the file a"),
        (&["run", "--level", "perhaps"], "perhaps"),
        (&["run", "--profile", "none"], "none of core"),
        (&["run", "--only", "FAIL-01"], "belongs to the profile resilience"),
        (&["explain", "QUEUE-99"], "QUEUE-99"),
        (&["dance"], "dance"),
    ] {
        let (code, text) = run(args);
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(text.contains(named), "{args:?} names {named}: {text}");
    }
}

#[test]
fn an_unreachable_target_is_3() {
    let (code, text) = run(&["run", "--target", "http://127.0.0.1:9"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("no server answers at http://127.0.0.1:9") && text.contains("NO VERDICT"), "{text}");
}

#[test]
fn a_target_file_that_is_missing_or_wrong_is_3_and_names_the_fault() {
    let (code, text) = run(&["run", "--target", "no/such/file.toml"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("no/such/file.toml"), "{text}");
    let wrong = changed_target("wrong.toml", "\"polling\"", "\"poling\"");
    let (code, text) = run(&["doctor", "--target", &wrong]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("poling"), "{text}");
}

#[test]
fn a_target_that_does_not_start_is_3_and_its_last_words_are_quoted() {
    let target = changed_target("no-secret.toml", "JWT_SECRET = \"{jwt_secret}\"", "JWT_SECRET = \"\"");
    let (code, text) = run(&["run", "--target", &target]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("JWT_SECRET"), "the server's own error is shown: {text}");
}

#[test]
fn a_redis_that_was_asked_for_and_is_not_there_is_3_and_names_the_ways_out() {
    for args in [
        &["run", "--redis", "container"][..],
        &["run", "--redis", "local"],
        &["run", "--redis", "redis://127.0.0.1:9"],
        &["run", "--target", "fixtures/targets/reference.toml"],
    ] {
        let (code, text) = without_redis(&mut suite(args), "path-asked-for");
        assert_eq!(code, 3, "{args:?}: {text}");
        for way in ["start Docker", "install redis-server", "--redis redis://"] {
            assert!(text.contains(way), "{args:?} names {way:?}: {text}");
        }
    }
}

#[test]
fn in_ci_a_bare_run_without_redis_is_3() {
    let (code, text) = without_redis(suite(&["run"]).env("CI", "true"), "path-ci");
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("start Docker"), "{text}");
}

#[test]
fn a_bare_run_without_redis_checks_the_embedded_store_and_says_so_twice() {
    let (code, text) = without_redis(&mut suite(&["run", "--only", "CONF-07,QUEUE-15"]), "path-bare");
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches("EMBEDDED").count(), 2, "at the top and at the verdict: {text}");
    assert!(text.contains("  N/A ") && text.contains("QUEUE-15/corrupt"), "what was not checked is listed: {text}");
    let long = text.lines().find(|line| line.trim_start().starts_with("note") && line.len() > 120);
    assert_eq!(long, None, "a terminal need not break the notes");
}

/// A port of loopback at which nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn a_proxy_in_the_environment_stands_before_the_build_and_not_before_the_target() {
    let build = "build = [\"cargo\", \"build\", \"--bin\", \"notify-server\"]";
    let seen = "build = [\"sh\", \"-c\", \"test $http_proxy = http://127.0.0.1:9 && test $no_proxy = intranet.example \
                && test -z $NO_PROXY && CARGO_NET_OFFLINE=true exec cargo build --bin notify-server\"]";
    let target = changed_target("behind-a-proxy.toml", build, seen);
    for args in [&["run", "--only", "TRANS-02,TRANS-03"][..], &["doctor"]] {
        let mut command = suite(args);
        command.args(["--target", &target]).env_remove("NO_PROXY").env("no_proxy", "intranet.example");
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env(name, NOBODY);
        }
        let (code, text) = said(&command.output().expect("the suite starts"));
        assert_eq!(code, 0, "{args:?}: {text}");
    }
}

const JWT_SECRET: &str = "conformance-only-jwt-secret-of-no-worth-0123456789";
const INGEST_TOKEN: &str = "conformance-only-ingest-token-of-no-worth";

/// The reference, started by hand, once it listens.
fn server_that_runs(host: &str, port: &str, data: &Path, ingest_token: &str, jwt_secret: &str) -> Child {
    let mut build = Command::new("cargo");
    build.args(["build", "--bin", "notify-server"]).current_dir(root());
    for (name, _) in std::env::vars().filter(|(name, _)| is_cargos_own(name)) {
        build.env_remove(name);
    }
    assert!(build.status().expect("cargo runs").success());
    let folder = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let mut server = Command::new(root().join(folder).join("debug/notify-server"))
        .envs([("HOST", host), ("PORT", port), ("STORE", "embedded")])
        .envs([("INGEST_TOKEN", ingest_token), ("JWT_SECRET", jwt_secret)])
        .env("DATA_DIR", data)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    until_said(&mut BufReader::new(server.stderr.take().expect("its log")), "listening");
    server
}

/// Reads up to the line that has this in it.
fn until_said(lines: &mut impl BufRead, part: &str) -> String {
    let mut line = String::new();
    while !line.contains(part) {
        line.clear();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "{part:?} was not said");
    }
    line
}

/// What a run by URL says of a server with these secrets.
fn by_url(ingest_token: &str, jwt_secret: &str) -> (i32, String) {
    let port = notify_conformance::ports::free_port().expect("a port").to_string();
    let data = tempfile::tempdir().expect("a folder");
    let mut server = server_that_runs("127.0.0.1", &port, data.path(), ingest_token, jwt_secret);
    let said = run(&["run", "--target", &format!("http://127.0.0.1:{port}"), "--only", "AUTH-01,EMIT-02,CONF-07"]);
    server.kill().expect("it ran");
    server.wait().expect("it ends");
    said
}

#[test]
fn a_credential_that_is_not_the_servers_is_3_and_said_once() {
    let (code, text) = by_url("another-ingest-token-of-no-worth-at-all", JWT_SECRET);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("[sessions.create] with 401") && text.contains("notify-conformance init"), "{text}");
    assert!(!text.contains("FAIL") && !text.contains(INGEST_TOKEN), "{text}");
}

#[test]
fn a_key_that_may_not_be_the_servers_is_named_beside_the_verdict() {
    let (code, text) = by_url(INGEST_TOKEN, "another-jwt-secret-of-no-worth-at-all-0123456789");
    assert_eq!(code, 1, "a server that refuses right tokens is not conformant: {text}");
    assert!(text.contains("a client with a token by [jwt] does not get in"), "{text}");
}

#[test]
fn a_server_by_url_with_the_secrets_of_the_target_file_gets_its_verdict() {
    let (code, text) = by_url(INGEST_TOKEN, JWT_SECRET);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("does not get in"), "{text}");
}

#[test]
fn a_server_at_an_ipv6_address_is_reached_by_every_client() {
    let Ok(probe) = std::net::TcpListener::bind("[::1]:0") else {
        // Not by a macro, whose words the test runner keeps to itself.
        writeln!(std::io::stderr(), "not run: this machine has no IPv6").expect("somebody reads");
        return;
    };
    let port = probe.local_addr().expect("its address").port().to_string();
    drop(probe);
    let target = changed_target("ipv6.toml", "", "");
    let file = fs::read_to_string(&target).expect("the target file");
    let (before, process_and_rest) = file.split_once("[process]").expect("a process");
    let (_, rest) = process_and_rest.split_once("# Values for {placeholders}").expect("secrets");
    let undeclared =
        before.replace("\"config\", \"restart\", ", "").replace(", \"resilience\"", "").replace(", \"operations\"", "");
    fs::write(&target, format!("{undeclared}url = \"http://[::1]:{port}\"\n# Values for {{placeholders}}{rest}"))
        .expect("it can be written");
    let data = tempfile::tempdir().expect("a folder");
    let mut server = server_that_runs("::1", &port, data.path(), INGEST_TOKEN, JWT_SECRET);
    let (code, text) = run(&["run", "--target", &target, "--only", "TRANS-02,TRANS-03,TRANS-04,EMIT-02"]);
    server.kill().expect("it ran");
    server.wait().expect("it ends");
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_build_that_takes_its_time_is_spoken_of() {
    let build = "build = [\"cargo\",";
    let target = changed_target(
        "slow-build.toml",
        build,
        "build = [\"sh\", \"-c\", \"sleep 1.5; exec cargo \\\"$@\\\"\", \"sh\",",
    );
    let (code, text) = run(&["run", "--target", &target, "--only", "QUEUE-12"]);
    assert_eq!(code, 0, "{text}");
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part:?} in {text}"));
    assert!(at("build     sh -c sleep 1.5") < at("the target's build command"), "{text}");
}

#[test]
fn a_must_that_could_not_be_run_is_3() {
    let target = changed_target("no-setting.toml", "queue_ttl_seconds = \"QUEUE_TTL_SECONDS\"", "");
    let (code, text) = run(&["run", "--target", &target, "--only", "QUEUE-06/expires,QUEUE-12"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("NOT RUN  QUEUE-06/expires") && text.contains("→ NO VERDICT"), "{text}");
}

#[test]
fn a_run_in_which_nothing_applies_is_3() {
    let (code, text) = run(&["run", "--target", EMBEDDED, "--only", "QUEUE-15"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("not applicable 1") && text.contains("→ NO VERDICT"), "{text}");
}

#[test]
fn an_interrupted_run_is_3_and_leaves_no_server_behind() {
    let mut child = suite(&["run", "--target", EMBEDDED, "--only", "TRANS-09"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the suite starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = until_said(&mut lines, "http://");
    let address =
        line.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address").to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok(), "the server listens");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    lines.read_to_string(&mut line).expect("the rest of its output");
    assert!(std::net::TcpStream::connect(address).is_err(), "the server has ended with the run");
}

#[test]
fn list_and_explain_are_0_and_need_no_server() {
    let (code, text) = run(&["list", "--level", "must"]);
    assert_eq!(code, 0);
    assert!(text.contains("QUEUE-03/oldest-evicted") && !text.contains("SHOULD"), "{text}");
    assert!(text.contains(" core "), "the profile is shown: {text}");
    let (code, text) = run(&["explain", "QUEUE-03"]);
    assert_eq!(code, 0);
    assert!(text.contains("(SPEC 5 Offline queue, profile core)"), "{text}");
    assert!(text.contains("the 51st evicts the oldest") && text.contains("checked by QUEUE-03/far-over"), "{text}");
}

#[test]
fn doctor_walks_the_way_of_one_event() {
    let (code, text) = run(&["doctor", "--target", EMBEDDED]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("ok    the client receives it") && !text.contains("BAD"), "{text}");
    let target = changed_target("wrong-key.toml", "secret = \"{jwt_secret}\"", "secret = \"some-other-secret\"");
    let (code, text) = run(&["doctor", "--target", &target]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("BAD   a client connects"), "{text}");
}
