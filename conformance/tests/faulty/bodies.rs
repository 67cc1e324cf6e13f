//! Faults in the reading of bodies.

use std::time::Duration;

use super::{each_is_found, is_mutation};
use crate::proxy::{Fault, Reply};

#[test]
fn of_reading_bodies_are_found() {
    each_is_found(
        vec![
            (
                "what is behind a request is not read",
                Fault::request(|request| match request.text().strip_suffix("}}") {
                    Some(first) if request.json().is_null() => request.with_body(format!("{first}}}").into_bytes()),
                    _ => request.clone(),
                }),
                &["not-json"],
            ),
            (
                "a body that is not JSON is an internal error",
                Fault::reply(|request, reply| match request.text().starts_with("kind=") {
                    true => Reply::error(500, "panic"),
                    false => reply,
                }),
                &["not-json"],
            ),
            (
                "a content type is not looked at",
                Fault::request(|request| request.with_header("content-type", "application/json")),
                &["content-type", "keep-alive"],
            ),
            (
                "a charset is refused",
                Fault::some(|request, _| {
                    let has_charset = request.header("content-type").is_some_and(|value| value.contains(';'));
                    has_charset.then(|| Reply::error(415, "no"))
                }),
                &["content-type"],
            ),
            (
                "a body must have a length",
                Fault::some(|request, _| {
                    let has_none = request.method == "POST" && request.header("content-length").is_none();
                    has_none.then(|| Reply::error(411, "no length"))
                }),
                &["chunked-body"],
            ),
            (
                "only the first part of a body in chunks is read",
                Fault::request(|request| match request.header("content-length").is_none() && is_mutation(request) {
                    true => request.with_body(request.body[..request.body.len() / 8].to_vec()),
                    false => request.clone(),
                }),
                &["chunked-body"],
            ),
            (
                "a large body is an internal error",
                Fault::some(|request, _| (request.body.len() > 1 << 20).then(|| Reply::error(500, "too much"))),
                &["large-body"],
            ),
            (
                "a body of 100 kB is too large",
                Fault::some(|request, _| (request.body.len() > 100_000).then(|| Reply::error(413, "too much"))),
                &["large-body"],
            ),
        ],
        &[],
    );
}

#[test]
fn of_impatience_are_found() {
    // Half of the time that a slow body takes.
    let impatient =
        Fault::some(|request, _| (request.took > Duration::from_millis(350)).then(|| Reply::error(408, "too slow")));
    // A body of some megabytes may be slow on a busy machine.
    let rows = vec![("a body must not be slow", impatient, &["chunked-body", "slow-body"][..])];
    each_is_found(rows, &["--large", "300000"]);
}
