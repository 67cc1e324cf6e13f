//! Reads JSON with serde, to check the results of the extension's own cursor.
//!
//! Values stay text, to compare numbers digit by digit. Only [`jsonb`] recurses, up to a limit.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A field: its name, or `None` if UTF-8 cannot encode it, and its value.
pub type Field<'a> = (Option<String>, &'a str);

/// The depth limit of [`jsonb`].
const DEPTH: usize = 100;
/// The most bytes that one comparison reads. It reads each level of a nested text again.
const BUDGET: usize = 8 << 20;

/// The members of an object in order, with repeated names.
struct Members<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// The fields of an object, in order. `None` for another value.
pub fn fields(text: &str) -> Option<Vec<Field<'_>>> {
    let Members(members) = serde_json::from_str(text).ok()?;
    Some(members.into_iter().map(|(name, value)| (string(name.get()), value.get())).collect())
}

/// The elements of an array. `None` for another value.
pub fn elements(text: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// The content of a string. `None` for another value, or for half of a surrogate pair.
pub fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// The value of the last field with this name.
pub fn last<'a>(fields: &[Field<'a>], name: &str) -> Option<&'a str> {
    fields.iter().rev().find(|(other, _)| other.as_deref() == Some(name)).map(|(_, value)| *value)
}

/// Whether `text` is one JSON value.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Whether jsonb can hold every string of a JSON value.
pub fn is_storable(text: &str) -> bool {
    let fits = |text: &str| string(text).is_some_and(|content| !content.contains('\0'));
    let mut open = vec![text];
    let mut read = 0;
    while let Some(text) = open.pop() {
        read += text.len();
        assert!(read < BUDGET, "an input too deep for the oracle");
        match text.as_bytes().first() {
            Some(b'"') if !fits(text) => return false,
            Some(b'[') => open.extend(elements(text).expect("valid")),
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text).expect("valid");
                for (name, value) in members {
                    if !fits(name.get()) {
                        return false;
                    }
                    open.push(value.get());
                }
            }
            _ => {}
        }
    }
    true
}

/// Whether a number of a JSON value has an exponent beyond the range of numeric.
pub fn has_huge_number(text: &str) -> bool {
    let mut open = vec![text];
    while let Some(text) = open.pop() {
        match text.as_bytes().first() {
            Some(b'[') => open.extend(elements(text).expect("valid")),
            Some(b'{') => open.extend(fields(text).expect("valid").into_iter().map(|(_, value)| value)),
            Some(b'-' | b'0'..=b'9') => {
                let exponent = text.split_once(['e', 'E']).map_or(Ok(0), |(_, exponent)| exponent.parse::<i64>());
                if exponent.is_err() || exponent.is_ok_and(|exponent| exponent.abs() > 16_000) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// Whether two JSON texts are the same value, with numbers compared as text. `alike` compares two scalars or two names that
/// differ in spelling.
pub fn same(left: &str, right: &str, alike: impl Fn(&str, &str) -> bool) -> bool {
    let mut open = vec![(left, right)];
    let mut read = 0;
    while let Some((left, right)) = open.pop() {
        read += left.len() + right.len();
        assert!(read < BUDGET, "an input too deep for the oracle");
        match (left.as_bytes().first(), right.as_bytes().first()) {
            (Some(b'['), Some(b'[')) => {
                let (left, right) = (elements(left).expect("valid"), elements(right).expect("valid"));
                if left.len() != right.len() {
                    return false;
                }
                open.extend(left.into_iter().zip(right));
            }
            (Some(b'{'), Some(b'{')) => {
                let Members(left) = serde_json::from_str(left).expect("valid");
                let Members(right) = serde_json::from_str(right).expect("valid");
                if left.len() != right.len() {
                    return false;
                }
                for ((name, value), (other_name, other)) in left.into_iter().zip(right) {
                    if !alike(name.get(), other_name.get()) {
                        return false;
                    }
                    open.push((value.get(), other.get()));
                }
            }
            (Some(b'[' | b'{'), _) | (_, Some(b'[' | b'{')) => return false,
            _ if left == right || alike(left, right) => {}
            _ => return false,
        }
    }
    true
}

/// Whether two JSON texts are strings with the same content.
pub fn same_string(left: &str, right: &str) -> bool {
    left == right || (string(left).is_some() && string(left) == string(right))
}

/// The text as Postgres prints a jsonb, with numbers unchanged. `None` if jsonb cannot hold it.
pub fn jsonb(text: &str) -> Option<String> {
    let text = serde_json::from_str::<&RawValue>(text).ok()?.get();
    let mut out = String::new();
    push_jsonb(&mut out, text, DEPTH)?;
    Some(out)
}

fn push_jsonb(out: &mut String, text: &str, depth: usize) -> Option<()> {
    match text.as_bytes().first()? {
        b'"' => push_string(out, &string(text).filter(|content| !content.contains('\0'))?),
        b'[' => {
            out.push('[');
            for (i, element) in elements(text)?.into_iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                push_jsonb(out, element, depth.checked_sub(1)?)?;
            }
            out.push(']');
        }
        b'{' => {
            // jsonb keeps the last of equal names, and sorts by length first.
            let mut members = BTreeMap::new();
            for (name, value) in fields(text)? {
                let name = name.filter(|name| !name.contains('\0'))?;
                members.insert((name.len(), name), value);
            }
            out.push('{');
            for (i, ((_, name), value)) in members.into_iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                push_string(out, &name);
                out.push_str(": ");
                push_jsonb(out, value, depth.checked_sub(1)?)?;
            }
            out.push('}');
        }
        _ => out.push_str(text),
    }
    Some(())
}

/// Appends a string with the escapes that Postgres prints.
pub fn push_string(out: &mut String, content: &str) {
    out.push('"');
    for c in content.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
