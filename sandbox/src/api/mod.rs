//! The contract's endpoints, and the check of the token.

mod mutations;
mod pull;

use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use mutation_api::reply::Reply;
use mutation_api::{MUTATIONS, content_type, pull_api};

use crate::app::App;

/// A request whose body has arrived whole.
pub struct Call<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

pub async fn answer(app: &App, call: &Call<'_>) -> Reply {
    if app.tokens.holder(call.headers).is_none() {
        return Reply::unauthorized();
    }
    if call.path == MUTATIONS {
        if call.method != Method::POST {
            return Reply::method_not_allowed("POST");
        }
        if !content_type::is_json(call.headers) {
            return Reply::invalid_field("Unsupported content type", "content-type", "must be application/json");
        }
        return mutations::run(app, call.body).await;
    }
    match pull_api::route(call.path) {
        Some((id, verb)) => pull::answer(app, &id, verb, call).await,
        None => Reply::error(StatusCode::NOT_FOUND, "Not found"),
    }
}
