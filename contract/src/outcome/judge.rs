//! From an observation to the records of the reply, or to the outcome to raise.

use super::{Body, Content, Facts, Observation, Outcome};
use crate::api_error::ApiError;
use crate::reply::{self, Beginning, NotAReply, Records};

/// The name of the outcome that is no [`Outcome`]: the reply gave its records.
pub const APPLIED: &str = "applied";

/// Says what an observation means: the records of a mutation that was applied, or else the outcome to raise.
///
/// The records are read later, one by one. If one then turns out to be unreadable, or if the database refuses to store
/// it, that is [`Outcome::reply_lost`].
pub fn judge<'a>(facts: &Facts<'_>, observed: &Observation<'a>) -> Result<Records<'a>, Box<Outcome>> {
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
