//! A gateway in this process, on a port of its own, and what its clients see.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::Gateway;
use gateway::config::{Auth, Backend, Clients, Config, HttpBackend, Limit, Sync, Token};
use gateway::providers::Provider;
use serde_json::Value;

/// A gateway that serves until the test ends.
pub struct App {
    pub gateway: Arc<Gateway>,
    pub addr: SocketAddr,
    client: reqwest::Client,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub status: u16,
    pub body: String,
    pub retry_after: Option<u64>,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}

impl App {
    pub async fn start(config: Config) -> App {
        // A second installation is refused: the first one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let gateway = Gateway::build(&config).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = gateway::api::router(gateway.clone());
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        let client = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never()).build().unwrap();
        App { gateway, addr, client }
    }

    /// A gateway with the sync "s" in front of this provider.
    pub async fn before(provider: impl Provider + 'static, addr: SocketAddr) -> App {
        App::start(config(sync(http_backend(provider, addr)))).await
    }

    pub fn post(&self) -> reqwest::RequestBuilder {
        let url = format!("http://{}/v1/mutations/run", self.addr);
        self.client.post(url).bearer_auth("token").header("content-type", "application/json")
    }

    pub async fn mutate(&self, body: impl Into<String>) -> Told {
        told(self.post().body(body.into())).await
    }

    pub async fn keyed(&self, key: &str, body: impl Into<String>) -> Told {
        told(self.post().header("idempotency-key", key).body(body.into())).await
    }
}

pub async fn told(request: reqwest::RequestBuilder) -> Told {
    let reply = request.send().await.unwrap();
    let retry_after = reply.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
    Told { status: reply.status().as_u16(), retry_after, body: reply.text().await.unwrap() }
}

/// The body of a create of one record.
pub fn create(data: &str) -> String {
    format!(r#"{{"kind":"create","sync_id":"s","collection_id":"notes:note","records":[{{"data":{data}}}]}}"#)
}

/// One sync "s", and the token "token" that may see it.
pub fn config(sync: Sync) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        admin: None,
        max_body: 1 << 20,
        grace: Duration::from_secs(10),
        clients: Clients::default(),
        log: "info".into(),
        tokens: vec![Token { name: "app".into(), secret: "token".into(), syncs: BTreeSet::from(["s".into()]) }],
        syncs: BTreeMap::from([("s".into(), sync)]),
        consumers: Vec::new(),
    }
}

pub fn sync(backend: Backend) -> Sync {
    Sync { backend, limit: Limit::default(), timeout: Duration::from_secs(10) }
}

pub fn http_backend(provider: impl Provider + 'static, addr: SocketAddr) -> Backend {
    Backend::Http(Box::new(HttpBackend {
        provider: Arc::new(provider),
        base_url: format!("http://{addr}").parse().unwrap(),
        auth: Auth::Bearer { token: "provider-secret".into() },
        headers: Vec::new(),
        ca_file: None,
        connect_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(5),
        max_reply: 1 << 20,
    }))
}
