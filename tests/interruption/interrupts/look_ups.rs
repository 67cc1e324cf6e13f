//! Name look-ups that hang: getaddrinfo cannot be stopped, so its resources must be bounded.

use postgres::Client;
use postgres::error::SqlState;

use crate::support::Session;
use crate::support::network::{Api, Pending, create, eventually, foreign_server, release, threads, waits};
use crate::support::server::shared;

/// Begins a call through `name`, which hangs in its look-up, and cancels it.
fn cancel_look_up(admin: &mut Client, mut client: Client, name: &str) -> Client {
    let pid = client.pid();
    let pending = Pending::start(client, &create(name));
    eventually("the call waits", || pending.has_ended() || waits(admin, pid));
    admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
    let (client, error) = pending.refusal(name);
    assert_eq!(error.code(), &SqlState::QUERY_CANCELED, "{error:?}");
    client
}

#[test]
fn cancelled_look_ups_do_not_pile_up() {
    let database = shared().fresh_database();
    let mut admin = database.connect();
    let mut client = database.connect();
    let pid = client.pid();
    let api = Api::start();
    let port = api.raw.address().port();
    let hosts = ["pile0", "pile1", "pile2", "pile3", "pile4"];
    for host in hosts {
        let url = format!("http://{host}.stall.test:{port}");
        foreign_server(&database, host, &url, ", allow_http 'true'");
    }

    // The same name again and again: one look-up.
    for _ in 0..10 {
        client = cancel_look_up(&mut admin, client, hosts[0]);
    }
    assert_eq!(threads(pid), 1 + 1);

    // Other names: four, and then a clear answer.
    for host in &hosts[1..4] {
        client = cancel_look_up(&mut admin, client, host);
    }
    assert_eq!(threads(pid), 1 + 4);
    let error = client.error(&create(hosts[4]));
    assert_eq!(error.code().code(), "HV00N", "{error:?}");
    assert!(error.message().contains("4 earlier lookups still wait for the name server"), "{error:?}");
    assert!(error.detail().unwrap_or_default().contains(r#""outcome": "not_sent""#), "{error:?}");
    assert_eq!(threads(pid), 1 + 4);

    // When they have ended, there is room again.
    for host in hosts {
        release(host);
    }
    eventually("the look-ups end", || threads(pid) == 1);
    for host in hosts {
        assert_eq!(client.column(&create(host)), ["003"], "{host}");
    }
    assert_eq!(api.requests(), hosts.len());
}

/// A call joins the look-up that an earlier, cancelled one has begun.
#[test]
fn a_call_joins_the_look_up_of_a_cancelled_one() {
    let database = shared().fresh_database();
    let mut admin = database.connect();
    let mut client = database.connect();
    let pid = client.pid();
    let api = Api::start();
    let url = format!("http://joined.stall.test:{}", api.raw.address().port());
    foreign_server(&database, "joined", &url, ", allow_http 'true'");

    client = cancel_look_up(&mut admin, client, "joined");
    let pending = Pending::start(client, &create("joined"));
    eventually("the call waits", || pending.has_ended() || waits(&mut admin, pid));
    assert_eq!(threads(pid), 1 + 1);
    release("joined");
    let (_, rows) = pending.end("joined");
    assert_eq!(rows.unwrap(), ["003"]);
    assert_eq!(api.requests(), 1);
}

/// The time for connecting counts for the look-up too.
#[test]
fn a_look_up_ends_with_the_time_for_connecting() {
    let database = shared().fresh_database();
    let options = ", allow_http 'true', connect_timeout_ms '50'";
    foreign_server(&database, "slow", "http://slow.stall.test:9", options);
    let (mut client, error) = Pending::start(database.connect(), &create("slow")).refusal("a look-up without an end");
    assert_eq!(error.code().code(), "HV00N", "{error:?}");
    assert!(error.message().contains("timed out"), "{error:?}");
    assert_eq!(client.column("SELECT 1"), ["1"]);
}

#[test]
fn a_name_that_does_not_exist_is_in_the_message() {
    let database = shared().fresh_database();
    foreign_server(&database, "missing", "http://api.missing.test:9", ", allow_http 'true'");
    let error = database.connect().error(&create("missing"));
    assert_eq!(error.code().code(), "HV00N", "{error:?}");
    assert!(error.message().contains("api.missing.test"), "{error:?}");
    assert!(error.hint().unwrap_or_default().contains("url"), "{error:?}");
}
