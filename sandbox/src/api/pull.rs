//! `/v1/http-consumers/{id}/next`, `/ack`, `/nack`.

use hyper::{Method, StatusCode};
use mutation_api::consumers::{ConsumerKind, pull::Pull};
use mutation_api::pull_api::{self, NextRequest, SettleRequest, Verb};
use mutation_api::reply::Reply;

use super::Call;
use crate::app::App;

pub async fn answer(app: &App, id: &str, verb: Verb, call: &Call<'_>) -> Reply {
    let consumer = app.consumers.get(id);
    let Some(ConsumerKind::Pull(pull)) = consumer.as_deref().map(|consumer| &consumer.kind) else {
        return Reply::error(StatusCode::NOT_FOUND, &format!("No pull consumer {id}"));
    };
    let answer = match (verb, call.method) {
        (Verb::Next, &Method::GET | &Method::POST) => next(app, pull, call).await,
        (Verb::Ack | Verb::Nack, &Method::POST) => settle(pull, verb, call),
        _ => return Reply::method_not_allowed(verb.allow()),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

async fn next(app: &App, pull: &Pull, call: &Call<'_>) -> Result<Reply, Reply> {
    let wanted = NextRequest::parse(call.query, call.body)?;
    let taken = pull.next(&app.stream, wanted.batch_size, wanted.wait_for).await;
    Ok(pull_api::page(taken.iter().map(|(ack_token, record)| (ack_token, &**record))))
}

fn settle(pull: &Pull, verb: Verb, call: &Call<'_>) -> Result<Reply, Reply> {
    let SettleRequest { ack_tokens } = SettleRequest::parse(call.body)?;
    pull.settle(&ack_tokens, verb == Verb::Ack);
    Ok(pull_api::settled())
}
