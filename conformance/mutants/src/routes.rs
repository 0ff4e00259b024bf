//! HTTP answers with one thing wrong: lies around the routes of the sound server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use notify_server::{
    NotificationsService,
    grants::Grants,
    model::{Draft, EventType, SessionStore},
};
use serde_json::Value;
use socketioxide::SocketIo;

/// More than any body of the suite.
const ANY_SIZE: usize = 64 << 20;

/// What is wrong around the routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The open packet offers no upgrade.
    NoUpgradeOffered,
    /// There is no `/healthz`.
    NoHealth,
    /// `/readyz` answers 204.
    ReadyWithoutContent,
    /// Unknown routes are answered with 200.
    UnknownRoutesAnswered,
    /// Every origin is answered as if it were listed.
    OriginReflected,
    /// The server's own origin is refused, unless it is listed.
    OwnOriginRefused,
    /// A preflight is allowed what the server itself has use for.
    PreflightFixed,
    /// `*` comes with credentials.
    WildcardWithCredentials,
    /// A client without an origin is refused.
    OriginRequired,
    /// The service credential is not looked at.
    CredentialUnchecked,
    /// The `Content-Type` is not looked at.
    ContentTypeUnchecked,
    /// The `Content-Encoding` is not looked at.
    ContentEncodingUnchecked,
    /// A body that cannot be read as values is refused.
    BodyReadAsValues,
    /// What is refused is emitted all the same.
    RefusedEmitted,
    /// The id of a request is not given back.
    RequestUnnamed,
    /// Errors are plain text.
    PlainErrors,
    /// A body that is too large is told as a bad one.
    TooLargeToldAsBad,
    /// An `Idempotency-Key` may be anything.
    KeyUnchecked,
    /// An `Idempotency-Key` that came with something bad is good for nothing else.
    RefusedKeyUsedUp,
    /// An `Idempotency-Key` that was used for one route is used up for every other.
    KeysOfAllRoutes,
    /// 503 does not tell what of a batch was accepted.
    AcceptedUntold,
    /// A body that cannot be read for its depth is told as a failure of the server.
    DepthToldAsFailure,
    /// A session that never was is revoked with 204.
    AbsentRevoked,
    /// A revocation closes no connection.
    RevocationUntold,
    /// A revocation closes everybody's connections.
    RevocationClosesAll,
    /// A revocation closes connections and is stored afterwards: who comes in between stays.
    RevocationToldTooEarly,
    /// A session whose upgrade has begun is closed a little later.
    UpgradeCloses,
    /// No poll waits while an upgrade is under way.
    UpgradeSpins,
    /// A further WebSocket for a session sends its client away.
    SecondUpgradeEnds,
    /// Polling clients count as having answered each ping.
    PollersNeverDie,
    /// A poll is not answered with a ping.
    PollersUnpinged,
    /// Nobody stays for long.
    SentAwayLater,
    /// Whatever connects holds up every emitter.
    ConnectHoldsUp,
}

/// How much later.
const LATER: Duration = Duration::from_millis(30);
/// How long after its upgrade has begun a session is closed.
const CLOSES_AFTER: Duration = Duration::from_secs(3);
/// For how long polls hardly wait once an upgrade has begun, and how long that is.
const SPINS: Duration = Duration::from_secs(6);
const HARDLY: Duration = Duration::from_millis(20);
/// How often a polling client is said to be alive, and for how long.
const SAID_EVERY: Duration = Duration::from_millis(500);
const SAID_FOR: Duration = Duration::from_secs(60);
/// Longer than any case.
pub(crate) const FOR_GOOD: Duration = Duration::from_secs(3_600);
/// How long clients may stay.
const STAYS: Duration = Duration::from_secs(9);
/// How long whatever connects holds up the others.
const HELD_UP: Duration = Duration::from_millis(500);

/// What the answers lean on.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) fault: Fault,
    pub(crate) service: NotificationsService,
    pub(crate) credential: String,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) grants: Grants,
    pub(crate) io: SocketIo,
    pub(crate) upgrades: Upgrades,
    /// Whose turn it is.
    pub(crate) one_at_a_time: Arc<tokio::sync::Mutex<()>>,
    /// The keys that are good for nothing any more, or for the route alone that is named.
    pub(crate) used_up: Arc<Mutex<HashMap<HeaderValue, String>>>,
}

