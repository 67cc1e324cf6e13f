//! Any REST service that the configuration describes: one request for each record, and rules for its replies.
//!
//! The map:
//! - `description`  the tables of the configuration, as they are written
//! - `compile`      their check, and what the rest works with
//! - `template`     texts with slots               - `body`   JSON of such texts
//! - `rule`         which replies mean what        - `judge`  what a reply means
//! - `shape`        where a reply has the record   - `words`  where an error has its words

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mutation_api::request::{Change, Mutation};
use uuid::Uuid;

use self::body::Body;
use self::rule::Rule;
use self::shape::Shape;
use self::template::{Filling, KeyForm, Slot, Template};
use self::words::Places;
use super::{Kind, Outcome, Provider, ProviderReply, ProviderRequest, Refusal, Repeat, Written, form};

mod body;
mod compile;
mod description;
mod judge;
mod rule;
mod shape;
mod template;
mod words;

#[cfg(test)]
mod tests;

pub use description::{Action as ActionDescription, Description, Replay, Reply, Time, When};

/// The provider `rest`: the collections of one sync.
#[derive(Clone, Debug)]
pub struct Rest {
    name: String,
    collections: BTreeMap<String, Collection>,
}

/// A described collection, checked.
#[derive(Clone, Debug)]
struct Collection {
    create: Option<Action>,
    update: Option<Action>,
    delete: Option<Action>,
    read: Option<Action>,
    replay: Replayed,
}

/// A described kind of request, checked.
#[derive(Clone, Debug)]
struct Action {
    method: Method,
    path: Template,
    /// The id that the gateway chooses. None: the provider does, or the record exists.
    id: Option<KeyForm>,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Body>,
    encoding: Encoding,
    rules: Vec<Rule>,
    reply: Shape,
    existing: Shape,
    any_body: bool,
    places: Places,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Json,
    Form,
}

/// What makes a second create harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Replayed {
    Never,
    KeyHeader { header: HeaderName, window: Duration },
    UniqueId,
    Upsert,
}

impl Rest {
    /// The same with a name of its own in error texts, as the service spells it. Without it, the name is `REST`.
    pub fn named(self, name: impl Into<String>) -> Rest {
        Rest { name: name.into(), ..self }
    }

    /// A collection by its whole id, or by what follows the first colon.
    fn collection(&self, id: &str) -> Option<&Collection> {
        let name = || id.split_once(':').map(|(_, name)| name);
        self.collections.get(id).or_else(|| self.collections.get(name()?))
    }
}

impl Provider for Rest {
    fn name(&self) -> &str {
        &self.name
    }

    fn max_records(&self, _: &Mutation<'_>) -> usize {
        1
    }

    fn plan(&self, mutation: &Mutation<'_>, keys: &[Uuid]) -> Result<Vec<ProviderRequest>, Refusal> {
        let id = &*mutation.collection_id;
        let unknown = || Refusal::new(&format!("there is no collection {id:?}"));
        let collection = self.collection(id).ok_or_else(unknown)?;
        let fillings: Vec<Filling<'_>> = match &mutation.change {
            Change::Create(records) => {
                records.iter().map(|record| Filling { data: Some(&record.data), ..Filling::default() }).collect()
            }
            Change::Update(records) => records
                .iter()
                .map(|record| Filling {
                    upstream_id: Some(&record.upstream_id),
                    data: Some(&record.data),
                    ..Filling::default()
                })
                .collect(),
            Change::Delete(records) => records
                .iter()
                .map(|record| Filling { upstream_id: Some(&record.upstream_id), ..Filling::default() })
                .collect(),
        };
        let kind = match mutation.change {
            Change::Create(_) => Kind::Create,
            Change::Update(_) => Kind::Update,
            Change::Delete(_) => Kind::Delete,
        };
        let numbered = fillings.into_iter().zip(keys).enumerate();
        numbered
            .map(|(at, (filling, key))| {
                let filling = Filling { key: Some(key), ..filling };
                Ok(ProviderRequest { elements: vec![at], ..collection.request(id, kind, &filling)? })
            })
            .collect()
    }

    fn judge(&self, request: &ProviderRequest, reply: &ProviderReply) -> Vec<Outcome> {
        let action = self.collection(&request.collection).and_then(|collection| collection.action(request.kind));
        let outcome = match action {
            Some(action) => judge::outcome(action, request, reply),
            None => Outcome::Unknown { may_repeat: None, refusal: Refusal::new("the collection is not described") },
        };
        vec![outcome; request.elements.len()]
    }

    fn read_back(&self, collection: &str, upstream_id: &str) -> Option<ProviderRequest> {
        let filling = Filling { upstream_id: Some(upstream_id), ..Filling::default() };
        self.collection(collection)?.request(collection, Kind::Read, &filling).ok()
    }

    fn judge_read(&self, request: &ProviderRequest, reply: &ProviderReply) -> Option<Written> {
        let action = self.collection(&request.collection)?.read.as_ref()?;
        judge::read(action, request, reply)
    }
}

