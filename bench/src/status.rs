//! The time of `sequin.status` beside a large outbox, and that of the other views with a LIMIT.
//!
//! The control is `SELECT 1` in the same session: the round trip and the planner. Nothing is delivered meanwhile. On a busy
//! machine the processor time says more than the time that passes.

use std::time::Instant;

use postgres::Client;

use crate::goal::Goal;
use crate::options::Options;
use crate::stats::{Sample, Spread};
use crate::table::Table;
use crate::{Result, outbox, proc};

const GOAL: Goal = Goal::AtMost(5.0, " ms");

/// The queries of a run, each with whether it has the goal.
const QUERIES: [(&str, &str, bool); 5] = [
    ("SELECT 1", "SELECT 1", false),
    ("sequin.status", "SELECT * FROM sequin.status", true),
    ("sequin.outbox LIMIT 10", "SELECT * FROM sequin.outbox LIMIT 10", false),
    ("sequin.dead_letters by id LIMIT 10", "SELECT * FROM sequin.dead_letters ORDER BY id LIMIT 10", false),
    ("sequin.delivered LIMIT 10", "SELECT * FROM sequin.delivered LIMIT 10", false),
];

pub fn run(options: &Options) -> Result<()> {
    let (queued, delivered) = (options.count(500_000, 50_000), options.count(1_000_000, 100_000));
    let calls = options.count(200, 50);
    let server = outbox::durable("")?;
    let database = server.fresh_database();
    database.create_server("http://127.0.0.1:1", "bench");
    let mut client = database.connect();
    client.batch_execute("SELECT sequin_pause('sequin')")?;
    outbox::make_contacts(&mut client)?;
    let heads = ["query", "records", "p50 ms", "p99 ms", "processor ms", "goal"];
    let mut table = Table::new(format!("status: {calls} queries a run, by one session"), &heads);
    measure(&mut client, &mut table, options, calls, "none")?;
    outbox::queue_updates(&mut client, queued, "n")?;
    fill(&mut client, delivered)?;
    let records = format!("{queued} queued, {delivered} delivered");
    measure(&mut client, &mut table, options, calls, &records)?;
    for statement in ["VACUUM ANALYZE sequin.queue", "VACUUM ANALYZE sequin.history", "VACUUM ANALYZE sequin.deferred"]
    {
        client.batch_execute(statement)?;
    }
    measure(&mut client, &mut table, options, calls, "the same, vacuumed")?;
    table.print();
    let exact: i64 = client.query_one("SELECT count(*) FROM sequin.outbox", &[])?.get(0);
    let shown: i64 = client.query_one("SELECT backlog FROM sequin.status WHERE server = 'sequin'", &[])?.get(0);
    println!("  backlog: {shown} shown, {exact} counted, {:.3} of it", shown as f64 / exact as f64);
    Ok(())
}

/// Fills the history, half of it as of now, and a tenth of the queue's size into the deferred records.
fn fill(client: &mut Client, delivered: usize) -> Result<()> {
    client.batch_execute(&format!(
        "INSERT INTO sequin.history (server, id, key, role, kind, sync_id, collection_id, ordering_key, upstream_id, data,
             enqueued_at, delivered_at, outcome)
           SELECT 'sequin', nextval('sequin.outbox_id'), gen_random_uuid(), current_user::regrole, 'update', 'bench',
             'salesforce:contact', 'k' || n, 'k' || n, data, now(),
             clock_timestamp() - CASE WHEN n % 2 = 0 THEN interval '1 hour' ELSE '0' END, 'applied'
           FROM generate_series(1, {delivered}) n JOIN contacts ON i = n % 10000;
         INSERT INTO sequin.deferred (server, id, key, role, kind, sync_id, collection_id, ordering_key, upstream_id, data,
             enqueued_at, state, attempts, next_attempt_at, outcome, error, resend_verbatim)
           SELECT 'sequin', nextval('sequin.outbox_id'), gen_random_uuid(), current_user::regrole, 'update', 'bench',
             'salesforce:contact', 'd' || n, 'd' || n, data, now(), CASE WHEN n % 100 = 0 THEN 'rejected' ELSE 'pending' END,
             1, now(), 'rejected', 'no', false
           FROM generate_series(1, {}) n JOIN contacts ON i = n % 10000",
        delivered / 20
    ))?;
    Ok(())
}

fn measure(client: &mut Client, table: &mut Table, options: &Options, calls: usize, records: &str) -> Result<()> {
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
    let mut runs = QUERIES.map(|_| [Vec::new(), Vec::new(), Vec::new()]);
    for run in 0..=options.runs {
        for ((name, query, has_goal), runs) in QUERIES.iter().zip(&mut runs) {
            let mut times = Vec::new();
            // A view that reads everything takes seconds.
            let calls = if *has_goal || *name == "SELECT 1" { calls } else { calls / 20 };
            let before = proc::cpu(pid)?;
            for _ in 0..calls {
                let begun = Instant::now();
                client.simple_query(query)?;
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
            // The first run warms up.
            if run > 0 {
                let times = Sample::new(times);
                runs[0].push(times.median());
                runs[1].push(times.percentile(0.99));
                runs[2].push((proc::cpu(pid)? - before) / calls as f64 / 1e3);
            }
        }
    }
    for ((name, _, has_goal), runs) in QUERIES.iter().zip(runs) {
        let [median, tail, processor] = runs.map(Spread::over);
        let goal = if *has_goal { GOAL.judge(median.median) } else { String::new() };
        let (name, records) = ((*name).to_owned(), records.to_owned());
        table.line([name, records, median.show(2), tail.show(2), processor.show(2), goal]);
    }
    Ok(())
}
