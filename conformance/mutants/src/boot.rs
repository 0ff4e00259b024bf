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
    /// A heartbeat that is no number of seconds is taken as the usual one.
    HeartbeatForgiven,
}

/// Reads the settings; the error is what the server prints before it ends.
pub(crate) fn read(fault: Option<Fault>) -> Result<Config, String> {
    let outcome = match fault {
        Some(Fault::KeyMadeUp) => Config::from_source(&WithKey),
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