impl Collection {
    fn action(&self, kind: Kind) -> Option<&Action> {
        match kind {
            Kind::Create => self.create.as_ref(),
            Kind::Update => self.update.as_ref(),
            Kind::Delete => self.delete.as_ref(),
            Kind::Read => self.read.as_ref(),
        }
    }

    fn request(&self, collection: &str, kind: Kind, filling: &Filling<'_>) -> Result<ProviderRequest, Refusal> {
        let action = self
            .action(kind)
            .ok_or_else(|| Refusal::new(&format!("the collection {collection:?} has no {}", kind.name())))?;
        let (repeat, key_header) = match (&self.replay, kind) {
            (Replayed::Upsert, Kind::Create) | (_, Kind::Update | Kind::Delete | Kind::Read) => {
                (Repeat::Absolute, None)
            }
            (Replayed::Never, _) => (Repeat::Never, None),
            (Replayed::UniqueId, _) => (Repeat::UniqueId, None),
            (Replayed::KeyHeader { header, window }, _) => (Repeat::Key { window: *window }, Some(header)),
        };
        let mut headers = action.headers(filling)?;
        if let (Some(header), Some(key)) = (key_header, filling.key) {
            let value = HeaderValue::from_str(&key.to_string()).map_err(|_| Refusal::new("the key is no header"))?;
            headers.insert(header, value);
        }
        let chosen_id = action.id.zip(filling.key).map(|(form, key)| form.write(key));
        Ok(ProviderRequest {
            method: action.method.clone(),
            path: filling.path(&action.path)?,
            headers,
            body: action.body(filling)?,
            collection: collection.to_owned(),
            kind,
            elements: Vec::new(),
            upstream_ids: filling.upstream_id.map(str::to_owned).or(chosen_id).into_iter().collect(),
            repeat,
        })
    }
}

impl Action {
    /// The slots of its path and its body.
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.path.slots().chain(self.body.iter().flat_map(Body::slots))
    }

    fn headers(&self, filling: &Filling<'_>) -> Result<HeaderMap, Refusal> {
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        if self.body.is_some() {
            let content_type = match self.encoding {
                Encoding::Json => "application/json",
                Encoding::Form => "application/x-www-form-urlencoded",
            };
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, template) in &self.headers {
            headers.insert(name, filling.header(template)?);
        }
        Ok(headers)
    }

    fn body(&self, filling: &Filling<'_>) -> Result<Bytes, Refusal> {
        let Some(body) = &self.body else { return Ok(Bytes::new()) };
        let json = body.fill(filling)?;
        Ok(match self.encoding {
            Encoding::Json => Box::<str>::from(json).into_string().into(),
            Encoding::Form => form::encode(&json)?.into(),
        })
    }
}
