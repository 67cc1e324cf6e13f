//! Input: the body of a reply with status 200.
//!
//! - A body is accepted if and only if it is a reply as the API's contract defines it. It then gives one record for each
//!   element of `records`, in order.
//! - Each field of a record is in a column or in `extra`, unchanged to the digit.
//! - A record is refused if and only if Postgres cannot store it.
//! - No truncated body is accepted.

use crate::calendar;
use crate::oracle::{self, Field};
use contract::reply::{self, Record, ReplyError, Timestamp};

/// The fields that can fill a column.
const KNOWN: [&str; 13] = [
    "id",
    "sync_id",
    "resource_id",
    "collection_id",
    "upstream_id",
    "upstream_created_at",
    "upstream_updated_at",
    "inserted_at",
    "created_at",
    "updated_idx",
    "deleted",
    "data",
    "sync",
];

pub fn run(body: &[u8]) {
    let expected = records_of(body);
    let parsed = reply::parse(body);
    assert_eq!(parsed.is_ok(), expected.is_some(), "{parsed:?}");
    let (Ok(records), Some(expected)) = (parsed, expected) else { return };
    nothing_cut_off_passes(body);

    assert_eq!(records.element_count(), expected.len());
    assert_eq!(reply::classify_prefix(body), reply::ReplyPrefix::Reply);
    let whole = records.raw_records();
    let mut read = 0;
    let mut is_ended = false;
    for (index, (record, text)) in records.zip(&expected).enumerate() {
        assert!(!is_ended, "something follows an error");
        match record {
            Ok(record) => agree(&record, text),
            Err(ReplyError::RecordNotAnObject { index: told }) => {
                assert!(told == index && !text.starts_with('{'), "{text}");
                is_ended = true;
            }
            Err(ReplyError::NotStorable { index: told, .. }) => {
                assert!(told == index && !oracle::is_storable(text), "{text}");
                is_ended = true;
            }
            Err(other) => panic!("{other:?} comes from the body as a whole"),
        }
        read += 1;
    }
    assert!(is_ended || read == expected.len());

    // raw_records treats an object with an invalid name as another value.
    let is_object =
        |text: &&&str| oracle::fields(text).is_some_and(|fields| fields.iter().all(|(name, _)| name.is_some()));
    let objects = expected.iter().take_while(is_object);
    assert!(objects.eq(whole.iter().map(|record| &record.text)));
}

/// The elements of `records`. `None` if the body is not a reply.
fn records_of(body: &[u8]) -> Option<Vec<&str>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let fields = oracle::fields(std::str::from_utf8(body).ok()?)?;
    if fields.iter().any(|(name, _)| name.is_none()) {
        return None;
    }
    if oracle::last(&fields, "error").is_some_and(|error| error != "null") {
        return None;
    }
    oracle::elements(oracle::last(&fields, "records")?)
}

fn nothing_cut_off_passes(body: &[u8]) {
    let end = body.trim_ascii_end().len();
    let step = end / 64 + 1;
    for cut in (0..end).step_by(step).chain(end.saturating_sub(4)..end) {
        assert!(reply::parse(&body[..cut]).is_err(), "it is accepted when cut at {cut} of {end}");
    }
}

