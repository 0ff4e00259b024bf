//! SPEC 20: whose tokens are taken, keys and credentials that change, what is at a port of its own, and what is told of requests.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    bench::{Bench, Issuer, signing},
    case::{Case, Need},
    client::{Arrival, Transport},
    expect::{self, Outcome, inconclusive, mismatch},
    instance::Changes,
    ports::free_port,
    token::{KEY_PAIRS, OTHER_RSA_PAIR, Signer, jwk, now},
};

/// How long a key that has gone may be honoured beyond its time: until the change is seen, and some room.
const FOLLOWS: Duration = Duration::from_secs(15);

/// How long an answer may take, where a key is looked for.
const ANSWERS: Duration = Duration::from_secs(8);

const OWN: &[Need] = &[Need::OwnServer];

pub(super) const CASES: &[Case] = &[
    case!("OPS-01/parties", "tokens of other issuers and for others are refused", parties).needs(OWN),
    case!("OPS-02/key-set", "a token is verified with the key of the set that it names", key_set).needs(OWN),
    case!("OPS-03/several", "a token that any of several public keys verifies is accepted", several).needs(OWN),
    case!("OPS-04/file", "a key set in a file changes, and no right token is refused", changing_file).needs(OWN),
    case!("OPS-04/url", "a key set at a URL changes, and no right token is refused", changing_url).needs(OWN),
    case!("OPS-05/outage", "while the URL fails, the keys that are known count", outage).needs(OWN),
    case!("OPS-06/two", "two service credentials count at once, and follow their file", credentials).needs(OWN),
    case!("OPS-07/apart", "the control surface is at its own port alone", apart).needs(OWN),
    case!("OPS-08/metrics", "metrics grow with what happens, name nobody, and are at their own port alone", metrics)
        .needs(OWN),
    case!("OPS-09/request-id", "a request's id and its trace are given back", request_id),
];

const SECRETS: [&str; 2] = ["JWT_SECRET", "JWT_ALGORITHM"];

fn changes(set: &[(&str, &str)], unset: &[&str]) -> Changes {
    Changes {
        set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        unset: unset.iter().map(|name| (*name).to_owned()).collect(),
        ..Changes::default()
    }
}

/// A key pair of the fixtures, by its place there, with a name.
struct Pair {
    signer: Signer,
    public: Value,
}

impl Pair {
    fn new(at: usize, id: &str) -> Outcome<Self> {
        let (algorithm, private, _) = KEY_PAIRS[at];
        let signer = signing(Signer::private_key(algorithm, private))?.named(id);
        Ok(Self { signer, public: signing(jwk(algorithm, private, id))? })
    }
}

fn set(keys: &[&Pair]) -> String {
    json!({"keys": keys.iter().map(|key| &key.public).collect::<Vec<_>>()}).to_string()
}

fn failed(error: std::io::Error) -> expect::Fault {
    inconclusive(format!("keys for the server: {error}"))
}

/// A user is let in with a token by this key, or refused.
async fn comes(t: &Bench, signer: &Signer, more: &Value) -> Outcome<Result<(), Value>> {
    let user = t.user().await?;
    let mut claims = json!({"userId": user.id, "sessionId": user.session, "iat": now(), "exp": now() + 900});
    for (name, value) in more.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    let token = signing(signer.claims(&claims).await)?;
    let mut device = t.attempt_raw(t.opening(Transport::WebSocket), Some(json!({"token": token}))).await?;
    match device.next(ANSWERS).await {
        Some(Arrival::Accepted) => {
            device.disconnect().await;
            Ok(Ok(()))
        }
        Some(Arrival::Refused(refusal)) => Ok(Err(refusal.data)),
        other => Err(mismatch("an answer to the CONNECT", format!("{other:?}"))),
    }
}

async fn is_in(t: &Bench, signer: &Signer, what: &str) -> Outcome {
    let answer = comes(t, signer, &json!({})).await?;
    expect::that(answer.is_ok(), format!("a client with {what} to be let in"), format!("{answer:?}"))
}

