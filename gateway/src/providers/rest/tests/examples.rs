//! The services of examples/gateway/. The replies of PocketBase and Kinto are real ones.

use super::*;

/// The collection `contacts` of an example, as `c`.
fn example(text: &str) -> Rest {
    #[derive(serde::Deserialize)]
    struct File {
        sync: BTreeMap<String, Sync>,
    }
    #[derive(serde::Deserialize)]
    struct Sync {
        collection: BTreeMap<String, Description>,
    }
    let file: File = toml::from_str(text).unwrap();
    let descriptions = file.sync.into_values().flat_map(|sync| sync.collection);
    let descriptions = descriptions.map(|(name, described)| (name.replace("contacts", "c"), described));
    Rest::compile(descriptions.collect()).unwrap_or_else(|fault| panic!("{}", fault.message))
}

/// Each row: a kind, and the request for it in a line.
fn sends(rest: &Rest, rows: &[(Kind, &str)]) {
    for &(kind, want) in rows {
        assert_eq!(line(&sent(rest, kind)).replace(" content-type=application/json", ""), want);
    }
}

#[test]
fn pocketbase_is_described() {
    let rest = example(include_str!("../../../../../examples/gateway/pocketbase.toml"));
    let path = "/collections/contacts/records";
    sends(
        &rest,
        &[
            (Create, &format!(r#"POST {path} {{"a":1,"id":"yvhrb0t267ptnew"}} UniqueId"#)),
            (Update, &format!(r#"PATCH {path}/r1 {{"a":1}} Absolute"#)),
            (Delete, &format!("DELETE {path}/r1  Absolute")),
            (Read, &format!("GET {path}/r1  Absolute")),
        ],
    );
    let record = |id: &str| {
        format!(
            r#"{{"collectionId":"pbc_1930317162","collectionName":"contacts",
            "created":"2026-12-01 11:35:19.896Z","email":"a@b.example","id":"{id}","n":12.50,
            "updated":"2026-12-01 11:35:19.921Z"}}"#
        )
    };
    let is_there = r#"{"data":{"id":{"code":"validation_not_unique","message":"Value must be unique."}},
        "message":"Failed to create record.","status":400}"#;
    let refused = r#"{"data":{"email":{"code":"validation_is_email","message":"Must be a valid email address."},
        "id":{"code":"validation_min_text_constraint","message":"Must be at least 15 character(s).",
        "params":{"min":15}}},"message":"Failed to create record.","status":400}"#;
    let missing = r#"{"data":{},"message":"The requested resource wasn't found.","status":404}"#;
    let no_collection = r#"{"data":{},"message":"Missing or invalid collection context.","status":404}"#;
    holds(
        &rest,
        &[
            (
                Create,
                200,
                &record("yvhrb0t267ptnew"),
                "applied yvhrb0t267ptnew 2026-12-01T11:35:19.896Z 2026-12-01T11:35:19.921Z data",
            ),
            // It did not take the id that was sent.
            (Create, 200, &record("aaaaaaaaaaaaaaa"), "unknown None the reply is about another record"),
            (Create, 400, is_there, "applied yvhrb0t267ptnew"),
            (
                Create,
                400,
                refused,
                "rejected email: Must be a valid email address.; id: Must be at least 15 character(s).",
            ),
            (
                Create,
                403,
                r#"{"data":{},"message":"Only superusers can.","status":403}"#,
                "rejected Only superusers can.",
            ),
            (Update, 200, &record("r1"), "applied r1 2026-12-01T11:35:19.896Z 2026-12-01T11:35:19.921Z data"),
            (Update, 404, missing, "rejected The requested resource wasn't found."),
            (Delete, 204, "", "applied r1 deleted"),
            (Delete, 404, missing, "gone The requested resource wasn't found."),
            (Delete, 404, no_collection, "rejected Missing or invalid collection context."),
        ],
    );
}

