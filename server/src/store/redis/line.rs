//! The connection that all commands share, and when it is given up. Knows nothing of commands.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use redis::{
    Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation, ServerErrorKind,
    aio::MultiplexedConnection,
};
use tokio::{sync::OnceCell, time::timeout};

use super::{
    TIMEOUT,
    connect::{Connection, Connector},
};
use crate::store::StoreError;

/// How long a connection is kept whatever is answered on it, so that a server that is no use is not asked by ever new ones.
const KEPT: Duration = Duration::from_millis(250);

/// A connection that is made anew when it is gone or leads to the wrong server, and when it is given up. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Line(Arc<Inner>);

struct Inner {
    connector: Connector,
    current: Mutex<Held>,
}

/// A connection, from the first command on.
#[derive(Clone)]
struct Held {
    connection: Arc<OnceCell<Connection>>,
    since: Instant,
}

impl Held {
    fn new() -> Self {
        Self { connection: Arc::default(), since: Instant::now() }
    }

    /// Whether the primary may be somewhere else by now: a name that has failed over leads there only who connects anew.
    fn leads_elsewhere(&self, error: &RedisError) -> bool {
        use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
        self.since.elapsed() > KEPT && matches!(error.kind(), ErrorKind::Server(ReadOnly | BusyLoading | MasterDown))
    }
}

/// What can be asked.
pub(crate) trait Ask<T> {
    fn ask(&self, connection: &mut MultiplexedConnection) -> impl Future<Output = RedisResult<T>> + Send;
}

impl<T: FromRedisValue> Ask<T> for Cmd {
    fn ask(&self, connection: &mut MultiplexedConnection) -> impl Future<Output = RedisResult<T>> + Send {
        self.query_async(connection)
    }
}

impl<T: FromRedisValue + Send + Sync> Ask<T> for ScriptInvocation<'_> {
    fn ask(&self, connection: &mut MultiplexedConnection) -> impl Future<Output = RedisResult<T>> + Send {
        self.invoke_async(connection)
    }
}

/// That a script be known from now on.
pub(super) struct Load<'a>(pub(super) &'a Script);

impl Ask<String> for Load<'_> {
    fn ask(&self, connection: &mut MultiplexedConnection) -> impl Future<Output = RedisResult<String>> + Send {
        self.0.load_async(connection)
    }
}

impl Line {
    /// A line that connects with the first command.
    pub(super) fn new(connector: Connector) -> Self {
        Self(Arc::new(Inner { connector, current: Mutex::new(Held::new()) }))
    }

    /// The answer to a command, the connecting included.
    ///
    /// # Errors
    /// Where there is none in time, or it is an error.
    pub(crate) async fn ask<T>(&self, command: &impl Ask<T>) -> Result<T, StoreError> {
        let held = self.lock().clone();
        match self.ask_on(&held, command).await {
            // Nothing was done there.
            Err(StoreError::Redis(error)) if held.leads_elsewhere(&error) => {
                let another = self.lock().clone();
                self.ask_on(&another, command).await
            }
            answer => answer,
        }
    }

    async fn ask_on<T>(&self, held: &Held, command: &impl Ask<T>) -> Result<T, StoreError> {
        let answer = timeout(TIMEOUT, async {
            let connection = held.connection.get_or_try_init(|| self.0.connector.connect()).await?;
            Ok(command.ask(&mut connection.commands()).await?)
        });
        let answer = answer.await.unwrap_or(Err(StoreError::TimedOut(TIMEOUT)));
        if let Err(StoreError::Redis(error)) = &answer
            && (error.is_unrecoverable_error() || held.leads_elsewhere(error))
        {
            self.replace(held);
        }
        answer
    }

    /// The way to connections of one's own.
    pub(super) fn connector(&self) -> &Connector {
        &self.0.connector
    }

    /// Gives the connection up, on which nothing is answered any more, or which may lead to the wrong server: the next command makes
    /// another. Of a peer that has vanished without a word the system may say so after a quarter of an hour only. What was asked on
    /// it is waited for no longer than it would have been.
    pub(super) fn give_up(&self) {
        *self.lock() = Held::new();
    }

    /// The same, unless somebody else has done so meanwhile.
    fn replace(&self, gone: &Held) {
        let mut current = self.lock();
        if Arc::ptr_eq(&current.connection, &gone.connection) {
            *current = Held::new();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