async fn is_refused(t: &Bench, signer: &Signer, what: &str) -> Outcome {
    let answer = comes(t, signer, &json!({})).await?;
    expect::that(answer.is_err(), format!("a client with {what} to be refused"), "it is let in")
}

async fn parties(t: Bench) -> Outcome {
    let set = [("JWT_ISSUER", "https://id.example.test,https://id2.example.test"), ("JWT_AUDIENCE", "notifications")];
    let t = t.own_server_with(&changes(&set, &[]), None).await?;
    let right = json!({"iss": "https://id2.example.test", "aud": ["records", "notifications"]});
    for (name, value, taken) in [
        ("aud", json!("notifications"), true),
        ("iss", json!("https://id.example.test"), true),
        ("iss", Value::Null, false),
        ("iss", json!("https://id.example.test/"), false),
        ("aud", Value::Null, false),
        ("aud", json!(["records"]), false),
        ("aud", json!("notifications,records"), false),
    ] {
        let mut claims = right.clone();
        claims[name] = value;
        let answer = comes(&t, t.signer(), &claims).await?;
        let wanted = if taken { "is accepted" } else { "is refused" };
        expect::that(answer.is_ok() == taken, format!("a token with {claims} {wanted}"), format!("{answer:?}"))?;
    }
    Ok(())
}

async fn key_set(t: Bench) -> Outcome {
    let (one, two, third) = (Pair::new(0, "one")?, Pair::new(1, "two")?, Pair::new(2, "third")?);
    let folder = tempfile::tempdir().map_err(failed)?;
    let path = folder.path().join("keys.json");
    let encryption = json!({"kty": "RSA", "use": "enc", "kid": "one", "n": "AQAB", "e": "AQAB"});
    let keys = json!({"keys": [encryption, one.public, {"kty": "unheard-of"}, two.public]});
    std::fs::write(&path, keys.to_string()).map_err(failed)?;
    let t = t.own_server_with(&changes(&[("JWT_JWKS_FILE", &path.display().to_string())], &SECRETS), None).await?;
    is_in(&t, &one.signer, "a token by a key of the set").await?;
    is_in(&t, &two.signer, "a token by another key of the set").await?;
    is_refused(&t, &third.signer, "a token by a key that is not in the set").await?;
    is_refused(&t, &one.signer.clone().named("two"), "a token that names another key than its own").await?;
    is_refused(&t, &one.signer.clone().named("nobody"), "a token that names a key that is not there").await
}

async fn several(t: Bench) -> Outcome {
    let [(algorithm, private, public), ..] = KEY_PAIRS;
    let (_, other_private, other_public) = OTHER_RSA_PAIR;
    let both = format!("{public}{other_public}");
    let set = [("JWT_ALGORITHM", algorithm), ("JWT_PUBLIC_KEY", both.as_str())];
    let t = t.own_server_with(&changes(&set, &["JWT_SECRET"]), None).await?;
    for private in [private, other_private] {
        is_in(&t, &signing(Signer::private_key(algorithm, private))?, "a token by one of the keys").await?;
    }
    let (algorithm, private, _) = KEY_PAIRS[1];
    is_refused(&t, &signing(Signer::private_key(algorithm, private))?, "a token by another key").await
}

async fn until_refused(t: &Bench, signer: &Signer) -> Outcome {
    let deadline = tokio::time::Instant::now() + FOLLOWS;
    let mut poll = tokio::time::interval(Duration::from_millis(200));
    loop {
        poll.tick().await;
        if comes(t, signer, &json!({})).await?.is_err() {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(mismatch(format!("a key that has gone to count no more within {FOLLOWS:?}"), "it counts"));
        }
    }
}

async fn changing_file(t: Bench) -> Outcome {
    let (old, new) = (Pair::new(0, "old")?, Pair::new(1, "new")?);
    let folder = tempfile::tempdir().map_err(failed)?;
    let path = folder.path().join("keys.json");
    std::fs::write(&path, set(&[&old])).map_err(failed)?;
    let settings = [("JWT_JWKS_FILE", &*path.display().to_string()), ("JWT_KEY_GRACE_SECONDS", "3")];
    let t = t.own_server_with(&changes(&settings, &SECRETS), None).await?;
    is_in(&t, &old.signer, "the one key").await?;
    std::fs::write(&path, set(&[&new])).map_err(failed)?;
    is_in(&t, &new.signer, "the key that has come").await?;
    is_in(&t, &old.signer, "the key that has just gone").await?;
    until_refused(&t, &old.signer).await?;
    is_in(&t, &new.signer, "the key that is there").await
}

