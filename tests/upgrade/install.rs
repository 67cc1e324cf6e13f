//! CREATE EXTENSION, DROP EXTENSION, and the state in between.

use postgres::error::SqlState;
use sequin_harness::Sandbox;

use crate::support::Session;
use crate::support::server::{own, shared};

const CREATE: &str = "SELECT upstream_id FROM sequin_create('s', 'salesforce:contact', '{\"Email\":\"a@b.org\"}')";

/// The extension's objects, each with its comment.
const OBJECTS: &str = "
    SELECT pg_describe_object(classid, objid, objsubid) AS object, obj_description(objid, c.relname) AS comment
    FROM pg_depend d JOIN pg_class c ON c.oid = classid
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
      AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'sequin_mutations')
      -- A composite type's relation and array come with the type, a relation's types (from PostgreSQL 17) with it.
      AND NOT (classid = 'pg_class'::regclass AND (SELECT relkind = 'c' FROM pg_class WHERE oid = objid))
      AND NOT (classid = 'pg_type'::regclass AND (SELECT typcategory = 'A' FROM pg_type WHERE oid = objid))
      AND NOT (classid = 'pg_type'::regclass
               AND EXISTS (SELECT FROM pg_type t JOIN pg_class r ON r.oid = typrelid WHERE t.oid = objid AND relkind <> 'c'))";

#[test]
fn every_object_has_a_comment() {
    let database = shared().fresh_database();
    let rows = database.connect().rows(OBJECTS, &[]);
    assert!(rows.len() >= 8, "{}", rows.len());
    for row in rows {
        let (object, comment): (String, Option<String>) = (row.get(0), row.get(1));
        assert!(comment.is_some_and(|comment| !comment.is_empty()), "{object} has no comment");
    }
    let bare = "SELECT attrelid::regclass || '.' || attname FROM pg_attribute
                WHERE attrelid IN ('sequin_record'::regclass, 'sequin.attachments'::regclass, 'sequin.outbox'::regclass,
                  'sequin.delivered'::regclass, 'sequin.status'::regclass)
                  AND attnum > 0 AND col_description(attrelid, attnum) IS NULL";
    let columns: Vec<String> = database.connect().rows(bare, &[]).iter().map(|row| row.get(0)).collect();
    assert_eq!(columns, Vec::<String>::new());
}

#[test]
fn nothing_that_does_something_may_be_called_by_everybody_and_all_of_it_is_volatile() {
    let database = shared().fresh_database();
    let rows = database.connect().rows(
        "SELECT p.oid::regprocedure::text, has_function_privilege('public', p.oid, 'EXECUTE'), provolatile::text,
                    proparallel::text
             FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
             JOIN pg_extension e ON e.oid = d.refobjid WHERE e.extname = 'sequin_mutations' AND d.deptype = 'e'",
        &[],
    );
    assert!(rows.len() >= 6);
    for row in rows {
        let function: String = row.get(0);
        // PUBLIC may read the views that call these.
        let (is_open, kind) = match function.as_str() {
            "sequin.is_served()" | "sequin.server_status()" | "sequin.server_statistics()" => (true, ("v", "u")),
            "sequin.is_attachment(bytea)" => (true, ("i", "s")),
            "sequin_sent_with(bigint)" => (true, ("s", "u")),
            _ => (false, ("v", "u")),
        };
        assert_eq!(row.get::<_, bool>(1), is_open, "EXECUTE on {function} for PUBLIC");
        assert_eq!((row.get::<_, &str>(2), row.get::<_, &str>(3)), kind, "{function}");
    }
}

#[test]
fn everybody_may_read_the_views_and_nothing_else() {
    let database = shared().fresh_database();
    let rows = database.connect().rows(
        "SELECT c.oid::regclass::text, relkind = 'v', acl.privilege_type
             FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
             JOIN pg_extension e ON e.oid = d.refobjid
             LEFT JOIN LATERAL aclexplode(relacl) AS acl ON acl.grantee = 0
             WHERE e.extname = 'sequin_mutations' AND d.deptype = 'e' AND relkind IN ('r', 'v', 'S')",
        &[],
    );
    assert!(rows.len() >= 14, "{rows:?}");
    for row in rows {
        let (relation, is_view): (String, bool) = (row.get(0), row.get(1));
        assert_eq!(row.get::<_, Option<&str>>(2), is_view.then_some("SELECT"), "{relation}");
    }
}

#[test]
fn it_goes_to_the_schema_that_is_named_and_leaves_nothing() {
    let sandbox = Sandbox::start();
    let database = shared().create_database();
    let mut session = database.connect();
    let count = "SELECT (SELECT count(*) FROM pg_proc) + (SELECT count(*) FROM pg_type) + (SELECT count(*) FROM
                 pg_namespace) + (SELECT count(*) FROM pg_description) + (SELECT count(*) FROM pg_foreign_data_wrapper)";
    session.run("CREATE SCHEMA api");
    let before: i64 = session.one(count);
    session.run("CREATE EXTENSION sequin_mutations SCHEMA api");
    database.create_server(sandbox.url(), sandbox.token());
    session.run("SET search_path = pg_catalog");
    session.rows(&CREATE.replace("sequin_create", "api.sequin_create"), &[]);
    let error = session.batch_execute("DROP EXTENSION sequin_mutations").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST), "a server depends on it: {error}");
    session.run("DROP EXTENSION sequin_mutations CASCADE");
    assert_eq!(session.one::<i64>(count), before);
    // The library is still loaded; the extension can come back.
    session.run("CREATE EXTENSION sequin_mutations SCHEMA api");
    database.create_server(sandbox.url(), sandbox.token());
    session.rows(&CREATE.replace("sequin_create", "api.sequin_create"), &[]);
}

