//! SPEC 6: the control surface, for targets that declare it.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::kit::{
    QUIET, acks,
    control::{EVENT_LIMIT, body_for, is_put_off, names_the_key, one_answer, problem},
    numbers::{numbered, receives},
    queue::{finds, received_nothing},
};
use crate::{
    bench::{Answer, Bench, User},
    case::{Case, Need},
    client::Transport,
    expect::{self, Outcome, mismatch},
    fixtures,
};

/// Those that EMIT-13 is about: the others may be answered as HTTP has it.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// The largest batch of EMIT-11, in bytes.
const BATCH_LIMIT: usize = 4 << 20;

pub(super) const CASES: &[Case] = &[
    case!("EMIT-01/credential", "every route wants the service credential", credential).also(&["EMIT-10"]),
    over!(WebSocket, "EMIT-02/answer", "the answer has the payload's eventId, and live or queued", answer),
    over!(Polling, "EMIT-02/answer-polled", "and by polling", answer),
    over!(Upgraded, "EMIT-02/answer-upgraded", "and on a connection that was upgraded", answer),
    case!("EMIT-02/whoever", "live is whoever has several devices, or acknowledges, or both", live_for_whoever),
    case!("EMIT-03/batch", "a batch keeps its order and is answered in order", batch),
    case!("EMIT-03/thousand", "a batch of 1,000 is taken", thousand),
    case!("EMIT-03/equal", "events of a batch that are equal are each an event", equal_events),
    case!("EMIT-04/refused-whole", "a batch with one wrong event is refused whole", refused_whole).also(&["EMIT-10"]),
    case!("EMIT-04/size", "an empty batch, one of 1,001 and one that is no array are refused", sizes),
    case!("EMIT-05/sessions", "sessions are made, replaced and revoked", sessions).also(&["EMIT-08"]),
    case!("EMIT-06/repeated", "a repeated Idempotency-Key is answered as at first and emits nothing", repeated),
    case!("EMIT-06/concurrent", "one Idempotency-Key used at once emits once", repeated_at_once),
    case!("EMIT-18/at-once", "of batches with one Idempotency-Key at once, one is emitted", batches_at_once),
    case!("EMIT-19/another-body", "an Idempotency-Key with another body is refused by name", another_body)
        .also(&["EMIT-10"]),
    case!("EMIT-19/at-once", "of several bodies with one Idempotency-Key at once, one is emitted", bodies_at_once)
        .also(&["EMIT-10"]),
    case!("EMIT-20/refused", "a refused request leaves its Idempotency-Key to another body", refused_key),
    case!("EMIT-07/no-store", "503 where the event can be neither delivered nor stored", no_store)
        .needs(&[Need::OwnServer]),
    case!(
        "EMIT-07/silent-store",
        "so it is where the store says nothing, for a batch and a session, too",
        silent_store
    )
    .needs(&[Need::OwnServer])
    .also(&["EMIT-22", "EMIT-32"]),
    case!("EMIT-08/refused", "wrong bodies are refused and name the member at fault", refused)
        .also(&["EMIT-09", "EMIT-10"]),
    case!("EMIT-16/deep", "a body nested 10,000 levels deep is taken or refused, and harms nobody", deep),
    case!("EMIT-15/key", "an Idempotency-Key that is empty or too long is refused", bad_key).also(&["EMIT-10"]),
    case!("EMIT-09/problems", "every kind of error is a problem document", problems),
    case!("EMIT-11/too-large", "a body over the limit is answered with 413, and one up to it is taken", too_large)
        .also(&["EMIT-10"]),
    case!("EMIT-12/content-type", "a body that is not declared as JSON is answered with 415", content_type)
        .also(&["EMIT-10"]),
    case!("EMIT-17/content-encoding", "a body that is said to be compressed is answered with 415", content_encoding)
        .also(&["EMIT-10"]),
    case!("EMIT-13/unknown", "unknown routes and methods are answered with 404 and 405", unknown),
    case!("EMIT-10/garbage", "a thousand garbled requests deliver nothing and harm nobody", garbage),
];

