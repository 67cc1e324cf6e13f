//! One long-lived session that is interrupted again and again, in one phase after the other, and still works.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sequin_harness::Database;

use super::memory::MemoryUse;
use super::orders::{Caller, Given, Giver, Order};
use super::phases::{Phase, small};
use crate::support::Session as _;
use crate::support::network::{descriptors, eventually, private_kib, threads};
use crate::support::random::{RngExt, SliceRandom, SmallRng};

/// So often an order may come too late. At random moments of a call some do, all of them only if something is wrong.
const TRIES: usize = 100;

/// One interrupted call, and its report.
pub struct Call {
    pub mark: String,
    pub phase: Phase,
    pub order: Order,
    pub pid: i32,
    pub end: End,
    /// Calls that have returned, where a statement makes several.
    pub returned: i64,
    pub delay: Duration,
}

/// How it ended.
pub enum End {
    /// By itself, and rightly: the order came too late.
    Worked,
    /// As ordered, with this CONTEXT.
    Obeyed(String),
    /// As ordered, and then a block of the function's went on.
    Caught(String),
    /// As ordered, with its session: the log has the last words.
    Lost,
}

pub struct Series<'a> {
    number: usize,
    phases: &'static [Phase],
    database: &'a Database,
    dir: PathBuf,
    rng: SmallRng,
    session: Caller,
    giver: Giver,
    next_mark: usize,
    /// Within this time after the beginning of the phase's statement the order comes.
    longest: BTreeMap<Phase, Duration>,
    has_transaction_timeout: bool,
    pub calls: Vec<Call>,
    /// Marks of the calls that nothing was meant to end.
    pub undisturbed: Vec<String>,
    /// After each round.
    pub held: Vec<MemoryUse>,
}

