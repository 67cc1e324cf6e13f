//! Commands and their exit statuses.

use std::net::TcpListener;

use super::program::{Program, command, output};
use super::{FILE, Folder, create, stripe_at};
use crate::kit::{Act, Scripted};

/// Runs `command gateway.toml` with this text.
async fn with(folder: &Folder, command: &str, text: &str) -> (Option<i32>, String, String) {
    std::fs::write(folder.path("gateway.toml"), text).unwrap();
    output(&[command, "gateway.toml"], folder.path("gateway.toml").parent().unwrap()).await
}

#[tokio::test]
async fn a_fault_ends_check_and_run_with_78_before_anything_is_bound() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = FILE.replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    let faulty = format!("{text}typo = 1\n");
    for command in ["check", "run"] {
        let (status, stdout, stderr) = with(&folder, command, &faulty).await;
        assert_eq!((status, stdout.as_str()), (Some(78), ""), "{stderr}");
        assert_eq!(stderr, "gateway.toml:8: sync.dev.typo: unknown key, one of limit, timeout, provider\n");
    }
    // The same file without the fault: only now is the port of any interest.
    let (status, _, stderr) = with(&folder, "run", &text).await;
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on {}", taken.local_addr().unwrap())), "{stderr}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_a_fault() {
    let folder = Folder::new();
    let (status, _, stderr) = output(&["check", "none.toml"], &folder.path("")).await;
    assert_eq!(status, Some(78));
    assert_eq!(stderr, "none.toml: cannot be read: No such file or directory (os error 2)\n");
}

#[tokio::test]
async fn wrong_arguments_end_with_2() {
    let folder = Folder::new();
    let wrong: [&[&str]; 7] = [
        &[],
        &["run"],
        &["check"],
        &["serve"],
        &["run", "gateway.toml", "--dev"],
        &["run", "gateway.toml", "--listen", "127.0.0.1:0"],
        &["run", "gateway.toml", "--copy", "a=b", "--database", "host=x"],
    ];
    for arguments in wrong {
        assert_eq!(output(arguments, &folder.path("")).await.0, Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn check_tries_each_credential() {
    let folder = Folder::new();
    folder.secret("stripe.key", "sk_test_x");
    let (status, stdout, stderr) = with(&folder, "check", FILE).await;
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (Some(0), "dev: ok\n", ""));

    let provider = Scripted::start(async |received| match received.number {
        0 => Act::json(200, r#"{"object":"list","data":[]}"#),
        _ => Act::json(401, r#"{"error":{"type":"invalid_request_error","message":"Invalid API Key provided"}}"#),
    })
    .await;
    let text = stripe_at(provider.addr);
    let (status, stdout, _) = with(&folder, "check", &text).await;
    assert_eq!((status, stdout.as_str()), (Some(0), "dev: ok\n"));
    let (status, stdout, _) = with(&folder, "check", &text).await;
    assert_eq!(
        (status, stdout.as_str()),
        (Some(1), "dev: Stripe answered 401 to GET /v1/customers?limit=1: it does not know this credential\n")
    );
    assert!(provider.log().iter().all(|received| received.method == "GET"));
}

#[tokio::test]
async fn the_version_is_the_packages() {
    let (status, stdout, _) = output(&["--version"], &Folder::new().path("")).await;
    assert_eq!((status, stdout), (Some(0), format!("sequin-gateway {}\n", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn dev_prints_what_to_paste_and_accepts_its_token() {
    let mut command = command();
    command.args(["run", "--dev", "--listen", "127.0.0.1:0", "--sync", "dev", "--until-stdin-closes"]);
    let program = Program::running(command).await;
    let server = program.stdout.line_with("CREATE SERVER").await;
    assert!(server.contains(&format!("OPTIONS (url '{}', ordered_replies 'true');", program.url)), "{server}");
    let mapping = program.stdout.line_with("CREATE USER MAPPING").await;
    let token = mapping.split('\'').nth(1).unwrap();
    assert_eq!(program.post("guess", create("{}")).await.status(), 401);
    let reply = program.post(token, create(r#"{"email":"paul@arrakis.org"}"#)).await;
    assert_eq!(reply.status(), 200);
    assert!(reply.text().await.unwrap().contains("paul@arrakis.org"));
    program.stdout.line_with("sequin_create('dev', 'salesforce:contact'").await;
}
