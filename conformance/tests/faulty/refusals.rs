//! Faults in refusals, of one record and of several.

use serde_json::json;

use super::{each_is_found, is_of_kind};
use crate::proxy::{Fault, Reply, Request, Upstream};

/// The sandbox's reply to a request of its elements one by one: the first refusal, or all records.
fn one_by_one(request: &Request, upstream: &Upstream) -> Reply {
    let mut records = Vec::new();
    let mut refusal = None;
    for element in request.elements() {
        let reply = upstream.pass(&request.with_elements(vec![element]));
        match reply.json()["records"].as_array() {
            Some(one) => records.extend(one.clone()),
            None => refusal = Some(reply),
        }
    }
    refusal.unwrap_or_else(|| Reply::error(200, "").with_json(|body| *body = json!({"records": records})))
}

/// A request with several elements that are right in themselves.
fn is_batch(request: &Request, kind: &str) -> bool {
    is_of_kind(request, kind)
        && request.elements().len() > 1
        && request.elements().iter().all(|element| element.is_string() || element["data"].is_object())
}

#[test]
fn of_refusals_are_found() {
    let is_invalid = |reply: &Reply| String::from_utf8_lossy(&reply.body).contains("Invalid email");
    let is_missing = |reply: &Reply| String::from_utf8_lossy(&reply.body).contains("Record not found");
    each_is_found(
        vec![
            (
                "invalid data is a 422",
                Fault::reply(move |_, reply| if is_invalid(&reply) { reply.with_status(422) } else { reply }),
                &["all-or-nothing", "invalid-data", "prefer"],
            ),
            (
                "an error has no text",
                Fault::reply(move |_, reply| {
                    if is_invalid(&reply) { reply.with_json(|body| *body = json!({"message": "no"})) } else { reply }
                }),
                &["all-or-nothing", "invalid-data"],
            ),
            (
                "a missing record is a 404",
                Fault::reply(move |request, reply| match is_missing(&reply) && is_of_kind(request, "update") {
                    true => reply.with_status(404),
                    false => reply,
                }),
                &["all-or-nothing", "unknown-id"],
            ),
            (
                "a missing record is created",
                Fault::some(move |request, upstream| {
                    is_of_kind(request, "update").then_some(())?;
                    let reply = upstream.pass(request);
                    if !is_missing(&reply) || request.elements().len() > 1 {
                        return Some(reply);
                    }
                    let data = request.elements()[0]["data"].clone();
                    let mut create = request.json();
                    create["kind"] = json!("create");
                    create["records"] = json!([{"data": data}]);
                    Some(upstream.pass(&request.with_body(create.to_string())))
                }),
                &["delete", "unknown-id"],
            ),
            (
                "updates of a refused request are applied",
                Fault::some(|request, upstream| is_batch(request, "update").then(|| one_by_one(request, upstream))),
                &["all-or-nothing"],
            ),
            (
                "deletes of a refused request are applied",
                Fault::some(|request, upstream| is_batch(request, "delete").then(|| one_by_one(request, upstream))),
                &["all-or-nothing"],
            ),
            (
                "creates of a refused request are applied",
                Fault::some(|request, upstream| is_batch(request, "create").then(|| one_by_one(request, upstream))),
                &["all-or-nothing"],
            ),
        ],
        &[],
    );
}

#[test]
fn of_the_limit_of_records_are_found() {
    each_is_found(
        vec![
            ("the limit is not named", Fault::at_most(1, "[]"), &["max-records"]),
            ("the limit is named as 0", Fault::at_most(1, r#"{"max_records": 0}"#), &["max-records"]),
            ("the limit is above what is refused", Fault::at_most(1, r#"{"max_records": 2}"#), &["max-records"]),
            ("the limit is above what is taken", Fault::at_most(2, r#"{"max_records": 19}"#), &["max-records"]),
            (
                "some are applied before the rest is refused",
                Fault::some(|request, upstream| {
                    is_batch(request, "update").then(|| {
                        upstream.pass(&request.with_elements(request.elements()[..1].to_vec()));
                        Reply::error(422, "one").with_json(|body| body["docs"] = json!({"max_records": 1}))
                    })
                }),
                &["max-records"],
            ),
        ],
        &["--atomic", "no"],
    );
}
