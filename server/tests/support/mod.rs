//! A server on a port of its own, and small raw clients for it. Not every test file uses all of it.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part")]
#![allow(clippy::allow_attributes, reason = "`expect` would fail in the file that does use everything")]

pub(crate) mod client;
pub(crate) mod course;
pub(crate) mod doubles;
pub(crate) mod http;
pub(crate) mod node;
pub(crate) mod prefixed;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod sentinel;
pub(crate) mod server;
pub(crate) mod shards;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

/// Long enough for anything that is to happen.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// How many events in a row are live at nodes that are well again, one each 50 ms: their heartbeats fall into that time.
pub(crate) const STEADY: u32 = 30;

/// A port for a server that is about to start. Not of those that the system chooses itself: one that is free now would soon be that of
/// some outgoing connection. Nor of those that the suite hands out.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u32 = 5_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    loop {
        // Each process begins somewhere else.
        let number = process::id().wrapping_mul(199).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = FIRST + u16::try_from(number).expect("below the count");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A directory that is removed when it is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("notify-server-test-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&path).expect("the temporary directory can be written to");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A file of `fixtures/`, as JSON.
pub(crate) fn fixture(name: &str) -> Value {
    serde_json::from_str(&fixture_text(name)).expect("a fixture is JSON")
}

/// A file of `fixtures/`, as it is.
pub(crate) fn fixture_text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
