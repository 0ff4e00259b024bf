//! What is logged, and in which form. Knows nothing of what it is about.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::config::Source;

/// What `RUST_LOG` does not turn on: below this the libraries tell the ids of sessions, and whoever knows the id of a polling session
/// can read it; also what clients send.
const SILENT: [&str; 4] =
    ["engineioxide=error", "engineioxide_core=error", "socketioxide=error", "socketioxide_core=error"];

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// `RUST_LOG`.
    #[error("RUST_LOG cannot be read: {0}")]
    Filter(#[from] ParseError),
    /// `LOG_FORMAT`.
    #[error("LOG_FORMAT must be text or json")]
    Format,
}

/// Logs to standard error from now on: `RUST_LOG`, default `info`, says what; `LOG_FORMAT`, default `text`, whether for people or in
/// one JSON object a line; `NO_COLOR` keeps colours off terminals.
///
/// # Errors
/// Where a variable cannot be understood.
pub fn start(source: &dyn Source) -> Result<(), LogsError> {
    let text = |variable: &str| source.get(variable).unwrap_or_default();
    let settings = text("RUST_LOG");
    let filter = filter(if settings.is_empty() { "info" } else { &settings })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match text("LOG_FORMAT").as_str() {
        "" | "text" => logs.with_ansi(stderr().is_terminal() && text("NO_COLOR").is_empty()).init(),
        "json" => logs.json().with_span_list(false).init(),
        _ => return Err(LogsError::Format),
    }
    Ok(())
}

/// Lets pass what these settings name, as `RUST_LOG` has them, but for what nobody may know.
///
/// # Errors
/// Where they cannot be read.
pub fn filter(settings: &str) -> Result<EnvFilter, ParseError> {
    let mut filter: EnvFilter = settings.parse()?;
    for directive in SILENT {
        filter = filter.add_directive(directive.parse()?);
    }
    Ok(filter)
}
