//! `/sandbox`: the controls of tests and the demo. They need no token, and are not logged.

mod consumers;

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::{StatusCode, Uri};
use mutation_api::consumers::ConsumerKind;
use mutation_api::reply::Reply;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;

pub fn is(uri: &Uri) -> bool {
    uri.path().strip_prefix("/sandbox").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub async fn answer(app: &Arc<App>, method: &str, uri: &Uri, body: &[u8]) -> Reply {
    let path = uri.path().strip_prefix("/sandbox/").unwrap_or_default();
    let query = uri.query().unwrap_or_default();
    match (method, path) {
        ("GET", "log") => show_log(app, query),
        ("DELETE", "log") => {
            app.log.clear();
            Reply::empty(StatusCode::NO_CONTENT)
        }
        ("GET", "faults") => Reply::json(StatusCode::OK, &json!({"faults": app.faults.left()})),
        ("POST", "faults") => {
            let pushed = serde_json::from_slice(body).map_err(|error| error.to_string());
            match pushed.and_then(|rule| app.faults.push(rule)) {
                Ok(()) => Reply::json(StatusCode::CREATED, &json!({"faults": app.faults.left().len()})),
                Err(reason) => problem(StatusCode::BAD_REQUEST, reason),
            }
        }
        ("DELETE", "faults") => {
            app.faults.clear();
            Reply::empty(StatusCode::NO_CONTENT)
        }
        ("GET", "consumers") => consumers::show(app),
        ("POST", "consumers") => consumers::register(app, body).await,
        ("GET", "records") => show_records(app, query),
        ("DELETE", "records") => clear_records(app),
        ("DELETE", _) if path.starts_with("consumers/") => consumers::remove(app, &path["consumers/".len()..]),
        _ => problem(StatusCode::NOT_FOUND, "not found"),
    }
}

/// The form of an error of the controls.
fn problem(status: StatusCode, reason: impl ToString) -> Reply {
    Reply::json(status, &json!({"error": reason.to_string()}))
}

fn show_log(app: &App, query: &str) -> Reply {
    let requests = app.log.requests();
    let mut shown: Vec<Value> = requests.iter().map(|entry| json!(**entry)).collect();
    let wanted: BTreeMap<String, String> = serde_urlencoded::from_str(query).unwrap_or_default();
    if wanted.get("bodies").is_some_and(|bodies| bodies == "false") {
        shown.iter_mut().filter_map(Value::as_object_mut).for_each(|request| drop(request.remove("body")));
    }
    Reply::json(
        StatusCode::OK,
        &json!({"connections": app.log.connections(), "open": app.log.open(), "requests": shown}),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    sync_id: Option<String>,
    collection_id: Option<String>,
}

fn show_records(app: &App, query: &str) -> Reply {
    let wanted: Wanted = match serde_urlencoded::from_str(query) {
        Ok(wanted) => wanted,
        Err(error) => return problem(StatusCode::BAD_REQUEST, error),
    };
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let present = app
        .stream
        .present(|record| is(&wanted.sync_id, &record.sync_id) && is(&wanted.collection_id, &record.collection_id));
    Reply::records(present.iter().map(Arc::as_ref))
}

/// Clears records and stream. Consumers stay, and continue with new records.
fn clear_records(app: &App) -> Reply {
    app.stream.clear();
    for consumer in app.consumers.all() {
        if let ConsumerKind::Pull(pull) = &consumer.kind {
            pull.forget();
        }
    }
    Reply::empty(StatusCode::NO_CONTENT)
}
