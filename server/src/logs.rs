//! What is logged. Knows nothing of what it is about.

use tracing_subscriber::{EnvFilter, filter::ParseError};

/// What `RUST_LOG` does not turn on: below this the libraries tell the ids of sessions, and whoever knows the id of a polling session
/// can read it; also what clients send.
const SILENT: [&str; 4] =
    ["engineioxide=error", "engineioxide_core=error", "socketioxide=error", "socketioxide_core=error"];

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