async fn credential(t: Bench) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let body = body_for(&alice, 1);
    let session = format!("/sessions/{}", alice.session);
    let users_token = format!("Bearer {}", t.token(&alice).await?);
    let routes = [
        ("POST", "/events", body.clone()),
        ("POST", "/events/batch", json!([body])),
        ("PUT", &*session, json!({"userId": bob.id})),
        ("DELETE", &*session, Value::Null),
    ];
    let right = t.credential()?;
    let bare = right.trim_start_matches("Bearer ");
    let wrong = [
        format!("{right}x"),
        format!("{right}{right}"),
        format!("{right}, {right}"),
        right[..right.len() - 1].to_owned(),
        right[.."Bearer ".len() + 6].to_owned(),
        format!("Bearer {}", bare.to_uppercase()),
        format!("Bearer x{bare}"),
        format!("Basic {bare}"),
        bare.to_owned(),
        users_token,
    ];
    let wrong =
        wrong.iter().map(|it| Some(&**it)).chain([None, Some("Bearer wrong"), Some("Bearer "), Some("Basic eDp5")]);
    let wrong: Vec<_> = wrong.filter(|it| *it != Some(&*right)).collect();
    for (method, path, body) in &routes {
        for credential in &wrong {
            let body = (!body.is_null()).then(|| body.to_string());
            let mut headers: Vec<_> = body.iter().map(|_| ("content-type", "application/json")).collect();
            headers.extend(credential.map(|credential| ("authorization", credential)));
            let answer = t.http(method, path, &headers, body).await?;
            problem(&answer, 401, None)?;
        }
    }
    received_nothing(&t, &alice).await
}

async fn answer(t: Bench, transport: Transport) -> Outcome {
    let alice = t.user().await?;
    let queued = t.control("POST", "/events", &body_for(&alice, 1)).await?;
    queued.expect_status(202)?;
    expect::member(&queued.json(), "delivery", "queued")?;
    let mut device = t.connect_raw(&alice, transport).await?;
    let payload = device.expect_queued().await?.remove(0);
    expect::equal("eventId", &queued.json()["eventId"], &payload["eventId"])?;
    let live = t.control("POST", "/events", &body_for(&alice, 2)).await?;
    live.expect_status(202)?;
    expect::member(&live.json(), "delivery", "live")?;
    let payload = device.expect_event("record.accessed").await?;
    expect::equal("eventId", &live.json()["eventId"], &payload["eventId"])
}

async fn live_for_whoever(t: Bench) -> Outcome {
    let may_acknowledge = if t.target().declares("ack") { &[false, true][..] } else { &[false] };
    for first in may_acknowledge {
        for second in may_acknowledge {
            let alice = t.user().await?;
            let mut devices = Vec::new();
            for ack in [first, second] {
                devices.push(acks::connect(&t, &alice, t.opening(Transport::WebSocket), *ack).await?);
                for (path, body) in [("/events", body_for(&alice, 1)), ("/events/batch", json!([body_for(&alice, 1)]))]
                {
                    let answer = t.control("POST", path, &body).await?;
                    answer.expect_status(202)?;
                    let (answer, one) = (answer.json(), answer.json()[0].clone());
                    expect::member(if one.is_null() { &answer } else { &one }, "delivery", "live")?;
                    for device in &mut devices {
                        acks::takes(device, 1..=1).await?;
                    }
                }
            }
        }
    }
    Ok(())
}

async fn batch(t: Bench) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut bobs = t.connect_raw(&bob, Transport::WebSocket).await?;
    let events: Vec<_> = (1..=20).map(|n| body_for(if n % 2 == 0 { &bob } else { &alice }, n)).collect();
    let answer = t.control("POST", "/events/batch", &Value::Array(events)).await?;
    answer.expect_status(202)?;
    let answers = answer.json().as_array().cloned().unwrap_or_default();
    expect::that(answers.len() == 20, "20 answers", answer.describe())?;
    let mut device = t.connect_raw(&alice, Transport::WebSocket).await?;
    let queued = device.expect_queued().await?;
    expect::that(queued.len() == 10, "10 queued events", queued.len().to_string())?;
    for (at, answer) in answers.iter().enumerate() {
        let (payload, delivery) = if at % 2 == 0 {
            (queued[at / 2].clone(), "queued")
        } else {
            (bobs.expect_event("record.accessed").await?, "live")
        };
        expect::member(answer, "delivery", delivery)?;
        expect::equal("eventId", &answer["eventId"], &payload["eventId"])?;
        expect::equal("metadata.n", &json!(at + 1), &payload["metadata"]["n"])?;
    }
    Ok(())
}

