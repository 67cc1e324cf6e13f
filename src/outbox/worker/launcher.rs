//! The process that starts workers with the server: one for each database, which leaves if the extension is not there.

use std::time::Duration;

use crate::pg::bgworker::{self, Activity, main_function};
use crate::pg::wait_event::WaitEvent;
use crate::pg::{catalog, transaction};

use super::lifecycle::{self, RestartPolicy};

main_function!(sequin_launcher_main, main);

/// Starts the workers, and stays.
fn main(_argument: u64) {
    bgworker::connect(None);
    let mut left = transaction::transaction(catalog::databases);
    while !left.is_empty() && !bgworker::is_shutdown_requested() {
        // Each leaves its place when it has looked, so what finds none now finds one soon.
        left.retain(|database| !lifecycle::start_in(*database, RestartPolicy::Once));
        bgworker::wait(Duration::from_millis(if left.is_empty() { 0 } else { 500 }), WaitEvent::LauncherMain);
    }
    bgworker::report_activity(Activity::Idle, "every database has been looked at");
    // It stays for the next crash, after which Postgres starts it again, and not the workers that it has started.
    while !bgworker::is_shutdown_requested() {
        bgworker::wait(Duration::from_secs(3600), WaitEvent::LauncherMain);
    }
    bgworker::exit(1);
}
