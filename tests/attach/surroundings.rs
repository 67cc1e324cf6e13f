//! The checks of `sequin_attach`: temporary tables, placements of Citus, and triggers that would fail.

use std::process::Output;

use crate::support::{Session, World, hint_of};

fn attach(table: &str) -> String {
    format!("SELECT sequin_attach('{table}', 's', 'salesforce:contact', 'sf_id')")
}

fn refusal(world: &mut World, table: &str) -> (String, String, String) {
    let error = world.error(&attach(table));
    (error.code().code().to_owned(), error.message().to_owned(), hint_of(&error).to_owned())
}

/// The NOTICEs of the statements, as psql prints them.
fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_temporary_table_is_refused() {
    let mut world = World::new();
    world.run(
        "CREATE TEMP TABLE t (id int PRIMARY KEY, name text, sf_id text);
         CREATE TEMP TABLE p (id int PRIMARY KEY, name text, sf_id text) PARTITION BY LIST (id);
         CREATE TEMP TABLE p_1 PARTITION OF p FOR VALUES IN (1)",
    );
    for table in ["t", "p", "p_1"] {
        let (code, message, hint) = refusal(&mut world, table);
        assert_eq!(code, "42809", "{table}");
        assert!(message.ends_with(&format!(".{table} is a temporary table")), "{message}");
        assert!(hint.contains("its own session"), "{hint}");
    }
    // An unlogged one has the same rows for all sessions.
    world.run("CREATE UNLOGGED TABLE u (id int PRIMARY KEY, name text, sf_id text)");
    world.run(&attach("u"));
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.attachments"), 1);
}

#[test]
fn a_partition_that_is_a_foreign_table_is_attached_where_its_rows_are() {
    let mut world = World::new();
    world.run(
        "CREATE FOREIGN DATA WRAPPER other; CREATE SERVER \"shard 1\" FOREIGN DATA WRAPPER other;
         CREATE TABLE orders (id int, name text, sf_id text) PARTITION BY LIST (id);
         CREATE TABLE orders_1 PARTITION OF orders (PRIMARY KEY (id)) FOR VALUES IN (1);
         CREATE FOREIGN TABLE orders_2 PARTITION OF orders FOR VALUES IN (2) SERVER \"shard 1\"",
    );
    let (code, message, hint) = refusal(&mut world, "orders");
    assert_eq!(code, "42809");
    assert_eq!(message, "public.orders_2, a partition of public.orders, is a foreign table");
    assert!(hint.contains("on the server that holds it (\"shard 1\")"), "{hint}");
    // The hint can be followed.
    world.run(&attach("orders_1"));
    assert_eq!(world.one::<String>("SELECT relation::text FROM sequin.attachments"), "orders_1");
}

/// The catalogs of Citus, as far as they say where a table's rows are kept.
const CITUS: &str = "
    SET allow_system_table_mods = on;
    CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod \"char\", partkey text, colocationid int, repmodel \"char\");
    CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass, shardid bigint, shardstorage \"char\");
    CREATE TABLE pg_catalog.pg_dist_placement (placementid bigint, shardid bigint, shardstate int, shardlength bigint, groupid int);
    GRANT SELECT ON pg_catalog.pg_dist_partition, pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement TO PUBLIC;
    RESET allow_system_table_mods;
    CREATE TABLE plain (id int PRIMARY KEY, name text, sf_id text);
    CREATE TABLE everywhere (LIKE plain INCLUDING ALL); CREATE TABLE spread (LIKE plain INCLUDING ALL);
    CREATE TABLE twice (LIKE plain INCLUDING ALL); CREATE TABLE local (LIKE plain INCLUDING ALL);
    INSERT INTO pg_dist_partition VALUES ('everywhere', 'n', NULL, 1, 't'), ('spread', 'h', 'id', 2, 's'),
        ('twice', 'h', 'id', 3, 'c'), ('local', 'n', NULL, 4, 's');
    INSERT INTO pg_dist_shard VALUES ('everywhere', 1, 't'), ('spread', 2, 't'), ('spread', 3, 't'), ('twice', 4, 't'), ('local', 5, 't');
    INSERT INTO pg_dist_placement VALUES (1, 1, 1, 0, 1), (2, 1, 1, 0, 2), (3, 2, 1, 0, 1), (4, 3, 1, 0, 2),
        (5, 4, 1, 0, 1), (6, 4, 1, 0, 2), (7, 5, 1, 0, 0)";

