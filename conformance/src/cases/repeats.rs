//! SPEC 6: requests that are repeated, batches that are large, and bodies at the edge of what a server reads.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, interval, sleep, timeout},
};

use super::kit::{
    QUIET,
    control::{EVENT_LIMIT, body_for, problem},
    numbers::{numbered, receives, up_to},
    queue::{DAY_MS, SLACK_MS, finds, received_nothing},
    server::has_setting,
};
use crate::{
    bench::{Answer, Bench, User},
    case::{Case, Need},
    client::Transport,
    expect::{self, Outcome, inconclusive, mismatch},
    fixtures,
    redis::inspect,
};

/// How long the answer to a request by hand may take.
const ANSWERED: Duration = Duration::from_secs(5);

pub(super) const CASES: &[Case] = &[
    case!("EMIT-06/live", "a repeated Idempotency-Key emits nothing to who is connected", live),
    case!("EMIT-06/alike", "keys are compared letter by letter", alike),
    case!("EMIT-06/kept", "an answer is kept over a restart, and no shorter than a day", kept)
        .needs(&[Need::OwnServer, Need::Capability("restart")]),
    case!("EMIT-06/minute", "a repeated key is answered as at first after a minute", minute)
        .waits(Duration::from_secs(60)),
    case!("EMIT-34/after-503", "a key whose request was answered with 503 is not used up", after_503)
        .needs(&[Need::OwnServer]),
    case!("EMIT-03/thousand-live", "a batch of 1,000 reaches every device, in order", thousand_live),
    case!("EMIT-03/many-recipients", "a batch of 1,000 reaches 1,000 recipients", many_recipients),
    case!("EMIT-03/large", "a batch of nearly 4 MiB is taken, and arrives", large),
    case!("EMIT-04/refused-whole-live", "a batch with one wrong event reaches nobody who is connected", refused_whole)
        .also(&["EMIT-10"]),
    case!("EMIT-08/in-a-batch", "what is refused alone is refused in a batch", refused_in_a_batch)
        .also(&["EMIT-04", "EMIT-10"]),
    case!("EMIT-01/elsewhere", "the service credential counts in its header alone", credential_elsewhere)
        .also(&["EMIT-10"]),
    case!("EMIT-30/utf-8", "a body that is not UTF-8 is refused", not_utf8).also(&["EMIT-10"]),
    case!("EMIT-31/depth", "a body that is nested 64 levels deep is taken, and arrives", depth),
];

async fn with_key(t: &Bench, path: &str, key: &str, body: &Value) -> Outcome<Answer> {
    t.control_text("POST", path, &[("idempotency-key", key)], body.to_string()).await
}

async fn live(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut devices = [Transport::WebSocket, Transport::WebSocket].map(|_| None);
    for device in &mut devices {
        *device = Some(t.connect_raw(&alice, Transport::WebSocket).await?);
    }
    let (one, batch) = (body_for(&alice, 1), json!([body_for(&alice, 2), body_for(&alice, 3)]));
    for (path, body) in [("/events", &one), ("/events/batch", &batch)] {
        let key = t.random(24);
        let first = with_key(&t, path, &key, body).await?;
        first.expect_status(202)?;
        for _ in 0..2 {
            let again = with_key(&t, path, &key, body).await?;
            again.expect_status(202)?;
            expect::equal("the same answer", &first.json(), &again.json())?;
        }
    }
    t.emit_numbered(&alice, 4, 4).await?;
    for device in devices.iter_mut().flatten() {
        receives(device, 1..=4).await?;
        device.expect_silence(QUIET).await?;
    }
    Ok(())
}

async fn alike(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let long = t.random(200);
    let keys = ["a", "b"].map(|end| format!("{long}{end}"));
    let short = t.random(12).to_lowercase();
    let keys =
        keys.into_iter().chain([short.clone(), short.to_uppercase(), format!("{short}1"), format!("\"{short}\"")]);
    let keys = keys.chain([",", ";", "=", "%", "/"].map(|sign| format!("{short}{sign}1")));
    let mut count = 0;
    for key in keys {
        count += 1;
        with_key(&t, "/events", &key, &body_for(&alice, count)).await?.expect_status(202)?;
    }
    finds(&t, &alice, 1..=count).await.map(drop)
}

