//! `init`: writes a target file that explains itself.

mod from;

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    path::PathBuf,
    str::FromStr,
};

use clap::Args;

use self::from::From;
use super::usage;
use crate::exit;

/// The file; it is right as it stands.
const TEMPLATE: &str = include_str!("init/template.toml");

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The file to write [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Begin with how servers of a kind are started (express, nestjs, python), or with what an OpenAPI document in JSON tells
    /// (openapi=FILE).
    #[arg(long, value_name = "KIND", value_parser = From::from_str)]
    from: Option<From>,
    /// Overwrite the file if it is there.
    #[arg(long, requires = "output")]
    force: bool,
}

/// Writes the file; returns the exit code.
pub(super) fn write(args: &InitArgs) -> u8 {
    let (text, missing) =
        args.from.as_ref().map_or_else(|| (TEMPLATE.to_owned(), Vec::new()), |from| from.fill(TEMPLATE));
    for what in missing {
        eprintln!("note: {what} is still to be written by hand");
    }
    let Some(path) = &args.output else {
        print!("{text}");
        return exit::CONFORMANT;
    };
    let mut options = OpenOptions::new();
    options.write(true).truncate(true);
    let file = if args.force { options.create(true).open(path) } else { options.create_new(true).open(path) };
    let shown = path.display();
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => {
            println!(
                "{shown} is written. Edit the lines marked EDIT, then: notify-conformance doctor --target {shown}"
            );
            exit::CONFORMANT
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            usage(&format!("{shown} is there already; --force overwrites it"))
        }
        Err(error) => usage(&format!("cannot write {shown}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        cases,
        target::{CAPABILITIES, Start, Target},
    };

    fn parse(text: &str) -> Target {
        let set = |name: &str| Some(format!("value-of-{name}"));
        Target::parse(text, Path::new(""), &set, &cases::ids()).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    #[test]
    fn the_file_is_right_as_it_stands() {
        let target = parse(TEMPLATE);
        assert_eq!(target.secrets["jwt_secret"], "value-of-JWT_SECRET");
        assert_eq!(target.url.as_deref(), Some("http://127.0.0.1:3000"));
    }

    #[test]
    fn what_it_offers_in_comments_is_right_as_well() {
        let all: Vec<_> = CAPABILITIES.iter().map(|name| format!("{name:?}")).collect();
        assert!(all.iter().all(|name| TEMPLATE.contains(name)), "every capability is explained");
        let mut text =
            TEMPLATE.replace("[\"polling\"]", &format!("[{}]", all.join(", "))).replace("\nurl = ", "\n# url = ");
        for header in ["# [sessions.create]", "# [origins]", "# [control]", "# [not_applicable]", "# [process]"] {
            assert!(text.contains(header), "{header}");
            text = from::uncommented(&text, header);
        }
        let target = parse(&text);
        assert!(target.sessions.is_some() && target.control.is_some() && target.process.is_some(), "{text}");
    }

    fn from(text: &str) -> (String, Vec<String>) {
        From::from_str(text).expect("it is known").fill(TEMPLATE)
    }

    #[test]
    fn a_kind_of_server_is_started() {
        for (kind, first) in [("express", "node"), ("nestjs", "node"), ("python", ".venv/bin/uvicorn")] {
            let target = parse(&from(kind).0);
            let process = target.process.expect("it is started");
            let Start::Command(command) = process.start else { panic!("{kind}") };
            assert_eq!((command[0].as_str(), target.url), (first, None), "{kind}");
            assert_eq!(process.env["PORT"], "{port}");
        }
        assert!(From::from_str("rails").is_err_and(|why| why.contains("\"rails\" is none of express, nestjs, python")));
    }

    #[test]
    fn an_openapi_document_tells_of_the_requests() {
        let file = tempfile::NamedTempFile::new().expect("there is room");
        let document = serde_json::json!({
            "openapi": "3.1.0",
            "servers": [{"url": "https://notify.example.test"}],
            "paths": {
                "/health": {"get": {"responses": {"200": {}}}},
                "/v1/notifications": {"post": {
                    "requestBody": {"$ref": "#/components/requestBodies/Event"},
                    "responses": {"201": {}, "202": {}, "400": {}},
                }},
                "/v1/sessions/{id}": {
                    "parameters": [],
                    "put": {
                        "requestBody": {"content": {"application/json": {"schema": {"properties": {"user_id": {}}}}}},
                        "responses": {"200": {}},
                    },
                    "delete": {"responses": {"204": {}, "404": {}}},
                },
            },
            "components": {
                "requestBodies": {"Event": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Event"}}}}},
                "schemas": {"Event": {"properties": {"event_type": {}, "actor_id": {}, "resource_id": {}, "other": {}}}},
            },
        });
        std::fs::write(file.path(), document.to_string()).expect("there is room");
        let (text, missing) = from(&format!("openapi={}", file.path().display()));
        assert!(missing.is_empty(), "{missing:?}");
        let written: toml::Table = text.parse().expect("it is TOML");
        let expected: toml::Table = r#"
            url = "https://notify.example.test"
            emit = { method = "POST", path = "/v1/notifications", status = [201, 202] }
            body = { event_type = "{event_type}", actor_id = "{actor_id}", resource_id = "{resource_id}" }
            create = { method = "PUT", path = "/v1/sessions/{session_id}", status = [200], body = { user_id = "{user_id}" } }
            revoke = { method = "DELETE", path = "/v1/sessions/{session_id}", status = [204, 404] }
        "#
        .parse()
        .expect("it is TOML");
        let told = |table: &toml::Value, names: &[&str]| -> toml::Table {
            names.iter().filter_map(|name| Some(((*name).to_owned(), table.get(name)?.clone()))).collect()
        };
        let all = ["method", "path", "status", "body"];
        assert_eq!(written["url"], expected["url"]);
        assert_eq!(told(&written["emit"], &all[..3]), *expected["emit"].as_table().expect("a table"));
        assert_eq!(written["emit"]["body"], expected["body"]);
        assert_eq!(told(&written["sessions"]["create"], &all), *expected["create"].as_table().expect("a table"));
        assert_eq!(told(&written["sessions"]["revoke"], &all), *expected["revoke"].as_table().expect("a table"));
        parse(&text);
    }

    #[test]
    fn what_a_document_does_not_tell_is_said() {
        let file = tempfile::NamedTempFile::new().expect("there is room");
        std::fs::write(file.path(), "{}").expect("there is room");
        let (text, missing) = from(&format!("openapi={}", file.path().display()));
        assert_eq!((text.as_str(), missing.len()), (TEMPLATE, 3));
    }
}
