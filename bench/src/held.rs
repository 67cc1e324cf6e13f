//! The memory and the threads of a worker while 256 of its requests wait for their replies.

use std::sync::Arc;
use std::time::Duration;

use crate::echo::{EchoApi, Gate};
use crate::options::Options;
use crate::stats::Spread;
use crate::table::Table;
use crate::{Result, outbox, proc};

const IN_FLIGHT: usize = 256;

/// What a worker has at one time.
struct Held {
    private: f64,
    resident: f64,
    threads: f64,
}

impl Held {
    fn of(pid: i32) -> Result<Held> {
        Ok(Held {
            private: proc::private_kib(pid)? as f64 / 1024.0,
            resident: proc::kib(pid, "VmRSS")? as f64 / 1024.0,
            threads: proc::threads(pid)?.len() as f64,
        })
    }
}

const TIMES: [&str; 3] = ["after one create", "with 256 in flight", "after 10,000 more creates"];

pub fn run(options: &Options) -> Result<()> {
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        runs.push(one_run()?);
    }
    let heads = ["", "private MiB", "resident MiB", "threads", ""];
    let mut table = Table::new(format!("in-flight: a worker with {IN_FLIGHT} creates in flight"), &heads);
    for (i, time) in TIMES.iter().enumerate() {
        let over = |figure: fn(&Held) -> f64| Spread::over(runs.iter().map(|run: &[Held; 3]| figure(&run[i])));
        table.line([
            (*time).to_owned(),
            over(|held| held.private).show(1),
            over(|held| held.resident).show(1),
            over(|held| held.threads).show(0),
        ]);
    }
    table.print();
    println!("  private: without the shared buffers that it has touched, which count as resident.");
    Ok(())
}

fn one_run() -> Result<[Held; 3]> {
    let server = outbox::durable("")?;
    let database = server.fresh_database();
    let gate = Arc::new(Gate::default());
    let (fast, api) = (EchoApi::start(), EchoApi::behind(&gate));
    database.create_server(&fast.url(), "bench");
    database.execute(&format!(
        "ALTER SERVER sequin OPTIONS (SET ordered_replies 'false', ADD max_in_flight '{IN_FLIGHT}')"
    ));
    let mut client = database.connect();
    outbox::make_contacts(&mut client)?;
    outbox::queue_creates(&mut client, 1)?;
    outbox::wait_until_empty(&mut client)?;
    let worker = *outbox::workers(&mut client)?.first().ok_or("the worker has gone")?;
    let before = Held::of(worker)?;
    client.batch_execute(&format!("ALTER SERVER sequin OPTIONS (SET url '{}')", api.url()))?;
    outbox::queue_creates(&mut client, IN_FLIGHT)?;
    let begun = std::time::Instant::now();
    while api.arrived() < IN_FLIGHT {
        if begun.elapsed() > Duration::from_secs(30) {
            return Err(format!("{} of {IN_FLIGHT} requests are in flight", api.arrived()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let held = Held::of(worker)?;
    gate.open();
    outbox::queue_creates(&mut client, 10_000)?;
    outbox::wait_until_empty(&mut client)?;
    Ok([before, held, Held::of(worker)?])
}
