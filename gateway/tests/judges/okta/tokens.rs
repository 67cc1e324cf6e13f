//! The gateway as a client of Okta: it fetches one token for all, and a new one when that is not good any more.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::resource::Resource;
use super::{CLIENT, Okta, SECRET};
use crate::support::gateway::{Gateway, Section};
use crate::support::http::{Answer, basic, must};
use crate::support::proxy::{Choice, Fault, FaultProxy, Rate};

const TOKEN: &str = "/oauth2/default/v1/token";
const AT_ONCE: usize = 20;

/// A gateway with a sync `things` at a service that trusts Okta.
struct World {
    okta: Okta,
    proxy: FaultProxy,
    resource: Resource,
    gateway: Gateway,
}

impl World {
    fn start() -> World {
        World::with(SECRET, Choice::none(), |_| {})
    }

    /// With this secret, these faults of the token endpoint, and its replies edited.
    fn with(secret: &str, choice: Choice, edit: impl Fn(&mut Answer) + Send + Sync + 'static) -> World {
        let okta = Okta::start();
        let proxy = FaultProxy::editing(okta.url(), choice, edit);
        let resource = Resource::trusting(okta.url());
        let (url, token_url) = (resource.url(), format!("{}{TOKEN}", proxy.url()));
        let section = format!(
            "provider = \"rest\"\nbase_url = \"{url}\"\ntimeout = \"5s\"\n\
             auth = {{ kind = \"client_credentials\", token_url = \"{token_url}\", client_id = \"{CLIENT}\", \
             client_secret_file = \"okta.secret\", scope = \"write\" }}\n\
             [sync.things.collection.things]\n\
             create = {{ method = \"POST\", path = \"/things\", body = \"{{data}}\" }}\n\
             reply = {{ upstream_id = \"/id\" }}\nerror = [\"/message\"]\n"
        );
        let gateway = Gateway::start(&[Section::new("things", &section, vec![("okta.secret", secret.to_owned())])]);
        World { okta, proxy, resource, gateway }
    }

    fn create(&self) -> Answer {
        let create: Value = json!({"kind": "create", "sync_id": "things", "collection_id": "things",
            "records": [{"data": {"name": "A"}}]});
        self.gateway.mutate(&create, None)
    }

    /// Many creates at once, which must work.
    fn create_many(&self) {
        thread::scope(|scope| {
            let creates: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| self.create())).collect();
            for create in creates {
                let answer = create.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                assert_eq!(answer.status, 200, "{}\n{}", answer.body, self.gateway.log());
            }
        });
    }

    /// The tokens that were fetched.
    fn tokens(&self) -> Vec<String> {
        let answers = self.proxy.passages().into_iter().filter_map(|passage| passage.answer);
        answers.map(|answer| answer.at("/access_token").as_str().expect("a token").to_owned()).collect()
    }

    /// Ends a token before its time.
    fn revoke(&self, token: &str) {
        let headers = [
            ("authorization", basic(CLIENT, SECRET)),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ];
        let url = format!("{}/oauth2/default/v1/revoke", self.okta.url());
        must("POST", &url, &headers, Some(&format!("token={token}")));
    }
}

#[test]
fn many_mutations_at_once_fetch_one_token() {
    let world = World::start();
    world.create_many();
    assert_eq!((world.tokens().len(), world.resource.made()), (1, AT_ONCE));
}

#[test]
fn a_token_that_is_not_good_any_more_is_replaced_once() {
    let world = World::start();
    world.create_many();
    world.revoke(&world.tokens()[0]);
    world.create_many();
    assert_eq!((world.tokens().len(), world.resource.made()), (2, 2 * AT_ONCE));
}

#[test]
fn a_token_is_replaced_before_it_expires() {
    let short = |answer: &mut Answer| answer.body = answer.body.replace("\"expires_in\":3600", "\"expires_in\":2");
    let world = World::with(SECRET, Choice::none(), short);
    let begun = Instant::now();
    while world.tokens().len() < 2 {
        assert_eq!(world.create().status, 200);
        assert!(begun.elapsed() < Duration::from_secs(60), "the token was used for ever");
    }
}

#[test]
fn a_wrong_secret_is_the_gateways_and_not_the_clients() {
    let world = World::with("wrong", Choice::none(), |_| {});
    let answer = world.create();
    assert_eq!((answer.status, world.resource.made()), (401, 0), "{}", answer.body);
    let text = answer.at("/error");
    assert!(text.as_str().is_some_and(|text| text.contains("credential") && !text.contains("wrong")), "{text}");
}

#[test]
fn without_a_token_nothing_is_sent() {
    for fault in [Fault::FailBefore(500), Fault::CutBefore, Fault::CutAfter, Fault::Limited(1)] {
        let world = World::with(SECRET, Choice::new(0, Rate::Always(fault)), |_| {});
        let answer = world.create();
        assert_eq!((answer.status, world.resource.made()), (429, 0), "{fault:?}: {}", answer.body);
        assert!(answer.header("retry-after").is_some(), "{fault:?}");
        world.proxy.relent();
        let begun = Instant::now();
        while world.create().status == 429 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{fault:?}: the endpoint works again");
        }
        assert_eq!(world.resource.made(), 1, "{fault:?}");
    }
}
