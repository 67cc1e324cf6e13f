//! Common parts of the outbox measurements: a durable server, records to queue, and the wait for the end.

use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use sequin_harness::{Server, literal};

use crate::{Result, payload, proc};

/// The number of different records; further ones repeat them.
const CONTACTS: usize = 10_000;

/// A commit reaches the disk here, unlike elsewhere in the harness. The memory is that of a small server.
pub fn durable(more: &str) -> Result<Server> {
    let conf = "fsync = on\nshared_buffers = '256MB'\nmax_wal_size = '4GB'\n";
    Ok(Server::builder().conf(conf).conf(more).start()?)
}

/// Makes the table `contacts`, of records of about 400 bytes.
pub fn make_contacts(client: &mut Client) -> Result<()> {
    client.batch_execute(&format!(
        "CREATE TABLE contacts (i integer PRIMARY KEY, data jsonb);
         INSERT INTO contacts SELECT ordinality - 1, record->'data'
             FROM jsonb_array_elements({}::jsonb) WITH ORDINALITY AS r(record, ordinality);
         ANALYZE contacts",
        literal(&payload::records(CONTACTS))
    ))?;
    Ok(())
}

/// Queues this many updates of `contacts`; `key`, an expression of `n`, gives the record of number `n`.
pub fn queue_updates(client: &mut Client, updates: usize, key: &str) -> Result<()> {
    for from in (0..updates).step_by(CONTACTS) {
        let to = (from + CONTACTS).min(updates) - 1;
        client.batch_execute(&format!(
            "SELECT count(*) FROM sequin_enqueue('update', 'bench', 'salesforce:contact', (
                 SELECT jsonb_agg(jsonb_build_object('upstream_id', '003' || lpad(({key})::text, 15, '0'), 'data', data)
                                  ORDER BY n)
                 FROM generate_series({from}, {to}) AS n JOIN contacts ON i = n % {CONTACTS}))"
        ))?;
    }
    Ok(())
}

/// Repeats a query of one boolean until it is true.
pub fn wait_until(client: &mut Client, sql: &str, pause: Duration, patience: Duration) -> Result<()> {
    let query = client.prepare(sql)?;
    let begun = Instant::now();
    while !client.query_one(&query, &[])?.get::<_, bool>(0) {
        if begun.elapsed() > patience {
            return Err(format!("not within {} s: {sql}", patience.as_secs()).into());
        }
        thread::sleep(pause);
    }
    Ok(())
}

/// Whether the queue is empty. The end is checked first: stepping over dead rows at the beginning takes long.
pub fn wait_until_empty(client: &mut Client) -> Result<()> {
    let patience = Duration::from_secs(300);
    let last: Option<i64> = client.query_one("SELECT max(id) FROM sequin.queue WHERE server = 'sequin'", &[])?.get(0);
    if let Some(last) = last {
        let last_is_gone =
            format!("SELECT NOT EXISTS (SELECT FROM sequin.queue WHERE server = 'sequin' AND id = {last})");
        wait_until(client, &last_is_gone, Duration::from_millis(4), patience)?;
    }
    let all_are_gone = "SELECT NOT EXISTS (SELECT FROM sequin.queue) AND NOT EXISTS (SELECT FROM sequin.deferred)";
    wait_until(client, all_are_gone, Duration::from_millis(4), patience)
}

pub fn count(client: &mut Client, sql: &str) -> Result<i64> {
    Ok(client.query_one(sql, &[])?.get(0))
}

/// The workers of the database.
pub fn workers(client: &mut Client) -> Result<Vec<i32>> {
    Ok(client.query_one("SELECT sequin.workers()", &[])?.get(0))
}

/// The processor time of the current workers, in microseconds.
pub fn workers_cpu(client: &mut Client) -> Result<f64> {
    let mut sum = 0.0;
    for pid in workers(client)? {
        // A worker that has just exited has no entry any more.
        sum += proc::cpu(pid).unwrap_or(0.0);
    }
    Ok(sum)
}