/// When the upgrades of sessions have begun, by session.
#[derive(Clone, Default)]
pub(crate) struct Upgrades(Arc<Mutex<HashMap<String, Instant>>>);

impl Upgrades {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // Every change is a single call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_recent(&self, sid: &str) -> bool {
        self.lock().get(sid).is_some_and(|began| began.elapsed() < SPINS)
    }
}

pub(crate) fn wrap(router: Router, around: Surroundings) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let around = around.clone();
        async move { around.answer(request, next).await }
    }))
}

impl Surroundings {
    fn is_credential(&self, headers: &HeaderMap) -> bool {
        headers.get(header::AUTHORIZATION).is_some_and(|it| *it == format!("Bearer {}", self.credential))
    }

    async fn revoke(&self, path: &str) -> Response {
        let id = path.trim_start_matches("/sessions/");
        if self.fault == Fault::RevocationToldTooEarly {
            self.grants.end_session(id, None);
            tokio::time::sleep(LATER).await;
        }
        match self.sessions.revoke_session(id).await {
            Ok(true) => StatusCode::NO_CONTENT.into_response(),
            Ok(false) => StatusCode::NOT_FOUND.into_response(),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }

    /// Remembers keys for what they should not be remembered.
    async fn used_up(&self, path: String, request: Request, next: Next) -> Response {
        let key = request.headers().get("idempotency-key").cloned();
        let lock = || self.used_up.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = self.fault == Fault::RefusedKeyUsedUp;
        let is_used_up = |key: &HeaderValue| lock().get(key).is_some_and(|used| refused || *used != path);
        if key.as_ref().is_some_and(is_used_up) {
            return StatusCode::UNPROCESSABLE_ENTITY.into_response();
        }
        let response = next.run(request).await;
        let uses_up = if refused { StatusCode::BAD_REQUEST } else { StatusCode::ACCEPTED };
        if let Some(key) = key.filter(|_| response.status() == uses_up) {
            lock().insert(key, path);
        }
        response
    }

    async fn answer(&self, mut request: Request, next: Next) -> Response {
        let path = request.uri().path().to_owned();
        let engine = path.starts_with("/socket.io");
        let (method, origin) = (request.method().clone(), request.headers().get(header::ORIGIN).cloned());
        let headers = request.headers_mut();
        let length = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok()).unwrap_or(0);
        match self.fault {
            Fault::KeyUnchecked => drop(
                headers
                    .remove("idempotency-key")
                    .filter(|key| (1..=255).contains(&key.len()))
                    .map(|key| headers.insert("idempotency-key", key)),
            ),
            Fault::RefusedKeyUsedUp | Fault::KeysOfAllRoutes if headers.contains_key("idempotency-key") => {
                return self.used_up(path, request, next).await;
            }
            Fault::NoHealth if path == "/healthz" => return StatusCode::NOT_FOUND.into_response(),
            Fault::OriginRequired if engine && origin.is_none() => return StatusCode::FORBIDDEN.into_response(),
            Fault::CredentialUnchecked if !engine => {
                set(headers, header::AUTHORIZATION, &format!("Bearer {}", self.credential))
            }
            Fault::ContentTypeUnchecked if !engine => set(headers, header::CONTENT_TYPE, "application/json"),
            Fault::ContentEncodingUnchecked => drop(headers.remove(header::CONTENT_ENCODING)),
            Fault::OwnOriginRefused => set(headers, header::HOST, "nowhere.example"),
            Fault::PreflightFixed => drop(headers.remove(header::ACCESS_CONTROL_REQUEST_HEADERS)),
            Fault::BodyReadAsValues if path.starts_with("/events") => return as_values(request, next).await,
            Fault::RefusedEmitted if path == "/events" && method == Method::POST => {
                return self.emit_anyway(request, next).await;
            }
            Fault::RevocationUntold | Fault::RevocationToldTooEarly
                if method == Method::DELETE && self.is_credential(headers) =>
            {
                return self.revoke(&path).await;
            }
            Fault::UpgradeCloses | Fault::UpgradeSpins | Fault::SecondUpgradeEnds if engine => {
                return self.spoil_upgrade(request, next).await;
            }
            Fault::PollersNeverDie if engine && is_opening(&request) && !is_websocket(&request) => {
                return self.opened_for_good(request, next).await;
            }
            Fault::PollersUnpinged if engine && method == Method::GET => {
                return unpinged(next.run(request).await).await;
            }
            Fault::SentAwayLater if engine && is_opening(&request) => self.send_away_later(),
            Fault::ConnectHoldsUp if engine && is_opening(&request) => {
                let _turn = self.one_at_a_time.lock().await;
                tokio::time::sleep(HELD_UP).await;
            }
            Fault::ConnectHoldsUp if path.starts_with("/events") => drop(self.one_at_a_time.lock().await),
            Fault::NoUpgradeOffered if engine && is_opening(&request) && !is_websocket(&request) => {
                return without_upgrades(next.run(request).await).await;
            }
            _ => {}
        }
        let mut response = next.run(request).await;
        let closes_all = self.fault == Fault::RevocationClosesAll && method == Method::DELETE;
        if let Some(everybody) = self.io.of("/notifications").filter(|_| closes_all) {
            everybody.disconnect().await.ok();
        }
        let (status, headers) = (response.status(), response.headers_mut());
        match (self.fault, origin) {
            (Fault::OriginReflected, Some(origin)) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                set(headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
            }
            (Fault::WildcardWithCredentials, _) => {
                let wildcard = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|value| value == "*");
                if wildcard {
                    set(headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
                }
            }
            _ => {}
        }
        match (self.fault, status) {
            // Only the deep bodies of the suite are that long.
            (Fault::DepthToldAsFailure, StatusCode::BAD_REQUEST) if path == "/events" && length > 15_000 => {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            (Fault::ReadyWithoutContent, StatusCode::OK) if path == "/readyz" => {
                *response.status_mut() = StatusCode::NO_CONTENT
            }
            (Fault::UnknownRoutesAnswered, StatusCode::NOT_FOUND) if method == Method::GET => {
                *response.status_mut() = StatusCode::OK
            }
            (Fault::AbsentRevoked, StatusCode::NOT_FOUND) if method == Method::DELETE => {
                *response.status_mut() = StatusCode::NO_CONTENT
            }
            (Fault::RequestUnnamed, _) => drop(response.headers_mut().remove("x-request-id")),
            (Fault::TooLargeToldAsBad, StatusCode::PAYLOAD_TOO_LARGE) => {
                *response.status_mut() = StatusCode::BAD_REQUEST
            }
            (Fault::AcceptedUntold, StatusCode::SERVICE_UNAVAILABLE) => return without_accepted(response).await,
            (Fault::PlainErrors, status) if !engine && status.is_client_error() => {
                return (status, "error").into_response();
            }
            _ => {}
        }
        response
    }

    /// Opens a polling session, and goes on to say that its client has answered.
    async fn opened_for_good(&self, request: Request, next: Next) -> Response {
        let uri = request.uri().to_string();
        let (parts, body) = next.clone().run(request).await.into_parts();
        let body = to_bytes(body, ANY_SIZE).await.unwrap_or_default();
        let opened = body.strip_prefix(b"0").and_then(|json| serde_json::from_slice::<Value>(json).ok());
        if let Some(sid) = opened.as_ref().and_then(|open| open["sid"].as_str()) {
            let uri = format!("{uri}&sid={sid}");
            tokio::spawn(async move {
                for _ in 0..SAID_FOR.as_millis() / SAID_EVERY.as_millis() {
                    tokio::time::sleep(SAID_EVERY).await;
                    let said = Request::post(&uri).header(header::CONTENT_TYPE, "text/plain").body(Body::from("3"));
                    let Ok(said) = said else { return };
                    if !next.clone().run(said).await.status().is_success() {
                        return;
                    }
                }
            });
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// Sends whoever is here by then away, and stays at it.
    fn send_away_later(&self) {
        let io = self.io.clone();
        tokio::spawn(async move {
            tokio::time::sleep(STAYS).await;
            if let Some(everybody) = io.of("/notifications") {
                everybody.disconnect().await.ok();
            }
        });
    }

    /// Passes on what belongs to a session, but spoils its upgrade.
    async fn spoil_upgrade(&self, request: Request, next: Next) -> Response {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name));
        let (Some(sid), transport) = (value("sid="), value("transport=")) else { return next.run(request).await };
        if transport != Some("websocket") {
            let is_poll = request.method() == Method::GET;
            if self.fault != Fault::UpgradeSpins || !is_poll || !self.upgrades.is_recent(sid) {
                return next.run(request).await;
            }
            let answer = tokio::time::timeout(HARDLY, next.run(request)).await;
            return answer.unwrap_or_else(|_| "6".into_response());
        }
        let begins = self.fault == Fault::UpgradeCloses;
        let closing = begins.then(|| (next.clone(), close_of(request.uri())));
        let response = next.run(request).await;
        let refused = response.status().is_client_error();
        if !refused {
            self.upgrades.lock().insert(sid.to_owned(), Instant::now());
        }
        match closing {
            Some((next, Some(close))) if !refused => {
                tokio::spawn(async move {
                    tokio::time::sleep(CLOSES_AFTER).await;
                    next.run(close).await;
                });
            }
            _ => {}
        }
        let sockets = self.io.of("/notifications").map(|namespace| namespace.sockets()).unwrap_or_default();
        if self.fault == Fault::SecondUpgradeEnds && refused {
            sockets.into_iter().filter(|socket| socket.id.as_str() == sid).for_each(|it| drop(it.disconnect()));
        }
        response
    }

    /// Passes the request on; where it is refused for its body, emits what can be made out of it.
    async fn emit_anyway(&self, request: Request, next: Next) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, ANY_SIZE).await else { return StatusCode::BAD_REQUEST.into_response() };
        let response = next.run(Request::from_parts(parts, Body::from(body.clone()))).await;
        if response.status() == StatusCode::BAD_REQUEST
            && let Ok(Value::Object(wanted)) = serde_json::from_slice(&body)
        {
            let text = |name: &str| wanted.get(name).and_then(Value::as_str).unwrap_or("unknown").to_owned();
            let draft = Draft {
                event_type: EventType::RecordAccessed,
                actor_id: text("actorId"),
                resource_id: text("resourceId"),
                metadata: wanted.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default().into(),
            };
            self.service.emit(draft).await.ok();
        }
        response
    }
}

