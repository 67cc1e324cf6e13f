//! A steady flow of enqueued records, and an unrelated bystander.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;

use crate::Result;
use crate::stats::Sample;

/// Transactions a second.
const TRANSACTIONS: u32 = 200;

/// Records in each.
pub const RECORDS: u32 = 10;

/// Statements a second of the bystander.
const STATEMENTS: u32 = 200;

/// A task beside the measurement, until it is stopped.
pub struct Beside<T> {
    stopping: Arc<AtomicBool>,
    thread: thread::JoinHandle<std::result::Result<T, String>>,
}

impl<T: Send + 'static> Beside<T> {
    fn start(body: impl FnOnce(&AtomicBool) -> std::result::Result<T, postgres::Error> + Send + 'static) -> Beside<T> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = thread::spawn(move || body(&stop).map_err(|e| crate::in_words(&e)));
        Beside { stopping, thread }
    }

    pub fn stop(self) -> Result<T> {
        self.stopping.store(true, Ordering::Relaxed);
        let ended = self.thread.join().map_err(|_| "a thread of the measurement panicked")?;
        Ok(ended?)
    }
}

/// 2,000 updates a second of 50,000 records, ten in a transaction. Returns the number of queued updates.
pub fn enqueue(mut client: Client) -> Beside<u64> {
    Beside::start(move |stop| {
        let statement = client.prepare(
            "SELECT count(*) FROM sequin_enqueue('update', 'bench', 'salesforce:contact', (
                 SELECT jsonb_agg(jsonb_build_object('upstream_id', '003' || lpad((n % 50000)::text, 15, '0'), 'data', data))
                 FROM generate_series($1::bigint, $1 + $2 - 1) AS n JOIN contacts ON i = n % 10000))",
        )?;
        let mut queued = 0;
        each(TRANSACTIONS, stop, || {
            client.query_one(&statement, &[&(queued as i64), &i64::from(RECORDS)])?;
            queued += u64::from(RECORDS);
            Ok(())
        })?;
        Ok(queued)
    })
}

/// Reads and writes rows of its own table, one statement at a time. Returns the times in milliseconds.
pub fn bystander(mut client: Client) -> Beside<Sample> {
    Beside::start(move |stop| {
        client.batch_execute(
            "CREATE TABLE IF NOT EXISTS bystander (id integer PRIMARY KEY, n integer NOT NULL);
             INSERT INTO bystander SELECT n, 0 FROM generate_series(0, 9999) n ON CONFLICT DO NOTHING",
        )?;
        let read = client.prepare("SELECT n FROM bystander WHERE id = $1")?;
        let write = client.prepare("UPDATE bystander SET n = n + 1 WHERE id = $1")?;
        let (mut i, mut times) = (0_i32, Vec::new());
        each(STATEMENTS, stop, || {
            i += 1;
            let statement = if i % 2 == 0 { &read } else { &write };
            let begun = Instant::now();
            client.execute(statement, &[&(i % 10_000)])?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            Ok(())
        })?;
        Ok(Sample::new(times))
    })
}

/// Runs this many turns a second. A late turn is followed by the next at once.
fn each(
    a_second: u32,
    stop: &AtomicBool,
    mut turn: impl FnMut() -> std::result::Result<(), postgres::Error>,
) -> std::result::Result<(), postgres::Error> {
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        turn()?;
        next += Duration::from_secs(1) / a_second;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
