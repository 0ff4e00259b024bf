//! Token verification with one check left out or done wrongly.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation};
use notify_server::{
    Config,
    auth::{Claims, TokenError, VerifyToken, keys::Key},
};
use serde_json::{Map, Value};

/// What is wrong with the verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    SignatureUnchecked,
    NoneAccepted,
    AlgorithmOfTheToken,
    ExpiryUnchecked,
    ExpiryOptional,
    LeewayOfAMinute,
    NbfIgnored,
    RefreshAccepted,
    AnyUserId,
    SubBeforeUserId,
    SubIgnored,
    AnySessionId,
    SessionIdOptional,
    Logged,
    ExpiredToldAsInvalid,
    LongToldAsMissing,
    CritIgnored,
    KeyIdIgnored,
}

/// A verifier with a fault.
pub(crate) struct Faulty {
    keys: Vec<Key>,
    fault: Fault,
}

impl Faulty {
    pub(crate) fn new(config: &Config, fault: Fault) -> Self {
        Self { keys: config.tokens.keys.clone(), fault }
    }

    fn decode(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        let unchecked = match self.fault {
            Fault::SignatureUnchecked => true,
            Fault::NoneAccepted => {
                part(token, 0)?.get("alg").and_then(Value::as_str).is_some_and(|alg| alg.eq_ignore_ascii_case("none"))
            }
            _ => false,
        };
        if unchecked {
            return part(token, 1);
        }
        self.keys.iter().find_map(|key| self.decode_with(key, token).ok()).ok_or(TokenError::Invalid)
    }

    fn decode_with(&self, key: &Key, token: &str) -> Result<Map<String, Value>, TokenError> {
        let mut rules = Validation::new(key.algorithm);
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        rules.validate_aud = false;
        if self.fault == Fault::AlgorithmOfTheToken {
            rules.algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
        }
        let decoded = jsonwebtoken::decode(token, &key.key, &rules).map_err(|_| TokenError::Invalid)?;
        if decoded.header.crit.is_some() && self.fault != Fault::CritIgnored {
            return Err(TokenError::Invalid);
        }
        Ok(decoded.claims)
    }

    fn judge(&self, claims: &Map<String, Value>) -> Result<Claims, TokenError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let leeway = if self.fault == Fault::LeewayOfAMinute { 65.0 } else { 3.0 };
        if self.fault != Fault::RefreshAccepted && claims.get("type").is_some_and(|kind| kind == "refresh") {
            return Err(TokenError::Invalid);
        }
        let (user, sub) = (claims.get("userId"), claims.get("sub"));
        let named = match self.fault {
            Fault::SubBeforeUserId => sub.or(user),
            Fault::SubIgnored => user,
            _ => user.or(sub),
        };
        let user_id = text(named, self.fault == Fault::AnyUserId)?;
        let session_id = match text(claims.get("sessionId"), self.fault == Fault::AnySessionId) {
            Err(_) if self.fault == Fault::SessionIdOptional => String::new(),
            session_id => session_id?,
        };
        let time = |name: &str| claims.get(name).map(|claim| claim.as_f64().ok_or(TokenError::Invalid)).transpose();
        let expiry = match time("exp")? {
            Some(expiry) => expiry,
            None if self.fault == Fault::ExpiryOptional => f64::INFINITY,
            None => return Err(TokenError::Invalid),
        };
        let too_soon = time("nbf")?.is_some_and(|nbf| nbf > now + leeway);
        if too_soon && self.fault != Fault::NbfIgnored {
            return Err(TokenError::Invalid);
        }
        if expiry + leeway <= now && self.fault != Fault::ExpiryUnchecked {
            let told_right = self.fault != Fault::ExpiredToldAsInvalid;
            return Err(if told_right { TokenError::Expired } else { TokenError::Invalid });
        }
        Ok(Claims { user_id, session_id })
    }
}

impl VerifyToken for Faulty {
    fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if self.fault == Fault::LongToldAsMissing && token.len() > 16 << 10 {
            return Err(TokenError::Missing);
        }
        if self.fault == Fault::Logged {
            eprintln!("verifying {token}");
        }
        self.judge(&self.decode(token)?)
    }
}

/// A segment of the token, read without looking at its signature.
fn part(token: &str, at: usize) -> Result<Map<String, Value>, TokenError> {
    let segment = token.split('.').nth(at).ok_or(TokenError::Invalid)?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(segment).map_err(|_| TokenError::Invalid)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Invalid)
}

fn text(claim: Option<&Value>, anything: bool) -> Result<String, TokenError> {
    match claim {
        Some(Value::String(text)) if anything || !text.is_empty() => Ok(text.clone()),
        Some(other) if anything => Ok(other.to_string()),
        _ => Err(TokenError::Invalid),
    }
}

/// What is wrong with the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It never comes.
    Never,
    /// It comes before that of the token.
    TooEarly,
    /// A user's first token decides for good.
    OfTheFirst,
}

/// A verifier that is right but for the end of what it accepts.
pub(crate) struct Ends {
    tokens: Arc<dyn VerifyToken>,
    end: End,
    first: Mutex<HashMap<String, Option<i64>>>,
}

impl Ends {
    pub(crate) fn new(tokens: Arc<dyn VerifyToken>, end: End) -> Self {
        Self { tokens, end, first: Mutex::default() }
    }
}

impl VerifyToken for Ends {
    fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        self.tokens.verify(token)
    }

    fn ends_at_ms(&self, token: &str) -> Option<i64> {
        let end = self.tokens.ends_at_ms(token);
        match self.end {
            End::Never => None,
            End::TooEarly => end.map(|end| end - 4_000),
            End::OfTheFirst => {
                let user = self.tokens.verify(token).map(|claims| claims.user_id).unwrap_or_default();
                *self.first.lock().unwrap_or_else(PoisonError::into_inner).entry(user).or_insert(end)
            }
        }
    }
}

/// A verifier that knows no key any more once keys could not be looked up.
pub(crate) struct Forgetful {
    tokens: Arc<dyn VerifyToken>,
    has_forgotten: AtomicBool,
}

impl Forgetful {
    pub(crate) fn new(tokens: Arc<dyn VerifyToken>) -> Self {
        Self { tokens, has_forgotten: AtomicBool::new(false) }
    }
}

#[async_trait]
impl VerifyToken for Forgetful {
    fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if self.has_forgotten.load(Ordering::SeqCst) { Err(TokenError::UnknownKey) } else { self.tokens.verify(token) }
    }

    async fn look_again(&self) -> Result<(), TokenError> {
        let looked = self.tokens.look_again().await;
        self.has_forgotten.store(looked == Err(TokenError::Unavailable), Ordering::SeqCst);
        looked
    }
}
