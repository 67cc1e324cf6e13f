//! The planner support function of the verbs.

use pgrx::PgSqlErrorCode as Code;
use pgrx::datum::Internal;
use pgrx::pg_extern;
use pgrx::pg_sys::panic::ErrorReport;

use crate::pg::context;
use crate::pg::planner::{AsItIs, PlannedCall};
use contract::outcome::{Outcome, SqlState};

/// Sees to it that a plan makes each call once: it refuses `SELECT (sequin_create(...)).*` while nothing has been sent,
/// and keeps calls for each row from being taken out of a cache. It simplifies nothing.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe, strict)]
fn plan_calls(request: Internal) -> Result<AsItIs, ErrorReport> {
    let Some(call) = PlannedCall::of(request) else { return Ok(AsItIs) };
    call.forbid_memoize();
    if !call.is_repeated_by_a_star() {
        return Ok(AsItIs);
    }
    let message = "a verb for one record would be called once for each column";
    let hint = "Nothing was sent. Call it in FROM: SELECT * FROM sequin_create(...). A single field is fine: SELECT \
        (sequin_create(...)).upstream_id.";
    let mut outcome = Outcome::not_sent(SqlState::InvalidParameterValue, message.into(), hint.into());
    let earlier = context::applied_so_far();
    outcome.note_earlier(earlier);
    let error = || {
        let code = Code::ERRCODE_FEATURE_NOT_SUPPORTED;
        ErrorReport::new(code, message, "sequin_mutations")
            .set_detail(outcome.detail_json())
            .set_hint(outcome.hint.clone())
    };
    if earlier.records == 0 { Err(error()) } else { context::counting("the plan of a verb's call", |_| Err(error())) }
}
