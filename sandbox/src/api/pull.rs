//! `/v1/http-consumers/{id}/next`, `/ack`, `/nack`. Defaults that no page gives: one record, no waiting.

use std::time::Duration;

use axum::extract::Query;
use hyper::{Method, Uri};
use serde::Deserialize;
use serde_json::json;

use super::Call;
use crate::app::App;
use crate::consumers::{Kind, pull::Pull};
use crate::record::Writer;
use crate::reply::{Faulty, Reply};

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
            Err(error) => invalid("ack_tokens", error.to_string()),
        },
        _ => Reply::error(405, "Method not allowed"),
    }
}

async fn next(app: &App, pull: &Pull, call: &Call<'_>) -> Reply {
    let wanted = if call.body.is_empty() {
        let uri = Uri::builder().path_and_query(format!("/?{}", call.query)).build();
        let query = uri.map_err(|e| e.to_string());
        query.and_then(|uri| Query::<Next>::try_from_uri(&uri).map(|q| q.0).map_err(|e| e.body_text()))
    } else {
        serde_json::from_slice(call.body).map_err(|error| error.to_string())
    };
    let wanted: Next = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return invalid("parameters", error),
    };
    let taken = pull.next(&app.stream, wanted.batch_size, Duration::from_millis(wanted.wait_for));
    let taken = taken.await;
    let mut page = Writer::with_capacity(taken.len() * 1_024 + 32);
    page.text(r#"{"data":["#);
    for (at, (token, record)) in taken.iter().enumerate() {
        page.text(if at > 0 { r#",{"ack_token":"# } else { r#"{"ack_token":"# });
        page.string(token);
        page.text(r#","record":"#);
        page.record(record);
        page.text("}");
    }
    page.text("]}");
    Reply::text(200, page.out)
}

fn invalid(field: &str, problem: String) -> Reply {
    Reply::invalid("Not a valid request", &Faulty::from([(field.to_owned(), vec![problem])]))
}
