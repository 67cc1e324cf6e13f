//! One version of one record, as the stream holds it and as every reply shows it.
//!
//! The JSON is put together by hand: a derived `Serialize` would check the same eleven keys for characters to escape, and
//! format the same moments, 10,000 times in a reply of 10,000 records.

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::ids;
use crate::stamp::Stamp;

pub struct Record {
    /// The same in all versions of a record: rises from creation to creation.
    pub number: u64,
    pub sync_id: Arc<str>,
    pub collection_id: Arc<str>,
    pub upstream_id: Box<str>,
    /// In the sandbox a record enters the stream in the moment of its creation, so this is also `inserted_at`.
    pub created_at: Stamp,
    pub updated_at: Stamp,
    /// The version: rises with every change of any record, without gaps, and so is the position in the stream too.
    pub updated_idx: u64,
    /// The text as it was sent: `1.10` must not become `1.1`.
    pub data: Box<RawValue>,
    pub deleted: bool,
}

/// Writes records, one after the other.
pub struct Writer {
    pub out: Vec<u8>,
    /// Records of one mutation share their moments.
    moment: (Stamp, [u8; 27]),
}

impl Writer {
    pub fn with_capacity(bytes: usize) -> Writer {
        let epoch = Stamp(0);
        Writer { out: Vec::with_capacity(bytes), moment: (epoch, epoch.iso()) }
    }

    /// `{"records":[...]}`, the body of every successful mutation.
    pub fn records(records: &[Arc<Record>]) -> Vec<u8> {
        let data: usize = records.iter().map(|record| record.data.get().len()).sum();
        let mut writer = Writer::with_capacity(data + records.len() * 420 + 32);
        writer.text(r#"{"records":["#);
        for (at, record) in records.iter().enumerate() {
            if at > 0 {
                writer.text(",");
            }
            writer.record(record);
        }
        writer.text("]}");
        writer.out
    }

    pub fn record(&mut self, record: &Record) {
        self.text(r#"{"id":""#);
        self.text(&ids::uuid(record.number));
        self.text(r#"","sync_id":"#);
        self.string(&record.sync_id);
        self.text(r#","collection_id":"#);
        self.string(&record.collection_id);
        self.text(r#","upstream_id":"#);
        self.string(&record.upstream_id);
        self.text(r#","upstream_created_at":"#);
        self.stamp(record.created_at);
        self.text(r#","upstream_updated_at":"#);
        self.stamp(record.updated_at);
        self.text(r#","inserted_at":"#);
        self.stamp(record.created_at);
        self.text(r#","updated_idx":"#);
        self.text(&record.updated_idx.to_string());
        self.text(r#","data":"#);
        self.text(record.data.get());
        self.text(if record.deleted { r#","deleted":true,"provider":"# } else { r#","deleted":false,"provider":"# });
        self.string(provider_of(&record.collection_id));
        self.text("}");
    }

    /// Text that is JSON already.
    pub fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    pub fn string(&mut self, text: &str) {
        // Neither a string nor a Vec can fail.
        let _ = serde_json::to_writer(&mut self.out, text);
    }

    fn stamp(&mut self, stamp: Stamp) {
        if stamp != self.moment.0 {
            self.moment = (stamp, stamp.iso());
        }
        self.out.push(b'"');
        self.out.extend_from_slice(&self.moment.1);
        self.out.push(b'"');
    }
}

/// `salesforce` of `salesforce:contact`.
pub fn provider_of(collection_id: &str) -> &str {
    collection_id.split(':').next().unwrap_or_default()
}

/// The provider as its own documentation spells it, which is how error texts name it.
pub fn provider_name(collection_id: &str) -> String {
    let provider = provider_of(collection_id);
    match provider {
        "hubspot" => "HubSpot".into(),
        _ => {
            let mut chars = provider.chars();
            let first = chars.next().map(|c| c.to_uppercase().to_string());
            first.unwrap_or_default() + chars.as_str()
        }
    }
}
