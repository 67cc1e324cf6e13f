//! The three kinds of mutation: create, update, delete.

use std::fmt;
use std::str::FromStr;

use super::text;

/// The kind of a mutation. All records of one request share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Makes new records. The provider assigns their upstream ids.
    Create,
    /// Changes the given fields of existing records, as an HTTP PATCH does.
    Update,
    /// Removes existing records.
    Delete,
}

impl Kind {
    /// All kinds, in the order that messages list them.
    pub const ALL: [Kind; 3] = [Kind::Create, Kind::Update, Kind::Delete];

    /// The word that SQL and the API's `kind` field use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Create => "create",
            Kind::Update => "update",
            Kind::Delete => "delete",
        }
    }

    /// The kind with its article, to begin a sentence: `an update needs ...`.
    pub const fn with_article(self) -> &'static str {
        match self {
            Kind::Create => "a create",
            Kind::Update => "an update",
            Kind::Delete => "a delete",
        }
    }

    /// Whether sending the mutation twice has the same effect as sending it once. A second create makes a second record.
    pub const fn is_repeatable(self) -> bool {
        !matches!(self, Kind::Create)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a word that is not a kind. Its text lists the valid kinds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind \"{0}\": it must be create, update or delete")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Kind, UnknownKind> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| UnknownKind(text::printable(word, text::NAME_CHARS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_kinds_match_both_ways() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }

    #[test]
    fn an_unknown_word_is_refused_and_the_valid_kinds_are_listed() {
        for word in ["", "Create", "CREATE", " create", "upsert", "patch", "a\nb"] {
            let message = word.parse::<Kind>().unwrap_err().to_string();
            assert!(message.ends_with("it must be create, update or delete"), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
