//! What people and machines get to see of a run. Each report knows the run's events and nothing else.

pub mod badge;
pub mod choice;
pub mod decode;
pub mod github;
pub mod html;
pub mod json;
pub mod junit;
pub mod record;
pub mod reports;
#[cfg(test)]
mod sample;
pub mod terminal;
pub mod xml;
