//! Reads key sets (RFC 7517). Knows nothing of where they come from.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::keys::{Key, MAX_KEYS};

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The keys of a set that verify tokens, for one algorithm or for any that is signed with a private key. What is of another kind,
/// for another use, too weak or damaged is passed over, as RFC 7517, 5, has it: sets hold what is for others, too.
///
/// # Errors
/// Where the text is no key set, or none of its keys is left; says so in words that quote nothing of it.
pub(crate) fn read(text: &str, algorithm: Option<Algorithm>) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_str(text)
        .map_err(|_| "no JSON Web Key Set (RFC 7517): an object with an array \"keys\"".to_owned())?;
    if set.keys.iter().any(|key| key.get("d").is_some()) {
        return Err(
            "a private key (\"d\") in its set, which nobody but the issuer of the tokens should have".to_owned()
        );
    }
    let keys: Vec<_> = set.keys.into_iter().filter_map(key).collect();
    let wanted: Vec<_> = keys.into_iter().filter(|key| algorithm.is_none_or(|it| it == key.algorithm)).collect();
    match (wanted.len(), algorithm) {
        (0, None) => Err("a key set without a key for RS256 (2048 bits or more), ES256 or EdDSA".into()),
        (0, Some(algorithm)) => Err(format!("a key set without a key for {algorithm:?}, or with weak ones only")),
        (1..=MAX_KEYS, _) => Ok(wanted),
        _ => Err(format!("a key set with more than {MAX_KEYS} keys")),
    }
}

fn key(json: Value) -> Option<Key> {
    let source = json.to_string();
    let jwk: Jwk = serde_json::from_value(json).ok()?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        // A secret in a set would be everybody's.
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|it| it != KeyAlgorithm::from(algorithm)) {
        return None;
    }
    Key::new(algorithm, jwk.common.key_id.clone(), DecodingKey::from_jwk(&jwk).ok()?, &source)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ed(id: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    #[test]
    fn what_is_not_for_us_is_passed_over() {
        let weak = json!({"kty": "RSA", "kid": "weak", "e": "AQAB", "n": "sXch".repeat(32)});
        let secret = json!({"kty": "oct", "kid": "secret", "alg": "HS256", "k": "A".repeat(64)});
        let mut encryption = ed("encryption");
        encryption["use"] = "enc".into();
        let mut other = ed("other");
        other["alg"] = "RS256".into();
        let mut short = ed("short");
        short["x"] = "AAAA".into();
        let unknown = json!({"kty": "AKP", "alg": "ML-DSA-44"});
        let set = json!({"keys": [weak, secret, encryption, other, short, unknown, 7, null, ed("ours")], "more": 1});
        let keys = read(&set.to_string(), None).ok().unwrap();
        assert_eq!(keys.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>(), [Some("ours")]);
        assert!(read(&set.to_string(), Some(Algorithm::EdDSA)).is_ok());
        assert!(read(&set.to_string(), Some(Algorithm::RS256)).is_err());
    }

    #[test]
    fn a_set_is_told_from_what_is_none() {
        for text in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":{}}"#, "<html>"] {
            assert!(read(text, None).is_err(), "{text}");
        }
        let mut private = ed("private");
        private["d"] = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A".into();
        assert!(read(&json!({"keys": [ed("ours"), private]}).to_string(), None).err().unwrap().contains("private"));
        let many: Vec<_> = (0..=MAX_KEYS).map(|n| ed(&n.to_string())).collect();
        assert!(read(&json!({"keys": many}).to_string(), None).is_err());
    }
}
