//! `GET` and `POST /sandbox/consumers`, `DELETE /sandbox/consumers/{id}`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::consumers::postgres::{Postgres, Settings};
use crate::consumers::pull::Pull;
use crate::consumers::{Consumer, Kind};
use crate::reply::Reply;

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
        Err(error) => Err((400, error.to_string())),
    };
    match consumer {
        Ok(consumer) => {
            let id = consumer.id.clone();
            app.consumers.put(consumer);
            Reply::json(201, &json!({"id": id}))
        }
        Err((status, reason)) => Reply::problem(status, reason),
    }
}

async fn consumer(app: &App, wanted: Wanted) -> Result<Consumer, (u16, String)> {
    match wanted {
        Wanted::Pull { id, collection_id, from, lease_ms } => {
            let lease = Duration::from_millis(lease_ms);
            let kind = Kind::Pull(Pull::new(collection_id.clone(), lease, position(app, from)));
            Ok(Consumer { id, collection_id, kind })
        }
        Wanted::Postgres { id, collection_id, from, dsn, table, delay_ms } => {
            let dsn = dsn.parse().map_err(|error| (400, format!("dsn: {error}")))?;
            let delay = Duration::from_millis(delay_ms);
            let settings = Settings { dsn, table, filter: collection_id.clone(), delay };
            let started = Postgres::start(settings, app.stream.clone(), position(app, from)).await;
            Ok(Consumer { id, collection_id, kind: Kind::Postgres(started.map_err(|reason| (502, reason))?) })
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
    Reply::json(200, &json!({"consumers": shown}))
}

fn view(consumer: &Consumer, end: u64) -> Value {
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

pub fn remove(app: &App, id: &str) -> Reply {
    let Some(consumer) = app.consumers.remove(id) else {
        return Reply::empty(404);
    };
    // A waiting request also holds the consumer, and waits until its timeout: the copying stops now.
    if let Kind::Postgres(postgres) = &consumer.kind {
        postgres.stop();
    }
    Reply::empty(204)
}
