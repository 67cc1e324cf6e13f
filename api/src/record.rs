//! One version of one record, as it appears in the stream and in every reply.

use std::sync::Arc;
use std::time::SystemTime;

use humantime::format_rfc3339_micros;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::ids;

/// One version of a record of the memory provider.
pub struct Record {
    /// The same in all versions of a record: rises from creation to creation.
    pub number: u64,
    pub sync_id: Arc<str>,
    pub collection_id: Arc<str>,
    pub upstream_id: Arc<str>,
    /// A record in memory enters the stream when it is created, so this is also `inserted_at`.
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    /// The version. It rises with every change of any record, without gaps, and so is also the position in the stream.
    pub updated_idx: u64,
    /// The text as it was sent: `1.10` must not become `1.1`.
    pub data: Box<RawValue>,
    pub deleted: bool,
}

/// A record as replies and the stream show it, from whatever holds it. Absent times are left out.
#[derive(Serialize)]
pub struct RecordView<'a> {
    /// The server's own id of the record.
    pub id: &'a str,
    pub sync_id: &'a str,
    pub collection_id: &'a str,
    /// The provider's id of the record.
    pub upstream_id: &'a str,
    /// ISO 8601, like all times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_created_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_updated_at: Option<&'a str>,
    /// When the record entered the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inserted_at: Option<&'a str>,
    /// The version.
    pub updated_idx: u64,
    pub data: &'a RawValue,
    pub deleted: bool,
    pub provider: &'a str,
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [created_at, updated_at] =
            [self.created_at, self.updated_at].map(|at| format_rfc3339_micros(at).to_string());
        RecordView {
            id: &ids::uuid(self.number),
            sync_id: &self.sync_id,
            collection_id: &self.collection_id,
            upstream_id: &self.upstream_id,
            upstream_created_at: Some(&created_at),
            upstream_updated_at: Some(&updated_at),
            inserted_at: Some(&created_at),
            updated_idx: self.updated_idx,
            data: &self.data,
            deleted: self.deleted,
            provider: provider_of(&self.collection_id),
        }
        .serialize(serializer)
    }
}

/// `salesforce` of `salesforce:contact`.
pub fn provider_of(collection_id: &str) -> &str {
    collection_id.split(':').next().unwrap_or_default()
}

/// The provider's name as its own documentation spells it, for error texts.
pub fn provider_name(collection_id: &str) -> String {
    let provider = provider_of(collection_id);
    match provider {
        "github" => "GitHub".into(),
        "hubspot" => "HubSpot".into(),
        _ => {
            let mut chars = provider.chars();
            let first = chars.next().map(|c| c.to_uppercase().to_string());
            first.unwrap_or_default() + chars.as_str()
        }
    }
}
