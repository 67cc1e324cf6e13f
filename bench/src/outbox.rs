//! Common parts of the outbox measurements: a durable server, records to queue, and the wait for the end.

use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use sequin_harness::{Server, literal};

use crate::{Result, payload, proc};

/// The number of different records; further ones repeat them.
const CONTACTS: usize = 10_000;

/// The longest drain takes less.
const PATIENCE: Duration = Duration::from_secs(300);

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

/// Ends the worker and empties the outbox. The server `sequin` is paused afterwards.
pub fn reset(client: &mut Client) -> Result<()> {
    // The process starts again: memory and connections of one case would help the next.
    client.batch_execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM unnest(sequin.workers()) AS w(pid);
         -- In the order in which a worker, which may be back already, locks them.
         TRUNCATE sequin.pending_upstream_ids, sequin.history, sequin.claims, sequin.queue, sequin.deferred;
         SELECT sequin_pause('sequin')",
    )?;
    Ok(())
}

/// Leaves the disk and vacuum nothing to do, and waits for a worker.
pub fn rest(client: &mut Client) -> Result<()> {
    // Separate statements, because VACUUM requires it.
    for statement in ["VACUUM ANALYZE sequin.queue", "CHECKPOINT"] {
        client.batch_execute(statement)?;
    }
    let alive = "SELECT cardinality(sequin.workers()) > 0";
    wait_until(client, alive, Duration::from_millis(5), Duration::from_secs(10))
}

/// Checks that this many records of the server `sequin` were applied since the last reset.
pub fn check_applied(client: &mut Client, records: usize) -> Result<()> {
    let applied = "SELECT count(*) FROM sequin.delivered WHERE server = 'sequin' AND outcome = 'applied'";
    match count(client, applied)? as usize {
        applied if applied == records => Ok(()),
        applied => Err(format!("{applied} of {records} records were applied").into()),
    }
}

/// Queues this many creates of `contacts`.
pub fn queue_creates(client: &mut Client, creates: usize) -> Result<()> {
    for from in (0..creates).step_by(CONTACTS) {
        let to = (from + CONTACTS).min(creates) - 1;
        client.batch_execute(&format!(
            "SELECT count(*) FROM sequin_enqueue('create', 'bench', 'salesforce:contact', (
                 SELECT jsonb_agg(jsonb_build_object('data', data) ORDER BY n)
                 FROM generate_series({from}, {to}) AS n JOIN contacts ON i = n % {CONTACTS}))"
        ))?;
    }
    Ok(())
}

/// Queues this many updates of `contacts`; `key`, an expression of `n`, gives the record of number `n`.
pub fn queue_updates(client: &mut Client, updates: usize, key: &str) -> Result<()> {
    queue_updates_through(client, "sequin", updates, key)
}

/// The same through another server.
pub fn queue_updates_through(client: &mut Client, server: &str, updates: usize, key: &str) -> Result<()> {
    for from in (0..updates).step_by(CONTACTS) {
        let to = (from + CONTACTS).min(updates) - 1;
        client.batch_execute(&format!(
            "SELECT count(*) FROM sequin_enqueue('update', 'bench', 'salesforce:contact', (
                 SELECT jsonb_agg(jsonb_build_object('upstream_id', '003' || lpad(({key})::text, 15, '0'), 'data', data)
                                  ORDER BY n)
                 FROM generate_series({from}, {to}) AS n JOIN contacts ON i = n % {CONTACTS}), server => '{server}')"
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

/// Waits until the outbox is empty.
pub fn wait_until_empty(client: &mut Client) -> Result<()> {
    wait_until_settled(client, "sequin")?;
    let all_are_gone = "SELECT NOT EXISTS (SELECT FROM sequin.queue) AND NOT EXISTS (SELECT FROM sequin.deferred)";
    wait_until(client, all_are_gone, Duration::from_millis(4), PATIENCE)
}

/// Waits until a server has no record left. The end is checked first: stepping over dead rows at the beginning takes long.
pub fn wait_until_settled(client: &mut Client, server: &str) -> Result<()> {
    let of_server = format!("FROM sequin.queue WHERE server = '{server}'");
    let last: Option<i64> = client.query_one(&format!("SELECT max(id) {of_server}"), &[])?.get(0);
    if let Some(last) = last {
        let last_is_gone = format!("SELECT NOT EXISTS (SELECT {of_server} AND id = {last})");
        wait_until(client, &last_is_gone, Duration::from_millis(4), PATIENCE)?;
    }
    let all_are_gone = format!("SELECT NOT EXISTS (SELECT {of_server})");
    wait_until(client, &all_are_gone, Duration::from_millis(4), PATIENCE)
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
