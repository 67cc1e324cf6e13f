//! `sequin.status`: its numbers, and that their cost does not grow with the outbox.

use serde_json::json;

use crate::support::{Session, World};

/// The pages that a query has read, wherever they were.
fn pages_read(session: &mut impl Session, query: &str) -> u64 {
    let plan = session.rows(&format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {query}"), &[]);
    let lines: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    // The first line is of the whole query.
    let buffers = lines.iter().find_map(|line| line.trim().strip_prefix("Buffers: shared "));
    let buffers = buffers.unwrap_or_else(|| panic!("{lines:#?}")).split(", ").next().unwrap_or_default();
    let pages = buffers.split(' ').filter_map(|part| part.strip_prefix("hit=").or(part.strip_prefix("read=")));
    pages.map(|pages| pages.parse::<u64>().unwrap()).sum()
}

impl World {
    fn queue_numbers(&mut self, updates: i32) {
        self.run(&format!(
            "SELECT count(*) FROM sequin_enqueue('update', 'sync', 'salesforce:contact',
               (SELECT jsonb_agg(jsonb_build_object('upstream_id', 'u' || n, 'data', jsonb_build_object('n', n)))
                FROM generate_series(1, {updates}) n))"
        ));
    }

    /// Fills a table without the library.
    fn insert_deferred(&mut self, server: &str, records: i32, state: &str) {
        self.run(&format!(
            "INSERT INTO sequin.deferred (server, id, key, role, kind, sync_id, collection_id, enqueued_at, state, attempts,
                 next_attempt_at, resend_verbatim)
               SELECT '{server}', nextval('sequin.outbox_id'), gen_random_uuid(), 10, 'update', 's', 'a:b', now(),
                 '{state}', 0, 'infinity', false
               FROM generate_series(1, {records})"
        ));
    }

    fn insert_history(&mut self, records: i32) {
        self.run(&format!(
            "INSERT INTO sequin.history (server, id, key, role, kind, sync_id, collection_id, enqueued_at, delivered_at,
                 outcome)
               SELECT 'sequin', nextval('sequin.outbox_id'), gen_random_uuid(), 10, 'update', 's', 'a:b', now(), now(),
                 'applied'
               FROM generate_series(1, {records})"
        ));
    }
}

const NUMBERS: &str = "SELECT backlog, rejected, unknown, is_estimate FROM sequin.status WHERE server = 'sequin'";

#[test]
fn a_large_outbox_costs_the_status_no_more_and_is_estimated() {
    let mut world = World::new();
    world.run("SELECT sequin_pause('sequin')");
    world.queue_numbers(1_000);
    world.insert_deferred("sequin", 30, "rejected");
    let row = &world.rows(NUMBERS, &[])[0];
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, bool>(3)), (1_030, 30, false));
    let few = pages_read(&mut world, "SELECT * FROM sequin.status");

    for _ in 0..6 {
        world.queue_numbers(10_000);
    }
    world.insert_history(40_000);
    world.insert_deferred("sequin", 20_000, "pending");
    world.insert_deferred("sequin", 100, "unknown");
    let many = pages_read(&mut world, "SELECT * FROM sequin.status");
    assert!(few < 1_000 && many < 1_500, "{few} and {many} pages");
    let row = &world.rows(NUMBERS, &[])[0];
    let backlog: i64 = row.get(0);
    assert!((70_000..95_000).contains(&backlog), "{backlog} of 81,130");
    assert_eq!((row.get::<_, i64>(1), row.get::<_, i64>(2), row.get::<_, bool>(3)), (30, 100, true));
    assert!(world.one::<bool>("SELECT oldest_age > '0' FROM sequin.status"));
}

#[test]
fn an_estimate_counts_each_server_and_each_role_by_itself() {
    let mut world = World::new();
    world.run("SELECT sequin_pause('sequin')");
    let owner = world.enqueuer();
    for _ in 0..3 {
        world.queue_numbers(10_000);
    }
    world.run(&format!("SET ROLE {owner}"));
    world.queue_numbers(1_000);
    let row = &world.rows(NUMBERS, &[])[0];
    let (own, is_estimate): (i64, bool) = (row.get(0), row.get(3));
    assert!(is_estimate && (200..3_000).contains(&own), "{own} of 1,000");
    world.run("RESET ROLE");
    // The name of a server that was dropped, before and after those that exist.
    for server in ["a", "zz"] {
        world.insert_deferred(server, 5, "rejected");
    }
    let servers = world.column("SELECT concat_ws(' ', server, rejected, is_estimate) FROM sequin.status ORDER BY 1");
    assert_eq!(servers, ["a 5 f", "sequin 0 t", "zz 5 f"]);
    world.run(&format!("SET ROLE {owner}"));
    assert_eq!(world.column("SELECT server FROM sequin.status"), ["sequin"]);
    world.run("RESET ROLE");
    world.run("DELETE FROM sequin.queue");
    world.drop_enqueuer(&owner);
}

#[test]
fn requests_in_flight_and_the_rate_are_seen() {
    let mut world = World::new();
    world.hold_next();
    let ids = world.enqueue("create", &json!([{"data": {"n": 1}}]));
    world.until("SELECT in_flight = 1 FROM sequin.status");
    let other = format!("other_{}", world.database.name());
    world.run(&format!("CREATE ROLE {other}; SET ROLE {other}"));
    assert_eq!(world.rows("SELECT FROM sequin.status", &[]).len(), 0, "it may not use the server");
    world.run(&format!("RESET ROLE; DROP ROLE {other}"));
    world.release();
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 10000)", &[&ids]));
    world.until("SELECT in_flight = 0 AND records_per_second > 0 AND backlog = 0 FROM sequin.status");
    world.until("SELECT records_per_second = 0 FROM sequin.status");
}

/// A snapshot that is held keeps the index entries of delivered records.
#[test]
fn delivered_records_that_cannot_be_vacuumed_are_not_stepped_over() {
    let mut world = World::new();
    let mut other = world.database.connect();
    other.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM pg_class");
    let ids = world.contacts_made(6_000);
    world.rows(
        "SELECT count(*) FROM sequin_enqueue('update', 'sync', 'salesforce:contact',
           (SELECT jsonb_agg(jsonb_build_object('upstream_id', id, 'data', '{}'::jsonb)) FROM unnest($1::text[]) id))",
        &[&ids],
    );
    world.settled();
    // The worker says so after its last round.
    world.until("SELECT in_flight = 0 AND backlog = 0 FROM sequin.status");
    world.run("SET enable_seqscan = off");
    let stepping_over =
        pages_read(&mut world, "SELECT id FROM sequin.queue WHERE server = 'sequin' ORDER BY id LIMIT 1");
    world.run("RESET enable_seqscan");
    let status = pages_read(&mut world, "SELECT * FROM sequin.status");
    assert!(stepping_over > 100 && status < stepping_over, "{status} pages; the index has {stepping_over}");
    other.run("COMMIT");
}

#[test]
fn a_record_that_commits_late_is_counted() {
    let mut world = World::new();
    world.run("SELECT sequin_pause('sequin')");
    let mut other = world.database.connect();
    other.run("BEGIN");
    crate::support::enqueue_in(&mut other, "update", &json!([{"upstream_id": "u", "data": {}}]));
    world.queue_numbers(3);
    world.until("SELECT backlog = 3 FROM sequin.status");
    other.run("COMMIT");
    world.until("SELECT backlog = 4 FROM sequin.status");
}
