//! One request and its reply: how they are shown, and what can be expected of them.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::http::HeaderMap;

use crate::reply::Record;

/// The path of mutations.
pub const MUTATIONS: &str = "/v1/mutations/run";
/// More of a body is not shown.
const SHOWN_BYTES: usize = 1_500;

#[derive(Clone)]
pub struct Sent {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub authorization: Authorization,
    pub body: Option<Vec<u8>>,
    pub pace: Pace,
}

#[derive(Clone)]
pub enum Authorization {
    /// The right one.
    Token,
    Missing,
    /// The header's value.
    Other(String),
}

/// How a body is sent.
#[derive(Clone, Copy, PartialEq)]
pub enum Pace {
    /// At once, with its length.
    Whole,
    /// In parts with pauses, with its length.
    Slow,
    /// In parts, without a length.
    Chunked,
    /// In parts with pauses, without a length.
    SlowChunked,
}

impl Sent {
    /// `POST /v1/mutations/run`, as the contract has it.
    pub fn mutation(body: impl Into<Vec<u8>>) -> Sent {
        Sent::post(MUTATIONS, body)
    }

    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Sent {
        Sent {
            method: "POST",
            path: path.to_owned(),
            headers: vec![("content-type", "application/json".into())],
            authorization: Authorization::Token,
            body: Some(body.into()),
            pace: Pace::Whole,
        }
    }

    pub fn get(path: &str) -> Sent {
        Sent { method: "GET", headers: Vec::new(), body: None, ..Sent::post(path, "") }
    }

    /// Adds a header, or replaces it.
    pub fn header(mut self, name: &'static str, value: &str) -> Sent {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value.to_owned()));
        self
    }
}

pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

pub struct Exchange {
    pub url: String,
    pub sent: Sent,
    /// The error is that of the connection: no whole reply has come.
    pub got: Result<Got, String>,
}

/// An expectation that did not hold.
pub struct Failure {
    pub expected: String,
    /// None: the failure is about several requests together.
    pub exchange: Option<Box<Exchange>>,
}

impl Failure {
    pub fn new(expected: impl Into<String>) -> Failure {
        Failure { expected: expected.into(), exchange: None }
    }
}

impl Exchange {
    /// This exchange shows that `expected` does not hold.
    pub fn fails(self, expected: impl Into<String>) -> Failure {
        Failure { expected: expected.into(), exchange: Some(Box::new(self)) }
    }

    /// 0 without a reply.
    pub fn status(&self) -> u16 {
        self.got.as_ref().map_or(0, |got| got.status)
    }

    pub fn body(&self) -> &[u8] {
        self.got.as_ref().map_or(&[], |got| &got.body)
    }

    pub fn has_header(&self, name: &str) -> bool {
        self.header(name).is_some()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.got.as_ref().ok()?.headers.get(name)?.to_str().ok()
    }

    /// One of several statuses.
    pub fn expect(self, statuses: &[u16]) -> Result<Exchange, Failure> {
        if statuses.contains(&self.status()) {
            return Ok(self);
        }
        let statuses: Vec<_> = statuses.iter().map(u16::to_string).collect();
        let expected = format!("status {}", statuses.join(" or "));
        Err(self.fails(expected))
    }

