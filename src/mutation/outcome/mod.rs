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
use super::reply::{self, Records};
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
        body: Body<'a>,
    },
}

/// What was read of a reply's body.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    Whole(&'a [u8]),
    /// The connection failed, or the time was up, before its end.
    Truncated {
        cause: &'a str,
    },
    /// It is longer than the server's `max_response_bytes`.
    TooLarge {
        limit: u64,
    },
}

/// The name of the outcome that is no [`Outcome`]: the reply gave its records.
pub const APPLIED: &str = "applied";

/// Says what an observation means: the records of a mutation that was applied, or else the outcome to raise.
///
/// The records are read later, one by one. If one then turns out to be unreadable, or if the database refuses to store
/// it, that is [`Outcome::reply_lost`].
pub fn outcome<'a>(facts: &Facts<'_>, observed: &Observation<'a>) -> Result<Records<'a>, Box<Outcome>> {
    let (status, retry_after, body) = match *observed {
        Observation::NotSent { cause } => return Err(Outcome::unreached(facts, cause)),
        Observation::Cut { cause } => return Err(Outcome::cut(facts, cause)),
        Observation::TimedOut { after } => return Err(Outcome::timed_out(facts, after)),
        Observation::Reply { status, retry_after, body } => (status, retry_after, body),
    };
    if (200..300).contains(&status) {
        return match body {
            Body::Whole(bytes) => {
                reply::parse(bytes).map_err(|reason| Outcome::reply_lost(facts, status, &reason.to_string()))
            }
            Body::Truncated { cause } => {
                Err(Outcome::reply_lost(facts, status, &format!("its body was cut off: {cause}")))
            }
            Body::TooLarge { limit } => Err(Outcome::reply_too_large(facts, status, limit)),
        };
    }
    let error = match body {
        Body::Whole(bytes) => ApiError::read(bytes, facts.token),
        // The status alone decides; half a text could read as another.
        Body::Truncated { .. } | Body::TooLarge { .. } => ApiError::default(),
    };
    Err(Outcome::from_status(facts, status, retry_after, error))
}

#[cfg(test)]
mod tests;
