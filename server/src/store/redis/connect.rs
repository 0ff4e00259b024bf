//! Opens connections to Redis: reaches the server, logs in, and looks what it is. Keeps none.

use redis::{
    AsyncConnectionConfig, RedisConnectionInfo,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::{net::TcpStream, task::AbortHandle, time::timeout};

use super::{CONNECT_TIMEOUT, RedisConfig, about::About};
use crate::store::StoreError;

/// Where Redis is, and as whom it is spoken to.
pub(super) struct Connector(RedisConfig);

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
        in_time(async {
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
        in_time(async {
            let mut subscription = PubSub::new(&self.login(), self.reach().await?).await?;
            subscription.subscribe(channels).await?;
            Ok(subscription)
        })
        .await
    }

    async fn reach(&self) -> Result<TcpStream, StoreError> {
        let stream = TcpStream::connect((self.0.host.as_str(), self.0.port)).await.map_err(redis::RedisError::from)?;
        // Commands are small, and are waited for.
        stream.set_nodelay(true).map_err(redis::RedisError::from)?;
        Ok(stream)
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
}

async fn in_time<T>(connection: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(CONNECT_TIMEOUT, connection).await.unwrap_or(Err(StoreError::TimedOut(CONNECT_TIMEOUT)))
}
