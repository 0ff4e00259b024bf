//! One TLS configuration for all clients: to load the system's certificates takes longer than most cases.

use std::{io, sync::OnceLock};

use native_tls::TlsConnector;

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
    let builder = reqwest::Client::builder().no_proxy().use_preconfigured_tls(connector()?);
    builder.build().map_err(io::Error::other)
}
