//! The memory that the backend takes for the largest call, beyond its size before.
//!
//! Each run has a new backend: after one such call it keeps memory, and the next call would seem to need none. A small
//! call comes first, so that code, caches and the connection are not counted.

use postgres::Client;
use sequin_harness::{Database, literal};

use crate::api::FixedApi;
use crate::goal::Goal;
use crate::options::Options;
use crate::stats::Spread;
use crate::table::Table;
use crate::{Result, payload, proc, wire};

const GOAL: Goal = Goal::AtMost(3.0, "x");
const MIB: f64 = 1024.0 * 1024.0;

/// The table's pages are shared memory, which counts for each process that has touched it. Pages touched earlier do not
/// count.
const TOUCH: &str = "DO $$
    DECLARE toast regclass := (SELECT reltoastrelid FROM pg_class WHERE oid = 'payload'::regclass);
    BEGIN EXECUTE format('SELECT sum(length(chunk_data)) FROM %s', toast); END $$";

const CALL: &str = "FROM payload, LATERAL sequin_mutate('create', 'bench', 'salesforce:contact', records)";

pub fn run(options: &Options) -> Result<()> {
    let count = 10_000;
    let api = FixedApi::start(&payload::reply(count));
    let small = FixedApi::start(&payload::small_reply());
    let database = Database::fresh();
    database.create_server(&api.url(), "bench");
    database.create_server_named("small", &small.url(), "bench");
    // Neither compressed nor out of line: reading it takes its size and no more.
    database.execute(&format!(
        "CREATE TABLE payload (records jsonb);
         ALTER TABLE payload ALTER COLUMN records SET STORAGE EXTERNAL;
         INSERT INTO payload VALUES ({})",
        literal(&payload::records(count))
    ));

    let statements = [
        (
            "the argument alone: jsonb_array_length(records)",
            "SELECT jsonb_array_length(records) FROM payload".to_owned(),
        ),
        ("count(*)", format!("SELECT count(*) {CALL}")),
        ("read data", format!("SELECT count(*) FILTER (WHERE data->>'Email' IS NOT NULL) {CALL}")),
    ];
    let mut peaks = Vec::new();
    for (_, statement) in &statements {
        let peaks_of_runs: Result<Vec<f64>> = (0..options.runs).map(|_| peak(&database, statement)).collect();
        peaks.push(peaks_of_runs?);
    }
    let sent = body_bytes(&api.first_request());
    let returned = payload::reply(count).len();
    let bytes = (sent + returned) as f64;
    let title = format!(
        "memory: one call of {count} records, {:.1} MiB sent and {:.1} MiB returned",
        sent as f64 / MIB,
        returned as f64 / MIB
    );
    let mut table =
        Table::new(title, &["peak of the backend, above what it held before", "MiB", "of the payload", "goal"]);
    for (i, ((name, _), peaks)) in statements.iter().zip(&peaks).enumerate() {
        let multiple = Spread::over(peaks.iter().map(|peak| peak / bytes));
        let goal = if i == 0 { String::new() } else { GOAL.judge(multiple.median) };
        table.line([
            (*name).to_owned(),
            Spread::over(peaks.iter().map(|peak| peak / MIB)).show(1),
            format!("{}x", multiple.show(2)),
            goal,
        ]);
    }
    table.print();
    Ok(())
}

fn body_bytes(request: &[u8]) -> usize {
    wire::head(request).map_or(0, |head| head.content_length)
}

/// The largest growth of a new session's backend during `statement`, in bytes.
fn peak(database: &Database, statement: &str) -> Result<f64> {
    let mut client: Client = database.connect();
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[])?.get(0);
    client.batch_execute(&format!(
        "SELECT sequin_create('bench', 'salesforce:contact', '{{}}', server => 'small'); {TOUCH}"
    ))?;
    let statement = client.prepare(statement)?;
    proc::reset_peak(pid)?;
    let before = proc::kib(pid, "VmRSS")?;
    client.query_one(&statement, &[])?;
    Ok((proc::kib(pid, "VmHWM")?.saturating_sub(before) * 1024) as f64)
}
