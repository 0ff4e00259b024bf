//! Signs access tokens, right ones and wrong ones, and reads the token fixtures.
//!
//! Knows the format of `fixtures/tokens.json`; knows nothing of servers.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto, jwk::Jwk};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{
    hook::{self, Call},
    target::{self, Target},
    template::UnknownPlaceholder,
    text::chain,
};

/// How long an ordinary token of a case lives, in seconds.
const LIFETIME: i64 = 900;
const FIXTURES: &str = include_str!("../../fixtures/tokens.json");
/// The secret of fixtures whose key is `other`.
const OTHER_SECRET: &str = "another-secret-that-the-server-does-not-know-0123456789";
const RSA: &str = include_str!("../../fixtures/keys/rsa-private.pem");
const RSA_PUBLIC: &str = include_str!("../../fixtures/keys/rsa-public.pem");
const OTHER_RSA: &str = include_str!("../../fixtures/keys/other-rsa-private.pem");
const EC: &str = include_str!("../../fixtures/keys/ec-private.pem");
const EC_PUBLIC: &str = include_str!("../../fixtures/keys/ec-public.pem");
const OTHER_EC: &str = include_str!("../../fixtures/keys/other-ec-private.pem");
const ED25519: &str = include_str!("../../fixtures/keys/ed25519-private.pem");
const ED25519_PUBLIC: &str = include_str!("../../fixtures/keys/ed25519-public.pem");
const OTHER_ED25519: &str = include_str!("../../fixtures/keys/other-ed25519-private.pem");

/// How long a command may take to sign.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);
/// The claims that the fixtures are about; a command may add others to those that it is asked for.
const CLAIMS: [&str; 7] = ["userId", "sub", "sessionId", "type", "exp", "nbf", "iat"];

/// Signs with the key that the target verifies with.
#[derive(Clone)]
pub struct Signer {
    algorithm: Algorithm,
    key: Key,
    /// What the target verifies with, where that is no secret.
    public_pem: Option<String>,
    /// What the key is called, in the header of a token.
    id: Option<String>,
}

#[derive(Clone)]
enum Key {
    Known(EncodingKey),
    Command { words: Vec<String>, directory: PathBuf },
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Why tokens cannot be signed.
#[derive(Debug, Error)]
pub enum SignError {
    /// The library refuses the key or the algorithm.
    #[error("the key of the target file does not sign {algorithm}: {source}")]
    Key {
        /// The algorithm.
        algorithm: String,
        /// Why not.
        source: jsonwebtoken::errors::Error,
    },
    /// The key's file cannot be read.
    #[error("cannot read the key {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The secret names a placeholder without a value.
    #[error("jwt.secret: {0}")]
    Secret(#[from] UnknownPlaceholder),
    /// The command does not sign.
    #[error("jwt.command: {0}")]
    Command(String),
}

impl Signer {
    /// The signer that the target file describes.
    ///
    /// # Errors
    /// Where the key cannot be read or does not fit the algorithm.
    pub fn of(target: &Target) -> Result<Self, SignError> {
        let jwt = &target.jwt;
        let read = |file: &Path| {
            let path = target.folder.join(file);
            fs::read_to_string(&path).map_err(|source| SignError::File { path: path.display().to_string(), source })
        };
        let signer = match &jwt.key {
            target::Key::Secret(secret) => Self::hmac(&jwt.algorithm, &target.values().text(secret)?)?,
            target::Key::Private(file) => Self::private_key(&jwt.algorithm, &read(file)?)?,
            target::Key::Command(words) => {
                let values = target.values();
                let words = words.iter().map(|word| values.text(word)).collect::<Result<_, _>>()?;
                let key = Key::Command { words, directory: target.folder.clone() };
                Self { algorithm: parse_algorithm(&jwt.algorithm)?, key, public_pem: None, id: None }
            }
        };
        Ok(Self { public_pem: jwt.public_key.as_deref().map(read).transpose()?, ..signer })
    }

