//! Facts about a process from /proc.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Memory that a process holds, in KiB, by the name of its line in `status`: `VmRSS` for now, `VmHWM` for the peak.
pub fn kib(pid: i32, line: &str) -> io::Result<u64> {
    value(&format!("/proc/{pid}/status"), line)
}

/// Resets the peak to the current size.
pub fn reset_peak(pid: i32) -> io::Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    // 5 is the kernel's number for "reset the peak" (proc(5)).
    fs::write(&path, "5")
        .map_err(|e| io::Error::new(e.kind(), format!("{path}: {e} (root or the server's account may)")))
}

/// The processor time that a process and its present threads have used, in microseconds.
pub fn cpu(pid: i32) -> io::Result<f64> {
    let of_thread = |path: &Path| {
        let text = fs::read_to_string(path.join("schedstat"))?;
        let nanoseconds = text.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok());
        nanoseconds.map(|ns| ns / 1e3).ok_or_else(|| io::Error::other(format!("{path:?} holds {text:?}")))
    };
    threads(pid)?.iter().map(|path| of_thread(path)).sum()
}

/// The directories of its threads.
pub fn threads(pid: i32) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(format!("/proc/{pid}/task"))?.map(|entry| Ok(entry?.path())).collect()
}

/// The memory that a process has to itself, in KiB: shared pages that it has touched are not in it.
pub fn private_kib(pid: i32) -> io::Result<u64> {
    value(&format!("/proc/{pid}/smaps_rollup"), "Anonymous")
}

/// That of this process and all its threads. The kernel counts it in hundredths of a second.
pub fn own_cpu() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in brackets; utime and stime are the 14th and the 15th.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: f64 = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks * 1e4)
}

/// How often a process and its threads have gone to sleep by themselves.
pub fn sleeps(pid: i32) -> io::Result<u64> {
    let of_thread = |path: &PathBuf| value(&path.join("status").display().to_string(), "voluntary_ctxt_switches");
    threads(pid)?.iter().map(of_thread).sum()
}

/// The number on the line with this name.
fn value(path: &str, line: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let value = text.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next());
    value.and_then(|number| number.parse().ok()).ok_or_else(|| io::Error::other(format!("no {line} in {path}")))
}
