//! The facts about the scripted provider. Its repetitions and its batches are chosen by the test.

use std::time::Duration;

use bytes::Bytes;
use gateway::providers::{Kind, Outcome, Provider, ProviderReply, ProviderRequest, Refusal, Repeat, Written};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mutation_api::json::{Fields, Text};
use mutation_api::request::{Change, Mutation};
use serde_json::value::RawValue;
use uuid::Uuid;

/// One record a request: `POST /c` with the key in a header, `PATCH /c/{id}`, `DELETE /c/{id}`. Up to `most` creates
/// are one `POST /c/batch` with an array, whose reply is an array too.
#[derive(Clone)]
pub struct Notes {
    /// For creates.
    pub repeat: Repeat,
    pub most: usize,
    /// A reply to a write is an id only.
    pub reads_back: bool,
}

impl Default for Notes {
    fn default() -> Notes {
        Notes { repeat: Repeat::Never, most: 1, reads_back: false }
    }
}

impl Notes {
    pub fn keyed() -> Notes {
        Notes { repeat: Repeat::Key { window: Duration::from_secs(3600) }, ..Notes::default() }
    }
}

impl Provider for Notes {
    fn name(&self) -> &str {
        "Notes"
    }

    fn max_records(&self, mutation: &Mutation<'_>) -> usize {
        if matches!(mutation.change, Change::Create(_)) { self.most } else { 1 }
    }

    fn plan(&self, mutation: &Mutation<'_>, keys: &[Uuid]) -> Result<Vec<ProviderRequest>, Refusal> {
        let collection = mutation.collection_id.rsplit(':').next().unwrap_or_default();
        if collection == "nowhere" {
            return Err(Refusal { message: "there is no collection nowhere".into(), detail: None });
        }
        let version = (HeaderName::from_static("notes-version"), HeaderValue::from_static("1"));
        let mut headers = HeaderMap::from_iter([version]);
        let (method, path, body, ids) = match &mutation.change {
            Change::Create(records) => {
                headers.insert(HeaderName::from_static("idempotency-key"), key(keys));
                let bodies: Vec<_> = records.iter().map(|record| record.data.get()).collect();
                match self.most {
                    1 => (Method::POST, format!("/{collection}"), bodies.join(","), vec![]),
                    _ => (Method::POST, format!("/{collection}/batch"), format!("[{}]", bodies.join(",")), vec![]),
                }
            }
            Change::Update(records) => {
                let id = records[0].upstream_id.to_string();
                (Method::PATCH, format!("/{collection}/{id}"), records[0].data.get().to_owned(), vec![id])
            }
            Change::Delete(removals) => {
                let id = removals[0].upstream_id.to_string();
                (Method::DELETE, format!("/{collection}/{id}"), String::new(), vec![id])
            }
        };
        let kind = match &mutation.change {
            Change::Create(_) => Kind::Create,
            Change::Update(_) => Kind::Update,
            Change::Delete(_) => Kind::Delete,
        };
        Ok(vec![ProviderRequest {
            method,
            path,
            headers,
            body: Bytes::from(body),
            collection: collection.into(),
            kind,
            elements: (0..mutation.change.len()).collect(),
            upstream_ids: ids,
            repeat: if kind == Kind::Create { self.repeat } else { Repeat::Absolute },
        }])
    }

    fn judge(&self, request: &ProviderRequest, reply: &ProviderReply) -> Vec<Outcome> {
        let text = str::from_utf8(&reply.body).unwrap_or_default();
        if reply.status == 207 {
            // A broken promise of atomicity: one letter a record.
            return text.chars().map(|letter| if letter == 'a' { applied("{}") } else { rejected(letter) }).collect();
        }
        if self.most > 1 && reply.status == 200 {
            let records: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            return records.iter().map(|record| applied(record.get())).collect();
        }
        let refusal = || Refusal { message: message(text), detail: RawValue::from_string(text.into()).ok() };
        let may_repeat = reply.headers.get("should-retry").map(|value| value == "true");
        let one = match reply.status {
            200 | 201 => applied(text),
            204 => Outcome::Applied(Written { is_deleted: request.kind == Kind::Delete, ..Written::default() }),
            400 | 403 | 409 | 422 => Outcome::Rejected(refusal()),
            401 => Outcome::Unauthorised(refusal()),
            404 => Outcome::Gone(refusal()),
            423 | 429 => Outcome::Limited { wait: None, refusal: refusal() },
            _ => Outcome::Unknown { may_repeat, refusal: refusal() },
        };
        vec![one; request.elements.len()]
    }

    fn read_back(&self, collection: &str, upstream_id: &str) -> Option<ProviderRequest> {
        self.reads_back.then(|| ProviderRequest {
            method: Method::GET,
            path: format!("/{collection}/{upstream_id}"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            collection: collection.into(),
            kind: Kind::Read,
            elements: vec![0],
            upstream_ids: vec![upstream_id.into()],
            repeat: Repeat::Absolute,
        })
    }

    fn judge_read(&self, _: &ProviderRequest, reply: &ProviderReply) -> Option<Written> {
        match applied(str::from_utf8(&reply.body).ok()?) {
            Outcome::Applied(written) if reply.status == 200 => Some(written),
            _ => None,
        }
    }
}

fn key(keys: &[Uuid]) -> HeaderValue {
    HeaderValue::from_str(&keys[0].to_string()).unwrap()
}

/// `{"id": "...", "at": "...", "data": {...}}`, where everything may be missing. No JSON is unknown.
fn applied(text: &str) -> Outcome {
    let raw = RawValue::from_string(text.into());
    let Some(fields) = raw.as_deref().ok().and_then(Fields::parse) else {
        let refusal = Refusal { message: "the reply cannot be read".into(), detail: None };
        return Outcome::Unknown { may_repeat: None, refusal };
    };
    let text = |name| serde_json::from_str::<Text>(fields.get(name)?.get()).ok().map(|text| text.0.into_owned());
    Outcome::Applied(Written {
        upstream_id: text("id"),
        data: fields.get("data").map(ToOwned::to_owned),
        created_at: None,
        updated_at: text("at"),
        is_deleted: false,
    })
}

fn rejected(letter: char) -> Outcome {
    Outcome::Rejected(Refusal { message: letter.into(), detail: None })
}

fn message(text: &str) -> String {
    let raw = RawValue::from_string(text.into()).unwrap_or_default();
    let message = Fields::parse(&raw).and_then(|fields| fields.get("message"));
    message.and_then(|message| serde_json::from_str(message.get()).ok()).unwrap_or_default()
}
