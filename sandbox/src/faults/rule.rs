//! One rule, as it is posted. Incompatible parts are refused here: a silently ignored part would make a test pass for
//! the wrong reason.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use mutation_api::MUTATIONS;
use serde::Deserialize;
use serde_json::Value;

use super::Target;
use crate::wire::Drip;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default = "once")]
    pub times: Option<u64>,
    #[serde(default, rename = "match")]
    pub wanted: Wanted,
    apply: Option<bool>,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    pub hold: bool,
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_hex: Option<String>,
    pub raw: Option<String>,
    #[serde(default)]
    pub chunked: bool,
    pub stall: Option<Stall>,
    pub drip: Option<Drip>,
    pub cut_after: Option<u64>,
    #[serde(default)]
    pub reset: bool,
    pub read_only_bytes: Option<usize>,
    #[serde(skip)]
    pub checked: Checked,
    /// How often the rules had been cleared when it was posted.
    #[serde(skip)]
    pub generation: u64,
}

/// The parts that are converted once.
#[derive(Default)]
pub struct Checked {
    pub status: Option<StatusCode>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Option<Bytes>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// `*` is any path outside `/sandbox`.
    path: Option<String>,
    kind: Option<String>,
    collection_id: Option<String>,
    body_contains: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Stall {
    BodyRead,
    Reply,
    ReplyBody,
}

fn once() -> Option<u64> {
    Some(1)
}

impl Rule {
    pub fn parse(source: &Value) -> Result<Rule, String> {
        let mut rule = Rule::deserialize(source).map_err(|error| error.to_string())?;
        rule.check()?;
        rule.checked.status = match rule.status {
            Some(status) => Some(StatusCode::from_u16(status).map_err(|e| format!("status: {e}"))?),
            None => None,
        };
        for (name, value) in &rule.headers {
            let name = HeaderName::try_from(name).map_err(|e| format!("headers: {e}"))?;
            let value = HeaderValue::try_from(value).map_err(|e| format!("headers: {e}"))?;
            rule.checked.headers.push((name, value));
        }
        rule.checked.body = match (rule.body.take(), rule.body_hex.take()) {
            (Some(_), Some(_)) => return Err("body and body_hex exclude each other".into()),
            (Some(text), None) => Some(text.into()),
            (None, Some(hex)) => Some(unhex(&hex).ok_or("body_hex: not hexadecimal")?.into()),
            (None, None) => None,
        };
        Ok(rule)
    }

    fn check(&self) -> Result<(), String> {
        let shapes_reply = self.status.is_some()
            || !self.headers.is_empty()
            || self.body.is_some()
            || self.body_hex.is_some()
            || self.chunked;
        let on_the_wire = self.raw.is_some() || self.drip.is_some() || self.cut_after.is_some();
        let no_reply = self.is_early() || self.stall == Some(Stall::Reply);
        let refuse = |reason: &str| Err(reason.into());
        if self.times == Some(0) {
            return refuse("times: at least 1, or null for ever");
        }
        if self.status.is_some_and(|status| !(200..600).contains(&status)) {
            return refuse("status: from 200 to 599");
        }
        if self.drip.is_some_and(|drip| drip.bytes == 0) {
            return refuse("drip: at least one byte");
        }
        if self.is_early() && self.wanted.needs_body() {
            return refuse("this rule acts before the body is read: match cannot look into the body");
        }
        if self.hold && (self.is_early() || self.stall.is_some()) {
            return refuse("hold and what sends no reply, or a part, exclude each other");
        }
        if self.is_early() && self.apply == Some(true) {
            return refuse("this rule acts before the body is read: apply cannot be true");
        }
        if self.stall.is_some() && self.read_only_bytes.is_some() {
            return refuse("stall and read_only_bytes exclude each other");
        }
        if no_reply && (shapes_reply || on_the_wire) {
            return refuse("this rule sends no reply: nothing else can be said about it");
        }
        if self.raw.is_some() && shapes_reply {
            return refuse("raw is the whole reply: no status, headers, body or chunked beside it");
        }
        if self.reset && self.stall.is_some() {
            return refuse("reset and stall exclude each other");
        }
        if self.reset && self.cut_after.is_none() && (shapes_reply || on_the_wire) {
            return refuse("reset alone sends nothing: give cut_after to send a part of the reply first");
        }
        Ok(())
    }

