//! docs/openapi.yaml: its examples are valid, so are the sandbox's replies, and its requests are those that the sandbox
//! takes.

use std::fs;

use jsonschema::Validator;
use sequin_harness::Sandbox;
use serde_json::{Value, json};
use ureq::Agent;

use crate::kit::judge;

fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.yaml");
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A validator for the schema at this JSON pointer.
fn validator(document: &Value, pointer: &str) -> Validator {
    assert!(document.pointer(pointer).is_some(), "there is no {pointer}");
    let mut root = document.clone();
    // A reference is a URI, in which a template's braces are escaped.
    root["$ref"] = format!("#{}", pointer.replace('{', "%7B").replace('}', "%7D")).into();
    jsonschema::options().should_validate_formats(true).build(&root).unwrap()
}

fn errors(validator: &Validator, instance: &Value) -> Vec<String> {
    validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The pointer of what is at `pointer`, behind its `$ref`.
fn resolved(document: &Value, pointer: String) -> String {
    match document.pointer(&pointer).and_then(|value| value["$ref"].as_str()) {
        Some(reference) => resolved(document, reference.trim_start_matches('#').to_owned()),
        None => pointer,
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The pointers of all objects that have `examples` beside a `schema`.
fn with_examples(value: &Value, pointer: &str, found: &mut Vec<String>) {
    if let Value::Object(fields) = value {
        if fields.contains_key("schema") && fields.contains_key("examples") {
            found.push(pointer.to_owned());
        }
        for (name, value) in fields {
            with_examples(value, &format!("{pointer}/{}", escaped(name)), found);
        }
    }
}

#[test]
fn its_examples_are_valid_and_every_body_has_one() {
    let document = document();
    let mut found = Vec::new();
    with_examples(&document, "", &mut found);
    let bodies = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.yaml")).unwrap();
    assert_eq!(found.len(), bodies.matches("application/json:\n").count());
    for pointer in found {
        let validator = validator(&document, &format!("{pointer}/schema"));
        let examples = document.pointer(&format!("{pointer}/examples")).unwrap().as_object().unwrap();
        assert!(!examples.is_empty(), "{pointer}");
        for (name, example) in examples {
            assert_eq!(errors(&validator, &example["value"]), [""; 0], "{pointer}: {name}");
        }
    }
}

#[test]
fn the_examples_for_authors_of_a_server_are_valid() {
    let document = document();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/your-own-endpoint.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let spans = page.split('`').filter(|span| span.starts_with("{\"error\"") || span.starts_with("{\"summary\""));
    let mut found = Vec::new();
    for example in blocks.chain(spans) {
        let value: Value = serde_json::from_str(example).unwrap();
        let schemas = [("kind", "Mutation"), ("records", "Applied"), ("error", "Error"), ("summary", "Invalid")];
        let (_, schema) = schemas.into_iter().find(|(field, _)| value.get(field).is_some()).unwrap();
        let validator = validator(&document, &format!("/components/schemas/{schema}"));
        assert_eq!(errors(&validator, &value), [""; 0], "{example}");
        found.push(schema);
    }
    assert_eq!(found, ["Mutation", "Mutation", "Mutation", "Applied", "Error", "Invalid", "Error"]);
}

#[test]
fn its_references_lead_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in &found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys().filter(|_| kind != "securitySchemes") {
            let reference = format!("#/components/{kind}/{name}");
            assert!(found.contains(&reference.as_str()), "nothing uses {reference}");
        }
    }
}

struct Server {
    sandbox: Sandbox,
    agent: Agent,
    document: Value,
}

impl Server {
    fn start() -> Server {
        let agent = Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        Server { sandbox: Sandbox::start(), agent, document: document() }
    }

    /// Sends a request, and validates the reply against the operation of this template of a path. Returns its body.
    fn call(&self, method: &str, template: &str, path: &str, token: &str, body: &str, status: u16) -> Value {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.sandbox.url()))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", if body == "text" { "text/plain" } else { "application/json" });
        let mut response = match body {
            "" => self.agent.run(request.body(()).unwrap()).unwrap(),
            body => self.agent.run(request.body(body).unwrap()).unwrap(),
        };
        let what = format!("{method} {path} {body}");
        assert_eq!(response.status().as_u16(), status, "{what}");
        // A reply to a method that the document does not have is described at the one that it has.
        let described = if self.document["paths"][template][method.to_lowercase()].is_null() { "POST" } else { method };
        let operation = format!("/paths/{}/{}", escaped(template), described.to_lowercase());
        let pointer = resolved(&self.document, format!("{operation}/responses/{status}"));
        let described = self.document.pointer(&pointer).unwrap_or_else(|| panic!("{pointer} is not in it"));
        for name in described["headers"].as_object().into_iter().flatten().map(|(name, _)| name) {
            if matches!(name.as_str(), "Allow" | "WWW-Authenticate" | "Retry-After") {
                assert!(response.headers().contains_key(name), "{what} has no {name}");
            }
        }
        let validator = validator(&self.document, &format!("{pointer}/content/application~1json/schema"));
        let body: Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
        assert_eq!(errors(&validator, &body), [""; 0], "{what}: {body}");
        body
    }

    fn mutate(&self, body: &str, status: u16) -> Value {
        let token = self.sandbox.token();
        self.call("POST", "/v1/mutations/run", "/v1/mutations/run", token, body, status)
    }

    fn pull(&self, method: &str, verb: &str, query: &str, body: &str, status: u16) -> Value {
        let path = format!("/v1/http-consumers/jobs/{verb}{query}");
        let template = format!("/v1/http-consumers/{{id}}/{verb}");
        self.call(method, &template, &path, self.sandbox.token(), body, status)
    }
}

