//! Tests all statuses, and no status, with all kinds, numbers of records, bodies and broken connections. The expected outcomes
//! are a second table, written independently of the code's rules.

use std::ops::RangeInclusive;

use super::*;

/// How much of the request was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sent {
    Nothing,
    PartOfHead,
    Head,
    PartOfBody,
    All,
}

const SENT: [Sent; 5] = [Sent::Nothing, Sent::PartOfHead, Sent::Head, Sent::PartOfBody, Sent::All];

/// Why an exchange ended early.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Broken {
    Lost,
    TimeUp,
    Cancelled,
}

const BROKEN: [Broken; 3] = [Broken::Lost, Broken::TimeUp, Broken::Cancelled];

impl Broken {
    fn cause(self) -> &'static str {
        match self {
            Broken::Lost => "connection reset by peer",
            Broken::TimeUp => "timed out",
            Broken::Cancelled => "interrupted",
        }
    }

    /// The observation of an exchange without a status.
    fn without_status(self, sent: Sent) -> Observation {
        match (sent, self) {
            (Sent::Nothing, _) => Observation::NotSent { cause: self.cause().to_owned() },
            (_, Broken::TimeUp) => Observation::TimedOut { after: Duration::from_secs(60) },
            (_, Broken::Lost | Broken::Cancelled) => Observation::ConnectionLost { cause: self.cause().to_owned() },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Class {
    Good,
    /// The one error text that means "applied".
    Consumers,
    Empty,
    NotJson,
    NotUtf8,
    /// JSON that is not a reply.
    WrongShape,
    /// A reply with an unreadable record.
    BadRecords,
    /// A reply with a record that Postgres cannot store.
    NotStorable,
    /// The documented error format, or that of the management endpoints.
    Error,
    /// An error together with records.
    ErrorToo,
    /// It looks whole, but ends before its records.
    NoEnd,
    /// Truncated within its records.
    CutReply,
    /// Truncated too early to be classified.
    CutOpen,
    /// Truncated, and not a reply.
    CutOther,
    /// A reply that is too large, or announced JSON that is.
    LargeReply,
    LargeOther,
    /// After invalid headers.
    Unread,
}

use Class::*;

const ANY: &[Class] = &[
    Good,
    Consumers,
    Empty,
    NotJson,
    NotUtf8,
    WrongShape,
    BadRecords,
    NotStorable,
    Error,
    ErrorToo,
    NoEnd,
    CutReply,
    CutOpen,
    CutOther,
    LargeReply,
    LargeOther,
    Unread,
];
/// A reply of the API that is unusable.
const LOST: &[Class] = &[BadRecords, NotStorable, CutReply, LargeReply];
/// A body of another service, or one that cannot be recognized.
const OTHERS: &[Class] =
    &[Consumers, Empty, NotJson, NotUtf8, WrongShape, Error, ErrorToo, CutOther, LargeOther, Unread];
const ANY_BUT_CONSUMERS: &[Class] = &[
    Good,
    Empty,
    NotJson,
    NotUtf8,
    WrongShape,
    BadRecords,
    NotStorable,
    Error,
    ErrorToo,
    NoEnd,
    CutReply,
    CutOpen,
    CutOther,
    LargeReply,
    LargeOther,
    Unread,
];

const WHOLE: &[(Class, &[u8])] = &[
    (Good, GOOD),
    (Good, b" {\"extra\": [1], \"records\": [{\"id\": \"a\", \"data\": null}]}\n"),
    (Consumers, CONSUMERS),
    (Consumers, br#"{"error":"Error: timed out waiting for consumer a"}"#),
    (Empty, b""),
    (Empty, b" \r\n"),
    (NotJson, b"<html>\nproxy</html>"),
    (NotJson, b"Error: Timed out waiting for consumers: contacts"),
    (NotUtf8, b"\xff\x00"),
    (NotUtf8, b"{\"id\":\"\xff\", \"records\": []}"),
    (BadRecords, b"{\"records\":[{\"id\":\"\xff\"}]}"),
    (BadRecords, br#"{"error": null, "records":[{"id":"a"}] 7}"#),
    (WrongShape, b"{}"),
    (WrongShape, b"null"),
    (WrongShape, b"[{\"id\":\"a\"}]"),
    (WrongShape, br#""Error: Timed out waiting for consumers: contacts""#),
    (WrongShape, br#"{"records":null}"#),
    (WrongShape, br#"{"records":{"id":"a"}}"#),
    (BadRecords, br#"{"records":["a"]}"#),
    (BadRecords, br#"{"records":[{"id":"a"},1]}"#),
    (BadRecords, br#"{"more": [{"records": 1}], "records":[{"id":"a"}"#),
    (NoEnd, br#"{"more": [{"records": []}]"#),
    (NoEnd, b"\xef\xbb\xbf {\"rec"),
    (Good, b"\xef\xbb\xbf{\"records\":[{\"id\":\"a\"}],\"error\":null}"),
    (NotStorable, br#"{"records":[{"id":"\u0000"}]}"#),
    (NotStorable, br#"{"records":[{"id":"a"},{"upstream_id":"\ud800"}]}"#),
    (NotStorable, br#"{"records":[{"id":"a","data":{"n":1e999999}}]}"#),
    (Error, br#"{"error":"Error: refused","docs":[1]}"#),
    (Error, br#"{"error":"Error: Salesforce says: Timed out waiting for consumers"}"#),
    (ErrorToo, br#"{"error":"Error: INVALID_FIELD","records":[]}"#),
    (ErrorToo, br#"{"records":[{"id":"a"}],"error":"Error: not all"}"#),
    (Error, br#"{"summary":"Timed out waiting for consumers","validation_errors":{"a":"b"}}"#),
];

/// A page of a proxy.
const PAGE: &[u8] = b"<html><body>Welcome";

fn all_bodies() -> Vec<(Class, ContentHeaders, Body)> {
    let plain = |(class, body)| (class, ContentHeaders::default(), body);
    let media_type = || Some("application/json; charset=utf-8".to_owned());
    let json = |(class, body)| (class, ContentHeaders { media_type: media_type(), encoding: None }, body);
    let whole = WHOLE.iter().map(|(class, bytes)| (*class, Body::Whole(bytes.to_vec())));
    let cut = BROKEN.iter().flat_map(|broken| {
        let cause = broken.cause();
        [
            (CutReply, br#"{"records":["#.as_slice()),
            (CutOpen, b"{\"records\":"),
            (CutOpen, b""),
            (CutOther, PAGE),
            (CutOther, br#"{"error":"Err"#),
        ]
        .map(|(class, beginning)| (class, Body::Truncated { beginning: beginning.into(), cause: cause.into() }))
    });
    let large = [(LargeReply, br#"{"records":[{"id""#.as_slice()), (LargeOther, PAGE), (LargeOther, b" ")]
        .map(|(class, beginning)| (class, Body::TooLarge { beginning: beginning.into(), limit: 1_024 }));
    let unread = (Unread, Body::InvalidHeaders { cause: "invalid header".into() });
    let announced = || Body::TooLarge { beginning: Vec::new(), limit: 1_024 };
    let all = whole.chain(cut).chain(large).chain([unread]);
    all.map(plain)
        .chain([
            plain((LargeOther, announced())),
            json((LargeReply, announced())),
            json((CutOther, Body::Whole(PAGE.into()))),
        ])
        .collect()
}

/// The expected outcome for one record, for three, and for three with atomic batches. `None` is the reply's records.
type Numbers = [Option<Expected>; 3];

struct Row {
    statuses: RangeInclusive<u16>,
    bodies: &'static [Class],
    create: Numbers,
    /// Updates and deletes.
    other: Numbers,
}

/// A row for all kinds and numbers.
const fn same(statuses: RangeInclusive<u16>, bodies: &'static [Class], expected: Option<Expected>) -> Row {
    Row { statuses, bodies, create: [expected; 3], other: [expected; 3] }
}

const fn unknown(statuses: RangeInclusive<u16>, bodies: &'static [Class]) -> Row {
    Row { statuses, bodies, create: [Some(CREATE_UNKNOWN); 3], other: [Some(OTHER_UNKNOWN); 3] }
}

const fn rejected(statuses: RangeInclusive<u16>) -> Row {
    let alone = Some(("rejected", "none", "HV024", Action::Reject));
    let atomic = Some(("rejected", "none", "HV024", Action::Bisect));
    Row {
        statuses,
        bodies: ANY,
        create: [alone, Some(("rejected", "unknown", "HV024", Action::MarkUnknown)), atomic],
        other: [alone, Some(("rejected", "unknown", "HV024", Action::Bisect)), atomic],
    }
}

const NOT_SENT: Expected = ("not_sent", "none", "HV00N", Action::Retry);
const REPLY_LOST: Expected = ("applied_reply_lost", "all", "HV00M", Action::DeliverReplyLost);
const NOT_THE_APIS: Expected = ("unknown", "unknown", "HV00K", Action::PauseServer);
const NOT_CONFIRMED: Expected = ("applied_not_confirmed", "all", "HV00M", Action::DeliverNotConfirmed);
const NO_ENTRY: Expected = ("refused", "none", "28000", Action::PauseServer);
const NOWHERE: Expected = ("refused", "none", "HV00R", Action::PauseServer);
const PAUSE: Expected = ("refused_for_now", "none", "53400", Action::Defer);

const TABLE: &[Row] = &[
    unknown(100..=199, ANY),
    same(200..=299, &[Good], None),
    same(200..=299, LOST, Some(REPLY_LOST)),
    same(200..=299, OTHERS, Some(NOT_THE_APIS)),
    unknown(200..=299, &[NoEnd, CutOpen]),
    same(300..=399, ANY, Some(NOWHERE)),
    rejected(400..=400),
    same(401..=401, ANY, Some(NO_ENTRY)),
    rejected(402..=402),
    same(403..=403, ANY, Some(NO_ENTRY)),
    same(404..=405, ANY, Some(NOWHERE)),
    rejected(406..=407),
    unknown(408..=408, ANY),
    rejected(409..=424),
    unknown(425..=425, ANY),
    rejected(426..=428),
    same(429..=429, ANY, Some(PAUSE)),
    rejected(430..=499),
    same(500..=500, &[Consumers], Some(NOT_CONFIRMED)),
    unknown(500..=500, ANY_BUT_CONSUMERS),
    unknown(501..=599, ANY),
];

/// The number of records, the option `atomic_batches`, and the position in [`Numbers`].
const NUMBERS: [(usize, bool, usize); 4] = [(1, false, 0), (1, true, 0), (3, false, 1), (3, true, 2)];

/// The row for a status and a class of bodies. There is exactly one.
fn row(status: u16, class: Class) -> &'static Row {
    let mut rows = TABLE.iter().filter(|row| row.statuses.contains(&status) && row.bodies.contains(&class));
    match (rows.next(), rows.next()) {
        (Some(row), None) => row,
        _ => panic!("not one row for {status} {class:?}"),
    }
}

/// The result for a caller that reads all records and lets the database store them.
fn end(facts: &Facts<'_>, observed: &Observation) -> Option<Box<Outcome>> {
    let records = match judge(facts, observed) {
        Ok(records) => records,
        Err(end) => return Some(end),
    };
    let Observation::Reply { status, .. } = *observed else { panic!("records without a reply") };
    for record in records {
        let reason = match record {
            Ok(record) if record.data.is_some_and(|data| data.contains("1e999999")) => "value overflows numeric".into(),
            Ok(_) => continue,
            Err(unreadable) => unreadable.to_string(),
        };
        return Some(Outcome::reply_lost(facts, status, &reason));
    }
    None
}

fn assert_end(facts: &Facts<'_>, observed: &Observation, expected: Option<Expected>, what: &str) {
    let end = end(facts, observed);
    let of =
        |facts: &Facts<'_>| format!("{} of {}, atomic {}: {what}", facts.kind, facts.records, facts.atomic_batches);
    assert_eq!(end.as_deref().map(summary), expected, "{}", of(facts));
    if let Some(end) = end {
        let status = match observed {
            Observation::Reply { status, .. } => Some(*status),
            _ => None,
        };
        assert_eq!(end.http_status, status, "{}", of(facts));
        // The costliest check. Its subject depends on the status more than on the number of records.
        if facts.records == 1 || status.is_none_or(|status| status % 10 == 0) {
            assert_is_well_formed(&end);
        }
    }
}

/// The number of kinds times [`NUMBERS`].
const COMBINATIONS: usize = Kind::ALL.len() * NUMBERS.len();

/// Runs `check` with the combination `n` of kind, number of records and atomic batches.
fn with_one(n: usize, create: &Numbers, other: &Numbers, check: impl FnOnce(&Facts<'_>, Option<Expected>)) {
    let (kind, (records, atomic_batches, column)) = (Kind::ALL[n / NUMBERS.len()], NUMBERS[n % NUMBERS.len()]);
    let numbers = if kind == Kind::Create { create } else { other };
    check(&facts(kind, records, atomic_batches), numbers[column]);
}

/// Runs `check` with every combination.
fn with_all(create: &Numbers, other: &Numbers, mut check: impl FnMut(&Facts<'_>, Option<Expected>)) {
    (0..COMBINATIONS).for_each(|n| with_one(n, create, other, &mut check));
}

/// Every status meets every body, and every combination. All three together are tested where a row of the table begins or
/// ends: within a row the code makes no difference between statuses, and half a million cases take too long.
#[test]
fn every_status_with_every_body() {
    let bodies = all_bodies();
    assert!(ANY.iter().all(|class| bodies.iter().any(|(other, ..)| other == class)));
    let is_edge = |status| TABLE.iter().any(|row| status == *row.statuses.start() || status == *row.statuses.end());
    for status in 100..=599 {
        for (n, (class, content, body)) in bodies.iter().enumerate() {
            let observed =
                Observation::Reply { status, retry_after: None, content: content.clone(), body: body.clone() };
            let Row { create, other, .. } = row(status, *class);
            let check = |facts: &Facts<'_>, expected| {
                assert_end(facts, &observed, expected, &format!("{status} {class:?} {body:?}"));
            };
            if is_edge(status) {
                with_all(create, other, check);
            } else {
                with_one((usize::from(status) + n) % COMBINATIONS, create, other, check);
            }
        }
    }
}

/// With a status, the outcome does not depend on how much of the request was sent, nor on how the body broke off.
#[test]
fn no_status_with_every_amount_sent_and_every_way_to_break_off() {
    for sent in SENT {
        let (create, other) =
            if sent == Sent::Nothing { (NOT_SENT, NOT_SENT) } else { (CREATE_UNKNOWN, OTHER_UNKNOWN) };
        for broken in BROKEN {
            with_all(&[Some(create); 3], &[Some(other); 3], |facts, expected| {
                assert_end(facts, &broken.without_status(sent), expected, &format!("{sent:?} {broken:?}"));
            });
        }
    }
}

/// A body without Content-Length looks whole wherever it ends. Only the whole body may count as one.
#[test]
fn every_beginning_of_a_body_that_looks_whole() {
    for (text, whole) in [(GOOD, Good), (CONSUMERS, Consumers)] {
        for length in 0..=text.len() {
            let class = match length {
                0 => Empty,
                _ if length == text.len() => whole,
                _ if text[..length].starts_with(br#"{"records":["#) => BadRecords,
                _ if text[..length].starts_with(br#"{"error":""#) => NotJson,
                _ => NoEnd,
            };
            for status in [100, 200, 299, 302, 400, 401, 422, 429, 500, 504] {
                let Row { create, other, .. } = row(status, class);
                with_all(create, other, |facts, expected| {
                    let observed = reply(status, Body::Whole(text[..length].into()));
                    assert_end(facts, &observed, expected, &format!("{status}, {length} bytes of {whole:?}"));
                });
            }
        }
    }
}
