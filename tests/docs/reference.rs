//! docs/reference.md lists all objects of the installed extension, in its words, and no others.

use std::collections::BTreeSet;

use serde_json::json;

use crate::docs::{psql, read, rows, section, statements, tidy};
use crate::support::{Session, World};

const DOCUMENT: &str = "docs/reference.md";

/// The codes of every outcome, and of errors before anything is sent.
const SQLSTATES: &[&str] = &[
    "0A000", "22004", "22023", "25006", "28000", "42501", "42704", "53400", "57014", "HV00L", "HV00K", "HV00M",
    "HV00N", "HV00R", "HV024",
];

/// The first cells of a section's rows that are written as code.
fn names(text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(str::trim).filter_map(|line| line.strip_prefix("| `"));
    lines.filter_map(|line| line.split('`').next()).map(str::to_owned).collect()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_function_with_its_arguments() {
    let mut world = World::new();
    let document = words(&read(DOCUMENT));
    let functions = world.rows(
        "SELECT p.proname, n.nspname = 'sequin', pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)
         FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid JOIN pg_proc p ON d.objid = p.oid
         JOIN pg_namespace n ON p.pronamespace = n.oid
         WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
           AND e.extname = 'sequin_mutations'",
        &[],
    );
    assert!(functions.len() >= 16, "{functions:?}");
    for row in &functions {
        let (name, is_inner): (&str, bool) = (row.get(0), row.get(1));
        let (arguments, result): (&str, &str) = (row.get(2), row.get(3));
        let arguments = ["text[]", "text", "integer", "name", "jsonb"]
            .iter()
            .fold(arguments.to_owned(), |arguments, cast| arguments.replace(&format!("NULL::{cast}"), "NULL"))
            .replace("'::text", "'")
            .replace("'[]", "'");
        let signature = match is_inner {
            true => format!("sequin.{name}({arguments})"),
            false => format!("{name}({arguments}) RETURNS {result}"),
        };
        assert!(document.contains(&signature), "not in {DOCUMENT}: {signature}");
    }
}

/// Names and types of a relation's columns, in their order.
fn columns(world: &mut World, relation: &str) -> Vec<[String; 2]> {
    let columns = world.rows(
        "SELECT attname::text, replace(format_type(atttypid, atttypmod), 'timestamp with time zone', 'timestamptz')
         FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum",
        &[&relation],
    );
    columns.iter().map(|row| [row.get(0), row.get(1)]).collect()
}

/// The same as the first table of a section has it.
fn documented_columns(heading: &str) -> Vec<[String; 2]> {
    let section = section(&read(DOCUMENT), heading);
    let table = section.split("\n\n").find(|paragraph| paragraph.starts_with("| column")).unwrap_or_default();
    rows(table).into_iter().skip(1).map(|row| [row[0].clone(), row[1].clone()]).collect()
}

#[test]
fn every_column_of_the_type() {
    let mut world = World::new();
    assert_eq!(documented_columns("## The type sequin_record"), columns(&mut world, "sequin_record"));
}

#[test]
fn every_column_of_the_views() {
    let mut world = World::new();
    for view in ["sequin.attachments", "sequin.outbox", "sequin.delivered", "sequin.status", "sequin.stat_servers"] {
        assert_eq!(documented_columns(&format!("### {view}")), columns(&mut world, view), "{view}");
    }
    // It has no table of its own.
    let dead_letters = section(&read(DOCUMENT), "### sequin.dead_letters");
    assert!(dead_letters.contains("`sequin.outbox`, with its columns"), "{dead_letters}");
    assert_eq!(columns(&mut world, "sequin.dead_letters"), columns(&mut world, "sequin.outbox"));
}

#[test]
fn every_relation_is_among_the_objects() {
    let mut world = World::new();
    let relations = world.rows(
        "SELECT c.oid::regclass::text FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
         JOIN pg_class c ON d.objid = c.oid
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
           AND e.extname = 'sequin_mutations' AND c.relkind IN ('r', 'v', 'S')",
        &[],
    );
    assert!(relations.len() >= 14, "{relations:?}");
    let objects = section(&read(DOCUMENT), "## Objects");
    let documented: BTreeSet<String> = rows(&objects)
        .iter()
        .flat_map(|row| row[0].split(", ").map(str::to_owned).collect::<Vec<_>>())
        .filter(|name| name.starts_with("sequin.") && !name.contains('('))
        .collect();
    assert_eq!(documented, relations.iter().map(|row| row.get(0)).collect());
}

#[test]
fn every_state_and_outcome_of_the_outbox() {
    let document = read(DOCUMENT);
    let listed = |heading: &str, column: &str| -> BTreeSet<String> {
        let section = section(&document, heading);
        let table = section.split("\n\n").find(|paragraph| paragraph.starts_with(column)).unwrap_or_default();
        names(table).into_iter().filter(|name| format!("| `{name}` |") != column).collect()
    };
    let states = listed("### sequin.outbox", "| `state` |");
    assert_eq!(states, ["pending", "rejected", "sending", "unknown"].map(str::to_owned).into());
    let outcomes = listed("### sequin.delivered", "| `outcome` |");
    assert_eq!(outcomes.len(), 7, "{outcomes:?}");
    let word = |line: &str| {
        Some(line.trim().strip_prefix("SettledAs::")?.split_once(" => \"")?.1.split('"').next()?.to_owned())
    };
    let written: BTreeSet<String> = read("src/outbox/disposition.rs").lines().filter_map(word).collect();
    // The applied ones are the contract's.
    let documented = outcomes.into_iter().filter(|outcome| !outcome.starts_with("applied")).collect();
    assert_eq!(written, documented);
}

/// The names that the extension's own hint lists.
fn valid_options(world: &mut World, statement: &str) -> BTreeSet<String> {
    let error = world.error(statement);
    let hint = error.hint().unwrap_or_default();
    let list = hint.strip_prefix("Valid options in this context are: ").and_then(|list| list.strip_suffix('.'));
    list.unwrap_or_else(|| panic!("{hint}")).split(", ").map(str::to_owned).collect()
}

#[test]
fn every_option_with_its_range() {
    let mut world = World::new();
    let document = read(DOCUMENT);
    let of_servers = section(&document, "## Options of a server");
    assert_eq!(names(&of_servers), valid_options(&mut world, "ALTER SERVER sequin OPTIONS (ADD nonsense '1')"));
    let of_mappings = section(&document, "## Options of a user mapping");
    let statement = "ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (ADD nonsense '1')";
    assert_eq!(names(&of_mappings), valid_options(&mut world, statement));

    let mut ranges = 0;
    for row in rows(&of_servers) {
        let (option, default) = (&row[0], &row[1]);
        let Some((least, most)) = row[2].split_once(" to ") else { continue };
        let (least, most): (u64, u64) = (least.parse().unwrap(), most.parse().unwrap());
        assert!(default == "none" || (least..=most).contains(&default.parse().unwrap()), "{option}");
        for good in [least, most] {
            world.run(&format!(
                "CREATE SERVER s FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'https://x', {option} '{good}')"
            ));
            world.run("DROP SERVER s");
        }
        for bad in [least - 1, most + 1] {
            let error = world.error(&format!("ALTER SERVER sequin OPTIONS (ADD {option} '{bad}')"));
            assert_eq!(error.code().code(), "22023", "{option} {bad}: {error:?}");
        }
        ranges += 1;
    }
    assert_eq!(ranges, 7);
}

#[test]
fn every_setting_with_its_default() {
    let mut world = World::new();
    world.run("LOAD 'sequin_mutations'");
    let settings = world.rows("SELECT name, boot_val FROM pg_settings WHERE name LIKE 'sequin.%' ORDER BY name", &[]);
    let there: Vec<(String, String)> = settings.iter().map(|row| (row.get(0), row.get(1))).collect();
    let table = rows(&section(&read(DOCUMENT), "## Settings"));
    let mut documented: Vec<(String, String)> =
        table[1..].iter().map(|row| (row[0].clone(), row[1].replace("empty", ""))).collect();
    documented.sort();
    assert_eq!(documented, there);
}

#[test]
fn every_sqlstate_with_the_name_that_plpgsql_knows() {
    let mut world = World::new();
    let errors = rows(&section(&read(DOCUMENT), "## Errors"));
    let codes: BTreeSet<&str> = errors.iter().map(|row| row[0].as_str()).collect();
    for code in SQLSTATES {
        assert!(codes.contains(code), "{code} is not in {DOCUMENT}");
    }
    let is_code = |text: &str| text.len() == 5 && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    for row in errors.iter().filter(|row| is_code(&row[0])) {
        let (code, condition) = (&row[0], &row[1]);
        world.run(&format!("DO $$ BEGIN RAISE SQLSTATE '{code}'; EXCEPTION WHEN {condition} THEN NULL; END $$"));
    }
}

#[test]
fn its_statements_run() {
    let world = World::new();
    world.sandbox.consumer(json!({
        "kind": "postgres", "id": "contacts", "collection_id": "salesforce:contact",
        "dsn": world.database.dsn(), "table": "contacts",
    }));
    for (block, promised) in statements(&read(DOCUMENT)) {
        let command = world.database.server().psql_command(world.database.name());
        let (output, ok) = psql(command, &block.text);
        assert!(ok, "{DOCUMENT}, line {}: {output}", block.line);
        if let Some(promised) = promised {
            assert_eq!(tidy(&output), tidy(&promised), "{DOCUMENT}, line {}", block.line);
        }
    }
}
