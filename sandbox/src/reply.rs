//! A reply before it is sent, and the bodies of errors.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::record::Record;
use crate::wire::{Hangup, Silence};

pub struct Reply {
    pub status: u16,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// The errors of a request, by field.
pub type Faulty = BTreeMap<String, Vec<String>>;

impl Reply {
    pub fn json(status: u16, body: &impl Serialize) -> Reply {
        match serde_json::to_vec(body) {
            Ok(text) => Reply { status, headers: Vec::new(), body: text.into() },
            Err(error) => Reply { status: 500, headers: Vec::new(), body: error.to_string().into() },
        }
    }

    pub fn empty(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// `{"records": [...]}`, the body of every successful mutation.
    pub fn records(records: &[Arc<Record>]) -> Reply {
        #[derive(Serialize)]
        struct Records<'a> {
            records: Vec<&'a Record>,
        }
        Reply::json(200, &Records { records: records.iter().map(Arc::as_ref).collect() })
    }

    /// The Mutation API's own form. The content of the real service's `docs` is undocumented.
    pub fn error(status: u16, text: &str) -> Reply {
        Reply::json(status, &json!({"error": format!("Error: {text}"), "docs": []}))
    }

    /// The form of the host's management endpoints.
    pub fn invalid(summary: &str, faulty: &Faulty) -> Reply {
        Reply::json(422, &json!({"summary": summary, "validation_errors": faulty}))
    }

    /// The same for one field.
    pub fn invalid_field(summary: &str, field: &str, problem: impl Into<String>) -> Reply {
        Reply::invalid(summary, &Faulty::from([(field.to_owned(), vec![problem.into()])]))
    }

    /// The form of the controls.
    pub fn problem(status: u16, reason: impl ToString) -> Reply {
        Reply::json(status, &json!({"error": reason.to_string()}))
    }

    pub fn into_response(self) -> Response<Body> {
        let body = Body { length: Some(self.body.len() as u64), data: self.body.clone(), silence: None };
        self.with_body(body)
    }

    /// Replaces the body.
    pub fn with_body(self, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

/// A body that may stop in silence, and may hide its length.
pub struct Body {
    pub data: Bytes,
    /// The value of `content-length`. Without it the body is sent in chunks.
    pub length: Option<u64>,
    pub silence: Option<Silence>,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Hangup;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<Option<Result<Frame<Bytes>, Hangup>>> {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut self.silence {
            Some(silence) => silence.as_mut().poll(cx).map(|()| Some(Err(Hangup))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.silence.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