impl<'a> Series<'a> {
    pub fn new(number: usize, phases: &'static [Phase], database: &'a Database, rng: SmallRng) -> Series<'a> {
        let mut giver = Giver::new(database);
        let major = giver.one("SELECT current_setting('server_version_num')::bigint / 10000");
        Series {
            number,
            phases,
            database,
            dir: database.server().scratch(&format!("c{number}")),
            rng,
            session: Caller::new(database),
            giver,
            next_mark: 0,
            longest: BTreeMap::new(),
            has_transaction_timeout: major >= 17,
            calls: Vec::new(),
            undisturbed: Vec::new(),
            held: Vec::new(),
        }
    }

    /// How long each phase's statement takes here, so that orders come at any moment of it and some too late: one that comes
    /// as the call ends is the one that may be lost or misplaced.
    fn time(&mut self, phase: Phase) -> Duration {
        if phase.has_no_end() {
            return Duration::from_millis(30);
        }
        let times = [(); 3].map(|()| {
            let mark = self.mark(phase.tag());
            self.prepare(phase, &mark);
            let begun = Instant::now();
            assert_eq!(self.session.client().column(&phase.statement(&mark, self.number)), phase.rows(&mark));
            begun.elapsed()
        });
        times.into_iter().min().unwrap().mul_f64(1.05)
    }

    /// Ten orders in each phase, in no order.
    pub fn round(&mut self) {
        for phase in self.phases {
            if self.longest.len() < self.phases.len() {
                let longest = self.time(*phase);
                self.longest.insert(*phase, longest);
            }
        }
        let last = if self.has_transaction_timeout && self.rng.random_range(0..2) == 0 {
            Order::TransactionTimeout
        } else {
            Order::Disconnect
        };
        let orders = [(Order::Cancel, 5), (Order::StatementTimeout, 3), (Order::Terminate, 1), (last, 1)];
        let orders = orders.iter().flat_map(|(order, times)| std::iter::repeat_n(*order, *times));
        let mut cards: Vec<_> = orders.flat_map(|order| self.phases.iter().map(move |phase| (*phase, order))).collect();
        cards.shuffle(&mut self.rng);
        for (phase, order) in cards {
            // One that comes too late does not count.
            let is_obeyed = (0..TRIES).any(|_| self.give(phase, order));
            assert!(is_obeyed, "{phase:?}, {order:?}: too late, {TRIES} times");
        }
        let held = self.hold();
        self.held.push(held);
    }

    /// Whether the call was interrupted. The next one works in any case.
    fn give(&mut self, phase: Phase, order: Order) -> bool {
        let mark = self.mark(phase.tag());
        let what = format!("{mark}, {order:?}");
        self.prepare(phase, &mark);
        let sql = phase.statement(&mark, self.number);
        let moment = Duration::from_micros(1_000 + self.rng.random_range(0..self.longest[&phase].as_micros() as u64));
        let mut other = order.ends_session().then(|| Caller::for_order(order, self.database, &self.dir));
        if let Some(new) = &mut other {
            // A slower first call would only keep the order from the call's phase.
            self.call_on(Phase::Wait, Some(new));
        }
        let session = other.as_mut().unwrap_or(&mut self.session);
        let pid = session.pid;
        let Given { result, delay } = session.obey(order, moment, &sql, &mut self.giver, &what);
        if order == Order::StatementTimeout && !session.is_in_step() {
            *session = Caller::new(self.database);
        }
        let end = end(phase, order, &mark, result);
        let is_obeyed = !matches!(end, End::Worked);
        let returned = self.returned(phase);
        self.calls.push(Call { mark, phase, order, pid, end, returned, delay });
        let mut new = other.is_some().then(|| Caller::new(self.database));
        self.call_on(phase, new.as_mut());
        is_obeyed
    }

    fn mark(&mut self, tag: &str) -> String {
        self.next_mark += 1;
        format!("{tag}-{}-{}", self.number, self.next_mark)
    }

    /// The state before the statement.
    fn prepare(&mut self, phase: Phase, mark: &str) {
        match phase {
            Phase::Loop | Phase::Block => {
                self.giver.one(&format!("SELECT setval('calls_{}', 1, false)", self.number));
            }
            Phase::Await => {
                self.giver.one(&format!(
                    "INSERT INTO queued SELECT id, '{mark}' FROM sequin_enqueue('create', 'sync', 'salesforce:contact', \
                     '{{\"data\": {{\"Name\": \"{mark}\"}}}}', server => 'api') id RETURNING id"
                ));
            }
            _ => {}
        }
    }

    fn returned(&mut self, phase: Phase) -> i64 {
        match phase {
            Phase::Loop | Phase::Block => self
                .giver
                .one(&format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM calls_{}", self.number)),
            _ => 0,
        }
    }

    /// A call that nothing disturbs, which leads through the same server as the phase. In a session of its own, or here.
    fn call_on(&mut self, phase: Phase, other: Option<&mut Caller>) {
        let (tag, server) = match phase {
            Phase::LookUp => ("next-lookup", phase.server()),
            // There is no way through.
            Phase::Connect => ("next", Phase::Wait.server()),
            _ => ("next", phase.server()),
        };
        let mark = self.mark(tag);
        let session = other.unwrap_or(&mut self.session);
        assert_eq!(session.client().column(&small(server, &mark)), [mark.as_str()], "after {phase:?}");
        self.undisturbed.push(mark);
    }

    /// The memory of the session's backend after it has used each of its connections.
    fn hold(&mut self) -> MemoryUse {
        let pid = self.session.pid;
        // A look-up that was given up holds a thread and a socket until it ends, and the next call gives them back.
        eventually("the look-ups end", || threads(pid) == 1);
        for phase in self.phases {
            self.call_on(*phase, None);
        }
        eventually("the look-ups end", || threads(pid) == 1);
        let sql = "SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts";
        let context_bytes = self.session.client().one(sql);
        MemoryUse { descriptors: descriptors(pid), context_bytes, private_kib: private_kib(pid) }
    }

    /// A call to a peer that did not respond before.
    pub fn connect_at_last(&mut self) {
        let mark = self.mark("next");
        let sql = small(Phase::Connect.server(), &mark);
        assert_eq!(self.session.client().column(&sql), [mark.as_str()]);
        self.undisturbed.push(mark);
    }
}

fn end(phase: Phase, order: Order, mark: &str, result: Result<Vec<String>, postgres::Error>) -> End {
    match result {
        Ok(rows) if rows == phase.rows(mark) => End::Worked,
        Ok(mut rows) if phase == Phase::Block && rows.len() == 1 && !order.ends_session() => {
            End::Caught(rows.remove(0))
        }
        Ok(rows) => panic!("{mark}: {rows:?}"),
        Err(_) if order.ends_session() => End::Lost,
        Err(error) => {
            let context = error.as_db_error().and_then(|error| error.where_()).unwrap_or_default();
            End::Obeyed(context.to_owned())
        }
    }
}
