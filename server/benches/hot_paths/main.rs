//! What every event and every connection costs: tokens, payloads, queues, rooms. Knows nothing of many users at a time, which
//! is what the load harness is for.

mod payload;
mod queue;
mod room;
#[path = "../../tests/support/mod.rs"]
mod support;
mod tokens;

use criterion::{criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};

criterion_group!(benches, tokens::verify, payload::encode, queue::append_and_drain, room::emit);
criterion_main!(benches);

/// As the server has it.
fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().expect("a runtime can be built")
}
