//! The worker never runs code of a less privileged role with its own rights: a table whose owner wants more.
//!
//! Writing an upstream id into a row runs code of the table's owner. It must run as that owner, gain nothing, leave
//! nothing behind in the worker, and not delay other tables.

use serde_json::json;

use crate::support::{Session, World};

/// Code of a role without rights, wherever a table can hold some. Each place reports by `proof` that it ran, and as
/// which role.
const TABLE: &str = r#"
    CREATE SCHEMA lair;
    CREATE TABLE lair.proof (place text, who text, session text, gained text);
    CREATE FUNCTION lair.tempt(place text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
      DECLARE attempt text; gained text := '';
      BEGIN
        FOREACH attempt IN ARRAY ARRAY[
          'SET ROLE postgres', 'RESET ROLE', 'SET SESSION AUTHORIZATION postgres', 'RESET SESSION AUTHORIZATION',
          'ALTER ROLE ' || quote_ident('@') || ' SUPERUSER', 'DELETE FROM sequin.history', 'SELECT FROM sequin.queue',
          'CREATE ROLE ' || quote_ident('@ too'), 'SELECT pg_read_file(''PG_VERSION'')',
          'CREATE TEMP TABLE later (a int)', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1', 'LISTEN x'] LOOP
          BEGIN
            EXECUTE attempt;
            gained := gained || attempt || '; ';
          EXCEPTION WHEN OTHERS THEN NULL;
          END;
        END LOOP;
        -- Anybody may set these, and they would break whatever the worker does afterwards.
        IF session_user <> current_user THEN
          PERFORM set_config('default_transaction_read_only', 'on', false), set_config('search_path', 'lair', false),
            set_config('synchronous_commit', 'off', false), set_config('lock_timeout', '1', false);
        END IF;
        INSERT INTO lair.proof VALUES (place, current_user, session_user, gained);
        RETURN true;
      END $$;
    -- What claims to be immutable may not write, but what it calls may.
    CREATE FUNCTION lair.steady(place text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
      BEGIN PERFORM lair.tempt(place); RETURN place; END $$;
    CREATE FUNCTION lair.fire() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM lair.tempt(TG_NAME); RETURN NEW; END $$;
    CREATE DOMAIN lair.id AS text CHECK (lair.tempt('domain'));
    CREATE DOMAIN lair.key AS int CHECK (lair.tempt('key domain'));
    CREATE TYPE lair.mood AS ENUM ('glad', 'sad');
    CREATE FUNCTION lair.same(lair.mood, lair.mood) RETURNS boolean LANGUAGE plpgsql AS $$
      BEGIN PERFORM lair.tempt('operator'); RETURN true; END $$;
    CREATE OPERATOR lair.= (LEFTARG = lair.mood, RIGHTARG = lair.mood, FUNCTION = lair.same);
    CREATE FUNCTION lair.same(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
      BEGIN PERFORM lair.tempt('operator'); RETURN true; END $$;
    CREATE OPERATOR lair.= (LEFTARG = text, RIGHTARG = text, FUNCTION = lair.same);
    CREATE TABLE lair.bait (
      id lair.key, mood lair.mood, name text CHECK (lair.tempt('check')), sf_id lair.id,
      derived text GENERATED ALWAYS AS (lair.steady('generated')) STORED, PRIMARY KEY (id, mood));
    CREATE INDEX ON lair.bait (lair.steady('index' || COALESCE(sf_id, '')));
    CREATE INDEX ON lair.bait (name) WHERE lair.steady('predicate' || COALESCE(sf_id, '')) <> '';
    ALTER TABLE lair.bait ENABLE ROW LEVEL SECURITY;
    ALTER TABLE lair.bait FORCE ROW LEVEL SECURITY;
    CREATE POLICY bait ON lair.bait USING (lair.tempt('policy')) WITH CHECK (lair.tempt('policy check'));
    CREATE TRIGGER "before" BEFORE UPDATE ON lair.bait FOR EACH ROW EXECUTE FUNCTION lair.fire();
    CREATE TRIGGER "after" AFTER UPDATE ON lair.bait FOR EACH STATEMENT EXECUTE FUNCTION lair.fire();
    CREATE CONSTRAINT TRIGGER "deferred" AFTER UPDATE ON lair.bait DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION lair.fire();
    SELECT public.sequin_attach('lair.bait', 'sync', 'salesforce:contact', 'sf_id', '{"name": "Name"}');
"#;

/// A role that may make tables and attach them, and no more.
fn owner(world: &mut World) -> String {
    let owner = format!("mallory_{}", world.database.name());
    let database = world.database.name().to_owned();
    world.run(&format!(
        "CREATE ROLE {owner} LOGIN; GRANT CREATE ON DATABASE {database} TO {owner};
         GRANT USAGE ON FOREIGN SERVER sequin TO {owner}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {owner};
         GRANT EXECUTE ON FUNCTION sequin.capture, sequin.refuse_truncate TO {owner}"
    ));
    owner
}

#[test]
fn code_in_a_table_runs_as_its_owner_and_gains_nothing() {
    let mut world = World::new();
    let owner = owner(&mut world);
    let mut session = world.database.connect_as(&owner);
    session.run(&TABLE.replace('@', &owner));
    session.run("INSERT INTO lair.bait VALUES (1, 'glad', 'Feyd')");
    world.settled();
    world.until("SELECT sf_id IS NOT NULL FROM lair.bait");
    let workers: Vec<i32> = world.one("SELECT sequin.workers()");

    let by_worker = format!("FROM lair.proof WHERE session <> '{owner}'");
    let places: Vec<String> = world
        .rows(&format!("SELECT DISTINCT rtrim(left(place, 9), '0123456789') {by_worker} ORDER BY 1"), &[])
        .iter()
        .map(|row| row.get(0))
        .collect();
    for place in ["after", "before", "check", "deferred", "domain", "generated"] {
        assert!(places.iter().any(|ran| ran == place), "{place} did not run, which proves nothing: {places:?}");
    }
    assert!(!places.iter().any(|ran| ran.starts_with("policy")), "row security hid rows from the worker: {places:?}");
    assert!(places.iter().any(|ran| ran.starts_with("index")) && places.iter().any(|ran| ran.starts_with("predicate")));
    assert!(!places.contains(&"operator".to_owned()), "operators are taken from the index, not from a schema");
    let whos: Vec<String> =
        world.rows(&format!("SELECT DISTINCT who {by_worker}"), &[]).iter().map(|row| row.get(0)).collect();
    assert_eq!(whos, std::slice::from_ref(&owner));
    let gained: Vec<String> =
        world.rows(&format!("SELECT DISTINCT gained {by_worker}"), &[]).iter().map(|row| row.get(0)).collect();
    assert_eq!(gained, [""]);
    let rolsuper = format!("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = '{owner}'");
    assert!(!world.one::<bool>(&rolsuper));

    // The worker is unaffected: it writes, and its commits reach the disk.
    world.enqueue("create", &json!({"data": {"n": 1}}));
    world.settled();
    assert_eq!(world.endings(), ["applied", "applied"]);
    // One that has nothing to do may have come or gone.
    assert!(world.one_of::<bool>("SELECT sequin.workers() && $1", &[&workers]), "the worker was started again");
    drop(session);
    world.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

/// The worker writes the ids of all tables in one session. Objects that the code of one owner leaves there must be
/// invisible to the code of another.
#[test]
fn what_one_owners_trigger_makes_in_the_workers_pg_temp_is_not_found_by_another_owners_trigger() {
    let mut world = World::new();
    let owner = owner(&mut world);
    let database = world.database.name().to_owned();
    world.run(&format!(
        "CREATE DOMAIN label AS text; CREATE TABLE plain (id int PRIMARY KEY, name text, sf_id text, note text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
           BEGIN EXECUTE 'SELECT $1::label' INTO NEW.note USING NEW.sf_id; RETURN NEW; END $$;
         CREATE TRIGGER note BEFORE UPDATE OF sf_id ON plain FOR EACH ROW EXECUTE FUNCTION note();
         SELECT sequin_attach('plain', 'sync', 'salesforce:contact', 'sf_id', '{{\"name\": \"Name\"}}');
         GRANT TEMPORARY ON DATABASE {database} TO {owner}"
    ));
    let mut session = world.database.connect_as(&owner);
    session.run(&format!(
        "CREATE SCHEMA lair; GRANT USAGE ON SCHEMA lair TO PUBLIC;
             CREATE TABLE lair.bait (id int PRIMARY KEY, name text, sf_id text);
             CREATE FUNCTION lair.gain(text) RETURNS boolean LANGUAGE plpgsql AS $$
               BEGIN
                 IF current_user <> '{owner}' THEN ALTER ROLE {owner} SUPERUSER; END IF;
                 RETURN true;
               END $$;
             CREATE FUNCTION lair.leave() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN
                 IF session_user <> current_user THEN
                   -- The latest minor releases refuse this, but not what follows.
                   BEGIN
                     CREATE DOMAIN pg_temp.label AS text CHECK (lair.gain(VALUE));
                   EXCEPTION WHEN insufficient_privilege OR feature_not_supported THEN NULL;
                   END;
                   CREATE FUNCTION pg_temp.label(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
                 END IF;
                 RETURN NEW;
               END $$;
             CREATE TRIGGER leave BEFORE UPDATE ON lair.bait FOR EACH ROW EXECUTE FUNCTION lair.leave();
             SELECT public.sequin_attach('lair.bait', 'sync', 'salesforce:contact', 'sf_id');
             INSERT INTO lair.bait VALUES (1, 'Feyd')"
    ));
    world.until("SELECT EXISTS (SELECT FROM sequin.pending_upstream_ids) OR EXISTS (SELECT FROM lair.bait WHERE sf_id IS NOT NULL)");
    world.run("INSERT INTO plain VALUES (1, 'Paul')");
    world.until("SELECT sf_id IS NOT NULL AND note = sf_id FROM plain");
    assert!(!world.one::<bool>(&format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{owner}'")));
    world.until("SELECT EXISTS (SELECT FROM sequin.pending_upstream_ids WHERE error LIKE '%pg_temp%')");
    // Once it leaves nothing there, its table gets the id.
    session.run("DROP TRIGGER leave ON lair.bait");
    world.until("SELECT sf_id IS NOT NULL FROM lair.bait");
    drop(session);
    world.run(&format!("DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}"));
}

/// A failed visit is repeated, but not all the time. Otherwise a trigger that takes seconds to fail would occupy the
/// worker.
#[test]
fn a_table_that_keeps_failing_is_left_alone_for_a_while() {
    let mut world = World::new();
    world.run(
        "CREATE SEQUENCE tries; CREATE TABLE t (id int PRIMARY KEY, name text, sf_id text);
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN PERFORM nextval('public.tries'); RAISE 'never'; END $$;
         CREATE TRIGGER fail BEFORE UPDATE OF sf_id ON t FOR EACH ROW EXECUTE FUNCTION fail();
         SELECT sequin_attach('t', 'sync', 'salesforce:contact', 'sf_id');
         CREATE TABLE other (LIKE t INCLUDING ALL); SELECT sequin_attach('other', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO t VALUES (1, 'x')",
    );
    world.until("SELECT EXISTS (SELECT FROM sequin.pending_upstream_ids WHERE error LIKE '%never%')");
    // Everything that happens here makes the worker look.
    for n in 1..=30 {
        world.run(&format!("INSERT INTO other VALUES ({n}, 'x')"));
        world.until(&format!("SELECT sf_id IS NOT NULL FROM other WHERE id = {n}"));
    }
    std::thread::sleep(std::time::Duration::from_secs(2));
    let tries: i64 = world.one("SELECT last_value FROM tries");
    // In a minute seven, or twice as many if two workers end its rest at the same moment.
    assert!(tries <= 14, "{tries} tries in some seconds");
}

/// A function can catch the cancel that ends its time. It costs the others some seconds, and a shutdown too, but not more.
#[test]
fn a_trigger_that_will_not_end_does_not_keep_the_worker() {
    let mut world = World::new();
    world.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text, sf_id text);
         CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN LOOP BEGIN PERFORM pg_sleep(1); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
         CREATE TRIGGER trap BEFORE UPDATE OF sf_id ON t FOR EACH ROW EXECUTE FUNCTION trap();
         SELECT sequin_attach('t', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO t VALUES (1, 'x')",
    );
    world.until("SELECT EXISTS (SELECT FROM sequin.pending_upstream_ids)");
    let ids = world.enqueue("create", &json!({"data": {"n": 1}}));
    assert!(world.one_of::<bool>("SELECT sequin_await_delivery($1, 40000)", &[&ids]));
}
