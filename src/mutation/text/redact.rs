//! Taking the token out of what an API says, also where it is spelled otherwise.
//!
//! A body that is not JSON may still hold JSON that was cut off, a url, or a proxy's page: there the token stands as
//! JSON, percent signs or HTML write it. A backslash is an escape or a part of the token, and which of the two depends
//! on how often the text was quoted; so backslashes are not compared at all.

use std::borrow::Cow;

const REDACTED: &str = "[redacted]";

/// The longest spelling of one character, as in `\u002f` or `&#x002f;`.
pub const LONGEST_UNIT: usize = 8;

/// `text` without `secret`. An empty secret is none.
pub fn redact<'a>(text: &'a str, secret: &str) -> Cow<'a, str> {
    scan(text, secret, true)
}

/// The same for the beginning of a longer text, which may end in the middle of the secret.
pub fn redact_beginning<'a>(text: &'a str, secret: &str) -> Cow<'a, str> {
    scan(text, secret, false)
}

fn scan<'a>(text: &'a str, secret: &str, is_whole: bool) -> Cow<'a, str> {
    let needle: Vec<u8> = secret.bytes().filter(|byte| *byte != b'\\').collect();
    let Some(&first) = needle.first() else {
        // Nothing but backslashes, or nothing.
        return if secret.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(text.replace(secret, REDACTED)) };
    };
    let bytes = text.as_bytes();
    let (mut out, mut kept, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        let can_begin = bytes[at] == first || matches!(bytes[at], b'\\' | b'%' | b'&');
        match if can_begin { find(&bytes[at..], &needle) } else { Found::Not } {
            Found::Whole(length) => {
                out.push_str(&text[kept..at]);
                out.push_str(REDACTED);
                at += length;
                if secret.ends_with('\\') {
                    at += backslashes(&bytes[at..]);
                }
                kept = at;
            }
            Found::Beginning if !is_whole => {
                out.push_str(&text[kept..at]);
                return Cow::Owned(out);
            }
            Found::Beginning | Found::Not => {
                // What was not found behind the first of some backslashes is not behind the others.
                let run = bytes[at..].iter().take_while(|byte| **byte == b'\\').count();
                at += run.max(1);
            }
        }
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// From the least to the most.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Not,
    /// The text ends before it does.
    Beginning,
    /// All of it, in so many bytes.
    Whole(usize),
}

impl Found {
    fn moved(self, by: usize) -> Found {
        match self {
            Found::Whole(length) => Found::Whole(length + by),
            other => other,
        }
    }
}

/// Whether `text` begins with `needle`, which has no backslashes, in any spelling.
fn find(text: &[u8], needle: &[u8]) -> Found {
    let (mut at, mut matched) = (0, 0);
    while let Some(&wanted) = needle.get(matched) {
        at += backslashes(&text[at..]);
        let rest = &text[at..];
        let is_escaped = at > 0 && text[at - 1] == b'\\';
        let is_plain = rest.first() == Some(&wanted);
        let spelled = spelled(rest, is_escaped).filter(|(byte, _)| *byte == wanted);
        let is_cut = rest.is_empty()
            || rest.len() < LONGEST_UNIT && (is_escaped || matches!(rest[0], b'%' | b'&')) && spelled.is_none();
        let further = |step: usize| find(&rest[step..], &needle[matched + 1..]).moved(at + step);
        match (is_plain, spelled) {
            // `%25` can be a percent sign, or the three characters. The longer reading leaves less of the secret.
            (true, Some((_, length))) => return further(length).max(further(1)),
            (true, None) if is_cut => return further(1).max(Found::Beginning),
            (true, None) => at += 1,
            (false, Some((_, length))) => at += length,
            (false, None) if is_cut => return Found::Beginning,
            (false, None) => return Found::Not,
        }
        matched += 1;
    }
    Found::Whole(at)
}

/// The length of the backslashes that `text` begins with, in any spelling.
fn backslashes(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let is_escaped = at > 0 && text[at - 1] == b'\\';
        match spelled(&text[at..], is_escaped) {
            Some((b'\\', length)) => at += length,
            _ if text.get(at) == Some(&b'\\') => at += 1,
            _ => return at,
        }
    }
}

/// The character that `text` begins to spell, and the length of the spelling. A `u` counts only behind a backslash.
fn spelled(text: &[u8], is_escaped: bool) -> Option<(u8, usize)> {
    match text.first()? {
        b'u' if is_escaped => text.get(1..5).and_then(hexadecimal).map(|byte| (byte, 5)),
        b'x' if is_escaped => text.get(1..3).and_then(hexadecimal).map(|byte| (byte, 3)),
        b'%' => text.get(1..3).and_then(hexadecimal).map(|byte| (byte, 3)),
        b'&' => {
            let end = text.iter().take(LONGEST_UNIT).position(|byte| *byte == b';')?;
            let byte = match &text[1..end] {
                b"quot" => b'"',
                b"apos" => b'\'',
                b"amp" => b'&',
                b"lt" => b'<',
                b"gt" => b'>',
                [b'#', b'x' | b'X', digits @ ..] => hexadecimal(digits)?,
                [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok()?,
                _ => return None,
            };
            Some((byte, end + 1))
        }
        _ => None,
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let is_number = digits.iter().all(u8::is_ascii_hexdigit);
    let value = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    if is_number { value.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests;
