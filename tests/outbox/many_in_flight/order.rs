//! The order of a record's changes, merging and bisecting, while many requests are in flight.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::outcomes;
use crate::outbox::BOOK;
use crate::support::network::eventually;
use crate::support::random::{RngExt, SeedableRng, SliceRandom, SmallRng};
use crate::support::{Session, World};

/// The contacts in a request, with their `n`.
fn numbers(mutation: &Value) -> Vec<(String, i64)> {
    let records = mutation["records"].as_array().cloned().unwrap_or_default();
    let pair = |r: &Value| Some((r["upstream_id"].as_str()?.to_owned(), r["data"]["n"].as_i64()?));
    records.iter().filter_map(pair).collect()
}

#[test]
fn the_changes_of_a_record_go_one_after_the_other_while_others_go_beside_them() {
    const KEYS: usize = 40;
    const CHANGES: i64 = 15;
    let mut world = World::with_options("max_batch '3', max_in_flight '16'");
    let mut rng = SmallRng::seed_from_u64(12);
    let contacts = world.contacts_made(KEYS as i32);
    // Answers overtake each other.
    for _ in 0..300 {
        world.sandbox.fault(json!({"delay_ms": rng.random_range(0..40)}));
    }
    let mut keys: Vec<usize> = (0..KEYS).collect();
    for number in 1..=CHANGES {
        keys.shuffle(&mut rng);
        for key in &keys {
            world.enqueue_number(&contacts[*key], number);
        }
    }
    world.settled();
    let log = world.sandbox.log();
    let (mut last, mut answered) = (HashMap::new(), HashMap::new());
    for request in log.mutations() {
        for (id, number) in numbers(&request.json()) {
            let before = last.insert(id.clone(), number).unwrap_or(0);
            assert!(before < number, "{id} went from {before} to {number}");
            let end = answered.insert(id.clone(), request.answered_us.expect("it was answered")).unwrap_or(0);
            assert!(end <= request.at_us, "two changes of {id} were in flight at once");
        }
    }
    assert_eq!(last.len(), KEYS);
    assert!(last.values().all(|number| *number == CHANGES));
    assert!(log.most_at_once() > 1);
}

#[test]
fn the_changes_of_a_record_in_flight_are_merged_behind_it() {
    let mut world = World::with_window(16);
    let contacts = world.contacts_made(16);
    world.hold_contacts();
    let mut ids = world.update_each(&contacts, |_| json!({"n": 1}));
    world.full(16);
    for number in 2..=4 {
        ids.extend(world.update_each(&contacts, |_| json!({"n": number, format!("field {number}"): true})));
    }
    world.full(16);
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 64)]));
    let sent: Vec<(String, i64)> = world.mutations().iter().flat_map(numbers).collect();
    assert_eq!(sent.len(), 32, "{sent:?}");
    for id in &contacts {
        let of_contact: Vec<i64> = sent.iter().filter(|(sent, _)| sent == id).map(|(_, n)| *n).collect();
        assert_eq!(of_contact, [1, 4]);
    }
    for contact in world.contacts() {
        assert!((2..=4).all(|n| contact["data"][format!("field {n}")] == true), "{contact}");
    }
}

#[test]
fn the_changes_of_rows_wait_for_their_creates_in_flight() {
    let mut world = World::with_window(16);
    world.run(BOOK);
    world.hold_contacts();
    world.run("INSERT INTO people (id, name) SELECT n, 'first ' || n FROM generate_series(1, 16) n");
    world.full(16);
    world.run("UPDATE people SET name = 'second ' || id");
    world.run("UPDATE people SET name = 'third ' || id WHERE id <= 8; DELETE FROM people WHERE id > 12");
    world.full(16);
    world.sandbox.clear_faults();
    world.settled();
    let mut names: Vec<String> = world
        .contacts()
        .iter()
        .map(|contact| contact["data"]["Name"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort_unstable();
    let mut expected: Vec<String> =
        (1..=12).map(|n| format!("{} {n}", if n <= 8 { "third" } else { "second" })).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    world.until("SELECT count(*) = count(sf_id) FROM people");
    let upstream: HashMap<String, String> = world
        .contacts()
        .iter()
        .map(|contact| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (text(&contact["data"]["Name"]), text(&contact["upstream_id"]))
        })
        .collect();
    for row in world.rows("SELECT name, sf_id FROM people", &[]) {
        assert_eq!(upstream.get(row.get::<_, &str>(0)).map(String::as_str), Some(row.get::<_, &str>(1)));
    }
}

#[test]
fn a_refused_batch_is_halved_while_others_are_in_flight() {
    let mut world = World::with_options("max_batch '8', max_in_flight '4'");
    let contacts = world.contacts_made(32);
    let held = json!({"times": null, "hold": true, "match": {"body_contains": "slow"}});
    world.sandbox.fault(held);
    world.run("SELECT sequin_pause('sequin')");
    let slow = world.update_each(&contacts[..8], |_| json!({"Name": "slow"}));
    let bad =
        world.update_each(&contacts[8..16], |n| if n == 5 { json!({"Email": "nobody"}) } else { json!({"n": n}) });
    let fine = world.update_each(&contacts[16..], |n| json!({"n": n}));
    world.run("SELECT sequin_resume('sequin')");
    eventually("the others are settled", || world.in_state("pending") == 0 && world.in_state("sending") == 8);
    assert_eq!(world.tally(&bad), outcomes(&[("applied", 7), ("rejected", 1)]));
    assert_eq!(world.tally(&fine), outcomes(&[("applied", 16)]));
    assert_eq!(world.tally(&slow), outcomes(&[("sending", 8)]));
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&slow), outcomes(&[("applied", 8)]));
    let sizes: Vec<usize> = world
        .sandbox
        .log()
        .mutations()
        .iter()
        .filter(|request| !request.body.contains("slow"))
        .filter_map(|request| {
            let ids: Vec<(String, Value)> = request.json()["records"]
                .as_array()?
                .iter()
                .map(|r| (r["upstream_id"].as_str().unwrap_or_default().to_owned(), r["data"].clone()))
                .collect();
            contacts[8..16].contains(&ids[0].0).then_some(ids.len())
        })
        .collect();
    assert_eq!(sizes, [8, 4, 4, 2, 1, 1, 2], "first halves first, and nothing twice that was applied");
}

#[test]
fn many_refused_batches_are_halved_at_once_and_each_good_record_is_applied_once() {
    let mut world = World::with_options("max_batch '8', max_in_flight '8', atomic_batches 'true'");
    world.hold_contacts();
    let record = |n: usize| match n % 8 {
        3 => json!({"data": {"n": n, "Email": "nobody"}}),
        _ => json!({"data": {"n": n}}),
    };
    world.run("SELECT sequin_pause('sequin')");
    let ids = world.enqueue("create", &json!((0..64).map(record).collect::<Vec<_>>()));
    world.run("SELECT sequin_resume('sequin')");
    world.full(8);
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 56), ("rejected", 8)]));
    let mut made: Vec<i64> = world.contacts().iter().filter_map(|contact| contact["data"]["n"].as_i64()).collect();
    made.sort_unstable();
    assert!(made.into_iter().eq((0..64).filter(|n| n % 8 != 3)));
    let log = world.sandbox.log();
    let contacts: Vec<_> = log.mutations().into_iter().filter(|r| r.body.contains(":contact")).collect();
    assert_eq!(sequin_harness::most_at_once(&contacts), 8, "a half takes the place of its whole");
}
