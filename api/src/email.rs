//! The one rule about data that the documentation shows: a field named `email` or `Email` holds an e-mail address. Null
//! and the empty string clear it.

use serde_json::value::RawValue;

use crate::json::Fields;

/// Whether the field is missing or valid.
pub fn is_good(data: &RawValue) -> bool {
    values(data).all(|value| match value {
        Ok(Some(address)) => address.is_empty() || is_address(&address),
        Ok(None) => true,
        Err(_) => false,
    })
}

/// The texts in the field.
pub fn addresses(data: &RawValue) -> Vec<String> {
    values(data).filter_map(|value| value.ok().flatten()).collect()
}

/// The values of the field: more than one if it is sent twice, or in both spellings.
fn values(data: &RawValue) -> impl Iterator<Item = serde_json::Result<Option<String>>> {
    let fields = Fields::parse(data).map_or_else(Vec::new, |fields| fields.0);
    let is_email = |key: &str| key == "email" || key == "Email";
    fields.into_iter().filter(move |(key, _)| is_email(key)).map(|(_, value)| serde_json::from_str(value.get()))
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
            assert_eq!(is_good(&raw), good, "{data}");
        }
    }
}
