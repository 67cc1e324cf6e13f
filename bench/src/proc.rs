//! What the kernel tells of a process under /proc.

use std::fs;
use std::io;

/// Memory that a process holds, in KiB, by the name of its line in `status`: `VmRSS` for now, `VmHWM` for the peak.
pub fn kib(pid: i32, line: &str) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path)?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next());
    value.and_then(|kib| kib.parse().ok()).ok_or_else(|| io::Error::other(format!("no {line} in {path}")))
}

/// Sets the peak to what is held now.
pub fn reset_peak(pid: i32) -> io::Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    // 5 is the kernel's number for "reset the peak" (proc(5)).
    fs::write(&path, "5")
        .map_err(|e| io::Error::new(e.kind(), format!("{path}: {e} (root or the server's account may)")))
}