async fn kept(t: Bench) -> Outcome {
    // Shorter than an answer is kept, where it can be set: a queue's time is no answer's.
    let settings: &[_] = if has_setting(&t, "queue_ttl_seconds") { &[("queue_ttl_seconds", "60")] } else { &[] };
    let t = t.own_server(settings).await?;
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let (key, body) = (t.random(24), body_for(&alice, 1));
    let first = with_key(&t, "/events", &key, &body).await?;
    first.expect_status(202)?;
    receives(&mut device, [1]).await?;
    // The user took the event: what still has its id is what is kept to answer with.
    let id = first.json()["eventId"].as_str().unwrap_or_default().to_owned();
    for (name, key) in holding(&t, &id).await? {
        let Some(ttl) = key.ttl_ms else { continue };
        expect::that(ttl + SLACK_MS >= DAY_MS, "an answer that is kept for 24 h", format!("{name} for {ttl} ms"))?;
    }
    t.restart().await?;
    let again = with_key(&t, "/events", &key, &body).await?;
    again.expect_status(202)?;
    expect::equal("the same answer after a restart", &first.json(), &again.json())?;
    received_nothing(&t, &alice).await
}

/// The keys of the server's Redis that hold this text; none where it has no Redis of the suite's.
async fn holding(t: &Bench, text: &str) -> Outcome<BTreeMap<String, inspect::Key>> {
    let Ok(database) = t.database() else { return Ok(BTreeMap::new()) };
    let harness = |error: redis::RedisError| inconclusive(format!("looking into Redis: {error}"));
    database.view().await.map_err(harness)?.holding(text).await.map_err(harness)
}

async fn minute(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let (key, body) = (t.random(24), body_for(&alice, 1));
    let first = with_key(&t, "/events", &key, &body).await?;
    first.expect_status(202)?;
    for waits in [12, 53] {
        // The passing of time is what is tested here.
        sleep(Duration::from_secs(waits)).await;
        let again = with_key(&t, "/events", &key, &body).await?;
        again.expect_status(202)?;
        expect::equal("the same answer", &first.json(), &again.json())?;
    }
    finds(&t, &alice, [1]).await.map(drop)
}

async fn after_503(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let proxy = t.redis_line()?;
    let (key, body) = (t.random(24), body_for(&alice, 1));
    proxy.cut();
    problem(&with_key(&t, "/events", &key, &body).await?, 503, None)?;
    proxy.restore();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut poll = interval(Duration::from_millis(100));
    loop {
        poll.tick().await;
        let answer = with_key(&t, "/events", &key, &body).await?;
        if answer.status == 202 {
            break;
        }
        expect::that(Instant::now() < deadline, "202 within 10 s of Redis's return", answer.describe())?;
    }
    finds(&t, &alice, [1]).await.map(drop)
}

async fn thousand_live(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut devices =
        vec![t.connect_raw(&alice, Transport::WebSocket).await?, t.connect_raw(&alice, Transport::WebSocket).await?];
    if t.target().declares("polling") {
        devices.push(t.connect_raw(&alice, Transport::Polling).await?);
    }
    let bob = t.user().await?;
    devices.push(t.connect_raw(&bob, Transport::WebSocket).await?);
    for user in [&alice, &bob] {
        let batch: Value = (1..=1_000).map(|n| body_for(user, n)).collect();
        t.control("POST", "/events/batch", &batch).await?.expect_status(202)?;
    }
    for device in &mut devices {
        receives(device, 1..=1_000).await?;
        device.expect_silence(QUIET / 3).await?;
    }
    Ok(())
}

async fn many_recipients(t: Bench) -> Outcome {
    let places = [0, 1, 99, 100, 101, 255, 256, 499, 511, 512, 750, 998, 999];
    let mut users = BTreeMap::new();
    for place in places {
        users.insert(place, t.user().await?);
    }
    let nobody = t.random(12);
    let stranger = |at: usize| User { id: format!("nobody-{nobody}-{at}"), session: String::new() };
    let batch: Value = (0..1_000)
        .map(|at| users.get(&at).map_or_else(|| body_for(&stranger(at), at), |user| body_for(user, at)))
        .collect();
    let mut device = t.connect_raw(&users[&750], Transport::WebSocket).await?;
    t.control("POST", "/events/batch", &batch).await?.expect_status(202)?;
    receives(&mut device, [750]).await?;
    for (place, user) in users.iter().filter(|(place, _)| **place != 750) {
        finds(&t, user, [*place]).await?;
    }
    Ok(())
}

async fn large(t: Bench) -> Outcome {
    const EVENTS: usize = 66;
    let users = [t.user().await?, t.user().await?, t.user().await?];
    let event = |n: usize| {
        let mut body = body_for(&users[n % users.len()], n);
        body["metadata"]["padding"] = json!("x".repeat(63_000));
        body
    };
    let mut device = t.connect_raw(&users[1], Transport::WebSocket).await?;
    let batch: Value = (1..=EVENTS).map(event).collect();
    t.transcript().note(format!("a batch of {} bytes", batch.to_string().len()));
    t.control("POST", "/events/batch", &batch).await?.expect_status(202)?;
    let theirs = |at: usize| (1..=EVENTS).filter(move |n| n % 3 == at);
    let came = up_to(&mut device, 64, Duration::from_secs(15)).await?;
    let came: Vec<_> = came.iter().map(|it| it.n).collect();
    expect::equal("what arrives live", &json!(theirs(1).collect::<Vec<_>>()), &json!(came))?;
    for at in [0, 2] {
        finds(&t, &users[at], theirs(at)).await?;
    }
    Ok(())
}

