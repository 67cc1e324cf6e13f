//! Reading records as changes to plan.
//!
//! In a database of another encoding than UTF-8 a record may hold text that has no place in it. Nothing such is enqueued;
//! if one is there all the same, it must not keep the others from being read.

use std::collections::HashSet;
use std::rc::Rc;

use crate::mutation::kind::Kind;
use crate::pg::spi::Batch;
use crate::pg::text;
use crate::pg::worker::attempt;

use super::key::key;
use super::plan::{Change, Lane};

/// The data that is read at once, about: it is all in memory, and some records are large.
const WIDEST_BYTES: usize = 32 << 20;

/// The columns that [`Reader`] reads first, of a table `q` of such records.
#[macro_export]
macro_rules! columns_of_change {
    ($table:literal) => {
        concat!(
            $table,
            ".id, ",
            $table,
            ".kind, ",
            $table,
            ".role::pg_catalog.oid, ",
            $table,
            ".sync_id, ",
            $table,
            ".collection_id, ",
            $table,
            ".await_consumers, ",
            $table,
            ".timeout_ms, ",
            $table,
            ".relation::pg_catalog.oid, ",
            $table,
            ".ordering_key, ",
            $table,
            ".upstream_id, ",
            $table,
            ".data, ",
            $table,
            ".key::pg_catalog.text"
        )
    };
}
