//! SIGHUP: the whole file, or nothing.

use std::fs;

use rustix::process::Signal;

use super::program::{Program, get};
use super::{FILE, Folder, create};

async fn status(program: &Program, token: &str) -> u16 {
    program.post(token, create("{}")).await.status().as_u16()
}

#[tokio::test]
async fn a_reload_takes_new_tokens_and_syncs() {
    let folder = Folder::new();
    let program = Program::start(&folder, FILE).await;
    assert_eq!((status(&program, "the-token-of-app").await, status(&program, "new-token").await), (200, 401));
    // The secret's file alone changed: its content is read again, too.
    folder.secret("app.token", "new-token");
    program.signal(Signal::HUP);
    program.stderr.line_with("was read again and applies").await;
    assert_eq!((status(&program, "the-token-of-app").await, status(&program, "new-token").await), (401, 200));
    let metrics = get(&program.admin("/metrics").await).await.1;
    assert!(metrics.contains("sequin_gateway_reloads_total{result=\"applied\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_reload_with_a_fault_changes_nothing_and_names_the_line() {
    let folder = Folder::new();
    let program = Program::start(&folder, FILE).await;
    folder.secret("app.token", "new-token");
    fs::write(folder.path("gateway.toml"), format!("{FILE}typo = 1\n")).unwrap();
    program.signal(Signal::HUP);
    let line = program.stderr.line_with("nothing changed").await;
    assert!(line.contains("gateway.toml:8: sync.dev.typo: unknown key"), "{line}");
    assert_eq!((status(&program, "the-token-of-app").await, status(&program, "new-token").await), (200, 401));
    let metrics = get(&program.admin("/metrics").await).await.1;
    assert!(metrics.contains("sequin_gateway_reloads_total{result=\"refused\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_reload_refuses_what_takes_a_restart() {
    let folder = Folder::new();
    let program = Program::start(&folder, FILE).await;
    let with_all = FILE.replace("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\"").replace(
        "admin = \"127.0.0.1:0\"",
        "clients.max_connections = 7\ntls = { cert_file = \"cert.pem\", key_file = \"key.pem\" }",
    );
    fs::write(folder.path("gateway.toml"), with_all).unwrap();
    folder.secret("app.token", "new-token");
    program.signal(Signal::HUP);
    for key in ["listen", "admin", "tls (its presence)", "clients.max_connections"] {
        program.stderr.line_with(&format!("{key} cannot change without a restart")).await;
    }
    assert_eq!((status(&program, "the-token-of-app").await, status(&program, "new-token").await), (200, 401));
}

#[tokio::test]
async fn a_reload_takes_a_new_certificate_and_a_new_filter() {
    let (folder, other) = (Folder::new(), Folder::new());
    let text = format!("tls = {{ cert_file = \"cert.pem\", key_file = \"key.pem\" }}\n{FILE}");
    let program = Program::start(&folder, &text).await;
    assert!(program.url.starts_with("https://"));
    for name in ["cert.pem", "key.pem"] {
        fs::copy(other.path(name), folder.path(name)).unwrap();
    }
    fs::write(folder.path("gateway.toml"), format!("log = \"off\"\n{text}")).unwrap();
    program.signal(Signal::HUP);
    let metrics = program.admin("/metrics").await;
    while !get(&metrics).await.1.contains("sequin_gateway_reloads_total{result=\"applied\"} 1") {}

    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(&fs::read(other.path("cert.pem")).unwrap()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
    let url = program.url.replace("127.0.0.1", "localhost");
    assert_eq!(client.get(url).send().await.unwrap().status(), 404);
    program.signal(Signal::TERM);
    let (status, lines) = program.end().await;
    assert!(status.success());
    assert!(!lines.iter().any(|line| line.contains("draining")), "{lines:#?}");
}
