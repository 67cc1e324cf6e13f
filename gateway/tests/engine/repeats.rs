//! What happens after a first attempt: which requests are sent again, and what may then be said about the mutation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gateway::providers::Repeat;

use crate::kit::{Act, App, Notes, Scripted, Told, config, create, http_backend, sync};

const UPDATE: &str =
    r#"{"kind":"update","sync_id":"s","collection_id":"notes:note","records":[{"upstream_id":"7","data":{"a":1}}]}"#;

/// Answers request n with the nth letter, and the last letter after that.
fn act(letter: u8) -> Act {
    match letter {
        b'a' => Act::json(201, r#"{"id":"7"}"#),
        b'r' => Act::json(400, r#"{"message":"bad"}"#),
        b'g' => Act::json(404, r#"{"message":"gone"}"#),
        b'5' => Act::json(503, "{}"),
        b'n' => Act::Reply { status: 500, headers: vec![("should-retry", "false".into())], body: "{}".into() },
        b'y' => Act::Reply { status: 500, headers: vec![("should-retry", "true".into())], body: "{}".into() },
        b'l' => Act::Reply { status: 429, headers: vec![("retry-after", "0".into())], body: "{}".into() },
        b'L' => Act::Reply {
            status: 429,
            headers: vec![("retry-after", "60".into())],
            body: r#"{"message":"slow"}"#.into(),
        },
        b'k' => Act::Reply { status: 423, headers: vec![("retry-after", "0".into())], body: "{}".into() },
        b'4' => Act::json(401, "{}"),
        _ => Act::Close,
    }
}

async fn run(repeat: Repeat, letters: &'static str, body: &str) -> (Told, Vec<Option<String>>) {
    let server = Scripted::start(move |received| async move {
        let letters = letters.as_bytes();
        act(letters[received.number.min(letters.len() - 1)])
    })
    .await;
    let app = App::before(Notes { repeat, ..Notes::default() }, server.addr).await;
    let told = app.mutate(body).await;
    (told, server.log().iter().map(|received| received.header("idempotency-key").map(str::to_owned)).collect())
}

#[tokio::test]
async fn a_request_is_sent_again_only_where_no_second_effect_is_possible() {
    let key = Repeat::Key { window: Duration::from_secs(3600) };
    let short = Repeat::Key { window: Duration::from_secs(2) };
    let create = create("{}");
    for (at, (repeat, letters, body, status, requests)) in [
        // Nothing was applied: again, whatever the request is.
        (Repeat::Never, "la", &*create, 200, 2),
        (Repeat::Never, "ka", &create, 200, 2),
        (Repeat::Never, "L", &create, 429, 1),
        (Repeat::Never, "lr", &create, 400, 2),
        // It may have been applied.
        (Repeat::Never, "xa", &create, 504, 1),
        (Repeat::Never, "5a", &create, 504, 1),
        (Repeat::Never, "ya", &create, 200, 2),
        (key, "xa", &create, 200, 2),
        (key, "x5xa", &create, 200, 4),
        (key, "na", &create, 504, 1),
        (key, "xna", &create, 504, 2),
        (Repeat::UniqueId, "xa", &create, 200, 2),
        (Repeat::Absolute, "xa", UPDATE, 200, 2),
        // A window that ends before another attempt could.
        (short, "xa", &create, 504, 1),
        // A refusal speaks for all attempts under one key. Otherwise the first attempt may have caused it.
        (key, "xr", &create, 400, 2),
        (Repeat::UniqueId, "xr", &create, 504, 2),
        (Repeat::Absolute, "xr", UPDATE, 504, 2),
        (Repeat::Absolute, "xg", UPDATE, 400, 2),
        // "Nothing was applied" is not said once it may have been.
        (key, "xL", &create, 504, 2),
        (key, "x4", &create, 504, 2),
        (key, "xla", &create, 200, 3),
    ]
    .into_iter()
    .enumerate()
    {
        let (told, keys) = run(repeat, letters, body).await;
        assert_eq!((told.status, keys.len()), (status, requests), "row {at}, {letters}: {}", told.body);
        assert!(keys.iter().all(|key| *key == keys[0]), "row {at}: {keys:?}");
        assert_eq!(told.retry_after.is_some(), status == 429, "row {at}");
    }
}

#[tokio::test]
async fn a_limit_that_outlasts_the_deadline_is_told_at_once_and_rests_the_account() {
    let server = Scripted::start(|_| async { act(b'L') }).await;
    let app = App::before(Notes::default(), server.addr).await;
    let told = app.mutate(create("{}")).await;
    assert_eq!((told.status, told.retry_after), (429, Some(60)));
    assert_eq!(told.error(), "Error: Notes limits its requests: `slow`; nothing was applied");
    // The next one is not even sent.
    let told = app.mutate(create("{}")).await;
    assert_eq!(told.error(), "Error: Notes: its limits leave no turn in time; nothing was sent");
    assert!(told.retry_after.is_some_and(|seconds| (50..=60).contains(&seconds)), "{told:?}");
    assert_eq!(server.log().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_then_told_as_not_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let mut short = sync(http_backend(Notes::default(), addr));
    short.timeout = Duration::from_millis(400);
    let app = App::start(config(short)).await;
    let told = app.mutate(create("{}")).await;
    assert_eq!((told.status, told.retry_after), (429, Some(1)));
    let error = told.error();
    assert!(error.starts_with("Error: Notes: no connection: Connection refused"), "{error}");
    assert!(error.ends_with("; nothing was sent"), "{error}");
}

#[tokio::test]
async fn a_stalled_provider_ends_with_the_deadline_and_a_late_one_is_asked_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let shared = asked.clone();
    let server = Scripted::start(move |_| {
        let number = shared.fetch_add(1, Ordering::SeqCst);
        async move { if number == 0 { Act::Stall(Vec::new()) } else { act(b'a') } }
    })
    .await;
    for (provider, status, requests) in [(Notes::default(), 504, 1), (Notes::keyed(), 200, 2)] {
        asked.store(0, Ordering::SeqCst);
        let mut sync = sync(http_backend(provider, server.addr));
        if let gateway::config::Backend::Http(http) = &mut sync.backend {
            http.request_timeout = Duration::from_millis(300);
        }
        let app = App::start(config(sync)).await;
        assert_eq!(app.mutate(create("{}")).await.status, status);
        assert_eq!(asked.load(Ordering::SeqCst), requests);
    }
}

/// The wait for a turn counts: when it ends, the provider may have forgotten the key.
#[tokio::test]
async fn a_key_is_not_repeated_after_its_window_however_long_its_turn_took() {
    let server = Scripted::start(|_| async { act(b'x') }).await;
    // A repetition must begin within 1.3 s, and has its turn after 2 s.
    let repeat = Repeat::Key { window: Duration::from_secs(7) };
    let mut sync = sync(http_backend(Notes { repeat, ..Notes::default() }, server.addr));
    sync.limit.per_second = Some(0.5);
    let app = App::start(config(sync)).await;
    assert_eq!(app.mutate(create("{}")).await.status, 504);
    assert_eq!(server.log().len(), 1);
}
