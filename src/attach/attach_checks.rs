//! Checks of a table's surroundings when it is attached, for problems that would otherwise appear later.
//!
//! A table that cannot be attached is refused, with the cause. A NOTICE names each trigger that would probably prevent
//! upstream ids from being written: the extension only reads the text of its function.

use pgrx::PgSqlErrorCode as Code;

use crate::ereport::{self, Error};
use crate::pg::column::row;
use crate::pg::relation;
use crate::pg::spi::{self, Connection};
use crate::pg::text::quoted;

use contract::attachment::TriggerEvent;
use contract::capture_sql::literal;
use contract::unqualified_writes::written_without_schema;

/// Refuses a table that cannot be attached, or that has a partition that cannot.
pub fn refuse_unsuitable(table: &relation::Table) -> Result<(), Error> {
    spi::connected(|connection| {
        refuse_temporary(connection, table)?;
        refuse_foreign_partition(connection, table)?;
        refuse_several_placements(connection, table)
    })
}

/// A subquery with the oid and the level of `table` and of each partition below it.
fn tree(table: &relation::Table) -> String {
    let oid = table.oid.to_u32();
    format!(
        "(SELECT {oid}::pg_catalog.oid AS relation, 0 AS level UNION ALL \
         SELECT p.relid::pg_catalog.oid, p.level FROM pg_catalog.pg_partition_tree({oid}) AS p \
         WHERE p.level OPERATOR(pg_catalog.>) 0)"
    )
}

/// A table with temporary partitions is temporary itself.
fn refuse_temporary(connection: &Connection, table: &relation::Table) -> Result<(), Error> {
    let query = format!(
        "SELECT 1 FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) {} \
         AND c.relpersistence OPERATOR(pg_catalog.=) 't'",
        table.oid.to_u32()
    );
    if connection.query::<()>(&query, ()).len() == 0 {
        return Ok(());
    }
    let message = format!("{} is a temporary table", table.quoted);
    let hint = "Only its own session can see its rows, so no worker can write upstream ids into them. Attach a permanent table.";
    Err(error(Code::ERRCODE_WRONG_OBJECT_TYPE, message, hint.to_owned()))
}

fn refuse_foreign_partition(connection: &Connection, table: &relation::Table) -> Result<(), Error> {
    if !table.is_partitioned {
        return Ok(());
    }
    let query = format!(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), s.srvname::pg_catalog.text FROM {} AS t \
         JOIN pg_catalog.pg_foreign_table f ON f.ftrelid OPERATOR(pg_catalog.=) t.relation \
         JOIN pg_catalog.pg_foreign_server s ON s.oid OPERATOR(pg_catalog.=) f.ftserver \
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.relation \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         ORDER BY t.level, c.oid LIMIT 1",
        tree(table)
    );
    let found = connection.query::<()>(&query, ()).first::<(String, String)>();
    let Some((partition, server)) = found else { return Ok(()) };
    let message = format!("{partition}, a partition of {}, is a foreign table", table.quoted);
    let hint =
        format!("Attach it on the server that holds it ({}), and each of the other partitions here.", quoted(&server));
    Err(error(Code::ERRCODE_WRONG_OBJECT_TYPE, message, hint))
}

/// Refuses a table whose rows Citus keeps on several nodes. The triggers fire on each node: each node would create its
/// own record for a row, and write its own upstream id.
fn refuse_several_placements(connection: &Connection, table: &relation::Table) -> Result<(), Error> {
    // Citus creates its catalogs in pg_catalog, where only superusers can create tables.
    let has = |catalog: &str| {
        let query = format!(
            "SELECT 1 FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.=) {} \
             AND c.relnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace",
            literal(catalog)
        );
        connection.query::<()>(&query, ()).len() > 0
    };
    if !has("pg_dist_partition") {
        return Ok(());
    }
    let mut several = "p.partmethod OPERATOR(pg_catalog.=) 'n' AND p.repmodel OPERATOR(pg_catalog.=) 't'".to_owned();
    if has("pg_dist_shard") && has("pg_dist_placement") {
        several.push_str(
            " OR EXISTS (SELECT FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_dist_placement l \
             ON l.shardid OPERATOR(pg_catalog.=) s.shardid \
             WHERE s.logicalrelid::pg_catalog.oid OPERATOR(pg_catalog.=) t.relation \
             GROUP BY s.shardid HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1)",
        );
    }
    let query = format!(
        "SELECT 1 FROM {} AS t JOIN pg_catalog.pg_dist_partition p \
         ON p.logicalrelid::pg_catalog.oid OPERATOR(pg_catalog.=) t.relation WHERE {several} LIMIT 1",
        tree(table)
    );
    if connection.query::<()>(&query, ()).len() == 0 {
        return Ok(());
    }
    let message = format!("Citus keeps each row of {} on several nodes", table.quoted);
    let hint = "Its triggers fire on each of these nodes: an INSERT would be a create for each node. Attach a distributed \
                table with one placement for each shard, or call sequin_enqueue.";
    Err(error(Code::ERRCODE_FEATURE_NOT_SUPPORTED, message, hint.to_owned()))
}

