//! While a request is in flight the worker holds nothing: no snapshot that would keep dead rows, no lock.

use serde_json::json;

use crate::support::network::eventually;
use crate::support::{Session, World};

#[test]
fn while_a_request_is_in_the_air_the_worker_has_no_snapshot_and_no_lock() {
    let mut cluster = World::with_own_server("");
    cluster.sandbox.fault(json!({"stall": "reply"}));
    cluster.enqueue_create("Paul");
    cluster.in_the_air();
    let pid = cluster.worker();
    // A request that has arrived there may not be reported as sent here yet.
    cluster.until(&format!("SELECT wait_event IS NOT NULL FROM pg_stat_activity WHERE pid = {pid}"));
    for sample in 0..200 {
        let activity = cluster.rows(
            "SELECT backend_xmin::text, backend_xid::text, xact_start::text, state, query, wait_event_type, wait_event, \
             backend_type, datname::text, (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid) AS locks \
             FROM pg_stat_activity a WHERE pid = $1",
            &[&pid],
        );
        assert_eq!(activity.len(), 1, "sample {sample}");
        let column = |name: &str| activity[0].get::<_, Option<String>>(name);
        assert_eq!((column("backend_xmin"), column("backend_xid"), column("xact_start")), (None, None, None));
        assert_eq!(activity[0].get::<_, i64>("locks"), 0, "sample {sample}");
        let expected = "1 request in flight";
        assert_eq!(column("state").as_deref(), Some("active"));
        assert_eq!(column("query").as_deref(), Some(expected));
        assert_eq!(column("wait_event_type").as_deref(), Some("Extension"));
        assert!(column("wait_event").is_some());
        assert_eq!(column("backend_type").as_deref(), Some("sequin worker"));
        assert_eq!(column("datname").as_deref(), Some("app"));
    }
    assert_eq!(cluster.sandbox.log().mutations().len(), 1, "all the while it was the same request");
}

#[test]
fn a_create_that_was_answered_does_not_wait_for_an_update_that_hangs() {
    let mut cluster = World::with_own_server("");
    let contact = cluster.create("Paul");
    cluster.sandbox.fault(json!({"stall": "reply", "match": {"kind": "update"}}));
    cluster.run("SELECT sequin_pause('sequin')");
    cluster.enqueue_number(&contact, 1);
    let create = cluster.enqueue_create("Chani");
    cluster.run("SELECT sequin_resume('sequin')");
    cluster.until(&format!("SELECT EXISTS (SELECT FROM sequin.delivered WHERE id = {create})"));
    assert_eq!(cluster.one::<String>("SELECT state FROM sequin.outbox"), "sending");
}

#[test]
fn a_request_in_the_air_does_not_keep_vacuum_from_its_work() {
    let mut cluster = World::with_own_server("autovacuum = off");
    cluster.sandbox.fault(json!({"stall": "reply"}));
    cluster.enqueue_create("Paul");
    cluster.in_the_air();
    cluster.run("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n");
    cluster.run("DELETE FROM t");
    // A look of a worker has a snapshot too, for a moment.
    eventually("VACUUM removes all rows", || {
        cluster.run("VACUUM t");
        cluster.one::<i64>("SELECT pg_relation_size('t')") == 0
    });
    assert_eq!(cluster.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE state = 'sending'"), 1);
}

#[test]
fn an_idle_worker_has_no_snapshot_no_lock_and_does_nothing() {
    let mut cluster = World::with_own_server("");
    cluster.enqueue_create("Paul");
    cluster.settled();
    // After settling it scans once or twice more, and the process that started it may still exist.
    cluster.until(
        "SELECT count(*) = 1 AND bool_and(state = 'idle' AND clock_timestamp() - state_change > '3 s') \
         FROM pg_stat_activity WHERE backend_type = 'sequin worker'",
    );
    // Its fallback poll comes every 30 seconds; a busy loop would show a snapshot. Every two seconds it looks for a
    // DROP DATABASE, by the lock of the database, and for a DROP EXTENSION, in a transaction of microseconds.
    let mut quiet = 0;
    eventually("200 samples in a row show nothing", || {
        let rows = cluster.rows(
            "SELECT a.backend_xmin IS NULL AND a.backend_xid IS NULL AND state = 'idle' \
             AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid \
             AND l.classid IS DISTINCT FROM 'pg_database'::regclass) \
             FROM pg_stat_activity a WHERE backend_type = 'sequin worker'",
            &[],
        );
        assert_eq!(rows.len(), 1);
        quiet = if rows[0].get::<_, bool>(0) { quiet + 1 } else { 0 };
        quiet == 200
    });
}
