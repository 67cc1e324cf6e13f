//! Input: five bytes for the kind, the number of records, the observation and the status; a line with `Retry-After`; then the
//! body, or the cause. In the body, byte 1 stands for the token, and byte 2 for the token with an escaped first letter, to
//! simulate an API that echoes it.
//!
//! - The outcome is "not sent" if and only if the request was not sent. It says "nothing was applied" only for the statuses
//!   that mean so. A 2xx is "applied" only if the body begins as a reply, and otherwise "unknown".
//! - A create that may have been applied is not sent again.
//! - No text has the token or a control character, and all have a limited length. The DETAIL is valid jsonb, with the `docs`
//!   of the body.

use std::time::Duration;

use crate::input::Input;
use crate::oracle;
use contract::kind::Kind;
use contract::outcome::{Action, Applied, Body, ContentHeaders, Facts, Observation, Outcome, OutcomeKind, judge};
use contract::{reply, retry_after};

const TOKENS: [&str; 4] =
    ["", "Tok3n~abcdef.0123456789_ABCDEF", "8675309867530986753098675309", "%25&amp;\\u0025%\\\"<%25&amp;%"];
const NOW: i64 = 1_763_752_800;

/// The observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    NotSent,
    Cut,
    TimedOut,
    Truncated,
    TooLarge,
    Whole,
    Unread,
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.one_of(&Kind::ALL);
    let records = [1, 2, 200, 10_000][input.below(4)];
    let flags = input.byte();
    let token = TOKENS[usize::from(flags & 3)];
    let facts = Facts {
        kind,
        records,
        collection_id: "salesforce:contact",
        server: "sequin",
        atomic_batches: flags & 4 != 0,
        token,
    };
    let seen = [
        Seen::Whole,
        Seen::Whole,
        Seen::NotSent,
        Seen::Cut,
        Seen::TimedOut,
        Seen::Truncated,
        Seen::TooLarge,
        Seen::Unread,
    ][usize::from(flags >> 3) % 8];
    let media_type = [None, Some("application/json"), Some("text/html"), Some("a\u{1b}\n")][usize::from(flags >> 6)];
    let status = input.two();
    let retry_after = retry_after::parse(&input.line(), NOW);
    let body = echoing(input.rest(), token);
    let cause = String::from_utf8_lossy(&body);
    let owned = |text: &str| text.to_owned();
    let encoding = media_type.filter(|_| status % 2 == 1).map(owned);
    let content = ContentHeaders { media_type: media_type.map(owned), encoding };
    let reply = |body| Observation::Reply { status, retry_after, content, body };
    let (beginning, cause) = (body.clone(), cause.into_owned());
    let observed = match seen {
        Seen::NotSent => Observation::NotSent { cause },
        Seen::Cut => Observation::ConnectionLost { cause },
        Seen::TimedOut => Observation::TimedOut { after: Duration::from_millis(status.into()) },
        Seen::Truncated => reply(Body::Truncated { beginning, cause }),
        Seen::TooLarge => reply(Body::TooLarge { beginning, limit: status.into() }),
        Seen::Unread => reply(Body::InvalidHeaders { cause }),
        Seen::Whole => reply(Body::Whole(beginning)),
    };
    let result = judge(&facts, &observed);
    assert_eq!(result.as_ref().err(), judge(&facts, &observed).as_ref().err());

    let is_good = seen == Seen::Whole && (200..300).contains(&status) && reply::parse(&body).is_ok();
    assert_eq!(result.is_ok(), is_good);
    let Err(outcome) = result else { return };
    tells_the_truth(&facts, seen, status, &outcome);
    if (200..300).contains(&status) && outcome.http_status.is_some() {
        let can_be_reply = has_begun(&body) || (body.is_empty() && media_type == Some("application/json"));
        assert!(outcome.applied == Applied::Unknown || (can_be_reply && seen != Seen::Unread), "{outcome:?}");
    }
    can_be_shown(&facts, &outcome);
    let answer = !matches!(seen, Seen::NotSent | Seen::Cut | Seen::TimedOut);
    assert_eq!(outcome.http_status, answer.then_some(status));
    if answer && !(200..300).contains(&status) {
        assert_eq!(outcome.retry_after, retry_after);
    }
    is_detailed(&outcome);
    if seen == Seen::Whole && token.is_empty() {
        has_the_docs(&outcome, &body);
    }
}

fn echoing(bytes: &[u8], token: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        match (byte, token.as_bytes()) {
            (1, token) => body.extend_from_slice(token),
            (2, [first, rest @ ..]) => {
                body.extend_from_slice(format!("\\u{first:04x}").as_bytes());
                body.extend_from_slice(rest);
            }
            _ => body.push(byte),
        }
    }
    body
}

/// Whether the body can contain the beginning of the array `records`.
fn has_begun(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let named = String::from_utf8_lossy(body);
    body.trim_ascii_start().starts_with(b"{")
        && named.contains('[')
        && (named.contains("records") || named.contains('\\'))
}

