//! A role without rights tries every object of the extension, found from the catalogs, and gets 42501.
//!
//! [`OPEN`] lists the rights of PUBLIC: a new object that is neither refused nor listed fails here.

mod attempts;
mod statements;

use std::collections::BTreeSet;

use postgres::Client;

use crate::docs::read;
use crate::support::Session;
use crate::support::server::shared;
use attempts::{Attempt, UNCHANGED, attempts};

/// The rights of PUBLIC, as in docs/security.md.
const OPEN: [(&str, &str); 14] = [
    ("sequin", "usage"),
    ("sequin.is_served()", "call"),
    ("sequin.server_status()", "call"),
    ("sequin.server_statistics()", "call"),
    ("sequin.is_attachment(pg_catalog.bytea)", "call"),
    ("public.sequin_sent_with(bigint)", "call"),
    ("sequin.attachments", "select"),
    ("sequin.outbox", "select"),
    ("sequin.dead_letters", "select"),
    ("sequin.delivered", "select"),
    ("sequin.status", "select"),
    ("sequin.stat_servers", "select"),
    ("sequin.server", "set"),
    ("sequin.capture", "set"),
];

/// The extension's own objects, and dependent ones: indexes, row types, rules, constraints.
const OBJECTS: &str = "
    WITH RECURSIVE mine AS (
      SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
      WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND extname = 'sequin_mutations'
      UNION
      SELECT d.classid, d.objid FROM pg_depend d JOIN mine ON d.refclassid = mine.classid AND d.refobjid = mine.objid
      WHERE d.deptype IN ('i', 'a', 'P', 'S'))
    SELECT o.type, o.identity, CASE WHEN classid = 'pg_proc'::regclass THEN objid ELSE 0 END
    FROM mine, pg_identify_object(classid, objid, 0) o
    UNION ALL SELECT 'extension', 'sequin_mutations', 0 UNION ALL SELECT 'server', 'sequin', 0
    UNION ALL SELECT 'setting', name, 0 FROM pg_settings WHERE name LIKE 'sequin.%'
    ORDER BY 1, 2";

/// All access lists, to see that none has changed. A default may be written out.
const RIGHTS: &str = "
    SELECT string_agg(acl, E'\\n' ORDER BY acl) FROM (
      SELECT 'proc ' || oid || proacl::text AS acl FROM pg_proc
      UNION ALL SELECT 'class ' || oid || relacl::text FROM pg_class
      UNION ALL SELECT 'column ' || attrelid || attname || attacl::text FROM pg_attribute
      UNION ALL SELECT 'type ' || oid || COALESCE(typacl, acldefault('T', typowner))::text FROM pg_type
      UNION ALL SELECT 'schema ' || oid || nspacl::text FROM pg_namespace
      UNION ALL SELECT 'wrapper ' || oid || fdwacl::text FROM pg_foreign_data_wrapper
      UNION ALL SELECT 'server ' || oid || srvacl::text FROM pg_foreign_server
      UNION ALL SELECT 'setting ' || oid || paracl::text FROM pg_parameter_acl
      UNION ALL SELECT 'default ' || oid || defaclacl::text FROM pg_default_acl) acls";

fn rights(client: &mut Client) -> String {
    client.one(RIGHTS)
}

/// The SQLSTATE of an attempt, which is rolled back; empty if it worked. Those who hold a right without the option to
/// grant it are warned and not refused: then it matters whether they have changed the rights as they were `before`.
fn outcome(session: &mut Client, attempt: &Attempt, before: &str) -> (String, String) {
    // ALTER SYSTEM does not run in a transaction.
    if !attempt.sql.starts_with("ALTER SYSTEM") {
        session.run("BEGIN");
    }
    let result = session.batch_execute(&attempt.sql);
    let is_unchanged = result.is_ok() && attempt.refusals.contains(&UNCHANGED) && rights(session) == before;
    session.run("ROLLBACK");
    match result {
        Ok(()) if is_unchanged => (UNCHANGED.to_owned(), String::new()),
        Ok(()) => (String::new(), String::new()),
        Err(error) => (error.code().map(|code| code.code().to_owned()).unwrap_or_default(), error.to_string()),
    }
}

