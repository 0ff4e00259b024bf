//! Reads a JSON body within its limits (EMIT-11, EMIT-12).

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{StatusCode, header},
};
use futures_util::StreamExt;
use serde_json::Value;

use super::problem::Problem;

/// The limit of an event and of a session (EMIT-11).
pub(crate) const ONE_BYTES: usize = 64 * 1024;
/// The limit of a batch (EMIT-11).
pub(crate) const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// How much of a body over its limit is read and thrown away: a client that is still sending would see its connection reset
/// in place of the answer.
const PASSED_OVER_BYTES: usize = 8 * 1024 * 1024;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the body as JSON.
pub(crate) async fn json(request: Request, limit_bytes: usize) -> Result<Value, Problem> {
    let media_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = media_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body has to be application/json",
        ));
    }
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced: Option<usize> = announced.and_then(|length| length.parse().ok());
    let body = read(request.into_body(), announced, limit_bytes).await?;
    serde_json::from_slice(&body).map_err(|error| {
        // The position only: the text of the error could quote the body.
        let at = format!("line {}, column {}", error.line(), error.column());
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not valid JSON at {at}"),
        )
    })
}

async fn read(body: Body, announced: Option<usize>, limit_bytes: usize) -> Result<Vec<u8>, Problem> {
    let within = async {
        let mut frames = body.into_data_stream();
        let mut read = Vec::new();
        let mut too_long = announced.is_some_and(|length| length > limit_bytes);
        let mut seen = 0;
        while let Some(frame) = frames.next().await {
            let frame = frame.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body broke off"))?;
            seen += frame.len();
            too_long |= seen > limit_bytes;
            if !too_long {
                read.extend_from_slice(&frame);
            } else if seen > limit_bytes.saturating_add(PASSED_OVER_BYTES) {
                break;
            }
        }
        if too_long { Err(too_large(limit_bytes)) } else { Ok(read) }
    };
    let late = || Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
    tokio::time::timeout(PATIENCE, within).await.unwrap_or_else(|_| Err(late()))
}

fn too_large(limit_bytes: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {limit_bytes} bytes"),
    )
}
