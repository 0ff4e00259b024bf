//! The keys that tokens are verified with: which ones there are, and how they change while the server runs. Knows nothing of where they
//! come from.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use crate::counts::COUNTS;

/// The most keys that there may be: a token that names none is tried with each.
pub(crate) const MAX_KEYS: usize = 64;

/// The least length of a modulus for RS256 (RFC 7518, 3.3).
const RSA_BYTES: usize = 2_048 / 8;

/// How long a client with an unknown key waits until it was looked for. Less than it may take to authenticate.
const LOOKS_WITHIN: Duration = Duration::from_secs(5);

/// A key for one algorithm.
#[derive(Clone)]
pub struct Key {
    /// What it verifies (AUTH-06).
    pub algorithm: Algorithm,
    /// Its `kid`, where it has one.
    pub id: Option<String>,
    /// The key itself.
    pub key: DecodingKey,
    /// The text that it was read from, to know it again.
    source: Arc<str>,
}

impl Key {
    /// A key that was read from this text; `None` where it is too weak for the algorithm, or of another kind.
    pub(crate) fn new(algorithm: Algorithm, id: Option<String>, key: DecodingKey, source: &str) -> Option<Self> {
        fits(algorithm, &key).then(|| Self { algorithm, id, key, source: source.into() })
    }

    fn is(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.id == other.id && self.source == other.source
    }
}

/// The keys in use.
pub struct Keys {
    held: RwLock<Arc<[Held]>>,
    grace: Duration,
    /// Somebody whose key is not known waits.
    asked: Notify,
    /// When somebody looked last, and whether it could be seen which keys there are; `None` before that.
    looked: watch::Sender<Option<(Instant, bool)>>,
}

struct Held {
    key: Key,
    /// It has gone, and is honoured until then.
    until: Option<Instant>,
}

impl Keys {
    /// These keys. One that goes later is honoured for so long.
    #[must_use]
    pub fn new(keys: Vec<Key>, grace: Duration) -> Self {
        let held = keys.into_iter().map(|key| Held { key, until: None }).collect();
        Self { held: RwLock::new(held), grace, asked: Notify::new(), looked: watch::Sender::new(None) }
    }

    /// Those that count now.
    #[must_use]
    pub fn current(&self) -> Vec<Key> {
        self.current_at(Instant::now())
    }

    fn current_at(&self, now: Instant) -> Vec<Key> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        held.iter().filter(|it| it.until.is_none_or(|until| until > now)).map(|it| it.key.clone()).collect()
    }

    /// Whether these are others than there are.
    pub(crate) fn differ(&self, fresh: &[Key]) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        let there = held.iter().filter(|it| it.until.is_none());
        there.clone().count() != fresh.len() || !there.zip(fresh).all(|(it, key)| it.key.is(key))
    }

    /// From now on there are these; how many of them are new, and how many have gone.
    pub(crate) fn replace(&self, fresh: Vec<Key>) -> (usize, usize) {
        self.replace_at(Instant::now(), fresh)
    }

    fn replace_at(&self, now: Instant, fresh: Vec<Key>) -> (usize, usize) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = |key: &Key| !held.iter().any(|it| it.until.is_none() && it.key.is(key));
        let new = fresh.iter().filter(|key| is_new(key)).count();
        let gone = held.iter().filter(|it| !fresh.iter().any(|key| key.is(&it.key)));
        let gone = gone.map(|it| Held { key: it.key.clone(), until: it.until.or(Some(now + self.grace)) });
        let gone: Vec<_> = gone.filter(|it| it.until.is_some_and(|until| until > now)).collect();
        let left = held.iter().filter(|it| it.until.is_none()).count() + new - fresh.len();
        *held = fresh.into_iter().map(|key| Held { key, until: None }).chain(gone).collect();
        (new, left)
    }

    /// Completes when somebody waits for keys to be looked for.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Notes that they were looked for from that moment on, and whether that told which there are.
    pub(crate) fn looked(&self, began: Instant, told: bool) {
        if !told {
            COUNTS.key_lookups_failed.add(1);
        }
        self.looked.send_replace(Some((began, told)));
    }

    /// Waits until keys were looked for anew; whether that told which there are. `None` where nobody looks.
    pub(crate) async fn look_again(&self) -> Option<bool> {
        self.look_within(LOOKS_WITHIN).await
    }

    async fn look_within(&self, within: Duration) -> Option<bool> {
        let mut looked = self.looked.subscribe();
        (*looked.borrow_and_update())?;
        let asked = Instant::now();
        self.asked.notify_one();
        let look = timeout(within, looked.wait_for(|look| look.is_some_and(|(began, _)| began >= asked))).await;
        Some(matches!(look, Ok(Ok(look)) if look.is_some_and(|(_, told)| told)))
    }
}

