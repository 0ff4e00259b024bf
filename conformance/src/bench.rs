//! What a case works with: users, tokens, clients, events, HTTP, and servers of its own, all on one transcript.

mod emission;
mod faults;
mod heart;
mod hooks;
mod http;
mod issuer;
mod nodes;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use rand::{RngExt, SeedableRng, distr::Alphanumeric, rngs::StdRng};
use serde_json::{Value, json};

pub use self::{emission::Emission, heart::Heart, http::Answer, issuer::Issuer, nodes::no_redis};
use crate::{
    client::{Client, Opening, Transport, Wire},
    expect::{Outcome, inconclusive, mismatch},
    instance::{Changes, Instance, InstanceError},
    redact::Secrets,
    redis::{Database, RedisServer, tap::Listening},
    target::{ProcessTarget, Target},
    text::chain,
    token::{SignError, Signer},
    transcript::Transcript,
};

/// What all cases of a run share.
#[derive(Debug)]
pub struct Suite {
    /// The server under test, as its file describes it.
    pub target: Target,
    /// The run's Redis, where the target wants one.
    pub redis: Option<Arc<RedisServer>>,
    /// The server that cases share.
    pub shared: Arc<Instance>,
    /// Signs with the target's key.
    pub signer: Signer,
    /// What no report may show.
    pub secrets: Secrets,
    /// The client for everything that is not Socket.IO.
    pub http: reqwest::Client,
    /// Decides every random choice of the run.
    pub seed: u64,
    /// Keeps the users of this run apart from those of another one with the same seed.
    pub nonce: String,
}

/// The workbench of one case on one server.
#[derive(Debug, Clone)]
pub struct Bench {
    suite: Arc<Suite>,
    instance: Arc<Instance>,
    signer: Signer,
    transcript: Transcript,
    random: Arc<Mutex<StdRng>>,
    own: Arc<Mutex<Vec<Arc<Instance>>>>,
    own_redis: Arc<Mutex<Vec<Arc<RedisServer>>>>,
    /// What the case hears of its servers' Redis.
    listening: Arc<Mutex<Vec<Listening>>>,
}

/// A user, with one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The id of the session.
    pub session: String,
}

