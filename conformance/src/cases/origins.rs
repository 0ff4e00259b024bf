//! SPEC 7: which pages a browser lets speak to the server.

use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::kit::numbers::receives;
use crate::{
    bench::{Answer, Bench},
    case::{Case, Need},
    client::{Opening, Transport, Wire, WireError},
    expect::{self, Outcome, mismatch},
};

/// In what time a server answers an upgrade that it grants.
const UPGRADES_WITHIN: Duration = Duration::from_secs(3);

/// The headers that ask for a WebSocket.
const UPGRADE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

const POLL: &str = "/socket.io/?EIO=4&transport=polling";

pub(super) const CASES: &[Case] = &[
    case!("ORIGIN-01/listed", "a listed origin gets CORS headers with credentials", listed),
    case!("ORIGIN-01/listed-otherwise", "however an origin is written in the list, it is listed", listed_otherwise)
        .needs(&[Need::OwnServer, Need::Capability("config")]),
    case!("ORIGIN-01/control", "every answer of the control surface can be read, errors too", control_from_listed)
        .needs(&[Need::Capability("control")])
        .also(&["ORIGIN-07"]),
    case!("ORIGIN-01/preflight", "a listed origin's preflight is answered", preflight),
    case!("ORIGIN-02/unlisted", "no other origin gets an Access-Control-Allow-Origin", unlisted),
    case!("ORIGIN-02/control", "no route of the control surface allows another origin", control)
        .needs(&[Need::Capability("control")]),
    case!("ORIGIN-20/vary", "an answer that depends on its origin says so", vary),
    case!("ORIGIN-03/no-wildcard", "a wildcard never comes with credentials", no_wildcard),
    case!("ORIGIN-04/polling", "polling from an unlisted origin is refused with 403", polling),
    case!("ORIGIN-04/later-requests", "so is each later request of a polling session", later_requests)
        .needs(&[Need::Capability("polling")]),
    case!("ORIGIN-04/paths", "no way to write the path leads past that", paths).also(&["ORIGIN-05"]),
    case!("ORIGIN-05/upgrade", "an upgrade from an unlisted origin is refused with 403", upgrade),
    case!("ORIGIN-06/none", "a client without an origin is served", none),
    case!("ORIGIN-07/own", "the server's own origin may come in, over both transports", own),
    case!("ORIGIN-07/not-quite", "an origin that resembles the server's own is refused", not_own)
        .also(&["ORIGIN-02", "ORIGIN-04"]),
    case!("ORIGIN-08/headers", "a preflight is allowed the headers that it asks for", headers),
    case!("ORIGIN-09/null", "null can be listed", null).needs(&[Need::OwnServer]),
    case!(
        "ORIGIN-09/schemes",
        "so can an origin of an application's own scheme, and no other comes in by that",
        own_scheme
    )
    .needs(&[Need::OwnServer])
    .also(&["ORIGIN-02", "ORIGIN-04"]),
];

fn first_listed(t: &Bench) -> String {
    t.target().origins.listed.first().cloned().unwrap_or_default()
}

/// Origins that resemble a listed one and are not it, and some that are trusted too easily.
fn others(t: &Bench) -> Vec<String> {
    let listed = &t.target().origins.listed;
    let mut others: Vec<_> = listed.iter().flat_map(|origin| look_alikes(origin)).collect();
    others.push(listed.join(","));
    others.extend(
        [
            "https://evil.example",
            "null",
            "file://",
            "http://localhost",
            "http://localhost:9",
            "https://localhost:9",
            "http://127.0.0.1:9",
            "http://[::1]:9",
            "http://10.0.0.7",
            "http://192.168.0.7:3000",
            "capacitor://localhost",
            "ionic://localhost",
            "chrome-extension://abcdefghijklmnop",
        ]
        .map(str::to_owned),
    );
    others.retain(|origin| !listed.contains(origin));
    others
}

