//! The same faults under the outbox's worker. Updates and deletes arrive in the end, a create is sent once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sequin_harness::proxy::Direction::{self, ToApi, ToClient};
use sequin_harness::proxy::{Fault, Harm, Proxy};
use serde_json::{Value, json};

use super::session::{close, requests_in};
use super::{HARMS, KINDS, assert_ran, expected, is_wanted};
use crate::support::{Session, World};

struct Delivery {
    world: World,
    proxy: Proxy,
    kind: &'static str,
    /// Contacts that can be changed.
    ids: Vec<String>,
    number: u32,
}

/// The final state of a record.
struct Fate {
    outcome: String,
    /// How often it was sent.
    requests: usize,
    /// How often the provider has it, or its effect.
    effects: usize,
    /// Whether the API has refused a request.
    refused: bool,
}

impl Delivery {
    fn new(kind: &'static str, records: i32) -> Delivery {
        let mut world = World::with_options("request_timeout_ms '4000'");
        let ids = if kind == "create" { Vec::new() } else { world.contacts_made(records) };
        let proxy = Proxy::before(&world.sandbox);
        world.run(&format!("ALTER SERVER sequin OPTIONS (SET url '{}')", proxy.url()));
        Delivery { world, proxy, kind, ids, number: 10_000 }
    }

    /// Has one record delivered, as far as it can be.
    fn deliver(&mut self) -> Fate {
        self.number += 1;
        let data = json!({"number": self.number, "text": "some text"});
        let id = self.ids.pop().unwrap_or_default();
        let record = match self.kind {
            "create" => json!({"data": data}),
            "update" => json!({"upstream_id": id, "data": data}),
            _ => json!([id]),
        };
        self.world.sandbox.clear_log();
        let queued = self.world.enqueue(self.kind, &record)[0];
        // The creates that were lost before would make this one wait, the fourth one for a minute.
        self.world.run("SELECT sequin_resume('sequin')");
        self.world.settled();
        let fates = self.world.fates();
        let outcome = fates.into_iter().find(|(id, _)| *id == queued).map(|(_, fate)| fate).unwrap_or_default();
        let records = self.world.sandbox.records("salesforce:contact");
        let is_effect = |record: &&Value| record["data"]["number"] == self.number;
        let effects = match self.kind {
            "delete" => {
                records.iter().filter(|record| record["upstream_id"] == id && record["deleted"] == true).count()
            }
            _ => records.iter().filter(is_effect).count(),
        };
        let log = self.world.sandbox.log();
        let refused = log.mutations().iter().any(|request| matches!(request.status, Some(400..=499)));
        Fate { outcome, requests: requests_in(&self.proxy.came(ToApi)), effects, refused }
    }

    /// The length of a request's head and of all of it, and those of the reply.
    fn measure(&mut self) -> [(usize, usize); 2] {
        self.proxy.watch();
        let fate = self.deliver();
        assert_eq!((fate.outcome.as_str(), fate.requests, fate.effects), ("applied", 1, 1));
        Direction::ALL.map(|direction| {
            let came = self.proxy.came(direction);
            (expected::head(&came), came.len())
        })
    }

    fn check(&mut self, name: &str, fault: Fault) {
        self.proxy.arm(fault);
        let fate = self.deliver();
        let what = format!(
            "{name}: {} after {} requests, {} effects, refused {}",
            fate.outcome, fate.requests, fate.effects, fate.refused
        );
        assert!(self.proxy.has_struck(), "the fault was not done, {what}");
        let is_spoilt = fault.direction == ToApi && is_spoiling(fault.harm);
        match (fate.outcome.as_str(), self.kind) {
            ("applied" | "applied_reply_lost", _) => assert_eq!(fate.effects, 1, "{what}"),
            ("unknown", "create") => assert!(fate.effects <= 1, "{what}"),
            ("rejected", _) => assert!(is_spoilt && fate.refused && fate.effects == 0, "{what}"),
            _ => panic!("{what}"),
        }
        if self.kind == "create" {
            assert_eq!(fate.requests, 1, "{what}");
        }
        self.proxy.relent();
        // A connection with the rest of a spoilt request would spoil the next one.
        close(&self.proxy);
    }
}

/// Whether it makes something else of a message, and not only a part.
fn is_spoiling(harm: Harm) -> bool {
    matches!(harm, Harm::Corrupt(_) | Harm::DuplicateByte | Harm::DuplicateRest)
}

#[test]
fn what_the_worker_sends_ends_as_the_provider_has_it() {
    let ran = &AtomicUsize::new(0);
    thread::scope(|scope| {
        for kind in KINDS {
            let name = format!("{}, {kind}", thread::current().name().unwrap_or_default());
            let work = move || {
                let mut delivery = Delivery::new(kind, 64);
                let [(body, request), (head, reply)] = delivery.measure();
                let places = [
                    ("the first byte", ToApi, 0),
                    ("the first byte of the body", ToApi, body),
                    ("the last byte", ToApi, request - 1),
                    ("the first byte", ToClient, 0),
                    ("the body", ToClient, (head + reply) / 2),
                ];
                for (place, direction, at) in places {
                    for harm in HARMS {
                        // Another method pauses the server until a person comes, and all twice is two requests.
                        if is_spoiling(harm) && (direction, at) == (ToApi, 0) {
                            continue;
                        }
                        let name = format!("worker, {kind}, {direction:?} {harm:?} at {at} ({place})");
                        if is_wanted(&name) {
                            delivery.check(&name, Fault { direction, at, harm });
                            ran.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            };
            thread::Builder::new().name(name).spawn_scoped(scope, work).unwrap();
        }
    });
    assert_ran(ran.load(Ordering::Relaxed));
}
