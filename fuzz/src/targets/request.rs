//! Input: one byte for the kind, one for the other arguments, a line each for the sync and the collection, then the records.
//!
//! - Records are accepted if and only if they have the form that the kind requires. The body then has every argument,
//!   value by value, with numbers unchanged.
//! - Every error has a hint, and no control character in its message.
//! - The single-record verbs and the outbox, which splits a request, agree with `sequin_mutate`.

use crate::input::Input;
use crate::oracle;
use contract::kind::Kind;
use contract::request::{Arguments, InvalidRequest, Request, RequestRecord, split_records};

const CONSUMERS: [&[Option<&str>]; 4] = [&[], &[Some("contacts")], &[Some("a\"\n"), Some("é")], &[Some("x"), None]];

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.one_of(&Kind::ALL);
    let flags = input.byte();
    let (sync_id, collection_id) = (input.line(), input.line());
    let text = input.text();
    let arguments = Arguments {
        sync_id: Some(&sync_id),
        collection_id: Some(&collection_id),
        await_consumers: if flags & 4 == 0 { None } else { Some(CONSUMERS[usize::from(flags & 3)].into()) },
        timeout_ms: [None, Some(0), Some(i32::MAX), Some(-1)][usize::from(flags >> 4 & 3)],
    };

    // The extension passes only jsonb that Postgres printed. Other texts must not panic.
    match Request::from_records(Some(kind.as_str()), &arguments, Some(&text)) {
        Ok(request) => assert!(!oracle::is_json(&text) || oracle::is_json(body(&request)), "{}", body(&request)),
        Err(invalid) => can_be_shown(&invalid),
    }
    let Some(records) = oracle::jsonb(&text) else { return };
    match Request::from_records(Some(kind.as_str()), &arguments, Some(&records)) {
        Ok(request) => {
            assert!(arguments_are_right(&arguments));
            says_what_was_passed(&request, &arguments, &records);
            is_taken_apart(kind, &records, request.len());
        }
        Err(invalid) => {
            can_be_shown(&invalid);
            assert!(!arguments_are_right(&arguments) || expected(kind, &records).is_none(), "{invalid}: {records}");
        }
    }
    if arguments_are_right(&arguments) {
        one_by_one(&arguments, &records, &text);
    }
}

fn body<'a>(request: &'a Request<'_>) -> &'a str {
    std::str::from_utf8(request.body()).expect("UTF-8")
}

fn can_be_shown(invalid: &InvalidRequest) {
    let message = invalid.to_string();
    assert!(!message.contains(char::is_control), "{message:?}");
    assert!(message.chars().count() < 200, "{message}");
    assert!(invalid.hint().ends_with('.'));
}

fn arguments_are_right(arguments: &Arguments<'_>) -> bool {
    let is_given = |id: Option<&str>| id.is_some_and(|id| !id.trim().is_empty());
    is_given(arguments.sync_id)
        && is_given(arguments.collection_id)
        && arguments.await_consumers.as_deref().is_none_or(|consumers| consumers.iter().all(Option::is_some))
        && arguments.timeout_ms.is_none_or(|ms| ms >= 0)
}

/// The records that the API must receive, each as JSON. `None` if the kind refuses them.
fn expected(kind: Kind, records: &str) -> Option<Vec<String>> {
    let all = if records.starts_with('[') { oracle::elements(records)? } else { vec![records] };
    let all: Option<Vec<String>> = all.into_iter().map(|record| one_expected(kind, record)).collect();
    all.filter(|all| !all.is_empty())
}

fn one_expected(kind: Kind, record: &str) -> Option<String> {
    let is_id = |value: &str| oracle::string(value).is_some_and(|id| !id.trim().is_empty());
    if kind == Kind::Delete && record.starts_with('"') {
        return is_id(record).then(|| record.to_owned());
    }
    let fields = oracle::fields(record)?;
    let (id, data) = (oracle::last(&fields, "upstream_id"), oracle::last(&fields, "data"));
    let names = usize::from(id.is_some()) + usize::from(data.is_some());
    let has_data = data.is_some_and(|data| data.starts_with('{'));
    let is_right = fields.len() == names
        && match kind {
            Kind::Create => id.is_none() && has_data,
            Kind::Update => id.is_some_and(is_id) && has_data,
            Kind::Delete => id.is_some_and(is_id) && data.is_none(),
        };
    match kind {
        _ if !is_right => None,
        Kind::Delete => id.map(str::to_owned),
        _ => Some(record.to_owned()),
    }
}

