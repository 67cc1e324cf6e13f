//! Refuses an UPDATE that would move a row to another partition.
//!
//! The statement trigger of an UPDATE sees such a row with its old key and its new one. The trigger of a MERGE does
//! not: Postgres passes the row to the triggers of DELETE and INSERT. These fire only if the MERGE has such actions. So
//! the row trigger refuses the move, in each kind of statement.

use std::convert::Infallible;

use pgrx::pg_sys::Oid;

use crate::call::error_context::StatementContext;
use crate::ereport::Error;
use crate::pg::relation::Table;
use crate::pg::row_trigger::RowUpdate;
use crate::pg::spi::{self, Connection};
use crate::pg::statement::Statement;

use super::error::changed_key;
use super::open_statements;

/// Refuses the update of a row if it is captured and changes the primary key, which includes the partition key.
pub fn check(update: &RowUpdate) -> Result<(), Error> {
    if !update.writes_key() {
        return Ok(());
    }
    let Some(table) = captured_above(update.relation()) else { return Ok(()) };
    let Some(new_key) = update.changed_key() else { return Ok(()) };
    // The CONTEXT line stays for the error.
    let _ = StatementContext::enter(&format!("UPDATE on {}", table.quoted));
    Err(changed_key(&table, &new_key))
}

/// The table above `partition` that the captured statement in progress names.
fn captured_above(partition: u32) -> Option<Table> {
    static ABOVE: Statement<(Oid,)> = Statement::new(
        "SELECT a.relation::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors($1) AS a(relation) \
         WHERE a.relation::pg_catalog.oid OPERATOR(pg_catalog.<>) $1",
    );
    let named = open_statements::updated_here();
    if named.is_empty() {
        return None;
    }
    let find = |connection: &Connection| {
        let rows = ABOVE.run(connection, (Oid::from(partition),));
        let mut above = rows.iter::<(Oid,)>().map(|(table,)| table);
        Ok::<_, Infallible>(above.find(|table| named.contains(&table.to_u32())))
    };
    spi::connected(find).unwrap_or_else(|never| match never {}).and_then(Table::open)
}