fn look_alikes(listed: &str) -> Vec<String> {
    let (scheme, rest) = listed.split_once("://").unwrap_or(("http", listed));
    let host = rest.split(':').next().unwrap_or(rest);
    let other_scheme = if scheme == "http" { "https" } else { "http" };
    // A listed origin is a text, and not a pattern of which a dot is any letter.
    let mut dots: Vec<_> =
        rest.match_indices('.').map(|(at, _)| format!("{scheme}://{}x{}", &rest[..at], &rest[at + 1..])).collect();
    let alike = [
        format!("{other_scheme}://{rest}"),
        format!("{scheme}://{host}:9"),
        format!("{listed}0"),
        format!("{listed}.evil.example"),
        format!("{scheme}://{host}.evil.example"),
        format!("{scheme}://evil-{rest}"),
        format!("{scheme}://evil.{rest}"),
        format!("{scheme}://www.{rest}"),
        format!("{scheme}://{}", rest.replacen(host, &format!("{host}."), 1)),
        format!("{scheme}://evil.example/{rest}"),
        format!("{scheme}://evil.example?{listed}"),
        format!("{scheme}://{rest}@evil.example"),
        format!("x{listed}"),
        listed[..listed.len() - 1].to_owned(),
    ];
    dots.extend(alike);
    if rest != host {
        dots.push(format!("{scheme}://{host}"));
    }
    dots
}

async fn poll_from(t: &Bench, origin: &str) -> Outcome<Answer> {
    t.http("GET", POLL, &[("origin", origin)], None::<String>).await
}

fn allows(answer: &Answer, origin: &str) -> Outcome {
    let (allowed, credentials) =
        (answer.header("access-control-allow-origin"), answer.header("access-control-allow-credentials"));
    expect::that(allowed == Some(origin), format!("Access-Control-Allow-Origin: {origin}"), format!("{allowed:?}"))?;
    expect::that(credentials == Some("true"), "Access-Control-Allow-Credentials: true", format!("{credentials:?}"))
}

async fn listed(t: Bench) -> Outcome {
    for origin in t.target().origins.listed.iter().flat_map(|origin| spellings(origin)) {
        welcomes(&t, &origin).await?;
    }
    let origin = first_listed(&t);
    for (request, answer) in of_sockets(&t, &origin).await? {
        allows(&answer, &origin).map_err(|fault| fault.of(format!("for {request}")))?;
    }
    Ok(())
}

/// What is answered to a page's requests of a polling session, to those that are wrong as well, and to its preflight.
async fn of_sockets(t: &Bench, origin: &str) -> Outcome<Vec<(String, Answer)>> {
    let from = ("origin", origin);
    let plain = ("content-type", "text/plain;charset=UTF-8");
    let asks = ("access-control-request-method", "POST");
    let mut requests = vec![
        ("OPTIONS", POLL.to_owned(), vec![from, asks, ("access-control-request-headers", "content-type")], None),
        ("GET", format!("{POLL}&sid=none"), vec![from], None),
        ("GET", "/socket.io/?EIO=4&transport=none".to_owned(), vec![from], None),
    ];
    if t.target().declares("polling") {
        let alice = t.user().await?;
        let opened = t.http("GET", POLL, &[from], None::<String>).await?;
        let handshake: Value = serde_json::from_str(opened.body.get(1..).unwrap_or_default()).unwrap_or_default();
        let path = format!("{POLL}&sid={}", handshake["sid"].as_str().unwrap_or_default());
        let connect = format!("40/notifications,{}", json!({"token": t.token(&alice).await?}));
        requests.push(("POST", path.clone(), vec![from, plain], Some(connect)));
        requests.push(("GET", path, vec![from], None));
    }
    let mut answers = Vec::new();
    for (method, path, headers, body) in requests {
        answers.push((format!("{method} {path}"), t.http(method, &path, &headers, body).await?));
    }
    Ok(answers)
}

