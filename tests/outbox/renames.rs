//! ALTER SERVER ... RENAME: attached tables and open work follow the server.

use serde_json::{Value, json};

use super::BOOK;
use crate::support::network::eventually;
use crate::support::{Session, World, hint_of};

const RENAME: &str = "ALTER SERVER sequin RENAME TO crm";

/// The server that each attached table names, and the states of its triggers.
const ATTACHED: &str = "SELECT string_agg(format('%s %s', relation, server), ', ' ORDER BY relation::text, server)
                        FROM sequin.attachments";

#[test]
fn attached_tables_and_queued_records_follow_a_server_that_is_renamed() {
    let mut world = World::new();
    world.run(BOOK);
    world.run(
        "CREATE TABLE inline (id int PRIMARY KEY, name text, sf_id text);
         SELECT sequin_attach('inline', 'sync', 'salesforce:inline', 'sf_id', delivery => 'inline');
         CREATE TABLE parts (id int PRIMARY KEY, name text, sf_id text) PARTITION BY LIST (id);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1, 2);
         SELECT sequin_attach('parts', 'sync', 'salesforce:parts', 'sf_id');
         ALTER TABLE inline DISABLE TRIGGER sequin_delete; ALTER TABLE inline ENABLE ALWAYS TRIGGER sequin_insert",
    );
    // One of each state that lasts, and one that waits.
    let rejected = world.enqueue("update", &json!([{"upstream_id": "none", "data": {"Name": "x"}}]))[0];
    world.settled();
    world.sandbox.fault(json!({"status": 504, "match": {"kind": "create"}}));
    let unknown = world.enqueue("create", &json!([{"data": {"Name": "Chani"}}]))[0];
    world.settled();
    world.run("SELECT sequin_pause('sequin'); INSERT INTO people (id, name) VALUES (1, 'Paul'); INSERT INTO parts VALUES (1, 'a')");
    let waiting = world.enqueue("create", &json!([{"data": {"Name": "Leto"}}]))[0];

    world.run(RENAME);
    assert_eq!(world.one::<String>(ATTACHED), "inline crm, parts crm, parts_1 crm, people crm");
    let enabled = "SELECT string_agg(tgenabled::text, '' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'inline'::regclass AND tgname IN ('sequin_delete', 'sequin_insert', 'sequin_update')";
    assert_eq!(world.one::<String>(enabled), "DAO", "delete is disabled, insert fires always");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE server = 'crm'"), 5);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE server <> 'crm'"), 0);
    let status = "SELECT server || ' ' || paused || ' ' || last_error FROM sequin.status";
    assert_eq!(world.one::<String>(status), "crm true paused by postgres");

    world.run("INSERT INTO inline VALUES (1, 'now'); INSERT INTO people (id, name) VALUES (2, 'Alia'); SELECT sequin_resume('crm')");
    assert_eq!(world.one::<i64>("SELECT count(sf_id) FROM inline"), 1);
    world.settled();
    let fates = world.fates();
    for (id, fate) in [(rejected, "rejected"), (unknown, "unknown"), (waiting, "applied")] {
        assert!(fates.contains(&(id, fate.to_owned())), "{id}: {fates:?}");
    }
    world.until("SELECT count(sf_id) = 2 FROM people");
    world.until("SELECT count(sf_id) = 1 FROM parts");
    // The attachment is the one that the new name makes: a partition that came later completes it.
    world.run(
        "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (3);
         SELECT sequin_attach('parts', 'sync', 'salesforce:parts', 'sf_id', server => 'crm')",
    );
    assert!(world.one::<String>(ATTACHED).contains("parts_2 crm"));
    // A verb for a record works under the new name, and the old one is answered as any that does not exist.
    world.run(&format!("SELECT sequin_discard({rejected}), sequin_resolve({unknown}, 'x')"));
    let error = world.error("SELECT sequin_enqueue('delete', 'sync', 'salesforce:contact', '\"x\"')");
    assert_eq!((error.code().code(), error.message()), ("42704", "server \"sequin\" does not exist"));
    world.run("SET sequin.server = 'crm'; SELECT sequin_enqueue('delete', 'sync', 'salesforce:contact', '\"x\"')");
}

