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
    auth::VerifyToken,
    cluster::Peers,
    idempotency::Idempotency,
    model::{Answers, Queue, SessionStore, StoreError},
    notifications::NotificationsService,
};

pub(crate) mod body;
pub mod credential;
pub(crate) mod draft;
pub(crate) mod events;
pub mod problem;
pub(crate) mod sessions;

use credential::Credentials;
use problem::Problem;

/// How much may be in hand at once, in events; a batch counts as `BATCH_WEIGHT`. Beyond it: 429 (EMIT-14).
pub const MAX_IN_HAND: usize = 1_024;

/// What the routes need.
pub(crate) struct Control {
    pub(crate) service: NotificationsService,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) idempotency: Idempotency,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) in_hand: Arc<Semaphore>,
}

impl Control {
    pub(crate) fn new(
        service: NotificationsService,
        sessions: Arc<dyn SessionStore>,
        answers: Arc<dyn Answers>,
        credentials: Arc<Credentials>,
    ) -> Self {
        let idempotency = Idempotency::new(answers);
        let in_hand = Arc::new(Semaphore::new(MAX_IN_HAND));
        Self { service, sessions, idempotency, credentials, in_hand }
    }
}

/// The routes of the control surface, for those with the service credential.
pub(crate) fn routes(control: Control) -> Router {
    Router::new()
        .route("/events", post(events::one))
        .route("/events/batch", post(events::batch))
        .route("/sessions/{id}", put(sessions::put).delete(sessions::revoke))
        // Here, so that what is laid around these routes is around this, too.
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::new(control))
}

/// What tells how the process is.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) peers: Option<Arc<dyn Peers>>,
    pub(crate) tokens: Arc<dyn VerifyToken>,
}

impl Health {
    /// Whether this node has joined the others, where there may be any, and the store answers.
    pub(crate) async fn store(&self) -> Result<(), StoreError> {
        if let Some(peers) = &self.peers {
            peers.ready()?;
        }
        self.queue.probe().await
    }
}

/// The routes for whoever watches the process.
pub(crate) fn health(health: Health) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(health)
}

/// What everything else is answered with.
pub(crate) fn with_fallbacks(routes: Router) -> Router {
    routes.method_not_allowed_fallback(method_not_allowed).fallback(not_found)
}

async fn healthz() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

async fn readyz(State(health): State<Health>) -> Response {
    match health.store().await {
        Ok(()) if !health.tokens.is_ready() => {
            Problem::unavailable("no key is known to verify tokens with").into_response()
        }
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
