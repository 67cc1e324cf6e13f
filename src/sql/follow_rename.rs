//! The event trigger function that writes the new name of a foreign server into attached tables and queued records.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_extern;
use pgrx::pg_sys::panic::ErrorReport;

use crate::attach;
use crate::ereport::Error;
use crate::outbox;
use crate::pg::event_trigger::{Command, NoResult};
use crate::pg::function_call::FunctionCall;
use crate::pg::spi::{self, Connection};
use crate::pg::{catalog, security_context};

/// Fires after each ALTER SERVER. The role that renames the server need not own the tables: the names are written with the
/// rights of the extension's owner.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn follow_rename(call: FunctionCall) -> Result<NoResult, ErrorReport> {
    let Some(command) = Command::of(call) else {
        let code = Code::ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED;
        return Err(Error::refused(code, "only an event trigger can call this function", "").into());
    };
    let Some(renaming) = command.server_renaming() else { return Ok(NoResult) };
    let server = catalog::server_oid(&renaming.after);
    if server.is_none_or(|server| catalog::server_object(server).wrapper != catalog::WRAPPER) {
        return Ok(NoResult);
    }
    let follow = |connection: &Connection| -> Result<(), Error> {
        outbox::server_rename::begin(connection, &renaming)?;
        attach::server_rename::follow(connection, &renaming);
        outbox::server_rename::finish(connection, &renaming);
        Ok(())
    };
    security_context::as_queue_owner(|| spi::connected(follow))?;
    Ok(NoResult)
}
