//! The cost of queuing for a transaction: by an attached table's triggers, and by sequin_enqueue.
//!
//! The control writes the same rows by hand into a table like the queue. Nothing is delivered meanwhile.

use std::time::Instant;

use postgres::Client;
use sequin_harness::{Database, literal};

use crate::api::FixedApi;
use crate::goal::Goal;
use crate::options::Options;
use crate::stats::Spread;
use crate::table::Table;
use crate::{Result, payload};

/// The sizes that the goals refer to, also in a quick run: it takes no time.
const ROWS: usize = 10_000;

const A_ROW: Goal = Goal::AtMost(4.5, " us");
const OF_CONTROL: Goal = Goal::AtMost(1.1, "x");

const TABLES: &str = "
    CREATE TABLE plain (id bigint PRIMARY KEY, name text, email text, title text, sf_id text);
    CREATE TABLE attached (LIKE plain INCLUDING ALL);
    CREATE TABLE control (LIKE sequin.queue INCLUDING ALL);
    SELECT sequin_attach('attached', 'bench', 'salesforce:contact', 'sf_id',
                         '{\"name\": \"Name\", \"email\": \"Email\", \"title\": \"Title\"}');
    SELECT sequin_pause('sequin')";

/// The hand-written addition to the statement. `{kind}` and `{data}` are the statement's.
const BY_HAND: &str = "INSERT INTO control SELECT 'sequin', nextval('sequin.outbox_id'), gen_random_uuid(),
    'postgres'::regrole, {kind}, 'bench', 'salesforce:contact', NULL, NULL, 'attached'::regclass,
    jsonb_build_array(id)::text, sf_id, jsonb_build_object({data}), now() FROM plain";

struct Statement {
    name: &'static str,
    /// With `{table}` in place of the table.
    sql: String,
    by_hand: String,
    goals: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let api = FixedApi::start(&payload::small_reply());
    let database = Database::fresh();
    database.create_server(&api.url(), "bench");
    let mut client = database.connect();
    client.batch_execute(TABLES)?;
    by_trigger(&mut client, ROWS, options)?;
    by_function(&mut client, ROWS, options)
}

fn by_trigger(client: &mut Client, rows: usize, options: &Options) -> Result<()> {
    let by_hand = |kind: &str, data: &str| BY_HAND.replace("{kind}", &literal(kind)).replace("{data}", data);
    let statements = [
        Statement {
            name: "INSERT",
            sql: format!(
                "INSERT INTO {{table}} (id, name, email, title)
                 SELECT n, 'name ' || n, n || '@arrakis.org', repeat('title ', 10) FROM generate_series(1, {rows}) n"
            ),
            by_hand: by_hand("create", "'Name', name, 'Email', email, 'Title', title"),
            goals: true,
        },
        Statement {
            name: "UPDATE",
            sql: "UPDATE {table} SET sf_id = '003' || id, title = title || id".to_owned(),
            by_hand: by_hand("update", "'Title', title"),
            goals: false,
        },
    ];
    // By statement: without triggers, attached, by hand.
    let mut runs = [(); 2].map(|()| [(); 3].map(|()| Vec::new()));
    for run in 0..=options.runs {
        for (statement, runs) in statements.iter().zip(&mut runs) {
            let times = [
                time(client, &statement.sql.replace("{table}", "plain"))?,
                time(client, &statement.sql.replace("{table}", "attached"))?,
                time(client, &statement.by_hand)?,
            ];
            let queued: i64 = client.query_one("SELECT count(*) FROM sequin.queue", &[])?.get(0);
            assert_eq!(queued as usize, rows, "rows that the statement queued");
            client.batch_execute("TRUNCATE sequin.queue, control")?;
            // The first run warms up.
            if run > 0 {
                for (times, time) in runs.iter_mut().zip(times) {
                    times.push(time / rows as f64);
                }
            }
        }
        client.batch_execute("SET sequin.capture = off; TRUNCATE attached, plain; SET sequin.capture = on")?;
    }

    let title = format!("enqueue: one statement on {rows} rows, microseconds a row");
    let heads = ["", "no trigger", "attached", "to queue it", "control: by hand", "of control", "goal"];
    let mut table = Table::new(title, &heads);
    for (statement, [plain, attached, control]) in statements.iter().zip(&runs) {
        let over = |figure: fn(f64, f64, f64) -> f64| {
            let runs = plain.iter().zip(attached).zip(control);
            Spread::over(runs.map(|((plain, attached), control)| figure(*plain, *attached, *control)))
        };
        let more = over(|plain, attached, _| attached - plain);
        let ratio = over(|plain, attached, control| (attached - plain) / control);
        let goals = format!("{}, {}", A_ROW.judge(more.median), OF_CONTROL.judge(ratio.median));
        table.line([
            statement.name.to_owned(),
            over(|plain, _, _| plain).show(2),
            over(|_, attached, _| attached).show(2),
            more.show(2),
            over(|_, _, control| control).show(2),
            format!("{}x", ratio.show(2)),
            if statement.goals { goals } else { String::new() },
        ]);
    }
    table.print();
    Ok(())
}