async fn equal_events(t: Bench) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let mut device = t.connect_raw(&bob, Transport::WebSocket).await?;
    let (queued, live) = (body_for(&alice, 1), body_for(&bob, 1));
    let answer = t.control("POST", "/events/batch", &json!([queued, live, live, queued])).await?;
    answer.expect_status(202)?;
    expect::equal("the number of answers", &json!(4), &json!(answer.json().as_array().map(Vec::len)))?;
    receives(&mut device, [1, 1]).await?;
    device.expect_silence(QUIET).await?;
    finds(&t, &alice, [1, 1]).await.map(drop)
}

async fn thousand(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let events: Vec<_> = (1..=1_000).map(|n| body_for(&alice, n)).collect();
    let answer = t.control("POST", "/events/batch", &Value::Array(events)).await?;
    answer.expect_status(202)?;
    let answers = answer.json().as_array().map_or(0, Vec::len);
    expect::that(answers == 1_000, "1,000 answers", answers.to_string())?;
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    let numbers: Vec<_> = queued.iter().map(|payload| payload["metadata"]["n"].clone()).collect();
    expect::equal("the newest 50", &json!((951..=1_000).collect::<Vec<_>>()), &Value::Array(numbers))
}

async fn refused_whole(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut events: Vec<_> = (1..=5).map(|n| body_for(&alice, n)).collect();
    events[3]["actorId"] = json!(7);
    let answer = t.control("POST", "/events/batch", &Value::Array(events)).await?;
    problem(&answer, 400, Some("actorId"))?;
    expect::that(answer.body.contains('3'), "an error that names the event 3", answer.describe())?;
    received_nothing(&t, &alice).await
}

async fn sizes(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let many: Vec<_> = (1..=1_001).map(|n| body_for(&alice, n)).collect();
    for body in [json!([]), Value::Array(many), body_for(&alice, 1), json!("events"), json!(null)] {
        problem(&t.control("POST", "/events/batch", &body).await?, 400, None)?;
    }
    received_nothing(&t, &alice).await
}

