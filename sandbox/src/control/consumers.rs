//! `GET` and `POST /sandbox/consumers`, `DELETE /sandbox/consumers/{id}`.

use std::time::Duration;

use hyper::StatusCode;
use mutation_api::consumers::postgres::{Postgres, Settings};
use mutation_api::consumers::pull::Pull;
use mutation_api::consumers::{Consumer, ConsumerKind};
use mutation_api::reply::Reply;
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem;
use crate::app::App;

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

pub async fn register(app: &App, body: &[u8]) -> Reply {
    let consumer = match serde_json::from_slice(body) {
        Ok(wanted) => consumer(app, wanted).await,
        Err(error) => Err((StatusCode::BAD_REQUEST, error.to_string())),
    };
    match consumer {
        Ok(consumer) => {
            let id = consumer.id.clone();
            app.consumers.put(consumer);
            Reply::json(StatusCode::CREATED, &json!({"id": id}))
        }
        Err((status, reason)) => problem(status, reason),
    }
}

async fn consumer(app: &App, wanted: Wanted) -> Result<Consumer, (StatusCode, String)> {
    match wanted {
        Wanted::Pull { id, collection_id, from, lease_ms } => {
            let lease = Duration::from_millis(lease_ms);
            let kind = ConsumerKind::Pull(Pull::new(collection_id.clone(), lease, position(app, from)));
            Ok(Consumer { id, collection_id, kind })
        }
        Wanted::Postgres { id, collection_id, from, dsn, table, delay_ms } => {
            let dsn = dsn.parse().map_err(|error| (StatusCode::BAD_REQUEST, format!("dsn: {error}")))?;
            let delay = Duration::from_millis(delay_ms);
            let filter = collection_id.clone();
            let settings = Settings { dsn, table, filter, delay, application_name: "sequin-sandbox" };
            let started = Postgres::start(settings, app.stream.clone(), position(app, from)).await;
            Ok(Consumer {
                id,
                collection_id,
                kind: ConsumerKind::Postgres(started.map_err(|reason| (StatusCode::BAD_GATEWAY, reason))?),
            })
        }
    }
}

fn position(app: &App, from: From) -> u64 {
    match from {
        From::Start => app.stream.start(),
        From::End => app.stream.end(),
    }
}

pub fn show(app: &App) -> Reply {
    let end = app.stream.end();
    let shown: Vec<_> = app.consumers.all().iter().map(|consumer| view(consumer, end)).collect();
    Reply::json(StatusCode::OK, &json!({"consumers": shown}))
}

fn view(consumer: &Consumer, end: u64) -> Value {
    let (kind, position) = match &consumer.kind {
        ConsumerKind::Pull(pull) => ("pull", pull.position()),
        ConsumerKind::Postgres(postgres) => ("postgres", postgres.position()),
    };
    let mut view = json!({
        "id": consumer.id,
        "kind": kind,
        "collection_id": consumer.collection_id,
        "position": position,
        "behind": end.saturating_sub(position),
    });
    if let ConsumerKind::Postgres(postgres) = &consumer.kind {
        let trouble = postgres.trouble();
        view["last_error"] = json!(trouble.last_error);
        view["skipped"] = json!(trouble.skipped);
    }
    view
}

pub fn remove(app: &App, id: &str) -> Reply {
    let Some(consumer) = app.consumers.remove(id) else {
        return Reply::empty(StatusCode::NOT_FOUND);
    };
    // A waiting request also holds the consumer, and waits until its timeout: the copying stops now.
    if let ConsumerKind::Postgres(postgres) = &consumer.kind {
        postgres.stop();
    }
    Reply::empty(StatusCode::NO_CONTENT)
}
