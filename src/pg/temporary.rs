//! The temporary objects of the session, as far as the code of another role could find them by a bare name.
//!
//! Postgres looks for relations and types in the temporary schema even if search_path does not name it, and for nothing
//! else there. While a statement runs with the rights of a table's owner, a temporary table, view or domain of the
//! session's role could take the place of the object that the owner's code means. Its triggers, rules and constraints
//! would then run as the owner.

use pgrx::pg_sys;

use super::session;
use super::spi;
use super::statement::{Statement, Value};

/// A temporary relation or type that does not belong to `owner`, quoted as SQL has it.
///
/// Each depends on its schema, so the index of pg_depend finds them. Row types and array types follow their relations
/// and element types.
pub fn object_that_is_not_of(owner: pg_sys::Oid) -> Option<String> {
    static OBJECT: Statement = Statement::new(
        "SELECT pg_catalog.quote_ident(o.name::pg_catalog.text) FROM (SELECT c.relname AS name, c.relowner AS owner \
         FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid \
         WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
         AND d.refobjid OPERATOR(pg_catalog.=) $1 \
         AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass UNION ALL \
         SELECT t.typname, t.typowner FROM pg_catalog.pg_depend d \
         JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) d.objid \
         WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
         AND d.refobjid OPERATOR(pg_catalog.=) $1 \
         AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass) o \
         WHERE o.owner OPERATOR(pg_catalog.<>) $2 LIMIT 1",
    );
    let schema = Value::Oid(session::temporary_schema()?.to_u32());
    let found = spi::connected(|connection| -> Result<_, std::convert::Infallible> {
        let rows = OBJECT.run(connection, &[schema, Value::Oid(owner.to_u32())]);
        Ok((rows.len() > 0).then(|| rows.text(0, 1).unwrap_or_default()))
    });
    let Ok(found) = found;
    found
}
