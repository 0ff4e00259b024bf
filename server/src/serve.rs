//! Accepts connections and serves the application on them, until it is told to stop; then it lets requests end and
//! closes the sockets. Each connection has a seat (`gate`), which says how long it may rest and whether it has to make
//! room, and a carrier (`socketio::carrier`), which learns when an answer to a poll was written. Knows of the routes
//! only where those of Socket.IO begin.

use std::{
    future::{Future, pending},
    io,
    net::SocketAddr,
    pin::pin,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::ServiceExt;

use crate::{
    app::App,
    config::Config,
    gate::{Reason, files},
    origins,
    socketio::{
        carrier::{Carried, Carrier},
        sockets,
    },
};

mod listen;

use listen::listen;

/// The most that the head of a request may have; answered with 431 beyond it.
const HEAD_BYTES: usize = 16 * 1024;

/// How long nothing is accepted where the system has no files.
const NO_FILES: Duration = Duration::from_millis(100);

/// How much the system may hold for a peer that does not read (it takes twice that). What it holds is out of reach: it is lost
/// with a peer that has died, and still goes to one that was closed.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How much of that may be unsent: then there is room again, and it is seen that a slow peer takes something, every second at
/// 16 kB/s.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 32 * 1024;

/// How long sockets may take to close and their events to be queued, each; and how long requests may take to end; both begin at once.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// How long it may take after that to tell the other nodes (TERM-05: 10 s for all of it).
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where the application listens.
pub struct Listeners {
    /// For everybody.
    pub main: TcpListener,
    /// For the control surface, where that is apart.
    pub control: Option<TcpListener>,
    /// For the metrics, where they are apart.
    pub metrics: Option<TcpListener>,
}

impl Listeners {
    /// Those that the settings name.
    ///
    /// # Errors
    /// Where one cannot be had; says which.
    pub async fn open(config: &Config) -> Result<Self, (String, io::Error)> {
        let open = async |host: &str, port| listen(host, port).await.map_err(|error| (format!("{host}:{port}"), error));
        let open_apart = async |place: &Option<(String, u16)>| match place {
            Some((host, port)) => open(host, *port).await.map(Some),
            None => Ok(None),
        };
        Ok(Self {
            main: open(&config.host, config.port).await?,
            control: open_apart(&config.control).await?,
            metrics: open_apart(&config.metrics).await?,
        })
    }
}

impl From<TcpListener> for Listeners {
    fn from(main: TcpListener) -> Self {
        Self { main, control: None, metrics: None }
    }
}

/// Serves until `shutdown` completes; then accepts nothing more, finishes what was accepted and closes the sockets.
pub async fn serve(listeners: impl Into<Listeners>, app: App, shutdown: impl Future<Output = ()>) {
    let Listeners { main, control, metrics } = listeners.into();
    app.gate.has_files_for(files::connections());
    // Each connection holds a receiver: it learns of the end by a message, and ends it by dropping the receiver.
    let (closing, connections) = watch::channel(());
    let served = async {
        let apart = async |place: Option<(TcpListener, Router)>| match place {
            Some((listener, router)) => accept_all(listener, router, &app, &connections).await,
            None => pending().await,
        };
        tokio::join!(
            accept_all(main, app.router.clone(), &app, &connections),
            apart(control.zip(app.control.clone())),
            apart(metrics.zip(app.metrics.clone())),
        );
    };
    // The listeners go first: a client that came back now would be told that the namespace is unknown, and give up.
    tokio::select! {
        () = served => {}
        () = shutdown => {}
    }
    drop(connections);
    closing.send(()).ok();
    tracing::info!("closing");
    let closed = sockets::close(&app.io, &app.roster, &app.service, CLOSE_TIMEOUT);
    let drained = timeout(DRAIN_TIMEOUT, closing.closed());
    let (closed, drained) = tokio::join!(closed, drained);
    if let Some(peers) = app.peers {
        timeout(LEAVE_TIMEOUT, peers.leave()).await.ok();
    }
    tracing::info!(sockets = closed, requests = drained.is_ok(), "closed");
}

/// Accepts at one listener for as long as nobody drops this.
async fn accept_all(listener: TcpListener, router: Router, app: &App, connections: &watch::Receiver<()>) {
    let mut http = http1::Builder::new();
    http.max_header_size(HEAD_BYTES);
    loop {
        let (stream, peer) = accept(&listener, app).await;
        let Some(seat) = app.gate.seat(peer.ip(), app.keep_alive).await else { continue };
        tune(&stream);
        let carrier = Carrier::new(seat);
        let stream = TokioIo::new(Carried::new(stream, carrier.clone()));
        let (goes_with, router) = (carrier.clone(), router.clone());
        let service = tower::service_fn(move |mut request: Request<hyper::body::Incoming>| {
            let in_hand = goes_with.seat().begin();
            request.extensions_mut().insert(ConnectInfo(peer));
            if origins::is_of_sockets(&request) {
                request.extensions_mut().insert(goes_with.clone());
            }
            let answer = router.clone().oneshot(request.map(Body::new));
            async move {
                let answer = answer.await;
                drop(in_hand);
                answer
            }
        });
        let connection = http.serve_connection(stream, TowerToHyperService::new(service)).with_upgrades();
        let mut closing = connections.clone();
        tokio::spawn(async move {
            let (mut connection, mut sleep) = (pin!(connection), pin!(sleep_until(Instant::now())));
            let ended = loop {
                tokio::select! {
                    // Whoever has sent a request by now is not sent away.
                    biased;
                    ended = connection.as_mut() => break ended.is_ok(),
                    _ = closing.changed() => {
                        connection.as_mut().graceful_shutdown();
                        break connection.await.is_ok();
                    }
                    () = carrier.seat().evicted() => if carrier.may_go() { break true },
                    () = carrier.seat().overdue(sleep.as_mut()) => break false,
                }
            };
            // Whatever the reason was: an answer to a poll that was on its way has not been written whole.
            if !ended {
                carrier.broke();
            }
        });
    }
}

/// The next connection, and whose it is.
async fn accept(listener: &TcpListener, app: &App) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // It has gone before it was accepted.
            Err(error) if is_of_connection(&error) => {}
            // There are no more files, in this process or in the system: nobody says when there are.
            Err(_) => {
                app.gate.refused.note(Reason::Connections);
                sleep(NO_FILES).await;
            }
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Best effort: what the system does not offer is done without.
fn tune(stream: &TcpStream) {
    stream.set_nodelay(true).ok();
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(SEND_BUFFER_BYTES).ok();
    // No TCP_USER_TIMEOUT: Linux counts it from the first moment at which a peer has room for less than what is next, and closes one
    // that takes what it can for all that time (SLOW-06). Whoever is silent is given up by the heartbeat and by patience.
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES).ok();
}
