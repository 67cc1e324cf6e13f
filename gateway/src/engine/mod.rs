//! From an authenticated request to its reply: admit, plan, pace, send, judge. The only caller of providers.
//!
//! A mutation runs in a task of its own. A client that goes away cancels nothing: what was begun is finished, and its
//! reply is there for a repetition under the same key.

mod account;
mod attempts;
mod directory;
mod keys;
mod memory;
mod mutate;
mod pace;
mod reply;
mod room;
mod verdict;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use mutation_api::consumers::postgres::{self, Postgres};
use mutation_api::consumers::{Consumer, ConsumerKind, Consumers};
use mutation_api::stream::Stream;
use tokio_util::task::TaskTracker;

use crate::config::{self, Config};

pub use account::AccountError;
pub use directory::{BuildError, Holder};
pub use mutate::Call;
pub use reply::{not_now, unauthorised};
pub use room::{NoRoom, Place, Room};

use directory::Directory;
use keys::Keys;

/// A running gateway: everything between the API and the providers.
pub struct Gateway {
    /// Replaced as a whole by a reload.
    directory: RwLock<Arc<Directory>>,
    keys: Keys,
    /// The records of syncs in memory.
    stream: Arc<Stream>,
    /// They read `stream`.
    consumers: Consumers,
    room: Room,
    tasks: TaskTracker,
    is_draining: AtomicBool,
}

impl Gateway {
    /// # Errors
    /// Names the sync whose configuration cannot be used.
    pub fn build(config: &Config) -> Result<Arc<Gateway>, BuildError> {
        Ok(Arc::new(Gateway {
            directory: RwLock::new(Arc::new(Directory::new(config, None)?)),
            keys: Keys::default(),
            stream: Arc::new(Stream::new()),
            consumers: Consumers::default(),
            room: Room::default(),
            tasks: TaskTracker::new(),
            is_draining: AtomicBool::new(false),
        }))
    }

    /// Begins to copy the records of syncs in memory into a table.
    ///
    /// # Errors
    /// The database cannot be reached, or the table cannot be written.
    pub async fn consume(&self, consumer: &config::Consumer) -> Result<(), String> {
        let config::Consumer { id, collection, database, table } = consumer;
        let settings = postgres::Settings {
            dsn: database.clone(),
            table: table.clone(),
            filter: Some(collection.clone()),
            delay: Duration::ZERO,
            application_name: "sequin-gateway",
        };
        let started = Postgres::start(settings, self.stream.clone(), self.stream.start()).await?;
        let kind = ConsumerKind::Postgres(started);
        self.consumers.put(Consumer { id: id.clone(), collection_id: Some(collection.clone()), kind });
        Ok(())
    }

    /// Takes tokens, syncs and limits from another configuration. Mutations that are under way end as they began. Keys
    /// stay, and so do the pace and the fetched tokens of a sync whose account is the same.
    ///
    /// # Errors
    /// Names the sync whose configuration cannot be used. Nothing has changed then.
    pub fn reload(&self, config: &Config) -> Result<(), BuildError> {
        let next = Arc::new(Directory::new(config, Some(&self.directory()))?);
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Tries the credential of each sync with a read: sync_id and, if it does not work, why.
    pub async fn check(&self) -> Vec<(String, Result<(), String>)> {
        let directory = self.directory();
        let mut results = Vec::new();
        for (sync_id, account) in &directory.accounts {
            results.push((sync_id.to_string(), account.check().await));
        }
        results
    }

    /// Refuses new mutations from now on, and waits for those that are under way.
    pub async fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    /// Tokens and syncs as they are now.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Memory for the bodies of requests.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }
}
