//! One record at a time, as stored procedures and row triggers do it.

use sequin_harness::{Database, Sandbox};

use crate::Result;
use crate::api::FixedApi;
use crate::goal::Goal;
use crate::looped::{self, Loop, Run};
use crate::options::Options;
use crate::payload;
use crate::raw::RawClient;
use crate::stats::{Sample, Spread};
use crate::table::Table;

/// The statistics of a run.
type Figure = fn(&Sample) -> f64;

/// The limit for the difference of a mean to the control's.
const VERB: Goal = Goal::AtMost(15.0, " us");
const SET: Goal = Goal::AtMost(25.0, " us");
const P99: Goal = Goal::AtMost(2.0, "x");

const VARIABLES: &str = "r sequin_record; one_of jsonb := jsonb_build_array(jsonb_build_object('data', d));";
const CREATE: &str = "r := sequin_create('bench', 'salesforce:contact', d)";

const CASES: [(&str, &str, Goal); 4] = [
    ("create", CREATE, VERB),
    ("update", "r := sequin_update('bench', 'salesforce:contact', '003000000000000000', d)", VERB),
    ("delete", "r := sequin_delete('bench', 'salesforce:contact', '003000000000000000')", VERB),
    ("FROM mutate", "SELECT * INTO r FROM sequin_mutate('create', 'bench', 'salesforce:contact', one_of)", SET),
];

pub fn run(options: &Options) -> Result<()> {
    let calls = options.count(4000, 800);
    let mut table = new_table(&format!("one-record: {calls} calls a run in a PL/pgSQL loop, microseconds"));
    for (name, statement, goal) in CASES {
        let api = FixedApi::start(&payload::small_reply());
        let database = Database::fresh();
        database.create_server(&api.url(), "bench");
        let mut sql = Loop::new(database.connect(), VARIABLES, statement)?;
        let raw = || RawClient::connect(api.address(), api.first_request());
        report(&mut table, name, &looped::beside_raw(&mut sql, raw, options, calls)?, Some(goal));
    }
    let sandbox = against_sandbox(&mut table, options);
    table.print();
    println!("  of SQL, an empty turn of the loop between two looks at the clock: {:.1}", empty_turn(calls)?);
    if let Err(e) = sandbox {
        println!("  not measured against the sandbox: {e}");
    }
    Ok(())
}

/// The loop's own share of each time.
fn empty_turn(calls: usize) -> Result<f64> {
    let database = Database::fresh();
    let mut sql = Loop::new(database.connect(), VARIABLES, "NULL")?;
    sql.times(calls)?;
    Ok(Sample::new(sql.times(calls)?).mean())
}

/// An API that works for each request. It does not show the request's bytes, so a fixed API is asked first.
fn against_sandbox(table: &mut Table, options: &Options) -> Result<()> {
    let sandbox = Sandbox::builder().arg("--no-log-bodies").start()?;
    let host = sandbox.url().trim_start_matches("http://").to_owned();
    let database = Database::fresh();
    let api = FixedApi::start(&payload::small_reply());
    database.create_server(&api.url(), sandbox.token());
    let mut sql = Loop::new(database.connect(), VARIABLES, CREATE)?;
    sql.times(1)?;
    let request = String::from_utf8(api.first_request())?.replace(&api.address().to_string(), &host);
    database.execute(&format!("ALTER SERVER sequin OPTIONS (SET url '{}')", sandbox.url()));
    let address = host.parse()?;
    let raw = || RawClient::connect(address, request.into_bytes());
    let runs = looped::beside_raw(&mut sql, raw, options, options.count(1000, 200))?;
    report(table, "create, from the sandbox", &runs, None);
    Ok(())
}

/// A table for [`report`].
pub fn new_table(title: &str) -> Table {
    Table::new(title, &["", "", "raw", "SQL", "SQL - raw", "SQL / raw", "goal"])
}

/// Mean, p50 and p99 of both, and how they compare within each run.
pub fn report(table: &mut Table, name: &str, runs: &[Run], mean_goal: Option<Goal>) {
    let figures: [(&str, Figure); 3] =
        [("mean", Sample::mean), ("p50", Sample::median), ("p99", |sample| sample.percentile(0.99))];
    for (figure, of) in figures {
        let over =
            |compared: fn(f64, f64) -> f64| Spread::over(runs.iter().map(|run| compared(of(&run.raw), of(&run.sql))));
        let (difference, ratio) = (over(|raw, sql| sql - raw), over(|raw, sql| sql / raw));
        let goal = match (figure, mean_goal) {
            ("mean", Some(goal)) => goal.judge(difference.median),
            ("p99", Some(_)) => P99.judge(ratio.median),
            _ => String::new(),
        };
        table.line([
            if figure == "mean" { name.to_owned() } else { String::new() },
            figure.to_owned(),
            over(|raw, _| raw).show(1),
            over(|_, sql| sql).show(1),
            difference.show_difference(1),
            ratio.show(2),
            goal,
        ]);
    }
}