    /// Signs with a shared secret.
    ///
    /// # Errors
    /// Where the algorithm is unknown.
    pub fn hmac(algorithm: &str, secret: &str) -> Result<Self, SignError> {
        let algorithm = parse_algorithm(algorithm)?;
        Ok(Self { algorithm, key: Key::Known(EncodingKey::from_secret(secret.as_bytes())), public_pem: None, id: None })
    }

    /// Signs with a private key in PEM.
    ///
    /// # Errors
    /// Where the algorithm is unknown or the key is not for it.
    pub fn private_key(algorithm: &str, pem: &str) -> Result<Self, SignError> {
        let parsed = parse_algorithm(algorithm)?;
        Ok(Self { algorithm: parsed, key: Key::Known(pem_key(parsed, pem)?), public_pem: None, id: None })
    }

    /// The same, and its tokens name the key so.
    #[must_use]
    pub fn named(self, id: &str) -> Self {
        Self { id: Some(id.to_owned()), ..self }
    }

    /// An ordinary access token.
    ///
    /// # Errors
    /// Where the key does not sign.
    pub async fn access(&self, user: &str, session: &str) -> Result<String, SignError> {
        let now = now();
        self.claims(&json!({"userId": user, "sessionId": session, "iat": now, "exp": now + LIFETIME})).await
    }

    /// A token with these very claims.
    ///
    /// # Errors
    /// Where the key does not sign.
    pub async fn claims(&self, claims: &Value) -> Result<String, SignError> {
        let mut header = json!({"alg": name(self.algorithm), "typ": "JWT"});
        if let Some(id) = &self.id {
            header["kid"] = id.as_str().into();
        }
        self.seal(&header, &claims.to_string(), self.algorithm).await
    }

    /// Whether the fixture is for this signer's algorithm.
    pub fn suits(&self, fixture: &Fixture) -> bool {
        let hmac = is_hmac(self.algorithm);
        match fixture.requires.as_deref() {
            None => true,
            Some("hmac") => hmac,
            Some("asymmetric") => !hmac,
            Some(algorithm) => algorithm == name(self.algorithm),
        }
    }

    /// What a fixture sends as `auth.token`.
    ///
    /// # Errors
    /// Where the key does not sign.
    pub async fn fixture(&self, fixture: &Fixture, people: &People<'_>) -> Result<Value, SignError> {
        if let Some(literal) = &fixture.literal {
            return Ok(people.fill(&expand_repeat(literal)));
        }
        let payload = match &fixture.payload {
            Some(payload) => people.fill_text(payload),
            None => people.fill(&relative_times(&fixture.claims)).to_string(),
        };
        let mut header = json!({"alg": name(self.algorithm), "typ": "JWT"});
        merge(&mut header, &fixture.header);
        let claimed = header.get("alg").and_then(Value::as_str).and_then(|alg| Algorithm::from_str(alg).ok());
        let algorithm = claimed.unwrap_or(self.algorithm);
        let token = match fixture.key.as_str() {
            "none" => format!("{}.{}.", encode(&header.to_string()), encode(&payload)),
            "other" => seal(&header, &payload, &other_key(algorithm)?, algorithm)?,
            "public-pem-as-secret" => {
                let key = EncodingKey::from_secret(self.public_pem().as_bytes());
                seal(&header, &payload, &key, algorithm)?
            }
            _ if kind(algorithm) == kind(self.algorithm) => self.seal(&header, &payload, algorithm).await?,
            _ => seal(&header, &payload, &foreign_key(algorithm)?, algorithm)?,
        };
        Ok(Value::String(format!("{}{}", fixture.prefix, mangle(token, fixture.mangle.as_deref(), people))))
    }

