//! How fast a full queue is delivered, on a server whose commits reach the disk.
//!
//! The control is the minimum of any queue in a database, in SQL. It stores its claim, commits, moves the records to an
//! equal history with a reply for each, and commits. It sends nothing.

use std::time::{Duration, Instant};

use postgres::Client;
use sequin_harness::{Database, Server};

use crate::echo::EchoApi;
use crate::goal::Goal;
use crate::options::Options;
use crate::stats::Spread;
use crate::table::Table;
use crate::{Result, outbox, proc};

const RECORDS: Goal = Goal::AtLeast(40_000.0, "/s");
const CHANGES: Goal = Goal::AtLeast(300_000.0, "/s");

struct Case {
    name: &'static str,
    work: Work,
    goal: Option<Goal>,
}

#[derive(Clone, Copy)]
enum Work {
    /// Updates; the record of change `n`, out of the given number of changes.
    Updates(fn(usize) -> String),
    /// Creates of an attached table's rows.
    Creates,
    /// The same updates, by the control.
    ByHand,
}

fn one_each(_: usize) -> String {
    "n".to_owned()
}

fn in_a_row(_: usize) -> String {
    "n / 10".to_owned()
}

fn in_turns(changes: usize) -> String {
    format!("n % {}", changes / 10)
}

const CASES: [Case; 5] = [
    Case { name: "updates of as many records", work: Work::Updates(one_each), goal: Some(RECORDS) },
    Case { name: "ten of a record in a row", work: Work::Updates(in_a_row), goal: Some(CHANGES) },
    Case { name: "ten of a record, in turns", work: Work::Updates(in_turns), goal: None },
    Case { name: "creates, ids written back", work: Work::Creates, goal: None },
    Case { name: "control: moved by hand", work: Work::ByHand, goal: None },
];

const TABLES: &str = "
    CREATE TABLE attached (id bigint PRIMARY KEY, name text, note text, sf_id text);
    SELECT sequin_attach('attached', 'bench', 'salesforce:contact', 'sf_id', '{\"name\": \"Name\", \"note\": \"Note\"}');
    CREATE TABLE by_hand_claims (LIKE sequin.claims INCLUDING ALL);
    CREATE TABLE by_hand_queue (LIKE sequin.queue INCLUDING ALL);
    CREATE TABLE by_hand_history (LIKE sequin.history INCLUDING ALL);
    CREATE PROCEDURE move_by_hand() LANGUAGE plpgsql AS $$
    DECLARE taken bigint[];
    BEGIN
        LOOP
            taken := ARRAY(SELECT id FROM by_hand_queue WHERE server = 'sequin' ORDER BY id LIMIT 3200);
            EXIT WHEN taken = '{}';
            INSERT INTO by_hand_claims VALUES (taken[1], 1, 'sequin', 'update', taken, taken, '{}', now());
            COMMIT;
            DELETE FROM by_hand_claims WHERE id = taken[1];
            WITH gone AS (DELETE FROM by_hand_queue WHERE server = 'sequin' AND id = ANY (taken) RETURNING *)
            INSERT INTO by_hand_history
                SELECT g.*, clock_timestamp(), 'applied', NULL, json_build_object('upstream_id', upstream_id,
                    'upstream_created_at', now(), 'upstream_updated_at', now(), 'inserted_at', now(), 'id', key,
                    'sync_id', sync_id, 'collection_id', collection_id, 'deleted', false, 'data', data)
                FROM gone g;
            COMMIT;
        END LOOP;
    END $$";

pub fn run(options: &Options) -> Result<()> {
    let changes = options.count(100_000, 20_000);
    let server = outbox::durable("")?;
    let mut runs: Vec<Vec<Drained>> = CASES.iter().map(|_| Vec::new()).collect();
    let database = server.fresh_database();
    let api = EchoApi::start();
    database.create_server(&api.url(), "bench");
    database.execute("ALTER SERVER sequin OPTIONS (ADD atomic_batches 'true')");
    let mut client = database.connect();
    outbox::make_contacts(&mut client)?;
    client.batch_execute(TABLES)?;
    for run in 0..=options.runs {
        for (case, runs) in CASES.iter().zip(&mut runs) {
            let drained = drain(&server, &database, &mut client, &api, case, changes)?;
            // The first run warms up: the files reach their size, and the disk caches them.
            if run > 0 {
                runs.push(drained);
            }
        }
    }

    let title = format!("drain: {changes} changes of about 400 bytes, every commit on disk");
    let heads = ["", "changes/s", "of control", "requests", "worker us", "API us", "WAL bytes", "fsyncs", "goal"];
    let mut table = Table::new(title, &heads);
    let control: Vec<f64> = runs.last().into_iter().flatten().map(|drained| drained.seconds).collect();
    for (case, runs) in CASES.iter().zip(&runs) {
        let over = |figure: fn(&Drained) -> f64| Spread::over(runs.iter().map(figure));
        let a_change = |figure: fn(&Drained) -> f64| Spread::over(runs.iter().map(|d| figure(d) / changes as f64));
        let rate = Spread::over(runs.iter().map(|drained| changes as f64 / drained.seconds));
        let ratio = Spread::over(runs.iter().zip(&control).map(|(drained, control)| control / drained.seconds));
        table.line([
            case.name.to_owned(),
            rate.show(0),
            format!("{}x", ratio.show(2)),
            over(|drained| drained.requests as f64).median.to_string(),
            a_change(|drained| drained.worker_cpu).show(1),
            a_change(|drained| drained.api_cpu).show(1),
            format!("{:.0}", a_change(|drained| drained.wal).median),
            over(|drained| drained.fsyncs as f64).median.to_string(),
            case.goal.map_or(String::new(), |goal| goal.judge(rate.median)),
        ]);
    }
    table.print();
    println!("  us: processor time of the worker (or the control's session), and of the API, by change.");
    Ok(())
}

