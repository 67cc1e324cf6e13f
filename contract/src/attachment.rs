//! What attaches a table: the argument of its triggers, one JSON object.
//!
//! It stands in the trigger's definition and nowhere else, so `\d table` shows it, pg_dump dumps it and a rename of the
//! table takes it along.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::json;
use crate::request::Arguments;

/// An attachment as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    pub sync_id: String,
    /// `provider:collection`
    pub collection_id: String,
    /// The column that holds each row's upstream id.
    pub upstream_id_column: String,
    /// Column to provider field. None: every column but the key and the upstream id, under its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
    pub delivery: Delivery,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub await_consumers: Option<Vec<String>>,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<i32>,
    /// None, in a trigger that was written by hand: the one that `sequin.server` names when it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// When a change is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Within the statement.
    Inline,
    /// After the commit.
    Outbox,
}

/// What a statement does to the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Insert,
    Update,
    Delete,
}

impl Operation {
    pub const ALL: [Operation; 3] = [Operation::Insert, Operation::Update, Operation::Delete];

    /// The word that `sequin_attach` takes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
        }
    }

    /// The word of SQL.
    pub const fn keyword(self) -> &'static str {
        match self {
            Operation::Insert => "INSERT",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        }
    }
}

/// Why arguments do not attach a table.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistaken {
    #[error("unknown operation \"{0}\": it must be insert, update or delete")]
    Operation(String),
    #[error("operations must not be empty")]
    NoOperation,
    #[error("unknown delivery \"{0}\": it must be inline or outbox")]
    Delivery(String),
    #[error("fields must be a JSON object from column to field, as in {{\"first_name\": \"FirstName\"}}")]
    Fields,
    #[error("fields maps no column")]
    NoField,
    #[error("fields maps two columns to the field \"{0}\"")]
    SameField(String),
    #[error("fields maps the column \"{0}\" to an empty field")]
    EmptyField(String),
}

impl Mistaken {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Mistaken::Operation(_) | Mistaken::NoOperation => {
                "Write operations => '{insert,update,delete}', or some of them."
            }
            Mistaken::Delivery(_) => {
                "With 'inline' a statement waits for the API and fails if it refuses; with 'outbox' it is sent after commit."
            }
            Mistaken::Fields | Mistaken::NoField | Mistaken::SameField(_) | Mistaken::EmptyField(_) => {
                "Map each column to a field of its own, or leave fields out to send every column under its own name."
            }
        }
    }
}

impl Delivery {
    /// The delivery that `word` names.
    pub fn from_word(word: &str) -> Result<Delivery, Mistaken> {
        match word {
            "inline" => Ok(Delivery::Inline),
            "outbox" => Ok(Delivery::Outbox),
            other => Err(Mistaken::Delivery(other.to_owned())),
        }
    }
}

/// The operations that `words` name, each once, in the order insert, update, delete.
pub fn operations<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Vec<Operation>, Mistaken> {
    let mut named = BTreeSet::new();
    for word in words {
        let operation = Operation::ALL.into_iter().find(|operation| operation.as_str() == word);
        named.insert(operation.ok_or_else(|| Mistaken::Operation(word.to_owned()))?);
    }
    if named.is_empty() { Err(Mistaken::NoOperation) } else { Ok(named.into_iter().collect()) }
}

/// The map that `json`, a jsonb as text, is.
pub fn fields(json: &str) -> Result<BTreeMap<String, String>, Mistaken> {
    let fields: BTreeMap<String, String> = serde_json::from_str(json).map_err(|_| Mistaken::Fields)?;
    if fields.is_empty() {
        return Err(Mistaken::NoField);
    }
    let mut seen = BTreeSet::new();
    for (column, field) in &fields {
        if field.is_empty() {
            return Err(Mistaken::EmptyField(column.clone()));
        }
        if !seen.insert(field) {
            return Err(Mistaken::SameField(field.clone()));
        }
    }
    Ok(fields)
}

