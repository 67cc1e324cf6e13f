//! The replies that no API should give.

use sequin_harness::raw;

use super::{MAX_RESPONSE_BYTES, Reply, and_stays, bytes, endless, head, trickle};
use crate::support::network::RECORD;

/// A name, a reply, the SQLSTATE, and a part of the message that shows that it is for the right reason.
pub type Case = (&'static str, Reply, &'static str, &'static str);

/// Replies that end by themselves or at some limit.
pub fn limited() -> Vec<Case> {
    let length = RECORD.len();
    let long = format!("{RECORD}{}", " ".repeat(MAX_RESPONSE_BYTES));
    // `{}` compressed by gzip.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let gzip_head = head(&format!("content-encoding: gzip\r\ncontent-length: {}\r\n", gzip.len()));
    vec![
        ("a long body, announced", and_stays(raw::reply(200, &long)), "HV00M", "larger than 1048576 bytes"),
        (
            "an announced lie",
            and_stays(head("content-length: 9999999999999\r\n")),
            "HV00M",
            "larger than 1048576 bytes",
        ),
        ("a long body, not announced", bytes(head("") + &long), "HV00M", "larger than 1048576 bytes"),
        ("an endless body", endless("HTTP/1.1 200 OK\r\n\r\n", " "), "HV00K", "larger than 1048576 bytes"),
        (
            "endless chunks",
            endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "10\r\n                \r\n"),
            "HV00K",
            "larger than 1048576 bytes",
        ),
        (
            "one endless chunk",
            endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffff\r\n", " "),
            "HV00K",
            "larger than 1048576 bytes",
        ),
        ("an endless chunk size", endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "0"), "HV00K", ""),
        (
            "chunks that are none",
            bytes(head("transfer-encoding: chunked\r\n") + "x\r\n"),
            "HV00K",
            "ended before its records",
        ),
        ("an error, endless", endless("HTTP/1.1 400 X\r\n\r\n", "e"), "HV024", "HTTP status 400"),
        ("a gzip body", bytes([gzip_head.as_bytes(), gzip].concat()), "HV00K", "content-encoding gzip"),
        (
            "10,000 headers",
            bytes(head(&"a: b\r\n".repeat(10_000)) + RECORD),
            "HV00K",
            "answered 200 with invalid headers",
        ),
        ("an endless header", endless("HTTP/1.1 200 OK\r\nx-long: ", "x"), "HV00K", "header"),
        ("endless headers", endless("HTTP/1.1 200 OK\r\n", "a: b\r\n"), "HV00K", "answered 200 with invalid headers"),
        (
            "a folded header",
            bytes(head(&format!("x-a: one\r\n two\r\ncontent-length: {length}\r\n")) + RECORD),
            "HV00K",
            "answered 200 with invalid headers",
        ),
        (
            "a space before a colon",
            bytes(head(&format!("x-a : one\r\ncontent-length: {length}\r\n")) + RECORD),
            "HV00K",
            "answered 200 with invalid headers",
        ),
        (
            "a folded header of a refusal",
            bytes("HTTP/1.1 400 X\r\nx-a: one\r\n two\r\ncontent-length: 2\r\n\r\n{}"),
            "HV024",
            "HTTP status 400",
        ),
        (
            "a folded header after an interim reply",
            bytes("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 X\r\nx-a: one\r\n two\r\n\r\n"),
            "HV00K",
            "",
        ),
        ("an endless status line", endless("HTTP/1.1 200 ", "x"), "HV00K", ""),
        ("garbage", bytes("\x16\x03\x01 this is not HTTP\r\n\r\n"), "HV00K", ""),
        ("endless garbage", endless("\0", "\x07"), "HV00K", ""),
        ("a reply as in HTTP/0.9", bytes(RECORD), "HV00K", ""),
        ("HTTP/9.9", bytes(format!("HTTP/9.9 200 OK\r\ncontent-length: {length}\r\n\r\n{RECORD}")), "HV00K", ""),
        ("a status that is no number", bytes("HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\n{}"), "HV00K", ""),
        ("a status of 000", bytes("HTTP/1.1 000 OK\r\ncontent-length: 2\r\n\r\n{}"), "HV00K", ""),
        ("interim replies for ever", endless("", "HTTP/1.1 102 Processing\r\n\r\n"), "HV00K", ""),
        (
            "another protocol",
            bytes("HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n"),
            "HV00K",
            "HTTP status 101",
        ),
        (
            "a length that is too long",
            bytes(head(&format!("content-length: {}\r\n", length + 1)) + RECORD),
            "HV00M",
            "cut off",
        ),
        (
            "a length that is too short",
            bytes(head(&format!("content-length: {}\r\n", length - 1)) + RECORD),
            "HV00M",
            "incomplete JSON",
        ),
        (
            "two lengths that differ",
            bytes(head(&format!("content-length: {length}\r\ncontent-length: 2\r\n")) + RECORD),
            "HV00K",
            "content-length",
        ),
        ("a negative length", bytes(head("content-length: -1\r\n") + RECORD), "HV00K", "content-length"),
        ("no body", bytes("HTTP/1.1 204 No Content\r\n\r\n"), "HV00K", "empty"),
        ("an empty body", bytes(raw::reply(200, "")), "HV00K", "empty"),
        (
            "not UTF-8",
            bytes(head("content-length: 4\r\n").into_bytes().into_iter().chain(*b"\"\xff\xfe\"").collect::<Vec<_>>()),
            "HV00K",
            "not UTF-8",
        ),
        ("JSON without records", bytes(raw::reply(200, r#"{"ok": true}"#)), "HV00K", "records"),
        ("records that are none", bytes(raw::reply(200, r#"{"records": 3}"#)), "HV00K", "records"),
        ("no end of arrays", bytes(raw::reply(200, &"[".repeat(500_000))), "HV00K", ""),
    ]
}

/// Replies that end only with the request's timeout.
pub fn timed(milliseconds: u32) -> Vec<Case> {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    const TRAILERS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n";
    // The table lives as long as the test.
    let no_reply: &'static str = format!("did not reply within {milliseconds} ms").leak();
    vec![
        ("a trickle of headers", trickle("HTTP/1.1 200 OK\r\nx-long: ", "x"), "HV00K", no_reply),
        ("a trickle of interim replies", trickle("", "HTTP/1.1 100 Continue\r\n\r\n"), "HV00K", no_reply),
        // More than trickles in that time.
        ("a trickle of a body", trickle("HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n", " "), "HV00K", "timed out"),
        ("a trickle of chunks", trickle(CHUNKED, "1\r\n \r\n"), "HV00K", "timed out"),
        ("a trickle of trailers", trickle(TRAILERS, "a: b\r\n"), "HV00K", "timed out"),
        ("endless trailers", endless(TRAILERS, "a: b\r\n"), "HV00K", "timed out"),
        ("a trickle of a refusal", trickle("HTTP/1.1 400 X\r\n\r\n", "e"), "HV024", "HTTP status 400"),
    ]
}
