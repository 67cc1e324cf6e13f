//! Idempotency keys: one key is one effect, for as many clients and attempts as there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use gateway::config::{Auth, Backend};
use tokio::sync::Semaphore;

use crate::kit::{Act, App, Notes, Scripted, config, create, http_backend, sync};

const APPLIED: &str = r#"{"id":"7"}"#;

#[tokio::test]
async fn the_same_key_from_many_clients_is_one_request_and_one_reply() {
    let gate = Arc::new(Semaphore::new(0));
    let shared = gate.clone();
    let server = Scripted::start(move |_| {
        let gate = shared.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Act::json(201, APPLIED)
        }
    })
    .await;
    let app = Arc::new(App::before(Notes::default(), server.addr).await);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.keyed("k", create("{}")).await })
        })
        .collect();
    server.arrived(1).await;
    gate.add_permits(20);
    let mut replies = Vec::new();
    for client in clients {
        replies.push(client.await.unwrap());
    }
    assert!(replies.iter().all(|reply| *reply == replies[0] && reply.status == 200), "{replies:?}");
    // Later it is the same too.
    assert_eq!(app.keyed("k", create("{}")).await, replies[0]);
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn another_body_under_a_key_is_refused_and_another_key_is_another_effect() {
    let server = Scripted::start(|_| async { Act::json(201, APPLIED) }).await;
    let app = App::before(Notes::default(), server.addr).await;
    assert_eq!(app.keyed("k", create("{}")).await.status, 200);
    let told = app.keyed("k", create(r#"{"a":1}"#)).await;
    assert_eq!((told.status, server.log().len()), (422, 1));
    assert!(told.body.contains("the key belongs to a request with another body"), "{}", told.body);
    assert_eq!(app.keyed("l", create("{}")).await.status, 200);
    let log = server.log();
    assert_eq!(log.len(), 2);
    assert_ne!(log[0].header("idempotency-key"), log[1].header("idempotency-key"));
}

#[tokio::test]
async fn a_refusal_is_stored_and_what_was_not_applied_is_not() {
    let server = Scripted::start(|received| async move {
        match received.number {
            0 => Act::json(400, r#"{"message":"bad"}"#),
            1 => Act::json(401, "{}"),
            _ => Act::json(201, APPLIED),
        }
    })
    .await;
    let app = App::before(Notes::default(), server.addr).await;
    for status in [400, 400] {
        assert_eq!(app.keyed("refused", create("{}")).await.status, status);
    }
    for status in [401, 200, 200] {
        assert_eq!(app.keyed("denied", create("{}")).await.status, status);
    }
    assert_eq!(server.log().len(), 3);
}

#[tokio::test]
async fn an_unknown_outcome_is_found_out_by_the_same_key_where_the_provider_knows_it() {
    for (provider, second, requests) in [(Notes::keyed(), 200, 3), (Notes::default(), 504, 1)] {
        // Two attempts fail: the first mutation has no time for a third.
        let server = Scripted::start(|received| async move {
            if received.number < 2 { Act::Stall(Vec::new()) } else { Act::json(201, APPLIED) }
        })
        .await;
        let mut sync = sync(http_backend(provider, server.addr));
        sync.timeout = Duration::from_millis(800);
        if let Backend::Http(http) = &mut sync.backend {
            http.request_timeout = Duration::from_millis(350);
        }
        let app = App::start(config(sync)).await;
        let first = app.keyed("k", create("{}")).await;
        assert_eq!(first.status, 504);
        let told = app.keyed("k", create("{}")).await;
        assert_eq!((told.status, server.log().len()), (second, requests), "{}", told.body);
        assert_eq!(told == first, second == 504);
        let log = server.log();
        assert!(log.iter().all(|r| r.header("idempotency-key") == log[0].header("idempotency-key")));
        assert_eq!(app.keyed("k", create("{}")).await, told);
        assert_eq!(server.log().len(), requests);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_nothing() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (gate, shared) = (Arc::new(Semaphore::new(0)), asked.clone());
    let held = gate.clone();
    let server = Scripted::start(move |_| {
        shared.fetch_add(1, Ordering::SeqCst);
        let gate = held.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Act::json(201, APPLIED)
        }
    })
    .await;
    let app = Arc::new(App::before(Notes::default(), server.addr).await);
    let other = app.clone();
    let client = tokio::spawn(async move { other.keyed("k", create("{}")).await });
    server.arrived(1).await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    gate.add_permits(2);
    assert_eq!(app.keyed("k", create("{}")).await.status, 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_doubt_is_not_repeated_at_another_account() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let server = Scripted::start(move |_| {
        let act = if up.load(Ordering::SeqCst) { Act::json(201, APPLIED) } else { Act::Close };
        async move { act }
    })
    .await;
    let with = |secret: &str| {
        let mut sync = sync(http_backend(Notes::keyed(), server.addr));
        sync.timeout = Duration::from_secs(1);
        if let Backend::Http(http) = &mut sync.backend {
            http.auth = Auth::Bearer { token: secret.into() };
        }
        config(sync)
    };
    let app = App::start(with("one")).await;
    for key in ["k", "l"] {
        assert_eq!(app.keyed(key, create("{}")).await.status, 504);
    }
    is_up.store(true, Ordering::SeqCst);
    app.gateway.reload(&with("one")).unwrap();
    assert_eq!(app.keyed("k", create("{}")).await.status, 200);
    let requests = server.log().len();
    app.gateway.reload(&with("two")).unwrap();
    assert_eq!(app.keyed("l", create("{}")).await.status, 504);
    assert_eq!(server.log().len(), requests);
}
