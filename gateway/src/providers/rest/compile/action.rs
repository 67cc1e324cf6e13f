//! Checks the description of one kind of request.

use http::{HeaderName, Method};
use toml::Spanned;

use super::{Shared, fault, header_name, rules, shape};
use crate::config::Fault;
use crate::providers::path;
use crate::providers::rest::body::Body;
use crate::providers::rest::description;
use crate::providers::rest::rule::{Rule, Verdict};
use crate::providers::rest::template::{KeyForm, Part, Slot, Template};
use crate::providers::rest::{Action, Encoding, Kind};

/// The default of `applied`. 202 is not in it: the service has not done it yet.
const APPLIED: [u16; 3] = [200, 201, 204];

/// The characters that may stand in a path, beside letters and digits.
const PATH_MARKS: &str = "-._~!$&()*+,;=:@/?%";

pub fn compile(described: &Spanned<description::Action>, kind: Kind, shared: &Shared) -> Result<Action, Fault> {
    let check = Check { kind, whole: described };
    let action = described.get_ref();
    let shape = |reply: &Option<description::Reply>| reply.as_ref().map(shape).transpose();
    let mut compiled = Action {
        method: check.method(&action.method)?,
        path: check.path(&action.path)?,
        id: None,
        headers: check.headers(action)?,
        body: check.body(action.body.as_ref())?,
        encoding: check.encoding(action.encoding.as_ref())?,
        rules: check.rules(action, shared)?,
        reply: shape(&action.reply)?.unwrap_or_else(|| shared.reply.clone()),
        existing: shape(&action.existing)?.unwrap_or_default(),
        any_body: action.any_body,
        places: shared.places.clone(),
    };
    if kind != Kind::Create && !compiled.slots().any(|slot| *slot == Slot::UpstreamId) {
        let message = "needs {upstream_id} in the path or the body, or it would be the same for all records";
        return Err(fault(&action.path, message));
    }
    compiled.id = match &action.id {
        Some(id) => Some(check.id(id, &compiled)?),
        None if kind == Kind::Create => key_at_end(&compiled.path),
        None => None,
    };
    check.already(action, &compiled)?;
    Ok(compiled)
}

/// The check of one action.
struct Check<'a> {
    kind: Kind,
    whole: &'a Spanned<description::Action>,
}

