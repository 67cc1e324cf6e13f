//! Facts about a process from /proc.

use std::fs;
use std::io;

/// Memory that a process holds, in KiB, by the name of its line in `status`: `VmRSS` for now, `VmHWM` for the peak.
pub fn kib(pid: i32, line: &str) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path)?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next());
    value.and_then(|kib| kib.parse().ok()).ok_or_else(|| io::Error::other(format!("no {line} in {path}")))
}

/// Resets the peak to the current size.
pub fn reset_peak(pid: i32) -> io::Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    // 5 is the kernel's number for "reset the peak" (proc(5)).
    fs::write(&path, "5")
        .map_err(|e| io::Error::new(e.kind(), format!("{path}: {e} (root or the server's account may)")))
}

/// The processor time that a process of one thread has used, in microseconds.
pub fn cpu(pid: i32) -> io::Result<f64> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path)?;
    let nanoseconds = text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
    nanoseconds.map(|ns| ns / 1e3).ok_or_else(|| io::Error::other(format!("{path} holds {text:?}")))
}

/// That of this process and all its threads. The kernel counts it in hundredths of a second.
pub fn own_cpu() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in brackets; utime and stime are the 14th and the 15th.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: f64 = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks * 1e4)
}

/// How often a process has gone to sleep by itself.
pub fn sleeps(pid: i32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path)?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|n| n.trim().parse().ok()).ok_or_else(|| io::Error::other(format!("no switches in {path}")))
}
