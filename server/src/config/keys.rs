//! The keys that tokens are verified with: where they are, and whether they are of the right kind and strong enough.

use std::time::Duration;

use axum::http::{Uri, uri::Scheme};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::{Reader, Variable};
use crate::auth::{
    Parties, jwks,
    keys::{Key, MAX_KEYS, least_bytes},
};

const SECRET: Variable = Variable { plain: "JWT_SECRET", file: "JWT_SECRET_FILE" };
const PUBLIC_KEY: Variable = Variable { plain: "JWT_PUBLIC_KEY", file: "JWT_PUBLIC_KEY_FILE" };
const KEY_SET: &str = "JWT_JWKS_FILE";
const KEY_SET_URL: &str = "JWT_JWKS_URL";

/// Where keys are, and what there is to know of tokens besides.
pub struct TokenConfig {
    /// `JWT_SECRET`, `JWT_PUBLIC_KEY`, or what is in the file that one of them or `JWT_JWKS_FILE` names (CONF-01); none where they are
    /// at a URL.
    pub keys: Vec<Key>,
    /// Whether they are in a file, which may change.
    pub from_file: bool,
    /// `JWT_JWKS_URL`.
    pub url: Option<Uri>,
    /// `JWT_ALGORITHM`, default HS256 with `JWT_SECRET` and RS256 with `JWT_PUBLIC_KEY` (CONF-04); `None` where it is that of each key.
    pub algorithm: Option<Algorithm>,
    /// `JWT_JWKS_REFRESH_SECONDS`, default 300.
    pub refresh: Duration,
    /// `JWT_KEY_GRACE_SECONDS`, default 900: how long a key that has gone is honoured.
    pub grace: Duration,
    /// `JWT_ISSUER` and `JWT_AUDIENCE`.
    pub parties: Parties,
}

