//! The log of a server whose test failed.
//!
//! A server's log is removed with its directory. A panic first copies the logs of all servers of the process to
//! `target/pg/logs`, and prints the place.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crate::paths;

static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// While it lives, a panic anywhere in the process keeps this log.
#[derive(Debug)]
pub struct KeptOnPanic(PathBuf);

impl KeptOnPanic {
    /// Of the server directory `dir`.
    pub fn in_directory(dir: &Path) -> KeptOnPanic {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                previous(info);
                if let Ok(live) = LIVE.try_lock() {
                    live.iter().for_each(|log| keep(log));
                }
            }));
        });
        let log = dir.join("log");
        live().push(log.clone());
        KeptOnPanic(log)
    }

    /// The file that the server writes.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for KeptOnPanic {
    fn drop(&mut self) {
        live().retain(|log| *log != self.0);
    }
}

fn live() -> MutexGuard<'static, Vec<PathBuf>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(log: &Path) {
    let Some(server) = log.parent().and_then(Path::file_name) else {
        return;
    };
    let logs = paths::target().join("pg/logs");
    let copy = logs.join(server).with_extension("log");
    match fs::create_dir_all(logs).and_then(|()| fs::copy(log, &copy)) {
        Ok(_) => eprintln!("the server's log: {}", copy.display()),
        Err(e) => eprintln!("the server's log {log:?} could not be kept: {e}"),
    }
}