async fn sessions(t: Bench) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let path = format!("/sessions/{}", t.session_id());
    let session = path.trim_start_matches("/sessions/").to_owned();
    t.control("DELETE", &path, &Value::Null).await?.expect_status(404)?;
    for (owner, body) in [
        (&alice, json!({"userId": alice.id})),
        (&alice, json!({"userId": alice.id, "expiresAt": "2999-01-01T00:00:00Z"})),
        (&alice, json!({"userId": alice.id, "expiresAt": "2999-01-01t00:00:00z"})),
        (&alice, json!({"userId": alice.id, "expiresAt": "2999-01-01t00:00:00.123456-08:00"})),
        (&alice, json!({"userId": alice.id, "expiresAt": "2999-01-01T00:00:00.123456789Z"})),
        (&alice, json!({"userId": alice.id, "expiresAt": "2999-01-01T00:00:00.12345678901234567890Z"})),
        (&bob, json!({"userId": bob.id, "expiresAt": "2999-01-01T01:00:00.5+01:00"})),
    ] {
        t.control("PUT", &path, &body).await?.expect_status(204)?;
        let user = User { session: session.clone(), ..owner.clone() };
        t.connect_raw(&user, Transport::WebSocket).await?.disconnect().await;
    }
    t.control("DELETE", &path, &Value::Null).await?.expect_status(204)?;
    problem(&t.control("DELETE", &path, &Value::Null).await?, 404, None)?;
    let token = t.token(&User { session, ..bob }).await?;
    let mut device = t.attempt_raw(t.opening(Transport::WebSocket), Some(json!({"token": token}))).await?;
    device.expect_refused().await?;
    for (body, member) in [
        (json!({}), "userId"),
        (json!({"userId": 1}), "userId"),
        (json!({"userId": ""}), "userId"),
        (json!({"userId": null}), "userId"),
        (json!({"userId": ["a"]}), "userId"),
        (json!({"userId": "a", "expiresAt": "tomorrow"}), "expiresAt"),
        (json!({"userId": "a", "expiresAt": 5}), "expiresAt"),
        (json!({"userId": "a", "expiresAt": null}), "expiresAt"),
        (json!({"userId": "a", "expiresAt": false}), "expiresAt"),
        (json!({"userId": "a", "expiresAt": ""}), "expiresAt"),
        (json!({"userId": "a", "expiresAt": ["2999-01-01T00:00:00Z"]}), "expiresAt"),
        (json!({"userId": "a", "expiresAt": "2999-01-01"}), "expiresAt"),
        (json!({"userId": "a", "expiresAt": "2999-01-01T00:00:00"}), "expiresAt"),
        (json!({"userId": "a", "expiresAt": "2999-13-01T00:00:00Z"}), "expiresAt"),
        (json!({"userId": "a", "expires": "2999-01-01T00:00:00Z"}), "expires"),
    ] {
        problem(&t.control("PUT", &path, &body).await?, 400, Some(member))?;
    }
    for body in ["null", "[]", r#"[{"userId":"a"}]"#, r#""a""#, "7", "true", "", "{", r#"{"userId":"a"}}"#] {
        problem(&t.control_text("PUT", &path, &[], body.to_owned()).await?, 400, None)?;
    }
    Ok(())
}

async fn repeated(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let key = t.random(24);
    let headers = [("idempotency-key", &*key)];
    let first = t.control_text("POST", "/events", &headers, body_for(&alice, 1).to_string()).await?;
    first.expect_status(202)?;
    let again = t.control_text("POST", "/events", &headers, body_for(&alice, 1).to_string()).await?;
    again.expect_status(202)?;
    expect::equal("the same answer", &first.json(), &again.json())?;
    let batch_key = t.random(24);
    let headers = [("idempotency-key", &*batch_key)];
    let batch = json!([body_for(&alice, 2), body_for(&alice, 3)]).to_string();
    let first = t.control_text("POST", "/events/batch", &headers, batch.clone()).await?;
    let again = t.control_text("POST", "/events/batch", &headers, batch).await?;
    expect::equal("the same answers", &first.json(), &again.json())?;
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    let numbers: Vec<_> = queued.iter().map(|payload| payload["metadata"]["n"].clone()).collect();
    expect::equal("each event once", &json!([1, 2, 3]), &Value::Array(numbers))
}

async fn repeated_at_once(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let key = t.random(24);
    let headers = [("idempotency-key", &*key)];
    let body = body_for(&alice, 1).to_string();
    let requests = (0..8).map(|_| t.control_text("POST", "/events", &headers, body.clone()));
    one_answer(join_all(requests).await)?;
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    expect::that(queued.len() == 1, "one event", queued.len().to_string())
}

async fn batches_at_once(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let key = t.random(24);
    let headers = [("idempotency-key", &*key)];
    let body = json!([body_for(&alice, 1), body_for(&alice, 2)]).to_string();
    let requests = (0..8).map(|_| t.control_text("POST", "/events/batch", &headers, body.clone()));
    one_answer(join_all(requests).await)?;
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    numbered(&queued, [1, 2])
}

