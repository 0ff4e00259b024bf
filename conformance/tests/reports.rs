//! The reports, from outside: each form of one failing run, and that no secret is in any of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

const EMBEDDED: &str = "fixtures/targets/reference-embedded.toml";
/// The forms that are files.
const FORMS: [&str; 4] = ["json", "junit", "html", "badge"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// An empty folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The suite with every report, in `folder`, and GitHub's job summary beside them.
fn reporting(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_notify-conformance"));
    let files: Vec<_> = FORMS.iter().map(|form| format!("{form}={}", folder.join(form).display())).collect();
    command.args(args).args(["--report", &files.join(","), "--report", "github"]);
    command.env("GITHUB_STEP_SUMMARY", folder.join("summary")).env_remove("CI");
    command.current_dir(root()).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    (output.status.code().expect("the suite ends by itself"), text)
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The embedded reference with a cap that is wrong and a setting that is not mapped.
fn failing_target(folder: &Path) -> String {
    let text = fs::read_to_string(root().join(EMBEDDED)).expect("the target file");
    let text = text
        .replace("directory = \"../..\"", &format!("directory = {:?}", root().display().to_string()))
        .replace("[process.env]", "[process.env]\nQUEUE_MAX_EVENTS = \"49\"")
        .replace("queue_ttl_seconds = \"QUEUE_TTL_SECONDS\"", "");
    let path = folder.join("target.toml");
    fs::write(&path, text).expect("a target file can be written");
    path.display().to_string()
}

/// By `fixtures/schema/junit.xsd`. A machine without xmllint passes without; CI has it.
fn validate_junit(path: &Path) {
    let schema = root().join("fixtures/schema/junit.xsd");
    match Command::new("xmllint").arg("--noout").arg("--schema").arg(schema).arg(path).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "xmllint: {why}");
            eprintln!("left out: xmllint: {why}");
        }
    }
}

#[test]
fn one_failing_run_in_every_form() {
    let folder = folder("reports-failing");
    fs::write(folder.join("summary"), "what an earlier step said\n").expect("a file can be written");
    let target = failing_target(&folder);
    let only =
        "QUEUE-03/exactly-50,QUEUE-03/oldest-evicted,QUEUE-03/far-over,QUEUE-06/expires,QUEUE-12/nothing,QUEUE-15";
    let args = ["run", "--target", &target, "--only", only, "--seed", "7f3a"];
    let (code, text) = said(&reporting(&folder, &args).output().expect("the suite starts"));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("→ NOT CONFORMANT"), "the terminal's report is there as ever: {text}");

    let json: serde_json::Value = serde_json::from_str(&read(&folder, "json")).expect("it is JSON");
    assert_eq!(json["summary"]["conformance"], "not_conformant");
    assert_eq!(json["environment"]["seed"], "7f3a");

    validate_junit(&folder.join("junit"));
    let junit = read(&folder, "junit");
    let junit = roxmltree::Document::parse(&junit).expect("it is XML");
    let count = |tag: &str| junit.descendants().filter(|node| node.has_tag_name(tag)).count();
    assert_eq!((count("testcase"), count("failure"), count("error"), count("skipped")), (6, 3, 1, 1));

    let html = read(&folder, "html");
    for part in
        ["NOT CONFORMANT", "QUEUE-03/exactly-50", "EVENT queued.events", "--only QUEUE-03/exactly-50 --seed 7f3a"]
    {
        assert!(html.contains(part), "{part} is on the page");
    }

    assert!(read(&folder, "badge").contains("conformance: not conformant 1/5"));

    let summary = read(&folder, "summary");
    assert!(summary.starts_with("what an earlier step said\n## ❌ NOT CONFORMANT"), "{summary}");
    let lines: Vec<_> = text.lines().collect();
    let fence = lines[0].strip_prefix("::stop-commands::").expect("no command of the target's is obeyed");
    let end = lines.iter().position(|line| *line == format!("::{fence}::")).expect("the fence ends");
    let verdict = lines.iter().position(|line| line.contains("→ NOT CONFORMANT")).expect("the verdict");
    assert!(verdict < end, "the terminal's report stands within the fence");
    let errors = lines[end..].iter().filter(|line| line.starts_with("::error title=QUEUE-")).count();
    assert_eq!(errors, 4, "three failures and one that was not run: {text}");
}

