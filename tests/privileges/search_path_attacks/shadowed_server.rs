//! A server with a database of the role mallory, in which every name is shadowed.
//!
//! The database's search_path puts mallory's schemas before pg_catalog, for the superuser and the worker as well. Each
//! shadow calls `app.noted`, which writes into the server's log: a rollback does not remove that.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use postgres::Client;
use sequin_harness::{Server, paths};

use crate::support::Session;
use crate::support::server::own_installation;

/// The beginning of a log line of a shadow that ran.
const MARK: &str = "LOG:  shadow: ";

/// The function that each shadow calls, and the functions that make shadows.
const FUNCTIONS: &str = "
    CREATE FUNCTION app.noted(what pg_catalog.text) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $$
      BEGIN RAISE LOG 'shadow: % ran as % for %', what, current_user, session_user; RETURN true; END $$;
    CREATE FUNCTION app.make(sql pg_catalog.text) RETURNS pg_catalog.bool LANGUAGE plpgsql AS $$
      BEGIN EXECUTE sql; RETURN true;
      EXCEPTION WHEN syntax_error_or_access_rule_violation OR feature_not_supported THEN RETURN NULL; END $$";

/// The types of shadows where Postgres has no function that fits.
const PLAIN: &str = "
    CREATE TEMP TABLE plain AS
    SELECT unnest('{text, name, oid, int4, int8, bool, jsonb, uuid, timestamptz, regclass}'::text[]) AS type";

/// How much there is of each kind of shadow: functions, operators, relations, types, aggregates, casts.
const PLANTED: &str = "
    SELECT nspname, (SELECT count(*) FROM pg_proc WHERE pronamespace = n.oid AND prokind = 'f'),
      (SELECT count(*) FROM pg_operator WHERE oprnamespace = n.oid),
      (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid AND relkind = 'v'),
      (SELECT count(*) FROM pg_type WHERE typnamespace = n.oid AND typtype = 'd'),
      (SELECT count(*) FROM pg_proc WHERE pronamespace = n.oid AND prokind = 'a'),
      (SELECT count(*) FROM pg_cast JOIN pg_proc p ON p.oid = castfunc WHERE pronamespace = n.oid)
    FROM pg_namespace AS n WHERE nspname IN ('app', 'public')";

const IN_PG_TEMP: &str = "SELECT count(*) FROM pg_catalog.pg_class WHERE relnamespace = pg_my_temp_schema()";

/// See the module.
pub struct ShadowedServer {
    pub server: Server,
    /// The objects that `names.sql` needs.
    settings: String,
    /// Statements that create objects with the names of the extension's functions.
    namesakes: String,
}

impl ShadowedServer {
    /// A server of its own, because scripts are written into its installation.
    pub fn start() -> ShadowedServer {
        let server = own_installation("shadowed");
        server.connect("postgres").run("CREATE ROLE mallory LOGIN");
        let script = install_script();
        let settings = format!("SET search_path = pg_catalog; SET shadowed.relations = '{}'", relations(&script));
        ShadowedServer { server, settings, namesakes: namesakes(&script) }
    }

    /// A new database of mallory's, planted, but without the extension.
    pub fn database(&self, name: &str) {
        let mut superuser = self.server.connect("postgres");
        superuser.run(&format!("CREATE DATABASE {name} OWNER mallory"));
        let mut mallory = self.server.connect_as(name, "mallory");
        let mut run = |sql: &str| mallory.batch_execute(sql).unwrap_or_else(|error| panic!("{error:?}: {sql:.300}"));
        run(&format!("{}; SET check_function_bodies = off; CREATE SCHEMA app; {FUNCTIONS}", self.settings));
        run(&format!("CREATE TEMP TABLE words AS SELECT unnest(string_to_array('{}', ' ')) AS word; {PLAIN}", words()));
        for schema in ["app", "public"] {
            for sql in [include_str!("plant.sql"), include_str!("names.sql")] {
                // In transactions of their own: thousands of subtransactions in one are slow.
                sql.replace("@.", &format!("{schema}.")).split(";\n\n").for_each(&mut run);
            }
        }
        run(&self.namesakes);
        run(&format!("ALTER DATABASE {name} SET search_path = pg_temp, app, public, pg_catalog"));
        for row in mallory.rows(PLANTED, &[]) {
            let counts: [i64; 6] = [1, 2, 3, 4, 5, 6].map(|i| row.get(i));
            let enough = counts.iter().zip([1500, 1000, 100, 50, 10, 10]).all(|(count, least)| *count >= least);
            assert!(enough, "{}: {counts:?}", row.get::<_, &str>(0));
        }
    }

