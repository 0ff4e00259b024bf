//! What people and machines get to see of a run. Each report knows the results and nothing else.

pub mod choice;
pub mod html;
pub mod json;
pub mod markdown;
#[cfg(test)]
pub(crate) mod sample;
mod summary;
pub mod terminal;
