//! AUTH-24 and SPEC 19: what errors and the server's output tell.

use serde_json::json;

use super::kit::{
    control::{EVENT_LIMIT, body_for},
    texts::TRACES,
};
use crate::{
    bench::{Answer, Bench},
    case::{Case, Need},
    expect::{self, Outcome, inconclusive},
};

pub(super) const CASES: &[Case] = &[
    case!("AUTH-24/errors", "no HTTP error tells a secret, a stack trace or an address", errors)
        .needs(&[Need::OwnServer, Need::Capability("control")]),
    case!("AUTH-24/log-of-errors", "no line about a refused request tells a secret or a stack trace", log_of_errors)
        .needs(&[Need::OwnServer, Need::Capability("control")]),
    case!("PRIV-01/refused", "no line about a refused request tells of a user or an event", private_refusals)
        .needs(&[Need::OwnServer, Need::Capability("control")]),
];

/// Requests that are refused for every reason, each with the secret `told` wherever one could be.
async fn refusals(t: &Bench, told: &str) -> Outcome<Vec<Answer>> {
    let bearer = t.credential()?;
    let wrong = format!("{bearer}{told}");
    let alice = t.user().await?;
    let mut event = body_for(&alice, 1);
    event["actorId"] = json!(told);
    event["metadata"]["note"] = json!(told);
    let right = event.to_string();
    let cut = right[..right.len() - 3].to_owned();
    let mut unknown = event.clone();
    unknown[told] = json!(told);
    let mut of_no_type = event.clone();
    of_no_type["eventType"] = json!(told);
    let large = right.replace(told, &told.repeat(EVENT_LIMIT / told.len() + 1));
    let json_type = "application/json";
    let key = told.repeat(20);
    let requests: [(&str, &str, &str, &str, String); 14] = [
        ("POST", "/events", &wrong, json_type, right.clone()),
        ("POST", "/events/batch", &wrong, json_type, format!("[{right}]")),
        ("PUT", &format!("/sessions/{told}"), &wrong, json_type, json!({"userId": told}).to_string()),
        ("DELETE", &format!("/sessions/{told}"), &wrong, json_type, String::new()),
        ("POST", "/events", &bearer, json_type, cut.clone()),
        ("POST", "/events/batch", &bearer, json_type, format!("[{cut}]")),
        ("POST", "/events", &bearer, json_type, unknown.to_string()),
        ("POST", "/events", &bearer, json_type, of_no_type.to_string()),
        ("PUT", &format!("/sessions/{told}"), &bearer, json_type, json!({"userId": 7, "note": told}).to_string()),
        ("POST", "/events", &bearer, "text/plain", right.clone()),
        ("POST", "/events", &bearer, json_type, large),
        ("GET", "/no/such/route", &bearer, json_type, String::new()),
        ("PATCH", "/events", &bearer, json_type, right.clone()),
        ("DELETE", &format!("/sessions/{}", t.session_id()), &bearer, json_type, String::new()),
    ];
    let mut answers = Vec::new();
    for (method, path, credential, kind, body) in requests {
        let body = (!body.is_empty()).then_some(body);
        let mut headers = vec![("authorization", credential)];
        if body.is_some() {
            headers.push(("content-type", kind));
        }
        let answer = t.http(method, path, &headers, body).await?;
        expect::that((400..500).contains(&answer.status), format!("{method} {path} refused"), answer.describe())?;
        answers.push(answer);
    }
    let headers = [("idempotency-key", &*key)];
    answers.push(t.control_text("POST", "/events", &headers, right).await?);
    Ok(answers)
}

/// What is answered with 503 while the store is away; nothing where the suite cannot take it away.
async fn store_away(t: &Bench) -> Outcome<Vec<Answer>> {
    let Some(proxy) = t.server().proxy() else { return Ok(Vec::new()) };
    let alice = t.user().await?;
    let session = format!("/sessions/{}", alice.session);
    proxy.cut();
    let mut answers = Vec::new();
    for (method, path, body) in [
        ("POST", "/events", body_for(&alice, 1)),
        ("POST", "/events/batch", json!([body_for(&alice, 2)])),
        ("PUT", &*session, json!({"userId": alice.id})),
        ("DELETE", &*session, json!(null)),
        ("GET", "/readyz", json!(null)),
    ] {
        answers.push(t.control(method, path, &body).await?);
    }
    proxy.restore();
    // So that the server can end as it would. Whether it is back is not the question here.
    t.emit_until_accepted(&alice, 3).await.ok();
    Ok(answers)
}

async fn errors(t: Bench) -> Outcome {
    let t = t.own_server(&[]).await?;
    let credential = t.credential()?;
    let secrets: Vec<_> = t.target().secrets.values().cloned().chain([credential]).collect();
    let mut answers = refusals(&t, &t.random(16)).await?;
    answers.extend(store_away(&t).await?);
    for answer in answers {
        let headers = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}\n")).collect::<String>();
        let all = format!("{headers}{}", answer.body);
        for told in TRACES.iter().copied().chain(["127.0.0.1", "localhost", "redis:", "ECONN"]) {
            expect::that(!all.contains(told), format!("an error without {told:?}"), answer.describe())?;
        }
        let secret = secrets.iter().any(|secret| all.contains(secret.as_str()));
        expect::that(!secret, "an error without a secret", answer.describe())?;
    }
    Ok(())
}

fn heard(t: &Bench) -> Outcome {
    if t.server().is_heard() {
        return Ok(());
    }
    Err(inconclusive("what the server says is not the suite's to hear: commands of the target file start it"))
}

async fn log_of_errors(t: Bench) -> Outcome {
    heard(&t)?;
    let t = t.own_server(&[]).await?;
    refusals(&t, &t.random(16)).await?;
    store_away(&t).await?;
    t.restart().await?;
    let output = t.server().output();
    for (name, secret) in &t.target().secrets {
        expect::that(!output.contains(secret.as_str()), "an output without secrets", format!("{name} stands in it"))?;
    }
    for trace in TRACES {
        let line = output.lines().find(|line| line.contains(trace));
        expect::that(line.is_none(), format!("an output without {trace:?}"), line.unwrap_or_default())?;
    }
    Ok(())
}

async fn private_refusals(t: Bench) -> Outcome {
    heard(&t)?;
    let t = t.own_server(&[]).await?;
    let told = t.random(16);
    refusals(&t, &told).await?;
    store_away(&t).await?;
    t.restart().await?;
    let output = t.server().output();
    let line = output.lines().find(|line| line.contains(&told));
    expect::that(line.is_none(), "an output without what was in a refused request", line.unwrap_or_default())
}
