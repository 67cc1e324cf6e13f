//! An attachment: how an attached table is sent, as one JSON object.
//!
//! It is the argument of the table's triggers and is stored nowhere else. So `\d table` shows it, pg_dump dumps it, and a
//! rename of the table keeps it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::json;
use crate::request::Arguments;

/// An attachment, with the field names of its JSON form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The sync that the collection belongs to.
    pub sync_id: String,
    /// The collection that holds the table's records.
    pub collection_id: String,
    /// The column that holds each row's upstream id.
    pub upstream_id_column: String,
    /// The provider's field for each column. `None` sends every column under its own name, except the primary key and the
    /// upstream id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
    /// When changes are sent.
    pub delivery: Delivery,
    /// The consumers that the API waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub await_consumers: Option<Vec<String>>,
    /// How long the API waits for consumers, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<i32>,
    /// The foreign server. `sequin_attach` always stores it. A trigger written by hand may omit it: then the setting
    /// `sequin.server` names the server each time the trigger fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// When the changes of an attached table are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// At the end of the statement, which waits for the reply.
    Inline,
    /// After the commit, by a background worker.
    Outbox,
}

/// The statements that fire a trigger of an attached table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TriggerEvent {
    /// INSERT, COPY or MERGE adds rows.
    Insert,
    /// UPDATE or MERGE changes rows.
    Update,
    /// DELETE or MERGE removes rows.
    Delete,
}

impl TriggerEvent {
    /// All events, in the order that messages list them.
    pub const ALL: [TriggerEvent; 3] = [TriggerEvent::Insert, TriggerEvent::Update, TriggerEvent::Delete];

    /// The word for it in the argument `operations` of `sequin_attach`.
    pub const fn as_str(self) -> &'static str {
        match self {
            TriggerEvent::Insert => "insert",
            TriggerEvent::Update => "update",
            TriggerEvent::Delete => "delete",
        }
    }

    /// The SQL keyword.
    pub const fn keyword(self) -> &'static str {
        match self {
            TriggerEvent::Insert => "INSERT",
            TriggerEvent::Update => "UPDATE",
            TriggerEvent::Delete => "DELETE",
        }
    }
}

/// Why `sequin_attach` refuses an argument.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachArgumentError {
    /// An element of `operations` is no operation.
    #[error("unknown operation \"{0}\": it must be insert, update or delete")]
    UnknownOperation(String),
    /// `operations` is an empty array.
    #[error("operations must not be empty")]
    NoOperations,
    /// `delivery` is another word.
    #[error("unknown delivery \"{0}\": it must be inline or outbox")]
    UnknownDelivery(String),
    /// `fields` is not a JSON object of strings.
    #[error("fields must be a JSON object from column to field, as in {{\"first_name\": \"FirstName\"}}")]
    FieldsNotAnObject,
    /// `fields` is an empty object.
    #[error("fields must map at least one column")]
    NoFields,
    /// Two columns map to this field.
    #[error("fields maps two columns to the field \"{0}\"")]
    DuplicateField(String),
    /// This column maps to an empty string.
    #[error("fields maps the column \"{0}\" to an empty field")]
    EmptyField(String),
}

impl AttachArgumentError {
    /// The HINT: what to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            AttachArgumentError::UnknownOperation(_) | AttachArgumentError::NoOperations => {
                "Pass operations => '{insert,update,delete}', or a subset."
            }
            AttachArgumentError::UnknownDelivery(_) => {
                "With 'inline' a statement waits for the API and fails if the API refuses; with 'outbox' changes are sent after commit."
            }
            AttachArgumentError::FieldsNotAnObject
            | AttachArgumentError::NoFields
            | AttachArgumentError::DuplicateField(_)
            | AttachArgumentError::EmptyField(_) => {
                "Map each column to a field of its own, or omit fields to send every column under its own name."
            }
        }
    }
}

impl Delivery {
    /// Parses the argument `delivery`.
    pub fn from_word(word: &str) -> Result<Delivery, AttachArgumentError> {
        match word {
            "inline" => Ok(Delivery::Inline),
            "outbox" => Ok(Delivery::Outbox),
            other => Err(AttachArgumentError::UnknownDelivery(other.to_owned())),
        }
    }
}

/// Parses the argument `operations`. The result has each event once, in the order insert, update, delete.
pub fn parse_operations<'a>(
    words: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<TriggerEvent>, AttachArgumentError> {
    let mut named = BTreeSet::new();
    for word in words {
        let operation = TriggerEvent::ALL.into_iter().find(|operation| operation.as_str() == word);
        named.insert(operation.ok_or_else(|| AttachArgumentError::UnknownOperation(word.to_owned()))?);
    }
    if named.is_empty() { Err(AttachArgumentError::NoOperations) } else { Ok(named.into_iter().collect()) }
}

