//! What only those who run the server need. The core knows nothing of it: without this room everything is delivered as before, and
//! nobody sees how it goes.

pub mod rotation;

mod fetch;
