//! Cancel, statement_timeout, terminate and fast shutdown take effect in every phase of a call, and leave a session that works.
//!
//! The peer stalls for ever, so a call that returns was interrupted. The CONTEXT gives the known effect of the
//! mutation.

mod floods;
mod look_ups;
mod rows;
mod stalling;
mod wait_events;

use std::thread;

use postgres::Client;
use postgres::error::SqlState;
use sequin_harness::{Server, Stop, process};

use crate::support::Session;
use crate::support::network::{Api, Pending, assert_known, create, eventually, foreign_server, logged_by};
use crate::support::server::{own, shared};
use stalling::{Phase, Stalling};

/// Begins a stalled call in `client`; returns when it waits in its phase.
fn begin(admin: &mut Client, mut client: Client, stalling: &Stalling, phase: Phase) -> (Pending, i32) {
    let pid = client.pid();
    let pending = Pending::start(client, &stalling.statement("stalled"));
    eventually(&format!("{phase:?}: the call waits"), || pending.has_ended() || stalling.holds(admin, pid));
    (pending, pid)
}

#[test]
fn a_cancel_takes_effect_in_each_phase_and_the_next_call_works() {
    let database = shared().fresh_database();
    let mut admin = database.connect();
    let mut client = database.connect();
    for phase in Phase::ALL {
        let mut stalling = Stalling::start(phase, shared());
        foreign_server(&database, "stalled", &stalling.url, &stalling.options);
        let (pending, pid) = begin(&mut admin, client, &stalling, phase);
        admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        let error;
        (client, error) = pending.refusal(&format!("{phase:?}"));

        assert_eq!(error.code(), &SqlState::QUERY_CANCELED, "{phase:?}: {error:?}");
        assert_eq!(error.message(), "canceling statement due to user request");
        assert_known(error.where_().unwrap_or_default(), phase.known(), &format!("{phase:?}"));

        stalling.relent();
        assert_eq!(client.column(&create("stalled")), ["003"], "{phase:?}");
        // The session is idle now and closes nothing more, so one that it left open stays so; but the kernel's table, read
        // while others open and close connections, may show one twice.
        eventually(&format!("{phase:?}: the interrupted connection is closed"), || stalling.open() == 1);
    }
}

#[test]
fn a_statement_timeout_takes_effect_in_each_phase_and_the_next_call_works() {
    let database = shared().fresh_database();
    thread::scope(|scope| {
        for phase in Phase::ALL {
            let database = &database;
            scope.spawn(move || {
                let mut stalling = Stalling::start(phase, shared());
                let name = format!("stalled_{phase:?}").to_lowercase();
                foreign_server(database, &name, &stalling.url, &stalling.options);
                let mut client = database.connect();
                // Long enough for each call to come to its phase.
                client.run("SET statement_timeout = '10s'");
                let (mut client, error) =
                    Pending::start(client, &stalling.statement(&name)).refusal(&format!("{phase:?}"));

                assert_eq!(error.code(), &SqlState::QUERY_CANCELED, "{phase:?}: {error:?}");
                assert_eq!(error.message(), "canceling statement due to statement timeout");
                assert_known(error.where_().unwrap_or_default(), phase.known(), &format!("{phase:?}"));

                stalling.relent();
                client.run("SET statement_timeout = 0");
                assert_eq!(client.column(&create(&name)), ["003"], "{phase:?}");
            });
        }
    });
}

#[test]
fn a_terminated_session_ends_in_each_phase() {
    let database = shared().fresh_database();
    let mut admin = database.connect();
    for phase in Phase::ALL {
        let stalling = Stalling::start(phase, shared());
        foreign_server(&database, "stalled", &stalling.url, &stalling.options);
        let (pending, pid) = begin(&mut admin, database.connect(), &stalling, phase);
        admin.execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();

        assert_ended(shared(), phase, pid, pending);
    }
    // A backend that had crashed would have taken this session along.
    assert_eq!(admin.column("SELECT 1"), ["1"]);
}

