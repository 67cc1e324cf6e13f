//! The reported effect of a mutation, by an error or by its absence.

use postgres::error::DbError;

use crate::support::{context_of, detail_of};

/// A call's report on its mutation.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// The SQLSTATE; none when it gave its record.
    pub state: Option<String>,
    pub outcome: String,
    pub applied: String,
}

pub fn reported(state: Option<&str>, outcome: &str, applied: &str) -> Reported {
    Reported { state: state.map(str::to_owned), outcome: outcome.to_owned(), applied: applied.to_owned() }
}

/// The report of an error; a cancel has it in the CONTEXT.
pub fn reported_of(error: &DbError) -> Reported {
    let state = Some(error.code().code().to_owned());
    if error.detail().is_some() {
        let detail = detail_of(error);
        let text = |key: &str| detail[key].as_str().unwrap_or_default().to_owned();
        return Reported { state, outcome: text("outcome"), applied: text("applied") };
    }
    let context = context_of(error);
    let applied = match context.lines().next().and_then(|line| line.rsplit(": ").next()) {
        Some("the request had been sent, whether it was applied is unknown") => "unknown",
        Some("it was applied") => "all",
        Some("the request was not sent, nothing was applied") => "none",
        _ => context,
    };
    Reported { state, outcome: "cancelled".into(), applied: applied.into() }
}
