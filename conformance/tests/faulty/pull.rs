//! Faults of pull consumers.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::each_is_found;
use crate::proxy::{Fault, Reply, Request};

/// Changes the records that a pull consumer gets.
fn pulled(change: impl Fn(&mut Vec<Value>) + Send + Sync + 'static) -> Fault {
    Fault::some(move |request, upstream| {
        request.path.contains("/next").then(|| {
            upstream.pass(request).with_json(|body| {
                if let Some(deliveries) = body.get_mut("data").and_then(Value::as_array_mut) {
                    change(deliveries);
                }
            })
        })
    })
}

#[test]
fn of_pull_consumers_are_found() {
    let verb = |from: &'static str, to: &'static str| {
        Fault::request(Request::clone).and(move |request| match request.path.strip_suffix(from) {
            Some(rest) => Request { path: format!("{rest}{to}"), ..request },
            None => request,
        })
    };
    let known = Mutex::new(HashMap::<String, Value>::new());
    each_is_found(
        vec![
            ("a record that is given back is gone", verb("/nack", "/ack"), &["pull-again"]),
            (
                "deletes are not in the stream",
                pulled(|deliveries| deliveries.retain(|delivery| delivery["record"]["deleted"] == false)),
                &["pull"],
            ),
            (
                "records in the stream have another id",
                pulled(|deliveries| {
                    for delivery in deliveries.iter_mut().filter(|delivery| delivery["record"]["deleted"] == false) {
                        delivery["record"]["upstream_id"] = json!("7");
                    }
                }),
                &["pull"],
            ),
            (
                "a record has one token for ever",
                Fault::some(move |request, upstream| {
                    if request.path.contains("/next") {
                        return Some(upstream.pass(request).with_json(|body| {
                            for delivery in body.get_mut("data").and_then(Value::as_array_mut).into_iter().flatten() {
                                let token = delivery["record"]["updated_idx"].to_string();
                                known.lock().unwrap().insert(token.clone(), delivery["ack_token"].take());
                                delivery["ack_token"] = json!(token);
                            }
                        }));
                    }
                    let mut body = request.json();
                    for token in body.get_mut("ack_tokens")?.as_array_mut()? {
                        if let Some(real) = known.lock().unwrap().get(token.as_str().unwrap_or_default()) {
                            *token = real.clone();
                        }
                    }
                    Some(upstream.pass(&request.with_body(body.to_string())))
                }),
                &["pull-again"],
            ),
            (
                "an unknown consumer has no records",
                Fault::new(|request, upstream| match upstream.pass(&request) {
                    reply if reply.status == 404 && request.path.ends_with("/next") => {
                        Reply::error(200, "").with_json(|body| *body = json!({"data": []}))
                    }
                    reply => reply,
                }),
                &["pull-refusals"],
            ),
            (
                "an unknown token is an error",
                Fault::some(|request, _| {
                    request.text().contains(r#"["conformance"]"#).then(|| Reply::error(404, "no such token"))
                }),
                &["pull-refusals"],
            ),
        ],
        &[],
    );
}
