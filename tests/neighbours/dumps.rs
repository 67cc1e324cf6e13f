//! pg_dump and pg_restore in ways that the other tests lack: in parallel, by sections, as another role, and into an
//! unrelated server.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use sequin_harness::Stop;
use serde_json::json;

use crate::elsewhere::stranger;
use crate::support::server::{APP, PRELOADED, must};
use crate::support::{Session, World};

/// Open work of each kind, an attached table, and a role without rights of its own but these.
struct Origin {
    cluster: World,
    scratch: PathBuf,
    /// The contents that a restored outbox must have.
    open: String,
}

const OPEN: &str = "SELECT string_agg(o.state || ' ' || o.role::oid::regrole || ' ' || (o.id, o.key, o.relation, o.ordering_key, o.data, o.attempts)::text, E'\\n' ORDER BY id) FROM sequin.outbox o";

const ATTACHED: &str = "SELECT string_agg(a::text, E'\\n') FROM sequin.attachments a";

impl Origin {
    fn new() -> Origin {
        let mut cluster = World::with_own_server("");
        cluster.run(
            "CREATE ROLE app LOGIN; CREATE ROLE owner NOLOGIN;
             GRANT USAGE ON FOREIGN SERVER sequin TO app, owner;
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app, owner;
             GRANT EXECUTE ON FUNCTION sequin.capture, sequin.refuse_truncate TO owner;
             CREATE SCHEMA book AUTHORIZATION owner;
             SET ROLE owner;
             CREATE TABLE book.people (id int PRIMARY KEY, \"Name\" text, \"Email\" text, sf_id text);
             SELECT sequin_attach('book.people', 'sync', 'salesforce:contact', 'sf_id', server => 'sequin');
             RESET ROLE;
             GRANT USAGE ON SCHEMA book TO app;
             GRANT ALL ON book.people TO app",
        );
        // Rejected, unknown with a change behind it, and pending.
        cluster.run("INSERT INTO book.people VALUES (1, 'Feyd', 'nobody')");
        cluster.until("SELECT count(*) = 1 FROM sequin.outbox WHERE state = 'rejected'");
        cluster.sandbox.fault(json!({"status": 504, "match": {"kind": "create"}}));
        cluster.run("INSERT INTO book.people VALUES (2, 'Chani')");
        cluster.until("SELECT count(*) = 1 FROM sequin.outbox WHERE state = 'unknown'");
        cluster.run("UPDATE book.people SET \"Name\" = 'Sihaya' WHERE id = 2");
        cluster.until("SELECT next_attempt_at IS NULL FROM sequin.outbox WHERE state = 'pending'");
        cluster.run("SELECT sequin_pause('sequin'); SET ROLE app; INSERT INTO book.people SELECT n, 'row ' || n FROM generate_series(10, 59) n; RESET ROLE");
        let scratch = cluster.server.scratch("dump");
        cluster.server.account().give(&scratch).unwrap();
        let open = cluster.one(OPEN);
        Origin { cluster, scratch, open }
    }

    fn dump(&self, arguments: &[&str], name: &str) -> PathBuf {
        let file = self.scratch.join(name);
        let mut command = self.cluster.server.program("pg_dump");
        command.args(arguments).args(["-d", &self.cluster.server.dsn(APP), "-f"]).arg(&file);
        must(&command.output().unwrap());
        file
    }

    /// pg_restore's output.
    fn restore(&self, arguments: &[&str], dsn: &str, file: &PathBuf) -> Output {
        let mut command = self.cluster.server.program("pg_restore");
        command.args(arguments).args(["-d", dsn]).arg(file).output().unwrap()
    }
}

#[test]
fn a_parallel_restore_in_a_strange_server_has_all_of_it() {
    let origin = Origin::new();
    let server = stranger(PRELOADED);
    // Roles first: they are in no dump of a database.
    let mut globals = origin.cluster.server.program("pg_dumpall");
    let globals = globals.args(["--globals-only", "-d", &origin.cluster.server.dsn(APP)]).output().unwrap();
    must(&globals);
    let mut psql = server.psql_command("postgres");
    // The superuser is there already, and that is the one error.
    let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut psql.stdin.take().unwrap(), &globals.stdout).unwrap();
    psql.wait().unwrap();
    server.connect("postgres").run("CREATE DATABASE app");

    let file = origin.dump(&["-Fd", "-j2"], "parallel");
    // The original is finished: the remaining requests are the copy's.
    origin.cluster.server.stop(Stop::Fast);
    must(&origin.restore(&["-j2", "--exit-on-error"], &server.dsn(APP), &file));

