//! The correct report, given the bytes that reached the client: as much HTTP as it takes, and the outcome table for one
//! record as data. It shares no code with the extension.

use std::ops::RangeInclusive;

use sequin_harness::proxy::{Direction, Harm};
use serde_json::Value;

use super::Case;
use super::reported::{Reported, reported};

/// The bytes that the client could see.
#[derive(Debug, PartialEq)]
enum Seen {
    NoStatus,
    Reply(u16, Body),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Body {
    Records,
    /// The API's, and of no use.
    Lost,
    Consumers,
    Other,
    /// A beginning of a body that does not show its kind.
    Part,
}

use Body::*;

type Row = (RangeInclusive<u16>, &'static [Body], Option<&'static str>, &'static str, &'static str);

const ANY: &[Body] = &[Records, Lost, Consumers, Other, Part];

const TABLE: &[Row] = &[
    (200..=299, &[Records], None, "applied", "all"),
    (200..=299, &[Lost], Some("HV00M"), "applied_reply_lost", "all"),
    (300..=399, ANY, Some("HV00R"), "refused", "none"),
    (400..=400, ANY, Some("HV024"), "rejected", "none"),
    (401..=401, ANY, Some("28000"), "refused", "none"),
    (403..=403, ANY, Some("28000"), "refused", "none"),
    (404..=405, ANY, Some("HV00R"), "refused", "none"),
    (402..=402, ANY, Some("HV024"), "rejected", "none"),
    (406..=407, ANY, Some("HV024"), "rejected", "none"),
    (409..=424, ANY, Some("HV024"), "rejected", "none"),
    (426..=428, ANY, Some("HV024"), "rejected", "none"),
    (429..=429, ANY, Some("53400"), "refused_for_now", "none"),
    (430..=499, ANY, Some("HV024"), "rejected", "none"),
    (500..=500, &[Consumers], Some("HV00M"), "applied_not_confirmed", "all"),
];

/// Unknown: not in the outcome table.
fn unknown() -> Reported {
    reported(Some("HV00K"), "unknown", "unknown")
}

fn by_table(seen: &Seen) -> Reported {
    let Seen::Reply(status, body) = seen else { return unknown() };
    let row = TABLE.iter().find(|(statuses, bodies, ..)| statuses.contains(status) && bodies.contains(body));
    row.map_or_else(unknown, |(_, _, state, outcome, applied)| reported(*state, outcome, applied))
}

/// A cancel has its own SQLSTATE. The CONTEXT gives the known effect: none before the end of the body.
fn by_cancel(_: &Seen) -> Reported {
    reported(Some("57014"), "cancelled", "unknown")
}

/// The correct reports. More than one if the network does not determine which bytes are read.
pub fn right(case: &Case, came: &[u8], went: &[u8]) -> Vec<Reported> {
    let seen = see(went);
    let told = if case.cancelled { by_cancel } else { by_table };
    let original = see(came);
    let is_in_head = case.fault.direction == Direction::ToClient && case.fault.at < head(came);
    let seen = match (case.fault.harm, original) {
        // It may overtake earlier bytes.
        (Harm::Reset, _) => vec![Seen::NoStatus, seen],
        (Harm::Corrupt(_), _) if is_in_head && STATUS.contains(&case.fault.at) => vec![seen],
        // A head that is spoilt may be refused, may frame its body anew, or be none the worse.
        (Harm::Corrupt(_) | Harm::DuplicateByte, Seen::Reply(status, body)) if is_in_head => {
            vec![Seen::NoStatus, Seen::Reply(status, body), Seen::Reply(status, Part), Seen::Reply(status, Lost)]
        }
        _ => vec![seen],
    };
    seen.iter().map(told).collect()
}

/// The place of a reply's status.
pub const STATUS: RangeInclusive<usize> = 9..=11;

/// The length of the head, or of all if it does not end.
pub fn head(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
}

/// The status that these bytes begin with, if they do.
pub fn status(bytes: &[u8]) -> Option<u16> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let digits = std::str::from_utf8(line.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn see(bytes: &[u8]) -> Seen {
    let head = head(bytes);
    let (Some(status), true) = (status(bytes), bytes[..head].ends_with(b"\r\n\r\n")) else { return Seen::NoStatus };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.split("content-length:").nth(1).and_then(|rest| rest.split("\r\n").next()?.trim().parse().ok());
    let body = &bytes[head..];
    // These have no body, whatever their head says (RFC 9110, 15.3.5 and 15.4.5).
    if matches!(status, 204 | 304) {
        return Seen::Reply(status, Other);
    }
    match length {
        Some(length) if body.len() >= length => Seen::Reply(status, what(&body[..length])),
        _ => Seen::Reply(status, if has_begun(body) { Lost } else { Part }),
    }
}

fn what(body: &[u8]) -> Body {
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
        return if has_begun(body) { Lost } else { Other };
    };
    // Neither has a place in a database.
    let is_storable = |record: &Value| record.is_object() && !record.to_string().contains("\\u0000");
    match (&body.get("records"), &body.get("error")) {
        (Some(Value::Array(records)), None | Some(Value::Null)) if records.iter().all(is_storable) => Records,
        (Some(Value::Array(_)), None | Some(Value::Null)) => Lost,
        (_, Some(Value::String(text))) if text.starts_with("Error: Timed out waiting for consumers") => Consumers,
        _ => Other,
    }
}

/// Whether a body that is not whole says that it is a reply. The sandbox's have their records first.
fn has_begun(body: &[u8]) -> bool {
    body.starts_with(br#"{"records":["#)
}
