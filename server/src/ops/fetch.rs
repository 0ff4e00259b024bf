//! One GET of a small text over HTTP. Without it keys come from settings and files only. Follows no redirect, knows no proxy and no
//! TLS.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, Uri, header, uri::PathAndQuery},
};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// The most that is read.
const MAX_BYTES: usize = 256 * 1024;

/// How long it may take in all. Less than a client whose key is looked for may wait.
const WITHIN: Duration = Duration::from_secs(4);

/// Why there is no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("there is no answer within {WITHIN:?}")]
    TimedOut,
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, std::io::ErrorKind),
    #[error("the answer breaks off, is no HTTP, or is larger than {MAX_BYTES} bytes")]
    Broken,
    #[error("the answer is {0}")]
    Refused(StatusCode),
}

/// What is at a URL.
///
/// # Errors
/// Where it cannot be had.
pub(crate) async fn text(url: &Uri) -> Result<String, FetchError> {
    timeout(WITHIN, ask(url)).await.unwrap_or(Err(FetchError::TimedOut))
}

async fn ask(url: &Uri) -> Result<String, FetchError> {
    let host = url.host().unwrap_or_default();
    let place = (host.trim_start_matches('[').trim_end_matches(']'), url.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(place).await;
    let stream = stream.map_err(|error| FetchError::Unreachable(format!("{}:{}", place.0, place.1), error.kind()))?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| FetchError::Broken)?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let authority = url.authority().map_or(host, |authority| authority.as_str());
        let authority = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let request = Request::get(url.path_and_query().map_or("/", PathAndQuery::as_str))
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Body::empty())
            .map_err(|_| FetchError::Broken)?;
        let response = sender.send_request(request).await.map_err(|_| FetchError::Broken)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Refused(response.status()));
        }
        let body = to_bytes(Body::new(response.into_body()), MAX_BYTES).await.map_err(|_| FetchError::Broken)?;
        String::from_utf8(body.to_vec()).map_err(|_| FetchError::Broken)
    };
    let answer = answer.await;
    connection.abort();
    answer
}
