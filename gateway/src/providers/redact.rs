//! Takes secrets out of what a provider says: those of the account, and whatever looks like one.
//!
//! A provider may quote the request that it refuses, and its words travel to clients and into logs.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::{RawValue, to_raw_value};

use super::{Outcome, Refusal};

/// What a secret becomes.
const MARK: &str = "[redacted]";

/// A shorter secret is part of ordinary words.
const SHORTEST: usize = 6;

/// How secrets of well-known services begin, and what introduces one in a header.
const BEGINNINGS: [&str; 16] = [
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "sk_org_",
    "whsec_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "xoxb-",
    "xoxp-",
    "pat-na",
    "pat-eu",
    "glpat-",
    "eyJ",
];
const SCHEMES: [&str; 3] = ["bearer", "basic", "token"];

/// Knows the secrets of one account. The default knows none, and finds only what looks like one.
#[derive(Default)]
pub struct Redactor {
    /// Longest first, so that a secret within another leaves no rest.
    secrets: Vec<SecretString>,
}

impl Redactor {
    /// For an account with these secrets, each in the form in which it is sent.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Redactor {
        let is_long = |secret: &SecretString| secret.expose_secret().len() >= SHORTEST;
        let mut secrets: Vec<_> = secrets.into_iter().filter(is_long).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Redactor { secrets }
    }

    /// For the account whose credential these headers of a request carry, in their sensitive values.
    pub fn of_request(headers: &HeaderMap) -> Redactor {
        let sensitive = headers.values().filter(|value| value.is_sensitive()).filter_map(|value| value.to_str().ok());
        Redactor::new(sensitive.flat_map(|value| {
            let (scheme, credential) = value.split_once(' ').unwrap_or(("", value));
            let password = scheme.eq_ignore_ascii_case("basic").then(|| password(credential)).flatten();
            [Some(credential.to_owned()), password].into_iter().flatten().map(SecretString::from)
        }))
    }

    /// The outcome with words without secrets.
    pub fn outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Applied(written) => Outcome::Applied(written),
            Outcome::Rejected(refusal) => Outcome::Rejected(self.refusal(refusal)),
            Outcome::Gone(refusal) => Outcome::Gone(self.refusal(refusal)),
            Outcome::Limited { wait, refusal } => Outcome::Limited { wait, refusal: self.refusal(refusal) },
            Outcome::Unauthorised(refusal) => Outcome::Unauthorised(self.refusal(refusal)),
            Outcome::Unknown { may_repeat, refusal } => Outcome::Unknown { may_repeat, refusal: self.refusal(refusal) },
        }
    }

    /// The refusal without secrets.
    pub fn refusal(&self, refusal: Refusal) -> Refusal {
        let detail = refusal.detail.and_then(|detail| self.json(&detail));
        Refusal { message: self.text(&refusal.message).into_owned(), detail }
    }

    /// A text without secrets, and without the beginning of one at its end: the text may have been cut there.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in self.secrets.iter().map(ExposeSecret::expose_secret) {
            if text.contains(secret) {
                text = Cow::Owned(text.replace(secret, MARK));
            }
            if let Some(kept) = without_beginning(&text, secret) {
                text = Cow::Owned(format!("{}{MARK}", &text[..kept]));
            }
        }
        match lookalikes(&text) {
            Some(redacted) => Cow::Owned(redacted),
            None => text,
        }
    }

    /// JSON whose strings are without secrets. Numbers, keys' order and white space stay. None: a string in it is half
    /// of a surrogate pair, which many readers refuse.
    pub fn json(&self, json: &RawValue) -> Option<Box<RawValue>> {
        let mut rest = json.get();
        let mut redacted = String::with_capacity(rest.len());
        while let Some(start) = rest.find('"') {
            let (before, string) = rest.split_at(start);
            let (string, after) = string.split_at(string_length(string)?);
            let text: String = serde_json::from_str(string).ok()?;
            redacted.push_str(before);
            match self.text(&text) {
                same if *same == text => redacted.push_str(string),
                changed => redacted.push_str(to_raw_value(&changed).ok()?.get()),
            }
            rest = after;
        }
        redacted.push_str(rest);
        RawValue::from_string(redacted).ok()
    }
}

/// The password in the credential of the scheme Basic.
fn password(credential: &str) -> Option<String> {
    let decoded = String::from_utf8(BASE64_STANDARD.decode(credential).ok()?).ok()?;
    decoded.split_once(':').map(|(_, password)| password.to_owned())
}

/// The length in bytes of the JSON string that `json` begins with.
fn string_length(json: &str) -> Option<usize> {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    });
    Some(end? + 2)
}

/// How much of a text is left before the beginning of the secret with which it ends. A cut text ends with an ellipsis.
fn without_beginning(text: &str, secret: &str) -> Option<usize> {
    let text = text.trim_end_matches('…');
    let longest = secret.len().min(text.len());
    let length = (SHORTEST..=longest)
        .rev()
        .find(|&length| secret.is_char_boundary(length) && text.ends_with(&secret[..length]))?;
    Some(text.len() - length)
}

