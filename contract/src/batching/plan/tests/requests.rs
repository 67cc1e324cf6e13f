//! Operations that share a request, and operations that wait.

use super::*;

#[test]
fn requests_are_of_one_lane_and_kind() {
    check(
        &LIMITS,
        &[
            (
                "a update A; b update B @b; c update C; d delete D; e update E @b",
                "update 1, 3 | update 2, 5 | delete 4",
            ),
            ("a delete A; b update B; c create; d create", "delete 1 | update 2 | create 3, 4"),
        ],
    );
    let base = BatchKey { await_consumers: None, ..(*batch_key("")).clone() };
    let others = [
        BatchKey { role: 11, ..base.clone() },
        BatchKey { sync_id: "other".to_owned(), ..base.clone() },
        BatchKey { collection_id: "stripe:customer".to_owned(), ..base.clone() },
        BatchKey { await_consumers: Some(vec![]), ..base.clone() },
        BatchKey { timeout_ms: Some(1), ..base.clone() },
    ];
    for other in others {
        let mut given = changes("a update A; b update B; c update C");
        given[0].batch_key = Rc::new(base.clone());
        given[1].batch_key = Rc::new(other.clone());
        // An equal batch key in another allocation.
        given[2].batch_key = Rc::new(base.clone());
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
            // An operation is as old as its first change that did not cancel out.
            ("a update A; b update B @b; a update A", "update 3+1"),
            ("a create; a delete; b update B; a update A @b", "update 3; cancelled 1 2"),
        ],
    );
}

#[test]
fn creates_share_requests_only_where_they_may() {
    let text = "a update A; b create; c create; d create @b; e create; f create !; g delete G";
    check(&LIMITS, &[(text, "update 1 | create 2, 3, 5 | create 4 | create 6 | delete 7")]);
    let two = Limits { max_batch: 2, ..LIMITS };
    check(&two, &[(text, "update 1 | create 2, 3 | create 4 | create 5 | create 6 | delete 7")]);
    let alone = "update 1 | create 2 | create 3 | create 4 | create 5 | create 6 | delete 7";
    check(&Limits { creates_share: false, ..LIMITS }, &[(text, alone)]);
    check(&Limits { one_record_a_request: true, ..LIMITS }, &[(text, alone)]);
    check(
        &LIMITS,
        &[
            ("a create !; b create; c create !", "create 1 | create 2 | create 3"),
            ("a create; b create !; c create", "create 1, 3 | create 2"),
        ],
    );
    // Requests of creates count towards the limit.
    check(&Limits { requests: 2, ..LIMITS }, &[(text, "update 1 | create 2, 3, 5")]);
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
        &[
            ("a create #1; b create #1; c create #1", "create 1, 2 | create 3"),
            ("a create #2; b create #2", "create 1 | create 2"),
        ],
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
            ("a create #1; b create", "create 1 | create 2"),
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
    // Even if the first of them waits.
    let limits = Limits { requests: 1, ..LIMITS };
    check(&limits, &[("a update A; b update U @b; c update U; d update D", "update 1, 4")]);
    // An upstream id is unique only within its collection and sync.
    let mut given = changes("a update U; b update U; c update U");
    given[1].batch_key = Rc::new(BatchKey { collection_id: "stripe:customer".to_owned(), ..(*batch_key("")).clone() });
    given[2].batch_key = Rc::new(BatchKey { sync_id: "other".to_owned(), ..(*batch_key("")).clone() });
    assert_eq!(written(&plan(given, &LIMITS)), "update 1 | update 2 | update 3");
}

#[test]
fn many_changes_of_one_key_are_read_once() {
    // A merge of each with the next would read a billion fields.
    let mut given = vec![change(1, "k update U")];
    given.extend((2..=50_000).map(|id| change(id, "k update")));
    let plan = plan(given, &LIMITS);
    let operation = &plan.requests[0].operations[0];
    assert_eq!((operation.id, operation.merged.len()), (50_000, 49_999));
    assert!(operation.data.as_ref().is_some_and(|data| data.ends_with(r#""last":50000}"#)));
}