impl Reader<'_> {
    /// `None` only where an error was noted, as everywhere in the reader.
    pub(super) fn tokens(&mut self) -> Option<TokenConfig> {
        let refresh = self.number("JWT_JWKS_REFRESH_SECONDS", 300, 1, 86_400);
        let grace = self.number("JWT_KEY_GRACE_SECONDS", 900, 0, 86_400);
        let parties = Parties { issuers: self.list("JWT_ISSUER"), audiences: self.list("JWT_AUDIENCE") };
        let (secret, public) = (self.secret(SECRET), self.secret(PUBLIC_KEY));
        let is_set = |it: &Setting| !matches!(it, Some(None));
        let is_file = |it: &Setting| matches!(it, Some(Some((variable, _))) if variable.ends_with("_FILE"));
        let from_file = is_file(&secret) || is_file(&public) || self.text(KEY_SET).is_some();
        let (has_secret, has_public) = (is_set(&secret), is_set(&public));
        let (file, url) = (self.text(KEY_SET), self.text(KEY_SET_URL));
        let set = match (&file, &url) {
            (None, None) => None,
            (Some(_), None) => Some(KEY_SET),
            (_, Some(_)) => Some(KEY_SET_URL),
        };
        let default = match (has_secret, has_public) {
            (false, false) if set.is_some() => "",
            (false, true) => "RS256",
            _ => "HS256",
        };
        let algorithm = match self.text("JWT_ALGORITHM").as_deref().unwrap_or(default) {
            "HS256" => Some(Some(Algorithm::HS256)),
            "HS384" => Some(Some(Algorithm::HS384)),
            "HS512" => Some(Some(Algorithm::HS512)),
            "RS256" => Some(Some(Algorithm::RS256)),
            "ES256" => Some(Some(Algorithm::ES256)),
            "EdDSA" => Some(Some(Algorithm::EdDSA)),
            "" => Some(None),
            _ => self.error("JWT_ALGORITHM", "must be one of HS256, HS384, HS512, RS256, ES256 and EdDSA"),
        };
        let (keys, url) = match set {
            None => (self.keys(secret, public, algorithm)?, None),
            Some(variable) if has_secret || has_public => {
                let other = if has_secret { SECRET.plain } else { PUBLIC_KEY.plain };
                return self.error(variable, format!("is set, and so is {other} or its file: set one of them"));
            }
            Some(_) if file.is_some() && url.is_some() => {
                return self.error(KEY_SET_URL, format!("is set, and so is {KEY_SET}: set one of the two"));
            }
            Some(variable) if algorithm?.is_some_and(|it| least_bytes(it).is_some()) => {
                let shared = "is set, but JWT_ALGORITHM wants a secret, which belongs into JWT_SECRET; in a key set are public keys";
                return self.error(variable, shared);
            }
            Some(KEY_SET) => (self.key_set(&file?, algorithm?)?, None),
            Some(_) => (Vec::new(), Some(self.key_set_url(&url?)?)),
        };
        Some(TokenConfig {
            keys,
            from_file,
            url,
            algorithm: algorithm?,
            refresh: Duration::from_secs(refresh?),
            grace: Duration::from_secs(grace?),
            parties,
        })
    }

    /// What of a comma-separated list is not empty.
    fn list(&self, variable: &str) -> Vec<String> {
        let list = self.text(variable).unwrap_or_default();
        list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }

    fn keys(&mut self, secret: Setting, public: Setting, algorithm: Option<Option<Algorithm>>) -> Option<Vec<Key>> {
        if matches!((&secret, &public), (Some(None), Some(None))) {
            let nothing = "is not set, and neither is JWT_PUBLIC_KEY, JWT_JWKS_FILE or JWT_JWKS_URL; there is no default for a secret";
            return self.error(SECRET.plain, nothing);
        }
        let algorithm = algorithm??;
        match (least_bytes(algorithm), secret?, public?) {
            (Some(least), Some((variable, secret)), _) => self.shared(variable, &secret, algorithm, least),
            (Some(_), None, _) => self.error(SECRET.plain, "is not set, but JWT_ALGORITHM wants a secret"),
            (None, _, Some((variable, pem))) => self.public_keys(variable, algorithm, &pem),
            (None, _, None) => self.error(PUBLIC_KEY.plain, "is not set, but JWT_ALGORITHM wants a public key"),
        }
    }

    fn key_set(&mut self, path: &str, algorithm: Option<Algorithm>) -> Option<Vec<Key>> {
        let text = self.contents(KEY_SET, path)?;
        match jwks::read(&text, algorithm) {
            Ok(keys) => Some(keys),
            Err(problem) => self.error(KEY_SET, format!("names a file that has {problem}")),
        }
    }

    fn key_set_url(&mut self, url: &str) -> Option<Uri> {
        let uri = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
        match uri {
            Some(uri) if uri.scheme() == Some(&Scheme::HTTP) => Some(uri),
            Some(uri) if uri.scheme() == Some(&Scheme::HTTPS) => self.error(
                KEY_SET_URL,
                "asks for TLS (https://), which is not supported yet: use a proxy beside this server at http://127.0.0.1, \
                 or a file that something renews, by JWT_JWKS_FILE",
            ),
            _ => self.error(KEY_SET_URL, "must be http://HOST[:PORT]/PATH"),
        }
    }

    fn shared(&mut self, variable: &'static str, secret: &str, algorithm: Algorithm, least: usize) -> Option<Vec<Key>> {
        if secret.trim_start().starts_with("-----BEGIN ") {
            let other = "holds a key in PEM format; a public key belongs into JWT_PUBLIC_KEY, with its JWT_ALGORITHM";
            return self.error(variable, other);
        }
        if secret.len() < least {
            let bits = least * 8;
            let short = format!(
                "is too short: {algorithm:?} wants {least} bytes or more (RFC 7518, 3.2); `openssl rand -base64 {least}` \
                 makes one of {bits} bits"
            );
            return self.error(variable, short);
        }
        let key = DecodingKey::from_secret(secret.as_bytes());
        Some(Key::new(algorithm, None, key, secret)?).map(|key| vec![key])
    }

    /// Several may stand one behind the other (OPS-03).
    fn public_keys(&mut self, variable: &'static str, algorithm: Algorithm, pem: &str) -> Option<Vec<Key>> {
        const BEGIN: &str = "-----BEGIN ";
        // Environment files often hold a PEM in one line.
        let pem = pem.replace("\\n", "\n");
        let starts: Vec<_> = pem.match_indices(BEGIN).map(|(at, _)| at).chain([pem.len()]).collect();
        if starts.len() > MAX_KEYS + 1 {
            return self.error(variable, format!("holds more than {MAX_KEYS} keys"));
        }
        match starts.as_slice() {
            [_] => self.public(variable, algorithm, &pem).map(|key| vec![key]),
            starts => starts.windows(2).map(|it| self.public(variable, algorithm, &pem[it[0]..it[1]])).collect(),
        }
    }

    fn public(&mut self, variable: &'static str, algorithm: Algorithm, pem: &str) -> Option<Key> {
        let label = pem.trim_start().strip_prefix("-----BEGIN ").and_then(|rest| rest.split_once("-----"));
        let Some((label, _)) = label else {
            let what = format!("must be a public key for {algorithm:?} in PEM format, from -----BEGIN PUBLIC KEY-----");
            return self.error(variable, what);
        };
        if label.ends_with("PRIVATE KEY") {
            let private = "holds a private key, which nobody but the issuer of the tokens should have; \
                           `openssl pkey -in KEY -pubout` writes the public one";
            return self.error(variable, private);
        }
        let (key, wanted) = match algorithm {
            Algorithm::RS256 => (DecodingKey::from_rsa_pem(pem.as_bytes()), "an RSA key of 2048 bits or more"),
            Algorithm::ES256 => (DecodingKey::from_ec_pem(pem.as_bytes()), "an EC key on the curve P-256"),
            _ => (DecodingKey::from_ed_pem(pem.as_bytes()), "an Ed25519 key"),
        };
        match key.ok().and_then(|key| Key::new(algorithm, None, key, pem.trim())) {
            Some(key) => Some(key),
            None => self.error(variable, format!("must be a public key for {algorithm:?} in PEM format: {wanted}")),
        }
    }
}

/// A secret as it was read, and by which variable.
type Setting = Option<Option<(&'static str, String)>>;
