//! The contract over HTTP: `POST /v1/mutations/run`, and the errors of everything else.
//!
//! Checks run from cheap to dear, and the body is read last: address, method, token, content type, length. So a client
//! without a token cannot make the gateway keep anything.

mod body;
mod request_id;
mod unread;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::post;
use http::header::{ALLOW, CONNECTION};
use http::{HeaderMap, HeaderValue, StatusCode};
use metrics::{counter, gauge, histogram};
use mutation_api::reply::Reply;
use mutation_api::{MUTATIONS, content_type};

use crate::engine::{Call, Gateway, not_now, unauthorised};
use crate::metrics::{REQUEST_SECONDS, REQUESTS, REQUESTS_IN_FLIGHT};
use request_id::RequestId;

/// Characters of an `Idempotency-Key`. Stripe's limit, the widest known.
const LONGEST_KEY: usize = 255;

/// What the gateway answers on its public port.
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route(MUTATIONS, post(run).fallback(wrong_method))
        .fallback(wrong_address)
        .layer(middleware::from_fn(unread::middleware))
        .layer(middleware::from_fn_with_state(gateway.clone(), take_leave))
        .layer(middleware::from_fn(count))
        .layer(middleware::from_fn(request_id::middleware))
        .with_state(gateway)
}

async fn run(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
    let reply = match call(&gateway, request).await {
        Ok(call) => gateway.mutate(call).await,
        Err(refusal) => {
            tracing::info!(request_id = id.0, status = refusal.status.as_u16(), "refused before it was read");
            Arc::new(refusal)
        }
    };
    response(&reply)
}

/// The request as the engine takes it.
async fn call(gateway: &Gateway, request: Request) -> Result<Call, Reply> {
    let (head, body) = request.into_parts();
    if gateway.is_draining() {
        return Err(not_now("The gateway is stopping"));
    }
    let directory = gateway.directory();
    let holder = directory.holder(&head.headers).ok_or_else(|| unauthorised("Missing or unknown token"))?;
    if !content_type::is_json(&head.headers) {
        let text = "The content type must be application/json";
        return Err(Reply::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let key = idempotency_key(&head.headers)?;
    let (body, place) = body::read(gateway.room(), &head.headers, body, directory.max_body).await?;
    let request_id = head.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    Ok(Call { holder, key, body, request_id, place })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Reply> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(key) if values.next().is_none() && !key.trim().is_empty() && key.len() <= LONGEST_KEY => {
            Ok(Some(key.trim().into()))
        }
        _ => {
            let problem = format!("must be sent once, with 1 to {LONGEST_KEY} visible ASCII characters");
            Err(Reply::invalid_field("The request is not a valid mutation", "Idempotency-Key", problem))
        }
    }
}

async fn wrong_method() -> Response {
    let mut reply = Reply::error(StatusCode::METHOD_NOT_ALLOWED, "Only POST is allowed here");
    reply.headers.insert(ALLOW, HeaderValue::from_static("POST"));
    response(&reply)
}

async fn wrong_address() -> Response {
    let text = format!("There is nothing at this address; mutations go to {MUTATIONS}");
    response(&Reply::error(StatusCode::NOT_FOUND, &text))
}

fn response(reply: &Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body.clone()));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers.clone();
    response
}

/// A gateway that stops says so with the last reply of each connection. A client that kept the connection could send its
/// next mutation just when it ends, and would not know what became of it.
async fn take_leave(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if gateway.is_draining() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Also counts requests whose client went away: then the guard is dropped with the request.
async fn count(request: Request, next: Next) -> Response {
    struct InFlight;
    impl Drop for InFlight {
        fn drop(&mut self) {
            gauge!(REQUESTS_IN_FLIGHT).decrement(1.0);
        }
    }
    gauge!(REQUESTS_IN_FLIGHT).increment(1.0);
    let _in_flight = InFlight;
    let started_at = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    counter!(REQUESTS, "status" => status.clone()).increment(1);
    histogram!(REQUEST_SECONDS, "status" => status).record(started_at.elapsed());
    response
}
