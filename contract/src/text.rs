//! What others wrote, made fit for a message: no secret, no control character, no end to its length.
//!
//! Error texts reach logs and terminals. A newline in one forges a log line, an ESC moves the cursor, a bidirectional
//! override makes a line read backwards, and an API that echoes its request's headers echoes the token.

mod redact;

use std::borrow::Cow;
use std::fmt::Write as _;

pub use redact::redact;

/// The longest message taken from an API, in characters.
pub const MESSAGE_CHARS: usize = 1_000;
/// The longest excerpt of a body that is not the API's own kind of error, in characters.
pub const EXCERPT_CHARS: usize = 200;
/// The longest name (a key, a word) repeated from what somebody wrote, in characters.
pub const NAME_CHARS: usize = 60;

/// Whether a character changes how a log or terminal shows what is around it, or shows nothing itself.
pub fn is_hidden(c: char) -> bool {
    is_not_shown(c) && !is_joiner(c)
}

/// The joiners are part of emojis and of Persian words, and stay in a message.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}')
}

/// Unicode's Default_Ignorable_Code_Point, the separators of lines, and the controls.
fn is_not_shown(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// `text` with its hidden characters escaped as in JSON, cut to `limit` characters of which the last is then `…`.
pub fn printable(text: &str, limit: usize) -> String {
    // Most names, and each call has one.
    if text.len() <= limit && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len().min(4 * limit));
    let mut length = 0;
    // Where to cut if more follows: the last place that leaves room for the `…`.
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

/// Appends one character as JSON escapes it.
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

/// What a message says of a text of any length.
pub fn message(text: &str, secret: &str) -> String {
    let beginning = &text[..text.floor_char_boundary(window(secret))];
    printable(&without(secret, beginning, beginning.len() < text.len()), MESSAGE_CHARS)
}

/// How many bytes are looked at, because a body may be 64 MiB of anything: enough for a message of characters of four
/// bytes, with the secret in it.
fn window(secret: &str) -> usize {
    4 * MESSAGE_CHARS + secret.len() * redact::LONGEST_UNIT
}

/// A secret that was cut in two must not show either.
fn without<'a>(secret: &str, text: &'a str, is_cut: bool) -> Cow<'a, str> {
    if is_cut { redact::redact_beginning(text, secret) } else { redact(text, secret) }
}

/// A single line from the beginning of any bytes: a proxy's HTML page, plain text, binary. `None` if nothing is there
/// to be read.
pub fn excerpt(bytes: &[u8], secret: &str) -> Option<String> {
    let window = &bytes[..bytes.len().min(window(secret))];
    let lossy = String::from_utf8_lossy(window);
    let clean = without(secret, &lossy, window.len() < bytes.len());
    let line = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then(|| printable(&line, EXCERPT_CHARS))
}

#[cfg(test)]
mod tests;