/// Passes on a body that can be read as values; another one as none that is right.
async fn as_values(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, ANY_SIZE).await else { return StatusCode::BAD_REQUEST.into_response() };
    let body = if serde_json::from_slice::<Value>(&body).is_ok() { body.into() } else { Body::from("{") };
    next.run(Request::from_parts(parts, body)).await
}

/// What a polling client says to be closed, to the session of this URI.
fn close_of(uri: &Uri) -> Option<Request> {
    let polling = uri.to_string().replace("transport=websocket", "transport=polling");
    Request::post(polling).header(header::CONTENT_TYPE, "text/plain").body(Body::from("1")).ok()
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn is_opening(request: &Request) -> bool {
    let query = request.uri().query().unwrap_or_default();
    request.method() == Method::GET && !query.contains("sid=")
}

fn is_websocket(request: &Request) -> bool {
    request.headers().contains_key(header::UPGRADE)
}

async fn unpinged(response: Response) -> Response {
    if response.headers().get(header::CONTENT_LENGTH).is_none_or(|length| length != "1") {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, ANY_SIZE).await.unwrap_or_default();
    Response::from_parts(parts, Body::from(if body == "2" { "6".into() } else { body }))
}

async fn without_accepted(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let mut problem: Value =
        serde_json::from_slice(&to_bytes(body, ANY_SIZE).await.unwrap_or_default()).unwrap_or_default();
    problem.as_object_mut().map(|problem| problem.remove("accepted"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(problem.to_string()))
}

async fn without_upgrades(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = to_bytes(body, ANY_SIZE).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body).replace(r#"["websocket"]"#, "[]");
    Response::from_parts(parts, Body::from(text))
}
