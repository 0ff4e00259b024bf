//! A server in this process.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use notify_server::{
    App, Collaborators, NotificationsService,
    auth::{JwtVerifier, Parties, keys::Keys, session::StoredSessions},
    cluster::Cluster,
    config::Credentials,
    gate::Bounds,
    model::{Draft, EntryId, EventType, Queue, Session, SessionStore, StoreError},
    notifications::{Delivery, Receipt},
    origins::Origins,
    proxies::TrustedProxies,
    rules::Standard,
    serve::serve,
    socketio::Heartbeat,
    store::{
        Limits, Stores,
        embedded::EmbeddedStore,
        redis::{RedisConfig, RedisStore},
    },
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::{PATIENCE, Scratch, client::number};

pub(crate) const JWT_SECRET: &str = "a-secret-for-tests-only-of-no-worth-at-all";
pub(crate) const INGEST_TOKEN: &str = "a-credential-for-tests-only";
pub(crate) const ORIGIN: &str = "http://app.example.test:3001";

const LIMITS: Limits = Limits { max_events: 50, ttl: Duration::from_secs(86_400) };

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) service: NotificationsService,
    pub(crate) sessions: Arc<dyn SessionStore>,
    pub(crate) queue: Arc<dyn Queue>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    task: JoinHandle<()>,
    scratch: Scratch,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A server some of whose collaborators are others.
    pub(crate) async fn with(change: impl FnOnce(&mut Collaborators)) -> Self {
        Self::with_limits(LIMITS, change).await
    }

    /// A server whose queues have other limits.
    pub(crate) async fn with_limits(limits: Limits, change: impl FnOnce(&mut Collaborators)) -> Self {
        let scratch = Scratch::new();
        let stores = Stores::of(EmbeddedStore::open(scratch.path(), limits).expect("the directory is new"));
        Self::on(stores, scratch, limits.max_events, change).await
    }

    /// A server on a Redis, as one node of those that share it.
    pub(crate) async fn on_redis(config: &RedisConfig, change: impl FnOnce(&mut Collaborators)) -> Self {
        let store = RedisStore::new(config, LIMITS);
        let cluster = Cluster::new(&store);
        Self::on(Stores::of(store), Scratch::new(), LIMITS.max_events, |collaborators| {
            collaborators.peers = Some(Arc::new(cluster));
            change(collaborators);
        })
        .await
    }

    async fn on(stores: Stores, scratch: Scratch, max_events: usize, change: impl FnOnce(&mut Collaborators)) -> Self {
        let (sessions, queue) = (stores.sessions.clone(), stores.queue.clone());
        let settings = [("JWT_SECRET", JWT_SECRET), ("INGEST_TOKEN", INGEST_TOKEN)];
        let settings: HashMap<String, String> = settings.map(|(name, value)| (name.into(), value.into())).into();
        let read = Credentials::from_source(&settings).expect("these are right");
        let mut collaborators = Collaborators {
            tokens: Arc::new(JwtVerifier::new(
                Arc::new(Keys::new(read.tokens.keys, Duration::ZERO)),
                Parties::default(),
            )),
            sessions: Arc::new(StoredSessions(stores.sessions.clone())),
            session_store: stores.sessions,
            queue: stores.queue,
            ack_timeout: Duration::from_secs(10),
            answers: stores.answers,
            rules: Arc::new(Standard),
            wrap_rooms: Box::new(|rooms| rooms),
            peers: None,
            origins: Origins::parse(ORIGIN).expect("this is an origin"),
            trusted_proxies: TrustedProxies::default(),
            credentials: Arc::new(read.ingest_tokens.into()),
            control_apart: false,
            metrics_apart: false,
            connect_timeout: Duration::from_secs(7),
            heartbeat: Heartbeat::default(),
            patience: Heartbeat::default().timeout,
            max_events,
            keep_alive: Duration::from_secs(75),
            bounds: Bounds::default(),
        };
        change(&mut collaborators);
        let app = App::new(collaborators);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let service = app.service.clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, app, async {
            stopped.await.ok();
        }));
        Self { address, service, sessions, queue, stop: Mutex::new(Some(stop)), task, scratch }
    }

    /// A token for a user, with a session of that user's.
    pub(crate) async fn token(&self, user: &str) -> String {
        let began = std::time::Instant::now();
        loop {
            match self.try_token(user).await {
                Ok(token) => return token,
                // On a busy machine an answer may come too late, or a replica have it too late: whoever makes sessions tries again.
                Err(StoreError::TimedOut(_) | StoreError::NotCopied) if began.elapsed() < PATIENCE => {}
                Err(error) => panic!("the store answers: {error}"),
            }
        }
    }

    /// The same, while the store may be away.
    pub(crate) async fn try_token(&self, user: &str) -> Result<String, StoreError> {
        let session = format!("session-of-{user}");
        self.sessions.put_session(&session, &Session { user_id: user.to_owned(), expires_at_ms: None }).await?;
        Ok(token(json!({"userId": user, "sessionId": session, "exp": from_now(900)})))
    }

    pub(crate) async fn put_session(&self, id: &str, user: &str, expires_at_ms: Option<i64>) {
        let session = Session { user_id: user.to_owned(), expires_at_ms };
        self.sessions.put_session(id, &session).await.expect("the store answers");
    }

    /// The numbers that are stored for a user, and how many were lost.
    pub(crate) async fn stored(&self, user: &str) -> (Vec<u64>, u64) {
        let backlog = self.queue.backlog(user, EntryId::default(), false).await.expect("the store answers");
        let payloads = backlog.entries.iter().map(|entry| serde_json::from_str(&entry.payload).expect("JSON"));
        (payloads.map(|payload: Value| number(&payload)).collect(), backlog.dropped)
    }

    /// Waits until so many are stored for a user.
    pub(crate) async fn until_stored(&self, user: &str, events: usize) {
        let began = std::time::Instant::now();
        while self.stored(user).await.0.len() != events {
            assert!(began.elapsed() < PATIENCE, "{:?}", self.stored(user).await);
            // The store tells nobody of its changes.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Emits an event with a number to a user.
    pub(crate) async fn emit(&self, user: &str, n: u64) -> Receipt {
        self.service.emit(numbered(user, n)).await.expect("the store answers")
    }

    /// Emits an event with a number to a user until it is accepted: what a replica has to have is refused where it takes a second to
    /// have it, as on a disk that is busy.
    pub(crate) async fn emit_copied(&self, user: &str, n: u64) -> Receipt {
        let began = std::time::Instant::now();
        loop {
            match self.service.emit(numbered(user, n)).await {
                Ok(receipt) => return receipt,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error:?}"),
            }
        }
    }

    /// Tells the server to stop; completes when it has, and leaves its store behind.
    pub(crate) async fn stop(self) -> Scratch {
        self.begin_to_stop();
        self.task.await.expect("the server does not panic");
        self.scratch
    }

    /// Tells the server to stop, and does not wait.
    pub(crate) fn begin_to_stop(&self) {
        drop(self.stop.lock().expect("nobody panics while stopping").take());
    }
}

pub(crate) fn numbered(user: &str, n: u64) -> Draft {
    draft(&json!({"targetUserId": user, "n": n}))
}

/// The same with so many bytes beside its number.
pub(crate) fn numbered_of(user: &str, n: u64, bytes: usize) -> Draft {
    draft(&json!({"targetUserId": user, "n": n, "filler": "x".repeat(bytes)}))
}

fn draft(metadata: &Value) -> Draft {
    Draft {
        event_type: EventType::RecordAccessed,
        actor_id: "actor".to_owned(),
        resource_id: "resource".to_owned(),
        metadata: metadata.as_object().cloned().unwrap_or_default().into(),
    }
}

pub(crate) fn from_now(seconds: i64) -> i64 {
    let now = std::time::UNIX_EPOCH.elapsed().expect("the clock is right").as_secs();
    i64::try_from(now).expect("the clock is right") + seconds
}

/// A token with these claims.
pub(crate) fn token(claims: Value) -> String {
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("claims can be signed")
}

/// How an event went.
pub(crate) const LIVE: Delivery = Delivery::Live;
pub(crate) const QUEUED: Delivery = Delivery::Queued;
