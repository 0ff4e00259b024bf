//! What is known of the server under test: its target file.
//!
//! Reads and checks the file; starts nothing and speaks to nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::{
    spec,
    template::{UnknownPlaceholder, Values},
};

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
];

/// A target file, checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What the reports call the target.
    pub name: String,
    /// What the target declares beyond the ground that every target covers.
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
    /// Where the target already runs (tier L0); exactly one of this and `process` is given.
    pub url: Option<String>,
    /// How the suite starts the target (tier L1).
    pub process: Option<ProcessTarget>,
    /// Values for placeholders that no report may show.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// How the target's tokens are signed.
    pub jwt: Jwt,
    /// The origins that the target was told to allow.
    #[serde(default)]
    pub origins: Origins,
    /// The request that emits one event.
    pub emit: Request,
    /// The requests that make and end sessions.
    pub sessions: Option<Sessions>,
    /// The control surface of SPEC 6.
    pub control: Option<Control>,
    /// Sentence or case id → why it cannot apply to this target.
    #[serde(default)]
    pub not_applicable: BTreeMap<String, String>,
    /// The folder of the file; its paths are relative to it.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A target that the suite starts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessTarget {
    /// Where the commands run, relative to the file.
    #[serde(default)]
    pub directory: PathBuf,
    /// Run once before the first start.
    #[serde(default)]
    pub build: Vec<String>,
    /// Starts one server.
    pub command: Vec<String>,
    /// The path that answers 2xx once the server is ready.
    pub ready: String,
    /// The environment of the server.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Setting → the environment variable that sets it.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Broken versions of the server, for `selftest`.
    pub mutants: Option<Mutants>,
}

/// Broken versions of a server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutants {
    /// Prints them as JSON: name, what it breaks, the cases that must fail.
    pub list: Vec<String>,
    /// The environment variable that chooses one.
    pub variable: String,
}

/// How tokens are signed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// `HS256`, `HS384`, `HS512`, `RS256`, `ES256` or `EdDSA`.
    pub algorithm: String,
    /// The shared secret of an HMAC.
    pub secret: Option<String>,
    /// The private key in PEM, a file relative to the target file.
    pub private_key: Option<PathBuf>,
}

/// Allowed origins.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origins {
    /// Each as `scheme://host[:port]`.
    pub listed: Vec<String>,
}

/// A request with placeholders.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The path, or a whole URL.
    pub path: String,
    /// The statuses that mean success.
    pub status: Vec<u16>,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The JSON body; none where it is left out.
    pub body: Option<Value>,
}

/// Requests about sessions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// Makes a session.
    pub create: Request,
    /// Ends a session.
    pub revoke: Request,
}

/// The control surface of SPEC 6.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// The service credential.
    pub credential: String,
}

/// Why a target file cannot be used.
#[derive(Debug, Error)]
pub enum TargetError {
    /// The file cannot be read.
    #[error("cannot read the target file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML of the right shape.
    #[error("the target file {path} is not right:\n{message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// It is of the right shape and contradicts itself.
    #[error("the target file {path} is not right:{}", list(.problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Every problem.
        problems: Vec<String>,
    },
}

