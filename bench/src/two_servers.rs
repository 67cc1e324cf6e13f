//! The rate of one server's deliveries beside another server that gives no answers.
//!
//! The control is the same queue alone, before each such case in the same run.

use std::io::Write;
use std::time::{Duration, Instant};

use postgres::Client;
use sequin_harness::{Database, RawServer, raw};

use crate::echo::EchoApi;
use crate::goal::Goal;
use crate::options::Options;
use crate::stats::Spread;
use crate::table::Table;
use crate::{Result, outbox};

const GOAL: Goal = Goal::AtLeast(0.95, "x");

const LATENCY: Duration = Duration::from_millis(50);

const IN_FLIGHT: usize = 64;

/// Updates that wait for the other server.
const WAITING: usize = 20_000;

/// The other server.
enum Other {
    /// Takes connections and requests, and never replies.
    Silent,
    /// Refuses connections.
    Refuses,
    /// Answers each request with 503, at once.
    Fails,
}

impl Other {
    fn name(&self) -> &'static str {
        match self {
            Other::Silent => "beside one that never replies",
            Other::Refuses => "beside one that refuses connections",
            Other::Fails => "beside one that answers 503",
        }
    }

    fn short_name(&self) -> &'static str {
        match self {
            Other::Silent => "silent",
            Other::Refuses => "refuses",
            Other::Fails => "fails",
        }
    }

    fn start(&self) -> (String, Option<RawServer>) {
        let server = match self {
            Other::Silent => RawServer::start(raw::hold),
            // Nothing listens there.
            Other::Refuses => return ("http://127.77.0.1:1".to_owned(), None),
            Other::Fails => RawServer::start(|stream| {
                while raw::read_request(stream).is_ok() && stream.write_all(&raw::reply(503, "{}")).is_ok() {}
            }),
        };
        (server.url(), Some(server))
    }
}

pub fn run(options: &Options) -> Result<()> {
    let creates = IN_FLIGHT * options.count(80, 30);
    let server = outbox::durable("")?;
    let database = server.fresh_database();
    let api = EchoApi::slow(LATENCY);
    database.create_server(&api.url(), "bench");
    let in_flight = format!("max_in_flight '{IN_FLIGHT}'");
    database.execute(&format!("ALTER SERVER sequin OPTIONS (SET ordered_replies 'false', ADD {in_flight})"));
    let mut client = database.connect();
    outbox::make_contacts(&mut client)?;
    measure(&mut client, creates)?;
    let mut table = Table::new(
        format!("two-servers: {creates} creates, {IN_FLIGHT} in flight, {} ms", LATENCY.as_millis()),
        &["", "creates/s", "alone", "of alone", "goal"],
    );
    for other in [Other::Silent, Other::Refuses, Other::Fails] {
        let mut runs = Vec::new();
        for run in 0..options.runs {
            let alone = measure(&mut client, creates)?;
            // A new name each time: the backoff of a server outlives its object.
            let name = format!("{}_{run}", other.short_name());
            runs.push((alone, beside(&database, &mut client, &other, &name, creates)?));
        }
        let over = |figure: fn(&(f64, f64)) -> f64| Spread::over(runs.iter().map(figure));
        let ratio = over(|(alone, beside)| beside / alone);
        table.line([
            other.name().to_owned(),
            over(|(_, beside)| *beside).show(0),
            over(|(alone, _)| *alone).show(0),
            format!("{}x", ratio.show(2)),
            GOAL.judge(ratio.median),
        ]);
    }
    table.print();
    Ok(())
}

/// The rate of `sequin`, in creates a second.
fn measure(client: &mut Client, creates: usize) -> Result<f64> {
    outbox::reset(client)?;
    deliver(client, creates)
}

fn deliver(client: &mut Client, creates: usize) -> Result<f64> {
    client.batch_execute("SELECT sequin_pause('sequin')")?;
    outbox::queue_creates(client, creates)?;
    outbox::rest(client)?;
    let begun = Instant::now();
    client.batch_execute("SELECT sequin_resume('sequin')")?;
    outbox::wait_until_settled(client, "sequin")?;
    let rate = creates as f64 / begun.elapsed().as_secs_f64();
    outbox::check_applied(client, creates)?;
    Ok(rate)
}

/// The same while the other server has work, and its window is as full as it gets.
fn beside(database: &Database, client: &mut Client, other: &Other, name: &str, creates: usize) -> Result<f64> {
    let (url, _server) = other.start();
    outbox::reset(client)?;
    database.create_server_named(name, &url, "bench");
    database.execute(&format!("ALTER SERVER {name} OPTIONS (ADD max_in_flight '{IN_FLIGHT}')"));
    outbox::queue_updates_through(client, name, WAITING, "n")?;
    let tried = format!(
        "SELECT EXISTS (SELECT FROM sequin.status WHERE server = '{name}' AND last_error IS NOT NULL)
         OR EXISTS (SELECT FROM sequin.outbox WHERE server = '{name}' AND state = 'sending')"
    );
    outbox::wait_until(client, &tried, Duration::from_millis(20), Duration::from_secs(30))?;
    let rate = deliver(client, creates)?;
    client.batch_execute(&format!("SELECT sequin_pause('{name}')"))?;
    outbox::reset(client)?;
    client.batch_execute(&format!("DROP SERVER {name} CASCADE"))?;
    Ok(rate)
}
