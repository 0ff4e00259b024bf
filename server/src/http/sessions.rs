//! `PUT` and `DELETE /sessions/{id}` (EMIT-05).

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::StatusCode,
};
use serde_json::value::RawValue;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Control, body,
    credential::Authorized,
    draft::Members,
    problem::{Fault, Problem},
};
use crate::model::Session;

type Id = Result<Path<String>, PathRejection>;

pub(crate) async fn put(
    _: Authorized,
    State(control): State<Arc<Control>>,
    id: Id,
    request: Request,
) -> Result<StatusCode, Problem> {
    let id = readable(id)?;
    let body = body::text(request, body::ONE_BYTES).await?;
    let session = session(body::json(&body)?).map_err(Problem::faults)?;
    control.sessions.put_session(&id, &session).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn revoke(_: Authorized, State(control): State<Arc<Control>>, id: Id) -> Result<StatusCode, Problem> {
    if control.sessions.revoke_session(&readable(id)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(StatusCode::NOT_FOUND, "there is no such session"))
    }
}

fn readable(id: Id) -> Result<String, Problem> {
    match id {
        Ok(Path(id)) => Ok(id),
        Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "the id in the path is not UTF-8")),
    }
}

fn session(body: &RawValue) -> Result<Session, Vec<Fault>> {
    let mut members = Members::of(body, String::new())?;
    let user_id = members.text("userId");
    let expires_at_ms = match members.take("expiresAt") {
        None => Some(None),
        Some(json) => {
            match serde_json::from_str::<String>(json.get()).map(|text| OffsetDateTime::parse(&text, &Rfc3339)) {
                Ok(Ok(time)) => i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok().map(Some),
                _ => members.fault("expiresAt", "has to be a time as in RFC 3339"),
            }
        }
    };
    let session = user_id.zip(expires_at_ms);
    members.finish(session.map(|(user_id, expires_at_ms)| Session { user_id, expires_at_ms }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::to_raw_value};

    use super::*;

    fn session(body: Value) -> Result<Session, Vec<Fault>> {
        super::session(&to_raw_value(&body).unwrap())
    }

    #[test]
    fn a_session_may_have_an_end_and_need_not() {
        let endless = session(json!({"userId": "u"})).unwrap();
        assert_eq!(endless, Session { user_id: "u".into(), expires_at_ms: None });
        for text in ["1970-01-01T00:00:01.500Z", "1970-01-01T01:00:01.500+01:00"] {
            let ending = session(json!({"userId": "u", "expiresAt": text})).unwrap();
            assert_eq!(ending.expires_at_ms, Some(1_500));
        }
    }

    #[test]
    fn what_is_no_session_is_refused_by_name() {
        let wrong = [
            (json!({}), "/userId"),
            (json!({"userId": ""}), "/userId"),
            (json!({"userId": 1}), "/userId"),
            (json!({"userId": "u", "expiresAt": null}), "/expiresAt"),
            (json!({"userId": "u", "expiresAt": 1_700_000_000}), "/expiresAt"),
            (json!({"userId": "u", "expiresAt": "tomorrow"}), "/expiresAt"),
            (json!({"userId": "u", "expires": "x"}), "/expires"),
            (json!("u"), ""),
        ];
        for (body, pointer) in wrong {
            assert_eq!(session(body.clone()).unwrap_err()[0].pointer, pointer, "{body}");
        }
    }
}
