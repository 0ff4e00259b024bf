//! `POST /events` and `POST /events/batch` (EMIT-02 to EMIT-08, EMIT-18 to EMIT-23).

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::{Control, body, credential::Authorized, draft, problem::Problem};
use crate::{
    idempotency::{Failure, Keyed, Refused},
    model::{Draft, StoreError},
    notifications::{BatchError, Emission, EmitError, Haste, NotificationsService, Receipt},
};

/// How many events a batch counts as, for [`super::MAX_IN_HAND`].
pub(crate) const BATCH_WEIGHT: u32 = 64;

/// `POST /events`. What can be handed over without waiting is answered from here; all else is done by a task, in
/// [`once`].
pub(crate) async fn one(
    _: Authorized,
    State(control): State<Arc<Control>>,
    request: Request,
) -> Result<Response, Problem> {
    let permit = take_in_hand(&control, 1)?;
    let key = idempotency_key(request.headers(), "/events")?;
    let text = body::text(request, body::ONE_BYTES).await?;
    let draft = draft::one(&text)?;
    if let Some(key) = key {
        let emit = async move |service: NotificationsService, _| Ok(to_json(&service.emit(draft).await?));
        return once(&control, permit, Some(Keyed::new(&key, &text)), emit).await;
    }
    match control.service.try_emit(draft, Haste::Now) {
        Emission::Done(receipt) => Ok(accepted(to_json(&receipt))),
        Emission::Waits(prepared) => {
            let emit =
                async move |service: NotificationsService, _| Ok(to_json(&service.emit_prepared(prepared).await?));
            once(&control, permit, None, emit).await
        }
    }
}

/// `POST /events/batch`.
pub(crate) async fn batch(
    _: Authorized,
    State(control): State<Arc<Control>>,
    request: Request,
) -> Result<Response, Problem> {
    let permit = take_in_hand(&control, BATCH_WEIGHT)?;
    let key = idempotency_key(request.headers(), "/events/batch")?;
    let text = body::text(request, body::BATCH_BYTES).await?;
    let drafts = draft::batch(&text)?;
    let keyed = key.map(|key| Keyed::new(&key, &text));
    once(&control, permit, keyed, async move |service, before| emit_rest(service, drafts, before).await).await
}

/// An event of a batch that was accepted, though others were not.
#[derive(Serialize, Deserialize)]
struct Accepted {
    index: usize,
    #[serde(flatten)]
    receipt: Receipt,
}

/// Emits what of a batch was not accepted before (EMIT-23).
async fn emit_rest(
    service: NotificationsService,
    drafts: Vec<Draft>,
    before: Option<String>,
) -> Result<String, Problem> {
    let before: Vec<Accepted> = match before {
        Some(before) => serde_json::from_str(&before).map_err(|_| StoreError::Senseless)?,
        None => Vec::new(),
    };
    let mut accepted: BTreeMap<_, _> = before.into_iter().map(|it| (it.index, it.receipt)).collect();
    let rest = drafts.into_iter().enumerate().filter(|(index, _)| !accepted.contains_key(index));
    let (places, drafts): (Vec<_>, Vec<_>) = rest.unzip();
    match service.emit_batch(drafts).await {
        Ok(receipts) => {
            accepted.extend(places.into_iter().zip(receipts));
            Ok(to_json(&accepted.into_values().collect::<Vec<_>>()))
        }
        Err(BatchError { accepted: some, source }) => {
            accepted.extend(some.into_iter().map(|(place, receipt)| (places[place], receipt)));
            let accepted = accepted.into_iter().map(|(index, receipt)| Accepted { index, receipt });
            Err(Problem::from(source).with_accepted(accepted.collect::<Vec<_>>()))
        }
    }
}

/// Counts the request among those in hand, or refuses it (EMIT-14).
fn take_in_hand(control: &Control, weight: u32) -> Result<OwnedSemaphorePermit, Problem> {
    control
        .in_hand
        .clone()
        .try_acquire_many_owned(weight)
        .map_err(|_| Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests are in hand"))
}

/// The key of the request, bound to its route: the answers of different routes differ in kind (EMIT-06).
fn idempotency_key(headers: &HeaderMap, route: &str) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) if (1..=255).contains(&key.len()) && is_visible(key) => {
            Ok(Some(format!("{route} {}", String::from_utf8_lossy(key.as_bytes()))))
        }
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "Idempotency-Key has to be one of 1 to 255 visible ASCII characters",
        )),
    }
}

fn is_visible(key: &HeaderValue) -> bool {
    key.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn to_json(answer: &impl serde::Serialize) -> String {
    serde_json::to_string(answer).expect("an answer has string keys only, so it can be written as JSON")
}

/// Emits in a task of its own: a caller that hangs up must not stop an emit between the delivery and the note that it was
/// made, or its repetition would be delivered again (EMIT-06). What is in hand is what is at work, whoever still waits for it.
async fn once<F>(
    control: &Control,
    permit: OwnedSemaphorePermit,
    keyed: Option<Keyed>,
    emit: impl FnOnce(NotificationsService, Option<String>) -> F + Send + 'static,
) -> Result<Response, Problem>
where
    F: Future<Output = Result<String, Problem>> + Send,
{
    let (service, idempotency) = (control.service.clone(), control.idempotency.clone());
    let task = tokio::spawn(
        async move {
            let _permit = permit;
            match keyed {
                Some(keyed) => idempotency.once(keyed, |before| emit(service, before)).await,
                None => emit(service, None).await,
            }
        }
        .in_current_span(),
    );
    let answer = task.await.map_err(|_| Problem::unavailable("the server is closing"))??;
    Ok(accepted(answer))
}

fn accepted(answer: String) -> Response {
    (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], answer)
        .into_response()
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a request is refused because the store failed");
        Self::unavailable(error.kind())
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::AtWork => {
                Self::new(StatusCode::CONFLICT, "a request with this Idempotency-Key is at work; repeat this one later")
            }
            Refused::Another => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "this Idempotency-Key was used with another body")
            }
        }
    }
}

impl From<EmitError> for Problem {
    fn from(error: EmitError) -> Self {
        match error {
            EmitError::Store(error) => error.into(),
            EmitError::Busy => Self::unavailable("too much is being done for this recipient"),
        }
    }
}

impl Failure for Problem {
    fn part(&self) -> Option<String> {
        self.accepted().filter(|accepted| !accepted.is_empty()).map(to_json)
    }
}
