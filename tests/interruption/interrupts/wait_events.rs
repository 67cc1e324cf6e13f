//! The `pg_stat_activity.wait_event` of a session or worker that waits.

use postgres::Client;

use super::begin;
use super::stalling::{Phase, Stalling};
use crate::support::Session;
use crate::support::network::{Pending, eventually, foreign_server};
use crate::support::server::{PRELOADED, own, shared};

/// The wait event of a process, or its substitute before PostgreSQL 17.
fn expected(name: &'static str) -> &'static str {
    if shared().config().major() < 17 { "Extension" } else { name }
}

fn wait_event(admin: &mut Client, pid: i32) -> Option<String> {
    let sql = "SELECT wait_event FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Extension'";
    admin.query_opt(sql, &[&pid]).unwrap().and_then(|row| row.get(0))
}

fn of_phase(phase: Phase) -> &'static str {
    match phase {
        Phase::LookUp => "SequinResolve",
        Phase::Connect => "SequinConnect",
        Phase::Send | Phase::TlsSend => "SequinSend",
        Phase::Handshake | Phase::Reply | Phase::Body | Phase::TlsReply | Phase::TlsBody => "SequinReceive",
    }
}

#[test]
fn each_phase_of_a_call_has_its_wait_event() {
    let database = shared().fresh_database();
    let mut admin = database.connect();
    for phase in Phase::ALL {
        let stalling = Stalling::start(phase, shared());
        foreign_server(&database, "stalled", &stalling.url, &stalling.options);
        let (pending, pid) = begin(&mut admin, database.connect(), &stalling, phase);
        // A wait may end for nothing and begin again: the rest of a buffer still goes or comes, or a signal sets the
        // latch.
        let waits = expected(of_phase(phase));
        eventually(&format!("{phase:?}: {waits}"), || wait_event(&mut admin, pid).as_deref() == Some(waits));
        admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
        pending.refusal(&format!("{phase:?}"));
    }
}

#[test]
fn a_session_that_awaits_delivery_and_an_idle_worker_have_theirs() {
    let database = shared().fresh_database();
    let mut admin = database.connect();
    let stalling = Stalling::start(Phase::Reply, shared());
    foreign_server(&database, "stalled", &stalling.url, &stalling.options);
    let sql = "SELECT sequin_enqueue('create', 's', 'salesforce:contact', '{\"data\":{}}', server => 'stalled')";
    let id: i64 = admin.one(sql);
    let mut client = database.connect();
    let pid = client.pid();
    let pending = Pending::start(client, &format!("SELECT sequin_await_delivery('{{{id}}}', 600000)"));
    let awaits = expected("SequinAwaitDelivery");
    eventually("the session waits", || wait_event(&mut admin, pid).as_deref() == Some(awaits));
    admin.execute("SELECT pg_cancel_backend($1)", &[&pid]).unwrap();
    pending.refusal("awaiting");

    drop(stalling);
    let idle = expected("SequinWorkerMain");
    eventually("a worker is idle", || {
        let sql = "SELECT count(*) > 0 FROM pg_stat_activity WHERE pid = ANY (sequin.workers()) AND wait_event = $1";
        admin.one_of(sql, &[&idle])
    });
}

#[test]
fn an_idle_launcher_has_its_own() {
    let preloaded = own(PRELOADED);
    let mut admin = preloaded.connect("postgres");
    let pid = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'sequin launcher'";
    let launches = expected("SequinLauncherMain");
    eventually("the launcher is idle", || {
        let launcher = admin.query_opt(pid, &[]).unwrap().map(|row| row.get(0));
        launcher.and_then(|pid| wait_event(&mut admin, pid)).as_deref() == Some(launches)
    });
}
