//! The keys of a target file, and what each may hold. What one key says about another is not known here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use super::{
    CAPABILITIES, Control, Hook, Jwt, Key, Mutants, Origins, Problem, ProcessTarget, Ready, Request, Sessions, Start,
    Target, environment, hint,
    reader::{Item, Notes, Table},
    rules,
};

/// The settings that a case may ask for.
const SETTINGS: &[&str] = &[
    "ack_timeout_seconds",
    "max_devices_per_user",
    "max_events_per_second",
    "ping_interval_seconds",
    "ping_timeout_seconds",
    "queue_max_events",
    "queue_ttl_seconds",
];
/// How tokens may be signed.
const ALGORITHMS: &[&str] = &["HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA"];

/// Reads the whole file.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn read(
    text: &str,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
    cases: &[&str],
) -> Result<Target, Vec<Problem>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let notes = Notes::on(text);
    notes.syntax(&errors);
    if !errors.is_empty() {
        // What else there is to say would be said about a text that is not the author's.
        return Err(notes.into_problems());
    }
    let mut target = target(Table::root(&notes, document.get_ref()), environment);
    folder.clone_into(&mut target.folder);
    rules::check(&target, cases, &notes);
    let problems = notes.into_problems();
    if problems.is_empty() { Ok(target) } else { Err(problems) }
}

/// Where something is missing or wrong, it is noted, and something harmless stands in its place.
fn target(mut root: Table<'_>, environment: &dyn Fn(&str) -> Option<String>) -> Target {
    let target = Target {
        name: root.needed("name").and_then(|item| item.text()).unwrap_or_default(),
        capabilities: root.item("capabilities").and_then(|item| capabilities(&item)).unwrap_or_default(),
        url: root.item("url").map(|item| url(&item, environment)),
        process: root.item("process").map(|item| item.table().map(process).unwrap_or_default()),
        secrets: root.item("secrets").and_then(|item| secrets(&item, environment)).unwrap_or_default(),
        jwt: root.needed("jwt").and_then(|item| item.table()).map(jwt).unwrap_or_default(),
        origins: root.item("origins").and_then(|item| item.table()).map(origins).unwrap_or_default(),
        emit: root.needed("emit").map(|item| hook(&item)).unwrap_or_default(),
        sessions: root.item("sessions").map(|item| item.table().map(sessions).unwrap_or_default()),
        control: root.item("control").and_then(|item| item.table()).map(control),
        not_applicable: root.item("not_applicable").and_then(|item| item.texts()).unwrap_or_default(),
        folder: PathBuf::new(),
    };
    root.end();
    target
}

fn capabilities(list: &Item<'_>) -> Option<BTreeSet<String>> {
    let mut declared = BTreeSet::new();
    for item in list.list()? {
        let Some(name) = item.any_text() else { continue };
        if !CAPABILITIES.contains(&name.as_str()) {
            let hint = hint::meant(&name, CAPABILITIES.iter().copied());
            let hint = hint.map_or_else(|| format!("; known are {}", CAPABILITIES.join(", ")), did_you_mean);
            item.problem(format!("unknown capability {name:?}{hint}"));
        } else if !declared.insert(name.clone()) {
            item.problem(format!("{name:?} is there twice"));
        }
    }
    Some(declared)
}

fn did_you_mean(word: &str) -> String {
    format!("; did you mean {word:?}?")
}

fn url(item: &Item<'_>, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let Some(url) = item.text().and_then(|text| from_environment(item, &text, environment)) else {
        return String::new();
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        item.problem(format!("is {url:?}, but must begin with http:// or https://"));
    }
    url
}

fn secrets(item: &Item<'_>, environment: &dyn Fn(&str) -> Option<String>) -> Option<BTreeMap<String, String>> {
    let mut secrets = BTreeMap::new();
    for (name, item) in item.table()?.into_items() {
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            item.problem("no placeholder can have this name: it is made of a to z and _ only");
        }
        let value = item.text().and_then(|text| from_environment(&item, &text, environment));
        // One without a value is there all the same: its use is not wrong as well.
        secrets.insert(name, value.unwrap_or_default());
    }
    Some(secrets)
}

fn from_environment(item: &Item<'_>, text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    match environment::fill(text, environment) {
        Ok(value) => Some(value),
        Err(unset) => {
            item.problem(format!("takes {} from the environment, where it is not set", unset.join(" and ")));
            None
        }
    }
}

fn process(mut table: Table<'_>) -> ProcessTarget {
    let mut settings = BTreeMap::new();
    if let Some(mut named) = table.item("settings").and_then(|item| item.table()) {
        for setting in SETTINGS {
            if let Some(variable) = named.item(setting).and_then(|item| item.text()) {
                settings.insert((*setting).to_owned(), variable);
            }
        }
        named.end();
    }
    let process = ProcessTarget {
        directory: table.item("directory").and_then(|item| item.any_text()).unwrap_or_default().into(),
        build: table.item("build").and_then(|item| item.words()).unwrap_or_default(),
        start: start(&mut table),
        ready: table.needed("ready").and_then(|item| ready(&item)).unwrap_or_default(),
        env: table.item("env").and_then(|item| item.texts()).unwrap_or_default(),
        settings,
        mutants: table.item("mutants").and_then(|item| item.table()).map(mutants),
    };
    table.end();
    process
}

fn start(table: &mut Table<'_>) -> Start {
    let words = |item: Option<Item<'_>>| item.and_then(|item| item.words()).unwrap_or_default();
    if table.has("start") || table.has("stop") {
        if let Some(command) = table.item("command") {
            command.problem("stands beside `start` and `stop`; give either the one or the two");
        }
        return Start::Hooks { start: words(table.needed("start")), stop: words(table.needed("stop")) };
    }
    // Asked for, so that they are known where one is misspelt.
    let _ = (table.item("start"), table.item("stop"));
    Start::Command(words(table.needed("command")))
}

