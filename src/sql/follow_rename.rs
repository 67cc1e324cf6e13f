//! The event trigger function that lets attached tables and queued records follow a foreign server's new name.

use pgrx::PgSqlErrorCode as Code;
use pgrx::pg_extern;
use pgrx::pg_sys::FunctionCallInfo;
use pgrx::pg_sys::panic::ErrorReport;

use crate::attach;
use crate::outbox;
use crate::pg::event_trigger::{Command, NoResult};
use crate::pg::{catalog, security_context, spi};

/// Fires after each ALTER SERVER. A role that may rename the server need not own the tables: the names are written with
/// the rights of the extension's owner.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe)]
fn follow_rename(call: FunctionCallInfo) -> Result<NoResult, ErrorReport> {
    let Some(command) = Command::of(call) else {
        return Err(ErrorReport::new(
            Code::ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED,
            "only an event trigger can call this function",
            "sequin_mutations",
        ));
    };
    let Some(renaming) = command.server_renaming() else { return Ok(NoResult) };
    let server = catalog::server_oid(&renaming.after);
    if server.is_none_or(|server| catalog::server_object(server).wrapper != catalog::WRAPPER) {
        return Ok(NoResult);
    }
    security_context::as_queue_owner(|| {
        spi::connected(|connection| {
            outbox::server_rename::begin(connection, &renaming)?;
            attach::server_rename::follow(connection, &renaming);
            outbox::server_rename::finish(connection, &renaming);
            Ok(NoResult)
        })
    })
}
