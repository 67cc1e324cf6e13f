//! The dispositions that an answer of the API gives to the records of its request.

use std::io::Write;
use std::net::TcpStream;

use sequin_harness::{RawServer, raw};
use serde_json::{Value, json};

use crate::support::network::foreign_server;
use crate::support::{Session, World, request};

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
        // Both are in flight at once: either may get the refusal.
        let mut endings = world.endings();
        endings.sort_unstable();
        assert_eq!(endings, ["applied", "rejected"], "{status}");
        assert_eq!((world.contact_count(), world.sent()), (1, 2), "{status}");
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

/// The refusal is cut off before the words that say so.
#[test]
fn a_repeated_delete_whose_refusal_is_cut_off_is_sent_once_more() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.run("SELECT sequin_pause('sequin')");
    world.enqueue_update(&id, &json!({"n": 2}));
    world.enqueue("delete", &json!([id]));
    world.sandbox.fault(json!({"cut_after": 0}));
    let refusal = json!({"error": format!("Error: {} was not found", "x".repeat(1_000))}).to_string();
    world.sandbox.fault(json!({"status": 400, "body": refusal, "cut_after": 500}));
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert_eq!(world.endings(), ["applied", "applied"]);
    assert_eq!(world.requests(), vec![request("delete", json!([id])); 3]);
}

/// The contract does not say that nothing of a refused batch is applied.
#[test]
fn a_delete_that_finds_nothing_after_its_batch_was_refused_is_delivered() {
    for (options, outcome) in [("", "applied"), ("atomic_batches 'true'", "rejected")] {
        let mut world = World::with_options(options);
        let ids = world.contacts_made(2);
        world.sandbox.fault(json!({"status": 400, "body": "{\"error\": \"Error: no\"}", "apply": true}));
        world.enqueue("delete", &json!(ids));
        world.settled();
        assert_eq!((world.endings(), world.sizes()), (vec![outcome.to_owned(); 2], vec![2, 1, 1]), "{options}");
    }
}

const PAGE: &str = "<html><head><title>Welcome to nginx!</title></head><body></body></html>";

fn page() -> Value {
    json!({"status": 200, "headers": {"content-type": "text/html"}, "body": PAGE, "apply": false, "times": null})
}

impl World {
    /// How many creates are unknown when none is in flight: at most as many as a server may have in flight.
    fn unknown_creates(&mut self) -> usize {
        self.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state = 'sending')");
        let endings = self.endings();
        let unknown = endings.iter().filter(|ending| *ending == "unknown").count();
        assert!((1..=8).contains(&unknown), "{endings:?}");
        assert!(endings.iter().all(|ending| ["unknown", "pending"].contains(&ending.as_str())), "{endings:?}");
        unknown
    }

    /// The last error of the server, if it is paused.
    fn reason_of_pause(&mut self) -> String {
        self.until("SELECT paused FROM sequin.status WHERE server = 'sequin'");
        self.one("SELECT last_error FROM sequin.status WHERE server = 'sequin'")
    }
}

/// A queue that such an answer emptied would look delivered.
#[test]
fn a_page_instead_of_a_reply_pauses_the_server_and_delivers_nothing() {
    let mut world = World::new();
    let ids = world.contacts_made(3);
    world.sandbox.fault(page());
    let updates: Vec<Value> = ids[..2].iter().map(|id| json!({"upstream_id": id, "data": {"n": "new"}})).collect();
    world.enqueue("update", &json!(updates));
    let reason = world.reason_of_pause();
    for part in ["status 200", "content-type text/html", "Welcome to nginx!"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    world.enqueue("delete", &json!([ids[2]]));
    assert_eq!(world.sent(), 1);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE state = 'pending' AND attempts = 0"), 3);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.delivered"), 0);

    world.sandbox.clear_faults();
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert_eq!((world.endings(), world.contact_count()), (vec!["applied".to_owned(); 3], 2));
}

/// They may have been applied. The others wait: each worker has one create in flight.
#[test]
fn a_page_instead_of_a_reply_makes_the_creates_in_flight_unknown() {
    let mut world = World::new();
    world.sandbox.fault(page());
    let records: Vec<Value> = (0..6).map(|n| json!({"data": {"n": n}})).collect();
    world.enqueue("create", &json!(records));
    let reason = world.reason_of_pause();
    assert!(reason.contains("text/html"), "{reason}");
    let unknown = world.unknown_creates();
    assert_eq!(world.sent(), unknown);
    assert!(world.one::<bool>("SELECT bool_and(error LIKE '%Welcome to nginx!%') FROM sequin.dead_letters"));
    world.sandbox.clear_faults();
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    let endings = world.endings();
    assert_eq!(endings.iter().filter(|ending| *ending == "applied").count(), 6 - unknown, "{endings:?}");
    assert_eq!((world.contact_count(), world.sent()), (6 - unknown, 6 - unknown));
}

#[test]
fn whatever_is_no_reply_of_the_api_pauses() {
    for body in
        ["", "accepted", "{}", "[]", "{\"records\":null}", "{\"error\":\"Error: INVALID_FIELD\",\"records\":[]}"]
    {
        let mut world = World::new();
        let id = world.contacts_made(1).remove(0);
        world.sandbox.fault(json!({"status": 200, "body": body, "apply": false}));
        world.enqueue_update(&id, &json!({"n": 7}));
        let reason = world.reason_of_pause();
        assert!(reason.contains("is not a reply of the API"), "{body}: {reason}");
        world.run("SELECT sequin_resume('sequin')");
        world.settled();
        assert_eq!((world.endings(), world.sent()), (vec!["applied".to_owned()], 2), "{body}");
    }
}

