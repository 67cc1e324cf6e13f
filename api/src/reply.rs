//! A reply before it is sent, and the two forms of errors.
//!
//! A mutation that was refused, or whose fate is unknown, gets [`Reply::error`]. A request that is wrong in itself gets
//! [`Reply::invalid`], which names each wrong field. The bodies of 401, 404, 405, 413 and 429 are undocumented for this
//! API: they have the first form.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use serde::{Serialize, Serializer};
use serde_json::json;

/// A whole reply.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The errors of a request, by field. An element of a list is the field `records[3]`.
pub type Faulty = BTreeMap<String, Vec<String>>;

impl Reply {
    pub fn json(status: StatusCode, body: &impl Serialize) -> Reply {
        let (status, body) = match serde_json::to_vec(body) {
            Ok(text) => (status, text),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, json!({"error": error.to_string()}).to_string().into()),
        };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Reply { status, headers, body: body.into() }
    }

    /// No body, and so no content type.
    pub fn empty(status: StatusCode) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// 200 `{"records": [...]}`, the reply to every successful mutation.
    pub fn records<R: Serialize>(records: impl IntoIterator<Item = R>) -> Reply {
        #[derive(Serialize)]
        struct Records<R> {
            records: Vec<R>,
        }
        Reply::json(StatusCode::OK, &Records { records: records.into_iter().collect() })
    }

    /// The Mutation API's own form, without details.
    pub fn error(status: StatusCode, text: &str) -> Reply {
        Reply::error_with_docs(status, text, &json!([]))
    }

    /// The Mutation API's own form: `{"error": "Error: {text}", "docs": ...}`. The contract leaves open what `docs`
    /// holds; clients take any JSON there.
    pub fn error_with_docs(status: StatusCode, text: &str, docs: &impl Serialize) -> Reply {
        #[derive(Serialize)]
        struct Body<'a, D> {
            #[serde(serialize_with = "with_prefix")]
            error: &'a str,
            docs: &'a D,
        }
        Reply::json(status, &Body { error: text, docs })
    }

    /// 401 for a token that is missing or unknown.
    pub fn unauthorized() -> Reply {
        let mut reply = Reply::error(StatusCode::UNAUTHORIZED, "The API token is missing or not valid");
        reply.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        reply
    }

    /// 405 with `Allow`, for instance `GET, POST`.
    pub fn method_not_allowed(allow: &'static str) -> Reply {
        let mut reply = Reply::error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        reply.headers.insert(ALLOW, HeaderValue::from_static(allow));
        reply
    }

    /// 422, in the form of the host's management endpoints.
    pub fn invalid(summary: &str, faulty: &Faulty) -> Reply {
        let body = json!({"summary": summary, "validation_errors": faulty});
        Reply::json(StatusCode::UNPROCESSABLE_ENTITY, &body)
    }

    /// The same for one field.
    pub fn invalid_field(summary: &str, field: &str, problem: impl Into<String>) -> Reply {
        Reply::invalid(summary, &Faulty::from([(field.to_owned(), vec![problem.into()])]))
    }

    /// The reply for an HTTP library: `response.map(Body::from)` gives it that library's body.
    pub fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

fn with_prefix<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("Error: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_forms_of_the_contract() {
        let error = Reply::error(StatusCode::GATEWAY_TIMEOUT, "Salesforce API \"timed\" out");
        assert_eq!(error.body, r#"{"error":"Error: Salesforce API \"timed\" out","docs":[]}"#);
        let error = Reply::error_with_docs(StatusCode::UNPROCESSABLE_ENTITY, "x", &json!({"max_records": 1}));
        assert_eq!(error.body, r#"{"error":"Error: x","docs":{"max_records":1}}"#);
        let response = Reply::invalid_field("s", "records[1]", "is wrong").into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (422, &"application/json".parse().unwrap())
        );
        assert_eq!(response.body(), r#"{"summary":"s","validation_errors":{"records[1]":["is wrong"]}}"#);
        assert!(Reply::empty(StatusCode::NO_CONTENT).into_response().headers().is_empty());
    }
}
