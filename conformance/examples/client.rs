//! A client of the notifications: connects, shows what comes, and comes back with a fresh token.

use std::{collections::HashSet, env, sync::Mutex, time::Duration};

use futures_util::FutureExt;
use rust_socketio::{Event, Payload, asynchronous::ClientBuilder};
use serde_json::{Value, json};

static SEEN: Mutex<Option<HashSet<String>>> = Mutex::new(None);

fn show(event: &Value) {
    let id = event["eventId"].as_str().unwrap_or_default();
    let mut seen = SEEN.lock().expect("nobody panics with it");
    if seen.get_or_insert_default().insert(id.to_owned()) {
        println!("event {} {id}", event["eventType"].as_str().unwrap_or_default());
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, token_url) = (env::var("NOTIFY_URL")?, env::var("TOKEN_URL")?);
    loop {
        let token = reqwest::get(&token_url).await?.text().await?; // your own backend
        let (closed, mut over) = tokio::sync::mpsc::channel(1);
        let broken = closed.clone();
        let client = ClientBuilder::new(&url)
            .namespace("/notifications")
            .auth(json!({"token": token}))
            // It would come back with the token of the first time.
            .reconnect(false)
            .on_any(|event, payload, _| {
                async move {
                    let (Event::Custom(name), Payload::Text(args)) = (event, payload) else { return };
                    match (name.as_str(), args.first()) {
                        ("queued.events", Some(Value::Array(events))) => events.iter().for_each(show),
                        ("record.accessed" | "access.granted" | "access.revoked" | "record.uploaded", Some(event)) => {
                            show(event)
                        }
                        _ => {}
                    }
                }
                .boxed()
            })
            .on(Event::Connect, |_, _| async { println!("connected") }.boxed())
            // The server refuses, or the line breaks: the crate tells both so.
            .on(Event::Error, move |why, _| {
                let broken = broken.clone();
                async move {
                    println!("refused or broken: {why:?}");
                    broken.try_send(()).ok();
                }
                .boxed()
            })
            .on(Event::Close, move |_, _| {
                let closed = closed.clone();
                async move {
                    println!("disconnected");
                    closed.try_send(()).ok();
                }
                .boxed()
            })
            .connect()
            .await;
        if let Ok(client) = client {
            over.recv().await;
            client.disconnect().await.ok();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
