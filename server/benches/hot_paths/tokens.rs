//! Verifying the token of a CONNECT.

use std::hint::black_box;

use criterion::Criterion;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use notify_server::auth::{JwtVerifier, VerifyToken};
use serde_json::json;

use crate::support::{
    fixture_text,
    server::{JWT_SECRET, from_now},
};

pub(crate) fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify a token");
    let secret = JWT_SECRET.as_bytes();
    let hmac = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
    let private = EncodingKey::from_rsa_pem(fixture_text("keys/rsa-private.pem").as_bytes()).expect("a private key");
    let public = DecodingKey::from_rsa_pem(fixture_text("keys/rsa-public.pem").as_bytes()).expect("a public key");
    for (name, algorithm, (private, public)) in
        [("HS256", Algorithm::HS256, hmac), ("RS256", Algorithm::RS256, (private, public))]
    {
        let claims = json!({"userId": "alice", "sessionId": "session-of-alice", "exp": from_now(900)});
        let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &private).expect("claims can be signed");
        let verifier = JwtVerifier::new(algorithm, public);
        group.bench_function(name, |bencher| {
            bencher.iter(|| verifier.verify(black_box(&token)).expect("the token is right"));
        });
    }
    group.finish();
}
