//! Connections, and one TLS configuration for all clients: to load the system's certificates takes longer than most cases.

use std::{io, sync::OnceLock, time::Duration};

use native_tls::TlsConnector;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// How long a connection is kept for a further request: less than servers keep it. Node closes one that is idle after 5 s, and what
/// is sent in that moment fails, which would say nothing of the server.
const KEPT: Duration = Duration::from_secs(1);

/// A TCP stream, with or without TLS.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug> Bytes for S {}

/// A connector that trusts what the system trusts. Cheap after the first time.
///
/// # Errors
/// Where the system's certificates cannot be read.
pub fn connector() -> io::Result<TlsConnector> {
    static CONNECTOR: OnceLock<TlsConnector> = OnceLock::new();
    if let Some(ready) = CONNECTOR.get() {
        return Ok(ready.clone());
    }
    let made = TlsConnector::new().map_err(io::Error::other)?;
    Ok(CONNECTOR.get_or_init(|| made).clone())
}

/// An HTTP client with connections of its own, which uses no proxy.
///
/// # Errors
/// Where the system's certificates cannot be read.
pub fn http() -> io::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().no_proxy().use_preconfigured_tls(connector()?).pool_idle_timeout(KEPT);
    builder.build().map_err(io::Error::other)
}

/// Connects to a server; its host is as it stands in a URL, an IPv6 address in brackets. TLS is done here and not by a feature of tungstenite: the reference server shares that crate, and
/// must not get OpenSSL by it when the whole workspace is built at once.
///
/// # Errors
/// Where the server cannot be reached, or its certificate is not trusted.
pub async fn dial(host: &str, port: u16, secure: bool) -> io::Result<Box<dyn Bytes>> {
    // Names are looked up, and certificates written, without the brackets.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let tcp = TcpStream::connect((host, port)).await?;
    // Small packets at once: what is measured is the server, not Nagle's algorithm.
    tcp.set_nodelay(true)?;
    if !secure {
        return Ok(Box::new(tcp));
    }
    let stream = tokio_native_tls::TlsConnector::from(connector()?).connect(host, tcp).await;
    Ok(Box::new(stream.map_err(io::Error::other)?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_server_is_reached_at_an_ipv6_address_as_urls_have_it() {
        let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
            // Not by a macro, whose words the test runner keeps to itself.
            writeln!(std::io::stderr(), "not run: this machine has no IPv6").expect("somebody reads");
            return;
        };
        let port = listener.local_addr().expect("its address").port();
        dial("[::1]", port, false).await.expect("it is reached");
        dial("::1", port, false).await.expect("it is reached");
    }
}
