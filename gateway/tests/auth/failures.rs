//! Token endpoints that refuse, fail or lie, and providers that refuse a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway::config::{Auth, ClientStyle};

use super::{LONG, app, applied, client, fetches, server, token};
use crate::kit::{Act, Scripted, create};

#[tokio::test]
async fn a_token_that_cannot_be_had_means_that_nothing_was_sent() {
    type Row = (&'static str, fn() -> Act, u16, &'static str);
    let later = "; nothing was sent";
    let rows: [Row; 9] = [
        (
            "a client unknown",
            || Act::json(401, r#"{"error":"invalid_client"}"#),
            401,
            "invalid_client; nothing was applied",
        ),
        ("a grant void", || Act::json(400, r#"{"error":"invalid_grant"}"#), 401, "invalid_grant; nothing was applied"),
        ("down", || Act::json(503, "{}"), 429, later),
        ("HTML", || Act::Reply { status: 200, headers: vec![], body: "<html>canary&secret".into() }, 429, later),
        ("no token", || Act::json(200, "{}"), 429, later),
        ("huge", || Act::json(200, " ".repeat(2 << 20)), 429, later),
        ("cut", || Act::Close, 429, later),
        (
            "a redirect",
            || Act::Reply { status: 302, headers: vec![("location", "/t".into())], body: String::new() },
            429,
            later,
        ),
        ("another error", || Act::json(400, r#"{"error":"slow_down"}"#), 429, later),
    ];
    for (what, act, status, words) in rows {
        let server = server(move |_| act(), |_| applied()).await;
        let auth = Auth::ClientCredentials { client: client(server.addr, ClientStyle::Form) };
        let app = app(server.addr, auth, Duration::from_millis(700)).await;
        let told = app.mutate(create("{}")).await;
        assert_eq!(told.status, status, "{what}: {}", told.body);
        assert!(told.error().starts_with("Error: Notes") && told.error().ends_with(words), "{what}: {}", told.body);
        assert_eq!(told.retry_after.is_some(), status == 429, "{what}");
        assert!(!told.body.contains("canary"), "{what}: {}", told.body);
        assert_eq!(fetches(&server).len(), server.log().len(), "{what}: the provider was asked");
    }
}

#[tokio::test]
async fn a_mutation_waits_for_a_token_endpoint_that_comes_back() {
    let server =
        server(|received| if received.number == 0 { Act::json(503, "{}") } else { token("T1") }, |_| applied()).await;
    let auth = Auth::ClientCredentials { client: client(server.addr, ClientStyle::Form) };
    let app = app(server.addr, auth, LONG).await;
    assert_eq!(app.mutate(create("{}")).await.status, 200);
}

#[tokio::test]
async fn one_refusal_among_many_requests_is_one_new_token() {
    let issued = Arc::new(AtomicUsize::new(0));
    let (issuing, valid) = (issued.clone(), issued.clone());
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = refused.clone();
    let renewed = tokio::sync::watch::Sender::new(false);
    let server = Scripted::start(move |received| {
        let mut is_late = false;
        let act = if received.path == "/token" {
            token(&format!("T{}", issuing.fetch_add(1, Ordering::SeqCst) + 1))
        } else {
            // The first token becomes void in the middle of the requests.
            let first = received.header("authorization") == Some("Bearer T1");
            let is_void = first && (received.number > 30 || valid.load(Ordering::SeqCst) > 1);
            // Every refusal but the first one comes when there is a new token already.
            is_late = counted.fetch_add(usize::from(is_void), Ordering::SeqCst) > 0 && is_void;
            if is_void { Act::json(401, "{}") } else { applied() }
        };
        let (is_new, renewed) = (received.header("authorization") == Some("Bearer T2"), renewed.clone());
        async move {
            if is_new {
                renewed.send_replace(true);
            }
            if is_late {
                let _ = renewed.subscribe().wait_for(|renewed| *renewed).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            act
        }
    })
    .await;
    let auth = Auth::ClientCredentials { client: client(server.addr, ClientStyle::Basic) };
    let app = Arc::new(app(server.addr, auth, LONG).await);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.mutate(create("{}")).await.status })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(fetches(&server).len(), 2);
    let refused = refused.load(Ordering::SeqCst);
    assert!(refused > 1, "{refused} refusals");
    // Each mutation was applied once: what was refused was sent once more.
    assert_eq!(server.log().len(), 2 + 64 + refused);
}

#[tokio::test]
async fn a_token_that_is_refused_again_is_told_and_not_replaced_for_ever() {
    let server = server(|received| token(&format!("T{}", received.number)), |_| Act::json(401, "{}")).await;
    let auth = Auth::ClientCredentials { client: client(server.addr, ClientStyle::Basic) };
    let app = app(server.addr, auth, LONG).await;
    for _ in 0..3 {
        let told = app.mutate(create("{}")).await;
        assert_eq!(told.status, 401);
        assert_eq!(told.error(), "Error: Notes refuses the gateway's credential; nothing was applied");
    }
    assert_eq!(fetches(&server).len(), 2);
    // A first attempt and one with the new token, then one for each mutation.
    assert_eq!(server.log().len(), 2 + 4);
}

#[tokio::test]
async fn check_says_for_each_sync_whether_its_credential_works() {
    for (token_act, provider_act, want) in [
        ((|| token("T1")) as fn() -> Act, (|| Act::json(404, "{}")) as fn() -> Act, Ok(())),
        (|| token("T1"), || Act::json(200, "{}"), Ok(())),
        (|| token("T1"), || Act::json(401, "{}"), Err("Notes answered 401 to GET /: ")),
        (|| token("T1"), || Act::json(502, "{}"), Err("Notes answered 502 to GET /")),
        (
            || Act::json(401, r#"{"error":"invalid_client"}"#),
            applied,
            Err("the token endpoint refuses: invalid_client"),
        ),
        (|| Act::json(500, "{}"), applied, Err("the token endpoint answered 500")),
        (|| token("T1"), || Act::Close, Err("Notes cannot be reached: ")),
    ] {
        let server = server(move |_| token_act(), move |_| provider_act()).await;
        let auth = Auth::ClientCredentials { client: client(server.addr, ClientStyle::Basic) };
        let checked = app(server.addr, auth, LONG).await.gateway.check().await;
        let [(sync, result)] = checked.as_slice() else { panic!("{checked:?}") };
        assert_eq!(sync, "s");
        match (result, want) {
            (Err(why), Err(words)) => assert!(why.starts_with(words), "{why}"),
            (result, want) => {
                assert_eq!(result.as_ref().map_err(String::as_str), want.as_ref().map_err(|text| *text).map(|()| &()))
            }
        }
        assert!(server.log().iter().all(|received| received.path == "/token" || received.method == "GET"));
    }
}