    /// A session of mallory's, whose own temporary schema is planted as well.
    pub fn mallory(&self, database: &str) -> Client {
        let mut client = self.server.connect_as(database, "mallory");
        client.run(&self.settings);
        client.run(&include_str!("names.sql").replace("@.", "pg_temp."));
        let relations: i64 = client.one(IN_PG_TEMP);
        assert!(relations > 100, "{relations} relations in pg_temp");
        client.run("RESET search_path");
        client
    }

    /// A session of the superuser to which nothing happens.
    pub fn observer(&self, database: &str) -> Client {
        let mut client = self.server.connect(database);
        client.run("SET search_path = pg_catalog");
        client
    }

    /// The shadows that ran so far, as `operator = ran as postgres for mallory`.
    pub fn ran(&self) -> Vec<String> {
        let log = self.server.log();
        log.lines().filter_map(|line| line.split_once(MARK)).map(|(_, what)| what.to_owned()).collect()
    }

    /// Those that ran meanwhile.
    pub fn ran_in(&self, during: impl FnOnce()) -> Vec<String> {
        let before = self.ran().len();
        during();
        self.ran().split_off(before)
    }

    /// Puts a script beside the extension's own.
    pub fn write_script(&self, name: &str, sql: &str) {
        let sharedir = self.server.program("pg_config").arg("--sharedir").output().unwrap().stdout;
        let sharedir = PathBuf::from(String::from_utf8(sharedir).unwrap().trim_end());
        fs::write(sharedir.join("extension").join(name), sql).unwrap();
    }
}

/// The script that installs the extension.
fn install_script() -> String {
    let name = format!("sql/sequin_mutations--{}.sql", super::version());
    fs::read_to_string(paths::workspace().join(name)).unwrap()
}

/// Every word of the extension's SQL, so that no name in it is missed.
fn words() -> String {
    let mut all = BTreeSet::new();
    for directory in ["sql", "src"] {
        add_words(&paths::workspace().join(directory), &mut all);
    }
    all.into_iter().collect::<Vec<_>>().join(" ")
}

fn add_words(path: &Path, all: &mut BTreeSet<String>) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| add_words(&entry.unwrap().path(), all));
    } else {
        let text = fs::read_to_string(path).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        all.extend(words.filter(|word| word.len() > 1).map(str::to_lowercase));
    }
}

/// The names of our relations.
fn relations(script: &str) -> String {
    let names =
        ["CREATE TABLE sequin.", "CREATE VIEW sequin.", "CREATE SEQUENCE sequin."].into_iter().flat_map(|begin| {
            let rests = script.split(begin).skip(1);
            rests.map(|rest| rest.split([' ', ';']).next().unwrap_or_default())
        });
    names.collect::<Vec<_>>().join(" ")
}

/// Functions with the names and arguments of the extension's, each as a statement for `app.make`.
fn namesakes(script: &str) -> String {
    let heads = script.split("\nCREATE FUNCTION ").skip(1);
    let heads = heads.map(|rest| rest.split("\n    LANGUAGE").next().unwrap_or_default());
    let statements = heads.map(|head| {
        let (schema, rest) = head.split_once('.').unwrap();
        let name = rest.split('(').next().unwrap();
        // A verb in `app` would be in the way of the install.
        let schema = if schema == "sequin" { "app" } else { "public" };
        let rest = rest.replace("@extschema@.sequin_record", "pg_catalog.record");
        format!(
            "SELECT app.make($make$CREATE FUNCTION {schema}.{rest} LANGUAGE plpgsql AS
               'BEGIN PERFORM app.noted(''function {name}''); END'$make$)"
        )
    });
    statements.collect::<Vec<_>>().join(";\n")
}