#[test]
fn a_role_without_rights_gets_nothing_but_what_is_open_to_all() {
    let database = shared().fresh_database();
    database.create_server("http://127.0.0.1:1", "token");
    let role = format!("nobody_{}", database.name());
    // A schema of the role's own, for objects that depend on the extension's.
    database.execute(&format!("CREATE ROLE {role} LOGIN; CREATE SCHEMA own AUTHORIZATION {role}"));
    let mut superuser = database.connect();
    // Something that a role without rights must not see.
    superuser.run("LOAD 'sequin_mutations'; SELECT sequin_enqueue('delete', 's', 'c:c', '\"1\"')");
    let objects = superuser.rows(OBJECTS, &[]);
    assert!(objects.len() > 80, "{}", objects.len());

    let mut session = database.connect_as(&role);
    session.run("CREATE TABLE own.a (a int); CREATE TABLE own.b (id bigint)");
    let before = rights(&mut superuser);
    let mut wrong = Vec::new();
    let mut open = BTreeSet::new();
    let mut tried = 0;
    for object in &objects {
        let (kind, identity, oid): (&str, &str, u32) = (object.get(0), object.get(1), object.get(2));
        let arguments: String = superuser.one_of("SELECT COALESCE(string_agg(format('%L::%s', CASE WHEN t IN ('jsonb'::regtype, 'text[]'::regtype,
                   'int8[]'::regtype) THEN '{}' WHEN t = 'regclass'::regtype THEN 'own.a' ELSE '0' END, t::regtype), ', '
                   ORDER BY n), '') FROM pg_proc, unnest(proargtypes) WITH ORDINALITY AS a(t, n) WHERE oid = $1", &[&oid]);
        for attempt in attempts(kind, identity, &arguments) {
            tried += 1;
            let (state, error) = outcome(&mut session, &attempt, &before);
            let is_open = OPEN.iter().find(|entry| **entry == (identity, attempt.name));
            match is_open {
                Some(entry) if state.is_empty() => {
                    open.insert(entry);
                }
                None if attempt.refusals.contains(&state.as_str()) => {}
                _ => wrong.push(format!("{kind} {identity}, {}: {state} {error}: {}", attempt.name, attempt.sql)),
            }
        }
    }
    eprintln!("{tried} attempts on {} objects", objects.len());
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(open.len(), OPEN.len(), "of {OPEN:?} only {open:?} are there");
    assert_eq!(rights(&mut superuser), before);
    for view in ["outbox", "dead_letters", "delivered", "status", "attachments"] {
        let rows = session.rows(&format!("SELECT FROM sequin.{view}"), &[]).len();
        assert_eq!(rows, 0, "what is another's in sequin.{view}");
    }
    drop(session);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// The rows of the table below a heading, as `right object`.
fn documented() -> BTreeSet<String> {
    let document = read("docs/security.md");
    let table = document.split("\n## Privileges of PUBLIC\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows =
        table.expect("the section").lines().filter(|line| line.starts_with("| ") && !line.starts_with("| privilege"));
    let mut all = BTreeSet::new();
    for row in rows {
        let (right, objects) = row.trim_matches(['|', ' ']).split_once(" | ").unwrap();
        let names = objects.split('`').skip(1).step_by(2);
        all.extend(names.map(|name| format!("{right} {name}")));
    }
    all
}

#[test]
fn what_everybody_has_is_what_the_document_lists() {
    let database = shared().fresh_database();
    // Row types come with their relations; from major 17 on they are the extension's own as well.
    let granted = "
        WITH mine AS (
          SELECT classid, objid FROM pg_depend d JOIN pg_extension e ON e.oid = refobjid
          WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND extname = 'sequin_mutations'),
        acls AS (
          SELECT p.oid::regprocedure::text AS name, COALESCE(proacl, acldefault('f', proowner)) AS acl
          FROM pg_proc p JOIN mine ON classid = 'pg_proc'::regclass AND objid = p.oid
          UNION ALL SELECT c.oid::regclass::text,
            COALESCE(relacl, acldefault(CASE relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r' END, relowner))
          FROM pg_class c JOIN mine ON classid = 'pg_class'::regclass AND objid = c.oid AND relkind <> 'c'
          UNION ALL SELECT t.oid::regtype::text, COALESCE(typacl, acldefault('T', typowner))
          FROM pg_type t JOIN mine ON classid = 'pg_type'::regclass AND objid = t.oid LEFT JOIN pg_class c ON c.oid = typrelid
          WHERE typcategory <> 'A' AND COALESCE(relkind, 'c') = 'c'
          UNION ALL SELECT nspname::text, COALESCE(nspacl, acldefault('n', nspowner))
          FROM pg_namespace n JOIN mine ON classid = 'pg_namespace'::regclass AND objid = n.oid
          UNION ALL SELECT fdwname::text, COALESCE(fdwacl, acldefault('F', fdwowner))
          FROM pg_foreign_data_wrapper w JOIN mine ON classid = 'pg_foreign_data_wrapper'::regclass AND objid = w.oid
          UNION ALL SELECT c.oid::regclass || '.' || attname, attacl
          FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
          JOIN mine ON classid = 'pg_class'::regclass AND objid = c.oid WHERE attacl IS NOT NULL)
        SELECT DISTINCT privilege_type || ' ' || name FROM acls, aclexplode(acl) WHERE grantee = 0 ORDER BY 1";
    let mut client = database.connect();
    let granted: BTreeSet<String> = client.rows(granted, &[]).iter().map(|row| row.get(0)).collect();
    assert_eq!(granted, documented());
}