impl Target {
    /// Reads and checks a target file.
    ///
    /// # Errors
    /// Where the file cannot be read, is not of the right shape, or contradicts itself.
    pub fn read(path: &Path) -> Result<Self, TargetError> {
        let text = fs::read_to_string(path).map_err(|source| TargetError::Read { path: path.to_owned(), source })?;
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        Self::parse(&text, &folder).map_err(|error| match error {
            TargetError::Parse { message, .. } => TargetError::Parse { path: path.to_owned(), message },
            TargetError::Invalid { problems, .. } => TargetError::Invalid { path: path.to_owned(), problems },
            read @ TargetError::Read { .. } => read,
        })
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, TargetError> {
        let mut target: Self = toml::from_str(text)
            .map_err(|error| TargetError::Parse { path: PathBuf::new(), message: error.to_string() })?;
        folder.clone_into(&mut target.folder);
        let problems = target.problems();
        if problems.is_empty() { Ok(target) } else { Err(TargetError::Invalid { path: PathBuf::new(), problems }) }
    }

    /// Whether the target declares `capability`.
    pub fn declares(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }

    /// Whether the suite has to provide a Redis for the target.
    pub fn wants_redis(&self) -> bool {
        self.process.is_some() && self.declares("redis")
    }

    /// The secrets as placeholder values.
    ///
    /// # Errors
    /// Never for a checked file.
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

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.url.is_some() == self.process.is_some() {
            problems.push("give exactly one of `url` (a server that runs) and `[process]` (one to start)".to_owned());
        }
        if let Some(url) = self.url.as_ref().filter(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            problems.push(format!("`url` is {url:?}, but must begin with http:// or https://"));
        }
        for name in self.capabilities.iter().filter(|name| !CAPABILITIES.contains(&name.as_str())) {
            problems.push(format!("unknown capability {name:?}; known are {}", CAPABILITIES.join(", ")));
        }
        for (capability, section, there) in [
            ("sessions", "[sessions.create] and [sessions.revoke]", self.sessions.is_some()),
            ("origins", "[origins] with `listed`", !self.origins.listed.is_empty()),
            ("control", "[control] with `credential`", self.control.is_some()),
        ] {
            if self.declares(capability) && !there {
                problems.push(format!("the capability {capability:?} needs {section}"));
            }
        }
        for capability in ["restart", "config"].into_iter().filter(|it| self.declares(it) && self.process.is_none()) {
            problems.push(format!("the capability {capability:?} needs [process]"));
        }
        if self.process.as_ref().is_some_and(|process| process.command.is_empty()) {
            problems.push("`process.command` is empty".to_owned());
        }
        problems.extend(self.jwt_problem());
        for id in self.not_applicable.keys() {
            let sentence = id.split('/').next().unwrap_or(id);
            if spec::sentence(sentence).is_none() {
                problems.push(format!("[not_applicable] names {id:?}, which SPEC.md does not have"));
            }
        }
        for (id, _) in self.not_applicable.iter().filter(|(_, reason)| reason.trim().is_empty()) {
            problems.push(format!("[not_applicable] gives no reason for {id:?}"));
        }
        problems
    }

    fn jwt_problem(&self) -> Option<String> {
        let jwt = &self.jwt;
        match (jwt.algorithm.as_str(), jwt.secret.is_some(), jwt.private_key.is_some()) {
            ("HS256" | "HS384" | "HS512", true, false) | ("RS256" | "ES256" | "EdDSA", false, true) => None,
            ("HS256" | "HS384" | "HS512", ..) => {
                Some(format!("`jwt.algorithm` {} takes `jwt.secret` alone", jwt.algorithm))
            }
            ("RS256" | "ES256" | "EdDSA", ..) => {
                Some(format!("`jwt.algorithm` {} takes `jwt.private_key` alone", jwt.algorithm))
            }
            (other, ..) => {
                Some(format!("`jwt.algorithm` is {other:?}; it may be HS256, HS384, HS512, RS256, ES256 or EdDSA"))
            }
        }
    }
}

fn list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = include_str!("../../fixtures/targets/reference.toml");

    fn problems(text: &str) -> String {
        Target::parse(text, Path::new("")).expect_err("the file is broken").to_string()
    }

    #[test]
    fn the_shipped_files_are_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/targets");
        for entry in fs::read_dir(folder).expect("the folder exists") {
            let path = entry.expect("an entry").path();
            Target::read(&path).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        let message = problems(&REFERENCE.replace("algorithm = \"HS256\"\nsecret", "algorithmus = \"HS256\"\nsecret"));
        assert!(message.contains("algorithmus") && message.contains("line"), "{message}");
    }

    #[test]
    fn every_contradiction_is_told_at_once() {
        let broken = REFERENCE
            .replace("\"polling\"", "\"poling\"")
            .replace("algorithm = \"HS256\"\nsecret", "algorithm = \"none\"\nsecret")
            .replace("[control]\ncredential = \"{ingest_token}\"", "[not_applicable]\n\"QUEUE-99\" = \"\"");
        let message = problems(&broken);
        for named in ["poling", "\"none\"", "\"control\"", "QUEUE-99", "gives no reason"] {
            assert!(message.contains(named), "{named} in {message}");
        }
    }

    #[test]
    fn a_server_must_run_or_be_started_and_not_both() {
        let both = REFERENCE.replacen("name =", "url = \"http://localhost:1\"\nname =", 1);
        assert!(problems(&both).contains("exactly one of"));
    }
}
