//! A JSON object as `application/x-www-form-urlencoded`, in the way that Stripe's own libraries write it: nested keys
//! in brackets, arrays with an index, numbers as they are written.
//!
//! It differs from those libraries where they drop or garble a value. Null and an empty object or array become `key=`,
//! which unsets the key. They leave it out, and the key would keep its value while the reply says that all is applied.

use std::collections::HashMap;
use std::fmt::Write;

use mutation_api::json::Fields;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;

use super::{Refusal, json};

/// The deepest data. Servers refuse far less.
const MAX_DEPTH: usize = 32;

/// The longest form, in bytes. Each element of an array repeats the keys above it, so a form can be far longer than its
/// data.
const MAX_FORM: usize = 8 * 1024 * 1024;

/// Brackets stay, and a space becomes a plus.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b' ').remove(b'[').remove(b']');

/// The form of an object.
///
/// # Errors
/// The data is no object, is too deep or too large, has a key that cannot be told apart in a form, or has text that is
/// not Unicode.
pub fn encode(data: &RawValue) -> Result<String, Refusal> {
    let fields = Fields::parse(data).ok_or_else(|| Refusal::new("the data must be an object with readable keys"))?;
    let mut form = Form::default();
    for (name, value) in distinct(&fields) {
        form.member(name, value, 1)?;
    }
    Ok(form.text)
}

/// The fields in order. Of repeated keys the last one counts.
fn distinct<'a>(fields: &'a Fields<'a>) -> impl Iterator<Item = (&'a str, &'a RawValue)> {
    let last: HashMap<&str, usize> = fields.0.iter().enumerate().map(|(at, (name, _))| (&**name, at)).collect();
    let all = fields.0.iter().enumerate();
    all.filter(move |(at, (name, _))| last.get(&**name) == Some(at)).map(|(_, (name, value))| (&**name, *value))
}

#[derive(Default)]
struct Form {
    text: String,
    /// The encoded key of the value that is written next.
    key: String,
}

impl Form {
    /// Writes a member of the object with the present key.
    fn member(&mut self, name: &str, value: &RawValue, depth: usize) -> Result<(), Refusal> {
        if name.is_empty() || name.contains(['[', ']']) {
            return Err(Refusal::new(&format!(
                "the key {name:?} is empty or has a bracket, which a form cannot express"
            )));
        }
        let outer = self.key.len();
        if outer == 0 {
            push(&mut self.key, name);
        } else {
            self.key.push('[');
            push(&mut self.key, name);
            self.key.push(']');
        }
        let written = self.value(value, depth);
        self.key.truncate(outer);
        written
    }

    /// Writes a value under the present key.
    fn value(&mut self, value: &RawValue, depth: usize) -> Result<(), Refusal> {
        if depth > MAX_DEPTH {
            return Err(Refusal::new(&format!("the data must not be deeper than {MAX_DEPTH} levels")));
        }
        let unreadable = || Refusal::new("a text in the data has half of a surrogate pair");
        match value.get().as_bytes() {
            [b'{', ..] => {
                let fields = Fields::parse(value).ok_or_else(unreadable)?;
                if fields.0.is_empty() {
                    return self.pair("");
                }
                distinct(&fields).try_for_each(|(name, value)| self.member(name, value, depth + 1))
            }
            [b'[', ..] => {
                let elements = json::elements(value).ok_or_else(unreadable)?;
                if elements.is_empty() {
                    return self.pair("");
                }
                let outer = self.key.len();
                for (at, element) in elements.into_iter().enumerate() {
                    let _ = write!(self.key, "[{at}]");
                    self.value(element, depth + 1)?;
                    self.key.truncate(outer);
                }
                Ok(())
            }
            [b'"', ..] => self.pair(&json::text(value).ok_or_else(unreadable)?),
            b"null" => self.pair(""),
            _ => self.pair(value.get()),
        }
    }

    fn pair(&mut self, value: &str) -> Result<(), Refusal> {
        if self.text.len() + self.key.len() + value.len() > MAX_FORM {
            return Err(Refusal::new(&format!("the data as a form is longer than {MAX_FORM} bytes")));
        }
        if !self.text.is_empty() {
            self.text.push('&');
        }
        self.text.push_str(&self.key);
        self.text.push('=');
        push(&mut self.text, value);
        Ok(())
    }
}

