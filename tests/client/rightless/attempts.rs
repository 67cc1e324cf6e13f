//! What a role without rights tries with an object, by the object's kind.
//!
//! `@` in a statement is the object. The role owns the schema `own` with the tables `a (a int)` and `b (id bigint)`.

/// One statement, which must be refused or stand in the list of what is open to everybody.
pub struct Attempt {
    pub name: &'static str,
    pub sql: String,
    /// The SQLSTATEs with which it may fail.
    pub refusals: &'static [&'static str],
}

/// The state of a statement that only warns, because nothing of it could be granted or revoked.
pub const UNCHANGED: &str = "unchanged";

const DENIED: &[&str] = &["42501"];

/// Whoever has a right of some kind, as everybody has on some objects, is not refused when he grants it.
const DENIED_OR_UNCHANGED: &[&str] = &["42501", UNCHANGED];

/// A view that nobody can write says so before it looks who asks.
const DENIED_OR_NOT_WRITABLE: &[&str] = &["42501", "55000"];

/// What belongs in the configuration file says so before it looks who asks.
const DENIED_OR_CONFIGURED: &[&str] = &["42501", "55P02"];

const TABLE: &[(&str, &str)] = &[
    ("select", "SELECT FROM @"),
    ("count", "SELECT count(*) FROM @"),
    ("select nothing", "SELECT 1 FROM @ WHERE false"),
    ("the row", "SELECT t FROM @ AS t"),
    ("system columns", "SELECT ctid, tableoid FROM @"),
    ("copy out", "COPY @ TO STDOUT"),
    ("copy in", "COPY @ FROM STDIN"),
    ("insert", "INSERT INTO @ DEFAULT VALUES"),
    ("insert of nothing", "INSERT INTO @ SELECT t.* FROM @ AS t WHERE false"),
    ("delete", "DELETE FROM @"),
    ("delete of nothing", "DELETE FROM @ WHERE false"),
    ("merge", "MERGE INTO @ USING own.a ON true WHEN MATCHED THEN DELETE"),
    ("for update", "SELECT FROM @ FOR UPDATE"),
    ("for key share", "SELECT FROM @ FOR KEY SHARE"),
    ("truncate", "TRUNCATE @"),
    ("lock", "LOCK @ IN ACCESS SHARE MODE"),
    ("references", "ALTER TABLE own.b ADD FOREIGN KEY (id) REFERENCES @"),
    ("inherit", "CREATE TABLE own.x () INHERITS (@)"),
    ("copy the shape", "CREATE TABLE own.x (LIKE @)"),
    ("make a parent", "ALTER TABLE @ INHERIT own.a"),
    ("index", "CREATE INDEX ON @ ((1))"),
    ("statistics", "CREATE STATISTICS own.x ON a, b FROM @"),
    ("publish", "CREATE PUBLICATION x FOR TABLE @"),
    ("cluster", "CLUSTER @"),
    ("reindex", "REINDEX TABLE @"),
    ("row security", "ALTER TABLE @ ENABLE ROW LEVEL SECURITY"),
    ("constraint", "ALTER TABLE @ ADD CHECK (false)"),
    ("storage", "ALTER TABLE @ SET (autovacuum_enabled = off)"),
    ("unlogged", "ALTER TABLE @ SET UNLOGGED"),
    ("replica identity", "ALTER TABLE @ REPLICA IDENTITY FULL"),
    ("triggers off", "ALTER TABLE @ DISABLE TRIGGER ALL"),
];

