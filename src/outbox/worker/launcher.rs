//! The process that starts a worker for each database with the server. A worker exits if its database lacks the
//! extension.

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
        // Each worker without the extension frees its slot soon, so a later attempt finds one.
        left.retain(|database| !lifecycle::start_in(*database, RestartPolicy::Once));
        bgworker::wait(Duration::from_millis(if left.is_empty() { 0 } else { 500 }), WaitEvent::LauncherMain);
    }
    bgworker::report_activity(Activity::Idle, "every database has been looked at");
    // The launcher stays for the next crash. Postgres restarts only the launcher then, not the workers that it has
    // started.
    while !bgworker::is_shutdown_requested() {
        bgworker::wait(Duration::from_secs(3600), WaitEvent::LauncherMain);
    }
    bgworker::exit(1);
}
