//! Texts with slots: `/contacts/{upstream_id}`. A slot has a type, so each place fills it in its own safe way.

use std::fmt::Write;

use http::HeaderValue;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::providers::json::{self, Pointer};
use crate::providers::{Refusal, path};

/// The form in which the key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// A UUID with hyphens.
    Uuid,
    /// The last digits of the key as a number to the base 36: lower-case letters and digits, so many of them.
    Base36 { length: usize },
}

/// 15 digits have 77 bits: two of a billion keys are the same with a probability below 1 in 100,000. 25 are all that a
/// key fills.
const BASE36_LENGTHS: std::ops::RangeInclusive<usize> = 15..=25;

impl KeyForm {
    pub fn write(self, key: &Uuid) -> String {
        let KeyForm::Base36 { length } = self else { return key.to_string() };
        let mut rest = key.as_u128();
        let mut digits = vec!['0'; length];
        for digit in digits.iter_mut().rev() {
            *digit = char::from_digit((rest % 36) as u32, 36).unwrap_or('0');
            rest /= 36;
        }
        digits.into_iter().collect()
    }
}

/// What stands between braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `{data}`: the record's fields.
    Data,
    /// `{data/list/id}`: a text or a number in them.
    Member(Pointer),
    /// `{upstream_id}`.
    UpstreamId,
    /// `{key}`, or `{key:15}`.
    Key(KeyForm),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(String),
    Slot(Slot),
}

/// A text with slots. `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

impl Template {
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let (name, after) = rest
                .split_once('}')
                .filter(|_| brace == "{")
                .ok_or("has a brace without its partner: {{ and }} stand for braces")?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Slot(slot(name)?));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template(parts))
    }

    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().filter_map(|part| match part {
            Part::Slot(slot) => Some(slot),
            Part::Text(_) => None,
        })
    }

    /// The slot that is the whole text.
    pub fn only_slot(&self) -> Option<&Slot> {
        match &*self.0 {
            [Part::Slot(slot)] => Some(slot),
            _ => None,
        }
    }
}

fn slot(name: &str) -> Result<Slot, String> {
    match name {
        "data" => return Ok(Slot::Data),
        "upstream_id" => return Ok(Slot::UpstreamId),
        "key" => return Ok(Slot::Key(KeyForm::Uuid)),
        _ => {}
    }
    if let Some(pointer) = name.strip_prefix("data").filter(|pointer| pointer.starts_with('/')) {
        return pointer.parse().map(Slot::Member).map_err(|error| format!("{{{name}}}: the pointer {error}"));
    }
    if let Some(length) = name.strip_prefix("key:") {
        let length = length.parse().ok().filter(|length| BASE36_LENGTHS.contains(length));
        return length.map(|length| Slot::Key(KeyForm::Base36 { length })).ok_or_else(|| {
            let (least, most) = BASE36_LENGTHS.into_inner();
            format!("{{{name}}}: the length must be {least} to {most}")
        });
    }
    Err(format!("has the unknown slot {{{name}}}: there are data, data/POINTER, upstream_id, key and key:LENGTH"))
}

/// What fills the slots of one request.
#[derive(Clone, Copy, Default)]
pub struct Filling<'a> {
    pub key: Option<&'a Uuid>,
    pub upstream_id: Option<&'a str>,
    pub data: Option<&'a RawValue>,
}

