//! The ways in which a token could leak, each tried with every marked token.

mod outbox;
mod statements;

use sequin_harness::tls::Kind;
use sequin_harness::{RawServer, Tls};

use super::echoing_api::{self, EchoingApi};
use super::marked_token::MarkedToken;
use super::server::{LoudServer, OPTIONS};
use crate::support::Session;
use crate::support::network::{Pending, REFUSING, eventually, serve, waits};

/// Drives all of them. Each server object has its canary's name.
pub fn drive(stage: &mut LoudServer, in_files: &[MarkedToken], in_mappings: &[MarkedToken]) {
    let api = EchoingApi::start();
    let files: Vec<String> = (0..in_files.len()).map(|n| format!("file{n}")).collect();
    let mapped: Vec<String> = (0..in_mappings.len()).map(|n| format!("mapped{n}")).collect();
    for (name, canary) in files.iter().zip(in_files) {
        stage.write_token_file(name, &format!("{}\n", canary.token), 0o600);
        stage.servers_with_file(std::slice::from_ref(name), &api.raw.url(), OPTIONS, name);
    }
    for (name, canary) in mapped.iter().zip(in_mappings) {
        stage.servers_with_token(std::slice::from_ref(name), &api.raw.url(), OPTIONS, &canary.token);
    }
    for name in files.iter().chain(&mapped) {
        replies(stage, &api, name);
        triggers(stage, &api, name);
        interrupted(stage, name);
    }
    not_sent(stage, &files[0], &in_mappings[0]);
    bad_files(stage, &in_files[0]);
    outbox::drive(stage, &api, &files, in_mappings);
    statements::refuse(stage, in_mappings);
}

/// A call of a verb through the server object `server`, answered according to `way`.
fn call(way: usize, server: &str) -> String {
    let target = format!("'way-{way}', 'salesforce:contact'");
    match way % 4 {
        0 => format!("SELECT * FROM sequin_create({target}, '{{\"n\":1}}', server => '{server}')"),
        1 => format!("SELECT * FROM sequin_update({target}, '003', '{{\"n\":1}}', server => '{server}')"),
        2 => format!("SELECT * FROM sequin_delete({target}, '003', server => '{server}')"),
        _ => format!("SELECT * FROM sequin_mutate('delete', {target}, '[\"003\",\"004\"]', server => '{server}')"),
    }
}

/// Every answer, to a role that may not read the token.
fn replies(stage: &mut LoudServer, api: &EchoingApi, server: &str) {
    let before = api.requests();
    let calls: Vec<String> = (0..echoing_api::count()).map(|way| call(way, server)).collect();
    let shown = stage.psql("app", &calls);
    assert!(api.requests() >= before + calls.len(), "every call was answered");
    assert!(shown.matches("[redacted]").count() > 30, "the token was echoed, and taken out: {shown}");

    // Another protocol, and parameters.
    let mut app = stage.app();
    for way in echoing_api::some() {
        let sql = "SELECT upstream_id FROM sequin_create($1, 'salesforce:contact', '{}', server => $2::text::name)";
        let error = app.query(sql, &[&format!("way-{way}"), &server]).unwrap_err();
        stage.evidence.keep("errors", format!("{error:?}"));
    }
}

/// Answers within the statement of a table that writes through.
fn triggers(stage: &mut LoudServer, api: &EchoingApi, server: &str) {
    let before = api.requests();
    let table = format!("people_{server}");
    let mut statements = vec![
        format!("CREATE TABLE {table} (id int PRIMARY KEY, name text, up text)"),
        format!(
            "SELECT sequin_attach('{table}', 's', 'salesforce:contact', 'up', delivery => 'inline', server => '{server}')"
        ),
    ];
    for way in echoing_api::some() {
        let row = format!("({way}, 'here', 'way-{way}')");
        statements.extend([
            format!("INSERT INTO {table} VALUES ({way}, 'way-{way}')"),
            format!("SET sequin.capture = off; INSERT INTO {table} VALUES {row}; RESET sequin.capture"),
            format!("UPDATE {table} SET name = 'there' WHERE id = {way}"),
            format!("DELETE FROM {table} WHERE id = {way}"),
        ]);
    }
    stage.psql("app", &statements);
    assert!(api.requests() >= before + 3 * echoing_api::some().len(), "every statement was sent");
}

