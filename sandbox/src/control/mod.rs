//! `/sandbox`: what tests and the demo use to arrange and to look. No token, and nothing here is in the log.

mod consumers;
mod faults;
mod log;
mod records;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get};
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::gate;
use crate::reply::Reply;

pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/sandbox/log", get(log::show).delete(log::clear))
        .route("/sandbox/faults", get(faults::show).post(faults::push).delete(faults::clear))
        .route("/sandbox/consumers", get(consumers::show).post(consumers::register))
        .route("/sandbox/consumers/{id}", delete(consumers::remove))
        .route("/sandbox/records", get(records::show).delete(records::clear))
        // A rule may hold a reply that is larger than what a client accepts.
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}

pub fn is<B>(request: &axum::http::Request<B>) -> bool {
    let path = request.uri().path();
    path.strip_prefix("/sandbox").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    response(Reply::json(status.as_u16(), body))
}

fn response(reply: Reply) -> Response {
    let body = Body::from(reply.body.clone());
    gate::response(reply, body)
}

fn problem(status: StatusCode, reason: impl std::fmt::Display) -> Response {
    json(status, &json!({"error": reason.to_string()}))
}
