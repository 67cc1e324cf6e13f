//! Finding the row that stands for a record: records that were merged have one row.

use crate::pg::{security_context, session, spi};

use super::store::merged;

/// The record that this one was sent with, itself if it was not merged. None if the current role may see neither.
pub fn sent_with(id: i64) -> Option<i64> {
    let role = session::current_role();
    let found = security_context::as_queue_owner(|| {
        spi::connected(|connection| -> Result<Option<i64>, std::convert::Infallible> {
            Ok(merged::sent_with(connection, id, role))
        })
    });
    let Ok(found) = found;
    found
}
