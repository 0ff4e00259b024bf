//! A TCP proxy on loopback, for faults that ask nothing of the target: it stands before Redis and can cut the line.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

/// How long dialling the upstream may take.
const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// A running proxy; it ends with all its connections when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    connected: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy before `upstream`, a `host:port`.
    ///
    /// # Errors
    /// Where no port can be bound on loopback.
    pub async fn start(upstream: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (connected, state) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::from(upstream), state));
        Ok(Self { address, connected, _tasks: tasks })
    }

    /// Where the proxy listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and refuses new ones.
    pub fn cut(&self) {
        self.connected.send_replace(false);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.connected.send_replace(true);
    }
}

async fn accept(listener: TcpListener, upstream: Arc<str>, state: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(client, Arc::clone(&upstream), state.clone()));
    }
}

/// Dropping the streams closes them: that is how a cut works.
async fn serve(mut client: TcpStream, upstream: Arc<str>, mut state: watch::Receiver<bool>) {
    if !*state.borrow() {
        return;
    }
    let Ok(Ok(mut server)) = timeout(DIAL_LIMIT, TcpStream::connect(&*upstream)).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = state.wait_for(|connected| !connected) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn echo() -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        address
    }

    async fn says_back(proxy: &Proxy) -> bool {
        let mut stream = TcpStream::connect(proxy.address()).await.expect("the proxy accepts");
        let mut answer = [0; 4];
        stream.write_all(b"ping").await.is_ok() && stream.read_exact(&mut answer).await.is_ok() && answer == *b"ping"
    }

    #[tokio::test]
    async fn bytes_pass_until_the_line_is_cut_and_again_after() {
        let proxy = Proxy::start(echo().await).await.expect("a proxy");
        assert!(says_back(&proxy).await);
        proxy.cut();
        assert!(!says_back(&proxy).await);
        proxy.restore();
        assert!(says_back(&proxy).await);
    }

    #[tokio::test]
    async fn a_cut_closes_what_is_open() {
        let proxy = Proxy::start(echo().await).await.expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).await.expect("the proxy accepts");
        stream.write_all(b"x").await.expect("it takes a byte");
        assert_eq!(stream.read_u8().await.expect("and gives it back"), b'x');
        proxy.cut();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}
