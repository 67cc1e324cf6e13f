//! `sequin.stat_servers`: what the counters of a server count, who sees them, and when they begin anew.

use postgres::error::SqlState;
use sequin_harness::{Stop, process};
use serde_json::json;

use crate::support::server::own;
use crate::support::{Session, TARGET, World, create, create_three, mutate};

/// The counters of calls that are not zero, as `name=value`.
const COUNTED: &str = "
    SELECT array_agg(key || '=' || value ORDER BY key) FROM sequin.stat_servers s, jsonb_each_text(to_jsonb(s))
    WHERE server = 'sequin' AND value <> '0' AND key ~ '^call' AND key !~ 'wait|bytes'";

impl World {
    fn counted(&mut self) -> Vec<String> {
        self.one::<Option<Vec<String>>>(COUNTED).unwrap_or_default()
    }
}

#[test]
fn each_call_counts_once_with_its_outcome() {
    let mut world = World::with_own_server("");
    world.run(&create_three());
    assert_eq!(world.counted(), ["call_applied=1", "call_connections=1", "call_records=3", "call_requests=1"]);
    world.run(&mutate("create", r#"[{"data":{"n":4}}]"#));
    let expected = ["call_applied=2", "call_connections=1", "call_records=4", "call_requests=2"];
    assert_eq!(world.counted(), expected, "the connection is kept");

    let faults = [
        (json!({"status": 429, "body": r#"{"error": "slow down"}"#}), "call_refused_for_now"),
        (json!({"status": 401, "body": r#"{"error": "who are you"}"#}), "call_refused"),
        (json!({"status": 422, "body": r#"{"error": "no such field"}"#}), "call_rejected"),
        (json!({"cut_after": 0}), "call_unknown"),
    ];
    for (fault, counter) in faults {
        world.run("SELECT sequin_stat_reset()");
        world.sandbox.fault(fault);
        world.error(&format!("SELECT {}", create("'{}'")));
        let counted = world.counted();
        assert!(
            counted.contains(&format!("{counter}=1")) && counted.contains(&"call_requests=1".into()),
            "{counted:?}"
        );
        world.sandbox.clear_faults();
    }
    world.run("SELECT sequin_stat_reset()");
    world.set_unreachable();
    world.error(&format!("SELECT {}", create("'{}'")));
    assert_eq!(world.counted(), ["call_not_sent=1", "call_records=1", "call_requests=1"]);
    // Refused before any request.
    world.error("SELECT * FROM sequin_mutate('create', 'sync', 'salesforce:contact', '[]')");
    assert_eq!(world.counted().len(), 3);
}

#[test]
fn bytes_and_waits_are_those_of_the_wire() {
    let mut world = World::with_own_server("");
    world.sandbox.fault(json!({"delay_ms": 40}));
    world.run(&create_three());
    let row = &world.rows(
        "SELECT call_bytes_sent, call_bytes_received, call_wait_time, call_max_wait_time, call_wait_histogram,
                (SELECT sum(n)::bigint FROM unnest(outbox_wait_histogram) n)
         FROM sequin.stat_servers WHERE server = 'sequin'",
        &[],
    )[0];
    let body = world.sandbox.log().mutations()[0].body.len() as i64;
    let (sent, received): (i64, i64) = (row.get(0), row.get(1));
    assert!(sent > body && sent < body + 1_000, "{sent} bytes with a body of {body}");
    assert!(received > body, "{received} bytes, and the reply repeats the records");
    let (sum, max): (f64, f64) = (row.get(2), row.get(3));
    assert!(sum >= 40.0 && sum == max, "{sum} ms, at most {max}");
    let buckets: Vec<i64> = row.get(4);
    // The bound of the bucket before: 0.125 ms for the first one, and twice as much for each next one.
    let filled = buckets.iter().position(|count| *count > 0).unwrap();
    let (least, most) = (0.125 * f64::powi(2.0, filled as i32 - 1), 0.125 * f64::powi(2.0, filled as i32));
    assert!(buckets.len() == 20 && buckets.iter().sum::<i64>() == 1, "{buckets:?}");
    assert!(sum >= least && (sum < most || filled == 19), "{sum} ms is in the bucket {filled}");
    assert_eq!(row.get::<_, i64>(5), 0);
}

#[test]
fn a_cancelled_call_and_a_terminated_one_count() {
    let mut world = World::with_own_server("");
    world.hold_next();
    let call = format!("SELECT {}", create("'{}'"));
    world.cancelled_after(1, &call);
    world.sandbox.clear_faults();
    let expected = ["call_cancels=1", "call_connections=1", "call_records=1", "call_requests=1", "call_unknown=1"]
        .map(String::from);
    assert_eq!(world.counted(), expected);

    world.run("SELECT sequin_stat_reset()");
    world.sandbox.clear_log();
    world.hold_next();
    let mut other = world.database.connect();
    let pid = other.pid();
    let ended = std::thread::spawn(move || other.batch_execute(&call).is_err());
    world.in_the_air();
    world.run(&format!("SELECT pg_terminate_backend({pid})"));
    assert!(ended.join().unwrap());
    world.until("SELECT call_cancels = 1 FROM sequin.stat_servers WHERE server = 'sequin'");
    assert_eq!(world.counted(), expected);
    world.sandbox.clear_faults();
}

#[test]
fn requests_of_the_outbox_count_by_themselves() {
    let mut world = World::with_own_server("");
    let ids = world.enqueue("create", &json!([{"data": {"n": 1}}, {"data": {"n": 2}}]));
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 10000)", &[&ids]));
    let requests = world.sandbox.log().mutations().len() as i64;
    let row = &world
        .rows("SELECT outbox_requests, outbox_records, outbox_applied, call_requests FROM sequin.stat_servers", &[])[0];
    let counted: Vec<i64> = (0..4).map(|column| row.get(column)).collect();
    assert_eq!(counted, [requests, 2, requests, 0]);
}

#[test]
fn a_role_sees_the_servers_that_it_may_use() {
    let mut world = World::with_own_server("");
    world.run(&format!("SELECT {}", create("'{}'")));
    world.run("CREATE ROLE app; CREATE ROLE monitor; GRANT pg_read_all_stats TO monitor");
    world.run("CREATE DATABASE other");
    let seen = "SELECT string_agg(concat_ws('.', database, server), ' ' ORDER BY database) FROM sequin.stat_servers";
    let mut seen_by = |role: &str| {
        world.run(&format!("SET ROLE {role}"));
        let seen: Option<String> = world.one(seen);
        world.run("RESET ROLE");
        seen
    };
    assert_eq!(seen_by("app"), None);
    assert_eq!(seen_by("monitor").as_deref(), Some("app.sequin"));
    world.run("GRANT USAGE ON FOREIGN SERVER sequin TO app; SET ROLE app");
    assert_eq!(world.one::<String>(seen), "app.sequin");
    // As with pg_stat_reset.
    let error = world.error("SELECT sequin_stat_reset()");
    assert_eq!(*error.code(), SqlState::INSUFFICIENT_PRIVILEGE);
    world.run("RESET ROLE");

    // Elsewhere the server has no name, and only a monitor sees it.
    let mut other = World::at(&world.server, "other", sequin_harness::Sandbox::start());
    other.run("CREATE EXTENSION sequin_mutations");
    assert_eq!(other.one::<String>(seen), "app");
    other.run("SELECT sequin_stat_reset()");
    other.run("SET ROLE app");
    assert_eq!(other.one::<Option<String>>(seen), None);
    assert_eq!(world.one::<i64>("SELECT call_requests FROM sequin.stat_servers"), 1, "a reset is of its database");
    drop(other);
    world.run("REVOKE USAGE ON FOREIGN SERVER sequin FROM app; DROP ROLE app; DROP ROLE monitor");
}

#[test]
fn a_reset_and_a_crash_begin_anew() {
    let mut world = World::with_own_server("");
    let call = format!("SELECT {}", create("'{}'"));
    let since = "SELECT stats_reset FROM sequin.stat_servers";
    let at = "SELECT stats_reset BETWEEN $1::text::timestamptz AND clock_timestamp() FROM sequin.stat_servers";
    world.run(&call);
    let before: String = world.one("SELECT clock_timestamp()::text");
    world.run("SELECT sequin_stat_reset()");
    assert!(world.one_of::<bool>(at, &[&before]));
    assert_eq!(world.counted(), Vec::<String>::new());
    world.run(&call);
    assert_eq!(world.counted(), ["call_applied=1", "call_records=1", "call_requests=1"]);

    let mut victim = world.database.connect();
    process::kill_all(&[victim.pid()]);
    world.connect_again();
    assert_eq!(world.rows(since, &[]).len(), 0);
    let before: String = world.one("SELECT clock_timestamp()::text");
    world.run(&call);
    assert!(world.one_of::<bool>(at, &[&before]));
    assert_eq!(world.one::<i64>("SELECT call_requests FROM sequin.stat_servers"), 1);
    world.restart(Stop::Fast);
    assert_eq!(world.rows(since, &[]).len(), 0);
}

/// There are 32 slots.
#[test]
fn servers_without_a_slot_share_a_row_and_dropped_ones_leave_theirs() {
    let mut world = World::set_up(own(""));
    let (url, token) = (world.sandbox.url().to_owned(), world.sandbox.token().to_owned());
    let call_all = |from: i32, to: i32| {
        format!(
            "DO $$ BEGIN FOR n IN {from}..{to} LOOP PERFORM sequin_create({TARGET}, '{{}}', server => 's' || n); END LOOP; END $$"
        )
    };
    world.run(&format!(
        "DO $$ BEGIN FOR n IN 1..44 LOOP
           EXECUTE format('CREATE SERVER s%s FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url %L)', n, '{url}');
           EXECUTE format('CREATE USER MAPPING FOR PUBLIC SERVER s%s OPTIONS (token %L)', n, '{token}');
         END LOOP; END $$"
    ));
    world.run(&call_all(1, 34));
    let named = "SELECT count(*) FROM sequin.stat_servers WHERE server IS NOT NULL";
    let without = "SELECT call_requests FROM sequin.stat_servers WHERE database IS NULL";
    assert_eq!((world.one::<i64>(named), world.one::<i64>(without)), (32, 2));
    world.run("DO $$ BEGIN FOR n IN 1..10 LOOP EXECUTE format('DROP SERVER s%s CASCADE', n); END LOOP; END $$");
    assert_eq!(world.one::<i64>(named), 22);
    world.run(&call_all(35, 44));
    assert_eq!((world.one::<i64>(named), world.one::<i64>(without)), (32, 2));
    assert_eq!(
        world.one::<i64>("SELECT sum(call_requests)::bigint FROM sequin.stat_servers WHERE server IS NOT NULL"),
        32
    );
    // So do those of dropped databases.
    world.server.connect("postgres").run("CREATE DATABASE other");
    let mut other = World::at(&world.server, "other", sequin_harness::Sandbox::start());
    other.run("CREATE EXTENSION sequin_mutations");
    other.create_server();
    let call = format!("SELECT {}", create("'{}'"));
    other.run(&call);
    assert_eq!(other.one::<i64>("SELECT count(*) FROM sequin.stat_servers WHERE server IS NOT NULL"), 0);
    other.client.close().unwrap();
    drop(world.client);
    let mut postgres = world.server.connect("postgres");
    postgres.run("DROP DATABASE app WITH (FORCE)");
    let mut other = World::at(&world.server, "other", sequin_harness::Sandbox::start());
    other.run(&call);
    assert_eq!(other.one::<i64>("SELECT call_requests FROM sequin.stat_servers WHERE server IS NOT NULL"), 1);
}