async fn another_body(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let key = t.random(24);
    let headers = [("idempotency-key", &*key)];
    let (first, other) = (body_for(&alice, 1).to_string(), body_for(&alice, 2).to_string());
    let accepted = t.control_text("POST", "/events", &headers, first.clone()).await?;
    accepted.expect_status(202)?;
    names_the_key(&t.control_text("POST", "/events", &headers, other).await?)?;
    let again = t.control_text("POST", "/events", &headers, first).await?;
    again.expect_status(202)?;
    expect::equal("the first answer", &accepted.json(), &again.json())?;
    let key = t.random(24);
    let headers = [("idempotency-key", &*key)];
    let batch = json!([body_for(&alice, 3), body_for(&alice, 4)]).to_string();
    t.control_text("POST", "/events/batch", &headers, batch).await?.expect_status(202)?;
    let part = json!([body_for(&alice, 3)]).to_string();
    names_the_key(&t.control_text("POST", "/events/batch", &headers, part).await?)?;
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    numbered(&queued, [1, 3, 4])
}

/// Whichever of them is first is emitted. The rounds are many, for whether one comes in the midst of another is a matter of luck.
async fn bodies_at_once(t: Bench) -> Outcome {
    const ROUNDS: usize = 10;
    const BODIES: usize = 5;
    for round in 0..ROUNDS {
        let alice = t.user().await?;
        let key = t.random(24);
        let headers = [("idempotency-key", &*key)];
        let in_a_batch = round % 2 == 1;
        let path = if in_a_batch { "/events/batch" } else { "/events" };
        let requests = (1..=BODIES).map(|n| {
            let event = body_for(&alice, n);
            let body = if in_a_batch { json!([event]) } else { event };
            t.control_text("POST", path, &headers, body.to_string())
        });
        let mut emitted = Vec::new();
        for (n, answer) in (1..).zip(join_all(requests).await) {
            let answer = answer?;
            if answer.status == 202 {
                emitted.push(n);
            } else if !is_put_off(&answer)? {
                names_the_key(&answer)?;
            }
        }
        expect::that(emitted.len() == 1, "202 for one of several bodies", format!("for {emitted:?}"))?;
        finds(&t, &alice, emitted).await?;
    }
    Ok(())
}

async fn refused_key(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let key = t.random(24);
    let headers = [("idempotency-key", &*key)];
    problem(&t.control_text("POST", "/events", &headers, "{}".to_owned()).await?, 400, None)?;
    let unknown = t.http("POST", "/events", &headers, Some(body_for(&alice, 3).to_string())).await?;
    problem(&unknown, 401, None)?;
    let long = " ".repeat(EVENT_LIMIT + 1);
    problem(&t.control_text("POST", "/events", &headers, long).await?, 413, None)?;
    let batch = json!([body_for(&alice, 2)]).to_string();
    let credential = t.credential()?;
    for (path, body) in [("/events", body_for(&alice, 3).to_string()), ("/events/batch", batch.clone())] {
        let encoded = [("content-encoding", "gzip"), headers[0]];
        problem(&t.control_text("POST", path, &encoded, body.clone()).await?, 415, None)?;
        let of_text = [("authorization", &*credential), ("content-type", "text/plain"), headers[0]];
        problem(&t.http("POST", path, &of_text, Some(body)).await?, 415, None)?;
    }
    t.control_text("POST", "/events", &headers, body_for(&alice, 1).to_string()).await?.expect_status(202)?;
    problem(&t.control_text("POST", "/events/batch", &headers, "[]".to_owned()).await?, 400, None)?;
    t.control_text("POST", "/events/batch", &headers, batch).await?.expect_status(202)?;
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    numbered(&queued, [1, 2])
}

async fn no_store(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let proxy = t.redis_line()?;
    proxy.cut();
    problem(&t.control("POST", "/events", &body_for(&alice, 1)).await?, 503, None)?;
    proxy.restore();
    // The server comes back to its Redis by itself, in its own time.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    let mut poll = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        poll.tick().await;
        let answer = t.control("POST", "/events", &body_for(&alice, 2)).await?;
        if answer.status == 202 {
            break;
        }
        if tokio::time::Instant::now() > deadline {
            return Err(mismatch("202 within 10 s of Redis's return", answer.describe()));
        }
    }
    let queued = t.connect_raw(&alice, Transport::WebSocket).await?.expect_queued().await?;
    let numbers: Vec<_> = queued.iter().map(|payload| payload["metadata"]["n"].clone()).collect();
    expect::equal("what was refused is not queued", &json!([2]), &Value::Array(numbers))
}