fn ready(item: &Item<'_>) -> Option<Ready> {
    if item.is_list() {
        return item.words().map(Ready::Command);
    }
    let path = item.text()?;
    if !path.starts_with('/') {
        item.problem(format!("is {path:?}, but must be a path that begins with /, or a command as a list"));
    }
    Some(Ready::Path(path))
}

fn mutants(mut table: Table<'_>) -> Mutants {
    let mutants = Mutants {
        list: table.needed("list").and_then(|item| item.words()).unwrap_or_default(),
        variable: table.needed("variable").and_then(|item| item.text()).unwrap_or_default(),
    };
    table.end();
    mutants
}

fn jwt(mut table: Table<'_>) -> Jwt {
    let algorithm = table.needed("algorithm").and_then(|item| algorithm(&item)).unwrap_or_default();
    let secret = table.item("secret").map(|item| Key::Secret(item.text().unwrap_or_default()));
    let private = table.item("private_key").map(|item| Key::Private(item.text().unwrap_or_default().into()));
    let command = table.item("command").map(|item| Key::Command(item.words().unwrap_or_default()));
    let public_key = table.item("public_key").and_then(|item| item.text()).map(PathBuf::from);
    let mut keys = [secret, private, command].into_iter().flatten();
    let (key, further) = (keys.next(), keys.next());
    if let Some(wrong) = wrong_key(&algorithm, key.as_ref(), further.is_some(), public_key.is_some()) {
        table.problem(wrong);
    }
    table.end();
    Jwt { algorithm, key: key.unwrap_or_default(), public_key }
}

/// Says what is wrong with the keys, if anything is.
fn wrong_key(algorithm: &str, key: Option<&Key>, several: bool, public: bool) -> Option<String> {
    let hmac = algorithm.starts_with("HS");
    let fits = match key {
        Some(Key::Secret(_)) => hmac && !public,
        Some(Key::Private(_)) => !hmac && public,
        Some(Key::Command(_)) => hmac != public,
        None => false,
    };
    // Without an algorithm there is nothing that the key could fit.
    if algorithm.is_empty() || fits && !several {
        return None;
    }
    Some(if hmac {
        format!("{algorithm} takes `secret`, or else `command`, and nothing more")
    } else {
        format!("{algorithm} takes `public_key` with either `private_key` or `command`, and nothing more")
    })
}

fn algorithm(item: &Item<'_>) -> Option<String> {
    let name = item.text()?;
    if ALGORITHMS.contains(&name.as_str()) {
        return Some(name);
    }
    let hint = hint::meant(&name, ALGORITHMS.iter().copied()).map_or_else(String::new, did_you_mean);
    item.problem(format!("is {name:?}; it may be {}{hint}", ALGORITHMS.join(", ")));
    None
}

fn origins(mut table: Table<'_>) -> Origins {
    let listed = table.needed("listed").and_then(|item| item.list()).unwrap_or_default();
    let listed = listed.iter().filter_map(origin).collect();
    table.end();
    Origins { listed }
}

fn origin(item: &Item<'_>) -> Option<String> {
    let origin = item.text()?;
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
        item.problem(format!("is {origin:?}, but an origin is scheme://host or scheme://host:port, without a path"));
    }
    Some(origin)
}

fn control(mut table: Table<'_>) -> Control {
    let credential = table.needed("credential").and_then(|item| item.text()).unwrap_or_default();
    table.end();
    Control { credential }
}

fn sessions(mut table: Table<'_>) -> Sessions {
    let create = table.needed("create").map(|item| hook(&item)).unwrap_or_default();
    let revoke = table.needed("revoke").map(|item| hook(&item)).unwrap_or_default();
    table.end();
    Sessions { create, revoke }
}

/// A request, unless there is a `command`.
fn hook(item: &Item<'_>) -> Hook {
    let Some(mut table) = item.table() else { return Hook::default() };
    let Some(command) = table.item("command") else { return Hook::Http(request(table)) };
    table.end();
    Hook::Command(command.words().unwrap_or_default())
}

fn request(mut table: Table<'_>) -> Request {
    let request = Request {
        method: table.needed("method").and_then(|item| method(&item)).unwrap_or_default(),
        path: table.needed("path").and_then(|item| path(&item)).unwrap_or_default(),
        status: table.needed("status").and_then(|item| statuses(&item)).unwrap_or_default(),
        headers: table.item("headers").and_then(|item| item.texts()).unwrap_or_default(),
        body: table.item("body").and_then(|item| item.json()),
    };
    table.end();
    request
}

fn method(item: &Item<'_>) -> Option<String> {
    let method = item.text()?;
    if !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        item.problem(format!("is {method:?}, but a method is written in capital letters, such as POST"));
    }
    Some(method)
}

fn path(item: &Item<'_>) -> Option<String> {
    let path = item.text()?;
    if !["/", "http://", "https://"].iter().any(|begin| path.starts_with(begin)) {
        item.problem(format!("is {path:?}, but must begin with / or be a whole URL"));
    }
    Some(path)
}

fn statuses(item: &Item<'_>) -> Option<Vec<u16>> {
    let items = item.list()?;
    if items.is_empty() {
        item.problem("is empty: which status means success?");
    }
    let status = |item: &Item<'_>| match item.number().map(u16::try_from)? {
        Ok(status @ 100..=599) => Some(status),
        _ => {
            item.problem("is no HTTP status: they go from 100 to 599");
            None
        }
    };
    Some(items.iter().filter_map(status).collect())
}