#[test]
fn a_fast_shutdown_waits_for_no_phase() {
    let server = own("");
    let database = server.fresh_database();
    let mut admin = database.connect();
    let mut stalled = Vec::new();
    for phase in Phase::ALL {
        let stalling = Stalling::start(phase, &server);
        let name = format!("stalled_{phase:?}").to_lowercase();
        foreign_server(&database, &name, &stalling.url, &stalling.options);
        let mut client = database.connect();
        let pid = client.pid();
        let pending = Pending::start(client, &stalling.statement(&name));
        stalled.push((phase, stalling, pid, pending));
    }
    for (phase, stalling, pid, _) in &stalled {
        eventually(&format!("{phase:?}: the call waits"), || stalling.holds(&mut admin, *pid));
    }
    drop(admin);
    server.stop(Stop::Fast);

    // The harness turns to an immediate shutdown after ten seconds.
    let log = server.log();
    assert!(log.contains("received fast shutdown request"), "{log}");
    assert!(!log.contains("received immediate shutdown request"), "a phase held the fast shutdown up:\n{log}");
    assert!(log.contains("database system is shut down"), "{log}");
    for (phase, _, pid, pending) in stalled {
        assert_ended(&server, phase, pid, pending);
    }
}

/// The session has ended, and the log gives the true effect of its mutation.
fn assert_ended(server: &Server, phase: Phase, pid: i32, pending: Pending) {
    let what = format!("{phase:?}");
    assert!(pending.end(&what).1.is_err(), "{what}: the statement succeeded");
    eventually(&format!("{what}: the process ends"), || !process::is_alive(pid));
    let log = logged_by(server, pid);
    assert!(log.contains("FATAL:  terminating connection due to administrator command"), "{what}: {log}");
    assert_known(&log, phase.known(), &what);
}

/// As a procedure would do it that goes on without the API.
#[test]
fn a_cancel_that_is_caught_leaves_a_transaction_that_can_call_again() {
    let database = shared().fresh_database();
    let mut admin = database.connect();
    let mut client = database.connect();
    let api = Api::start();
    foreign_server(&database, "good", &api.raw.url(), "");
    client.run("CREATE TEMP TABLE seen (context text, upstream_id text)");
    for phase in Phase::ALL {
        let stalling = Stalling::start(phase, shared());
        foreign_server(&database, "stalled", &stalling.url, &stalling.options);
        let call = stalling.statement("stalled");
        let again = create(if stalling.relents_by_itself() { "stalled" } else { "good" });
        let block = format!(
            "DO $do$ DECLARE context text; id text; BEGIN
                 BEGIN EXECUTE $${call}$$;
                 EXCEPTION WHEN query_canceled THEN GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
                 END;
                 EXECUTE $${again}$$ INTO id;
                 INSERT INTO seen VALUES (context, id);
             END $do$"
        );
        let pid = client.pid();
        let pending = Pending::start(client, &block);
        eventually(&format!("{phase:?}: the call waits"), || pending.has_ended() || stalling.holds(&mut admin, pid));
        admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        let result;
        (client, result) = pending.end(&format!("{phase:?}"));
        result.unwrap_or_else(|e| panic!("{phase:?}: {e:?}"));

        let seen = client.query_one("DELETE FROM seen RETURNING context, upstream_id", &[]).unwrap();
        let (context, id): (String, String) = (seen.get(0), seen.get(1));
        assert_eq!(id, "003", "{phase:?}");
        let line = format!("create of 1 record in salesforce:contact through server \"stalled\": {}\n", phase.known());
        assert!(context.starts_with(&line), "{phase:?}: {context}");
    }
}

/// A cancel that comes while the arguments are computed is not spent on a request.
#[test]
fn a_cancel_before_the_call_sends_nothing() {
    let database = shared().fresh_database();
    let api = Api::start();
    foreign_server(&database, "good", &api.raw.url(), "");
    let mut client = database.connect();
    let collection = "CASE WHEN pg_cancel_backend(pg_backend_pid()) THEN 'salesforce:contact' END";
    let sql = format!("SELECT upstream_id FROM sequin_create('sync', {collection}, '{{}}', server => 'good')");
    let error = client.error(&sql);
    assert_eq!(error.code(), &SqlState::QUERY_CANCELED, "{error:?}");
    assert_eq!((api.raw.accepted(), api.requests()), (0, 0));
    assert_eq!(client.column(&create("good")), ["003"]);
}
