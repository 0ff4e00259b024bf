//! Errors as problem documents (RFC 9457). They name the member at fault and never show its value (AUTH-24).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;

/// A problem document (EMIT-09).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    #[serde(skip)]
    code: StatusCode,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    /// The codings that a body may have, where it had another.
    #[serde(skip)]
    accept_encoding: Option<&'static str>,
    /// What of a batch was accepted before the store failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<Box<Value>>,
}

/// What is wrong with one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The member, as a JSON Pointer into the body (RFC 6901).
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl Fault {
    /// A fault of the member at that pointer.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl Problem {
    /// A problem without a member at fault.
    pub fn new(code: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            title: code.canonical_reason().unwrap_or("Error"),
            status: code.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            accept_encoding: None,
            accepted: None,
        }
    }

    /// 400, naming the members at fault.
    #[must_use]
    pub fn faults(errors: Vec<Fault>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => format!("the body {}", only.detail),
            [only] => format!("{} {}", only.pointer, only.detail),
            many => format!("{} members are wrong", many.len()),
        };
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 415, for a body that is compressed (EMIT-17). Only this 415 may name codings (RFC 9110, 12.5.3).
    pub fn encoded() -> Self {
        let detail = "the body has to be sent as it is, without a Content-Encoding";
        Self { accept_encoding: Some("identity"), ..Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail) }
    }

    /// 503.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Adds what was accepted all the same (EMIT-22).
    #[must_use]
    pub fn with_accepted(self, accepted: impl Serialize) -> Self {
        Self { accepted: serde_json::to_value(accepted).ok().map(Box::new), ..self }
    }

    /// What was accepted all the same.
    pub(crate) fn accepted(&self) -> Option<&Vec<Value>> {
        self.accepted.as_ref()?.as_array()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.code, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(codings) = self.accept_encoding {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(codings));
        }
        match self.code {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
