//! What is known after a mutation: was it applied, and what should be done now?
//!
//! An error that only says "failed" makes people repeat a create, and the provider then has two records. So every end
//! of a mutation maps to one [`Outcome`] that says which of the three holds: nothing was applied, everything was, or
//! nobody knows. The mapping is a pure function of the [`Facts`] and one [`Observation`]; where the contract is silent
//! it answers "unknown", never "not applied".
//!
//! [`rules`] is the table, [`words`] what people read of it, [`ending`] the result, [`earlier`] what
//! other requests have applied before.

mod earlier;
mod ending;
mod rules;
mod sqlstate;
mod words;

use std::time::Duration;

use super::api_error::ApiError;
use super::kind::Kind;
use super::reply::{self, Beginning, NotAReply, Records};
pub use earlier::{Earlier, Scope};
pub use ending::{Action, Applied, Name, Outcome};
pub use sqlstate::SqlState;

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
    /// Name look-up, connection or TLS failed: not one byte of the request was written.
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
    fn is_json(&self) -> bool {
        let media_type = self.media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let media_type = media_type.to_ascii_lowercase();
        media_type == "application/json" || media_type.ends_with("+json")
    }

    /// The encoding, if it was none that was asked for.
    fn foreign_encoding(&self) -> Option<&str> {
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

/// The name of the outcome that is no [`Outcome`]: the reply gave its records.
pub const APPLIED: &str = "applied";

/// Says what an observation means: the records of a mutation that was applied, or else the outcome to raise.
///
/// The records are read later, one by one. If one then turns out to be unreadable, or if the database refuses to store
/// it, that is [`Outcome::reply_lost`].
pub fn outcome<'a>(facts: &Facts<'_>, observed: &Observation<'a>) -> Result<Records<'a>, Box<Outcome>> {
    let (status, retry_after, content, body) = match *observed {
        Observation::NotSent { cause } => return Err(Outcome::unreached(facts, cause)),
        Observation::Cut { cause } => return Err(Outcome::cut(facts, cause)),
        Observation::TimedOut { after } => return Err(Outcome::timed_out(facts, after)),
        Observation::Reply { status, retry_after, content, body } => (status, retry_after, content, body),
    };
    if (200..300).contains(&status) {
        return success(facts, status, content, body);
    }
    let error = match body {
        Body::Whole(bytes) => ApiError::read(bytes, facts.token),
        // The status alone decides; half a text could read as another.
        Body::Truncated { .. } | Body::TooLarge { .. } | Body::Unread { .. } => ApiError::default(),
    };
    Err(Outcome::from_status(facts, status, retry_after, error))
}

/// A reply with a status in 2xx. Login pages and the like have one too, so it is applied only if the body, as far as it
/// could be read, is the API's.
fn success<'a>(
    facts: &Facts<'_>,
    status: u16,
    content: Content<'_>,
    body: Body<'a>,
) -> Result<Records<'a>, Box<Outcome>> {
    let lost = |reason: &str| Outcome::reply_lost(facts, status, reason);
    let of_other = |reason: &str, body: &[u8]| Outcome::not_the_apis(facts, status, reason, content, body);
    Err(match body {
        Body::Whole(bytes) => match reply::parse(bytes) {
            Ok(records) => return Ok(records),
            Err(reason @ NotAReply::HasError) => of_other(&reason.to_string(), bytes),
            Err(reason) => match (reply::beginning(bytes), &reason) {
                (Beginning::OfReply, _) => lost(&reason.to_string()),
                // A body that ends with the connection looks whole wherever that is.
                (Beginning::Open, NotAReply::NoEnd) => Outcome::reply_cut(facts, status, &reason.to_string()),
                _ => of_other(&reason.to_string(), bytes),
            },
        },
        Body::Truncated { beginning, cause } => {
            let reason = format!("its body was cut off: {cause}");
            match reply::beginning(beginning) {
                Beginning::OfReply => lost(&reason),
                Beginning::Open => Outcome::reply_cut(facts, status, &reason),
                Beginning::OfOther => of_other(&reason, beginning),
            }
        }
        Body::TooLarge { beginning, limit } => {
            let is_reply = match beginning {
                // No page of a proxy says that it is JSON and has so many bytes.
                [] => content.is_json(),
                _ => reply::beginning(beginning) == Beginning::OfReply,
            };
            if is_reply {
                Outcome::reply_too_large(facts, status, limit)
            } else {
                of_other(&format!("its body is larger than {limit} bytes"), beginning)
            }
        }
        Body::Unread { cause } => Outcome::headers_unread(facts, status, cause),
    })
}

#[cfg(test)]
mod tests;
