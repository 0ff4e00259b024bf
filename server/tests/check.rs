//! `--check` and `--healthy`: what they say, and how they end.

mod support;

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use support::{
    Scratch,
    server::{INGEST_TOKEN, JWT_SECRET},
};

fn command(argument: &str, scratch: &Scratch, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_notify-server"));
    command.env_clear().envs([("JWT_SECRET", JWT_SECRET), ("INGEST_TOKEN", INGEST_TOKEN), ("STORE", "embedded")]);
    command.env("DATA_DIR", scratch.path()).envs(settings.iter().copied()).arg(argument);
    command
}

fn run(argument: &str, settings: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        command(argument, &Scratch::new(), settings).output().expect("the binary was built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// A port at which nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    listener.local_addr().expect("it is bound").port().to_string()
}

#[test]
fn what_is_right_is_told_and_the_end_is_0() {
    let (status, report, _) = run("--check", &[]);
    assert_eq!(status, Some(0), "{report}");
    assert!(report.contains("embedded") && report.contains("answers"), "{report}");
}

#[test]
fn all_that_is_wrong_with_the_settings_is_told_and_the_end_is_2() {
    let (status, _, said) = run("--check", &[("PORT", "x"), ("JWT_SECRET", "short-and-secret")]);
    assert_eq!(status, Some(2));
    assert!(said.contains("PORT") && said.contains("JWT_SECRET") && !said.contains("short-and-secret"), "{said}");
}

#[test]
fn what_cannot_be_reached_is_told_all_of_it_and_the_end_is_1() {
    let (redis, keys) = (nowhere(), format!("http://127.0.0.1:{}/keys", nowhere()));
    let settings = [
        ("STORE", "redis"),
        ("REDIS_PORT", redis.as_str()),
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PASSWORD", "a-password"),
        ("JWT_SECRET", ""),
        ("JWT_JWKS_URL", keys.as_str()),
    ];
    let (status, _, said) = run("--check", &settings);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("the store, redis at 127.0.0.1") && said.contains("JWT_JWKS_URL"), "{said}");
    assert!(!said.contains("a-password"), "{said}");
}

#[test]
fn a_server_is_asked_whether_it_is_well() {
    let scratch = Scratch::new();
    let mut server = command("--dev", &scratch, &[("HOST", "0.0.0.0"), ("PORT", "0")])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let log = BufReader::new(server.stderr.take().expect("it is piped"));
    let mut lines = log.lines().map(|line| line.expect("text"));
    let line = lines.find(|line| line.contains("listening on")).expect("it listens");
    let port = line.rsplit(':').next().expect("a port").trim().to_owned();
    assert_eq!(run("--healthy", &[("HOST", "0.0.0.0"), ("PORT", &port)]).0, Some(0));
    server.kill().expect("it runs");
    server.wait().expect("it is our child");
    let (status, _, said) = run("--healthy", &[("HOST", "0.0.0.0"), ("PORT", &port)]);
    assert_eq!(status, Some(1), "{said}");
}
