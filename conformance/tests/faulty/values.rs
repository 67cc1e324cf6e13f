//! Faults in numbers and texts.

use super::each_is_found;
use crate::proxy::{Fault, Request};

#[test]
fn of_numbers_and_texts_are_found() {
    let rounded = |request: &Request| {
        let rounded = request.text().replace("9007199254740993", "9007199254740992");
        request.with_body(if rounded.is_empty() { request.body.clone() } else { rounded.into() })
    };
    let trimmed = |request: &Request| match request.text().contains("漢") {
        true => request.with_body(request.text().replace("\u{301} \"", "\u{301}\"").into_bytes()),
        false => request.clone(),
    };
    let no_emoji = |request: &Request| match request.text().contains("漢") {
        true => request.with_body(request.text().replace('😀', "?").into_bytes()),
        false => request.clone(),
    };
    each_is_found(
        vec![
            ("numbers are floats", Fault::request(rounded), &["numbers"]),
            (
                "zeros behind the point are lost",
                Fault::request(|request| match request.text().contains("1e400") {
                    true => request.with_body(request.text().replace("1.10", "1.1")),
                    false => request.clone(),
                }),
                &["numbers"],
            ),
            ("texts are trimmed", Fault::request(trimmed), &["text"]),
            ("texts are without emoji", Fault::request(no_emoji), &["text"]),
        ],
        &[],
    );
}
