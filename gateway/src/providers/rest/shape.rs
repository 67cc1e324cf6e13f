//! Where a reply has the record's id, its times and its fields.

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use crate::providers::Written;
use crate::providers::json::{self, Pointer};
use crate::providers::times::{self, Unit};

/// A described reply, checked.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Of the id in the body.
    pub id: Option<Pointer>,
    /// The header whose last path segment is the id, if the body does not have it.
    pub id_header: Option<HeaderName>,
    pub created_at: Option<TimePlace>,
    pub updated_at: Option<TimePlace>,
    pub data: Option<Pointer>,
}

#[derive(Clone, Debug)]
pub struct TimePlace {
    pub pointer: Pointer,
    /// None: ISO 8601 text.
    pub unit: Option<Unit>,
}

impl Shape {
    /// The id that a reply names.
    pub fn id(&self, headers: &HeaderMap, body: Option<&RawValue>) -> Option<String> {
        let in_body = self.id.as_ref().and_then(|pointer| json::id(json::at(body?, pointer)?));
        in_body.or_else(|| last_segment(headers.get(self.id_header.as_ref()?)?.to_str().ok()?))
    }

    /// Whether a reply should name an id.
    pub fn names_id(&self) -> bool {
        self.id.is_some() || self.id_header.is_some()
    }

    /// The record that a reply shows, with this id.
    pub fn written(&self, upstream_id: Option<String>, body: Option<&RawValue>) -> Written {
        let time = |place: &Option<TimePlace>| {
            let place = place.as_ref()?;
            let value = json::at(body?, &place.pointer)?;
            match place.unit {
                Some(unit) => times::epoch(value, unit),
                None => times::iso(&json::text(value)?),
            }
        };
        let data = self.data.as_ref().and_then(|pointer| json::at(body?, pointer));
        Written {
            upstream_id,
            data: data.filter(|data| data.get().starts_with('{')).map(RawValue::to_owned),
            created_at: time(&self.created_at),
            updated_at: time(&self.updated_at),
            is_deleted: false,
        }
    }
}

/// The last segment of the path of an address, decoded.
fn last_segment(address: &str) -> Option<String> {
    let path = address.split(['?', '#']).next()?.trim_end_matches('/');
    let segment = path.rsplit('/').next()?;
    let id = percent_decode_str(segment).decode_utf8().ok()?.into_owned();
    json::valid_id(&id).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_and_no_time_is_left_out() {
        let pointer = |text: &str| text.parse().ok();
        let time = |unit| pointer("/at").map(|pointer| TimePlace { pointer, unit });
        let shape = |unit| Shape { created_at: time(unit), data: pointer("/data"), ..Shape::default() };
        for (body, unit, created_at, data) in [
            (r#"{"at":"2026-12-01T00:00:00Z","data":{"n":1.50}}"#, None, "2026-12-01T00:00:00Z", r#"{"n":1.50}"#),
            (r#"{"at":1796083200,"data":[{}]}"#, Some(Unit::Seconds), "2026-12-01T00:00:00Z", ""),
            (r#"{"at":1796083200007,"data":"{}"}"#, Some(Unit::Milliseconds), "2026-12-01T00:00:00.007Z", ""),
            (r#"{"at":1796083200,"data":null}"#, None, "", ""),
            (r#"{"at":"2026-12-01T00:00:00Z"}"#, Some(Unit::Seconds), "", ""),
            ("[]", None, "", ""),
        ] {
            let written = shape(unit).written(None, json::document(body.as_bytes()));
            assert_eq!(written.created_at.as_deref().unwrap_or_default(), created_at, "{body}");
            assert_eq!(written.data.as_deref().map_or("", RawValue::get), data, "{body}");
        }
    }

    #[test]
    fn an_id_is_the_last_segment_of_an_address() {
        for (address, want) in [
            ("https://h/v1/contacts/17", Some("17")),
            ("/contacts/a%20b%2Fc/", Some("a b/c")),
            ("contacts/17?x=1#y", Some("17")),
            ("17", Some("17")),
            ("/", None),
            ("", None),
            ("/contacts/%ff", None),
            ("/contacts/%00", None),
        ] {
            assert_eq!(last_segment(address).as_deref(), want, "{address}");
        }
    }
}
