//! Which browsers may come in: the list of origins, and the middleware that applies it. Knows nothing of the routes behind.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::problem::Problem;

/// The origins of `CORS_ORIGIN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// `*`: every origin, but none with credentials (ORIGIN-03).
    Any,
    /// These and no other.
    Listed(Vec<Origin>),
}

/// Scheme, host and port, the default port written as none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origins {
    /// Reads a comma-separated list.
    ///
    /// # Errors
    /// Where an entry is no origin; says which.
    pub fn parse(list: &str) -> Result<Self, String> {
        if list.trim() == "*" {
            return Ok(Self::Any);
        }
        let mut origins = Vec::new();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let origin = Origin::parse(entry).ok_or_else(|| {
                format!("has an entry that is no origin (scheme://host or scheme://host:port): {entry:?}")
            })?;
            origins.push(origin);
        }
        Ok(Self::Listed(origins))
    }

    fn allow(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => {
                let origin = origin.to_str().ok().and_then(Origin::parse);
                origin.is_some_and(|origin| listed.contains(&origin))
            }
        }
    }
}

impl Origin {
    /// An origin as in RFC 6454: nothing after the port, not even a slash.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        // The port follows the last colon, unless that colon belongs to an IPv6 address in brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        let scheme_is_one = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let host_is_one = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b));
        let scheme = scheme.to_ascii_lowercase();
        let default = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        (scheme_is_one && host_is_one).then(|| Self {
            host: host.to_ascii_lowercase(),
            port: port.filter(|port| Some(*port) != default),
            scheme,
        })
    }
}

/// Answers preflights, refuses strangers at the socket's door (ORIGIN-04, ORIGIN-05) and marks what the listed may read
/// (ORIGIN-01 to ORIGIN-03). A request without `Origin` passes (ORIGIN-06).
pub(crate) async fn guard(State(origins): State<std::sync::Arc<Origins>>, request: Request, next: Next) -> Response {
    let mut named = request.headers().get_all(header::ORIGIN).iter();
    let (origin, more) = (named.next().cloned(), named.next().is_some());
    let allowed = origin.filter(|origin| !more && origins.allow(origin));
    let refused = allowed.is_none() && request.headers().contains_key(header::ORIGIN);
    let mut response = if refused && request.uri().path().starts_with("/socket.io") {
        Problem::new(StatusCode::FORBIDDEN, "this origin is not allowed").into_response()
    } else if allowed.is_some() && is_preflight(&request) {
        preflight()
    } else {
        next.run(request).await
    };
    mark(response.headers_mut(), &origins, allowed);
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, idempotency-key"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn mark(headers: &mut HeaderMap, origins: &Origins, allowed: Option<HeaderValue>) {
    if *origins == Origins::Any {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return;
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}
