//! Drivers of other languages represent rows and errors as docs/reference.md says. None of them repeats a request by
//! itself.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sequin_harness::paths;
use serde_json::{Value, json};

use crate::bouncer::Bouncer;
use crate::gate::Gate;
use crate::programs::{file, program};
use crate::support::network::eventually;
use crate::support::server::shared;
use crate::support::{Session, World, detail};

/// A Java machine that compiles its program first takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A driver, and the Java, Python or JavaScript names of the values of a row.
struct Driver {
    command: fn(&Path) -> Command,
    client: &'static str,
    types: [&'static str; 6],
}

const PSYCOPG: Driver = Driver {
    command: |client| {
        let mut python = Command::new(program("/usr/bin/python3"));
        python.arg(client);
        python
    },
    client: "with_psycopg.py",
    types: ["str", "dict", "int", "bool", "datetime", "dict"],
};

const NODE_POSTGRES: Driver = Driver {
    command: |client| {
        // Where Debian's node is not the one that is installed, its modules cannot be, and are unpacked.
        let unpacked = paths::target().join("neighbours/usr/share/nodejs");
        let modules = PathBuf::from("/usr/share/nodejs");
        let places = [modules.join("pg"), unpacked.join("pg")];
        let found = file(&places);
        let mut node = Command::new(program("/usr/bin/node"));
        node.env("NODE_PATH", found.parent().unwrap_or(&modules)).arg(client);
        node
    },
    client: "node_postgres.js",
    // A bigint is a string: it has more digits than JavaScript's numbers.
    types: ["String", "Object", "String", "Boolean", "Date", "Object"],
};

const JDBC: Driver = Driver {
    command: |client| {
        let mut java = Command::new(program("/usr/bin/java"));
        java.args(["-XX:TieredStopAtLevel=1", "-cp"])
            .arg(file(&[PathBuf::from("/usr/share/java/postgresql.jar")]))
            .arg(client);
        java
    },
    client: "Jdbc.java",
    types: ["String", "PGobject", "Long", "Boolean", "Timestamp", "PGobject"],
};

#[test]
fn psycopg_sees_what_is_documented() {
    PSYCOPG.check(false);
}

#[test]
fn node_postgres_sees_what_is_documented() {
    NODE_POSTGRES.check(false);
}

#[test]
fn jdbc_sees_what_is_documented() {
    JDBC.check(false);
}

#[test]
fn psycopg_sees_the_same_through_a_pooler() {
    PSYCOPG.check(true);
}

#[test]
fn node_postgres_sees_the_same_through_a_pooler() {
    NODE_POSTGRES.check(true);
}

#[test]
fn jdbc_sees_the_same_through_a_pooler() {
    JDBC.check(true);
}

/// It sends the statements of `executemany` before one Sync.
#[test]
fn a_batch_of_psycopg_that_fails_says_how_many_records_were_applied() {
    let mut world = World::new();
    world.run(
        "ALTER SERVER sequin OPTIONS (ADD atomic_batches 'true'); CREATE TABLE people (id int PRIMARY KEY, email text, up text);
         SELECT sequin_attach('people', 'sync', 'salesforce:contact', 'up', '{\"email\": \"Email\"}', delivery => 'inline')",
    );
    let client = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/neighbours/clients/psycopg_batch.py"));
    let mut command = (PSYCOPG.command)(client);
    sequin_harness::guard::without_pg_variables(&mut command)
        .env("PGHOST", shared().dir())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", world.database.name());
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&seen["detail"]["applied"], &seen["detail"]["applied_before"]), (&json!("none"), &json!(2)), "{seen}");
    assert!(seen["hint"].as_str().unwrap().starts_with("Earlier requests of this transaction were applied"), "{seen}");
    let words = "INSERT on public.people, after 2 records were applied by earlier requests of the transaction";
    assert!(seen["context"].as_str().unwrap().contains(words), "{seen}");
    assert_eq!((world.contact_count(), world.one::<i64>("SELECT count(*) FROM people")), (2, 0));
}

