//! JSON as text: serde_json validates it, and a [`Cursor`] cuts it into parts.
//!
//! The extension never builds a tree of values. A tree would change numbers (`1.10`, twenty digits), stop at a depth of
//! 128, and take three times the memory of the text. A serde visitor is called for each value, but rows are returned one
//! at a time, so the reader must be able to stop between records: hence a cursor.
//!
//! The cursor needs valid JSON: jsonb that the database printed, or text that [`select_fields`] or [`is_valid`] accepted.
//! On other text it still terminates and never panics, but its results are meaningless.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A position in JSON text.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the beginning of `text`.
    pub fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    /// Skips white space and returns the next byte without consuming it. `None` at the end of the text.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Enters the array or object at the cursor. Does nothing at any other value.
    #[inline]
    pub fn enter(&mut self) {
        if matches!(self.peek(), Some(b'{' | b'[')) {
            self.at += 1;
        }
    }

    /// Within an array: moves to the next element. At the end of the array, leaves it and returns `false`.
    #[inline]
    pub fn next_element(&mut self) -> bool {
        match self.peek() {
            None => false,
            Some(b']' | b'}') => {
                self.at += 1;
                false
            }
            Some(b',') => {
                self.at += 1;
                true
            }
            Some(_) => true,
        }
    }

    /// Within an object: returns the next field name, with its quotes, and moves to the field's value. At the end of the
    /// object, leaves it and returns `None`.
    #[inline]
    pub fn next_key(&mut self) -> Option<&'a str> {
        if !self.next_element() {
            return None;
        }
        let key = self.value();
        if self.peek() == Some(b':') {
            self.at += 1;
        }
        Some(key)
    }

    /// Skips one value of any depth and returns its text.
    #[inline]
    pub fn value(&mut self) -> &'a str {
        let first = self.peek();
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at = match first {
            None => start,
            Some(b'"') => string_end(bytes, start),
            Some(b'{' | b'[') => container_end(bytes, start),
            Some(_) => scalar_end(bytes, start),
        };
        &self.text[start..self.at]
    }

    /// The next token: a bracket, a comma, a colon, a string with its quotes, a number or a word. `None` at the end of the
    /// text.
    pub fn token(&mut self) -> Option<&'a str> {
        match self.peek()? {
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {
                self.at += 1;
                Some(&self.text[self.at - 1..self.at])
            }
            _ => Some(self.value()),
        }
    }
}

/// The end of the string whose opening quote is at `start`.
#[inline]
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(offset) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += offset;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

/// The end of the array or object that opens at `start`. It counts brackets and does not recurse, so depth is unlimited.
fn container_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The end of the number or word that begins at `start`.
#[inline]
fn scalar_end(bytes: &[u8], start: usize) -> usize {
    let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
    bytes[start..].iter().position(is_end).map_or(bytes.len(), |length| start + length)
}

/// The JSON type of `value`, with its article, for messages: `an object`, `null`. An empty text gives `nothing`.
pub fn type_of(value: &str) -> &'static str {
    match value.trim_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(_) => "a number",
        None => "nothing",
    }
}

/// The content of a JSON string: without its quotes, and with its escapes decoded. `None` if `value` is not a string, or
/// has half of a surrogate pair, which UTF-8 cannot encode.
#[inline]
pub fn unquote(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.as_bytes().contains(&b'\\') {
        serde_json::from_str(value).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// A field name with its quotes and with its escapes decoded, to compare names: JSON may spell `id` as `\u0069d`. A name
/// that cannot be decoded is returned as it is.
#[inline]
pub fn plain_key(key: &str) -> Cow<'_, str> {
    if !key.as_bytes().contains(&b'\\') {
        return Cow::Borrowed(key);
    }
    unquote(key).map_or(Cow::Borrowed(key), |name| Cow::Owned(format!("\"{name}\"")))
}

/// Whether jsonb can hold every string in `value`. It cannot hold `\u0000` or half of a surrogate pair.
pub fn is_storable(value: &str) -> bool {
    // Most texts have no such escape, and this search is faster than a visit to each backslash.
    if !value.contains("\\u") {
        return true;
    }
    let mut escapes = escapes(value);
    while let Some((at, unit)) = escapes.next() {
        let is_whole = match unit {
            0 | 0xDC00..=0xDFFF => false,
            0xD800..=0xDBFF => matches!(escapes.next(), Some((next, 0xDC00..=0xDFFF)) if next == at + 6),
            _ => true,
        };
        if !is_whole {
            return false;
        }
    }
    true
}

/// Whether every `\uXXXX` escape in `value` is ASCII. A database encoding other than UTF-8 may lack other characters.
pub fn escapes_are_ascii(value: &str) -> bool {
    escapes(value).all(|(_, unit)| unit < 0x80)
}

/// The byte offset and the code unit of each `\uXXXX` in `value`.
fn escapes(value: &str) -> impl Iterator<Item = (usize, u16)> {
    // Valid JSON has backslashes only within strings, so there is no need to track where strings begin.
    let bytes = value.as_bytes();
    let mut end = 0;
    std::iter::from_fn(move || {
        loop {
            let at = end + bytes.get(end..)?.iter().position(|&byte| byte == b'\\')?;
            let unit = code_unit(bytes, at);
            end = at + if unit.is_some() { 6 } else { 2 };
            if let Some(unit) = unit {
                return Some((at, unit));
            }
        }
    })
}

/// The code unit of the escape `\uXXXX` at `at`. `None` if there is no such escape.
fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Appends `text` to `out` as a JSON string, with quotes.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to a vector cannot fail");
}

/// Checks that `text` is exactly one JSON object, and returns the values of the named fields as text.
///
/// It reads the text once, allocates no values, and has no depth limit. Of several equal names the last one wins. The
/// error is serde_json's; its text may repeat parts of `text`.
pub fn select_fields<'a, const N: usize>(
    text: &'a str,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = deserializer.deserialize_map(FieldsVisitor { names })?;
    deserializer.end()?;
    Ok(found)
}

struct FieldsVisitor<'n, const N: usize> {
    names: [&'n str; N],
}

impl<'de, const N: usize> Visitor<'de> for FieldsVisitor<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(key) = map.next_key::<String>()? {
            match self.names.iter().position(|name| *name == key) {
                Some(index) => found[index] = Some(map.next_value::<&RawValue>()?.get()),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Whether `text` is exactly one JSON value.
pub fn is_valid(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests;
