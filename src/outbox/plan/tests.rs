//! The rules as tables; in [`history`] all of them together, against a remote API that is a map.
//!
//! A table writes changes and plans in short. Changes are numbered from 1 in the order they stand:
//! `key kind [upstream id] [@lane] [#attempts] [!]`, separated by semicolons, with `-` for no key, `!` for pinned and `x`
//! for refused.
//! A plan is its requests, separated by ` | `, then its endings: in `update 3+1+2, 5 | delete 7/6; cancelled 8 9`, 1 and 2
//! are merged into 3, and the delete 7 supersedes 6.

mod history;

use super::*;

const LIMITS: Limits = Limits { max_batch: 100, atomic_batches: true, one_record_a_request: false, requests: 100 };

fn lane(name: &str) -> Rc<Lane> {
    let (sync_id, collection_id) = ("sync".to_owned(), "salesforce:contact".to_owned());
    Rc::new(Lane { role: 10, sync_id, collection_id, await_consumers: Some(vec![name.to_owned()]), timeout_ms: None })
}

fn changes(text: &str) -> Vec<Change> {
    let texts = text.split(';').map(str::trim).filter(|text| !text.is_empty());
    texts.zip(1..).map(|(text, id)| change(id, text)).collect()
}

fn change(id: i64, text: &str) -> Change {
    let mut words = text.split(' ');
    let key = words.next().filter(|key| *key != "-").map(Rc::from);
    let kind: Kind = words.next().expect("a kind").parse().unwrap();
    let data = (kind != Kind::Delete).then(|| format!(r#"{{"last": {id}, "f{id}": {id}.10}}"#));
    let idempotency_key = format!("uuid-{id}");
    let (mut upstream_id, mut attempts, mut is_pinned, mut is_refused, mut lane_name) = (None, 0, false, false, "");
    for word in words {
        match word.split_at(1) {
            ("@", name) => lane_name = name,
            ("#", number) => attempts = number.parse().unwrap(),
            ("!", _) => is_pinned = true,
            ("x", "") => is_refused = true,
            _ => upstream_id = Some(word.to_owned()),
        }
    }
    Change { id, idempotency_key, lane: lane(lane_name), kind, key, upstream_id, data, attempts, is_pinned, is_refused }
}

fn written(plan: &Plan) -> String {
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
    let absorbed = operation.absorbed.iter().map(|absorbed| match absorbed.how {
        How::Merged => format!("+{}", absorbed.id),
        How::Superseded => format!("/{}", absorbed.id),
    });
    operation.id.to_string() + &absorbed.collect::<String>()
}

#[track_caller]
fn check(limits: &Limits, table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(written(&plan(changes(text), limits)), *expected, "{text}");
    }
}

fn only_operation(text: &str) -> Operation {
    let mut plan = plan(changes(text), &LIMITS);
    assert_eq!((plan.requests.len(), plan.requests[0].operations.len()), (1, 1), "{text}");
    plan.requests.remove(0).operations.remove(0)
}

#[test]
fn nothing_gives_nothing() {
    check(&LIMITS, &[("", "")]);
}

#[test]
fn what_follows_a_create() {
    check(
        &LIMITS,
        &[
            ("k create", "create 1"),
            ("k create; k update", "create 1+2"),
            ("k create; k update; k update", "create 1+2+3"),
            ("k create; k delete", "cancelled 1 2"),
            ("k create; k update; k update; k delete", "cancelled 1 2 3 4"),
            // As if nothing had been.
            ("k create; k delete; k create; k update", "create 3+4; cancelled 1 2"),
            ("k create; k delete; k create; k delete", "cancelled 1 2 3 4"),
            ("k create; k delete; k update; k delete", "cancelled 1 2; nothing 4; no-id 3"),
            ("k create; k delete; k update U", "update 3; cancelled 1 2"),
            ("k create; k delete; k delete U", "delete 3; cancelled 1 2"),
            // Of another record, it seems.
            ("k create; k update U", "create 1"),
            ("k create; k delete U", "create 1"),
            ("k create; k create", "create 1"),
            // What follows waits, even if it would fit.
            ("k create; k update U; k update; k delete", "create 1"),
            ("k create; k update; k create; k update; k delete", "create 1+2"),
            // Another lane.
            ("k create; k update @b", "create 1"),
            ("k create; k delete @b", "create 1"),
            ("k create; k update @b; k update; k delete", "create 1"),
            ("k create; k update; k delete @b", "create 1+2"),
        ],
    );
}

#[test]
fn what_was_refused_goes_only_with_a_later_change() {
    check(
        &LIMITS,
        &[
            ("k update U x", ""),
            ("k create x", ""),
            ("k update U x; k update U", "update 2+1"),
            ("k update U x; k update U x; k update", "update 3+1+2"),
            ("k create x; k update", "create 1+2"),
            ("k create x; k delete", "cancelled 1 2"),
            ("k update U x; k delete", "delete 2/1"),
            // What it cannot go with does not wait for it.
            ("k update U x; k update U @b", "update 2"),
            ("k update U x; k update U !", "update 2"),
            ("k update U x; k create; k update", "create 2+3"),
            ("k update U x; k update U @b x; k update U @b", "update 3+2"),
            ("k update U x; k update U @b x", ""),
            ("k delete U x; k create", "create 2"),
            // It was told once that nothing can be sent.
            ("k update x", ""),
            ("k update x; k update U", "update 2"),
        ],
    );
}

#[test]
fn a_pinned_create_goes_as_it_is() {
    check(
        &LIMITS,
        &[
            ("k create !", "create 1"),
            ("k create !; k update", "create 1"),
            ("k create !; k delete", "create 1"),
            ("k create !; k update; k delete; k create; k delete", "create 1"),
            ("k create; k delete; k create !; k delete", "create 3; cancelled 1 2"),
            // Any other kind too: this is how changes that were refused as one are sent one by one.
            ("k update U !; k update", "update 1"),
            ("k update U; k update !; k update", "update 1"),
            ("k update U; k delete !", "update 1"),
            ("k create; k update !; k delete", "create 1"),
        ],
    );
}

#[test]
fn what_follows_an_update() {
    check(
        &LIMITS,
        &[
            ("k update U", "update 1"),
            ("k update U; k update U", "update 2+1"),
            ("k update U; k update; k update U; k update", "update 4+1+2+3"),
            ("k update U; k delete", "delete 2/1"),
            ("k update U; k update; k delete U", "delete 3/1/2"),
            ("k update U; k create", "update 1"),
            ("k update U; k update V", "update 1"),
            ("k update U; k delete V", "update 1"),
            ("k update U; k update V; k update U; k delete U", "update 1"),
            ("k update U; k update @b", "update 1"),
            ("k update U; k delete @b", "update 1"),
            ("k update U; k update @b; k update U; k delete U", "update 1"),
        ],
    );
}

#[test]
fn everything_waits_for_a_delete() {
    check(
        &LIMITS,
        &[
            ("k delete U", "delete 1"),
            ("k delete U; k update U", "delete 1"),
            ("k delete U; k update", "delete 1"),
            ("k delete U; k delete U", "delete 1"),
            ("k delete U; k create; k update; k delete", "delete 1"),
            ("k update U; k delete; k delete", "delete 2/1"),
            ("k update U; k delete; k update; k create", "delete 2/1"),
        ],
    );
}

#[test]
fn what_is_of_no_record_ends() {
    check(
        &LIMITS,
        &[
            ("k update", "no-id 1"),
            ("k delete", "nothing 1"),
            ("k update; k update; k delete; k update", "nothing 3; no-id 1 2 4"),
            ("k update; k update U; k update", "update 3+2; no-id 1"),
            ("k delete; k create; k update", "create 2+3; nothing 1"),
            ("- update; - delete", "nothing 2; no-id 1"),
        ],
    );
}

#[test]
fn endings_are_by_id() {
    let plan = plan(changes("a create; b update; c delete; a delete"), &LIMITS);
    assert_eq!(plan.endings.iter().map(|ending| ending.id).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(plan.requests, []);
}

#[test]
fn a_blank_upstream_id_is_none() {
    for blank in ["", " ", "\t\n"] {
        let mut given = changes("k update; k create; k update; l delete; m update M; m delete");
        given.iter_mut().for_each(|change| {
            change.upstream_id.get_or_insert_with(|| blank.to_owned());
        });
        let plan = plan(given, &LIMITS);
        assert_eq!(written(&plan), "create 2+3 | delete 6/5; nothing 4; no-id 1", "{blank:?}");
        assert_eq!(plan.requests[0].operations[0].upstream_id, None);
        assert_eq!(plan.requests[1].operations[0].upstream_id.as_deref(), Some("M"));
    }
}

#[test]
fn without_a_key_each_is_by_itself() {
    check(
        &LIMITS,
        &[
            ("- create; - create", "create 1, 2"),
            ("- create; - update; - delete", "create 1; nothing 3; no-id 2"),
            ("- update U; - update V; - delete W", "update 1, 2 | delete 3"),
        ],
    );
}

#[test]
fn keys_do_not_wait_for_each_other() {
    check(
        &LIMITS,
        &[
            ("a update A; b update B; a update A; b delete; c create", "create 5 | update 3+1 | delete 4/2"),
            ("a update A; a create; b update B; a update; b update", "update 1, 5+3"),
        ],
    );
}

#[test]
fn a_create_keeps_its_identity_and_the_others_take_the_newest() {
    let create = only_operation("k create #1; k update #2; k update");
    assert_eq!((create.id, create.idempotency_key.as_str(), create.attempts), (1, "uuid-1", 2));
    assert_eq!(create.key.as_deref(), Some("k"));
    assert_eq!(create.upstream_id, None);
    assert_eq!(create.data.as_deref(), Some(r#"{"f1":1.10,"f2":2.10,"f3":3.10,"last":3}"#));

    let update = only_operation("k update U #3; k update #1");
    assert_eq!((update.id, update.idempotency_key.as_str(), update.attempts), (2, "uuid-2", 3));
    assert_eq!(update.upstream_id.as_deref(), Some("U"));
    assert_eq!(update.data.as_deref(), Some(r#"{"f1":1.10,"f2":2.10,"last":2}"#));

    let delete = only_operation("k update U; k delete #4");
    assert_eq!((delete.id, delete.idempotency_key.as_str(), delete.attempts), (2, "uuid-2", 4));
    assert_eq!(delete.upstream_id.as_deref(), Some("U"));
    assert_eq!(delete.data, None);
}

#[test]
fn what_is_not_merged_passes_byte_for_byte() {
    for data in ["{ \"x\" : 1.10 }", "{\"x\":1,\"x\":2}", "not even JSON"] {
        let mut given = changes("k update U");
        given[0].data = Some(data.to_owned());
        assert_eq!(plan(given, &LIMITS).requests[0].operations[0].data.as_deref(), Some(data));
    }
}

#[test]
fn what_is_claimed_is_all_that_is_sent_or_part_of_it() {
    let plan =
        plan(changes("a create; a update; b update B; b delete; c update; a create; d create; d delete"), &LIMITS);
    assert_eq!(plan.claimed().collect::<Vec<_>>(), [1, 2, 4, 3]);
    assert_eq!(plan.requests[0].ids().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(plan.requests[1].operations[0].ids().collect::<Vec<_>>(), [4, 3]);
}

#[test]
fn requests_are_of_one_lane_and_kind() {
    check(
        &LIMITS,
        &[
            (
                "a update A; b update B @b; c update C; d delete D; e update E @b",
                "update 1, 3 | update 2, 5 | delete 4",
            ),
            ("a delete A; b update B; c create; d create", "create 3, 4 | delete 1 | update 2"),
        ],
    );
    let base = Lane { await_consumers: None, ..(*lane("")).clone() };
    let others = [
        Lane { role: 11, ..base.clone() },
        Lane { sync_id: "other".to_owned(), ..base.clone() },
        Lane { collection_id: "stripe:customer".to_owned(), ..base.clone() },
        Lane { await_consumers: Some(vec![]), ..base.clone() },
        Lane { timeout_ms: Some(1), ..base.clone() },
    ];
    for other in others {
        let mut given = changes("a update A; b update B; c update C");
        given[0].lane = Rc::new(base.clone());
        given[1].lane = Rc::new(other.clone());
        // An equal lane need not be the same one.
        given[2].lane = Rc::new(base.clone());
        assert_eq!(written(&plan(given, &LIMITS)), "update 1, 3 | update 2", "{other:?}");
    }
}

#[test]
fn requests_have_their_limits() {
    let text = "a update A; b update B; c update C; d delete D; e update E; f update F";
    check(&Limits { max_batch: 2, ..LIMITS }, &[(text, "update 1, 2 | update 3, 5 | delete 4 | update 6")]);
    check(&Limits { max_batch: 2, requests: 2, ..LIMITS }, &[(text, "update 1, 2 | update 3, 5")]);
    check(&Limits { max_batch: 2, requests: 1, ..LIMITS }, &[(text, "update 1, 2")]);
    check(&Limits { requests: 1, ..LIMITS }, &[(text, "update 1, 2, 3, 5, 6")]);
    check(&Limits { requests: 0, ..LIMITS }, &[(text, ""), ("a create; a delete; b update", "cancelled 1 2; no-id 3")]);
    let each = "update 1 | update 2 | update 3 | delete 4 | update 5 | update 6";
    check(&Limits { max_batch: 1, ..LIMITS }, &[(text, each)]);
    check(&Limits { max_batch: 0, ..LIMITS }, &[(text, each)]);
    check(&Limits { one_record_a_request: true, ..LIMITS }, &[(text, each)]);
}

#[test]
fn the_oldest_operation_is_first() {
    let limits = Limits { requests: 1, ..LIMITS };
    check(
        &limits,
        &[
            ("a update A; b update B @b; c create", "update 1"),
            ("a update A @b; b update B; c update C", "update 1"),
            ("a create; b update B; c create", "create 1, 3"),
            // The age of an operation is that of its first change, unless that cancelled out.
            ("a update A; b update B @b; a update A", "update 3+1"),
            ("a create; a delete; b update B; a update A @b", "update 3; cancelled 1 2"),
        ],
    );
}

#[test]
fn creates_are_in_one_request_and_that_is_first() {
    let text = "a update A; b create; c create; d create @b; e create; f create !; g delete G";
    check(&LIMITS, &[(text, "create 2, 3, 5 | update 1 | delete 7")]);
    check(&Limits { max_batch: 2, ..LIMITS }, &[(text, "create 2, 3 | update 1 | delete 7")]);
    let alone = "create 2 | update 1 | delete 7";
    check(&Limits { atomic_batches: false, ..LIMITS }, &[(text, alone)]);
    check(&Limits { one_record_a_request: true, ..LIMITS }, &[(text, alone)]);
    check(
        &LIMITS,
        &[("a create !; b create; c create !", "create 1"), ("a create; b create !; c create", "create 1, 3")],
    );
    // It counts as a request.
    check(&Limits { requests: 2, ..LIMITS }, &[(text, "create 2, 3, 5 | update 1")]);
}

#[test]
fn each_attempt_halves_a_request() {
    let limits = Limits { max_batch: 4, ..LIMITS };
    let four = |attempts: &str| ["A", "B", "C", "D"].map(|id| format!("{id} update {id} {attempts}")).join("; ");
    for (attempts, expected) in [
        ("#0", "update 1, 2, 3, 4"),
        ("#1", "update 1, 2 | update 3, 4"),
        ("#2", "update 1 | update 2 | update 3 | update 4"),
        ("#3", "update 1 | update 2 | update 3 | update 4"),
        ("#64", "update 1 | update 2 | update 3 | update 4"),
        ("#4294967295", "update 1 | update 2 | update 3 | update 4"),
    ] {
        check(&limits, &[(four(attempts).as_str(), expected)]);
        let (deletes, of_deletes) = (four(attempts).replace("update", "delete"), expected.replace("update", "delete"));
        check(&limits, &[(deletes.as_str(), of_deletes.as_str())]);
    }
    check(
        &limits,
        &[("a create #1; b create #1; c create #1", "create 1, 2"), ("a create #2; b create #2", "create 1")],
    );
}

#[test]
fn those_that_failed_are_not_with_the_fresh() {
    check(
        &LIMITS,
        &[
            (
                "a update A; b update B #1; c update C; d update D #2; e update E #1",
                "update 1, 3 | update 2, 5 | update 4",
            ),
            ("a update A; a update A #1; b update B; c update C #1", "update 2+1, 4 | update 3"),
            ("a create #1; b create", "create 1"),
        ],
    );
}

#[test]
fn one_record_is_once_in_a_plan() {
    check(
        &LIMITS,
        &[
            ("a update U; b update U; c update V", "update 1, 3"),
            ("- update U; - update U; - delete U", "update 1"),
            ("a update U; b delete U", "update 1"),
            ("a update U; b update U @b", "update 1"),
            ("a update U; b update U #1", "update 1"),
        ],
    );
    // Not even when the first of them finds no place.
    let limits = Limits { requests: 1, ..LIMITS };
    check(&limits, &[("a update A; b update U @b; c update U; d update D", "update 1, 4")]);
    // An id says nothing outside its collection and sync.
    let mut given = changes("a update U; b update U; c update U");
    given[1].lane = Rc::new(Lane { collection_id: "stripe:customer".to_owned(), ..(*lane("")).clone() });
    given[2].lane = Rc::new(Lane { sync_id: "other".to_owned(), ..(*lane("")).clone() });
    assert_eq!(written(&plan(given, &LIMITS)), "update 1 | update 2 | update 3");
}

#[test]
fn many_changes_of_one_key_are_read_once() {
    // Merged one by one, these would read a billion fields.
    let mut given = vec![change(1, "k update U")];
    given.extend((2..=50_000).map(|id| change(id, "k update")));
    let plan = plan(given, &LIMITS);
    let operation = &plan.requests[0].operations[0];
    assert_eq!((operation.id, operation.absorbed.len()), (50_000, 49_999));
    assert!(operation.data.as_ref().is_some_and(|data| data.ends_with(r#""last":50000}"#)));
}