    /// 200 with `records`, each with a body that has the contract's types.
    pub fn expect_records(self) -> Result<(Exchange, Vec<Record>), Failure> {
        #[derive(Deserialize)]
        struct Applied {
            records: Vec<Record>,
        }
        let exchange = self.expect(&[200])?;
        let applied: Applied = match serde_json::from_slice(exchange.body()) {
            Ok(applied) => applied,
            Err(error) => return Err(exchange.fails(format!(r#"a body {{"records": [{{...}}, ...]}} ({error})"#))),
        };
        if let Some(wrong) = applied.records.iter().find_map(Record::wrong_type) {
            return Err(exchange.fails(format!("a record in which {wrong}")));
        }
        Ok((exchange, applied.records))
    }

    /// One record.
    pub fn expect_record(self) -> Result<(Exchange, Record), Failure> {
        let (exchange, mut records) = self.expect_records()?;
        match (records.pop(), records.len()) {
            (Some(record), 0) => Ok((exchange, record)),
            _ => Err(exchange.fails("one record, as one was sent")),
        }
    }

    /// The status of a refusal, with a body that names the error.
    pub fn expect_error(self, statuses: &[u16]) -> Result<Exchange, Failure> {
        #[derive(Deserialize)]
        struct Body<'a> {
            error: Option<String>,
            summary: Option<String>,
            #[serde(borrow, default)]
            records: Option<&'a RawValue>,
        }
        let exchange = self.expect(statuses)?;
        let wanted = match serde_json::from_slice::<Body>(exchange.body()) {
            Ok(Body { records: Some(_), .. }) => r#"a body without "records""#,
            Ok(Body { error: Some(_), .. }) => return Ok(exchange),
            // The form of the management endpoints is for requests that are wrong in themselves.
            Ok(Body { summary: Some(_), .. }) if matches!(exchange.status(), 415 | 422) => return Ok(exchange),
            _ if matches!(exchange.status(), 415 | 422) => {
                r#"a body {"summary": "...", "validation_errors": {...}} or {"error": "Error: ..."}"#
            }
            _ => r#"a body {"error": "Error: ..."}"#,
        };
        Err(exchange.fails(wanted))
    }
}

/// The reply in one line.
impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ", self.status)?;
        if self.body.is_empty() { f.write_str("without a body") } else { f.write_str(&shown(&self.body)) }
    }
}

/// A shell command that sends the request, with `$TOKEN` in the place of the token.
impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Sent { method, path, headers, authorization, body, pace } = &self.sent;
        write!(f, "curl -i {}", quoted(&format!("{}{path}", self.url)))?;
        match *method {
            "GET" if body.is_none() => {}
            "HEAD" => f.write_str(" --head")?,
            method => write!(f, " -X {method}")?,
        }
        match authorization {
            Authorization::Token => f.write_str(" -H \"authorization: Bearer $TOKEN\"")?,
            Authorization::Missing => {}
            Authorization::Other(value) => write!(f, " -H {}", quoted(&format!("authorization: {value}")))?,
        }
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            // curl would send one of its own.
            f.write_str(" -H 'content-type:'")?;
        }
        for (name, value) in headers {
            write!(f, " -H {}", quoted(&format!("{name}: {value}")))?;
        }
        if matches!(pace, Pace::Chunked | Pace::SlowChunked) {
            f.write_str(" -H 'transfer-encoding: chunked'")?;
        }
        if matches!(pace, Pace::Slow | Pace::SlowChunked) {
            f.write_str(" --limit-rate 1k")?;
        }
        match body.as_deref() {
            None => Ok(()),
            Some(body) => write!(f, " --data-raw {}", quoted(&shown(body))),
        }
    }
}

/// A body as text, cut if it is long.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let Some((end, _)) = text.char_indices().find(|(at, _)| *at >= SHOWN_BYTES) else {
        return text.into_owned();
    };
    format!("{}... ({} bytes)", &text[..end], body.len())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(sent: Sent) -> String {
        Exchange { url: "http://x".into(), sent, got: Err("cut".into()) }.to_string()
    }

    #[test]
    fn a_request_is_shown_as_a_command_without_its_token() {
        assert_eq!(
            exchange(Sent::mutation(r#"{"a": "it's"}"#)),
            "curl -i 'http://x/v1/mutations/run' -X POST -H \"authorization: Bearer $TOKEN\" \
             -H 'content-type: application/json' --data-raw '{\"a\": \"it'\\''s\"}'"
        );
        let long = exchange(Sent::mutation("é".repeat(2_000)));
        assert!(long.ends_with("é... (4000 bytes)'"), "{long}");
        let other = Sent { authorization: Authorization::Other("Basic x".into()), ..Sent::get("/y") };
        assert_eq!(exchange(other), "curl -i 'http://x/y' -H 'authorization: Basic x'");
    }
}
