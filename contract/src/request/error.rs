//! The errors of [`Request`](super::Request): the message names the wrong part, the HINT says what to write.

use crate::kind::{Kind, UnknownKind};

/// Why arguments do not form a request. Its text is the error's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "found is a JSON type with its article; limit is in the unit that the message names")]
pub enum InvalidRequest {
    /// The named argument is NULL.
    #[error("{0} must not be NULL")]
    Null(&'static str),
    /// The named argument is empty or blank.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    /// `kind` is another word.
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// An element of `await_consumers` is NULL; subscripts begin at 1.
    #[error("await_consumers[{0}] must not be NULL")]
    NullConsumer(usize),
    /// An element of `await_consumers` is blank; subscripts begin at 1.
    #[error("await_consumers[{0}] must not be empty")]
    EmptyConsumer(usize),
    /// `timeout_ms` is negative.
    #[error("timeout_ms must not be negative, but is {0}")]
    NegativeTimeout(i32),
    /// `records` is neither an array nor a single record: JSON null, a number, or a string for a create.
    #[error("records must be an array, not {found}")]
    NotRecords { kind: Kind, found: &'static str },
    /// `records` is an empty array.
    #[error("records is an empty array")]
    NoRecords,
    /// An element of `records` is wrong. `index` counts from 0, like the operator `->` of jsonb.
    #[error("records[{index}]: {}", .problem.message(*.kind))]
    Record { kind: Kind, index: usize, problem: RecordProblem },
    /// The `data` of a single-record verb is not an object.
    #[error("data must be a JSON object, not {found}")]
    DataNotAnObject { found: &'static str },
    /// The named argument is longer than the outbox accepts.
    #[error("{argument} has {bytes} bytes; the limit is {limit}")]
    TooLong { argument: String, bytes: usize, limit: usize },
    /// The named array has more elements than the outbox accepts.
    #[error("{argument} has {count} elements; the limit is {limit}")]
    TooMany { argument: &'static str, count: usize, limit: usize },
    /// The records have bytes that are not UTF-8, from a database in the encoding SQL_ASCII.
    #[error("the records are not valid UTF-8")]
    NotUtf8,
}

/// Why an element of `records` is refused. `found` is a JSON type with its article.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the enum's comment explains the field")]
pub enum RecordProblem {
    /// The element is of another JSON type.
    NotAnObject { found: &'static str },
    /// A required key is absent.
    Missing(&'static str),
    /// The element has a key that no record has.
    UnknownKey(String),
    /// A create has an `upstream_id`.
    CreateWithId,
    /// A delete has `data`.
    DeleteWithData,
    /// `data` is of another JSON type.
    DataNotAnObject { found: &'static str },
    /// `upstream_id` is of another JSON type.
    IdNotAString { found: &'static str },
    /// `upstream_id` is blank.
    EmptyId,
}

impl RecordProblem {
    fn message(&self, kind: Kind) -> String {
        let kind_text = kind.with_article();
        match self {
            RecordProblem::NotAnObject { found } if kind == Kind::Delete => {
                format!("{kind_text} needs a string or an object, not {found}")
            }
            RecordProblem::NotAnObject { found } => format!("{kind_text} needs an object, not {found}"),
            RecordProblem::Missing(key) => format!("{kind_text} needs \"{key}\""),
            RecordProblem::UnknownKey(key) => format!("{kind_text} takes no key \"{key}\""),
            RecordProblem::CreateWithId => format!("{kind_text} takes no \"upstream_id\""),
            RecordProblem::DeleteWithData => format!("{kind_text} takes no \"data\""),
            RecordProblem::DataNotAnObject { found } => format!("\"data\" must be an object, not {found}"),
            RecordProblem::IdNotAString { found } => format!("\"upstream_id\" must be a string, not {found}"),
            RecordProblem::EmptyId => "\"upstream_id\" must not be empty".to_owned(),
        }
    }
}

impl InvalidRequest {
    /// Whether the error is a NULL (SQLSTATE 22004). Other errors are invalid values (22023).
    pub fn is_null(&self) -> bool {
        matches!(self, InvalidRequest::Null(_) | InvalidRequest::NullConsumer(_))
    }

    /// The HINT: what to write instead, in whole sentences.
    pub fn hint(&self) -> String {
        match self {
            InvalidRequest::Null("kind") | InvalidRequest::Kind(_) => "Pass 'create', 'update' or 'delete'.".to_owned(),
            InvalidRequest::Null("sync_id") | InvalidRequest::Empty("sync_id") => {
                "Pass the id of the sync that the collection belongs to.".to_owned()
            }
            InvalidRequest::Null("collection_id") | InvalidRequest::Empty("collection_id") => {
                "Pass the id of the collection as the API names it, for example salesforce:contact.".to_owned()
            }
            InvalidRequest::Null("upstream_id") | InvalidRequest::Empty("upstream_id") => {
                "Pass the record's id in the provider's API. A record that was never created there cannot be updated or \
                 deleted."
                    .to_owned()
            }
            InvalidRequest::Null("data") | InvalidRequest::DataNotAnObject { .. } => {
                "Pass the provider's fields, for example '{\"Email\": \"paul@arrakis.org\"}'.".to_owned()
            }
            InvalidRequest::Null("records") | InvalidRequest::NoRecords => {
                "Pass at least one record. If a query gathers the records, skip the call when it finds none.".to_owned()
            }
            InvalidRequest::Null(name) | InvalidRequest::Empty(name) => format!("Pass a value for {name}."),
            InvalidRequest::NullConsumer(_) | InvalidRequest::EmptyConsumer(_) => {
                "Name each consumer to wait for, or pass NULL to wait for none.".to_owned()
            }
            InvalidRequest::NegativeTimeout(_) => {
                "timeout_ms is in milliseconds; with NULL the API waits 30000.".to_owned()
            }
            InvalidRequest::TooLong { .. } | InvalidRequest::TooMany { .. } => {
                "The outbox stores it with each record. The reference lists the limits under sequin_enqueue.".to_owned()
            }
            InvalidRequest::NotRecords { kind, .. } => record_hint(*kind),
            InvalidRequest::Record { kind, problem, .. } => problem_hint(*kind, problem),
            InvalidRequest::NotUtf8 => {
                "JSON is sent as UTF-8: correct the text, or use a database whose encoding is not SQL_ASCII.".to_owned()
            }
        }
    }
}

fn record_hint(kind: Kind) -> String {
    match kind {
        Kind::Create => "Each element of a create is {\"data\": {...}}.",
        Kind::Update => "Each element of an update is {\"upstream_id\": \"...\", \"data\": {...}}.",
        Kind::Delete => "Each element of a delete is a string, the upstream_id, or {\"upstream_id\": \"...\"}.",
    }
    .to_owned()
}

fn problem_hint(kind: Kind, problem: &RecordProblem) -> String {
    let advice = match problem {
        RecordProblem::UnknownKey(_) if kind != Kind::Delete => " The provider's fields go inside \"data\".",
        RecordProblem::CreateWithId => {
            " The provider assigns the upstream_id; to change an existing record, use an update."
        }
        RecordProblem::DeleteWithData => " To change a record, use an update.",
        RecordProblem::IdNotAString { .. } => " Put the id in quotes.",
        _ => "",
    };
    record_hint(kind) + advice
}
