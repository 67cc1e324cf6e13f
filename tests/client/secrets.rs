//! A token shows nowhere: not in a log at its loudest, a catalog, a view, a dump, a client's output or a process list.
//!
//! Every error is driven with an API that repeats the token in each of its answers. Then all that was written down is
//! searched for pieces of the tokens. A token in a file must show nowhere at all; one in a user mapping shows where
//! docs/security.md says, and nowhere else.

mod canary;
mod echo;
mod evidence;
mod paths;
mod stage;

use std::collections::BTreeSet;

use canary::Canary;
use evidence::{beside, files};
use stage::Stage;

/// Where a superuser finds the tokens of mappings, and where who may read all data does.
const WITH_TOKENS: [&str; 9] = [
    "superuser.information_schema._pg_user_mappings",
    "superuser.information_schema.user_mapping_options",
    "superuser.pg_user_mapping",
    "superuser.pg_user_mappings",
    "superuser.pg_statistic",
    "superuser.pg_stats",
    "reader.pg_user_mapping",
    "reader.pg_statistic",
    "reader.pg_stats",
];

#[test]
fn tokens_show_nowhere() {
    let in_files = [Canary::odd(["Fq7Xw3ZkPd2t", "Jm9Rv4TcHs6b"]), Canary::long(["Wb5Ny8QgLf1x", "Gz3Kc7VpRd9m"])];
    let in_mappings = [Canary::odd(["Tn4Hx6MjBw8q", "Sr2Pf9DzKv5c"]), Canary::long(["Cy7Lt3XnQk4h", "Vd8Zg1RwJb6s"])];
    let mut stage = Stage::set();
    paths::drive(&mut stage, &in_files, &in_mappings);

    let Stage { observer, evidence, server, .. } = &mut stage;
    evidence.keep_log(server);
    evidence.keep_processes("processes", server);
    // Autovacuum does it some day: statistics quote the most common values.
    observer.batch_execute("ANALYZE pg_user_mapping; CREATE ROLE reader LOGIN IN ROLE pg_read_all_data").unwrap();
    let refused = evidence.keep_relations("superuser", observer);
    assert_eq!(refused, Vec::<String>::new());
    observer.batch_execute(&stage::quiet("ALTER ROLE app SET")).unwrap();
    observer.batch_execute(&stage::quiet("ALTER ROLE reader SET")).unwrap();
    for role in ["app", "reader"] {
        let refused = evidence.keep_relations(role, &mut server.connect_as("stage", role));
        assert!(refused.len() < 60, "{role}: {refused:?}");
    }
    evidence.keep_dump("dump", server, "pg_dump", &[], &server.dsn("stage"));
    evidence.keep_dump("dump of data", server, "pg_dump", &["--inserts", "-a"], &server.dsn("stage"));
    evidence.keep_dump("dump of sequin", server, "pg_dump", &["-n", "sequin"], &server.dsn("stage"));
    evidence.keep_dump("dump of all", server, "pg_dumpall", &[], &server.dsn("postgres"));
    let (count, bytes) = evidence.size();
    eprintln!("{count} pieces of evidence, {} MB", bytes >> 20);
    let canaries: Vec<&Canary> = in_files.iter().collect();
    let hits = evidence.hits(&canaries);
    assert!(hits.is_empty(), "tokens of files: {hits:#?}");
    let canaries: Vec<&Canary> = in_mappings.iter().collect();
    let hits = evidence.hits(&canaries);
    for place in ["log", "superuser.pg_stat_statements"] {
        let is_expected = place == "log" || stage.has_contrib;
        assert_eq!(files(&hits).contains(place), is_expected, "what was typed stands in {place}");
    }
    let found = beside(hits, &stage.typed, &canaries);
    let expected: BTreeSet<&str> = WITH_TOKENS.into_iter().chain(["dump", "dump_of_all"]).collect();
    assert_eq!(files(&found), expected, "{found:#?}");
    for hit in found.iter().filter(|hit| hit.file.starts_with("dump")) {
        assert!(hit.line.starts_with("    token '") || hit.line.starts_with("    token E'"), "{hit:?}");
    }
}
