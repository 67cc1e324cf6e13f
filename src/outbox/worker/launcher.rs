//! The process that starts workers with the server: one for each database, which leaves if the extension is not there.

use std::time::Duration;

use pgrx::pg_guard;
use pgrx::pg_sys::Datum;

use crate::pg::catalog;
use crate::pg::wait_event::WaitEvent;
use crate::pg::worker::{self as process, Activity, Life};

/// Called by Postgres as the whole life of the launcher.
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn sequin_launcher_main(_argument: Datum) {
    process::begin_without_database();
    let mut left = process::transaction(catalog::databases);
    while !left.is_empty() && !process::is_leaving() {
        // Each leaves its place when it has looked, so what finds none now finds one soon.
        left.retain(|database| !process::start_in(*database, Life::Once));
        process::wait(Duration::from_millis(if left.is_empty() { 0 } else { 500 }), WaitEvent::LauncherMain);
    }
    process::report(Activity::Idle, "every database has been looked at");
    // It stays for the next crash, after which Postgres starts it again, and not the workers that it has started.
    while !process::is_leaving() {
        process::wait(Duration::from_secs(3600), WaitEvent::LauncherMain);
    }
    process::leave(1);
}
