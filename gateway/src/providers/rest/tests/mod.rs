//! What is sent to described services, and what their replies mean.

use Kind::{Create, Delete, Read, Update};

use super::*;
use crate::providers::testing::{KEY, create, delete, judge, plan, reply, short, update};

mod examples;

/// The provider with the collection `c`.
fn rest(collection: &str) -> Rest {
    #[derive(serde::Deserialize)]
    struct File {
        collection: BTreeMap<String, Description>,
    }
    let file: File = toml::from_str(&format!("[collection.c]\n{collection}")).unwrap();
    Rest::compile(file.collection).unwrap_or_else(|fault| panic!("{}", fault.message))
}

/// A request in a line: method, path, headers, body, repeat.
fn line(request: &ProviderRequest) -> String {
    let headers = request.headers.iter().map(|(name, value)| format!(" {name}={}", value.to_str().unwrap()));
    let headers: String = headers.filter(|header| header != " accept=application/json").collect();
    let body = str::from_utf8(&request.body).unwrap();
    format!("{} {}{headers} {body} {:?}", request.method, request.path, request.repeat)
}

/// The outcome of a reply to a change of the collection `c`.
fn outcome(rest: &Rest, kind: Kind, status: u16, body: &str) -> String {
    short(&judge(rest, &sent(rest, kind), &reply(status, &[], body)))
}