fn says_what_was_passed(request: &Request<'_>, arguments: &Arguments<'_>, records: &str) {
    let kind = request.kind();
    let fields = oracle::fields(body(request)).unwrap_or_else(|| panic!("not JSON: {}", body(request)));
    let text = |name| oracle::last(&fields, name).and_then(oracle::string);
    assert_eq!(text("kind").as_deref(), Some(kind.as_str()));
    assert_eq!(text("sync_id").as_deref(), arguments.sync_id);
    assert_eq!(text("collection_id").as_deref(), arguments.collection_id);
    let consumers = oracle::last(&fields, "await_consumer_ids").and_then(oracle::elements);
    let consumers: Option<Vec<_>> = consumers.map(|all| all.into_iter().map(oracle::string).collect());
    let passed = arguments.await_consumers.as_deref().filter(|consumers| !consumers.is_empty());
    assert_eq!(consumers, passed.map(|all| all.iter().map(|id| id.map(str::to_owned)).collect()));
    let timeout = oracle::last(&fields, "await_consumers_timeout").map(str::to_owned);
    assert_eq!(timeout, arguments.timeout_ms.map(|ms| ms.to_string()));
    assert_eq!(request.consumer_wait().is_some(), passed.is_some());

    let (name, other) = match kind {
        Kind::Delete => ("upstream_ids", "records"),
        _ => ("records", "upstream_ids"),
    };
    assert!(oracle::last(&fields, other).is_none());
    let sent = oracle::last(&fields, name).and_then(oracle::elements).expect("records");
    let expected = expected(kind, records).unwrap_or_else(|| panic!("accepted: {records}"));
    assert_eq!(sent, expected);
    assert_eq!(request.len(), expected.len());
    let optional = usize::from(consumers.is_some()) + usize::from(timeout.is_some());
    assert_eq!(fields.len(), 4 + optional, "{}", body(request));
}

/// Checks that the outbox splits accepted records correctly.
fn is_taken_apart(kind: Kind, records: &str, count: usize) {
    let apart = split_records(records);
    assert_eq!(apart.len(), count);
    for (RequestRecord { upstream_id, data }, whole) in apart.iter().zip(expected(kind, records).expect("accepted")) {
        let fields = oracle::fields(&whole).unwrap_or_default();
        let id = if kind == Kind::Delete { Some(whole.as_str()) } else { oracle::last(&fields, "upstream_id") };
        assert_eq!(*upstream_id, id.and_then(oracle::string));
        assert_eq!(*data, oracle::last(&fields, "data"));
    }
}

/// Checks the single-record verbs with this data and this id.
fn one_by_one(arguments: &Arguments<'_>, data: &str, id: &str) {
    let is_object = data.starts_with('{');
    let has_id = !id.trim().is_empty();
    let mut quoted = String::new();
    oracle::push_string(&mut quoted, id);
    let cases = [
        (Request::create_one(arguments, Some(data)), is_object, Kind::Create, format!("{{\"data\":{data}}}")),
        (
            Request::update_one(arguments, Some(id), Some(data)),
            is_object && has_id,
            Kind::Update,
            format!("{{\"upstream_id\":{quoted},\"data\":{data}}}"),
        ),
        (Request::delete_one(arguments, Some(id)), has_id, Kind::Delete, quoted.clone()),
    ];
    for (request, is_right, kind, expected) in cases {
        assert_eq!(request.is_ok(), is_right, "{request:?}");
        match request {
            Ok(request) => {
                let fields = oracle::fields(body(&request)).expect("JSON");
                let name = if kind == Kind::Delete { "upstream_ids" } else { "records" };
                let sent = oracle::last(&fields, name).expect("records");
                assert!(oracle::same(sent, &format!("[{expected}]"), oracle::same_string), "{sent} is not {expected}");
                assert_eq!((request.kind(), request.len()), (kind, 1));
            }
            Err(invalid) => can_be_shown(&invalid),
        }
    }
}
