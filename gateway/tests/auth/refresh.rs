//! Refresh tokens, of which some providers take each only once.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::config::{Auth, ClientStyle};

use super::{LONG, app, applied, client, fetches, form, server};
use crate::kit::{Act, Scripted, create};

fn auth(addr: std::net::SocketAddr, file: &Path) -> Auth {
    Auth::RefreshToken { client: client(addr, ClientStyle::Form), refresh_token_file: file.into() }
}

/// Takes each refresh token once: `R1`, then `R2`, ... Its access tokens are valid until the next refresh. The other
/// requests note what is in the file when they arrive.
async fn single_use(file: PathBuf, in_file: Arc<Mutex<Vec<String>>>) -> Arc<Scripted> {
    let current = Arc::new(AtomicUsize::new(1));
    let valid = current.clone();
    server(
        move |received| {
            let number = current.load(Ordering::SeqCst);
            let sent = form(received).into_iter().find(|(name, _)| name == "refresh_token").unwrap().1;
            if sent != format!("R{number}") {
                return Act::json(400, r#"{"error":"invalid_grant"}"#);
            }
            current.store(number + 1, Ordering::SeqCst);
            let next = number + 1;
            Act::json(200, format!(r#"{{"access_token":"A{next}","refresh_token":"R{next}","expires_in":1800}}"#))
        },
        move |received| {
            in_file.lock().unwrap().push(std::fs::read_to_string(&file).unwrap());
            let number = valid.load(Ordering::SeqCst);
            match received.header("authorization") == Some(&format!("Bearer A{number}")) {
                true => applied(),
                false => Act::json(401, "{}"),
            }
        },
    )
    .await
}

#[tokio::test]
async fn a_new_refresh_token_is_in_its_file_before_the_access_token_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("refresh");
    std::fs::write(&file, "R1\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let in_file = Arc::new(Mutex::new(Vec::new()));
    let server = single_use(file.clone(), in_file.clone()).await;
    let app = Arc::new(app(server.addr, auth(server.addr, &file), LONG).await);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.mutate(create("{}")).await.status })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(fetches(&server).len(), 1);
    assert!(in_file.lock().unwrap().iter().all(|text| text == "R2"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Nothing else is left in the folder.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_token_that_a_person_has_replaced_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("refresh");
    std::fs::write(&file, "old").unwrap();
    let person = file.clone();
    let server = server(
        move |received| {
            if form(received).contains(&("refresh_token".into(), "new".into())) {
                return super::token("T1");
            }
            std::fs::write(&person, "new").unwrap();
            Act::json(400, r#"{"error":"invalid_grant"}"#)
        },
        |_| applied(),
    )
    .await;
    let app = app(server.addr, auth(server.addr, &file), LONG).await;
    assert_eq!(app.mutate(create("{}")).await.status, 200);
    // A reply without a new refresh token leaves the file alone.
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
}

#[tokio::test]
async fn a_missing_file_and_a_void_token_are_refusals() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("refresh");
    let server = server(|_| Act::json(400, r#"{"error":"invalid_grant"}"#), |_| applied()).await;
    let app = app(server.addr, auth(server.addr, &file), LONG).await;
    let told = app.mutate(create("{}")).await;
    assert_eq!((told.status, server.log().len()), (401, 0));
    assert!(told.error().contains("no refresh token in"), "{}", told.body);
    assert!(!told.body.contains("canary"));
}

#[tokio::test]
async fn a_token_that_cannot_be_stored_is_not_used_and_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("tokens");
    std::fs::create_dir(&place).unwrap();
    let file = place.join("refresh");
    std::fs::write(&file, "R1").unwrap();
    let away = folder.path().join("away");
    let (from, to) = (place.clone(), away.clone());
    let server = server(
        move |received| {
            let sent = form(received);
            assert!(sent.contains(&("refresh_token".into(), "R1".into())), "{sent:?}");
            // The folder is gone when the gateway stores the new token.
            std::fs::rename(&from, &to).unwrap();
            Act::json(200, r#"{"access_token":"A2","refresh_token":"R2"}"#)
        },
        |_| applied(),
    )
    .await;
    let app = app(server.addr, auth(server.addr, &file), Duration::from_millis(500)).await;
    let told = app.mutate(create("{}")).await;
    assert_eq!((told.status, server.log().len()), (429, 1), "{}", told.body);
    assert!(told.error().contains("the new refresh token cannot be written"), "{}", told.body);
    std::fs::rename(&away, &place).unwrap();
    // The one that was fetched is stored, and no other is asked for.
    while app.mutate(create("{}")).await.status != 200 {}
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "R2");
    assert_eq!(fetches(&server).len(), 1);
}
