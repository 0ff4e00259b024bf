//! A polling session of which each request is made by hand.

use serde_json::{Value, json};

use super::polling_path;
use crate::{
    bench::{Bench, User},
    expect::Outcome,
};

pub(crate) struct ByHand<'a> {
    t: &'a Bench,
    path: String,
    /// The headers of each request but the first.
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> ByHand<'a> {
    /// Opens one by a request with the headers `first`; later requests have those of `later`.
    pub(crate) async fn open(t: &'a Bench, first: &[(&str, &str)], later: &[(&'a str, &'a str)]) -> Outcome<Self> {
        let opened = t.http("GET", "/socket.io/?EIO=4&transport=polling", first, None::<String>).await?;
        let handshake: Value = serde_json::from_str(opened.body.get(1..).unwrap_or_default()).unwrap_or_default();
        let path = polling_path(handshake["sid"].as_str().unwrap_or_default());
        Ok(Self { t, path, headers: later.to_vec() })
    }

    /// Opens one, and sends the CONNECT of a user.
    pub(crate) async fn of_user(t: &'a Bench, user: &User) -> Outcome<Self> {
        let session = Self::open(t, &[], &[("content-type", "text/plain;charset=UTF-8")]).await?;
        session.post(format!("40/notifications,{}", json!({"token": t.token(user).await?}))).await?;
        Ok(session)
    }

    pub(crate) async fn post(&self, packets: String) -> Outcome {
        self.t.http("POST", &self.path, &self.headers, Some(packets)).await?.expect_status(200)
    }

    /// What comes next, but for a ping.
    pub(crate) async fn poll(&self) -> Outcome<String> {
        loop {
            let polled = self.t.http("GET", &self.path, &self.headers, None::<String>).await?;
            polled.expect_status(200)?;
            if polled.body != "2" {
                return Ok(polled.body);
            }
        }
    }
}
