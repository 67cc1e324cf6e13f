//! The one rule about data that the documentation shows: a field named `email` or `Email` holds something like an e-mail
//! address. Null and the empty string clear it.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::value::RawValue;

use super::Refusal;
use crate::json::Fields;

pub fn check(data: &RawValue) -> Result<(), Refusal> {
    // To take the data apart would be a third of a large create's time: the text alone shows that most data is good.
    if is_plainly_good(data.get()) {
        return Ok(());
    }
    let Some(fields) = Fields::parse(data) else {
        return Ok(());
    };
    for (key, value) in &fields.0 {
        if key == "email" || key == "Email" {
            let value: Option<Option<String>> = serde_json::from_str(value.get()).ok();
            let good = match &value {
                Some(Some(address)) => address.is_empty() || is_address(address),
                Some(None) => true,
                None => false,
            };
            if !good {
                return Err(Refusal("Invalid email".into()));
            }
        }
    }
    Ok(())
}

/// Whether every `"Email": "..."` in the text, at whatever depth, is good. Without a backslash a name cannot hide in an
/// escape, and a quote cannot stand within a string.
fn is_plainly_good(text: &str) -> bool {
    static NAME: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"mail\""));
    if memchr::memchr(b'\\', text.as_bytes()).is_some() {
        return false;
    }
    NAME.find_iter(text.as_bytes()).all(|at| {
        if !text[..at].ends_with(['e', 'E']) || !text[..at - 1].ends_with('"') {
            return true;
        }
        let after = text[at + 5..].trim_ascii_start();
        let Some(value) = after.strip_prefix(':') else {
            // It is a value, not a name.
            return true;
        };
        let string = value.trim_ascii_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
        string.is_some_and(|(address, _)| is_address(address))
    })
}

fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
    !local.is_empty()
        && local.chars().all(plain)
        && domain.chars().all(plain)
        && domain.contains('.')
        && domain.split('.').all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (address, good) in [
            ("paul@arrakis.org", true),
            ("a.b+c@x.y.z", true),
            ("paul", false),
            ("paul@arrakis", false),
            ("@arrakis.org", false),
            ("paul@", false),
            ("pa ul@arrakis.org", false),
            ("a@b@c.org", false),
            ("a@b..org", false),
        ] {
            assert_eq!(is_address(address), good, "{address}");
        }
    }

    #[test]
    fn only_the_named_field_is_checked_however_it_is_written() {
        for (data, good) in [
            (r#"{"Email":"nonsense"}"#, false),
            (r#"{"email":"nonsense"}"#, false),
            (r#"{"\u0045mail":"nonsense"}"#, false),
            (r#"{"Email" : 7}"#, false),
            (r#"{"Email":null}"#, true),
            (r#"{"Email":""}"#, true),
            (r#"{"Email":"a@b.c"}"#, true),
            (r#"{"WorkEmail":"nonsense"}"#, true),
            (r#"{"x":{"Email":"nonsense"}}"#, true),
            (r#"{"x":"Email","Email":"nonsense"}"#, false),
            (r#"{"Email":"a@b.c","email":"nonsense"}"#, false),
            (r#"{"Email":["a@b.c"]}"#, false),
            (r#"{"x":"\"Email\":\"nonsense\""}"#, true),
            (r#"{"Email":"a\u0040b.c"}"#, true),
        ] {
            let raw = RawValue::from_string(data.into()).unwrap();
            assert_eq!(check(&raw).is_ok(), good, "{data}");
        }
    }
}
