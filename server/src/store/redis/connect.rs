//! Opens connections to Redis: finds the server, reaches it, logs in, and looks what it is. Keeps none.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, stream::BoxStream};
use redis::{
    AsyncConnectionConfig, Msg, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    task::AbortHandle,
    time::timeout,
};

use super::{
    Address, CONNECT_TIMEOUT, Tls,
    about::{About, Kind},
    tls,
};
use crate::{
    gate::files::StoreFile,
    model::{Secret, StoreError},
    mutex::Mutex,
};

/// Says where a server is.
#[async_trait]
pub(super) trait Locate: Send + Sync {
    /// # Errors
    /// Where that is not known.
    async fn locate(&self) -> Result<Address, StoreError>;
}

#[async_trait]
impl Locate for Address {
    async fn locate(&self) -> Result<Self, StoreError> {
        Ok(self.clone())
    }
}

/// Where a server is, what it should be, and as whom it is spoken to.
#[derive(Clone)]
pub(super) struct Connector {
    place: Arc<dyn Locate>,
    kind: Kind,
    login: RedisConnectionInfo,
    db: i64,
    tls: Option<Tls>,
    /// Where it was reached last.
    known: Arc<Mutex<Option<Address>>>,
}

/// Where TLS brings no answer.
const SILENT: &str = "redis does not answer; where it speaks no TLS at this port, REDIS_URL begins with redis://";

/// What a connection is made of, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What is said on channels, for as long as they are heard.
pub(crate) type Heard = BoxStream<'static, Msg>;

/// A connection to a server that will do. What is under way on it ends with it, answered or not.
pub(super) struct Connection {
    pub(super) address: Address,
    commands: MultiplexedConnection,
    driver: AbortHandle,
    _file: StoreFile,
}

impl Connection {
    fn new(address: Address, commands: MultiplexedConnection, driver: AbortHandle) -> Self {
        Self { address, commands, driver, _file: StoreFile::new() }
    }

    pub(super) fn commands(&self) -> MultiplexedConnection {
        self.commands.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // By itself it would wait for whatever a peer that is silent still has to answer.
        self.driver.abort();
    }
}

impl Connector {
    pub(super) fn new(place: Arc<dyn Locate>, kind: Kind, username: Option<&str>, password: Option<&Secret>) -> Self {
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(username) = username {
            login = login.set_username(username);
        }
        if let Some(password) = password {
            login = login.set_password(password.expose());
        }
        Self { place, kind, login, db: 0, tls: None, known: Arc::default() }
    }

    /// The same to the server at this very place.
    pub(super) fn at(&self, address: &Address) -> Self {
        Self { place: Arc::new(address.clone()), known: Arc::default(), ..self.clone() }
    }

    pub(super) fn with_db(self, db: i64) -> Self {
        Self { db, ..self }
    }

    pub(super) fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// A connection for commands.
    ///
    /// # Errors
    /// Where there is none within [`CONNECT_TIMEOUT`], or where what is there cannot be used: it is of the wrong kind, too old, or a
    /// replica.
    pub(super) async fn connect(&self) -> Result<Connection, StoreError> {
        self.in_time(async {
            let address = self.address().await?;
            // Each command is waited for by whoever has asked.
            let config = AsyncConnectionConfig::new().set_response_timeout(None);
            let stream = self.reach(&address).await?;
            let (mut commands, driver) = MultiplexedConnection::new_with_config(&self.login, stream, config).await?;
            let driver = tokio::spawn(driver).abort_handle();
            let connection = Connection::new(address.clone(), commands.clone(), driver);
            About::ask(&mut commands).await.check(self.kind)?;
            // Not before: other kinds of servers know none, and would say that instead of what they are.
            if self.db != 0 {
                redis::cmd("SELECT").arg(self.db).query_async::<()>(&mut commands).await?;
            }
            *self.known.lock() = Some(address);
            Ok(connection)
        })
        .await
    }

    /// A connection for subscriptions.
    ///
    /// # Errors
    /// Where there is none within [`CONNECT_TIMEOUT`].
    pub(super) async fn subscribe(&self, at: &Address, channels: &[String]) -> Result<Heard, StoreError> {
        self.in_time(async {
            let mut subscription = PubSub::new(&self.login, self.reach(at).await?).await?;
            subscription.subscribe(channels).await?;
            Ok(subscription.into_on_message().boxed())
        })
        .await
    }

    /// A connection on which the server says things by itself, as what is said on channels of its slots. The library hears of such by
    /// version 3 of the protocol only.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) async fn open_for_pushes(
        &self,
        at: &Address,
        said: mpsc::UnboundedSender<PushInfo>,
    ) -> Result<Connection, StoreError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_push_sender(said);
        let login = self.login.clone().set_protocol(ProtocolVersion::RESP3);
        let stream = self.reach(at).await?;
        let (commands, driver) = MultiplexedConnection::new_with_config(&login, stream, config).await?;
        Ok(Connection::new(at.clone(), commands, tokio::spawn(driver).abort_handle()))
    }

    /// Where the server is; where nobody can say, where it was.
    async fn address(&self) -> Result<Address, StoreError> {
        let located = self.place.locate().await;
        located.or_else(|why| self.known.lock().clone().ok_or(why))
    }

    async fn reach(&self, Address { host, port }: &Address) -> RedisResult<Box<dyn Stream>> {
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        // Commands are small, and are waited for.
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.wrap(host, stream).await?),
            None => Box::new(stream),
        })
    }

    /// # Errors
    /// Where there is no answer within [`CONNECT_TIMEOUT`].
    pub(super) async fn in_time<T>(
        &self,
        connection: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match timeout(CONNECT_TIMEOUT, connection).await {
            Ok(Err(StoreError::Redis(error))) => Err(self.explain(error)),
            Ok(outcome) => outcome,
            // A server that speaks no TLS waits for more of what it takes for a command.
            Err(_) if self.tls.is_some() => Err(StoreError::Tls(SILENT.into())),
            Err(_) => Err(StoreError::TimedOut(CONNECT_TIMEOUT)),
        }
    }

    /// Tells which setting an error is about.
    fn explain(&self, error: RedisError) -> StoreError {
        const CLOSED: &str =
            "redis closes the connection; where it wants to see a certificate, set REDIS_TLS_CERT and REDIS_TLS_KEY";
        if self.tls.is_none() || error.is_connection_refusal() {
            return error.into();
        }
        match tls::explain(&error) {
            Some(why) => StoreError::Tls(why),
            // The reason can be lost on its way.
            None if error.is_connection_dropped() => StoreError::Tls(CLOSED.into()),
            None => error.into(),
        }
    }
}
