//! The temporary objects of the session, as far as the code of a table's owner could find them by a bare name.
//!
//! Postgres looks for relations and types in the temporary schema even if search_path does not name it, and for nothing
//! else there. While an UPDATE runs with the rights of the table's owner, a temporary table, view or domain of the
//! session's role could take the place of the object that the owner's code means. Its triggers, rules and constraints
//! would then run as the owner.

use pgrx::pg_sys::Oid;

use super::relation::Table;
use super::session;
use super::spi::{self, Connection};
use super::statement::Statement;

/// A temporary object that the code of the table could find during an UPDATE of it as `role`, quoted as SQL has it. What
/// the role made itself is no danger to it.
pub fn object_in_the_way(table: &Table, role: Oid) -> Option<String> {
    let schema = session::temporary_schema()?;
    let found = spi::connected(|connection| -> Result<_, std::convert::Infallible> {
        let object = object_of_another(connection, schema, role);
        Ok(object.filter(|_| runs_code(connection, table)))
    });
    let Ok(found) = found;
    found
}

/// A relation or type in the temporary schema that does not belong to `role`. Each depends on its schema, so
/// the index of pg_depend finds them. Row types and array types follow their relations and element types.
fn object_of_another(connection: &Connection, schema: Oid, role: Oid) -> Option<String> {
    static OBJECT: Statement<(Oid, Oid)> = Statement::new(
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
    OBJECT.run(connection, (schema, role)).first::<(String,)>().map(|(name,)| name)
}

/// Whether an UPDATE of the table's column of upstream ids could run a function that Postgres does not bring along.
///
/// Only a plain table is known to run none: no trigger but the capture's, no rule, no CHECK or exclusion constraint, no foreign
/// key that carries an update on, no generated column, no index on an expression or with a condition, and only types and
/// operator classes of pg_catalog.
fn runs_code(connection: &Connection, table: &Table) -> bool {
    static IS_PLAIN: Statement<(Oid,)> = Statement::new(
        "SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) $1 AND c.relkind OPERATOR(pg_catalog.=) 'r' \
         AND c.relam OPERATOR(pg_catalog.=) 2::pg_catalog.oid \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class OPERATOR(pg_catalog.=) c.oid) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid \
           AND NOT t.tgisinternal AND t.tgtype OPERATOR(pg_catalog.&) 16 OPERATOR(pg_catalog.<>) 0 \
           AND t.tgfoid OPERATOR(pg_catalog.<>) 'sequin.capture()'::pg_catalog.regprocedure) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid OPERATOR(pg_catalog.=) c.oid \
           AND k.contype OPERATOR(pg_catalog.<>) ALL ('{p,u,f,n}'::pg_catalog.\"char\"[])) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.confrelid OPERATOR(pg_catalog.=) c.oid \
           AND k.confupdtype OPERATOR(pg_catalog.<>) ALL ('{a,r}'::pg_catalog.\"char\"[])) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a \
           JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) a.atttypid \
           WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
           AND (a.attgenerated OPERATOR(pg_catalog.<>) '' \
           OR y.typnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace)) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid \
           AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL OR EXISTS (SELECT FROM pg_catalog.pg_opclass p \
           WHERE p.oid OPERATOR(pg_catalog.=) ANY (i.indclass) \
           AND p.opcnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace)))",
    );
    IS_PLAIN.run(connection, (table.oid,)).len() == 0
}
