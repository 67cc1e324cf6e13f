//! Many records in one call: the records sent and returned as rows in a second.

use postgres::Client;
use sequin_harness::{Database, literal};

use crate::Result;
use crate::api::FixedApi;
use crate::goal::Goal;
use crate::options::Options;
use crate::payload;
use crate::raw::RawClient;
use crate::stats::{Sample, Spread};
use crate::table::Table;

const GOAL: Goal = Goal::AtLeast(85_000.0, "/s");
const STRETCH: Goal = Goal::AtLeast(150_000.0, "/s");

/// A select list that reads a field of each `data`.
pub const READ: &str = "count(*) FILTER (WHERE data->>'Email' IS NOT NULL)";

const MUTATE: &str = "sequin_mutate('create', 'bench', 'salesforce:contact', argument)";

/// A query over the records that a call returns; `argument` is the jsonb to send.
pub struct Case<'a> {
    pub name: &'a str,
    pub from: &'a str,
    /// Must give the number of records.
    pub result: &'a str,
    pub goals: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let mut table = new_table("many-records: sequin_mutate('create') of one jsonb array, milliseconds a call");
    let mut payload = String::new();
    for count in [100, 10_000] {
        let api = FixedApi::start(&payload::reply(count));
        let database = Database::fresh();
        database.create_server(&api.url(), "bench");
        let case = |name, result| Case { name, from: MUTATE, result, goals: count == 10_000 };
        let cases = [case("count(*)", "count(*)"), case("read data", READ)];
        payload += &measure(&mut table, database.connect(), &api, &cases, count, options)?;
    }
    table.print();
    print!("{payload}");
    Ok(())
}

/// A table for [`measure`].
pub fn new_table(title: &str) -> Table {
    Table::new(title, &["records", "", "raw", "SQL", "SQL / raw", "records/s", "goal"])
}

/// Runs all cases and the control in turns. Returns a description of the control's request and reply.
pub fn measure(
    table: &mut Table,
    client: Client,
    api: &FixedApi,
    cases: &[Case<'_>],
    count: usize,
    options: &Options,
) -> Result<String> {
    let mut sql = Session::new(client, cases, count)?;
    for case in 0..cases.len() {
        sql.time(case)?;
        sql.time(case)?;
    }
    let mut raw = RawClient::connect(api.address(), api.first_request())?;
    let (sent, returned) = (raw.request_bytes() / count, raw.exchange()? / count);
    let calls = if count < 1000 { options.count(200, 40) } else { options.count(12, 3) };
    let mut runs_of_raw = Vec::new();
    let mut runs_of_sql: Vec<Vec<Sample>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.runs {
        let mut of_raw = Vec::new();
        let mut of_sql = vec![Vec::new(); cases.len()];
        for _ in 0..calls {
            for (case, times) in of_sql.iter_mut().enumerate() {
                of_raw.extend(raw.times(1)?.into_iter().map(|microseconds| microseconds / 1e3));
                times.push(sql.time(case)?);
            }
        }
        runs_of_raw.push(Sample::new(of_raw));
        for (runs, times) in runs_of_sql.iter_mut().zip(of_sql) {
            runs.push(Sample::new(times));
        }
    }
    for (case, runs) in cases.iter().zip(&runs_of_sql) {
        report(table, case, count, &runs_of_raw, runs);
    }
    Ok(format!("  {count} records: {sent} bytes sent and {returned} returned a record\n"))
}

fn report(table: &mut Table, case: &Case<'_>, count: usize, raw: &[Sample], sql: &[Sample]) {
    let over = |figure: fn(f64, f64) -> f64| {
        Spread::over(raw.iter().zip(sql).map(|(raw, sql)| figure(raw.median(), sql.median())))
    };
    let rate = Spread::over(sql.iter().map(|sql| count as f64 / sql.median() * 1e3));
    let goal = if case.goals {
        format!("{}, stretch {}", GOAL.judge(rate.median), STRETCH.judge(rate.median))
    } else {
        String::new()
    };
    table.line([
        count.to_string(),
        case.name.to_owned(),
        over(|raw, _| raw).show(2),
        over(|_, sql| sql).show(2),
        over(|raw, sql| sql / raw).show(1),
        rate.show(0),
        goal,
    ]);
}

/// A session with the records in a table, and a function for each case.
struct Session {
    client: Client,
}

impl Session {
    fn new(mut client: Client, cases: &[Case<'_>], count: usize) -> Result<Session> {
        client.batch_execute(&format!(
            "CREATE TABLE payload AS SELECT {records}::jsonb AS records",
            records = literal(&payload::records(count))
        ))?;
        // The argument is in memory when the clock starts, as after an aggregation. Reading and decompressing a stored
        // value is not part of the measurement.
        for (i, Case { from, result, .. }) in cases.iter().enumerate() {
            client.batch_execute(&format!(
                "CREATE FUNCTION bench_call_{i}() RETURNS float8 LANGUAGE plpgsql AS $function$
                 DECLARE
                     argument jsonb := (SELECT jsonb_agg(r) FROM payload, jsonb_array_elements(records) AS r);
                     t timestamptz; n bigint; milliseconds float8;
                 BEGIN
                     t := clock_timestamp();
                     SELECT {result} INTO n FROM {from};
                     milliseconds := extract(epoch FROM clock_timestamp() - t) * 1e3;
                     ASSERT n = {count};
                     RETURN milliseconds;
                 END
                 $function$"
            ))?;
        }
        Ok(Session { client })
    }

    /// The time of one call, in milliseconds.
    fn time(&mut self, case: usize) -> Result<f64> {
        Ok(self.client.query_one(&format!("SELECT bench_call_{case}()"), &[])?.get(0))
    }
}
