//! The triggers of ours on one table: they are all that attaches it.

use std::collections::BTreeSet;

use pgrx::pg_sys::Oid;

use crate::pg::spi::{Batch, Connection};

use super::attachment::Operation;
use super::queries::{NEW, OLD, literal};

/// What attaches a table, to be compared: of each trigger its event, as pg_trigger has it, and its argument.
#[derive(Debug, PartialEq, Eq)]
pub struct Set(BTreeSet<(String, Option<String>)>);

/// The triggers that are on a table.
pub struct Found {
    /// Quoted.
    names: Vec<String>,
    pub set: Set,
}

impl Set {
    /// What [`create`] makes.
    pub fn of(operations: &[Operation], argument: &str) -> Set {
        let captures = operations.iter().map(|operation| (event(*operation), Some(argument.to_owned())));
        Set(captures.chain([("32".to_owned(), None)]).collect())
    }
}

/// The bit of pg_trigger.h for it, as a query gives it. The one of TRUNCATE is 32.
fn event(operation: Operation) -> String {
    let bit = match operation {
        Operation::Insert => 4,
        Operation::Delete => 8,
        Operation::Update => 16,
    };
    bit.to_string()
}

/// The triggers of ours on a table, also those that somebody made by hand; None if there are none.
pub fn find(connection: &Connection, table: Oid) -> Option<Found> {
    // Each argument ends with a zero byte; sequin_attach gives one argument.
    let query = format!(
        "SELECT pg_catalog.quote_ident(t.tgname), (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 60)::pg_catalog.text, \
         CASE WHEN t.tgnargs OPERATOR(pg_catalog.=) 1 THEN pg_catalog.convert_from(pg_catalog.substr(t.tgargs, 1, \
         pg_catalog.octet_length(t.tgargs) OPERATOR(pg_catalog.-) 1), pg_catalog.getdatabaseencoding()) END \
         FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
         WHERE t.tgrelid OPERATOR(pg_catalog.=) {} AND n.nspname OPERATOR(pg_catalog.=) 'sequin' \
         AND p.proname OPERATOR(pg_catalog.=) ANY (ARRAY['capture', 'refuse_truncate']::pg_catalog.name[])",
        table.to_u32()
    );
    let mut found = Found { names: Vec::new(), set: Set(BTreeSet::new()) };
    connection.each(&query, |batch: &Batch, row| {
        found.names.extend(batch.text(row, 1));
        found.set.0.insert((batch.text(row, 2).unwrap_or_default(), batch.text(row, 3)));
    });
    (!found.names.is_empty()).then_some(found)
}

/// Makes the triggers on `table`, which is qualified and quoted.
pub fn create(connection: &Connection, table: &str, operations: &[Operation], argument: &str) {
    let argument = literal(argument);
    for operation in operations {
        let (name, keyword) = (operation.as_str(), operation.keyword());
        let referencing = match operation {
            Operation::Insert => format!("NEW TABLE AS {NEW}"),
            Operation::Update => format!("NEW TABLE AS {NEW} OLD TABLE AS {OLD}"),
            Operation::Delete => format!("OLD TABLE AS {OLD}"),
        };
        connection.execute(&format!(
            "CREATE TRIGGER sequin_{name} AFTER {keyword} ON {table} REFERENCING {referencing} FOR EACH STATEMENT \
             EXECUTE FUNCTION sequin.capture({argument})"
        ));
    }
    connection.execute(&format!(
        "CREATE TRIGGER sequin_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION \
         sequin.refuse_truncate()"
    ));
}

impl Found {
    /// Drops them from `table`, the table they were found on, qualified and quoted.
    pub fn drop_from(&self, connection: &Connection, table: &str) {
        for name in &self.names {
            connection.execute(&format!("DROP TRIGGER {name} ON {table}"));
        }
    }
}
