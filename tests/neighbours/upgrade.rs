//! pg_upgrade from the oldest supported major to the newest.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sequin_harness::{Builder, PgConfig, Server, Stop, paths};
use serde_json::json;

use crate::elsewhere::initdb;
use crate::support::server::{APP, PRELOADED, must};
use crate::support::{Session, World};

const OLDEST: u32 = 15;
const NEWEST: u32 = 19;

/// A server of `major`, as scripts/postgres brings it, with a library that was built for it: `make test-neighbours` does
/// both. The installed Postgres will not do. Debian's 15.20 stores an option `pg_attver` for each column, which 18.6 does
/// not know: pg_upgrade then fails for any table. And a library built with the headers of 15.20 does not load in 15.18.
fn of(major: u32) -> Builder {
    let there = |path: PathBuf| {
        assert!(path.is_file(), "there is no {}: make test-neighbours makes it", path.display());
        path
    };
    let target = paths::target();
    let pg_config = there(target.join(format!("postgres/{major}/usr/lib/postgresql/{major}/bin/pg_config")));
    let library = there(target.join(format!("majors/pg{major}/libsequin_mutations.so")));
    Server::builder().installation(PgConfig::of(&pg_config).unwrap(), library)
}

/// The state that must not change. A row for each fact, its kind first.
const EVERYTHING: &str = "
    SELECT 'outbox ' || (o.state, o.outcome, o.id, o.key, o.role::oid::regrole, o.relation, o.ordering_key, o.data,
                         o.attempts, o.next_attempt_at IS NULL)::text AS thing FROM sequin.outbox o
    UNION ALL SELECT 'delivered ' || (d.id, d.key, d.role::oid::regrole, d.relation, d.outcome, d.upstream_id,
                                      d.record::text)::text FROM sequin.delivered d
    UNION ALL SELECT 'attached ' || a::text FROM sequin.attachments a
    UNION ALL SELECT 'mapping ' || m::text FROM (SELECT srvname, usename, umoptions FROM pg_user_mappings) m
    UNION ALL SELECT 'server ' || (srvname, srvacl)::text FROM pg_foreign_server
    UNION ALL SELECT 'row ' || p::text FROM people p
    UNION ALL SELECT 'function ' || p.oid::regprocedure || ' ' || (
        -- pg_upgrade leaves out an ACL that is the default one.
        SELECT string_agg(acl::text, ' ' ORDER BY acl::text) FROM unnest(COALESCE(proacl, acldefault('f', proowner))) acl
    ) FROM pg_proc p WHERE proname LIKE 'sequin%'
    UNION ALL SELECT 'setting ' || s::text FROM pg_db_role_setting s
    ORDER BY 1";

fn everything(cluster: &mut World) -> Vec<String> {
    cluster.rows(EVERYTHING, &[]).iter().map(|row| row.get(0)).collect()
}

/// Open work of each kind, and some that is done.
fn fill(cluster: &mut World) {
    cluster.run(
        "CREATE ROLE app LOGIN; ALTER ROLE app SET sequin.capture = on;
         GRANT USAGE ON FOREIGN SERVER sequin TO app;
         GRANT EXECUTE ON FUNCTION sequin_enqueue, sequin_await_delivery TO app;
         CREATE USER MAPPING FOR app SERVER sequin OPTIONS (token 'sandbox-token');
         CREATE TABLE people (id int PRIMARY KEY, \"Name\" text, \"Email\" text, sf_id text);
         GRANT ALL ON people TO app;
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'sf_id');
         INSERT INTO people VALUES (1, 'Paul')",
    );
    cluster.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 1");
    cluster.run("INSERT INTO people VALUES (2, 'Feyd', 'nobody')");
    cluster.until("SELECT count(*) = 1 FROM sequin.outbox WHERE state = 'rejected'");
    cluster.sandbox.fault(json!({"status": 504, "apply": true, "match": {"kind": "create"}}));
    cluster.run("INSERT INTO people VALUES (3, 'Chani')");
    cluster.until("SELECT count(*) = 1 FROM sequin.outbox WHERE state = 'unknown'");
    cluster.run("UPDATE people SET \"Name\" = 'Sihaya' WHERE id = 3");
    cluster.until("SELECT count(*) = 1 FROM sequin.outbox WHERE state = 'pending' AND next_attempt_at IS NULL");
    cluster.set_unreachable();
    cluster
        .run("SET ROLE app; INSERT INTO people VALUES (4, 'Leto'); UPDATE people SET \"Name\" = 'Usul' WHERE id = 1");
    cluster.run("RESET ROLE");
    cluster.until("SELECT last_error IS NOT NULL FROM sequin.status");
}

/// An empty data directory like the old one: pg_upgrade wants equal checksums, which 18 has by default and 15 has not.
fn data_directory(server: &Server, scratch: &Path) -> PathBuf {
    let data = scratch.join("data");
    let mut command = initdb(server.program("initdb"));
    if server.config().major() >= 18 {
        command.arg("--no-data-checksums");
    }
    must(&command.arg("-D").arg(&data).output().unwrap());
    let mut conf = File::options().append(true).open(data.join("postgresql.conf")).unwrap();
    writeln!(conf, "{PRELOADED}").unwrap();
    data
}

