//! `GET`, `POST` and `DELETE /sandbox/faults`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::app::App;

pub async fn push(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let pushed = serde_json::from_slice(&body).map_err(|error| error.to_string());
    match pushed.and_then(|rule| app.faults.push(rule)) {
        Ok(()) => super::json(StatusCode::CREATED, &json!({"faults": app.faults.left().len()})),
        Err(reason) => super::problem(StatusCode::BAD_REQUEST, reason),
    }
}

pub async fn show(State(app): State<Arc<App>>) -> Response {
    super::json(StatusCode::OK, &json!({"faults": app.faults.left()}))
}

pub async fn clear(State(app): State<Arc<App>>) -> StatusCode {
    app.faults.clear();
    StatusCode::NO_CONTENT
}
