//! `GET` and `DELETE /sandbox/records`.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::app::App;
use crate::consumers::Kind;
use crate::record::Writer;
use crate::reply::Reply;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    sync_id: Option<String>,
    collection_id: Option<String>,
}

pub async fn show(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Response {
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let present = app
        .stream
        .present(|record| is(&wanted.sync_id, &record.sync_id) && is(&wanted.collection_id, &record.collection_id));
    super::response(Reply::text(200, Writer::records(&present)))
}

/// Records and stream. Consumers stay, and go on with what comes.
pub async fn clear(State(app): State<Arc<App>>) -> StatusCode {
    app.stream.clear();
    for consumer in app.consumers.all() {
        if let Kind::Pull(pull) = &consumer.kind {
            pull.forget();
        }
    }
    StatusCode::NO_CONTENT
}
