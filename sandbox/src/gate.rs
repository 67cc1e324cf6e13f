//! The path of every request outside `/sandbox`: the log, the body, the faults, the API.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response, StatusCode};
use mutation_api::reply::Reply;
use tokio::time::sleep;

use crate::api::{self, Call};
use crate::app::App;
use crate::body::{Body, respond};
use crate::faults::{Rule, Stall, Target};
use crate::log::Entry;
use crate::perform::perform;
use crate::wire::{Conn, Hangup};

const BODY_LIMIT: usize = 256 << 20;

pub async fn pass(app: &App, conn: &Conn, request: Request<Incoming>) -> Result<Response<Body>, Hangup> {
    let (head, body) = request.into_parts();
    let entry = app.log.begin(&conn.ticket, &head);
    let path = head.uri.path();
    let rule = app.faults.at_head(path);
    if let Some(rule) = &rule
        && rule.is_early()
    {
        return before_body(app, conn, &entry, body, rule).await;
    }
    let body = match arrive(app, &entry, body, BODY_LIMIT).await {
        Ok(body) => body,
        Err(Ended::Gone) => return Err(Hangup),
        Err(Ended::AtLimit) => {
            return Ok(send(&entry, Reply::error(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large")));
        }
    };
    let call = Call {
        method: &head.method,
        path,
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body: &body,
    };
    let rule = rule.or_else(|| app.faults.after_body(&Target { path, body: &body }));
    match rule {
        Some(rule) => perform(app, conn, &entry, &call, &rule).await,
        None => {
            let reply = conn.unless_closed(api::answer(app, &call)).await?;
            Ok(send(&entry, reply))
        }
    }
}

async fn before_body(
    app: &App,
    conn: &Conn,
    entry: &Entry,
    body: Incoming,
    rule: &Rule,
) -> Result<Response<Body>, Hangup> {
    match (rule.stall, rule.read_only_bytes) {
        (Some(Stall::BodyRead), _) => {
            conn.unless_closed(app.faults.cleared(rule)).await?;
        }
        (_, Some(limit)) => {
            let _ = arrive(app, entry, body, limit).await;
            conn.unless_closed(sleep(rule.delay())).await?;
        }
        _ => {}
    }
    if rule.reset {
        conn.reset_on_close();
    }
    Err(Hangup)
}

enum Ended {
    /// The client went away.
    Gone,
    AtLimit,
}

/// Reads the body, up to `limit` bytes, and logs the bytes received so far.
async fn arrive(app: &App, entry: &Entry, mut body: Incoming, limit: usize) -> Result<Bytes, Ended> {
    let mut whole = Vec::with_capacity((body.size_hint().lower() as usize).min(limit));
    loop {
        if whole.len() == limit && !body.is_end_stream() {
            return Err(Ended::AtLimit);
        }
        let Some(frame) = body.frame().await else { break };
        if let Ok(mut data) = frame.map_err(|_| Ended::Gone)?.into_data() {
            data.truncate(limit - whole.len());
            whole.extend_from_slice(&data);
            app.log.arrived(entry, &data);
        }
    }
    entry.complete();
    Ok(whole.into())
}

fn send(entry: &Entry, reply: Reply) -> Response<Body> {
    entry.answered(reply.status.as_u16());
    respond(reply)
}
