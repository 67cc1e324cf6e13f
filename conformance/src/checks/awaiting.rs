//! Waiting for consumers.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::mutations::failed;
use super::pull::Stream;
use crate::case::{Case, Stop};
use crate::exchange::{Failure, Sent};

/// How long a server has to reply too early.
const TOO_EARLY: Duration = Duration::from_millis(400);

/// A mutation that waits for a consumer.
fn awaiting(mutation: &str, consumer: &str, timeout: Duration) -> String {
    let mutation = mutation.strip_suffix('}').unwrap_or(mutation);
    let timeout = timeout.as_millis();
    format!(r#"{mutation},"await_consumer_ids":[{}],"await_consumers_timeout":{timeout}}}"#, json!(consumer))
}

pub fn unknown(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let known = case.new_record()?;
    let update = session.update(&[(&known.id, session.change(&session.marker()))]);
    let body = awaiting(&update, &session.marker(), Duration::from_secs(1));
    let answer = session.send(Sent::mutation(body)).expect_error(&[422]);
    case.collect(answer);
    case.expect_untouched(&known)?;
    Ok(())
}

pub fn timeout(case: &mut Case) -> Result<(), Stop> {
    #[derive(Deserialize)]
    struct Body {
        error: String,
    }
    let session = case.session;
    let stream = Stream::needed(session)?;
    let marker = session.marker();
    let create = session.create(&[session.data(&marker)]);
    let body = awaiting(&create, stream.id, Duration::from_millis(200));
    let answer = session.send(Sent::mutation(body)).expect_error(&[500]);
    if let Some(exchange) = case.collect(answer) {
        let wanted = format!("Error: Timed out waiting for consumers: {}", stream.id);
        let is_documented = serde_json::from_slice(exchange.body()).is_ok_and(|body: Body| body.error == wanted);
        if !is_documented {
            case.fail(exchange.fails(format!("the text {wanted:?}, by which a client knows that it was applied")));
        }
    }
    let delivery = stream.find(&marker)?;
    stream.settle("ack", &[&delivery.ack_token])?;
    Ok(())
}

pub fn acknowledged(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let stream = Stream::needed(session)?;
    let marker = session.marker();
    let create = session.create(&[session.data(&marker)]);
    let body = awaiting(&create, stream.id, session.options.timeout / 2);
    thread::scope(|scope| {
        let (answer, answered) = mpsc::channel();
        // The receiver is gone after a failure, and then needs no reply.
        scope.spawn(move || drop(answer.send(session.send(Sent::mutation(body)))));
        let delivery = stream.find(&marker)?;
        match answered.recv_timeout(TOO_EARLY) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(exchange) => return Err(exchange.fails("no reply before the record is acknowledged").into()),
            Err(RecvTimeoutError::Disconnected) => return Err(failed("a reply")),
        }
        stream.settle("ack", &[&delivery.ack_token])?;
        let exchange = answered.recv().map_err(|_| Failure::new("a reply"))?;
        exchange.expect_record()?;
        Ok(())
    })
}
