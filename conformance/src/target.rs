//! What is known of the server under test: its target file.
//!
//! Reads and checks the file; starts nothing and speaks to nobody.

mod environment;
mod hint;
mod problem;
mod reader;
mod rules;
mod secrets;
mod shape;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

pub use self::problem::{Problem, TargetError};
use crate::template::{UnknownPlaceholder, Values};

/// The capabilities that a sentence or a case may ask for.
pub const CAPABILITIES: &[&str] = &[
    "polling",
    "sessions",
    "origins",
    "event-id",
    "control",
    "config",
    "restart",
    "redis",
    "ack",
    "backpressure",
    "expiry",
    "refresh",
    "cluster",
    "resilience",
    "verbatim",
    "failover",
    "operations",
];

/// A target file, checked.
#[derive(Debug, Clone)]
pub struct Target {
    /// What the reports call the target.
    pub name: String,
    /// What the target declares beyond the ground that every target covers.
    pub capabilities: BTreeSet<String>,
    /// Where the target already runs (tier L0); exactly one of this and `process` is given.
    pub url: Option<String>,
    /// How the suite starts the target (tier L1).
    pub process: Option<ProcessTarget>,
    /// Values for placeholders that no report may show.
    pub secrets: BTreeMap<String, String>,
    /// How the target's tokens are signed.
    pub jwt: Jwt,
    /// The origins that the target was told to allow.
    pub origins: Origins,
    /// Emits one event.
    pub emit: Hook,
    /// Makes and ends sessions.
    pub sessions: Option<Sessions>,
    /// The control surface of SPEC 6.
    pub control: Option<Control>,
    /// Sentence or case id → why it cannot apply to this target.
    pub not_applicable: BTreeMap<String, String>,
    /// The folder of the file; its paths are relative to it.
    pub folder: PathBuf,
}

/// A target that the suite starts.
#[derive(Debug, Clone, Default)]
pub struct ProcessTarget {
    /// Where the commands run, relative to the file.
    pub directory: PathBuf,
    /// Run once before the first start.
    pub build: Vec<String>,
    /// Starts one server.
    pub start: Start,
    /// Tells when it is ready.
    pub ready: Ready,
    /// The environment of the server.
    pub env: BTreeMap<String, String>,
    /// Setting → the environment variable that sets it.
    pub settings: BTreeMap<String, String>,
    /// Broken versions of the server, for `selftest`.
    pub mutants: Option<Mutants>,
}

/// How one server is started and ended.
#[derive(Debug, Clone)]
pub enum Start {
    /// By a command that is the server, and ends with it.
    Command(Vec<String>),
    /// By one command that returns once the server is on its way, and another that ends it.
    Hooks {
        /// Starts a server on a given port.
        start: Vec<String>,
        /// Ends it.
        stop: Vec<String>,
    },
}

/// How a server that was started is asked whether it is ready.
#[derive(Debug, Clone)]
pub enum Ready {
    /// The path that is answered with 2xx.
    Path(String),
    /// A command that ends with 0.
    Command(Vec<String>),
}

/// Broken versions of a server.
#[derive(Debug, Clone)]
pub struct Mutants {
    /// Prints them as JSON: name, what it breaks, the cases that must fail.
    pub list: Vec<String>,
    /// The environment variable that chooses one.
    pub variable: String,
}

/// How tokens are signed.
#[derive(Debug, Clone, Default)]
pub struct Jwt {
    /// `HS256`, `HS384`, `HS512`, `RS256`, `ES256` or `EdDSA`.
    pub algorithm: String,
    /// What signs.
    pub key: Key,
    /// The public key in PEM, a file relative to the target file; with every algorithm that has one.
    pub public_key: Option<PathBuf>,
}

/// What signs tokens.
#[derive(Debug, Clone)]
pub enum Key {
    /// The shared secret of an HMAC.
    Secret(String),
    /// The private key in PEM, a file relative to the target file.
    Private(PathBuf),
    /// A command that takes header and claims and answers the token.
    Command(Vec<String>),
}

/// Allowed origins.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// Each as `scheme://host[:port]`.
    pub listed: Vec<String>,
}

/// Something that is done to the target in the target's own way.
#[derive(Debug, Clone)]
pub enum Hook {
    /// By an HTTP request.
    Http(Request),
    /// By a command that takes JSON on its standard input; exit status 127 means that it is not supported.
    Command(Vec<String>),
}

/// A request with placeholders.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The path, or a whole URL.
    pub path: String,
    /// The statuses that mean success.
    pub status: Vec<u16>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// The JSON body; none where it is left out.
    pub body: Option<Value>,
}