impl Filling<'_> {
    /// The text of a slot.
    pub fn text(&self, slot: &Slot) -> Result<String, Refusal> {
        let text = match slot {
            Slot::Data => None,
            Slot::UpstreamId => self.upstream_id.map(str::to_owned),
            Slot::Key(form) => self.key.map(|key| form.write(key)),
            Slot::Member(pointer) => {
                let value = self.data.and_then(|data| json::at(data, pointer)).and_then(json::id);
                return value.ok_or_else(|| {
                    let pointer: String = pointer.0.iter().map(|step| format!("/{step}")).collect();
                    Refusal::new(&format!("the data needs a text or a number at {pointer}"))
                });
            }
        };
        text.ok_or_else(|| Refusal::new("a slot of the description has no value here"))
    }

    /// The template as a path and query. Each slot is percent-encoded, and none is made of dots.
    pub fn path(&self, template: &Template) -> Result<String, Refusal> {
        let mut filled = String::new();
        for part in &template.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Slot(slot) => filled.push_str(&path::segment(&self.text(slot)?)?),
            }
        }
        Ok(filled)
    }

    /// The template as the value of a header.
    pub fn header(&self, template: &Template) -> Result<HeaderValue, Refusal> {
        let filled = self.plain(template)?;
        let is_whole = filled.trim() == filled && filled.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let value = HeaderValue::from_str(&filled).ok().filter(|_| is_whole);
        value.ok_or_else(|| Refusal::new("a text for a header must be visible ASCII"))
    }

    /// The template as text.
    pub fn plain(&self, template: &Template) -> Result<String, Refusal> {
        let mut filled = String::new();
        for part in &template.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Slot(slot) => {
                    let _ = write!(filled, "{}", self.text(slot)?);
                }
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Uuid = Uuid::from_u128(0x6ba7b810_9dad_41d1_80b4_00c04fd430c8);

    #[test]
    fn a_template_is_text_and_slots() {
        let text = |text: &str| Part::Text(text.into());
        let id = || Part::Slot(Slot::UpstreamId);
        for (template, want) in [
            ("", vec![]),
            ("/a", vec![text("/a")]),
            ("{upstream_id}", vec![id()]),
            ("/a/{upstream_id}/b", vec![text("/a/"), id(), text("/b")]),
            ("{upstream_id}{upstream_id}", vec![id(), id()]),
            ("{{x}}", vec![text("{x}")]),
            ("{{{upstream_id}}}", vec![text("{"), id(), text("}")]),
            ("{key}", vec![Part::Slot(Slot::Key(KeyForm::Uuid))]),
            ("{key:15}", vec![Part::Slot(Slot::Key(KeyForm::Base36 { length: 15 }))]),
            ("{data/a~1b/0}", vec![Part::Slot(Slot::Member("/a~1b/0".parse().unwrap()))]),
        ] {
            assert_eq!(Template::parse(template), Ok(Template(want)), "{template}");
        }
        for (template, want) in [
            ("{id}", "unknown slot {id}"),
            ("{}", "unknown slot {}"),
            ("{ key }", "unknown slot { key }"),
            ("{datax}", "unknown slot {datax}"),
            ("{key:14}", "15 to 25"),
            ("{key:26}", "15 to 25"),
            ("{key:x}", "15 to 25"),
            ("{data/~}", "the pointer"),
            ("{key", "without its partner"),
            ("key}", "without its partner"),
            ("a}b", "without its partner"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.contains(want), "{template}: {error}");
        }
    }

    #[test]
    fn a_key_has_the_length_that_is_asked_for() {
        for (key, length, want) in [
            (KEY, 25, "6dfzh5ik5vyvhrb0t267ptnew"),
            (KEY, 15, "yvhrb0t267ptnew"),
            (Uuid::from_u128(0), 15, "000000000000000"),
            (Uuid::from_u128(35), 15, "00000000000000z"),
            (Uuid::max(), 25, "f5lxx1zz5pnorynqglhzmsp33"),
        ] {
            let written = KeyForm::Base36 { length }.write(&key);
            assert_eq!(written.len(), length);
            assert_eq!(written, want);
        }
        assert_eq!(KeyForm::Uuid.write(&KEY), "6ba7b810-9dad-41d1-80b4-00c04fd430c8");
    }

    #[test]
    fn a_slot_keeps_to_its_place() {
        let data = RawValue::from_string(r#"{"list":12345678901234567890,"s":"a/b","n":null}"#.into()).unwrap();
        let path = |template: &str, id: &str| {
            let filling = Filling { key: Some(&KEY), upstream_id: Some(id), data: Some(&data) };
            filling.path(&Template::parse(template).unwrap()).ok()
        };
        for (template, id, want) in [
            ("/c/{upstream_id}", "a b/ü", Some("/c/a%20b%2F%C3%BC")),
            ("/c?id=eq.{upstream_id}&x=1", "1&y=2", Some("/c?id=eq.1%26y%3D2&x=1")),
            ("/l/{data/list}/c/{key:15}", "x", Some("/l/12345678901234567890/c/yvhrb0t267ptnew")),
            ("/l/{data/s}", "x", Some("/l/a%2Fb")),
            ("/l/{data/n}", "x", None),
            ("/l/{data/nothing}", "x", None),
            ("/c/{upstream_id}", "", None),
            ("/c/{upstream_id}", "..", None),
            ("/c/{upstream_id}", "../x", None),
            ("/c/.{upstream_id}", "a", Some("/c/.a")),
            ("/c/.{data/list}", "a", Some("/c/.12345678901234567890")),
            ("/c/{upstream_id}{upstream_id}", ".", None),
            ("/c/v{upstream_id}/x", "..x", Some("/c/v..x/x")),
        ] {
            assert_eq!(path(template, id).as_deref(), want, "{template} {id}");
        }
        let header = |id: &str| {
            let filling = Filling { key: None, upstream_id: Some(id), data: None };
            filling.header(&Template::parse("id {upstream_id}").unwrap()).ok()
        };
        for (id, want) in [("a;b c", Some("id a;b c")), ("a\r\nb", None), ("é", None), ("a ", None), ("\0", None)] {
            assert_eq!(header(id).as_ref().map(|value| value.to_str().unwrap()), want, "{id:?}");
        }
        let nothing = Filling { key: None, upstream_id: None, data: None };
        for slot in ["{key}", "{upstream_id}", "{data}"] {
            assert!(nothing.plain(&Template::parse(slot).unwrap()).is_err(), "{slot}");
        }
    }
}
