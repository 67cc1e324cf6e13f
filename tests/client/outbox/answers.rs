//! What an answer of the API means for the records of its request.

use serde_json::{Value, json};

use crate::support::World;

impl World {
    /// How many records each mutation had since the last look.
    fn sizes(&self) -> Vec<usize> {
        self.requests().iter().map(|(_, records)| records.as_array().map_or(0, Vec::len)).collect()
    }
}

/// A request that the API finds too large, a locked record, a legal block: nothing was applied, and a repeat of the same
/// request gets the same answer.
#[test]
fn a_4xx_ends_the_record_that_it_is_about_and_no_other() {
    for status in [402, 409, 410, 413, 415, 423, 451, 499] {
        let mut world = World::new();
        let ids = world.contacts_made(4);
        let refuses = json!({"times": null, "status": status, "match": {"body_contains": "poison"}});
        world.sandbox.fault(refuses);
        let records: Vec<Value> = (0..4)
            .map(|n| json!({"upstream_id": ids[n], "data": {"n": if n == 2 { json!("poison") } else { json!(n) }}}))
            .collect();
        let queued = world.enqueue("update", &json!(records));
        world.settled();
        assert_eq!(world.sizes(), [4, 2, 2, 1, 1], "{status}: halved down to the refused record");
        let fates = world.fates();
        for (n, (id, fate)) in fates.iter().enumerate() {
            assert_eq!((*id, fate.as_str()), (queued[n], if n == 2 { "rejected" } else { "applied" }), "{status}");
        }
        world.sandbox.clear_faults();
        // The key of the rejected record takes later changes.
        world.enqueue_update(&ids[2], &json!({"n": 7}));
        world.settled();
        assert_eq!(world.endings(), ["applied"; 5], "{status}");
    }
}

#[test]
fn a_create_that_gets_a_4xx_is_rejected_and_not_unknown() {
    for status in [402, 409, 413, 423, 451] {
        let mut world = World::new();
        world.sandbox.fault(json!({"status": status}));
        world.enqueue("create", &json!([{"data": {"n": 1}}, {"data": {"n": 2}}]));
        world.settled();
        assert_eq!(world.endings(), ["rejected", "applied"], "{status}");
        assert_eq!((world.contacts(), world.sent()), (1, 2), "{status}");
    }
}

#[test]
fn a_408_and_a_425_leave_it_unknown() {
    for status in [408, 425] {
        let mut world = World::new();
        world.sandbox.fault(json!({"status": status}));
        world.enqueue("create", &json!({"data": {"n": 1}}));
        world.settled();
        assert_eq!(world.endings(), ["unknown"], "{status}");
    }
}

#[test]
fn a_repeated_delete_of_a_record_that_is_gone_is_delivered() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"cut_after": 0}));
    world.sandbox.fault(json!({"status": 410, "body": ""}));
    world.enqueue("delete", &json!([id]));
    world.settled();
    assert_eq!((world.endings(), world.sent()), (vec!["applied".to_owned()], 2));
}
