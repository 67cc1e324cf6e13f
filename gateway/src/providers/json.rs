//! What a reply says at a JSON pointer, as text: numbers keep every digit, and depth is not limited.
//!
//! Of repeated keys the last one counts, as in Postgres' jsonb.

use std::borrow::Cow;
use std::str::FromStr;

use mutation_api::json::{Fields, Text};
use serde_json::value::RawValue;

/// The longest id that is taken from a reply, in bytes.
const MAX_ID: usize = 1_024;

/// A JSON pointer (RFC 6901), read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(pub Vec<String>);

impl FromStr for Pointer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Pointer, Self::Err> {
        if text.is_empty() {
            return Ok(Pointer(Vec::new()));
        }
        let rest = text.strip_prefix('/').ok_or("must be empty or begin with a slash")?;
        rest.split('/').map(step).collect::<Option<_>>().map(Pointer).ok_or("may have ~ only in ~0 and ~1")
    }
}

/// One step of a pointer, without its escapes.
fn step(text: &str) -> Option<String> {
    let mut parts = text.split('~');
    let mut step = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = match part.as_bytes().first()? {
            b'0' => ('~', &part[1..]),
            b'1' => ('/', &part[1..]),
            _ => return None,
        };
        step.push(escaped);
        step.push_str(rest);
    }
    Some(step)
}

/// The value of a body that is one JSON text. None: it is something else.
pub fn document(body: &[u8]) -> Option<&RawValue> {
    let text = str::from_utf8(body).ok()?;
    serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()
}

/// The value at a pointer. None: there is none.
pub fn at<'a>(value: &'a RawValue, pointer: &Pointer) -> Option<&'a RawValue> {
    pointer.0.iter().try_fold(value, |value, step| child(value, step))
}

/// The member or the element of this name.
pub fn child<'a>(value: &'a RawValue, step: &str) -> Option<&'a RawValue> {
    if let Some(fields) = Fields::parse(value) {
        return fields.get(step);
    }
    let is_index = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    let index: usize = step.parse().ok().filter(|_| is_index)?;
    elements(value)?.into_iter().nth(index)
}

/// The elements of an array. None: it is no array.
pub fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok().filter(|_| value.get().starts_with('['))
}

/// The text of a string. None: it is no string, or has half of a surrogate pair.
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(value.get()).ok().map(|text: Text| text.0)
}

/// Whether the value is a number.
pub fn is_number(value: &RawValue) -> bool {
    value.get().starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// An id: a string, or a number as it is written. None: the value cannot name a record.
pub fn id(value: &RawValue) -> Option<String> {
    let id = if is_number(value) { value.get().into() } else { text(value)? };
    valid_id(&id).then(|| id.into_owned())
}

/// Whether a text can name a record: not empty, not huge, no control character.
pub fn valid_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_ID && !id.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        document(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_pointer_finds_what_rfc_6901_says() {
        let json = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"m~n":8," ":7,"k\"l":6,"\u00e9":9,"x":1,"x":1.50}"#;
        for (pointer, want) in [
            ("", Some(json)),
            ("/foo", Some(r#"["bar","baz"]"#)),
            ("/foo/0", Some(r#""bar""#)),
            ("/foo/1", Some(r#""baz""#)),
            ("/foo/2", None),
            ("/foo/01", None),
            ("/foo/-", None),
            ("/foo/+1", None),
            ("/foo/", None),
            ("/", Some("0")),
            ("/a~1b", Some("1")),
            ("/c%d", Some("2")),
            ("/m~0n", Some("8")),
            ("/ ", Some("7")),
            ("/k\"l", Some("6")),
            ("/é", Some("9")),
            ("/x", Some("1.50")),
            ("/x/y", None),
            ("/nothing", None),
        ] {
            let pointer: Pointer = pointer.parse().unwrap();
            assert_eq!(at(raw(json), &pointer).map(RawValue::get), want, "{pointer:?}");
        }
        for wrong in ["a", "/~", "/~2", "/a~", " /a"] {
            assert!(wrong.parse::<Pointer>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_is_text_or_a_number_digit_for_digit() {
        for (json, want) in [
            (r#""a b""#, Some("a b")),
            (r#""\u0041""#, Some("A")),
            ("12345678901234567890123", Some("12345678901234567890123")),
            ("1.50", Some("1.50")),
            ("-7", Some("-7")),
            (r#""""#, None),
            (r#""a\u0000""#, None),
            (r#""\ud800""#, None),
            ("null", None),
            ("true", None),
            ("[1]", None),
            (r#"{"id":1}"#, None),
        ] {
            assert_eq!(id(raw(json)).as_deref(), want, "{json}");
        }
        assert_eq!(id(raw(&format!("\"{}\"", "x".repeat(MAX_ID)))).map(|id| id.len()), Some(MAX_ID));
        assert_eq!(id(raw(&format!("\"{}\"", "x".repeat(MAX_ID + 1)))), None);
    }

    #[test]
    fn depth_is_not_limited() {
        let deep = format!(r#"{{"a":[{}1{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let pointer: Pointer = "/a/0/0/0".parse().unwrap();
        assert_eq!(at(raw(&deep), &pointer).unwrap().get().len(), 200_001 - 4);
    }
}
