//! The token of each sender, the visibility of records, and the rights that each role's code runs with.

use postgres::Client;
use sequin_harness::Sandbox;
use serde_json::json;

use crate::support::server::shared;
use crate::support::{Session, World, request};

const ONE: &str = "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\":{\"n\":1}}')";

/// A role of this database's own, which may enqueue.
struct Role {
    name: String,
    session: Client,
}

impl World {
    fn role(&mut self, name: &str) -> Role {
        let name = format!("{name}_{}", self.database.name());
        self.run(&format!(
            "CREATE ROLE {name} LOGIN; GRANT USAGE ON FOREIGN SERVER sequin TO {name};
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {name}"
        ));
        let session = self.database.connect_as(&name);
        Role { name, session }
    }

    fn drop_role(&mut self, role: Role) {
        let Role { name, session } = role;
        drop(session);
        self.run(&format!("DROP OWNED BY {name} CASCADE; DROP ROLE {name}"));
    }
}

impl Role {
    fn run(&mut self, sql: &str) {
        self.session.run(sql);
    }

    fn count(&mut self, from: &str) -> i64 {
        self.session.one(&format!("SELECT count(*) FROM {from}"))
    }

    /// The SQLSTATE of a statement that must fail.
    fn refused(&mut self, sql: &str) -> String {
        match self.session.batch_execute(sql) {
            Ok(()) => panic!("no error: {sql}"),
            Err(error) => error.code().unwrap().code().to_owned(),
        }
    }
}

#[test]
fn records_are_sent_with_the_credentials_of_who_enqueued_them() {
    let sandbox = Sandbox::builder().token("public-token").arg("--token").arg("own-token").start().unwrap();
    let database = shared().fresh_database();
    database.create_server(sandbox.url(), "public-token");
    let mut world = World::of(database, sandbox);
    let mut app = world.role("app");
    world.run(&format!("CREATE USER MAPPING FOR {} SERVER sequin OPTIONS (token 'own-token')", app.name));
    // A SECURITY DEFINER function enqueues as its owner, for every caller.
    world.run(&format!(
        "CREATE FUNCTION save() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$ {ONE} $$"
    ));
    app.run(ONE);
    world.settled();
    app.run("SELECT save()");
    world.settled();
    world.run(&format!("SET ROLE {}; {ONE}; RESET ROLE", app.name));
    world.settled();
    let tokens: Vec<String> =
        world.sandbox.log().mutations().iter().map(|request| request.headers["authorization"].clone()).collect();
    let (public, own) = ("Bearer public-token", "Bearer own-token");
    assert_eq!(tokens, [own, public, own]);
    world.drop_role(app);
}

#[test]
fn usage_that_is_lost_after_enqueuing_pauses_that_role_alone() {
    let mut world = World::new();
    let mut app = world.role("app");
    world.run("SELECT sequin_pause('sequin')");
    app.run(ONE);
    world.run(&format!("REVOKE USAGE ON FOREIGN SERVER sequin FROM {}; SELECT sequin_resume('sequin')", app.name));
    world.until("SELECT paused FROM sequin.status");
    assert_eq!(world.sent(), 0);
    let reason: String = world.one("SELECT last_error FROM sequin.status");
    assert!(reason.contains(&app.name) && reason.contains("permission denied"), "{reason}");
    world.run(ONE);
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered)");
    assert_eq!(world.sent(), 1);
    world.run(&format!("GRANT USAGE ON FOREIGN SERVER sequin TO {}; SELECT sequin_resume('sequin')", app.name));
    world.settled();
    assert_eq!(world.endings(), ["applied", "applied"]);
    world.drop_role(app);
}

#[test]
fn the_records_of_a_dropped_role_wait_and_can_be_discarded() {
    let mut world = World::new();
    let mut app = world.role("app");
    world.run("SELECT sequin_pause('sequin')");
    app.run(ONE);
    let id: i64 = world.one("SELECT id FROM sequin.outbox");
    world.drop_role(app);
    world.run("SELECT sequin_resume('sequin')");
    world.until("SELECT paused FROM sequin.status");
    world.run(ONE);
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered)");
    assert_eq!(world.sent(), 1);
    assert!(world.one::<String>("SELECT last_error FROM sequin.status").contains("does not exist"));
    world.run(&format!("SELECT sequin_discard({id})"));
    assert_eq!(world.fates()[0], (id, "discarded".to_owned()));
}

