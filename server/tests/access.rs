//! How a Redis is reached that lets in nobody but who proves to be somebody: TLS, and a user who may do what this server does and no more.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use notify_server::{
    model::{Answers, Claim, EntryId, Outcome, Queue, Reinserted, SessionStore, StoreError},
    store::{
        Limits,
        redis::{RedisConfig, RedisStore, Tls},
    },
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use support::{
    PATIENCE, Scratch,
    client::Client,
    free_port,
    node::{Node, served_across},
    redis::{LocalRedis, at},
    server::{INGEST_TOKEN, JWT_SECRET, LIVE, QUEUED, numbered},
    shards::{PRIMARIES, Shards},
};
use tokio::{sync::mpsc, time::timeout};

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM text.
type Identity = (String, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, uuid::Uuid::new_v4().to_string());
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// For this name or address, up to the end of this year.
    fn issue(&self, name: &str, until: i32) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 12, 31);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A Redis that shows `shows`, and wants to see what `wants` has signed, if anything.
struct Secured {
    redis: LocalRedis,
    port: u16,
    scratch: Scratch,
}

/// What a Redis is told that shows `shows`, and wants to see what `wants` has signed, if anything.
fn secured(scratch: &Scratch, shows: &Identity, wants: Option<&Authority>) -> Vec<String> {
    let file = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (file("redis.crt", &shows.0), file("redis.key", &shows.1));
    let trusted = file("trusted.crt", wants.map_or(&shows.0, |authority| &authority.pem));
    let asks = if wants.is_some() { "yes" } else { "no" };
    let settings = [
        ("--tls-cert-file", certificate.as_str()),
        ("--tls-key-file", &key),
        ("--tls-ca-cert-file", &trusted),
        ("--tls-auth-clients", asks),
    ];
    settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_owned()]).collect()
}

impl Secured {
    async fn start(shows: &Identity, wants: Option<&Authority>) -> Self {
        let scratch = Scratch::new();
        let port = free_port();
        let settings = [vec!["--tls-port".to_owned(), port.to_string()], secured(&scratch, shows, wants)].concat();
        let redis = LocalRedis::start_with(&settings.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        redis.connection().await;
        Self { redis, port, scratch }
    }

    fn config(&self, tls: Tls) -> RedisConfig {
        RedisConfig { tls: Some(tls), ..at(self.port) }
    }

    /// The server itself, told by its settings how to reach this one; the first line of its log that has one of these words.
    async fn says(&self, port: u16, settings: &[(&str, &str)], words: &'static [&'static str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_notify-server"));
        command.env_clear().envs([("PORT", "0"), ("JWT_SECRET", JWT_SECRET), ("INGEST_TOKEN", INGEST_TOKEN)]);
        command.env("REDIS_URL", format!("rediss://127.0.0.1:{port}"));
        for (name, text) in settings {
            if name.ends_with("_FILE") {
                let path = self.scratch.path().join(name);
                std::fs::write(&path, text).unwrap();
                command.env(name, path);
            } else {
                command.env(name, text);
            }
        }
        let mut server = command.stderr(Stdio::piped()).spawn().unwrap();
        let (line, mut lines) = mpsc::unbounded_channel();
        let log = BufReader::new(server.stderr.take().unwrap());
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|text| drop(line.send(text))));
        let mut so_far = String::new();
        let found = timeout(PATIENCE, async {
            while let Some(text) = lines.recv().await {
                if words.iter().any(|word| text.contains(word)) {
                    return text;
                }
                so_far.push_str(&text);
                so_far.push('\n');
            }
            String::new()
        });
        let found = found.await.unwrap_or_default();
        server.kill().unwrap();
        server.wait().unwrap();
        assert!(!found.is_empty(), "none of {words:?} in\n{so_far}");
        found
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_nodes_work_together_and_both_sides_prove_who_they_are() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let secured = Secured::start(&authority.issue("redis.example.test", 2100), Some(&clients)).await;
    let (certificate, key) = clients.issue("notify", 2100);
    let tls = Tls::new(Some(&authority.pem), Some((&certificate, &key)), Some("redis.example.test")).unwrap();
    let config = secured.config(tls);
    let (a, b) = tokio::join!(Node::start(&config), Node::start(&config));
    let mut on_b = Client::connect(&b, "alice").await;
    assert_eq!(a.emit("alice", 1).await.delivery, LIVE);
    assert_eq!(on_b.live().await, 1);
    assert_eq!(a.emit("bob", 1).await.delivery, QUEUED);
    assert_eq!(Client::connect(&b, "bob").await.queued().await, [1]);
    // Connections are made anew by TLS as well.
    for kind in ["normal", "pubsub"] {
        secured.redis.ask::<u64>(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]).await;
    }
    let began = std::time::Instant::now();
    let mut n = 2;
    while a.service.emit(numbered("alice", n)).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "nothing is accepted");
        n += 1;
    }
    while on_b.live().await != n {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_reached_by_tls_as_well() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let scratch = Scratch::new();
    // The servers of a cluster show each other what they show to everybody.
    let settings = secured(&scratch, &authority.issue("127.0.0.1", 2100), Some(&authority));
    let shards = Shards::start_over_tls(&settings).await;
    let (certificate, key) = authority.issue("notify", 2100);
    let tls = Tls::new(Some(&authority.pem), Some((&certificate, &key)), None).unwrap();
    let config = RedisConfig { tls: Some(tls), ..shards.config() };
    let (a, b) = tokio::join!(Node::start(&config), Node::start(&config));
    for n in 0..20 {
        served_across(&a, &b, &format!("user-{n}")).await;
    }
    let stranger = Tls::new(Some(&stranger.pem), Some((&certificate, &key)), None).unwrap();
    let node = Node::begin(&RedisConfig { tls: Some(stranger), ..shards.config() }, |_| {}).await;
    assert!(node.service.emit(numbered("alice", 1)).await.is_err() && !node.is_ready().await);
}

