//! The answers of the API.

use serde_json::{Value, json};

/// An answer, and whether the mutation is applied before it.
#[derive(Debug)]
pub struct Answer {
    /// For the name of a case.
    pub name: &'static str,
    status: u16,
    applies: bool,
    body: &'static str,
}

impl Answer {
    /// The rule for the sandbox, which answers by itself if there is none.
    pub fn rule(&self) -> Option<Value> {
        (self.status != 0).then(|| json!({"status": self.status, "apply": self.applies, "body": self.body}))
    }
}

/// The sandbox's own.
pub const GOOD: Answer = Answer { name: "as it is", status: 0, applies: true, body: "" };

const fn answer(name: &'static str, status: u16, applies: bool, body: &'static str) -> Answer {
    Answer { name, status, applies, body }
}

/// The documented errors, and those of proxies and gateways.
pub const ERRORS: &[Answer] = &[
    answer("400", 400, false, r#"{"error":"Error: Salesforce validation error: `Invalid email`","docs":[]}"#),
    answer("401", 401, false, r#"{"error":"Error: no","docs":[]}"#),
    answer("404", 404, false, "<html>nothing here</html>"),
    answer("429", 429, false, r#"{"error":"Error: slow down"}"#),
    answer("500, the consumers", 500, true, r#"{"error":"Error: Timed out waiting for consumers: c","docs":[]}"#),
    answer("500", 500, true, r#"{"error":"Error: Salesforce broke"}"#),
    answer("504, applied", 504, true, r#"{"error":"Error: Salesforce API timed out"}"#),
    answer("504, not applied", 504, false, r#"{"error":"Error: Salesforce API timed out"}"#),
    answer("200, not JSON", 200, true, "<html>a proxy</html>"),
    answer("200, of the wrong shape", 200, true, r#"{"records": {"id": "a"}}"#),
    answer("201, not storable", 201, true, r#"{"records":[{"id":"1","data":{"a":"\u0000"}}]}"#),
    answer("200, empty", 200, true, ""),
];
