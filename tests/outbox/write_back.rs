//! Writing upstream ids into rows that other sessions lock, replace, or protect.

use serde_json::json;

use super::attached::book;
use crate::support::{Session, World, request};

#[test]
fn a_locked_row_is_written_later_and_nothing_waits_for_it() {
    let mut world = book();
    let mut other = world.database.connect();
    world.hold_next();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.arrived(1);
    other.run("BEGIN; SELECT FROM people WHERE id = 1 FOR UPDATE");
    world.release();
    // These come, are sent and are written while the other is locked.
    world.run("INSERT INTO people VALUES (2, 'Chani')");
    world.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 2");
    // A change of the locked row by its holder goes out with the id that is not in the row yet.
    other.run("UPDATE people SET name = 'Usul' WHERE id = 1; COMMIT");
    world.written_back();
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM people"), 2);
    let id: String = world.one("SELECT sf_id FROM people WHERE id = 1");
    let (kind, records) = world.requests().pop().unwrap();
    assert_eq!((&kind[..], records), ("update", json!([{"upstream_id": id, "data": {"Name": "Usul"}}])));
    assert_eq!(world.one::<String>("SELECT name FROM people WHERE id = 1"), "Usul");
}

/// The old row's id comes when there is another row under its key already.
#[test]
fn a_row_that_was_locked_and_replaced_does_not_get_the_old_id() {
    let mut world = book();
    let mut other = world.database.connect();
    world.hold_next();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.arrived(1);
    other.run("BEGIN; SELECT FROM people WHERE id = 1 FOR UPDATE");
    world.release();
    world.until("SELECT EXISTS (SELECT FROM sequin.pending_upstream_ids)");
    other
        .run("DELETE FROM people; INSERT INTO people VALUES (1, 'Chani'); UPDATE people SET email = 'c@a.org'; COMMIT");
    world.written_back();
    let [old, new] = &world.upstream()[..] else { panic!("not two records") };
    assert_eq!(world.sf_id().as_ref(), Some(new));
    assert_eq!(world.requests()[1], request("delete", json!([old])));
    assert_eq!(world.contact(), json!({"Name": "Chani", "Email": "c@a.org"}));
}

#[test]
fn a_row_that_replaced_one_of_an_unknown_create_does_not_get_the_resolved_id() {
    let mut world = book();
    world.sandbox.fault(json!({"cut_after": 0}));
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.until("SELECT EXISTS (SELECT FROM sequin.dead_letters)");
    world.run("DELETE FROM people; INSERT INTO people VALUES (1, 'Chani')");
    let id: i64 = world.one("SELECT id FROM sequin.dead_letters");
    let old = world.upstream().remove(0);
    // The new row's update is in the queue when the rest of its key is deferred already.
    world.run(&format!("BEGIN; UPDATE people SET name = 'Sihaya'; SELECT sequin_resolve({id}, '{old}'); COMMIT"));
    world.written_back();
    let [_, new] = &world.upstream()[..] else { panic!("not two records") };
    assert_eq!(world.sf_id().as_ref(), Some(new));
    assert_eq!(world.requests()[1], request("delete", json!([old])));
    assert_eq!(world.contact()["Name"], "Sihaya");
    assert_eq!(world.endings(), ["resolved", "applied", "applied", "applied"]);
}

/// A value that its column does not take, for instance.
#[test]
fn one_row_that_cannot_be_written_keeps_no_other_from_its_id() {
    let mut world = book();
    world.run("ALTER TABLE people ADD CHECK (id <> 3 OR sf_id IS NULL); SELECT sequin_pause('sequin')");
    world.run("INSERT INTO people SELECT n, 'x' FROM generate_series(1, 5) n; SELECT sequin_resume('sequin')");
    world.until("SELECT count(*) = 4 FROM people WHERE sf_id IS NOT NULL");
    world.until("SELECT EXISTS (SELECT FROM sequin.pending_upstream_ids WHERE error LIKE '%check constraint%')");
    let left: i64 = world.one("SELECT id FROM people WHERE sf_id IS NULL");
    assert_eq!(left, 3);
}

/// The trigger is the owner's mistake. It costs the ids of this table's rows, which sequin.delivered still shows.
#[test]
fn a_trigger_that_fails_on_the_write_back_affects_no_other_table() {
    let mut world = book();
    world.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in my table'; END $$;
         CREATE TRIGGER fail BEFORE UPDATE OF sf_id ON people FOR EACH ROW EXECUTE FUNCTION fail();
         CREATE TABLE pets (id int PRIMARY KEY, name text, sf_id text);
         SELECT sequin_attach('pets', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO people VALUES (1, 'Paul')",
    );
    world.until("SELECT EXISTS (SELECT FROM sequin.pending_upstream_ids WHERE error LIKE '%not in my table%')");
    world.run("INSERT INTO pets VALUES (1, 'Muad')");
    world.until("SELECT sf_id IS NOT NULL FROM pets");
    assert_eq!(world.endings(), ["applied", "applied"]);
    // Its changes still find their record.
    let id: String = world.one("SELECT upstream_id FROM sequin.delivered WHERE relation = 'people'::regclass");
    world.requests();
    world.run("UPDATE people SET name = 'Usul'");
    world.until("SELECT EXISTS (SELECT FROM sequin.delivered WHERE kind = 'update')");
    assert_eq!(world.requests(), [request("update", json!([{"upstream_id": id, "data": {"Name": "Usul"}}]))]);
    // Once it is repaired, the id comes by itself.
    world.run("DROP TRIGGER fail ON people");
    world.written_back();
    assert_eq!(world.sf_id(), Some(id));
}