async fn changing_url(t: Bench) -> Outcome {
    let (old, new) = (Pair::new(1, "old")?, Pair::new(2, "new")?);
    let issuer = Issuer::start(set(&[&old])).await.map_err(failed)?;
    let settings = [("JWT_JWKS_URL", &*issuer.url), ("JWT_JWKS_REFRESH_SECONDS", "1"), ("JWT_KEY_GRACE_SECONDS", "3")];
    let t = t.own_server_with(&changes(&settings, &SECRETS), None).await?;
    is_in(&t, &old.signer, "the one key").await?;
    issuer.says(200, set(&[&new]));
    is_in(&t, &new.signer, "the key that has come").await?;
    is_in(&t, &old.signer, "the key that has just gone").await?;
    until_refused(&t, &old.signer).await
}

async fn outage(t: Bench) -> Outcome {
    let (known, unknown) = (Pair::new(0, "known")?, Pair::new(1, "unknown")?);
    let issuer = Issuer::start(set(&[&known])).await.map_err(failed)?;
    let settings = [("JWT_JWKS_URL", &*issuer.url), ("JWT_JWKS_REFRESH_SECONDS", "1"), ("JWT_KEY_GRACE_SECONDS", "0")];
    let t = t.own_server_with(&changes(&settings, &SECRETS), None).await?;
    is_in(&t, &known.signer, "the one key").await?;
    for (status, text) in [(503, String::new()), (200, "{}".to_owned()), (200, set(&[]))] {
        issuer.says(status, text);
        let answer = comes(&t, &unknown.signer, &json!({})).await?;
        let right = answer.as_ref().is_err_and(|refusal| refusal["message"] == "unavailable");
        expect::that(right, "a token by an unknown key to be refused with unavailable", format!("{answer:?}"))?;
        is_in(&t, &known.signer, "the key that was known").await?;
    }
    issuer.says(200, set(&[&known, &unknown]));
    is_in(&t, &unknown.signer, "the key that is known now").await
}

/// The answer to a request that does nothing, with this credential.
async fn status(t: &Bench, base: &str, credential: &str) -> Outcome<u16> {
    let headers = [("authorization", &*format!("Bearer {credential}"))];
    Ok(t.http("DELETE", &format!("{base}/sessions/nobody-has-it"), &headers, None::<String>).await?.status)
}

/// A credential that counts is told that there is no such session.
fn is_known(what: &str, status: u16) -> Outcome {
    expect::that(status == 404, format!("404: {what}"), format!("the status {status}"))
}

async fn credentials(t: Bench) -> Outcome {
    let ours = t.target().credential().and_then(Result::ok).unwrap_or_default();
    let next = format!("the-next-credential-{}", t.random(20));
    let folder = tempfile::tempdir().map_err(failed)?;
    let path = folder.path().join("credential");
    std::fs::write(&path, format!("{next}\n{ours}\n")).map_err(failed)?;
    let settings = [("INGEST_TOKEN_FILE", &*path.display().to_string())];
    let t = t.own_server_with(&changes(&settings, &["INGEST_TOKEN"]), None).await?;
    for credential in [&next, &ours] {
        is_known("the status with one of two credentials", status(&t, "", credential).await?)?;
    }
    std::fs::write(&path, &next).map_err(failed)?;
    let deadline = tokio::time::Instant::now() + FOLLOWS;
    let mut poll = tokio::time::interval(Duration::from_millis(200));
    while status(&t, "", &ours).await? != 401 {
        expect::that(
            tokio::time::Instant::now() < deadline,
            "a credential that has gone to be refused",
            "it is taken",
        )?;
        poll.tick().await;
    }
    is_known("the status with the credential that stays", status(&t, "", &next).await?)
}