/// Calls that end while their answer is in transit.
fn interrupted(stage: &mut LoudServer, server: &str) {
    let sql = call(0, server).replace("way-0", echoing_api::STALL);
    let ends = ["SELECT pg_cancel_backend($1)", "SELECT pg_terminate_backend($1)"];
    let begin = |end| {
        let mut client = stage.app();
        (end, client.pid(), Pending::start(client, &sql))
    };
    let calls = ends.map(begin);
    let LoudServer { observer, evidence, server: cluster, .. } = stage;
    for (_, pid, _) in &calls {
        eventually("the call waits", || waits(observer, *pid));
    }
    evidence.keep_processes("processes", cluster);
    let seen = observer.simple_query("SELECT * FROM pg_stat_activity").unwrap();
    evidence.keep("activity", format!("{seen:?}"));
    for (end, pid, pending) in calls {
        observer.execute(end, &[&pid]).unwrap();
        let (_, result) = pending.end(end);
        evidence.keep("errors", format!("{:?}", result.unwrap_err()));
    }
    stage.psql("app", &["SET statement_timeout = '300ms'".into(), sql.clone()]);
    let impatient = format!("ALTER SERVER {server} OPTIONS (SET request_timeout_ms '300')");
    stage.observer.run(&impatient);
    stage.psql("app", &[sql]);
}

/// Servers that get no request, for want of an address, of an answer or of proof.
fn not_sent(stage: &mut LoudServer, file: &str, in_mapping: &MarkedToken) {
    let tls = Tls::in_directory(&stage.server.scratch("certificates"));
    let unproved =
        [Kind::Expired, Kind::OtherHost, Kind::UnknownAuthority].map(|kind| RawServer::tls(tls.server(kind), serve));
    let plain = RawServer::start(serve);
    let mut urls: Vec<String> = unproved.iter().map(|server| server.https_url("localhost")).collect();
    urls.extend([
        plain.https_url("localhost"),
        format!("http://{REFUSING}"),
        "https://nowhere.missing.test".into(),
        "https://nowhere.5000.slow.test".into(),
    ]);
    let options = format!(", connect_timeout_ms '300', ca_file '{}'", tls.ca_file().display());
    for (n, url) in urls.iter().enumerate() {
        let names = [format!("unreachable_file{n}"), format!("unreachable_mapped{n}")];
        stage.servers_with_file(&names[..1], url, &options, file);
        stage.servers_with_token(&names[1..], url, &options, &in_mapping.token);
        let shown = stage.psql("app", &names.map(|name| call(0, &name)));
        assert_eq!(shown.matches("ERROR:  HV00N").count(), 2, "{url}: {shown}");
    }
}

/// Token files that are refused, although they hold a token.
fn bad_files(stage: &mut LoudServer, canary: &MarkedToken) {
    let token = &canary.token;
    let contents = [
        (token.clone(), 0o644),
        (format!("{token} {token}"), 0o600),
        (format!("{token}\n{token}\n"), 0o600),
        (format!("\u{e9}{token}"), 0o600),
        (format!("{token}\0"), 0o600),
        (format!("{{\"token\": {token}}}\r\n"), 0o600),
        (token.repeat(300), 0o600),
        (token.clone(), 0o000),
    ];
    for (n, (content, mode)) in contents.iter().enumerate() {
        let name = format!("bad_file{n}");
        stage.write_token_file(&name, content, *mode);
        stage.servers_with_file(std::slice::from_ref(&name), "http://127.0.0.1:9", "", &name);
        let shown = stage.psql("app", &[call(0, &name)]);
        assert!(shown.contains("token_file \""), "{shown}");
    }
}
