//! Reads a JSON body within its limits (EMIT-11, EMIT-12).

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{StatusCode, header},
};
use serde_json::Value;

use super::problem::Problem;

/// The limit of an event and of a session (EMIT-11).
pub(crate) const ONE_BYTES: usize = 64 * 1024;
/// The limit of a batch (EMIT-11).
pub(crate) const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the body as JSON.
pub(crate) async fn json(request: Request, limit_bytes: usize) -> Result<Value, Problem> {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json"));
    }
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced: Option<usize> = announced.and_then(|length| length.parse().ok());
    let body = if announced.is_some_and(|length| length > limit_bytes) {
        return Err(too_large(limit_bytes));
    } else {
        read(request.into_body(), limit_bytes).await?
    };
    serde_json::from_slice(&body).map_err(|error| {
        // The position only: the text of the error could quote the body.
        let at = format!("line {}, column {}", error.line(), error.column());
        Problem::new(StatusCode::BAD_REQUEST, format!("the body is not valid JSON at {at}"))
    })
}

async fn read(body: Body, limit_bytes: usize) -> Result<axum::body::Bytes, Problem> {
    match tokio::time::timeout(PATIENCE, to_bytes(body, limit_bytes)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(too_large(limit_bytes)),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn too_large(limit_bytes: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit_bytes} bytes"))
}
