//! A steady flow, and the statements of a bystander, while another session holds a snapshot open. Vacuum cannot remove
//! any dead row of the queue's tables then. Also the size of the tables, then and with a short retention.

use std::thread;
use std::time::Duration;

use postgres::Client;
use sequin_harness::Database;

use crate::echo::EchoApi;
use crate::flow;
use crate::options::Options;
use crate::stats::Spread;
use crate::table::Table;
use crate::{Result, outbox};

const RELATIONS: [&str; 4] = ["sequin.queue", "sequin.claims", "sequin.history", "sequin.deferred"];

pub fn run(options: &Options) -> Result<()> {
    held(options)?;
    retention(options)
}

/// The measurements of one part of the time.
struct Part {
    delivered: f64,
    settled_p50: f64,
    settled_p99: f64,
    worker_cpu: f64,
    bystander_p50: f64,
    bystander_p99: f64,
}

fn held(options: &Options) -> Result<()> {
    let seconds = options.count(12, 5);
    let parts = options.runs;
    // Often enough to show its effect here.
    let server = outbox::durable("autovacuum_naptime = '5s'")?;
    let database = server.fresh_database();
    let api = EchoApi::start();
    database.create_server(&api.url(), "bench");
    let mut client = database.connect();
    outbox::make_contacts(&mut client)?;

    let mut alone = Vec::new();
    for _ in 0..parts {
        let bystander = flow::bystander(database.connect());
        thread::sleep(Duration::from_secs(seconds as u64 / 2));
        alone.push(bystander.stop()?);
    }
    let mut sizes = Sizes::new("held-xmin: KiB of tables and their indexes");
    sizes.add(&mut client, "before")?;
    let free = parts_of(&database, &mut client, parts, seconds)?;
    sizes.add(&mut client, "flow")?;
    let mut holder = database.connect();
    holder.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class")?;
    let while_held = parts_of(&database, &mut client, parts, seconds)?;
    sizes.add(&mut client, "xmin held")?;
    holder.batch_execute("COMMIT")?;
    client.batch_execute("VACUUM sequin.queue, sequin.claims, sequin.history, sequin.deferred")?;
    sizes.add(&mut client, "VACUUM")?;
    let after = parts_of(&database, &mut client, parts, seconds)?;
    sizes.add(&mut client, "flow again")?;

    let title =
        format!("held-xmin: 2,000 updates a second in transactions of {}, {parts} x {seconds} s", flow::RECORDS);
    let heads =
        ["", "delivered/s", "of control", "settled after ms p50", "p99", "worker us", "bystander ms p50", "p99", ""];
    let mut table = Table::new(title, &heads);
    let nothing = ["no flow", "0", "0", "0", "0", "0"].map(str::to_owned);
    table.line(nothing.into_iter().chain([
        Spread::over(alone.iter().map(|times| times.median())).show(2),
        Spread::over(alone.iter().map(|times| times.percentile(0.99))).show(2),
    ]));
    for (name, parts) in [("flow (control)", &free), ("flow, xmin held", &while_held), ("flow, after VACUUM", &after)] {
        let over = |figure: fn(&Part) -> f64| Spread::over(parts.iter().map(figure));
        let ratio = over(|part| part.delivered).median / Spread::over(free.iter().map(|part| part.delivered)).median;
        table.line([
            name.to_owned(),
            over(|part| part.delivered).show(0),
            format!("{ratio:.2}x"),
            over(|part| part.settled_p50).show(1),
            over(|part| part.settled_p99).show(1),
            over(|part| part.worker_cpu).show(0),
            over(|part| part.bystander_p50).show(2),
            over(|part| part.bystander_p99).show(2),
        ]);
    }
    table.print();
    println!(
        "  settled after: from the enqueuing statement to its record in the history. worker us: processor time a record."
    );
    sizes.table().print();
    Ok(())
}

fn parts_of(database: &Database, client: &mut Client, parts: usize, seconds: usize) -> Result<Vec<Part>> {
    (0..parts).map(|_| part(database, client, seconds)).collect()
}