/// The least length of a secret: that of the hash (RFC 7518, 3.2). `None` where there is none.
pub(crate) const fn least_bytes(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        _ => None,
    }
}

/// Whether a key is on the algorithm's curve, or long enough. The library finds that out, or not, with the first token.
fn fits(algorithm: Algorithm, key: &DecodingKey) -> bool {
    match (algorithm, key.kind()) {
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, .. }) => significant(n) >= RSA_BYTES,
        (Algorithm::RS256, DecodingKeyKind::SecretOrDer(der)) => {
            modulus(der).is_some_and(|modulus| significant(modulus) >= RSA_BYTES)
        }
        // An uncompressed point of P-256.
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => point.len() == 65 && point.first() == Some(&4),
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(key)) => key.len() == 32,
        (_, DecodingKeyKind::SecretOrDer(secret)) => least_bytes(algorithm).is_some_and(|least| secret.len() >= least),
        _ => false,
    }
}

/// The length without leading zeros.
fn significant(number: &[u8]) -> usize {
    number.iter().skip_while(|byte| **byte == 0).count()
}

/// The modulus in `RSAPublicKey ::= SEQUENCE { modulus INTEGER, … }` (RFC 8017, A.1.1).
fn modulus(der: &[u8]) -> Option<&[u8]> {
    let (_, members) = der_value(der, 0x30)?;
    let (length, modulus) = der_value(members, 0x02)?;
    modulus.get(..length)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        let text = text.repeat(32);
        let secret = DecodingKey::from_secret(text.as_bytes());
        Key::new(Algorithm::HS256, None, secret, &text).unwrap()
    }

    fn sources(keys: &Keys, now: Instant) -> Vec<String> {
        keys.current_at(now).iter().map(|key| key.source[..1].to_owned()).collect()
    }

    #[test]
    fn a_key_that_goes_is_honoured_for_a_bounded_time_however_often_it_is_looked() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let keys = Keys::new(vec![key("a")], Duration::from_secs(60));
        assert_eq!(keys.replace_at(began, vec![key("b"), key("a")]), (1, 0));
        assert_eq!(keys.replace_at(began, vec![key("b")]), (0, 1));
        assert_eq!(sources(&keys, began), ["b", "a"]);
        assert_eq!(keys.replace_at(at(50), vec![key("b")]), (0, 0));
        assert_eq!(sources(&keys, at(50)), ["b", "a"]);
        assert_eq!(sources(&keys, at(60)), ["b"]);
        // It is back for good.
        assert_eq!(keys.replace_at(at(60), vec![key("a")]), (1, 1));
        assert_eq!(keys.replace_at(at(60), vec![key("a")]), (0, 0));
        assert_eq!(sources(&keys, at(121)), ["a"]);
    }

    #[tokio::test]
    async fn who_waits_is_told_of_a_look_that_began_later() {
        let keys = Arc::new(Keys::new(Vec::new(), Duration::ZERO));
        assert_eq!(keys.look_again().await, None, "nobody looks");
        let early = Instant::now();
        keys.looked(early, true);
        let waits = tokio::spawn({
            let keys = keys.clone();
            async move { keys.look_again().await }
        });
        keys.asked().await;
        keys.looked(early, true);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        keys.looked(Instant::now(), false);
        assert_eq!(waits.await.unwrap(), Some(false));
        assert_eq!(keys.look_within(Duration::from_millis(10)).await, Some(false), "nobody comes");
    }
}
