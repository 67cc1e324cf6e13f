//! A reply before it is sent, and the two bodies that errors come in.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::json;

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// What is wrong with a request, by field.
pub type Faulty = BTreeMap<String, Vec<String>>;

impl Reply {
    pub fn json(status: u16, body: &impl Serialize) -> Reply {
        match serde_json::to_vec(body) {
            Ok(text) => Reply::text(status, text),
            Err(error) => Reply::text(500, error.to_string().into_bytes()),
        }
    }

    /// A body that is JSON already.
    pub fn text(status: u16, body: Vec<u8>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into() }
    }

    /// The Mutation API's own form. What the real one puts into `docs` is undocumented.
    pub fn error(status: u16, text: &str) -> Reply {
        Reply::json(status, &json!({"error": format!("Error: {text}"), "docs": []}))
    }

    /// The form of the host's management endpoints.
    pub fn invalid(summary: &str, faulty: &Faulty) -> Reply {
        Reply::json(422, &json!({"summary": summary, "validation_errors": faulty}))
    }
}
