//! What surrounds a table that is about to be attached, and would go wrong only later.
//!
//! A table that cannot be attached is refused here, in words that name the cause. A trigger that would keep upstream ids
//! from being written is named by a NOTICE: the extension reads its text and may be mistaken.

use pgrx::PgSqlErrorCode as Code;

use crate::ereport::{self, Error};
use crate::pg::relation;
use crate::pg::spi::{self, Connection};
use crate::pg::text::quoted;

use contract::attachment::TriggerEvent;
use contract::capture_sql::literal;
use contract::unqualified_writes::written_without_schema;

/// Refuses `table` if it, or a partition of it, is of a kind that cannot be attached.
pub fn refuse_unsuitable(table: &relation::Table) -> Result<(), Error> {
    spi::connected(|connection| {
        refuse_temporary(connection, table)?;
        refuse_foreign_partition(connection, table)?;
        refuse_several_placements(connection, table)
    })
}

/// `table` and its partitions, as a table of their oids and levels.
fn tree(table: &relation::Table) -> String {
    let oid = table.oid.to_u32();
    format!(
        "(SELECT {oid}::pg_catalog.oid AS relation, 0 AS level UNION ALL \
         SELECT p.relid::pg_catalog.oid, p.level FROM pg_catalog.pg_partition_tree({oid}) AS p \
         WHERE p.level OPERATOR(pg_catalog.>) 0)"
    )
}

/// All partitions of a temporary table are temporary, and no other table has one.
fn refuse_temporary(connection: &Connection, table: &relation::Table) -> Result<(), Error> {
    let query = format!(
        "SELECT 1 FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) {} \
         AND c.relpersistence OPERATOR(pg_catalog.=) 't'",
        table.oid.to_u32()
    );
    let mut is_temporary = false;
    connection.each(&query, |_, _| is_temporary = true);
    if !is_temporary {
        return Ok(());
    }
    let message = format!("{} is a temporary table", table.quoted);
    let hint =
        "Its rows are those of one session: no worker can write upstream ids into them. Attach a permanent table.";
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
    let mut found = None;
    connection.each(&query, |batch, row| found = batch.text(row, 1).zip(batch.text(row, 2)));
    let Some((partition, server)) = found else { return Ok(()) };
    let message = format!("{partition}, a partition of {}, is a foreign table", table.quoted);
    let hint =
        format!("Attach it on the server that holds it ({}), and each of the other partitions here.", quoted(&server));
    Err(error(Code::ERRCODE_WRONG_OBJECT_TYPE, message, hint))
}

/// Refuses a table of which Citus keeps each row on several nodes. The triggers fire on each of these nodes: each row
/// would be created once for each of them, and each node would write another upstream id.
fn refuse_several_placements(connection: &Connection, table: &relation::Table) -> Result<(), Error> {
    // Citus makes its catalogs in pg_catalog, where only superusers make tables.
    let has = |catalog: &str| {
        let mut has = false;
        let query = format!(
            "SELECT 1 FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.=) {} \
             AND c.relnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace",
            literal(catalog)
        );
        connection.each(&query, |_, _| has = true);
        has
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
    let mut has_several = false;
    connection.each(&query, |_, _| has_several = true);
    if !has_several {
        return Ok(());
    }
    let message = format!("Citus keeps each row of {} on several nodes", table.quoted);
    let hint = "Its triggers fire on each of these nodes: an INSERT would be a create for each node. Attach a distributed \
                table with one placement for each shard, or call sequin_enqueue.";
    Err(error(Code::ERRCODE_FEATURE_NOT_SUPPORTED, message, hint.to_owned()))
}

/// A trigger that fires when an upstream id is written into a row.
struct UserTrigger {
    name: String,
    table: String,
    /// As ALTER FUNCTION takes it.
    function: String,
    function_schema: String,
    body: String,
}

/// Says by NOTICE which triggers of `table` and its partitions would fail when an upstream id is written into a row: those
/// whose function names a table that it writes by a bare name, and has no search_path of its own.
pub fn warn_of_bare_names(
    connection: &Connection,
    table: &relation::Table,
    upstream_id_column: &str,
    operations: &[TriggerEvent],
) {
    if !operations.contains(&TriggerEvent::Insert) {
        return;
    }
    // Bit 16 of tgtype is UPDATE. Of a trigger and its clones on partitions the first is enough, and of a function one.
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
    let mut triggers = Vec::new();
    connection.each(&query, |batch, row| {
        let text = |column| batch.text(row, column).unwrap_or_default();
        let (name, table, function) = (text(1), text(2), text(3));
        triggers.push(UserTrigger { name, table, function, function_schema: text(4), body: text(5) });
    });
    for trigger in triggers {
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

    /// The schemas in which the names are found now, as SET takes them. If none is, the function's own.
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
            connection.each(&query, |batch, row| {
                schemas.extend(batch.text(row, 1).filter(|schema| !schemas.contains(schema)));
            });
        }
        if schemas.is_empty() { self.function_schema.clone() } else { schemas.join(", ") }
    }
}

/// A name in a sentence.
fn quoted_always(name: &str) -> String {
    format!("\"{name}\"")
}

fn error(code: Code, message: String, hint: String) -> Error {
    Error::refused(code, message, hint)
}
