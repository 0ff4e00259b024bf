//! The HTTP control surface: events, sessions and health, for other processes (SPEC.md, 6 and 8). Decides nothing itself;
//! [`NotificationsService`] does.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::{
    config::Secret,
    idempotency::{Answers, Idempotency},
    notifications::NotificationsService,
    session::SessionStore,
    store::Probe,
};

pub(crate) mod body;
pub(crate) mod credential;
pub(crate) mod draft;
pub(crate) mod events;
pub mod problem;
pub(crate) mod sessions;

use problem::Problem;

/// How much may be in hand at once, in events; a batch counts as `BATCH_WEIGHT`. Beyond it: 429 (EMIT-14).
pub const MAX_IN_HAND: usize = 1_024;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) service: NotificationsService,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) probe: Arc<dyn Probe>,
    pub(crate) idempotency: Idempotency,
    pub(crate) ingest_token: Secret,
    pub(crate) in_hand: Arc<Semaphore>,
}

impl Control {
    pub(crate) fn new(
        service: NotificationsService,
        sessions: Arc<dyn SessionStore>,
        answers: Arc<dyn Answers>,
        probe: Arc<dyn Probe>,
        ingest_token: Secret,
    ) -> Self {
        let idempotency = Idempotency::new(answers);
        let in_hand = Arc::new(Semaphore::new(MAX_IN_HAND));
        Self { service, sessions, probe, idempotency, ingest_token, in_hand }
    }
}

/// The routes of the control surface.
pub(crate) fn routes(control: Control) -> Router {
    Router::new()
        .route("/events", post(events::one))
        .route("/events/batch", post(events::batch))
        .route("/sessions/{id}", put(sessions::put).delete(sessions::revoke))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(control)
}

async fn healthz() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

async fn readyz(State(control): State<Control>) -> Response {
    match control.probe.probe().await {
        Ok(()) => Json(json!({"status": "ready"})).into_response(),
        // Whoever finds out writes it to the log, once; here it would be written for whoever asks.
        Err(error) => Problem::unavailable(error.kind()).into_response(),
    }
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such route")
}

async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this route has other methods; see Allow")
}
