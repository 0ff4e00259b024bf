//! The floor as a process of its own.

use std::time::Duration;

use clap::Args;
use notify_conformance::exit;
use tokio::net::{TcpListener, TcpSocket};

use super::{no_verdict, options::time};
use crate::floor::{self, Flaws};

#[derive(Debug, Args, Clone)]
pub(super) struct FloorArgs {
    /// The port, on 127.0.0.1.
    #[arg(long, env = "PORT", value_name = "PORT")]
    port: u16,
    /// Accept every Nth event without delivering it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    drop_every: Option<u64>,
    /// Deliver every Nth event twice.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    repeat_every: Option<u64>,
    /// Stand still for so long once a second.
    #[arg(long, value_name = "TIME", value_parser = time)]
    stall: Option<Duration>,
}

/// Serves until it is killed.
pub(super) async fn run(args: &FloorArgs) -> u8 {
    match listen(args.port) {
        Ok(listener) => {
            let FloorArgs { drop_every, repeat_every, stall, .. } = *args;
            floor::serve(listener, Flaws { drop_every, repeat_every, stall }).await;
        }
        Err(error) => return no_verdict(&format!("port {}: {error}", args.port)),
    }
    exit::CONFORMANT
}

/// With as much room for connects that wait as the reference has.
fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((std::net::Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(4096)
}
