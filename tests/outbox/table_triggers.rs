//! Triggers of a user on the outbox's own tables: audits, replication by triggers, and triggers that interfere.
//!
//! Every table of the schema `sequin` gets them, found from the catalog, so a new table is tested too.

use serde_json::json;

use super::BOOK;
use crate::support::network::eventually;
use crate::support::random::{RngExt, SeedableRng, SmallRng, seed_and_rounds};
use crate::support::{Session, World};

/// What row triggers saw, and what statement triggers with transition tables saw.
const LOGS: &str = "
    CREATE TABLE by_row (relation text, operation text, old jsonb, new jsonb);
    CREATE TABLE by_statement (LIKE by_row);
    -- The worker's search_path is another one, and a regclass shows it.
    CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN
      INSERT INTO public.by_row VALUES (TG_TABLE_NAME, TG_OP, CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END,
        CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
      RETURN NULL; END $$;
    CREATE FUNCTION audit_statement() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN
      CASE TG_OP
        WHEN 'INSERT' THEN INSERT INTO public.by_statement SELECT TG_TABLE_NAME, TG_OP, NULL, to_jsonb(n) FROM new_rows n;
        WHEN 'DELETE' THEN INSERT INTO public.by_statement SELECT TG_TABLE_NAME, TG_OP, to_jsonb(o), NULL FROM old_rows o;
        ELSE INSERT INTO public.by_statement SELECT TG_TABLE_NAME, TG_OP, to_jsonb(o), to_jsonb(n)
          FROM (SELECT o, row_number() OVER () AS place FROM old_rows o) one
          JOIN (SELECT n, row_number() OVER () AS place FROM new_rows n) other USING (place);
      END CASE; RETURN NULL; END $$";

/// Keeps a table of the schema `replica` equal to the table of the trigger.
const REPLICATION: &str = "
    CREATE SCHEMA replica;
    CREATE FUNCTION replicate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF TG_OP <> 'INSERT' THEN
        EXECUTE format('DELETE FROM replica.%I r WHERE r.ctid = (
          SELECT o.ctid FROM replica.%1$I o WHERE to_jsonb(o) = to_jsonb($1) LIMIT 1)', TG_TABLE_NAME) USING OLD;
      END IF;
      IF TG_OP <> 'DELETE' THEN
        EXECUTE format('INSERT INTO replica.%I SELECT ($1).*', TG_TABLE_NAME) USING NEW;
      END IF;
      RETURN NULL; END $$";

impl World {
    /// All tables of the extension.
    fn tables(&mut self) -> Vec<String> {
        let tables = self.column(
            "SELECT relname FROM pg_class WHERE relnamespace = 'sequin'::regnamespace AND relkind = 'r' ORDER BY 1",
        );
        assert!(["claims", "deferred", "history", "queue"].iter().all(|table| tables.iter().any(|one| one == table)));
        tables
    }

    fn audit_all(&mut self) {
        self.run(LOGS);
        for table in self.tables() {
            self.run(&format!(
                "INSERT INTO by_row SELECT '{table}', 'INSERT', NULL, to_jsonb(t) FROM sequin.{table} t;
                 CREATE TRIGGER by_row AFTER INSERT OR UPDATE OR DELETE ON sequin.{table}
                   FOR EACH ROW EXECUTE FUNCTION audit_row();
                 CREATE TRIGGER inserted AFTER INSERT ON sequin.{table} REFERENCING NEW TABLE AS new_rows
                   FOR EACH STATEMENT EXECUTE FUNCTION audit_statement();
                 CREATE TRIGGER updated AFTER UPDATE ON sequin.{table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
                   FOR EACH STATEMENT EXECUTE FUNCTION audit_statement();
                 CREATE TRIGGER deleted AFTER DELETE ON sequin.{table} REFERENCING OLD TABLE AS old_rows
                   FOR EACH STATEMENT EXECUTE FUNCTION audit_statement()"
            ));
        }
        self.run("INSERT INTO by_statement TABLE by_row");
    }

    /// Triggers that fire always, or only in a session that applies replicated changes.
    fn replicate_all(&mut self) {
        self.run(REPLICATION);
        for table in self.tables() {
            self.run(&format!(
                "CREATE TABLE replica.{table} (LIKE sequin.{table});
                 INSERT INTO replica.{table} TABLE sequin.{table};
                 CREATE TRIGGER replicate AFTER INSERT OR UPDATE OR DELETE ON sequin.{table}
                   FOR EACH ROW EXECUTE FUNCTION replicate();
                 ALTER TABLE sequin.{table} ENABLE ALWAYS TRIGGER replicate"
            ));
        }
    }

    /// Creates, updates and deletes, in transactions of their own or together, also ones that are rolled back; answers of
    /// the API that are errors, or never come; and the functions for people.
    fn random_traffic(&mut self, random: &mut SmallRng, steps: u64) {
        for _ in 0..steps {
            let row = random.random_range(1..8);
            let statement = match random.random_range(0..12) {
                0 | 1 => format!("INSERT INTO people VALUES ({row}, 'Paul') ON CONFLICT (id) DO UPDATE SET name = 'Usul'"),
                2..=4 => format!("UPDATE people SET name = name || 'x', email = 'e' WHERE id = {row}"),
                5 => format!("DELETE FROM people WHERE id = {row}"),
                6 => "SELECT count(*) FROM sequin_enqueue('create', 'sync', 'salesforce:contact', '[{\"data\": {\"n\": 1}},
                      {\"data\": {\"n\": 2}}, {\"data\": {\"n\": 3}}]')"
                    .to_owned(),
                7 => "BEGIN; UPDATE people SET name = 'nobody'; ROLLBACK".to_owned(),
                8 => "BEGIN; UPDATE people SET name = 'a'; UPDATE people SET name = 'b'; COMMIT".to_owned(),
                9 => "SELECT sequin_retry(id) FROM sequin.dead_letters ORDER BY id LIMIT 1".to_owned(),
                10 => "SELECT sequin_discard(id) FROM sequin.dead_letters ORDER BY id LIMIT 1".to_owned(),
                _ => {
                    self.sandbox.fault(match random.random_range(0..3) {
                        0 => json!({"cut_after": 0}),
                        1 => json!({"status": 400, "body": "{\"summary\":\"no\"}"}),
                        _ => json!({"status": 500, "body": "{\"summary\":\"no\"}"}),
                    });
                    continue;
                }
            };
            self.run_verb(&statement);
        }
        self.sandbox.clear_faults();
        eventually("all is settled", || {
            self.run_verb("SELECT sequin_discard(id) FROM sequin.dead_letters");
            // Four lost creates in a row would be a wait of a minute.
            self.run_verb("SELECT sequin_resume('sequin')");
            self.one(
                "SELECT NOT EXISTS (SELECT FROM sequin.outbox) AND NOT EXISTS (SELECT FROM sequin.claims)
                 AND NOT EXISTS (SELECT FROM sequin.pending_upstream_ids)",
            )
        });
        // Some that stay.
        self.run("SELECT sequin_pause('sequin'); UPDATE people SET name = 'Usul'");
        self.enqueue("create", &json!([{"data": {"n": 4}}, {"data": {"n": 5}}]));
    }

    /// A dead letter may be in flight again, with a later change of its key, or gone.
    fn run_verb(&mut self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql) {
            let code = error.code().map(|code| code.code());
            assert!(matches!(code, Some("55006" | "42704")), "{sql}: {error:?}");
        }
    }
}

#[test]
fn an_audit_of_every_table_sees_every_change_once() {
    let (seed, steps) = seed_and_rounds(120);
    let mut world = World::new();
    world.run(BOOK);
    world.audit_all();
    world.random_traffic(&mut SmallRng::seed_from_u64(seed), steps);
    for table in world.tables() {
        // The rows of the table are those that were inserted and not deleted again.
        let net = format!(
            "SELECT new AS it FROM by_row WHERE relation = '{table}' AND new IS NOT NULL
             EXCEPT ALL SELECT old FROM by_row WHERE relation = '{table}' AND old IS NOT NULL"
        );
        let differing = format!(
            "SELECT (SELECT count(*) FROM (({net}) EXCEPT ALL SELECT to_jsonb(t) FROM sequin.{table} t) more)
                  + (SELECT count(*) FROM (SELECT to_jsonb(t) FROM sequin.{table} t EXCEPT ALL ({net})) less)"
        );
        assert_eq!(world.one::<i64>(&differing), 0, "{table}");
    }
    let differing = "SELECT (SELECT count(*) FROM (TABLE by_row EXCEPT ALL TABLE by_statement) more)
                          + (SELECT count(*) FROM (TABLE by_statement EXCEPT ALL TABLE by_row) less)";
    assert_eq!(world.one::<i64>(differing), 0);
    // Each record was queued once and left the queue once.
    let each = "SELECT count(*) > 0 AND bool_and(fate = CASE WHEN q.id IS NULL THEN '{DELETE,INSERT}' ELSE '{INSERT}' END) FROM (
                  SELECT (COALESCE(new, old)->>'id')::bigint AS id, array_agg(operation ORDER BY operation)::text AS fate
                  FROM by_row WHERE relation = 'queue' AND operation <> 'UPDATE' GROUP BY 1) records
                LEFT JOIN sequin.queue q USING (id)";
    assert!(world.one::<bool>(each), "a record was queued or taken more than once");
}

#[test]
fn a_replica_that_triggers_keep_is_equal_to_every_table() {
    let (seed, steps) = seed_and_rounds(120);
    let mut world = World::new();
    world.run(BOOK);
    world.replicate_all();
    world.random_traffic(&mut SmallRng::seed_from_u64(seed), steps);
    for table in world.tables() {
        let differing = format!(
            "SELECT (SELECT count(*) FROM (SELECT to_jsonb(t) FROM sequin.{table} t
                                           EXCEPT ALL SELECT to_jsonb(r) FROM replica.{table} r) more)
                  + (SELECT count(*) FROM (SELECT to_jsonb(r) FROM replica.{table} r
                                           EXCEPT ALL SELECT to_jsonb(t) FROM sequin.{table} t) less)"
        );
        assert_eq!(world.one::<i64>(&differing), 0, "{table}");
    }
    assert!(world.one::<i64>("SELECT count(*) FROM replica.history") > 0);
}

