//! SIGTERM: nobody new is admitted, everybody admitted is answered, within the grace.

use std::sync::Arc;

use rustix::process::Signal;
use tokio::sync::Semaphore;

use super::program::{Program, get};
use super::{Folder, create, stripe_at};
use crate::kit::{Act, Scripted};

/// A provider whose replies wait for permits.
async fn held() -> (Arc<Scripted>, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let waiting = permits.clone();
    let script = move |_| {
        let waiting = waiting.clone();
        async move {
            waiting.acquire().await.unwrap().forget();
            Act::json(200, r#"{"id":"cus_1","object":"customer","created":1738006596}"#)
        }
    };
    (Scripted::start(script).await, permits)
}

#[tokio::test]
async fn a_mutation_in_progress_is_answered_before_the_end() {
    let folder = Folder::new();
    folder.secret("stripe.key", "sk_test_x");
    let (provider, permits) = held().await;
    let program = Arc::new(Program::start(&folder, &stripe_at(provider.addr)).await);
    let (ready, live) = (program.admin("/ready").await, program.admin("/live").await);
    assert_eq!(get(&ready).await, (200, "ready\n".into()));
    let posting = program.clone();
    let posted = tokio::spawn(async move { posting.post("the-token-of-app", create("{}")).await });
    provider.arrived(1).await;

    program.signal(Signal::TERM);
    program.stderr.line_with("draining").await;
    let refused = program.post("the-token-of-app", create("{}")).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(get(&ready).await, (503, "draining\n".into()));
    assert_eq!(get(&live).await, (200, "live\n".into()));

    permits.add_permits(1);
    let reply = posted.await.unwrap();
    assert_eq!(reply.status(), 200);
    assert!(reply.text().await.unwrap().contains("cus_1"));
    let (status, lines) = Arc::into_inner(program).unwrap().end().await;
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert_eq!(provider.log().len(), 1);
}

#[tokio::test]
async fn the_end_without_requests_needs_no_grace() {
    for signal in [Signal::TERM, Signal::INT] {
        let program = Program::start(&Folder::new(), &format!("grace = \"1h\"\n{}", super::FILE)).await;
        program.signal(signal);
        assert_eq!(program.end().await.0.code(), Some(0));
    }
}

#[tokio::test]
async fn the_grace_has_an_end() {
    let folder = Folder::new();
    folder.secret("stripe.key", "sk_test_x");
    let (provider, _permits) = held().await;
    let text = format!("grace = \"50ms\"\n{}", stripe_at(provider.addr));
    let program = Arc::new(Program::start(&folder, &text).await);
    let posting = program.clone();
    let posted = tokio::spawn(async move {
        let url = format!("{}/v1/mutations/run", posting.url);
        let request = super::program::client().post(url).bearer_auth("the-token-of-app");
        request.header("content-type", "application/json").body(create("{}")).send().await
    });
    provider.arrived(1).await;
    program.signal(Signal::TERM);
    assert!(posted.await.unwrap().is_err(), "a mutation without an end got a reply");
    let (status, lines) = Arc::into_inner(program).unwrap().end().await;
    assert_eq!(status.code(), Some(1));
    assert!(lines.iter().any(|line| line.contains("the grace ran out")), "{lines:#?}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let folder = Folder::new();
    folder.secret("stripe.key", "sk_test_x");
    let (provider, _permits) = held().await;
    let text = format!("grace = \"1h\"\n{}", stripe_at(provider.addr));
    let program = Arc::new(Program::start(&folder, &text).await);
    let posting = program.url.clone();
    let posted = tokio::spawn(async move {
        let request = super::program::client().post(format!("{posting}/v1/mutations/run"));
        let request = request.bearer_auth("the-token-of-app").header("content-type", "application/json");
        request.body(create("{}")).send().await
    });
    provider.arrived(1).await;
    program.signal(Signal::TERM);
    program.stderr.line_with("draining").await;
    program.signal(Signal::INT);
    let (status, lines) = Arc::into_inner(program).unwrap().end().await;
    assert_eq!(status.code(), Some(1));
    assert!(lines.iter().any(|line| line.contains("a second signal")), "{lines:#?}");
    assert!(posted.await.unwrap().is_err());
}