    async fn seal(&self, header: &Value, payload: &str, algorithm: Algorithm) -> Result<String, SignError> {
        let (words, directory) = match &self.key {
            Key::Known(key) => return seal(header, payload, key, algorithm),
            Key::Command { words, directory } => (words, directory),
        };
        let claims = serde_json::from_str(payload).ok().filter(Value::is_object);
        let input = match &claims {
            Some(claims) => json!({"hook": "sign", "header": header, "claims": claims}),
            None => json!({"hook": "sign", "header": header, "payload": payload}),
        };
        let call = Call { command: words, directory, env: &BTreeMap::new(), input: &input, within: COMMAND_LIMIT };
        let answer = hook::run(call).await.map_err(|error| SignError::Command(chain(&error)))?;
        let token = answer.trim();
        if is_as_asked(token, header, payload, claims.as_ref()) {
            return Ok(token.to_owned());
        }
        // Whatever the server says to such a token says nothing about the fixture.
        let asked = "a token with the header and the claims (or the payload) that it was asked for";
        Err(SignError::Command(format!("its standard output is not {asked}; where it cannot sign one, it exits 127")))
    }

    fn public_pem(&self) -> &str {
        self.public_pem.as_deref().unwrap_or(match kind(self.algorithm) {
            Kind::Rsa | Kind::Hmac => RSA_PUBLIC,
            Kind::Ec => EC_PUBLIC,
            Kind::Ed => ED25519_PUBLIC,
        })
    }
}

/// Whether a command has signed what it was asked to. It may add members to the header, such as `kid`, and claims that no
/// fixture is about, such as `iss`.
fn is_as_asked(token: &str, header: &Value, payload: &str, claims: Option<&Value>) -> bool {
    let parts: Vec<_> = token.split('.').collect();
    let [signed_header, signed_payload, _] = parts.as_slice() else { return false };
    let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    let parsed = |part: &str| decoded(part).and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let has_all = |signed: &Value, asked: &Value| {
        asked.as_object().is_some_and(|asked| asked.iter().all(|(name, value)| signed.get(name) == Some(value)))
    };
    let right_payload = match claims {
        None => decoded(signed_payload).is_some_and(|bytes| bytes == payload.as_bytes()),
        Some(claims) => parsed(signed_payload).is_some_and(|signed| {
            has_all(&signed, claims)
                && CLAIMS.iter().all(|name| signed.get(name).is_some() == claims.get(name).is_some())
        }),
    };
    right_payload && parsed(signed_header).is_some_and(|signed| has_all(&signed, header))
}

/// Whom the placeholders of a fixture stand for.
#[derive(Debug, Clone, Copy)]
pub struct People<'a> {
    /// `{user}`
    pub user: &'a str,
    /// `{session}`, that user's.
    pub session: &'a str,
    /// `{other}`, another user.
    pub other: &'a str,
}

impl People<'_> {
    fn fill_text(&self, text: &str) -> String {
        text.replace("{user}", self.user).replace("{session}", self.session).replace("{other}", self.other)
    }

    fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill_text(text)),
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::Object(members) => {
                members.iter().map(|(name, value)| (self.fill_text(name), self.fill(value))).collect()
            }
            other => other.clone(),
        }
    }
}

/// A public RSA key that is too short for RS256.
pub const RSA_1024_PUBLIC: &str = include_str!("../../fixtures/keys/rsa-1024-public.pem");
/// A public EC key on a curve that is not that of ES256.
pub const P384_PUBLIC: &str = include_str!("../../fixtures/keys/p384-public.pem");

/// Key pairs of the fixtures, for servers that verify by public key: algorithm, private PEM, public PEM.
pub const KEY_PAIRS: [(&str, &str, &str); 3] =
    [("RS256", RSA, RSA_PUBLIC), ("ES256", EC, EC_PUBLIC), ("EdDSA", ED25519, ED25519_PUBLIC)];

/// A second pair of the kind of the first of [`KEY_PAIRS`].
pub const OTHER_RSA_PAIR: (&str, &str, &str) =
    ("RS256", OTHER_RSA, include_str!("../../fixtures/keys/other-rsa-public.pem"));

/// The public half of a private key in PEM as an entry of a key set (RFC 7517), named so.
///
/// # Errors
/// Where the algorithm is unknown or the key is not for it.
pub fn jwk(algorithm: &str, pem: &str, id: &str) -> Result<Value, SignError> {
    let parsed = parse_algorithm(algorithm)?;
    let failed = |source| SignError::Key { algorithm: algorithm.to_owned(), source };
    let mut jwk = Jwk::from_encoding_key(&pem_key(parsed, pem)?, parsed).map_err(failed)?;
    jwk.common.key_id = Some(id.to_owned());
    Ok(json!(jwk))
}