/// Polling and a WebSocket from this origin.
async fn welcomes(t: &Bench, origin: &str) -> Outcome {
    let answer = poll_from(t, origin).await?;
    expect::that(answer.status == 200, format!("HTTP 200 to {origin}"), answer.describe())?;
    allows(&answer, origin)?;
    let opened = open_from(t, origin).await;
    opened.map(drop).map_err(|error| mismatch(format!("a WebSocket from {origin}"), error.to_string()))
}

/// How an origin may be written: schemes and hosts have no case, and a scheme's own port need not be named.
fn spellings(origin: &str) -> Vec<String> {
    let Some((scheme, authority)) = origin.split_once("://") else { return vec![origin.to_owned()] };
    let mut all = vec![origin.to_owned(), format!("{scheme}://{}", authority.to_uppercase())];
    let port = if scheme == "https" { ":443" } else { ":80" };
    match authority.strip_suffix(port) {
        Some(host) => all.push(format!("{scheme}://{host}")),
        None if !authority.contains(':') => all.push(format!("{origin}{port}")),
        None => {}
    }
    all
}

/// Where the list has an origin as no browser writes it.
async fn listed_otherwise(t: Bench) -> Outcome {
    let mut changes = crate::instance::Changes::default();
    let list = "https://portal.example.test:443, http://app.example.test:80 ,HTTP://Intranet.Example.Test:8080";
    changes.set.insert("CORS_ORIGIN".to_owned(), list.to_owned());
    let t = t.own_server_with(&changes, None).await?;
    for origin in ["https://portal.example.test", "http://app.example.test", "http://intranet.example.test:8080"] {
        welcomes(&t, origin).await?;
    }
    for origin in ["http://portal.example.test", "https://app.example.test", "http://intranet.example.test"] {
        poll_from(&t, origin).await?.expect_status(403)?;
    }
    Ok(())
}

/// All that a page may ask for: what it is told of an error it has to be able to read.
async fn control_from_listed(t: Bench) -> Outcome {
    let own = t.base().to_owned();
    for origin in [first_listed(&t), own] {
        for (route, answer) in from_page(&t, &origin).await? {
            allows(&answer, &origin).map_err(|fault| fault.of(format!("for {route} from {origin}")))?;
        }
    }
    Ok(())
}

