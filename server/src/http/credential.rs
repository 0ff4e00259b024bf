//! The service credential (EMIT-01), judged before anything of the body is read.

use std::sync::{Arc, PoisonError, RwLock};

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, header, request::Parts},
};
use subtle::ConstantTimeEq;

use super::{Control, problem::Problem};
use crate::{auth::strip_bearer, model::Secret};

/// The credentials that are accepted: two while one takes the place of the other (OPS-06).
pub struct Credentials(RwLock<Arc<[Secret]>>);

impl Credentials {
    /// From now on these are accepted, and no others.
    pub(crate) fn replace(&self, accepted: Vec<Secret>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = accepted.into();
    }

    /// Whether these are others than those that are accepted.
    pub(crate) fn differ(&self, fresh: &[Secret]) -> bool {
        **self.0.read().unwrap_or_else(PoisonError::into_inner) != *fresh
    }

    fn accept(&self, given: &str) -> bool {
        let accepted = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Each is compared, so that nobody learns from the time which one it nearly was.
        accepted.iter().map(|one| given.as_bytes().ct_eq(one.expose().as_bytes())).filter(|is| bool::from(*is)).count()
            > 0
    }
}

impl From<Vec<Secret>> for Credentials {
    fn from(accepted: Vec<Secret>) -> Self {
        Self(RwLock::new(accepted.into()))
    }
}

/// Proof that the request carried the service credential.
pub(crate) struct Authorized;

impl FromRequestParts<Arc<Control>> for Authorized {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Arc<Control>) -> Result<Self, Problem> {
        let given = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.filter(|value| strip_bearer(value).len() < value.len()).map(strip_bearer);
        match given {
            Some(token) if control.credentials.accept(token) => Ok(Self),
            Some(_) => Err(Problem::new(StatusCode::UNAUTHORIZED, "this is not the service credential")),
            None => Err(Problem::new(StatusCode::UNAUTHORIZED, "the service credential is missing")),
        }
    }
}
