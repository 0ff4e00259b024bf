//! SPEC 8: configuration and health, for targets with the reference's variables.

use std::time::Duration;

use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use super::kit::{
    control::problem,
    server::{gives_up, listens_at},
};
use crate::{
    bench::{Answer, Bench, signing},
    case::{Case, Need},
    client::Transport,
    expect::{self, Fault, Outcome, inconclusive, mismatch},
    instance::Changes,
    proxy::Proxy,
    token::{KEY_PAIRS, P384_PUBLIC, RSA_1024_PUBLIC, Signer},
};

/// How long health may take to follow the store.
const FOLLOWS: Duration = Duration::from_secs(10);

/// How long nobody may answer.
const ELSEWHERE: Duration = Duration::from_secs(2);

const OWN: &[Need] = &[Need::OwnServer];

pub(super) const CASES: &[Case] = &[
    case!("CONF-01/no-secret", "without a key the server does not start", no_secret).needs(OWN),
    case!("CONF-02/all-errors", "all errors are told at once, each with its variable", all_errors)
        .needs(OWN)
        .also(&["CONF-03"]),
    case!("CONF-03/no-value", "no error shows a secret", no_value).needs(OWN),
    case!("CONF-04/algorithms", "tokens are verified by each algorithm that may be configured", algorithms)
        .needs(OWN)
        .also(&["AUTH-06"]),
    case!("CONF-05/queue-max", "QUEUE_MAX_EVENTS sets the cap", queue_max).needs(&[Need::Setting("queue_max_events")]),
    case!("CONF-06/redis", "the configured Redis database is used, and the password", redis_db).needs(OWN),
    case!("CONF-10/weak-keys", "keys that are weak or of the wrong kind are refused", weak_keys).needs(OWN),
    case!("CONF-11/files", "secrets are read from files", secrets_in_files).needs(OWN),
    case!("CONF-11/wrong-files", "a secret's file that is no good is told by its variable", wrong_files).needs(OWN),
    case!("CONF-12/redis-url", "REDIS_URL chooses the database, and logs in as its user", redis_url).needs(OWN),
    case!("CONF-13/wrong-urls", "a REDIS_URL that cannot be followed is told by its name alone", wrong_urls).needs(OWN),
    case!("CONF-14/host", "HOST is the one address at which the server listens", host),
    case!("CONF-07/healthz", "/healthz answers while the process serves", health("/healthz")),
    case!("CONF-08/readyz", "/readyz answers 200 where the store answers", health("/readyz")),
    case!("CONF-09/store-away", "/readyz answers 503 while the store is away, and 200 after", away(Proxy::cut))
        .needs(OWN)
        .also(&["EMIT-09"]),
    case!("CONF-09/store-silent", "so it does while the store says nothing", away(Proxy::black_hole))
        .needs(OWN)
        .also(&["EMIT-09"]),
];

fn changes<const N: usize>(set: [(&str, &str); N], unset: &[&str]) -> Changes {
    Changes {
        set: set.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        unset: unset.iter().map(|name| (*name).to_owned()).collect(),
        ..Changes::default()
    }
}

async fn no_secret(t: Bench) -> Outcome {
    let output = gives_up(&t, &changes([], &["JWT_SECRET", "JWT_PUBLIC_KEY"])).await?;
    expect::that(output.contains("JWT_SECRET"), "an error that names JWT_SECRET", output)?;
    let output = gives_up(&t, &changes([("JWT_SECRET", "")], &[])).await?;
    expect::that(output.contains("JWT_SECRET"), "an error that names JWT_SECRET where it is empty", output)
}

async fn all_errors(t: Bench) -> Outcome {
    let (secret, credential) = (t.random(64), t.random(40));
    let wrong = changes(
        [
            ("PORT", "70000"),
            ("JWT_ALGORITHM", "none"),
            ("QUEUE_MAX_EVENTS", "many"),
            ("QUEUE_TTL_SECONDS", "-1"),
            ("CORS_ORIGIN", "not an origin"),
            ("PING_INTERVAL_SECONDS", "0"),
        ],
        &[],
    );
    let with_more_behind = changes(
        [
            ("PORT", "3000x"),
            ("QUEUE_MAX_EVENTS", "50 events"),
            ("QUEUE_TTL_SECONDS", "86400.5"),
            ("PING_TIMEOUT_SECONDS", "20s"),
        ],
        &["JWT_SECRET", "JWT_PUBLIC_KEY"],
    );
    for (mut broken, further) in [(wrong, &[][..]), (with_more_behind, &["JWT_SECRET"])] {
        if t.target().declares("redis") {
            broken.set.extend(["REDIS_PORT", "REDIS_DB"].map(|name| (name.to_owned(), "1st".to_owned())));
        }
        let names: Vec<_> = broken.set.keys().cloned().chain(further.iter().map(|name| (*name).to_owned())).collect();
        broken.set.insert("INGEST_TOKEN".to_owned(), credential.clone());
        if further.is_empty() {
            broken.set.insert("JWT_SECRET".to_owned(), secret.clone());
        }
        let output = gives_up(&t, &broken).await?;
        for name in names {
            expect::that(output.contains(&name), format!("an error that names {name}"), &*output)?;
        }
        let shown = [&secret, &credential].into_iter().find(|secret| output.contains(&**secret));
        expect::that(shown.is_none(), "errors without the values of secrets", "they show one")?;
    }
    Ok(())
}

