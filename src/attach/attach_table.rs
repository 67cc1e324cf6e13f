//! Attaches and detaches a table: creates and drops its triggers.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_sys::Oid;

use crate::call::server;
use crate::ereport::Error;
use crate::pg::relation::{self, is_owned};
use crate::pg::spi::{self, Connection};
use contract::request::{Request, size_limits};

use super::attach_checks;
use super::columns::resolve;
use super::triggers::{self, UnattachedTable};
use contract::attachment::{Attachment, TriggerEvent};

/// Attaches the table `target` and its partitions.
///
/// The triggers of a statement fire on the table that it names only, so each partition needs its own. Partitions that
/// already have the same attachment stay as they are: a repeated call attaches partitions that were added later.
pub fn attach(target: Oid, attachment: &Attachment, operations: &[TriggerEvent]) -> Result<(), Error> {
    let table = owned_table(target)?;
    attach_checks::refuse_unsuitable(&table)?;
    // The same checks as for a request.
    let arguments = attachment.arguments();
    Request::draft(Some("create"), &arguments)?;
    size_limits::check(&arguments)?;
    let fields = attachment.fields.iter().flatten();
    size_limits::bytes_at_most(
        "fields",
        fields.map(|(column, field)| column.len() + field.len()).sum(),
        size_limits::FIELDS_BYTES,
    )?;
    check_columns(&table, attachment)?;
    let server = server::find_and_lock(attachment.server.as_deref())?;
    // The name is stored, so that a role that writes the table cannot redirect its rows with a setting.
    let attachment = Attachment { server: Some(server.name), ..attachment.clone() };
    let wanted = triggers::TriggerSet::of(operations, &attachment.to_argument());
    spi::connected(|connection| {
        let mut bare = Vec::new();
        match triggers::find(connection, target) {
            None => bare.push(bare_table(&table, false)),
            Some(found) if found.set == wanted => {}
            Some(_) => return Err(already_attached(&table)),
        }
        for partition in partitions_below(connection, &table) {
            let partition = owned_table(partition)?;
            match triggers::find(connection, partition.oid) {
                None => {
                    check_columns(&partition, &attachment)?;
                    bare.push(bare_table(&partition, true));
                }
                Some(found) if found.set == wanted => {}
                Some(_) => return Err(attached_differently(&partition, &table)),
            }
        }
        if bare.is_empty() {
            return Err(already_attached(&table));
        }
        for bare in &bare {
            triggers::create(connection, bare, operations, &attachment);
        }
        attach_checks::warn_of_unqualified_names(connection, &table, &attachment.upstream_id_column, operations);
        Ok(())
    })
}

fn bare_table(table: &relation::Table, is_below: bool) -> UnattachedTable {
    UnattachedTable { oid: table.oid, quoted: table.quoted.clone(), is_partitioned: table.is_partitioned, is_below }
}

/// Drops the triggers of `target`, and of the partitions below it that have the same attachment.
pub fn detach(target: Oid) -> Result<(), Error> {
    let table = owned_table(target)?;
    spi::connected(|connection| {
        let Some(found) = triggers::find(connection, target) else {
            let message = format!("{} is not attached", table.quoted);
            return Err(error(
                Code::ERRCODE_UNDEFINED_OBJECT,
                message,
                "The view sequin.attachments shows the attached tables.",
            ));
        };
        for partition in partitions_below(connection, &table) {
            match triggers::find(connection, partition) {
                Some(same) if same.set == found.set => same.drop_from(connection, &owned_table(partition)?.quoted),
                _ => {}
            }
        }
        found.drop_from(connection, &table.quoted);
        Ok(())
    })
}

/// The partitions of `table` on all levels, each after its parent.
fn partitions_below(connection: &Connection, table: &relation::Table) -> Vec<Oid> {
    if table.is_partitioned {
        let query = format!(
            "SELECT p.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree({}) AS p \
             WHERE p.level OPERATOR(pg_catalog.>) 0 ORDER BY p.level",
            table.oid.to_u32()
        );
        connection.query::<()>(&query, ()).iter::<(Oid,)>().map(|(oid,)| oid).collect()
    } else {
        Vec::new()
    }
}

fn already_attached(table: &relation::Table) -> Error {
    let message = format!("{} is already attached", table.quoted);
    let hint = format!("A table has one attachment. {} ends it.", detaching(table));
    error(Code::ERRCODE_DUPLICATE_OBJECT, message, &hint)
}

fn attached_differently(partition: &relation::Table, root: &relation::Table) -> Error {
    let message = format!("{}, a partition of {}, is already attached, and differently", partition.quoted, root.quoted);
    let hint = format!("A table has one attachment. {} ends it; then attach {}.", detaching(partition), root.quoted);
    error(Code::ERRCODE_DUPLICATE_OBJECT, message, &hint)
}

/// The statement that detaches `table`.
fn detaching(table: &relation::Table) -> String {
    format!("SELECT sequin_detach('{}')", table.quoted.replace('\'', "''"))
}

fn owned_table(target: Oid) -> Result<relation::Table, Error> {
    let table = relation::Table::open(target).ok_or_else(|| {
        let message = "only a table can be attached".to_owned();
        error(Code::ERRCODE_WRONG_OBJECT_TYPE, message, "It may be partitioned, but not a view or a foreign table.")
    })?;
    if is_owned(target) {
        Ok(table)
    } else {
        let message = format!("must be owner of table {}", table.quoted);
        Err(error(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, message, "Its owner can attach and detach it."))
    }
}

fn check_columns(table: &relation::Table, attachment: &Attachment) -> Result<(), Error> {
    resolve(table, attachment)?;
    let name = &attachment.upstream_id_column;
    if attachment.fields.as_ref().is_some_and(|fields| fields.contains_key(name)) {
        let message = format!("column \"{name}\" of {} cannot be in fields: it holds the upstream ids", table.quoted);
        return Err(error(Code::ERRCODE_INVALID_PARAMETER_VALUE, message, "Leave it out of fields."));
    }
    Ok(())
}

fn error(code: Code, message: String, hint: &str) -> Error {
    Error::refused(code, message, hint.to_owned())
}
