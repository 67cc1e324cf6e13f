//! Input: a line with a secret, and what a provider says.
//!
//! - Words become one line of at most 1,000 characters that cannot steer a terminal.
//! - The secret shows neither in the words nor in the strings of JSON, and the JSON stays the same otherwise.
//! - A wait is at most a day.

use gateway::providers::redact::Redactor;
use gateway::providers::{Outcome, Refusal, retry_after, text};
use http::HeaderValue;
use http::header::RETRY_AFTER;
use secrecy::SecretString;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::input::Input;
use crate::oracle;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let secret = input.line();
    let said = input.text();
    is_line(&text::message(&said));
    if let Ok(value) = HeaderValue::from_str(&said) {
        let headers = [(RETRY_AFTER, value)].into_iter().collect();
        assert!(retry_after::wait(&headers).is_none_or(|wait| wait <= retry_after::MAX_WAIT));
    }
    let redactor = Redactor::new([SecretString::from(&*secret)]);
    // The mark can complete a secret with a part of it.
    let hides = secret.len() >= 6 && !"[redacted]".contains(&*secret) && !secret.contains(['[', ']']);
    let redacted = redactor.text(&said);
    assert!(!hides || !redacted.contains(&*secret), "{redacted}");
    let Ok(json) = serde_json::from_str::<&RawValue>(&said) else { return };
    let Some(redacted) = redactor.json(json) else { return };
    let Ok(value) = serde_json::from_str::<Value>(redacted.get()) else { return };
    each_text(&value, &mut |text| assert!(!hides || !text.contains(&*secret), "{text}"));
}

fn each_text(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => see(text),
        Value::Array(list) => list.iter().for_each(|value| each_text(value, see)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            see(name);
            each_text(value, see);
        }),
        _ => {}
    }
}

/// Checks words that travel to clients and into logs.
pub fn is_line(message: &str) {
    assert!(message.chars().count() <= 1_000, "{message}");
    let is_bad = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || c == '`' || c == '\u{2028}';
    assert!(!message.chars().any(is_bad) && message.trim() == message, "{message:?}");
}

/// Checks what an outcome says.
pub fn is_harmless(outcome: &Outcome) {
    let Refusal { message, detail } = match outcome {
        Outcome::Applied(written) => {
            let id = written.upstream_id.as_deref();
            return assert!(id.is_none_or(|id| !id.is_empty() && !id.chars().any(char::is_control)));
        }
        Outcome::Rejected(refusal) | Outcome::Gone(refusal) | Outcome::Unauthorised(refusal) => refusal,
        Outcome::Limited { refusal, .. } | Outcome::Unknown { refusal, .. } => refusal,
    };
    is_line(message);
    assert!(!message.is_empty());
    if let Some(detail) = detail {
        assert!(oracle::is_json(detail.get()), "{detail}");
    }
}

/// Checks that a parser of URLs sees the path that was meant.
pub fn keeps_its_path(path: &str) {
    let url = url::Url::parse(&format!("https://h{path}")).expect("a path of a URL");
    let parsed = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    assert_eq!(parsed, path);
    assert!(path.parse::<http::uri::PathAndQuery>().is_ok_and(|parsed| parsed == path));
    assert!(url.fragment().is_none() && url.host_str() == Some("h"));
}
