//! What people and machines get to see of a run. Each report knows the run's events and nothing else.

pub mod json;
pub mod terminal;
