//! The input of [`judge`](super::judge): the [`Facts`] of a request, and the [`Observation`] of its exchange.

use std::time::Duration;

use crate::kind::Kind;

/// The facts of a request that its outcome depends on, and the names that its messages mention. No `Debug`: it holds the
/// token.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The kind of the mutation.
    pub kind: Kind,
    /// The number of records sent.
    pub records: usize,
    /// The collection that the records belong to.
    pub collection_id: &'a str,
    /// The name of the foreign server.
    pub server: &'a str,
    /// The server's option: the API applies nothing of a batch that it refuses.
    pub atomic_batches: bool,
    /// The token, which is redacted from all texts. Empty if there is none.
    pub token: &'a str,
}

/// What the transport saw of one request.
#[derive(Debug, Clone)]
pub enum Observation {
    /// Name resolution, the connection or the TLS handshake failed. No byte of the request was written.
    NotSent {
        /// The reason, for the message.
        cause: String,
    },
    /// Part of the request was written, then the connection failed or the answer was not HTTP.
    ConnectionLost {
        /// The reason, for the message.
        cause: String,
    },
    /// Part of the request was written, and no status arrived in time.
    TimedOut {
        /// The time limit.
        after: Duration,
    },
    /// A status arrived.
    Reply {
        /// The HTTP status.
        status: u16,
        /// The header `Retry-After`, read by [`retry_after::parse`](crate::retry_after::parse).
        retry_after: Option<Duration>,
        /// The headers that describe the body.
        content: ContentHeaders,
        /// The body, or the part of it that was read.
        body: Body,
    },
}

/// The reply headers that describe its body.
#[derive(Debug, Clone, Default)]
pub struct ContentHeaders {
    /// The header `Content-Type`.
    pub media_type: Option<String>,
    /// The header `Content-Encoding`.
    pub encoding: Option<String>,
}

impl ContentHeaders {
    pub(super) fn is_json(&self) -> bool {
        let media_type = self.media_type.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let media_type = media_type.to_ascii_lowercase();
        media_type == "application/json" || media_type.ends_with("+json")
    }

    /// The encoding, unless it is `identity`. The request accepts no other encoding.
    pub(super) fn unexpected_encoding(&self) -> Option<&str> {
        self.encoding
            .as_deref()
            .filter(|encoding| !encoding.trim().is_empty() && !encoding.trim().eq_ignore_ascii_case("identity"))
    }
}

/// The body of a reply, as far as it was read.
#[derive(Debug, Clone)]
pub enum Body {
    /// The whole body.
    Whole(Vec<u8>),
    /// The connection failed, or the time limit passed, before the body's end.
    Truncated {
        /// The bytes that arrived.
        beginning: Vec<u8>,
        /// The reason, for the message.
        cause: String,
    },
    /// The body is longer than the server's option `max_response_bytes`.
    TooLarge {
        /// The bytes that were read. Empty if `Content-Length` announced the size.
        beginning: Vec<u8>,
        /// The value of `max_response_bytes`.
        limit: u64,
    },
    /// The headers before the body are invalid, so the body was not read.
    InvalidHeaders {
        /// The reason, for the message.
        cause: String,
    },
}
