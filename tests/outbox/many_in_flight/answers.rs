//! What one answer of many does: a limit, a pause, a broken reply, a wait for consumers.

use std::collections::HashSet;
use std::ops::Range;

use serde_json::{Value, json};

use super::outcomes;
use crate::support::{Session, World};

#[test]
fn a_pause_lets_those_in_flight_end_and_begins_no_other() {
    let mut world = World::with_window(16);
    world.hold_contacts();
    let ids = world.enqueue_creates(40);
    world.full(16);
    world.run("SELECT sequin_pause('sequin')");
    world.sandbox.clear_faults();
    world.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state = 'sending')");
    world.another_round();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 16), ("pending", 24)]));
    assert_eq!(world.creates_by_number().len(), 16);
    world.hold_contacts();
    world.run("SELECT sequin_resume('sequin')");
    world.full(16);
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 40)]));
    world.assert_created_once(40);
}

/// All in flight are answered with 429. The server rests for as long as the longest of the answers says.
#[test]
fn a_limit_of_requests_rests_the_server_and_costs_no_attempt() {
    let mut world = World::with_window(16);
    let limited = json!({"times": 16, "hold": true, "status": 429, "headers": {"retry-after": "4"},
                         "match": {"collection_id": "salesforce:contact"}});
    world.sandbox.fault(limited);
    let ids = world.enqueue_creates(40);
    world.full(16);
    world.sandbox.clear_faults();
    world.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state = 'sending')");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE attempts = 0"), 40);
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 40)]));
    assert_eq!(world.contact_count(), 40);
    let log = world.sandbox.log();
    let contacts: Vec<_> = log.mutations().into_iter().filter(|r| r.body.contains(":contact")).collect();
    let (limited, later) = contacts.split_at(16);
    assert!(limited.iter().all(|request| request.status == Some(429)));
    let first_answer = limited.iter().filter_map(|request| request.answered_us).min().unwrap();
    for request in later {
        assert!(request.at_us - first_answer >= 3_900_000, "{} us after the answer", request.at_us - first_answer);
    }
}

/// The other requests are answered well, later than the limit was.
#[test]
fn one_limit_rests_the_server_though_the_others_in_flight_are_answered() {
    let mut world = World::with_window(16);
    let limited = json!({"status": 429, "headers": {"retry-after": "4"}, "match": {"body_contains": "\"n\":0}"}});
    world.sandbox.fault(limited);
    world.hold_contacts();
    let creates = |numbers: Range<i32>| json!(numbers.map(|n| json!({"data": {"n": n}})).collect::<Vec<_>>());
    let mut ids = world.enqueue("create", &creates(1..16));
    world.full(15);
    ids.extend(world.enqueue("create", &creates(0..1)));
    world.until("SELECT EXISTS (SELECT FROM sequin.server_backoff WHERE scope = 'server')");
    ids.extend(world.enqueue("create", &creates(16..40)));
    world.another_round();
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 40)]));
    assert_eq!(world.contact_count(), 40);
    let log = world.sandbox.log();
    let limited = log.mutations().iter().find_map(|r| (r.status == Some(429)).then_some(r.answered_us?)).unwrap();
    let contacts = log.mutations().into_iter().filter(|r| r.body.contains(":contact"));
    let later: Vec<u64> = contacts.map(|r| r.at_us).filter(|at| *at > limited).collect();
    assert_eq!(later.len(), 25, "those that were not in flight, and the one that was limited");
    for at in later {
        assert!(at - limited >= 3_900_000, "{} us after the answer", at - limited);
    }
}

/// A load balancer that answers one request of many with its own page.
#[test]
fn a_page_instead_of_one_reply_pauses_the_server_and_leaves_the_others_alone() {
    let mut world = World::with_window(16);
    world
        .sandbox
        .fault(json!({"hold": true, "status": 200, "headers": {"content-type": "text/html"}, "body": "<html>",
                               "apply": false, "match": {"body_contains": "\"n\":7}"}}));
    world.hold_contacts();
    let ids = world.enqueue_creates(40);
    world.full(16);
    world.sandbox.clear_faults();
    world.until("SELECT paused FROM sequin.status WHERE server = 'sequin'");
    world.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state = 'sending')");
    world.another_round();
    let tally = world.tally(&ids);
    assert_eq!(tally["unknown"], 1, "{tally:?}");
    // Those whose turn came before that answer was read.
    assert!(tally["applied"] >= 15, "{tally:?}");
    assert_eq!(world.one::<String>("SELECT data->>'n' FROM sequin.dead_letters"), "7");
    assert!(world.one::<String>("SELECT last_error FROM sequin.status WHERE server = 'sequin'").contains("text/html"));
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 39), ("unknown", 1)]));
    world.assert_created_once(40);
}

