//! Verifies connection tokens, and in `session` whether what they rest on holds. Knows nothing of sockets.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::Validation;
use serde_json::{Map, Value};

use crate::{json, model::now_ms};

pub(crate) mod jwks;
pub mod keys;
pub mod session;

use keys::Keys;

/// How far the clocks of the issuer and of this server may differ (AUTH-08, AUTH-09: at most 5 s).
const LEEWAY_SECONDS: f64 = 3.0;

/// Issuers that list a user's groups write long ones (AUTH-27); what is longer need not be decoded (AUTH-25).
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Who a verified token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The user (AUTH-10, AUTH-11).
    pub user_id: String,
    /// The session that has to hold as well (AUTH-12).
    pub session_id: String,
}

/// Why a token was not accepted. Says nothing about the token itself (AUTH-24).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none, or an empty one.
    #[error("no token was given")]
    Missing,
    /// Everything about it is right but its `exp`.
    #[error("the token has expired")]
    Expired,
    /// Anything else is wrong with it.
    #[error("the token is not valid")]
    Invalid,
    /// No key that is known verifies it; there may be others by now.
    #[error("the token is not signed with a key that is known")]
    UnknownKey,
    /// Nobody could say which keys there are.
    #[error("the keys could not be looked up")]
    Unavailable,
}

/// Verifies a token and says who it speaks for.
#[async_trait]
pub trait VerifyToken: Send + Sync + 'static {
    /// Verifies a token that has no `Bearer ` prefix any more.
    ///
    /// # Errors
    /// Where the token is not accepted (AUTH-05 to AUTH-13).
    fn verify(&self, token: &str) -> Result<Claims, TokenError>;

    /// Waits until keys were looked for anew, after [`TokenError::UnknownKey`].
    ///
    /// # Errors
    /// Where nobody looks for them, or they could not be looked up.
    async fn look_again(&self) -> Result<(), TokenError> {
        Err(TokenError::Invalid)
    }

    /// Whether there is anything to verify tokens with.
    fn is_ready(&self) -> bool {
        true
    }

    /// Until when [`VerifyToken::verify`] accepts a token that it accepts now, in milliseconds of the Unix epoch; `None` where
    /// that never ends. A connection is closed then. What is not overridden reads the `exp` of a JSON Web Token.
    fn ends_at_ms(&self, token: &str) -> Option<i64> {
        let claims = jsonwebtoken::dangerous::insecure_decode::<Map<String, Value>>(token).ok()?.claims;
        let end = time(claims.get("exp")).ok()? + LEEWAY_SECONDS;
        // As far as the clock goes; the cast takes the nearest.
        Some((end * 1_000.0) as i64)
    }
}

/// What a client presents: of an object the members `token` and `ack`, whatever stands beside them (AUTH-29).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presented {
    token: PresentedToken,
    /// Whether the client acknowledges.
    pub acknowledges: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum PresentedToken {
    /// Or `null` (AUTH-28).
    #[default]
    None,
    Text(String),
    /// Anything but a text.
    Other,
}

impl Presented {
    /// Reads a CONNECT payload, if there is any, or the argument of `auth.refresh`, which may be the token itself.
    #[must_use]
    pub fn read(json: &str) -> Self {
        if json.is_empty() {
            return Self::default();
        }
        let Some([token, ack]) = json::members(json, ["token", "ack"]) else {
            return Self { token: PresentedToken::read(json), acknowledges: false };
        };
        Self {
            token: token.map_or(PresentedToken::None, |token| PresentedToken::read(token.get())),
            acknowledges: ack.is_some_and(|ack| ack.get() == "true"),
        }
    }
}

impl PresentedToken {
    fn read(json: &str) -> Self {
        match serde_json::from_str::<Option<String>>(json) {
            Ok(token) => token.map_or(Self::None, Self::Text),
            Err(_) => Self::Other,
        }
    }
}

/// Finds the token of a handshake: what was presented with CONNECT (AUTH-01), and only where that is nothing, the `Authorization` header
/// (AUTH-02). Never the URL (AUTH-04).
///
/// # Errors
/// Where there is no token, or it is not a string (AUTH-25).
pub fn find_token<'a>(presented: &'a Presented, headers: &'a HeaderMap) -> Result<&'a str, TokenError> {
    let token = match (&presented.token, headers.get(AUTHORIZATION)) {
        (PresentedToken::Text(token), _) => token,
        (PresentedToken::None, None) => return Err(TokenError::Missing),
        (PresentedToken::None, Some(header)) => header.to_str().map_err(|_| TokenError::Invalid)?,
        (PresentedToken::Other, _) => return Err(TokenError::Invalid),
    };
    match strip_bearer(token) {
        "" => Err(TokenError::Missing),
        token => Ok(token),
    }
}