/// Such a trigger runs at the end of a transaction, when the worker's transaction has its own rights back.
#[test]
fn deferred_constraint_triggers_run_within_the_write() {
    let mut world = book();
    world.run(
        "CREATE TABLE seen (who text, id text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN INSERT INTO public.seen VALUES (current_user, NEW.sf_id); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER note AFTER UPDATE ON people DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION note();
         INSERT INTO people VALUES (1, 'Paul')",
    );
    world.written_back();
    let id = world.sf_id();
    assert_eq!(world.one::<Option<String>>("SELECT id FROM seen"), id);
}

/// The delivery worker defers a change at the moment in which the change gets its upstream id.
#[test]
fn a_change_that_is_deferred_when_its_id_comes_gets_it() {
    let mut world = book();
    let (mut other, mut mover) = (world.database.connect(), world.database.connect());
    // Both creates: the change must not be claimed before the pause.
    world.hold_next();
    world.hold_next();
    world.run("INSERT INTO people VALUES (1, 'Paul'), (2, 'Chani')");
    world.arrived(2);
    world.run("UPDATE people SET name = 'Usul' WHERE id = 1");
    other.run("BEGIN; SELECT FROM people FOR UPDATE");
    world.run("SELECT sequin_pause('sequin')");
    world.release();
    world.until("SELECT count(*) = 2 FROM sequin.pending_upstream_ids");
    mover.run(
        "BEGIN; WITH gone AS (DELETE FROM sequin.queue q WHERE q.kind = 'update' RETURNING q.*)
             INSERT INTO sequin.deferred SELECT g.*, 'pending', 0, 'infinity', NULL, NULL, false FROM gone g",
    );
    other.run("COMMIT");
    // The write-back does not wait for the change, and the other row gets its id.
    world.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 2");
    assert!(world.one::<bool>("SELECT sf_id IS NULL FROM people WHERE id = 1"));
    mover.run("COMMIT");
    world.until("SELECT NOT EXISTS (SELECT FROM sequin.pending_upstream_ids)");
    let id: Option<String> = world.one("SELECT sf_id FROM people WHERE id = 1");
    assert!(id.is_some());
    assert_eq!(world.one::<Option<String>>("SELECT upstream_id FROM sequin.deferred"), id);
    world.requests();
    world.run("SELECT sequin_resume('sequin')");
    world.settled();
    let requests = world.requests();
    let update = request("update", json!([{"upstream_id": id, "data": {"Name": "Usul"}}]));
    assert!(requests.contains(&update), "{requests:?}");
}

/// The delivery worker deletes a pending id with the delete of its row.
#[test]
fn a_pending_id_that_is_locked_is_not_waited_for() {
    let mut world = book();
    let (mut other, mut worker) = (world.database.connect(), world.database.connect());
    world.hold_next();
    world.run("INSERT INTO people VALUES (1, 'Paul')");
    world.arrived(1);
    other.run("BEGIN; SELECT FROM people WHERE id = 1 FOR UPDATE");
    world.release();
    world.until("SELECT EXISTS (SELECT FROM sequin.pending_upstream_ids)");
    worker.run("BEGIN; SELECT FROM sequin.pending_upstream_ids FOR UPDATE");
    other.run("COMMIT");
    world.run("INSERT INTO people VALUES (2, 'Chani')");
    world.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 2");
    assert!(world.one::<bool>("SELECT sf_id IS NULL FROM people WHERE id = 1"));
    worker.run("ROLLBACK");
    world.written_back();
    assert_eq!(world.one::<i64>("SELECT count(DISTINCT sf_id) FROM people"), 2);
}

/// A role that owns `people` and is bound by its policies.
fn bound_owner(world: &mut World) -> String {
    let owner = format!("owner_{}", world.database.name());
    world.run(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT USAGE ON FOREIGN SERVER sequin TO {owner};
         GRANT USAGE, CREATE ON SCHEMA public TO {owner}; ALTER TABLE people OWNER TO {owner};
         ALTER TABLE people ENABLE ROW LEVEL SECURITY; ALTER TABLE people FORCE ROW LEVEL SECURITY"
    ));
    owner
}

