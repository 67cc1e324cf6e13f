//! Removes the token from texts that an API returns, in any usual spelling.
//!
//! A body may hold truncated JSON, a URL or an HTML page, in which the token is escaped for JSON, percent-encoded, or written
//! with HTML entities. Two kinds of characters are not compared:
//! - Backslashes. One may be an escape or a part of the token; which of the two depends on how often the text was quoted.
//! - Characters that a terminal does not show. Between them a reader would still see the whole token.

use std::borrow::Cow;

const REDACTED: &str = "[redacted]";

/// The longest usual spelling of one character, in bytes, such as `\u002f` or `&#x002f;`.
pub const LONGEST_UNIT: usize = 8;

/// The HTML entities for ASCII characters.
const NAMES: &[(&[u8], u8)] = &[
    (b"quot", b'"'),
    (b"QUOT", b'"'),
    (b"apos", b'\''),
    (b"amp", b'&'),
    (b"AMP", b'&'),
    (b"lt", b'<'),
    (b"LT", b'<'),
    (b"gt", b'>'),
    (b"GT", b'>'),
    (b"excl", b'!'),
    (b"num", b'#'),
    (b"dollar", b'$'),
    (b"percnt", b'%'),
    (b"lpar", b'('),
    (b"rpar", b')'),
    (b"ast", b'*'),
    (b"midast", b'*'),
    (b"plus", b'+'),
    (b"comma", b','),
    (b"period", b'.'),
    (b"sol", b'/'),
    (b"colon", b':'),
    (b"semi", b';'),
    (b"equals", b'='),
    (b"quest", b'?'),
    (b"commat", b'@'),
    (b"lsqb", b'['),
    (b"lbrack", b'['),
    (b"bsol", b'\\'),
    (b"rsqb", b']'),
    (b"rbrack", b']'),
    (b"Hat", b'^'),
    (b"lowbar", b'_'),
    (b"UnderBar", b'_'),
    (b"grave", b'`'),
    (b"DiacriticalGrave", b'`'),
    (b"lcub", b'{'),
    (b"lbrace", b'{'),
    (b"verbar", b'|'),
    (b"vert", b'|'),
    (b"VerticalLine", b'|'),
    (b"rcub", b'}'),
    (b"rbrace", b'}'),
];

/// The HTML entities for characters that a terminal does not show.
const NAMES_NOT_SHOWN: &[&[u8]] = &[
    b"shy",
    b"zwj",
    b"zwnj",
    b"lrm",
    b"rlm",
    b"ZeroWidthSpace",
    b"NoBreak",
    b"NegativeVeryThinSpace",
    b"NegativeThinSpace",
    b"NegativeMediumSpace",
    b"NegativeThickSpace",
];

/// `text` with each occurrence of `secret` replaced by `[redacted]`. An empty secret never occurs.
pub fn redact<'a>(text: &'a str, secret: &str) -> Cow<'a, str> {
    scan(text, secret, true)
}

/// Like [`redact`], for the beginning of a longer text. If `text` ends within the secret, that part is removed too.
pub fn redact_beginning<'a>(text: &'a str, secret: &str) -> Cow<'a, str> {
    scan(text, secret, false)
}

