//! The key that tokens are verified with: which one is set, and whether it is of the right kind and strong enough.

use jsonwebtoken::{Algorithm, DecodingKey};

use super::{Reader, Variable};

const SECRET: Variable = Variable { plain: "JWT_SECRET", file: "JWT_SECRET_FILE" };
const PUBLIC_KEY: Variable = Variable { plain: "JWT_PUBLIC_KEY", file: "JWT_PUBLIC_KEY_FILE" };

/// The least length of a modulus for RS256 (RFC 7518, 3.3).
const RSA_BYTES: usize = 2_048 / 8;

impl Reader<'_> {
    /// `None` only where an error was noted, as everywhere in the reader.
    pub(super) fn token_key(&mut self) -> Option<(Algorithm, DecodingKey)> {
        let (secret, public) = (self.secret(SECRET), self.secret(PUBLIC_KEY));
        let is_set = |it: &Option<Option<_>>| !matches!(it, Some(None));
        let (has_secret, has_public) = (is_set(&secret), is_set(&public));
        let default = if has_public && !has_secret { "RS256" } else { "HS256" };
        let algorithm = match self.text("JWT_ALGORITHM").as_deref().unwrap_or(default) {
            "HS256" => Some(Algorithm::HS256),
            "HS384" => Some(Algorithm::HS384),
            "HS512" => Some(Algorithm::HS512),
            "RS256" => Some(Algorithm::RS256),
            "ES256" => Some(Algorithm::ES256),
            "EdDSA" => Some(Algorithm::EdDSA),
            _ => self.error("JWT_ALGORITHM", "must be one of HS256, HS384, HS512, RS256, ES256 and EdDSA"),
        };
        if !has_secret && !has_public {
            return self
                .error(SECRET.plain, "is not set, and neither is JWT_PUBLIC_KEY; there is no default for a secret");
        }
        let algorithm = algorithm?;
        let key = match (least_bytes(algorithm), secret?, public?) {
            (Some(least), Some((variable, secret)), _) => self.shared(variable, &secret, algorithm, least),
            (Some(_), None, _) => self.error(SECRET.plain, "is not set, but JWT_ALGORITHM wants a secret"),
            (None, _, Some((variable, pem))) => self.public(variable, algorithm, &pem),
            (None, _, None) => self.error(PUBLIC_KEY.plain, "is not set, but JWT_ALGORITHM wants a public key"),
        };
        Some((algorithm, key?))
    }

    fn shared(
        &mut self,
        variable: &'static str,
        secret: &str,
        algorithm: Algorithm,
        least: usize,
    ) -> Option<DecodingKey> {
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
        Some(DecodingKey::from_secret(secret.as_bytes()))
    }

    fn public(&mut self, variable: &'static str, algorithm: Algorithm, pem: &str) -> Option<DecodingKey> {
        // Environment files often hold a PEM in one line.
        let pem = pem.replace("\\n", "\n");
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
        match key.ok().filter(|key| key.try_get_as_bytes().is_ok_and(|bytes| fits(algorithm, bytes))) {
            Some(key) => Some(key),
            None => self.error(variable, format!("must be a public key for {algorithm:?} in PEM format: {wanted}")),
        }
    }
}

/// The least length of a secret: that of the hash (RFC 7518, 3.2). `None` where there is none.
const fn least_bytes(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        _ => None,
    }
}

/// Whether a key is on the algorithm's curve, or long enough. The library finds that out, or not, with the first token.
fn fits(algorithm: Algorithm, key: &[u8]) -> bool {
    match (algorithm, key) {
        // An uncompressed point of P-256.
        (Algorithm::ES256, [4, coordinates @ ..]) => coordinates.len() == 64,
        (Algorithm::ES256, _) => false,
        (Algorithm::RS256, der) => modulus_bytes(der).is_some_and(|bytes| bytes >= RSA_BYTES),
        (_, key) => key.len() == 32,
    }
}

/// The length of the modulus in `RSAPublicKey ::= SEQUENCE { modulus INTEGER, … }` (RFC 8017, A.1.1).
fn modulus_bytes(der: &[u8]) -> Option<usize> {
    let (_, members) = der_value(der, 0x30)?;
    let (length, modulus) = der_value(members, 0x02)?;
    let leading = modulus.iter().take(length).take_while(|byte| **byte == 0).count();
    Some(length - leading)
}

/// The length of the DER value with this tag at the beginning, and what follows its head.
fn der_value(der: &[u8], tag: u8) -> Option<(usize, &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let Some(octets) = first.checked_sub(0x80).map(usize::from) else { return Some((usize::from(first), rest)) };
    let (length, rest) = rest.split_at_checked(octets)?;
    let length =
        length.iter().try_fold(0_usize, |length, byte| length.checked_mul(256)?.checked_add((*byte).into()))?;
    (length <= rest.len()).then_some((length, rest))
}
