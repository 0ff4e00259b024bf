//! Holds `/openapi.json` against the server: its routes, its examples, and what is answered to right and wrong requests.

mod support;

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use boon::{Compiler, Schemas};
use serde_json::{Value, json};
use support::{
    fixture, http,
    server::{INGEST_TOKEN, Server},
};

const URL: &str = "https://example.test/openapi.json";
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

struct Document(Value);

impl Document {
    async fn of(server: &Server) -> Self {
        let answer = http::get(server, "/openapi.json").await;
        assert_eq!(
            (answer.status.as_u16(), answer.headers["content-type"].to_str().expect("as it should be")),
            (200, "application/json")
        );
        Self(answer.json())
    }

    fn operations(&self) -> Vec<(String, String, Value)> {
        let paths = self.0["paths"].as_object().expect("there are paths");
        let of_path = |(path, item): (&String, &Value)| {
            let found = METHODS.iter().filter_map(|it| Some((path.clone(), (*it).to_owned(), item.get(it)?.clone())));
            found.collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    fn follow<'a>(&'a self, value: &'a Value) -> (&'a Value, Option<&'a str>) {
        match value.get("$ref").and_then(Value::as_str) {
            Some(at) => (self.0.pointer(&at[1..]).unwrap_or_else(|| panic!("{at} leads nowhere")), Some(at)),
            None => (value, None),
        }
    }

    /// Expects that the value fits the schema at that pointer into the document.
    fn fits(&self, pointer: &str, value: &Value) {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.enable_format_assertions();
        compiler.add_resource(URL, self.0.clone()).expect("a document");
        let schema = compiler
            .compile(&format!("{URL}#{pointer}"), &mut schemas)
            .unwrap_or_else(|it| panic!("{pointer}: {it:#}"));
        schemas.validate(value, schema).unwrap_or_else(|it| panic!("{value} at {pointer}: {it:#}"));
    }

    /// Expects that an answer is among those of an operation, in form and content.
    fn allows(&self, path: &str, method: &str, answer: &http::Answer) {
        let status = answer.status.as_u16().to_string();
        let at = format!("/paths/{}/{method}/responses/{status}", path.replace('/', "~1"));
        let found = self.0.pointer(&at).unwrap_or_else(|| panic!("{method} {path} is answered with {status}"));
        let (response, referred) = self.follow(found);
        let at = referred.map_or(at, |it| it[1..].to_owned());
        let Some(content) = response.get("content").and_then(Value::as_object) else {
            assert_eq!(answer.text, "", "{method} {path}: {status}");
            return;
        };
        let given = answer.headers[header::CONTENT_TYPE]
            .to_str()
            .expect("as it should be")
            .split(';')
            .next()
            .expect("as it should be");
        assert!(content.contains_key(given), "{method} {path}: {status} is {given}");
        if given.ends_with("json") {
            self.fits(&format!("{at}/content/{}/schema", given.replace('/', "~1")), &answer.json());
        }
    }
}

fn request(method: &str, path: &str, credential: bool, body: Option<&Value>) -> Request<Body> {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.to_uppercase().as_bytes()).expect("as it should be"))
        .uri(path);
    request = request.header(header::HOST, "localhost");
    if credential {
        request = request.header(header::AUTHORIZATION, format!("Bearer {INGEST_TOKEN}"));
    }
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).expect("as it should be")
}

#[tokio::test]
async fn every_route_is_described_with_its_methods_and_no_other() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let described: Vec<_> = document.0["paths"].as_object().unwrap().keys().cloned().collect();
    let routes = ["/events", "/events/batch", "/sessions/{id}", "/healthz", "/readyz", "/metrics", "/openapi.json"];
    assert_eq!(described, routes);
    for path in described {
        let methods =
            METHODS.iter().filter(|it| document.0["paths"][&path].get(it).is_some()).map(|it| it.to_uppercase());
        let mut methods: Vec<_> = methods.collect();
        if methods == ["GET"] {
            methods.push("HEAD".to_owned());
        }
        let answer = http::send(&server, request("patch", &path.replace("{id}", "some"), true, None)).await;
        answer.problem(405);
        let mut allowed: Vec<_> = answer.headers["allow"].to_str().unwrap().split(',').map(str::to_owned).collect();
        methods.sort();
        allowed.sort();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test]
async fn every_example_is_right_and_is_taken() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let mut tried = 0;
    for (path, method, operation) in document.operations() {
        let here = format!("/paths/{}/{method}", path.replace('/', "~1"));
        let body = operation.pointer("/requestBody/content/application~1json/example");
        if let Some(body) = body {
            document.fits(&format!("{here}/requestBody/content/application~1json/schema"), body);
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            if let Some(example) = response.pointer("/content/application~1json/example") {
                document.fits(&format!("{here}/responses/{status}/content/application~1json/schema"), example);
            }
        }
        let answer = http::send(&server, request(&method, &path.replace("{id}", "some"), true, body)).await;
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.text);
        document.allows(&path, &method, &answer);
        tried += 1;
    }
    assert_eq!(tried, document.operations().len());
}

#[tokio::test]
async fn what_is_refused_is_refused_as_it_is_described() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let wrong =
        [json!({}), json!([]), json!([{}]), json!("x"), json!({"userId": ""}), json!({"eventType": "x", "more": 1})];
    for (path, method, operation) in document.operations() {
        let place = path.replace("{id}", "nobody");
        let anonymous = http::send(&server, request(&method, &place, false, None)).await;
        let is_secured = operation["security"] != json!([]);
        assert_eq!(anonymous.status == 401, is_secured, "{method} {path}");
        document.allows(&path, &method, &anonymous);
        if operation.get("requestBody").is_none() {
            continue;
        }
        document.allows(&path, &method, &http::send(&server, request(&method, &place, true, None)).await);
        for body in &wrong {
            let answer = http::send(&server, request(&method, &place, true, Some(body))).await;
            assert_eq!(answer.status, 400, "{method} {path} {body}");
            document.allows(&path, &method, &answer);
        }
        let large = json!({"eventType": "x".repeat(5 << 20)});
        document.allows(&path, &method, &http::send(&server, request(&method, &place, true, Some(&large))).await);
    }
}

#[tokio::test]
async fn types_are_those_of_the_payload() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    let payload = fixture("schema/event-payload.schema.json");
    let ours = &document.0["components"]["schemas"]["Event"]["properties"]["eventType"]["enum"];
    assert_eq!(ours, &payload["properties"]["eventType"]["enum"]);
    let events = fixture("events/plain.json");
    let events = events["events"].as_array().expect("an array");
    assert!(!events.is_empty());
    for entry in events {
        let members = ["eventType", "actorId", "resourceId", "metadata"];
        let members = members.iter().filter_map(|name| Some(((*name).to_owned(), entry.get(name)?.clone())));
        document.fits("/components/schemas/Event", &Value::Object(members.collect()));
    }
}
