//! The triggers that attach a table. Nothing else is stored about an attachment.
//!
//! A trigger after each statement captures its changes. The trigger before a statement fires for all operations, because
//! rows can also arrive by a statement that is not captured. The only row trigger keeps a row's upstream id; Postgres
//! copies it from a partitioned table to its partitions.

use std::collections::BTreeSet;

use pgrx::pg_sys::Oid;

use crate::pg::column::row;
use crate::pg::spi::Connection;

use contract::attachment::{Attachment, TriggerEvent};
use contract::capture_sql::{NEW_ROWS, OLD_ROWS, literal};

/// The statement triggers of a table, for comparison: the events of each, as in pg_trigger, and its argument.
#[derive(Debug, PartialEq, Eq)]
pub struct TriggerSet(BTreeSet<(String, Option<String>)>);

row! {
    /// A trigger of this extension in pg_trigger.
    struct TableTrigger {
        /// Quoted.
        name: String,
        events: String,
        argument: Option<String>,
        is_for_rows: bool,
        is_of_parent: bool,
    }
}

/// The triggers of this extension on a table.
pub struct AttachedTriggers {
    /// Quoted, without the triggers that belong to the parent of the table.
    names: Vec<String>,
    pub set: TriggerSet,
}

/// INSERT, DELETE and UPDATE together, and TRUNCATE, as bits of pg_trigger.h.
const ANY_WRITE: &str = "28";
const TRUNCATE: &str = "32";

impl TriggerSet {
    /// The triggers that [`create`] creates.
    pub fn of(operations: &[TriggerEvent], argument: &str) -> TriggerSet {
        let captures = operations.iter().map(|operation| (event(*operation), Some(argument.to_owned())));
        TriggerSet(captures.chain([(ANY_WRITE.to_owned(), None), (TRUNCATE.to_owned(), None)]).collect())
    }
}

/// The bit of pg_trigger.h, as text.
fn event(operation: TriggerEvent) -> String {
    let bit = match operation {
        TriggerEvent::Insert => 4,
        TriggerEvent::Delete => 8,
        TriggerEvent::Update => 16,
    };
    bit.to_string()
}

/// The triggers of this extension on a table, including those that were created by hand; None without statement triggers.
pub fn find(connection: &Connection, table: Oid) -> Option<AttachedTriggers> {
    // sequin_attach passes one argument. pg_trigger stores it with a zero byte at its end.
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
    for trigger in connection.query::<()>(&query, ()).iter::<TableTrigger>() {
        if !trigger.is_of_parent {
            found.names.push(trigger.name);
        }
        if !trigger.is_for_rows {
            found.set.0.insert((trigger.events, trigger.argument));
        }
    }
    (!found.set.0.is_empty()).then_some(found)
}

/// A table that is about to get triggers.
pub struct UnattachedTable {
    pub oid: Oid,
    /// Qualified.
    pub quoted: String,
    pub is_partitioned: bool,
    /// A partition of the table that is being attached.
    pub is_below: bool,
}

/// Creates the triggers on `table`.
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
        // Postgres copies it to all partitions under the same name, which must be free there, now and later.
        let own = if table.is_partitioned { format!("_{}", table.oid.to_u32()) } else { String::new() };
        let name = format!("sequin_keep_id{own}");
        connection.execute(&format!(
            "CREATE TRIGGER {name} BEFORE UPDATE ON {quoted} FOR EACH ROW EXECUTE FUNCTION sequin.capture({})",
            literal(&attachment.upstream_id_column)
        ));
    }
}

/// Whether the table has the row trigger already: a partition has it if its parent has it.
fn has_row_trigger(connection: &Connection, table: Oid) -> bool {
    let query = format!(
        "SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) {} AND t.tgfoid OPERATOR(pg_catalog.=) \
         'sequin.capture()'::pg_catalog.regprocedure \
         AND (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 1) OPERATOR(pg_catalog.=) 1",
        table.to_u32()
    );
    connection.query::<()>(&query, ()).len() > 0
}

impl AttachedTriggers {
    /// Drops them from `table`, the table they were found on, qualified and quoted.
    pub fn drop_from(&self, connection: &Connection, table: &str) {
        for name in &self.names {
            connection.execute(&format!("DROP TRIGGER {name} ON {table}"));
        }
    }
}
