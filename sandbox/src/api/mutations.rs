//! `POST /v1/mutations/run`: apply, wait for the consumers that the request names, reply.

use std::sync::Arc;

use hyper::StatusCode;
use mutation_api::consumers::Awaited;
use mutation_api::record::{Record, provider_name};
use mutation_api::reply::Reply;
use mutation_api::request::{self, CollectionIds};

use crate::app::App;

pub async fn run(app: &App, body: &[u8]) -> Reply {
    let (awaited, records) = match apply(app, body) {
        Ok(applied) => applied,
        Err(refusal) => return refusal,
    };
    match awaited.have_processed(&records).await {
        Ok(()) => Reply::records(records.iter().map(Arc::as_ref)),
        Err(late) => late,
    }
}

/// Everything up to the effect, with no await in between.
fn apply(app: &App, body: &[u8]) -> Result<(Awaited, Vec<Arc<Record>>), Reply> {
    let request = request::parse_with(body, CollectionIds::OfProvider)
        .map_err(|faulty| Reply::invalid("The request is not a valid mutation", &faulty))?;
    let awaited = app.consumers.awaited(&request.await_consumers, request.await_timeout)?;
    let collection_id = &request.mutation.collection_id;
    let records = app.stream.mutate(&request.mutation).map_err(|refusal| {
        let provider = provider_name(collection_id);
        Reply::error(StatusCode::BAD_REQUEST, &format!("{provider} validation error: `{}`", refusal.0))
    })?;
    Ok((awaited, records))
}