/// The time of a statement, in microseconds.
fn time(client: &mut Client, sql: &str) -> Result<f64> {
    let begun = Instant::now();
    client.batch_execute(sql)?;
    Ok(begun.elapsed().as_secs_f64() * 1e6)
}

/// The cases of [`by_function`]: the function called, and the same by hand.
const CALLS: [(&str, &str); 4] = [
    (
        "sequin_enqueue of all",
        "PERFORM count(*) FROM sequin_enqueue('update', 'bench', 'salesforce:contact', argument)",
    ),
    (
        "by hand",
        "INSERT INTO control SELECT 'sequin', nextval('sequin.outbox_id'), gen_random_uuid(), 'postgres'::regrole,
             'update', 'bench', 'salesforce:contact', NULL, NULL, NULL, r->>'upstream_id', r->>'upstream_id', r->'data',
             now() FROM jsonb_array_elements(argument) r",
    ),
    (
        "sequin_enqueue of each in a loop",
        "FOREACH one IN ARRAY each LOOP PERFORM sequin_enqueue('update', 'bench', 'salesforce:contact', one); END LOOP",
    ),
    (
        "by hand",
        "FOREACH one IN ARRAY each LOOP
             INSERT INTO control VALUES ('sequin', nextval('sequin.outbox_id'), gen_random_uuid(), 'postgres'::regrole,
                 'update', 'bench', 'salesforce:contact', NULL, NULL, NULL, one->>'upstream_id', one->>'upstream_id',
                 one->'data', now());
         END LOOP",
    ),
];

fn by_function(client: &mut Client, records: usize, options: &Options) -> Result<()> {
    for (i, (_, statement)) in CALLS.iter().enumerate() {
        // The arguments are in memory when the clock starts.
        client.batch_execute(&format!(
            "CREATE FUNCTION bench_enqueue_{i}() RETURNS float8 LANGUAGE plpgsql AS $function$
             DECLARE
                 each jsonb[] := ARRAY(SELECT jsonb_build_object('upstream_id', '003' || n, 'data', {data}::jsonb || jsonb_build_object('N', n))
                                       FROM generate_series(1, {records}) n);
                 argument jsonb := to_jsonb(each); one jsonb; t timestamptz;
             BEGIN
                 t := clock_timestamp();
                 {statement};
                 RETURN extract(epoch FROM clock_timestamp() - t) * 1e6;
             END
             $function$",
            data = literal(payload::SMALL),
        ))?;
    }
    let mut runs = [(); CALLS.len()].map(|()| Vec::new());
    for run in 0..=options.runs {
        for (i, runs) in runs.iter_mut().enumerate() {
            let time: f64 = client.query_one(&format!("SELECT bench_enqueue_{i}()"), &[])?.get(0);
            client.batch_execute("TRUNCATE sequin.queue, control")?;
            if run > 0 {
                runs.push(time / records as f64);
            }
        }
    }
    let title = format!("enqueue: {records} records of some 130 bytes in one transaction, microseconds a record");
    let mut table = Table::new(title, &["", "a record", "control: by hand", "of control", ""]);
    for pair in [0, 2] {
        let (of, control) = (&runs[pair], &runs[pair + 1]);
        table.line([
            CALLS[pair].0.to_owned(),
            Spread::over(of.iter().copied()).show(2),
            Spread::over(control.iter().copied()).show(2),
            format!("{}x", Spread::over(of.iter().zip(control).map(|(of, control)| of / control)).show(2)),
        ]);
    }
    table.print();
    Ok(())
}
