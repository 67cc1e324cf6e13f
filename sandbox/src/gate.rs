//! What every request outside `/sandbox` passes: the log, the body, the faults, the API.

use std::sync::atomic::Ordering::Relaxed;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::time::sleep;

use crate::api::{self, Call};
use crate::app::App;
use crate::faults::{Rule, Stall, Target, perform};
use crate::log::{self, Entry};
use crate::reply::Reply;
use crate::serve::conn::{Conn, Hangup};

const BODY_LIMIT: u64 = 256 << 20;

pub async fn pass(app: &App, conn: &Conn, request: Request<Incoming>) -> Result<Response<Body>, Hangup> {
    let (head, body) = request.into_parts();
    conn.forget_plan();
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
        Err(Ended::AtLimit) => return Ok(send(&entry, Reply::error(413, "Request body too large"))),
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
        Some(rule) => perform::perform(app, conn, &entry, &call, &rule).await,
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

/// Reads the body, up to `limit` bytes, and shows in the log what has come so far.
async fn arrive(app: &App, entry: &Entry, mut body: Incoming, limit: u64) -> Result<Bytes, Ended> {
    let expected = body.size_hint().lower().min(limit) as usize;
    let mut whole = Bytes::new();
    let mut arrived = 0;
    loop {
        if arrived == limit && !body.is_end_stream() {
            return Err(Ended::AtLimit);
        }
        let frame = match body.frame().await {
            Some(frame) => frame.map_err(|_| Ended::Gone)?,
            None => break,
        };
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        data.truncate((limit - arrived).try_into().unwrap_or(usize::MAX));
        arrived += data.len() as u64;
        entry.arrived.store(arrived, Relaxed);
        if arrived == data.len() as u64 && body.is_end_stream() {
            // The usual small request came in one piece: nothing to copy.
            whole = data;
            break;
        }
        if let log::Body::Arriving(pieces) = &mut *entry.body() {
            if pieces.is_empty() {
                pieces.reserve(expected);
            }
            pieces.extend_from_slice(&data);
        }
    }
    let mut kept = entry.body();
    let pieces = match &mut *kept {
        log::Body::Arriving(pieces) => std::mem::take(pieces),
        log::Body::Whole(_) => Vec::new(),
    };
    let in_pieces = !pieces.is_empty();
    if in_pieces {
        whole = pieces.into();
    }
    *kept = log::Body::Whole(match app.log.keep_bodies {
        true if in_pieces => whole.clone(),
        // A copy: the slice would keep all of the buffer that hyper read into.
        true => Bytes::copy_from_slice(&whole),
        false => Bytes::new(),
    });
    entry.complete.store(true, Relaxed);
    Ok(whole)
}

fn send(entry: &Entry, reply: Reply) -> Response<Body> {
    entry.status.store(reply.status, Relaxed);
    let body = Body::from(reply.body.clone());
    response(reply, body)
}

pub fn response(reply: Reply, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in reply.headers {
        headers.insert(name, value);
    }
    response
}
