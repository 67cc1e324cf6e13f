//! The table of counters in shared memory.

use std::sync::atomic::{AtomicBool, Ordering};

use pgrx::pg_sys::Oid;

use contract::statistics::{Slot, Slots};

use crate::ereport;
use crate::pg::shared_memory::SharedStruct;
use crate::pg::{catalog, session, transaction};

/// The servers of a cluster that have slots. Together they take 23 KiB: a library that is not preloaded shares 100 KB with
/// all others, and PostgreSQL 19 leaves less of it.
const SLOTS: usize = 32;

static TABLE: SharedStruct<Slots<SLOTS>> = SharedStruct::new(c"sequin_mutations server statistics 1");

/// How much shared memory the table takes, in bytes.
pub fn memory() -> usize {
    TABLE.size()
}

/// Creates or finds the table, once in a process, and frees slots of dropped servers if none is free. In a transaction.
/// Without room in shared memory this process counts nothing: no request may fail for its statistics.
pub fn prepare() {
    static HAS_FAILED: AtomicBool = AtomicBool::new(false);
    if TABLE.found().is_none() && !HAS_FAILED.load(Ordering::Relaxed) {
        // The error would release the lock of shared memory only with its (sub)transaction.
        let found = transaction::attempt(|| {
            TABLE.get();
        });
        if let Err(error) = found {
            HAS_FAILED.store(true, Ordering::Relaxed);
            ereport::log(&format!("this process counts no requests for sequin.stat_servers: {error}"));
        }
    }
    if let Some(table) = TABLE.found().filter(|table| table.is_full()) {
        table.free(|key| !exists(key));
    }
}

/// Whether the server of a slot exists. Only a database itself knows its servers.
fn exists(key: u64) -> bool {
    let (database, server) = oids(key);
    if database == session::database() {
        catalog::has_server(Oid::from(server))
    } else {
        catalog::has_database(Oid::from(database))
    }
}

/// Database and server of a slot.
pub fn oids(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}

fn key(server: Oid) -> u64 {
    u64::from(session::database()) << 32 | u64::from(server.to_u32())
}

/// The slot of a server of this database, or the overflow slot; None without a table.
pub fn slot_of(server: Oid) -> Option<&'static Slot> {
    Some(TABLE.found()?.of(key(server), session::now))
}

/// The slots of servers of this database, with the servers. None without a table.
pub fn slots_of_database() -> impl Iterator<Item = (u32, &'static Slot)> {
    let of_database = |slot: &'static Slot| {
        let (database, server) = oids(slot.key()?);
        (database == session::database()).then_some((server, slot))
    };
    TABLE.found().into_iter().flat_map(Slots::in_use).filter_map(of_database)
}

/// The whole table. Raises if there is no room for it.
pub fn table() -> &'static Slots<SLOTS> {
    TABLE.get()
}
