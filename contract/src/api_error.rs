//! What an API says when it refuses: its text for the message, its `docs` for programs.
//!
//! The body comes from the API or from any proxy in between. Nothing of it is trusted: texts are made printable and
//! cut, the token is taken out also where it is echoed, and JSON is rewritten so that it can stand within other JSON.

use super::json::{self, Cursor};
use super::{reply, text};

/// The longest `docs` that an error carries on, in bytes.
pub const DOCS_BYTES: usize = 16 * 1024;
/// The deepest: more, and a program's cast to jsonb could run out of stack.
const DOCS_DEPTH: usize = 64;
/// How the text of the one error begins that means "applied": only the wait for consumers failed.
const CONSUMERS_TIMED_OUT: &str = "timed out waiting for consumer";

/// The readable parts of an error's body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiError {
    /// The API's own text.
    pub text: Option<String>,
    /// A line from the beginning of a body that is not the API's own form: a proxy's page, other JSON.
    pub excerpt: Option<String>,
    /// JSON text: `docs`, else `validation_errors`.
    pub docs: Option<String>,
    /// There were `docs`, but too long or too deep to carry on.
    pub has_lost_docs: bool,
    /// The text says that the wait for consumers timed out.
    pub consumers_timed_out: bool,
}

impl ApiError {
    /// Reads any body. `token` is the secret that must not show.
    pub fn read(body: &[u8], token: &str) -> ApiError {
        let body = reply::without_mark(body);
        let parts = std::str::from_utf8(body)
            .ok()
            .and_then(|text| json::fields(text, ["error", "docs", "summary", "validation_errors"]).ok());
        let Some([error, docs, summary, validation]) = parts else {
            return ApiError { excerpt: plain_excerpt(body, token), ..ApiError::default() };
        };

        let error = error.and_then(text_of);
        let own_text = error.clone().or_else(|| with_fields(summary.and_then(text_of), validation));
        let docs = [docs, validation].into_iter().flatten().find(|value| *value != "null");
        let tidy_docs = docs.and_then(|docs| tidy(docs, token, DOCS_BYTES));
        ApiError {
            excerpt: if own_text.is_none() { json_excerpt(body, token) } else { None },
            // None is left of a text that could be the beginning of the token all along.
            text: own_text.map(|own| text::message(&own, token)).filter(|text| !text.is_empty()),
            has_lost_docs: docs.is_some() && tidy_docs.is_none(),
            docs: tidy_docs,
            consumers_timed_out: error.is_some_and(|text| is_consumer_timeout(&text)),
        }
    }
}

/// A string that says something.
fn text_of(value: &str) -> Option<String> {
    let content = json::unquote(value)?;
    let content = content.trim();
    (!content.is_empty()).then(|| content.to_owned())
}

/// Only at the beginning: within a provider's text the words may be quoted from a record, and to call such a mutation
/// applied would be a lie.
fn is_consumer_timeout(text: &str) -> bool {
    let text = text.strip_prefix("Error:").unwrap_or(text).trim_start();
    text.get(..CONSUMERS_TIMED_OUT.len()).is_some_and(|start| start.eq_ignore_ascii_case(CONSUMERS_TIMED_OUT))
}

/// The summary of a validation and the names of the fields that failed it: `Invalid request (sync_id, records)`.
fn with_fields(summary: Option<String>, validation: Option<&str>) -> Option<String> {
    let mut cursor = Cursor::new(validation.unwrap_or_default());
    let mut names = Vec::new();
    if cursor.peek() == Some(b'{') {
        cursor.enter();
        while let Some(key) = cursor.next_key() {
            cursor.value();
            names.extend(text_of(key));
        }
    }
    match (summary, names.is_empty()) {
        (summary, true) => summary,
        (summary, false) => {
            Some(format!("{} ({})", summary.as_deref().unwrap_or("validation failed"), names.join(", ")))
        }
    }
}

fn plain_excerpt(body: &[u8], token: &str) -> Option<String> {
    match std::str::from_utf8(body) {
        // JSON, though not an object: escapes could hide the token.
        Ok(text) if json::is_valid(text) => json_excerpt(body, token),
        _ => text::excerpt(body, token),
    }
}

fn json_excerpt(body: &[u8], token: &str) -> Option<String> {
    let json = tidy(std::str::from_utf8(body).ok()?, token, DOCS_BYTES)?;
    text::excerpt(json.as_bytes(), "")
}

/// Rewrites JSON so that it can be shown to anybody and read by any program: without the token, without white space
/// between its tokens, hidden characters escaped, texts and numbers that jsonb refuses replaced. `None` if it is too
/// long or too deep.
fn tidy(json: &str, token: &str, limit: usize) -> Option<String> {
    let mut cursor = Cursor::new(json);
    let mut out = String::new();
    let mut depth = 0_usize;
    while let Some(part) = cursor.token() {
        match part.as_bytes()[0] {
            b'"' => {
                let content = json::unquote(part).unwrap_or("[unreadable]".into());
                // To look for the token costs more than a copy does.
                if content.len() > limit {
                    return None;
                }
                push_tidy_string(&mut out, &text::redact(&content, token));
            }
            b'{' | b'[' => {
                depth += 1;
                out.push_str(part);
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                out.push_str(part);
            }
            b',' | b':' => out.push_str(part),
            _ if part.len() > limit => return None,
            _ if is_huge_number(part) || (!token.is_empty() && part.contains(token)) => {
                push_tidy_string(&mut out, &text::redact(part, token));
            }
            _ => out.push_str(part),
        }
        if out.len() > limit || depth > DOCS_DEPTH {
            return None;
        }
    }
    Some(out)
}

/// A number whose exponent may be more than jsonb's numbers can hold.
fn is_huge_number(part: &str) -> bool {
    part.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && part.split_once(['e', 'E']).is_some_and(|(_, exponent)| exponent.len() > 4)
}

fn push_tidy_string(out: &mut String, content: &str) {
    out.push('"');
    for c in content.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\0' => out.push(char::REPLACEMENT_CHARACTER),
            c if text::is_hidden(c) => text::push_escaped(out, c),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
