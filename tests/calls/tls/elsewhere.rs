//! Plain http, redirects, proxies: ways in which a token could reach the wrong host.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sequin_harness::{RawServer, Server, raw};

use crate::support::Session;
use crate::support::network::{Api, create, foreign_server};
use crate::support::server::shared;

/// The validator refuses the server object, and a call refuses one that got round the validator.
#[test]
fn http_to_another_host_needs_allow_http() {
    let database = shared().fresh_database();
    let mut client = database.connect();
    for host in
        ["api.example.com", "10.0.0.1", "192.168.1.1:8080", "[fe80::1]", "localhost.example.com", "127.0.0.1.nip.io"]
    {
        let sql = format!("CREATE SERVER http FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'http://{host}')");
        let error = client.error(&sql);
        assert_eq!(error.code().code(), "22023", "{host}: {error:?}");
        assert!(error.message().contains("unencrypted") || format!("{error:?}").contains("allow_http"), "{error:?}");
    }
    // A name that says loopback is believed; one that merely resolves to it is not.
    for host in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"] {
        client
            .batch_execute(&format!(
                "CREATE SERVER http FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'http://{host}'); DROP SERVER http"
            ))
            .unwrap_or_else(|e| panic!("{host}: {e:?}"));
    }

    let api = Api::start();
    let url = format!("http://127-0-0-1.two.test:{}", api.raw.address().port());
    foreign_server(&database, "http", &url, ", allow_http 'true'");
    assert_eq!(client.column(&create("http")), ["003"]);
    let error = client.error("ALTER SERVER http OPTIONS (SET allow_http 'false')");
    assert_eq!(error.code().code(), "22023", "{error:?}");
    // As a restored catalog, or a superuser who writes to it, could have it.
    client.run(&format!("UPDATE pg_foreign_server SET srvoptions = ARRAY['url={url}'] WHERE srvname = 'http'"));
    // A fresh session has read nothing before.
    let error = database.connect().error(&create("http"));
    assert_eq!(error.code().code(), "HV00L", "{error:?}");
    assert!(error.detail().unwrap_or_default().contains(r#""outcome": "not_sent""#), "{error:?}");
    assert_eq!((api.requests(), api.raw.accepted()), (1, 1));
}

#[test]
fn redirects_are_not_followed() {
    let database = shared().fresh_database();
    let mut client = database.connect();
    let elsewhere = Api::start();
    for status in [301, 302, 303, 307, 308, 300, 304] {
        for same_host in [true, false] {
            let requests = Arc::new(AtomicUsize::new(0));
            let counter = requests.clone();
            let other = elsewhere.raw.url();
            let peer = RawServer::start(move |stream| {
                while raw::read_request(stream).is_ok() {
                    counter.fetch_add(1, Ordering::SeqCst);
                    let to =
                        if same_host { "/v2/mutations/run".to_owned() } else { format!("{other}/v1/mutations/run") };
                    let reply = format!("HTTP/1.1 {status} X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
                    let _ = stream.write_all(reply.as_bytes());
                }
            });
            foreign_server(&database, "sequin", &peer.url(), "");
            let what = format!("{status}, same host: {same_host}");
            let error = client.error(&create("sequin"));
            assert_eq!(error.code().code(), "HV00R", "{what}: {error:?}");
            let detail = error.detail().unwrap_or_default();
            let expected = format!(r#""outcome": "refused", "applied": "none", "http_status": {status}"#);
            assert!(detail.contains(&expected), "{what}: {detail}");
            assert_eq!(requests.load(Ordering::SeqCst), 1, "{what}");
        }
    }
    assert_eq!(elsewhere.raw.accepted(), 0);
}

/// libcurl would send everything to these, and so would ureq by default.
#[test]
fn proxies_in_the_environment_are_not_used() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let proxy = RawServer::start(move |stream| {
        if let Ok((head, _)) = raw::read_request(stream) {
            ear.lock().unwrap().push(head);
        }
    });
    let mut builder = Server::builder();
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        builder = builder.env(name, &proxy.url());
    }
    let server = builder.start().unwrap();
    // They are there: otherwise this would show nothing.
    let postmaster = server.postmaster().unwrap();
    let environment = std::fs::read_to_string(format!("/proc/{postmaster}/environ")).unwrap();
    assert_eq!(environment.split('\0').filter(|line| line.ends_with(&proxy.url())).count(), 6, "{environment}");

    let database = server.fresh_database();
    let mut client = database.connect();
    let api = Api::start();
    foreign_server(&database, "plain", &api.raw.url(), "");
    assert_eq!(client.column(&create("plain")), ["003"]);
    assert_eq!(api.requests(), 1);
    // A host that a proxy would resolve: it does not exist, and the proxy gets no request.
    for url in ["http://nobody.invalid:9", "https://nobody.invalid"] {
        foreign_server(&database, "elsewhere", url, ", allow_http 'true'");
        assert_eq!(client.error(&create("elsewhere")).code().code(), "HV00N", "{url}");
    }
    assert_eq!((proxy.accepted(), heard.lock().unwrap().clone()), (0, Vec::<String>::new()));
}
