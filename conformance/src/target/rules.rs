//! What the parts of a target file say about one another: capabilities and what they need, placeholders and where they
//! have a value, sentences and cases that exist.

use serde_json::Value;

use super::{Hook, Key, ProcessTarget, Ready, Start, Target, environment, hint, reader::Notes};
use crate::{spec, template::placeholders};

/// What has a value wherever the process of a target is described.
const OF_A_PROCESS: &[&str] = &["port", "data_dir", "cargo_target_dir"];
/// What has one in addition where the target declares `redis`.
const OF_REDIS: &[&str] = &["redis_host", "redis_port", "redis_password", "redis_db"];
/// What has one before any server runs.
const OF_A_BUILD: &[&str] = &["cargo_target_dir"];
const OF_AN_EVENT: &[&str] = &["event_type", "actor_id", "resource_id", "metadata"];
const OF_A_SESSION: &[&str] = &["session_id"];
const OF_A_NEW_SESSION: &[&str] = &["session_id", "user_id", "expires_at"];

/// Notes every contradiction.
pub(super) fn check(target: &Target, cases: &[&str], notes: &Notes<'_>) {
    if target.url.is_some() == target.process.is_some() {
        let key = if target.url.is_some() { "url" } else { "" };
        notes.problem(key, "give exactly one of `url` (a server that runs) and [process] (one to start)");
    }
    capabilities(target, notes);
    not_applicable(target, cases, notes);
    let places = Places { target, notes };
    places.secrets();
    places.texts();
}

fn capabilities(target: &Target, notes: &Notes<'_>) {
    for (capability, section, there) in [
        ("sessions", "[sessions.create] and [sessions.revoke]", target.sessions.is_some()),
        ("origins", "[origins] with `listed`", !target.origins.listed.is_empty()),
        ("control", "[control] with `credential`", target.control.is_some()),
        ("restart", "[process]", target.process.is_some()),
        ("config", "[process] with `command`: how a server ends is seen of the suite's own only", is_own(target)),
        ("redis", "[process]", target.process.is_some()),
        ("operations", "[process] with `command`: what it is about are settings", is_own(target)),
        ("resilience", "[process] with `command`: how a server ends is seen of the suite's own only", is_own(target)),
        (
            "cluster",
            "[process] with `command`, and \"redis\", by which nodes meet",
            is_own(target) && target.declares("redis"),
        ),
        ("failover", "\"cluster\"", target.declares("cluster")),
    ] {
        if target.declares(capability) && !there {
            notes.problem("capabilities", format!("{capability:?} needs {section}"));
        }
    }
}

fn is_own(target: &Target) -> bool {
    target.process.as_ref().is_some_and(|process| matches!(process.start, Start::Command(_)))
}

fn not_applicable(target: &Target, cases: &[&str], notes: &Notes<'_>) {
    for (id, reason) in &target.not_applicable {
        let key = format!("not_applicable.{}", if id.contains('/') { format!("{id:?}") } else { id.clone() });
        let known = || spec::sentences().iter().map(|sentence| sentence.id.as_str()).chain(cases.iter().copied());
        if !known().any(|known| known == id) {
            let hint = hint::did_you_mean(id, known());
            notes.problem(&key, format!("there is no such sentence in SPEC.md, and no such case{hint}"));
        }
        if reason.trim().is_empty() {
            notes.problem(&key, "gives no reason");
        }
    }
}

/// Walks every text that may hold placeholders.
struct Places<'a> {
    target: &'a Target,
    notes: &'a Notes<'a>,
}

