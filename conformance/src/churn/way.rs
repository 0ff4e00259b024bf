//! The ways in which a device's packets travel. Knows nothing of how either is done.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// A way of travelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// WebSocket from the first byte.
    WebSocket,
    /// HTTP long-polling.
    Polling,
    /// HTTP long-polling first, then WebSocket.
    Upgrade,
    /// HTTP long-polling, with an upgrade that comes to nothing.
    FailedUpgrade,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Polling, Self::Upgrade, Self::FailedUpgrade];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Polling => "polling",
            Self::Upgrade => "upgrade",
            Self::FailedUpgrade => "failed-upgrade",
        }
    }

    /// Whether it ends as it begins, with polling.
    pub(super) fn goes_on_polling(self) -> bool {
        matches!(self, Self::Polling | Self::FailedUpgrade)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|way| way.name() == text);
        found.ok_or_else(|| format!("{text:?} is none of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// How an upgrade comes to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failing {
    /// The WebSocket is opened, and closed.
    ClosedOnceOpen,
    /// The WebSocket is opened, and falls silent.
    SilentOnceOpen,
    /// The probe is answered, and the WebSocket closed.
    ClosedOnceProbed,
    /// The probe is answered, and the WebSocket falls silent.
    SilentOnceProbed,
}

impl Failing {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ClosedOnceOpen, Self::SilentOnceOpen, Self::ClosedOnceProbed, Self::SilentOnceProbed];

    /// Whether the server has answered the probe by then.
    pub(super) fn is_probed(self) -> bool {
        matches!(self, Self::ClosedOnceProbed | Self::SilentOnceProbed)
    }

    /// Whether the WebSocket stays open.
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::SilentOnceOpen | Self::SilentOnceProbed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_known_by_its_name() {
        for way in Way::ALL {
            assert_eq!(way.name().parse(), Ok(way));
        }
        assert!("pigeon".parse::<Way>().unwrap_err().contains("failed-upgrade"));
    }
}