/// Appends a text, percent-encoded.
fn push(form: &mut String, text: &str) {
    for part in utf8_percent_encode(text, ENCODED) {
        form.extend(part.chars().map(|c| if c == ' ' { '+' } else { c }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(json: &str) -> Result<String, String> {
        encode(&RawValue::from_string(json.into()).unwrap()).map_err(|refusal| refusal.message)
    }

    #[test]
    fn an_object_becomes_a_form() {
        for (json, want) in [
            ("{}", ""),
            (r#"{"email":"a@b.c"}"#, "email=a%40b.c"),
            (
                r#"{"metadata":{"k":"v"},"preferred_locales":["en","de"],"address":{"city":"X"}}"#,
                "metadata[k]=v&preferred_locales[0]=en&preferred_locales[1]=de&address[city]=X",
            ),
            (r#"{"a":{"b":{"c":1}}}"#, "a[b][c]=1"),
            (r#"{"items":[{"price":"p","n":2},{"price":"q"}]}"#, "items[0][price]=p&items[0][n]=2&items[1][price]=q"),
            (r#"{"a":[[1,2],[3]]}"#, "a[0][0]=1&a[0][1]=2&a[1][0]=3"),
            (r#"{"a":true,"b":false,"c":[true]}"#, "a=true&b=false&c[0]=true"),
            (r#"{"a":null,"b":"","c":[null],"d":{"e":null}}"#, "a=&b=&c[0]=&d[e]="),
            (r#"{"metadata":{},"list":[],"x":[{}]}"#, "metadata=&list=&x[0]="),
            (
                r#"{"a":1.50,"b":12345678901234567890123,"c":-0,"d":1e400,"e":1E+2}"#,
                "a=1.50&b=12345678901234567890123&c=-0&d=1e400&e=1E%2B2",
            ),
            (r#"{"n":"é 漢 🦀","s":"a b+c&d=e%f"}"#, "n=%C3%A9+%E6%BC%A2+%F0%9F%A6%80&s=a+b%2Bc%26d%3De%25f"),
            (r#"{"k é&=":"\u0041\n\u0000"}"#, "k+%C3%A9%26%3D=A%0A%00"),
            (r#"{"a":"x[0]"}"#, "a=x[0]"),
            (r#"{"a":1,"b":2,"a":{"c":1,"c":3}}"#, "b=2&a[c]=3"),
            (r#"{"a":"~-._*"}"#, "a=~-._%2A"),
        ] {
            assert_eq!(form(json).as_deref(), Ok(want), "{json}");
        }
    }

    #[test]
    fn what_a_form_cannot_express_is_refused() {
        let deep = |levels| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        assert!(form(&deep(MAX_DEPTH)).is_ok());
        let long = format!(r#"{{"{}":[{}1]}}"#, "k".repeat(100_000), "1,".repeat(100_000));
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_FORM));
        for (json, want) in [
            (r#"{"a[b]":1}"#.into(), "has a bracket"),
            (r#"{"a":{"b]":1}}"#.into(), "has a bracket"),
            (r#"{"":1}"#.into(), "is empty"),
            (r#"{"a":{"":1}}"#.into(), "is empty"),
            (r#"{"a":"\ud800"}"#.into(), "surrogate"),
            (r#"{"a":{"\ud800":1}}"#.into(), "surrogate"),
            ("[1]".into(), "must be an object"),
            (deep(MAX_DEPTH + 1), "deeper than"),
            (deep(100_000), "deeper than"),
            (long, "longer than"),
            (text, "longer than"),
        ] {
            let error = form(&json).unwrap_err();
            assert!(error.contains(want), "{error} for {json:.60}");
        }
    }

    /// Leaves of a value as a reader of forms sees them.
    fn leaves(key: &str, value: &serde_json::Value, found: &mut Vec<(String, String)>) {
        use serde_json::Value;
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                fields.iter().for_each(|(name, value)| leaves(&format!("{key}[{name}]"), value, found));
            }
            Value::Array(list) if !list.is_empty() => {
                list.iter().enumerate().for_each(|(at, value)| leaves(&format!("{key}[{at}]"), value, found));
            }
            Value::Null | Value::Object(_) | Value::Array(_) => found.push((key.into(), String::new())),
            Value::String(text) => found.push((key.into(), text.clone())),
            other => found.push((key.into(), other.to_string())),
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,8}".prop_map(Into::into),
            ".{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map("[^\\[\\]]{1,6}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_form_reads_back_as_its_data(data in prop::collection::btree_map("[^\\[\\]]{1,6}", any_json(), 0..5)) {
            let mut want = Vec::new();
            for (name, value) in &data {
                leaves(name, value, &mut want);
            }
            let form = form(&serde_json::to_string(&data).unwrap()).unwrap();
            let read: Vec<(String, String)> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
            prop_assert_eq!(read, want);
        }
    }
}
