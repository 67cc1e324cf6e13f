//! The three things a mutation can do.

use std::fmt;
use std::str::FromStr;

use super::text;

/// What one request does to all of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Create,
    Update,
    Delete,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Create, Kind::Update, Kind::Delete];

    /// The word that the API and SQL use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Create => "create",
            Kind::Update => "update",
            Kind::Delete => "delete",
        }
    }

    /// The kind as the subject of a sentence: `an update needs ...`.
    pub const fn with_article(self) -> &'static str {
        match self {
            Kind::Create => "a create",
            Kind::Update => "an update",
            Kind::Delete => "a delete",
        }
    }

    /// Whether doing it twice leaves the provider as doing it once: a second create makes a second record.
    pub const fn is_repeatable(self) -> bool {
        !matches!(self, Kind::Create)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no kind; it prints a message that lists the valid ones.
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
    fn other_words_are_refused_and_the_valid_ones_named() {
        for word in ["", "Create", "CREATE", " create", "upsert", "patch", "a\nb"] {
            let message = word.parse::<Kind>().unwrap_err().to_string();
            assert!(message.ends_with("it must be create, update or delete"), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
