//! The service credential (EMIT-01), judged before anything of the body is read.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header, request::Parts},
};
use subtle::ConstantTimeEq;

use super::{Control, problem::Problem};
use crate::auth::strip_bearer;

/// Proof that the request carried the service credential.
pub(crate) struct Authorized;

impl FromRequestParts<Control> for Authorized {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.filter(|value| strip_bearer(value).len() < value.len()).map(strip_bearer);
        let expected = control.ingest_token.expose().as_bytes();
        match given {
            Some(token) if bool::from(token.as_bytes().ct_eq(expected)) => Ok(Self),
            Some(_) => Err(Problem::new(StatusCode::UNAUTHORIZED, "this is not the service credential")),
            None => Err(Problem::new(StatusCode::UNAUTHORIZED, "the service credential is missing")),
        }
    }
}
