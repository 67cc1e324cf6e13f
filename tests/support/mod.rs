//! Common helpers. A test has a [`World`]: a database on a [server], a sandbox, and a [`Session`] to talk through.

pub mod network;
mod outbox;
pub mod random;
pub mod server;
mod session;
mod waiting;
mod world;

use postgres::error::DbError;
use serde_json::{Value, json};

pub use outbox::{enqueue_in, request};
pub use session::Session;
pub use waiting::SetAtEnd;
pub use world::World;

/// The first arguments of every verb.
pub const TARGET: &str = "'sync', 'salesforce:contact'";

/// A call of `sequin_mutate` for contacts.
pub fn mutate(kind: &str, records: &str) -> String {
    format!("SELECT * FROM sequin_mutate('{kind}', {TARGET}, '{records}')")
}

/// A create of three contacts.
pub fn create_three() -> String {
    mutate("create", r#"[{"data":{"n":1}},{"data":{"n":2}},{"data":{"n":3}}]"#)
}

/// A call of the verb for one contact, in an expression.
pub fn create(data: &str) -> String {
    format!("sequin_create({TARGET}, {data})")
}

/// The DETAIL that is expected, whole.
pub fn detail(outcome: &str, applied: &str, status: Option<u16>, docs: Value, retry_after_ms: Option<u64>) -> Value {
    json!({
        "outcome": outcome,
        "applied": applied,
        "http_status": status,
        "docs": docs,
        "retry_after_ms": retry_after_ms,
    })
}

/// The DETAIL as programs read it.
pub fn detail_of(error: &DbError) -> Value {
    let detail = error.detail().unwrap_or_else(|| panic!("no DETAIL: {error:?}"));
    serde_json::from_str(detail).unwrap_or_else(|e| panic!("{e} in the DETAIL {detail}"))
}

pub fn hint_of(error: &DbError) -> &str {
    error.hint().unwrap_or_default()
}

pub fn context_of(error: &DbError) -> &str {
    error.where_().unwrap_or_default()
}