/// What is done about sessions.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    /// Makes a session.
    pub create: Hook,
    /// Ends a session.
    pub revoke: Hook,
}

/// The control surface of SPEC 6.
#[derive(Debug, Clone)]
pub struct Control {
    /// The service credential.
    pub credential: String,
}

impl Default for Start {
    fn default() -> Self {
        Self::Command(Vec::new())
    }
}

impl Default for Ready {
    fn default() -> Self {
        Self::Path(String::new())
    }
}

impl Default for Key {
    fn default() -> Self {
        Self::Secret(String::new())
    }
}

impl Default for Hook {
    fn default() -> Self {
        Self::Http(Request::default())
    }
}

impl Target {
    /// Reads and checks a target file; `cases` are the ids of the cases that it may name.
    ///
    /// # Errors
    /// Where the file cannot be read, is not of the right shape, or contradicts itself.
    pub fn read(path: &Path, cases: &[&str]) -> Result<Self, TargetError> {
        let text = fs::read_to_string(path).map_err(|source| TargetError::Read { path: path.to_owned(), source })?;
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::parse(&text, &folder, &environment, cases)
            .map_err(|problems| TargetError::Wrong { path: path.to_owned(), problems })
    }

    /// Checks the text of a target file; `environment` has the variables that it may name, `cases` the ids of cases.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        text: &str,
        folder: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
        cases: &[&str],
    ) -> Result<Self, Vec<Problem>> {
        shape::read(text, folder, environment, cases)
    }

    /// Whether the target declares `capability`.
    pub fn declares(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// Whether the suite has to provide a Redis for the target.
    pub fn wants_redis(&self) -> bool {
        self.process.is_some() && self.declares("redis")
    }

    /// Whether a process is started for every event or every session.
    pub fn is_by_command(&self) -> bool {
        let sessions = self.sessions.iter().flat_map(|sessions| [&sessions.create, &sessions.revoke]);
        sessions.chain([&self.emit]).any(|hook| matches!(hook, Hook::Command(_)))
    }

    /// The secrets as placeholder values.
    pub fn values(&self) -> Values {
        let mut values = Values::default();
        for (name, secret) in &self.secrets {
            values.set(name, secret.as_str());
        }
        values.set("origins", self.origins.listed.join(","));
        values
    }

    /// The service credential of the control surface.
    ///
    /// # Errors
    /// Where it names a placeholder that the file does not define.
    pub fn credential(&self) -> Option<Result<String, UnknownPlaceholder>> {
        self.control.as_ref().map(|control| self.values().text(&control.credential))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    const REFERENCE: &str = include_str!("../../fixtures/targets/reference.toml");

    fn problems(text: &str) -> String {
        let problems = Target::parse(text, Path::new(""), &|_| None, &cases::ids()).expect_err("the file is broken");
        problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn the_shipped_files_are_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/targets");
        for entry in fs::read_dir(folder).expect("the folder exists") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|kind| kind == "toml") {
                Target::read(&path, &cases::ids()).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    /// Beside each broken file stands what is said about it.
    #[test]
    fn of_a_broken_file_every_problem_is_told_at_once() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/targets/broken");
        let files = fs::read_dir(folder).expect("the folder exists").map(|entry| entry.expect("an entry").path());
        let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "toml")).collect();
        assert!(files.len() >= 10, "{files:?}");
        for path in files {
            let expected = fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
            let told = problems(&fs::read_to_string(&path).expect("a file"));
            assert_eq!(told, expected, "{}", path.display());
        }
    }

    #[test]
    fn a_server_must_run_or_be_started_and_not_both() {
        let both = REFERENCE.replacen("name =", "url = \"http://localhost:1\"\nname =", 1);
        assert!(problems(&both).contains("exactly one of"));
        let neither: String =
            REFERENCE.lines().skip_while(|line| *line != "[secrets]").map(|it| format!("{it}\n")).collect();
        assert!(problems(&format!("name = \"x\"\n{neither}")).contains("exactly one of"));
    }

    #[test]
    fn url_and_secrets_may_come_from_the_environment() {
        let text = REFERENCE.replacen("jwt_secret = \"", "jwt_secret = \"{env:NOTIFY_SECRET}", 1);
        let set = |name: &str| (name == "NOTIFY_SECRET").then(|| "from-outside-".to_owned());
        let target = Target::parse(&text, Path::new(""), &set, &[]).expect("the file is right");
        assert!(target.secrets["jwt_secret"].starts_with("from-outside-conformance"));
        let unset = problems(&text);
        assert!(unset.contains("secrets.jwt_secret: takes NOTIFY_SECRET from the environment"), "{unset}");
    }
}