async fn apart(t: Bench) -> Outcome {
    let port = free_port().map_err(failed)?;
    let t = t.own_server_with(&changes(&[("CONTROL_PORT", &port.to_string())], &[]), None).await?;
    let ours = t.target().credential().and_then(Result::ok).unwrap_or_default();
    let host = t.base().rsplit_once(':').map_or(t.base(), |(host, _)| host);
    let control = format!("{host}:{port}");
    is_known("the status at the control port", status(&t, &control, &ours).await?)?;
    let problem = t.http("POST", &format!("{control}/events"), &[], None::<String>).await?;
    problem.expect_status(401)?;
    for path in ["/healthz", "/readyz"] {
        t.http("GET", &format!("{control}{path}"), &[], None::<String>).await?.expect_status(200)?;
        t.http("GET", path, &[], None::<String>).await?.expect_status(200)?;
    }
    for (method, path) in
        [("POST", "/events"), ("POST", "/events/batch"), ("PUT", "/sessions/x"), ("DELETE", "/sessions/x")]
    {
        t.http(method, path, &[], None::<String>).await?.expect_status(404)?;
    }
    t.http("GET", &format!("{control}/socket.io/?EIO=4&transport=polling"), &[], None::<String>)
        .await?
        .expect_status(404)
}

/// The samples of Prometheus' text format, by name and labels.
fn samples(text: &str) -> Outcome<BTreeMap<String, f64>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let samples = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    samples.collect::<Option<_>>().ok_or_else(|| mismatch("lines of a name and a number", text))
}

async fn metrics(t: Bench) -> Outcome {
    let port = free_port().map_err(failed)?;
    let t = t.own_server_with(&changes(&[("METRICS_PORT", &port.to_string())], &[]), None).await?;
    let host = t.base().rsplit_once(':').map_or(t.base(), |(host, _)| host);
    let url = format!("{host}:{port}/metrics");
    let first = t.http("GET", &url, &[], None::<String>).await?;
    first.expect_status(200)?;
    let kind = first.header("content-type").unwrap_or_default().to_owned();
    expect::that(kind.starts_with("text/plain"), "text/plain", kind)?;
    let before = samples(&first.body)?;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    t.emit_numbered(&alice, 1, 1).await?;
    device.expect_event("record.accessed").await?;
    let after = t.http("GET", &url, &[], None::<String>).await?;
    let named = after.body.contains(&alice.id) || after.body.contains(&alice.session);
    expect::that(!named, "metrics without the id of a user or a session", &*after.body)?;
    let after = samples(&after.body)?;
    let grown = after.iter().filter(|(name, value)| before.get(*name).is_none_or(|before| before < value));
    expect::that(grown.count() > 0, "something that has grown with a connect and an event", "nothing has")?;
    let many = after.len();
    expect::that(many == before.len(), "as many samples as before: no label comes from outside", format!("{many}"))?;
    t.http("GET", "/metrics", &[], None::<String>).await?.expect_status(404)
}

async fn request_id(t: Bench) -> Outcome {
    let (id, trace) = (format!("request-{}", t.random(12)), "4bf92f3577b34da6a3ce929d0e0e4736");
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let given = [("x-request-id", &*id), ("traceparent", &parent)];
    for (body, status) in [(t.event_for(&t.user().await?).body(), 202), (json!({}), 400)] {
        let answer = t.control_text("POST", "/events", &given, body.to_string()).await?;
        answer.expect_status(status)?;
        expect::that(answer.header("x-request-id") == Some(&id), "the id of the request", answer.describe())?;
        let passed_on = answer.header("traceresponse").unwrap_or_default();
        let right =
            passed_on.starts_with(&format!("00-{trace}-")) && passed_on.len() == parent.len() && passed_on != parent;
        expect::that(right, "a place of its own in the trace of the request", answer.describe())?;
    }
    let answer = t.http("GET", "/events", &[], None::<String>).await?;
    let made_up = answer.header("x-request-id").unwrap_or_default();
    expect::that(!made_up.is_empty(), "an id for a request that has none", answer.describe())
}
