//! Reading the settings, with one thing wrong.

use notify_server::{
    Config,
    config::{ConfigErrors, Environment, Source},
};

/// What is wrong with the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Without a key there is one that everybody knows.
    KeyMadeUp,
    /// Only the first error is told.
    FirstErrorOnly,
    /// Each error is told with the value that caused it.
    ValuesShown,
    /// A secret may be of any length.
    ShortSecretTaken,
    /// Secrets in files are not looked for.
    FilesIgnored,
    /// A secret's file counts for nothing where the variable is set, and for an empty secret where it cannot be read.
    WrongFilesTaken,
    /// There is no `REDIS_URL`.
    UrlIgnored,
    /// What cannot be followed is taken for another URL.
    WrongUrlTaken,
    /// A heartbeat that is no number of seconds is taken as the usual one.
    HeartbeatForgiven,
}

/// Reads the settings; the error is what the server prints before it ends.
pub(crate) fn read(fault: Option<Fault>) -> Result<Config, String> {
    let outcome = match fault {
        Some(Fault::KeyMadeUp) => Config::from_source(&WithKey),
        Some(
            fault @ (Fault::ShortSecretTaken
            | Fault::FilesIgnored
            | Fault::WrongFilesTaken
            | Fault::UrlIgnored
            | Fault::WrongUrlTaken),
        ) => Config::from_source(&Misread(fault)),
        Some(Fault::HeartbeatForgiven) => Config::from_source(&Forgiving),
        _ => Config::from_source(&Environment),
    };
    outcome.map_err(|errors| tell(&errors, fault))
}

fn tell(errors: &ConfigErrors, fault: Option<Fault>) -> String {
    match fault {
        Some(Fault::FirstErrorOnly) => errors.0.first().map(ToString::to_string).unwrap_or_default(),
        Some(Fault::ValuesShown) => {
            let with_value = |variable| format!("{variable}={}", Environment.get(variable).unwrap_or_default());
            errors.0.iter().map(|error| format!("{error}: {}\n", with_value(error.variable))).collect()
        }
        _ => errors.to_string(),
    }
}

/// The environment, read wrongly.
struct Misread(Fault);

impl Source for Misread {
    fn get(&self, name: &str) -> Option<String> {
        let set = Environment.get(name).filter(|value| !value.is_empty());
        match (self.0, name) {
            (Fault::ShortSecretTaken, "JWT_SECRET") if set.as_ref().is_some_and(|secret| secret.len() < 32) => {
                set.map(|secret| secret.repeat(32))
            }
            (Fault::FilesIgnored, name) if name.ends_with("_FILE") => None,
            (Fault::WrongFilesTaken, name) if name.ends_with("_FILE") => {
                let has_text = |path: &String| std::fs::read_to_string(path).is_ok_and(|text| !text.trim().is_empty());
                let plain = Environment.get(name.trim_end_matches("_FILE")).filter(|value| !value.is_empty());
                set.filter(has_text).filter(|_| plain.is_none())
            }
            (Fault::WrongFilesTaken, name @ ("JWT_SECRET" | "INGEST_TOKEN")) => {
                let file = format!("{name}_FILE");
                let passed_over = Environment.get(&file).is_some() && self.get(&file).is_none();
                set.or_else(|| passed_over.then(|| "nothing-was-read-and-nobody-has-noticed".to_owned()))
            }
            (Fault::UrlIgnored, "REDIS_URL") => None,
            (Fault::WrongUrlTaken, "REDIS_URL") => {
                let right = set.as_ref().is_some_and(|url| url.starts_with("redis://user-"));
                if right { set } else { set.map(|_| "redis://127.0.0.1:9".to_owned()) }
            }
            _ => set,
        }
    }
}

/// The environment, without what is wrong with the heartbeat.
struct Forgiving;

impl Source for Forgiving {
    fn get(&self, name: &str) -> Option<String> {
        let set = Environment.get(name);
        set.filter(|value| !name.starts_with("PING_") || value.parse::<u64>().is_ok_and(|seconds| seconds > 0))
    }
}

/// The environment, and a key where it has none.
struct WithKey;

impl Source for WithKey {
    fn get(&self, name: &str) -> Option<String> {
        let set = Environment.get(name);
        let has_none = |name: &str| Environment.get(name).is_none_or(|value| value.is_empty());
        let makes_up = name == "JWT_SECRET" && has_none("JWT_SECRET") && has_none("JWT_PUBLIC_KEY");
        if makes_up { Some("a-default-secret-that-everybody-knows-0123456789".to_owned()) } else { set }
    }
}