#[test]
fn a_table_that_citus_keeps_on_several_nodes_is_refused() {
    let mut world = World::new();
    world.run(CITUS);
    for table in ["everywhere", "twice"] {
        let (code, message, hint) = refusal(&mut world, table);
        assert_eq!(
            (code.as_str(), message),
            ("0A000", format!("Citus keeps each row of public.{table} on several nodes"))
        );
        assert!(hint.contains("create for each node"), "{hint}");
    }
    for table in ["plain", "spread", "local"] {
        world.run(&attach(table));
    }
    // An older Citus, or one that is being removed, has fewer of these catalogs.
    world.run(
        "SELECT sequin_detach('plain'); SET allow_system_table_mods = on;
         DROP TABLE pg_catalog.pg_dist_placement; RESET allow_system_table_mods",
    );
    assert_eq!(refusal(&mut world, "everywhere").0, "0A000");
    world.run(&attach("plain"));
}

#[test]
fn a_role_without_rights_on_what_is_called_like_citus_catalogs_can_attach() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE pg_dist_partition (logicalrelid int); CREATE TABLE t (id int PRIMARY KEY, name text, sf_id text)",
    );
    world.run(&attach("t"));
}

const AUDIT: &str = "
    CREATE SCHEMA app; CREATE TABLE app.audit (id int); CREATE TABLE app.\"Log\" (id int);
    SET search_path = app, public;
    CREATE FUNCTION app.bare() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NEW; END $$;
    CREATE FUNCTION app.two() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit SELECT 1; DELETE FROM \"Log\"; RETURN NULL; END $$;
    CREATE FUNCTION app.qualified() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO app.audit VALUES (NEW.id); RETURN NEW; END $$;
    CREATE FUNCTION app.has_path() RETURNS trigger LANGUAGE plpgsql SET search_path = app, pg_temp AS $$ BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NEW; END $$;
    CREATE FUNCTION app.stamps() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
    CREATE TABLE app.t (id int PRIMARY KEY, name text, sf_id text);
    CREATE TABLE app.p (id int PRIMARY KEY, name text, sf_id text) PARTITION BY LIST (id);
    CREATE TABLE app.p_1 PARTITION OF app.p FOR VALUES IN (1, 2);
    ";

/// The triggers on app.t that psql shows a NOTICE for when the table is attached.
fn notices(trigger: &str, more: &str) -> String {
    let world = World::new();
    said(
        &world.database.psql(&format!(
            "{AUDIT} {trigger}; SELECT sequin_attach('app.t', 's', 'salesforce:contact', 'sf_id' {more})"
        )),
    )
}

#[test]
fn attaching_says_which_trigger_would_keep_upstream_ids_from_being_written() {
    for timing in ["AFTER UPDATE", "BEFORE UPDATE", "AFTER INSERT OR UPDATE", "AFTER UPDATE OF sf_id"] {
        let said =
            notices(&format!("CREATE TRIGGER log_it {timing} ON app.t FOR EACH ROW EXECUTE FUNCTION app.bare()"), "");
        assert!(
            said.contains(
                "NOTICE:  trigger \"log_it\" of app.t calls app.bare(), which writes \"audit\" without a schema"
            ),
            "{timing}: {said}"
        );
        assert!(said.contains("HINT:  ALTER FUNCTION app.bare() SET search_path = app, pg_temp"), "{timing}: {said}");
        assert_eq!(said.matches("NOTICE").count(), 1, "{timing}: {said}");
    }
    let said = notices(
        "CREATE TRIGGER log_it AFTER UPDATE ON app.t EXECUTE FUNCTION app.two(); ALTER TABLE app.t ENABLE ALWAYS TRIGGER log_it",
        "",
    );
    assert!(said.contains("which writes \"Log\" and \"audit\" without a schema"), "{said}");
}