impl Attachment {
    /// Hands what its requests have in common to `f`.
    pub fn with_arguments<T>(&self, f: impl FnOnce(&Arguments<'_>) -> T) -> T {
        let consumers: Option<Vec<Option<&str>>> =
            self.await_consumers.as_ref().map(|ids| ids.iter().map(|id| Some(id.as_str())).collect());
        f(&Arguments {
            sync_id: Some(&self.sync_id),
            collection_id: Some(&self.collection_id),
            await_consumers: consumers.as_deref(),
            timeout_ms: self.timeout_ms,
        })
    }

    /// The trigger's argument.
    pub fn to_argument(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers can be written")
    }

    /// Reads a trigger's argument. The error says what a person who wrote it by hand did wrong.
    pub fn from_argument(argument: &str) -> Result<Attachment, String> {
        serde_json::from_str(argument).map_err(|error| error.to_string())
    }
}

/// Far more than the longest one: a table has 1,600 columns at most.
const MOST_BYTES: usize = 1 << 20;

/// Whether `argument`, in the encoding of the database, is an attachment that can be converted to jsonb there. It is given
/// by whoever may make triggers, and must not keep others from reading the view: nothing here raises.
///
/// In an encoding other than UTF-8, escapes beyond ASCII may stand for characters that the database does not have, and
/// sequin_attach writes none: an argument with one of them is no attachment.
pub fn is_shown(argument: &[u8], is_utf8: bool) -> bool {
    if argument.len() > MOST_BYTES {
        return false;
    }
    // In every encoding of a server, the bytes of a character that is not ASCII are none of ASCII.
    let text: String = argument.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '?' }).collect();
    // An array of the same values would be read as well.
    text.trim_start().starts_with('{')
        && Attachment::from_argument(&text).is_ok()
        && json::is_storable(&text)
        && (is_utf8 || json::escapes_are_ascii(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_says_what_was_attached() {
        let attachment = Attachment {
            sync_id: "s".into(),
            collection_id: "salesforce:contact".into(),
            upstream_id_column: "sf \"id\"".into(),
            fields: Some([("first_name".into(), "FirstName".into())].into()),
            delivery: Delivery::Inline,
            await_consumers: None,
            timeout_ms: Some(5000),
            server: None,
        };
        let argument = attachment.to_argument();
        assert_eq!(
            argument,
            r#"{"sync_id":"s","collection_id":"salesforce:contact","upstream_id_column":"sf \"id\"","fields":{"first_name":"FirstName"},"delivery":"inline","timeout_ms":5000}"#
        );
        assert_eq!(Attachment::from_argument(&argument), Ok(attachment));
        assert!(Attachment::from_argument("{}").is_err());
        assert!(Attachment::from_argument(&argument.replace("timeout_ms", "timeout")).is_err());
    }

    #[test]
    fn an_argument_that_can_be_shown() {
        let written = |column: &str| {
            let argument = r#"{"sync_id":"s","collection_id":"c","upstream_id_column":"i","fields":{"COLUMN":"f"},"delivery":"outbox"}"#;
            argument.replace("COLUMN", column)
        };
        for (column, in_utf8, in_another) in [
            ("name", true, true),
            ("ü", true, true),
            (r"\u0001 \n \u007f", true, true),
            (r"\\u0000 \\\\u20ac", true, true),
            (r"\u20ac", true, false),
            (r"\\\u20ac", true, false),
            (r"\u0000", false, false),
            // The second is the one that a map keeps; jsonb reads both.
            (r#"\u0000":"f","name"#, false, false),
            (r#"a":"\u0000","a"#, false, false),
            (r"\ud800", false, false),
            (r"\u12", false, false),
            (r"\", false, false),
        ] {
            let argument = written(column);
            assert_eq!(is_shown(argument.as_bytes(), true), in_utf8, "{argument}");
            assert_eq!(is_shown(argument.as_bytes(), false), in_another, "{argument}");
        }
        // Of another encoding.
        assert!(is_shown(
            &written("X").into_bytes().iter().map(|&b| if b == b'X' { 0xff } else { b }).collect::<Vec<_>>(),
            false
        ));
        // serde reads this too.
        assert!(!is_shown(br#"["s","c","i",null,"outbox"]"#, true));
        assert!(!is_shown(b"", true) && !is_shown(b" ", true) && !is_shown(b"{}", true) && !is_shown(b"null", true));
        assert!(!is_shown(written(&"x".repeat(MOST_BYTES)).as_bytes(), true));
    }

    #[test]
    fn operations_are_named_once() {
        assert_eq!(operations(["delete", "insert", "delete"]), Ok(vec![Operation::Insert, Operation::Delete]));
        assert_eq!(operations([]), Err(Mistaken::NoOperation));
        assert_eq!(operations(["insert", "truncate"]), Err(Mistaken::Operation("truncate".into())));
    }

    #[test]
    fn deliveries() {
        assert_eq!(Delivery::from_word("inline"), Ok(Delivery::Inline));
        assert_eq!(Delivery::from_word("outbox"), Ok(Delivery::Outbox));
        assert_eq!(Delivery::from_word("INLINE"), Err(Mistaken::Delivery("INLINE".into())));
    }

    #[test]
    fn a_field_map_maps_each_field_once() {
        assert_eq!(fields(r#"{"a": "A", "b": "B"}"#).unwrap().len(), 2);
        for (json, mistake) in [
            ("[]", Mistaken::Fields),
            (r#"{"a": 1}"#, Mistaken::Fields),
            ("null", Mistaken::Fields),
            ("{}", Mistaken::NoField),
            (r#"{"a": "X", "b": "X"}"#, Mistaken::SameField("X".into())),
            (r#"{"a": ""}"#, Mistaken::EmptyField("a".into())),
        ] {
            assert_eq!(fields(json), Err(mistake), "{json}");
        }
    }
}
