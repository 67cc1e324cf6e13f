//! Several records, records that are read back, and mutations that are refused before anything is sent.

use crate::kit::{Act, App, Notes, Scripted, create};

#[tokio::test]
async fn a_batch_is_one_request_and_its_records_keep_their_order() {
    let server = Scripted::start(|_| async { Act::json(200, r#"[{"id":"a"},{"id":"b"}]"#) }).await;
    let app = App::before(Notes { most: 2, ..Notes::default() }, server.addr).await;
    let body = |records: &str| {
        format!(r#"{{"kind":"create","sync_id":"s","collection_id":"notes:note","records":[{records}]}}"#)
    };
    let told = app.mutate(body(r#"{"data":{"n":1}},{"data":{"n":2}}"#)).await;
    let ids: Vec<_> = told.json()["records"].as_array().unwrap().iter().map(|r| r["upstream_id"].clone()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(server.log()[0].body, r#"[{"n":1},{"n":2}]"#);

    let told = app.mutate(body(r#"{"data":{}},{"data":{}},{"data":{}}"#)).await;
    assert_eq!(told.status, 422);
    assert_eq!(told.error(), "Error: Notes takes 2 records in a request; nothing was sent");
    assert_eq!(told.json()["docs"]["max_records"], 2);
    // A reply that leaves a record out tells nothing about it.
    let server = Scripted::start(|_| async { Act::json(200, r#"[{"id":"a"}]"#) }).await;
    let app = App::before(Notes { most: 2, ..Notes::default() }, server.addr).await;
    assert_eq!(app.mutate(body(r#"{"data":{}},{"data":{}}"#)).await.status, 504);
}

#[tokio::test]
async fn refusals_name_their_records_and_a_broken_batch_claims_nothing() {
    for (letters, status, docs) in [
        ("xy", 400, r#"[{"index":0,"error":"x"},{"index":1,"error":"y"}]"#),
        ("xx", 400, r#"[{"index":0,"error":"x"},{"index":1,"error":"x"}]"#),
        ("ay", 504, r#"[{"index":1,"error":"y"}]"#),
    ] {
        let server = Scripted::start(move |_| async move { Act::json(207, letters) }).await;
        let app = App::before(Notes { most: 2, ..Notes::default() }, server.addr).await;
        let body =
            r#"{"kind":"create","sync_id":"s","collection_id":"notes:note","records":[{"data":{}},{"data":{}}]}"#;
        let told = app.mutate(body).await;
        let docs: serde_json::Value = serde_json::from_str(docs).unwrap();
        assert_eq!((told.status, &told.json()["docs"]), (status, &docs), "{letters}");
        if letters == "xy" {
            assert_eq!(told.error(), "Error: Notes validation error: `x; y`");
        }
    }
}

#[tokio::test]
async fn the_providers_error_body_is_in_docs() {
    let server = Scripted::start(|_| async { Act::json(400, r#"{"message":"bad","limit":1.50}"#) }).await;
    let app = App::before(Notes::default(), server.addr).await;
    let told = app.mutate(create("{}")).await;
    let want = r#"{"error":"Error: Notes validation error: `bad`","docs":[{"index":0,"error":"bad","detail":{"message":"bad","limit":1.50}}]}"#;
    assert_eq!(told.body, want);
}

#[tokio::test]
async fn an_id_alone_is_completed_by_a_read_and_a_failed_read_leaves_it_applied() {
    for (read, data) in [(r#"{"id":"7","at":"t","data":{"a":1.0}}"#, r#""data":{"a":1.0},"#), ("not json", "")] {
        let server = Scripted::start(move |received| async move {
            Act::json(200, if received.method == "GET" { read } else { r#"{"id":"7"}"# })
        })
        .await;
        let app = App::before(Notes { reads_back: true, ..Notes::default() }, server.addr).await;
        let told = app.mutate(create("{}")).await;
        assert_eq!(told.status, 200);
        let at = if data.is_empty() { "" } else { r#""upstream_updated_at":"t","# };
        let want = format!(r#""upstream_id":"7",{at}{data}"deleted":false"#);
        assert!(told.body.contains(&want), "{}", told.body);
        let log = server.log();
        assert_eq!(
            log.iter().map(|r| format!("{} {}", r.method, r.path)).collect::<Vec<_>>(),
            ["POST /note", "GET /note/7"]
        );
    }
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_refused_before_anything_is_sent() {
    let server = Scripted::start(|_| async { Act::json(200, "{}") }).await;
    let app = App::before(Notes::default(), server.addr).await;
    let with = |field: &str| create("{}").replace(r#""kind""#, &format!(r#"{field},"kind""#));
    for (body, status, words) in [
        (create("{}").replace(r#""s""#, r#""other""#), 422, "unknown sync"),
        (with(r#""await_consumer_ids":["c"]"#), 422, "unknown consumer"),
        (create("{}").replace("notes:note", "notes:nowhere"), 400, "there is no collection nowhere"),
        (create("{}").replace("create", "upsert"), 422, "must be create, update or delete"),
        ("[]".into(), 422, "not a JSON object"),
    ] {
        let told = app.mutate(body.as_str()).await;
        assert_eq!(told.status, status, "{body}: {}", told.body);
        assert!(told.body.contains(words), "{body}: {}", told.body);
    }
    assert_eq!(app.mutate(with(r#""await_consumer_ids":[]"#)).await.status, 200);
    assert_eq!(server.log().len(), 1);
}
