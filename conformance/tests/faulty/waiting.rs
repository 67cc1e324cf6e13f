//! Faults in waiting for consumers.

use serde_json::json;

use super::{each_is_found, without};
use crate::proxy::{Fault, Reply, Request};

/// Whether the request waits for the consumer of the test, and not for an unknown one.
fn awaits(request: &Request) -> bool {
    request.json()["await_consumer_ids"][0].as_str().is_some_and(|id| id.starts_with("consumer"))
}

const AWAIT: [&str; 2] = ["await_consumer_ids", "await_consumers_timeout"];

#[test]
fn of_waiting_are_found() {
    let is_unknown = |request: &Request| !awaits(request) && request.json()["await_consumer_ids"][0].is_string();
    each_is_found(
        vec![
            (
                "an unknown consumer is not waited for",
                Fault::request(
                    move |request| if is_unknown(request) { without(request, &AWAIT) } else { request.clone() },
                ),
                &["unknown-consumer"],
            ),
            (
                "an unknown consumer is refused after the effect",
                Fault::some(move |request, upstream| {
                    is_unknown(request).then(|| {
                        upstream.pass(&without(request, &AWAIT));
                        upstream.pass(request)
                    })
                }),
                &["unknown-consumer"],
            ),
            (
                "a consumer is not waited for",
                Fault::request(|request| if awaits(request) { without(request, &AWAIT) } else { request.clone() }),
                &["await-acknowledged", "await-timeout"],
            ),
            (
                "a wait that ends too late is a 504",
                Fault::reply(|request, reply| match awaits(request) && reply.status == 500 {
                    true => reply.with_status(504),
                    false => reply,
                }),
                &["await-timeout"],
            ),
            (
                "a wait that ends too late has another text",
                Fault::reply(|request, reply| match awaits(request) && reply.status == 500 {
                    true => Reply::error(500, "Consumers are late"),
                    false => reply,
                }),
                &["await-timeout"],
            ),
            (
                "a wait that ends too late shows records",
                Fault::reply(|request, reply| match awaits(request) && reply.status == 500 {
                    true => reply.with_json(|body| body["records"] = json!([])),
                    false => reply,
                }),
                &["await-timeout"],
            ),
            (
                "a wait that ends too late has applied nothing",
                Fault::some(|request, _| {
                    let is_short = request.json()["await_consumers_timeout"] == 200;
                    let consumer = request.json()["await_consumer_ids"][0].as_str()?.to_owned();
                    is_short.then(|| Reply::error(500, &format!("Timed out waiting for consumers: {consumer}")))
                }),
                &["await-timeout"],
            ),
        ],
        &[],
    );
}