#[test]
fn what_was_delivered_keeps_the_name_that_it_was_sent_under() {
    let mut world = World::new();
    world.enqueue("create", &json!([{"data": {"Name": "Paul"}}]));
    world.settled();
    world.run(RENAME);
    assert_eq!(world.one::<String>("SELECT server FROM sequin.delivered"), "sequin");
}

#[test]
fn upstream_ids_that_are_still_to_be_written_reach_their_rows() {
    let mut world = World::new();
    world.run(BOOK);
    world.run(
        "CREATE FUNCTION public.fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not yet'; END $$;
         CREATE TRIGGER fails BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION public.fails();
         INSERT INTO people (id, name) VALUES (1, 'Paul')",
    );
    world.until("SELECT count(*) = 1 FROM sequin.pending_upstream_ids");
    world.until("SELECT attempts > 0 FROM sequin.pending_upstream_ids");
    world.run(RENAME);
    assert_eq!(world.one::<String>("SELECT server FROM sequin.pending_upstream_ids"), "crm");
    world.run("DROP TRIGGER fails ON people");
    world.until("SELECT count(sf_id) = 1 FROM people");
}

#[test]
fn a_rename_is_refused_while_a_request_is_in_flight() {
    let mut world = World::new();
    world.hold_next();
    let id = world.enqueue("create", &json!([{"data": {"Name": "Paul"}}]))[0];
    world.arrived(1);
    let error = world.error(RENAME);
    assert_eq!(error.code().code(), "55006");
    assert_eq!(error.message(), "server \"sequin\" cannot be renamed while requests to it are in flight");
    for part in ["sequin_pause('sequin')", "ALTER SERVER sequin RENAME TO crm", "sequin_resume('crm')"] {
        assert!(hint_of(&error).contains(part), "{error:?}");
    }
    // The way that the HINT shows.
    world.run("SELECT sequin_pause('sequin')");
    world.release();
    world.settled();
    world.run(RENAME);
    world.run("SELECT sequin_resume('crm')");
    assert_eq!(world.fates(), [(id, "applied".to_owned())]);
    assert_eq!(world.contact_count(), 1);
}

#[test]
fn a_rename_that_is_rolled_back_changes_nothing() {
    let mut world = World::new();
    world.run(BOOK);
    world.run("SELECT sequin_pause('sequin'); INSERT INTO people (id, name) VALUES (1, 'Paul')");
    world.run(&format!("BEGIN; {RENAME}; INSERT INTO people (id, name) VALUES (2, 'Leto'); ROLLBACK"));
    assert_eq!(world.one::<String>(ATTACHED), "people sequin");
    world.run("INSERT INTO people (id, name) VALUES (3, 'Chani'); SELECT sequin_resume('sequin')");
    world.until("SELECT count(sf_id) = 2 FROM people");
}

#[test]
fn two_servers_can_swap_their_names_in_one_transaction() {
    let mut world = World::new();
    let url = world.sandbox.url().to_owned();
    let token = world.sandbox.token().to_owned();
    world.database.create_server_named("other", &url, &token);
    world.run("SELECT sequin_pause('sequin'), sequin_pause('other')");
    let ours = world.enqueue("create", &json!([{"data": {"Name": "Paul"}}]))[0];
    world.run(
        "BEGIN; ALTER SERVER sequin RENAME TO aside; ALTER SERVER other RENAME TO sequin;
         ALTER SERVER aside RENAME TO other; COMMIT",
    );
    assert_eq!(world.one_of::<String>("SELECT server FROM sequin.outbox WHERE id = $1", &[&ours]), "other");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.status WHERE paused"), 2);
    world.run("SELECT sequin_resume('other')");
    world.settled();
    assert_eq!(world.contact_count(), 1);
}

