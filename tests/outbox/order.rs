//! Records with the same ordering key stay in order, and waiting records are merged.

use serde_json::json;

use super::BOOK;
use crate::support::{Session, World, request};

#[test]
fn updates_of_one_key_keep_their_order_and_merge_while_they_wait() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.hold_next();
    let first = world.enqueue_update(&id, &json!({"n": 1, "a": 1}));
    world.arrived(1);
    let rest: Vec<i64> = [json!({"n": 2}), json!({"n": 3, "b": null}), json!({"m": 4}), json!({"n": 5})]
        .iter()
        .map(|data| world.enqueue_update(&id, data))
        .collect();
    world.release();
    world.settled();
    assert_eq!(
        world.requests(),
        [
            request("update", json!([{"upstream_id": id, "data": {"n": 1, "a": 1}}])),
            request("update", json!([{"upstream_id": id, "data": {"n": 5, "b": null, "m": 4}}])),
        ]
    );
    let rows = world.rows("SELECT id, merged_ids, outcome, data::text FROM sequin.delivered ORDER BY id", &[]);
    let merged: Vec<(i64, Option<Vec<i64>>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(merged, [(first, None), (rest[3], Some(rest[..3].to_vec()))]);
    assert!(rows.iter().all(|row| row.get::<_, &str>(2) == "applied"));
    assert_eq!(rows[1].get::<_, &str>(3), r#"{"b": null, "m": 4, "n": 5}"#);
}

#[test]
fn a_delete_supersedes_the_updates_that_wait_before_it() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.hold_next();
    world.enqueue_update(&id, &json!({"n": 1}));
    world.arrived(1);
    world.enqueue_update(&id, &json!({"n": 2}));
    world.enqueue_update(&id, &json!({"n": 3}));
    world.enqueue("delete", &json!([id]));
    world.release();
    world.settled();
    let [first, second] = &world.requests()[..] else { panic!("not two requests") };
    assert_eq!((&first.0[..], second), ("update", &request("delete", json!([id]))));
    assert_eq!(world.endings(), ["applied"; 4]);
    assert_eq!(world.contact_count(), 0);
}

