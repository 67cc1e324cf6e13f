//! What a product really answers, kept in `replies/`: rows for the tests of the providers, and the proof that they are
//! still so.
//!
//! `SEQUIN_JUDGES_RECORD=1` writes the files anew.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::http::{Answer, send};

/// The headers that a provider may look at.
const KEPT: [&str; 6] =
    ["content-type", "idempotent-replayed", "location", "retry-after", "stripe-should-retry", "www-authenticate"];

/// One request and its reply.
#[derive(Debug, Deserialize, Serialize)]
struct Exchange {
    name: String,
    method: String,
    /// Without the address of the product.
    path: String,
    /// Without the credential.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    body: Option<String>,
    status: u16,
    reply_headers: Vec<(String, String)>,
    reply_body: String,
}

/// A conversation with one product.
pub struct Replies {
    product: &'static str,
    url: String,
    authorization: String,
    /// The names of JSON members whose values differ in each run.
    passing: &'static [&'static str],
    exchanges: Vec<Exchange>,
}

impl Replies {
    pub fn of(product: &'static str, url: String, authorization: &str, passing: &'static [&'static str]) -> Replies {
        Replies { product, url, authorization: authorization.to_owned(), passing, exchanges: Vec::new() }
    }

    /// Has another credential from now on.
    pub fn authorize(&mut self, authorization: &str) {
        self.authorization = authorization.to_owned();
    }

    /// Sends a request and remembers the reply.
    pub fn ask(
        &mut self,
        name: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let sent = [headers, &[("authorization", self.authorization.as_str())]].concat();
        let answer = send(method, &format!("{}{path}", self.url), &sent, body);
        let kept = KEPT.iter().filter_map(|name| Some(((*name).to_owned(), answer.header(name)?.to_owned())));
        self.exchanges.push(Exchange {
            name: name.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: body.map(str::to_owned),
            status: answer.status,
            reply_headers: kept.collect(),
            reply_body: answer.body.clone(),
        });
        answer
    }

    /// Compares all of it with the file.
    #[track_caller]
    pub fn are_as_kept(self) {
        let file = kept(self.product);
        if std::env::var_os("SEQUIN_JUDGES_RECORD").is_some() {
            let text = serde_json::to_string_pretty(&self.exchanges).expect("it can be written as JSON");
            fs::write(&file, text + "\n").unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let kept: Vec<Exchange> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let names = |exchanges: &[Exchange]| exchanges.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&self.exchanges), names(&kept), "{}", file.display());
        for (now, then) in self.exchanges.iter().zip(&kept) {
            let place = format!("{}, {}: now {now:#?}, then {then:#?}", self.product, now.name);
            assert_eq!(now.status, then.status, "{place}");
            assert_eq!(now.reply_headers, then.reply_headers, "{place}");
            match (serde_json::from_str(&now.reply_body), serde_json::from_str(&then.reply_body)) {
                (Ok(now), Ok(then)) => assert!(same(&now, &then, self.passing), "{place}"),
                _ => assert_eq!(now.reply_body, then.reply_body, "{place}"),
            }
        }
    }
}

/// Equal, but for the values of the passing members, which must have the same type.
fn same(now: &Value, then: &Value, passing: &[&str]) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            now.len() == then.len()
                && now.iter().all(|(name, now)| match then.get(name) {
                    Some(then) if passing.contains(&name.as_str()) => {
                        std::mem::discriminant(now) == std::mem::discriminant(then)
                    }
                    Some(then) => same(now, then, passing),
                    None => false,
                })
        }
        (Value::Array(now), Value::Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| same(now, then, passing))
        }
        _ => now == then,
    }
}

fn kept(product: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/judges/replies/{product}.json"))
}