impl Bench {
    /// The workbench for the case `id`, which draws its random choices from the run's seed and `turn`.
    pub fn new(suite: Arc<Suite>, id: &str, turn: usize) -> Self {
        let transcript = Transcript::default();
        transcript.hide(suite.secrets.clone());
        let listening = suite.shared.tap().map(|tap| tap.listen_for_names(&transcript)).into_iter().collect();
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&suite.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&(turn as u64).to_le_bytes());
        for (at, byte) in id.bytes().enumerate() {
            seed[16 + at % 16] = seed[16 + at % 16].wrapping_mul(31).wrapping_add(byte);
        }
        Self {
            instance: Arc::clone(&suite.shared),
            signer: suite.signer.clone(),
            suite,
            transcript,
            random: Arc::new(Mutex::new(StdRng::from_seed(seed))),
            own: Arc::default(),
            own_redis: Arc::default(),
            listening: Arc::new(Mutex::new(listening)),
        }
    }

    /// The case's transcript.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// The target.
    pub fn target(&self) -> &Target {
        &self.suite.target
    }

    /// The server that this bench speaks to.
    pub fn server(&self) -> &Instance {
        &self.instance
    }

    /// The server's URL without a path.
    pub fn base(&self) -> &str {
        &self.instance.base
    }

    /// Signs with the key that the server verifies with.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The memory that the server holds, in KiB.
    ///
    /// # Errors
    /// Where this machine does not tell.
    pub async fn resident_kib(&self) -> Outcome<u64> {
        self.server().resident_kib().await.ok_or_else(|| inconclusive("no VmRSS of the server"))
    }

    /// The server's database.
    ///
    /// # Errors
    /// Where the server has none of the suite's.
    pub fn database(&self) -> Outcome<&Database> {
        self.instance.database().ok_or_else(|| inconclusive("the server has no Redis of the suite's"))
    }

    /// A random text of letters and digits.
    pub fn random(&self, length: usize) -> String {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        (0..length).map(|_| char::from(random.sample(Alphanumeric))).collect()
    }

    /// A new user with a session at the target.
    ///
    /// # Errors
    /// Where the target refuses the session.
    pub async fn user(&self) -> Outcome<User> {
        self.user_named(&self.user_id()).await
    }

    fn user_id(&self) -> String {
        format!("user-{}-{}", self.suite.nonce, self.random(12))
    }

    /// A user with this id and a new session at the target.
    ///
    /// # Errors
    /// Where the target refuses the session.
    pub async fn user_named(&self, id: &str) -> Outcome<User> {
        let user = User { id: id.to_owned(), session: self.session_id() };
        self.listen_for(&user.id);
        self.open_session(&user, None).await?;
        Ok(user)
    }

    /// A session id that no one has used.
    pub fn session_id(&self) -> String {
        let id = format!("session-{}-{}", self.suite.nonce, self.random(16));
        self.listen_for(&id);
        id
    }

    /// An access token that is right in every respect.
    ///
    /// # Errors
    /// Where the target file's key does not sign.
    pub async fn token(&self, user: &User) -> Outcome<String> {
        let token = self.signer.access(&user.id, &user.session).await.map_err(|error| unsigned(&error))?;
        self.transcript.hide_token(&token);
        Ok(token)
    }

    /// A token with these very claims.
    ///
    /// # Errors
    /// Where the target file's key does not sign.
    pub async fn sign(&self, claims: &Value) -> Outcome<String> {
        let token = self.signer.claims(claims).await.map_err(|error| unsigned(&error))?;
        self.transcript.hide_token(&token);
        Ok(token)
    }

    /// A connection by rust_socketio: WebSocket, token in the CONNECT payload; accepted. For cases that are about a library: what is wrong
    /// with that one would be told of the server.
    ///
    /// # Errors
    /// Where the server does not accept it.
    pub async fn connect_by_library(&self, user: &User) -> Outcome<Client> {
        let token = format!("Bearer {}", self.token(user).await?);
        let mut client = self.attempt(Some(json!({"token": token}))).await?;
        client.expect_accepted().await?;
        Ok(client)
    }

    /// A connection over the suite's own wire, accepted.
    ///
    /// # Errors
    /// Where the server does not accept it.
    pub async fn connect_raw(&self, user: &User, transport: Transport) -> Outcome<Client> {
        let token = self.token(user).await?;
        let mut client = self.attempt_raw(self.opening(transport), Some(json!({"token": token}))).await?;
        client.expect_accepted().await?;
        Ok(client)
    }

    /// Sends a CONNECT by rust_socketio; the answer is yet to be expected.
    ///
    /// # Errors
    /// Where the transport cannot be opened.
    pub async fn attempt(&self, auth: Option<Value>) -> Outcome<Client> {
        self.attempt_over(self.opening(Transport::WebSocket), auth).await
    }

    /// Sends a CONNECT by rust_socketio over a given opening; the answer is yet to be expected.
    ///
    /// # Errors
    /// Where the transport cannot be opened.
    pub async fn attempt_over(&self, opening: Opening, auth: Option<Value>) -> Outcome<Client> {
        self.hide_tokens(&opening, auth.as_ref());
        Client::with_library(opening, auth, self.transcript.clone()).await
    }

    /// Sends a CONNECT over the suite's own wire; the answer is yet to be expected.
    ///
    /// # Errors
    /// Where the transport cannot be opened.
    pub async fn attempt_raw(&self, opening: Opening, auth: Option<Value>) -> Outcome<Client> {
        self.hide_tokens(&opening, auth.as_ref());
        Client::over_wire(self.open(opening).await?, auth).await
    }

    /// An Engine.IO connection on which nothing has been sent.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub async fn open(&self, opening: Opening) -> Outcome<Wire> {
        self.hide_tokens(&opening, None);
        Wire::open(opening, self.transcript.clone())
            .await
            .map_err(|error| mismatch("an Engine.IO session", error.to_string()))
    }

    /// The transports of the target, WebSocket first.
    pub fn transports(&self) -> impl Iterator<Item = Transport> + use<> {
        let polling = self.target().declares("polling").then_some(Transport::Polling);
        std::iter::once(Transport::WebSocket).chain(polling)
    }

    /// How to open a connection to this server.
    pub fn opening(&self, transport: Transport) -> Opening {
        Opening::new(&self.instance.base, transport)
    }

    /// A server of the case's own with some settings changed; it is stopped when the case has ended.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn own_server(&self, settings: &[(&str, &str)]) -> Outcome<Self> {
        let names = self.target().process.as_ref().map(|process| &process.settings);
        let mut set = BTreeMap::new();
        for (setting, value) in settings {
            let Some(variable) = names.and_then(|names| names.get(*setting)) else {
                return Err(inconclusive(format!("the target file maps no variable to the setting {setting}")));
            };
            set.insert(variable.clone(), (*value).to_owned());
        }
        self.own_server_with(&Changes { set, ..Changes::default() }, None).await
    }

    /// A server of the case's own with its environment changed, and with another signer if its key is another.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn own_server_with(&self, changes: &Changes, signer: Option<Signer>) -> Outcome<Self> {
        self.prepared_server(changes, signer).await?.booted().await
    }

    /// As [`Bench::own_server_with`], but not started.
    ///
    /// # Errors
    /// Where what it needs is not to be had.
    pub async fn prepared_server(&self, changes: &Changes, signer: Option<Signer>) -> Outcome<Self> {
        let redis = self.suite.redis.clone().filter(|_| self.target().declares("redis"));
        let instance = Instance::prepare(self.target(), self.process()?, redis, changes).await;
        Ok(Self { signer: signer.unwrap_or_else(|| self.signer.clone()), ..self.take_in(instance)? })
    }

    fn process(&self) -> Outcome<&ProcessTarget> {
        let none = || inconclusive("the target runs already: the suite cannot start a server of the case's own");
        self.target().process.as_ref().ok_or_else(none)
    }

    /// A server that was prepared is the case's own from here on.
    fn take_in(&self, instance: Result<Instance, InstanceError>) -> Outcome<Self> {
        let instance = Arc::new(instance.map_err(|error| self.failed("a server of the case's own", &error))?);
        let listening = instance.tap().map(|tap| tap.listen(&self.transcript));
        self.listening.lock().unwrap_or_else(PoisonError::into_inner).extend(listening);
        self.own.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&instance));
        Ok(Self { instance, ..self.clone() })
    }

    /// Restarts this server, which must be the case's own.
    ///
    /// # Errors
    /// Where it does not end or does not come back.
    pub async fn restart(&self) -> Outcome {
        self.transcript.note("the server is restarted");
        self.instance.restart().await.map_err(|error| {
            self.failed("a server that ends on SIGTERM, though clients are connected, and starts again", &error)
        })
    }

    /// Kills this server, which must be the case's own, and starts it again.
    ///
    /// # Errors
    /// Where it does not come back.
    pub async fn kill_and_restart(&self) -> Outcome {
        self.transcript.note("the server is killed and started again");
        self.instance.kill_and_restart().await.map_err(|error| self.failed("a server that comes back", &error))
    }

    /// Writes what the case's own servers have said to the transcript.
    pub fn quote_servers(&self) {
        for instance in self.own.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (when, line) in instance.said() {
                self.transcript.received_at(when, "proc", line.trim());
            }
        }
    }

    /// Stops the servers of the case's own, and then what they stood on.
    pub async fn finish(self) {
        let own = std::mem::take(&mut *self.own.lock().unwrap_or_else(PoisonError::into_inner));
        let own_redis = std::mem::take(&mut *self.own_redis.lock().unwrap_or_else(PoisonError::into_inner));
        drop(self);
        for instance in &own {
            instance.end().await;
        }
        for redis in own_redis {
            redis.stop().await;
        }
        for instance in own.into_iter().filter_map(Arc::into_inner) {
            instance.stop().await;
        }
    }

    /// The shared server's Redis traffic about this name belongs to the case. Names that another case may use do not count.
    fn listen_for(&self, name: &str) {
        if name.contains(&self.suite.nonce) {
            let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
            listening.iter().for_each(|listening| listening.mention(name));
        }
    }

    /// Whatever goes out in a token's place may come back, whole or in pieces.
    fn hide_tokens(&self, opening: &Opening, auth: Option<&Value>) {
        let sent = opening.headers.iter().chain(&opening.query).map(|(_, value)| value.as_str());
        let payload = auth.and_then(Value::as_object).into_iter().flat_map(|auth| auth.values());
        sent.chain(payload.filter_map(Value::as_str)).for_each(|text| self.transcript.hide_token(text));
    }

    fn failed(&self, expected: &str, error: &InstanceError) -> crate::expect::Fault {
        let text = self.transcript.redact(&chain(error));
        match error {
            InstanceError::Process(_) => mismatch(expected, text),
            _ => inconclusive(text),
        }
    }
}

fn unsigned(error: &SignError) -> crate::expect::Fault {
    inconclusive(error.to_string())
}

/// The fault of a token that could not be signed, for cases that sign by themselves.
///
/// # Errors
/// Always.
pub fn signing<T>(result: Result<T, SignError>) -> Outcome<T> {
    result.map_err(|error| unsigned(&error))
}
