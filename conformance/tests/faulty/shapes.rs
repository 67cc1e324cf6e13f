//! Faults in the check of a request's shape.

use super::{each_is_found, is_mutation, without};
use crate::proxy::{Fault, Reply};

#[test]
fn of_the_check_of_shapes_are_found() {
    each_is_found(
        vec![
            (
                "an unknown field is ignored",
                Fault::request(|request| match request.json()["nonsense"].is_null() {
                    true => request.clone(),
                    false => without(request, &["nonsense"]),
                }),
                &["wrong-shapes"],
            ),
            (
                "a field of a wrong type is ignored",
                Fault::request(|request| match request.json()["await_consumers_timeout"].is_string() {
                    true => without(request, &["await_consumers_timeout"]),
                    false => request.clone(),
                }),
                &["wrong-shapes"],
            ),
            (
                "a wrong shape is a 400",
                Fault::reply(|request, reply| match request.json()["kind"] == "upsert" {
                    true => reply.with_status(400),
                    false => reply,
                }),
                &["wrong-shapes"],
            ),
            (
                "a request is applied, and then refused",
                Fault::some(|request, upstream| {
                    (!request.json()["nonsense"].is_null()).then(|| {
                        upstream.pass(&without(request, &["nonsense"]));
                        upstream.pass(request)
                    })
                }),
                &["wrong-shapes"],
            ),
            (
                "right records of a wrong request are created",
                Fault::some(|request, upstream| {
                    let elements = request.elements();
                    let is_it = elements.len() == 2 && elements[1]["data"] == 7;
                    is_it.then(|| {
                        upstream.pass(&request.with_elements(elements[..1].to_vec()));
                        upstream.pass(request)
                    })
                }),
                &["wrong-shapes"],
            ),
            (
                "kind must come first",
                Fault::some(|request, _| {
                    let is_it =
                        is_mutation(request) && !request.kind().is_empty() && request.json()["kind"] != "upsert";
                    (is_it && !request.text().starts_with(r#"{"kind""#)).then(|| Reply::error(422, "no kind"))
                }),
                &["large-body", "right-shapes"],
            ),
            (
                "a timeout alone is refused",
                Fault::some(|request, _| {
                    let body = request.json();
                    let is_alone = body["await_consumers_timeout"] == 1000 && body["await_consumer_ids"].is_null();
                    is_alone.then(|| Reply::error(422, "no consumers"))
                }),
                &["right-shapes"],
            ),
            (
                "a field that is sent twice is an internal error",
                Fault::reply(|request, reply| match request.text().starts_with(r#"{"kind":"update","kind""#) {
                    true => Reply::error(500, "panic"),
                    false => reply,
                }),
                &["repeated-field"],
            ),
        ],
        &[],
    );
}
