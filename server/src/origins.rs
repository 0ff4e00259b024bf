//! Which browsers may come in: the server's own origin, the list of others, and the guard that applies both. A
//! CORS layer would not do: it marks answers and refuses nobody, so that a WebSocket from a foreign page would be let
//! in. Of the routes behind it knows only where those of Socket.IO begin.

use std::net::{Ipv6Addr, SocketAddr};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{http::problem::Problem, proxies::TrustedProxies};

/// The origins of `CORS_ORIGIN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// `*`: every origin, but none with credentials (ORIGIN-03).
    Any,
    /// These and no other.
    Listed(Vec<Origin>),
}

/// What a browser says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `null`: a page of a file or of a sandbox, or a redirected request.
    Null,
    /// Scheme, host and port, the default port written as none.
    Of {
        /// Of a page `http` or `https`; clients that are no browsers have others.
        scheme: String,
        /// In lower case; an IPv6 address in brackets.
        host: String,
        /// `None` for the scheme's own.
        port: Option<u16>,
    },
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
                format!("has an entry that is no origin (scheme://host, scheme://host:port or null): {entry:?}")
            })?;
            origins.push(origin);
        }
        Ok(Self::Listed(origins))
    }

    /// Whether an origin is listed, or that of the server itself, which was asked for by this host (ORIGIN-07).
    fn allow(&self, origin: &HeaderValue, host: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => {
                let origin = origin.to_str().ok().and_then(Origin::parse);
                origin.is_some_and(|origin| listed.contains(&origin) || origin.is_at(host))
            }
        }
    }
}

impl Origin {
    /// An origin as in RFC 6454: nothing after the port, not even a slash.
    fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
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
        let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        let default = match scheme.as_str() {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        let ipv6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok());
        (scheme_is_one && host_is_one).then(|| Self::Of {
            host: ipv6.map_or(host, |address| format!("[{address}]")),
            port: port.filter(|port| Some(*port) != default),
            scheme,
        })
    }

    /// Whether this is the origin of whatever is at this host. The scheme cannot be told from here, for a proxy may have taken the
    /// TLS off; clients that are no browsers write that of a WebSocket.
    fn is_at(&self, host: Option<&str>) -> bool {
        match (self, host) {
            (Self::Of { scheme, .. }, Some(host)) if matches!(scheme.as_str(), "http" | "https" | "ws" | "wss") => {
                Self::parse(&format!("{scheme}://{host}")).as_ref() == Some(self)
            }
            _ => false,
        }
    }
}

/// What [`guard`] goes by.
pub(crate) struct Guard {
    pub(crate) origins: Origins,
    pub(crate) proxies: TrustedProxies,
}

impl Guard {
    /// The origin of a request, where it is one that is allowed.
    fn allowed(&self, request: &Request) -> Option<HeaderValue> {
        let mut named = request.headers().get_all(header::ORIGIN).iter();
        let origin = named.next().filter(|_| named.next().is_none())?;
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let host = self.proxies.host(peer, request.headers());
        self.origins.allow(origin, host).then(|| origin.clone())
    }
}

/// Whether a request is for the routes of Socket.IO.
pub(crate) fn is_of_sockets<B>(request: &axum::http::Request<B>) -> bool {
    request.uri().path().starts_with("/socket.io")
}

/// Answers preflights, refuses strangers at the socket's door (ORIGIN-04, ORIGIN-05) and marks what the listed may read
/// (ORIGIN-01 to ORIGIN-03). A request without `Origin` passes (ORIGIN-06) to whatever `answer`s it.
pub(crate) async fn guard(guard: &Guard, request: Request, answer: impl AsyncFnOnce(Request) -> Response) -> Response {
    let allowed = guard.allowed(&request);
    let refused = allowed.is_none() && request.headers().contains_key(header::ORIGIN);
    let mut response = if refused && is_of_sockets(&request) {
        Problem::new(StatusCode::FORBIDDEN, "this origin is not allowed").into_response()
    } else if allowed.is_some() && is_preflight(&request) {
        preflight(request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS))
    } else {
        answer(request).await
    };
    mark(response.headers_mut(), &guard.origins, allowed);
    response
}

fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Allows the headers that are asked for, whatever tracing or a framework adds (ORIGIN-08): none is of more use to a page than what it may
/// send anyway.
fn preflight(asked: Option<&HeaderValue>) -> Response {
    let usual = HeaderValue::from_static("authorization, content-type, idempotency-key");
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE")),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, asked.cloned().unwrap_or(usual)),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn is_at(origin: &str, host: &str) -> bool {
        Origin::parse(origin).unwrap().is_at(Some(host))
    }

    #[test]
    fn an_origin_is_its_own_servers_by_host_and_port() {
        for (origin, host) in [
            ("http://a.test:3000", "a.test:3000"),
            ("http://a.test", "a.test"),
            ("http://a.test", "a.test:80"),
            ("http://a.test:80", "a.test"),
            ("https://a.test", "a.test"),
            ("https://a.test", "a.test:443"),
            ("https://a.test:443", "a.test"),
            ("ws://a.test:3000", "a.test:3000"),
            ("wss://a.test", "a.test"),
            ("http://A.Test:3000", "a.tEST:3000"),
            ("http://[::1]:3000", "[::1]:3000"),
            ("http://[0:0::1]:3000", "[::1]:3000"),
            ("http://127.0.0.1:3000", "127.0.0.1:3000"),
        ] {
            assert!(is_at(origin, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("http://a.test:3001", "a.test:3000"),
            ("http://a.test", "a.test:3000"),
            ("http://a.test:3000", "a.test"),
            ("http://a.test", "a.test:443"),
            ("https://a.test", "a.test:80"),
            ("http://evil.test:3000", "a.test:3000"),
            ("http://a.test.evil.test", "a.test"),
            ("http://xa.test", "a.test"),
            ("http://a.test", "a.test/"),
            ("http://a.test", "http://a.test"),
            ("http://a.test", ""),
            ("capacitor://localhost", "localhost"),
            ("null", "null"),
        ] {
            assert!(!is_at(origin, host), "{origin} at {host}");
        }
        assert!(!Origin::parse("http://a.test").unwrap().is_at(None));
    }
}
