//! What only those who run the server need. The core knows nothing of it: without this room everything is delivered as before, and
//! nobody sees how it goes.

pub(crate) mod api;
pub(crate) mod fetch;
pub(crate) mod metrics;
pub(crate) mod page;
pub(crate) mod requests;
pub mod rotation;
