//! Deliveries a second through an API that takes its time to reply, by the number of requests in flight.
//!
//! No client can do more than the number of requests in flight divided by the latency. The control shows what a client
//! reaches that stores nothing: as many threads, each of which repeats one of the outbox's requests.

use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;

use crate::echo::EchoApi;
use crate::goal::Goal;
use crate::options::Options;
use crate::raw::RawClient;
use crate::stats::Spread;
use crate::table::Table;
use crate::{Result, held, outbox, pg_net};

/// What the API takes for each request.
pub const LATENCIES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(500)];

/// Values of the server option max_in_flight.
const IN_FLIGHT: [usize; 4] = [1, 8, 64, 256];

/// Records a second that the queue alone manages: the goal of `drain`. A faster API is not the limit any more.
const OF_THE_QUEUE: f64 = 40_000.0;

/// Records that are queued at most for one figure.
const MOST_RECORDS: usize = 100_000;

/// The part of the possible rate that is to be reached.
fn goal(in_flight: usize) -> Option<Goal> {
    match in_flight {
        64 => Some(Goal::AtLeast(0.9, "x")),
        256 => Some(Goal::AtLeast(0.8, "x")),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Kind {
    /// One record a request.
    Creates,
    /// 200 records a request.
    Updates,
}

impl Kind {
    fn records(self) -> usize {
        match self {
            Kind::Creates => 1,
            Kind::Updates => 200,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Creates => "creates, one a request",
            Kind::Updates => "updates, 200 a request",
        }
    }
}

/// One figure: so many requests in flight, at a latency.
#[derive(Clone, Copy)]
struct Case {
    kind: Kind,
    latency: Duration,
    in_flight: usize,
    requests: usize,
}

impl Case {
    /// Whole rounds of requests, for some seconds.
    fn new(kind: Kind, latency: Duration, in_flight: usize, options: &Options) -> Case {
        let seconds = options.count(4, 2) as f64;
        let rounds = (seconds / latency.as_secs_f64()).ceil() as usize;
        let most = (MOST_RECORDS / kind.records() / in_flight).max(2);
        Case { kind, latency, in_flight, requests: in_flight * rounds.min(most) }
    }

    fn records(&self) -> usize {
        self.requests * self.kind.records()
    }

    /// Records a second, at most.
    fn possible(&self) -> f64 {
        (self.in_flight * self.kind.records()) as f64 / self.latency.as_secs_f64()
    }

    /// Whether the API is what limits the rate.
    fn is_limited_by_api(&self) -> bool {
        self.possible() <= OF_THE_QUEUE
    }
}

/// A run. Records a second.
struct Run {
    outbox: f64,
    control: f64,
    /// Microseconds a record.
    worker_cpu: f64,
}

pub fn run(options: &Options) -> Result<()> {
    for latency in LATENCIES {
        at_latency(latency, options)?;
    }
    pg_net::run(options)?;
    held::run(options)
}

fn at_latency(latency: Duration, options: &Options) -> Result<()> {
    let server = outbox::durable("")?;
    let database = server.fresh_database();
    let api = EchoApi::slow(latency);
    database.create_server(&api.url(), "bench");
    // Creates travel alone, as with most APIs.
    database.execute("ALTER SERVER sequin OPTIONS (SET ordered_replies 'false', ADD max_in_flight '1')");
    let mut client = database.connect();
    outbox::make_contacts(&mut client)?;
    let milliseconds = latency.as_millis();
    let title = format!("in-flight: an API that replies after {milliseconds} ms, every commit on disk");
    let heads = ["", "in flight", "records/s", "of in flight / latency", "control", "of control", "worker us", "goal"];
    let mut table = Table::new(title, &heads);
    for kind in [Kind::Creates, Kind::Updates] {
        for in_flight in IN_FLIGHT {
            let case = Case::new(kind, latency, in_flight, options);
            // The first run warms up: connections are made, and the files reach their size.
            let runs: Result<Vec<Run>> = (0..=options.runs).map(|_| measure(&mut client, &api, &case)).collect();
            report(&mut table, &case, &runs?[1..]);
        }
    }
    table.print();
    println!("  control: the part of in flight / latency that threads with the same requests reach.");
    Ok(())
}

fn measure(client: &mut Client, api: &EchoApi, case: &Case) -> Result<Run> {
    outbox::reset(client)?;
    client.batch_execute(&format!("ALTER SERVER sequin OPTIONS (SET max_in_flight '{}')", case.in_flight))?;
    let records = case.records();
    match case.kind {
        Kind::Creates => outbox::queue_creates(client, records)?,
        Kind::Updates => outbox::queue_updates(client, records, "n")?,
    }
    outbox::rest(client)?;
    let (answered, cpu) = (api.requests(), outbox::workers_cpu(client)?);
    let begun = Instant::now();
    client.batch_execute("SELECT sequin_resume('sequin')")?;
    outbox::wait_until_empty(client)?;
    let outbox = records as f64 / begun.elapsed().as_secs_f64();
    let worker_cpu = (outbox::workers_cpu(client)? - cpu) / records as f64;
    outbox::check_applied(client, records)?;
    let answered = api.requests() - answered;
    if answered < case.requests {
        return Err(format!("{answered} requests for {records} records, and not {}", case.requests).into());
    }
    Ok(Run { outbox, control: control(api, case)?, worker_cpu })
}

/// The rate of as many clients with the API's first request of this kind.
fn control(api: &EchoApi, case: &Case) -> Result<f64> {
    let request = api.last_request();
    let clients: std::io::Result<Vec<RawClient>> =
        (0..case.in_flight).map(|_| RawClient::connect(api.address(), request.clone())).collect();
    let each = case.requests / case.in_flight;
    let begun = Instant::now();
    let threads: Vec<_> = clients?.into_iter().map(|mut client| thread::spawn(move || client.times(each))).collect();
    for thread in threads {
        thread.join().map_err(|_| "a client of the control panicked")??;
    }
    Ok(case.records() as f64 / begun.elapsed().as_secs_f64())
}

fn report(table: &mut Table, case: &Case, runs: &[Run]) {
    let over = |figure: &dyn Fn(&Run) -> f64| Spread::over(runs.iter().map(figure));
    let share = over(&|run| run.outbox / case.possible());
    let goal = goal(case.in_flight).filter(|_| case.is_limited_by_api());
    table.line([
        case.kind.name().to_owned(),
        case.in_flight.to_string(),
        over(&|run| run.outbox).show(0),
        format!("{}x", share.show(2)),
        format!("{}x", over(&|run| run.control / case.possible()).show(2)),
        format!("{}x", over(&|run| run.outbox / run.control).show(2)),
        over(&|run| run.worker_cpu).show(0),
        goal.map_or(String::new(), |goal| goal.judge(share.median)),
    ]);
}
