//! What of a target file no report may show: its secrets, and what is called like one.

use std::{collections::BTreeMap, fs};

use super::{Hook, Key, Target};
use crate::redact::{Secrets, without_scheme};

/// The shortest value of a variable that is taken for a secret for its name alone.
const SHORTEST_BY_NAME: usize = 8;

impl Target {
    /// Every secret in the file, and the password of the run's Redis.
    pub fn hidden(&self, redis_password: Option<&str>) -> Secrets {
        let mut secrets = Secrets::default();
        let values = self.values();
        let filled = |text: &str| values.text(text).ok();
        self.secrets.values().for_each(|secret| secrets.hide(secret));
        let (secret, key) = match &self.jwt.key {
            Key::Secret(secret) => (Some(secret.as_str()), None),
            Key::Private(file) => (None, fs::read_to_string(self.folder.join(file)).ok()),
            Key::Command(_) => (None, None),
        };
        let named = [secret, self.control.as_ref().map(|control| &*control.credential)];
        let named = named.into_iter().flatten().filter_map(filled);
        let hooks = self.sessions.iter().flat_map(|sessions| [&sessions.create, &sessions.revoke]);
        let headers = hooks.chain([&self.emit]).flat_map(secret_headers).filter_map(filled);
        let env = self.process.iter().flat_map(|process| named_secretly(&process.env)).filter_map(filled);
        for secret in key.into_iter().chain(named).chain(headers).chain(redis_password.map(str::to_owned)) {
            secrets.hide(without_scheme(&secret));
        }
        env.filter(|value| value.len() >= SHORTEST_BY_NAME).for_each(|secret| secrets.hide(&secret));
        secrets
    }
}

fn secret_headers(hook: &Hook) -> impl Iterator<Item = &str> {
    let request = match hook {
        Hook::Http(request) => Some(request),
        Hook::Command(_) => None,
    };
    request.into_iter().flat_map(|request| named_secretly(&request.headers))
}

/// Values whose names say that they are nobody's business.
fn named_secretly(values: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    const NAMES: [&str; 9] =
        ["authorization", "cookie", "secret", "token", "password", "credential", "private", "api-key", "api_key"];
    let secret = |name: &str| NAMES.iter().any(|part| name.to_lowercase().contains(part));
    values.iter().filter(move |(name, _)| secret(name)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_target_files_secrets_are_known_also_where_they_are_written_out() {
        let text = include_str!("../../../fixtures/targets/reference.toml")
            .replacen("secret = \"{jwt_secret}\"", "secret = \"written-out-signing-key\"", 1)
            .replacen("credential = \"{ingest_token}\"", "credential = \"written-out-credential\"", 1)
            .replacen("\"Bearer {ingest_token}\"", "\"Bearer written-out-ingest\"", 1)
            .replacen("[process.env]", "[process.env]\nUPSTREAM_PASSWORD = \"written-out-password\"", 1);
        let target = Target::parse(&text, Path::new(""), &|_| None, &[]).expect("the file is right");
        let secrets = target.hidden(Some("written-out-redis"));
        for secret in ["signing-key", "credential", "ingest", "password", "redis"] {
            assert_eq!(secrets.redact(&format!("written-out-{secret}")), "[redacted]");
        }
        assert_eq!(secrets.redact(&target.secrets["jwt_secret"]), "[redacted]");
        assert!(!format!("{secrets:?}").contains("written-out"));
    }
}
