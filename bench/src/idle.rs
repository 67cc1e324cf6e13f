//! The cost of an idle worker, compared with Postgres' own background processes.

use std::thread;
use std::time::Duration;

use crate::echo::EchoApi;
use crate::options::Options;
use crate::table::Table;
use crate::{Result, outbox, proc};

/// Statistics reach the view a second late at most.
const STATISTICS: Duration = Duration::from_secs(2);

/// Postgres' own processes that wake up now and then.
const OF_POSTGRES: [&str; 3] = ["walwriter", "autovacuum launcher", "checkpointer"];

pub fn run(options: &Options) -> Result<()> {
    let seconds = options.count(60, 10);
    let server = outbox::durable("")?;
    let database = server.fresh_database();
    let api = EchoApi::start();
    database.create_server(&api.url(), "bench");
    let mut client = database.connect();
    outbox::make_contacts(&mut client)?;
    outbox::queue_updates(&mut client, 10, "n")?;
    outbox::wait_until_empty(&mut client)?;
    // From here on the database has only the worker's session; queries run in another database.
    let workers = outbox::workers(&mut client)?;
    drop(client);
    thread::sleep(STATISTICS);
    let mut looker = server.connect("postgres");
    let mut processes: Vec<(String, i32)> = workers.iter().map(|pid| ("sequin worker".to_owned(), *pid)).collect();
    for name in OF_POSTGRES {
        let query = "SELECT pid FROM pg_stat_activity WHERE backend_type = $1";
        processes.extend(looker.query(query, &[&name])?.iter().map(|row| (name.to_owned(), row.get(0))));
    }
    let transactions = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1";
    let mut transactions = || -> Result<i64> { Ok(looker.query_one(transactions, &[&database.name()])?.get(0)) };
    let look = |pid: i32| -> Result<(f64, u64)> { Ok((proc::cpu(pid)?, proc::sleeps(pid)?)) };

    let transactions_before = transactions()?;
    let before = processes.iter().map(|(_, pid)| look(*pid)).collect::<Result<Vec<_>>>()?;
    let requests = api.requests();
    thread::sleep(Duration::from_secs(seconds as u64));
    let after = processes.iter().map(|(_, pid)| look(*pid)).collect::<Result<Vec<_>>>()?;
    thread::sleep(STATISTICS);
    let transactions = transactions()? - transactions_before;

    let heads = ["process", "processor ms", "wake-ups", ""];
    let mut table = Table::new(format!("idle: {seconds} seconds with nothing to deliver"), &heads);
    for ((name, _), (before, after)) in processes.iter().zip(before.iter().zip(&after)) {
        let of_worker = name == "sequin worker";
        table.line([
            name.clone(),
            format!("{:.2}", (after.0 - before.0) / 1e3),
            (after.1 - before.1).to_string(),
            // Autovacuum's workers make transactions too, so this is a bound.
            if of_worker { format!("{transactions} transactions in the database") } else { String::new() },
        ]);
    }
    table.print();
    println!("  {} requests were sent meanwhile", api.requests() - requests);
    Ok(())
}