/// For tables and views.
const RELATION: &[(&str, &str)] = &[
    ("lock it alone", "LOCK @ IN ACCESS EXCLUSIVE MODE"),
    (
        "trigger",
        "CREATE TRIGGER x BEFORE INSERT ON @ FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ),
    ("rule", "CREATE RULE x AS ON INSERT TO @ DO INSTEAD NOTHING"),
    ("policy", "CREATE POLICY x ON @"),
    ("add", "ALTER TABLE @ ADD x int"),
    ("rename", "ALTER TABLE @ RENAME TO x"),
    ("own", "ALTER TABLE @ OWNER TO CURRENT_USER"),
    ("schema", "ALTER TABLE @ SET SCHEMA own"),
    ("drop", "DROP TABLE @"),
];

const VIEW: &[(&str, &str)] = &[
    ("select", "SELECT * FROM @"),
    ("replace", "CREATE OR REPLACE VIEW @ AS SELECT 1"),
    ("invoker", "ALTER VIEW @ SET (security_invoker = on)"),
    ("barrier", "ALTER VIEW @ RESET (security_barrier)"),
    ("drop the view", "DROP VIEW @"),
];

const WRITE: &[(&str, &str)] =
    &[("insert", "INSERT INTO @ SELECT t.* FROM @ AS t"), ("delete", "DELETE FROM @"), ("truncate", "TRUNCATE @")];

const SEQUENCE: &[(&str, &str)] = &[
    ("select", "SELECT * FROM @"),
    ("nextval", "SELECT nextval('@')"),
    ("setval", "SELECT setval('@', 1)"),
    ("currval", "SELECT currval('@')"),
    ("restart", "ALTER SEQUENCE @ RESTART"),
    ("cache", "ALTER SEQUENCE @ CACHE 10"),
    ("default", "ALTER TABLE own.b ALTER id SET DEFAULT nextval('@'); INSERT INTO own.b DEFAULT VALUES"),
    ("owned", "ALTER SEQUENCE @ OWNED BY own.a.a"),
    ("rename", "ALTER SEQUENCE @ RENAME TO x"),
    ("own", "ALTER SEQUENCE @ OWNER TO CURRENT_USER"),
    ("schema", "ALTER SEQUENCE @ SET SCHEMA own"),
    ("drop", "DROP SEQUENCE @"),
];

const INDEX: &[(&str, &str)] = &[
    ("rename", "ALTER INDEX @ RENAME TO x"),
    ("set", "ALTER INDEX @ SET (fillfactor = 50)"),
    ("reindex", "REINDEX INDEX @"),
    ("drop", "DROP INDEX @"),
    ("comment", "COMMENT ON INDEX @ IS 'x'"),
];

const FUNCTION: &[(&str, &str)] = &[
    ("replace", "CREATE OR REPLACE FUNCTION @ RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ("alter", "ALTER FUNCTION @ SECURITY DEFINER"),
    ("configure", "ALTER FUNCTION @ SET search_path = own"),
    ("support", "CREATE FUNCTION own.x() RETURNS int LANGUAGE sql SUPPORT $ AS 'SELECT 1'"),
    ("depend", "ALTER FUNCTION @ NO DEPENDS ON EXTENSION sequin_mutations"),
    ("rename", "ALTER FUNCTION @ RENAME TO x"),
    ("own", "ALTER FUNCTION @ OWNER TO CURRENT_USER"),
    ("schema", "ALTER FUNCTION @ SET SCHEMA own"),
    ("drop", "DROP FUNCTION @"),
];

const TYPE: &[(&str, &str)] = &[("drop", "DROP TYPE @"), ("cast", "CREATE CAST (@ AS own.a) WITHOUT FUNCTION")];

const ROW_TYPE: &[(&str, &str)] = &[
    ("add", "ALTER TYPE @ ADD ATTRIBUTE x int"),
    ("rename", "ALTER TYPE @ RENAME TO x"),
    ("own", "ALTER TYPE @ OWNER TO CURRENT_USER"),
    ("schema", "ALTER TYPE @ SET SCHEMA own"),
];

const SCHEMA: &[(&str, &str)] = &[
    ("usage", "SELECT '@.outbox'::regclass"),
    ("create", "CREATE TABLE @.x ()"),
    ("create view", "CREATE VIEW @.x AS SELECT 1"),
    ("create type", "CREATE TYPE @.x AS (a int)"),
    ("create function", "CREATE FUNCTION @.x() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ("create operator", "CREATE OPERATOR @.= (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)"),
    ("move into", "ALTER TABLE own.a SET SCHEMA @"),
    ("defaults", "ALTER DEFAULT PRIVILEGES IN SCHEMA @ GRANT SELECT ON TABLES TO PUBLIC"),
    ("rename", "ALTER SCHEMA @ RENAME TO x"),
    ("own", "ALTER SCHEMA @ OWNER TO CURRENT_USER"),
    ("drop", "DROP SCHEMA @"),
];

const WRAPPER: &[(&str, &str)] = &[
    ("usage", "CREATE SERVER x FOREIGN DATA WRAPPER @ OPTIONS (url 'https://example.com')"),
    ("set", "ALTER FOREIGN DATA WRAPPER @ OPTIONS (x 'x')"),
    ("validator", "ALTER FOREIGN DATA WRAPPER @ NO VALIDATOR"),
    ("rename", "ALTER FOREIGN DATA WRAPPER @ RENAME TO x"),
    ("own", "ALTER FOREIGN DATA WRAPPER @ OWNER TO CURRENT_USER"),
    ("drop", "DROP FOREIGN DATA WRAPPER @"),
];

const SERVER: &[(&str, &str)] = &[
    ("set", "ALTER SERVER @ OPTIONS (SET url 'https://example.com')"),
    ("version", "ALTER SERVER @ VERSION '1'"),
    ("rename", "ALTER SERVER @ RENAME TO x"),
    ("own", "ALTER SERVER @ OWNER TO CURRENT_USER"),
    ("drop", "DROP SERVER @ CASCADE"),
    ("map", "CREATE USER MAPPING FOR CURRENT_USER SERVER @ OPTIONS (token 'x')"),
    ("map another", "CREATE USER MAPPING FOR postgres SERVER @ OPTIONS (token 'x')"),
    ("map for all", "ALTER USER MAPPING FOR PUBLIC SERVER @ OPTIONS (SET token 'x')"),
    ("unmap", "DROP USER MAPPING FOR PUBLIC SERVER @"),
    ("foreign table", "CREATE FOREIGN TABLE own.x (a int) SERVER @"),
    ("import", "IMPORT FOREIGN SCHEMA x FROM SERVER @ INTO own"),
];

const EXTENSION: &[(&str, &str)] = &[
    ("update", "ALTER EXTENSION @ UPDATE"),
    ("schema", "ALTER EXTENSION @ SET SCHEMA own"),
    ("add", "ALTER EXTENSION @ ADD TABLE own.a"),
    ("take out", "ALTER EXTENSION @ DROP VIEW sequin.outbox"),
    ("drop", "DROP EXTENSION @"),
];

/// All that is tried with the object `identity`, which `pg_identify_object` says is a `kind`. A function is called with
/// `arguments`.
pub fn attempts(kind: &str, identity: &str, arguments: &str) -> Vec<Attempt> {
    match kind {
        "table" => table(identity),
        "view" => view(identity),
        "sequence" => with_rights("SEQUENCE", identity, SEQUENCE),
        "index" => all(INDEX, identity, DENIED),
        "function" => function(identity, arguments),
        "type" | "composite type" => of_type(identity),
        "schema" => with_rights("SCHEMA", identity, SCHEMA),
        "foreign-data wrapper" => with_rights("FOREIGN DATA WRAPPER", identity, WRAPPER),
        "server" => server(identity),
        "extension" => with_comment("EXTENSION", identity, EXTENSION),
        "setting" => setting(identity),
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