fn part(database: &Database, client: &mut Client, seconds: usize) -> Result<Part> {
    // The first worker exists, and its time counts from here.
    let first = outbox::count(client, "SELECT COALESCE(max(id), 0) FROM sequin.history")?;
    let cpu = outbox::workers_cpu(client)?;
    let bystander = flow::bystander(database.connect());
    let flow = flow::enqueue(database.connect());
    thread::sleep(Duration::from_secs(seconds as u64));
    let flow_in_time = delivered_since(client, first)?;
    let queued = flow.stop()?;
    let bystander = bystander.stop()?;
    outbox::wait_until_empty(client)?;
    let cpu = outbox::workers_cpu(client)? - cpu;
    let delivered = delivered_since(client, first)?;
    if delivered as u64 != queued {
        return Err(format!("{delivered} of {queued} records were delivered").into());
    }
    let row = client.query_one(
        "SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY 1e3 * extract(epoch FROM delivered_at - enqueued_at)::float8)
         FROM sequin.history WHERE id > $1",
        &[&first],
    )?;
    let settled: Vec<f64> = row.get(0);
    Ok(Part {
        delivered: flow_in_time as f64 / seconds as f64,
        settled_p50: settled[0],
        settled_p99: settled[1],
        worker_cpu: cpu / queued as f64,
        bystander_p50: bystander.median(),
        bystander_p99: bystander.percentile(0.99),
    })
}

fn delivered_since(client: &mut Client, first: i64) -> Result<i64> {
    outbox::count(client, &format!("SELECT count(*) FROM sequin.history WHERE id > {first}"))
}

fn retention(options: &Options) -> Result<()> {
    let seconds = options.count(20, 8);
    let server = outbox::durable("autovacuum_naptime = '5s'\nsequin.retention = '1s'")?;
    let database = server.fresh_database();
    let api = EchoApi::start();
    database.create_server(&api.url(), "bench");
    let mut client = database.connect();
    outbox::make_contacts(&mut client)?;
    let mut sizes = Sizes::new("held-xmin: the same flow with sequin.retention = 1 s, KiB of tables and their indexes");
    let flow = flow::enqueue(database.connect());
    for part in 1..=6 {
        thread::sleep(Duration::from_secs(seconds as u64));
        sizes.add(&mut client, &format!("{} s", part * seconds))?;
    }
    let queued = flow.stop()?;
    sizes.table().print();
    println!("  {queued} records were queued; without retention they would all be in sequin.history.");
    Ok(())
}

/// Sizes of the outbox's tables, at several times.
struct Sizes {
    title: &'static str,
    heads: Vec<String>,
    /// By relation: table and indexes, at each of the times.
    lines: Vec<(String, Vec<String>)>,
}

impl Sizes {
    fn new(title: &'static str) -> Sizes {
        let relations = RELATIONS.iter().map(|relation| ((*relation).to_owned(), Vec::new()));
        let history = ("records in sequin.history".to_owned(), Vec::new());
        Sizes { title, heads: Vec::new(), lines: relations.chain([history]).collect() }
    }

    fn add(&mut self, client: &mut Client, at: &str) -> Result<()> {
        self.heads.push(at.to_owned());
        for (relation, sizes) in &mut self.lines {
            if !RELATIONS.contains(&relation.as_str()) {
                sizes.push(outbox::count(client, "SELECT count(*) FROM sequin.history")?.to_string());
                continue;
            }
            let query = "SELECT pg_table_size($1::text::regclass) / 1024, pg_indexes_size($1::text::regclass) / 1024";
            let row = client.query_one(query, &[relation])?;
            sizes.push(format!("{}+{}", row.get::<_, i64>(0), row.get::<_, i64>(1)));
        }
        Ok(())
    }

    fn table(self) -> Table {
        let mut heads = vec!["table + indexes"];
        heads.extend(self.heads.iter().map(String::as_str));
        heads.push("");
        let mut table = Table::new(self.title, &heads);
        for (relation, sizes) in self.lines {
            table.line([relation].into_iter().chain(sizes));
        }
        table
    }
}