fn scan<'a>(text: &'a str, secret: &str, is_whole: bool) -> Cow<'a, str> {
    let needle: String = secret.chars().filter(|c| *c != '\\' && !is_not_compared(*c)).collect();
    let needle = needle.as_bytes();
    let Some(&first) = needle.first() else {
        // Every character of the secret is skipped by the comparison, so search for its plain spelling alone.
        return if secret.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(text.replace(secret, REDACTED)) };
    };
    let bytes = text.as_bytes();
    let (mut out, mut kept, mut at) = (String::new(), 0, 0);
    while at < bytes.len() {
        let can_begin = bytes[at] == first || matches!(bytes[at], b'\\' | b'%' | b'&');
        match if can_begin { find(&bytes[at..], needle) } else { SecretMatch::None } {
            SecretMatch::Whole(length) => {
                out.push_str(&text[kept..at]);
                out.push_str(REDACTED);
                at += length;
                if secret.ends_with('\\') {
                    at += backslashes(&bytes[at..]);
                }
                kept = at;
            }
            SecretMatch::Beginning if !is_whole => {
                out.push_str(&text[kept..at]);
                return Cow::Owned(out);
            }
            SecretMatch::Beginning | SecretMatch::None => {
                // Skips a whole run of characters that are not compared: all of them lead to the same comparison.
                let run = if bytes[at] == first { 0 } else { ignored(&bytes[at..]) };
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

/// How much of the secret a text begins with. The order of the variants matters: the longest match wins.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SecretMatch {
    None,
    /// The text ends within the secret.
    Beginning,
    /// The whole secret, spelled in this many bytes.
    Whole(usize),
}

impl SecretMatch {
    fn moved(self, by: usize) -> SecretMatch {
        match self {
            SecretMatch::Whole(length) => SecretMatch::Whole(length + by),
            other => other,
        }
    }
}

/// Whether `text` begins with `needle` in any spelling. `needle` has no backslashes.
fn find(text: &[u8], needle: &[u8]) -> SecretMatch {
    let (mut at, mut matched) = (0, 0);
    while let Some(&wanted) = needle.get(matched) {
        at += backslashes(&text[at..]);
        let rest = &text[at..];
        let is_escaped = at > 0 && text[at - 1] == b'\\';
        let is_plain = rest.first() == Some(&wanted);
        let spelled = spelled(rest, is_escaped).filter(|(byte, _)| *byte == wanted);
        let is_cut = rest.is_empty() || is_cut_spelling(rest, is_escaped) && spelled.is_none();
        let further = |step: usize| find(&rest[step..], &needle[matched + 1..]).moved(at + step);
        let run = not_compared(rest, is_escaped);
        if run > 0 && !is_plain {
            at += run;
            continue;
        }
        if run > 0 {
            // `%0a` can be an encoded newline, or three characters of the token.
            let behind = find(&rest[run..], &needle[matched..]).moved(at + run);
            return behind.max(further(1));
        }
        match (is_plain, spelled) {
            // `%25` can be a percent sign, or three characters of the token. The longer match shows less of the secret.
            (true, Some((_, length))) => return further(length).max(further(1)),
            (true, None) if is_cut => return further(1).max(SecretMatch::Beginning),
            (true, None) => at += 1,
            (false, Some((_, length))) => at += length,
            (false, None) if is_cut => return SecretMatch::Beginning,
            (false, None) => return SecretMatch::None,
        }
        matched += 1;
    }
    SecretMatch::Whole(at)
}

/// The length of the run of backslashes at the beginning of `text`, in any spelling.
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

/// The character that an escape at the beginning of `text` spells, and the escape's length. `u` and `x` are escapes only
/// after a backslash: `is_escaped`.
fn spelled(text: &[u8], is_escaped: bool) -> Option<(u8, usize)> {
    match text.first()? {
        b'u' if is_escaped => text.get(1..5).and_then(hexadecimal).map(|byte| (byte, 5)),
        b'x' if is_escaped => text.get(1..3).and_then(hexadecimal).map(|byte| (byte, 3)),
        b'%' => text.get(1..3).and_then(hexadecimal).map(|byte| (byte, 3)),
        b'&' => {
            let (entity, length) = entity(text)?;
            match entity {
                [b'#', ..] => Some((numbered(entity)?.try_into().ok()?, length)),
                name => NAMES.iter().find(|(other, _)| *other == name).map(|(_, byte)| (*byte, length)),
            }
        }
        _ => None,
    }
}

/// The name or number of the HTML entity at the beginning of `text`, and the entity's length. `text` begins with `&`. A
/// numeric entity may lack its `;`.
fn entity(text: &[u8]) -> Option<(&[u8], usize)> {
    let name = entity_letters(&text[1..]);
    match text.get(name.len() + 1) {
        Some(b';') => Some((name, name.len() + 2)),
        Some(_) if name.starts_with(b"#") => Some((name, name.len() + 1)),
        _ => None,
    }
}

fn entity_letters(text: &[u8]) -> &[u8] {
    let digits =
        |from: usize, is_digit: fn(&u8) -> bool| from + text[from..].iter().take_while(|b| is_digit(b)).count();
    let length = match text {
        [b'#', b'x' | b'X', ..] => digits(2, u8::is_ascii_hexdigit),
        [b'#', ..] => digits(1, u8::is_ascii_digit),
        _ => digits(0, u8::is_ascii_alphanumeric).min(LONGEST_NAME),
    };
    &text[..length]
}

/// Long enough for `NegativeMediumSpace`, the longest name in the tables.
const LONGEST_NAME: usize = 24;

/// The code point of a numeric entity: `#47`, `#0047`, `#x2f`.
fn numbered(entity: &[u8]) -> Option<u32> {
    let (digits, radix) = match entity {
        [b'#', b'x' | b'X', digits @ ..] => (digits, 16),
        [b'#', digits @ ..] => (digits, 10),
        _ => return None,
    };
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    match (digits.len(), &digits[zeros..]) {
        (0, _) => None,
        (_, []) => Some(0),
        (_, digits) => u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok(),
    }
}

/// Whether `text` ends within an escape that it begins with.
fn is_cut_spelling(text: &[u8], is_escaped: bool) -> bool {
    match text[0] {
        b'&' => entity_letters(&text[1..]).len() + 1 == text.len(),
        // A UTF-8 character takes up to four percent escapes of three bytes each.
        b'%' => text.len() < 12,
        _ if is_escaped => text.len() < LONGEST_UNIT,
        _ => false,
    }
}

/// Whether the comparison skips a character. The replacement character stands for bytes that were not UTF-8, such as a
/// soft hyphen in Latin-1.
fn is_not_compared(c: char) -> bool {
    super::is_not_shown(c) || c == char::REPLACEMENT_CHARACTER
}

/// The length of the run of skipped characters at the beginning of `text`, in any spelling, without backslashes.
fn not_compared(text: &[u8], is_escaped: bool) -> usize {
    let mut at = 0;
    loop {
        let length = one_not_compared(&text[at..], if at == 0 { is_escaped } else { text[at - 1] == b'\\' });
        match length {
            Some(length) => at += length,
            None => return at,
        }
    }
}

/// Like [`not_compared`], with backslashes.
fn ignored(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let is_escaped = at > 0 && text[at - 1] == b'\\';
        let backslashes = backslashes(&text[at..]);
        let length = if backslashes > 0 { backslashes } else { not_compared(&text[at..], is_escaped) };
        if length == 0 {
            return at;
        }
        at += length;
    }
}

fn one_not_compared(text: &[u8], is_escaped: bool) -> Option<usize> {
    let is_ignored = |code: u32| char::from_u32(code).is_some_and(is_not_compared);
    match *text.first()? {
        b'u' if is_escaped => {
            let (unit, rest) = code_unit(text)?;
            let backslashes = rest.iter().take_while(|byte| **byte == b'\\').count();
            let second = (backslashes > 0).then(|| code_unit(&rest[backslashes..])).flatten();
            match second {
                Some((second, _)) if (0xD800..0xDC00).contains(&unit) && (0xDC00..0xE000).contains(&second) => {
                    let code = 0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00);
                    is_ignored(code).then_some(10 + backslashes)
                }
                // Half of a surrogate pair is not shown, like the replacement character.
                _ => (is_ignored(unit) || (0xD800..0xE000).contains(&unit)).then_some(5),
            }
        }
        b'x' if is_escaped => hexadecimal(text.get(1..3)?).filter(|byte| is_ignored((*byte).into())).map(|_| 3),
        b'%' => {
            let mut bytes = [0; 4];
            let mut count = 0;
            for (byte, unit) in bytes.iter_mut().zip(text.chunks_exact(3)) {
                let Some(value) = unit.strip_prefix(b"%").and_then(hexadecimal) else { break };
                *byte = value;
                count += 1;
            }
            let length = (1..=count).find(|length| std::str::from_utf8(&bytes[..*length]).is_ok())?;
            let c = std::str::from_utf8(&bytes[..length]).ok()?.chars().next()?;
            is_not_compared(c).then_some(3 * length)
        }
        b'&' => {
            let (entity, length) = entity(text)?;
            let is_it = numbered(entity).map_or_else(|| NAMES_NOT_SHOWN.contains(&entity), is_ignored);
            is_it.then_some(length)
        }
        byte if byte < 0x80 => is_ignored(byte.into()).then_some(1),
        _ => {
            let length = (2..=text.len().min(4)).find(|length| std::str::from_utf8(&text[..*length]).is_ok())?;
            let c = std::str::from_utf8(&text[..length]).ok()?.chars().next()?;
            is_not_compared(c).then_some(length)
        }
    }
}

/// The code unit of `uXXXX`, and the text after it.
fn code_unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (unit, rest) = text.strip_prefix(b"u")?.split_at_checked(4)?;
    let is_number = unit.iter().all(u8::is_ascii_hexdigit);
    let value = u32::from_str_radix(std::str::from_utf8(unit).ok()?, 16).ok()?;
    is_number.then_some((value, rest))
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let is_number = digits.iter().all(u8::is_ascii_hexdigit);
    let value = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    if is_number { value.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests;
