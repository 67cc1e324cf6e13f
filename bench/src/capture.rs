//! The cost of an attached table for an INSERT: attached inline, without triggers, and with a hand-written row trigger
//! in PL/pgSQL.
//!
//! The API is the sandbox, because a create must return as many records as it received. The figures of both triggers
//! include its time: the requests are counted, so that its share of the difference is known.

use std::time::Instant;

use postgres::Client;
use sequin_harness::{Database, Sandbox};

use crate::Result;
use crate::options::Options;
use crate::stats::Spread;
use crate::table::Table;

const TABLES: &str = "
    CREATE TABLE plain (id bigint PRIMARY KEY, name text, email text, title text, sf_id text);
    CREATE TABLE attached (LIKE plain INCLUDING ALL);
    CREATE TABLE by_hand (LIKE plain INCLUDING ALL);
    SELECT sequin_attach('attached', 'bench', 'salesforce:contact', 'sf_id', '{\"name\": \"Name\", \"title\": \"Title\"}',
                         delivery => 'inline');
    CREATE FUNCTION send_by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE created sequin_record;
    BEGIN
      SELECT * INTO created FROM sequin_mutate('create', 'bench', 'salesforce:contact',
        jsonb_build_object('data', jsonb_build_object('Name', NEW.name, 'Title', NEW.title)));
      NEW.sf_id := created.upstream_id;
      RETURN NEW;
    END $$;
    CREATE TRIGGER send BEFORE INSERT ON by_hand FOR EACH ROW EXECUTE FUNCTION send_by_hand()";

/// The names of the tables in the output.
const CASES: [(&str, &str); 3] =
    [("plain", "no trigger"), ("attached", "attached inline"), ("by_hand", "row trigger in PL/pgSQL")];

pub fn run(options: &Options) -> Result<()> {
    let rows = options.count(10_000, 1_000);
    let sandbox = Sandbox::builder().arg("--no-log-bodies").start()?;
    let database = Database::fresh();
    database.create_server(sandbox.url(), sandbox.token());
    let mut client = database.connect();
    client.batch_execute(TABLES)?;

    let mut runs: Vec<Vec<f64>> = vec![Vec::new(); CASES.len()];
    let mut requests = vec![0; CASES.len()];
    // One run more than asked for: the first warms up.
    for run in 0..=options.runs {
        for (case, (table, _)) in CASES.iter().enumerate() {
            sandbox.clear_log();
            let microseconds = insert(&mut client, table, rows)?;
            requests[case] = sandbox.log().requests.len();
            if run > 0 {
                runs[case].push(microseconds / rows as f64);
            }
        }
    }

    let title = format!("capture: INSERT ... SELECT of {rows} rows, microseconds a row");
    let mut table = Table::new(title, &["", "a row", "more than without", "requests"]);
    for (case, (_, name)) in CASES.iter().enumerate() {
        let more = Spread::over(runs[case].iter().zip(&runs[0]).map(|(figure, plain)| figure - plain));
        let of_case = Spread::over(runs[case].iter().copied());
        table.line([(*name).to_owned(), of_case.show(2), more.show_difference(2), requests[case].to_string()]);
    }
    table.print();
    Ok(())
}

/// The time of the statement. Its rows are deleted again, here and at the API.
fn insert(client: &mut Client, table: &str, rows: usize) -> Result<f64> {
    let sql = format!(
        "INSERT INTO {table} (id, name, email, title)
         SELECT n, 'name ' || n, n || '@arrakis.org', repeat('title ', 10) FROM generate_series(1, {rows}) n"
    );
    let begun = Instant::now();
    client.batch_execute(&sql)?;
    let microseconds = begun.elapsed().as_secs_f64() * 1e6;
    client.batch_execute(&format!("SET sequin.capture = off; TRUNCATE {table}; SET sequin.capture = on"))?;
    Ok(microseconds)
}
