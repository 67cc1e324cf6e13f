//! Cancels, timeouts, terminations and lost clients at random moments in every phase of a call, many of them in one
//! backend. Each mutation's report is compared with the APIs' logs; in the end nothing is left behind.
//!
//! The delays are printed (`--nocapture`), not judged: `sequin-bench cancel` does that. `SEQUIN_SOAK_ROUNDS` sets the
//! number of rounds. `SEQUIN_SOAK_SEED` repeats the choices of another run, but not its timing.

mod apis;
mod memory;
mod orders;
mod phases;
mod proxy;
mod reported;
mod series;
mod verdict;

use std::thread;

use sequin_harness::{Delays, Server};

use crate::support::Session;
use crate::support::network::eventually;
use crate::support::random::{RngExt, SeedableRng, SmallRng, seed_and_rounds};
use crate::support::server::own;
use apis::Apis;
use memory::{MemoryUse, Slack, is_level};
use phases::Phase;
use reported::Reported;
use series::{Call, Series};
use verdict::{Evidence, Histogram, last_words, note};

/// Of ten orders in each phase of a series.
const ROUNDS: u64 = 8;

/// As many as the books of a sandbox should hold.
const MOST_AT_ONCE: u64 = 40;

/// Fewer rounds cannot show growth.
const LEAST_ROUNDS_TO_CHECK: usize = 4;

/// A session gets this many times its rounds to show that it does not grow.
const MOST_TIMES: usize = 3;

/// The plan for one session.
struct Plan {
    phases: &'static [Phase],
    slack: Slack,
    /// It takes part in one of this many rounds.
    one_of: u64,
}

impl Plan {
    fn rounds(&self, rounds: u64) -> usize {
        rounds.div_ceil(self.one_of) as usize
    }

    /// Caches and arenas fill in the first half of the rounds, and nothing grows in the second. Growth that happens
    /// once (a cache that doubles, a buffer that malloc keeps) stops, and a leak does not. So a session may prove in
    /// more rounds that it has no leak.
    fn go_through(&self, series: &mut Series<'_>, rounds: u64) {
        let rounds = self.rounds(rounds);
        (0..rounds).for_each(|_| series.round());
        while rounds >= LEAST_ROUNDS_TO_CHECK
            && !self.is_level(&series.held, rounds)
            && series.held.len() < MOST_TIMES * rounds
        {
            series.round();
        }
    }

    fn is_level(&self, held: &[MemoryUse], rounds: usize) -> bool {
        is_level(held, rounds, self.slack)
    }
}

/// One KiB for each order would be 160 KiB and more.
const SLACK: Slack = Slack { context_bytes: 64 << 10, private_kib: 120 };

const SERIES: [Plan; 3] = [
    Plan {
        phases: &[
            Phase::LookUp,
            Phase::Connect,
            Phase::Handshake,
            Phase::Wait,
            Phase::TlsWait,
            Phase::Body,
            Phase::TlsBody,
        ],
        slack: SLACK,
        one_of: 1,
    },
    Plan { phases: &[Phase::Loop, Phase::Block, Phase::Trigger, Phase::Await], slack: SLACK, one_of: 1 },
    // A session to themselves, and room for a few of their requests and replies: malloc keeps some, depending on where the
    // order comes. It takes longer, too.
    Plan {
        phases: &[Phase::Send, Phase::TlsSend, Phase::Rows],
        slack: Slack { private_kib: 24 << 10, ..SLACK },
        one_of: 2,
    },
];

/// Lines of a server's log about a leaked resource or a dead process. Only LOG, ERROR and FATAL are expected here.
const BAD: [&str; 6] =
    [" PANIC: ", " WARNING: ", "server process", "was terminated by signal", "leak", "resource was not closed"];

#[test]
fn orders_at_random_moments_are_obeyed_and_leave_nothing_behind() {
    let (seed, rounds) = seed_and_rounds(ROUNDS);
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut phases, mut orders) = (Histogram::default(), Histogram::default());
    let mut left = rounds;
    while left > 0 {
        let now = left.min(MOST_AT_ONCE);
        run(now, &mut rng, &mut phases, &mut orders);
        left -= now;
    }
    print(&phases, &orders);
    let obeyed: usize = orders.0.values().map(Delays::len).sum();
    assert!(obeyed >= 1_000 || rounds < ROUNDS, "{obeyed}");
}