/// The records that a reply names were applied, and the others are sent again.
#[test]
fn a_record_that_is_missing_in_the_reply_is_not_delivered() {
    let mut world = World::new();
    let ids = world.contacts_made(3);
    let reply = |ids: &[&String]| {
        let records: Vec<Value> = ids.iter().map(|id| json!({"upstream_id": id, "data": {}})).collect();
        json!({"status": 200, "apply": false, "body": json!({"records": records}).to_string()})
    };
    // The second time it names a record that was not sent. It is held until the row is read, which would change.
    world.sandbox.fault(reply(&[&ids[2], &ids[0]]));
    let mut second = reply(&[&ids[0]]);
    second["hold"] = json!(true);
    world.sandbox.fault(second);
    let records: Vec<Value> = ids.iter().map(|id| json!({"upstream_id": id, "data": {"n": "new"}})).collect();
    let queued = world.enqueue("update", &json!(records));
    world.until("SELECT EXISTS (SELECT FROM sequin.outbox WHERE attempts = 1)");
    let row = &world.rows("SELECT id, outcome, error, attempts FROM sequin.outbox", &[])[0];
    assert_eq!((row.get(0), row.get(1), row.get(3)), (queued[1], "unknown", 1));
    assert!(row.get::<_, &str>(2).contains("it does not hold this record"), "{row:?}");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.delivered WHERE outcome = 'applied'"), 2);
    world.arrived(2);
    world.release();
    world.settled();
    assert_eq!((world.endings(), world.sizes()), (vec!["applied".to_owned(); 3], vec![3, 1, 1]));
    let records = world.sandbox.records("salesforce:contact");
    assert_eq!(records.iter().filter(|record| record["data"]["n"] == "new").count(), 1);
}

#[test]
fn a_delete_that_is_missing_in_the_reply_is_sent_again() {
    let mut world = World::new();
    let id = world.contacts_made(1).remove(0);
    world.sandbox.fault(json!({"status": 200, "apply": true, "body": "{\"records\":[]}"}));
    world.enqueue("delete", &json!([id]));
    world.settled();
    // The repeat finds nothing any more.
    assert_eq!((world.endings(), world.sent(), world.contact_count()), (vec!["applied".to_owned()], 2, 0));
}

#[test]
fn a_create_without_a_record_in_the_reply_is_unknown() {
    for (sent, replied) in [(1, "[]"), (2, "[]"), (2, "[{\"upstream_id\":\"1\"}]")] {
        // A server that has failed is probed with one create.
        let mut world = World::with_options("atomic_batches 'true'");
        world.sandbox.fault(json!({"status": 200, "apply": false, "body": format!("{{\"records\":{replied}}}")}));
        let records: Vec<Value> = (0..sent).map(|n| json!({"data": {"n": n}})).collect();
        world.enqueue("create", &json!(records));
        world.settled();
        assert_eq!(world.endings(), vec!["unknown"; sent], "{replied}");
        assert_eq!(world.sent(), 1, "{replied}");
    }
}

/// The ids of some providers are numbers.
#[test]
fn an_upstream_id_that_is_a_number_comes_into_its_row_and_is_found_again() {
    let mut world = World::new();
    world.run(super::BOOK);
    let reply = |n: u32| format!("\u{feff}{{\"records\":[{{\"id\":{n},\"upstream_id\":{n},\"data\":{{}}}}]}}");
    world.sandbox.fault(json!({"status": 200, "apply": false, "body": reply(51)}));
    world.run("INSERT INTO people (id, name) VALUES (1, 'Paul')");
    world.until("SELECT sf_id = '51' IS TRUE FROM people");
    world.sandbox.fault(json!({"status": 200, "apply": false, "body": reply(51)}));
    world.run("UPDATE people SET name = 'Chani'");
    world.settled();
    assert_eq!((world.endings(), world.sent()), (vec!["applied".to_owned(); 2], 2));
}

/// Each further create would be one more that a person must look for.
#[test]
fn headers_that_cannot_be_read_pause_the_server() {
    let record = r#"{"records":[{"upstream_id":"1","data":{}}]}"#;
    for header in ["x-a: one\r\n two", "x-a : one"] {
        let head = format!("HTTP/1.1 200 OK\r\n{header}\r\ncontent-length: {}\r\n\r\n", record.len());
        let api = RawServer::start(move |stream: &mut TcpStream| {
            while raw::read_request(stream).is_ok() {
                let _ = stream.write_all(format!("{head}{record}").as_bytes());
            }
        });
        let mut world = World::without_server();
        foreign_server(&world.database, "sequin", &api.url(), "");
        let records: Vec<Value> = (0..6).map(|n| json!({"data": {"n": n}})).collect();
        world.enqueue("create", &json!(records));
        let reason = world.reason_of_pause();
        assert!(reason.starts_with("the API answered 200 with invalid headers: "), "{header}: {reason}");
        world.unknown_creates();
    }
}
