//! Several servers, each with a window of its own, and what a server's address, certificate and rate mean for many
//! requests.

use std::io::Write;

use sequin_harness::raw::{FullBacklog, hold};
use sequin_harness::tls::Kind;
use sequin_harness::{RawServer, Sandbox, Tls, most_at_once, raw};
use serde_json::{Value, json};

use super::outcomes;
use crate::support::network::{REFUSING, eventually, foreign_server, release};
use crate::support::server::shared;
use crate::support::{Session, World};

/// Creates of leads, so that `full` does not count them.
fn enqueue_leads(world: &mut World, server: &str, count: usize) -> Vec<i64> {
    let records: Vec<Value> = (0..count).map(|n| json!({"data": {"n": n}})).collect();
    let sql = "SELECT * FROM sequin_enqueue('create', 'sync', 'salesforce:lead', $1::text::jsonb, server => $2)";
    world.rows(sql, &[&json!(records).to_string(), &server]).iter().map(|row| row.get(0)).collect()
}

/// Delivers through the server `sequin` with all of its window, whatever state `other` is in.
fn delivers_undisturbed(world: &mut World, what: &str) {
    world.sandbox.clear_log();
    world.hold_contacts();
    let ids = world.enqueue_creates(40);
    world.full(8);
    world.sandbox.clear_faults();
    let array = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    world.until(&format!("SELECT count(*) = 40 FROM sequin.delivered WHERE id = ANY ('{{{array}}}')"));
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 40)]), "{what}");
}

#[test]
fn a_silent_server_takes_nothing_from_another() {
    let silent = RawServer::start(hold);
    let mut world = World::with_window(8);
    foreign_server(&world.database, "other", &silent.url(), ", max_in_flight '12', max_batch '1'");
    enqueue_leads(&mut world, "other", 100);
    eventually("it has all of its own window", || silent.open() == 12);
    delivers_undisturbed(&mut world, "silent");
    let sending = "SELECT count(*) FROM sequin.outbox WHERE server = 'other' AND state = 'sending'";
    assert_eq!((world.one::<i64>(sending), silent.accepted()), (12, 12));
}

/// It could take all descriptors and all memory that the worker gives to requests.
#[test]
fn a_silent_server_with_the_largest_window_leaves_the_others_theirs() {
    let silent = RawServer::start(hold);
    for (window, bytes) in [(1_000, 1), (200, 1 << 20)] {
        let mut world = World::with_window(8);
        let options = format!(", max_in_flight '{window}', max_batch '1', request_timeout_ms '600000'");
        foreign_server(&world.database, "other", &silent.url(), &options);
        world.run(&format!(
            "SELECT count(*) FROM sequin_enqueue('create', 'sync', 'salesforce:lead', (
                 SELECT jsonb_agg(jsonb_build_object('data', jsonb_build_object('note', repeat('x', {bytes}))))
                 FROM generate_series(1, {window})), server => 'other')"
        ));
        let mut before = 0;
        eventually("it has taken all that it gets", || {
            std::thread::sleep(std::time::Duration::from_secs(1));
            let now = silent.open();
            now > 0 && now == std::mem::replace(&mut before, now)
        });
        delivers_undisturbed(&mut world, &format!("{before} requests of {bytes} bytes"));
    }
}

#[test]
fn a_server_that_is_away_takes_nothing_from_another() {
    let backlog = FullBacklog::start();
    for (what, url) in
        [("refuses", format!("http://{REFUSING}")), ("no answer", format!("http://{}", backlog.address()))]
    {
        let mut world = World::with_window(8);
        let options = ", max_in_flight '12', max_batch '1', connect_timeout_ms '60000'";
        foreign_server(&world.database, "other", &url, options);
        let ids = enqueue_leads(&mut world, "other", 100);
        world.until(
            "SELECT EXISTS (SELECT FROM sequin.outbox WHERE server = 'other' AND (state = 'sending' OR \
                     EXISTS (SELECT FROM sequin.status s WHERE s.server = 'other' AND s.last_error IS NOT NULL)))",
        );
        delivers_undisturbed(&mut world, what);
        let tally = world.tally(&ids);
        assert!(tally.keys().all(|state| ["pending", "sending"].contains(&state.as_str())), "{what}: {tally:?}");
    }
}

#[test]
fn a_server_whose_name_is_not_found_for_long_takes_nothing_from_another() {
    let mut world = World::with_window(8);
    let options = ", max_in_flight '12', max_batch '1', allow_http 'true', connect_timeout_ms '60000'";
    foreign_server(&world.database, "other", "http://many.stall.test:1", options);
    enqueue_leads(&mut world, "other", 100);
    world.until("SELECT count(*) = 12 FROM sequin.outbox WHERE server = 'other' AND state = 'sending'");
    delivers_undisturbed(&mut world, "stalled look-up");
    release("many");
}