#[test]
fn a_report_that_cannot_be_written_is_3_and_costs_neither_the_verdict_nor_the_other_reports() {
    let folder = folder("reports-unwritable");
    let (missing, other) = (folder.join("no/such/folder/r.html"), folder.join("r.xml"));
    let reports = format!("html={},junit={}", missing.display(), other.display());
    let output = Command::new(env!("CARGO_BIN_EXE_notify-conformance"))
        .args(["run", "--target", EMBEDDED, "--only", "QUEUE-12", "--report", &reports])
        .current_dir(root())
        .output();
    let (code, text) = said(&output.expect("the suite starts"));
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("→ CONFORMANT"), "the verdict was told: {text}");
    assert!(text.contains(&format!("error: a report could not be written: {}", missing.display())), "{text}");
    validate_junit(&other);
}

#[test]
fn a_run_that_is_given_up_has_its_reports_and_none_of_them_is_green() {
    let folder = folder("reports-given-up");
    let (code, text) =
        said(&reporting(&folder, &["run", "--target", "http://127.0.0.1:9"]).output().expect("the suite starts"));
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("::error title=NO VERDICT::The run was given up: no server answers at"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&read(&folder, "json")).expect("it is JSON");
    assert!(json["summary"].is_null() && json["given_up"].as_str().is_some_and(|why| why.contains("127.0.0.1:9")));
    validate_junit(&folder.join("junit"));
    assert!(read(&folder, "junit").contains("errors=\"1\""));
    for name in ["html", "summary"] {
        assert!(read(&folder, name).contains("NO VERDICT"), "{name}");
    }
    assert!(read(&folder, "badge").contains("no verdict"));
    let (code, _) = said(&reporting(&folder, &["run", "--target", "no/such/file"]).output().expect("it starts"));
    assert_eq!(code, 3);
    assert!(read(&folder, "html").contains("no/such/file"), "also where the target file is missing");
}

const SIGNING: &str = "planted-signing-secret-3f9c1e7b\"with-quotes\"";
const CREDENTIAL: &str = "planted-ingest-credential/7d2a55c0+plus";

/// Whatever a target could do wrong: it repeats credentials, tokens and its own secret in every place that it can write to.
#[derive(Debug, Clone, Default)]
struct Leaky(Arc<Mutex<Vec<String>>>);

impl Leaky {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let leaky = Self::default();
        let server = leaky.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        (leaky, url)
    }

    /// The tokens that it has seen.
    fn tokens(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }

    fn saw(&self, text: &str) {
        let found = text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        let tokens = found.filter(|word| word.starts_with("eyJ") && word.matches('.').count() == 2);
        self.0.lock().expect("no panic").extend(tokens.map(str::to_owned));
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut head = vec![0; 16_384];
        let length = stream.peek(&mut head).await.unwrap_or(0);
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        self.saw(&head);
        if head.contains("transport=websocket") {
            return self.socket(stream).await;
        }
        let mut request = vec![0; 65_536];
        let length = stream.read(&mut request).await.unwrap_or(0);
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let body = serde_json::json!({
            "error": format!("no: {request}"),
            "nested": {"list": [{"signing": SIGNING, "credential": CREDENTIAL}]},
            "tokens": self.tokens(),
        });
        // The suite shows 300 bytes of an answer: thirteen of the credential are left, fewer than it takes for a piece.
        let status = if request.starts_with("POST") { "202 Accepted" } else { "200 OK" };
        let body = format!("{}{CREDENTIAL}{body}", "x".repeat(300 - 13));
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    /// Accepts anybody, and says their token in two frames, the secret in one, and both in a refusal.
    async fn socket(self, stream: TcpStream) {
        let Ok(mut socket) = accept_async(stream).await else { return };
        let open = r#"0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000}"#;
        let _ = socket.send(Message::text(open)).await;
        while let Some(Ok(message)) = socket.next().await {
            let Ok(text) = message.into_text() else { continue };
            if !text.starts_with("40") {
                continue;
            }
            self.saw(&text);
            let token = self.tokens().last().cloned().unwrap_or_default();
            let (half, rest) = token.split_at(token.len() / 2);
            let refusal =
                serde_json::json!({"message": format!("{token} is not by {SIGNING}"), "data": {"at": [token]}});
            for packet in [
                r#"40/notifications,{"sid":"s"}"#.to_owned(),
                format!("42/notifications,{}", serde_json::json!(["record.accessed", {"half": half, "key": SIGNING}])),
                format!(
                    "42/notifications,{}",
                    serde_json::json!(["record.accessed", {"rest": rest, "emit": CREDENTIAL}])
                ),
                format!("44/notifications,{refusal}"),
            ] {
                let _ = socket.send(Message::text(packet)).await;
            }
        }
    }
}