/// Each time one of 16 flights gets something odd: its record is unknown, or sent again; the others notice nothing.
#[test]
fn a_broken_reply_harms_its_own_request_alone() {
    let nested = "[".repeat(100_000);
    for (fault, creates, updates) in [
        (json!({"cut_after": 0}), "unknown", "applied"),
        (json!({"cut_after": 250}), "applied_reply_lost", "applied_reply_lost"),
        (json!({"reset": true}), "unknown", "applied"),
        (json!({"raw": "nonsense\r\n\r\n"}), "unknown", "applied"),
        (json!({"status": 500}), "unknown", "applied"),
        (json!({"status": 400, "body": nested}), "rejected", "rejected"),
        (json!({"status": 200, "body": format!("{{\"records\":{nested}")}), "applied_reply_lost", "applied_reply_lost"),
    ] {
        let mut world = World::with_window(16);
        let contacts = world.contacts_made(16);
        for kind in ["create", "update"] {
            let mut fault = fault.clone();
            fault["match"] = json!({"kind": kind, "body_contains": "\"n\":7}"});
            fault["delay_ms"] = json!(30);
            world.sandbox.fault(fault);
        }
        world.sandbox.fault(json!({"times": null, "delay_ms": 30}));
        let queued = [world.enqueue_creates(16), world.update_each(&contacts, |n| json!({ "n": n }))];
        for (ids, odd) in queued.iter().zip([creates, updates]) {
            let open = "SELECT FROM sequin.outbox WHERE state IN ('pending', 'sending') AND id = ANY";
            world.until(&format!("SELECT NOT EXISTS ({open} ('{}'))", array(ids)));
            let tally = world.tally(ids);
            let expected =
                if odd == "applied" { outcomes(&[("applied", 16)]) } else { outcomes(&[("applied", 15), (odd, 1)]) };
            assert_eq!(tally, expected, "{fault}");
        }
        world.assert_created_once(16);
    }
}

#[test]
fn each_request_in_flight_has_a_key_of_its_own_and_keeps_it_when_it_is_sent_again() {
    let mut world = World::with_options("idempotency_header 'Idempotency-Key', max_in_flight '16'");
    let contacts = world.contacts_made(16);
    world.sandbox.fault(json!({"times": 4, "cut_after": 0, "match": {"kind": "update"}}));
    world.hold_contacts();
    let ids = world.update_each(&contacts, |n| json!({ "n": n }));
    world.arrived(16);
    world.until("SELECT count(*) = 4 FROM sequin.outbox WHERE attempts = 1");
    // Those whose replies were lost are sent again, now or after a rest.
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 16)]));
    let log = world.sandbox.log();
    let updates: Vec<_> = log.mutations().into_iter().filter(|r| r.body.contains(":contact")).collect();
    assert_eq!(updates.len(), 20, "four were sent again");
    let sent: HashSet<(String, String)> = updates
        .iter()
        .map(|request| {
            let id = request.json()["records"][0]["upstream_id"].as_str().unwrap().to_owned();
            (id, request.headers["idempotency-key"].clone())
        })
        .collect();
    let kept: HashSet<(String, String)> = world
        .rows("SELECT upstream_id, key::text FROM sequin.delivered WHERE kind = 'update'", &[])
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(sent, kept);
    assert_eq!(sent.iter().map(|(_, key)| key).collect::<HashSet<_>>().len(), 16);
}

/// A consumer whose table is locked: the API answers when it is free.
#[test]
fn waits_for_consumers_go_on_beside_each_other_and_beside_other_requests() {
    let mut world = World::with_window(16);
    let dsn = world.database.dsn();
    world.sandbox.consumer(json!({"kind": "postgres", "id": "copies", "dsn": dsn, "table": "copies"}));
    let mut locking = world.database.connect();
    locking.run("BEGIN; LOCK TABLE copies IN ACCESS EXCLUSIVE MODE");
    let records: Vec<Value> = (0..4).map(|n| json!({"data": {"n": n}})).collect();
    let sql =
        "SELECT * FROM sequin_enqueue('create', 'sync', 'salesforce:contact', $1::text::jsonb, '{copies}', 60000)";
    let waiting: Vec<i64> = world.rows(sql, &[&json!(records).to_string()]).iter().map(|row| row.get(0)).collect();
    world.full(4);
    let records: Vec<Value> = (4..40).map(|n| json!({"data": {"n": n}})).collect();
    let others = world.enqueue("create", &json!(records));
    world.until(&format!("SELECT count(*) = 36 FROM sequin.delivered WHERE id = ANY ('{}')", array(&others)));
    assert_eq!(world.tally(&waiting), outcomes(&[("sending", 4)]));
    locking.run("COMMIT");
    world.settled();
    assert_eq!(world.tally(&waiting), outcomes(&[("applied", 4)]));
    world.assert_created_once(40);
}

/// As an array of SQL.
fn array(ids: &[i64]) -> String {
    format!("{{{}}}", ids.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
}
