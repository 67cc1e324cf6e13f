//! A short notation for changes and plans. Changes are numbered from 1:
//! `key kind [upstream id] [@batch_key] [#attempts] [!]`, separated by semicolons, with `-` for no ordering
//! key, `!` for resend_verbatim and `x` for refused.
//! A plan is its requests, separated by ` | `, then its endings: in `update 3+1+2, 5 | delete 7/6; cancelled 8 9`, 1 and 2
//! are merged into 3, and the delete 7 supersedes 6.

use super::*;

pub const LIMITS: Limits = Limits { max_batch: 100, creates_share: true, one_record_a_request: false, requests: 100 };

pub fn batch_key(name: &str) -> Rc<BatchKey> {
    let (sync_id, collection_id) = ("sync".to_owned(), "salesforce:contact".to_owned());
    Rc::new(BatchKey {
        role: 10,
        sync_id,
        collection_id,
        await_consumers: Some(vec![name.to_owned()]),
        timeout_ms: None,
    })
}

/// A key of the collection of [`batch_key`].
pub fn ordering_key(text: &str) -> Rc<OrderingKey> {
    OrderingKey::new("salesforce:contact", None, text)
}

pub fn changes(text: &str) -> Vec<Change> {
    let texts = text.split(';').map(str::trim).filter(|text| !text.is_empty());
    texts.zip(1..).map(|(text, id)| change(id, text)).collect()
}

pub fn change(id: i64, text: &str) -> Change {
    let mut words = text.split(' ');
    let ordering_key = words.next().filter(|key| *key != "-").map(ordering_key);
    let kind: Kind = words.next().expect("a kind").parse().unwrap();
    let data = (kind != Kind::Delete).then(|| format!(r#"{{"last": {id}, "f{id}": {id}.10}}"#));
    let idempotency_key = format!("uuid-{id}");
    let (mut upstream_id, mut attempts, mut resend_verbatim, mut is_refused, mut lane_name) =
        (None, 0, false, false, "");
    for word in words {
        match word.split_at(1) {
            ("@", name) => lane_name = name,
            ("#", number) => attempts = number.parse().unwrap(),
            ("!", _) => resend_verbatim = true,
            ("x", "") => is_refused = true,
            _ => upstream_id = Some(word.to_owned()),
        }
    }
    Change {
        id,
        idempotency_key,
        batch_key: batch_key(lane_name),
        kind,
        ordering_key,
        upstream_id,
        data,
        attempts,
        resend_verbatim,
        is_refused,
    }
}

pub fn written(plan: &Plan) -> String {
    let requests: Vec<String> = plan.requests.iter().map(written_request).collect();
    let mut text = requests.join(" | ");
    for (end, word) in [(End::CancelledOut, "cancelled"), (End::NothingToSend, "nothing"), (End::NoUpstreamId, "no-id")]
    {
        let ids: Vec<String> = plan.endings.iter().filter(|e| e.end == end).map(|e| e.id.to_string()).collect();
        if !ids.is_empty() {
            text.push_str(&format!("; {word} {}", ids.join(" ")));
        }
    }
    text.trim_start_matches("; ").to_owned()
}

fn written_request(request: &Planned) -> String {
    let operations: Vec<String> = request.operations.iter().map(written_operation).collect();
    format!("{} {}", request.kind, operations.join(", "))
}

fn written_operation(operation: &Operation) -> String {
    let sign = if operation.data.is_some() { '+' } else { '/' };
    let merged = operation.merged.iter().map(|id| format!("{sign}{id}"));
    operation.id.to_string() + &merged.collect::<String>()
}

#[track_caller]
pub fn check(limits: &Limits, table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(written(&plan(changes(text), limits)), *expected, "{text}");
    }
}

pub fn only_operation(text: &str) -> Operation {
    let mut plan = plan(changes(text), &LIMITS);
    assert_eq!((plan.requests.len(), plan.requests[0].operations.len()), (1, 1), "{text}");
    plan.requests.remove(0).operations.remove(0)
}
