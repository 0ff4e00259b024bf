//! `--dev`: makes up what is not set, for one run, and shows how to try the server.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use uuid::Uuid;

use crate::{
    app::Collaborators,
    config::{Environment, Source},
    model::{Session, StoreError},
};

/// The user of the demo.
pub(crate) const USER: &str = "demo";
const SESSION: &str = "demo-session";
/// Whoever sets one of these signs tokens elsewhere.
const KEYS: [&str; 5] = ["JWT_SECRET_FILE", "JWT_PUBLIC_KEY", "JWT_PUBLIC_KEY_FILE", "JWT_JWKS_FILE", "JWT_JWKS_URL"];
const TOKEN_SECONDS: u64 = 12 * 60 * 60;

/// The environment, with what was made up for this run.
pub struct Made {
    environment: Environment,
    secret: String,
    ingest_token: String,
    directory: String,
}

impl Made {
    /// Makes up secrets and a directory.
    #[must_use]
    pub fn up(environment: &Environment) -> Self {
        let random = || format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let directory = std::env::temp_dir().join(format!("notify-server-dev-{}", std::process::id()));
        Self {
            environment: *environment,
            secret: random(),
            ingest_token: random(),
            directory: directory.to_string_lossy().into_owned(),
        }
    }

    /// Creates a session for a demo user and tells how to receive and emit an event.
    ///
    /// # Errors
    /// Where the session cannot be stored.
    pub async fn explain(&self, with: &Collaborators, bound: SocketAddr) -> Result<String, StoreError> {
        let warning = "--dev: secrets that were not set are made up for this run; do not use it for anything else.\n";
        let Some(token) = self.token() else {
            return Ok(format!("{warning}\nNo demo token: this run verifies tokens that others sign.\n"));
        };
        let session = Session { user_id: USER.into(), expires_at_ms: None };
        with.session_store.put_session(SESSION, &session).await?;
        // One that was set is not shown (AUTH-24); whoever set it knows it.
        let credential = match (self.set("INGEST_TOKEN"), self.set("INGEST_TOKEN_FILE")) {
            (Some(_), _) => "$INGEST_TOKEN",
            (None, Some(_)) => "$(cat $INGEST_TOKEN_FILE)",
            (None, None) => &self.ingest_token,
        };
        Ok(format!("{warning}\n{}", instructions(&token, credential, bound)))
    }

    /// Throws away what this run has stored, where that was in the directory made up for it.
    pub fn clean_up(&self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }

    fn set(&self, variable: &str) -> Option<String> {
        self.environment.get(variable).filter(|value| !value.is_empty())
    }

    /// A token for the demo user, where this run can sign one.
    pub(crate) fn token(&self) -> Option<String> {
        let algorithm = match self.get("JWT_ALGORITHM").as_deref().unwrap_or("HS256") {
            "HS256" => jsonwebtoken::Algorithm::HS256,
            "HS384" => jsonwebtoken::Algorithm::HS384,
            "HS512" => jsonwebtoken::Algorithm::HS512,
            _ => return None,
        };
        let secret = self.get("JWT_SECRET")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        let claims = json!({"userId": USER, "sessionId": SESSION, "exp": now + TOKEN_SECONDS});
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).ok()
    }
}

fn instructions(token: &str, credential: &str, bound: SocketAddr) -> String {
    format!(
        r#"Open http://{bound}/ to see what a patient sees.

A token for the user "{USER}", good for 12 hours:

{token}

Receive (npm install socket.io-client, then node, in another terminal):

const {{ io }} = require("socket.io-client");
const socket = io("http://{bound}/notifications", {{
  auth: {{ token: "{token}" }},
}});
socket.on("connect", () => console.log("connected"));
socket.on("connect_error", (error) => console.log("refused:", error.message));
socket.on("queued.events", (events) => console.log("missed:", events));
socket.on("record.accessed", (event) => console.log("live:", event));

Emit:

curl -i http://{bound}/events -H "Authorization: Bearer {credential}" -H 'Content-Type: application/json' \
  -d '{{"eventType":"record.accessed","actorId":"dr-house","resourceId":"record-1","metadata":{{"targetUserId":"{USER}"}}}}'
"#
    )
}

impl Source for Made {
    fn get(&self, variable: &str) -> Option<String> {
        let is_set = |variable: &str| self.set(variable).is_some();
        self.set(variable).or_else(|| match variable {
            "JWT_SECRET" if KEYS.iter().any(|key| is_set(key)) => None,
            "JWT_SECRET" => Some(self.secret.clone()),
            "INGEST_TOKEN" if !is_set("INGEST_TOKEN_FILE") => Some(self.ingest_token.clone()),
            "DATA_DIR" => Some(self.directory.clone()),
            _ => None,
        })
    }
}