    let Origin { cluster, open, .. } = origin;
    let (client, original, sandbox) = cluster.into_parts();
    drop((client, original));
    sandbox.clear_log();
    let mut cluster = World::at(&server, APP, sandbox);
    assert_eq!(cluster.one::<String>(OPEN), open);
    assert_eq!(
        cluster.one::<String>(ATTACHED),
        "(book.people,sync,salesforce:contact,sf_id,,outbox,\"{delete,insert,update}\",,,sequin)"
    );
    // With the rights that they had, others continue to write; nothing is sent until a role resumes it.
    let mut app = cluster.server.connect_as(APP, "app");
    app.run("INSERT INTO book.people VALUES (3, 'Leto')");
    // It was paused when it was dumped. A resume counts once the worker has seen that it is in a copy.
    cluster.until("SELECT paused AND last_error LIKE 'this database is a copy%' FROM sequin.status");
    assert!(cluster.sandbox.log().requests.is_empty());
    cluster.run("SELECT sequin_resume('sequin')");
    cluster.until("SELECT count(sf_id) = 51 FROM book.people");
    cluster.until("SELECT count(*) = 3 FROM sequin.outbox");
    assert_eq!(cluster.mutations().len(), 51, "fifty that waited, and Leto");
    cluster.run("SELECT sequin_discard(id) FROM sequin.outbox WHERE state = 'unknown'");
    cluster.until("SELECT bool_and(state = 'rejected') FROM sequin.outbox");
}

#[test]
fn sections_may_be_restored_one_after_the_other_and_nothing_is_sent_by_it() {
    let mut origin = Origin::new();
    let file = origin.dump(&["-Fc"], "custom");
    origin.cluster.run("CREATE DATABASE sections");
    let dsn = origin.cluster.server.dsn("sections");
    origin.cluster.sandbox.clear_log();
    for section in ["pre-data", "data", "post-data"] {
        must(&origin.restore(&["--exit-on-error", &format!("--section={section}")], &dsn, &file));
    }
    let mut sections = origin.cluster.server.connect("sections");
    assert_eq!(sections.one::<String>(OPEN), origin.open);
    let attached = origin.cluster.one::<String>(ATTACHED);
    assert_eq!(sections.one::<String>(ATTACHED), attached);
    assert!(origin.cluster.sandbox.log().requests.is_empty());
}

/// docs/operations.md, Backup and copies.
#[test]
fn a_restore_as_a_role_that_is_no_superuser_is_refused_at_the_extension_and_the_queue() {
    let mut origin = Origin::new();
    let file = origin.dump(&["-Fc"], "custom");
    origin.cluster.run("CREATE DATABASE another OWNER owner");
    let dsn = origin.cluster.server.dsn("another");
    let refused = |origin: &Origin, words: &str| {
        let output = origin.restore(&["--role=owner"], &dsn, &file);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{said}");
    };
    refused(&origin, "permission denied to create extension \"sequin_mutations\"");
    // Another owner of the extension does not help either: not every role may write the open work.
    let mut another = origin.cluster.server.connect("another");
    another.run("DROP SCHEMA book CASCADE; CREATE EXTENSION sequin_mutations");
    refused(&origin, "permission denied for table queue");
    assert!(another.one::<Option<String>>(OPEN).is_none());

    // A superuser's role is one that can.
    origin.cluster.run("CREATE ROLE deploy SUPERUSER NOLOGIN");
    origin.cluster.run("CREATE DATABASE deployed");
    let dsn = origin.cluster.server.dsn("deployed");
    must(&origin.restore(&["--role=deploy", "--exit-on-error"], &dsn, &file));
    let mut deployed = origin.cluster.server.connect("deployed");
    assert_eq!(deployed.one::<String>(OPEN), origin.open);
    // Without --no-owner the tables are still owner's.
    let owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'book.people'::regclass";
    assert_eq!(deployed.one::<String>(owner), "owner");
}

/// docs/reference.md, Attached tables, says how.
#[test]
fn data_alone_into_an_attached_table_is_sent_unless_capture_is_off() {
    let mut origin = Origin::new();
    let file = origin.dump(&["-Fc", "--data-only", "--table=book.people"], "data");
    let schema = origin.dump(&["-Fc", "--schema-only"], "schema");
    for (database, capture, options) in [
        ("sent", "on", &["--exit-on-error"][..]),
        ("quiet", "off", &["--exit-on-error"]),
        ("disabled", "on", &["--exit-on-error", "--disable-triggers"]),
    ] {
        origin.cluster.run(&format!("CREATE DATABASE {database}"));
        let dsn = origin.cluster.server.dsn(database);
        must(&origin.restore(&["--exit-on-error"], &dsn, &schema));
        let mut command = origin.cluster.server.program("pg_restore");
        command.env("PGOPTIONS", format!("-c sequin.capture={capture}"));
        must(&command.args(options).args(["-d", &dsn]).arg(&file).output().unwrap());
        let mut client = origin.cluster.server.connect(database);
        let count =
            |client: &mut postgres::Client, of: &str| -> i64 { client.one(&format!("SELECT count(*) FROM {of}")) };
        assert_eq!(count(&mut client, "book.people"), 52);
        let queued = if database == "sent" { 52 } else { 0 };
        let all = "(SELECT id FROM sequin.outbox UNION ALL SELECT id FROM sequin.delivered) all_of_them";
        assert_eq!(count(&mut client, all), queued, "{database}");
    }
}
