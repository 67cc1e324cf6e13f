//! Which table of a partition tree the keys of its rows belong to.

use crate::pg::relation::Table;
use crate::pg::spi::{self, Connection};
use crate::pg::statement::{Statement, Value};

/// The oid of the table within which the primary key identifies a row. Rows of a partition are also written through the
/// tables above it, so it is the uppermost attached one of these.
pub fn key_scope(table: &Table) -> u32 {
    static UPPERMOST: Statement = Statement::new(
        "SELECT a.relation::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors($1) WITH ORDINALITY AS a(relation, height) \
         WHERE EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) a.relation \
         AND t.tgfoid OPERATOR(pg_catalog.=) 'sequin.capture()'::pg_catalog.regprocedure) ORDER BY a.height DESC LIMIT 1",
    );
    let own = table.oid.to_u32();
    if !table.is_partition {
        return own;
    }
    let find = |connection: &Connection| {
        let rows = UPPERMOST.run(connection, &[Value::Oid(own)]);
        let uppermost = if rows.len() > 0 { rows.oid_number(0, 1) } else { None };
        Ok::<_, std::convert::Infallible>(uppermost.unwrap_or(own))
    };
    spi::connected(find).unwrap_or_else(|never| match never {})
}
