//! What a correct file becomes.

use std::time::Duration;

use gateway::config::{Auth, Backend, ClientStyle, Config, HttpBackend};
use secrecy::ExposeSecret;

use super::{Folder, SMALLEST};

fn http<'a>(config: &'a Config, sync: &str) -> &'a HttpBackend {
    let Backend::Http(http) = &config.syncs[sync].backend else { panic!("{sync} is reached over HTTP") };
    http
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let config = Folder::new().load(SMALLEST).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7460");
    assert!(config.tls.is_none() && config.admin.is_none());
    assert_eq!((config.max_body, config.grace, config.log.as_str()), (16 << 20, Duration::from_secs(30), "info"));
    assert_eq!(config.tokens[0].name, "app");
    assert_eq!(config.tokens[0].secret.expose_secret(), "the-token-of-app");
    assert!(config.tokens[0].syncs.iter().eq(["dev"]));
    let sync = &config.syncs["dev"];
    assert!(matches!(sync.backend, Backend::Memory));
    assert_eq!((sync.timeout, sync.limit.per_second, sync.limit.concurrent), (Duration::from_secs(50), None, None));
}

#[test]
fn every_value_arrives() {
    let text = r#"
        listen = "0.0.0.0:1"
        admin = "[::1]:2"
        max_body = "1MiB"
        grace = "5s"
        log = "warn,gateway=debug"
        tls = { cert_file = "cert.pem", key_file = "key.pem" }
        clients = { head_timeout = "1s", write_timeout = "2s", idle_timeout = "3s", max_connections = 4 }
        [token.app]
        file = "app.token"
        syncs = ["stripe", "dev"]
        [sync.dev]
        provider = "memory"
        [sync.stripe]
        provider = "stripe"
        base_url = "https://stripe.example/base/"
        auth = { kind = "bearer", token_file = "other.token" }
        headers = { x-version = "7" }
        limit = { per_second = 0.5, concurrent = 3 }
        timeout = "20s"
        connect_timeout = "1s"
        request_timeout = "10s"
        max_reply = "2MiB"
        ca_file = "cert.pem"
    "#;
    let folder = Folder::new();
    let config = folder.load(text).unwrap();
    assert_eq!((config.listen.port(), config.admin.unwrap().port(), config.max_body), (1, 2, 1 << 20));
    assert_eq!((config.grace, config.log.as_str()), (Duration::from_secs(5), "warn,gateway=debug"));
    let clients = config.clients;
    let times = [clients.head_timeout, clients.write_timeout, clients.idle_timeout];
    assert_eq!((times, clients.max_connections), ([1, 2, 3].map(Duration::from_secs), 4));
    assert_eq!(config.tls.as_ref().unwrap().alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    assert!(config.tokens[0].syncs.iter().eq(["dev", "stripe"]));

    let sync = &config.syncs["stripe"];
    assert_eq!((sync.limit.per_second, sync.limit.concurrent), (Some(0.5), Some(3)));
    assert_eq!(sync.timeout, Duration::from_secs(20));
    let http = http(&config, "stripe");
    assert_eq!((http.provider.name(), http.base_url.as_str()), ("Stripe", "https://stripe.example/base"));
    assert_eq!(http.headers, [("x-version".parse().unwrap(), "7".parse().unwrap())]);
    assert_eq!(http.ca_file.as_deref(), Some(folder.path("cert.pem").as_path()));
    assert_eq!((http.connect_timeout, http.request_timeout), (Duration::from_secs(1), Duration::from_secs(10)));
    assert_eq!(http.max_reply, 2 << 20);
}

#[test]
fn a_provider_with_one_address_needs_none_in_the_file() {
    let text = format!("{SMALLEST}[sync.s]\nprovider = \"stripe\"\nauth.kind = \"none\"\ntimeout = \"9s\"\n");
    let config = Folder::new().load(&text).unwrap();
    let http = http(&config, "s");
    assert_eq!(http.base_url.as_str(), "https://api.stripe.com/");
    assert!(matches!(http.auth, Auth::None));
    assert_eq!((http.request_timeout, http.connect_timeout), (Duration::from_secs(9), Duration::from_secs(5)));
}

fn auth(folder: &Folder, keys: &str) -> Auth {
    let text = format!("{SMALLEST}[sync.s]\nprovider = \"stripe\"\n[sync.s.auth]\n{keys}\n");
    let mut config = folder.load(&text).unwrap();
    let Backend::Http(http) = config.syncs.remove("s").unwrap().backend else { panic!("over HTTP") };
    http.auth
}

#[test]
fn each_kind_of_auth_has_its_keys() {
    let folder = Folder::new();
    folder.secret("id", "client-id\r\n");
    folder.secret("refresh", "r-1");

    let Auth::Basic { user, password } = auth(&folder, "kind = \"basic\"\nuser = \"paul\"\npassword_file = \"secret\"")
    else {
        panic!("basic")
    };
    assert_eq!((user.as_str(), password.expose_secret()), ("paul", "a secret"));

    let Auth::Basic { user, password } = auth(&folder, "kind = \"basic\"\nuser_file = \"app.token\"") else {
        panic!("basic")
    };
    assert_eq!((user.as_str(), password.expose_secret()), ("the-token-of-app", ""));

    let Auth::Header { name, value } =
        auth(&folder, "kind = \"header\"\nname = \"X-Api-Key\"\nvalue_file = \"secret\"")
    else {
        panic!("header")
    };
    assert_eq!((name.as_str(), value.expose_secret()), ("x-api-key", "a secret"));

    let grant = "token_url = \"https://t.example/token\"\nclient_id_file = \"id\"\nclient_secret_file = \"secret\"\n";
    let keys = format!("kind = \"client_credentials\"\n{grant}scope = \"a b\"");
    let Auth::ClientCredentials { client } = auth(&folder, &keys) else { panic!("client credentials") };
    assert_eq!((client.token_url.as_str(), client.client_id.as_str()), ("https://t.example/token", "client-id"));
    assert_eq!(client.client_secret.unwrap().expose_secret(), "a secret");
    assert_eq!((client.scope.as_deref(), client.style), (Some("a b"), ClientStyle::Basic));

    let keys = format!("kind = \"refresh_token\"\n{grant}refresh_token_file = \"refresh\"\nstyle = \"basic\"");
    let Auth::RefreshToken { client, refresh_token_file } = auth(&folder, &keys) else { panic!("refresh token") };
    assert_eq!((client.style, refresh_token_file), (ClientStyle::Basic, folder.path("refresh")));

    let keys = "kind = \"jwt_bearer\"\ntoken_url = \"https://t.example/token\"\nissuer = \"i\"\naudience = \"a\"\n\
                algorithm = \"ES256\"\nprivate_key_file = \"ec.pem\"\nsubject = \"s\"\nkey_id = \"k\"\n\
                lifetime = \"1m\"";
    let Auth::JwtBearer { client, jwt } = auth(&folder, keys) else { panic!("JWT bearer") };
    assert_eq!(
        (client.client_id.as_str(), client.client_secret.is_none(), client.style),
        ("", true, ClientStyle::Form)
    );
    assert_eq!((jwt.issuer.as_str(), jwt.subject.as_deref(), jwt.audience.as_str()), ("i", Some("s"), "a"));
    assert_eq!((jwt.key_id.as_deref(), jwt.lifetime), (Some("k"), Duration::from_secs(60)));
}
