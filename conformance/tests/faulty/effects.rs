//! Faults in the effects of creates, updates and deletes.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::{each_is_found, is_of_kind, without};
use crate::proxy::{Fault, Reply};

#[test]
fn of_mutations_are_found() {
    each_is_found(
        vec![
            (
                "a create shows other data than was sent",
                Fault::reply(|request, reply| match is_of_kind(request, "create") {
                    true => reply.with_records(|record| record["data"]["Email"] = json!("other@example.org")),
                    false => reply,
                }),
                &["create"],
            ),
            (
                "an update answers with the record as it was",
                {
                    let shown = Mutex::new(HashMap::<String, Value>::new());
                    Fault::reply(move |request, reply| {
                        let mut shown = shown.lock().unwrap();
                        let is_update = is_of_kind(request, "update");
                        let before = shown.clone();
                        for record in reply.json()["records"].as_array().into_iter().flatten() {
                            shown.insert(record["upstream_id"].to_string(), record["data"].clone());
                        }
                        match is_update {
                            true => reply.with_records(|record| {
                                record["data"] = before[&record["upstream_id"].to_string()].clone();
                            }),
                            false => reply,
                        }
                    })
                },
                &["at-once", "keep-alive", "large-body", "several", "update"],
            ),
            (
                "an update forgets the fields that it does not name",
                Fault::reply(|request, reply| {
                    let sent = request.elements();
                    match is_of_kind(request, "update") && sent.len() == 1 && reply.status == 200 {
                        true => reply.with_records(|record| record["data"] = sent[0]["data"].clone()),
                        false => reply,
                    }
                }),
                &["patch", "text"],
            ),
            (
                "a delete does nothing",
                Fault::some(|request, upstream| {
                    is_of_kind(request, "delete").then_some(())?;
                    let update = |id: &Value| json!({"upstream_id": id, "data": {}});
                    let mut body = request.json();
                    body["records"].is_null().then_some(())?;
                    body["records"] = body["upstream_ids"].as_array()?.iter().map(update).collect();
                    body["kind"] = json!("update");
                    let looks = without(&request.with_body(body.to_string()), &["upstream_ids"]);
                    let reply = upstream.pass(&looks);
                    (reply.status == 200).then(|| reply.with_records(|record| record["deleted"] = json!(true)))
                }),
                &["all-or-nothing", "delete", "pull", "unknown-id"],
            ),
            (
                "a second delete is a 404",
                Fault::reply(|request, reply| match is_of_kind(request, "delete") && reply.status == 400 {
                    true => reply.with_status(404),
                    false => reply,
                }),
                &["all-or-nothing", "delete-twice"],
            ),
            (
                "the version stands still",
                Fault::reply(|_, reply| reply.with_records(|record| record["updated_idx"] = json!(7))),
                &["version"],
            ),
            (
                "the last of several records is not in the reply",
                Fault::reply(|_, reply| {
                    reply.with_json(|body| {
                        if let Some(records) = body["records"].as_array_mut().filter(|records| records.len() > 1) {
                            records.pop();
                        }
                    })
                }),
                &["several"],
            ),
            (
                "several updates are mixed up",
                Fault::request(|request| {
                    let mut elements = request.elements();
                    if !is_of_kind(request, "update") || elements.len() != 3 {
                        return request.clone();
                    }
                    let first = elements[0]["upstream_id"].clone();
                    elements[0]["upstream_id"] = elements[1]["upstream_id"].clone();
                    elements[1]["upstream_id"] = first;
                    request.with_elements(elements)
                }),
                &["several"],
            ),
            (
                "a time is a number",
                Fault::reply(|request, reply| match is_of_kind(request, "delete") {
                    true => reply.with_records(|record| record["upstream_updated_at"] = json!(1_731_263_940)),
                    false => reply,
                }),
                &["delete", "delete-twice", "several", "version"],
            ),
        ],
        &[],
    );
}

#[test]
fn that_leave_no_record_to_work_on_are_found() {
    let rows = vec![
        (
            "a create shows no upstream_id",
            Fault::reply(|_, reply| {
                reply.with_records(|record| drop(record.as_object_mut().unwrap().remove("upstream_id")))
            }),
            &["create"][..],
        ),
        (
            "a create is a 201",
            Fault::reply(|_, reply| if reply.status == 200 { reply.with_status(201) } else { reply }),
            &["create"],
        ),
        (
            "the records are a list",
            Fault::reply(|_, reply| reply.with_json(|body| *body = body["records"].take())),
            &["create"],
        ),
        ("a reply is not JSON", Fault::reply(|_, reply| Reply { body: b"OK".into(), ..reply }), &["create"]),
    ];
    each_is_found(rows, &["--only", "create"]);
}
