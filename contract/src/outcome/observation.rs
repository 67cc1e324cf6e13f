//! What is known of one request: the [`Facts`] it was sent with, and the [`Observation`] of what came back.

use std::time::Duration;

use crate::kind::Kind;

/// What the outcome depends on besides the observation, and what its words name. No `Debug`: it holds the token.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub kind: Kind,
    /// The number of records sent.
    pub records: usize,
    pub collection_id: &'a str,
    /// The name of the foreign server.
    pub server: &'a str,
    /// The server's option: the API applies nothing of a batch that it refuses.
    pub atomic_batches: bool,
    /// The token, so that no text that echoes it gets through. Empty if there is none.
    pub token: &'a str,
}

/// What became of the request on the wire.
#[derive(Debug, Clone, Copy)]
pub enum Observation<'a> {
    /// OutcomeKind look-up, connection or TLS failed: not one byte of the request was written.
    NotSent { cause: &'a str },
    /// Something of the request was written, then the connection failed or the answer was not HTTP.
    Cut { cause: &'a str },
    /// Something of the request was written, then no status came in this time.
    TimedOut { after: Duration },
    /// A status came.
    Reply {
        status: u16,
        /// See [`retry_after::parse`](super::retry_after::parse).
        retry_after: Option<Duration>,
        content: Content<'a>,
        body: Body<'a>,
    },
}

/// What a reply's headers say of its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Content<'a> {
    pub media_type: Option<&'a str>,
    pub encoding: Option<&'a str>,
}

impl Content<'_> {
    pub(super) fn is_json(&self) -> bool {
        let media_type = self.media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let media_type = media_type.to_ascii_lowercase();
        media_type == "application/json" || media_type.ends_with("+json")
    }

    /// The encoding, if it was none that was asked for.
    pub(super) fn foreign_encoding(&self) -> Option<&str> {
        self.encoding
            .filter(|encoding| !encoding.trim().is_empty() && !encoding.trim().eq_ignore_ascii_case("identity"))
    }
}

/// What was read of a reply's body.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    Whole(&'a [u8]),
    /// The connection failed, or the time was up, before its end.
    Truncated {
        beginning: &'a [u8],
        cause: &'a str,
    },
    /// It is longer than the server's `max_response_bytes`. Nothing was read of one that was announced as such.
    TooLarge {
        beginning: &'a [u8],
        limit: u64,
    },
    /// What stood before it are no headers.
    Unread {
        cause: &'a str,
    },
}
