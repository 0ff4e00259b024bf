//! Keys and credentials that change while the server runs, and a control surface apart (SPEC.md, OPS-01 to OPS-07).

mod support;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::{Method, StatusCode},
    routing::get,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use notify_server::{
    Config,
    auth::{JwtVerifier, keys::Keys},
    ops::rotation::Rotation,
};
use serde_json::{Value, json};
use support::{
    PATIENCE, Scratch,
    client::Client,
    fixture_text, http,
    server::{Server, from_now},
};
use tokio::net::TcpListener;

/// A key pair of the fixtures.
struct Pair {
    algorithm: Algorithm,
    private: EncodingKey,
    id: &'static str,
}

fn pair(name: &str, id: &'static str) -> Pair {
    let pem = fixture_text(&format!("keys/{name}-private.pem"));
    let (algorithm, private) = match name.rsplit('-').next() {
        Some("rsa") => (Algorithm::RS256, EncodingKey::from_rsa_pem(pem.as_bytes())),
        Some("ec") => (Algorithm::ES256, EncodingKey::from_ec_pem(pem.as_bytes())),
        _ => (Algorithm::EdDSA, EncodingKey::from_ed_pem(pem.as_bytes())),
    };
    Pair { algorithm, private: private.expect("a private key"), id }
}

fn public(name: &str) -> String {
    fixture_text(&format!("keys/{name}-public.pem"))
}

impl Pair {
    fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.private, self.algorithm).expect("a key pair");
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).expect("a key is JSON")
    }

    fn token_with(&self, id: Option<&str>, more: &Value) -> String {
        let mut claims = json!({"userId": "alice", "sessionId": "s", "exp": from_now(900)});
        for (name, value) in more.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let header = Header { kid: id.map(str::to_owned), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &claims, &self.private).expect("claims can be signed")
    }

    fn token(&self) -> String {
        self.token_with(Some(self.id), &json!({}))
    }
}

