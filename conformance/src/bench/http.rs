//! Plain HTTP to the server under test, written to the transcript.

use std::time::Duration;

use reqwest::{Body, Method, header::HeaderMap};
use serde_json::Value;

use super::Bench;
use crate::{
    expect::{Outcome, inconclusive, mismatch},
    target::Request,
    template::Values,
    text::{chain, shorten},
};

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON, or null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long to wait before the request is made again, where the answer says so in seconds.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after")?.parse().ok().map(Duration::from_secs)
    }

    /// For a failure.
    pub fn describe(&self) -> String {
        format!("HTTP {} {}", self.status, shorten(&self.body, 300))
    }

    /// The status is `expected`.
    ///
    /// # Errors
    /// Where it is another.
    pub fn expect_status(&self, expected: u16) -> Outcome {
        if self.status == expected { Ok(()) } else { Err(mismatch(format!("HTTP {expected}"), self.describe())) }
    }
}

impl Bench {
    /// Sends a request of the target file.
    ///
    /// # Errors
    /// Where a placeholder has no value, or there is no answer.
    pub async fn request(&self, request: &Request, values: &Values) -> Outcome<Answer> {
        let unfilled = |error: crate::template::UnknownPlaceholder| inconclusive(format!("the target file: {error}"));
        let path = values.text(&request.path).map_err(unfilled)?;
        let mut headers = Vec::new();
        for (name, value) in &request.headers {
            headers.push((name.as_str(), values.text(value).map_err(unfilled)?));
        }
        let body = request.body.as_ref().map(|body| values.json(body)).transpose().map_err(unfilled)?;
        if body.is_some() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.http(&request.method, &path, &headers, body.map(|body| body.to_string())).await
    }

    /// Sends any request; `path` may be a whole URL.
    ///
    /// # Errors
    /// Where there is no answer.
    pub async fn http(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<impl Into<Body> + AsRef<[u8]>>,
    ) -> Outcome<Answer> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base()) };
        let verb = Method::from_bytes(method.as_bytes()).map_err(|_| inconclusive(format!("no method {method:?}")))?;
        let mut request = self.suite.http.request(verb, url).timeout(ANSWER_LIMIT);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let shown = body.as_ref().map(|body| String::from_utf8_lossy(body.as_ref()).into_owned()).unwrap_or_default();
        self.transcript().sent("http", format!("{method} {path} {shown}"));
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok::<_, reqwest::Error>(Answer { status, headers, body: response.text().await? })
        };
        let answer = answer
            .await
            .map_err(|error| mismatch(format!("an answer to {method} {path}"), chain(&error.without_url())))?;
        self.transcript().received("http", answer.describe());
        Ok(answer)
    }

    /// As [`Bench::http`], with the service credential and a JSON body; GET and DELETE have none.
    ///
    /// # Errors
    /// Where the target file has no credential, or there is no answer.
    pub async fn control(&self, method: &str, path: &str, body: &Value) -> Outcome<Answer> {
        if !matches!(method, "GET" | "DELETE") {
            return self.control_text(method, path, &[], body.to_string()).await;
        }
        self.http(method, path, &[("authorization", &*self.credential()?)], None::<String>).await
    }

    /// The service credential as an `Authorization` header.
    ///
    /// # Errors
    /// Where the target file has none.
    pub fn credential(&self) -> Outcome<String> {
        match self.target().credential() {
            Some(Ok(credential)) => Ok(format!("Bearer {credential}")),
            Some(Err(error)) => Err(inconclusive(format!("the target file: {error}"))),
            None => Err(inconclusive("the target file has no [control]")),
        }
    }

    /// As [`Bench::control`], with any body and further headers.
    ///
    /// # Errors
    /// Where the target file has no credential, or there is no answer.
    pub async fn control_text(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Outcome<Answer> {
        let credential = self.credential()?;
        let mut all = vec![("authorization", credential.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.http(method, path, &all, Some(body)).await
    }
}
