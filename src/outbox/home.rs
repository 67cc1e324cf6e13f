//! Which database an outbox belongs to: a copy of it would send everything a second time.

use crate::pg::spi::Connection;
use crate::pg::statement::{Statement, Value};
use crate::pg::worker;

use super::claim::NAMED_SERVERS;
use super::servers;

/// Makes sure that this worker is in its own database: a copy would send everything a second time.
pub fn check(connection: &Connection) {
    static ELSEWHERE: Statement = Statement::new(
        "DELETE FROM sequin.home h WHERE h.system_identifier OPERATOR(pg_catalog.<>) $1 OR h.database OPERATOR(pg_catalog.<>) $2",
    );
    static IS_ELSEWHERE: Statement = Statement::new(
        "SELECT FROM sequin.home h WHERE h.system_identifier OPERATOR(pg_catalog.<>) $1 OR h.database OPERATOR(pg_catalog.<>) $2",
    );
    let (system, database) = worker::home();
    let values = [Value::Int8(system), Value::Oid(database)];
    if IS_ELSEWHERE.run(connection, &values).len() == 0 {
        return;
    }
    let named = NAMED_SERVERS.run(connection, &[]);
    for server in (0..named.len()).filter_map(|row| named.text(row, 1)) {
        let reason = "this database is a copy: what is queued here may have been sent from where it was copied from";
        servers::pause(connection, &server, 0, reason, None);
    }
    ELSEWHERE.run(connection, &values);
    write_home(connection, system, database);
}

/// Notes which database this is.
fn write_home(connection: &Connection, system: i64, database: u32) {
    static WRITE: Statement = Statement::new(
        "INSERT INTO sequin.home (system_identifier, database) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM sequin.home)",
    );
    WRITE.run(connection, &[Value::Int8(system), Value::Oid(database)]).free();
}