/// What is told of a connection.
const TOLD: &[&str] = &["joined", "redis over TLS", "the configuration is wrong", "REDIS_"];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_certificate_is_told_with_its_setting() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let secured = Secured::start(&authority.issue("127.0.0.1", 2100), None).await;
    let says = async |settings: &[(&str, &str)]| secured.says(secured.port, settings, TOLD).await;
    let right = says(&[("REDIS_TLS_CA_FILE", &authority.pem)]).await;
    assert!(right.contains("joined"), "{right}");
    let right = says(&[("REDIS_TLS_CA", &authority.pem)]).await;
    assert!(right.contains("joined"), "{right}");
    let wrong = says(&[("REDIS_TLS_CA_FILE", &stranger.pem)]).await;
    assert!(wrong.contains("signed by nobody who is trusted: REDIS_TLS_CA"), "{wrong}");
    let name = [("REDIS_TLS_CA_FILE", authority.pem.as_str()), ("REDIS_TLS_SERVER_NAME", "other.example.test")];
    let wrong = says(&name).await;
    assert!(wrong.contains("REDIS_TLS_SERVER_NAME"), "{wrong}");
    let plain = secured.says(secured.redis.port(), &[("REDIS_TLS_CA_FILE", &authority.pem)], TOLD).await;
    assert!(plain.contains("where it speaks no TLS"), "{plain}");
    let expired = Secured::start(&authority.issue("127.0.0.1", 2020), None).await;
    let wrong = expired.says(expired.port, &[("REDIS_TLS_CA_FILE", &authority.pem)], TOLD).await;
    assert!(wrong.contains("the certificate that redis shows has expired"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_this_server_that_is_missing_or_wrong_is_told_with_its_setting() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let secured = Secured::start(&authority.issue("127.0.0.1", 2100), Some(&clients)).await;
    let says = async |identity: Option<&Identity>| {
        let mut settings = vec![("REDIS_TLS_CA_FILE", authority.pem.as_str())];
        if let Some((certificate, key)) = identity {
            settings.extend([("REDIS_TLS_CERT_FILE", certificate.as_str()), ("REDIS_TLS_KEY_FILE", key.as_str())]);
        }
        secured.says(secured.port, &settings, TOLD).await
    };
    let right = says(Some(&clients.issue("notify", 2100))).await;
    assert!(right.contains("joined"), "{right}");
    let missing = says(None).await;
    assert!(missing.contains("REDIS_TLS_CERT and REDIS_TLS_KEY"), "{missing}");
    for wrong in [Authority::new().issue("notify", 2100), clients.issue("notify", 2020)] {
        let wrong = says(Some(&wrong)).await;
        assert!(wrong.contains("REDIS_TLS_CERT"), "{wrong}");
    }
}

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap()
}

/// The command in README that makes a user for this server.
fn command_of_the_readme() -> Vec<String> {
    let readme = readme();
    let line = readme.lines().find(|line| line.starts_with("ACL SETUSER notify ")).expect("README names the command");
    line.split_whitespace().map(|word| word.replace("PASSWORD", "word")).collect()
}

