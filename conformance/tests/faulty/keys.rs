//! Faults of the header Idempotency-Key.

use std::sync::Barrier;

use serde_json::json;

use super::{Row, each_is_found};
use crate::proxy::{Fault, Reply, Request};

#[test]
fn of_keys_are_found() {
    each_is_found(
        vec![
            ("keys are not known", Fault::request(Request::clone), &["key-at-once", "key-other-body", "key-repeated"]),
            (
                "a key stands for any request",
                Fault::keys(|_, first| first.map(|(_, reply)| reply.clone())),
                &["key-other-body"],
            ),
            (
                "only creates are kept",
                Fault::keys(|request, first| {
                    let is_update =
                        first.is_some_and(|(first, _)| first.kind() == "update" && first.body == request.body);
                    is_update.then(|| Reply::error(200, "").with_json(|body| *body = first.unwrap().1.json()))?;
                    Some(first?.1.clone().with_records(|record| record["updated_idx"] = json!(9)))
                }),
                &["key-repeated"],
            ),
        ],
        &["--keys"],
    );
}

#[test]
fn of_one_key_at_once_are_found() {
    const CLIENTS: usize = 4;
    let all_are_here = Barrier::new(CLIENTS);
    let not_known = Fault::some(move |request, upstream| {
        // Each looks whether the key is known before any has stored it.
        request.header("idempotency-key")?;
        all_are_here.wait();
        Some(upstream.pass(request))
    });
    let rows: Vec<Row> = vec![("a key that is under way is not known", not_known, &["key-at-once"])];
    each_is_found(rows, &["--keys", "--only", "key-at-once"]);
}
