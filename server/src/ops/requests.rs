//! Names each request, so that its lines in the log can be found: by `x-request-id`, and by the trace that `traceparent` says it belongs
//! to. Without it requests have no names; nothing else is lost.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument, field};
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Longer ids are not taken over.
const MAX_ID_BYTES: usize = 128;

/// Gives the request its names, and the answer.
pub(crate) async fn name(request: Request, next: Next) -> Response {
    let id = request_id(request.headers()).unwrap_or_else(|| Uuid::now_v7().to_string());
    let trace = Trace::of(request.headers());
    let span = tracing::info_span!(
        "request",
        request_id = id,
        method = request.method().as_str(),
        route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str),
        trace_id = field::Empty,
        parent_id = field::Empty,
        span_id = field::Empty,
    );
    if let Some(trace) = &trace {
        span.record("trace_id", &trace.id).record("parent_id", &trace.parent).record("span_id", &trace.span);
    }
    let answered = async {
        let response = next.run(request).await;
        tracing::debug!(status = response.status().as_u16(), "answered");
        response
    };
    let mut response = answered.instrument(span).await;
    let headers = response.headers_mut();
    headers.extend(HeaderValue::try_from(id).ok().map(|id| (REQUEST_ID, id)));
    let passed_on = trace.and_then(|trace| HeaderValue::try_from(trace.passed_on()).ok());
    headers.extend(passed_on.map(|trace| (TRACE_RESPONSE, trace)));
    response
}

/// The id that the caller has given; `None` for one that would not fit into a line of the log.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fits = (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| id.to_owned())
}

/// A place in a trace (W3C Trace Context).
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    id: String,
    parent: String,
    /// This request's own place.
    span: String,
    flags: String,
}

impl Trace {
    /// That of `traceparent`, where there is one, and it is right.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(TRACE_PARENT).iter();
        let (Some(only), None) = (given.next(), given.next()) else { return None };
        let mut parts = only.to_str().ok()?.split('-');
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
        };
        let named = |part: &str, length| hex(part, length) && part.bytes().any(|it| it != b'0');
        let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may have more at the end.
        let right = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !(right && named(id, 32) && named(parent, 16) && hex(flags, 2)) {
            return None;
        }
        let span = Uuid::new_v4().simple().to_string()[16..].to_owned();
        Some(Self { id: id.to_owned(), parent: parent.to_owned(), span, flags: flags.to_owned() })
    }

    fn passed_on(&self) -> String {
        format!("00-{}-{}-{}", self.id, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn trace(given: &[&'static str]) -> Option<Trace> {
        let mut headers = HeaderMap::new();
        for it in given {
            headers.append(TRACE_PARENT, HeaderValue::from_static(it));
        }
        Trace::of(&headers)
    }

    #[test]
    fn a_trace_goes_on_under_its_id_and_from_a_place_of_its_own() {
        let found = trace(&[PARENT]).unwrap();
        assert_eq!((found.id.as_str(), found.parent.as_str()), (&PARENT[3..35], &PARENT[36..52]));
        assert_ne!(found.span, found.parent);
        assert_eq!(found.passed_on().len(), PARENT.len());
        assert!(trace(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes"]).is_some());
    }

    #[test]
    fn what_is_no_place_in_a_trace_is_none() {
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(trace(&[wrong]), None, "{wrong}");
        }
        assert_eq!(trace(&[PARENT, PARENT]), None);
    }
}