async fn refused_whole(t: Bench) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    for (count, wrong) in [(6, 5), (1_000, 100), (1_000, 999)] {
        let mut batch: Vec<_> = (1..=count).map(|n| body_for(if n % 2 == 0 { &alice } else { &bob }, n)).collect();
        batch[wrong]["resourceId"] = json!("");
        problem(&t.control("POST", "/events/batch", &Value::Array(batch)).await?, 400, Some("resourceId"))?;
    }
    t.emit_numbered(&alice, 7, 7).await?;
    receives(&mut device, [7]).await?;
    device.expect_silence(QUIET).await?;
    received_nothing(&t, &bob).await
}

async fn refused_in_a_batch(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let names = [("user", &*alice.id), ("n", &*t.random(8)), ("other", "someone-else")];
    let right = body_for(&alice, 1).to_string();
    let mut tried = 0;
    for entry in fixtures::list(fixtures::REFUSED, "bodies") {
        let body = match entry.get("text") {
            Some(text) => fixtures::fill(text, &names).as_str().unwrap_or_default().to_owned(),
            None => fixtures::fill(&entry["body"], &names).to_string(),
        };
        // What is too large, or no JSON that could stand in an array, says nothing of a batch.
        let is_one = serde_json::from_str::<Value>(&body).is_ok();
        if entry["status"].as_u64().unwrap_or(400) != 400 || !is_one || body.len() > EVENT_LIMIT {
            continue;
        }
        tried += 1;
        for batch in [format!("[{right},{body}]"), format!("[{body},{right}]"), format!("[{body}]")] {
            let answer = t.control_text("POST", "/events/batch", &[], batch).await?;
            let which = format!("for the body {} in a batch", entry["name"]);
            problem(&answer, 400, entry["names"].as_str()).map_err(|fault| fault.of(which))?;
        }
    }
    expect::that(tried > 10, "bodies to try", tried.to_string())?;
    received_nothing(&t, &alice).await
}

async fn credential_elsewhere(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let bearer = t.credential()?;
    let credential = bearer.trim_start_matches("Bearer ");
    let body = body_for(&alice, 1).to_string();
    let cookies = ["token", "access_token", "authorization"].map(|name| format!("{name}={credential}"));
    let headers = ["x-api-key", "x-auth-token", "x-access-token", "x-ingest-token", "token", "proxy-authorization"];
    let headers = headers.iter().map(|name| (*name, credential)).chain(cookies.iter().map(|it| ("cookie", &**it)));
    for (name, value) in headers {
        let headers = [("content-type", "application/json"), (name, value)];
        problem(&t.http("POST", "/events", &headers, Some(body.clone())).await?, 401, None)?;
    }
    for name in ["token", "access_token", "key", "api_key", "apiKey", "ingest_token", "authorization"] {
        let path = format!("/events?{name}={credential}");
        let headers = [("content-type", "application/json")];
        problem(&t.http("POST", &path, &headers, Some(body.clone())).await?, 401, None)?;
    }
    unguarded_paths(&t, &alice).await?;
    received_nothing(&t, &alice).await
}

/// A router may take these for a known route; what guards the routes by their paths has to do so, too.
async fn unguarded_paths(t: &Bench, alice: &User) -> Outcome {
    let event = body_for(alice, 1);
    let (batch, other) = (json!([event]).to_string(), json!({"userId": "somebody-else"}).to_string());
    let id = &alice.session;
    let events = ["/Events", "/events/", "//events", "/%65vents", "/events;x", "/events?x", "/x/../events"];
    let batches = ["/Events/Batch", "/events/batch/", "/events//batch", "/events%2Fbatch", "/events/%62atch"];
    let sessions = [format!("/Sessions/{id}"), format!("/sessions/{id}/"), format!("//sessions/{id}")];
    let requests = events.iter().map(|path| ("POST", *path, event.to_string()));
    let requests = requests.chain(batches.iter().map(|path| ("POST", *path, batch.clone())));
    for (method, path, body) in requests.chain(sessions.iter().map(|path| ("PUT", &**path, other.clone()))) {
        let answer = t.http(method, path, &[("content-type", "application/json")], Some(body)).await?;
        let refused = !(200..300).contains(&answer.status);
        expect::that(refused, format!("{method} {path} refused without the credential"), answer.describe())?;
    }
    for path in &sessions {
        let answer = t.http("DELETE", path, &[], None::<String>).await?;
        let refused = !(200..300).contains(&answer.status);
        expect::that(refused, format!("DELETE {path} refused without the credential"), answer.describe())?;
    }
    for target in [format!("{}/events", t.base()), "/events#x".to_owned()] {
        let answer = requested(t, &target, &event.to_string()).await?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        expect::that(!status.starts_with('2'), format!("POST {target} refused without the credential"), answer)?;
    }
    Ok(())
}

