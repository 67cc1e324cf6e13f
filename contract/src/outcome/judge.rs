//! Turns an observation into the reply's records, or into the outcome to raise.

use super::{Body, ContentHeaders, Facts, Observation, Outcome};
use crate::api_error::ApiError;
use crate::reply::{self, ReplyError, ReplyPrefix, ReplyRecords};

/// The word, in the outbox's tables, for a mutation whose reply gave its records. Such a mutation has no [`Outcome`].
pub const APPLIED: &str = "applied";

/// Decides what an observation means: the records of an applied mutation, or the outcome to raise.
///
/// The caller reads the records later, one by one. If one is then unreadable, or the database refuses to store it, the
/// outcome is [`Outcome::reply_lost`].
pub fn judge<'a>(facts: &Facts<'_>, observed: &'a Observation) -> Result<ReplyRecords<'a>, Box<Outcome>> {
    let (status, retry_after, content, body) = match observed {
        Observation::NotSent { cause } => return Err(Outcome::unreachable(facts, cause)),
        Observation::ConnectionLost { cause } => return Err(Outcome::connection_lost(facts, cause)),
        Observation::TimedOut { after } => return Err(Outcome::timed_out(facts, *after)),
        Observation::Reply { status, retry_after, content, body } => (*status, *retry_after, content, body),
    };
    if (200..300).contains(&status) {
        return success(facts, status, content, body);
    }
    let error = match body {
        Body::Whole(bytes) => ApiError::read(bytes, facts.token),
        // Decide by the status alone: half of an error text could have another meaning.
        Body::Truncated { .. } | Body::TooLarge { .. } | Body::InvalidHeaders { .. } => ApiError::default(),
    };
    Err(Outcome::from_status(facts, status, retry_after, error))
}

/// Judges a reply with a status in 2xx. A login page has such a status too, so the mutation counts as applied only if the
/// body, as far as it was read, is a reply of the API.
fn success<'a>(
    facts: &Facts<'_>,
    status: u16,
    content: &ContentHeaders,
    body: &'a Body,
) -> Result<ReplyRecords<'a>, Box<Outcome>> {
    let lost = |reason: &str| Outcome::reply_lost(facts, status, reason);
    let foreign = |reason: &str, body: &[u8]| Outcome::foreign_reply(facts, status, reason, content, body);
    Err(match body {
        Body::Whole(bytes) => match reply::parse(bytes) {
            Ok(records) => return Ok(records),
            Err(reason @ ReplyError::HasError) => foreign(&reason.to_string(), bytes),
            Err(reason) => match (reply::classify_prefix(bytes), &reason) {
                (ReplyPrefix::Reply, _) => lost(&reason.to_string()),
                // A body without a length ends with the connection, so a truncated one looks whole.
                (ReplyPrefix::Undecided, ReplyError::Incomplete) => {
                    Outcome::reply_truncated(facts, status, &reason.to_string())
                }
                _ => foreign(&reason.to_string(), bytes),
            },
        },
        Body::Truncated { beginning, cause } => {
            let reason = format!("its body was cut off: {cause}");
            match reply::classify_prefix(beginning) {
                ReplyPrefix::Reply => lost(&reason),
                ReplyPrefix::Undecided => Outcome::reply_truncated(facts, status, &reason),
                ReplyPrefix::Other => foreign(&reason, beginning),
            }
        }
        Body::TooLarge { beginning, limit } => {
            let is_reply = match &beginning[..] {
                // Nothing was read. A page of a proxy would not announce so many bytes of JSON.
                [] => content.is_json(),
                _ => reply::classify_prefix(beginning) == ReplyPrefix::Reply,
            };
            if is_reply {
                Outcome::reply_too_large(facts, status, *limit)
            } else {
                foreign(&format!("its body is larger than {limit} bytes"), beginning)
            }
        }
        Body::InvalidHeaders { cause } => Outcome::invalid_headers(facts, status, cause),
    })
}
