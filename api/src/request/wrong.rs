//! The wrong fields of a request, collected.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::reply::Faulty;

/// Each check adds the errors that it finds, and returns a stand-in for a wrong value. So one pass finds all of them.
#[derive(Default)]
pub(super) struct Wrong(Faulty);

impl Wrong {
    pub fn add(&mut self, field: &str, text: impl Into<String>) {
        self.0.entry(field.into()).or_default().push(text.into());
    }

    pub fn with(mut self, field: &str, text: String) -> Faulty {
        self.add(field, text);
        self.0
    }

    pub fn into_fields(self) -> Faulty {
        self.0
    }

    pub fn none(self) -> Result<(), Faulty> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }

    pub fn typed<'a, T: Deserialize<'a>>(&mut self, field: &str, raw: &'a RawValue, what: &str) -> Option<T> {
        let value = serde_json::from_str(raw.get()).ok();
        if value.is_none() {
            self.add(field, format!("must be {what}"));
        }
        value
    }

    /// A required string that is not blank.
    pub fn text(&mut self, field: &str, raw: Option<&RawValue>) -> String {
        let Some(raw) = raw else {
            self.add(field, "is missing");
            return String::new();
        };
        let text: Option<String> = self.typed(field, raw, "a string");
        if text.as_deref().is_some_and(|text| text.trim().is_empty()) {
            self.add(field, "must not be blank");
        }
        text.unwrap_or_default()
    }

    /// A required array with at least one element, each of which is checked.
    pub fn elements<'a, T>(
        &mut self,
        field: &str,
        raw: Option<&'a RawValue>,
        check: fn(&'a RawValue) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(raw) = raw else {
            self.add(field, "is missing");
            return Vec::new();
        };
        let list: Option<Vec<&RawValue>> = self.typed(field, raw, "an array");
        if list.as_ref().is_some_and(Vec::is_empty) {
            self.add(field, "must have at least one element");
        }
        let mut elements = Vec::new();
        for (at, element) in list.unwrap_or_default().into_iter().enumerate() {
            match check(element) {
                Ok(element) => elements.push(element),
                Err(error) => self.add(&format!("{field}[{at}]"), error),
            }
        }
        elements
    }
}
