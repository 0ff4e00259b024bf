//! `/openapi.json`: the control surface in OpenAPI 3.1. Without it callers have only the words of SPEC.md.
//!
//! The document is written by hand: bodies are read member by member, so that every fault is named and metadata stays as it is, and there
//! are no types that could describe them. `server/tests/openapi.rs` holds it against routes, examples and schemas.

use axum::{Router, http::header, response::IntoResponse, routing::get};

const DOCUMENT: &str = include_str!("openapi.json");

/// The one route.
pub(crate) fn routes() -> Router {
    Router::new().route("/openapi.json", get(document))
}

async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}