fn drop_owner(world: &mut World, owner: &str) {
    world.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

/// The usual policy of an application with many tenants. The worker has no such setting.
#[test]
fn a_row_that_a_policy_by_a_session_setting_hides_gets_its_id() {
    let mut world = book();
    let owner = bound_owner(&mut world);
    world.run("CREATE POLICY tenant ON people USING (note = current_setting('app.tenant', true))");
    let mut session = world.database.connect_as(&owner);
    session.run("SET app.tenant = 'atreides'; INSERT INTO people VALUES (1, 'Paul', NULL, 'atreides')");
    world.written_back();
    let id = world.upstream().remove(0);
    assert_eq!(world.sf_id(), Some(id));
    session.run("DELETE FROM people");
    world.settled();
    assert_eq!(world.endings(), ["applied", "applied"]);
    world.run("DROP POLICY tenant ON people; CREATE POLICY no ON people USING (false) WITH CHECK (note = 'atreides')");
    session.run("INSERT INTO people VALUES (2, 'Leto', NULL, 'atreides')");
    world.written_back();
    assert!(world.sf_id().is_some());
    drop(session);
    drop_owner(&mut world, &owner);
}

/// The policies of a partition count for who names the partition.
#[test]
fn a_row_that_a_policy_of_a_partition_hides_gets_its_id() {
    let mut world = World::new();
    let owner = format!("owner_{}", world.database.name());
    world.run(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT USAGE ON FOREIGN SERVER sequin TO {owner};
         GRANT USAGE, CREATE ON SCHEMA public TO {owner};
         CREATE TABLE people (id bigint PRIMARY KEY, name text, sf_id text) PARTITION BY RANGE (id);
         CREATE TABLE few PARTITION OF people FOR VALUES FROM (1) TO (10);
         CREATE TABLE many PARTITION OF people FOR VALUES FROM (10) TO (100);
         CREATE TABLE alone (id bigint PRIMARY KEY, name text, sf_id text) PARTITION BY RANGE (id);
         CREATE TABLE leaf PARTITION OF alone FOR VALUES FROM (1) TO (10);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id'),
                sequin_attach('leaf', 'sync', 'salesforce:contact', 'sf_id');
         ALTER TABLE people OWNER TO {owner}; ALTER TABLE few OWNER TO {owner}; ALTER TABLE many OWNER TO {owner};
         ALTER TABLE leaf OWNER TO {owner}"
    ));
    for table in ["people", "few", "many", "leaf"] {
        world.run(&format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
             CREATE POLICY tenant ON {table} USING (false) WITH CHECK (true)"
        ));
    }
    let mut session = world.database.connect_as(&owner);
    session.run(
        "INSERT INTO people VALUES (1, 'Paul'), (11, 'Chani'); INSERT INTO few VALUES (2, 'Leto');
             INSERT INTO leaf VALUES (3, 'Jessica')",
    );
    world.written_back();
    let ids =
        "SELECT count(DISTINCT sf_id) FROM (SELECT sf_id FROM people UNION ALL SELECT sf_id FROM leaf) all_people";
    assert_eq!(world.one::<i64>(ids), 4);
    drop(session);
    drop_owner(&mut world, &owner);
}

/// The owner of a table may revoke the owner's own rights to it; then the id waits.
#[test]
fn an_id_is_kept_while_the_owner_may_not_see_or_write_the_row() {
    for right in ["SELECT", "UPDATE", "USAGE"] {
        let mut world = book();
        let owner = bound_owner(&mut world);
        world.run("CREATE POLICY tenant ON people USING (false) WITH CHECK (true)");
        let (of, from) = if right == "USAGE" { ("SCHEMA public", "PUBLIC, ") } else { ("people", "") };
        world.run(&format!("REVOKE {right} ON {of} FROM {from}{owner}"));
        world.run("INSERT INTO people VALUES (1, 'Paul')");
        world.until("SELECT EXISTS (SELECT FROM sequin.pending_upstream_ids WHERE error LIKE 'permission denied%')");
        assert_eq!(world.sf_id(), None, "{right}");
        world.run(&format!("GRANT {right} ON {of} TO {owner}"));
        world.written_back();
        assert!(world.sf_id().is_some(), "{right}");
        drop_owner(&mut world, &owner);
    }
}

/// Blank text is no id, in a table of the outbox either.
#[test]
fn a_row_that_was_inserted_with_a_blank_id_gets_its_own() {
    let mut world = book();
    world.run(
        "INSERT INTO people (id, name, sf_id) VALUES (1, 'Paul', ''), (2, 'Chani', E' \\t'), (3, 'Leto', U&'\\2003')",
    );
    world.written_back();
    let upstream = world.upstream();
    assert_eq!(upstream.len(), 3);
    assert_eq!(world.one_of::<i64>("SELECT count(DISTINCT sf_id) FROM people WHERE sf_id = ANY ($1)", &[&upstream]), 3);
}
