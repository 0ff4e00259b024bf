//! What a new target file can take from elsewhere: how servers of a kind are started, or what an OpenAPI document tells of the requests.

use std::{fs, str::FromStr};

use serde_json::{Map, Value};

/// Where a target file comes from.
#[derive(Debug, Clone)]
pub(super) enum From {
    /// A server of this kind, which the suite starts.
    Kind(&'static Kind),
    /// A server that this document describes.
    OpenApi(Value),
}

/// How servers of a kind are usually built and started.
#[derive(Debug)]
pub(super) struct Kind {
    name: &'static str,
    build: &'static str,
    command: &'static str,
}

const KINDS: &[Kind] = &[
    Kind { name: "express", build: r#"["npm", "ci"]"#, command: r#"["node", "server.js"]"# },
    Kind { name: "nestjs", build: r#"["npm", "run", "build"]"#, command: r#"["node", "dist/main.js"]"# },
    Kind {
        name: "python",
        build: r#"[".venv/bin/pip", "install", "--quiet", "--requirement", "requirements.txt"]"#,
        command: r#"[".venv/bin/uvicorn", "app:app", "--host", "127.0.0.1", "--port", "{port}"]"#,
    },
];

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("openapi=") {
            let document = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            let document = serde_json::from_str(&document).map_err(|error| format!("{path} is not JSON: {error}"))?;
            return Ok(Self::OpenApi(document));
        }
        let known = || KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
        let kind = KINDS.iter().find(|kind| kind.name == text);
        kind.map(Self::Kind).ok_or_else(|| format!("{text:?} is none of {}, openapi=FILE", known()))
    }
}

impl From {
    /// The template with what is known put in, and what is still to be written by hand.
    pub(super) fn fill(&self, template: &str) -> (String, Vec<String>) {
        match self {
            Self::Kind(Kind { build, command, .. }) => {
                let text = template.replace("\nurl = ", "\n# url = ");
                let text = text.replace(r#"# build = ["make"]"#, &format!("# build = {build}"));
                let text = text.replace(r#"# command = ["./server"]"#, &format!("# command = {command}"));
                // Those about Redis need a capability, which the file explains.
                (uncommented(&text, "# [process]").replace("\nREDIS_", "\n# REDIS_"), Vec::new())
            }
            Self::OpenApi(document) => described(document, template),
        }
    }
}

/// Takes the comment sign from every line of a commented table, from its header to the end of its paragraph.
pub(super) fn uncommented(text: &str, header: &str) -> String {
    let mut within = false;
    let lines = text.lines().map(|line| {
        within = line.starts_with('#') && (within || line == header);
        if within { line.trim_start_matches('#').trim_start() } else { line }
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The members of a body that the suite can fill, as they are called in most languages, and its placeholders.
const MEMBERS: &[(&str, &str)] = &[
    ("eventtype", "event_type"),
    ("actorid", "actor_id"),
    ("resourceid", "resource_id"),
    ("metadata", "metadata"),
    ("userid", "user_id"),
    ("expiresat", "expires_at"),
];

/// An operation of the document.
struct Operation<'a> {
    path: &'a str,
    method: &'a str,
    about: &'a Value,
}

fn described(document: &Value, template: &str) -> (String, Vec<String>) {
    let (mut text, mut missing) = (template.to_owned(), Vec::new());
    match document.pointer("/servers/0/url").and_then(Value::as_str).filter(|url| url.starts_with("http")) {
        Some(url) => text = text.replace("url = \"http://127.0.0.1:3000\"", &format!("url = {}", quoted(url))),
        None => missing.push("it names no server: url".to_owned()),
    }
    let all = operations(document);
    let emits = all.iter().find(|it| it.method == "post" && members(document, it.about).len() >= 3);
    match emits {
        Some(it) => {
            let body: String =
                members(document, it.about).iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
            text = within(&text, "[emit]", |table| request(table, it, ""));
            text = within(&text, "[emit.body]", |_| format!("[emit.body]\n{body}"));
        }
        None => missing.push("no POST has a body with eventType, actorId and resourceId: [emit]".to_owned()),
    }
    let of_a_session = |method: &[&str]| {
        all.iter().find(|it| {
            method.contains(&it.method)
                && it.path.to_lowercase().contains("session")
                && it.path.matches('{').count() == 1
        })
    };
    match (of_a_session(&["put", "post"]), of_a_session(&["delete"])) {
        (Some(create), Some(revoke)) => {
            let body: Vec<_> =
                members(document, create.about).iter().map(|(name, value)| format!("{name} = {value}")).collect();
            text = uncommented(&text, "# [sessions.create]")
                .replace("capabilities = [\"polling\"]", "capabilities = [\"polling\", \"sessions\"]");
            text = within(&text, "[sessions.create]", |table| request(table, create, &body.join(", ")));
            text = within(&text, "[sessions.revoke]", |table| request(table, revoke, ""));
        }
        _ => missing.push(
            "no path with a session's id has PUT or POST, and DELETE: [sessions], where there are any".to_owned(),
        ),
    }
    (text, missing)
}

fn operations<'a>(document: &'a Value) -> Vec<Operation<'a>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let of_path = |(path, item): (&'a String, &'a Value)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, about)| Operation { path, method, about })
    };
    paths.flat_map(of_path).collect()
}

/// The members of an operation's body that the suite can fill, each with its placeholder.
fn members(document: &Value, about: &Value) -> Vec<(String, String)> {
    let body = resolved(document, &about["requestBody"]);
    let schema = resolved(document, &body["content"]["application/json"]["schema"]);
    let known = |name: &String| {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let (_, placeholder) = MEMBERS.iter().find(|(member, _)| *member == plain)?;
        Some((key(name), format!("\"{{{placeholder}}}\"")))
    };
    let nothing = Map::new();
    schema["properties"].as_object().unwrap_or(&nothing).keys().filter_map(known).collect()
}

/// What a reference within the document leads to; a chain of them is followed to its end.
fn resolved<'a>(document: &'a Value, mut value: &'a Value) -> &'a Value {
    // A circle leads nowhere.
    for _ in 0..8 {
        let Some(path) = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) else { return value };
        value = document.pointer(path).unwrap_or(&Value::Null);
    }
    value
}

/// A table of a request, with method, path, statuses and body of an operation.
fn request(table: &str, Operation { path, method, about }: &Operation<'_>, body: &str) -> String {
    let session = |path: &str| match (path.find('{'), path.find('}')) {
        (Some(from), Some(to)) if from < to => format!("{}{{session_id}}{}", &path[..from], &path[to + 1..]),
        _ => path.to_owned(),
    };
    let statuses = about["responses"].as_object().into_iter().flatten().map(|(status, _)| status.as_str());
    // What is gone already is gone.
    let is_right =
        |status: &&str| status.len() == 3 && status.starts_with('2') || (*status == "404" && *method == "delete");
    let right: Vec<_> = statuses.filter(is_right).collect();
    let line = |line: &str| match line.split_once(" = ") {
        Some(("method", _)) => format!("method = {}\n", quoted(&method.to_uppercase())),
        Some(("path", _)) => format!("path = {}\n", quoted(&session(path))),
        Some(("status", _)) if !right.is_empty() => format!("status = [{}]\n", right.join(", ")),
        Some(("body", _)) if !body.is_empty() => format!("body = {{ {body} }}\n"),
        _ => format!("{line}\n"),
    };
    table.lines().map(line).collect()
}

/// The text with one table in it made anew: from its header to the next, or to the end of its paragraph.
fn within(text: &str, header: &str, anew: impl FnOnce(&str) -> String) -> String {
    let Some(from) = text.find(&format!("\n{header}\n")).map(|at| at + 1) else { return text.to_owned() };
    let rest = &text[from..];
    let ends = [rest.find("\n\n"), rest[1..].find("\n[").map(|at| at + 1)];
    let to = ends.into_iter().flatten().min().map_or(rest.len(), |at| at + 1);
    format!("{}{}{}", &text[..from], anew(&rest[..to]), &rest[to..])
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { quoted(name) }
}