/// The costs of a run.
struct Drained {
    seconds: f64,
    requests: usize,
    /// Microseconds.
    worker_cpu: f64,
    api_cpu: f64,
    wal: f64,
    fsyncs: i64,
}

fn drain(
    server: &Server,
    database: &Database,
    client: &mut Client,
    api: &EchoApi,
    case: &Case,
    changes: usize,
) -> Result<Drained> {
    outbox::reset(client)?;
    client.batch_execute(
        "SET sequin.capture = off; TRUNCATE attached, by_hand_queue, by_hand_claims, by_hand_history; SET sequin.capture = on",
    )?;
    match case.work {
        Work::Updates(key) => outbox::queue_updates(client, changes, &key(changes))?,
        Work::Creates => client.batch_execute(&format!(
            "INSERT INTO attached SELECT n, 'name ' || n, repeat('some note ', 36) FROM generate_series(1, {changes}) n"
        ))?,
        Work::ByHand => {
            outbox::queue_updates(client, changes, "n")?;
            client.batch_execute("INSERT INTO by_hand_queue TABLE sequin.queue; TRUNCATE sequin.queue")?;
        }
    }
    // Separate statements, because VACUUM requires it.
    for statement in ["VACUUM ANALYZE sequin.queue, by_hand_queue", "CHECKPOINT"] {
        client.batch_execute(statement)?;
    }
    let alive = "SELECT cardinality(sequin.workers()) > 0";
    outbox::wait_until(client, alive, Duration::from_millis(5), Duration::from_secs(10))?;

    let mut mover = database.connect();
    let mover_pid: i32 = mover.query_one("SELECT pg_backend_pid()", &[])?.get(0);
    let cpu = |client: &mut Client| match case.work {
        Work::ByHand => Ok(proc::cpu(mover_pid)?),
        _ => outbox::workers_cpu(client),
    };
    // Another database, so that polling does not count.
    let mut looker = server.connect("postgres");
    let mut wal = || -> Result<(f64, i64)> {
        let query = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::float8, wal_sync FROM pg_stat_wal";
        let row = looker.query_one(query, &[])?;
        Ok((row.get(0), row.get(1)))
    };
    let before = (cpu(client)?, proc::own_cpu()?, wal()?, api.requests());
    let begun = Instant::now();
    match case.work {
        Work::ByHand => mover.batch_execute("CALL move_by_hand()")?,
        Work::Updates(_) | Work::Creates => {
            client.batch_execute("SELECT sequin_resume('sequin')")?;
            outbox::wait_until_empty(client)?;
            if matches!(case.work, Work::Creates) {
                let written = "SELECT NOT EXISTS (SELECT FROM sequin.pending_upstream_ids) AND NOT EXISTS (SELECT FROM attached WHERE sf_id IS NULL)";
                outbox::wait_until(client, written, Duration::from_millis(20), Duration::from_secs(60))?;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let api_cpu = proc::own_cpu()? - before.1;
    let worker_cpu = cpu(client)? - before.0;
    let wal = wal()?;
    let history = if matches!(case.work, Work::ByHand) { "by_hand_history" } else { "sequin.history" };
    let applied =
        format!("SELECT sum(1 + COALESCE(cardinality(merged_ids), 0)) FROM {history} WHERE outcome = 'applied'");
    let applied = outbox::count(client, &applied)?;
    if applied as usize != changes {
        return Err(format!("{}: {applied} of {changes} were applied", case.name).into());
    }
    Ok(Drained {
        seconds,
        requests: api.requests() - before.3,
        worker_cpu,
        api_cpu,
        wal: wal.0 - before.2.0,
        fsyncs: wal.1 - before.2.1,
    })
}
