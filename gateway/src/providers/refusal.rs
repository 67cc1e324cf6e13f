//! How a provider's refusal is put into words.

use serde_json::value::RawValue;

use super::redact::Redactor;
use super::{Refusal, text};

/// The largest error body that is passed on, in bytes.
const MAX_DETAIL: usize = 64 * 1024;

/// The deepest error body that is passed on. Readers with a stack cannot take any depth.
const MAX_DEPTH: usize = 64;

impl Refusal {
    /// In the gateway's or the provider's words.
    pub fn new(message: &str) -> Refusal {
        Refusal { message: text::message(message), detail: None }
    }

    /// In words of a provider, with the error body in which they are.
    pub fn with_body(message: &str, body: &RawValue) -> Refusal {
        let is_small = body.get().len() <= MAX_DETAIL && depth(body.get()) <= MAX_DEPTH;
        let detail = if is_small { Redactor::default().json(body) } else { None };
        Refusal { detail, ..Refusal::new(message) }
    }
}

/// How deep arrays and objects are nested in a JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_readers_cannot_take_is_left_out() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (body, is_passed_on) in [
            (r#"{"error":{"message":"x"}}"#.to_owned(), true),
            (nested(64), true),
            (nested(65), false),
            (nested(100_000), false),
            (format!(r#"["\"{}"]"#, "[".repeat(1_000)), true),
            (format!("\"{}\"", "x".repeat(MAX_DETAIL - 2)), true),
            (format!("\"{}\"", "x".repeat(MAX_DETAIL - 1)), false),
            (r#"["\udc00"]"#.to_owned(), false),
        ] {
            let body = RawValue::from_string(body).unwrap();
            let refusal = Refusal::with_body("no", &body);
            assert_eq!(refusal.message, "no");
            assert_eq!(refusal.detail.is_some(), is_passed_on, "{:.80}", body.get());
        }
    }
}
