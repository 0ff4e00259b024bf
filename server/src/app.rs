//! Puts the parts together. Whoever wants one part to be different passes a different one.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::any,
};
use socketioxide::SocketIo;

use crate::{
    auth::{
        JwtVerifier, VerifyToken,
        keys::Keys,
        session::{StoredSessions, VerifySession},
    },
    cluster::{Cluster, Peers},
    config::{Config, StoreConfig},
    gate::{Bounds, Gate},
    grants::{Grants, Telling},
    http::{self, Control, Health, credential::Credentials},
    local,
    model::{Answers, Queue, SessionStore, StoreError},
    notifications::{NotificationsService, Rooms},
    ops::{
        api,
        metrics::{self, Observed},
        requests,
    },
    origins::{self, Guard, Origins},
    proxies::TrustedProxies,
    rules::{Rules, Standard},
    socketio::{
        Heartbeat, Lines, Sessions,
        acks::{AckSetup, Acknowledging},
        flusher::Flusher,
        namespace::{self, Door},
        roster::Roster,
        transport,
    },
    store::{Limits, Stores, embedded::EmbeddedStore, redis::RedisStore},
};

/// Wraps what delivers to the clients of rooms; a test double goes here.
pub type WrapRooms = Box<dyn FnOnce(Rooms) -> Rooms + Send>;

/// Everything that the application works with.
pub struct Collaborators {
    /// Verifies tokens (AUTH-05 to AUTH-13).
    pub tokens: Arc<dyn VerifyToken>,
    /// Verifies sessions (AUTH-14 to AUTH-17).
    pub sessions: Arc<dyn VerifySession>,
    /// Creates and revokes sessions (EMIT-05).
    pub session_store: Arc<dyn SessionStore>,
    /// Keeps events for those who are away or acknowledge (SPEC.md, 5), and says whether the store answers (CONF-08).
    pub queue: Arc<dyn Queue>,
    /// How long a client that acknowledges may take to; then it is closed.
    pub ack_timeout: Duration,
    /// Keeps answers for repeated requests (EMIT-06).
    pub answers: Arc<dyn Answers>,
    /// Says who receives what (SPEC.md, 3 and 4).
    pub rules: Arc<dyn Rules>,
    /// Lies between the service and the sockets; usually nothing does.
    pub wrap_rooms: WrapRooms,
    /// The other nodes, where there may be any.
    pub peers: Option<Arc<dyn Peers>>,
    /// Who may come in from a browser (SPEC.md, 7).
    pub origins: Origins,
    /// Whom to believe what a client has asked for.
    pub trusted_proxies: TrustedProxies,
    /// The service credential (EMIT-01).
    pub credentials: Arc<Credentials>,
    /// Whether the control surface is at a listener of its own.
    pub control_apart: bool,
    /// The same of the metrics.
    pub metrics_apart: bool,
    /// How long a connection may take to authenticate (TRANS-09: at most 10 s).
    pub connect_timeout: Duration,
    /// How often clients are pinged, and how long they may take.
    pub heartbeat: Heartbeat,
    /// How long a client may take nothing of what waits for it (SLOW-01): `pingTimeout`.
    pub patience: Duration,
    /// How many events a user's queue holds (QUEUE-03).
    pub max_events: usize,
    /// How long an HTTP connection may rest.
    pub keep_alive: Duration,
    /// How much is taken on.
    pub bounds: Bounds,
}

impl Collaborators {
    /// Those of the reference server.
    ///
    /// # Errors
    /// Where the store cannot be opened. A Redis that does not answer is no error yet.
    pub fn from_config(config: &Config) -> Result<Self, StoreError> {
        Self::with_keys(config, Arc::new(Keys::new(config.tokens.keys.clone(), config.tokens.grace)))
    }

    /// The same with keys that somebody keeps up to date.
    ///
    /// # Errors
    /// As above.
    pub fn with_keys(config: &Config, keys: Arc<Keys>) -> Result<Self, StoreError> {
        let (stores, peers) = open_store(&config.store, config.limits)?;
        Ok(Self {
            tokens: Arc::new(JwtVerifier::new(keys, config.tokens.parties.clone())),
            sessions: Arc::new(StoredSessions(stores.sessions.clone())),
            session_store: stores.sessions,
            queue: stores.queue,
            ack_timeout: config.ack_timeout,
            answers: stores.answers,
            rules: Arc::new(Standard),
            wrap_rooms: Box::new(|rooms| rooms),
            peers,
            origins: config.origins.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            credentials: Arc::new(config.ingest_tokens.clone().into()),
            control_apart: config.control.is_some(),
            metrics_apart: config.metrics.is_some(),
            connect_timeout: namespace::CONNECT_TIMEOUT,
            heartbeat: config.heartbeat,
            patience: config.heartbeat.timeout,
            max_events: config.limits.max_events,
            keep_alive: config.keep_alive,
            bounds: config.bounds,
        })
    }
}