#[test]
fn a_server_gets_the_name_of_one_that_was_dropped_with_its_pauses_and_records() {
    let mut world = World::new();
    let url = world.sandbox.url().to_owned();
    let token = world.sandbox.token().to_owned();
    world.database.create_server_named("crm", &url, &token);
    world.run(
        "SELECT sequin_pause('crm'), sequin_pause('sequin'); SET sequin.server = 'crm';
         SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\": {}}'); RESET sequin.server;
         DROP SERVER crm CASCADE; ",
    );
    world.run(RENAME);
    world.run("SELECT sequin_resume('crm')");
    world.settled();
    assert_eq!(world.contact_count(), 1);
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.pauses"), 0);
}

#[test]
fn a_role_that_owns_the_server_and_no_table_can_rename_it() {
    let mut world = World::new();
    let owner = format!("owner_{}", world.database.name());
    world.run(BOOK);
    world.run(&format!(
        "CREATE ROLE \"{owner}\" LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER sequin_mutations TO \"{owner}\";
         ALTER SERVER sequin OWNER TO \"{owner}\"; SELECT sequin_pause('sequin'); INSERT INTO people (id, name) VALUES (1, 'Paul')"
    ));
    let mut session = world.database.connect_as(&owner);
    session.run(RENAME);
    assert_eq!(session.one::<String>("SELECT current_user::text"), owner);
    drop(session);
    assert_eq!(world.one::<String>(ATTACHED), "people crm");
    world.run("SELECT sequin_resume('crm')");
    world.until("SELECT count(sf_id) = 1 FROM people");
    world.run(&format!("ALTER SERVER crm OWNER TO postgres; DROP OWNED BY \"{owner}\"; DROP ROLE \"{owner}\""));
}

#[test]
fn a_server_of_another_wrapper_is_renamed_without_waiting_for_the_outbox() {
    let mut world = World::new();
    world.run("CREATE FOREIGN DATA WRAPPER other; CREATE SERVER shard FOREIGN DATA WRAPPER other");
    let mut verb = world.database.connect();
    let mut holding = verb.transaction().unwrap();
    holding.batch_execute("SELECT sequin_pause('sequin')").unwrap();
    world.run("SET statement_timeout = '10s'; ALTER SERVER shard RENAME TO shard_1; ALTER SERVER shard_1 VERSION '2'");
    world.run("ALTER SERVER sequin OPTIONS (ADD max_batch '7')");
    holding.rollback().unwrap();
}

#[test]
fn a_rename_waits_for_transactions_that_have_queued_records_and_their_records_follow() {
    let mut world = World::new();
    world.run(BOOK);
    world.run("SELECT sequin_pause('sequin')");
    for statement in [
        "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\": {}}')",
        "INSERT INTO people (id, name) VALUES (1, 'Paul')",
        "CREATE TABLE later (id int PRIMARY KEY, name text, sf_id text); SELECT sequin_attach('later', 's', 'salesforce:later', 'sf_id')",
    ] {
        let (mut one, mut other) = (world.database.connect(), world.database.connect());
        let pid: i32 = other.one("SELECT pg_backend_pid()");
        let mut writing = one.transaction().unwrap();
        writing.batch_execute(statement).unwrap();
        std::thread::scope(|scope| {
            let rename = scope.spawn(|| other.batch_execute(RENAME));
            eventually("the rename waits", || {
                world.one_of::<bool>("SELECT cardinality(pg_blocking_pids($1)) > 0", &[&pid])
            });
            writing.commit().unwrap();
            rename.join().unwrap().unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        });
        assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox WHERE server <> 'crm'"), 0, "{statement}");
        assert!(!world.one::<String>(ATTACHED).contains("sequin"), "{statement}");
        world.run("ALTER SERVER crm RENAME TO sequin");
    }
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    assert_eq!(world.contact_count(), 2);
}

/// In either order: a request is answered, or it waits and the new server answers it.
#[test]
fn a_record_that_is_queued_during_a_rename_names_a_server_that_there_is() {
    let mut world = World::new();
    let (mut one, mut other) = (world.database.connect(), world.database.connect());
    let pid: i32 = other.one("SELECT pg_backend_pid()");
    let mut renaming = one.transaction().unwrap();
    renaming.batch_execute(RENAME).unwrap();
    let call = "SELECT sequin_enqueue('create', 'sync', 'salesforce:contact', '{\"data\": {}}')";
    let error = std::thread::scope(|scope| {
        let enqueuing = scope.spawn(|| other.batch_execute(call));
        eventually("it waits", || world.one_of::<bool>("SELECT cardinality(pg_blocking_pids($1)) > 0", &[&pid]));
        renaming.commit().unwrap();
        enqueuing.join().unwrap().unwrap_err()
    });
    assert_eq!(error.code().unwrap().code(), "42704", "{error:?}");
    assert_eq!(world.one::<i64>("SELECT count(*) FROM sequin.outbox"), 0);
}

