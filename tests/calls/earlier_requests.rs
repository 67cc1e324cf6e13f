//! An error counts earlier requests that were applied: those of the same statement, and outside a transaction block
//! those of the same transaction. They stay applied when everything here is rolled back.

mod batches;
mod statements;
mod wire;

use serde_json::{Value, json};

/// An attached table, at a server that refuses a request as a whole.
const TABLE: &str = "
    CREATE TABLE people (id int PRIMARY KEY, email text, sf_id text);
    SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id', '{\"email\": \"Email\"}', delivery => 'inline');
    ALTER SERVER sequin OPTIONS (ADD atomic_batches 'true')";

/// Data that the provider rejects.
const BAD: &str = "'{\"Email\": \"nobody\"}'";

/// A text that the other side of an error must hold.
struct Claim<'a> {
    detail: Value,
    hint: &'a str,
    context: &'a str,
    /// The CONTEXT of a verb or a capture, whose line counts the records applied before.
    has_line: bool,
}

impl Claim<'_> {
    /// Nothing of the last request was applied, after `before` records of the `scope`.
    #[track_caller]
    fn assert_is(&self, what: &str, before: usize, scope: &str) {
        let Claim { detail, hint, context, .. } = self;
        assert_eq!(detail["applied"], json!("none"), "{what}");
        assert_eq!(detail["applied_before"].as_u64().unwrap_or_default(), before as u64, "{what}: {detail}");
        if before == 0 {
            assert!(!hint.contains("Earlier requests") && !context.contains(", after "), "{what}: {hint}: {context}");
            return;
        }
        assert!(
            hint.starts_with(&format!(
                "Earlier requests of this {scope} were applied, and a rollback does not undo them"
            )),
            "{what}: {hint}"
        );
        let words = match before {
            1 => format!(", after 1 record was applied by an earlier request of the {scope}"),
            n => format!(", after {n} records were applied by earlier requests of the {scope}"),
        };
        assert!(!self.has_line || context.contains(&words), "{what}: {context}");
        // Something was.
        for text in [hint, context] {
            let text = text.to_lowercase();
            assert!(!text.contains("nothing was applied") && !text.contains("nothing was sent"), "{what}: {text}");
        }
    }
}
