//! TLS to Redis: whom this server trusts, and what it shows of itself. Knows nothing of Redis. Without the cargo feature `tls` there is
//! none.

/// Why there can be no TLS as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The authorities.
    #[error("holds no certificates as PEM text")]
    Authority,
    /// There are no authorities.
    #[error("is not set, and this machine names no authority that could be trusted instead")]
    NoAuthority,
    /// The certificate of this server.
    #[error("holds no certificate as PEM text")]
    Certificate,
    /// Its key.
    #[error("holds no private key as PEM text, or not the one that belongs to the certificate")]
    Key,
    /// The name of the other side.
    #[error("is neither a name nor an address")]
    ServerName,
    /// The feature.
    #[error("asks for TLS, which was left out when this server was built (cargo feature tls)")]
    LeftOut,
}

#[cfg(feature = "tls")]
pub use with::Tls;
#[cfg(feature = "tls")]
pub(super) use with::explain;
#[cfg(not(feature = "tls"))]
pub use without::Tls;
#[cfg(not(feature = "tls"))]
pub(super) use without::explain;

#[cfg(feature = "tls")]
mod with {
    use std::{error::Error, fmt, io, sync::Arc};

    use tokio::net::TcpStream;
    use tokio_rustls::{
        TlsConnector,
        client::TlsStream,
        rustls::{
            self, AlertDescription, CertificateError, ClientConfig, RootCertStore,
            crypto::ring,
            pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
        },
    };

    use super::TlsError;

    /// How a connection becomes one by TLS. Cheap to clone.
    #[derive(Clone)]
    pub struct Tls {
        connector: TlsConnector,
        server_name: Option<ServerName<'static>>,
    }

    impl Tls {
        /// Trusts the authorities in `authority`, or else those of this machine; shows a certificate with its key, where there are
        /// any; expects this name of the other side, or else the one by which it is reached. All but the name are PEM text.
        ///
        /// # Errors
        /// Where any of them is not what it should be.
        ///
        /// # Panics
        /// Never: what provides the cryptography has what both versions of TLS need.
        pub fn new(
            authority: Option<&str>,
            identity: Option<(&str, &str)>,
            server_name: Option<&str>,
        ) -> Result<Self, TlsError> {
            let mut roots = RootCertStore::empty();
            match authority {
                Some(pem) => {
                    for certificate in certificates(pem).ok_or(TlsError::Authority)? {
                        roots.add(certificate).map_err(|_| TlsError::Authority)?;
                    }
                }
                None => {
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                    if roots.is_empty() {
                        return Err(TlsError::NoAuthority);
                    }
                }
            }
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider has what the versions need")
                .with_root_certificates(roots);
            let config = match identity {
                Some((chain, key)) => {
                    let chain = certificates(chain).ok_or(TlsError::Certificate)?;
                    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsError::Key)?;
                    config.with_client_auth_cert(chain, key).map_err(|_| TlsError::Key)?
                }
                None => config.with_no_client_auth(),
            };
            let server_name = server_name.map(|name| ServerName::try_from(name.to_owned())).transpose();
            Ok(Self { connector: Arc::new(config).into(), server_name: server_name.map_err(|_| TlsError::ServerName)? })
        }

        pub(in crate::store::redis) async fn wrap(
            &self,
            host: &str,
            stream: TcpStream,
        ) -> io::Result<TlsStream<TcpStream>> {
            let name = match &self.server_name {
                Some(name) => name.clone(),
                None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
            };
            self.connector.connect(name, stream).await
        }
    }

    impl fmt::Debug for Tls {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
        }
    }

    /// Whether it is the very same.
    impl PartialEq for Tls {
        fn eq(&self, other: &Self) -> bool {
            Arc::ptr_eq(self.connector.config(), other.connector.config())
        }
    }

    impl Eq for Tls {}

    fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
        let all: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()?;
        (!all.is_empty()).then_some(all)
    }

    /// What TLS has to say about the failure of a connection, and which setting it is about; nothing where it is not about TLS.
    pub(in crate::store::redis) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
        use AlertDescription as Alert;
        Some(match find(error)? {
            rustls::Error::InvalidCertificate(wrong) => match wrong {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "the certificate that redis shows has expired".to_owned()
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    format!("{wrong}; REDIS_TLS_SERVER_NAME says which name is meant")
                }
                CertificateError::UnknownIssuer => {
                    "the certificate that redis shows is signed by nobody who is trusted: REDIS_TLS_CA names who is"
                        .to_owned()
                }
                wrong => format!("the certificate that redis shows is wrong: {wrong}"),
            },
            rustls::Error::AlertReceived(
                Alert::CertificateRequired | Alert::HandshakeFailure | Alert::NoCertificate,
            ) => "redis wants to see a certificate: set REDIS_TLS_CERT and REDIS_TLS_KEY".to_owned(),
            rustls::Error::AlertReceived(
                alert @ (Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied),
            ) => format!("redis does not accept the certificate in REDIS_TLS_CERT ({alert:?})"),
            rustls::Error::InvalidMessage(_) => {
                "what answers speaks no TLS: redis:// in REDIS_URL asks for none".to_owned()
            }
            other => other.to_string(),
        })
    }

    /// An error of an operating system's stream may hold one of TLS, and a library's one of the stream.
    fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
        type Shared = Arc<dyn Error + Send + Sync>;
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        if let Some(shared) = error.downcast_ref::<Shared>() {
            return find(&**shared);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or(error.source()).and_then(find)
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use std::{convert::Infallible, error::Error, io};

    use tokio::net::TcpStream;

    use super::TlsError;

    /// There is none.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Tls(Infallible);

    impl Tls {
        /// # Errors
        /// Always.
        pub const fn new(_: Option<&str>, _: Option<(&str, &str)>, _: Option<&str>) -> Result<Self, TlsError> {
            Err(TlsError::LeftOut)
        }

        pub(in crate::store::redis) async fn wrap(&self, _: &str, _: TcpStream) -> io::Result<TcpStream> {
            match self.0 {}
        }
    }

    pub(in crate::store::redis) fn explain(_: &(dyn Error + 'static)) -> Option<String> {
        None
    }
}
