//! An updated extension equals a fresh installation.

use std::fs;

use sequin_harness::{Database, Server};

use crate::docs::path;
use crate::release::version::releases;
use crate::support::Session;
use crate::support::server::{own_installation, shared};

/// All that a script can make: one line for each object, column, right, comment and definition.
const MADE: &str = "
    WITH ours AS (
        SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS object FROM pg_depend d
        WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
          AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'sequin_mutations')
    ), relations AS (
        SELECT o.object, c.* FROM ours o JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid
        -- A type that is a row hangs on the extension as a type alone.
        UNION ALL SELECT o.object, c.* FROM ours o JOIN pg_type t ON o.classid = 'pg_type'::regclass AND t.oid = o.objid
            JOIN pg_class c ON c.oid = t.typrelid
    )
    SELECT format('%s: %s', object, obj_description(objid, classid::regclass::name)) FROM ours
    UNION ALL SELECT format('%s: %s, to %s', o.object, pg_get_functiondef(p.oid), p.proacl)
        FROM ours o JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid
    UNION ALL SELECT format('%s: %s, to %s', object, t.typtype,
                (SELECT array_agg(a ORDER BY a::text) FROM unnest(COALESCE(t.typacl, acldefault('T', t.typowner))) a))
        FROM ours JOIN pg_type t ON classid = 'pg_type'::regclass AND t.oid = objid
    UNION ALL SELECT format('%s: %s', object, to_jsonb(s) - 'seqrelid')
        FROM relations r JOIN pg_sequence s ON s.seqrelid = r.oid
    UNION ALL SELECT format('%s: %s, %s, %s, %s', object, relkind, relacl, reloptions, relrowsecurity) FROM relations
    UNION ALL SELECT format('%s: is %s', object, pg_get_viewdef(oid)) FROM relations WHERE relkind = 'v'
    UNION ALL SELECT format('%s: %s. %s %s %s %s %s %s', r.object, a.attnum, a.attname,
                format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attacl, pg_get_expr(d.adbin, d.adrelid),
                col_description(a.attrelid, a.attnum))
        FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL SELECT format('%s: %s', r.object, pg_get_indexdef(i.indexrelid))
        FROM relations r JOIN pg_index i ON i.indrelid = r.oid
    UNION ALL SELECT format('%s: %s %s', r.object, c.conname, pg_get_constraintdef(c.oid))
        FROM relations r JOIN pg_constraint c ON c.conrelid = r.oid
    UNION ALL SELECT format('%s: %s', r.object, pg_get_triggerdef(t.oid))
        FROM relations r JOIN pg_trigger t ON t.tgrelid = r.oid
    UNION ALL SELECT format('%s: %s %s %s', r.object, p.polname, pg_get_expr(p.polqual, p.polrelid),
                pg_get_expr(p.polwithcheck, p.polrelid))
        FROM relations r JOIN pg_policy p ON p.polrelid = r.oid
    UNION ALL SELECT format('dumped: %s %s', config::regclass, condition)
        FROM pg_extension, unnest(extconfig, extcondition) AS dumped(config, condition)
        WHERE extname = 'sequin_mutations'
    UNION ALL SELECT format('%s: to %s', nspname, nspacl) FROM pg_namespace WHERE nspname = 'sequin'
    UNION ALL SELECT format('%s: %s to %s', fdwname, fdwvalidator::regprocedure, fdwacl) FROM pg_foreign_data_wrapper
    UNION ALL SELECT format('%s: on %s %s, %s, %s', evtname, evtevent, evttags, evtfoid::regprocedure, evtenabled)
        FROM pg_event_trigger
    UNION ALL SELECT 'version ' || extversion FROM pg_extension WHERE extname = 'sequin_mutations'";

fn made(database: &Database) -> Vec<String> {
    let mut lines: Vec<String> = database.connect().rows(MADE, &[]).iter().map(|row| row.get(0)).collect();
    lines.sort();
    lines
}

/// The objects after `version` was installed and updated.
fn updated(server: &Server, version: &str) -> Vec<String> {
    let database = server.create_database();
    database.execute(&format!("CREATE EXTENSION sequin_mutations VERSION '{version}'"));
    database.execute("ALTER EXTENSION sequin_mutations UPDATE");
    made(&database)
}

#[test]
fn every_release_becomes_what_a_fresh_install_is() {
    let server = shared();
    let fresh = made(&server.fresh_database());
    assert!(fresh.len() > 150, "{fresh:#?}");
    let releases = releases();
    assert!(!releases.is_empty());
    for release in releases {
        assert_eq!(updated(server, &release), fresh, "{release}");
    }
}

/// The comparison, tried on steps that are made up: a good one, and some that forget something.
#[test]
fn a_step_that_forgets_something_is_found() {
    let server = own_installation("upgrades");
    let sharedir = server.program("pg_config").arg("--sharedir").output().unwrap();
    let extension = String::from_utf8(sharedir.stdout).unwrap().trim_end().to_owned() + "/extension";
    let now = env!("CARGO_PKG_VERSION");
    let script = fs::read_to_string(path(&format!("sql/sequin_mutations--{now}.sql"))).unwrap();
    let fresh = made(&server.fresh_database());

    let last = |kind: &str| -> String {
        let statements = script.split(";\n").map(|statement| format!("\n{statement};\n"));
        let found = statements.filter(|statement| statement.contains(kind)).last();
        let found = found.unwrap_or_else(|| panic!("none begins with {kind:?}"));
        found[found.find(kind).unwrap()..].to_owned()
    };
    let mut version = 0;
    let mut judge = |old: &str, step: &str| {
        assert_ne!(old, script, "{step}");
        for (step, is_whole) in [(step, true), ("", false)] {
            version += 1;
            fs::write(format!("{extension}/sequin_mutations--0.{version}.sql"), old).unwrap();
            fs::write(format!("{extension}/sequin_mutations--0.{version}--{now}.sql"), step).unwrap();
            let updated = updated(&server, &format!("0.{version}"));
            assert_eq!(updated == fresh, is_whole, "{step}");
        }
    };
    // New objects of the later version,
    for kind in ["\nCOMMENT ON COLUMN ", "\nGRANT ", "\nCREATE INDEX ", "\nSELECT pg_catalog.pg_extension_config_dump("]
    {
        let statement = last(kind);
        judge(&script.replace(&statement, "\n"), &statement);
    }
    // a column of a type, after the last of the others,
    let whole = last("\nCREATE TYPE ");
    let (others, column) = whole.trim_end_matches("\n);\n").rsplit_once(",\n").unwrap();
    let (name, of_type) = column.trim().split_once(' ').unwrap();
    let comment = last(&format!("\nCOMMENT ON COLUMN @extschema@.sequin_record.{name} "));
    let without = script.replace(&whole, &format!("{others}\n);\n")).replace(&comment, "\n");
    judge(&without, &format!("ALTER TYPE @extschema@.sequin_record ADD ATTRIBUTE {name} {of_type}; {comment}"));
    // and changed ones.
    for (before, after) in [
        ("ALTER SEQUENCE sequin.outbox_id CACHE 2", "ALTER SEQUENCE sequin.outbox_id CACHE 1"),
        (
            "REVOKE USAGE ON TYPE @extschema@.sequin_record FROM PUBLIC",
            "GRANT USAGE ON TYPE @extschema@.sequin_record TO PUBLIC",
        ),
    ] {
        judge(&format!("{script}\n{before};\n"), &format!("{after};\n"));
    }
}