impl Places<'_> {
    /// A secret by one of the suite's own names would never be seen.
    fn secrets(&self) {
        let own = [OF_A_PROCESS, OF_REDIS, OF_AN_EVENT, OF_A_NEW_SESSION].concat();
        for name in self.target.secrets.keys() {
            if name == "origins" || own.contains(&name.as_str()) {
                self.notes.problem(&format!("secrets.{name}"), "the suite itself gives this placeholder its value");
            }
        }
    }

    fn texts(&self) {
        let target = self.target;
        if let Some(process) = &target.process {
            self.process(process);
        }
        match &target.jwt.key {
            Key::Secret(secret) => self.text("jwt.secret", secret, &[]),
            Key::Command(words) => self.words("jwt.command", words, &[]),
            Key::Private(_) => {}
        }
        if let Some(control) = &target.control {
            self.text("control.credential", &control.credential, &[]);
        }
        self.hook("emit", &target.emit, OF_AN_EVENT);
        if let Some(sessions) = &target.sessions {
            self.hook("sessions.create", &sessions.create, OF_A_NEW_SESSION);
            self.hook("sessions.revoke", &sessions.revoke, OF_A_SESSION);
        }
    }

    fn process(&self, process: &ProcessTarget) {
        let mut known = OF_A_PROCESS.to_vec();
        if self.target.declares("redis") {
            known.extend(OF_REDIS);
        }
        self.words("process.build", &process.build, OF_A_BUILD);
        self.told(process);
        match &process.start {
            Start::Command(words) => self.words("process.command", words, &known),
            Start::Hooks { start, stop } => {
                self.words("process.start", start, &known);
                self.words("process.stop", stop, &known);
            }
        }
        match &process.ready {
            Ready::Path(_) => {}
            Ready::Command(words) => self.words("process.ready", words, &known),
        }
        for (name, value) in &process.env {
            self.text(&format!("process.env.{name}"), value, &known);
        }
        if let Some(mutants) = &process.mutants {
            self.words("process.mutants.list", &mutants.list, OF_A_BUILD);
        }
    }

    /// A server that is not told at which port it listens, or where the run's Redis is, would be waited for in vain.
    fn told(&self, process: &ProcessTarget) {
        let Start::Command(words) = &process.start else { return };
        if words.is_empty() {
            return;
        }
        let of_redis = self.target.declares("redis").then_some("redis_port");
        for name in ["port"].into_iter().chain(of_redis) {
            let mut texts = words.iter().chain(process.env.values());
            if !texts.any(|text| placeholders(text).contains(&name)) {
                let told =
                    format!("nothing in `command` and [process.env] has {{{name}}}; how does the server know it?");
                self.notes.problem("process", told);
            }
        }
    }

    fn hook(&self, key: &str, hook: &Hook, known: &[&str]) {
        match hook {
            Hook::Command(words) => self.words(&format!("{key}.command"), words, known),
            Hook::Http(request) => {
                self.text(&format!("{key}.path"), &request.path, known);
                for (name, value) in &request.headers {
                    self.text(&format!("{key}.headers.{name}"), value, known);
                }
                if let Some(body) = &request.body {
                    self.json(&format!("{key}.body"), body, known);
                }
            }
        }
    }

    fn json(&self, key: &str, value: &Value, known: &[&str]) {
        match value {
            Value::String(text) => self.text(key, text, known),
            Value::Array(items) => items.iter().for_each(|item| self.json(key, item, known)),
            Value::Object(members) => {
                members.iter().for_each(|(name, value)| self.json(&format!("{key}.{name}"), value, known));
            }
            _ => {}
        }
    }

    fn words(&self, key: &str, words: &[String], known: &[&str]) {
        words.iter().enumerate().for_each(|(index, word)| self.text(&format!("{key}[{index}]"), word, known));
    }

    fn text(&self, key: &str, text: &str, known: &[&str]) {
        if environment::named_in(text) {
            self.notes.problem(key, "takes {env:…}, which is read only in `url` and [secrets]; give it a name there");
        }
        for name in almost_placeholders(text) {
            if let Some(meant) = hint::meant(name, known.iter().copied()) {
                self.notes.problem(key, format!("{{{name}}} is not a placeholder; did you mean {{{meant}}}?"));
            }
        }
        let secrets = || self.target.secrets.keys().map(String::as_str).chain(["origins"]);
        for name in placeholders(text) {
            if known.contains(&name) || secrets().any(|secret| secret == name) {
                continue;
            }
            let hint = match OF_REDIS.contains(&name) && !self.target.declares("redis") {
                true => "; it needs the capability \"redis\"".to_owned(),
                false => hint::did_you_mean(name, known.iter().copied().chain(secrets())),
            };
            self.notes.problem(key, format!("the placeholder {{{name}}} has no value here{hint}"));
        }
    }
}

/// Words in braces that are no placeholders for a capital letter or a digit alone.
fn almost_placeholders(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word);
    let lower = |word: &str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let plain = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    words.filter(move |word| plain(word) && !lower(word))
}
