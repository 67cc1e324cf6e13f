//! A reply with many records: after it has been read, making the rows takes a while too.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use postgres::error::{DbError, SqlState};
use sequin_harness::{RawServer, raw};

use crate::support::Session;
use crate::support::network::{
    PATIENCE, Pending, assert_known, create, eventually, foreign_server, has_all_been_read, serve,
};
use crate::support::server::shared;

/// Enough records to keep a backend busy for far longer than a cancel takes: jsonb that is dense in small values.
const RECORDS: usize = 300;

fn large_reply() -> Vec<u8> {
    let data = format!("[{}0]", "[1,2],".repeat(6_000));
    let record = format!(r#"{{"upstream_id":"003","data":{{"dense":{data}}}}}"#);
    raw::reply(200, &format!(r#"{{"records":[{}{record}]}}"#, format!("{record},").repeat(RECORDS - 1)))
}

#[test]
fn a_cancel_while_rows_are_made_says_that_it_was_applied() {
    let database = shared().fresh_database();
    let mut admin = database.connect();
    let mut client = database.connect();
    let (is_sent, is_calm) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let peer = RawServer::start({
        let (is_sent, is_calm, large) = (is_sent.clone(), is_calm.clone(), large_reply());
        move |stream: &mut TcpStream| {
            if !is_calm.load(Ordering::SeqCst) && raw::read_request(stream).is_ok() {
                is_sent.store(stream.write_all(&large).is_ok(), Ordering::SeqCst);
            }
            serve(stream);
        }
    });
    let port = peer.address().port();
    let pid = client.pid();
    let sql = "SELECT count(*) FROM sequin_mutate('create', 'sync', 'salesforce:contact', '{\"data\": {}}', \
               server => 'large')";

    // A machine that is busy with other things may bring the cancel when the rows are made.
    let begun = Instant::now();
    let error: DbError = loop {
        assert!(begun.elapsed() < PATIENCE, "no cancel came while the rows were made");
        // Also closes the connection over which the last reply came.
        foreign_server(&database, "large", &peer.url(), "");
        is_sent.store(false, Ordering::SeqCst);
        let pending = Pending::start(client, sql);
        eventually("the reply is sent", || is_sent.load(Ordering::SeqCst));
        eventually("the reply is read", || has_all_been_read(port));
        admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        let result;
        (client, result) = pending.end("the rows");
        if let Err(error) = result {
            break error.as_db_error().unwrap_or_else(|| panic!("{error}")).clone();
        }
    };
    assert_eq!(error.code(), &SqlState::QUERY_CANCELED, "{error:?}");
    assert_known(error.where_().unwrap_or_default(), "it was applied", "the rows");
    is_calm.store(true, Ordering::SeqCst);
    assert_eq!(client.column(&create("large")), ["003"]);
}
