//! Looking at processes, and ending those of our own servers.

use std::fs;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whether the process runs. One that has ended and waits for its parent does not.
pub fn is_alive(pid: i32) -> bool {
    // The state follows the name, which is in brackets and may hold any character.
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// The processes that `pid` has started and that are still there.
pub fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Kills them, and returns when they are gone.
pub fn kill_all(pids: &[i32]) {
    for pid in pids {
        // It may have noticed the postmaster's end by itself.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    while pids.iter().any(|pid| is_alive(*pid)) {
        thread::sleep(Duration::from_millis(2));
    }
}
