//! `POST /v1/mutations/run`: apply, wait for the consumers that the request names, reply.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use mutation_api::consumers::Consumer;
use mutation_api::record::{Record, provider_name};
use mutation_api::reply::Reply;
use mutation_api::request::{self, CollectionIds};
use tokio::time::{Instant, timeout_at};

use crate::app::App;

pub async fn run(app: &App, body: &[u8]) -> Reply {
    let (waits, timeout, records) = match apply(app, body) {
        Ok(applied) => applied,
        Err(refusal) => return refusal,
    };
    // The clock starts here: the provider has accepted the mutation.
    let deadline = deadline(timeout);
    for consumer in waits {
        let caught_up = timeout_at(deadline, consumer.processed(&records));
        if caught_up.await.is_err() {
            // The contract: the body has no records, although they were written.
            return Reply::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("Timed out waiting for consumers: {}", consumer.id),
            );
        }
    }
    Reply::records(records.iter().map(Arc::as_ref))
}

type Applied = (Vec<Arc<Consumer>>, Duration, Vec<Arc<Record>>);

/// Everything up to the effect, with no await in between.
fn apply(app: &App, body: &[u8]) -> Result<Applied, Reply> {
    let request = request::parse_with(body, CollectionIds::OfProvider)
        .map_err(|faulty| Reply::invalid("The request is not a valid mutation", &faulty))?;
    // An unknown consumer is refused before anything is applied: no wait for it could succeed.
    let mut waits = Vec::with_capacity(request.await_consumers.len());
    for id in &request.await_consumers {
        waits.push(app.consumers.get(id).ok_or_else(|| {
            Reply::invalid_field("Unknown consumer", "await_consumer_ids", format!("unknown consumer: {id}"))
        })?);
    }
    let collection_id = &request.mutation.collection_id;
    let records = app.stream.mutate(&request.mutation).map_err(|refusal| {
        let provider = provider_name(collection_id);
        Reply::error(StatusCode::BAD_REQUEST, &format!("{provider} validation error: `{}`", refusal.0))
    })?;
    Ok((waits, request.await_timeout, records))
}

fn deadline(timeout: Duration) -> Instant {
    let now = Instant::now();
    // Any u64 is a valid number of milliseconds; a clock cannot hold all of them.
    now.checked_add(timeout).unwrap_or(now + Duration::from_secs(86_400 * 365))
}
