//! `provider` of a sync, and the keys that only one provider has.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::de::{DeValue, ValueDeserializer};

use super::section::{Section, join};
use crate::providers::rest::{Description, Rest};
use crate::providers::stripe::Stripe;
use crate::providers::{Provider, text};

/// The longest name of a service, in characters.
const MAX_NAME: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Http(HttpKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpKind {
    Rest,
    Stripe,
}

pub const KINDS: [(&str, Kind); 3] =
    [("memory", Kind::Memory), ("rest", Kind::Http(HttpKind::Rest)), ("stripe", Kind::Http(HttpKind::Stripe))];

impl HttpKind {
    /// Where the provider is for everyone. None: each account has an address of its own.
    pub fn default_base_url(self) -> Option<&'static str> {
        match self {
            HttpKind::Rest => None,
            HttpKind::Stripe => Some("https://api.stripe.com"),
        }
    }
}

/// None: there is a fault, which is noted.
pub fn read(section: &mut Section<'_, '_>, kind: HttpKind) -> Option<Arc<dyn Provider>> {
    match kind {
        HttpKind::Stripe => Some(Arc::new(Stripe)),
        HttpKind::Rest => rest(section),
    }
}

fn rest(section: &mut Section<'_, '_>) -> Option<Arc<dyn Provider>> {
    let name = section.parsed("name", service_name);
    let collections = section.required("collection", |section| section.raw("collection"))?;
    if collections.is_empty() {
        section.fault_here("collection", "is empty: a collection is [sync.NAME.collection.TYPE]");
        return None;
    }
    let mut places = Vec::new();
    let mut descriptions = BTreeMap::new();
    let count = collections.len();
    for (name, span, value) in collections {
        let path = join("collection", &name);
        places.push(Place { span: span.start..value.span().end, path: path.clone() });
        collect_places(&path, value.get_ref(), &mut places);
        match Description::deserialize(ValueDeserializer::from(value)) {
            Ok(description) => {
                descriptions.insert(name, description);
            }
            Err(error) => note(section, &places, error.span().or(Some(span)), error.message()),
        }
    }
    if descriptions.len() < count {
        return None;
    }
    match Rest::compile(descriptions) {
        Ok(rest) => Some(match name {
            Some(name) => Arc::new(rest.named(name.value)),
            None => Arc::new(rest),
        }),
        Err(fault) => {
            note(section, &places, fault.span, &fault.message);
            None
        }
    }
}

/// What error texts call a service: `PocketBase`.
fn service_name(text: &str) -> Result<String, String> {
    match text::message(text) == text && (1..=MAX_NAME).contains(&text.chars().count()) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be one plain line of at most {MAX_NAME} characters")),
    }
}

/// A key of a description, for errors that only know a span.
struct Place {
    span: Range<usize>,
    path: String,
}

fn collect_places(path: &str, value: &DeValue<'_>, places: &mut Vec<Place>) {
    let DeValue::Table(table) = value else { return };
    for (key, value) in table {
        let path = join(path, key.get_ref());
        places.push(Place { span: key.span().start..value.span().end, path: path.clone() });
        collect_places(&path, value.get_ref(), places);
    }
}

/// Notes a fault under the innermost key that holds its span.
fn note(section: &Section<'_, '_>, places: &[Place], span: Option<Range<usize>>, message: &str) {
    let span = span.unwrap_or_else(|| section.span());
    let holds = |place: &&Place| place.span.start <= span.start && span.end <= place.span.end;
    let innermost = places.iter().filter(holds).min_by_key(|place| place.span.len());
    let path = innermost.map_or("collection", |place| place.path.as_str());
    section.fault_at_path(path, &span, message);
}
