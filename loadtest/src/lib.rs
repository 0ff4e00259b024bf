//! A load harness for real-time notification servers.
//!
//! `cli → run → scenarios → stream → attack, receivers`, which meet at the books (`ledger`); `run → results ← report, compare,
//! assert`. Of the suite it uses what knows a server under test: target files, tokens, processes, Redis.

pub mod assert;
pub mod attack;
pub mod beside;
pub mod cli;
pub mod compare;
pub mod emit;
pub mod fault;
pub mod figure;
pub mod floor;
pub mod ground;
pub mod http;
pub mod interrupt;
pub mod latency;
pub mod ledger;
pub mod machine;
pub mod mark;
pub mod measured;
pub mod pace;
pub mod people;
pub mod pick;
pub mod receivers;
pub mod report;
pub mod results;
pub mod rounds;
pub mod run;
pub mod scenarios;
pub mod settings;
pub mod socket;
pub mod stream;
pub mod table;
pub mod units;
pub mod watch;
pub mod wire;
