//! Hands out ports of loopback for servers that start later. Knows nothing of the servers.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File, TryLockError},
    io,
    net::TcpListener,
    sync::{Mutex, PoisonError},
};

/// A port of loopback that is free now and that neither this process nor another run on this machine was given before, as
/// long as either lasts: a server that is slow to bind its port, or restarts, would otherwise find another run's server
/// there, and the case would speak to that one.
///
/// # Errors
/// Where none is found.
pub fn free_port() -> io::Result<u16> {
    static GIVEN: Mutex<BTreeMap<u16, Option<File>>> = Mutex::new(BTreeMap::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    // Below the ports that systems hand to outgoing connections (from 32768 on Linux), one of which might otherwise take
    // it before the server binds it, or while the server restarts.
    for port in (0..1_000).map(|_| rand::random_range(15_000..32_000)) {
        if given.contains_key(&port) || TcpListener::bind(("127.0.0.1", port)).is_err() {
            continue;
        }
        if let Ok(claim) = claim(port) {
            given.insert(port, claim);
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port between 15000 and 32000 is free"))
}

/// A lock that other runs see, and that goes with this process however it ends; `None` where the machine has no place for
/// one, which only leaves the chance of a clash.
fn claim(port: u16) -> Result<Option<File>, TryLockError> {
    let folder = env::temp_dir().join("notify-conformance-ports");
    let Ok(file) = fs::create_dir_all(&folder).and_then(|()| File::create(folder.join(port.to_string()))) else {
        return Ok(None);
    };
    file.try_lock().map(|()| Some(file))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_free_port_is_given_once() {
        let ports: BTreeSet<_> = (0..200).map(|_| free_port().expect("a port")).collect();
        assert_eq!(ports.len(), 200);
    }

    #[test]
    fn a_port_that_another_run_was_given_is_not_to_be_had() {
        let port = free_port().expect("a port");
        assert!(matches!(claim(port), Err(TryLockError::WouldBlock)), "each open file has a lock of its own");
    }
}