#[test]
fn the_role_of_a_session_in_replication_decides_which_triggers_fire() {
    let mut world = World::new();
    world.run(LOGS);
    world.run("SELECT sequin_pause('sequin')");
    for (trigger, enabled) in
        [("of_origin", "ENABLE"), ("of_replica", "ENABLE REPLICA"), ("always", "ENABLE ALWAYS"), ("never", "DISABLE")]
    {
        world.run(&format!(
            "CREATE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               INSERT INTO public.by_row VALUES ('{trigger}', TG_OP, NULL, to_jsonb(NEW)->'data'); RETURN NULL; END $$;
             CREATE TRIGGER {trigger} AFTER INSERT ON sequin.queue FOR EACH ROW EXECUTE FUNCTION {trigger}();
             ALTER TABLE sequin.queue {enabled} TRIGGER {trigger}"
        ));
    }
    world.enqueue_data(&json!({"n": 1}));
    world.run("SET session_replication_role = replica");
    world.enqueue_data(&json!({"n": 2}));
    world.run("RESET session_replication_role");
    let fired = world.column("SELECT relation || ' ' || (new->>'n') FROM by_row ORDER BY 1");
    assert_eq!(fired, ["always 1", "always 2", "of_origin 1", "of_replica 2"]);
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert_eq!(world.contact_count(), 2);
}

