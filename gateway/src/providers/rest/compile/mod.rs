//! Checks descriptions. What passes can be followed, and leaves no data out.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;
use toml::Spanned;

use super::description::{self, Description, Reply, When};
use super::rule::{Rule, Verdict};
use super::shape::{Shape, TimePlace};
use super::template::Slot;
use super::words::Places;
use super::{Action, Collection, Kind, Replayed, Rest};
use crate::config::Fault;
use crate::providers::json::Pointer;
use crate::providers::times::Unit;

mod action;
#[cfg(test)]
mod tests;

/// Headers that belong to the connection, to the body or to the credential.
const RESERVED_HEADERS: [&str; 14] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The default of `limited`.
const LIMITED: [u16; 2] = [423, 429];

impl Rest {
    /// The provider for these collections, by name.
    ///
    /// # Errors
    /// The first fault. Its message does not name the key at its span.
    pub fn compile(descriptions: BTreeMap<String, Description>) -> Result<Rest, Fault> {
        if descriptions.is_empty() {
            return Err(Fault { span: None, message: "collection: the provider rest needs at least one".into() });
        }
        let compiled = descriptions.into_iter().map(|(name, description)| {
            let collection = collection(&name, &description)?;
            Ok((name, collection))
        });
        Ok(Rest { name: "REST".into(), collections: compiled.collect::<Result<_, Fault>>()? })
    }
}

/// What the actions of a collection share.
struct Shared {
    reply: Shape,
    limited: Vec<Rule>,
    rejected: Vec<Rule>,
    places: Places,
}

fn fault<T>(at: &Spanned<T>, message: impl Into<String>) -> Fault {
    Fault { span: Some(at.span()), message: message.into() }
}

fn collection(name: &str, described: &Description) -> Result<Collection, Fault> {
    let places = match &described.error {
        Some(places) => Places::new(places.iter().map(|at| pointer(at, at.get_ref())).collect::<Result<_, _>>()?),
        None => Places::default(),
    };
    let shared = Shared {
        reply: described.reply.as_ref().map_or_else(|| Ok(Shape::default()), shape)?,
        limited: rules(described.limited.as_deref(), &LIMITED, Verdict::Limited)?,
        rejected: rules(described.rejected.as_deref(), &[], Verdict::Rejected)?,
        places,
    };
    let compiled = |described: &Option<Spanned<description::Action>>, kind| {
        described.as_ref().map(|described| action::compile(described, kind, &shared)).transpose()
    };
    let collection = Collection {
        create: compiled(&described.create, Kind::Create)?,
        update: compiled(&described.update, Kind::Update)?,
        delete: compiled(&described.delete, Kind::Delete)?,
        read: compiled(&described.read, Kind::Read)?,
        replay: match (&described.replay, &described.create) {
            (None, _) => Replayed::Never,
            (Some(replay), Some(_)) => replayed(replay)?,
            (Some(replay), None) => return Err(fault(replay, "is for a create, and there is none")),
        },
    };
    if [&collection.create, &collection.update, &collection.delete].into_iter().all(Option::is_none) {
        let message = format!("the collection {name} needs a create, an update or a delete");
        return Err(Fault { span: None, message });
    }
    if let (Some(replay), Some(create)) = (&described.replay, &collection.create) {
        fits(&collection.replay, create).map_err(|message| fault(replay, message))?;
    }
    Ok(collection)
}

fn replayed(described: &Spanned<description::Replay>) -> Result<Replayed, Fault> {
    let description::Replay { kind, header, window } = described.get_ref();
    let replayed = match kind.get_ref().as_str() {
        "none" => Replayed::Never,
        "unique_id" => Replayed::UniqueId,
        "upsert" => Replayed::Upsert,
        "key_header" => {
            let (Some(header), Some(window)) = (header, window) else {
                return Err(fault(described, "key_header needs a header and a window"));
            };
            return Ok(Replayed::KeyHeader {
                header: header_name(header)?,
                window: match humantime::parse_duration(window.get_ref()) {
                    Ok(window) if window > Duration::ZERO => window,
                    _ => return Err(fault(window, "must be a duration such as 24h")),
                },
            });
        }
        _ => return Err(fault(kind, "must be key_header, unique_id, upsert or none")),
    };
    match header.as_ref().or(window.as_ref()) {
        Some(other) => Err(fault(other, "is for key_header")),
        None => Ok(replayed),
    }
}

/// Whether a create is one that the service can know again.
fn fits(replay: &Replayed, create: &Action) -> Result<(), &'static str> {
    let has_key = create.slots().any(|slot| matches!(slot, Slot::Key(_)));
    let has_already = create.rules.iter().any(|rule| rule.verdict == Verdict::Already);
    let sets = |name: &HeaderName| create.headers.iter().any(|(header, _)| header == name);
    match replay {
        Replayed::UniqueId if !has_key => Err("unique_id needs {key} in the path or the body of the create"),
        Replayed::UniqueId if !has_already => {
            Err("unique_id needs `already` in the create: how else would a conflict with an earlier attempt be known?")
        }
        Replayed::Upsert if !has_key => Err("upsert needs {key} in the path or the body of the create"),
        Replayed::KeyHeader { header, .. } if sets(header) => Err("the create sets this header too"),
        _ => Ok(()),
    }
}

/// The rules of a list, or else of the default statuses.
fn rules(described: Option<&[Spanned<When>]>, default: &[u16], verdict: Verdict) -> Result<Vec<Rule>, Fault> {
    match described {
        Some(list) => {
            list.iter().map(|when| Rule::new(when.get_ref(), verdict).map_err(|error| fault(when, error))).collect()
        }
        None => Ok(default.iter().map(|&status| Rule { status, test: None, verdict }).collect()),
    }
}

fn shape(described: &Reply) -> Result<Shape, Fault> {
    let time = |time: &Option<Spanned<description::Time>>| {
        let Some(time) = time else { return Ok(None) };
        let unit = match time.get_ref().unit.as_deref() {
            None => None,
            Some("s") => Some(Unit::Seconds),
            Some("ms") => Some(Unit::Milliseconds),
            Some(_) => return Err(fault(time, "its unit must be s or ms")),
        };
        Ok(Some(TimePlace { pointer: pointer(time, &time.get_ref().at)?, unit }))
    };
    let optional = |text: &Option<Spanned<String>>| text.as_ref().map(|text| pointer(text, text.get_ref())).transpose();
    Ok(Shape {
        id: optional(&described.upstream_id)?,
        id_header: described.upstream_id_header.as_ref().map(header_name).transpose()?,
        created_at: time(&described.created_at)?,
        updated_at: time(&described.updated_at)?,
        data: optional(&described.data)?,
    })
}

fn pointer<T>(at: &Spanned<T>, text: &str) -> Result<Pointer, Fault> {
    text.parse().map_err(|error| fault(at, format!("the pointer {text:?} {error}")))
}

fn header_name(name: &Spanned<String>) -> Result<HeaderName, Fault> {
    let text = name.get_ref();
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(header) if RESERVED_HEADERS.contains(&header.as_str()) => {
            Err(fault(name, format!("the gateway itself takes care of {text}")))
        }
        Ok(header) => Ok(header),
        Err(_) => Err(fault(name, format!("{text:?} is no name of a header"))),
    }
}
