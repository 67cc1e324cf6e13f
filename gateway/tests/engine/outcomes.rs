//! The reply to the client after one attempt, and the number of requests to the provider.

use crate::kit::{Act, App, Notes, Scripted, Told, config, create, http_backend, sync};

async fn one(provider: Notes, act: fn() -> Act, body: &str) -> (Told, usize) {
    let server = Scripted::start(move |_| async move { act() }).await;
    let app = App::before(provider, server.addr).await;
    let told = app.mutate(body).await;
    (told, server.log().len())
}

const UPDATE: &str =
    r#"{"kind":"update","sync_id":"s","collection_id":"notes:note","records":[{"upstream_id":"7","data":{"a":1}}]}"#;
const DELETE: &str = r#"{"kind":"delete","sync_id":"s","collection_id":"notes:note","upstream_ids":["7"]}"#;

#[tokio::test]
async fn an_applied_create_is_the_record_digit_for_digit() {
    let server = Scripted::start(|_| async {
        Act::json(201, r#"{"id":"n1","at":"2026-01-01T00:00:00Z","data":{"b":1.10,"a":12345678901234567890.5}}"#)
    })
    .await;
    let app = App::before(Notes::default(), server.addr).await;
    let told = app.mutate(create(r#"{"b":1.10,"a":12345678901234567890.5}"#)).await;
    let id = told.json()["records"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        told.body,
        format!(
            r#"{{"records":[{{"id":"{id}","sync_id":"s","collection_id":"notes:note","upstream_id":"n1","upstream_updated_at":"2026-01-01T00:00:00Z","data":{{"b":1.10,"a":12345678901234567890.5}},"deleted":false,"provider":"notes"}}]}}"#
        )
    );
    let log = server.log();
    assert_eq!((log[0].method.as_str(), log[0].path.as_str()), ("POST", "/note"));
    assert_eq!(log[0].body, r#"{"b":1.10,"a":12345678901234567890.5}"#);
    assert_eq!(log[0].header("authorization"), Some("Bearer provider-secret"));
    assert_eq!(log[0].header("accept-encoding"), None);
    // The same place has the same id.
    assert_eq!(app.mutate(UPDATE.replace('7', "n1")).await.json()["records"][0]["id"], id);
}

#[tokio::test]
async fn a_provider_that_quotes_the_credential_is_not_quoted() {
    let server = Scripted::start(|request| async move {
        let credential = request.header("authorization").unwrap();
        Act::json(400, format!(r#"{{"message":"I know no {credential}","request":["{credential}"]}}"#))
    })
    .await;
    let app = App::before(Notes::default(), server.addr).await;
    let told = app.mutate(create("{}")).await;
    assert_eq!((told.status, &*told.error()), (400, "Error: Notes validation error: `I know no Bearer [redacted]`"));
    assert!(told.body.contains("Bearer [redacted]") && !told.body.contains("provider-secret"), "{}", told.body);
}

#[tokio::test]
async fn each_answer_of_a_provider_has_one_reply() {
    let ok = || Act::json(200, r#"{"id":"7"}"#);
    let none = || Act::Reply { status: 204, headers: vec![], body: String::new() };
    let bad = || Act::json(422, r#"{"message":"bad `email`\n","x":1.0}"#);
    let gone = || Act::json(404, r#"{"message":"no such note"}"#);
    let denied = || Act::json(401, r#"{"message":"token provider-secret is wrong"}"#);
    let forbidden = || Act::json(403, r#"{"message":"no right"}"#);
    let moved = || Act::Reply { status: 302, headers: vec![("location", "/elsewhere".into())], body: String::new() };
    let html = || Act::Reply { status: 200, headers: vec![], body: "<html>".into() };
    let down = || Act::json(503, r#"{"message":"down"}"#);
    let create = create("{}");
    type Row<'a> = (&'a str, fn() -> Act, u16, &'a str, usize);
    let rows: [Row; 16] = [
        (&create, ok, 200, "", 1),
        (UPDATE, none, 200, "", 1),
        (DELETE, none, 200, "", 1),
        (&create, bad, 400, "Error: Notes validation error: `bad 'email'`", 1),
        (UPDATE, bad, 400, "Error: Notes validation error: `bad 'email'`", 1),
        (UPDATE, gone, 400, "Error: Notes validation error: `no such note`", 1),
        (DELETE, gone, 200, "", 1),
        (&create, denied, 401, "Error: Notes refuses the gateway's credential; nothing was applied", 1),
        (&create, forbidden, 400, "Error: Notes validation error: `no right`", 1),
        (&create, moved, 504, "Error: Notes API timed out", 1),
        (&create, html, 504, "Error: Notes API timed out", 1),
        (&create, down, 504, "Error: Notes API timed out", 1),
        (&create, || Act::Close, 504, "Error: Notes API timed out", 1),
        (&create, || Act::Reset, 504, "Error: Notes API timed out", 1),
        (
            &create,
            || Act::Raw(b"HTTP/1.1 201 x\r\ncontent-length: 9\r\n\r\n{".to_vec()),
            504,
            "Error: Notes API timed out",
            1,
        ),
        (&create, || Act::Raw(b"220 mail ready\r\n".to_vec()), 504, "Error: Notes API timed out", 1),
    ];
    for (at, (body, act, status, error, requests)) in rows.into_iter().enumerate() {
        let (told, asked) = one(Notes::default(), act, body).await;
        assert_eq!((told.status, told.error().as_str(), asked), (status, error, requests), "row {at}: {}", told.body);
        assert!(!told.body.contains("provider-secret"), "row {at}");
        if status == 200 {
            assert_eq!(told.json()["records"][0]["upstream_id"], "7", "row {at}");
            assert_eq!(told.json()["records"][0]["deleted"], body == DELETE, "row {at}");
        }
    }
}

#[tokio::test]
async fn a_header_of_the_configuration_has_the_last_word() {
    let server = Scripted::start(|_| async { Act::json(200, r#"{"id":"7"}"#) }).await;
    let mut sync = sync(http_backend(Notes::default(), server.addr));
    if let gateway::config::Backend::Http(http) = &mut sync.backend {
        http.headers = vec![
            ("notes-version".parse().unwrap(), "2".parse().unwrap()),
            ("x-more".parse().unwrap(), "m".parse().unwrap()),
        ];
    }
    assert_eq!(App::start(config(sync)).await.mutate(create("{}")).await.status, 200);
    let log = server.log();
    assert_eq!((log[0].header("notes-version"), log[0].header("x-more")), (Some("2"), Some("m")));
    assert!(log[0].header("idempotency-key").is_some());
}
