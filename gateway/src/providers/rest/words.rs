//! The words of an error body, which every service puts elsewhere.

use std::borrow::Cow;

use mutation_api::json::Fields;
use serde_json::value::RawValue;

use crate::providers::json::{self, Pointer};
use crate::providers::text::MAX_MESSAGE;

/// Where words are looked for if the configuration does not say it.
const USUAL: [&str; 8] =
    ["/error/message", "/message", "/error_description", "/error", "/detail", "/title", "/errors/*/message", "/errors"];

/// The member of an object that has the words, if the object has one of them.
const MESSAGES: [&str; 4] = ["message", "detail", "description", "msg"];

/// How deep words are looked for in a body without known places.
const MAX_DEPTH: usize = 4;

/// Places of words, the best first.
#[derive(Clone, Debug)]
pub struct Places(Vec<Pointer>);

impl Default for Places {
    fn default() -> Places {
        Places(USUAL.iter().filter_map(|pointer| pointer.parse().ok()).collect())
    }
}

impl Places {
    pub fn new(pointers: Vec<Pointer>) -> Places {
        Places(pointers)
    }

    /// The words in a body. Several are joined by "; " and name their field. Without words at these places, all that
    /// the body says.
    pub fn words(&self, body: &RawValue) -> String {
        let found = self.0.iter().map(|pointer| {
            let mut words = Words::default();
            words.find(body, &pointer.0, "");
            words.joined
        });
        found.into_iter().find(|words| !words.is_empty()).unwrap_or_else(|| {
            let mut words = Words::default();
            words.all(body, "", 0);
            words.joined
        })
    }
}

#[derive(Default)]
struct Words {
    joined: String,
}

impl Words {
    /// Adds what is at the steps, each `*` of which stands for all members or elements.
    fn find(&mut self, value: &RawValue, steps: &[String], field: &str) {
        match steps.split_first() {
            None => self.all(value, field, 0),
            Some((step, rest)) if step == "*" => {
                for (name, value) in children(value) {
                    self.find(value, rest, name.as_deref().unwrap_or(field));
                }
            }
            Some((step, rest)) => {
                if let Some(value) = json::child(value, step) {
                    self.find(value, rest, field);
                }
            }
        }
    }

    /// Adds all texts, numbers and truths in a value.
    fn all(&mut self, value: &RawValue, field: &str, depth: usize) {
        match value.get().as_bytes() {
            b"null" => {}
            [b'"', ..] => self.add(field, &json::text(value).unwrap_or_else(|| value.get().into())),
            [b'{' | b'[', ..] => {
                if let Some(message) = MESSAGES.iter().find_map(|name| words_at(value, name)) {
                    self.add(field, &message);
                } else if depth < MAX_DEPTH {
                    for (name, value) in children(value) {
                        self.all(value, name.as_deref().unwrap_or(field), depth + 1);
                    }
                }
            }
            _ => self.add(field, value.get()),
        }
    }

    fn add(&mut self, field: &str, text: &str) {
        if text.trim().is_empty() || self.joined.len() > 8 * MAX_MESSAGE {
            return;
        }
        let separator = if self.joined.is_empty() { "" } else { "; " };
        let colon = if field.is_empty() { "" } else { ": " };
        self.joined.extend([separator, field, colon, text]);
    }
}

/// The text in the member of an object.
fn words_at<'a>(object: &'a RawValue, name: &str) -> Option<Cow<'a, str>> {
    json::text(Fields::parse(object)?.get(name)?).filter(|text| !text.trim().is_empty())
}

/// The members with their names, or the elements without.
fn children(value: &RawValue) -> Vec<(Option<Cow<'_, str>>, &RawValue)> {
    match Fields::parse(value) {
        Some(fields) => fields.0.into_iter().map(|(name, value)| (Some(name), value)).collect(),
        None => json::elements(value).unwrap_or_default().into_iter().map(|value| (None, value)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pointers: Option<&[&str]>, body: &str) -> String {
        let places = match pointers {
            Some(pointers) => Places::new(pointers.iter().map(|pointer| pointer.parse().unwrap()).collect()),
            None => Places::default(),
        };
        places.words(json::document(body.as_bytes()).unwrap())
    }

    #[test]
    fn words_are_found_where_services_put_them() {
        for (body, want) in [
            (r#"{"error":{"message":"Invalid email","code":7}}"#, "Invalid email"),
            (r#"{"message":"Not Found","documentation_url":"https://x"}"#, "Not Found"),
            (r#"{"error":"invalid_grant","error_description":"expired"}"#, "expired"),
            (r#"{"error":"not allowed"}"#, "not allowed"),
            (r#"{"detail":"Method \"GET\" not allowed."}"#, "Method \"GET\" not allowed."),
            (r#"{"title":"Bad","status":400}"#, "Bad"),
            (r#"{"errors":[{"message":"a","path":"x"},{"message":"b"}]}"#, "a; b"),
            (r#"{"errors":["a","b"]}"#, "a; b"),
            (r#"{"errors":{"email":["is taken","is long"],"name":"x"}}"#, "email: is taken; email: is long; name: x"),
            (r#"{"email":["This field must be unique."]}"#, "email: This field must be unique."),
            (r#"["Only one"]"#, "Only one"),
            (r#""plain""#, "plain"),
            (r#"{"message":"","error":"second"}"#, "second"),
            (r#"{"message":null,"code":7,"ok":false}"#, "code: 7; ok: false"),
            (r#"{"message":"\ud800"}"#, r#""\ud800""#),
            ("{}", ""),
            ("null", ""),
        ] {
            assert_eq!(words(None, body), want, "{body}");
        }
    }

    #[test]
    fn a_star_stands_for_all() {
        let body =
            r#"{"data":{"email":{"code":"c","message":"Must be valid"},"n":{"message":"Too low"}},"x":[[1],[2]]}"#;
        for (pointers, want) in [
            (&["/data/*/message"] as &[&str], "email: Must be valid; n: Too low"),
            (&["/nothing", "/data/*/code"], "email: c"),
            (&["/data/*"], "email: Must be valid; n: Too low"),
            (&["/data"], "email: Must be valid; n: Too low"),
            (&["/x/*/0"], "1; 2"),
            (&["/x/*/*"], "1; 2"),
        ] {
            assert_eq!(words(Some(pointers), body), want, "{pointers:?}");
        }
    }

    #[test]
    fn a_huge_body_has_few_words() {
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(words(None, &deep), "");
        let wide = format!("[{}1]", r#""word","#.repeat(100_000));
        assert!(words(None, &wide).len() < 9_000);
    }
}