#[test]
fn foreign_objects_in_the_way_are_not_adopted() {
    let database = shared().create_database();
    let mut session = database.connect();
    session.run("CREATE SCHEMA sequin");
    let error = session.batch_execute("CREATE EXTENSION sequin_mutations").unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::DUPLICATE_SCHEMA), "{error}");
    session.run("DROP SCHEMA sequin");

    // Types and functions that shadow names of the script, in the schema it installs to and earlier in the path.
    session.run(
        "CREATE SCHEMA evil;
             CREATE DOMAIN evil.text AS pg_catalog.int4; CREATE DOMAIN public.jsonb AS pg_catalog.int4;
             CREATE DOMAIN evil.timestamptz AS pg_catalog.int4; CREATE DOMAIN public.bool AS pg_catalog.int4;
             CREATE DOMAIN public.name AS pg_catalog.int4; CREATE DOMAIN evil.int4 AS pg_catalog.text;
             SET search_path = evil, public, pg_catalog;
             CREATE EXTENSION sequin_mutations SCHEMA public",
    );
    let foreign = "SELECT count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                   WHERE attrelid = 'public.sequin_record'::pg_catalog.regclass AND attnum > 0
                     AND typnamespace <> 'pg_catalog'::pg_catalog.regnamespace";
    assert_eq!(session.one::<i64>(foreign), 0);
    let foreign = "SELECT count(*) FROM pg_catalog.pg_proc p, pg_catalog.unnest(proargtypes) AS argument
                   JOIN pg_catalog.pg_type t ON t.oid = argument
                   WHERE p.proname LIKE 'sequin\\_%' AND typnamespace <> 'pg_catalog'::pg_catalog.regnamespace";
    assert_eq!(session.one::<i64>(foreign), 0);
}

#[test]
fn a_hostile_search_path_changes_no_call() {
    let sandbox = Sandbox::start();
    let database = shared().fresh_database();
    database.create_server(sandbox.url(), sandbox.token());
    let mut session = database.connect();
    session.run(
        "CREATE SCHEMA evil;
             CREATE FUNCTION evil.jsonb(text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{\"evil\": true}'::jsonb $$;
             CREATE TYPE evil.sequin_record AS (evil text);
             CREATE TYPE pg_temp.sequin_record AS (evil text);
             SET search_path = evil, pg_temp, public, pg_catalog",
    );
    let sql = CREATE.replace("sequin_create", "public.sequin_create").replace("upstream_id", "data::pg_catalog.text");
    let data: String = session.one(&sql);
    assert_eq!(data, "{\"Email\": \"a@b.org\"}");
}

#[test]
fn a_standby_sends_nothing() {
    let sandbox = Sandbox::start();
    let server = own("");
    let database = server.fresh_database();
    database.create_server(sandbox.url(), sandbox.token());
    server.stop(sequin_harness::Stop::Fast);
    let signal = server.data().join("standby.signal");
    std::fs::write(&signal, "").unwrap();
    server.account().give(&signal).unwrap();
    server.restart();
    let error = database.connect().query(CREATE, &[]).unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION), "{error}");
    assert_eq!(sandbox.log().connections, 0);
}

#[test]
fn the_outbox_takes_no_other_kind_and_no_other_state() {
    let database = shared().fresh_database();
    let mut client = database.connect();
    let columns = "server, id, key, role, sync_id, collection_id, enqueued_at";
    let values = "'s', 1, gen_random_uuid(), 10, 's', 'c', now()";
    let deferred = |kind: &str, state: &str| {
        format!(
            "INSERT INTO sequin.deferred ({columns}, kind, state, attempts, next_attempt_at, resend_verbatim)
             VALUES ({values}, '{kind}', '{state}', 0, now(), false)"
        )
    };
    let claim = "INSERT INTO sequin.claims (id, owner, server, kind, ids, heads, keys, claimed_at)
         VALUES (1, 1, 's', 'upsert', '{}', '{}', '{}', now())";
    for (constraint, statement) in [
        ("queue_kind_check", format!("INSERT INTO sequin.queue ({columns}, kind) VALUES ({values}, 'upsert')")),
        ("deferred_kind_check", deferred("", "pending")),
        ("deferred_state_check", deferred("update", "sending")),
        ("claims_kind_check", claim.to_owned()),
        (
            "history_kind_check",
            format!(
                "INSERT INTO sequin.history ({columns}, kind, delivered_at, outcome) VALUES ({values}, 'x', now(), 'y')"
            ),
        ),
    ] {
        let error = client.batch_execute(&statement).unwrap_err();
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!(error.constraint(), Some(constraint), "{error:?}");
    }
    client.batch_execute(&deferred("delete", "rejected")).unwrap();
}

#[test]
fn the_install_script_revokes_before_it_grants() {
    let script = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/sequin_mutations--1.0.0.sql"));
    let script = script.unwrap();
    let (last_revoke, first_grant) = (script.rfind("\nREVOKE ").unwrap(), script.find("\nGRANT ").unwrap());
    assert!(last_revoke < first_grant);
}
