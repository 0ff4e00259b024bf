//! A keep-alive HTTP/1.1 client that costs little: one connection, one request at a time. Knows nothing of what is asked.
//!
//! A full client takes several times the processor time that a fast server needs to answer it, and would be what is measured.

use std::{io, time::Duration};

use notify_conformance::tls::{self, Bytes};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The longest head and the longest body that are read.
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The host without a port.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether by TLS.
    pub secure: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The URL is none of a server.
    #[error("{0:?} is not the URL of a server")]
    Url(String),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// Nothing came in time.
    #[error("no answer within {ANSWER_LIMIT:?}")]
    TimedOut,
    /// What came is not HTTP/1.1 as this client knows it.
    #[error("not an answer: {0}")]
    Protocol(&'static str),
}

impl Address {
    /// The address in a URL such as `http://127.0.0.1:3000`.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn parse(url: &str) -> Result<Self, HttpError> {
        let wrong = || HttpError::Url(url.to_owned());
        let uri: tokio_tungstenite::tungstenite::http::Uri = url.parse().map_err(|_| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let host = uri.host().ok_or_else(wrong)?.to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }), secure })
    }

    /// Connects.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn dial(&self) -> io::Result<Box<dyn Bytes>> {
        tls::dial(&self.host, self.port, self.secure).await
    }
}

/// A connection that is made when it is needed, and made again after a failure.
#[derive(Debug)]
pub struct Http {
    address: Address,
    stream: Option<Box<dyn Bytes>>,
    read: Vec<u8>,
}

impl Http {
    /// Connects with the first request.
    pub fn new(address: Address) -> Self {
        Self { address, stream: None, read: Vec::new() }
    }

    /// Sends a request whose head and body are written out, and reads the answer.
    ///
    /// # Errors
    /// Where there is none. The request may have been carried out.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer, HttpError> {
        let answer = timeout(ANSWER_LIMIT, self.attempt(request)).await.unwrap_or(Err(HttpError::TimedOut));
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    async fn attempt(&mut self, request: &[u8]) -> Result<Answer, HttpError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.address.dial().await?,
        };
        stream.write_all(request).await?;
        self.read.clear();
        let (head, body) = loop {
            if stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break (Head::parse(&self.read[..end])?, end + 4);
            }
            if self.read.len() > MOST_BYTES {
                return Err(HttpError::Protocol("its head does not end"));
            }
        };
        while self.read.len() < body + head.length {
            if stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        if !head.closes {
            self.stream = Some(stream);
        }
        Ok(Answer { status: head.status, body: self.read[body..body + head.length].to_vec() })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    closes: bool,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, HttpError> {
        let text = std::str::from_utf8(head).map_err(|_| HttpError::Protocol("its head is no text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let status = status.ok_or(HttpError::Protocol("its first line is not that of HTTP/1.1"))?;
        let mut parsed = Self { status, length: 0, closes: false };
        let mut has_length = status == 204;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                parsed.length = value.parse().ok().filter(|length| *length <= MOST_BYTES).ok_or(TOO_LONG)?;
                has_length = true;
            } else if name.eq_ignore_ascii_case("connection") {
                parsed.closes = value.eq_ignore_ascii_case("close");
            }
        }
        if has_length { Ok(parsed) } else { Err(HttpError::Protocol("it does not say how long its body is")) }
    }
}

const TOO_LONG: HttpError = HttpError::Protocol("its body has no length that is read");

/// The head and the body of a request in one piece. Header names and values come from the target file.
pub fn request<'a>(
    method: &str,
    path: &str,
    address: &Address,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: &[u8],
) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}:{}\r\n", address.host, address.port);
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_a_url() {
        let address = |host: &str, port, secure| Address { host: host.into(), port, secure };
        assert_eq!(Address::parse("http://127.0.0.1:3000").expect("a URL"), address("127.0.0.1", 3000, false));
        assert_eq!(Address::parse("https://notify.example/").expect("a URL"), address("notify.example", 443, true));
        // In brackets, as a Host header wants it, too; they are taken off where it is dialled.
        assert_eq!(Address::parse("http://[::1]:3000").expect("a URL"), address("[::1]", 3000, false));
        assert!(Address::parse("notify.example:3000").is_err());
        assert!(Address::parse("ftp://notify.example").is_err());
    }

    #[test]
    fn a_head_says_how_long_the_body_is() {
        let head = Head::parse(b"HTTP/1.1 202 Accepted\r\nContent-Length: 7\r\nconnection: close").expect("a head");
        assert_eq!(head, Head { status: 202, length: 7, closes: true });
        assert_eq!(Head::parse(b"HTTP/1.1 204 No Content\r\nx: y").expect("a head").length, 0);
        for wrong in ["HTTP/1.0 200 OK", "HTTP/1.1 2x0", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked"] {
            assert!(Head::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
