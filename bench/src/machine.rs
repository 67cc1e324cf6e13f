//! The facts about the machine that a reader needs to judge the figures.

use std::fs;
use std::thread;
use std::time::SystemTime;

use sequin_harness::{Server, paths};

use crate::options::Options;

/// Prints it.
pub fn describe(options: &Options) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let load = load();
    println!("{} cores, {}, load {load:.1}; {} runs", cores, processor(), options.runs);
    println!("Postgres {}", postgres());
    match paths::shared_library() {
        Some(library) => println!("{}, built {} ago", library.display(), age(&library)),
        None => println!("no libsequin_mutations.so: make all builds it"),
    }
    println!("Each figure is the median of the runs, and in brackets their least and greatest.");
    // The measurements take two cores themselves: a client and an API.
    if load > cores as f64 / 2.0 {
        println!("NOTE: the machine is busy with other work, so trust differences and ratios and not times.");
        // Niceness would not help: Postgres makes sessions of its own, and the kernel shares time between sessions.
        println!(
            "      As root, `chrt -r 1 sequin-bench ...` lets the measurements go first, with all that they start."
        );
    }
    if cfg!(debug_assertions) {
        println!("NOTE: this is a debug build: the control is slower than it could be. make bench builds it right.");
    }
}

fn load() -> f64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn processor() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("unknown processor", |(_, name)| name).to_owned()
}

fn postgres() -> String {
    let mut client = Server::shared().connect("postgres");
    client.query_one("SHOW server_version", &[]).map_or_else(|e| e.to_string(), |row| row.get(0))
}

fn age(file: &std::path::Path) -> String {
    let modified = fs::metadata(file).and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.map_or("some time".into(), |age| format!("{} min", age.as_secs() / 60))
}
