//! Makes foreign text safe for a message: without the token, without hidden characters, and of limited length.
//!
//! Error texts reach logs and terminals. A newline forges a log line, an ESC moves the cursor, and a bidirectional override
//! reverses a line. An API that echoes the request's headers echoes the token.

mod redact;

use std::borrow::Cow;
use std::fmt::Write as _;

pub use redact::redact;

/// The longest message copied from an API, in characters.
pub const MESSAGE_CHARS: usize = 1_000;
/// The longest excerpt of a body that is not an error in the API's format, in characters.
pub const EXCERPT_CHARS: usize = 200;
/// The longest name (of a server, a collection, a JSON field) that a message repeats, in characters.
pub const NAME_CHARS: usize = 60;

/// Whether a character is invisible, or changes how a terminal shows its neighbours. Joiners are not hidden.
pub fn is_hidden(c: char) -> bool {
    is_not_shown(c) && !is_joiner(c)
}

/// Zero-width joiners are parts of emojis and of Persian words, so messages keep them.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}')
}

/// Unicode's Default_Ignorable_Code_Point property, line and paragraph separators, bidirectional controls, and control
/// characters.
fn is_not_shown(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// `text` with hidden characters escaped as in JSON. A longer text is cut to `limit` characters and ends in `…`.
pub fn printable(text: &str, limit: usize) -> String {
    // The fast path for most names. Every call makes one printable.
    if text.len() <= limit && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len().min(4 * limit));
    let mut length = 0;
    // Where to cut a text that turns out too long: it leaves room for the `…`.
    let mut cut = 0;
    for c in text.chars() {
        let start = out.len();
        if is_hidden(c) {
            push_escaped(&mut out, c);
            length += out.len() - start;
        } else {
            out.push(c);
            length += 1;
        }
        if length > limit {
            out.truncate(cut);
            out.push('…');
            return out;
        }
        if length < limit {
            cut = out.len();
        }
    }
    out
}

/// Appends one character as a JSON escape: `\n`, `\r`, `\t` or `\uXXXX`.
pub fn push_escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("writing to a string cannot fail");
            }
        }
    }
}

/// A text of any length, fit for a message: `secret` is redacted, hidden characters are escaped, and at most
/// [`MESSAGE_CHARS`] characters remain.
pub fn sanitize(text: &str, secret: &str) -> String {
    let beginning = &text[..text.floor_char_boundary(window(secret))];
    printable(&without(secret, beginning, beginning.len() < text.len()), MESSAGE_CHARS)
}

/// How many bytes of a text are read. A body may have 64 MiB, and a search for the secret is slow. This many bytes hold a
/// whole message of four-byte characters and one secret.
fn window(secret: &str) -> usize {
    4 * MESSAGE_CHARS + secret.len() * redact::LONGEST_UNIT
}

/// `text` without the secret. A text that was cut may end within the secret: then its first part is removed too.
fn without<'a>(secret: &str, text: &'a str, is_cut: bool) -> Cow<'a, str> {
    if is_cut { redact::redact_beginning(text, secret) } else { redact(text, secret) }
}

/// One line from the beginning of any bytes: an HTML page of a proxy, plain text, binary data. `secret` is redacted, and
/// at most [`EXCERPT_CHARS`] characters remain. `None` if only white space is left.
pub fn excerpt(bytes: &[u8], secret: &str) -> Option<String> {
    let window = &bytes[..bytes.len().min(window(secret))];
    let lossy = String::from_utf8_lossy(window);
    let clean = without(secret, &lossy, window.len() < bytes.len());
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then(|| printable(&line, EXCERPT_CHARS))
}

#[cfg(test)]
mod tests;
