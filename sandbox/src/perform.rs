//! Applies a rule to a request whose body has arrived.

use bytes::Bytes;
use hyper::{Response, StatusCode};
use mutation_api::record::provider_name;
use mutation_api::reply::Reply;
use tokio::time::sleep;

use crate::api::{self, Call};
use crate::app::App;
use crate::body::Body;
use crate::faults::{Peek, Rule, Stall};
use crate::log::Entry;
use crate::wire::{Conn, End, Hangup, Plan, Silence};

pub async fn perform(
    app: &App,
    conn: &Conn,
    entry: &Entry,
    call: &Call<'_>,
    rule: &Rule,
) -> Result<Response<Body>, Hangup> {
    let reply = conn.unless_closed(reply(app, call, rule)).await?;
    conn.unless_closed(sleep(rule.delay())).await?;
    if rule.hold {
        conn.unless_closed(app.faults.cleared(rule)).await?;
    }
    if rule.stall == Some(Stall::Reply) {
        conn.unless_closed(app.faults.cleared(rule)).await?;
        return Err(Hangup);
    }
    if rule.reset && rule.cut_after.is_none() {
        conn.reset_on_close();
        return Err(Hangup);
    }
    let mut silent = rule.stall == Some(Stall::ReplyBody);
    if rule.raw.is_some() || rule.cut_after.is_some() || rule.drip.is_some() {
        let ends_on_wire = rule.raw.is_some() || rule.cut_after.is_some();
        let end = match ends_on_wire && std::mem::take(&mut silent) {
            true => End::Silence(silence(app, conn, rule)),
            false if rule.reset => End::Reset,
            false => End::Close,
        };
        conn.plan(Plan { cut_after: rule.cut_after, drip: rule.drip, raw: rule.raw.clone().map(Bytes::from), end });
    }
    if rule.cut_after != Some(0) {
        entry.answered(reply.status.as_u16());
    }
    let whole = reply.body.len();
    let body = Body {
        data: if silent { reply.body.slice(..whole / 2) } else { reply.body.clone() },
        length: (!rule.chunked).then_some(whole as u64),
        silence: silent.then(|| silence(app, conn, rule)),
    };
    Ok(reply.into_response().map(|_| body))
}

/// Lasts until the client closes, or the rules are cleared.
fn silence(app: &App, conn: &Conn, rule: &Rule) -> Silence {
    let (closed, cleared) = (conn.peer_closed(), app.faults.cleared(rule));
    Box::pin(async {
        tokio::select! {
            () = closed => {}
            () = cleared => {}
        }
    })
}

/// The reply: the API's own if the mutation is applied, with the rule's changes.
async fn reply(app: &App, call: &Call<'_>, rule: &Rule) -> Reply {
    let mut reply = match rule.applies() {
        true => api::answer(app, call).await,
        false => fault(rule.checked.status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), call),
    };
    if let Some(status) = rule.checked.status {
        if rule.applies() && status.as_u16() >= 300 {
            reply = fault(status, call);
        }
        reply.status = status;
    }
    if let Some(body) = &rule.checked.body {
        reply.body = body.clone();
    }
    for (name, value) in &rule.checked.headers {
        reply.headers.insert(name, value.clone());
    }
    reply
}

fn fault(status: StatusCode, call: &Call) -> Reply {
    match status {
        // The documented text.
        StatusCode::GATEWAY_TIMEOUT => {
            let provider = provider_name(&Peek::of(call.body).collection_id);
            Reply::error(status, &format!("{provider} API timed out"))
        }
        _ => Reply::error(status, "Sandbox fault"),
    }
}