/// One entry of `fixtures/tokens.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// Its stable name.
    pub name: String,
    /// What it shows.
    pub why: String,
    /// The sentence that decides about it.
    pub sentence: String,
    /// `accepted`, or the code of the refusal.
    pub verdict: String,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    header: Map<String, Value>,
    payload: Option<String>,
    #[serde(default = "configured")]
    key: String,
    requires: Option<String>,
    mangle: Option<String>,
    #[serde(default)]
    prefix: String,
    #[serde(default, deserialize_with = "present")]
    literal: Option<Value>,
}

fn configured() -> String {
    "configured".to_owned()
}

/// A literal `null` is a literal.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Every token fixture of a sentence.
///
/// # Panics
/// Where the shipped file is broken, which a test rules out.
pub fn fixtures(sentence: &str) -> Vec<Fixture> {
    all_fixtures().into_iter().filter(|fixture| fixture.sentence == sentence).collect()
}

fn all_fixtures() -> Vec<Fixture> {
    #[derive(Deserialize)]
    struct File {
        tokens: Vec<Fixture>,
    }
    let file: File = serde_json::from_str(FIXTURES).expect("fixtures/tokens.json has the format of its README");
    file.tokens
}

/// Seconds since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn seal(header: &Value, payload: &str, key: &EncodingKey, algorithm: Algorithm) -> Result<String, SignError> {
    let message = format!("{}.{}", encode(&header.to_string()), encode(payload));
    let signature = crypto::sign(message.as_bytes(), key, algorithm)
        .map_err(|source| SignError::Key { algorithm: name(algorithm).to_owned(), source })?;
    Ok(format!("{message}.{signature}"))
}

fn encode(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

#[derive(PartialEq, Eq)]
enum Kind {
    Hmac,
    Rsa,
    Ec,
    Ed,
}

fn kind(algorithm: Algorithm) -> Kind {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Kind::Hmac,
        Algorithm::ES256 | Algorithm::ES384 => Kind::Ec,
        Algorithm::EdDSA => Kind::Ed,
        _ => Kind::Rsa,
    }
}

fn is_hmac(algorithm: Algorithm) -> bool {
    kind(algorithm) == Kind::Hmac
}

fn pem_key(algorithm: Algorithm, pem: &str) -> Result<EncodingKey, SignError> {
    let key = match kind(algorithm) {
        Kind::Ec => EncodingKey::from_ec_pem(pem.as_bytes()),
        Kind::Ed => EncodingKey::from_ed_pem(pem.as_bytes()),
        Kind::Rsa | Kind::Hmac => EncodingKey::from_rsa_pem(pem.as_bytes()),
    };
    key.map_err(|source| SignError::Key { algorithm: name(algorithm).to_owned(), source })
}

fn other_key(algorithm: Algorithm) -> Result<EncodingKey, SignError> {
    match kind(algorithm) {
        Kind::Hmac => Ok(EncodingKey::from_secret(OTHER_SECRET.as_bytes())),
        Kind::Rsa => pem_key(algorithm, OTHER_RSA),
        Kind::Ec => pem_key(algorithm, OTHER_EC),
        Kind::Ed => pem_key(algorithm, OTHER_ED25519),
    }
}

/// A key of the fixtures, for a header that names an algorithm of another kind than the signer's.
fn foreign_key(algorithm: Algorithm) -> Result<EncodingKey, SignError> {
    match kind(algorithm) {
        Kind::Hmac => Ok(EncodingKey::from_secret(OTHER_SECRET.as_bytes())),
        Kind::Rsa => pem_key(algorithm, RSA),
        Kind::Ec => pem_key(algorithm, EC),
        Kind::Ed => pem_key(algorithm, ED25519),
    }
}

fn parse_algorithm(text: &str) -> Result<Algorithm, SignError> {
    Algorithm::from_str(text).map_err(|source| SignError::Key { algorithm: text.to_owned(), source })
}

fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "HS256",
        Algorithm::HS384 => "HS384",
        Algorithm::HS512 => "HS512",
        Algorithm::ES256 => "ES256",
        Algorithm::EdDSA => "EdDSA",
        _ => "RS256",
    }
}

fn merge(header: &mut Value, changes: &Map<String, Value>) {
    let Some(members) = header.as_object_mut() else { return };
    for (name, value) in changes {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
}

/// `+900s` under a time claim is that long from now.
fn relative_times(claims: &Map<String, Value>) -> Value {
    let mut claims = claims.clone();
    for name in ["exp", "nbf", "iat"] {
        if let Some(value) = claims.get_mut(name)
            && let Some(seconds) = value.as_str().and_then(relative)
        {
            *value = Value::from(now() + seconds);
        }
    }
    Value::Object(claims)
}

fn relative(text: &str) -> Option<i64> {
    let signed = text.starts_with(['+', '-']);
    text.strip_suffix('s').filter(|_| signed)?.parse().ok()
}

fn mangle(token: String, how: Option<&str>, people: &People<'_>) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    match (how, parts.as_mut_slice()) {
        (Some(which @ ("flip-signature" | "flip-signature-end")), [_, _, signature]) => {
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&*signature).unwrap_or_default();
            let byte = if which == "flip-signature" { bytes.first_mut() } else { bytes.last_mut() };
            byte.into_iter().for_each(|byte| *byte ^= 1);
            *signature = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        }
        (Some("swap-payload"), [_, payload, _]) => {
            let decoded = BASE64_URL_SAFE_NO_PAD.decode(&*payload).unwrap_or_default();
            let mut claims: Value = serde_json::from_slice(&decoded).unwrap_or_default();
            claims["userId"] = Value::from(people.other);
            *payload = encode(&claims.to_string());
        }
        (Some("truncate"), [..]) => drop(parts.pop()),
        (Some("extra-segment"), [..]) => parts.push("x".to_owned()),
        _ => {}
    }
    parts.join(".")
}

/// `{"repeat": ["a", 100000]}` stands for a long string.
fn expand_repeat(literal: &Value) -> Value {
    match literal.get("repeat").and_then(Value::as_array).map(Vec::as_slice) {
        Some([Value::String(text), count]) => {
            Value::String(text.repeat(usize::try_from(count.as_u64().unwrap_or(0)).unwrap_or(0)))
        }
        _ => literal.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::spec;

    const PEOPLE: People<'_> = People { user: "alice", session: "s1", other: "bob" };

    fn signer() -> Signer {
        Signer::hmac("HS256", "a-secret-for-this-test").expect("HS256 is known")
    }

    #[tokio::test]
    async fn every_fixture_can_be_made_and_names_a_sentence() {
        let mut names = HashSet::new();
        for fixture in all_fixtures() {
            assert!(spec::sentence(&fixture.sentence).is_some(), "{} names {}", fixture.name, fixture.sentence);
            assert!(names.insert(fixture.name.clone()), "{} is there twice", fixture.name);
            signer().fixture(&fixture, &PEOPLE).await.unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        }
    }

    #[tokio::test]
    async fn a_mangled_token_differs_from_the_right_one() {
        let token = signer().claims(&json!({"userId": "alice"})).await.expect("it signs");
        for how in ["flip-signature", "flip-signature-end", "swap-payload", "truncate", "extra-segment"] {
            assert_ne!(mangle(token.clone(), Some(how), &PEOPLE), token, "{how}");
        }
    }

    #[test]
    fn times_are_relative_and_other_texts_are_not() {
        let claims = json!({"exp": "+60s", "note": "+60s", "userId": "{user}"});
        let filled = PEOPLE.fill(&relative_times(claims.as_object().expect("an object")));
        assert!(filled["exp"].as_i64().is_some_and(|exp| (now() + 58..=now() + 60).contains(&exp)));
        assert_eq!(filled["note"], "+60s");
        assert_eq!(filled["userId"], "alice");
    }
}
