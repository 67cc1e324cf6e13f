//! What can be wrong with a request before it is sent: the message names the place, the hint says what to write.

use crate::kind::{Kind, UnknownKind};

/// Why no request was made of these arguments. Its text is the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The named argument is NULL.
    #[error("{0} must not be NULL")]
    Null(&'static str),
    /// The named argument is empty or blank.
    #[error("{0} must not be empty")]
    Empty(&'static str),
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// An element of `await_consumers` is NULL; subscripts begin at 1.
    #[error("await_consumers[{0}] must not be NULL")]
    NullConsumer(usize),
    /// An element of `await_consumers` is blank; subscripts begin at 1.
    #[error("await_consumers[{0}] must not be empty")]
    EmptyConsumer(usize),
    #[error("timeout_ms must not be negative, but is {0}")]
    NegativeTimeout(i32),
    /// Neither an array nor one element: JSON null, a number, a create's string.
    #[error("records must be an array, not {found}")]
    NotRecords { kind: Kind, found: &'static str },
    #[error("records is an empty array")]
    NoRecords,
    /// An element of `records` is wrong; `index` begins at 0, as jsonb's `->` does.
    #[error("records[{index}]: {}", .problem.message(*.kind))]
    Element { kind: Kind, index: usize, problem: Problem },
    /// The `data` of a verb for one record is not an object.
    #[error("data must be a JSON object, not {found}")]
    DataIsNoObject { found: &'static str },
    /// The named argument is longer than the outbox takes.
    #[error("{argument} has {bytes} bytes, and may have {limit}")]
    TooLong { argument: String, bytes: usize, limit: usize },
    /// The named array has more elements than the outbox takes.
    #[error("{argument} has {count} elements, and may have {limit}")]
    TooMany { argument: &'static str, count: usize, limit: usize },
    /// The database's encoding gave bytes that JSON cannot carry.
    #[error("the records are not valid UTF-8")]
    NotUtf8,
}

/// What is wrong with one element of `records`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    NotAnObject { found: &'static str },
    Missing(&'static str),
    UnknownKey(String),
    CreateWithId,
    DeleteWithData,
    DataIsNoObject { found: &'static str },
    IdIsNoString { found: &'static str },
    EmptyId,
}

impl Problem {
    fn message(&self, kind: Kind) -> String {
        let kind_text = kind.with_article();
        match self {
            Problem::NotAnObject { found } if kind == Kind::Delete => {
                format!("{kind_text} needs a string or an object, not {found}")
            }
            Problem::NotAnObject { found } => format!("{kind_text} needs an object, not {found}"),
            Problem::Missing(key) => format!("{kind_text} needs \"{key}\""),
            Problem::UnknownKey(key) => format!("{kind_text} takes no key \"{key}\""),
            Problem::CreateWithId => format!("{kind_text} takes no \"upstream_id\""),
            Problem::DeleteWithData => format!("{kind_text} takes no \"data\""),
            Problem::DataIsNoObject { found } => format!("\"data\" must be an object, not {found}"),
            Problem::IdIsNoString { found } => format!("\"upstream_id\" must be a string, not {found}"),
            Problem::EmptyId => "\"upstream_id\" must not be empty".to_owned(),
        }
    }
}

impl Invalid {
    /// Whether a NULL is what is wrong (SQLSTATE 22004) rather than a value (22023).
    pub fn is_null(&self) -> bool {
        matches!(self, Invalid::Null(_) | Invalid::NullConsumer(_))
    }

    /// What to do about it, in whole sentences.
    pub fn hint(&self) -> String {
        match self {
            Invalid::Null("kind") | Invalid::Kind(_) => "Pass 'create', 'update' or 'delete'.".to_owned(),
            Invalid::Null("sync_id") | Invalid::Empty("sync_id") => {
                "Pass the id of the sync that the collection belongs to.".to_owned()
            }
            Invalid::Null("collection_id") | Invalid::Empty("collection_id") => {
                "Pass the id of the collection as the API names it, for example salesforce:contact.".to_owned()
            }
            Invalid::Null("upstream_id") | Invalid::Empty("upstream_id") => {
                "Pass the record's id in the provider's API. Of a record that was never created there, there is \
                 nothing to update or delete."
                    .to_owned()
            }
            Invalid::Null("data") | Invalid::DataIsNoObject { .. } => {
                "Pass the provider's fields, for example '{\"Email\": \"paul@arrakis.org\"}'.".to_owned()
            }
            Invalid::Null("records") | Invalid::NoRecords => {
                "Pass at least one record. When a query gathers them, leave the call out if it finds none.".to_owned()
            }
            Invalid::Null(name) | Invalid::Empty(name) => format!("Pass a value for {name}."),
            Invalid::NullConsumer(_) | Invalid::EmptyConsumer(_) => {
                "Name each consumer to wait for, or pass NULL to wait for none.".to_owned()
            }
            Invalid::NegativeTimeout(_) => {
                "timeout_ms is in milliseconds; NULL leaves it to the API, which waits 30000.".to_owned()
            }
            Invalid::TooLong { .. } | Invalid::TooMany { .. } => {
                "It is kept with each record. The reference has the limits under sequin_enqueue.".to_owned()
            }
            Invalid::NotRecords { kind, .. } => element_hint(*kind),
            Invalid::Element { kind, problem, .. } => problem_hint(*kind, problem),
            Invalid::NotUtf8 => {
                "JSON is sent as UTF-8: use a database whose encoding is not SQL_ASCII, or correct the text.".to_owned()
            }
        }
    }
}

fn element_hint(kind: Kind) -> String {
    match kind {
        Kind::Create => "Each element of a create is {\"data\": {...}}.",
        Kind::Update => "Each element of an update is {\"upstream_id\": \"...\", \"data\": {...}}.",
        Kind::Delete => "Each element of a delete is a string, the upstream_id, or {\"upstream_id\": \"...\"}.",
    }
    .to_owned()
}

fn problem_hint(kind: Kind, problem: &Problem) -> String {
    let why = match problem {
        Problem::UnknownKey(_) if kind != Kind::Delete => " The provider's fields go inside \"data\".",
        Problem::CreateWithId => " The provider gives the upstream_id; to change a record that exists, use an update.",
        Problem::DeleteWithData => " To change a record, use an update.",
        Problem::IdIsNoString { .. } => " Put the id in quotes.",
        _ => "",
    };
    element_hint(kind) + why
}
