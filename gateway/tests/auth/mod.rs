//! Credentials over real sockets: what the token endpoint is asked and how often, and what a refusal means.

mod failures;
mod grants;
mod refresh;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::config::{Auth, Backend, ClientStyle, OauthClient};

use crate::kit::{Act, App, Notes, Received, Scripted, config, http_backend, sync};

/// A provider whose token endpoint is `POST /token`. Everything else is answered by `provider`.
async fn server<T, P>(token: T, provider: P) -> Arc<Scripted>
where
    T: Fn(&Received) -> Act + Send + Sync + 'static,
    P: Fn(&Received) -> Act + Send + Sync + 'static,
{
    Scripted::start(move |received| {
        let act = if received.path == "/token" { token(&received) } else { provider(&received) };
        async move { act }
    })
    .await
}

fn token(text: &str) -> Act {
    Act::json(200, format!(r#"{{"access_token":"{text}","token_type":"Bearer"}}"#))
}

fn applied() -> Act {
    Act::json(201, r#"{"id":"7"}"#)
}

fn client(addr: SocketAddr, style: ClientStyle) -> OauthClient {
    OauthClient {
        token_url: format!("http://{addr}/token").parse().unwrap(),
        client_id: "id:1".into(),
        client_secret: Some("canary&secret".into()),
        scope: None,
        style,
    }
}

async fn app(addr: SocketAddr, auth: Auth, timeout: Duration) -> App {
    let mut sync = sync(http_backend(Notes::default(), addr));
    sync.timeout = timeout;
    if let Backend::Http(http) = &mut sync.backend {
        http.auth = auth;
    }
    App::start(config(sync)).await
}

const LONG: Duration = Duration::from_secs(20);

/// The requests to the token endpoint.
fn fetches(server: &Scripted) -> Vec<Received> {
    server.log().into_iter().filter(|received| received.path == "/token").collect()
}

/// The fields of a form.
fn form(received: &Received) -> Vec<(String, String)> {
    form_urlencoded::parse(received.body.as_bytes()).into_owned().collect()
}
