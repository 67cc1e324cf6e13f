//! A service that asks Okta whether a token is good, and makes records for those who have one.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;
use sequin_harness::RawServer;

use super::{CLIENT, SECRET};
use crate::support::http::{Answer, basic, must};
use crate::support::proxy::wire;

/// The running service.
pub struct Resource {
    made: Arc<AtomicUsize>,
    server: RawServer,
}

impl Resource {
    /// For the tokens of the Okta at this address.
    pub fn trusting(okta: String) -> Resource {
        let made = Arc::new(AtomicUsize::new(0));
        let server = RawServer::start({
            let made = made.clone();
            move |client| serve(client, &okta, &made)
        });
        Resource { made, server }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// How many records it has made.
    pub fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

fn serve(client: &mut TcpStream, okta: &str, made: &AtomicUsize) {
    while let Ok(Some(asked)) = wire::read(client) {
        let token = asked.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let (status, body) = match is_good(okta, token) {
            true => (201, format!(r#"{{"id":"{}"}}"#, made.fetch_add(1, Ordering::SeqCst))),
            false => (401, r#"{"message":"this token is not good"}"#.to_owned()),
        };
        let mut headers = HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        if wire::write(client, &Answer { status, headers, body }).is_err() {
            return;
        }
    }
}

fn is_good(okta: &str, token: &str) -> bool {
    let headers =
        [("authorization", basic(CLIENT, SECRET)), ("content-type", "application/x-www-form-urlencoded".to_owned())];
    let url = format!("{okta}/oauth2/default/v1/introspect");
    !token.is_empty() && must("POST", &url, &headers, Some(&format!("token={token}"))).at("/active") == true
}
