//! The time from a commit to its request on the wire, with an idle worker.
//!
//! One clock, this process's, measures both the commit and the arrival at an API in this process. The control works
//! without the outbox: NOTIFY wakes a program that LISTENs and sends a prepared request. It stores nothing first, so it
//! may send twice or never; the worker commits a claim before it sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;
use sequin_harness::{Database, Server};

use crate::echo::EchoApi;
use crate::goal::Goal;
use crate::options::Options;
use crate::raw::RawClient;
use crate::stats::{Sample, Spread};
use crate::table::Table;
use crate::{Result, outbox};

const P50: Goal = Goal::AtMost(2.0, " ms");
const P99: Goal = Goal::AtMost(10.0, " ms");

/// The pause between two commits: the worker has settled the last one and sleeps.
const PAUSE: Duration = Duration::from_millis(10);

const ENQUEUE: &str = "SELECT sequin_enqueue('update', 'bench', 'salesforce:contact',
    '{\"upstream_id\": \"003000000000000000\", \"data\": {\"Email\": \"paul@arrakis.org\"}}')";

/// One commit, in milliseconds.
struct Times {
    commit: f64,
    from_before: f64,
    from_return: f64,
}

/// A run.
struct Run {
    commit: Sample,
    from_before: Sample,
    from_return: Sample,
}

pub fn run(options: &Options) -> Result<()> {
    let commits = options.count(1_000, 200);
    let title = format!("latency: from COMMIT to the first byte of its request, {commits} commits a run, milliseconds");
    let heads = ["", "COMMIT p50", "from before it p50", "p99", "from its return p50", "p99", "p50 of control", "goal"];
    let mut table = Table::new(title, &heads);
    for (name, more) in [("on disk", ""), ("fsync = off", "fsync = off")] {
        let server = outbox::durable(more)?;
        let database = server.fresh_database();
        let (arrived, arrivals) = mpsc::channel();
        let api = EchoApi::telling(move |at| {
            // The receiver has stopped waiting.
            let _ = arrived.send(at);
        });
        database.create_server(&api.url(), "bench");
        let mut client = database.connect();
        let (mut outbox, mut control) = (Vec::new(), Vec::new());
        warm_up(&mut client, &arrivals)?;
        for _ in 0..options.runs {
            outbox.push(measure(&mut client, ENQUEUE, &arrivals, commits)?);
            let listener = Listener::start(&server, &database, &api)?;
            control.push(measure(&mut client, "NOTIFY bench", &arrivals, commits)?);
            listener.stop()?;
        }
        report(&mut table, &format!("outbox, {name}"), &outbox, &control, true);
        report(&mut table, &format!("control: NOTIFY, {name}"), &control, &control, false);
    }
    table.print();
    Ok(())
}

fn warm_up(client: &mut Client, arrivals: &Receiver<Instant>) -> Result<()> {
    measure(client, ENQUEUE, arrivals, 20)?;
    Ok(())
}

fn measure(client: &mut Client, statement: &str, arrivals: &Receiver<Instant>, commits: usize) -> Result<Run> {
    let mut all = Vec::with_capacity(commits);
    for _ in 0..commits {
        let mut transaction = client.transaction()?;
        transaction.batch_execute(statement)?;
        let before = Instant::now();
        transaction.commit()?;
        let after = Instant::now();
        let arrival = arrivals.recv_timeout(Duration::from_secs(10)).map_err(|_| "no request came within 10 s")?;
        // The request may arrive before the client's commit returns.
        let from_return = arrival.saturating_duration_since(after);
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        all.push(Times {
            commit: milliseconds(after - before),
            from_before: milliseconds(arrival.saturating_duration_since(before)),
            from_return: milliseconds(from_return),
        });
        thread::sleep(PAUSE);
        if arrivals.try_recv().is_ok() {
            return Err("one commit made two requests".into());
        }
    }
    let sample = |figure: fn(&Times) -> f64| Sample::new(all.iter().map(figure).collect());
    Ok(Run {
        commit: sample(|times| times.commit),
        from_before: sample(|times| times.from_before),
        from_return: sample(|times| times.from_return),
    })
}

fn report(table: &mut Table, name: &str, runs: &[Run], control: &[Run], goals: bool) {
    let over = |figure: fn(&Run) -> f64| Spread::over(runs.iter().map(figure));
    let p50 = over(|run| run.from_return.median());
    let p99 = over(|run| run.from_return.percentile(0.99));
    let ratios = runs.iter().zip(control).map(|(run, control)| run.from_before.median() / control.from_before.median());
    table.line([
        name.to_owned(),
        over(|run| run.commit.median()).show(2),
        over(|run| run.from_before.median()).show(2),
        over(|run| run.from_before.percentile(0.99)).show(2),
        p50.show(2),
        p99.show(2),
        format!("{}x", Spread::over(ratios).show(1)),
        if goals { format!("p50 {}, p99 {}", P50.judge(p50.median), P99.judge(p99.median)) } else { String::new() },
    ]);
}

/// A program that LISTENs, and sends a request for each notification.
struct Listener {
    stopping: Arc<AtomicBool>,
    thread: thread::JoinHandle<std::result::Result<(), String>>,
}

impl Listener {
    fn start(server: &Server, database: &Database, api: &EchoApi) -> Result<Listener> {
        let mut client = server.connect(database.name());
        client.batch_execute("LISTEN bench")?;
        let mut raw = RawClient::connect(api.address(), api.last_request())?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut notifications = client.notifications();
                let mut soon = notifications.timeout_iter(Duration::from_millis(50));
                while soon.next().map_err(|e| e.to_string())?.is_some() {
                    raw.exchange().map_err(|e| e.to_string())?;
                }
            }
            Ok(())
        });
        Ok(Listener { stopping, thread })
    }

    fn stop(self) -> Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        let ended = self.thread.join().map_err(|_| "the listener panicked")?;
        Ok(ended?)
    }
}