async fn no_value(t: Bench) -> Outcome {
    let (secret, password) = ("hush-hush-not-a-pem-0123456789", "mellon-0123456789");
    let broken = changes(
        [
            ("JWT_ALGORITHM", "RS256"),
            ("JWT_PUBLIC_KEY", secret),
            ("REDIS_PASSWORD", password),
            ("REDIS_PORT", "x"),
            ("REDIS_HOST", "127.0.0.1"),
            ("STORE", "redis"),
        ],
        &["JWT_SECRET"],
    );
    let output = gives_up(&t, &broken).await?;
    expect::that(output.contains("JWT_PUBLIC_KEY"), "an error that names JWT_PUBLIC_KEY", &*output)?;
    let shown = [secret, password].into_iter().find(|secret| output.contains(secret));
    expect::that(shown.is_none(), "errors without the values of secrets", format!("{shown:?} stands in them"))
}

async fn algorithms(t: Bench) -> Outcome {
    let secret = format!("a-secret-of-this-run-{}", t.random(64));
    for algorithm in ["HS256", "HS384", "HS512"] {
        let change = changes([("JWT_ALGORITHM", algorithm), ("JWT_SECRET", &secret)], &[]);
        let server = verifies(&t, &change, signing(Signer::hmac(algorithm, &secret))?).await?;
        for other in ["HS256", "HS384", "HS512"].into_iter().filter(|other| *other != algorithm) {
            refuses(&server, &signing(Signer::hmac(other, &secret))?).await?;
        }
    }
    for (algorithm, private, public) in KEY_PAIRS {
        let change = changes([("JWT_ALGORITHM", algorithm), ("JWT_PUBLIC_KEY", public)], &["JWT_SECRET"]);
        verifies(&t, &change, signing(Signer::private_key(algorithm, private))?).await?;
    }
    Ok(())
}

async fn verifies(t: &Bench, change: &Changes, signer: Signer) -> Outcome<Bench> {
    let server = t.own_server_with(change, Some(signer)).await?;
    let alice = server.user().await?;
    server.connect_raw(&alice, Transport::WebSocket).await?.disconnect().await;
    refuses(&server, t.signer()).await?;
    Ok(server)
}

/// A token by this key, or by this algorithm, is none that the server takes.
async fn refuses(server: &Bench, signer: &Signer) -> Outcome {
    let alice = server.user().await?;
    let foreign = signing(signer.access(&alice.id, &alice.session).await)?;
    let mut device = server.attempt_raw(server.opening(Transport::WebSocket), Some(json!({"token": foreign}))).await?;
    device.expect_refused().await.map(drop)
}

async fn weak_keys(t: Bench) -> Outcome {
    for (algorithm, least) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let short = t.random(least - 1);
        refused(&t, &[("JWT_ALGORITHM", algorithm), ("JWT_SECRET", &short)], &[], "JWT_SECRET").await?;
    }
    let weak = [("RS256", RSA_1024_PUBLIC), ("ES256", P384_PUBLIC)];
    for (algorithm, key) in weak.into_iter().chain([(KEY_PAIRS[0].0, KEY_PAIRS[0].1)]) {
        let set = [("JWT_ALGORITHM", algorithm), ("JWT_PUBLIC_KEY", key)];
        refused(&t, &set, &["JWT_SECRET"], "JWT_PUBLIC_KEY").await?;
    }
    Ok(())
}

/// The server does not start, names the variable, and shows no value that may be secret.
async fn refused(t: &Bench, set: &[(&str, &str)], unset: &[&str], variable: &str) -> Outcome {
    let change = Changes {
        set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..changes([], unset)
    };
    let output = gives_up(t, &change).await?;
    expect::that(output.contains(variable), format!("an error that names {variable}"), &*output)?;
    let secrets = set.iter().filter(|(name, _)| *name == variable).flat_map(|(_, value)| value.lines());
    let shown = secrets.filter(|line| line.len() > 20 && !line.starts_with("-----")).find(|line| output.contains(line));
    expect::that(shown.is_none(), "an error without the value", &*output)
}