impl Check<'_> {
    fn method(&self, text: &Spanned<String>) -> Result<Method, Fault> {
        let allowed: &[Method] = match self.kind {
            Kind::Create | Kind::Update => &[Method::POST, Method::PUT, Method::PATCH],
            Kind::Delete => &[Method::DELETE, Method::POST, Method::PUT, Method::PATCH],
            Kind::Read => &[Method::GET, Method::POST],
        };
        allowed.iter().find(|method| method.as_str() == text.get_ref()).cloned().ok_or_else(|| {
            let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            fault(text, format!("must be one of {}", names.join(", ")))
        })
    }

    fn path(&self, text: &Spanned<String>) -> Result<Template, Fault> {
        let template = self.template(text)?;
        let plain: String = template
            .0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text,
                Part::Slot(_) => "x",
            })
            .collect();
        let route = plain.split('?').next().unwrap_or_default();
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || PATH_MARKS.contains(c);
        let has_bad_percent = plain
            .split('%')
            .skip(1)
            .any(|rest| !rest.get(..2).is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())));
        let message = match () {
            () if !plain.starts_with('/') || plain.starts_with("//") => "must begin with one slash",
            () if !plain.chars().all(is_allowed) || has_bad_percent => "has a character that must be percent-encoded",
            () if route.split('/').any(path::is_dots) => "must not have the part . or ..",
            () => return Ok(template),
        };
        Err(fault(text, message))
    }

    fn headers(&self, described: &description::Action) -> Result<Vec<(HeaderName, Template)>, Fault> {
        let headers = described.headers.iter();
        headers.map(|(name, value)| Ok((header_name(name)?, self.template(value)?))).collect()
    }

    /// A template for a place that takes text.
    fn template(&self, text: &Spanned<String>) -> Result<Template, Fault> {
        let template = Template::parse(text.get_ref()).map_err(|error| fault(text, error))?;
        self.allow(template.slots()).map_err(|error| fault(text, error))?;
        if template.slots().any(|slot| *slot == Slot::Data) {
            return Err(fault(text, "{data} is for bodies, and {data/POINTER} for a text in it"));
        }
        Ok(template)
    }

    /// Whether this kind of request has values for all slots.
    fn allow<'s>(&self, mut slots: impl Iterator<Item = &'s Slot>) -> Result<(), &'static str> {
        let missing = |slot: &Slot| match (slot, self.kind) {
            (Slot::UpstreamId, Kind::Create) => Some("a create has no {upstream_id} yet"),
            (Slot::Data | Slot::Member(_), Kind::Delete | Kind::Read) => Some("there is no {data}"),
            (Slot::Key(_), Kind::Read) => Some("a read has no {key}"),
            _ => None,
        };
        slots.find_map(missing).map_or(Ok(()), Err)
    }

    fn body(&self, described: Option<&Spanned<toml::Value>>) -> Result<Option<Body>, Fault> {
        let body = match described {
            None => None,
            Some(value) => {
                let body = Body::parse(value.get_ref()).map_err(|error| fault(value, error))?;
                let data = body.has_data().then_some(&Slot::Data);
                self.allow(body.slots().into_iter().chain(data)).map_err(|error| fault(value, error))?;
                Some(body)
            }
        };
        let writes = matches!(self.kind, Kind::Create | Kind::Update);
        match body.as_ref().is_some_and(Body::has_data) {
            false if writes => Err(fault(self.whole, "needs \"{data}\" in a body, or the data would be lost")),
            _ => Ok(body),
        }
    }

    fn encoding(&self, text: Option<&Spanned<String>>) -> Result<Encoding, Fault> {
        match text.map(|text| (text, text.get_ref().as_str())) {
            None | Some((_, "json")) => Ok(Encoding::Json),
            Some((_, "form")) => Ok(Encoding::Form),
            Some((text, _)) => Err(fault(text, "must be json or form")),
        }
    }

    fn rules(&self, described: &description::Action, shared: &Shared) -> Result<Vec<Rule>, Fault> {
        if let (Some(gone), Kind::Create | Kind::Read) =
            (described.gone.as_ref().and_then(|gone| gone.first()), self.kind)
        {
            return Err(fault(gone, "is for an update or a delete"));
        }
        let mut all = shared.limited.clone();
        all.extend(shared.rejected.iter().cloned());
        let lists = [
            (&described.already, &[] as &[u16], Verdict::Already),
            (&described.gone, &[], Verdict::Gone),
            (&described.applied, &APPLIED, Verdict::Applied),
        ];
        for (list, default, verdict) in lists {
            let rules = rules(list.as_deref(), default, verdict)?;
            for (at, rule) in rules.iter().enumerate() {
                let is_double = |other: &&Rule| (other.status, &other.test) == (rule.status, &rule.test);
                let (Some(_), Some(list)) = (all.iter().find(is_double), list) else { continue };
                return Err(fault(&list[at], format!("{} already means something else", rule.status)));
            }
            all.extend(rules);
        }
        Ok(all)
    }

    /// The slot of the key that is the id of a new record.
    fn id(&self, text: &Spanned<String>, action: &Action) -> Result<KeyForm, Fault> {
        if self.kind != Kind::Create {
            return Err(fault(text, "is for a create"));
        }
        let template = Template::parse(text.get_ref()).map_err(|error| fault(text, error))?;
        match template.only_slot() {
            Some(slot @ Slot::Key(form)) if action.slots().any(|other| other == slot) => Ok(*form),
            _ => Err(fault(text, "must be the slot of the key that is in the path or the body")),
        }
    }

    /// Whether a reply that says "it is there already" can be about this record only.
    fn already(&self, described: &description::Action, action: &Action) -> Result<(), Fault> {
        let Some(first) = described.already.as_ref().and_then(|already| already.first()) else { return Ok(()) };
        let has_key = action.slots().any(|slot| matches!(slot, Slot::Key(_)));
        let message = match self.kind {
            Kind::Create if !has_key => {
                "needs {key} in the path or the body: how else would the record be known again?"
            }
            Kind::Create if action.id.is_none() && !action.existing.names_id() => {
                "needs `id`, or `existing` with an upstream_id"
            }
            Kind::Create => return Ok(()),
            _ => "is for a create",
        };
        Err(fault(first, message))
    }
}

/// The key, if it is the last segment of a path: a create at such a path chooses the id.
fn key_at_end(path: &Template) -> Option<KeyForm> {
    let route_end = path.0.iter().position(|part| matches!(part, Part::Text(text) if text.contains('?')));
    let (before, last) = match (route_end, &*path.0) {
        (None, [before @ .., Part::Slot(Slot::Key(form))]) => (before.last(), form),
        (Some(end), parts) => match (&parts[..end], &parts[end]) {
            ([before @ .., Part::Slot(Slot::Key(form))], Part::Text(query)) if query.starts_with('?') => {
                (before.last(), form)
            }
            _ => return None,
        },
        _ => return None,
    };
    matches!(before, Some(Part::Text(text)) if text.ends_with('/')).then_some(*last)
}