#[test]
fn a_rename_cannot_be_made_where_it_would_not_see_what_was_sent() {
    let mut world = World::new();
    let error = world.error(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {RENAME}"));
    assert_eq!((error.code().code(), hint_of(&error).is_empty()), ("25001", false));
    world.run("ROLLBACK");
    let error = world.error("SELECT sequin.follow_rename()");
    assert!(["39P03", "0A000"].contains(&error.code().code()), "{error:?}");
}

/// As everything of an extension.
#[test]
fn the_event_trigger_comes_and_goes_with_the_extension() {
    let mut world = World::new();
    world.run(BOOK);
    let dump = world.database.server().program("pg_dump").args(["-d", &world.database.dsn()]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    assert!(dump.contains("CREATE EXTENSION") && !dump.contains("EVENT TRIGGER"), "{dump}");
    let count = "SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'sequin%'";
    assert_eq!(world.one::<i64>(count), 1);
    world.run("DROP EXTENSION sequin_mutations CASCADE");
    assert_eq!(world.one::<i64>(count), 0);
    world.run(
        "CREATE FOREIGN DATA WRAPPER other; CREATE SERVER s FOREIGN DATA WRAPPER other; ALTER SERVER s RENAME TO t",
    );
}

#[test]
fn triggers_made_by_hand_stand_in_no_renames_way_and_odd_names_are_followed() {
    let mut world = World::new();
    world.run(BOOK);
    for (i, argument) in
        ["", "'x'", "'{}'", "'{\"server\": \"sequin\"}'", r#"'{"server": "\u0000"}'"#].iter().enumerate()
    {
        world.run(&format!(
            "CREATE TABLE h{i} (id int PRIMARY KEY);
             CREATE TRIGGER h AFTER INSERT ON h{i} FOR EACH STATEMENT EXECUTE FUNCTION sequin.capture({argument})"
        ));
    }
    // Records of the transaction itself follow as well.
    world.run("BEGIN; SELECT sequin_pause('sequin'); INSERT INTO people (id, name) VALUES (1, 'Paul')");
    for (before, after) in [("sequin", "it's \"a\" \\ é"), ("it's \"a\" \\ é", "b")] {
        let quoted = |name: &str| sequin_harness::identifier(name);
        world.run(&format!("ALTER SERVER {} RENAME TO {}", quoted(before), quoted(after)));
        assert_eq!(world.one::<String>(ATTACHED), format!("people {after}"));
        assert_eq!(world.one::<String>("SELECT server FROM sequin.outbox"), after);
    }
    world.run("COMMIT; SELECT sequin_resume('b')");
    world.until("SELECT count(sf_id) = 1 FROM people");
}

/// A worker that is killed leaves its claims. The next worker settles them under the name that they have then.
#[test]
fn claims_of_a_worker_that_is_gone_follow_too() {
    let mut cluster = World::with_own_server("");
    let id = cluster.create("Paul");
    cluster.sandbox.clear_log();
    cluster.sandbox.fault(json!({"stall": "reply"}));
    let update = cluster.enqueue_number(&id, 1);
    cluster.in_the_air();
    cluster.restart(sequin_harness::Stop::Immediate);
    cluster.sandbox.clear_faults();
    // Not preloaded: no worker is there, and the claim is.
    assert_eq!(cluster.one::<i64>("SELECT count(*) FROM sequin.claims"), 1);
    cluster.run(RENAME);
    cluster.settled();
    assert_eq!(cluster.state(update), "applied");
    let sent: Vec<Value> = cluster.mutations();
    assert!(sent.len() >= 2, "it was sent again: {sent:?}");
}
