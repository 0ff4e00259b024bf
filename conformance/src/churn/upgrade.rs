//! Upgrades of a polling session to WebSocket that come to nothing, on purpose. Knows nothing of the session but its id.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::way::Failing;

/// How long the server may take for each step of an upgrade.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// What is left of an upgrade that came to nothing.
#[derive(Debug)]
pub(super) struct Remains {
    /// The WebSocket, open for as long as this is kept.
    _silent: Option<WebSocketStream<TcpStream>>,
}

/// Begins to upgrade the session `sid` of the server at `address`, and gives up in the way that is told.
///
/// # Errors
/// Where the server lets the upgrade come less far, in words.
pub(super) async fn fail(address: SocketAddr, sid: &str, failing: Failing) -> Result<Remains, String> {
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let open = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        client_async(url, stream).await.map_err(|error| error.to_string())
    };
    let (mut socket, _) =
        timeout(STEP_LIMIT, open).await.map_err(|_| "no answer to the upgrade in time".to_owned())??;
    if failing.is_probed() {
        let probe = async {
            socket.send(Message::text("2probe")).await.map_err(|error| error.to_string())?;
            match socket.next().await {
                Some(Ok(Message::Text(text))) if text.as_str() == "3probe" => Ok(()),
                Some(Ok(_)) => Err("something else than 3probe came".to_owned()),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("the WebSocket was closed before 3probe".to_owned()),
            }
        };
        timeout(STEP_LIMIT, probe).await.map_err(|_| "no 3probe in time".to_owned())??;
    }
    Ok(Remains { _silent: failing.is_silent().then_some(socket) })
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, task::JoinHandle};
    use tokio_tungstenite::accept_async;

    use super::*;

    /// Accepts one WebSocket, answers its first message with `answer`, and tells what came until it was closed.
    async fn server(answer: &'static str) -> (SocketAddr, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let heard = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut socket = accept_async(stream).await.expect("a WebSocket");
            let mut heard = Vec::new();
            while let Some(Ok(message)) = socket.next().await {
                heard.push(message.to_string());
                let _ = socket.send(Message::text(answer)).await;
            }
            heard
        });
        (address, heard)
    }

    #[tokio::test]
    async fn each_upgrade_comes_as_far_as_it_is_told_and_no_further() {
        for failing in Failing::ALL {
            let (address, heard) = server("3probe").await;
            let remains = fail(address, "sid", failing).await.expect("it comes so far");
            assert_eq!(remains._silent.is_some(), failing.is_silent(), "{failing:?}");
            drop(remains);
            let probed = if failing.is_probed() { vec!["2probe"] } else { vec![] };
            assert_eq!(heard.await.expect("the server ends"), probed, "{failing:?}");
        }
    }

    #[tokio::test]
    async fn an_upgrade_that_comes_less_far_is_told() {
        let (address, _server) = server("6").await;
        let why = fail(address, "sid", Failing::SilentOnceProbed).await.expect_err("no probe");
        assert!(why.contains("else than 3probe"), "{why}");
    }
}
