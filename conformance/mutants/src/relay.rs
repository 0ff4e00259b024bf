//! A relay before the server that meddles with the heartbeat of WebSockets. Knows as much of their frames as it takes to tell a
//! ping, which the server writes by itself, from anything else.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

/// What is wrong with the heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody is pinged.
    NoPings,
    /// Whoever is pinged counts as having answered.
    PongsMadeUp,
}

/// A frame with a ping, from the server, and one with a pong, as from a client.
const PING: &[u8] = b"\x81\x012";
const PONG: &[u8] = b"\x81\x81\0\0\0\x003";
const CHUNK_BYTES: usize = 16 * 1024;

/// Takes connections on behalf of a server, and returns what that is to listen on instead.
pub(crate) async fn before(listener: TcpListener, fault: Fault) -> io::Result<TcpListener> {
    let inner = TcpListener::bind("127.0.0.1:0").await?;
    let address = inner.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(server) = TcpStream::connect(address).await {
                    client.set_nodelay(true).ok();
                    server.set_nodelay(true).ok();
                    relay(client, server, fault).await;
                }
            });
        }
    });
    Ok(inner)
}

/// Until either side breaks; one that only ends its own half is waited for by the other.
async fn relay(client: TcpStream, server: TcpStream, fault: Fault) {
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (made_up, pongs) = mpsc::unbounded_channel();
    tokio::join!(downwards(from_server, to_client, fault, made_up), upwards(from_client, to_server, pongs));
}

async fn downwards(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, fault: Fault, made_up: mpsc::UnboundedSender<()>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        match (fault, &chunk[..length] == PING) {
            (Fault::NoPings, true) => continue,
            (Fault::PongsMadeUp, true) => drop(made_up.send(())),
            _ => {}
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}

async fn upwards(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut pongs: mpsc::UnboundedReceiver<()>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = tokio::select! {
            read = from.read(&mut chunk) => match read {
                Ok(length @ 1..) => &chunk[..length],
                _ => break,
            },
            Some(()) = pongs.recv() => PONG,
        };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}
