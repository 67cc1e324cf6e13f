//! The attempts of a role without rights on an object, by the object's kind.
//!
//! The role owns the schema `own` with the tables `a (a int)` and `b (id bigint)`.

use super::statements::{
    EVENT_TRIGGER, EXTENSION, FUNCTION, INDEX, RELATION, ROW_TYPE, SCHEMA, SEQUENCE, SERVER, Statements, TABLE, TOAST,
    TYPE, VIEW, WRAPPER, WRITE,
};

/// One statement, which must be refused or be listed as open to PUBLIC.
pub struct Attempt {
    pub name: &'static str,
    pub sql: String,
    /// The SQLSTATEs with which it may fail.
    pub refusals: &'static [&'static str],
}

/// The state of a statement that only warns, because nothing of it could be granted or revoked.
pub const UNCHANGED: &str = "unchanged";

const DENIED: &[&str] = &["42501"];

/// A GRANT by a role with some right, as PUBLIC has on some objects, is not refused.
const DENIED_OR_UNCHANGED: &[&str] = &["42501", UNCHANGED];

/// A view without writable columns reports that before it checks rights.
const DENIED_OR_NOT_WRITABLE: &[&str] = &["42501", "55000"];

/// A setting of the configuration file reports that before it checks rights.
const DENIED_OR_CONFIGURED: &[&str] = &["42501", "55P02"];

/// All that is tried with the object `identity`, which `pg_identify_object` says is a `kind`. A function is called with
/// `arguments`.
pub fn attempts(kind: &str, identity: &str, arguments: &str) -> Vec<Attempt> {
    match kind {
        "table" => table(identity),
        "view" => view(identity),
        "sequence" => with_rights("SEQUENCE", identity, SEQUENCE),
        "index" => all(INDEX, identity, DENIED),
        "function" => function(identity, arguments),
        "type" | "composite type" => of_type(kind, identity),
        "schema" => with_rights("SCHEMA", identity, SCHEMA),
        "foreign-data wrapper" => with_rights("FOREIGN DATA WRAPPER", identity, WRAPPER),
        "server" => server(identity),
        "event trigger" => with_comment("EVENT TRIGGER", identity, EVENT_TRIGGER),
        "extension" => with_comment("EXTENSION", identity, EXTENSION),
        "setting" => setting(identity),
        "trigger" => part(identity, &[("drop", "DROP TRIGGER $ ON @"), ("rename", "ALTER TRIGGER $ ON @ RENAME TO x")]),
        "rule" => part(identity, &[("drop", "DROP RULE $ ON @"), ("rename", "ALTER RULE $ ON @ RENAME TO x")]),
        "table constraint" => part(
            identity,
            &[("drop", "ALTER TABLE @ DROP CONSTRAINT $"), ("rename", "ALTER TABLE @ RENAME CONSTRAINT $ TO x")],
        ),
        "default value" => default_value(identity),
        "toast table" => all(TOAST, identity, DENIED),
        _ => panic!("nothing is tried with the {kind} {identity}"),
    }
}

fn attempt(name: &'static str, sql: String, refusals: &'static [&'static str]) -> Attempt {
    Attempt { name, sql, refusals }
}

fn all(statements: Statements, identity: &str, refusals: &'static [&'static str]) -> Vec<Attempt> {
    statements.iter().map(|(name, sql)| attempt(name, sql.replace('@', identity), refusals)).collect()
}

/// Statements for any object of the `class`.
fn with_comment(class: &str, identity: &str, statements: Statements) -> Vec<Attempt> {
    let mut attempts = all(statements, identity, DENIED);
    attempts.push(attempt("comment", format!("COMMENT ON {class} {identity} IS 'x'"), DENIED));
    attempts
}

/// Statements for any object of the `class` with an access list.
fn with_rights(class: &str, identity: &str, statements: Statements) -> Vec<Attempt> {
    let mut attempts = with_comment(class, identity, statements);
    attempts.extend(rights(class, identity));
    attempts
}

fn rights(class: &str, identity: &str) -> [Attempt; 3] {
    [
        ("grant", format!("GRANT ALL ON {class} {identity} TO pg_monitor")),
        ("grant to himself", format!("GRANT ALL ON {class} {identity} TO CURRENT_USER WITH GRANT OPTION")),
        ("revoke", format!("REVOKE ALL ON {class} {identity} FROM PUBLIC")),
    ]
    .map(|(name, sql)| attempt(name, sql, DENIED_OR_UNCHANGED))
}

fn table(identity: &str) -> Vec<Attempt> {
    let mut attempts = with_comment("TABLE", identity, TABLE);
    attempts.extend(all(RELATION, identity, DENIED));
    attempts.extend(rights("TABLE", identity));
    attempts.extend(columns(identity, DENIED));
    attempts
}

fn view(identity: &str) -> Vec<Attempt> {
    let mut attempts = with_comment("VIEW", identity, VIEW);
    attempts.extend(all(RELATION, identity, DENIED));
    attempts.extend(all(WRITE, identity, DENIED_OR_NOT_WRITABLE));
    attempts.extend(rights("TABLE", identity));
    attempts.extend(columns(identity, DENIED_OR_NOT_WRITABLE));
    attempts
}