    /// Acts before the body is read.
    pub fn is_early(&self) -> bool {
        self.stall == Some(Stall::BodyRead) || self.read_only_bytes.is_some()
    }

    /// A status other than success means that the request was not carried out, unless the rule says otherwise.
    pub fn applies(&self) -> bool {
        let default = self.status.is_none_or(|status| status < 300);
        self.apply.unwrap_or(default)
    }

    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }
}

/// The two fields of a mutation that a rule, or an error's text, depends on. Empty for any other body.
#[derive(Deserialize, Default)]
pub struct Peek<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub collection_id: Cow<'a, str>,
}

impl<'a> Peek<'a> {
    pub fn of(body: &'a [u8]) -> Peek<'a> {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

impl Wanted {
    pub fn path_is(&self, path: &str) -> bool {
        let wanted = self.path.as_deref().unwrap_or(MUTATIONS);
        wanted == "*" || wanted == path
    }

    pub fn needs_body(&self) -> bool {
        self.kind.is_some() || self.collection_id.is_some() || self.body_contains.is_some()
    }

    pub fn holds(&self, target: &Target) -> bool {
        if !self.path_is(target.path) {
            return false;
        }
        if self.kind.is_some() || self.collection_id.is_some() {
            let peek = Peek::of(target.body);
            let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
            if !is(&self.kind, &peek.kind) || !is(&self.collection_id, &peek.collection_id) {
                return false;
            }
        }
        let contained = |text: &String| memchr::memmem::find(target.body, text.as_bytes()).is_some();
        self.body_contains.as_ref().is_none_or(contained)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| match pair {
            [_, _] => u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_contradict_themselves_are_refused() {
        for (rule, good) in [
            (r#"{}"#, true),
            (r#"{"times":null,"delay_ms":5}"#, true),
            (r#"{"times":0}"#, false),
            (r#"{"hold":true,"delay_ms":5,"status":500}"#, true),
            (r#"{"hold":true,"stall":"reply"}"#, false),
            (r#"{"hold":true,"stall":"reply_body"}"#, false),
            (r#"{"hold":true,"read_only_bytes":10}"#, false),
            (r#"{"sattus":500}"#, false),
            (r#"{"status":100}"#, false),
            (r#"{"status":503,"headers":{"retry-after":"2"},"body":"x"}"#, true),
            (r#"{"stall":"body_read"}"#, true),
            (r#"{"stall":"body_read","match":{"kind":"create"}}"#, false),
            (r#"{"stall":"body_read","match":{"path":"*"}}"#, true),
            (r#"{"stall":"body_read","apply":true}"#, false),
            (r#"{"stall":"reply","status":500}"#, false),
            (r#"{"stall":"reply_body","drip":{"bytes":1,"every_ms":1}}"#, true),
            (r#"{"reset":true}"#, true),
            (r#"{"reset":true,"read_only_bytes":10}"#, true),
            (r#"{"reset":true,"cut_after":10,"status":500}"#, true),
            (r#"{"reset":true,"status":500}"#, false),
            (r#"{"raw":"HTTP/1.1 000"}"#, true),
            (r#"{"raw":"x","status":500}"#, false),
            (r#"{"body_hex":"fffe"}"#, true),
            (r#"{"body_hex":"fff"}"#, false),
        ] {
            let source = serde_json::from_str(rule).unwrap();
            assert_eq!(Rule::parse(&source).is_ok(), good, "{rule}");
        }
    }
}