async fn silent_store(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let alice = t.user().await?;
    let (session, owned) = (format!("/sessions/{}", alice.session), json!({"userId": alice.id}));
    t.redis_line()?.black_hole();
    for (method, path, body) in [
        ("POST", "/events", body_for(&alice, 1)),
        ("POST", "/events/batch", json!([body_for(&alice, 2)])),
        ("PUT", &*session, owned),
        ("DELETE", &*session, Value::Null),
    ] {
        problem(&t.control(method, path, &body).await?, 503, None)?;
    }
    Ok(())
}

async fn refused(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let names = [("user", &*alice.id), ("n", &*t.random(8)), ("other", "someone-else")];
    for entry in fixtures::list(fixtures::REFUSED, "bodies") {
        let body = match entry.get("text") {
            Some(text) => fixtures::fill(text, &names).as_str().unwrap_or_default().to_owned(),
            None => fixtures::fill(&entry["body"], &names).to_string(),
        };
        let status = u16::try_from(entry["status"].as_u64().unwrap_or(400)).unwrap_or(400);
        let answer = t.control_text("POST", "/events", &[], body).await?;
        let which = format!("for the body {} ({})", entry["name"], entry["why"]);
        problem(&answer, status, entry["names"].as_str()).map_err(|fault| fault.of(which))?;
    }
    received_nothing(&t, &alice).await
}

async fn problems(t: Bench) -> Outcome {
    problem(&t.http("POST", "/events", &[], Some("{}".to_owned())).await?, 401, None)?;
    problem(&t.control_text("POST", "/events", &[], "{".to_owned()).await?, 400, None)?;
    let alice = t.user().await?;
    let mut unknown = body_for(&alice, 1);
    unknown["eventType"] = json!("no.such");
    problem(&t.control("POST", "/events", &unknown).await?, 400, Some("eventType"))?;
    problem(&t.control("DELETE", &format!("/sessions/{}", t.session_id()), &Value::Null).await?, 404, None)?;
    // Where `%zz` does not stand for itself, the path is wrong; frameworks find that out before any handler.
    let odd = t.control("DELETE", "/sessions/%zz", &Value::Null).await?;
    problem(&odd, if odd.status == 400 { 400 } else { 404 }, None)?;
    received_nothing(&t, &alice).await
}

async fn bad_key(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let body = body_for(&alice, 1);
    let long = "k".repeat(256);
    for (path, body) in [("/events", body.to_string()), ("/events/batch", json!([body]).to_string())] {
        for key in ["", &long] {
            let answer = t.control_text("POST", path, &[("idempotency-key", key)], body.clone()).await?;
            problem(&answer, 400, None)?;
        }
    }
    let longest = t.random(255);
    let longest = [("idempotency-key", &*longest)];
    for (path, body) in [("/events", body_for(&alice, 2)), ("/events/batch", json!([body_for(&alice, 3)]))] {
        t.control_text("POST", path, &longest, body.to_string()).await?.expect_status(202)?;
    }
    finds(&t, &alice, [2, 3]).await.map(drop)
}

