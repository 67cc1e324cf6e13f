//! Adds to an outcome what earlier requests of the same statement or transaction have applied.
//!
//! Postgres rolls the statement back, but the provider keeps those records. A HINT that advised to repeat the whole
//! statement would apply them twice.

use super::Outcome;

/// The unit that Postgres rolls back when a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One statement.
    Statement,
    /// A transaction of several statements.
    Transaction,
}

impl Scope {
    /// The word for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Statement => "statement",
            Scope::Transaction => "transaction",
        }
    }
}

/// What earlier requests of the same statement or transaction have applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// The number of applied records.
    pub records: usize,
    /// The unit that Postgres rolls back, which contains those requests.
    pub scope: Scope,
}

impl Outcome {
    /// Sets `applied_before`. If earlier requests applied records, the HINT says so and limits its advice to this request.
    pub fn note_earlier(&mut self, earlier: Earlier) {
        self.applied_before = earlier.records;
        if earlier.records == 0 {
            return;
        }
        let scope = earlier.scope.as_str();
        let alone = ["applied", "sent"].into_iter().find_map(|done| {
            let rest = self.hint.strip_prefix("Nothing was ")?.strip_prefix(done)?;
            Some(format!("This request was not {done}{rest}"))
        });
        let advice = alone.unwrap_or_else(|| format!("Of this request: {}", self.hint));
        self.hint = format!(
            "Earlier requests of this {scope} were applied, and a rollback does not undo them: repeating the whole {scope} \
             would repeat them. {advice}"
        )
        .trim_end()
        .to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::super::SqlState;
    use super::*;

    fn hint(hint: &str, records: usize, scope: Scope) -> String {
        let mut outcome = Outcome::not_sent(SqlState::UndefinedObject, String::new(), hint.to_owned());
        outcome.note_earlier(Earlier { records, scope });
        assert_eq!(outcome.applied_before, records);
        outcome.hint
    }

    #[test]
    fn a_hint_speaks_of_this_request_alone_if_others_were_applied() {
        let statement = "Earlier requests of this statement were applied, and a rollback does not undo them: repeating \
                         the whole statement would repeat them.";
        let transaction = statement.replace("statement", "transaction");
        for (alone, beside_others) in [
            ("Nothing was applied. Retry after 7 ms.", "This request was not applied. Retry after 7 ms."),
            ("Nothing was sent, so a retry is safe.", "This request was not sent, so a retry is safe."),
            ("It is not known whether.", "Of this request: It is not known whether."),
        ] {
            assert_eq!(hint(alone, 0, Scope::Statement), alone);
            assert_eq!(hint(alone, 2, Scope::Statement), format!("{statement} {beside_others}"));
            assert_eq!(hint(alone, 1, Scope::Transaction), format!("{transaction} {beside_others}"));
        }
    }
}
