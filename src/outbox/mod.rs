//! The outbox: what a transaction enqueues is sent after its commit, by a worker.
//!
//! - [`enqueue`] writes records into `sequin.queue`, as part of the transaction;
//! - `worker` is the process that delivers, `launcher` the one that starts it with the server;
//! - `claim` takes records for a worker, by a `look` at each server; it is written down and committed before anything is
//!   sent;
//! - [`plan`] decides, purely, what a request is made of; [`backoff`] when the next one may go;
//! - `send` makes the request, with no transaction open, and says what became of each record;
//! - `results` and `settle` write that down, `finish` moves what is done to the history, and `retention` deletes it in the end;
//! - `write_back` brings upstream ids into the rows of attached tables, `tell` to the changes that wait for them, and
//!   `resting` leaves tables alone that do not let themselves be written;
//! - `verbs` is what a person may do to a record or a server, `awaiting` how one waits for delivery;
//! - `home` knows a copy of the database, and `renamed` a server's new name.

/// The servers that the queue's records name, by steps from one to the next: its only index begins with the server. A
/// query that has this in front can find a record by its id.
macro_rules! named_servers {
    () => {
        "WITH RECURSIVE named(server) AS ( \
           (SELECT q.server FROM sequin.queue q ORDER BY q.server, q.id LIMIT 1) UNION ALL \
           (SELECT (SELECT q.server FROM sequin.queue q WHERE q.server OPERATOR(pg_catalog.>) n.server \
                    ORDER BY q.server, q.id LIMIT 1) FROM named n WHERE n.server IS NOT NULL)) "
    };
}

/// The hash of an ordering key, as the indexes have it: a key may be longer than an index entry.
macro_rules! key_hash {
    ($key:literal) => {
        concat!("pg_catalog.hashtextextended(", $key, " COLLATE pg_catalog.\"C\", 0)")
    };
}

/// Whether the ordering key of `$row` is one of the array `$keys`. The hashes come first, for the index.
macro_rules! has_key_of {
    ($row:literal, $keys:literal) => {
        concat!(
            key_hash!($row),
            " OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT ",
            key_hash!("wanted.key"),
            " FROM pg_catalog.unnest(",
            $keys,
            ") AS wanted(key))) AND ",
            $row,
            " OPERATOR(pg_catalog.=) ANY (",
            $keys,
            ")"
        )
    };
}

/// Whether two ordering keys are the same, by their hashes first.
macro_rules! same_key {
    ($one:literal, $other:literal) => {
        concat!(
            key_hash!($one),
            " OPERATOR(pg_catalog.=) ",
            key_hash!($other),
            " AND ",
            $one,
            " OPERATOR(pg_catalog.=) ",
            $other
        )
    };
}

pub mod admin;
pub mod await_delivery;
mod claim;
mod claims_lock;
pub mod enqueue;
mod guard;
mod send;
pub mod server_rename;
mod server_state;
mod settle;
pub mod worker;
mod write_back;