async fn preflight(t: Bench) -> Outcome {
    let origin = first_listed(&t);
    let headers = [
        ("origin", &*origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let answer = t.http("OPTIONS", POLL, &headers, None::<String>).await?;
    expect::that((200..300).contains(&answer.status), "HTTP 2xx", answer.describe())?;
    allows(&answer, &origin)?;
    let methods = answer.header("access-control-allow-methods").unwrap_or_default().to_uppercase();
    expect::that(methods.contains("POST"), "Access-Control-Allow-Methods with POST", methods)
}

async fn unlisted(t: Bench) -> Outcome {
    for origin in others(&t) {
        let answer = poll_from(&t, &origin).await?;
        let allowed = answer.header("access-control-allow-origin");
        expect::that(
            allowed.is_none(),
            format!("no Access-Control-Allow-Origin for {origin}"),
            format!("{allowed:?}"),
        )?;
    }
    const ORIGIN: &str = "https://evil.example";
    let mut answers = of_sockets(&t, ORIGIN).await?;
    let mut upgrade = vec![("origin", ORIGIN)];
    upgrade.extend(UPGRADE);
    let path = "/socket.io/?EIO=4&transport=websocket";
    answers.push((format!("GET {path}"), t.http("GET", path, &upgrade, None::<String>).await?));
    for (request, answer) in answers {
        let allowed = answer.header("access-control-allow-origin");
        let told = format!("no Access-Control-Allow-Origin for {request} from {ORIGIN}");
        expect::that(allowed.is_none(), told, format!("{allowed:?}"))?;
    }
    Ok(())
}

async fn no_wildcard(t: Bench) -> Outcome {
    let listed = first_listed(&t);
    for origin in ["https://evil.example", &*listed, "*"] {
        let answer = poll_from(&t, origin).await?;
        let wildcard = answer.header("access-control-allow-origin") == Some("*");
        let credentials = answer.header("access-control-allow-credentials").is_some();
        expect::that(!(wildcard && credentials), "no * with credentials", format!("both, for the origin {origin}"))?;
    }
    wildcard_configured(&t).await
}

/// Where the suite may configure it, `*` is asked for by name.
async fn wildcard_configured(t: &Bench) -> Outcome {
    if !t.target().declares("config") {
        return Ok(());
    }
    let mut changes = crate::instance::Changes::default();
    changes.set.insert("CORS_ORIGIN".to_owned(), "*".to_owned());
    let open = t.own_server_with(&changes, None).await?;
    const ORIGIN: &str = "https://anywhere.example";
    let mut answers = vec![("polling".to_owned(), poll_from(&open, ORIGIN).await?)];
    answers.extend(of_sockets(&open, ORIGIN).await?);
    if open.target().declares("control") {
        answers.extend(from_page(&open, ORIGIN).await?);
    }
    for (route, answer) in answers {
        let credentials = answer.header("access-control-allow-credentials");
        let told = format!("no credentials for {route} with CORS_ORIGIN=*");
        expect::that(credentials.is_none(), told, format!("{credentials:?}"))?;
    }
    Ok(())
}

async fn polling(t: Bench) -> Outcome {
    for origin in others(&t) {
        poll_from(&t, &origin).await?.expect_status(403)?;
    }
    Ok(())
}

/// What a router takes for the same path, and a check of the path may not.
async fn paths(t: Bench) -> Outcome {
    const PATHS: [&str; 7] = [
        "/socket.io",
        "//socket.io/",
        "/./socket.io/",
        "/Socket.IO/",
        "/%73ocket.io/",
        "/socket.io/x",
        "/socket.io/;x",
    ];
    try_join_all(PATHS.map(|path| leads_nowhere(&t, path))).await.map(drop)
}

async fn leads_nowhere(t: &Bench, path: &str) -> Outcome {
    const ORIGIN: (&str, &str) = ("origin", "https://evil.example");
    let polling = format!("{path}?EIO=4&transport=polling");
    let polled = t.http("GET", &polling, &[ORIGIN], None::<String>).await?;
    let opened = polled.status == 200 && polled.body.starts_with("0{");
    expect::that(!opened, format!("no session by {polling} from {}", ORIGIN.1), polled.describe())?;
    let websocket = format!("{path}?EIO=4&transport=websocket");
    // Where nobody serves the path, it may be that nobody answers.
    let upgraded =
        timeout(UPGRADES_WITHIN, t.http("GET", &websocket, &[&[ORIGIN], &UPGRADE[..]].concat(), None::<String>)).await;
    let upgraded = matches!(&upgraded, Ok(Ok(answer)) if answer.status == 101);
    expect::that(!upgraded, format!("no WebSocket by {websocket} from {}", ORIGIN.1), "HTTP 101")
}

async fn open_from(t: &Bench, origin: &str) -> Result<Wire, WireError> {
    let opening: Opening = t.opening(Transport::WebSocket).header("origin", origin);
    Wire::open(opening, t.transcript().clone()).await
}

async fn upgrade(t: Bench) -> Outcome {
    for origin in others(&t) {
        match open_from(&t, &origin).await {
            Err(WireError::Refused { status: 403, .. }) => {}
            Err(other) => return Err(mismatch(format!("HTTP 403 for {origin}"), other.to_string())),
            Ok(_) => return Err(mismatch(format!("HTTP 403 for {origin}"), "a WebSocket")),
        }
    }
    Ok(())
}

async fn none(t: Bench) -> Outcome {
    let alice = t.user().await?;
    for transport in t.transports() {
        t.connect_raw(&alice, transport).await?.disconnect().await;
        // What else tells of a page is no Origin.
        let over = t.opening(transport).header("referer", "https://evil.example/page");
        let over = over.header("sec-fetch-site", "cross-site").header("user-agent", "Mozilla/5.0");
        let mut device = t.attempt_raw(over, Some(json!({"token": t.token(&alice).await?}))).await?;
        device.expect_accepted().await?;
        device.disconnect().await;
    }
    Ok(())
}

async fn own(t: Bench) -> Outcome {
    let base = t.base().to_owned();
    let authority = base.rsplit_once("://").map_or(&*base, |(_, authority)| authority).to_owned();
    for origin in [base.clone(), format!("ws://{authority}")] {
        open_from(&t, &origin)
            .await
            .map_err(|error| mismatch(format!("a WebSocket from {origin}"), error.to_string()))?;
    }
    let answer = poll_from(&t, &base).await?;
    answer.expect_status(200)?;
    allows(&answer, &base)?;
    for (host, origin) in [
        ("notify.example.test:8080", "http://notify.example.test:8080"),
        ("notify.example.test:8080", "https://NOTIFY.example.test:8080"),
        ("Notify.Example.test", "http://notify.example.test"),
        ("notify.example.test", "https://notify.example.test"),
        ("notify.example.test:80", "http://notify.example.test"),
        ("notify.example.test", "https://notify.example.test:443"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("192.0.2.7:8080", "http://192.0.2.7:8080"),
        ("notify.example.test", "ws://notify.example.test"),
        ("notify.example.test", "wss://notify.example.test"),
        ("notify.example.test:8080", "wss://notify.example.test:8080"),
    ] {
        let answer = poll_at(&t, host, origin).await?;
        expect::that(answer.status == 200, format!("HTTP 200 to {origin} at {host}"), answer.describe())?;
        allows(&answer, origin)?;
        let opening = t.opening(Transport::WebSocket).header("host", host).header("origin", origin);
        let opened = Wire::open(opening, t.transcript().clone()).await;
        opened.map_err(|error| mismatch(format!("a WebSocket from {origin} at {host}"), error.to_string()))?;
    }
    Ok(())
}

async fn not_own(t: Bench) -> Outcome {
    for (host, origin) in [
        ("notify.example.test:8080", "http://notify.example.test:8081"),
        ("notify.example.test:8080", "http://notify.example.test"),
        ("notify.example.test", "http://notify.example.test:8080"),
        ("notify.example.test:443", "http://notify.example.test"),
        ("notify.example.test", "http://notify.example.test.evil.example"),
        ("notify.example.test", "http://evil-notify.example.test"),
        ("notify.example.test", "file://notify.example.test"),
        ("notify.example.test", "http://notify.example.test/"),
    ] {
        let answer = poll_at(&t, host, origin).await?;
        expect::that(answer.status == 403, format!("HTTP 403 to {origin} at {host}"), answer.describe())?;
        let allowed = answer.header("access-control-allow-origin");
        expect::that(allowed.is_none(), "no Access-Control-Allow-Origin", format!("{allowed:?}"))?;
    }
    // What anybody can write counts only where a proxy is trusted.
    for (name, host) in [
        ("x-forwarded-host", "notify.example.test"),
        ("forwarded", "host=notify.example.test;proto=http"),
        ("x-original-host", "notify.example.test"),
        ("x-host", "notify.example.test"),
        ("x-forwarded-server", "notify.example.test"),
    ] {
        let told = [("origin", "http://notify.example.test"), (name, host)];
        t.http("GET", POLL, &told, None::<String>).await?.expect_status(403)?;
    }
    Ok(())
}

async fn poll_at(t: &Bench, host: &str, origin: &str) -> Outcome<Answer> {
    t.http("GET", POLL, &[("host", host), ("origin", origin)], None::<String>).await
}

async fn headers(t: Bench) -> Outcome {
    allows_headers(&t, &first_listed(&t)).await?;
    allows_headers(&t, t.base()).await
}

async fn allows_headers(t: &Bench, origin: &str) -> Outcome {
    let mut paths = vec![POLL];
    paths.extend(
        t.target().declares("control").then_some(["/events", "/events/batch", "/sessions/x"]).into_iter().flatten(),
    );
    for path in paths {
        for (method, asked) in [
            ("POST", "baggage,sentry-trace,x-client-version"),
            ("PUT", "authorization, content-type, traceparent"),
            ("DELETE", "authorization"),
            ("GET", "x-a"),
        ] {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", method),
                ("access-control-request-headers", asked),
            ];
            let answer = t.http("OPTIONS", path, &headers, None::<String>).await?;
            expect::that((200..300).contains(&answer.status), "HTTP 2xx", answer.describe())?;
            let allowed = answer.header("access-control-allow-headers").unwrap_or_default().to_lowercase();
            let allowed: Vec<_> = allowed.split(',').map(str::trim).collect();
            let all = asked.split(',').all(|name| allowed.contains(&name.trim()));
            expect::that(
                all,
                format!("Access-Control-Allow-Headers with {asked}, for {path}"),
                format!("{allowed:?}"),
            )?;
        }
    }
    Ok(())
}

async fn null(t: Bench) -> Outcome {
    let mut changes = crate::instance::Changes::default();
    changes.set.insert("CORS_ORIGIN".to_owned(), "http://app.example.test, null".to_owned());
    let t = t.own_server_with(&changes, None).await?;
    welcomes(&t, "null").await?;
    if t.target().declares("control") {
        for (route, answer) in from_page(&t, "null").await? {
            allows(&answer, "null").map_err(|fault| fault.of(format!("for {route} from null")))?;
        }
    }
    poll_from(&t, "file://").await?.expect_status(403)
}

/// As of applications whose pages are not from the web: to some libraries all such origins are `null`.
async fn own_scheme(t: Bench) -> Outcome {
    let mut changes = crate::instance::Changes::default();
    changes.set.insert("CORS_ORIGIN".to_owned(), "http://app.example.test, capacitor://localhost".to_owned());
    let t = t.own_server_with(&changes, None).await?;
    welcomes(&t, "capacitor://localhost").await?;
    for other in ["null", "evil://localhost", "capacitor://elsewhere", "http://localhost"] {
        poll_from(&t, other).await?.expect_status(403)?;
    }
    Ok(())
}

/// The method, path, headers and body of a request.
type Asked<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, Option<&'a str>);

async fn control(t: Bench) -> Outcome {
    for origin in ["https://evil.example", "null"].map(str::to_owned).into_iter().chain(others(&t).into_iter().take(6))
    {
        for (route, answer) in from_page(&t, &origin).await? {
            let told = format!("no Access-Control-Allow-Origin for {route} from {origin}");
            let allowed = answer.header("access-control-allow-origin");
            expect::that(allowed.is_none(), told, format!("{allowed:?}"))?;
        }
    }
    Ok(())
}

/// What is answered to requests for every route of the control surface, right and wrong ones, and preflights, by their method and path.
async fn from_page(t: &Bench, origin: &str) -> Outcome<Vec<(String, Answer)>> {
    let alice = t.user().await?;
    let bearer = t.credential()?;
    let event = t.event_for(&alice).body().to_string();
    let session = format!("/sessions/{}", t.session_id());
    let owner = json!({"userId": alice.id}).to_string();
    let credentials = ("authorization", &*bearer);
    let json_type = ("content-type", "application/json");
    let from = ("origin", origin);
    let asks = ("access-control-request-method", "POST");
    let headers = ("access-control-request-headers", "authorization, content-type");
    let mut requests: Vec<Asked<'_>> = vec![
        ("POST", "/events", vec![from, credentials, json_type], Some(&event)),
        ("POST", "/events", vec![from, json_type], Some(&event)),
        ("POST", "/events", vec![from, credentials, json_type], Some("{")),
        ("POST", "/events", vec![from, credentials], Some("x")),
        ("POST", "/events", vec![from, credentials, json_type, ("content-encoding", "gzip")], Some("x")),
        ("POST", "/events/batch", vec![from, json_type], Some("[]")),
        ("PUT", &session, vec![from, credentials, json_type], Some(&owner)),
        ("DELETE", &session, vec![from, credentials], None),
        ("DELETE", &session, vec![from, credentials], None),
        // No text at all.
        ("DELETE", "/sessions/%E0%A4%A", vec![from, credentials], None),
        ("GET", "/no/such/route", vec![from], None),
        ("GET", "/events", vec![from], None),
        ("OPTIONS", "/events", vec![from, asks, headers], None),
        ("OPTIONS", &session, vec![from, asks, headers], None),
    ];
    if t.target().declares("config") {
        requests.push(("GET", "/healthz", vec![from], None));
        requests.push(("GET", "/readyz", vec![from], None));
    }
    let mut answers = Vec::new();
    for (method, path, headers, body) in requests {
        answers.push((format!("{method} {path}"), t.http(method, path, &headers, body.map(str::to_owned)).await?));
    }
    Ok(answers)
}

/// Else a cache gives the answer for one origin to another.
async fn vary(t: Bench) -> Outcome {
    let own = t.base().to_owned();
    let mut answers = Vec::new();
    for origin in [&*first_listed(&t), &*own] {
        answers.push((POLL.to_owned(), poll_from(&t, origin).await?));
        answers.extend(of_sockets(&t, origin).await?);
        if t.target().declares("control") {
            answers.extend(from_page(&t, origin).await?);
        }
    }
    for (request, answer) in
        answers.iter().filter(|(_, answer)| answer.header("access-control-allow-origin").is_some_and(|it| it != "*"))
    {
        let vary =
            answer.headers.get_all("vary").iter().filter_map(|it| it.to_str().ok()).collect::<Vec<_>>().join(",");
        let told = vary.split(',').any(|name| matches!(name.trim().to_ascii_lowercase().as_str(), "origin" | "*"));
        expect::that(told, format!("Vary: Origin for {request}"), format!("{vary:?}"))?;
    }
    Ok(())
}

/// A stranger who has learnt the id of a session polls it, posts to it, and upgrades it.
async fn later_requests(t: Bench) -> Outcome {
    let alice = t.user().await?;
    let mut device = t.connect_raw(&alice, Transport::Polling).await?;
    let Some(sid) = device.wire().map(|wire| wire.handshake.sid.clone()) else { return Ok(()) };
    let path = format!("{POLL}&sid={sid}");
    for origin in others(&t).iter().take(4) {
        let headers = [("origin", &**origin), ("content-type", "text/plain")];
        let posted = t.http("POST", &path, &headers, Some("42/notifications,7[\"ping\"]".to_owned())).await?;
        let polled = t.http("GET", &path, &headers[..1], None::<String>).await?;
        for answer in [posted, polled] {
            expect::that(answer.status == 403, format!("HTTP 403 to {origin}"), answer.describe())?;
            let allowed = answer.header("access-control-allow-origin");
            expect::that(allowed.is_none(), "no Access-Control-Allow-Origin", format!("{allowed:?}"))?;
        }
        let opening = t.opening(Transport::WebSocket).header("origin", &**origin).query("sid", &*sid);
        match Wire::open(opening, t.transcript().clone()).await {
            Err(WireError::Refused { status: 403, .. }) => {}
            other => {
                return Err(mismatch(format!("HTTP 403 to an upgrade from {origin}"), format!("{:?}", other.err())));
            }
        }
    }
    // The session goes on as if there had been none of them.
    t.emit_numbered(&alice, 1, 1).await?;
    receives(&mut device, [1]).await
}