fn run(rounds: u64, rng: &mut SmallRng, phases: &mut Histogram, orders: &mut Histogram) {
    let server = own("");
    let mut apis = Apis::start(&server);
    let database = server.fresh_database();
    apis.create_servers(&database);
    database.execute(&phases::schema(SERIES.len()));
    let mut all_series: Vec<Series<'_>> = Vec::new();
    for (number, plan) in SERIES.iter().enumerate() {
        all_series.push(Series::new(number, plan.phases, &database, SmallRng::seed_from_u64(rng.random())));
    }
    thread::scope(|scope| {
        for (series, plan) in all_series.iter_mut().zip(&SERIES) {
            scope.spawn(|| plan.go_through(series, rounds));
        }
    });

    apis.relent();
    all_series[0].connect_at_last();
    let mut admin = database.connect();
    let open = "SELECT count(*) FROM sequin.outbox";
    eventually("all is delivered", || admin.one::<i64>(open) == 0);
    // Each session keeps a connection to each API that it calls, and so does the worker.
    apis.assert_connections(SERIES.len() + 1, "while the sessions live");
    let (mut calls, mut held): (Vec<Call>, Vec<Vec<MemoryUse>>) = (Vec::new(), Vec::new());
    let mut undisturbed = Vec::new();
    for series in all_series {
        calls.extend(series.calls);
        undisturbed.extend(series.undisturbed);
        held.push(series.held);
    }

    let evidence = Evidence { arrived: &apis.arrived(), last_words: &last_words(&server.log()) };
    let (mut late, mut silent) = (0, 0);
    for call in &calls {
        let reported = evidence.check(call, &mut admin);
        late += usize::from(reported.is_none());
        silent += usize::from(reported == Some(Reported::Silent));
        note(call, reported, phases, orders);
    }
    undisturbed.iter().for_each(|mark| evidence.check_undisturbed(mark));
    eprintln!(
        "{} calls were ended, {silent} of them with no mutation under way; {late} had ended when their order came; {} that \
         followed were as if nothing had been",
        calls.len() - late,
        undisturbed.len(),
    );
    held.iter().enumerate().for_each(|(series, held)| assert_level(series, held, rounds));

    let others = "SELECT count(*) FROM pg_stat_activity \
                  WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    eventually("the sessions end", || admin.one::<i64>(others) == 0);
    drop(admin);
    drop(database);
    apis.assert_connections(0, "after the sessions");
    assert_log(&server);
}

fn assert_level(series: usize, held: &[MemoryUse], rounds: u64) {
    for (round, holding) in held.iter().enumerate() {
        eprintln!("series {series}, round {}: {holding:?}", round + 1);
    }
    let rounds = SERIES[series].rounds(rounds);
    if rounds < LEAST_ROUNDS_TO_CHECK {
        eprintln!("series {series}: after {rounds} rounds, what it holds is not judged");
        return;
    }
    assert!(SERIES[series].is_level(held, rounds), "series {series} grows: {held:?}");
}

fn assert_log(server: &Server) {
    let log = server.log();
    let bad: Vec<&str> = log.lines().filter(|line| BAD.iter().any(|words| line.contains(words))).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(log.contains(" FATAL: "), "this is not the log of these sessions");
}

fn print(phases: &Histogram, orders: &Histogram) {
    let mut all = Delays::default();
    orders.0.values().for_each(|delays| all.extend(delays));
    let all = ("all".to_owned(), all);
    let heads: String = Delays::heads().iter().map(|head| format!("{head:>7}")).collect();
    eprintln!("{:34}{heads}   (milliseconds from the order until the client has the end of the call)", "");
    for (name, delays) in phases.0.iter().chain(&orders.0).chain([(&all.0, &all.1)]) {
        let cells: String = delays.cells().iter().map(|cell| format!("{cell:>7}")).collect();
        eprintln!("{name:34}{cells}");
    }
}
