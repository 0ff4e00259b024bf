//! Every token of `fixtures/tokens.json`, under every algorithm that can be configured (AUTH-03, AUTH-05 to AUTH-13,
//! AUTH-21, AUTH-25, CONF-04). What the session has to do with it is in `auth.rs`.

mod support;

use std::{collections::HashMap, sync::Arc};

use axum::http::HeaderMap;
use jsonwebtoken::{Algorithm, EncodingKey};
use notify_server::{
    Config,
    auth::{Claims, JwtVerifier, Presented, TokenError, VerifyToken, find_token, keys::Keys},
};
use serde_json::{Map, Value, json};
use support::{fixture, fixture_text, server::from_now};

/// A configured algorithm and the name of its keys.
const CONFIGURED: [(&str, &str); 6] =
    [("HS256", "hmac"), ("HS384", "hmac"), ("HS512", "hmac"), ("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed25519")];

#[test]
fn every_token_of_the_fixtures_gets_its_verdict_under_every_algorithm() {
    let tokens = fixture("tokens.json");
    let tokens = tokens["tokens"].as_array().unwrap();
    let mut judged = 0;
    for (algorithm, kind) in CONFIGURED {
        let verifier = verifier(algorithm, kind);
        for entry in tokens.iter().filter(|entry| applies(entry, algorithm, kind)) {
            let auth = Presented::read(&json!({"token": make(entry, algorithm, kind)}).to_string());
            let verdict = find_token(&auth, &HeaderMap::new()).and_then(|token| verifier.verify(token));
            // Nobody looks for further keys.
            let verdict =
                verdict.map_err(|error| if error == TokenError::UnknownKey { TokenError::Invalid } else { error });
            let expected = match entry["verdict"].as_str().unwrap() {
                "token_missing" => Err(TokenError::Missing),
                "token_invalid" => Err(TokenError::Invalid),
                "token_expired" => Err(TokenError::Expired),
                _ => Ok(()),
            };
            assert_eq!(verdict.as_ref().map(drop), expected.as_ref().copied(), "{algorithm}: {}", entry["name"]);
            if entry["verdict"] == "accepted" {
                let claims = Claims { user_id: "alice".into(), session_id: "session".into() };
                assert_eq!(verdict, Ok(claims), "{algorithm}: {}", entry["name"]);
            }
            judged += 1;
        }
    }
    assert!(judged > 500, "{judged}");
}

