//! The connection that all commands share, and when it is given up. Knows nothing of commands.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{
    Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, Script, ScriptInvocation, ServerErrorKind,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::{Mutex as AsyncMutex, OnceCell},
    time::timeout,
};

use super::{
    Address, TIMEOUT,
    connect::{Connection, Connector},
};
use crate::{counts::COUNTS, model::StoreError, mutex::Mutex};

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
    writes: Arc<Writes>,
}

/// What was written on a connection.
#[derive(Default)]
struct Writes {
    /// How many writes have been answered.
    answered: AtomicU64,
    /// How many of them enough replicas have. Whoever holds it is asking.
    copied: AsyncMutex<u64>,
}

impl Held {
    fn new() -> Self {
        Self { connection: Arc::default(), since: Instant::now(), writes: Arc::default() }
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
        self.ask_some(command).await.map(|(_, answer)| answer)
    }

    /// The same, with the connection that has answered.
    async fn ask_some<T>(&self, command: &impl Ask<T>) -> Result<(Held, T), StoreError> {
        let mut held = self.0.current.lock().clone();
        let mut answer = self.ask_on(&held, command).await;
        if matches!(&answer, Err(StoreError::Redis(error)) if held.leads_elsewhere(error)) {
            // Nothing was done there.
            held = self.0.current.lock().clone();
            answer = self.ask_on(&held, command).await;
        }
        Ok((held, answer?))
    }

    async fn ask_on<T>(&self, held: &Held, command: &impl Ask<T>) -> Result<T, StoreError> {
        let answer = timeout(TIMEOUT, async {
            let connection = held.connection.get_or_try_init(|| self.0.connector.connect()).await?;
            Ok(command.ask(&mut connection.commands()).await?)
        });
        let answer = COUNTS.store_call(async { answer.await.unwrap_or(Err(StoreError::TimedOut(TIMEOUT))) }).await;
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

    /// Where the server is.
    ///
    /// # Errors
    /// Where there is no connection in time.
    pub(super) async fn address(&self) -> Result<Address, StoreError> {
        let held = self.0.current.lock().clone();
        let connection = held.connection.get_or_try_init(|| self.0.connector.connect()).await?;
        Ok(connection.address.clone())
    }

    /// Gives the connection up where it is to another server than this one.
    pub(super) fn keep_to(&self, address: &Address) {
        let held = self.0.current.lock().clone();
        if held.connection.get().is_some_and(|connection| connection.address != *address) {
            tracing::info!("another redis is the primary now");
            self.replace(&held);
        }
    }

    /// Gives the connection up, on which nothing is answered any more, or which may lead to the wrong server: the next command makes
    /// another. Of a peer that has vanished without a word the system may say so after a quarter of an hour only. What was asked on
    /// it is waited for no longer than it would have been.
    pub(super) fn give_up(&self) {
        *self.0.current.lock() = Held::new();
    }

    /// The same, unless somebody else has done so meanwhile.
    fn replace(&self, gone: &Held) {
        let mut current = self.0.current.lock();
        if Arc::ptr_eq(&current.connection, &gone.connection) {
            *current = Held::new();
        }
    }
}

/// How long replicas may take to have what was written, and how long their answer may.
const COPIED_WITHIN: Duration = Duration::from_millis(800);
const COPIED_TOLD_WITHIN: Duration = Duration::from_millis(1_000);

/// What was written, as far as is known.
pub(crate) enum Written<T> {
    /// Enough replicas have it.
    Copied(T),
    /// It may be lost with the primary.
    Here(T),
}

impl<T> Written<T> {
    /// # Errors
    /// Where it may be lost.
    pub(super) fn copied(self) -> Result<T, StoreError> {
        match self {
            Self::Copied(answer) => Ok(answer),
            Self::Here(_) => Err(StoreError::NotCopied),
        }
    }
}

/// Writes that count only when so many replicas have them, by a connection of their own: whoever waits for replicas holds up what comes
/// behind. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    line: Line,
    replicas: u64,
}

impl Writer {
    /// With no replicas to wait for, the line of everybody else.
    pub(super) fn new(replicas: u64, shared: &Line) -> Self {
        let line = if replicas > 0 { Line::new(shared.connector().clone()) } else { shared.clone() };
        Self { line, replicas }
    }

    pub(super) const fn line(&self) -> &Line {
        &self.line
    }

    /// Writes, and waits for the replicas.
    ///
    /// # Errors
    /// Where nothing is known of it.
    pub(crate) async fn ask<T>(&self, command: &impl Ask<T>) -> Result<Written<T>, StoreError> {
        let (held, answer) = self.line.ask_some(command).await?;
        if self.replicas == 0 {
            return Ok(Written::Copied(answer));
        }
        let mine = held.writes.answered.fetch_add(1, Ordering::SeqCst) + 1;
        let copied = timeout(COPIED_TOLD_WITHIN, self.copied(&held, mine)).await;
        Ok(if copied.is_ok_and(|copied| copied) { Written::Copied(answer) } else { Written::Here(answer) })
    }

    /// Whether they have what was written so far: one asks for all who have written meanwhile.
    async fn copied(&self, held: &Held, mine: u64) -> bool {
        let mut copied = held.writes.copied.lock().await;
        if *copied < mine {
            let answered = held.writes.answered.load(Ordering::SeqCst);
            let mut wait = redis::cmd("WAIT");
            // It is about what this very connection has written.
            wait.arg(self.replicas).arg(COPIED_WITHIN.as_millis().to_string());
            match self.line.ask_on::<u64>(held, &wait).await {
                Ok(replicas) if replicas >= self.replicas => *copied = answered,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "nobody says whether replicas have what was written"),
            }
        }
        *copied >= mine
    }
}

/// Both ways to one server.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) line: Line,
    pub(super) writer: Writer,
}

impl Pair {
    pub(super) fn new(connector: Connector, replicas: u64) -> Self {
        let line = Line::new(connector);
        Self { writer: Writer::new(replicas, &line), line }
    }
}
