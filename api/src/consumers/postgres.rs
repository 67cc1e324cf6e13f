//! A Postgres consumer: it copies the stream into a table, so that SELECT shows the records of an awaited mutation.
//!
//! Its position moves only after the rows are committed. When the connection fails, it continues from there on a new
//! one. Rows may be written twice, which the upsert allows. A record that Postgres cannot hold (`\u0000` in its data)
//! is skipped and counted: otherwise it would block every later record.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::table;
use super::takes;
use crate::record::Record;
use crate::stream::Stream;

/// The most records of one statement.
const BATCH: usize = 10_000;
/// Longer than a busy server takes.
const CONNECT: Duration = Duration::from_secs(60);

/// A running consumer. It stops when it is dropped.
pub struct Postgres {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    position: watch::Sender<u64>,
    trouble: Mutex<Trouble>,
}

/// What went wrong so far. The consumer goes on after each error.
#[derive(Clone, Default)]
pub struct Trouble {
    /// With its SQLSTATE, if Postgres has answered.
    pub last_error: Option<String>,
    /// Records that Postgres refused.
    pub skipped: u64,
}

/// What to copy, and where to.
pub struct Settings {
    pub dsn: Config,
    /// Its name as in SQL: it may be qualified and quoted.
    pub table: String,
    /// The one collection to copy; None copies all.
    pub filter: Option<String>,
    /// How long a batch waits before it is written.
    pub delay: Duration,
    /// Shown in pg_stat_activity, unless the DSN names another.
    pub application_name: &'static str,
}

impl Postgres {
    /// Returns when the connection is open and the table exists. Copies the records after `position`, an `updated_idx`.
    ///
    /// # Errors
    /// The reason, as Postgres or the connection gives it.
    pub async fn start(settings: Settings, stream: Arc<Stream>, position: u64) -> Result<Postgres, String> {
        let connected = connect(&settings).await?;
        let shared = Arc::new(Shared { position: watch::Sender::new(position), trouble: Mutex::default() });
        let task = tokio::spawn(copy(settings, stream, shared.clone(), connected));
        Ok(Postgres { shared, task })
    }

    /// Ends when the rows of this range of `updated_idx` are committed.
    pub async fn processed(&self, range: RangeInclusive<u64>) {
        let mut position = self.shared.position.subscribe();
        if position.wait_for(|position| position >= range.end()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The `updated_idx` up to which the rows are committed.
    pub fn position(&self) -> u64 {
        *self.shared.position.borrow()
    }

    pub fn trouble(&self) -> Trouble {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the copying, at once.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn report(&self, error: String, skipped: u64) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.last_error = Some(error);
        trouble.skipped += skipped;
    }
}

struct Connected {
    client: Client,
    upsert: Statement,
}

async fn connect(settings: &Settings) -> Result<Connected, String> {
    let attempt = async {
        let mut dsn = settings.dsn.clone();
        if dsn.get_application_name().is_none() {
            dsn.application_name(settings.application_name);
        }
        let (client, connection) = dsn.connect(NoTls).await.map_err(|e| describe(&e))?;
        // It ends when the client is dropped or the server closes; `is_closed` shows it.
        tokio::spawn(connection);
        let upsert = table::prepare(&client, &settings.table).await.map_err(|e| describe(&e))?;
        Ok(Connected { client, upsert })
    };
    timeout(CONNECT, attempt).await.unwrap_or_else(|_| Err("timed out".into()))
}

async fn copy(settings: Settings, stream: Arc<Stream>, shared: Arc<Shared>, connected: Connected) {
    let mut appended = stream.subscribe();
    let mut connected = Some(connected);
    let mut patience = Duration::from_millis(50);
    loop {
        let position = *shared.position.borrow();
        let wanted = |record: &Record| takes(settings.filter.as_deref(), record);
        let (records, after) = stream.read(position, BATCH, wanted);
        if records.is_empty() {
            shared.position.send_replace(after);
            if stream.end() <= after && appended.wait_for(|end| *end > after).await.is_err() {
                return;
            }
            continue;
        }
        sleep(settings.delay).await;
        match write(&settings, &shared, &mut connected, &records).await {
            Ok(()) => {
                shared.position.send_replace(after);
                patience = Duration::from_millis(50);
            }
            Err(error) => {
                shared.report(error, 0);
                sleep(patience).await;
                patience = (patience * 2).min(Duration::from_secs(1));
            }
        }
    }
}

async fn write(
    settings: &Settings,
    shared: &Shared,
    slot: &mut Option<Connected>,
    records: &[Arc<Record>],
) -> Result<(), String> {
    let connected = match slot.take() {
        Some(connected) if !connected.client.is_closed() => connected,
        _ => connect(settings).await?,
    };
    let connected = slot.insert(connected);
    // The latest version of each record is enough.
    let mut latest: HashMap<(&str, &str, &str), &Arc<Record>> = HashMap::with_capacity(records.len());
    for record in records {
        latest.insert((&record.sync_id, &record.collection_id, &record.upstream_id), record);
    }
    let mut latest: Vec<_> = latest.into_values().collect();
    // Several consumers may write one table: with one order of rows they wait for each other, with any order they
    // deadlock.
    latest.sort_unstable_by_key(|record| record.number);
    match table::upsert(&connected.client, &connected.upsert, &latest).await {
        Err(error) if is_data_error(&error) => one_by_one(shared, connected, &latest).await,
        Err(error) => {
            // Whatever the cause (a lost server, a dropped table), a new connection starts from scratch.
            *slot = None;
            Err(describe(&error))
        }
        Ok(()) => Ok(()),
    }
}

async fn one_by_one(shared: &Shared, connected: &Connected, records: &[&Arc<Record>]) -> Result<(), String> {
    for record in records {
        match table::upsert(&connected.client, &connected.upsert, &[record]).await {
            Err(error) if is_data_error(&error) => shared.report(describe(&error), 1),
            Err(error) => return Err(describe(&error)),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Class 22, and 54001 for data that is nested deeper than jsonb reads.
fn is_data_error(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("22") || code.code() == "54001")
}

fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{}: {}", db.code().code(), db.message()),
        None => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        }
    }
}
