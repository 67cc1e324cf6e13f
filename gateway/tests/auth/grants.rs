//! What each kind of credential looks like to the provider and to the token endpoint.

use std::time::Duration;

use gateway::config::{Auth, ClientStyle, Jwt};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::{LONG, app, applied, client, fetches, form, server, token};
use crate::kit::{Act, App, Scripted, create};

#[tokio::test]
async fn a_fixed_credential_is_a_header() {
    for (auth, name, value) in [
        (Auth::None, "authorization", None),
        (Auth::Bearer { token: "t".into() }, "authorization", Some("Bearer t")),
        (Auth::Basic { user: "u".into(), password: "p:ä".into() }, "authorization", Some("Basic dTpwOsOk")),
        (Auth::Header { name: "x-api-key".parse().unwrap(), value: "k".into() }, "x-api-key", Some("k")),
    ] {
        let server = Scripted::start(|_| async { applied() }).await;
        assert_eq!(app(server.addr, auth, LONG).await.mutate(create("{}")).await.status, 200);
        assert_eq!(server.log()[0].header(name), value);
    }
}

#[tokio::test]
async fn client_credentials_are_in_the_header_or_in_the_form_and_fetched_once() {
    for style in [ClientStyle::Basic, ClientStyle::Form] {
        let server = server(|_| token("T1"), |_| applied()).await;
        let mut client = client(server.addr, style);
        client.scope = Some("read write".into());
        let app = app(server.addr, Auth::ClientCredentials { client }, LONG).await;
        for _ in 0..3 {
            assert_eq!(app.mutate(create("{}")).await.status, 200);
        }
        let fetches = fetches(&server);
        assert_eq!(fetches.len(), 1);
        assert_eq!(fetches[0].header("content-type"), Some("application/x-www-form-urlencoded"));
        let mut want = vec![("grant_type", "client_credentials"), ("scope", "read write")];
        match style {
            // base64 of `id%3A1:canary%26secret`.
            ClientStyle::Basic => {
                assert_eq!(fetches[0].header("authorization"), Some("Basic aWQlM0ExOmNhbmFyeSUyNnNlY3JldA=="));
            }
            ClientStyle::Form => want.extend([("client_id", "id:1"), ("client_secret", "canary&secret")]),
        }
        let form = form(&fetches[0]);
        let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(form, want);
        let log = server.log();
        assert!(log.iter().filter(|r| r.path != "/token").all(|r| r.header("authorization") == Some("Bearer T1")));
    }
}

#[tokio::test]
async fn an_assertion_is_signed_and_says_for_whom_and_for_how_long() {
    #[derive(Deserialize)]
    struct Claims {
        iss: String,
        sub: String,
        iat: u64,
        exp: u64,
    }
    let server = server(|_| token("T1"), |_| applied()).await;
    let pair = rcgen::KeyPair::generate().unwrap();
    let jwt = Jwt {
        issuer: "consumer".into(),
        subject: Some("user@x".into()),
        audience: "https://login.example".into(),
        algorithm: Algorithm::ES256,
        private_key: pair.serialize_pem().into(),
        key_id: Some("k1".into()),
        lifetime: Duration::from_secs(120),
    };
    let mut client = client(server.addr, ClientStyle::Form);
    (client.client_id, client.client_secret) = (String::new(), None);
    let app = app(server.addr, Auth::JwtBearer { client, jwt }, LONG).await;
    assert_eq!(app.mutate(create("{}")).await.status, 200);
    let form = form(&fetches(&server)[0]);
    assert_eq!(form[0], ("grant_type".into(), "urn:ietf:params:oauth:grant-type:jwt-bearer".into()));
    assert_eq!((form.len(), form[1].0.as_str()), (2, "assertion"));
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["https://login.example"]);
    let key = DecodingKey::from_ec_pem(pair.public_key_pem().as_bytes()).unwrap();
    let decoded = jsonwebtoken::decode::<Claims>(&form[1].1, &key, &validation).unwrap();
    assert_eq!(decoded.header.kid.as_deref(), Some("k1"));
    let Claims { iss, sub, iat, exp } = decoded.claims;
    assert_eq!((iss.as_str(), sub.as_str(), exp - iat), ("consumer", "user@x", 120));
}

#[test]
fn a_key_of_another_algorithm_is_refused_at_the_start() {
    let jwt = Jwt {
        issuer: "i".into(),
        subject: None,
        audience: "a".into(),
        algorithm: Algorithm::RS256,
        private_key: rcgen::KeyPair::generate().unwrap().serialize_pem().into(),
        key_id: None,
        lifetime: Duration::from_secs(120),
    };
    let addr = "127.0.0.1:1".parse().unwrap();
    let mut sync = crate::kit::sync(crate::kit::http_backend(crate::kit::Notes::default(), addr));
    if let gateway::config::Backend::Http(http) = &mut sync.backend {
        http.auth = Auth::JwtBearer { client: client(addr, ClientStyle::Form), jwt };
    }
    let error = gateway::Gateway::build(&crate::kit::config(sync)).err().unwrap().to_string();
    assert!(error.starts_with("sync.s: the private key does not fit the algorithm RS256"), "{error}");
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends() {
    let server = server(
        |received| Act::json(200, format!(r#"{{"access_token":"T{}","expires_in":1}}"#, received.number)),
        |_| applied(),
    )
    .await;
    let app: App =
        app(server.addr, Auth::ClientCredentials { client: client(server.addr, ClientStyle::Form) }, LONG).await;
    // The provider would take the old token for ever: only its life ends it.
    while fetches(&server).len() < 2 {
        assert_eq!(app.mutate(create("{}")).await.status, 200);
    }
}