fn set(keys: &[&Pair]) -> String {
    json!({"keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>()}).to_string()
}

/// A server that follows what these settings name.
async fn start(settings: &[(&str, &str)]) -> Arc<Server> {
    let settings = [&[("INGEST_TOKEN", "a-credential-for-tests-only")][..], settings].concat();
    let settings: HashMap<String, String> = settings.iter().map(|(name, it)| ((*name).into(), (*it).into())).collect();
    let config = Config::from_source(&settings).unwrap_or_else(|errors| panic!("{errors}"));
    let keys = Arc::new(Keys::new(config.tokens.keys.clone(), config.tokens.grace));
    let credentials = Arc::new(config.ingest_tokens.clone().into());
    let mut rotation = Rotation::new(Arc::new(settings), &config, keys.clone(), Arc::clone(&credentials));
    rotation.begin().await;
    tokio::spawn(rotation.follow());
    let verifier = JwtVerifier::new(keys, config.tokens.parties);
    let server = Server::with(move |with| {
        with.tokens = Arc::new(verifier);
        with.credentials = credentials;
    });
    let server = Arc::new(server.await);
    server.put_session("s", "alice", None).await;
    server
}

async fn is_in(server: &Server, token: &str) {
    Client::open(server).await.join(token).await;
}

async fn is_refused(server: &Server, token: &str) -> String {
    Client::open(server).await.refused(&json!({"token": token})).await
}

async fn until_refused(server: &Server, token: &str) {
    let began = Instant::now();
    loop {
        let mut client = Client::open(server).await;
        client.send(&format!("40/notifications,{}", json!({"token": token}))).await;
        if client.message().await.expect("an answer").starts_with("44") {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "a key that has gone is honoured for ever");
        // A key that goes is told to nobody.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Clients that come one after the other with the token that is current, until the test has seen enough.
struct Stream {
    current: Arc<Mutex<String>>,
    accepted: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Stream {
    fn of(server: &Arc<Server>, token: String) -> Self {
        let (current, accepted, stop) = (Arc::new(Mutex::new(token)), Arc::default(), Arc::<AtomicBool>::default());
        let task = tokio::spawn({
            let (server, current, accepted, stop) =
                (server.clone(), current.clone(), Arc::clone(&accepted), stop.clone());
            async move {
                while !stop.load(Ordering::SeqCst) {
                    let token = current.lock().expect("nobody panics with it").clone();
                    is_in(&server, &token).await;
                    AtomicUsize::fetch_add(&accepted, 1, Ordering::SeqCst);
                }
            }
        });
        Self { current, accepted, stop, task }
    }

    fn goes_on_with(&self, token: String) {
        *self.current.lock().expect("nobody panics with it") = token;
    }

    /// Waits until so many more were let in.
    async fn lets_in(&self, more: usize) {
        let (began, goal) = (Instant::now(), self.accepted.load(Ordering::SeqCst) + more);
        while self.accepted.load(Ordering::SeqCst) < goal {
            assert!(!self.task.is_finished(), "a client with a right token was refused");
            assert!(began.elapsed() < PATIENCE, "nobody is let in any more");
            // The clients count, and tell nobody.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ends(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("no client with a right token was refused");
    }
}

/// A place for a key set.
struct Issuer {
    url: String,
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start(text: String) -> Self {
        let (answer, asked) = (Arc::new(Mutex::new((StatusCode::OK, text))), Arc::<AtomicUsize>::default());
        let (says, counts) = (answer.clone(), asked.clone());
        let keys = get(move || async move {
            counts.fetch_add(1, Ordering::SeqCst);
            says.lock().expect("nobody panics with it").clone()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("some port is free");
        let url = format!("http://{}/keys?of=us", listener.local_addr().expect("it is bound"));
        tokio::spawn(async { axum::serve(listener, Router::new().route("/keys", keys)).await });
        Self { url, answer, asked }
    }

    fn says(&self, status: StatusCode, text: String) {
        *self.answer.lock().expect("nobody panics with it") = (status, text);
    }
}

fn file(folder: &Scratch, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("the folder is ours");
    path
}

#[tokio::test]
async fn a_token_is_verified_with_the_key_of_a_set_that_it_names() {
    let (rsa, ec, ed) = (pair("rsa", "a"), pair("ec", "b"), pair("ed25519", "c"));
    let folder = Scratch::new();
    let path = file(&folder, "keys.json", &set(&[&rsa, &ec, &ed]));
    let server = start(&[("JWT_JWKS_FILE", path.to_str().unwrap())]).await;
    for key in [&rsa, &ec, &ed] {
        is_in(&server, &key.token()).await;
        is_in(&server, &key.token_with(None, &json!({}))).await;
    }
    let stranger = pair("other-rsa", "a");
    for token in [stranger.token(), rsa.token_with(Some("b"), &json!({})), rsa.token_with(Some("A"), &json!({}))] {
        assert_eq!(is_refused(&server, &token).await, "token_invalid");
    }
    // Only keys for that algorithm, where one is set.
    let server = start(&[("JWT_JWKS_FILE", path.to_str().unwrap()), ("JWT_ALGORITHM", "ES256")]).await;
    is_in(&server, &ec.token()).await;
    assert_eq!(is_refused(&server, &rsa.token()).await, "token_invalid");
}

#[tokio::test]
async fn a_key_set_in_a_file_changes_and_nobody_is_refused() {
    let (old, new) = (pair("rsa", "old"), pair("other-rsa", "new"));
    let folder = Scratch::new();
    let path = file(&folder, "keys.json", &set(&[&old]));
    let server = start(&[("JWT_JWKS_FILE", path.to_str().unwrap()), ("JWT_KEY_GRACE_SECONDS", "1")]).await;
    let clients = Stream::of(&server, old.token());
    clients.lets_in(3).await;
    // The issuer uses it at once, and the old one is gone at once, too.
    file(&folder, "keys.json", &set(&[&new]));
    clients.goes_on_with(new.token());
    clients.lets_in(3).await;
    until_refused(&server, &old.token()).await;
    // What cannot be read changes nothing.
    for wrong in ["", "{", &set(&[])] {
        file(&folder, "keys.json", wrong);
        assert_ne!(is_refused(&server, &old.token()).await, "token_missing");
        is_in(&server, &new.token()).await;
    }
    clients.ends().await;
}

#[tokio::test]
async fn a_key_that_has_gone_is_honoured_for_a_while() {
    let (old, new) = (pair("rsa", "old"), pair("other-rsa", "new"));
    let issuer = Issuer::start(set(&[&old])).await;
    let server = start(&[("JWT_JWKS_URL", &issuer.url), ("JWT_KEY_GRACE_SECONDS", "60")]).await;
    is_in(&server, &old.token()).await;
    issuer.says(StatusCode::OK, set(&[&new]));
    is_in(&server, &new.token()).await;
    is_in(&server, &old.token()).await;
}

#[tokio::test]
async fn a_secret_and_a_public_key_in_files_change_and_nobody_is_refused() {
    let folder = Scratch::new();
    let path = file(&folder, "key.pem", &public("rsa"));
    let server = start(&[("JWT_PUBLIC_KEY_FILE", path.to_str().unwrap()), ("JWT_KEY_GRACE_SECONDS", "1")]).await;
    let (old, new) = (pair("rsa", "any"), pair("other-rsa", "other"));
    let clients = Stream::of(&server, old.token());
    clients.lets_in(3).await;
    file(&folder, "key.pem", &format!("{}\n{}", public("rsa"), public("other-rsa")));
    clients.goes_on_with(new.token());
    clients.lets_in(3).await;
    is_in(&server, &old.token()).await;
    file(&folder, "key.pem", &public("other-rsa"));
    until_refused(&server, &old.token()).await;
    clients.ends().await;

    let token = |secret: &str| {
        let claims = json!({"userId": "alice", "sessionId": "s", "exp": from_now(900)});
        jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let (old, new) = ("o".repeat(40), "n".repeat(40));
    let path = file(&folder, "secret", &old);
    let server = start(&[("JWT_SECRET_FILE", path.to_str().unwrap())]).await;
    is_in(&server, &token(&old)).await;
    file(&folder, "secret", &format!("{new}\n"));
    is_in(&server, &token(&new)).await;
    is_in(&server, &token(&old)).await;
}

#[tokio::test]
async fn an_outage_of_the_url_is_survived_and_a_start_without_it_is_not_ready() {
    let (old, new) = (pair("ec", "old"), pair("other-ec", "new"));
    let issuer = Issuer::start(set(&[&old])).await;
    let settings = [("JWT_JWKS_URL", issuer.url.as_str()), ("JWT_JWKS_REFRESH_SECONDS", "1")];
    let server = start(&settings).await;
    is_in(&server, &old.token()).await;
    for (status, text) in [
        (StatusCode::BAD_GATEWAY, set(&[&new])),
        (StatusCode::OK, "<html>".to_owned()),
        (StatusCode::OK, set(&[])),
        (StatusCode::OK, "x".repeat(300_000)),
    ] {
        issuer.says(status, text);
        let before = issuer.asked.load(Ordering::SeqCst);
        assert_eq!(is_refused(&server, &new.token()).await, "unavailable", "nobody can say");
        assert!(issuer.asked.load(Ordering::SeqCst) > before);
        is_in(&server, &old.token()).await;
        assert_eq!(http::get(&server, "/readyz").await.status, 200);
    }
    let late = start(&settings).await;
    assert_eq!(http::get(&late, "/readyz").await.problem(503)["detail"], "no key is known to verify tokens with");
    assert_eq!(is_refused(&late, &old.token()).await, "unavailable");
    issuer.says(StatusCode::OK, set(&[&new]));
    for server in [server, late] {
        is_in(&server, &new.token()).await;
        assert_eq!(http::get(&server, "/readyz").await.status, 200);
    }
}

#[tokio::test]
async fn tokens_that_nobody_knows_do_not_make_a_flood_of_questions() {
    let (ours, stranger) = (pair("ec", "ours"), pair("other-ec", "stranger"));
    let issuer = Issuer::start(set(&[&ours])).await;
    let server = start(&[("JWT_JWKS_URL", &issuer.url)]).await;
    let began = Instant::now();
    let strangers = (0..30).map(|_| {
        let (server, token) = (server.clone(), stranger.token());
        tokio::spawn(async move { assert_eq!(is_refused(&server, &token).await, "token_invalid") })
    });
    for stranger in strangers.collect::<Vec<_>>() {
        stranger.await.unwrap();
    }
    let asked = issuer.asked.load(Ordering::SeqCst);
    assert!(asked <= 2 + usize::try_from(began.elapsed().as_secs()).unwrap(), "{asked}");
}

#[tokio::test]
async fn issuer_and_audience_are_asked_for_where_they_are_set() {
    let key = pair("ed25519", "k");
    let settings = [
        ("JWT_PUBLIC_KEY", &*public("ed25519")),
        ("JWT_ALGORITHM", "EdDSA"),
        ("JWT_ISSUER", "https://id.example.test, https://id2.example.test"),
        ("JWT_AUDIENCE", "notifications,records"),
    ];
    let server = start(&settings).await;
    let right = json!({"iss": "https://id.example.test", "aud": "notifications"});
    for (name, value) in [
        ("aud", json!("records")),
        ("aud", json!(["other", "records"])),
        ("iss", json!("https://id2.example.test")),
        ("x", json!(1)),
    ] {
        let mut claims = right.clone();
        claims[name] = value;
        is_in(&server, &key.token_with(None, &claims)).await;
    }
    for (name, value) in [
        ("iss", Value::Null),
        ("iss", json!("https://id.example.test/")),
        ("iss", json!(["https://id.example.test"])),
        ("aud", Value::Null),
        ("aud", json!("Notifications")),
        ("aud", json!([])),
        ("aud", json!(["notifications2", 7])),
        ("aud", json!({"notifications": 1})),
    ] {
        let mut claims = right.clone();
        claims[name] = value;
        let code = is_refused(&server, &key.token_with(None, &claims)).await;
        assert_eq!(code, "token_invalid", "{claims}");
    }
    let mut expired = right;
    expired["exp"] = from_now(-60).into();
    assert_eq!(is_refused(&server, &key.token_with(None, &expired)).await, "token_expired");
}

#[tokio::test]
async fn two_service_credentials_are_accepted_while_one_takes_the_place_of_the_other() {
    let folder = Scratch::new();
    let path = file(&folder, "credential", "the-old-one\n");
    let secret = "s".repeat(32);
    let settings =
        [("JWT_SECRET", secret.as_str()), ("INGEST_TOKEN", ""), ("INGEST_TOKEN_FILE", path.to_str().unwrap())];
    let server = start(&settings).await;
    let status = async |credential: &str| {
        let mut request = http::request(Method::DELETE, "/sessions/none", axum::body::Body::empty());
        let value = format!("Bearer {credential}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        http::send(&server, request).await.status.as_u16()
    };
    assert_eq!((status("the-old-one").await, status("the-new-one").await), (404, 401));
    file(&folder, "credential", "the-new-one\r\nthe-old-one\r\n");
    until(async || status("the-new-one").await == 404).await;
    assert_eq!(status("the-old-one").await, 404);
    file(&folder, "credential", "the-new-one");
    until(async || status("the-old-one").await == 401).await;
    assert_eq!(status("the-new-one").await, 404);
    assert_eq!(status("").await, 401);
}

async fn until(holds: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "the change is not followed");
        // Nobody is told of it.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn who_sends_a_sighup_need_not_wait() {
    let (old, new) = (pair("ec", "old"), pair("other-ec", "new"));
    let issuer = Issuer::start(set(&[&old])).await;
    let server = start(&[("JWT_JWKS_URL", &issuer.url)]).await;
    issuer.says(StatusCode::OK, set(&[&old, &new]));
    // The look of the start may still be going on.
    let before = issuer.asked.load(Ordering::SeqCst);
    let kill = std::process::Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status();
    assert!(kill.expect("kill is there").success());
    until(async || issuer.asked.load(Ordering::SeqCst) > before).await;
    is_in(&server, &new.token()).await;
    is_in(&server, &old.token()).await;
}
