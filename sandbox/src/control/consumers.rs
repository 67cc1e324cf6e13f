//! `GET` and `POST /sandbox/consumers`, `DELETE /sandbox/consumers/{id}`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tokio_postgres::Config;

use crate::app::App;
use crate::consumers::postgres::{Postgres, Settings};
use crate::consumers::pull::Pull;
use crate::consumers::table::Table;
use crate::consumers::{Consumer, Kind};

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Wanted {
    Pull {
        id: String,
        collection_id: Option<String>,
        #[serde(default)]
        from: From,
        #[serde(default = "lease")]
        lease_ms: u64,
    },
    Postgres {
        id: String,
        collection_id: Option<String>,
        #[serde(default)]
        from: From,
        dsn: String,
        table: String,
        #[serde(default)]
        delay_ms: u64,
    },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum From {
    Start,
    #[default]
    End,
}

fn lease() -> u64 {
    30_000
}

pub async fn register(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let wanted: Wanted = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return super::problem(StatusCode::BAD_REQUEST, error),
    };
    match consumer(&app, wanted).await {
        Ok(consumer) => {
            let id = consumer.id.clone();
            app.consumers.put(consumer);
            super::json(StatusCode::CREATED, &json!({"id": id}))
        }
        Err((status, reason)) => super::problem(status, reason),
    }
}

async fn consumer(app: &App, wanted: Wanted) -> Result<Consumer, (StatusCode, String)> {
    match wanted {
        Wanted::Pull { id, collection_id, from, lease_ms } => {
            let lease = Duration::from_millis(lease_ms);
            let kind = Kind::Pull(Pull::new(collection_id.clone(), lease, position(app, from)));
            Ok(Consumer { id, collection_id, kind })
        }
        Wanted::Postgres { id, collection_id, from, dsn, table, delay_ms } => {
            let bad = |reason: String| (StatusCode::BAD_REQUEST, reason);
            let mut dsn: Config = dsn.parse().map_err(|error| bad(format!("dsn: {error}")))?;
            if dsn.get_application_name().is_none() {
                dsn.application_name("sequin-sandbox");
            }
            let settings = Settings {
                dsn,
                table: Table::parse(&table).map_err(bad)?,
                filter: collection_id.clone(),
                delay: Duration::from_millis(delay_ms),
            };
            let started = Postgres::start(settings, app.stream.clone(), position(app, from)).await;
            let kind = Kind::Postgres(started.map_err(|reason| (StatusCode::BAD_GATEWAY, reason))?);
            Ok(Consumer { id, collection_id, kind })
        }
    }
}

fn position(app: &App, from: From) -> u64 {
    match from {
        From::Start => app.stream.start(),
        From::End => app.stream.end(),
    }
}

pub async fn show(State(app): State<Arc<App>>) -> Response {
    let end = app.stream.end();
    let shown: Vec<_> = app.consumers.all().iter().map(|consumer| view(consumer, end)).collect();
    super::json(StatusCode::OK, &json!({"consumers": shown}))
}

fn view(consumer: &Consumer, end: u64) -> serde_json::Value {
    let (kind, position) = match &consumer.kind {
        Kind::Pull(pull) => ("pull", pull.position()),
        Kind::Postgres(postgres) => ("postgres", postgres.position()),
    };
    let mut view = json!({
        "id": consumer.id,
        "kind": kind,
        "collection_id": consumer.collection_id,
        "position": position,
        "behind": end.saturating_sub(position),
    });
    if let Kind::Postgres(postgres) = &consumer.kind {
        let trouble = postgres.trouble();
        view["last_error"] = json!(trouble.last_error);
        view["skipped"] = json!(trouble.skipped);
    }
    view
}

pub async fn remove(State(app): State<Arc<App>>, Path(id): Path<String>) -> StatusCode {
    let Some(consumer) = app.consumers.remove(&id) else {
        return StatusCode::NOT_FOUND;
    };
    // A request that waits for it holds it too, and waits on until its timeout: the copying stops now.
    if let Kind::Postgres(postgres) = &consumer.kind {
        postgres.stop();
    }
    StatusCode::NO_CONTENT
}
