//! Changes that share an ordering key.

use super::*;

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
            // After a cancelled create the key starts anew.
            ("k create; k delete; k create; k update", "create 3+4; cancelled 1 2"),
            ("k create; k delete; k create; k delete", "cancelled 1 2 3 4"),
            ("k create; k delete; k update; k delete", "cancelled 1 2; nothing 4; no-id 3"),
            ("k create; k delete; k update U", "update 3; cancelled 1 2"),
            ("k create; k delete; k delete U", "delete 3; cancelled 1 2"),
            // With another upstream id.
            ("k create; k update U", "create 1"),
            ("k create; k delete U", "create 1"),
            ("k create; k create", "create 1"),
            // Later changes wait too, even if they would fit.
            ("k create; k update U; k update; k delete", "create 1"),
            ("k create; k update; k create; k update; k delete", "create 1+2"),
            // With another batch key.
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
            // A change that cannot be merged with it does not wait.
            ("k update U x; k update U @b", "update 2"),
            ("k update U x; k update U !", "update 2"),
            ("k update U x; k create; k update", "create 2+3"),
            ("k update U x; k update U @b x; k update U @b", "update 3+2"),
            ("k update U x; k update U @b x", ""),
            ("k delete U x; k create", "create 2"),
            // The refused change has ended once already.
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
            // So changes that were refused together are sent one by one.
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
            ("a update A; b update B; a update A; b delete; c create", "update 3+1 | delete 4/2 | create 5"),
            ("a update A; a create; b update B; a update; b update", "update 1, 5+3"),
        ],
    );
}

#[test]
fn a_create_keeps_its_identity_and_the_others_take_the_newest() {
    let create = only_operation("k create #1; k update #2; k update");
    assert_eq!((create.id, create.idempotency_key.as_str(), create.attempts), (1, "uuid-1", 2));
    assert_eq!(create.ordering_key, Some(notation::ordering_key("k")));
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
