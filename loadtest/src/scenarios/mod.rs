//! The scenarios, one file each.

pub mod ack;
pub mod churn;
pub mod fanout;
mod filling;
pub mod handshake;
pub mod idle;
pub mod mixed;
pub mod offline;
pub mod ramp;
pub mod slow;
pub mod soak;
pub mod storm;
pub mod unicast;

use crate::{fault::Fault, ground::Ground, measured::Measured, settings::Settings};

/// One of the scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// N users with one connection each.
    Unicast,
    /// One user with N connections.
    Fanout,
    /// Zipf users with several devices, some offline.
    Mixed,
    /// Full queues for everybody, then a drain.
    Offline,
    /// All reconnect at once.
    Storm,
    /// Connect and leave, over and over.
    Handshake,
    /// Connections come at a rate, stay a while and leave.
    Churn,
    /// A share of the receivers reads slowly or not at all; one user's clients misbehave.
    Slow,
    /// Receivers acknowledge.
    Ack,
    /// Connections that do nothing.
    Idle,
    /// Gently and for long.
    Soak,
    /// The highest rate under a bound.
    Ramp,
}

impl Kind {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Fanout => "fanout",
            Self::Mixed => "mixed",
            Self::Offline => "offline",
            Self::Storm => "storm",
            Self::Handshake => "handshake",
            Self::Churn => "churn",
            Self::Slow => "slow",
            Self::Ack => "ack",
            Self::Idle => "idle",
            Self::Soak => "soak",
            Self::Ramp => "ramp",
        }
    }

    /// What it does where nothing else is said.
    pub fn defaults(self) -> Settings {
        match self {
            Self::Unicast => unicast::defaults(),
            Self::Fanout => fanout::defaults(),
            Self::Mixed => mixed::defaults(),
            Self::Offline => offline::defaults(),
            Self::Storm => storm::defaults(),
            Self::Handshake => handshake::defaults(),
            Self::Churn => churn::defaults(),
            Self::Slow => slow::defaults(),
            Self::Ack => ack::defaults(),
            Self::Idle => idle::defaults(),
            Self::Soak => soak::defaults(),
            Self::Ramp => ramp::defaults(),
        }
    }

    /// How many connections are open at a time with `connections` receivers, those to emit included.
    pub fn open_at_once(self, settings: &Settings, connections: usize) -> u64 {
        let staying = match self {
            Self::Churn => (settings.rate.unwrap_or_default() * churn::STAY.as_secs_f64()) as usize,
            Self::Slow => connections + slow::further_connections(settings),
            _ => connections,
        };
        (staying + settings.emitters) as u64
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// Where it cannot be carried out.
    pub async fn run(self, ground: &Ground, settings: &Settings) -> Result<Measured, Fault> {
        match self {
            Self::Unicast => unicast::run(ground, settings).await,
            Self::Fanout => fanout::run(ground, settings).await,
            Self::Mixed => mixed::run(ground, settings).await,
            Self::Offline => offline::run(ground, settings).await,
            Self::Storm => storm::run(ground, settings).await,
            Self::Handshake => handshake::run(ground, settings).await,
            Self::Churn => churn::run(ground, settings).await,
            Self::Slow => slow::run(ground, settings).await,
            Self::Ack => ack::run(ground, settings).await,
            Self::Idle => idle::run(ground, settings).await,
            Self::Soak => soak::run(ground, settings).await,
            Self::Ramp => ramp::run(ground, settings).await,
        }
    }
}
