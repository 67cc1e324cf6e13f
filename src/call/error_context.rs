//! The CONTEXT of errors: the mutation in progress, its known effect, and the records that were applied before.
//!
//! Postgres reports a cancelled statement itself, with its own code and message. The CONTEXT is then the only place that
//! says whether the API may have applied the mutation.

use std::ffi::CStr;

use crate::call::applied_counter;
use crate::pg::error_context::{Clauses, ErrorContext, Line};
use contract::outcome::{Applied, Earlier, Facts, Outcome, Scope};
use contract::text;

/// The known effect of a mutation in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// No byte of the request was sent.
    NotSent,
    /// A byte of the request was sent, and no reply was read.
    Sent,
    NothingApplied,
    Applied,
    /// A reply was read that does not tell the effect.
    Unknown,
}

impl From<Applied> for Known {
    fn from(applied: Applied) -> Known {
        match applied {
            Applied::None => Known::NothingApplied,
            Applied::All => Known::Applied,
            Applied::Unknown => Known::Unknown,
        }
    }
}

impl Known {
    /// `is_one_of_several`: other requests have applied records.
    fn words(self, is_one_of_several: bool) -> &'static CStr {
        match self {
            Known::NotSent if is_one_of_several => c"the request was not sent, nothing of it was applied",
            Known::NotSent => c"the request was not sent, nothing was applied",
            Known::NothingApplied if is_one_of_several => c"nothing of it was applied",
            Known::NothingApplied => c"nothing was applied",
            Known::Sent => c"the request had been sent, whether it was applied is unknown",
            Known::Applied => c"it was applied",
            Known::Unknown => c"whether it was applied is unknown",
        }
    }
}

/// The line of a mutation.
#[derive(Clone, Copy)]
struct MutationLine {
    known: Known,
    /// The records that this mutation itself has applied.
    own_records: usize,
    /// Whether the line gives the records that were applied before. In a capture the statement's line gives them.
    says_earlier: bool,
}

impl Line for MutationLine {
    fn clauses(&self) -> Clauses {
        let earlier = applied_counter::before(self.own_records);
        let known = Some(self.known.words(earlier.records > 0));
        Clauses { known, after: if self.says_earlier { after(earlier) } else { None } }
    }
}

/// The line of a statement on an attached table.
#[derive(Clone, Copy)]
struct StatementLine {
    /// The records that its current request has applied.
    own_records: usize,
}

impl Line for StatementLine {
    fn clauses(&self) -> Clauses {
        Clauses { known: None, after: after(applied_counter::before(self.own_records)) }
    }
}

fn after(earlier: Earlier) -> Option<(usize, &'static CStr)> {
    let words = match (earlier.records, earlier.scope) {
        (0, _) => return None,
        (1, Scope::Statement) => c"record was applied by an earlier request of the statement",
        (1, Scope::Transaction) => c"record was applied by an earlier request of the transaction",
        (_, Scope::Statement) => c"records were applied by earlier requests of the statement",
        (_, Scope::Transaction) => c"records were applied by earlier requests of the transaction",
    };
    Some((earlier.records, words))
}

/// The CONTEXT of a statement on an attached table, which may make several requests.
pub struct StatementContext(ErrorContext<StatementLine>);

impl StatementContext {
    pub fn enter(text: &str) -> StatementContext {
        applied_counter::begin();
        StatementContext(ErrorContext::enter(text, StatementLine { own_records: 0 }))
    }

    /// After success.
    pub fn leave(self) {
        self.0.leave();
    }

    /// The records that were applied before the current request.
    pub fn earlier(&self) -> Earlier {
        applied_counter::before(self.0.line().own_records)
    }

    /// Counts the next `own_records` of errors as those of the current request, not as applied before it.
    pub fn set_own_records(&self, own_records: usize) {
        self.0.set_line(StatementLine { own_records });
    }
}

/// The CONTEXT of one mutation: of a call of a SQL function, or of a request within a statement on an attached table.
pub struct MutationContext<'a> {
    line: ErrorContext<MutationLine>,
    statement: Option<&'a StatementContext>,
}

impl<'a> MutationContext<'a> {
    /// For the call of a SQL function.
    pub fn enter(text: &str) -> MutationContext<'static> {
        applied_counter::begin();
        let line = MutationLine { known: Known::NothingApplied, own_records: 0, says_earlier: true };
        MutationContext { line: ErrorContext::enter(text, line), statement: None }
    }

    /// For a request of `statement`.
    pub fn enter_within(statement: &'a StatementContext, text: &str) -> MutationContext<'a> {
        let line = MutationLine { known: Known::NothingApplied, own_records: 0, says_earlier: false };
        MutationContext { line: ErrorContext::enter(text, line), statement: Some(statement) }
    }

    /// After success.
    pub fn leave(self) {
        self.line.leave();
    }

    pub fn set_text(&self, text: &str) {
        self.line.set_text(text);
    }

    pub fn set_known(&self, known: Known) {
        self.line.set_line(MutationLine { known, ..self.line.line() });
    }

    /// The API has applied all `records` of the mutation.
    pub fn note_applied(&self, records: usize) {
        applied_counter::add(records);
        match self.statement {
            Some(statement) => statement.set_own_records(records),
            None => self.line.set_line(MutationLine { own_records: records, ..self.line.line() }),
        }
        self.set_known(Known::Applied);
    }

    /// `outcome` as the error of this mutation.
    pub fn failed(&self, mut outcome: Box<Outcome>) -> Box<Outcome> {
        let earlier = self
            .statement
            .map_or_else(|| applied_counter::before(self.line.line().own_records), StatementContext::earlier);
        outcome.note_earlier(earlier);
        self.set_known(outcome.applied.into());
        outcome
    }
}

/// Updates the known effect of the innermost mutation. A trigger that runs while upstream ids are written may make a
/// mutation of its own.
pub fn set_known(known: Known) {
    ErrorContext::<MutationLine>::change_innermost(|line| MutationLine { known, ..line });
}

/// The text of a request's line. It is built for each request, so it is joined, not formatted.
pub fn request_text(facts: &Facts<'_>) -> String {
    let noun = if facts.records == 1 { " record in " } else { " records in " };
    let (records, collection) = (facts.records.to_string(), printable_name(facts.collection_id));
    [facts.kind.as_str(), " of ", &records, noun, &collection, " through server \"", facts.server, "\""].concat()
}

/// A name from outside, as one line of limited length.
pub fn printable_name(name: &str) -> String {
    text::printable(name, text::NAME_CHARS)
}
