//! The binary `notify-mutant`: the reference server, broken as the variable `MUTANT` says; unbroken without it.
//!
//! The only place outside `server/` that knows the server. `--list` prints every mutant as JSON, for the suite's
//! `selftest`, which knows nothing else of it.

mod acks;
mod boot;
mod delivery;
mod door;
mod keys;
mod list;
mod nodes;
mod process;
mod queue;
mod relay;
mod routes;
mod rules;
mod sessions;
mod storeless;
mod tokens;
mod unwatched;
mod upstream;

use std::{error::Error, io::stderr, process::ExitCode, sync::Arc};

use notify_server::{
    App, Collaborators,
    auth::keys::Keys,
    config::Environment,
    ops::rotation::Rotation,
    serve::{Listeners, serve},
};
use socketioxide::extract::SocketRef;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use door::Door;
use list::Place;
use process::Process;
use routes::Surroundings;

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        println!("{}", list::as_json());
        return ExitCode::SUCCESS;
    }
    tracing_subscriber::fmt().with_env_filter(EnvFilter::new("warn")).with_writer(stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("notify-mutant: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mutant = match std::env::var("MUTANT") {
        Ok(name) if !name.is_empty() => {
            Some(list::find(&name).ok_or_else(|| format!("MUTANT names no mutant: {name:?}"))?)
        }
        _ => None,
    };
    let place = mutant.map(|mutant| &mutant.place);
    let mut config = boot::read(match place {
        Some(Place::Boot(fault)) => Some(*fault),
        _ => None,
    })?;
    if let Some(Place::Setting(breaks)) = place {
        breaks(&mut config);
    }
    let process = Process::new(match place {
        Some(Place::Process(fault)) => Some(*fault),
        _ => None,
    });
    let keys = Arc::new(Keys::new(config.tokens.keys.clone(), config.tokens.grace));
    let mut sound = process.breaks(Collaborators::with_keys(&config, keys.clone())?);
    let mut rotation = Rotation::new(Arc::new(Environment), &config, keys, sound.credentials.clone());
    rotation.begin().await;
    if !matches!(place, Some(Place::Frozen)) {
        tokio::spawn(rotation.follow());
    }
    if mutant.is_some_and(|mutant| !mutant.is_among_nodes()) {
        sound.peers = None;
    }
    let (queue, peers) = (sound.queue.clone(), sound.peers.clone());
    let mut app = match place {
        Some(Place::Part(breaks)) => App::new(breaks(sound, &config)),
        Some(place) => around(place, sound, config.ingest_tokens[0].expose().to_owned()),
        None => App::new(sound),
    };
    if config.control.is_some() && app.control.is_none() {
        app.control = Some(app.router.clone());
    }
    if config.metrics.is_some() && app.metrics.is_none() {
        app.metrics = Some(app.router.clone());
    }
    let mut listeners = Listeners::open(&config).await.map_err(|(place, error)| format!("{place}: {error}"))?;
    if let Some(Place::Line(fault)) = place {
        listeners.main = relay::before(listeners.main, *fault).await?;
    }
    let terminated = signal(SignalKind::terminate())?;
    process.accompanies(&app, queue, peers);
    let io = app.io.clone();
    let told_to_end = process.clone().told_to_end(terminated, io);
    if process.takes_everybody() {
        axum::serve(listeners.main, app.router).with_graceful_shutdown(told_to_end).await?;
    } else {
        serve(listeners, app, told_to_end).await;
    }
    Ok(process.ended()?)
}

/// An application of sound parts, with a fault around them.
fn around(place: &Place, sound: Collaborators, credential: String) -> App {
    let sessions = sound.session_store.clone();
    let door = match place {
        Place::Door(fault) => Door::new(*fault, &sound),
        _ => Door::new(door::Fault::None, &sound),
    };
    let late = unwatched::Late::default();
    let sound = match place {
        Place::Watch | Place::Door(_) => {
            let late = late.clone();
            Collaborators { wrap_rooms: Box::new(|_| late.rooms()), ..sound }
        }
        // They do not die of what they leave unfetched either.
        Place::Routes(routes::Fault::PollersNeverDie) => Collaborators { patience: routes::FOR_GOOD, ..sound },
        _ => sound,
    };
    let mut app = App::new(sound);
    match place {
        Place::Door(_) => {
            late.on(&app.io);
            door.replace(&app.io, app.service.clone());
        }
        Place::Namespace(name) => {
            app.io.ns(*name, async |_: SocketRef| {});
        }
        Place::Routes(fault) => {
            let around = Surroundings {
                fault: *fault,
                service: app.service.clone(),
                credential,
                sessions,
                grants: app.grants.clone(),
                io: app.io.clone(),
                upgrades: routes::Upgrades::default(),
                one_at_a_time: Arc::default(),
                used_up: Arc::default(),
            };
            app.router = routes::wrap(app.router, around);
        }
        Place::Watch => {
            (app.router, app.io) = late.put_before(app.router);
            door.replace(&app.io, app.service.clone());
        }
        Place::Boot(_) | Place::Setting(_) | Place::Part(_) | Place::Process(_) | Place::Line(_) | Place::Frozen => {}
    }
    app
}