/// A trigger `name` on `table` whose body is `body`.
fn before(table: &str, event: &str, body: &str) -> String {
    format!(
        "CREATE FUNCTION interfere() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
         CREATE TRIGGER interfere BEFORE {event} ON sequin.{table} FOR EACH ROW EXECUTE FUNCTION interfere()"
    )
}

#[test]
fn a_trigger_that_changes_a_row_changes_what_is_sent_and_kept() {
    let mut world = World::new();
    world.run(&before("queue", "INSERT", "NEW.data := NEW.data || '{\"stamp\": true}'; RETURN NEW;"));
    let id = world.enqueue_data(&json!({"n": 1}));
    world.settled();
    assert_eq!(world.contact(), json!({"n": 1, "stamp": true}));
    world.run("DROP FUNCTION interfere CASCADE");
    world.run(&before("history", "INSERT", "NEW.data := NULL; NEW.record := NULL; RETURN NEW;"));
    let other = world.enqueue_data(&json!({"n": 2}));
    world.settled();
    let kept = world.rows("SELECT id, data IS NOT NULL, record IS NOT NULL FROM sequin.delivered ORDER BY id", &[]);
    let kept: Vec<(i64, bool, bool)> = kept.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    assert_eq!(kept, [(id, true, true), (other, false, false)]);
}

