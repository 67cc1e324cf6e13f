//! The contract's endpoints, and the check of the token.
//!
//! The bodies of 401, 404, 405 and 413 are undocumented here; they have the form of the Mutation API's other errors.

mod mutations;
mod pull;
mod request;

use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};

use crate::app::App;
use crate::faults::MUTATIONS;
use crate::reply::Reply;

/// A request whose body has arrived whole.
pub struct Call<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

pub async fn answer(app: &App, call: &Call<'_>) -> Reply {
    if !authorized(app, call.headers) {
        return Reply::error(401, "The API token is missing or not valid");
    }
    if call.path == MUTATIONS {
        if call.method != Method::POST {
            return Reply::error(405, "Method not allowed");
        }
        if !is_json(call.headers) {
            return Reply::invalid_field("Unsupported content type", "content-type", "must be application/json");
        }
        return mutations::run(app, call.body).await;
    }
    match call.path.strip_prefix("/v1/http-consumers/").and_then(|rest| rest.split_once('/')) {
        Some((id, verb @ ("next" | "ack" | "nack"))) => pull::answer(app, id, verb, call).await,
        _ => Reply::error(404, "Not found"),
    }
}

fn authorized(app: &App, headers: &HeaderMap) -> bool {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.split_once(' '));
    token.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case("bearer") && app.tokens.iter().any(|known| known == token)
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
