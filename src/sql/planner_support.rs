//! The planner support function of the functions for one record: it keeps plans from calling them too often or too rarely.
//!
//! `(f(...)).*` calls a plain composite function once for each of its columns: for `sequin_create` that would be eleven
//! records. Postgres expands the star while it parses, so a function cannot see it when it runs. Its planner support
//! function can, before anything is called: the query then takes two fields from equal calls. `(f(x)).upstream_id`, a call
//! for each row and PERFORM do not.
//!
//! The other way round, a join that calls a function for each row of its other side may be given a Memoize node, which
//! Postgres does not deny to volatile functions: then 200 equal rows would make one create. The call need not mention the
//! row, so the support function cannot tell which plans are in danger. It turns Memoize off until the transaction ends;
//! other queries lose a possible speed-up, and nothing else.

use pgrx::datum::Internal;
use pgrx::pg_extern;
use pgrx::pg_sys::panic::ErrorReport;

use crate::call::applied_counter;
use crate::call::error_context::StatementContext;
use crate::ereport::Error;
use crate::pg::catalog;
use crate::pg::planner::{Callee, PlannedCall, Unchanged};
use contract::outcome::{Outcome, SqlState};

/// Ensures that a plan makes each call once, and simplifies nothing. It refuses `SELECT (sequin_create(...)).*`, which
/// calls the function for each column. It keeps results of calls out of caches.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe, strict)]
fn plan_calls(request: Internal) -> Result<Unchanged, ErrorReport> {
    let Some(call) = PlannedCall::of(&request) else { return Ok(Unchanged) };
    call.forbid_memoize();
    let own = call.callee();
    // One call fills all columns of a set.
    if own.returns_set || !call.has_fields_of_equal_calls(|callee| is_same_verb(own, callee)) {
        return Ok(Unchanged);
    }
    Err(repeated_call().into())
}

fn repeated_call() -> Error {
    if applied_counter::so_far().records > 0 {
        // The CONTEXT line stays for the error.
        let _ = StatementContext::enter("the plan of a call");
    }
    let message = "a verb for one record would be called once for each column";
    let hint = "Nothing was sent. Call it in FROM: SELECT * FROM sequin_create(...). A single field is fine: SELECT \
        (sequin_create(...)).upstream_id.";
    Outcome::not_sent(SqlState::FeatureNotSupported, message.into(), hint.into()).into()
}

/// Whether `callee` is the verb `own`, or a function in SQL with the same result: the planner is about to put its body in
/// its place.
fn is_same_verb(own: Callee, callee: Callee) -> bool {
    callee.function == own.function
        || callee.result_type == own.result_type && !callee.returns_set && catalog::is_sql_function(callee.function)
}