fn verifier(algorithm: &str, kind: &str) -> JwtVerifier {
    let (variable, key) = match kind {
        "hmac" => ("JWT_SECRET", secret("configured")),
        kind => ("JWT_PUBLIC_KEY", fixture_text(&format!("keys/{kind}-public.pem"))),
    };
    let settings: HashMap<String, String> =
        [(variable, key.as_str()), ("JWT_ALGORITHM", algorithm), ("INGEST_TOKEN", "x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let config = Config::from_source(&settings).unwrap_or_else(|errors| panic!("{errors}"));
    JwtVerifier::new(Arc::new(Keys::new(config.tokens.keys, config.tokens.grace)), config.tokens.parties)
}

fn secret(name: &str) -> String {
    fixture("keys/secrets.json")[name].as_str().expect("a secret is text").to_owned()
}

fn applies(entry: &Value, algorithm: &str, kind: &str) -> bool {
    match entry["requires"].as_str() {
        None => true,
        Some("hmac") => kind == "hmac",
        Some("asymmetric") => kind != "hmac",
        Some(required) => required == algorithm,
    }
}

/// The value for `auth.token`, as `fixtures/README.md` says.
fn make(entry: &Value, configured: &str, kind: &str) -> Value {
    if let Some(literal) = entry.get("literal") {
        return literal.get("repeat").map_or_else(
            || literal.clone(),
            |it| {
                it[0]
                    .as_str()
                    .unwrap_or_default()
                    .repeat(usize::try_from(it[1].as_u64().unwrap_or(0)).unwrap_or(0))
                    .into()
            },
        );
    }
    let header = header(entry, configured);
    let payload = payload(entry);
    let unsigned = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(payload.as_bytes()));
    let algorithm = header["alg"].as_str().and_then(|name| name.parse().ok());
    let algorithm: Algorithm = algorithm.unwrap_or_else(|| configured.parse().expect("an algorithm"));
    let signature = match entry["key"].as_str().unwrap_or("configured") {
        "none" => String::new(),
        key => sign(&unsigned, algorithm, key, kind),
    };
    let token = mangle(entry, &header, &payload, &unsigned, &signature);
    Value::String(format!("{}{token}", entry["prefix"].as_str().unwrap_or_default()))
}

fn header(entry: &Value, configured: &str) -> Value {
    let mut header = Map::from_iter([("alg".to_owned(), json!(configured)), ("typ".to_owned(), json!("JWT"))]);
    for (name, value) in entry["header"].as_object().into_iter().flatten() {
        header.insert(name.clone(), value.clone());
    }
    header.retain(|_, value| !value.is_null());
    Value::Object(header)
}

fn payload(entry: &Value) -> String {
    let Some(claims) = entry["claims"].as_object() else {
        return fill(entry["payload"].as_str().unwrap_or_default());
    };
    let mut claims = claims.clone();
    for name in ["exp", "nbf", "iat"] {
        if let Some(Value::String(text)) = claims.get(name)
            && let Some(seconds) = text.strip_suffix('s').and_then(|text| text.parse::<i64>().ok())
        {
            claims.insert(name.to_owned(), json!(from_now(seconds)));
        }
    }
    fill(&Value::Object(claims).to_string())
}

fn fill(text: &str) -> String {
    text.replace("{user}", "alice").replace("{session}", "session").replace("{other}", "bob")
}

fn sign(unsigned: &str, algorithm: Algorithm, key: &str, configured_kind: &str) -> String {
    let kind = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => "hmac",
        Algorithm::RS256 | Algorithm::RS384 => "rsa",
        Algorithm::ES256 => "ec",
        _ => "ed25519",
    };
    let prefix = if key == "other" { "other-" } else { "" };
    let key = match (key, kind) {
        ("public-pem-as-secret", _) => {
            EncodingKey::from_secret(fixture_text(&format!("keys/{configured_kind}-public.pem")).as_bytes())
        }
        (key, "hmac") => EncodingKey::from_secret(secret(key).as_bytes()),
        (_, kind) => {
            let pem = fixture_text(&format!("keys/{prefix}{kind}-private.pem"));
            match kind {
                "rsa" => EncodingKey::from_rsa_pem(pem.as_bytes()),
                "ec" => EncodingKey::from_ec_pem(pem.as_bytes()),
                _ => EncodingKey::from_ed_pem(pem.as_bytes()),
            }
            .expect("the key of a fixture is a key")
        }
    };
    jsonwebtoken::crypto::sign(unsigned.as_bytes(), &key, algorithm).expect("a key signs")
}

fn mangle(entry: &Value, header: &Value, payload: &str, unsigned: &str, signature: &str) -> String {
    match entry["mangle"].as_str() {
        None => format!("{unsigned}.{signature}"),
        Some("truncate") => unsigned.to_owned(),
        Some("extra-segment") => format!("{unsigned}.{signature}.x"),
        Some("swap-payload") => {
            let mut claims: Value = serde_json::from_str(payload).expect("claims are JSON");
            claims["userId"] = json!("bob");
            let header = base64url(header.to_string().as_bytes());
            format!("{header}.{}.{signature}", base64url(claims.to_string().as_bytes()))
        }
        Some("flip-signature") => {
            // The first letter and the upper two bits of the second are the first byte.
            let mut letters: Vec<u8> = signature.bytes().collect();
            letters[1] = ALPHABET[(place(letters[1]) ^ 0b01_0000) % 64];
            format!("{unsigned}.{}", String::from_utf8(letters).expect("the alphabet is ASCII"))
        }
        Some("flip-signature-end") => {
            let mut letters: Vec<u8> = signature.bytes().collect();
            // Of the last letter the lower bits are padding: two where it ends a group of three, four where it ends one of two.
            let lowest = if letters.len() % 4 == 3 { 0b00_0100 } else { 0b01_0000 };
            let last = letters.last_mut().expect("a signature is not empty");
            *last = ALPHABET[place(*last) ^ lowest];
            format!("{unsigned}.{}", String::from_utf8(letters).expect("the alphabet is ASCII"))
        }
        Some(unknown) => panic!("unknown way to mangle: {unknown}"),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn place(letter: u8) -> usize {
    ALPHABET.iter().position(|it| *it == letter).expect("a signature is in base64url")
}

fn base64url(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            text.push(char::from(ALPHABET[word >> (18 - 6 * i) & 63]));
        }
    }
    text
}
