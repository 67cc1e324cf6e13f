//! Observing processes, and ending the processes of test servers.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whether the process runs. A zombie does not.
pub fn is_alive(pid: i32) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

/// The state letter that proc(5) explains; None if there is no such process.
fn state(pid: i32) -> Option<char> {
    // It follows the name, which is in brackets and may hold any character.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next())
}

/// The processes that `pid` has started and that are still there.
pub fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Stops the process for a later kill. Returns when it is stopped, or has ended.
pub fn halt(pid: i32) {
    while kill(Pid::from_raw(pid), Signal::SIGSTOP).is_ok() && !matches!(state(pid), None | Some('T' | 'Z' | 'X')) {
        thread::sleep(Duration::from_millis(2));
    }
}

/// Asks the process to end.
pub fn terminate(pid: u32) {
    if let Ok(pid) = pid.try_into() {
        // The process may have ended by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

/// Kills the processes, and returns when they are gone.
pub fn kill_all(pids: &[i32]) {
    for pid in pids {
        // The process may have noticed the postmaster's end by itself.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    while pids.iter().any(|pid| is_alive(*pid)) {
        thread::sleep(Duration::from_millis(2));
    }
}
