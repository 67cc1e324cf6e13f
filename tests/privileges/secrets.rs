//! A token is visible nowhere: not in a log at its loudest, a catalog, a view, a dump, a client's output or a process
//! list.
//!
//! Every error is caused with an API that repeats the token in each of its answers. Then all output is searched for
//! pieces of the tokens. A token in a file must appear nowhere; one in a user mapping appears only where
//! docs/security.md says.

mod echoing_api;
mod evidence;
mod marked_token;
mod paths;
mod server;

use std::collections::BTreeSet;

use sequin_harness::Stop;

use crate::support::Session;
use evidence::{beside, described, files, search};
use marked_token::MarkedToken;
use server::LoudServer;

/// Where a superuser finds the tokens of mappings, where who may read all data does, and the dumps.
const WITH_TOKENS: [&str; 11] = [
    "superuser.information_schema._pg_user_mappings",
    "superuser.information_schema.user_mapping_options",
    "superuser.pg_user_mapping",
    "superuser.pg_user_mappings",
    "superuser.pg_statistic",
    "superuser.pg_stats",
    "reader.pg_user_mapping",
    "reader.pg_statistic",
    "reader.pg_stats",
    "dump",
    "dump_of_all",
];

#[test]
fn tokens_show_nowhere() {
    let in_files =
        [MarkedToken::odd(["Fq7Xw3ZkPd2t", "Jm9Rv4TcHs6b"]), MarkedToken::long(["Wb5Ny8QgLf1x", "Gz3Kc7VpRd9m"])];
    let in_mappings =
        [MarkedToken::odd(["Tn4Hx6MjBw8q", "Sr2Pf9DzKv5c"]), MarkedToken::long(["Cy7Lt3XnQk4h", "Vd8Zg1RwJb6s"])];
    let mut stage = LoudServer::start();
    paths::drive(&mut stage, &in_files, &in_mappings);

    keep_all(&mut stage);
    let LoudServer { evidence, server, typed, .. } = &stage;
    let (count, bytes) = evidence.size();
    eprintln!("{count} pieces of evidence, {} MB", bytes >> 20);

    let canaries: Vec<&MarkedToken> = in_files.iter().collect();
    // With its WAL the data directory holds text that no query shows.
    for dir in [evidence.dir(), &server.data()] {
        let hits = search(dir, &canaries);
        assert!(hits.is_empty(), "tokens of files, in {dir:?}: {}", described(&hits));
    }
    let canaries: Vec<&MarkedToken> = in_mappings.iter().collect();
    assert!(!search(&server.data(), &canaries).is_empty(), "a search of the data directory finds tokens");
    let hits = search(evidence.dir(), &canaries);
    for place in ["log", "superuser.pg_stat_statements"] {
        assert!(files(&hits).contains(place), "what was typed stands in {place}");
    }
    let found = beside(hits, typed, &canaries);
    assert_eq!(files(&found), BTreeSet::from(WITH_TOKENS), "{}", described(&found));
    for hit in found.iter().filter(|hit| hit.file.starts_with("dump")) {
        assert!(hit.line.starts_with("    token '") || hit.line.starts_with("    token E'"), "{hit:?}");
    }
}

/// Keeps all that can be asked for when everything has happened, and stops the server.
fn keep_all(stage: &mut LoudServer) {
    let LoudServer { observer, evidence, server, .. } = stage;
    evidence.keep_processes("processes", server);
    // Autovacuum does it some day: statistics quote the most common values.
    observer.run("ANALYZE pg_user_mapping; CREATE ROLE reader LOGIN IN ROLE pg_read_all_data");
    for (who, role, most) in [("superuser", "postgres", 0), ("reader", "reader", 30), ("app", "app", 60)] {
        observer.run(&server::quiet(&format!("ALTER ROLE {role} SET")));
        let refused = evidence.keep_relations(who, server, role);
        assert!(refused.len() <= most, "{role}: {refused:#?}");
    }
    evidence.keep_dump("dump", server, "pg_dump", &[], &server.dsn("stage"));
    evidence.keep_dump("dump of data", server, "pg_dump", &["--inserts", "-a"], &server.dsn("stage"));
    evidence.keep_dump("dump of sequin", server, "pg_dump", &["-n", "sequin"], &server.dsn("stage"));
    evidence.keep_dump("dump of all", server, "pg_dumpall", &[], &server.dsn("postgres"));
    server.stop(Stop::Fast);
    evidence.keep_log(server);
}