#[test]
fn kinto_is_described() {
    let rest = example(include_str!("../../../../../examples/gateway/kinto.toml"));
    let key = KEY.to_string();
    let path = "/buckets/app/collections/contacts/records";
    sends(
        &rest,
        &[
            (Create, &format!(r#"PUT {path}/{key} if-none-match=* {{"data":{{"a":1}}}} UniqueId"#)),
            (Update, &format!(r#"PATCH {path}/r1 {{"data":{{"a":1}}}} Absolute"#)),
            (Delete, &format!("DELETE {path}/r1  Absolute")),
        ],
    );
    let record = |id: &str| {
        format!(
            r#"{{"permissions":{{"write":["account:gateway"]}},
            "data":{{"n":12.50,"id":"{id}","last_modified":1796124924605}}}}"#
        )
    };
    let existing = |id: &str| {
        format!(
            r#"{{"code":412,"errno":114,"error":"Precondition Failed","message":"Resource was modified meanwhile",
            "details":{{"existing":{{"n":12.50,"id":"{id}","last_modified":1796124924605}}}}}}"#
        )
    };
    let missing = r#"{"code":404,"errno":110,"error":"Not Found","details":{"id":"r1","resource_name":"record"}}"#;
    let no_collection = r#"{"code":404,"errno":111,"error":"Not Found","details":{"resource_name":"collection"}}"#;
    let invalid = r#"{"code":400,"errno":107,"error":"Invalid parameters","message":"data in body: no mapping"}"#;
    let applied = format!("applied {key} 2026-12-01T11:35:24.605Z data");
    holds(
        &rest,
        &[
            (Create, 201, &record(&key), &applied),
            (Create, 412, &existing(&key), &applied),
            (Create, 412, &existing("another"), "rejected Resource was modified meanwhile"),
            (Create, 412, "", &format!("applied {key}")),
            (Create, 400, invalid, "rejected data in body: no mapping"),
            (Update, 200, &record("r1"), "applied r1 2026-12-01T11:35:24.605Z data"),
            (Update, 404, missing, "rejected Not Found"),
            (
                Delete,
                200,
                r#"{"data":{"id":"r1","last_modified":1796124924605,"deleted":true}}"#,
                "applied r1 2026-12-01T11:35:24.605Z deleted",
            ),
            (Delete, 404, missing, "gone Not Found"),
            (Delete, 404, no_collection, "rejected Not Found"),
        ],
    );
}

#[test]
fn a_postgrest_table_is_described() {
    let rest = example(include_str!("../../../../../examples/gateway/postgrest.toml"));
    let key = KEY.to_string();
    let prefer = "prefer=return=representation";
    sends(
        &rest,
        &[
            (Create, &format!(r#"POST /contacts {prefer} {{"a":1,"id":"{key}"}} UniqueId"#)),
            (Update, &format!(r#"PATCH /contacts?id=eq.r1 {prefer} {{"a":1}} Absolute"#)),
            (Delete, "DELETE /contacts?id=eq.r1  Absolute"),
            (Read, "GET /contacts?id=eq.r1  Absolute"),
        ],
    );
    assert_eq!(plan(&rest, "c", delete("1&limit=9")).unwrap().path, "/contacts?id=eq.1%26limit%3D9");
    let rows = |id: &str| {
        format!(r#"[{{"id":"{id}","n":12345678901234567890,"updated_at":"2026-12-01T11:35:19.921+00:00"}}]"#)
    };
    let applied = |id: &str| format!("applied {id} 2026-12-01T11:35:19.921+00:00 data");
    let conflict = |key: &str| {
        format!(
            r#"{{"code":"23505","details":null,"hint":null,
            "message":"duplicate key value violates unique constraint \"{key}\""}}"#
        )
    };
    holds(
        &rest,
        &[
            (Create, 201, &rows(&key), &applied(&key)),
            (Create, 409, &conflict("contacts_pkey"), &format!("applied {key}")),
            (
                Create,
                409,
                &conflict("contacts_email_key"),
                "rejected duplicate key value violates unique constraint \"contacts_email_key\"",
            ),
            (Update, 200, &rows("r1"), &applied("r1")),
            (Update, 200, "[]", "gone HTTP status 200"),
            (Delete, 204, "", "applied r1 deleted"),
        ],
    );
    let read = |status, body: &str| rest.judge_read(&sent(&rest, Read), &reply(status, &[], body));
    assert_eq!(read(200, &rows("r1")).unwrap().data.unwrap().get(), &rows("r1")[1..rows("r1").len() - 1]);
    for (status, body) in [(200, "[]"), (200, "<html>"), (404, ""), (200, &rows("r2"))] {
        assert!(read(status, body).is_none(), "{status} {body}");
    }
}
