//! Reads the body of an error reply: a text for the message, and `docs` for programs.
//!
//! The body comes from the API or from any proxy on the way, and is not trusted. Texts become printable and are cut, an
//! echoed token is redacted, and JSON is rewritten so that it can be embedded in other JSON.

use super::json::{self, Cursor};
use super::{reply, text};

/// The longest `docs` that an outcome keeps, in bytes.
pub const DOCS_BYTES: usize = 16 * 1024;
/// The deepest `docs` that an outcome keeps. A cast of deeper JSON to jsonb could exhaust the stack.
const DOCS_DEPTH: usize = 64;
/// The beginning of the one error text that means "applied": the provider answered, and the wait for consumers timed out.
/// The contract documents this text.
const CONSUMERS_TIMED_OUT: &str = "timed out waiting for consumer";

/// The readable parts of an error body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiError {
    /// The API's own error text.
    pub text: Option<String>,
    /// One line from the beginning of a body in another format: a proxy's page, other JSON.
    pub excerpt: Option<String>,
    /// `docs`, else `validation_errors`, as JSON text.
    pub docs: Option<String>,
    /// The body has `docs`, but they are too long or too deep to keep.
    pub has_lost_docs: bool,
    /// The error text says that the wait for consumers timed out.
    pub consumers_timed_out: bool,
}

impl ApiError {
    /// Reads any body. `token` is redacted from all texts.
    pub fn read(body: &[u8], token: &str) -> ApiError {
        let body = reply::without_byte_order_mark(body);
        let parts = std::str::from_utf8(body)
            .ok()
            .and_then(|text| json::select_fields(text, ["error", "docs", "summary", "validation_errors"]).ok());
        let Some([error, docs, summary, validation]) = parts else {
            return ApiError { excerpt: plain_excerpt(body, token), ..ApiError::default() };
        };

        let error = error.and_then(text_of);
        let own_text = error.clone().or_else(|| with_fields(summary.and_then(text_of), validation));
        let docs = [docs, validation].into_iter().flatten().find(|value| *value != "null");
        let sanitized_docs = docs.and_then(|docs| sanitize_json(docs, token, DOCS_BYTES));
        ApiError {
            excerpt: if own_text.is_none() { json_excerpt(body, token) } else { None },
            // A text that could be the beginning of the token throughout is redacted to nothing.
            text: own_text.map(|own| text::sanitize(&own, token)).filter(|text| !text.is_empty()),
            has_lost_docs: docs.is_some() && sanitized_docs.is_none(),
            docs: sanitized_docs,
            consumers_timed_out: error.is_some_and(|text| is_consumer_timeout(&text)),
        }
    }
}

/// The content of a JSON string that is not blank.
fn text_of(value: &str) -> Option<String> {
    let content = json::unquote(value)?;
    let content = content.trim();
    (!content.is_empty()).then(|| content.to_owned())
}

/// Looks only at the beginning. Elsewhere a provider's text may quote these words from a record, although nothing was
/// applied.
fn is_consumer_timeout(text: &str) -> bool {
    let text = text.strip_prefix("Error:").unwrap_or(text).trim_start();
    text.get(..CONSUMERS_TIMED_OUT.len()).is_some_and(|start| start.eq_ignore_ascii_case(CONSUMERS_TIMED_OUT))
}

/// The summary of a validation error with the names of the invalid fields: `Invalid request (sync_id, records)`.
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
        // JSON that is not an object. Its escapes could hide the token.
        Ok(text) if json::is_valid(text) => json_excerpt(body, token),
        _ => text::excerpt(body, token),
    }
}

fn json_excerpt(body: &[u8], token: &str) -> Option<String> {
    let json = sanitize_json(std::str::from_utf8(body).ok()?, token, DOCS_BYTES)?;
    text::excerpt(json.as_bytes(), "")
}

/// Rewrites JSON so that it is safe to print and to cast to jsonb. It redacts the token, drops white space, escapes hidden
/// characters, and replaces strings and numbers that jsonb refuses. `None` if the JSON is too long or too deep.
fn sanitize_json(json: &str, token: &str, limit: usize) -> Option<String> {
    let mut cursor = Cursor::new(json);
    let mut out = String::new();
    let mut depth = 0_usize;
    while let Some(part) = cursor.token() {
        match part.as_bytes()[0] {
            b'"' => {
                let content = json::unquote(part).unwrap_or("[unreadable]".into());
                // The search for the token is slow, so check the length first.
                if content.len() > limit {
                    return None;
                }
                push_sanitized_string(&mut out, &text::redact(&content, token));
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
                push_sanitized_string(&mut out, &text::redact(part, token));
            }
            _ => out.push_str(part),
        }
        if out.len() > limit || depth > DOCS_DEPTH {
            return None;
        }
    }
    Some(out)
}

/// Whether a number's exponent may exceed the range of jsonb's numeric.
fn is_huge_number(part: &str) -> bool {
    part.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && part.split_once(['e', 'E']).is_some_and(|(_, exponent)| exponent.len() > 4)
}

fn push_sanitized_string(out: &mut String, content: &str) {
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
