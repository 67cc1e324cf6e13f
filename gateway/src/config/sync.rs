//! `[sync.NAME]`: one account at one provider.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::section::{At, Section, join};
use super::surroundings::Surroundings;
use super::{Auth, Backend, HttpBackend, Limit, Sync, auth, provider, tls, value};

/// Below the 60 s that the extension waits by default: a client should read the gateway's reply, and not its own
/// timeout.
const TIMEOUT: Duration = Duration::from_secs(50);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REPLY: usize = 64 << 20;
const MOST_PER_SECOND: f64 = 100_000.0;
const MOST_CONCURRENT: usize = 10_000;

/// None: there is a fault, which is noted.
pub fn read(mut section: Section<'_, '_>, around: &dyn Surroundings) -> Option<Sync> {
    let limit = section.section("limit").map(limit).unwrap_or_default();
    let timeout = section.parsed("timeout", value::duration).map_or(TIMEOUT, |at| at.value);
    // Without a provider, no other key can be judged.
    let kind = section.required("provider", |section| section.choice("provider", &provider::KINDS))?;
    let backend = match kind {
        provider::Kind::Memory => Some(Backend::Memory),
        provider::Kind::Http(kind) => {
            http(&mut section, kind, timeout, around).map(|http| Backend::Http(Box::new(http)))
        }
    };
    section.finish();
    Some(Sync { backend: backend?, limit, timeout })
}

fn limit(mut section: Section<'_, '_>) -> Limit {
    let limit = Limit {
        per_second: section.rate("per_second", MOST_PER_SECOND),
        concurrent: section.count("concurrent", MOST_CONCURRENT),
    };
    section.finish();
    limit
}

fn http(
    section: &mut Section<'_, '_>,
    kind: provider::HttpKind,
    timeout: Duration,
    around: &dyn Surroundings,
) -> Option<HttpBackend> {
    let allow_http = section.boolean("allow_http").unwrap_or(false);
    let base_url = base_url(section, kind, allow_http);
    let auth = section
        .required("auth", |section| section.section("auth"))
        .and_then(|section| auth::read(section, allow_http, around));
    let headers = headers(section, auth.as_ref());
    let ca_file = section.string("ca_file").and_then(|at| {
        let certificates = tls::certificates(&at.value, around);
        certificates.map_err(|message| section.fault("ca_file", &at.span, message)).ok()?;
        Some(around.resolve(&at.value))
    });
    let connect_timeout = section.parsed("connect_timeout", value::duration).map_or(CONNECT_TIMEOUT, |at| at.value);
    let request_timeout = match section.parsed("request_timeout", value::duration) {
        Some(at) if at.value > timeout => {
            section.fault("request_timeout", &at.span, "must not be longer than timeout");
            at.value
        }
        Some(at) => at.value,
        None => REQUEST_TIMEOUT.min(timeout),
    };
    let max_reply = section.parsed("max_reply", value::size).map_or(MAX_REPLY, |at| at.value);
    let provider = provider::read(section, kind);
    Some(HttpBackend {
        provider: provider?,
        base_url: base_url?,
        auth: auth?,
        headers,
        ca_file,
        connect_timeout,
        request_timeout,
        max_reply,
    })
}

fn base_url(section: &mut Section<'_, '_>, kind: provider::HttpKind, allow_http: bool) -> Option<Url> {
    let read = |section: &mut Section<'_, '_>| {
        section.parsed("base_url", |text| value::web_url(text, allow_http)).map(|at| at.value)
    };
    match kind.default_base_url() {
        Some(url) if !section.has("base_url") => {
            // Makes the key valid.
            read(section);
            value::web_url(url, false).ok()
        }
        _ => section.required("base_url", read),
    }
}

/// Headers of every request. A secret among them would be in the file, so those that carry one are refused.
fn headers(section: &mut Section<'_, '_>, auth: Option<&Auth>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (At { value: name, span }, value) in section.map("headers") {
        let key = join("headers", &name);
        let name = match value::header_name(&name) {
            Ok(name) => name,
            Err(message) => {
                section.fault_at_path(&key, &span, message);
                continue;
            }
        };
        let is_of_auth = matches!(auth, Some(Auth::Header { name: other, .. }) if *other == name);
        if is_of_auth || ["authorization", "proxy-authorization", "cookie"].contains(&name.as_str()) {
            section.fault_at_path(&key, &span, "carries a credential: use auth");
            continue;
        }
        if headers.iter().any(|(other, _)| *other == name) {
            section.fault_at_path(&key, &span, "is given twice");
            continue;
        }
        match value::header_value(&value.value) {
            Ok(value) => headers.push((name, value)),
            Err(message) => section.fault_at_path(&key, &value.span, message),
        }
    }
    headers
}