/// A reader that calls itself for each level runs out of stack; one that does not may well take the body.
async fn deep(t: Bench) -> Outcome {
    const LEVELS: usize = 10_000;
    let alice = t.user().await?;
    let mut bystander = t.connect_raw(&alice, Transport::WebSocket).await?;
    for (open, close) in [("[", "]"), (r#"{"":"#, "}")] {
        let nested = format!("{}1{}", open.repeat(LEVELS), close.repeat(LEVELS));
        let body = format!(
            r#"{{"eventType":"record.accessed","actorId":"actor-1","resourceId":"{}","metadata":{{"x":{nested}}}}}"#,
            t.session_id()
        );
        for (path, body) in [("/events", body.clone()), ("/events/batch", format!("[{body}]"))] {
            let answer = t.control_text("POST", path, &[], body).await?;
            if answer.status != 202 {
                problem(&answer, 400, None)?;
            }
        }
        let session = format!(r#"{{"userId":"somebody","x":{nested}}}"#);
        let path = format!("/sessions/{}", t.session_id());
        problem(&t.control_text("PUT", &path, &[], session).await?, 400, None)?;
    }
    let event = t.event_for(&alice);
    t.emit(&event).await?;
    let payload = bystander.expect_event("record.accessed").await?;
    expect::member(&payload, "resourceId", &event.resource_id)
}

async fn too_large(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut body = body_for(&alice, 1);
    let session = format!("/sessions/{}", t.session_id());
    let bob = t.user().await?;
    for headers in [&[][..], &[("transfer-encoding", "chunked")]] {
        let over = padded(&mut body, EVENT_LIMIT + 1);
        problem(&t.control_text("POST", "/events", headers, over.clone()).await?, 413, None)?;
        problem(&t.control_text("PUT", &session, headers, over).await?, 413, None)?;
        for over in [padded_widely(&mut body, EVENT_LIMIT + 1), filled(&body_for(&alice, 1), EVENT_LIMIT + 1)] {
            problem(&t.control_text("POST", "/events", headers, over).await?, 413, None)?;
        }
        let batch = filled(&json!([body_for(&alice, 1)]), BATCH_LIMIT + 1);
        problem(&t.control_text("POST", "/events/batch", headers, batch).await?, 413, None)?;
        for just_fits in
            [padded, padded_widely].map(|pad: fn(&mut Value, usize) -> String| pad(&mut body_for(&bob, 1), EVENT_LIMIT))
        {
            t.control_text("POST", "/events", headers, just_fits).await?.expect_status(202)?;
        }
        let batch = filled(&json!([body_for(&bob, 2)]), BATCH_LIMIT);
        t.control_text("POST", "/events/batch", headers, batch).await?.expect_status(202)?;
        let owned = filled(&json!({"userId": bob.id}), EVENT_LIMIT);
        t.control_text("PUT", &session, headers, owned).await?.expect_status(204)?;
    }
    received_nothing(&t, &alice).await
}

/// An event whose body has this length, in bytes.
fn padded(event: &mut Value, length: usize) -> String {
    event["metadata"]["padding"] = json!("");
    let without = event.to_string().len();
    event["metadata"]["padding"] = json!("x".repeat(length - without));
    event.to_string()
}

/// As [`padded`], with half as many letters.
fn padded_widely(event: &mut Value, length: usize) -> String {
    padded(event, length).replace("xx", "ü")
}

/// A body with so much space behind it that it has this length.
fn filled(body: &Value, length: usize) -> String {
    let text = body.to_string();
    let spaces = " ".repeat(length - text.len());
    text + &spaces
}

/// A right request of each route that has a body.
fn requests(t: &Bench, user: &User) -> [(&'static str, String, String); 3] {
    let one = body_for(user, 1);
    [
        ("POST", "/events".to_owned(), one.to_string()),
        ("POST", "/events/batch".to_owned(), json!([one]).to_string()),
        ("PUT", format!("/sessions/{}", t.session_id()), json!({"userId": user.id}).to_string()),
    ]
}

async fn content_type(t: Bench) -> Outcome {
    let (alice, bob) = (t.user().await?, t.user().await?);
    let credential = t.credential()?;
    let bearer = ("authorization", &*credential);
    let wrong = ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "text/json"];
    let wrong = wrong.into_iter().chain(["application/problem+json", "application/x-json", "multipart/form-data"]);
    let wrong: Vec<_> = wrong.map(Some).chain([None]).collect();
    for (method, path, body) in requests(&t, &alice) {
        for kind in &wrong {
            let headers: Vec<_> = [bearer].into_iter().chain(kind.map(|kind| ("content-type", kind))).collect();
            problem(&t.http(method, &path, &headers, Some(body.clone())).await?, 415, None)?;
        }
    }
    received_nothing(&t, &alice).await?;
    for (method, path, body) in requests(&t, &bob) {
        for kind in ["application/json; charset=utf-8", "Application/JSON"] {
            let headers = [bearer, ("content-type", kind)];
            let answer = t.http(method, &path, &headers, Some(body.clone())).await?;
            answer.expect_status(if method == "PUT" { 204 } else { 202 })?;
        }
    }
    Ok(())
}

async fn content_encoding(t: Bench) -> Outcome {
    let alice = t.user().await?;
    for (method, path, body) in &requests(&t, &alice) {
        for encoding in ["gzip", "br", "identity, gzip", "gzip, identity", "x-unheard-of"] {
            let answer = t.control_text(method, path, &[("content-encoding", encoding)], body.clone()).await?;
            problem(&answer, 415, None)?;
            let accepted = answer.header("accept-encoding").unwrap_or_default();
            expect::equal("Accept-Encoding", &json!("identity"), &json!(accepted))?;
        }
    }
    received_nothing(&t, &alice).await?;
    let bob = t.user().await?;
    for encoding in ["identity", "Identity", "identity, IDENTITY"] {
        let headers = [("content-encoding", encoding)];
        t.control_text("POST", "/events", &headers, body_for(&bob, 1).to_string()).await?.expect_status(202)?;
    }
    Ok(())
}

async fn unknown(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let session = format!("/sessions/{}", alice.session);
    let below = format!("{session}/more");
    for path in ["/no/such/route", "/sessions", "/event", "/events/more", "/events/batch/more", "/batch", &below] {
        for method in METHODS {
            problem(&asked(&t, &alice, method, path).await?, 404, None)
                .map_err(|fault| fault.of(format!("for {method} {path}")))?;
        }
    }
    let mut known = vec![("/events", &["POST"][..]), ("/events/batch", &["POST"]), (&*session, &["PUT", "DELETE"])];
    // They are routes by section 8 alone.
    if t.target().declares("config") {
        known.extend(["/healthz", "/readyz"].map(|path| (path, &["GET"][..])));
    }
    for (path, right) in known {
        for method in METHODS.iter().filter(|method| !right.contains(method)) {
            problem(&asked(&t, &alice, method, path).await?, 405, None)
                .map_err(|fault| fault.of(format!("for {method} {path}")))?;
        }
    }
    received_nothing(&t, &alice).await
}

/// A request with the credential, and, where its method has one, with a body that would be right somewhere.
async fn asked(t: &Bench, alice: &User, method: &str, path: &str) -> Outcome<Answer> {
    let body = match (method, body_for(alice, 1)) {
        ("GET" | "DELETE", _) => Value::Null,
        (_, event) if path.contains("batch") => json!([event]),
        (_, event) => event,
    };
    t.control(method, path, &body).await
}

/// Random bytes, cut bodies and changed bytes of right bodies, from the run's seed.
async fn garbage(t: Bench) -> Outcome {
    const REQUESTS: usize = 1_000;
    let alice = t.user().await?;
    let mut bystander = t.connect_raw(&alice, Transport::WebSocket).await?;
    let right = body_for(&alice, 1).to_string();
    let bodies: Vec<String> = (0..REQUESTS)
        .map(|n| match n % 3 {
            0 => t.random(n % 200),
            1 => right[..n % right.len()].to_owned(),
            _ => format!("{}{}{}", &right[..n % right.len()], '\u{1}', &right[n % right.len()..]),
        })
        .collect();
    for chunk in bodies.chunks(50) {
        let paths = ["/events", "/events/batch"];
        let requests =
            chunk.iter().enumerate().map(|(n, body)| t.control_text("POST", paths[n % 2], &[], body.clone()));
        for answer in join_all(requests).await {
            let answer = answer?;
            let refused = answer.status == 400 || answer.status == 429 && answer.retry_after().is_some();
            expect::that(refused, "HTTP 400 to a garbled body, or 429 with Retry-After", answer.describe())?;
        }
    }
    let sentinel = t.event_for(&alice);
    t.emit(&sentinel).await?;
    let payload = bystander.expect_event("record.accessed").await?;
    expect::member(&payload, "resourceId", &sentinel.resource_id)?;
    bystander.expect_silence(QUIET).await
}
