//! Requests and replies of the endpoints of pull consumers: `/v1/http-consumers/{id}/next`, `/ack` and `/nack`.
//!
//! No page gives the defaults of `next`. Here they are one record and no waiting.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::json::Whole;
use crate::reply::Reply;

const SUMMARY: &str = "Not a valid request";

/// One of the three endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Takes records: by GET with a query, or by POST with a query or a body.
    Next,
    /// Acknowledges records: by POST.
    Ack,
    /// Gives records back: by POST.
    Nack,
}

impl Verb {
    /// The methods that the endpoint takes, as the header `Allow` lists them.
    pub fn allow(self) -> &'static str {
        match self {
            Verb::Next => "GET, POST",
            Verb::Ack | Verb::Nack => "POST",
        }
    }
}

/// The consumer's id, decoded, and the verb. None: the path names no such endpoint.
pub fn route(path: &str) -> Option<(Cow<'_, str>, Verb)> {
    let (id, verb) = path.strip_prefix("/v1/http-consumers/")?.split_once('/')?;
    let verb = match verb {
        "next" => Verb::Next,
        "ack" => Verb::Ack,
        "nack" => Verb::Nack,
        _ => return None,
    };
    let id = percent_decode_str(id).decode_utf8().ok()?;
    (!id.is_empty()).then_some((id, verb))
}

/// What `next` asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct NextRequest {
    /// The most records to hand out: at least one.
    pub batch_size: usize,
    /// How long to wait for the first record.
    pub wait_for: Duration,
}

/// The fields as they are sent, where `wait_for` is a number of milliseconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NextFields {
    #[serde(default = "one")]
    batch_size: Whole,
    #[serde(default = "zero")]
    wait_for: Whole,
}

fn one() -> Whole {
    Whole(1)
}

fn zero() -> Whole {
    Whole(0)
}

impl NextRequest {
    /// Reads the body, or the query where the body is empty. The error is the reply to send.
    pub fn parse(query: &str, body: &[u8]) -> Result<NextRequest, Reply> {
        let fields = match body {
            [] => serde_urlencoded::from_str(query).map_err(|error| error.to_string()),
            body => object(body),
        };
        let NextFields { batch_size, wait_for } =
            fields.map_err(|error| Reply::invalid_field(SUMMARY, "parameters", error))?;
        if batch_size == Whole(0) {
            return Err(Reply::invalid_field(SUMMARY, "batch_size", "must be at least 1"));
        }
        let batch_size = usize::try_from(batch_size.0).unwrap_or(usize::MAX);
        Ok(NextRequest { batch_size, wait_for: Duration::from_millis(wait_for.0) })
    }
}

/// What `ack` and `nack` name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    pub ack_tokens: Vec<String>,
}

impl SettleRequest {
    /// The error is the reply to send.
    pub fn parse(body: &[u8]) -> Result<SettleRequest, Reply> {
        object(body).map_err(|error| Reply::invalid_field(SUMMARY, "ack_tokens", error))
    }
}

/// Reads an object. serde alone would also take an array, whose elements it counts off as the fields.
fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    match body.trim_ascii_start() {
        [b'{', ..] => serde_json::from_slice(body).map_err(|error| error.to_string()),
        _ => Err("is not a JSON object".into()),
    }
}

/// The reply to `next`: each record with the token that settles it.
pub fn page<T: Serialize, R: Serialize>(deliveries: impl IntoIterator<Item = (T, R)>) -> Reply {
    #[derive(Serialize)]
    struct Page<T, R> {
        data: Vec<Handed<T, R>>,
    }
    #[derive(Serialize)]
    struct Handed<T, R> {
        ack_token: T,
        record: R,
    }
    let data = deliveries.into_iter().map(|(ack_token, record)| Handed { ack_token, record }).collect();
    Reply::json(StatusCode::OK, &Page { data })
}

/// The reply to `ack` and `nack`. Tokens that settle nothing are no error: delivery is at least once.
pub fn settled() -> Reply {
    Reply::json(StatusCode::OK, &json!({"success": true}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_consumer_and_a_verb() {
        for (path, want) in [
            ("/v1/http-consumers/a%2Fb/next", Some(("a/b", Verb::Next))),
            ("/v1/http-consumers/%C3%A9+/next", Some(("é+", Verb::Next))),
            ("/v1/http-consumers/%FF/next", None),
            ("/v1/http-consumers/a/ack", Some(("a", Verb::Ack))),
            ("/v1/http-consumers/a/nack", Some(("a", Verb::Nack))),
            ("/v1/http-consumers//nack", None),
            ("/v1/http-consumers/a", None),
            ("/v1/http-consumers/a/next/", None),
            ("/v1/http-consumers/a/b/next", None),
            ("/v2/http-consumers/a/next", None),
        ] {
            let found = route(path);
            assert_eq!(found.as_ref().map(|(id, verb)| (&**id, *verb)), want, "{path}");
        }
    }

    #[test]
    fn next_reads_its_query_or_its_body_and_refuses_what_it_does_not_know() {
        let parsed = |query: &str, body: &str| NextRequest::parse(query, body.as_bytes()).ok();
        let next = |batch_size, ms| Some(NextRequest { batch_size, wait_for: Duration::from_millis(ms) });
        assert_eq!(parsed("", ""), next(1, 0));
        assert_eq!(parsed("batch_size=7&wait_for=20", ""), next(7, 20));
        assert_eq!(parsed("batch_size=7", r#"{"wait_for": 5}"#), next(1, 5));
        assert_eq!(parsed("", r#"{"batch_size": 3.0}"#), next(3, 0));
        assert_eq!(parsed("batch=7", ""), None);
        assert_eq!(parsed("batch_size=-1", ""), None);
        assert_eq!(parsed("batch_size=0", ""), None);
        assert_eq!(parsed("", r#"{"batch_size": 1.5}"#), None);
        assert_eq!(parsed("", " \n{} "), next(1, 0));
        for other in ["[]", "[1,2]", "null", "x", "{}x"] {
            assert_eq!(parsed("", other), None, "{other}");
        }
    }

    #[test]
    fn settling_names_its_tokens_in_an_object() {
        let parsed = |body: &str| SettleRequest::parse(body.as_bytes()).ok().map(|request| request.ack_tokens);
        assert_eq!(parsed(r#"{"ack_tokens":["a","b"]}"#), Some(vec!["a".to_owned(), "b".to_owned()]));
        for other in
            [r#"[["a"]]"#, r#"{"ack_tokens":"a"}"#, r#"{"ack_tokens":[1]}"#, r#"{"ack_tokens":[],"x":1}"#, "{}", ""]
        {
            assert_eq!(parsed(other), None, "{other}");
        }
    }
}