/// A folder with one file for each text.
fn files<const N: usize>(texts: [&str; N]) -> Outcome<(tempfile::TempDir, [String; N])> {
    let failed = |error: std::io::Error| inconclusive(format!("a file for a secret: {error}"));
    let folder = tempfile::tempdir().map_err(failed)?;
    let mut paths = std::array::from_fn(|_| String::new());
    for (at, text) in texts.iter().enumerate() {
        let path = folder.path().join(at.to_string());
        std::fs::write(&path, text).map_err(failed)?;
        paths[at] = path.display().to_string();
    }
    Ok((folder, paths))
}

async fn secrets_in_files(t: Bench) -> Outcome {
    let secret = format!("a-secret-of-this-run-{}", t.random(64));
    let credential = t.target().credential().and_then(Result::ok).unwrap_or_default();
    let [(algorithm, private, public), ..] = KEY_PAIRS;
    let (_folder, [secret_file, credential_file, key_file]) =
        files([&format!("{secret}\n"), &format!("{credential}\r\n"), public])?;
    let hmac = changes(
        [("JWT_ALGORITHM", "HS256"), ("JWT_SECRET_FILE", &secret_file), ("INGEST_TOKEN_FILE", &credential_file)],
        &["JWT_SECRET", "INGEST_TOKEN"],
    );
    verifies(&t, &hmac, signing(Signer::hmac("HS256", &secret))?).await?;
    let pair = changes([("JWT_ALGORITHM", algorithm), ("JWT_PUBLIC_KEY_FILE", &key_file)], &["JWT_SECRET"]);
    verifies(&t, &pair, signing(Signer::private_key(algorithm, private))?).await?;
    if !t.target().declares("redis") {
        return Ok(());
    }
    let lender = t.prepared_server(&changes([], &[]), None).await?;
    let Some(password) = lender.database()?.address.password.clone() else { return Ok(()) };
    let (_folder, [password_file]) = files([&format!("{password}\n")])?;
    let redis = changes([("REDIS_PASSWORD_FILE", &password_file)], &["REDIS_PASSWORD"]);
    t.own_server_with(&redis, None).await.map(drop)
}

async fn wrong_files(t: Bench) -> Outcome {
    let names = ["JWT_SECRET", "INGEST_TOKEN"];
    let (folder, [right, empty]) = files([&t.random(64), "\n"])?;
    let absent = folder.path().join("absent").display().to_string();
    for (path, unset) in [(&empty, &names[..]), (&absent, &names), (&right, &[])] {
        let change = changes([("JWT_SECRET_FILE", &**path), ("INGEST_TOKEN_FILE", path)], unset);
        let output = gives_up(&t, &change).await?;
        for file in change.set.keys() {
            expect::that(output.contains(file), format!("an error that names {file}"), &*output)?;
        }
    }
    Ok(())
}

const OTHERS: &[&str] = &["REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB"];

async fn redis_url(t: Bench) -> Outcome {
    let harness = |error: redis::RedisError| inconclusive(format!("looking into Redis: {error}"));
    // Its database is known only once it is there, and its URL has to be told before it starts.
    let lender = t.prepared_server(&changes([], &[]), None).await?;
    let database = lender.database()?;
    let mut redis = database.view().await.map_err(harness)?;
    // New in each case: what the seed decides would be the same for other runs on this Redis, one of which takes the user away.
    let (user, password) = (format!("user-{:016x}", rand::random::<u64>()), format!("p@ss:w/rd%{}", t.random(8)));
    let mut set_user = redis::cmd("ACL");
    set_user.arg("SETUSER").arg(&user).arg("on").arg(format!(">{password}")).arg("~*").arg("&*").arg("+@all");
    // Somebody's own Redis may not let the suite make users: then it is the suite's own that logs in.
    let made = redis.tell(&set_user).await.is_ok();
    let own = database.address.password.clone().unwrap_or_default();
    let (user, password) = if made { (user, password) } else { (String::new(), own) };
    let escaped = password.replace('%', "%25").replace('@', "%40").replace(':', "%3A").replace('/', "%2F");
    let url = format!("redis://{user}:{escaped}@{}/{}", database.address, database.index);
    let outcome = async {
        let server = t.own_server_with(&changes([("REDIS_URL", &url)], OTHERS), None).await?;
        let before = redis.keys().await.map_err(harness)?;
        let alice = server.user().await?;
        server.emit_numbered(&alice, 1, 1).await?;
        let after = redis.keys().await.map_err(harness)?;
        let is_new = after.keys().any(|name| !before.contains_key(name));
        expect::that(is_new, "new keys in the database of the URL", format!("{} keys", after.len()))
    };
    let outcome = outcome.await;
    if !made {
        return outcome;
    }
    redis.tell(redis::cmd("ACL").arg("DELUSER").arg(&user)).await.map_err(harness)?;
    outcome
}

