//! Input: a configuration of the gateway, as text.
//!
//! - It is a configuration, or has faults whose lines are in the text.
//! - No fault quotes a secret.
//! - A token sees only syncs that exist, and every sync and token of the text is in the configuration.
//! - A credential travels encrypted, unless the host is the own machine or the text allows it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway::config::{Auth, Backend, Config, Surroundings, parse};
use url::{Host, Url};

const SECRET: &str = "canary-4711";

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse("f.toml", &text, &Canaries) {
        Ok(config) => keeps_its_promises(&config, &text),
        Err(faults) => {
            let lines = text.lines().count() + 1;
            assert!(faults.lines().count() > 0);
            assert!(faults.lines().all(|line| line.is_some_and(|line| (1..=lines).contains(&line))), "{faults}");
            assert!(text.contains(SECRET) || !faults.to_string().contains(SECRET), "{faults}");
        }
    }
}

fn keeps_its_promises(config: &Config, text: &str) {
    let table: toml::Table = text.parse().expect("what the gateway reads is TOML");
    let names = |key: &str| table[key].as_table().expect("a table").keys().cloned().collect::<Vec<String>>();
    assert!(config.syncs.keys().eq(&names("sync")) && !config.syncs.is_empty());
    assert!(config.tokens.iter().map(|token| &token.name).eq(&names("token")) && !config.tokens.is_empty());
    for token in &config.tokens {
        assert!(!token.syncs.is_empty() && token.syncs.iter().all(|sync| config.syncs.contains_key(sync)));
    }
    let is_time = |time: Duration| !time.is_zero() && time <= Duration::from_secs(86_400);
    assert!(is_time(config.grace) && config.max_body > 0 && config.clients.max_connections > 0);
    for (name, sync) in &config.syncs {
        assert!(is_time(sync.timeout));
        assert!(sync.limit.per_second.is_none_or(|rate| rate > 0.0 && rate.is_finite()));
        assert!(sync.limit.concurrent != Some(0));
        let Backend::Http(http) = &sync.backend else { continue };
        assert!(is_time(http.connect_timeout) && http.request_timeout <= sync.timeout && http.max_reply > 0);
        let allow_http = table["sync"][name].get("allow_http").and_then(toml::Value::as_bool) == Some(true);
        leads_to_one_server(&http.base_url, allow_http);
        if let Some(url) = http.auth.token_url() {
            leads_to_one_server(url, allow_http);
        }
        if let Auth::Basic { user, .. } = &http.auth {
            assert!(!user.contains(':'));
        }
        assert!(http.headers.iter().all(|(name, _)| name != "authorization" && name != "host"));
    }
}

fn leads_to_one_server(url: &Url, allow_http: bool) {
    assert!(url.username().is_empty() && url.password().is_none(), "{url}");
    assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
    let stays_here = match url.host().expect("a host") {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    assert!(url.scheme() == "https" || (url.scheme() == "http" && (stays_here || allow_http)), "{url}");
    assert!(url.path() == "/" || !url.path().ends_with('/'), "{url}");
}

/// Every file, variable and credential is there, and holds the secret and its own name.
struct Canaries;

fn secret(name: &str) -> String {
    // Different names are different secrets: two tokens must differ.
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{SECRET}-{name}\n")
}

impl Surroundings for Canaries {
    fn secret_file(&self, path: &Path) -> Result<String, String> {
        Ok(secret(&path.to_string_lossy()))
    }

    fn credential(&self, name: &str) -> Result<String, String> {
        Ok(secret(name))
    }

    fn public_file(&self, _: &Path) -> Result<Vec<u8>, String> {
        Err("is not there".into())
    }

    fn writable(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn variable(&self, name: &str) -> Option<Result<String, String>> {
        (!name.is_empty()).then(|| Ok(secret(name)))
    }

    fn resolve(&self, path: &str) -> PathBuf {
        path.into()
    }
}
