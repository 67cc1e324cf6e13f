//! Pull consumers. Delivery is at least once, so the checks allow more records than those that they wait for.

use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use crate::case::{Case, Stop};
use crate::exchange::{Authorization, Exchange, Failure, Sent};
use crate::reply::Record;
use crate::session::Session;

/// The stream, through the pull consumer of the options.
pub struct Stream<'a> {
    session: &'a Session,
    pub id: &'a str,
    path: String,
}

#[derive(Deserialize)]
pub struct Delivery {
    pub ack_token: String,
    pub record: Record,
}

impl<'a> Stream<'a> {
    /// None without `--pull-consumer`. Everything that was in it before is acknowledged.
    pub fn of(session: &'a Session) -> Result<Option<Stream<'a>>, Stop> {
        let Some(id) = &session.options.pull_consumer else {
            return Ok(None);
        };
        let path = format!("/v1/http-consumers/{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
        let mut stream = Stream { session, id, path };
        stream.drain().map_err(Stop::Blocked)?;
        Ok(Some(stream))
    }

    /// The stream, or the end of a check that cannot do without.
    pub fn needed(session: &'a Session) -> Result<Stream<'a>, Stop> {
        Stream::of(session)?.ok_or(Stop::Skipped("no --pull-consumer"))
    }

    pub fn path(&self, verb: &str) -> String {
        format!("{}/{verb}", self.path)
    }

    /// One request for records, which waits up to `wait_for` for the first.
    pub fn next(&self, wait_for: Duration) -> Result<(Exchange, Vec<Delivery>), Failure> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Delivery>,
        }
        let body = json!({"batch_size": 100, "wait_for": wait_for.as_millis() as u64}).to_string();
        let exchange = self.session.send(Sent::post(&self.path("next"), body)).expect(&[200])?;
        let page: Page = match serde_json::from_slice(exchange.body()) {
            Ok(page) => page,
            Err(error) => {
                let wanted = format!(r#"a body {{"data": [{{"ack_token", "record"}}, ...]}} ({error})"#);
                return Err(exchange.fails(wanted));
            }
        };
        for delivery in &page.data {
            self.session.note(&delivery.record);
        }
        Ok((exchange, page.data))
    }

    pub fn settle(&self, verb: &str, tokens: &[&str]) -> Result<Exchange, Failure> {
        let body = json!({"ack_tokens": tokens}).to_string();
        self.session.send(Sent::post(&self.path(verb), body)).expect(&[200])
    }

    /// Waits until a delivery holds `text`, and acknowledges the others.
    pub fn find(&self, text: &str) -> Result<Delivery, Failure> {
        let deadline = Instant::now() + self.session.options.timeout;
        loop {
            let (exchange, deliveries) = self.next(Duration::from_millis(500))?;
            let (mut found, others): (Vec<_>, Vec<_>) =
                deliveries.into_iter().partition(|delivery| delivery.record.contains(text));
            let tokens: Vec<_> = others.iter().map(|delivery| delivery.ack_token.as_str()).collect();
            if !tokens.is_empty() {
                self.settle("ack", &tokens)?;
            }
            if let Some(delivery) = found.pop() {
                return Ok(delivery);
            }
            if Instant::now() >= deadline {
                return Err(exchange.fails(format!("the record with the text {text:?}, which was created before")));
            }
        }
    }

    /// Takes and acknowledges all that is there.
    pub fn drain(&mut self) -> Result<Vec<Record>, Failure> {
        let mut records = Vec::new();
        let deadline = Instant::now() + self.session.options.timeout;
        loop {
            let (exchange, deliveries) = self.next(Duration::ZERO)?;
            if deliveries.is_empty() {
                return Ok(records);
            }
            if Instant::now() >= deadline {
                return Err(exchange.fails("an end of the records, all of which were acknowledged"));
            }
            let tokens: Vec<_> = deliveries.iter().map(|delivery| delivery.ack_token.as_str()).collect();
            self.settle("ack", &tokens)?;
            records.extend(deliveries.into_iter().map(|delivery| delivery.record));
        }
    }

    /// No record in the stream holds one of these texts.
    pub fn expect_none_of(&mut self, texts: &[&str]) -> Result<(), Failure> {
        let records = self.drain()?;
        let found = |text: &&&str| records.iter().any(|record| record.contains(text));
        match texts.iter().find(found) {
            None => Ok(()),
            Some(text) => Err(Failure::new(format!("no record of a refused request in the stream, and not {text:?}"))),
        }
    }
}

pub fn acknowledge(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let mut stream = Stream::needed(session)?;
    let known = case.new_record()?;
    let delivery = stream.find(&known.marker)?;
    if delivery.record.upstream_id().as_ref() != Some(&known.id) {
        return Err(Failure::new("the record in the stream has the upstream_id of the reply").into());
    }
    stream.settle("ack", &[&delivery.ack_token])?;
    if stream.drain()?.iter().any(|record| record.contains(&known.marker)) {
        return Err(Failure::new("a record that was acknowledged does not come again").into());
    }
    session.send(Sent::mutation(session.delete(&[&known.id]))).expect(&[200])?;
    let is_told = |record: &Record| record.upstream_id().as_ref() == Some(&known.id) && record.deleted() == Some(true);
    if !stream.drain()?.iter().any(is_told) {
        return Err(Failure::new(r#"a delete is in the stream, as the record with "deleted": true"#).into());
    }
    // The same by a query, which has defaults.
    session.send(Sent::get(&stream.path("next"))).expect(&[200])?;
    session.send(Sent::get(&stream.path("next?batch_size=2&wait_for=1"))).expect(&[200])?;
    Ok(())
}

pub fn give_back(case: &mut Case) -> Result<(), Stop> {
    let stream = Stream::needed(case.session)?;
    let known = case.new_record()?;
    let first = stream.find(&known.marker)?;
    stream.settle("nack", &[&first.ack_token])?;
    let second = stream.find(&known.marker)?;
    if first.ack_token == second.ack_token {
        return Err(Failure::new("the second delivery of a record has another ack_token").into());
    }
    // The holder of the first token may have died half-way.
    stream.settle("ack", &[&first.ack_token])?;
    stream.settle("nack", &[&second.ack_token])?;
    let third = stream.find(&known.marker)?;
    stream.settle("ack", &[&third.ack_token])?;
    Ok(())
}

pub fn refusals(case: &mut Case) -> Result<(), Stop> {
    let session = case.session;
    let stream = Stream::needed(session)?;
    let [next, ack, nack] = ["next", "ack", "nack"].map(|verb| stream.path(verb));
    let unknown = format!("/v1/http-consumers/{}/next", session.marker());
    let post = |path: &str, body: &str| Sent::post(path, body);
    for (name, sent, status) in [
        ("no token", Sent { authorization: Authorization::Missing, ..Sent::get(&next) }, 401),
        ("an unknown consumer", Sent::get(&unknown), 404),
        ("an unknown verb", Sent::get(&stream.path("all")), 404),
        ("GET of ack", Sent::get(&ack), 405),
        ("PUT of next", Sent { method: "PUT", ..post(&next, "{}") }, 405),
        ("next: a batch_size that is a text", post(&next, r#"{"batch_size":"one"}"#), 422),
        ("next: a negative wait_for", post(&next, r#"{"wait_for":-1}"#), 422),
        ("next: a batch_size in the query that is no number", Sent::get(&format!("{next}?batch_size=x")), 422),
        ("next: an array", post(&next, "[]"), 422),
        ("ack without ack_tokens", post(&ack, "{}"), 422),
        ("ack_tokens that are a text", post(&ack, r#"{"ack_tokens":"x"}"#), 422),
        ("ack_tokens in an array", post(&ack, r#"[["x"]]"#), 422),
        ("nack that is not JSON", post(&nack, "x"), 422),
    ] {
        let answer = session.send(sent).expect(&[status]);
        case.collect_as(name, answer);
    }
    // A token that names nothing is no error: the record may have been settled by an earlier delivery.
    let answer = stream.settle("ack", &["conformance"]);
    case.collect_as("ack of an unknown token", answer);
    Ok(())
}
