//! Reads a JSON body within its limits (EMIT-11, EMIT-12, EMIT-17). Knows nothing of what is in it.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
};
use futures_util::StreamExt;
use hyper::body::Body as _;
use serde_json::value::RawValue;

use super::problem::Problem;

/// The limit of an event and of a session (EMIT-11).
pub(crate) const ONE_BYTES: usize = 64 * 1024;
/// The limit of a batch (EMIT-11).
pub(crate) const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How much above its limit a body is still read.
const DISCARD_BYTES: usize = 8 * 1024 * 1024;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the body of a request that says it is JSON.
pub(crate) async fn text(request: Request, limit_bytes: usize) -> Result<Vec<u8>, Problem> {
    let encodings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    let is_plain = |value: &HeaderValue| {
        let coding = |coding: &str| coding.trim().is_empty() || coding.trim().eq_ignore_ascii_case("identity");
        value.to_str().is_ok_and(|codings| codings.split(',').all(coding))
    };
    if !encodings.into_iter().all(is_plain) {
        return Err(Problem::encoded());
    }
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json"));
    }
    // Whoever waits to be told to go on need not send anything that is too large.
    if request.headers().contains_key(header::EXPECT) && announced(&request) > limit_bytes {
        return Err(too_large(limit_bytes));
    }
    read(request.into_body(), limit_bytes).await
}

/// What a body says, where it is JSON.
pub(crate) fn json(body: &[u8]) -> Result<&RawValue, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        // The position only: the text of the error could quote the body.
        let at = format!("line {}, column {}", error.line(), error.column());
        Problem::new(StatusCode::BAD_REQUEST, format!("the body is not valid JSON at {at}"))
    })
}

fn announced(request: &Request) -> usize {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// How large a body is said to be; more than any limit where it is not.
pub(crate) fn announced_bytes(body: &Body) -> usize {
    body.size_hint().exact().map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Reads a body, within a time and a number of bytes.
pub(crate) async fn read(body: Body, limit_bytes: usize) -> Result<Vec<u8>, Problem> {
    match tokio::time::timeout(PATIENCE, collect(body, limit_bytes)).await {
        Ok(collected) => collected,
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

/// What is above the limit is read, up to a point, and thrown away: were the connection closed while the client still
/// sends, it would be reset, and the answer lost.
async fn collect(body: Body, limit_bytes: usize) -> Result<Vec<u8>, Problem> {
    // A body that grows as it comes is copied again and again.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(limit_bytes);
    let (mut stream, mut kept, mut seen) = (body.into_data_stream(), Vec::with_capacity(announced), 0_usize);
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off"));
        };
        seen = seen.saturating_add(chunk.len());
        if seen <= limit_bytes {
            kept.extend_from_slice(&chunk);
        } else if seen > limit_bytes.saturating_add(DISCARD_BYTES) {
            break;
        }
    }
    if seen > limit_bytes { Err(too_large(limit_bytes)) } else { Ok(kept) }
}

fn too_large(limit_bytes: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit_bytes} bytes"))
}
