//! The size limits of the outbox, checked when a record is enqueued or a table is attached.
//!
//! The outbox stores, indexes and sends a record later, when no caller is left to receive an error. So each text is limited
//! at the call. The limits are far above the ids of real APIs and catch mistakes, such as a document passed as an id. The
//! primary key of an attached table needs no limit: it fits into the table's own index.

use super::{Arguments, InvalidRequest, RequestRecord};

/// The longest `sync_id` and the longest `collection_id`, in bytes. Both are stored with each record.
pub const NAME_BYTES: usize = 4 << 10;

/// The most elements of `await_consumers`. All are stored with each record.
pub const CONSUMERS: usize = 100;

/// The longest element of `await_consumers`, in bytes.
pub const CONSUMER_BYTES: usize = 1 << 10;

/// The longest `upstream_id`, in bytes. A request holds up to `max_batch` of them.
pub const UPSTREAM_ID_BYTES: usize = 8 << 10;

/// The longest `ordering_key`, in bytes: 8,000 characters of any script, so that several values fit.
pub const ORDERING_KEY_BYTES: usize = 32 << 10;

/// The longest `fields` of an attachment, in bytes. They are part of a trigger's argument.
pub const FIELDS_BYTES: usize = 256 << 10;

/// Checks the arguments that all records share.
pub fn check(arguments: &Arguments<'_>) -> Result<(), InvalidRequest> {
    at_most("sync_id", arguments.sync_id, NAME_BYTES)?;
    at_most("collection_id", arguments.collection_id, NAME_BYTES)?;
    let consumers = arguments.await_consumers.as_deref().unwrap_or_default();
    if consumers.len() > CONSUMERS {
        return Err(InvalidRequest::TooMany { argument: "await_consumers", count: consumers.len(), limit: CONSUMERS });
    }
    for (i, consumer) in consumers.iter().enumerate() {
        at_most(&format!("await_consumers[{}]", i + 1), *consumer, CONSUMER_BYTES)?;
    }
    Ok(())
}

/// Checks the upstream ids of the records, and their ordering key.
pub fn check_records(records: &[RequestRecord<'_>], ordering_key: Option<&str>) -> Result<(), InvalidRequest> {
    at_most("ordering_key", ordering_key, ORDERING_KEY_BYTES)?;
    for (i, record) in records.iter().enumerate() {
        let id = record.upstream_id.as_deref();
        if id.is_some_and(|id| id.len() > UPSTREAM_ID_BYTES) {
            at_most(&format!("the \"upstream_id\" of records[{i}]"), id, UPSTREAM_ID_BYTES)?;
        }
    }
    Ok(())
}

/// Checks that the named argument is at most `limit` bytes long. `None` is.
pub fn at_most(argument: &str, text: Option<&str>, limit: usize) -> Result<(), InvalidRequest> {
    bytes_at_most(argument, text.map_or(0, str::len), limit)
}

/// Checks that an argument of `bytes` bytes is at most `limit` bytes long.
pub fn bytes_at_most(argument: &str, bytes: usize, limit: usize) -> Result<(), InvalidRequest> {
    if bytes <= limit {
        return Ok(());
    }
    Err(InvalidRequest::TooLong { argument: argument.to_owned(), bytes, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T, InvalidRequest>) -> String {
        result.expect_err("it is too long").to_string()
    }

    #[test]
    fn each_argument_is_limited_to_the_byte() {
        let at = |bytes: usize| "x".repeat(bytes);
        let (name, consumer) = (at(NAME_BYTES), at(CONSUMER_BYTES));
        let consumers = vec![Some(consumer.as_str()); CONSUMERS];
        let arguments = Arguments {
            sync_id: Some(&name),
            collection_id: Some(&name),
            await_consumers: Some((&consumers).into()),
            timeout_ms: None,
        };
        assert_eq!(check(&arguments), Ok(()));
        let (name, consumer) = (at(NAME_BYTES + 1), at(CONSUMER_BYTES + 1));
        assert_eq!(
            message(check(&Arguments { sync_id: Some(&name), ..arguments.clone() })),
            "sync_id has 4097 bytes; the limit is 4096"
        );
        assert_eq!(
            message(check(&Arguments { collection_id: Some(&name), ..arguments.clone() })),
            "collection_id has 4097 bytes; the limit is 4096"
        );
        let long = [Some("a"), Some(consumer.as_str())];
        assert_eq!(
            message(check(&Arguments { await_consumers: Some((&long).into()), ..arguments.clone() })),
            "await_consumers[2] has 1025 bytes; the limit is 1024"
        );
        let many = vec![Some("a"); CONSUMERS + 1];
        assert_eq!(
            message(check(&Arguments { await_consumers: Some((&many).into()), ..arguments.clone() })),
            "await_consumers has 101 elements; the limit is 100"
        );
    }

    #[test]
    fn the_record_with_a_long_id_is_named() {
        let element = |bytes| RequestRecord { upstream_id: Some("x".repeat(bytes)), data: None };
        let key = "é".repeat(ORDERING_KEY_BYTES / 2);
        assert_eq!(check_records(&[element(UPSTREAM_ID_BYTES)], Some(&key)), Ok(()));
        assert_eq!(
            message(check_records(&[element(1), element(UPSTREAM_ID_BYTES + 1)], None)),
            "the \"upstream_id\" of records[1] has 8193 bytes; the limit is 8192"
        );
        assert_eq!(message(check_records(&[], Some(&(key + "x")))), "ordering_key has 32769 bytes; the limit is 32768");
    }
}
