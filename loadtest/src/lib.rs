//! A load harness for real-time notification servers.

pub mod results;
