//! JSON text without values: a cursor that cuts a text into its parts, and the two checks that serde_json makes for us.
//!
//! serde_json judges, the cursor cuts. A value tree would change numbers (`1.10`, twenty digits), stop at a depth of
//! 128 and cost three times the text in memory; serde's visitors push, whereas rows are made one at a time and so must
//! be pulled. The cursor needs text that is known to be valid JSON: the database's own jsonb, or what [`fields`] has
//! passed. Given anything else it still ends, and never panics, but what it returns means nothing.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A position in JSON text.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    /// The next byte that is not white space, which stays where it is; `None` at the end.
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

    /// Steps into the array or object that starts here.
    #[inline]
    pub fn enter(&mut self) {
        if matches!(self.peek(), Some(b'{' | b'[')) {
            self.at += 1;
        }
    }

    /// Within an array: goes to the next element. `false` when there is none, which also steps out of the array.
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

    /// Within an object: the next key with its quotes, after which the cursor is at its value. `None` when there is
    /// none, which also steps out of the object.
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

    /// Steps over one value of any depth and returns its text.
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

    /// The next token: a bracket, comma or colon, a string with its quotes, or a number or word. `None` at the end.
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
    loop {
        at = quote_or_backslash(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            Some(_) => at += 2,
            None => return bytes.len(),
        }
    }
}

/// The position of the first quote or backslash at or after `at`, or the end. Eight bytes at a time: most of JSON is
/// inside strings, and this is where the time goes.
#[inline]
fn quote_or_backslash(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    // Sets the high bit of each byte that is zero. Bytes after the first such one may be marked wrongly.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;

    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\');
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().position(is_end).map_or(bytes.len(), |offset| at + offset)
}

/// The end of the array or object that opens at `start`. It counts instead of recursing: depth costs nothing.
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

/// What kind of value a text is, with its article, for messages: `an object`, `null`.
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

/// The content of a string value, or `None` if `value` is not a string or holds half of a surrogate pair, which no
/// text can hold.
#[inline]
pub fn unquote(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.as_bytes().contains(&b'\\') {
        serde_json::from_str(value).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// A key with its quotes in its plain spelling: JSON may write `id` as `\u0069d`.
#[inline]
pub fn plain_key(key: &str) -> Cow<'_, str> {
    if !key.as_bytes().contains(&b'\\') {
        return Cow::Borrowed(key);
    }
    unquote(key).map_or(Cow::Borrowed(key), |name| Cow::Owned(format!("\"{name}\"")))
}

/// Whether jsonb and text can hold every string in `value`: no `\u0000` and no half of a surrogate pair.
pub fn is_storable(value: &str) -> bool {
    // As a rule there is no such escape, and to find that out is quicker than to look at each backslash.
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

/// Whether no string in `value` has an escape of a character beyond ASCII, which other encodings than UTF-8 may not have.
pub fn escapes_are_ascii(value: &str) -> bool {
    escapes(value).all(|(_, unit)| unit < 0x80)
}

/// Where each `\uXXXX` in `value` is, and its number.
fn escapes(value: &str) -> impl Iterator<Item = (usize, u16)> {
    // Valid JSON has backslashes within strings only, so strings need not be told from the rest.
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

/// The number of the escape `\uXXXX` at `at`; `None` if something else is there.
fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Writes `text` as a JSON string.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to a vector cannot fail");
}

/// Checks that `text` is one JSON object and nothing else, and returns the values of the fields with these names.
///
/// It reads the text once, keeps nothing but slices, and has no depth limit. Of several equal keys the last wins.
pub fn fields<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Result<[Option<&'a str>; N], serde_json::Error> {
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

/// Checks that `text` is one JSON value and nothing else.
pub fn is_valid(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests;