#[test]
fn attaching_says_nothing_of_triggers_that_do_no_harm() {
    for trigger in [
        "CREATE TRIGGER x AFTER INSERT OR DELETE ON app.t FOR EACH ROW EXECUTE FUNCTION app.bare()",
        "CREATE TRIGGER x AFTER UPDATE OF name ON app.t FOR EACH ROW EXECUTE FUNCTION app.bare()",
        "CREATE TRIGGER x AFTER UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.qualified()",
        "CREATE TRIGGER x AFTER UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.has_path()",
        "CREATE TRIGGER x BEFORE UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.stamps()",
        "CREATE TRIGGER x AFTER UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.bare(); ALTER TABLE app.t DISABLE TRIGGER x",
        "CREATE TRIGGER x AFTER UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.bare(); ALTER TABLE app.t ENABLE REPLICA TRIGGER x",
    ] {
        let said = notices(trigger, "");
        assert!(!said.contains("NOTICE"), "{trigger}: {said}");
    }
    // Without creates no id is written.
    let said = notices(
        "CREATE TRIGGER x AFTER UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.bare()",
        ", operations => '{update,delete}'",
    );
    assert!(!said.contains("NOTICE"), "{said}");
}

#[test]
fn a_trigger_of_a_partitioned_table_or_of_a_partition_is_named_once() {
    for (on, shown) in [("app.p", "app.p"), ("app.p_1", "app.p_1")] {
        let world = World::new();
        let said = said(&world.database.psql(&format!(
            "{AUDIT} CREATE TRIGGER log_it AFTER UPDATE ON {on} FOR EACH ROW EXECUTE FUNCTION app.bare();
             SELECT sequin_attach('app.p', 's', 'salesforce:contact', 'sf_id')"
        )));
        assert!(said.contains(&format!("NOTICE:  trigger \"log_it\" of {shown} calls app.bare()")), "{said}");
        assert_eq!(said.matches("NOTICE").count(), 1, "{said}");
    }
}

/// The NOTICE describes the problem, and its HINT solves it.
#[test]
fn the_trigger_of_the_notice_keeps_the_id_from_being_written_until_its_hint_is_followed() {
    let mut world = World::new();
    world.run(AUDIT);
    world.run(
        "CREATE TRIGGER log_it AFTER UPDATE ON app.t FOR EACH ROW EXECUTE FUNCTION app.bare();
         SELECT sequin_attach('app.t', 's', 'salesforce:contact', 'sf_id'); INSERT INTO app.t VALUES (1, 'Paul')",
    );
    world.settled();
    world.until("SELECT attempts > 0 FROM sequin.pending_upstream_ids");
    assert_eq!(world.one::<i64>("SELECT count(sf_id) FROM app.t"), 0);
    world.run("ALTER FUNCTION app.bare() SET search_path = app, pg_temp");
    world.until("SELECT count(sf_id) = 1 FROM app.t");
}

/// docs/operations.md, Frameworks and tools.
#[test]
fn capture_is_off_for_a_test_database_and_by_a_connection_option_before_the_library_is_loaded() {
    let mut world = World::new();
    world.run("CREATE TABLE t (id int PRIMARY KEY, name text, sf_id text)");
    world.run("SELECT sequin_attach('t', 's', 'salesforce:contact', 'sf_id', delivery => 'inline')");
    let statements = "INSERT INTO t VALUES (1, 'x'); UPDATE t SET name = 'y'; TRUNCATE t";
    let dsn = format!("{} options='-c sequin.capture=off'", world.database.dsn());
    let mut session = postgres::Client::connect(&dsn, postgres::NoTls).unwrap();
    session.run(statements);
    let name = world.database.name().to_owned();
    world.run(&format!("ALTER DATABASE \"{name}\" SET sequin.capture = off"));
    world.database.connect().run(statements);
    assert_eq!(world.sent(), 0);
    world.run("INSERT INTO t VALUES (2, 'z')");
    assert_eq!(world.sent(), 1, "this session began before");
}