/// The text without what looks like a secret. None: nothing does.
fn lookalikes(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.+/=~*".contains(c);
    let mut redacted = String::new();
    let mut kept = 0;
    let mut is_introduced = false;
    let mut at = 0;
    while at < text.len() {
        let length = text[at..].find(|c| !is_part(c)).unwrap_or(text.len() - at);
        let word = &text[at..at + length];
        if length > 0 {
            let looks = BEGINNINGS.iter().any(|start| word.starts_with(start) && word.len() >= start.len() + 8);
            if looks || (is_introduced && word.len() >= 16) {
                redacted.push_str(&text[kept..at]);
                redacted.push_str(MARK);
                kept = at + length;
            }
            is_introduced = SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
        }
        at += length;
        at += text[at..].chars().next().map_or(0, char::len_utf8);
    }
    (kept > 0).then(|| redacted + &text[kept..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::new(secrets.iter().map(|&secret| SecretString::from(secret)))
    }

    #[test]
    fn secrets_leave_no_trace_in_texts() {
        let known = redactor(&["s3cret-token", "s3cret-token-longer", "abc"]);
        for (text, want) in [
            ("bad token s3cret-token!", "bad token [redacted]!"),
            ("s3cret-token-longer", "[redacted]"),
            ("s3cret-tokens3cret-token", "[redacted][redacted]"),
            ("cut: s3cret-t…", "cut: [redacted]"),
            ("cut: s3cret", "cut: [redacted]"),
            ("cut: s3cre", "cut: s3cre"),
            ("abc is too short to be looked for", "abc is too short to be looked for"),
            ("Invalid API Key provided: sk_test_4eC39HqLyjWDarjtT1zdp7dc", "Invalid API Key provided: [redacted]"),
            ("Invalid API Key provided: sk_test_****p7dc", "Invalid API Key provided: [redacted]"),
            ("authorization: Bearer abcdefghijklmnop.q", "authorization: Bearer [redacted]"),
            ("Basic YWxhZGRpbjpvcGVuc2VzYW1l is wrong", "Basic [redacted] is wrong"),
            ("The bearer of this letter", "The bearer of this letter"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.sig", "[redacted]"),
            ("sk_test_ is a prefix", "sk_test_ is a prefix"),
            ("é ghp_0123456789abcdef é", "é [redacted] é"),
            ("", ""),
        ] {
            assert_eq!(known.text(text), want, "{text}");
        }
    }

    #[test]
    fn the_credential_of_a_request_is_a_secret() {
        use http::HeaderValue;
        use http::header::{AUTHORIZATION, HOST};
        for (value, is_sensitive, said, want) in [
            ("Bearer provider-secret", true, "what is provider-secret?", "what is [redacted]?"),
            ("provider-secret", true, "what is provider-secret?", "what is [redacted]?"),
            ("Basic dXNlcjpwYXNzd29yZA==", true, "user:password dXNlcjpwYXNzd29yZA==", "user:[redacted] [redacted]"),
            ("Basic !", true, "password", "password"),
            ("Bearer provider-secret", false, "what is provider-secret?", "what is provider-secret?"),
        ] {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("provider-host"))]);
            let mut value = HeaderValue::from_static(value);
            value.set_sensitive(is_sensitive);
            headers.insert(AUTHORIZATION, value);
            let outcome = Outcome::Rejected(Refusal { message: said.into(), detail: None });
            match Redactor::of_request(&headers).outcome(outcome) {
                Outcome::Rejected(refusal) => assert_eq!(refusal.message, want),
                other => panic!("{other:?}"),
            }
            assert_eq!(Redactor::of_request(&headers).text("provider-host"), "provider-host");
        }
    }

    #[test]
    fn secrets_leave_no_trace_in_json() {
        let known = redactor(&["s3cret/\"token"]);
        for (json, want) in [
            (r#"{"a": 1.50, "b": ["x"]}"#, Some(r#"{"a": 1.50, "b": ["x"]}"#)),
            (r#"{"a":"s3cret/\"token","n":1e400}"#, Some(r#"{"a":"[redacted]","n":1e400}"#)),
            (r#"["s3cret\/\u0022token\\"]"#, Some(r#"["[redacted]\\"]"#)),
            (r#"{"s3cret/\"token":null}"#, Some(r#"{"[redacted]":null}"#)),
            (r#"{"\\":"\\\"","k":"sk_live_0123456789"}"#, Some(r#"{"\\":"\\\"","k":"[redacted]"}"#)),
            (r#"["\ud800"]"#, None),
            ("12", Some("12")),
        ] {
            let json = RawValue::from_string(json.into()).unwrap();
            assert_eq!(known.json(&json).as_deref().map(RawValue::get), want, "{json}");
        }
    }

    proptest! {
        #[test]
        fn a_secret_never_shows(
            secret in "[a-z\"\\\\/é]{6,12}", before in ".{0,20}", after in ".{0,20}", cut in 0..60usize,
        ) {
            let known = redactor(&[&secret]);
            let text: String = format!("{before}{secret}{after}").chars().take(cut).collect();
            prop_assert!(!known.text(&text).contains(&secret));
            let json = to_raw_value(&[&text]).unwrap();
            let strings: Vec<String> = serde_json::from_str(known.json(&json).unwrap().get()).unwrap();
            prop_assert!(!strings[0].contains(&secret));
        }
    }
}
