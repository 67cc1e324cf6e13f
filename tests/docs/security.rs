//! docs/security.md: its recipes work, and its statements about visibility are true.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use sequin_harness::Sandbox;

use crate::docs::{blocks, psql, read, statements};
use crate::support::Session;
use crate::support::server::own;

const DOCUMENT: &str = "docs/security.md";
const CREATE: &str = "SELECT upstream_id FROM sequin_create('my-sync-id', 'salesforce:contact', '{\"n\": 1}')";

#[test]
fn its_recipes_work() {
    let document = read(DOCUMENT);
    let sandbox =
        Sandbox::builder().token("token-of-the-mapping").arg("--token").arg("token-of-the-file").start().unwrap();
    let server = own("");
    let mut superuser = server.connect("postgres");
    superuser.run(
        "CREATE ROLE app LOGIN; CREATE ROLE clerk LOGIN; CREATE ROLE bookkeeper LOGIN;
             CREATE ROLE operator LOGIN; CREATE ROLE monitor LOGIN; CREATE EXTENSION sequin_mutations",
    );

    // The files, with a directory of this test's in the place of /etc/sequin.
    let secrets = server.dir().join("secrets").display().to_string();
    let account = format!("-o {}", server.account().uid());
    let shell = blocks(&document).into_iter().find(|block| block.language == "sh").unwrap().text;
    let shell = shell.replace("/etc/sequin", &secrets).replace("-o postgres", &account);
    let mut command = Command::new("/bin/sh");
    let mut sh = command.args(["-euc", &shell]).stdin(Stdio::piped()).spawn().unwrap();
    sh.stdin.take().unwrap().write_all(b"token-of-the-file\n").unwrap();
    assert!(sh.wait().unwrap().success());
    let file = std::fs::metadata(format!("{secrets}/prod")).unwrap();
    assert_eq!((file.mode() & 0o777, file.uid()), (0o600, server.account().uid()));
    let conf = blocks(&document).into_iter().find(|block| block.text.starts_with("sequin.secrets_directory")).unwrap();
    let mut conf_file = std::fs::File::options().append(true).open(server.data().join("postgresql.conf")).unwrap();
    conf_file.write_all(conf.text.replace("/etc/sequin", &secrets).as_bytes()).unwrap();
    superuser.run("SELECT pg_reload_conf()");

    let statements = statements(&document);
    let run = |i: usize| {
        let block = &statements[i].0;
        let sql =
            block.text.replace("https://api.example.com", sandbox.url()).replace("your-token", "token-of-the-mapping");
        let (output, ok) = psql(server.psql_command("postgres"), &sql);
        assert!(ok, "{DOCUMENT}, line {}: {output}", block.line);
    };
    assert_eq!(statements.len(), 7, "a recipe that is not tested here");
    let last_token = || {
        let log = sandbox.log();
        log.requests.last().map(|request| request.headers["authorization"].clone()).unwrap_or_default()
    };

    // A role that may call, but cannot read the token.
    run(0);
    let mut app = server.connect_as("postgres", "app");
    assert_eq!(app.rows(CREATE, &[]).len(), 1);
    assert_eq!(last_token(), "Bearer token-of-the-mapping");
    for view in [
        "SELECT umoptions::text FROM pg_user_mappings",
        "SELECT option_value::text FROM information_schema.user_mapping_options",
    ] {
        let seen: Option<String> = app.one(view);
        assert_eq!(seen, None, "{view}");
    }

    // A role that has a wrapper only.
    run(1);
    let mut clerk = server.connect_as("postgres", "clerk");
    assert_eq!(clerk.rows("SELECT add_contact('thufir@caladan.org')", &[]).len(), 1);
    let refused = |client: &mut postgres::Client, sql: &str| {
        let error = client.batch_execute(sql).unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{sql}: {error:?}");
    };
    refused(&mut clerk, CREATE);
    refused(&mut app, "SELECT add_contact('x')");
    let before = sandbox.log().requests.len();
    superuser.run("CREATE SERVER other FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'http://127.0.0.1:9')");
    clerk.run("SET sequin.server = 'other'; SELECT add_contact('piter@giedi.prime')");
    assert_eq!(sandbox.log().requests.len(), before + 1, "the wrapper's server, not the caller's");

    // A role that may attach its tables, and one that writes them. None of the rights can be left out.
    const ATTACH: &str = "SELECT sequin_attach('book', 'my-sync-id', 'salesforce:contact', 'up', delivery => 'inline',
        server => 'sequin')";
    superuser.run("CREATE SCHEMA books AUTHORIZATION bookkeeper");
    let mut bookkeeper = server.connect_as("postgres", "bookkeeper");
    let book = "SET search_path = books, public; CREATE TABLE book (id int PRIMARY KEY, name text, up text)";
    bookkeeper.run(book);
    refused(&mut bookkeeper, ATTACH);
    run(2);
    for right in [
        "USAGE ON FOREIGN SERVER sequin",
        "EXECUTE ON FUNCTION sequin_attach",
        "EXECUTE ON FUNCTION sequin.capture",
        "EXECUTE ON FUNCTION sequin.refuse_truncate",
    ] {
        superuser.run(&format!("REVOKE {right} FROM bookkeeper"));
        refused(&mut bookkeeper, ATTACH);
        superuser.run(&format!("GRANT {right} TO bookkeeper"));
    }
    bookkeeper.run(ATTACH);
    bookkeeper.run("GRANT USAGE ON SCHEMA books TO clerk; GRANT INSERT ON book TO clerk");
    refused(&mut clerk, "INSERT INTO books.book VALUES (1, 'Paul')");
    superuser.run("GRANT USAGE ON FOREIGN SERVER sequin TO clerk");
    // The role's sequin.server differs; the attachment's server counts.
    clerk.run("INSERT INTO books.book VALUES (1, 'Paul')");
    assert_eq!(bookkeeper.rows("SELECT FROM book WHERE up IS NOT NULL", &[]).len(), 1);
    refused(&mut clerk, "SELECT sequin_detach('books.book')");
    superuser.run("REVOKE USAGE ON FOREIGN SERVER sequin FROM clerk");
    // EXECUTE does not count when a trigger fires.
    superuser.run("REVOKE EXECUTE ON FUNCTION sequin_attach, sequin.capture FROM bookkeeper");
    let before = sandbox.log().requests.len();
    bookkeeper.run("UPDATE book SET name = 'Usul'");
    assert_eq!(sandbox.log().requests.len(), before + 1);
    // A role that writes the table may switch it off.
    bookkeeper.run("SET sequin.capture = off; DELETE FROM book; SELECT sequin_detach('book')");
    assert_eq!(sandbox.log().requests.len(), before + 1);

    // The outbox: who may enqueue, who looks after the records, who counts them.
    const ENQUEUE: &str = "SELECT id FROM sequin_enqueue('delete', 'my-sync-id', 'salesforce:contact', '\"1\"') AS id";
    refused(&mut app, ENQUEUE);
    let mut operator = server.connect_as("postgres", "operator");
    refused(&mut operator, "SELECT sequin_pause('sequin')");
    run(3);
    operator.run("SELECT sequin_pause('sequin')");
    let id: i64 = app.one(ENQUEUE);
    let seen = |client: &mut postgres::Client| client.rows("SELECT FROM sequin.outbox", &[]).len();
    assert_eq!([seen(&mut app), seen(&mut operator), seen(&mut clerk)], [1, 1, 0]);
    run(4);
    let mut monitor = server.connect_as("postgres", "monitor");
    assert_eq!(seen(&mut monitor), 0);
    let counts = "SELECT backlog, paused FROM outbox_counts() WHERE server = 'sequin'";
    let counts = monitor.query_one(counts, &[]).unwrap();
    assert_eq!((counts.get::<_, i64>(0), counts.get::<_, bool>(1)), (1, true));
    refused(&mut app, "SELECT * FROM outbox_counts()");
    superuser.run("GRANT EXECUTE ON FUNCTION sequin_discard, sequin_resume TO clerk");
    let discard = format!("SELECT sequin_discard({id})");
    let error = clerk.batch_execute(&discard).unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("42704"), "as if it were not there: {error:?}");
    refused(&mut clerk, "SELECT sequin_resume('sequin')");
    refused(&mut clerk, "SELECT FROM sequin.queue");
    operator.run(&discard);
    operator.run("SELECT sequin_resume('sequin')");
    assert_eq!(seen(&mut app), 0);

    // A token in a file.
    run(5);
    assert_eq!(app.rows(CREATE, &[]).len(), 1);
    assert_eq!(last_token(), "Bearer token-of-the-file");

    // The table of rights.
    refused(&mut app, "CREATE SERVER mine FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'https://x')");
    refused(&mut app, "ALTER SERVER sequin OPTIONS (SET url 'https://x')");
    refused(&mut app, "ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (DROP token_file, ADD token 'x')");
    refused(&mut app, "CREATE USER MAPPING FOR app SERVER sequin OPTIONS (token_file 'prod')");
    refused(&mut clerk, "CREATE USER MAPPING FOR clerk SERVER sequin OPTIONS (token 'x')");
    app.run("CREATE USER MAPPING FOR app SERVER sequin OPTIONS (token 'x')");
    superuser.run("GRANT USAGE ON FOREIGN DATA WRAPPER sequin_mutations TO clerk");
    clerk.run("CREATE SERVER mine FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'https://x')");
    refused(&mut clerk, "ALTER SERVER mine OPTIONS (ADD ca_file '/etc/passwd')");

    // The owner of the database reads the open records of all, until the right is taken away.
    superuser.run("CREATE ROLE proprietor LOGIN; ALTER DATABASE postgres OWNER TO proprietor");
    let mut proprietor = server.connect_as("postgres", "proprietor");
    proprietor.rows("SELECT FROM sequin.queue", &[]);
    refused(&mut proprietor, "DELETE FROM sequin.queue");
    refused(&mut proprietor, "SELECT FROM sequin.history");
    run(6);
    refused(&mut proprietor, "SELECT FROM sequin.queue");
}