impl Driver {
    fn check(&self, pooled: bool) {
        let world = World::new();
        prepare(&world);
        let bouncer = pooled.then(|| Bouncer::start(shared(), &["postgres"]));
        let port = bouncer.as_ref().map_or(5432, |bouncer| bouncer.port);
        let gate = Gate::to(shared().dir(), port);
        let direct = Gate::to(shared().dir(), 5432);
        let seen = self.run(&world, &gate, &direct, pooled);

        let row = json!({"name": "Paul", "is_new": true, "has_id": true, "extra": {"provider": "salesforce"}});
        assert_eq!(seen["row"], row);
        assert_eq!(seen["types"], json!(self.types));
        assert_eq!(seen["prepared"].as_u64().unwrap() > 0, !pooled, "{}", seen["prepared"]);
        assert_eq!(
            (&seen["simple"], &seen["read"], &seen["after"]),
            (&json!("Chani"), &json!("Leto"), &json!("after"))
        );
        for (name, expected) in errors() {
            expected.assert_is(&seen["errors"][name], name);
        }
        if pooled {
            eventually("it is delivered", || world.contact_count() == names_applied().len());
        } else {
            let delivered = json!({"server": "sequin", "delivered": 1, "rejected": 0, "unknown": 0});
            assert_eq!(seen["notified"], delivered);
        }
        self.assert_sent_once(&world);
        self.assert_own(&seen);
    }

    /// Runs its program, and lets it cancel its call when that has arrived.
    fn run(&self, world: &World, gate: &Gate, direct: &Gate, pooled: bool) -> Value {
        let client = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/neighbours/clients")).join(self.client);
        let mut command = (self.command)(&client);
        sequin_harness::guard::without_pg_variables(&mut command)
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", gate.port.to_string())
            .env("DIRECT_PORT", direct.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", world.database.name())
            .env("POOLED", if pooled { "1" } else { "0" });
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut input = child.stdin.take().unwrap();
        let mut errors = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).map(|_| text).unwrap_or_default()
        });
        let stalls =
            |log: sequin_harness::Log| log.mutations().iter().any(|r| r.complete && r.body.contains("\"stalls\""));
        let begun = Instant::now();
        // Or it has failed before, and its output says how.
        while !stalls(world.sandbox.log()) && child.try_wait().unwrap().is_none() {
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
                panic!("{}: nothing to cancel within {PATIENCE:?}: {}", self.client, errors.join().unwrap());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = input.write_all(b"\n");
        let output = child.wait_with_output().unwrap();
        let errors = errors.join().unwrap();
        assert!(output.status.success(), "{}: {errors}", self.client);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {} {errors}", String::from_utf8_lossy(&output.stdout)))
    }

    /// The sandbox's requests under each name.
    fn assert_sent_once(&self, world: &World) {
        let mut times = BTreeMap::new();
        for request in world.sandbox.log().mutations() {
            let data = &request.json()["records"][0]["data"];
            let name = data["Name"].as_str().or(data["Email"].as_str()).unwrap_or_default().to_owned();
            *times.entry(name).or_insert(0) += 1;
        }
        assert_eq!(times.remove("Paul"), Some(8));
        let names = ["Alia", "Chani", "Leto", "after", "gets 401", "gets 429", "gets 500", "gets 504", "nobody"];
        let names = names.into_iter().chain(["nobody either", "stalls", "stays"]);
        assert_eq!(times, names.map(|name| (name.to_owned(), 1)).collect(), "{}: each once", self.client);
    }

    /// The cases of this driver alone.
    fn assert_own(&self, seen: &Value) {
        let errors = &seen["errors"];
        match self.client {
            "with_psycopg.py" => {
                assert_eq!(errors["rejected"]["class"], "FdwInvalidAttributeValue");
                assert_eq!(errors["unknown"]["class"], "FdwReplyHandle");
                assert_eq!(errors["confirmed"]["class"], "FdwUnableToCreateReply");
                assert_eq!(errors["cancelled"]["class"], "QueryCanceled");
                // So a loop that repeats on OperationalError would make a create twice.
                for name in ["unknown", "confirmed", "busy", "rejected"] {
                    let bases = errors[name]["bases"].as_array().unwrap();
                    assert!(bases.contains(&json!("OperationalError")), "{name}: {bases:?}");
                }
            }
            "Jdbc.java" => {
                let whole = errors["rejected"]["whole"].as_str().unwrap();
                assert!(
                    whole.contains("\n  Detail: {\"outcome\": \"rejected\"") && whole.contains("\n  Hint: "),
                    "{whole}"
                );
            }
            _ => assert_eq!(errors["rejected"]["class"], "DatabaseError"),
        }
    }
}