row! {
    /// A trigger that fires when an upstream id is written into a row.
    struct UserTrigger {
        name: String,
        table: String,
        /// As ALTER FUNCTION takes it.
        function: String,
        function_schema: String,
        body: String,
    }
}

/// Sends a NOTICE for each trigger of `table` and its partitions that would fail when an upstream id is written into a row:
/// its function writes a table by an unqualified name, and has no search_path of its own.
pub fn warn_of_unqualified_names(
    connection: &Connection,
    table: &relation::Table,
    upstream_id_column: &str,
    operations: &[TriggerEvent],
) {
    if !operations.contains(&TriggerEvent::Insert) {
        return;
    }
    // Bit 16 of tgtype is UPDATE. One trigger of each function is enough.
    let query = format!(
        "SELECT DISTINCT ON (p.oid) t.tgname::pg_catalog.text, pg_catalog.format('%I.%I', n.nspname, c.relname), \
         pg_catalog.format('%I.%I()', f.nspname, p.proname), pg_catalog.quote_ident(f.nspname), p.prosrc \
         FROM {} AS r JOIN pg_catalog.pg_trigger t ON t.tgrelid OPERATOR(pg_catalog.=) r.relation \
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.relation \
         JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid \
         JOIN pg_catalog.pg_namespace f ON f.oid OPERATOR(pg_catalog.=) p.pronamespace \
         JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang \
         WHERE NOT t.tgisinternal AND (t.tgtype::pg_catalog.int4 OPERATOR(pg_catalog.&) 16) OPERATOR(pg_catalog.<>) 0 \
         AND t.tgenabled OPERATOR(pg_catalog.=) ANY (ARRAY['O', 'A']::pg_catalog.\"char\"[]) \
         AND l.lanname OPERATOR(pg_catalog.=) ANY (ARRAY['plpgsql', 'sql']::pg_catalog.name[]) \
         AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) AS s(setting) \
         WHERE pg_catalog.starts_with(s.setting, 'search_path=')) \
         AND (pg_catalog.cardinality(t.tgattr::pg_catalog.int2[]) OPERATOR(pg_catalog.=) 0 OR EXISTS (SELECT FROM \
         pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) r.relation AND a.attname OPERATOR(pg_catalog.=) {} \
         AND a.attnum OPERATOR(pg_catalog.=) ANY (t.tgattr::pg_catalog.int2[]))) \
         ORDER BY p.oid, r.level, t.tgname",
        tree(table),
        literal(upstream_id_column)
    );
    for trigger in connection.query::<()>(&query, ()).iter::<UserTrigger>() {
        let written = written_without_schema(&trigger.body);
        if !written.is_empty() {
            trigger.warn(connection, &written);
        }
    }
}

impl UserTrigger {
    fn warn(&self, connection: &Connection, written: &[String]) {
        let names: Vec<String> = written.iter().map(|name| quoted_always(name)).collect();
        let UserTrigger { name, table, function, .. } = self;
        let message = format!(
            "trigger {} of {table} calls {function}, which writes {} without a schema",
            quoted_always(name),
            names.join(" and ")
        );
        let detail = "Upstream ids are written into rows with the search_path \"pg_catalog, pg_temp\". If the trigger does \
                      not find the name there, its error keeps each id from being written.";
        let hint =
            format!("ALTER FUNCTION {function} SET search_path = {}, pg_temp", self.schemas(connection, written));
        ereport::notice(message, detail, hint);
    }

    /// The schemas in which the names are found now, as SET takes them; or else the schema of the function.
    fn schemas(&self, connection: &Connection, written: &[String]) -> String {
        let mut schemas: Vec<String> = Vec::new();
        for name in written {
            let query = format!(
                "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
                 ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE c.oid OPERATOR(pg_catalog.=) \
                 pg_catalog.to_regclass(pg_catalog.quote_ident({}))::pg_catalog.oid \
                 AND c.relpersistence OPERATOR(pg_catalog.<>) 't'",
                literal(name)
            );
            let found = connection.query::<()>(&query, ()).first::<(String,)>();
            schemas.extend(found.map(|(schema,)| schema).filter(|schema| !schemas.contains(schema)));
        }
        if schemas.is_empty() { self.function_schema.clone() } else { schemas.join(", ") }
    }
}

/// A table's name in a sentence.
fn quoted_always(name: &str) -> String {
    format!("\"{name}\"")
}

fn error(code: Code, message: String, hint: String) -> Error {
    Error::refused(code, message, hint)
}
