//! Random faults between the gateway and a provider that counts effects: no key has two, and no reply says what is not
//! so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway::config::Backend;
use gateway::providers::Repeat;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::kit::{Act, App, Notes, Received, Scripted, config, create, http_backend, sync};

/// What happens to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The request is lost before its effect.
    CutBefore,
    /// The reply is lost after the effect.
    CutAfter,
    /// A reply of half a body, after the effect.
    Half,
    Limited,
    /// 503 without an effect.
    Down,
    /// 503 after the effect.
    DownAfter,
    /// The credential is refused.
    Denied,
}

/// One mutation and what happens to its attempts, in their order. Later attempts meet no fault.
#[derive(Clone, Debug)]
struct Story {
    faults: Vec<Fault>,
    /// The provider refuses its data.
    is_bad: bool,
    /// How often the client sends it, under one `Idempotency-Key`.
    sends: usize,
}

fn story() -> impl Strategy<Value = Story> {
    use Fault::{CutAfter, CutBefore, Denied, Down, DownAfter, Half, Limited, None};
    let fault = prop::sample::select(vec![None, CutBefore, CutAfter, Half, Limited, Down, DownAfter, Denied]);
    (prop::collection::vec(fault, 0..5), prop::bool::weighted(0.2), 1..4_usize)
        .prop_map(|(faults, is_bad, sends)| Story { faults, is_bad, sends })
}

fn repeat() -> impl Strategy<Value = Repeat> {
    prop::sample::select(vec![Repeat::Never, Repeat::UniqueId, Repeat::Key { window: Duration::from_secs(3600) }])
}

/// The provider: one place for each story, by the number in its data.
#[derive(Default)]
struct Provider {
    attempts: HashMap<String, usize>,
    /// How many records each story has.
    effects: HashMap<String, usize>,
}

impl Provider {
    fn receive(&mut self, received: &Received, stories: &[Story], repeat: Repeat) -> Act {
        let at = received.body.clone();
        let number: usize = at.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        let story = &stories[number];
        let attempt = self.attempts.entry(at.clone()).or_default();
        let fault = story.faults.get(*attempt).copied().unwrap_or(Fault::None);
        *attempt += 1;
        match fault {
            Fault::CutBefore => return Act::Close,
            Fault::Limited => {
                return Act::Reply { status: 429, headers: vec![("retry-after", "0".into())], body: "{}".into() };
            }
            Fault::Down => return Act::json(503, "{}"),
            Fault::Denied => return Act::json(401, "{}"),
            _ => {}
        }
        let reply = if story.is_bad {
            Act::json(400, r#"{"message":"bad"}"#)
        } else {
            let effects = self.effects.entry(at).or_default();
            // A provider that knows the key or the id has one record, whatever comes.
            *effects = if repeat == Repeat::Never { *effects + 1 } else { 1 };
            Act::json(201, format!(r#"{{"id":"n{number}"}}"#))
        };
        match fault {
            Fault::CutAfter => Act::Close,
            Fault::Half => Act::Raw(b"HTTP/1.1 201 x\r\ncontent-length: 12\r\n\r\n{\"id\"".to_vec()),
            Fault::DownAfter => Act::json(503, "{}"),
            _ => reply,
        }
    }
}

async fn run(repeat: Repeat, stories: Vec<Story>) -> Result<(), TestCaseError> {
    let provider = Arc::new(Mutex::new(Provider::default()));
    let (shared, told) = (provider.clone(), Arc::new(stories.clone()));
    let server = Scripted::start(move |received| {
        let act = shared.lock().unwrap().receive(&received, &told, repeat);
        async move { act }
    })
    .await;
    let mut sync = sync(http_backend(Notes { repeat, ..Notes::default() }, server.addr));
    sync.timeout = Duration::from_millis(900);
    if let Backend::Http(http) = &mut sync.backend {
        http.request_timeout = Duration::from_millis(700);
    }
    let app = Arc::new(App::start(config(sync)).await);
    let clients: Vec<_> = stories
        .iter()
        .enumerate()
        .map(|(number, story)| {
            let (app, sends) = (app.clone(), story.sends);
            tokio::spawn(async move {
                let mut replies = Vec::new();
                for _ in 0..sends {
                    replies.push(app.keyed(&number.to_string(), create(&format!(r#"{{"n":{number}}}"#))).await);
                }
                replies
            })
        })
        .collect();
    for (number, client) in clients.into_iter().enumerate() {
        let replies = client.await.unwrap();
        let effects = provider.lock().unwrap().effects.get(&format!(r#"{{"n":{number}}}"#)).copied().unwrap_or(0);
        let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
        let about = format!("{number}: {:?}, {statuses:?}, {effects} effects", stories[number]);
        prop_assert!(effects <= 1, "{}", about);
        for reply in &replies {
            match reply.status {
                200 => {
                    prop_assert_eq!(effects, 1, "{}", about);
                    prop_assert_eq!(&reply.json()["records"][0]["upstream_id"], &format!("n{number}"));
                }
                504 => {}
                // Told by the last reply: an earlier one may have come before the effect.
                400 | 401 | 429 => {}
                status => prop_assert!(false, "{}: {}", status, about),
            }
        }
        match statuses.last() {
            Some(400 | 401 | 429) => prop_assert_eq!(effects, 0, "{}", about),
            Some(200) => prop_assert_eq!(effects, 1, "{}", about),
            _ => {}
        }
        // What is settled stays as it is.
        if let Some(first) = statuses.iter().position(|status| matches!(status, 200 | 400)) {
            prop_assert!(replies[first..].iter().all(|reply| *reply == replies[first]), "{}", about);
        }
    }
    Ok(())
}

#[test]
fn no_fault_makes_two_effects_or_a_false_reply() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cases = std::env::var("FAULT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let config = ProptestConfig { cases, max_shrink_iters: 30, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let stories = prop::collection::vec(story(), 32);
    runner.run(&(repeat(), stories), |(repeat, stories)| runtime.block_on(run(repeat, stories))).unwrap();
}