async fn wrong_urls(t: Bench) -> Outcome {
    let secret = "mellon-0123456789-mellon";
    for url in [
        format!("redis+unix:///{secret}"),
        format!("redis://:{secret}@127.0.0.1:6379,,127.0.0.1:6380"),
        format!("redis://:{secret}/@127.0.0.1:6379"),
        format!("{secret}@127.0.0.1:6379"),
    ] {
        let change = changes([("REDIS_URL", &*url)], OTHERS);
        let output = gives_up(&t, &change).await?;
        expect::that(output.contains("REDIS_URL"), "an error that names REDIS_URL", &*output)?;
        expect::that(!output.contains(secret), "an error without the password", &*output)?;
    }
    Ok(())
}

async fn queue_max(t: Bench) -> Outcome {
    let t = t.own_server(&[("queue_max_events", "3")]).await?;
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 5).await?;
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    let numbers: Vec<_> = queued.iter().map(|payload| payload["metadata"]["n"].clone()).collect();
    expect::equal("the newest 3", &json!([3, 4, 5]), &json!(numbers))
}

async fn redis_db(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let database = t.database()?;
    expect::that(
        database.index > 0 || database.address.password.is_some(),
        "a database worth choosing",
        "the default one",
    )
    .map_err(|_| inconclusive("the run's Redis has one database and no password: nothing to tell apart"))?;
    let harness = |error: redis::RedisError| inconclusive(format!("looking into Redis: {error}"));
    let mut redis = database.view().await.map_err(harness)?;
    let before = redis.keys().await.map_err(harness)?;
    let alice = t.user().await?;
    t.emit_numbered(&alice, 1, 1).await?;
    let after = redis.keys().await.map_err(harness)?;
    let is_new = after.keys().any(|name| !before.contains_key(name));
    expect::that(is_new, "new keys in the configured database", format!("{} keys", after.len()))
}

/// All of 127.0.0.0/8 is this machine's; where it is not, nobody listens there either. A server that is told another address by its target
/// file may be somewhere from where that is not to be seen, as in a container.
async fn host(t: Bench) -> Outcome {
    let told = t.target().process.as_ref().and_then(|process| process.env.get("HOST")).map(String::as_str);
    if told != Some("127.0.0.1") {
        return Err(Fault::NotApplicable("the target file sets HOST to something else than 127.0.0.1".to_owned()));
    }
    let port = t.base().rsplit(':').next().unwrap_or_default().to_owned();
    let elsewhere = timeout(ELSEWHERE, TcpStream::connect(format!("127.0.0.2:{port}"))).await;
    expect::that(!matches!(elsewhere, Ok(Ok(_))), "nobody at 127.0.0.2, with HOST=127.0.0.1", "a connection")?;
    let pid = t.server().process_id().await.ok_or_else(|| inconclusive("a server without a process"))?;
    let told = format!("0100007F:{:04X}", port.parse::<u16>().unwrap_or_default());
    // Some listen by an IPv6 socket for addresses of both kinds.
    let more: Vec<_> = listens_at(pid).into_iter().filter(|at| !at.ends_with(&told)).collect();
    expect::that(more.is_empty(), format!("a process that listens at {told} alone"), format!("at {more:?}, too"))
}

async fn health(t: Bench, path: &str) -> Outcome {
    t.http("GET", path, &[], None::<String>).await?.expect_status(200)
}

async fn away(t: Bench, fail: fn(&Proxy)) -> Outcome {
    let t = t.own_server(&[]).await?;
    let proxy = t.redis_line()?;
    fail(proxy);
    let answer = becomes(&t, 503).await?;
    if t.target().declares("control") {
        problem(&answer, 503, None)?;
    }
    t.http("GET", "/healthz", &[], None::<String>).await?.expect_status(200)?;
    proxy.restore();
    becomes(&t, 200).await.map(drop)
}

async fn becomes(t: &Bench, status: u16) -> Outcome<Answer> {
    let deadline = tokio::time::Instant::now() + FOLLOWS;
    let mut poll = tokio::time::interval(Duration::from_millis(100));
    loop {
        poll.tick().await;
        let answer = t.http("GET", "/readyz", &[], None::<String>).await?;
        if answer.status == status {
            return Ok(answer);
        }
        if tokio::time::Instant::now() > deadline {
            return Err(mismatch(format!("/readyz with {status} within {FOLLOWS:?}"), answer.describe()));
        }
    }
}
