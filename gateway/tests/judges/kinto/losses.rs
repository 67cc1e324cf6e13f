//! What the gateway says after certain losses, in an order that chance rarely finds.

use serde_json::{Value, json};

use super::Kinto;
use crate::support::gateway::Gateway;
use crate::support::http::Answer;
use crate::support::model::Judge;
use crate::support::proxy::{Choice, Fault, FaultProxy, Rate};

/// Beyond each deadline.
const HOUR: Fault = Fault::Limited(3600);

/// A gateway before a proxy before a Kinto, which may serve several.
struct World<'a> {
    kinto: &'a Kinto,
    proxy: FaultProxy,
    gateway: Gateway,
    /// The key and the name of the one record.
    name: String,
}

impl World<'_> {
    /// Writes meet these faults, in this order.
    fn with<'a>(kinto: &'a Kinto, faults: &[Fault]) -> World<'a> {
        let proxy = FaultProxy::before(kinto.product(), Choice::new(0, Rate::InOrder(faults.to_vec())));
        let section = kinto.section(&proxy.url()).with("timeout = \"10s\"\nrequest_timeout = \"3s\"");
        World { gateway: Gateway::start(&[section]), kinto, proxy, name: format!("{faults:?}") }
    }

    /// The same create each time.
    fn create(&self) -> Answer {
        let create: Value = json!({"kind": "create", "sync_id": "kinto", "collection_id": "contacts",
            "records": [{"data": {"name": self.name}}]});
        self.gateway.mutate(&create, Some(&self.name))
    }

    /// The writes that were sent, and the records that there are.
    fn counts(&self) -> (usize, usize) {
        let records = self.kinto.records();
        let made = records.values().filter(|record| record["name"] == self.name.as_str()).count();
        (self.proxy.passages_of(|passage| passage.method == "PUT").len(), made)
    }
}

#[test]
fn a_create_that_was_lost_is_found_again() {
    let kinto = Kinto::start();
    for fault in [Fault::CutBefore, Fault::CutAfter, Fault::CutInReply, Fault::StallAfter, Fault::FailAfter(503)] {
        let world = World::with(&kinto, &[fault]);
        let answer = world.create();
        assert_eq!((answer.status, world.counts()), (200, (2, 1)), "{fault:?}: {}", answer.body);
        assert_eq!(answer.at("/records/0/data/name"), world.name, "{fault:?}");
    }
}

#[test]
fn a_limit_before_anything_was_sent_says_so() {
    let kinto = Kinto::start();
    let world = World::with(&kinto, &[HOUR]);
    let answer = world.create();
    assert_eq!((answer.status, world.counts()), (429, (1, 0)), "{}", answer.body);
    let wait: u64 = answer.header("retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
    assert!(wait > 3000, "{wait}");
    assert!(answer.body.contains("nothing was"), "{}", answer.body);
}

/// A limit after a loss says nothing about what was lost, also to a client that repeats the request.
#[test]
fn a_limit_after_a_loss_leaves_the_outcome_unknown() {
    let kinto = Kinto::start();
    for (fault, records) in [(Fault::CutBefore, 0), (Fault::CutAfter, 1), (Fault::FailAfter(500), 1)] {
        let world = World::with(&kinto, &[fault, HOUR]);
        for _ in 0..2 {
            let answer = world.create();
            assert_eq!((answer.status, world.counts()), (504, (2, records)), "{fault:?}: {}", answer.body);
        }
    }
}

/// Under one key, the second request can only find what the first has left.
#[test]
fn a_repeated_request_finds_what_an_unknown_one_made() {
    let kinto = Kinto::start();
    let faults = [Fault::CutAfter, Fault::StallBefore, Fault::StallBefore, Fault::StallBefore, Fault::StallBefore];
    let world = World::with(&kinto, &faults);
    assert_eq!(world.create().status, 504);
    world.proxy.relent();
    let answer = world.create();
    assert_eq!((answer.status, world.counts().1), (200, 1), "{}", answer.body);
    let (sent, _) = world.counts();
    assert_eq!((world.create().body, world.counts()), (answer.body, (sent, 1)));
}
