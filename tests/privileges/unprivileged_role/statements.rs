//! The statements that are tried, by the kind of object: a name for each, and the SQL, in which `@` is the object.

/// The attempts for one kind of object.
pub type Statements = &'static [(&'static str, &'static str)];

/// For tables alone.
pub const TABLE: Statements = &[
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
    ("drop", "DROP TABLE @"),
    ("triggers off", "ALTER TABLE @ DISABLE TRIGGER ALL"),
];

/// For tables and views.
pub const RELATION: Statements = &[
    ("lock it alone", "LOCK @ IN ACCESS EXCLUSIVE MODE"),
    (
        "trigger",
        "CREATE TRIGGER x AFTER INSERT ON @ FOR EACH STATEMENT EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ),
    ("rule", "CREATE RULE x AS ON INSERT TO @ DO INSTEAD NOTHING"),
    ("policy", "CREATE POLICY x ON @"),
    ("add", "ALTER TABLE @ ADD x int"),
    ("rename", "ALTER TABLE @ RENAME TO x"),
    ("own", "ALTER TABLE @ OWNER TO CURRENT_USER"),
    ("schema", "ALTER TABLE @ SET SCHEMA own"),
];

/// For views alone.
pub const VIEW: Statements = &[
    ("select", "SELECT * FROM @"),
    ("replace", "CREATE OR REPLACE VIEW @ AS SELECT 1"),
    ("invoker", "ALTER VIEW @ SET (security_invoker = on)"),
    ("barrier", "ALTER VIEW @ RESET (security_barrier)"),
    ("drop", "DROP VIEW @"),
];

/// To write through a view.
pub const WRITE: Statements = &[
    ("insert", "INSERT INTO @ SELECT t.* FROM @ AS t"),
    ("insert nothing", "INSERT INTO @ DEFAULT VALUES"),
    ("delete", "DELETE FROM @"),
];

/// For sequences.
pub const SEQUENCE: Statements = &[
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

/// For indexes.
pub const INDEX: Statements = &[
    ("rename", "ALTER INDEX @ RENAME TO x"),
    ("set", "ALTER INDEX @ SET (fillfactor = 50)"),
    ("reindex", "REINDEX INDEX @"),
    ("drop", "DROP INDEX @"),
    ("comment", "COMMENT ON INDEX @ IS 'x'"),
];

/// For functions; `$` is the name alone.
pub const FUNCTION: Statements = &[
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

/// For any type.
pub const TYPE: Statements = &[("drop", "DROP TYPE @"), ("cast", "CREATE CAST (@ AS own.a) WITHOUT FUNCTION")];

/// For a type that is no array.
pub const ROW_TYPE: Statements = &[
    ("add", "ALTER TYPE @ ADD ATTRIBUTE x int"),
    ("rename", "ALTER TYPE @ RENAME TO x"),
    ("schema", "ALTER TYPE @ SET SCHEMA own"),
];

/// For the schema.
pub const SCHEMA: Statements = &[
    ("usage", "SELECT '@.outbox'::regclass"),
    ("create", "CREATE TABLE @.x ()"),
    ("create view", "CREATE VIEW @.x AS SELECT 1"),
    ("create type", "CREATE TYPE @.x AS (a int)"),
    ("create function", "CREATE FUNCTION @.x() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ("create operator", "CREATE OPERATOR @.= (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)"),
    ("move into", "ALTER TABLE own.a SET SCHEMA @"),
    ("defaults", "ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA @ GRANT SELECT ON TABLES TO PUBLIC"),
    ("rename", "ALTER SCHEMA @ RENAME TO x"),
    ("own", "ALTER SCHEMA @ OWNER TO CURRENT_USER"),
    ("drop", "DROP SCHEMA @"),
];

/// For the foreign-data wrapper.
pub const WRAPPER: Statements = &[
    ("usage", "CREATE SERVER x FOREIGN DATA WRAPPER @ OPTIONS (url 'https://example.com')"),
    ("set", "ALTER FOREIGN DATA WRAPPER @ OPTIONS (x 'x')"),
    ("validator", "ALTER FOREIGN DATA WRAPPER @ NO VALIDATOR"),
    ("rename", "ALTER FOREIGN DATA WRAPPER @ RENAME TO x"),
    ("own", "ALTER FOREIGN DATA WRAPPER @ OWNER TO CURRENT_USER"),
    ("drop", "DROP FOREIGN DATA WRAPPER @"),
];

/// For a server object of it.
pub const SERVER: Statements = &[
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

/// Of an event trigger.
pub const EVENT_TRIGGER: Statements = &[
    ("drop", "DROP EVENT TRIGGER @"),
    ("rename", "ALTER EVENT TRIGGER @ RENAME TO x"),
    ("own", "ALTER EVENT TRIGGER @ OWNER TO CURRENT_USER"),
    ("disable", "ALTER EVENT TRIGGER @ DISABLE"),
];

/// For the extension itself.
pub const EXTENSION: Statements = &[
    ("update", "ALTER EXTENSION @ UPDATE"),
    ("schema", "ALTER EXTENSION @ SET SCHEMA own"),
    ("add", "ALTER EXTENSION @ ADD TABLE own.a"),
    ("take out", "ALTER EXTENSION @ DROP VIEW sequin.outbox"),
    ("drop", "DROP EXTENSION @"),
];

/// For the table of long values that a table has.
pub const TOAST: Statements = &[("select", "SELECT FROM @"), ("reindex", "REINDEX TABLE @"), ("drop", "DROP TABLE @")];
