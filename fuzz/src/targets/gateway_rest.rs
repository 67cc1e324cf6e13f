//! Input: a byte for the kind of the change, two bytes for the status of the reply, a line with the upstream id, and
//! three texts with `---` on a line between them: the description of the collection `c` in TOML, the data, and the body
//! of the reply.
//!
//! - A fault is at a place of the description.
//! - A path is one that no parser of URLs changes, and a body is what its content type says.
//! - A reply has one outcome, and only a status that the description calls so is applied.
//! - What was applied has the id that the request names.

use std::collections::BTreeMap;

use gateway::providers::rest::{Description, Rest};
use gateway::providers::{Kind, Outcome, Provider, ProviderReply};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::gateway_stripe::planned;
use super::gateway_text;
use crate::input::Input;

#[derive(Deserialize)]
struct File {
    c: Description,
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (kind, status) = (input.below(4), 100 + input.two() % 500);
    let id = input.line();
    let rest = input.rest();
    let (description, rest) = cut(rest);
    let (data, body) = cut(rest);
    let description = String::from_utf8_lossy(description);
    let Ok(File { c }) = toml::from_str::<File>(&description) else { return };
    let rest = match Rest::compile(BTreeMap::from([("c".to_owned(), c)])) {
        Ok(rest) => rest,
        Err(fault) => {
            assert!(!fault.message.is_empty());
            return assert!(fault.span.is_none_or(|span| description.get(span).is_some()));
        }
    };
    let request = match kind {
        3 => rest.read_back("c", &id),
        _ => planned(&rest, "c", kind, &id, &String::from_utf8_lossy(data)),
    };
    let Some(mut request) = request else { return };
    gateway_text::keeps_its_path(&request.path);
    match request.headers.get("content-type").map(|value| value.as_bytes()) {
        Some(b"application/json") => {
            serde_json::from_slice::<&RawValue>(&request.body).expect("the body is JSON");
        }
        Some(b"application/x-www-form-urlencoded") => {
            assert!(request.body.iter().all(u8::is_ascii_graphic));
        }
        _ => {}
    }
    request.elements = vec![0];
    let reply = ProviderReply { status, headers: HeaderMap::new(), body: body.to_vec().into() };
    let outcomes = rest.judge(&request, &reply);
    let [outcome] = &outcomes[..] else { panic!("{} outcomes of one record", outcomes.len()) };
    gateway_text::is_harmless(outcome);
    if let Outcome::Applied(written) = outcome {
        let named = request.upstream_ids.first();
        assert!(named.is_none() || named == written.upstream_id.as_ref());
        assert_eq!(written.is_deleted, request.kind == Kind::Delete);
        assert!(written.data.as_ref().is_none_or(|data| data.get().starts_with('{')));
        // A number that is no status of a rule cannot be one that says "applied".
        assert!([200, 201, 204].contains(&status) || description.contains(&status.to_string()));
    }
    if let Outcome::Gone(_) = outcome {
        assert!(matches!(request.kind, Kind::Update | Kind::Delete));
    }
}

/// What is before and after the first line `---`.
fn cut(bytes: &[u8]) -> (&[u8], &[u8]) {
    const LINE: &[u8] = b"\n---\n";
    match bytes.windows(LINE.len()).position(|window| window == LINE) {
        Some(at) => (&bytes[..at], &bytes[at + LINE.len()..]),
        None => (bytes, &[]),
    }
}
