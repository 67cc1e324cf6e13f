//! A reply with many records: when it has been read, the rows are made, and that takes a while too.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postgres::error::SqlState;
use sequin_harness::{RawServer, raw};

use crate::network::{
    PATIENCE, Pending, assert_known, backend, column, create, eventually, foreign_server, serve, server, sockets_to,
};

/// Enough records to keep a backend busy for far longer than a cancel takes: jsonb that is dense in small values.
const RECORDS: usize = 300;

fn large_reply() -> Vec<u8> {
    let data = format!("[{}0]", "[1,2],".repeat(6_000));
    let record = format!(r#"{{"upstream_id":"003","data":{{"dense":{data}}}}}"#);
    raw::reply(200, &format!(r#"{{"records":[{}{record}]}}"#, format!("{record},").repeat(RECORDS - 1)))
}

#[test]
fn a_cancel_while_rows_are_made_says_that_it_was_applied() {
    let database = server().fresh_database();
    let mut admin = database.connect();
    let was_read = Arc::new(AtomicBool::new(false));
    let flag = was_read.clone();
    let peer = RawServer::start(move |stream: &mut TcpStream| {
        if flag.load(Ordering::SeqCst) {
            return serve(stream);
        }
        let _ = raw::read_request(stream);
        let _ = stream.write_all(&large_reply());
        let port = stream.local_addr().unwrap().port();
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            if sockets_to(port).iter().all(|socket| socket.has_read_all) {
                flag.store(true, Ordering::SeqCst);
                break;
            }
        }
        serve(stream);
    });
    foreign_server(&database, "large", &peer.url(), "");
    let mut client = database.connect();
    let pid = backend(&mut client);
    let sql = "SELECT count(*) FROM sequin_mutate('create', 'sync', 'salesforce:contact', '{\"data\": {}}', \
               server => 'large')";
    let pending = Pending::start(client, sql);
    eventually("the reply is read", || pending.has_ended() || was_read.load(Ordering::SeqCst));
    admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
    let (mut client, error) = pending.refusal("the rows");
    assert_eq!(error.code(), &SqlState::QUERY_CANCELED, "{error:?}");
    assert_known(error.where_().unwrap_or_default(), "it was applied", "the rows");
    assert_eq!(column(&mut client, &create("large")), ["003"]);
}
