//! The port, with room for everybody who comes at once. Knows nothing of what is spoken there.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Connects that may wait until they are accepted; the kernel's own limit (`net.core.somaxconn`) can be lower. After a fall of the
/// network thousands come within milliseconds, and who finds no room tries again a second later. The default is 128.
const WAITING: u32 = 4096;

/// Listens on the first address of the host that can be had.
///
/// # Errors
/// Where none can, or the host has no address.
pub(crate) async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut refused = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
    for address in lookup_host((host, port)).await? {
        match listen_on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait until the connections of the last process are forgotten.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{net::TcpStream, time::timeout};

    use super::*;

    #[tokio::test]
    async fn hundreds_connect_before_the_first_one_is_accepted() {
        let listener = listen("127.0.0.1", 0).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut connected = Vec::new();
        for turn in 0..400 {
            // Without room the connect is not answered at all.
            let connect = timeout(Duration::from_secs(10), TcpStream::connect(address)).await;
            connected.push(connect.unwrap_or_else(|_| panic!("connect {turn} finds no room")).expect("it connects"));
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_refused() {
        let taken = listen("127.0.0.1", 0).await.expect("a port");
        let port = taken.local_addr().expect("its address").port();
        let error = listen("127.0.0.1", port).await.expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
