//! Servers whose heartbeat is short enough to be waited for.

use std::{fmt, time::Duration};

use super::Bench;
use crate::{
    client::{Handshake, Transport},
    expect::{self, Outcome},
};

/// The settings that a target file may map to variables.
const SETTINGS: [&str; 2] = ["ping_interval_seconds", "ping_timeout_seconds"];

/// What the open packet says of the heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heart {
    /// Between two pings of the server.
    pub interval: Duration,
    /// How long the server waits for what it waits for.
    pub timeout: Duration,
}

impl fmt::Display for Heart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interval, timeout } = self;
        write!(f, "a pingInterval of {} ms and a pingTimeout of {} ms", interval.as_millis(), timeout.as_millis())
    }
}

impl Heart {
    /// As announced.
    pub fn announced(handshake: &Handshake) -> Self {
        Self {
            interval: Duration::from_millis(handshake.ping_interval),
            timeout: Duration::from_millis(handshake.ping_timeout),
        }
    }

    /// Both together: the longest that a peer can be silent.
    pub fn whole(self) -> Duration {
        self.interval + self.timeout
    }
}

impl Bench {
    /// A server of the case's own with this heartbeat, in seconds, where the target has settings for it; else this one. With the heartbeat that
    /// it announces.
    ///
    /// # Errors
    /// Where the server cannot be started, or announces another heartbeat than it was told.
    pub async fn with_heart(&self, interval: u64, timeout: u64) -> Outcome<(Self, Heart)> {
        let names = self.target().process.as_ref().map(|process| &process.settings);
        if !names.is_some_and(|names| SETTINGS.iter().all(|setting| names.contains_key(*setting))) {
            return Ok((self.clone(), self.heart().await?));
        }
        let [ping_interval, ping_timeout] = SETTINGS;
        let (told_interval, told_timeout) = (interval.to_string(), timeout.to_string());
        let own = self.own_server(&[(ping_interval, &told_interval), (ping_timeout, &told_timeout)]).await?;
        let heart = own.heart().await?;
        let told = Heart { interval: Duration::from_secs(interval), timeout: Duration::from_secs(timeout) };
        let set = format!("an open packet with {told}, as the variables of [process.settings] were set");
        expect::that(heart == told, set, heart.to_string())?;
        Ok((own, heart))
    }

    /// The heartbeat that this server announces.
    ///
    /// # Errors
    /// Where no session can be opened.
    pub async fn heart(&self) -> Outcome<Heart> {
        let wire = self.open(self.opening(Transport::WebSocket)).await?;
        Ok(Heart::announced(&wire.handshake))
    }
}
