//! A small HTTP client, other than the gateway's own: for what the tests ask of a product, and of the gateway.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Request};
use serde_json::Value;
use ureq::Agent;

static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_idle_connections_per_host(0)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
});

/// A whole reply.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{} {:?}: {e}", self.status, self.body))
    }

    /// The value at a JSON pointer, which must be there.
    #[track_caller]
    pub fn at(&self, pointer: &str) -> Value {
        let value = self.json().pointer(pointer).cloned();
        value.unwrap_or_else(|| panic!("no {pointer} in {} {}", self.status, self.body))
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Sends a request, and returns the reply. An error means that there was none.
pub fn try_send(
    method: &str,
    url: &str,
    headers: &[(impl AsRef<str>, impl AsRef<str>)],
    body: Option<&str>,
) -> Result<Answer, ureq::Error> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(name.as_ref(), value.as_ref());
    }
    let mut reply = match body {
        Some(body) => AGENT.run(request.body(body.to_owned())?)?,
        None => AGENT.run(request.body(())?)?,
    };
    let body = reply.body_mut().read_to_string()?;
    Ok(Answer { status: reply.status().as_u16(), headers: reply.headers().clone(), body })
}

/// The same. Panics without a reply.
#[track_caller]
pub fn send(method: &str, url: &str, headers: &[(impl AsRef<str>, impl AsRef<str>)], body: Option<&str>) -> Answer {
    try_send(method, url, headers, body).unwrap_or_else(|e| panic!("{method} {url}: {e}"))
}

/// The same. Panics unless the reply is 2xx.
#[track_caller]
pub fn must(method: &str, url: &str, headers: &[(impl AsRef<str>, impl AsRef<str>)], body: Option<&str>) -> Answer {
    let answer = send(method, url, headers, body);
    assert!((200..300).contains(&answer.status), "{method} {url}: {} {}", answer.status, answer.body);
    answer
}

/// The value of an `authorization` header.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
