//! The page at `/` in `--dev`: a patient's view, and buttons that emit. Without it one tries the server by `curl` and a client of one's own.

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;

use crate::{
    http::problem::Problem,
    model::{Draft, EventType},
    notifications::NotificationsService,
};

const PAGE: &str = include_str!("page.html");

/// Nothing is loaded from elsewhere, and nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
struct Demo {
    page: String,
    user: &'static str,
    service: NotificationsService,
}

/// The page for a user with this token, and the route that it emits by.
pub(crate) fn routes(user: &'static str, token: Option<&str>, service: NotificationsService) -> Router {
    // A token has no character that HTML or JavaScript would take for another.
    let page = PAGE.replace("{{config}}", &json!({"token": token}).to_string());
    Router::new().route("/", get(page_of)).route("/demo/{type}", post(emit)).with_state(Demo { page, user, service })
}

async fn page_of(State(demo): State<Demo>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, demo.page).into_response()
}

async fn emit(State(demo): State<Demo>, Path(name): Path<String>) -> Result<Response, Problem> {
    let not_one = || Problem::new(StatusCode::NOT_FOUND, "is no type of an event");
    let event_type = EventType::parse(&name).ok_or_else(not_one)?;
    let metadata = json!({"targetUserId": demo.user, "from": "the page"});
    let draft = Draft {
        event_type,
        actor_id: "dr-house".to_owned(),
        resource_id: "record-1".to_owned(),
        metadata: metadata.as_object().cloned().unwrap_or_default().into(),
    };
    let receipt = demo.service.emit(draft).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(receipt)).into_response())
}