/// Parses the argument `fields`, a jsonb as text: a provider field for each column. Each field appears once.
pub fn parse_fields(json: &str) -> Result<BTreeMap<String, String>, AttachArgumentError> {
    let fields: BTreeMap<String, String> =
        serde_json::from_str(json).map_err(|_| AttachArgumentError::FieldsNotAnObject)?;
    if fields.is_empty() {
        return Err(AttachArgumentError::NoFields);
    }
    let mut seen = BTreeSet::new();
    for (column, field) in &fields {
        if field.is_empty() {
            return Err(AttachArgumentError::EmptyField(column.clone()));
        }
        if !seen.insert(field) {
            return Err(AttachArgumentError::DuplicateField(field.clone()));
        }
    }
    Ok(fields)
}

impl Attachment {
    /// The arguments that all requests of the table share.
    pub fn arguments(&self) -> Arguments<'_> {
        let consumers = self.await_consumers.as_ref().map(|ids| ids.iter().map(|id| Some(id.as_str())).collect());
        Arguments {
            sync_id: Some(&self.sync_id),
            collection_id: Some(&self.collection_id),
            await_consumers: consumers.map(Cow::Owned),
            timeout_ms: self.timeout_ms,
        }
    }

    /// The trigger argument that stores the attachment.
    pub fn to_argument(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers can be written")
    }

    /// Reads a trigger argument. The error text says where a trigger written by hand is wrong.
    pub fn from_argument(argument: &str) -> Result<Attachment, String> {
        serde_json::from_str(argument).map_err(|error| error.to_string())
    }
}

/// The longest argument that the view shows, in bytes. A table has at most 1,600 columns, so a valid one is far shorter.
const MAX_ARGUMENT_BYTES: usize = 1 << 20;

/// Whether the view of attachments can show `argument`: it is an attachment, and the database can cast it to jsonb.
/// `argument` is in the database's encoding; `is_utf8` is whether that is UTF-8.
///
/// Any role that may create triggers chooses the argument. One row that raises an error would hide the view's other rows
/// from all roles, so this function raises none.
///
/// In another encoding than UTF-8, an escape beyond ASCII may name a character that the encoding lacks. `sequin_attach`
/// writes no such escape, so an argument with one is not an attachment.
pub fn is_displayable(argument: &[u8], is_utf8: bool) -> bool {
    if argument.len() > MAX_ARGUMENT_BYTES {
        return false;
    }
    // In every server encoding, each byte of a non-ASCII character has its high bit set, so it cannot pass for ASCII.
    let text: String = argument.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '?' }).collect();
    // serde also reads a struct from an array of its values.
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
            assert_eq!(is_displayable(argument.as_bytes(), true), in_utf8, "{argument}");
            assert_eq!(is_displayable(argument.as_bytes(), false), in_another, "{argument}");
        }
        // Of another encoding.
        assert!(is_displayable(
            &written("X").into_bytes().iter().map(|&b| if b == b'X' { 0xff } else { b }).collect::<Vec<_>>(),
            false
        ));
        // serde reads this too.
        assert!(!is_displayable(br#"["s","c","i",null,"outbox"]"#, true));
        assert!(
            !is_displayable(b"", true)
                && !is_displayable(b" ", true)
                && !is_displayable(b"{}", true)
                && !is_displayable(b"null", true)
        );
        assert!(!is_displayable(written(&"x".repeat(MAX_ARGUMENT_BYTES)).as_bytes(), true));
    }

    #[test]
    fn operations_are_named_once() {
        assert_eq!(
            parse_operations(["delete", "insert", "delete"]),
            Ok(vec![TriggerEvent::Insert, TriggerEvent::Delete])
        );
        assert_eq!(parse_operations([]), Err(AttachArgumentError::NoOperations));
        assert_eq!(
            parse_operations(["insert", "truncate"]),
            Err(AttachArgumentError::UnknownOperation("truncate".into()))
        );
    }

    #[test]
    fn deliveries() {
        assert_eq!(Delivery::from_word("inline"), Ok(Delivery::Inline));
        assert_eq!(Delivery::from_word("outbox"), Ok(Delivery::Outbox));
        assert_eq!(Delivery::from_word("INLINE"), Err(AttachArgumentError::UnknownDelivery("INLINE".into())));
    }

    #[test]
    fn a_field_map_maps_each_field_once() {
        assert_eq!(parse_fields(r#"{"a": "A", "b": "B"}"#).unwrap().len(), 2);
        for (json, mistake) in [
            ("[]", AttachArgumentError::FieldsNotAnObject),
            (r#"{"a": 1}"#, AttachArgumentError::FieldsNotAnObject),
            ("null", AttachArgumentError::FieldsNotAnObject),
            ("{}", AttachArgumentError::NoFields),
            (r#"{"a": "X", "b": "X"}"#, AttachArgumentError::DuplicateField("X".into())),
            (r#"{"a": ""}"#, AttachArgumentError::EmptyField("a".into())),
        ] {
            assert_eq!(parse_fields(json), Err(mistake), "{json}");
        }
    }
}