async fn make(user: &[String], redis: &LocalRedis) {
    redis.ask::<()>(&user.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

fn as_user(config: RedisConfig) -> RedisConfig {
    RedisConfig { username: Some("notify".into()), password: Some("word".to_owned().into()), ..config }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_readme_may_do_all_that_this_server_does_and_no_more() {
    let redis = LocalRedis::start().unwrap();
    redis.connection().await;
    make(&command_of_the_readme(), &redis).await;
    let (a, b) = does_all(&RedisConfig { db: 3, ..as_user(redis.config()) }).await;
    let (mut on_a, mut on_b) = (Client::connect(&a, "bob").await, Client::connect(&b, "bob").await);
    redis.ask::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    a.emit("bob", 4).await;
    assert_eq!((on_a.live().await, on_b.live().await), (4, 4));
    on_b.leave().await;
    b.stop().await;
    may_do_no_more(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_readme_may_do_all_on_a_cluster_as_well() {
    let shards = Shards::start().await;
    let readme = readme();
    let (_, rest) = readme.split_once("On a Redis Cluster it needs `").expect("README says what is needed");
    let (more, _) = rest.split_once('`').expect("it ends somewhere");
    let command = [command_of_the_readme(), more.split(' ').map(str::to_owned).collect()].concat();
    for server in &shards.servers {
        make(&command, server).await;
    }
    let (a, b) = does_all(&as_user(shards.config())).await;
    let mut on_b = Client::connect(&b, "bob").await;
    // A channel is left, and listened to again, when its slot moves.
    let (primary, key) = shards.find("notify:{*}:u:bob:present").await.expect("bob is there");
    shards.migrate(&key, primary, (primary + 1) % PRIMARIES).await;
    a.service.emit(numbered("bob", 4)).await.unwrap();
    assert_eq!(on_b.live().await, 4);
    on_b.leave().await;
    b.stop().await;
    for server in &shards.servers {
        may_do_no_more(server).await;
    }
}

/// Whatever a server does, by a store and by two nodes.
async fn does_all(config: &RedisConfig) -> (Node, Node) {
    let store = RedisStore::new(config, Limits { max_events: 2, ttl: Duration::from_secs(60) });
    let began = std::time::Instant::now();
    // It connects first, which on a busy machine may take longer than an answer may.
    while let Err(error) = store.probe().await {
        assert!(began.elapsed() < PATIENCE, "{error}");
    }
    let ids = loop {
        match store.append("alice", &["1", "2", "3"]).await {
            // So may the connection that writes, which begins with this. The cap evens out what was appended all the same.
            Err(StoreError::TimedOut(_)) if began.elapsed() < PATIENCE => {}
            appended => break appended.unwrap(),
        }
    };
    let drain = uuid::Uuid::new_v4();
    assert_eq!(store.drain("alice", drain).await.unwrap().unwrap().len(), 2);
    store.renew_drain("alice", drain).await;
    store.release("alice", drain).await;
    // One goes back before what is newer, so that the stream is written anew.
    store.reinsert("alice", &[Reinserted { payload: "0", after: EntryId(0, 0), number: 1 }]).await.unwrap();
    assert_eq!(store.read("alice").await.unwrap().len(), 3);
    store.remove("alice", &ids, Some(drain)).await.unwrap();
    let kept = store.keep("alice", &["4"]).await.unwrap();
    store.backlog("alice", EntryId(0, 0), true).await.unwrap();
    store.confirm("alice", &kept, 0).await.unwrap();
    store
        .put_session("s", &notify_server::model::Session { user_id: "alice".into(), expires_at_ms: None })
        .await
        .unwrap();
    assert!(store.session("s").await.unwrap().is_some() && store.revoke_session("s").await.unwrap());
    let by = uuid::Uuid::new_v4();
    assert_eq!(Answers::claim(&store, "k", by, "body").await.unwrap(), Claim::Ours(None));
    store.renew("k", by).await.unwrap();
    store.settle("k", by, "body", &Outcome::Done("202".into())).await.unwrap();
    assert_eq!(Answers::claim(&store, "k", by, "body").await.unwrap(), Claim::Answered("202".into()));
    let began = std::time::Instant::now();
    while let Err(error) = store.probe().await {
        assert!(began.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let (a, b) = tokio::join!(Node::start(config), Node::start(config));
    let (mut on_a, mut on_b) = (Client::connect(&a, "bob").await, Client::connect(&b, "bob").await);
    for n in 1..=3 {
        assert_eq!(a.emit("bob", n).await.delivery, LIVE);
        assert_eq!((on_a.live().await, on_b.live().await), (n, n));
    }
    (a, b)
}

async fn may_do_no_more(redis: &LocalRedis) {
    let denied: Vec<redis::Value> = redis.ask(&["ACL", "LOG"]).await;
    assert!(denied.is_empty(), "{denied:?}");
    let mut other = redis.connection().await;
    let login: redis::RedisResult<()> = redis::cmd("AUTH").arg("notify").arg("word").query_async(&mut other).await;
    login.unwrap();
    for forbidden in [&["FLUSHALL"][..], &["KEYS", "*"], &["CONFIG", "GET", "*"], &["GET", "other"], &["SHUTDOWN"]] {
        let answer: redis::RedisResult<()> =
            redis::cmd(forbidden[0]).arg(&forbidden[1..]).query_async(&mut other).await;
        assert_eq!(answer.unwrap_err().code(), Some("NOPERM"), "{forbidden:?}");
    }
}
