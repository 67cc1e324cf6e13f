//! The identity of the database that the outbox belongs to.

use pgrx::pg_sys::Oid;

use crate::pg::spi::Connection;
use crate::pg::statement::Statement;

/// The number of a cluster, and the oid of a database in it.
pub type Database = (i64, Oid);

/// Whether the database was made from a template in this cluster, and no worker has handled that yet.
pub fn is_from_template(connection: &Connection, here: Database) -> bool {
    static IS: Statement<(i64, Oid)> = Statement::new(
        "SELECT 1 FROM sequin.origin h HAVING pg_catalog.bool_and(h.system_identifier OPERATOR(pg_catalog.=) $1 \
         AND h.database OPERATOR(pg_catalog.<>) $2)",
    );
    IS.run(connection, here).len() > 0
}

/// Whether the outbox was written in another database.
pub fn is_elsewhere(connection: &Connection, here: Database) -> bool {
    static IS: Statement<(i64, Oid)> = Statement::new(
        "SELECT FROM sequin.origin h WHERE h.system_identifier OPERATOR(pg_catalog.<>) $1 \
         OR h.database OPERATOR(pg_catalog.<>) $2",
    );
    IS.run(connection, here).len() > 0
}

/// Stores the first id that a session has enqueued here, unless a lower one is stored.
pub fn note_first_id(connection: &Connection, (system, database): Database, id: i64) {
    static NOTE: Statement<(i64, Oid, i64)> = Statement::new(
        "INSERT INTO sequin.first_ids (system_identifier, database, id) SELECT $1, $2, $3 WHERE NOT EXISTS ( \
         SELECT FROM sequin.first_ids f WHERE f.system_identifier OPERATOR(pg_catalog.=) $1 \
         AND f.database OPERATOR(pg_catalog.=) $2 AND f.id OPERATOR(pg_catalog.<=) $3)",
    );
    NOTE.run(connection, (system, database, id)).free();
}

/// The servers with records from before the first id that was enqueued here, each with the highest such id.
pub fn last_ids_before(connection: &Connection, here: Database) -> Vec<(String, i64)> {
    static BEFORE: Statement<(i64, Oid)> = Statement::new(concat!(
        named_servers!(),
        ", first(id) AS (SELECT COALESCE(pg_catalog.min(f.id), 9223372036854775807) FROM sequin.first_ids f \
           WHERE f.system_identifier OPERATOR(pg_catalog.=) $1 AND f.database OPERATOR(pg_catalog.=) $2), \
         before(server, id) AS (SELECT n.server, (SELECT q.id FROM sequin.queue q \
           WHERE q.server OPERATOR(pg_catalog.=) n.server AND q.id OPERATOR(pg_catalog.<) (SELECT first.id FROM first) \
           ORDER BY q.id DESC LIMIT 1) FROM named n WHERE n.server IS NOT NULL UNION ALL \
           SELECT p.server, p.id FROM sequin.deferred p WHERE p.id OPERATOR(pg_catalog.<) (SELECT first.id FROM first)) \
         SELECT b.server, pg_catalog.max(b.id) FROM before b WHERE b.id IS NOT NULL GROUP BY b.server"
    ));
    BEFORE.run(connection, here).iter().collect()
}

/// Stores that the outbox belongs to this database alone.
pub fn write(connection: &Connection, here: Database) {
    static FORGET_FIRST_IDS: Statement<()> = Statement::new("DELETE FROM sequin.first_ids");
    static FORGET_OTHERS: Statement<(i64, Oid)> = Statement::new(
        "DELETE FROM sequin.origin h WHERE h.system_identifier OPERATOR(pg_catalog.<>) $1 \
         OR h.database OPERATOR(pg_catalog.<>) $2",
    );
    static WRITE: Statement<(i64, Oid)> = Statement::new(
        "INSERT INTO sequin.origin (system_identifier, database) SELECT $1, $2 \
         WHERE NOT EXISTS (SELECT FROM sequin.origin)",
    );
    FORGET_FIRST_IDS.run(connection, ()).free();
    FORGET_OTHERS.run(connection, here).free();
    WRITE.run(connection, here).free();
}
