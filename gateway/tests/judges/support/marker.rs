//! The mark of one mutation, a text in its data: by it the requests and records of the mutation are recognised.

/// Marks look like `mark-1-27-`. The last hyphen tells it from `mark-1-271-`.
const PREFIX: &str = "mark-";

/// The mark of a worker's mutation.
pub fn mark(worker: u64, number: u64) -> String {
    format!("{PREFIX}{worker}-{number}-")
}

/// The mark in a request's body or a record.
pub fn within(text: &str) -> Option<&str> {
    let start = text.find(PREFIX)?;
    let rest = &text[start + PREFIX.len()..];
    let length = rest.find(|byte: char| !byte.is_ascii_digit() && byte != '-').unwrap_or(rest.len());
    Some(&text[start..start + PREFIX.len() + length])
}

#[test]
fn a_mark_is_found_in_json_and_in_a_form() {
    assert_eq!(within(&format!(r#"{{"m":"{}"}}"#, mark(1, 27))), Some("mark-1-27-"));
    assert_eq!(within(&format!("a=b&m={}&c=d", mark(1, 27))), Some("mark-1-27-"));
    assert_eq!(within("nothing"), None);
}
