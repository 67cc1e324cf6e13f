//! The sizes that the outbox takes, checked when a record is enqueued or a table is attached.
//!
//! Whatever is enqueued is written, indexed, read and sent later, when there is no caller to report an error to. So each text
//! is limited where it is given. The limits are far above what APIs and providers use: they keep mistakes out, such as a
//! document that was passed as an id. A row of an attached table needs none: its key fits into an index of its own table.

use super::{Arguments, Element, Invalid};

/// Bytes of `sync_id` and of `collection_id`, which are stored with each record. The ids of syncs are UUIDs.
pub const NAME_BYTES: usize = 4 << 10;

/// Elements of `await_consumers`, and bytes of each: all of them are stored with each record.
pub const CONSUMERS: usize = 100;
pub const CONSUMER_BYTES: usize = 1 << 10;

/// Bytes of an `upstream_id`. It stands in each request for its record, beside those of `max_batch` others.
pub const UPSTREAM_ID_BYTES: usize = 8 << 10;

/// Bytes of an `ordering_key`. It may be made of several values, and takes 8,000 characters of any script.
pub const ORDERING_KEY_BYTES: usize = 32 << 10;

/// Bytes of the columns and fields of an attachment. Together with the rest it is the argument of a trigger.
pub const FIELDS_BYTES: usize = 256 << 10;

/// Checks what all records have in common.
pub fn check(arguments: &Arguments<'_>) -> Result<(), Invalid> {
    at_most("sync_id", arguments.sync_id, NAME_BYTES)?;
    at_most("collection_id", arguments.collection_id, NAME_BYTES)?;
    let consumers = arguments.await_consumers.unwrap_or_default();
    if consumers.len() > CONSUMERS {
        return Err(Invalid::TooMany { argument: "await_consumers", count: consumers.len(), limit: CONSUMERS });
    }
    for (i, consumer) in consumers.iter().enumerate() {
        at_most(&format!("await_consumers[{}]", i + 1), *consumer, CONSUMER_BYTES)?;
    }
    Ok(())
}

/// Checks the records and their ordering key.
pub fn check_records(elements: &[Element<'_>], ordering_key: Option<&str>) -> Result<(), Invalid> {
    at_most("ordering_key", ordering_key, ORDERING_KEY_BYTES)?;
    for (i, element) in elements.iter().enumerate() {
        let id = element.upstream_id.as_deref();
        if id.is_some_and(|id| id.len() > UPSTREAM_ID_BYTES) {
            at_most(&format!("the \"upstream_id\" of records[{i}]"), id, UPSTREAM_ID_BYTES)?;
        }
    }
    Ok(())
}

/// Checks that the text of an argument is not longer than `limit` bytes.
pub fn at_most(argument: &str, text: Option<&str>, limit: usize) -> Result<(), Invalid> {
    bytes_at_most(argument, text.map_or(0, str::len), limit)
}

/// Checks that an argument of so many bytes is not longer than `limit`.
pub fn bytes_at_most(argument: &str, bytes: usize, limit: usize) -> Result<(), Invalid> {
    if bytes <= limit {
        return Ok(());
    }
    Err(Invalid::TooLong { argument: argument.to_owned(), bytes, limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T, Invalid>) -> String {
        result.expect_err("it is too long").to_string()
    }

    #[test]
    fn each_argument_takes_its_limit_and_no_byte_more() {
        let at = |bytes: usize| "x".repeat(bytes);
        let (name, consumer) = (at(NAME_BYTES), at(CONSUMER_BYTES));
        let consumers = vec![Some(consumer.as_str()); CONSUMERS];
        let arguments = Arguments {
            sync_id: Some(&name),
            collection_id: Some(&name),
            await_consumers: Some(&consumers),
            timeout_ms: None,
        };
        assert_eq!(check(&arguments), Ok(()));
        let (name, consumer) = (at(NAME_BYTES + 1), at(CONSUMER_BYTES + 1));
        assert_eq!(
            message(check(&Arguments { sync_id: Some(&name), ..arguments })),
            "sync_id has 4097 bytes, and may have 4096"
        );
        assert_eq!(
            message(check(&Arguments { collection_id: Some(&name), ..arguments })),
            "collection_id has 4097 bytes, and may have 4096"
        );
        let long = [Some("a"), Some(consumer.as_str())];
        assert_eq!(
            message(check(&Arguments { await_consumers: Some(&long), ..arguments })),
            "await_consumers[2] has 1025 bytes, and may have 1024"
        );
        let many = vec![Some("a"); CONSUMERS + 1];
        assert_eq!(
            message(check(&Arguments { await_consumers: Some(&many), ..arguments })),
            "await_consumers has 101 elements, and may have 100"
        );
    }

    #[test]
    fn the_record_with_a_long_id_is_named() {
        let element = |bytes| Element { upstream_id: Some("x".repeat(bytes)), data: None };
        let key = "é".repeat(ORDERING_KEY_BYTES / 2);
        assert_eq!(check_records(&[element(UPSTREAM_ID_BYTES)], Some(&key)), Ok(()));
        assert_eq!(
            message(check_records(&[element(1), element(UPSTREAM_ID_BYTES + 1)], None)),
            "the \"upstream_id\" of records[1] has 8193 bytes, and may have 8192"
        );
        assert_eq!(message(check_records(&[], Some(&(key + "x")))), "ordering_key has 32769 bytes, and may have 32768");
    }
}