/// The final records upstream, without Paul's eight.
fn names_applied() -> Vec<&'static str> {
    [["Paul"; 8].as_slice(), &["Chani", "Leto", "gets 500", "stays", "Alia", "after"]].concat()
}

/// A consumer to wait for, and an API with special answers to some names.
fn prepare(world: &World) {
    let dsn = world.database.dsn();
    world.sandbox.consumer(json!({"kind": "postgres", "id": "contacts", "dsn": dsn, "table": "contacts"}));
    let busy = json!({"retry-after": "7"});
    let slow = "{\"error\":\"Error: Timed out waiting for consumers: contacts\"}";
    for (name, mut fault) in [
        ("gets 504", json!({"status": 504})),
        ("gets 401", json!({"status": 401})),
        ("gets 429", json!({"status": 429, "headers": busy})),
        ("gets 500", json!({"status": 500, "apply": true, "body": slow})),
        ("stalls", json!({"stall": "reply", "apply": false})),
    ] {
        fault["match"] = json!({"body_contains": format!("\"{name}\"")});
        // A driver that repeated something would be answered in the same way.
        fault["times"] = Value::Null;
        world.sandbox.fault(fault);
    }
}

/// The form of an error: docs/reference.md, Errors.
struct Expected {
    sqlstate: &'static str,
    detail: Value,
    hint: bool,
    context: &'static str,
}

impl Expected {
    fn assert_is(&self, seen: &Value, name: &str) {
        assert_eq!(seen["sqlstate"], self.sqlstate, "{name}: {seen}");
        assert_eq!(seen["detail"], self.detail, "{name}: {seen}");
        assert_eq!(seen["hint"].as_str().is_some_and(|hint| !hint.is_empty()), self.hint, "{name}: {seen}");
        assert_eq!(seen["context"], self.context, "{name}: {seen}");
        assert!(seen["message"].as_str().is_some_and(|message| !message.is_empty()), "{name}: {seen}");
    }
}

fn errors() -> Vec<(&'static str, Expected)> {
    let of = |sqlstate, detail, context| Expected { sqlstate, detail, hint: true, context };
    macro_rules! line {
        ($known:literal) => {
            concat!("create of 1 record in salesforce:contact through server \"sequin\": ", $known)
        };
    }
    let nothing = line!("nothing was applied");
    vec![
        ("rejected", of("HV024", detail("rejected", "none", Some(400), json!([]), None), nothing)),
        (
            "unknown",
            of(
                "HV00K",
                detail("unknown", "unknown", Some(504), json!([]), None),
                line!("whether it was applied is unknown"),
            ),
        ),
        ("refused", of("28000", detail("refused", "none", Some(401), json!([]), None), nothing)),
        ("busy", of("53400", detail("refused_for_now", "none", Some(429), json!([]), Some(7000)), nothing)),
        (
            "confirmed",
            of("HV00M", detail("applied_not_confirmed", "all", Some(500), Value::Null, None), line!("it was applied")),
        ),
        (
            "argument",
            of(
                "22023",
                detail("not_sent", "none", None, Value::Null, None),
                "sequin_create for salesforce:contact: nothing was applied",
            ),
        ),
        (
            "cancelled",
            Expected {
                sqlstate: "57014",
                detail: Value::Null,
                hint: false,
                context: line!("the request had been sent, whether it was applied is unknown"),
            },
        ),
    ]
}
