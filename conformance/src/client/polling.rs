//! Engine.IO over HTTP long-polling: one GET always in flight, a POST for each packet sent.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use reqwest::{Body, Client, RequestBuilder, Response};

use super::{
    engine::{EnginePacket, Handshake},
    wire::{Background, Incoming, Opening, Telling, WireError},
};
use crate::{
    text::{chain, shorten},
    tls,
    transcript::Transcript,
};

/// The sending half, and the task that polls.
#[derive(Debug)]
pub(super) struct Poller {
    http: Client,
    url: String,
    headers: Vec<(String, String)>,
    transcript: Transcript,
    rest: Arc<Rest>,
    loop_: Background,
}

/// From when on to poll no more.
#[derive(Debug, Default)]
struct Rest {
    now: AtomicBool,
    /// From an answer on that has this text.
    after: OnceLock<String>,
}

impl Rest {
    fn heard(&self, answer: &str) {
        if self.after.get().is_some_and(|text| answer.contains(text)) {
            self.now.store(true, Ordering::Release);
        }
    }
}

/// Opens a session and begins to poll.
pub(super) async fn open(
    opening: &Opening,
    telling: Telling,
    transcript: &Transcript,
) -> Result<(Handshake, Poller), WireError> {
    let http = tls::http().map_err(|error| WireError::Io(error.to_string()))?;
    let url = opening.url("polling", None);
    transcript.sent("poll", format!("GET {url}"));
    let response = with_headers(http.get(&url), &opening.headers).send().await.map_err(io)?;
    let body = ok_body(response, transcript).await?;
    let mut packets = EnginePacket::decode_payload(&body).into_iter();
    let Some(EnginePacket::Open(json)) = packets.next() else {
        return Err(WireError::Protocol(format!("an open packet was due, not {}", shorten(&body, 200))));
    };
    let handshake: Handshake =
        serde_json::from_str(&json).map_err(|error| WireError::Protocol(format!("open packet: {error}")))?;
    let url = opening.url("polling", Some(&handshake.sid));
    let rest = Arc::<Rest>::default();
    let poll = Poll {
        http: http.clone(),
        url: url.clone(),
        headers: opening.headers.clone(),
        transcript: transcript.clone(),
        rest: Arc::clone(&rest),
        answers_pings: opening.answers_pings,
        telling,
    };
    let loop_ = Background::spawn(poll.run(packets.collect()));
    let poller = Poller { http, url, headers: opening.headers.clone(), transcript: transcript.clone(), rest, loop_ };
    Ok((handshake, poller))
}

impl Poller {
    /// Posts one payload.
    pub(super) async fn post(&self, payload: impl Into<Vec<u8>>) -> Result<(), WireError> {
        post(&self.http, &self.url, &self.headers, payload.into(), &self.transcript).await
    }

    /// Polls no more once the pending GET has returned.
    pub(super) fn rest(&self) {
        self.rest.now.store(true, Ordering::Release);
    }

    /// Polls no more once an answer has had this text.
    pub(super) fn rest_after(&self, text: &str) {
        // A second text would be a case that does not know what it waits for.
        let _ = self.rest.after.set(text.to_owned());
    }

    /// The same, and waits for that, which the server's `noop` brings about.
    pub(super) async fn finish(&mut self) {
        self.rest();
        self.loop_.ended().await;
    }
}

struct Poll {
    http: Client,
    url: String,
    headers: Vec<(String, String)>,
    transcript: Transcript,
    rest: Arc<Rest>,
    answers_pings: bool,
    telling: Telling,
}

impl Poll {
    async fn run(self, first: Vec<EnginePacket>) {
        if self.deliver(first).await.is_err() {
            return;
        }
        while !self.rest.now.load(Ordering::Acquire) {
            let request = with_headers(self.http.get(&self.url), &self.headers);
            let answer = match request.send().await.map_err(io) {
                Ok(response) => ok_body(response, &self.transcript).await,
                Err(error) => Err(error),
            };
            let end = match answer {
                Ok(body) => {
                    self.telling.polled();
                    self.rest.heard(&body);
                    self.deliver(EnginePacket::decode_payload(&body)).await
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = end {
                self.transcript.note(format!("poll: closed, {reason}"));
                self.telling.arrived(Incoming::Closed(reason));
                return;
            }
        }
    }

    async fn deliver(&self, packets: Vec<EnginePacket>) -> Result<(), String> {
        for packet in packets {
            match packet {
                EnginePacket::Message(text) => self.telling.arrived(Incoming::Message(text)),
                EnginePacket::Ping(_) => {
                    self.telling.pinged();
                    if !self.answers_pings {
                        continue;
                    }
                    let pong = post(&self.http, &self.url, &self.headers, b"3".to_vec(), &self.transcript).await;
                    pong.map_err(|error| error.to_string())?;
                }
                EnginePacket::Noop => {}
                EnginePacket::Close => return Err("a close packet".to_owned()),
                other => self.telling.arrived(Incoming::Strange(format!("{other:?}"))),
            }
        }
        Ok(())
    }
}

async fn post(
    http: &Client,
    url: &str,
    headers: &[(String, String)],
    payload: Vec<u8>,
    transcript: &Transcript,
) -> Result<(), WireError> {
    transcript.sent("poll", format!("POST {}", String::from_utf8_lossy(&payload)));
    let request = with_headers(http.post(url), headers).header("content-type", "text/plain;charset=UTF-8");
    let response = request.body(Body::from(payload)).send().await.map_err(io)?;
    ok_body(response, transcript).await.map(drop)
}

async fn ok_body(response: Response, transcript: &Transcript) -> Result<String, WireError> {
    let status = response.status();
    let body = response.text().await.map_err(io)?;
    transcript.received("poll", format!("{} {body}", status.as_u16()));
    if status.is_success() {
        return Ok(body);
    }
    Err(WireError::Refused { status: status.as_u16(), body: shorten(&body, 200) })
}

fn with_headers(request: RequestBuilder, headers: &[(String, String)]) -> RequestBuilder {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

fn io(error: reqwest::Error) -> WireError {
    // The URL could hold a token.
    WireError::Io(chain(&error.without_url()))
}