/// Statements, the requests that they cause, and the outcomes of their records.
type Case = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static [&'static str]);

/// Nothing was sent yet when all of it is there, so nothing of a row that came and went is ever sent.
#[test]
fn what_happens_to_a_row_before_it_is_sent_is_one_request_or_none() {
    let cases: [Case; 6] = [
        (
            &[
                "INSERT INTO people VALUES (1, 'Paul')",
                "UPDATE people SET name = 'Usul'",
                "UPDATE people SET email = 'u@a.org'",
            ],
            &[("create", r#"[{"data": {"Name": "Usul", "Email": "u@a.org"}}]"#)],
            &["applied", "applied", "applied"],
        ),
        (&["INSERT INTO people VALUES (1, 'Paul')", "DELETE FROM people"], &[], &["cancelled_out"; 2]),
        (
            &["INSERT INTO people VALUES (1, 'Paul')", "UPDATE people SET name = 'Usul'", "DELETE FROM people"],
            &[],
            &["cancelled_out"; 3],
        ),
        (
            &[
                "INSERT INTO people VALUES (1, 'Paul')",
                "DELETE FROM people",
                "INSERT INTO people VALUES (1, 'Chani')",
                "UPDATE people SET name = 'Sihaya'",
            ],
            &[("create", r#"[{"data": {"Name": "Sihaya", "Email": null}}]"#)],
            &["cancelled_out", "cancelled_out", "applied", "applied"],
        ),
        (
            &[
                "SET sequin.capture = off",
                "INSERT INTO people VALUES (1, 'Local')",
                "SET sequin.capture = on",
                "DELETE FROM people",
            ],
            &[],
            &["nothing_to_send"],
        ),
        (
            &["INSERT INTO people VALUES (1, 'Paul'); UPDATE people SET note = 'n', name = name"],
            &[("create", r#"[{"data": {"Name": "Paul", "Email": null}}]"#)],
            &["applied"],
        ),
    ];
    let mut world = World::new();
    world.run(BOOK);
    for (statements, requests, endings) in cases {
        world.run("SELECT sequin_pause('sequin')");
        for sql in statements {
            world.run(sql);
        }
        assert_eq!(world.sent(), 0);
        world.run("SELECT sequin_resume('sequin')");
        world.settled();
        let expected: Vec<_> =
            requests.iter().map(|(kind, records)| request(kind, serde_json::from_str(records).unwrap())).collect();
        assert_eq!(world.requests(), expected, "{statements:?}");
        assert_eq!(world.endings(), endings, "{statements:?}");
        world.until("SELECT NOT EXISTS (SELECT FROM sequin.pending_upstream_ids)");
        world.run("SET sequin.capture = off; DELETE FROM people; SET sequin.capture = on; DELETE FROM sequin.history");
    }
}

#[test]
fn creates_with_an_ordering_key_go_one_after_the_other() {
    let mut world = World::with_options("atomic_batches 'true'");
    world.run("SELECT sequin_pause('sequin')");
    for n in 1..=3 {
        world.run(&format!(
            "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{{\"data\":{{\"n\":{n}}}}}', ordering_key => 'k')"
        ));
    }
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    let expected: Vec<_> = (1..=3).map(|n| request("create", json!([{"data": {"n": n}}]))).collect();
    assert_eq!(world.requests(), expected);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.delivered WHERE ordering_key = 'k'"), 3);
}

/// The same key orders changes of different records, which cannot merge.
#[test]
fn an_ordering_key_orders_different_records() {
    let mut world = World::new();
    let ids = world.contacts_made(2);
    world.run("SELECT sequin_pause('sequin')");
    let update = |id: &str, n: i32| {
        format!(
            "SELECT sequin_enqueue('update', 'sync', 'salesforce:contact',
             '{{\"upstream_id\":\"{id}\",\"data\":{{\"n\":{n}}}}}', ordering_key => 'k')"
        )
    };
    for (place, n) in [(0, 1), (1, 2), (0, 3), (0, 4)] {
        world.run(&update(&ids[place], n));
    }
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    let one = |place: usize, n: i32| request("update", json!([{"upstream_id": ids[place], "data": {"n": n}}]));
    assert_eq!(world.requests(), [one(0, 1), one(1, 2), one(0, 4)]);
}

#[test]
fn a_collection_with_spaces_in_its_name_keeps_the_order_of_its_keys() {
    let mut world = World::new();
    world.sandbox.fault(json!({"match": {"collection_id": "my crm:0 deals"}, "cut_after": 0}));
    world.run(
        "SELECT sequin_enqueue('create', 'sync', 'my crm:0 deals', '[{\"data\": {\"n\": 1}}]', ordering_key => 'a 0 key');
         SELECT sequin_enqueue('create', 'sync', 'my crm:0 deals', '[{\"data\": {\"n\": 2}}]', ordering_key => 'a 0 key');
         SELECT sequin_enqueue('create', 'sync', 'my crm:0 deals 0 a', '[{\"data\": {\"n\": 3}}]', ordering_key => 'key')",
    );
    // The first one is unknown, and the second one waits for it; the other collection's key is another one.
    world.until("SELECT count(*) = 1 FROM sequin.delivered WHERE data->>'n' = '3'");
    world.until("SELECT count(*) = 1 FROM sequin.outbox WHERE state = 'unknown' AND data->>'n' = '1'");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE state = 'pending' AND data->>'n' = '2'"), 1);
    world.run("SELECT sequin_discard(id) FROM sequin.dead_letters");
    world.settled();
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.delivered WHERE outcome = 'applied'"), 2);
}

#[test]
fn a_hundred_changes_of_one_record_end_as_the_last_one() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    for n in 1..=100 {
        world.enqueue_update(&id, &json!({"n": n}));
    }
    world.settled();
    let sent: Vec<i64> =
        world.requests().iter().map(|(_, records)| records[0]["data"]["n"].as_i64().unwrap()).collect();
    assert!(sent.is_sorted() && sent.last() == Some(&100), "{sent:?}");
    assert_eq!(world.contact()["n"], 100);
    assert_eq!(world.endings(), vec!["applied"; 100]);
}

#[test]
fn keys_travel_together_and_do_not_wait_for_each_other() {
    let mut world = World::new();
    let ids = world.contacts_made(3);
    world.run("SELECT sequin_pause('sequin')");
    for round in 1..=2 {
        for id in &ids {
            world.enqueue_update(id, &json!({"n": round}));
        }
    }
    world.enqueue("delete", &json!([ids[2]]));
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    let both = json!([{"upstream_id": ids[0], "data": {"n": 2}}, {"upstream_id": ids[1], "data": {"n": 2}}]);
    // Both are in flight at once: either may arrive first.
    let mut requests = world.requests();
    requests.sort_by_key(|(kind, _)| kind.clone());
    assert_eq!(requests, [request("delete", json!([ids[2]])), request("update", both)]);
}

/// Each role's credentials are its own, so their changes cannot share a request; the order holds all the same.
#[test]
fn the_order_of_a_key_holds_across_roles() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    let role = format!("other_{}", world.database.name());
    world.run(&format!(
        "CREATE ROLE {role}; GRANT USAGE ON FOREIGN SERVER sequin TO {role};
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role}; SELECT sequin_pause('sequin')"
    ));
    for n in 1..=6 {
        world.run(if n % 3 == 0 { "RESET ROLE".to_owned() } else { format!("SET ROLE {role}") }.as_str());
        world.enqueue_update(&id, &json!({"n": n}));
    }
    world.run("RESET ROLE; SELECT sequin_resume('sequin')");
    world.settled();
    let sent: Vec<_> = world.requests().iter().map(|(_, records)| records[0]["data"]["n"].clone()).collect();
    assert_eq!(sent, [2, 3, 5, 6]);
    world.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// One that stands still must not hold up another: they may be different companies.
#[test]
fn a_server_that_hangs_does_not_hold_up_another() {
    let mut world = World::new();
    let other = sequin_harness::Sandbox::start();
    world.database.create_server_named("other", other.url(), other.token());
    world.sandbox.fault(json!({"stall": "reply"}));
    world.run("SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{}}', server => 'sequin')");
    world.arrived(1);
    world.run("SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{}}', server => 'other')");
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered WHERE server = 'other')");
    assert_eq!(world.one::<String>("SELECT state FROM sequin.outbox WHERE server = 'sequin'"), "sending");
    world.sandbox.clear_faults();
    world.settled();
}

#[test]
fn a_failing_key_delays_no_other() {
    let mut world = World::new();
    let ids = world.contacts_made(5);
    world.sandbox.fault(json!({"times": null, "match": {"body_contains": ids[2]}, "status": 500, "apply": false}));
    let update_all = |world: &mut World, n: i32| {
        let records: Vec<_> = ids.iter().map(|id| json!({"upstream_id": id, "data": {"n": n}})).collect();
        world.enqueue("update", &json!(records));
    };
    update_all(&mut world, 1);
    world.until("SELECT count(*) = 4 FROM sequin.delivered");
    let failing = "SELECT COALESCE(array_agg(upstream_id), '{}') FROM sequin.outbox WHERE attempts > 0";
    world.until(&format!("SELECT ({failing}) = '{{{}}}'", ids[2]));
    // And later ones neither, while it keeps failing.
    for round in 2..=4 {
        update_all(&mut world, round);
        world.until(&format!("SELECT count(*) = {} FROM sequin.delivered", 4 * round));
    }
    world.sandbox.clear_faults();
    world.settled();
    let records = world.sandbox.records("salesforce:contact");
    assert!(records.iter().all(|record| record["data"]["n"] == 4));
}
