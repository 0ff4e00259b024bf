//! Targets that are reached by commands, from outside.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn run(target: &str, only: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_notify-conformance"))
        .args(["run", "--target", target, "--only", only])
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .expect("the suite starts");
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    (output.status.code().expect("the suite ends by itself"), text)
}

/// The embedded target, whose events are emitted by a shell script.
fn emitting_by(name: &str, script: &str) -> String {
    let text = fs::read_to_string(root().join("fixtures/targets/reference-embedded.toml")).expect("the target file");
    let text = text.replace("directory = \"../..\"", &format!("directory = {:?}", root().display().to_string()));
    let (before, rest) = text.split_once("[emit]").expect("it emits");
    let (_, after) = rest.split_once("[sessions.create]").expect("it has sessions");
    let text = format!("{before}[emit]\ncommand = [\"sh\", \"-c\", {script:?}]\n\n[sessions.create]{after}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("a target file can be written");
    path.display().to_string()
}

#[test]
fn the_reference_passes_by_commands_alone() {
    // Live and queued events, a refused token, a foreign session, a restart and a kill.
    let only = "ROOM-01,QUEUE-01/offline,AUTH-05,AUTH-17,QUEUE-14/restart,QUEUE-17/kill";
    let (code, text) = run("fixtures/targets/commands.toml", only);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("→ CONFORMANT") && text.contains("not run 0"), "{text}");
}

#[test]
fn what_a_command_does_not_support_is_not_run_and_no_pass() {
    let target = emitting_by("unsupported.toml", "echo only by night >&2; exit 127");
    let (code, text) = run(&target, "ROOM-01");
    assert_eq!(code, 3, "{text}");
    for part in ["NOT RUN", "emit: sh does not support this (exit status 127)", "[not_applicable]", "only by night"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_command_that_fails_is_a_failure_with_what_it_said_but_no_secret() {
    let target = emitting_by("failing.toml", "echo refused: {ingest_token} >&2; exit 4");
    let (code, text) = run(&target, "ROOM-01");
    assert_eq!(code, 1, "{text}");
    for part in ["emit confirmed by exit status 0", "sh failed (exit status: 4)", "refused: [redacted]"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("conformance-only-ingest-token"), "{text}");
}

#[test]
fn a_broken_file_is_told_whole_and_gives_no_verdict() {
    let (code, text) = run("fixtures/targets/broken/misspelt-keys.toml", "ROOM-01");
    assert_eq!(code, 3, "{text}");
    let told = fs::read_to_string(root().join("fixtures/targets/broken/misspelt-keys.txt")).expect("what is told");
    assert!(told.lines().count() > 1 && told.lines().all(|line| text.contains(line)), "{text}");
}
