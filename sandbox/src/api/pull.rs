//! `/v1/http-consumers/{id}/next`, `/ack`, `/nack`. Defaults that no page gives: one record, no waiting.

use std::time::Duration;

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Call;
use crate::app::App;
use crate::consumers::{Kind, pull::Pull};
use crate::record::Record;
use crate::reply::Reply;

const INVALID: &str = "Not a valid request";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Next {
    #[serde(default = "one")]
    batch_size: usize,
    #[serde(default)]
    wait_for: u64,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tokens {
    ack_tokens: Vec<String>,
}

pub async fn answer(app: &App, id: &str, verb: &str, call: &Call<'_>) -> Reply {
    let consumer = app.consumers.get(id);
    let Some(Kind::Pull(pull)) = consumer.as_deref().map(|consumer| &consumer.kind) else {
        return Reply::error(404, &format!("No pull consumer {id}"));
    };
    match (verb, call.method) {
        ("next", &Method::GET | &Method::POST) => next(app, pull, call).await,
        ("ack" | "nack", &Method::POST) => match serde_json::from_slice::<Tokens>(call.body) {
            Ok(Tokens { ack_tokens }) => {
                pull.settle(&ack_tokens, verb == "ack");
                Reply::json(200, &json!({"success": true}))
            }
            Err(error) => Reply::invalid_field(INVALID, "ack_tokens", error.to_string()),
        },
        _ => Reply::error(405, "Method not allowed"),
    }
}

async fn next(app: &App, pull: &Pull, call: &Call<'_>) -> Reply {
    let wanted = match call.body {
        [] => serde_urlencoded::from_str(call.query).map_err(|error| error.to_string()),
        body => serde_json::from_slice(body).map_err(|error| error.to_string()),
    };
    let wanted: Next = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return Reply::invalid_field(INVALID, "parameters", error),
    };
    let taken = pull.next(&app.stream, wanted.batch_size, Duration::from_millis(wanted.wait_for)).await;
    let data = taken.iter().map(|(ack_token, record)| Delivery { ack_token, record }).collect();
    Reply::json(200, &Page { data })
}

#[derive(Serialize)]
struct Page<'a> {
    data: Vec<Delivery<'a>>,
}

#[derive(Serialize)]
struct Delivery<'a> {
    ack_token: &'a str,
    record: &'a Record,
}
