//! The refusal of an UPDATE that would move a row to another partition.
//!
//! Of an UPDATE the trigger for the statement sees such a row, with its old key and its new one. Of a MERGE it does not:
//! Postgres hands the row to the triggers of DELETE and INSERT, which fire only if the MERGE has such actions. So the
//! trigger for rows refuses it, of whichever statement.

use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::context;
use crate::pg::relation::Table;
use crate::pg::row_trigger::RowUpdate;
use crate::pg::spi::{self, Connection};
use crate::pg::statement::{Statement, Value};

use super::columns::changed_key;
use super::open_statements;

/// Refuses the update of a row if it is captured and changes the row's primary key. That holds the partition key.
pub fn refuse(update: &RowUpdate) -> Result<(), ErrorReport> {
    if !update.writes_key() {
        return Ok(());
    }
    let Some(table) = captured_above(update.relation()) else { return Ok(()) };
    match update.changed_key() {
        Some(key) => {
            context::during(&format!("UPDATE on {}", table.quoted), |_| Err::<(), _>(changed_key(&table, &key)))
        }
        None => Ok(()),
    }
}

/// The table above a partition that the captured statement names which is under way here.
fn captured_above(partition: u32) -> Option<Table> {
    static ABOVE: Statement = Statement::new(
        "SELECT a.relation::pg_catalog.oid FROM pg_catalog.pg_partition_ancestors($1) AS a(relation) \
         WHERE a.relation::pg_catalog.oid OPERATOR(pg_catalog.<>) $1",
    );
    let named = open_statements::updated_here();
    if named.is_empty() {
        return None;
    }
    let find = |connection: &Connection| {
        let rows = ABOVE.run(connection, &[Value::Oid(partition)]);
        let mut above = (0..rows.len()).filter_map(|row| rows.oid(row, 1));
        Ok::<_, std::convert::Infallible>(above.find(|table| named.contains(&table.to_u32())))
    };
    spi::connected(find).unwrap_or_else(|never| match never {}).and_then(Table::open)
}