/// Statements that need a column: tried with each column, and refused if none succeeded.
fn columns(identity: &str, writing: &'static [&'static str]) -> Vec<Attempt> {
    let each = |sql: &str| {
        let sql = sql.replace('@', identity);
        format!(
            "DO $do$ DECLARE worked bool = false; a name; BEGIN
               FOR a IN SELECT attname FROM pg_attribute WHERE attrelid = '{identity}'::regclass AND attnum > 0 LOOP
                 BEGIN EXECUTE format('{sql}', a); worked = true;
                 EXCEPTION WHEN insufficient_privilege THEN END;
               END LOOP;
               IF NOT worked THEN RAISE insufficient_privilege; END IF;
             END $do$"
        )
    };
    vec![
        attempt("insert a column", each("INSERT INTO @ (%I) VALUES (DEFAULT)"), writing),
        attempt("update a column", each("UPDATE @ SET %1$I = DEFAULT"), writing),
        attempt("comment on a column", each("COMMENT ON COLUMN @.%I IS NULL"), DENIED),
        attempt("rename a column", each("ALTER TABLE @ RENAME %I TO x"), DENIED),
        attempt("default of a column", each("ALTER TABLE @ ALTER %I DROP DEFAULT"), DENIED),
        attempt("grant a column", each("GRANT ALL (%I) ON @ TO pg_monitor"), DENIED_OR_UNCHANGED),
    ]
}

fn function(identity: &str, arguments: &str) -> Vec<Attempt> {
    let (name, _) = identity.split_once('(').expect("a function's identity has its arguments");
    let with_support: Vec<_> =
        FUNCTION.iter().filter(|(kind, _)| *kind != "support" || identity.contains("internal)")).collect();
    let mut attempts: Vec<Attempt> = with_support
        .iter()
        .map(|(kind, sql)| attempt(kind, sql.replace('@', identity).replace('$', name), DENIED))
        .collect();
    // Only Postgres itself can call those with an internal argument.
    if !identity.contains("internal)") {
        attempts.push(attempt("call", format!("SELECT {name}({arguments})"), DENIED));
    }
    if identity.ends_with("()") {
        let trigger = format!("CREATE TRIGGER x AFTER INSERT ON own.a FOR EACH STATEMENT EXECUTE FUNCTION {identity}");
        // Postgres refuses a function that returns no trigger once it may be called.
        let is_open = super::OPEN.contains(&(identity, "call"));
        attempts.push(attempt("trigger", trigger, if is_open { &["42P17"] } else { DENIED }));
    }
    attempts.push(attempt("comment", format!("COMMENT ON FUNCTION {identity} IS 'x'"), DENIED));
    attempts.extend(rights("FUNCTION", identity));
    attempts
}

fn of_type(kind: &str, identity: &str) -> Vec<Attempt> {
    let mut attempts = with_comment("TYPE", identity, TYPE);
    // An array's type has neither a name nor rights of its own to change.
    if !identity.ends_with("[]") {
        attempts.extend(all(ROW_TYPE, identity, DENIED));
        attempts.extend(rights("TYPE", identity));
    }
    // That of a relation changes hands with it.
    if kind == "composite type" {
        attempts.push(attempt("own", format!("ALTER TYPE {identity} OWNER TO CURRENT_USER"), DENIED));
    }
    attempts
}

fn server(identity: &str) -> Vec<Attempt> {
    let mut attempts = with_comment("SERVER", identity, SERVER);
    attempts.extend(rights("FOREIGN SERVER", identity));
    attempts
}

fn setting(identity: &str) -> Vec<Attempt> {
    let value = if identity == "sequin.capture" { "off" } else { "'1'" };
    let set = format!("SET {identity} = {value}");
    vec![
        attempt("set", format!("{set}; ALTER ROLE CURRENT_USER {set}"), DENIED_OR_CONFIGURED),
        attempt("for all", format!("ALTER SYSTEM {set}"), DENIED),
        attempt("for another", format!("ALTER ROLE postgres {set}"), DENIED),
        attempt("for the database", format!("ALTER DATABASE postgres {set}"), DENIED),
        attempt("grant", format!("GRANT SET, ALTER SYSTEM ON PARAMETER {identity} TO pg_monitor"), DENIED),
    ]
}

/// Of `$ on @`.
fn part(identity: &str, statements: Statements) -> Vec<Attempt> {
    let (name, relation) = identity.rsplit_once(" on ").expect("a part's identity has its relation's");
    statements.iter().map(|(kind, sql)| attempt(kind, sql.replace('$', name).replace('@', relation), DENIED)).collect()
}

/// Of `for schema.table.column`.
fn default_value(identity: &str) -> Vec<Attempt> {
    let column = identity.strip_prefix("for ").expect("a default's identity is its column's");
    let (relation, name) = column.rsplit_once('.').expect("a column has a relation");
    vec![attempt("drop", format!("ALTER TABLE {relation} ALTER {name} DROP DEFAULT"), DENIED)]
}
