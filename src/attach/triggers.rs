//! The triggers of ours on one table: they are all that attaches it.
//!
//! Two for each captured operation would do, one before the statement and one after it. The one before fires for every
//! operation, because rows can also come into a table by a statement that is not captured. A row keeps its upstream id
//! by a trigger of its own, the only one for rows: Postgres copies it from a partitioned table to its partitions.

use std::collections::BTreeSet;

use pgrx::pg_sys::Oid;

use crate::pg::spi::{Connection, QueryRows};

use contract::attachment::{Attachment, TriggerEvent};
use contract::capture_sql::{NEW_ROWS, OLD_ROWS, literal};

/// What attaches a table, to be compared: of each trigger for statements its events, as pg_trigger has them, and its
/// argument.
#[derive(Debug, PartialEq, Eq)]
pub struct TriggerSet(BTreeSet<(String, Option<String>)>);

/// The triggers that are on a table.
pub struct AttachedTriggers {
    /// Quoted. Without those that belong to the table's parent.
    names: Vec<String>,
    pub set: TriggerSet,
}

/// The bits of pg_trigger.h for INSERT, DELETE and UPDATE together, and for TRUNCATE.
const ANY_WRITE: &str = "28";
const TRUNCATE: &str = "32";

impl TriggerSet {
    /// What [`create`] makes.
    pub fn of(operations: &[TriggerEvent], argument: &str) -> TriggerSet {
        let captures = operations.iter().map(|operation| (event(*operation), Some(argument.to_owned())));
        TriggerSet(captures.chain([(ANY_WRITE.to_owned(), None), (TRUNCATE.to_owned(), None)]).collect())
    }
}

/// The bit of pg_trigger.h for it, as a query gives it.
fn event(operation: TriggerEvent) -> String {
    let bit = match operation {
        TriggerEvent::Insert => 4,
        TriggerEvent::Delete => 8,
        TriggerEvent::Update => 16,
    };
    bit.to_string()
}

/// The triggers of ours on a table, also those that were made by hand; None if there are none for statements.
pub fn find(connection: &Connection, table: Oid) -> Option<AttachedTriggers> {
    // Each argument ends with a zero byte; sequin_attach gives one argument.
    let query = format!(
        "SELECT pg_catalog.quote_ident(t.tgname), (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 60)::pg_catalog.text, \
         CASE WHEN t.tgnargs OPERATOR(pg_catalog.=) 1 THEN pg_catalog.convert_from(pg_catalog.substr(t.tgargs, 1, \
         pg_catalog.octet_length(t.tgargs) OPERATOR(pg_catalog.-) 1), pg_catalog.getdatabaseencoding()) END, \
         (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 1) OPERATOR(pg_catalog.=) 1, \
         t.tgparentid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid \
         FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
         WHERE t.tgrelid OPERATOR(pg_catalog.=) {} AND n.nspname OPERATOR(pg_catalog.=) 'sequin' \
         AND p.proname OPERATOR(pg_catalog.=) ANY (ARRAY['capture', 'refuse_truncate']::pg_catalog.name[])",
        table.to_u32()
    );
    let mut found = AttachedTriggers { names: Vec::new(), set: TriggerSet(BTreeSet::new()) };
    connection.each(&query, |batch: &QueryRows, row| {
        let (is_for_rows, is_of_parent) = (batch.boolean(row, 4), batch.boolean(row, 5));
        found.names.extend(batch.text(row, 1).filter(|_| !is_of_parent));
        if !is_for_rows {
            found.set.0.insert((batch.text(row, 2).unwrap_or_default(), batch.text(row, 3)));
        }
    });
    (!found.set.0.is_empty()).then_some(found)
}

/// A table that gets triggers.
pub struct UnattachedTable {
    pub oid: Oid,
    /// Qualified.
    pub quoted: String,
    pub is_partitioned: bool,
    /// It is a partition of the table that is being attached.
    pub is_below: bool,
}

/// Makes the triggers on `table`.
pub fn create(connection: &Connection, table: &UnattachedTable, operations: &[TriggerEvent], attachment: &Attachment) {
    let (quoted, argument) = (&table.quoted, literal(&attachment.to_argument()));
    connection.execute(&format!(
        "CREATE TRIGGER sequin_begin BEFORE INSERT OR UPDATE OR DELETE ON {quoted} FOR EACH STATEMENT EXECUTE FUNCTION \
         sequin.capture()"
    ));
    for operation in operations {
        let (name, keyword) = (operation.as_str(), operation.keyword());
        let referencing = match operation {
            TriggerEvent::Insert => format!("NEW TABLE AS {NEW_ROWS}"),
            TriggerEvent::Update => format!("NEW TABLE AS {NEW_ROWS} OLD TABLE AS {OLD_ROWS}"),
            TriggerEvent::Delete => format!("OLD TABLE AS {OLD_ROWS}"),
        };
        connection.execute(&format!(
            "CREATE TRIGGER sequin_{name} AFTER {keyword} ON {quoted} REFERENCING {referencing} FOR EACH STATEMENT \
             EXECUTE FUNCTION sequin.capture({argument})"
        ));
    }
    connection.execute(&format!(
        "CREATE TRIGGER sequin_truncate BEFORE TRUNCATE ON {quoted} FOR EACH STATEMENT EXECUTE FUNCTION \
         sequin.refuse_truncate()"
    ));
    if !table.is_below || !has_row_trigger(connection, table.oid) {
        // Postgres gives it to all partitions, under the same name, which must be free there now and later.
        let own = if table.is_partitioned { format!("_{}", table.oid.to_u32()) } else { String::new() };
        let name = format!("sequin_keep_id{own}");
        connection.execute(&format!(
            "CREATE TRIGGER {name} BEFORE UPDATE ON {quoted} FOR EACH ROW EXECUTE FUNCTION sequin.capture({})",
            literal(&attachment.upstream_id_column)
        ));
    }
}

/// Whether the trigger for rows is there already, as it is on a partition of a table that has it.
fn has_row_trigger(connection: &Connection, table: Oid) -> bool {
    let query = format!(
        "SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) {} AND t.tgfoid OPERATOR(pg_catalog.=) \
         'sequin.capture()'::pg_catalog.regprocedure \
         AND (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 1) OPERATOR(pg_catalog.=) 1",
        table.to_u32()
    );
    connection.count(&query, &[]) > 0
}

impl AttachedTriggers {
    /// Drops them from `table`, the table they were found on, qualified and quoted.
    pub fn drop_from(&self, connection: &Connection, table: &str) {
        for name in &self.names {
            connection.execute(&format!("DROP TRIGGER {name} ON {table}"));
        }
    }
}