/// Checks the outcome against the API's contract. Where that is silent, the cautious answer is expected.
fn tells_the_truth(facts: &Facts<'_>, seen: Seen, status: u16, outcome: &Outcome) {
    let is_answer = !matches!(seen, Seen::NotSent | Seen::Cut | Seen::TimedOut);
    assert_eq!(outcome.kind == OutcomeKind::NotSent, seen == Seen::NotSent, "{outcome:?}");
    assert_eq!(outcome.hint.contains("Nothing was sent"), seen == Seen::NotSent, "{outcome:?}");
    let is_refusal = is_answer && matches!(status, 300..=399 | 401 | 403 | 404 | 405 | 429);
    let has_own_rule = is_refusal || matches!(status, 408 | 425);
    let is_rejection = is_answer && (400..500).contains(&status) && !has_own_rule;
    let is_total = facts.records == 1 || facts.atomic_batches;
    let nothing = seen == Seen::NotSent || is_refusal || (is_rejection && is_total);
    assert_eq!(outcome.applied == Applied::None, nothing, "{outcome:?}");
    assert_eq!(outcome.hint.contains("Nothing was applied"), nothing && seen != Seen::NotSent, "{outcome:?}");
    match outcome.applied {
        Applied::All => assert!(is_answer && ((200..300).contains(&status) || status == 500), "{outcome:?}"),
        Applied::None => assert!(!is_answer || !(200..300).contains(&status), "{outcome:?}"),
        Applied::Unknown => {}
    }
    if outcome.applied == Applied::All && status == 500 {
        assert!(seen == Seen::Whole && outcome.kind == OutcomeKind::AppliedNotConfirmed, "{outcome:?}");
    }
    let sends_again = matches!(outcome.action, Action::Retry | Action::Bisect | Action::Defer);
    assert!(!sends_again || outcome.applied == Applied::None || facts.kind != Kind::Create, "{outcome:?}");
    assert!(!sends_again || outcome.applied != Applied::All, "{outcome:?}");
    assert_eq!(outcome.action == Action::Reject, is_rejection && facts.records == 1, "{outcome:?}");
}

fn can_be_shown(facts: &Facts<'_>, outcome: &Outcome) {
    let detail = outcome.detail_json();
    for text in [&outcome.message, &outcome.hint, &detail] {
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(!text.contains(['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{2028}']), "{text:?}");
        assert!(facts.token.is_empty() || !without_our_escapes(text).contains(facts.token), "{text}");
        assert!(!text.is_empty());
    }
    assert!(outcome.message.chars().count() < 1_200, "{}", outcome.message);
    assert!(outcome.hint.len() < 1_000 && detail.len() < 20_000);
}

/// `text` without the escapes of hidden characters. Such an escape can complete the text after it to the token, but only if
/// the API sent the token without its beginning.
fn without_our_escapes(text: &str) -> String {
    let mut parts = text.split("\\u");
    let mut out = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| out.extend([" ", part.get(4..).unwrap_or_default()]));
    out
}

fn is_detailed(outcome: &Outcome) {
    let detail = outcome.detail_json();
    let fields = oracle::fields(&detail).unwrap_or_else(|| panic!("not JSON: {detail}"));
    let names: Vec<_> = fields.iter().map(|(name, _)| name.as_deref().unwrap_or_default()).collect();
    assert_eq!(names, ["outcome", "applied", "http_status", "docs", "retry_after_ms"]);
    let value = |name: &str| oracle::last(&fields, name).filter(|value| *value != "null");
    assert_eq!(value("outcome").and_then(oracle::string).as_deref(), Some(outcome.kind.as_str()));
    assert_eq!(value("applied").and_then(oracle::string).as_deref(), Some(outcome.applied.as_str()));
    assert_eq!(value("http_status").map(str::to_owned), outcome.http_status.map(|status| status.to_string()));
    assert_eq!(value("docs"), outcome.docs.as_deref());
    assert!(oracle::is_storable(&detail) && !oracle::has_huge_number(&detail), "{detail}");
    let waits = outcome.retry_after.map(|wait| wait.as_millis().to_string());
    assert_eq!(value("retry_after_ms").map(str::to_owned), waits);
}

/// Checks that the docs are those of the body, except for strings and numbers that jsonb refuses.
fn has_the_docs(outcome: &Outcome, body: &[u8]) {
    let Some(docs) = &outcome.docs else { return };
    let fields = std::str::from_utf8(body).ok().and_then(oracle::fields).expect("docs come from an object");
    let given = |name| oracle::last(&fields, name).filter(|value| *value != "null");
    let original = given("docs").or_else(|| given("validation_errors")).expect("docs come from somewhere");
    let alike = |original: &str, shown: &str| {
        let shown = oracle::string(shown);
        if !original.starts_with('"') {
            return shown.is_some_and(|number| number == original && original.contains(['e', 'E']));
        }
        let expected = oracle::string(original).map(|text| text.replace('\0', "\u{fffd}"));
        shown == expected.or(Some("[unreadable]".to_owned()))
    };
    assert!(oracle::same(original, docs, alike), "{original} became {docs}");
}
