//! Which table of a partition tree the keys of its rows belong to.

use std::convert::Infallible;

use pgrx::pg_sys::Oid;

use crate::pg::relation::Table;
use crate::pg::spi::{self, Connection};
use crate::pg::statement::Statement;

/// The oid of the table within which the primary key identifies a row. Rows of a partition are also written through the
/// tables above it, so it is the uppermost attached one of these.
pub fn key_scope(table: &Table) -> u32 {
    static UPPERMOST: Statement<(Oid,)> = Statement::new(
        "SELECT a.relation::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors($1) WITH ORDINALITY AS a(relation, height) \
         WHERE EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) a.relation \
         AND t.tgfoid OPERATOR(pg_catalog.=) 'sequin.capture()'::pg_catalog.regprocedure) ORDER BY a.height DESC LIMIT 1",
    );
    if !table.is_partition {
        return table.oid.to_u32();
    }
    let find = |connection: &Connection| {
        let uppermost = UPPERMOST.run(connection, (table.oid,)).first::<(Oid,)>();
        Ok::<_, Infallible>(uppermost.map_or(table.oid, |(uppermost,)| uppermost))
    };
    spi::connected(find).unwrap_or_else(|never| match never {}).to_u32()
}