#[test]
fn the_sandboxs_replies_to_mutations_are_in_it() {
    let server = Server::start();
    server.sandbox.consumer(json!({"id": "jobs", "kind": "pull"}));
    let to = r#""sync_id":"s","collection_id":"salesforce:contact""#;
    let created = server.mutate(&format!(r#"{{"kind":"create",{to},"records":[{{"data":{{"a":1}}}}]}}"#), 200);
    let id = &created["records"][0]["upstream_id"];
    server.mutate(&format!(r#"{{"kind":"update",{to},"records":[{{"upstream_id":{id},"data":{{"b":2}}}}]}}"#), 200);
    server.mutate(&format!(r#"{{"kind":"delete",{to},"upstream_ids":[{id}]}}"#), 200);
    server.mutate(&format!(r#"{{"kind":"delete",{to},"upstream_ids":[{id}]}}"#), 400);
    server.mutate(&format!(r#"{{"kind":"delete",{to}}}"#), 422);
    server.mutate("text", 422);
    let wait = r#""await_consumer_ids":["jobs"],"await_consumers_timeout":1"#;
    server.mutate(&format!(r#"{{"kind":"create",{to},"records":[{{"data":{{}}}}],{wait}}}"#), 500);
    let path = "/v1/mutations/run";
    server.call("POST", path, path, "wrong", "{}", 401);
    server.call("GET", path, path, server.sandbox.token(), "", 405);
    server.call("POST", path, "/v1/mutations", server.sandbox.token(), "{}", 404);
    for status in [429, 503, 504] {
        server.sandbox.fault(json!({"status": status, "headers": {"retry-after": "1"}}));
        server.mutate("{}", status);
    }
}

#[test]
fn the_sandboxs_replies_of_pull_consumers_are_in_it() {
    let server = Server::start();
    server.sandbox.consumer(json!({"id": "jobs", "kind": "pull"}));
    let create = r#"{"kind":"create","sync_id":"s","collection_id":"a:b","records":[{"data":{}},{"data":{}}]}"#;
    server.mutate(create, 200);
    let first = server.pull("GET", "next", "?batch_size=1&wait_for=1000", "", 200);
    let second = server.pull("POST", "next", "", r#"{"batch_size":1,"wait_for":1000}"#, 200);
    assert_eq!((first["data"].as_array().unwrap().len(), second["data"].as_array().unwrap().len()), (1, 1));
    assert_eq!(server.pull("GET", "next", "", "", 200), json!({"data": []}));
    for (verb, page) in [("ack", first), ("nack", second)] {
        let body = json!({"ack_tokens": [page["data"][0]["ack_token"]]}).to_string();
        server.pull("POST", verb, "", &body, 200);
        server.pull("POST", verb, "", "{}", 422);
        server.pull("GET", verb, "", "", 405);
    }
    server.pull("GET", "next", "?batch_size=0", "", 422);
    server.pull("POST", "next", "", r#"{"wait_for":-1}"#, 422);
    server.call("GET", "/v1/http-consumers/{id}/next", "/v1/http-consumers/jobs/next", "wrong", "", 401);
    let token = server.sandbox.token();
    server.call("GET", "/v1/http-consumers/{id}/next", "/v1/http-consumers/other/next", token, "", 404);
}

/// The program's requests, right and wrong, are judged alike by the document and by the sandbox's code.
#[test]
fn it_takes_the_requests_that_the_sandbox_takes_and_no_others() {
    let sandbox = Sandbox::start();
    judge(&sandbox, sandbox.url(), "salesforce:contact", &[]);
    let validator = validator(&document(), "/components/schemas/Mutation");
    let (mut taken, mut refused) = (0, 0);
    for request in sandbox.log().requests {
        let is_mutation = request.path == "/v1/mutations/run" && request.method == "POST";
        let is_json = request.headers.get("content-type").is_some_and(|value| value.starts_with("application/json"));
        let Ok(body) = serde_json::from_str::<Value>(&request.body) else { continue };
        // Which consumers exist, whether a field is sent twice and whether bytes are UTF-8 is beyond a schema.
        let beyond = [r#""await_consumer_ids":["r"#, r#""kind":"update","kind""#, "\u{fffd}"];
        let is_beyond = beyond.iter().any(|text| request.body.contains(text));
        if !is_mutation || !is_json || is_beyond {
            continue;
        }
        match request.status {
            Some(200 | 400 | 500) => {
                assert_eq!(errors(&validator, &body), [""; 0], "{}", request.body);
                taken += 1;
            }
            Some(422) => {
                assert!(!validator.is_valid(&body), "{}", request.body);
                refused += 1;
            }
            _ => {}
        }
    }
    assert!(taken > 100 && refused > 40, "{taken} taken, {refused} refused");
}
