//! Verifying the token of a CONNECT.

use std::{hint::black_box, sync::Arc};

use criterion::Criterion;
use std::collections::HashMap;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use notify_server::{
    auth::{JwtVerifier, Parties, VerifyToken, keys::Keys},
    config::Credentials,
};
use serde_json::json;

use crate::support::{
    fixture_text,
    server::{JWT_SECRET, from_now},
};

pub(crate) fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify a token");
    let secret = JWT_SECRET.as_bytes();
    let hmac = (EncodingKey::from_secret(secret), ("JWT_SECRET", JWT_SECRET.to_owned()));
    let private = EncodingKey::from_rsa_pem(fixture_text("keys/rsa-private.pem").as_bytes()).expect("a private key");
    let public = ("JWT_PUBLIC_KEY", fixture_text("keys/rsa-public.pem"));
    for (name, algorithm, (private, public)) in
        [("HS256", Algorithm::HS256, hmac), ("RS256", Algorithm::RS256, (private, public))]
    {
        let claims = json!({"userId": "alice", "sessionId": "session-of-alice", "exp": from_now(900)});
        let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &private).expect("claims can be signed");
        let settings =
            [(public.0, public.1.as_str()), ("INGEST_TOKEN", "x")].map(|(name, it)| (name.into(), it.into()));
        let read = Credentials::from_source(&HashMap::<String, String>::from(settings)).expect("the key is right");
        let keys = Arc::new(Keys::new(read.tokens.keys, read.tokens.grace));
        let verifier = JwtVerifier::new(keys, Parties::default());
        group.bench_function(name, |bencher| {
            bencher.iter(|| verifier.verify(black_box(&token)).expect("the token is right"));
        });
    }
    group.finish();
}