fn agree(record: &Record<'_>, text: &str) {
    let fields = oracle::fields(text).expect("a record is an object");
    let extra = record.extra.as_deref().map_or_else(Vec::new, |extra| oracle::fields(extra).expect("an object"));
    let value = |name: &str| oracle::last(&fields, name).filter(|value| *value != "null");
    let is_kept = |name: &str, value: &str| oracle::last(&extra, name) == Some(value);

    // Either the column or `extra` has the value. `fit` is whether the column has it.
    let in_one_place = |name: &str, fit: bool| {
        if let Some(value) = value(name) {
            assert_ne!(fit, is_kept(name, value), "{name} in {text} became {record:?}");
        } else {
            assert!(!fit, "{name} comes from nowhere in {text}: {record:?}");
        }
    };
    let texts = [("id", &record.id), ("collection_id", &record.collection_id), ("upstream_id", &record.upstream_id)];
    let is_number = |value: &&str| value.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    for (name, column) in texts {
        let digits = value(name).filter(|_| name != "collection_id").filter(is_number).map(str::to_owned);
        assert_eq!(column.as_deref(), digits.or_else(|| value(name).and_then(oracle::string)).as_deref());
        in_one_place(name, column.is_some());
    }
    let times =
        [("upstream_created_at", record.upstream_created_at), ("upstream_updated_at", record.upstream_updated_at)];
    for (name, column) in times {
        in_one_place(name, column.is_some());
        is_a_time(column, value(name));
    }
    in_one_place("updated_idx", record.updated_idx.is_some());
    if let Some(index) = record.updated_idx {
        assert_eq!(
            value("updated_idx").map(|digits| digits.replace("-0", "0")),
            Some(index.to_string().replace("-0", "0"))
        );
    }
    in_one_place("deleted", record.deleted.is_some());
    if let Some(deleted) = record.deleted {
        assert_eq!(value("deleted"), Some(if deleted { "true" } else { "false" }));
    }
    assert_eq!(record.data, value("data"));
    assert_eq!(oracle::last(&extra, "sync"), oracle::last(&fields, "sync"));

    let within_sync = value("sync").and_then(oracle::fields).unwrap_or_default();
    let own = value("sync_id").and_then(oracle::string);
    let found = own.clone().or_else(|| oracle::last(&within_sync, "id").and_then(oracle::string));
    let from_resource = found.is_none();
    let found = found.or_else(|| value("resource_id").and_then(oracle::string));
    assert_eq!(record.sync_id, found.map(Into::into), "{text}");
    in_one_place("sync_id", own.is_some());
    if !(from_resource && record.sync_id.is_some())
        && let Some(resource) = value("resource_id")
    {
        assert!(is_kept("resource_id", resource), "{text}");
    }
    match (record.inserted_at.is_some(), value("inserted_at"), value("created_at")) {
        (true, Some(used), other) if !is_kept("inserted_at", used) => {
            assert!(other.is_none_or(|other| is_kept("created_at", other)));
            is_a_time(record.inserted_at, Some(used));
        }
        (true, _, Some(used)) => {
            assert!(!is_kept("created_at", used));
            is_a_time(record.inserted_at, Some(used));
        }
        (true, _, None) => panic!("inserted_at comes from nowhere in {text}"),
        (false, inserted, created) => {
            assert!(inserted.is_none_or(|value| is_kept("inserted_at", value)));
            assert!(created.is_none_or(|value| is_kept("created_at", value)));
        }
    }

    assert_eq!(unknown(&fields), unknown(&extra), "{text}");
    for text in [record.data, record.extra.as_deref()].into_iter().flatten() {
        assert!(oracle::is_storable(text), "{text}");
    }
}

fn unknown<'a>(fields: &'a [Field<'a>]) -> Vec<&'a Field<'a>> {
    fields.iter().filter(|(name, _)| name.as_deref().is_none_or(|name| !KNOWN.contains(&name))).collect()
}

/// Checks that a timestamp is the one in the text, and that its UTC form reads as the same.
fn is_a_time(time: Option<Timestamp>, written: Option<&str>) {
    const MICROS_TO_2000: i64 = 946_684_800_000_000;
    let (Some(time), Some(written)) = (time, written) else { return };
    let micros = time.0 + MICROS_TO_2000;
    assert!(calendar::is_written_as(micros, &oracle::string(written).expect("a string")), "{written} is {time:?}");
    // With its zone, a time can be up to a day outside the years 0001 to 9999.
    let Some(text) = calendar::in_utc(micros) else { return };
    let body = format!(r#"{{"records":[{{"inserted_at":"{text}"}}]}}"#);
    let record = reply::parse(body.as_bytes()).expect("a reply").next().expect("a record").expect("that can be stored");
    assert_eq!(record.inserted_at, Some(time), "{text}");
}