fn open_store(config: &StoreConfig, limits: Limits) -> Result<(Stores, Option<Arc<dyn Peers>>), StoreError> {
    Ok(match config {
        StoreConfig::Redis(redis) => {
            let store = RedisStore::new(redis, limits);
            let cluster = Cluster::new(&store);
            (Stores::of(store), Some(Arc::new(cluster)))
        }
        StoreConfig::Embedded(directory) => (Stores::of(EmbeddedStore::open(directory, limits)?), None),
    })
}

/// The application.
pub struct App {
    /// All routes, but for those of the control surface where that is apart; can be merged into another axum application.
    pub router: Router,
    /// The routes of the control surface, where that is at a listener of its own.
    pub control: Option<Router>,
    /// The metrics, where they are at a listener of their own.
    pub metrics: Option<Router>,
    /// For whoever emits in this process.
    pub service: NotificationsService,
    /// The sockets, to close them in the end.
    pub io: SocketIo,
    /// Who is here, to close them in the end.
    pub(crate) roster: Roster,
    /// How long an HTTP connection may rest.
    pub(crate) keep_alive: Duration,
    /// How many there may be.
    pub(crate) gate: Arc<Gate>,
    /// For whoever ends sessions on this node by another way than the routes.
    pub grants: Grants,
    /// The other nodes, to take leave of them in the end.
    pub peers: Option<Arc<dyn Peers>>,
}

impl App {
    /// Builds the application. With other nodes it needs a runtime, and joins them.
    #[must_use]
    pub fn new(with: Collaborators) -> Self {
        let (engine, io) = namespace::build(with.connect_timeout, with.heartbeat);
        let peers = with.peers;
        let (acknowledging, grants) = (Acknowledging::default(), Grants::new(with.sessions.clone(), peers.clone()));
        let roster = Roster::new(acknowledging.clone());
        let rooms = (with.wrap_rooms)(roster.rooms());
        let service = NotificationsService::new(with.rules.clone(), with.queue.clone(), rooms, peers.clone());
        let here = local::Here { service: service.clone(), grants: grants.clone() };
        let door = Door {
            tokens: with.tokens.clone(),
            sessions: with.sessions,
            service: service.clone(),
            rules: with.rules,
            acks: AckSetup { queue: with.queue.clone(), timeout: with.ack_timeout, acknowledging },
            grants: grants.clone(),
            roster: roster.clone(),
            devices_per_user: with.bounds.devices_per_user,
        };
        namespace::open(&io, Arc::new(door));
        let gate = Gate::new(with.bounds, with.trusted_proxies.clone());
        let lines = Lines {
            flusher: Flusher::default(),
            patience: with.patience,
            connect_timeout: with.connect_timeout,
            missed_at_most: with.max_events,
            gate: gate.clone(),
        };
        let (sessions, lines) = (Arc::<Sessions>::default(), Arc::new(lines));
        let transport = transport::Transport { engine, sessions, lines };
        let session_store =
            Arc::new(Telling { store: with.session_store, grants: grants.clone(), peers: peers.clone() });
        let health = Health { queue: with.queue, peers: peers.clone(), tokens: with.tokens };
        let metrics = metrics::routes(Observed { roster: roster.clone(), gate: gate.clone(), health: health.clone() });
        let health = http::health(health);
        let control = http::routes(Control::new(service.clone(), session_store, with.answers, with.credentials))
            .merge(api::routes());
        let guard = Arc::new(Guard { origins: with.origins, proxies: with.trusted_proxies });
        let guarded =
            |routes| http::with_fallbacks(routes).layer(middleware::from_fn_with_state(guard.clone(), receive));
        let (control, metrics) = match with.metrics_apart {
            true => (control, Some(guarded(metrics))),
            false => (control.merge(metrics), None),
        };
        let sockets = any(transport::handle).with_state(transport);
        let sockets = Router::new().route("/socket.io", sockets.clone()).route("/socket.io/", sockets);
        let (router, control) = match with.control_apart {
            true => (health.clone().merge(sockets), Some(guarded(health.merge(control)))),
            false => (health.merge(control).merge(sockets), None),
        };
        let router = guarded(router);
        if let Some(peers) = &peers {
            peers.join(Arc::new(here));
        }
        let keep_alive = with.keep_alive;
        Self { router, control, metrics, service, io, roster, keep_alive, gate, grants, peers }
    }
}

/// What is around every route: who may come in, and the name of a request, but for those of Socket.IO. In one, for each middleware
/// has all that is within it copied for each request.
async fn receive(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let answer = async |request: Request| match origins::is_of_sockets(&request) {
        true => next.run(request).await,
        false => requests::name(request, next).await,
    };
    origins::guard(&guard, request, answer).await
}