#[test]
fn a_server_that_answers_503_takes_nothing_from_another() {
    let failing = RawServer::start(|stream| {
        while raw::read_request(stream).is_ok() && stream.write_all(&raw::reply(503, "{}")).is_ok() {}
    });
    let mut world = World::with_window(8);
    foreign_server(&world.database, "other", &failing.url(), ", max_in_flight '12', max_batch '1'");
    let ids = enqueue_leads(&mut world, "other", 100);
    eventually("it fails", || failing.accepted() > 0);
    delivers_undisturbed(&mut world, "503");
    // Each lost create is work for a person: those that were in flight together, and a probe or two.
    let unknown = world.tally(&ids).get("unknown").copied().unwrap_or_default();
    assert!((1..=14).contains(&unknown), "{unknown} creates are unknown");
}

#[test]
fn servers_with_full_windows_are_served_beside_each_other() {
    let mut world = World::with_window(8);
    let sandboxes: Vec<Sandbox> = (0..4).map(|_| Sandbox::start()).collect();
    let mut ids = Vec::new();
    for (n, sandbox) in sandboxes.iter().enumerate() {
        let name = format!("server_{n}");
        world.database.create_server_named(&name, sandbox.url(), sandbox.token());
        world.run(&format!("ALTER SERVER {name} OPTIONS (max_batch '1', max_in_flight '8')"));
        sandbox.fault(json!({"times": null, "hold": true}));
        ids.extend(enqueue_leads(&mut world, &name, 30));
    }
    for sandbox in &sandboxes {
        eventually("its window is full", || sandbox.log().mutations().len() == 8);
    }
    for sandbox in &sandboxes {
        sandbox.clear_faults();
    }
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 120)]));
    for sandbox in &sandboxes {
        let log = sandbox.log();
        assert_eq!((log.mutations().len(), log.most_at_once()), (30, 8));
    }
}

#[test]
fn the_address_of_a_server_changes_while_its_requests_are_in_flight() {
    let mut world = World::with_window(16);
    world.hold_contacts();
    let ids = world.enqueue_creates(40);
    world.full(16);
    let next = Sandbox::start();
    world.set_url(next.url());
    world.another_round();
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 40)]));
    assert_eq!((world.creates_by_number().len(), next.log().mutations().len()), (16, 24));
}

/// An arrival may be late by the scheduling of the processes, and so closer to the next one.
const SECOND_US: u64 = 900_000;

#[track_caller]
fn assert_rate(world: &World, requests: usize, limit: usize) {
    let log = world.sandbox.log();
    let begun: Vec<u64> = log.mutations().iter().map(|request| request.at_us).collect();
    assert_eq!(begun.len(), requests);
    for window in begun.windows(limit + 1) {
        assert!(window[limit] - window[0] >= SECOND_US, "{} us: {begun:?}", window[limit] - window[0]);
    }
}

#[test]
fn no_more_requests_begin_in_a_second_than_the_server_allows() {
    const LIMIT: usize = 20;
    let mut world = World::with_window(16);
    world.run(&format!("ALTER SERVER sequin OPTIONS (max_requests_per_second '{LIMIT}')"));
    let ids = world.enqueue_creates(3 * LIMIT);
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 3 * LIMIT)]));
    assert_rate(&world, 3 * LIMIT, LIMIT);
    // A time without requests saves nothing up.
    let contacts = world.contacts_made(2 * LIMIT as i32);
    let updates = world.update_each(&contacts, |n| json!({ "n": n }));
    world.settled();
    assert_eq!(world.tally(&updates), outcomes(&[("applied", 2 * LIMIT)]));
    assert_rate(&world, 2 * LIMIT, LIMIT);
}

#[test]
fn many_requests_go_to_a_host_by_name_and_tls_over_connections_that_are_kept() {
    let certificates = Tls::in_directory(&shared().scratch("many_in_flight"));
    let (certificate, key) = certificates.files(Kind::Valid);
    let sandbox = Sandbox::builder().tls(&certificate, &key).start().unwrap();
    let port = sandbox.url().rsplit_once(':').unwrap().1.to_owned();
    let mut world = World::of(shared().fresh_database(), sandbox);
    let options = format!(
        ", ca_file '{}', max_batch '1', max_in_flight '32', ordered_replies 'true'",
        certificates.ca_file().display()
    );
    foreign_server(&world.database, "sequin", &format!("https://localhost:{port}"), &options);
    world.run(&format!("ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token '{}')", world.sandbox.token()));
    world.sandbox.fault(json!({"times": null, "hold": true}));
    let ids = world.enqueue_creates(200);
    eventually("the window is full", || world.unanswered() == 32);
    world.sandbox.clear_faults();
    world.settled();
    assert_eq!(world.tally(&ids), outcomes(&[("applied", 200)]));
    world.assert_created_once(200);
    let log = world.sandbox.log();
    assert_eq!(most_at_once(&log.mutations()), 32);
    assert!(log.connections <= 32, "{} connections", log.connections);
    // They serve the next ones as well.
    let more = json!((200..300).map(|n| json!({"data": {"n": n}})).collect::<Vec<_>>());
    world.enqueue("create", &more);
    world.settled();
    let connections = world.sandbox.log().connections;
    assert!(connections <= 32, "{connections} connections");
}