#[test]
fn a_record_that_a_trigger_keeps_out_of_the_queue_is_not_sent() {
    let mut world = World::new();
    world.run(&before("queue", "INSERT", "RETURN CASE WHEN NEW.data ? 'secret' THEN NULL ELSE NEW END;"));
    let ids = world.enqueue("create", &json!([{"data": {"secret": 1}}, {"data": {"n": 2}}, {"data": {"secret": 3}}]));
    assert_eq!(ids.len(), 1);
    world.settled();
    assert_eq!(world.contact(), json!({"n": 2}));
    assert_eq!(world.enqueue("create", &json!([{"data": {"secret": 1}}])), Vec::<i64>::new());
}

/// A trigger that keeps rows where they are, what the API does with the first request, and what is sent.
const KEPT: [(&str, &str, &str); 5] = [
    ("queue", "DELETE", r#"{"status": 200}"#),
    ("queue", "DELETE", r#"{"cut_after": 0}"#),
    ("deferred", "INSERT", r#"{"cut_after": 0}"#),
    ("deferred", "UPDATE", r#"{"cut_after": 0}"#),
    ("deferred", "UPDATE", r#"{"status": 400, "body": "{\"summary\":\"no\"}"}"#),
];

#[test]
fn a_record_that_a_trigger_keeps_where_it_is_is_neither_lost_nor_sent_twice() {
    for (table, event, answer) in KEPT {
        let mut world = World::new();
        world.run(&before(table, event, "RETURN NULL;"));
        if !answer.contains("200") {
            world.sandbox.fault(serde_json::from_str(answer).unwrap());
        }
        let id = world.enqueue_data(&json!({"n": 1}));
        // It stays claimed without an owner, so it is not sent again.
        world.until("SELECT EXISTS (SELECT FROM sequin.claims WHERE owner = -1)");
        assert_eq!(world.state(id), "sending", "{table}, {event}, {answer}");
        world.run("DROP FUNCTION interfere CASCADE");
        let other = world.enqueue_data(&json!({"n": 2}));
        world.until(&format!("SELECT EXISTS (SELECT FROM sequin.delivered WHERE id = {other})"));
        assert_eq!(world.sent(), 2, "{table}, {event}, {answer}");
        world.run(&format!("SELECT sequin_discard({id})"));
        assert_eq!(world.state(id), "discarded");
        assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.claims"), 0);
    }
}

#[test]
fn a_record_that_a_trigger_keeps_out_of_the_history_is_delivered_once() {
    let mut world = World::new();
    world.run(&before("history", "INSERT", "RETURN NULL;"));
    let id = world.enqueue_data(&json!({"n": 1}));
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery(ARRAY[$1::bigint], 60000)", &[&id]));
    world.settled();
    assert_eq!((world.sent(), world.contact_count()), (1, 1));
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.delivered"), 0);
}

/// The upstream id does not take the way through the history.
#[test]
fn a_row_gets_its_upstream_id_though_a_trigger_keeps_its_create_out_of_the_history() {
    let mut world = World::new();
    world.run(BOOK);
    world.run(&before("history", "INSERT", "RETURN NULL;"));
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 1");
    world.sandbox.fault(json!({"cut_after": 0}));
    world.run("INSERT INTO people VALUES (2, 'Chani')");
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters)");
    world.run("SELECT sequin_resolve(id, 'found') FROM sequin.dead_letters");
    world.until("SELECT sf_id = 'found' IS TRUE FROM people WHERE id = 2");
    world.written_back();
}

/// The library appends rows only to a queue that is as the extension made it.
#[test]
fn a_queue_that_its_user_has_altered_takes_records_all_the_same() {
    for alteration in [
        "ALTER TABLE sequin.queue ADD note text NOT NULL DEFAULT 'mine'",
        "ALTER TABLE sequin.queue ADD doubled bigint GENERATED ALWAYS AS (id * 2) STORED",
        "ALTER TABLE sequin.queue ADD number bigint GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE sequin.queue ADD note text, ADD other int; ALTER TABLE sequin.queue DROP note",
        "CREATE RULE mine AS ON INSERT TO sequin.queue DO ALSO NOTIFY mine",
    ] {
        let mut world = World::new();
        world.run(alteration);
        world.run(BOOK);
        world.run("INSERT INTO people VALUES (1, 'Paul')");
        world.enqueue_data(&json!({"n": 1}));
        world.written_back();
        assert_eq!(world.contact_count(), 2, "{alteration}");
    }
}

/// A view forbids it, so a superuser must take the view away first. Values of the old type would crash the session.
#[test]
fn a_column_of_another_type_takes_values_of_its_type() {
    for (column, of_type) in [("timeout_ms", "bigint"), ("relation", "bigint"), ("sync_id", "varchar(50)")] {
        let mut world = World::new();
        world.run("SELECT sequin_pause('sequin')");
        world.run(BOOK);
        world.run(&format!(
            "ALTER EXTENSION sequin_mutations DROP VIEW sequin.outbox; ALTER EXTENSION sequin_mutations DROP VIEW sequin.status;
             DROP VIEW sequin.outbox, sequin.status; DROP INDEX sequin.queue_without_upstream_id;
             ALTER TABLE sequin.queue ALTER {column} TYPE {of_type} USING NULL"
        ));
        world.run("INSERT INTO people VALUES (1, 'Paul')");
        world.run(
            "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\": {}}', timeout_ms => 7,
                                   await_consumers => '{a}')",
        );
        let kept = world.column(
            "SELECT concat_ws(' ', sync_id, timeout_ms, relation::bigint = 'people'::regclass::oid::bigint)
             FROM sequin.queue ORDER BY id",
        );
        assert_eq!(kept, ["sync t", "sync 7"], "{column}");
    }
}

#[test]
fn a_constraint_of_its_user_holds_for_what_is_enqueued() {
    let mut world = World::new();
    world.run("ALTER TABLE sequin.queue ADD CONSTRAINT mine CHECK (data->>'n' IS DISTINCT FROM '1')");
    let refused =
        world.error("SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\": {\"n\": 1}}')");
    assert_eq!((refused.code().code(), refused.constraint()), ("23514", Some("mine")));
    world.enqueue_data(&json!({"n": 2}));
    world.settled();
    assert_eq!(world.contact(), json!({"n": 2}));
}