/// The answer to a POST whose target stands in its first line as it is here: a client would write it otherwise.
async fn requested(t: &Bench, target: &str, body: &str) -> Outcome<String> {
    let address = t.base().trim_start_matches("http://");
    let request = format!(
        "POST {target} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = async {
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.map(|_| answer)
    };
    t.transcript().sent("http", request.lines().next().unwrap_or_default());
    let answer = timeout(ANSWERED, answer).await.map_err(|_| mismatch("an answer", "none"))?;
    let answer = answer.map_err(|error| mismatch("an answer", error.to_string()))?;
    t.transcript().received("http", &answer);
    Ok(answer)
}

async fn not_utf8(t: Bench) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let bearer = t.credential()?;
    let mut event = body_for(&alice, 1);
    event["metadata"]["text"] = json!("MARK");
    let session = json!({"userId": "MARK"});
    for (method, path, body) in [
        ("POST", "/events".to_owned(), event.to_string()),
        ("POST", "/events/batch".to_owned(), json!([event]).to_string()),
        ("PUT", format!("/sessions/{}", t.session_id()), session.to_string()),
    ] {
        // A byte that begins nothing, half a letter, half a surrogate pair, and a letter in too many bytes.
        let at = body.find("MARK").ok_or_else(|| inconclusive("no place for bytes"))?;
        let (before, behind) = (&body.as_bytes()[..at], &body.as_bytes()[at + 4..]);
        let mut bodies = [&b"\xff"[..], b"\xc3", b"\xed\xa0\xbd", b"\xc0\xaf"]
            .map(|wrong| [before, wrong, behind].concat())
            .to_vec();
        // The last letter of the body is half there, which concerns no other request.
        bodies.push([before, b"\xe2\x82"].concat());
        for bytes in bodies {
            let headers = [("authorization", &*bearer), ("content-type", "application/json")];
            problem(&t.http(method, &path, &headers, Some(bytes)).await?, 400, None)?;
            t.emit_numbered(&bob, 1, 1).await?;
        }
        // Whatever else the request says it is in: JSON is UTF-8.
        let wide: Vec<_> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (charset, bytes) in [("iso-8859-1", [before, b"\xfc", behind].concat()), ("utf-16le", wide)] {
            let kind = format!("application/json; charset={charset}");
            let answer =
                t.http(method, &path, &[("authorization", &*bearer), ("content-type", &*kind)], Some(bytes)).await?;
            problem(&answer, if answer.status == 415 { 415 } else { 400 }, None)?;
        }
    }
    received_nothing(&t, &alice).await
}

async fn depth(t: Bench) -> Outcome {
    const LEVELS: usize = 64;
    let alice = t.user().await?;
    // The body is one level, and `metadata` another.
    let objects = (2..LEVELS).fold(json!("x"), |inner, _| json!({"a": inner}));
    let arrays = (2..LEVELS).fold(json!("x"), |inner, _| json!([inner]));
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    for nested in [objects, arrays] {
        let mut body = body_for(&alice, 1);
        body["metadata"]["deep"] = nested;
        t.control("POST", "/events", &body).await?.expect_status(202)?;
        let payload = device.expect_event("record.accessed").await?;
        expect::equal("metadata", &body["metadata"], &payload["metadata"])?;
        let batch = json!([body]);
        t.control("POST", "/events/batch", &batch).await?.expect_status(202)?;
        numbered(&[device.expect_event("record.accessed").await?], [1])?;
        let bob = t.user().await?;
        body["metadata"]["targetUserId"] = json!(bob.id);
        t.control("POST", "/events", &body).await?.expect_status(202)?;
        t.control("POST", "/events/batch", &json!([body])).await?.expect_status(202)?;
        let queued = t.connect_raw(&bob, Transport::WebSocket).await?.expect_queued().await?;
        let metadata: Vec<_> = queued.iter().map(|payload| payload["metadata"].clone()).collect();
        expect::equal("what was queued", &json!([body["metadata"], body["metadata"]]), &json!(metadata))?;
    }
    Ok(())
}
