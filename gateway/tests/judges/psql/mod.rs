//! From psql through the extension and the gateway to a product, and back.

mod attached;
mod kinto;
mod localstripe;
mod stripe_mock;

use std::thread;
use std::time::{Duration, Instant};

use sequin_harness::Database;

use crate::support::gateway::{Gateway, TOKEN};

/// A new database whose server object leads to the gateway.
fn database(gateway: &Gateway) -> Database {
    let database = Database::fresh();
    database.create_server(&gateway.url(), TOKEN);
    database
}

/// What psql prints for statements that must work: a line for each row, with bars between its columns.
#[track_caller]
fn psql(database: &Database, sql: &str) -> String {
    let (works, out, err) = run(database, &["-qAt", "-c", sql]);
    assert!(works, "{sql}: {out}{err}");
    out.trim_end().to_owned()
}

/// psql's error text for a statement that must fail.
#[track_caller]
fn psql_error(database: &Database, sql: &str) -> String {
    let (works, _, err) = run(database, &["-v", "VERBOSITY=verbose", "-c", sql]);
    assert!(!works, "{sql} works");
    err
}

fn run(database: &Database, arguments: &[&str]) -> (bool, String, String) {
    let mut command = database.server().psql_command(database.name());
    let output = command.args(["-v", "ON_ERROR_STOP=1"]).args(arguments).output().expect("psql runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Waits until every upstream id is in its row, and all that was queued has been sent, but for what waits for a person:
/// changes behind a create whose outcome is unknown.
#[track_caller]
fn settled(database: &Database) {
    let settled = "SELECT NOT EXISTS (
                       SELECT FROM sequin.outbox WHERE state IN ('pending', 'sending') AND ordering_key NOT IN (
                           SELECT ordering_key FROM sequin.outbox WHERE state NOT IN ('pending', 'sending')))
                   AND NOT EXISTS (SELECT FROM sequin.pending_upstream_ids)";
    let (mut client, begun) = (database.connect(), Instant::now());
    while !client.query_one(settled, &[]).expect("a query").get::<_, bool>(0) {
        assert!(begun.elapsed() < Duration::from_secs(120), "{}", psql(database, "SELECT * FROM sequin.outbox"));
        thread::sleep(Duration::from_millis(5));
    }
}
