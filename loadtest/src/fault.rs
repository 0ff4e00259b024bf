//! Why a run could not be carried out. That nothing can be said is never the same as that something is wrong with the server.

use thiserror::Error;

use crate::{emit::LetterError, ground::Failed, people::PeopleError, socket::SocketError};

/// No result: the harness or its ground has failed.
#[derive(Debug, Error)]
pub enum Fault {
    /// There is no server.
    #[error(transparent)]
    Ground(#[from] Failed),
    /// There are no users.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// Events cannot be written.
    #[error(transparent)]
    Letters(#[from] LetterError),
    /// The receivers cannot connect.
    #[error("a receiver cannot connect: {0}")]
    Socket(#[from] SocketError),
    /// Goose has failed.
    #[error("goose: {0:?}")]
    Goose(#[from] Box<goose::GooseError>),
    /// The server's process ended.
    #[error("the server has ended during the run; its last words:\n{0}")]
    ServerEnded(String),
    /// Nothing was measured at all.
    #[error("nothing was measured: {0}")]
    Nothing(String),
}
