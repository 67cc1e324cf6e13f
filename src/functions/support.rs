//! The planner support function of the verbs for one record.

use pgrx::PgSqlErrorCode as Code;
use pgrx::datum::Internal;
use pgrx::pg_extern;
use pgrx::pg_sys::panic::ErrorReport;

use crate::mutation::outcome::{Outcome, SqlState};
use crate::pg::planner::{self, AsItIs};

/// Refuses `SELECT (sequin_create(...)).*` while it is planned, when nothing has been sent. It simplifies nothing.
#[pg_extern(schema = "sequin", volatile, parallel_unsafe, strict)]
fn refuse_star(request: Internal) -> Result<AsItIs, ErrorReport> {
    if !planner::star_repeats_the_call(request) {
        return Ok(AsItIs);
    }
    let message = "a verb for one record would be called once for each column";
    let outcome = Outcome::not_sent(SqlState::InvalidParameterValue, message.into(), String::new());
    Err(ErrorReport::new(Code::ERRCODE_FEATURE_NOT_SUPPORTED, message, "sequin_mutations")
        .set_detail(outcome.detail_json())
        .set_hint(
            "Nothing was sent. Call it in FROM: SELECT * FROM sequin_create(...). A single field is fine: SELECT \
             (sequin_create(...)).upstream_id.",
        ))
}
