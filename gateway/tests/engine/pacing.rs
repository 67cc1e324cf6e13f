//! The account's own limits, and the gateway at its end and at a reload.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway::config::{Auth, Backend, Limit};
use tokio::sync::Semaphore;

use crate::kit::{Act, App, Notes, Scripted, config, create, http_backend, sync};

/// A provider that answers when the gate lets it.
async fn gated() -> (Arc<Scripted>, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let shared = gate.clone();
    let server = Scripted::start(move |_| {
        let gate = shared.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Act::json(201, r#"{"id":"7"}"#)
        }
    })
    .await;
    (server, gate)
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_the_account_allows() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (shared, peak) = (now.clone(), most.clone());
    let server = Scripted::start(move |_| {
        peak.fetch_max(shared.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let now = shared.clone();
        async move {
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Act::json(201, r#"{"id":"7"}"#)
        }
    })
    .await;
    let mut sync = sync(http_backend(Notes::default(), server.addr));
    sync.limit = Limit { per_second: None, concurrent: Some(3) };
    let app = Arc::new(App::start(config(sync)).await);
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.mutate(create("{}")).await.status })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), 200);
    }
    let most = most.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most), "{most}");
}

#[tokio::test]
async fn a_draining_gateway_finishes_what_it_began_and_refuses_the_rest() {
    let (server, gate) = gated().await;
    let app = Arc::new(App::before(Notes::default(), server.addr).await);
    let other = app.clone();
    let client = tokio::spawn(async move { other.mutate(create("{}")).await.status });
    server.arrived(1).await;
    let gateway = app.gateway.clone();
    let drain = tokio::spawn(async move { gateway.drain().await });
    while !app.gateway.is_draining() {
        tokio::task::yield_now().await;
    }
    let told = app.mutate(create("{}")).await;
    assert_eq!((told.status, told.retry_after), (429, Some(1)));
    assert!(!drain.is_finished());
    gate.add_permits(1);
    drain.await.unwrap();
    assert_eq!(client.await.unwrap(), 200);
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn a_reload_changes_tokens_and_accounts_and_keeps_keys_and_rests() {
    let server = Scripted::start(|received| async move {
        match received.header("authorization") {
            Some("Bearer second") => {
                Act::Reply { status: 429, headers: vec![("retry-after", "60".into())], body: "{}".into() }
            }
            _ => Act::json(201, r#"{"id":"7"}"#),
        }
    })
    .await;
    let with = |token: &str| {
        let mut sync = sync(http_backend(Notes::default(), server.addr));
        if let Backend::Http(http) = &mut sync.backend {
            http.auth = Auth::Bearer { token: token.into() };
        }
        config(sync)
    };
    let app = App::start(with("first")).await;
    assert_eq!(app.keyed("k", create("{}")).await.status, 200);

    app.gateway.reload(&with("second")).unwrap();
    assert_eq!(app.keyed("k", create("{}")).await.status, 200);
    assert_eq!(app.mutate(create("{}")).await.status, 429);

    // The account's rest goes on under another limit and another secret.
    let mut third = with("third");
    third.syncs.get_mut("s").unwrap().limit = Limit { per_second: None, concurrent: Some(1) };
    app.gateway.reload(&third).unwrap();
    assert_eq!(app.mutate(create("{}")).await.status, 429);
    assert_eq!(server.log().len(), 2);

    // A fault changes nothing.
    let mut bad = with("a\nb");
    bad.tokens.clear();
    let error = app.gateway.reload(&bad).unwrap_err();
    assert_eq!(error.to_string(), "sync.s: the secret cannot be the value of a header");
    assert_eq!(app.mutate(create("{}")).await.status, 429);

    let mut fourth = with("fourth");
    fourth.tokens[0].secret = "other".into();
    app.gateway.reload(&fourth).unwrap();
    assert_eq!(app.mutate(create("{}")).await.status, 401);
}