fn pg_upgrade(old: &Server, new: &Server, data: &Path, scratch: &Path) -> Command {
    let mut command = new.program("pg_upgrade");
    command.current_dir(scratch).args(["-U", "postgres", "-p", "50432", "-P", "50433", "-s"]).arg(scratch);
    command.arg("-b").arg(old.image().bindir()).arg("-B").arg(new.image().bindir());
    command.arg("-d").arg(old.data()).arg("-D").arg(data);
    command
}

/// Runs a statement in a server that is stopped, as the only process.
fn alone(server: &Server, sql: &str) {
    let mut command = server.program("postgres");
    command.args(["--single", "-j", "-D"]).arg(server.data()).arg(APP).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut postgres = command.stderr(Stdio::piped()).spawn().unwrap();
    postgres.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let output = postgres.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("ERROR"), "{said}");
}

/// pg_upgrade's logs in the new data directory, which is removed with the test.
fn errors(data: &Path) -> String {
    let command = "grep -rh -A3 -i 'error\\|fatal' \"$0/pg_upgrade_output.d\" | head -40";
    let output = Command::new("/bin/sh").args(["-c", command]).arg(data).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn pg_upgrade_from_the_oldest_to_the_newest_keeps_everything_and_pauses() {
    let old = of(OLDEST).conf(PRELOADED).start().unwrap_or_else(|error| panic!("{error}"));
    let mut cluster = World::set_up(old);
    fill(&mut cluster);
    // The worker retries again and again. This costs no attempt and changes no compared state, except that a record is
    // being sent. A verb keeps the worker away, and ends with its transaction, when the server stops.
    cluster.run("BEGIN; SELECT sequin_pause('sequin')");
    cluster.until("SELECT NOT EXISTS (SELECT FROM sequin.outbox WHERE state = 'sending')");
    let before = everything(&mut cluster);
    let last: i64 = cluster.one("SELECT max(id) FROM sequin.outbox");
    cluster.server.stop(Stop::Fast);
    let (client, old, sandbox) = cluster.into_parts();
    drop(client);
    sandbox.clear_log();
    // From here on any worker would deliver.
    alone(&old, &format!("ALTER SERVER sequin OPTIONS (SET url '{}')", sandbox.url()));

    let new = of(NEWEST).start().unwrap_or_else(|error| panic!("{error}"));
    let scratch = new.scratch("upgrade");
    new.account().give(&scratch).unwrap();
    let data = data_directory(&new, &scratch);
    for check in [&["--check"][..], &[]] {
        let output = pg_upgrade(&old, &new, &data, &scratch).args(check).output().unwrap();
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stdout), errors(&data));
    }
    assert!(sandbox.log().requests.is_empty(), "pg_upgrade starts both servers, and no worker");

    let upgraded = of(NEWEST).conf(PRELOADED).copy_of(&data).start().unwrap_or_else(|error| panic!("{error}"));
    drop((old, new));
    let mut cluster = World::at(&upgraded, APP, sandbox);
    let version: i32 = cluster.one("SELECT current_setting('server_version_num')::int / 10000");
    assert_eq!(version, i32::try_from(NEWEST).unwrap());
    cluster.until("SELECT paused AND last_error LIKE 'this database is a copy%' FROM sequin.status");
    assert_eq!(everything(&mut cluster), before);
    let own = cluster.enqueue_create("Jessica");
    assert!(own > last, "the numbers go on where they were");
    cluster.until("SELECT paused FROM sequin.status");
    assert!(cluster.sandbox.log().requests.is_empty());

    // A person looks upstream, resolves the create, and resumes.
    let contacts = cluster.contacts();
    let chani = contacts.iter().find(|contact| contact["data"]["Name"] == "Chani").unwrap()["upstream_id"].clone();
    cluster.run(&format!(
        "SELECT sequin_resolve(id, '{}') FROM sequin.dead_letters WHERE state = 'unknown'; SELECT sequin_resume('sequin')",
        chani.as_str().unwrap()
    ));
    cluster.settled();
    cluster.until("SELECT bool_and(sf_id IS NOT NULL) FROM people WHERE id <> 2");
    // The attachment works, and so does merging with records that were rejected before the upgrade.
    cluster.run("UPDATE people SET \"Email\" = 'feyd@giedi.prime' WHERE id = 2");
    cluster.until("SELECT sf_id IS NOT NULL FROM people WHERE id = 2");
    let mut names: Vec<String> =
        cluster.contacts().iter().map(|contact| contact["data"]["Name"].as_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Feyd", "Jessica", "Leto", "Sihaya", "Usul"]);
    assert_eq!(cluster.one::<i64>("SELECT count(*) FROM sequin.outbox"), 0);
    // A call at once, in the new library.
    assert!(!cluster.create("Duncan").is_empty());
}