fn sent(rest: &Rest, kind: Kind) -> ProviderRequest {
    match kind {
        Kind::Create => plan(rest, "c", create(r#"{"a":1}"#)).unwrap(),
        Kind::Update => plan(rest, "c", update("r1", r#"{"a":1}"#)).unwrap(),
        Kind::Delete => plan(rest, "c", delete("r1")).unwrap(),
        Kind::Read => rest.read_back("c", "r1").unwrap(),
    }
}

/// Each row: a kind, a status, a body, and the outcome.
fn holds(rest: &Rest, rows: &[(Kind, u16, &str, &str)]) {
    for &(kind, status, body, want) in rows {
        assert_eq!(outcome(rest, kind, status, body), want, "{kind:?} {status} {body}");
    }
}

#[test]
fn replies_of_other_shapes_have_their_outcomes() {
    let id_only = rest(
        r#"
        create = { method = "POST", path = "/c", body = "{data}" }
        update = { method = "PATCH", path = "/c/{upstream_id}", body = "{data}", reply = {} }
        delete = { method = "DELETE", path = "/c/{upstream_id}", gone = [410] }
        reply  = { upstream_id = "/id", upstream_id_header = "location" }
        limited = [429, { status = 403, at = "/code", equals = "limit" }]
        rejected = [{ status = 200, at = "/ok", equals = false }]
        "#,
    );
    holds(
        &id_only,
        &[
            (Create, 201, r#"{"id":12345678901234567890}"#, "applied 12345678901234567890"),
            (Create, 201, r#"{"id":null}"#, "unknown None the reply does not name the record"),
            (Create, 201, "", "unknown None the reply does not name the record"),
            (Create, 202, r#"{"id":1}"#, "unknown None id: 1"),
            (Create, 200, r#"{"ok":false,"error":"channel_not_found"}"#, "rejected channel_not_found"),
            (Create, 302, "", "unknown None HTTP status 302"),
            (Create, 409, r#"{"error":"is there"}"#, "rejected is there"),
            (Create, 400, r#"["a","b"]"#, "rejected a; b"),
            (Create, 422, r#"{"errors":{"email":["is taken"]}}"#, "rejected email: is taken"),
            (Create, 400, "Bad `email`\n", "rejected Bad 'email'"),
            (Create, 400, "", "rejected HTTP status 400"),
            (Create, 403, r#"{"code":"limit","message":"slowly"}"#, "limited None slowly"),
            (Create, 403, r#"{"code":"x","message":"no"}"#, "rejected no"),
            (Create, 423, "", "rejected HTTP status 423"),
            (Create, 401, r#"{"message":"who?"}"#, "unauthorised who?"),
            (Create, 408, "", "unknown None HTTP status 408"),
            (Create, 500, r#"{"message":"oops"}"#, "unknown None oops"),
            (Create, 503, "", "unknown None HTTP status 503"),
            (Update, 204, "", "applied r1"),
            (Update, 200, r#"{"success":true}"#, "applied r1"),
            (Delete, 200, r#"{"success":true}"#, "applied r1 deleted"),
            (Delete, 200, r#"{"id":"r2"}"#, "unknown None the reply is about another record"),
            (Delete, 404, r#"{"message":"Not Found"}"#, "rejected Not Found"),
            (Delete, 410, "Gone", "gone Gone"),
        ],
    );
    let at = [("location", "https://h/v1/c/r%2F9?x=1")];
    let outcome = judge(&id_only, &sent(&id_only, Create), &reply(201, &at, ""));
    assert_eq!(short(&outcome), "applied r/9");
    let wait = [("retry-after", "7")];
    assert_eq!(short(&judge(&id_only, &sent(&id_only, Create), &reply(429, &wait, "<html>"))), limited(7));
    assert!(id_only.read_back("c", "r1").is_none());
}

fn limited(seconds: u64) -> String {
    format!("limited Some({seconds}) HTTP status 429 with a body that cannot be read")
}

#[test]
fn the_replay_decides_whether_a_create_is_repeated() {
    let path = |path: &str| format!(r#"create = {{ method = "PUT", path = "{path}", body = "{{data}}" }}"#);
    for (description, repeat, header) in [
        (path("/c"), Repeat::Never, None),
        (format!("{}\nreplay = {{ kind = \"none\" }}", path("/c")), Repeat::Never, None),
        (format!("{}\nreplay = {{ kind = \"upsert\" }}", path("/c/{key}")), Repeat::Absolute, None),
        (
            format!("{}\nreplay = {{ kind = \"key_header\", header = \"X-Key\", window = \"2h\" }}", path("/c")),
            Repeat::Key { window: Duration::from_secs(7_200) },
            Some(KEY.to_string()),
        ),
    ] {
        let rest = rest(&description);
        let request = sent(&rest, Create);
        assert_eq!(request.repeat, repeat, "{description}");
        let sent = request.headers.get("x-key").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(sent, header, "{description}");
    }
}

#[test]
fn a_form_is_sent_where_the_description_says_so() {
    let rest = rest(r#"create = { method = "POST", path = "/c", body = { c = "{data}" }, encoding = "form" }"#);
    let request = plan(&rest, "c", create(r#"{"a b":[1.50,null]}"#)).unwrap();
    assert_eq!(
        line(&request),
        "POST /c content-type=application/x-www-form-urlencoded c[a+b][0]=1.50&c[a+b][1]= Never"
    );
    assert!(plan(&rest, "c", create(r#"{"a[b]":1}"#)).is_err());
}

#[test]
fn what_is_not_described_is_refused() {
    let rest = rest(r#"update = { method = "PATCH", path = "/{data/list}/{upstream_id}", body = "{data}" }"#);
    for (collection, change, want) in [
        ("d", update("r", "{}"), "there is no collection \"d\""),
        ("c", create("{}"), "the collection \"c\" has no create"),
        ("c", delete("r"), "the collection \"c\" has no delete"),
        ("c", update("r", "{}"), "the data needs a text or a number at /list"),
        ("c", update("..", r#"{"list":1}"#), "an id in the path"),
        ("c", update("r", r#"{"list":".."}"#), "an id in the path"),
    ] {
        let refusal = plan(&rest, collection, change).unwrap_err();
        assert!(refusal.message.contains(want), "{}", refusal.message);
    }
    let found = plan(&rest, "notes:c", update("r", r#"{"list":7}"#)).unwrap();
    assert_eq!((&*found.path, &*found.collection), ("/7/r", "notes:c"));
    assert_eq!(rest.name(), "REST");
    assert_eq!(rest.named("Notes").name(), "Notes");
}
