//! Writes the new name of a foreign server into attached tables: the argument of their triggers contains it.

use pgrx::pg_sys::Oid;

use crate::pg::event_trigger::{self, Renaming};
use crate::pg::spi::Connection;

use contract::attachment::Attachment;
use contract::capture_sql::literal;

/// A trigger whose argument names the server.
struct NamingTrigger {
    trigger: Oid,
    table: Oid,
    attachment: Attachment,
}

/// Writes the new name into the triggers of all attached tables, with the rights of the extension's owner.
pub fn follow(connection: &Connection, renaming: &Renaming) {
    let mut tables: Vec<Oid> = naming(connection, &renaming.before).iter().map(|naming| naming.table).collect();
    tables.sort_unstable_by_key(|table| table.to_u32());
    tables.dedup();
    // A transaction that has written such a table may still queue records under the old name. The lock waits for it.
    tables.into_iter().for_each(event_trigger::lock_to_change_triggers);
    // Read again under the locks: another transaction may have changed them.
    for NamingTrigger { trigger, attachment, .. } in naming(connection, &renaming.before) {
        let attachment = Attachment { server: Some(renaming.after.clone()), ..attachment };
        event_trigger::set_argument(trigger, &attachment.to_argument());
    }
}

/// The triggers whose argument names `server`. An argument that was written by hand and is not an attachment is skipped
/// in SQL, because it may contain bytes that cannot be converted.
fn naming(connection: &Connection, server: &str) -> Vec<NamingTrigger> {
    let query = format!(
        "SELECT t.oid, t.tgrelid, pg_catalog.convert_from(t.argument, pg_catalog.getdatabaseencoding()) FROM ( \
         SELECT t.oid, t.tgrelid, pg_catalog.substr(t.tgargs, 1, \
         pg_catalog.octet_length(t.tgargs) OPERATOR(pg_catalog.-) 1) AS argument FROM pg_catalog.pg_trigger t \
         WHERE t.tgfoid OPERATOR(pg_catalog.=) 'sequin.capture()'::pg_catalog.regprocedure \
         AND t.tgnargs OPERATOR(pg_catalog.=) 1) t \
         WHERE CASE WHEN sequin.is_attachment(t.argument) THEN (pg_catalog.convert_from(t.argument, \
         pg_catalog.getdatabaseencoding())::pg_catalog.jsonb OPERATOR(pg_catalog.->>) 'server') \
         OPERATOR(pg_catalog.=) {} ELSE false END",
        literal(server)
    );
    let rows = connection.query::<()>(&query, ());
    let parsed = rows.iter::<(Oid, Oid, String)>().filter_map(|(trigger, table, argument)| {
        let attachment = Attachment::from_argument(&argument).ok()?;
        (attachment.server.as_deref() == Some(server)).then_some(NamingTrigger { trigger, table, attachment })
    });
    parsed.collect()
}