/// A target file for a server by URL, or one that the suite starts.
fn planted_target(folder: &Path, server: &str) -> String {
    let (signing, credential) = (toml::Value::from(SIGNING), toml::Value::from(CREDENTIAL));
    let text = format!(
        "name = \"leaky\"\ncapabilities = [\"control\"]\n{server}\n\
         [secrets]\nsigning = {signing}\n\
         [jwt]\nalgorithm = \"HS256\"\nsecret = \"{{signing}}\"\n\
         [control]\ncredential = {credential}\n\
         [emit]\nmethod = \"POST\"\npath = \"/events\"\nstatus = [202]\nheaders = {{ authorization = {} }}\n\
         [emit.body]\neventType = \"{{event_type}}\"\nmetadata = \"{{metadata}}\"\n",
        toml::Value::from(format!("Bearer {CREDENTIAL}")),
    );
    let path = folder.join("leaky.toml");
    fs::write(&path, text).expect("a target file can be written");
    path.display().to_string()
}

/// No piece of a secret, in whatever notation, is in any report.
fn clean(folder: &Path, terminal: &str, secrets: &[String]) {
    const PIECE: usize = 16;
    let mut texts = vec![("terminal", terminal.to_owned())];
    texts.extend(FORMS.iter().chain(&["summary"]).map(|name| (*name, read(folder, name))));
    for (name, text) in texts {
        for secret in secrets {
            for piece in secret.as_bytes().windows(PIECE) {
                let piece = String::from_utf8_lossy(piece);
                assert!(!text.contains(&*piece), "{name} has {piece:?} of a secret");
            }
            // The secrets are told apart by their beginnings, which a cut could leave.
            assert!(!text.contains(&secret[..12]), "{name} has the beginning of a secret");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_secret_is_in_no_report() {
    let folder = folder("reports-leaky");
    let (leaky, url) = Leaky::start().await;
    let target = planted_target(&folder, &format!("url = {url:?}"));
    let only = "AUTH-01,AUTH-02,AUTH-04,AUTH-05,EMIT-01,EMIT-02,EVENT-01,QUEUE-01,TRANS-03";
    let mut command = reporting(&folder, &["run", "--target", &target, "--only", only]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let (code, text) = said(&output.expect("the suite starts"));
    assert_eq!(code, 1, "{text}");
    let mut secrets = leaky.tokens();
    assert!(secrets.len() > 3, "the suite has shown it tokens");
    let transcripts = read(&folder, "json");
    assert!(transcripts.contains("[token]") && transcripts.contains("[redacted]"), "it did repeat them: {text}");
    assert!(transcripts.contains("\\\"rest\\\":\\\"[redacted]\\\""), "also in two frames");
    // A token's first part is the same for everybody, and says nothing.
    secrets.iter_mut().for_each(|token| *token = token.split_off(token.find('.').map_or(0, |at| at + 1)));
    secrets.extend([SIGNING, CREDENTIAL].map(str::to_owned));
    secrets.push(serde_json::Value::from(SIGNING).to_string().trim_matches('"').to_owned());
    clean(&folder, &text, &secrets);
}

#[test]
fn the_last_words_of_a_server_that_does_not_start_are_quoted_without_its_secrets() {
    let folder = folder("reports-last-words");
    let server = "[process]\ncommand = [\"sh\", \"-c\", \"echo my key is $SIGNING; exit 1\"]\nready = \"/\"\n\
                  [process.env]\nPORT = \"{port}\"\nSIGNING = \"{signing}\"";
    let target = planted_target(&folder, server);
    let (code, text) = said(&reporting(&folder, &["run", "--target", &target]).output().expect("the suite starts"));
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("my key is [redacted]"), "{text}");
    clean(&folder, &text, &[SIGNING.to_owned(), CREDENTIAL.to_owned()]);
}