#[test]
fn a_role_sees_its_own_records_and_touches_nothing_else() {
    let mut world = World::new();
    let (mut one, mut other) = (world.role("one"), world.role("other"));
    for role in [&mut one, &mut other] {
        role.run(ONE);
        role.run(&ONE.replace("\"n\":1", "\"Email\":\"nobody\""));
    }
    world.settled();
    world.run("SELECT sequin_pause('sequin')");
    other.run(ONE);
    for (view, own, all) in [("sequin.outbox", 1, 3), ("sequin.dead_letters", 1, 2), ("sequin.delivered", 1, 2)] {
        assert_eq!((one.count(view), world.one::<i64>(&format!("SELECT count(*) FROM {view}"))), (own, all), "{view}");
        assert_eq!(one.count(&format!("{view} WHERE role <> '{}'::regrole", one.name)), 0);
    }
    let row = one.session.query_one("SELECT backlog, rejected FROM sequin.status", &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 1));
    // A function in a condition is not shown others' rows before they are left out.
    one.run(
        "CREATE FUNCTION pg_temp.peek(bigint) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
        BEGIN RAISE WARNING 'seen %', $1; RETURN true; END $$",
    );
    let seen = one.count("sequin.outbox WHERE pg_temp.peek(id)");
    assert_eq!(seen, 1);

    for table in
        ["queue", "deferred", "claims", "history", "pending_upstream_ids", "pauses", "server_backoff", "origin"]
    {
        for sql in [
            format!("SELECT FROM sequin.{table}"),
            format!("DELETE FROM sequin.{table}"),
            format!("INSERT INTO sequin.{table} DEFAULT VALUES"),
            format!("TRUNCATE sequin.{table}"),
        ] {
            assert_eq!(one.refused(&sql), "42501", "{sql}");
        }
    }
    assert_eq!(one.refused("SELECT nextval('sequin.outbox_id')"), "42501");
    for view in ["outbox", "dead_letters", "delivered", "status"] {
        assert_eq!(one.refused(&format!("DELETE FROM sequin.{view}")).len(), 5, "{view}");
    }
    // Others' records are not there at all.
    let id: i64 = world.one(&format!("SELECT id FROM sequin.dead_letters WHERE role = '{}'::regrole", other.name));
    for verb in [format!("retry({id})"), format!("discard({id})"), format!("resolve({id}, 'x')")] {
        assert_eq!(one.refused(&format!("SELECT sequin_{verb}")), "42704", "{verb}");
    }
    // A member has the rights of the role.
    world.run(&format!("GRANT {} TO {}", other.name, one.name));
    one.run(&format!("SELECT sequin_discard({id})"));
    assert_eq!(one.count("sequin.dead_letters"), 1);
    world.drop_role(one);
    world.drop_role(other);
}

#[test]
fn nobody_may_call_a_verb_without_a_grant() {
    let mut world = World::new();
    let name = format!("nobody_{}", world.database.name());
    world.run(&format!("CREATE ROLE {name} LOGIN; GRANT USAGE ON FOREIGN SERVER sequin TO {name}"));
    let mut nobody = Role { session: world.database.connect_as(&name), name };
    for call in [
        "sequin_enqueue('create', 's', 'c:c', '[{\"data\":{}}]')",
        "sequin_retry(1)",
        "sequin_discard(1)",
        "sequin_resolve(1, 'x')",
        "sequin_pause('sequin')",
        "sequin_resume('sequin')",
        "sequin_await_delivery('{}')",
    ] {
        assert_eq!(nobody.refused(&format!("SELECT {call}")), "42501", "{call}");
    }
    world.drop_role(nobody);
}

#[test]
fn a_server_s_queue_is_stopped_by_those_who_may_use_it() {
    let mut world = World::new();
    let mut app = world.role("app");
    world.run(&format!("REVOKE USAGE ON FOREIGN SERVER sequin FROM {}", app.name));
    for verb in ["pause", "resume"] {
        assert_eq!(app.refused(&format!("SELECT sequin_{verb}('sequin')")), "42501");
        assert_eq!(app.refused(&format!("SELECT sequin_{verb}('nowhere')")), "42704");
    }
    world.run(ONE);
    world.settled();
    assert_eq!(world.requests(), [request("create", json!([{"data": {"n": 1}}]))]);
    world.drop_role(app);
}

/// The counts of a plan, without names and costs.
fn passed_over(session: &mut Client, sql: &str) -> Vec<String> {
    let plan = session.rows(&format!("EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) {sql}"), &[]);
    let lines = plan.iter().map(|row| row.get::<_, String>(0).trim().to_owned());
    lines.filter(|line| line.starts_with("Rows Removed")).collect()
}

#[test]
fn explain_of_what_was_delivered_shows_a_role_the_counts_of_any_table_with_row_security_and_no_more() {
    let mut world = World::new();
    for n in 0..5 {
        world.enqueue("create", &json!([{"data": {"Name": format!("secret {n}")}}]));
    }
    world.settled();
    let mut app = world.role("app");
    world.run(&format!(
        "CREATE TABLE plain AS SELECT id, role::text AS who, kind, delivered_at FROM sequin.delivered;
         CREATE INDEX ON plain (delivered_at); CREATE UNIQUE INDEX ON plain (id);
         ALTER TABLE plain ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON plain USING (pg_has_role(who, 'USAGE') OR pg_has_role('pg_read_all_data', 'USAGE'));
         GRANT SELECT ON plain TO {0}; ANALYZE plain; ANALYZE sequin.history",
        app.name
    ));
    for condition in ["", "WHERE kind = 'create'", "WHERE id = (SELECT 1)", "WHERE delivered_at > '-infinity'"] {
        let ours = passed_over(&mut app.session, &format!("SELECT id FROM sequin.delivered {condition}"));
        let postgres = passed_over(&mut app.session, &format!("SELECT id FROM plain {condition}"));
        assert_eq!(ours, postgres, "{condition}");
    }
    // A filter of the role's own, however cheap, is not asked about records of others.
    world.run(&format!("CREATE SCHEMA spy AUTHORIZATION {}", app.name));
    app.run(
        "CREATE FUNCTION spy.sees(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
         $$ BEGIN RAISE EXCEPTION 'saw %', $1; END $$",
    );
    for view in ["delivered", "outbox", "dead_letters"] {
        let sql = format!("SELECT FROM sequin.{view} WHERE spy.sees(data::text) AND spy.sees(upstream_id)");
        assert_eq!(app.session.query(&sql, &[]).unwrap_or_else(|error| panic!("{view}: {error:?}")).len(), 0);
    }
    let plan = app.session.rows("EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM sequin.delivered, sequin.outbox", &[]);
    let plan: String = plan.iter().map(|row| row.get::<_, String>(0)).collect();
    assert!(!plan.contains("secret"), "{plan}");
    world.drop_role(app);
}
