//! Input: data as JSON.
//!
//! - A form reads back as the data: every leaf once, under its path in brackets, with its text or its number as written.
//! - What is refused has words.

use std::collections::BTreeMap;

use gateway::providers::form::encode;
use serde_json::value::RawValue;

use crate::input::Input;
use crate::oracle;

pub fn run(bytes: &[u8]) {
    let text = Input::new(bytes).text();
    let Ok(data) = serde_json::from_str::<&RawValue>(&text) else { return };
    let form = match encode(data) {
        Ok(form) => form,
        Err(refusal) => return assert!(!refusal.message.is_empty()),
    };
    assert!(form.bytes().all(|byte| byte.is_ascii_graphic()), "{form}");
    let mut expected = Vec::new();
    for (name, value) in fields(data.get()) {
        leaves(name, value, &mut expected);
    }
    let mut read: Vec<(String, String)> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    expected.sort();
    read.sort();
    assert_eq!(read, expected, "{form}");
}

/// The members of an object. The last one of a name counts.
fn fields(object: &str) -> BTreeMap<String, &str> {
    let fields = oracle::fields(object).expect("only an object has a form");
    fields.into_iter().map(|(name, value)| (name.expect("only Unicode has a form"), value)).collect()
}

fn leaves(key: String, value: &str, found: &mut Vec<(String, String)>) {
    match value.as_bytes()[0] {
        b'{' if value[1..].trim_start() != "}" => {
            for (name, value) in fields(value) {
                leaves(format!("{key}[{name}]"), value, found);
            }
        }
        b'[' if value[1..].trim_start() != "]" => {
            for (at, element) in oracle::elements(value).expect("an array").into_iter().enumerate() {
                leaves(format!("{key}[{at}]"), element, found);
            }
        }
        b'{' | b'[' | b'n' => found.push((key, String::new())),
        b'"' => found.push((key, oracle::string(value).expect("a text"))),
        _ => found.push((key, value.to_owned())),
    }
}