/// AUTH-03. The scheme of RFC 9110 knows no case.
pub(crate) fn strip_bearer(token: &str) -> &str {
    match token.split_at_checked("Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer ") => token,
        _ => token,
    }
}

/// Whose tokens are accepted, and whom they have to be for; nothing is asked where there is nothing in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parties {
    /// `JWT_ISSUER`: the `iss` of a token is one of them (OPS-01).
    pub issuers: Vec<String>,
    /// `JWT_AUDIENCE`: one of them is among the `aud` of a token (OPS-01).
    pub audiences: Vec<String>,
}

/// Verifies JSON Web Tokens.
pub struct JwtVerifier {
    keys: Arc<Keys>,
    parties: Parties,
}

impl JwtVerifier {
    /// A verifier with these keys, each for its algorithm (AUTH-06).
    #[must_use]
    pub fn new(keys: Arc<Keys>, parties: Parties) -> Self {
        Self { keys, parties }
    }

    /// The claims, where a key verifies the signature.
    fn signed(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        // Extensions that must be understood, and none is (RFC 7515, 4.1.11; AUTH-26).
        if header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        // A key without an id may be any token's, and a token without one any key's.
        let named = |id: &Option<String>| id.is_none() || header.kid.is_none() || *id == header.kid;
        let mut signature_only = Validation::new(header.alg);
        // The times are judged below, last and by hand: the library stops at `exp`, so that it could not tell a token that
        // has merely expired from one that was never right, and it takes no negative number for a time.
        signature_only.required_spec_claims.clear();
        signature_only.validate_exp = false;
        signature_only.validate_nbf = false;
        signature_only.validate_aud = false;
        let keys = self.keys.current();
        keys.iter()
            .filter(|key| key.algorithm == header.alg && named(&key.id))
            .find_map(|key| jsonwebtoken::decode(token, &key.key, &signature_only).ok())
            .map(|token| token.claims)
            .ok_or(TokenError::UnknownKey)
    }
}

#[async_trait]
impl VerifyToken for JwtVerifier {
    fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let claims = self.signed(token)?;
        self.parties.judge(&claims)?;
        judge(&claims, now_ms() as f64 / 1_000.0)
    }

    async fn look_again(&self) -> Result<(), TokenError> {
        match self.keys.look_again().await {
            Some(true) => Ok(()),
            Some(false) => Err(TokenError::Unavailable),
            None => Err(TokenError::Invalid),
        }
    }

    fn is_ready(&self) -> bool {
        !self.keys.current().is_empty()
    }
}

impl Parties {
    fn judge(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        let has =
            |listed: &[String], claim: &Value| claim.as_str().is_some_and(|it| listed.iter().any(|one| one == it));
        let is_right = |listed: &[String], claim: Option<&Value>, many: bool| match claim {
            _ if listed.is_empty() => true,
            Some(Value::Array(all)) if many => all.iter().any(|one| has(listed, one)),
            Some(one) => has(listed, one),
            None => false,
        };
        let is_right =
            is_right(&self.issuers, claims.get("iss"), false) && is_right(&self.audiences, claims.get("aud"), true);
        if is_right { Ok(()) } else { Err(TokenError::Invalid) }
    }
}

/// Judges the claims of a token whose signature is right. `exp` comes last: AUTH-21.
fn judge(claims: &Map<String, Value>, now: f64) -> Result<Claims, TokenError> {
    if claims.get("type").is_some_and(|kind| kind == "refresh") {
        return Err(TokenError::Invalid);
    }
    let user_id = text(claims.get("userId").or_else(|| claims.get("sub")))?;
    let session_id = text(claims.get("sessionId"))?;
    let expiry = time(claims.get("exp"))?;
    let not_before = claims.get("nbf").map_or(Ok(now), |claim| time(Some(claim)))?;
    if not_before > now + LEEWAY_SECONDS {
        return Err(TokenError::Invalid);
    }
    if expiry + LEEWAY_SECONDS <= now {
        return Err(TokenError::Expired);
    }
    Ok(Claims { user_id, session_id })
}

fn text(claim: Option<&Value>) -> Result<String, TokenError> {
    match claim {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        _ => Err(TokenError::Invalid),
    }
}

/// A NumericDate of RFC 7519: seconds, with or without a fraction.
fn time(claim: Option<&Value>) -> Result<f64, TokenError> {
    claim.and_then(Value::as_f64).ok_or(TokenError::Invalid)
}
