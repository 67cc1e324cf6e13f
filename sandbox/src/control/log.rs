//! `GET` and `DELETE /sandbox/log`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize, Serializer};

use crate::app::App;
use crate::log::{Body, Entry};

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default = "yes")]
    bodies: bool,
}

fn yes() -> bool {
    true
}

#[derive(Serialize)]
struct Shown {
    connections: u64,
    open: u64,
    requests: Vec<Request>,
}

struct Request {
    entry: Arc<Entry>,
    bodies: bool,
}

pub async fn show(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Response {
    let requests = app.log.requests().into_iter();
    let shown = Shown {
        connections: app.log.connections(),
        open: app.log.open.load(Relaxed),
        requests: requests.map(|entry| Request { entry, bodies: wanted.bodies }).collect(),
    };
    super::json(StatusCode::OK, &shown)
}

pub async fn clear(State(app): State<Arc<App>>) -> StatusCode {
    app.log.clear();
    StatusCode::NO_CONTENT
}

#[derive(Serialize)]
struct View<'a> {
    connection: u64,
    method: &'a str,
    path: &'a str,
    headers: BTreeMap<Cow<'a, str>, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    body_bytes: u64,
    complete: bool,
    at_us: u64,
    status: Option<u16>,
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (path, sent) = self.entry.head();
        let mut headers = BTreeMap::<_, String>::new();
        for (name, value) in sent {
            // HTTP's own rule for a header that is sent twice.
            let joined = |earlier: &mut String| *earlier = format!("{earlier}, {value}");
            headers.entry(name).and_modify(joined).or_insert_with(|| value.to_string());
        }
        let body = self.entry.body();
        let bytes: &[u8] = match &*body {
            Body::Arriving(pieces) => pieces,
            Body::Whole(bytes) => bytes,
        };
        let status = self.entry.status.load(Relaxed);
        View {
            connection: self.entry.connection,
            method: self.entry.method.as_str(),
            path: &path,
            headers,
            body: self.bodies.then(|| String::from_utf8_lossy(bytes)),
            body_bytes: self.entry.arrived.load(Relaxed),
            complete: self.entry.complete.load(Relaxed),
            at_us: self.entry.at_us,
            status: (status != 0).then_some(status),
        }
        .serialize(serializer)
    }
}
