//! Opens connections to Redis: reaches the server, logs in, and looks what it is. Keeps none.

use redis::{
    AsyncConnectionConfig, RedisConnectionInfo, RedisError, RedisResult,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
    time::timeout,
};

use super::{CONNECT_TIMEOUT, RedisConfig, about::About, tls};
use crate::store::StoreError;

/// Where Redis is, and as whom it is spoken to.
pub(super) struct Connector(RedisConfig);

/// Where TLS brings no answer.
const SILENT: &str = "redis does not answer; where it speaks no TLS at this port, REDIS_URL begins with redis://";

/// What a connection is made of, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection to a server that will do. What is under way on it ends with it, answered or not.
pub(super) struct Connection {
    commands: MultiplexedConnection,
    driver: AbortHandle,
}

impl Connection {
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
    pub(super) const fn new(config: RedisConfig) -> Self {
        Self(config)
    }

    /// A connection for commands.
    ///
    /// # Errors
    /// Where there is none within [`CONNECT_TIMEOUT`], or where what is there cannot be used: it is of the wrong kind, too old, or a
    /// replica.
    pub(super) async fn connect(&self) -> Result<Connection, StoreError> {
        self.in_time(async {
            // Each command is waited for by whoever has asked.
            let config = AsyncConnectionConfig::new().set_response_timeout(None);
            let stream = self.reach().await?;
            let (mut commands, driver) = MultiplexedConnection::new_with_config(&self.login(), stream, config).await?;
            let connection = Connection { commands: commands.clone(), driver: tokio::spawn(driver).abort_handle() };
            About::ask(&mut commands).await.check()?;
            // Not before: other kinds of servers know none, and would say that instead of what they are.
            if self.0.db != 0 {
                redis::cmd("SELECT").arg(self.0.db).query_async::<()>(&mut commands).await?;
            }
            Ok(connection)
        })
        .await
    }

    /// A connection for subscriptions.
    ///
    /// # Errors
    /// Where there is none within [`CONNECT_TIMEOUT`].
    pub(super) async fn subscribe(&self, channels: &[String]) -> Result<PubSub, StoreError> {
        self.in_time(async {
            let mut subscription = PubSub::new(&self.login(), self.reach().await?).await?;
            subscription.subscribe(channels).await?;
            Ok(subscription)
        })
        .await
    }

    async fn reach(&self) -> RedisResult<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.0.host.as_str(), self.0.port)).await?;
        // Commands are small, and are waited for.
        stream.set_nodelay(true)?;
        Ok(match &self.0.tls {
            Some(tls) => Box::new(tls.wrap(&self.0.host, stream).await?),
            None => Box::new(stream),
        })
    }

    fn login(&self) -> RedisConnectionInfo {
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(username) = &self.0.username {
            login = login.set_username(username);
        }
        if let Some(password) = &self.0.password {
            login = login.set_password(password.expose());
        }
        login
    }

    async fn in_time<T>(&self, connection: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match timeout(CONNECT_TIMEOUT, connection).await {
            Ok(Err(StoreError::Redis(error))) => Err(self.explain(error)),
            Ok(outcome) => outcome,
            // A server that speaks no TLS waits for more of what it takes for a command.
            Err(_) if self.0.tls.is_some() => Err(StoreError::Tls(SILENT.into())),
            Err(_) => Err(StoreError::TimedOut(CONNECT_TIMEOUT)),
        }
    }

    /// Tells which setting an error is about.
    fn explain(&self, error: RedisError) -> StoreError {
        const CLOSED: &str =
            "redis closes the connection; where it wants to see a certificate, set REDIS_TLS_CERT and REDIS_TLS_KEY";
        if self.0.tls.is_none() || error.is_connection_refusal() {
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