#[test]
fn nobody_but_the_administrator_chooses_the_secrets_directory() {
    let server = own("");
    let mut superuser = server.connect("postgres");
    for database in ["by_database", "by_role", "by_set", "by_option"] {
        superuser.run(&format!("CREATE DATABASE {database}"));
    }
    // While the library is not loaded Postgres takes any name with a dot.
    superuser.run("CREATE ROLE chief SUPERUSER LOGIN");
    superuser.run("ALTER DATABASE by_database SET sequin.secrets_directory = '/etc'");
    superuser.run("ALTER ROLE chief SET sequin.secrets_directory = '/etc'");
    // The value before the library is loaded, a placeholder, and after.
    let directories = |database: &str, user: &str, before: &str, options: &str| {
        let mut command = server.psql_command("postgres");
        command.args(["-At", "-d", &server.dsn_as(database, user)]).env("PGOPTIONS", options);
        let show = "SELECT format('[%s]', current_setting('sequin.secrets_directory', true));";
        let (output, ok) = psql(command, &format!("{before} {show} LOAD 'sequin_mutations'; {show}"));
        assert!(ok, "{output}");
        output.lines().filter(|line| line.starts_with('[')).collect::<Vec<_>>().join(" ")
    };
    let refused = "[/etc] []";
    assert_eq!(directories("by_database", "postgres", "", ""), refused);
    assert_eq!(directories("by_role", "chief", "", ""), refused);
    assert_eq!(directories("by_set", "postgres", "SET sequin.secrets_directory = '/etc';", ""), refused);
    assert_eq!(directories("by_option", "postgres", "", "-c sequin.secrets_directory=/etc"), refused);
}

#[test]
fn what_it_says_of_dumps_and_logs_is_so() {
    let server = own("");
    let mut superuser = server.connect("postgres");
    superuser.run(
        "CREATE EXTENSION sequin_mutations;
             CREATE SERVER sequin FOREIGN DATA WRAPPER sequin_mutations OPTIONS (url 'https://api.example.com');
             CREATE USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (token 'canary-1')",
    );
    let error = "ALTER USER MAPPING FOR PUBLIC SERVER sequin OPTIONS (SET token 'canary-2 with a space')";
    let error = superuser.batch_execute(error).unwrap_err();
    let shown = format!("{:?}", error.as_db_error());
    assert!(!shown.contains("canary"), "{shown}");
    // The text of the statement is Postgres' to log, and it does.
    assert!(server.log().contains("canary-2"));

    let dump = |arguments: &[&str]| {
        let pg_dump = server.config().bindir.join("pg_dump");
        let output = Command::new(pg_dump).args(arguments).arg(server.dsn("postgres")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(dump(&[]).contains("canary-1"), "a dump has the tokens of mappings");
    assert!(!dump(&["-n", "sequin"]).contains("canary"));
}
